//! Everything known about one lock: the judgement first, who has it and on what evidence, who waits, what is dangerous,
//! and then how all that is known.

mod account;
mod flags;
mod holder;
mod masters;
mod release_button;
mod sampled;
mod stored;
mod trace;
mod waiters;
mod warned;

use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, PreviewRequest};

pub(crate) use account::{Acts, Background, Judgement, followed, kind_of, name_of};
pub(crate) use release_button::{head, may_evict};
pub(crate) use warned::Warned;

use super::release::ReleaseDialog;
use super::{NavLink, TableKeys};
use crate::lang::t;
use crate::live::Live;
use crate::live::route::{Page, Route};
use crate::nav::Nav;
use crate::ui::{CopyButton, Glyph, Icon, When, copies, flag, maybe, skeleton, text};

/// What stands where a lock will be: that it is asked for, or why it cannot be.
#[component]
pub(crate) fn Unheard(
    /// Something was heard of it.
    heard: Memo<bool>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let refused = flag(move || live.follow_refused.with(Option::is_some));
    let because = maybe(move || {
        live.follow_refused.get().map(|because| t!(of_this_lock_nothing_is_told, shown(because.trim_end_matches('.'))))
    });
    view! {
        <When holds=flag(move || !heard.get() && !refused.get())>{skeleton("facts", t!(asking))}</When>
        <When holds=flag(move || !heard.get() && refused.get())>
            <p class="say warn" role="status">{because}</p>
        </When>
    }
}

/// Everything known about one lock.
#[component]
pub(crate) fn Drawer(
    /// Its source.
    source: String,
    /// The lock.
    id: LockId,
    /// A person opened it just now: it takes the focus.
    take_focus: bool,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let keys = expect_context::<TableKeys>();
    let lock = followed();
    let heard = Memo::new(move |_| live.detail.with(Option::is_some));
    let name = name_of(&id, lock);
    let kind = kind_of(&source, lock);
    let link = text(move || {
        let origin = window().location().origin().unwrap_or_default();
        format!("{origin}{}", nav.route.with(|route| route.href()))
    });
    let page = Route { page: Page::Lock, lock: Some((source.clone(), id.clone())), ..Route::default() };
    let heading = NodeRef::<html::H2>::new();
    Effect::new(move |_| {
        if take_focus && let Some(heading) = heading.get() {
            let _ = heading.focus();
        }
    });
    let close = move |_| {
        nav.open(None);
        keys.focus();
    };
    let releasing = RwSignal::new(None::<PreviewRequest>);
    let old = {
        let source = source.clone();
        flag(move || live.link.get().is_old() || live.true_until(&source).is_some())
    };
    let key = Signal::stored(id.as_str().to_owned());
    let place = StoredValue::new((source, id));
    view! {
        <aside class="drawer" aria-label=name class:out-of-date=old>
            <header>
                <h2 tabindex="-1" node_ref=heading>
                    {name}
                </h2>
                {copies(t!(the_key), key)}
                <small>
                    {kind} " · " <CopyButton text=link word=t!(copy_link) what=t!(to_this_lock) /> " · "
                    <NavLink route=page>{t!(open_as_a_page)}</NavLink>
                </small>
                <button type="button" class="plain icon-button close" aria-label=t!(close) on:click=close>
                    <Icon glyph=Glyph::Close />
                </button>
            </header>
            <div class="drawer-body">
                <Unheard heard />
                <When holds=heard>
                    <When holds=flag(move || live.rewind.is_none())>
                        <Warned source=place.get_value().0 id=place.get_value().1 />
                    </When>
                    <Judgement lock releasing />
                    <Background lock place />
                </When>
            </div>
            <Acts lock releasing />
            {move || {
                releasing.get().map(|request| view! { <ReleaseDialog request name=name.get_untracked() releasing /> })
            }}
        </aside>
    }
}
