//! Everything known about one lock: the judgement first, who has it and on what evidence, who waits, what is dangerous,
//! and then how all that is known.

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
use lockkeeper_model::{Action, Lock, LockId, Mode, PreviewRequest, Time};

use super::facts::{self, Facts};
use super::facts_list::Section;
use super::history::History;
use super::picture::Picture;
use super::release::ReleaseDialog;
use super::sentence::{Sentence, Tone, sentence};
use super::{NavLink, TableKeys, say};
use flags::Flags;
use holder::HolderBlock;
use masters::Masters;
use release_button::ReleaseButton;
pub(crate) use release_button::{head, may_evict};
use stored::StoredForm;
use trace::Trace;
use waiters::Waiting;
use warned::Warned;

use crate::live::Live;
use crate::live::route::{Page, Route};
use crate::nav::Nav;
use crate::ui::{CopyButton, Glyph, Icon, When, each, flag, maybe, text};

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
    let lock: Memo<Option<Lock>> =
        Memo::new(move |_| live.detail.with(|detail| detail.as_ref().and_then(|detail| detail.lock.clone())));
    let heard = Memo::new(move |_| live.detail.with(Option::is_some));
    // A lock keeps its name when it ends.
    let unnamed = shown(id.as_str());
    let name = Memo::new(move |before: Option<&String>| {
        let now = lock.with(|lock| lock.as_ref().map(|lock| shown(&lock.name)));
        now.or_else(|| before.cloned()).unwrap_or_else(|| unnamed.clone())
    });
    let from = {
        let source = shown(&source);
        move || {
            lock.with(|lock| match lock {
                Some(lock) => {
                    let mode = say::mode(lock.mode);
                    let (dialect, certainty) = (shown(&lock.dialect.name), lock.dialect.certainty.word());
                    format!("{source} · {dialect} ({certainty}) · {mode}")
                }
                None => source.clone(),
            })
        }
    };
    let link = text(move || {
        let origin = window().location().origin().unwrap_or_default();
        format!("{origin}{}", nav.route.with(|route| route.href()))
    });
    let (of, which) = (source.clone(), id.clone());
    let audit = Route { page: Page::Audit, lock: Some((source.clone(), id.clone())), ..Route::default() };
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
        flag(move || !live.link.get().is_live() || live.true_until(&source).is_some())
    };
    let holder_count = Memo::new(move |_| lock.with(|lock| lock.as_ref().map_or(0, |lock| lock.holders.len() as i64)));
    let offered = flag(move || lock.with(|lock| lock.as_ref().is_some_and(|lock| lock.no_release.is_none())));
    let several = flag(move || holder_count.get() > 1);
    let beside = move |action: Action| lock.with(|lock| lock.as_ref().is_some_and(|lock| is_beside(action, lock)));
    let about =
        move |say: fn(&Lock) -> Facts| Memo::new(move |_| lock.with(|lock| lock.as_ref().map(say)).unwrap_or_default());
    let contention = about(|lock| lock.contention.as_ref().map(facts::of_contention).unwrap_or_default());
    let (dialect, form) = (about(facts::of_dialect), about(facts::of_form));
    let over = text(move || {
        let over = lock.with(|lock| lock.as_ref().and_then(|lock| lock.contention));
        format!("The last {} minutes", over.map_or(0, |contention| contention.over_ms / 60_000))
    });
    view! {
        <aside class="drawer" aria-label=name class:out-of-date=old>
            <header>
                <h2 tabindex="-1" node_ref=heading>
                    {name}
                </h2>
                <small>
                    {from} " · " <CopyButton text=link word="copy link" what="to this lock" />
                </small>
                <button type="button" class="plain icon-button close" aria-label="Close" on:click=close>
                    <Icon glyph=Glyph::Close />
                </button>
            </header>
            <div class="drawer-body">
                <When holds=flag(move || !heard.get())>
                    <p class="say calm">"Asking…"</p>
                </When>
                <When holds=heard>
                    <FirstSentence lock />
                    <Warned source=of.clone() id=which.clone() />
                    <Picture />
                    {each(move || holder_count.get() as usize, move |at| view! { <HolderBlock lock at several releasing /> })}
                    <Masters lock />
                    <Waiting lock releasing />
                    <Flags lock />
                    <Section title=over facts=contention />
                    <Trace />
                    <Section title=text(|| "Why this dialect") facts=dialect />
                    <Section title=text(|| "Form") facts=form />
                    <StoredForm lock />
                    <History />
                    <p>
                        <NavLink route=audit.clone()>"Who released it from here, or tried to"</NavLink>
                    </p>
                </When>
            </div>
            <When holds=flag(move || lock.with(Option::is_some))>
                <footer>
                    <When holds=flag(move || holder_count.get() == 1 && offered.get())>
                        <ReleaseButton lock action=Action::Release at=0 releasing />
                    </When>
                    <When holds=flag(move || beside(Action::ReleaseAndHold))>
                        <ReleaseButton lock action=Action::ReleaseAndHold at=0 releasing />
                    </When>
                    <When holds=flag(move || beside(Action::ExtendHold))>
                        <ReleaseButton lock action=Action::ExtendHold at=0 releasing />
                    </When>
                    <When holds=flag(move || beside(Action::RaiseFence))>
                        <ReleaseButton lock action=Action::RaiseFence at=0 releasing />
                    </When>
                    <p>{maybe(move || lock.with(|lock| lock.as_ref().and_then(instead)))}</p>
                </footer>
            </When>
            {move || {
                releasing.get().map(|request| view! { <ReleaseDialog request name=name.get_untracked() releasing /> })
            }}
        </aside>
    }
}

/// Whether an action stands beside the release of a lock. Whether its family allows it is for the server to say.
fn is_beside(action: Action, lock: &Lock) -> bool {
    let [holder] = &lock.holders[..] else { return false };
    let by_operator = holder.identity.operator.is_some();
    lock.no_release.is_none()
        && lock.mode == Mode::Exclusive
        && lock.quorum.is_none()
        && match action {
            Action::ReleaseAndHold => !by_operator,
            Action::ExtendHold => by_operator,
            Action::RaiseFence => holder.fencing_token.is_some(),
            Action::Release | Action::EvictWaiter | Action::PutBack => false,
        }
}

/// What stands in the place of a button where there is not one for one holder.
fn instead(lock: &Lock) -> Option<String> {
    if let Some(because) = &lock.no_release {
        return Some(format!("A release is not offered: {}.", shown(because.trim_end_matches('.'))));
    }
    match lock.holders.len() {
        0 if may_evict(lock) => Some("Nobody has it: what can go is the waiter at the head of its queue.".to_owned()),
        0 => Some("Nobody has it: there is nothing to release.".to_owned()),
        1 => None,
        holders => Some(format!("{holders} hold it: each has its own button above.")),
    }
}

#[component]
fn FirstSentence(lock: Memo<Option<Lock>>) -> impl IntoView {
    let live = expect_context::<Live>();
    let sentence = move || -> Sentence {
        let now = Time(live.now.get());
        lock.with(|lock| {
            live.detail
                .with(|detail| sentence(lock.as_ref(), detail.as_ref().map_or(&[], |detail| &detail.events), now))
        })
    };
    let class = text(move || match sentence().tone {
        Tone::Calm => "say calm",
        Tone::Warn => "say warn",
        Tone::Bad => "say bad",
    });
    view! {
        <p class=class>
            <b>{text(move || sentence().first)}</b>
            " "
            {text(move || sentence().rest)}
        </p>
    }
}
