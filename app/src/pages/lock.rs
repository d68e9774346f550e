use leptos::prelude::*;
use lockkeeper_model::{LockId, PreviewRequest};

use crate::components::{
    Acts, Background, Judgement, LeaseChart, Links, NavLink, Notes, ReleaseDialog, Unheard, Warned, followed, kind_of,
    name_of,
};
use crate::lang::t;
use crate::live::Live;
use crate::live::route::Route;
use crate::nav::Nav;
use crate::ui::{CopyButton, When, copies, flag, text};

/// Everything about one lock, on a page of its own.
#[component]
pub(crate) fn LockPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let open = Memo::new(move |_| nav.route.with(|route| route.lock.clone()));
    Effect::new(move |_| live.follow(open.get()));
    on_cleanup(move || live.follow(None));
    move || {
        match open.get() {
        Some((source, id)) => view! { <OneLock source id /> }.into_any(),
        None => view! {
            <main class="page">
                <h1>{t!(lock)}</h1>
                <p class="say calm">
                    {t!(the_address_names_no_lock)} <NavLink route=Route::default()>{t!(choose_one_among_all_locks)}</NavLink> "."
                </p>
            </main>
        }
        .into_any(),
    }
    }
}

#[component]
fn OneLock(source: String, id: LockId) -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let lock = followed();
    let heard = Memo::new(move |_| live.detail.with(Option::is_some));
    let (name, kind) = (name_of(&id, lock), kind_of(&source, lock));
    let link = text(move || {
        let origin = window().location().origin().unwrap_or_default();
        format!("{origin}{}", nav.route.with(|route| route.href()))
    });
    let among = Route { lock: Some((source.clone(), id.clone())), ..Route::default() };
    let releasing = RwSignal::new(None::<PreviewRequest>);
    let old = {
        let source = source.clone();
        flag(move || !live.link.get().is_live() || live.true_until(&source).is_some())
    };
    let key = Signal::stored(id.as_str().to_owned());
    let place = StoredValue::new((source, id));
    view! {
        <main class="page lock-page" class:out-of-date=old>
            <header class="page-head">
                <h1>{name}</h1>
                {copies(t!(the_key), key)}
                <small>
                    {kind} " · " <CopyButton text=link word=t!(copy_link) what=t!(to_this_lock) /> " · "
                    <NavLink route=among>{t!(show_among_all_locks)}</NavLink>
                </small>
            </header>
            <Links lock />
            <Unheard heard />
            <When holds=heard>
                <div class="lock-columns">
                    <div class="account">
                        <h2 class="unseen">{t!(who_has_it_and_who)}</h2>
                        {
                            let (source, id) = place.get_value();
                            view! { <Warned source id /> }
                        }
                        <Judgement lock releasing />
                        <LeaseChart lock />
                    </div>
                    <div class="account">
                        <h2 class="unseen">{t!(what_is_known_of_it)}</h2>
                        {
                            let (source, id) = place.get_value();
                            view! { <Notes source id lock /> }
                        }
                        <Background lock place whole=true />
                    </div>
                </div>
            </When>
            <Acts lock releasing />
            {move || {
                releasing.get().map(|request| view! { <ReleaseDialog request name=name.get_untracked() releasing /> })
            }}
        </main>
    }
}
