use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, Lock, LockId, Mode, PreviewRequest, Time};

use super::flags::Flags;
use super::holder::HolderBlock;
use super::masters::Masters;
use super::release_button::{ReleaseButton, may_evict};
use super::stored::StoredForm;
use super::trace::Trace;
use super::waiters::Waiting;
use crate::components::facts::{self, Facts};
use crate::components::facts_list::Section;
use crate::components::history::History;
use crate::components::picture::Picture;
use crate::components::sentence::{Sentence, Tone, sentence};
use crate::components::{LockPast, NavLink, say};
use crate::lang::{self, t};
use crate::live::Live;
use crate::live::route::{Page, Route};
use crate::ui::{When, each, flag, maybe, text};

/// The lock that is followed, as it is now; `None` while nobody has it or nothing was heard of it.
pub(crate) fn followed() -> Memo<Option<Lock>> {
    let live = expect_context::<Live>();
    Memo::new(move |_| live.detail.with(|detail| detail.as_ref().and_then(|detail| detail.lock.clone())))
}

/// What a lock is called; it keeps its name when it ends.
pub(crate) fn name_of(id: &LockId, lock: Memo<Option<Lock>>) -> Memo<String> {
    let unnamed = shown(id.as_str());
    Memo::new(move |before: Option<&String>| {
        let now = lock.with(|lock| lock.as_ref().map(|lock| shown(&lock.name)));
        now.or_else(|| before.cloned()).unwrap_or_else(|| unnamed.clone())
    })
}

/// Where a lock is and what it is, in a line.
pub(crate) fn kind_of(source: &str, lock: Memo<Option<Lock>>) -> Signal<String> {
    let source = shown(source);
    text(move || {
        lock.with(|lock| match lock {
            Some(lock) => {
                let mode = say::mode(lock.mode);
                let (dialect, certainty) = (shown(&lock.dialect.name), lang::certainty(lock.dialect.certainty));
                format!("{source} · {dialect} ({certainty}) · {mode}")
            }
            None => source.clone(),
        })
    })
}

/// The judgement first, who has it and on what evidence, who waits, what is dangerous.
#[component]
pub(crate) fn Judgement(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// Set to open the dialog.
    releasing: RwSignal<Option<PreviewRequest>>,
) -> impl IntoView {
    let holders = Memo::new(move |_| lock.with(|lock| lock.as_ref().map_or(0, |lock| lock.holders.len() as i64)));
    let several = flag(move || holders.get() > 1);
    view! {
        <FirstSentence lock />
        <Picture />
        {each(move || holders.get() as usize, move |at| view! { <HolderBlock lock at several releasing /> })}
        <Masters lock />
        <Waiting lock releasing />
        <Flags lock />
    }
}

/// How all that is known, and what happened.
#[component]
pub(crate) fn Background(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// Its source and its id.
    place: StoredValue<(String, LockId)>,
    /// With the bytes of all that is stored, and open.
    #[prop(default = false)]
    whole: bool,
) -> impl IntoView {
    let about =
        move |say: fn(&Lock) -> Facts| Memo::new(move |_| lock.with(|lock| lock.as_ref().map(say)).unwrap_or_default());
    let contention = about(|lock| lock.contention.as_ref().map(facts::of_contention).unwrap_or_default());
    let (dialect, form) = (about(facts::of_dialect), about(facts::of_form));
    let over = text(move || {
        let over = lock.with(|lock| lock.as_ref().and_then(|lock| lock.contention));
        t!(the_last_minutes, over.map_or(0, |contention| contention.over_ms / 60_000))
    });
    let live = expect_context::<Live>();
    let past = place.get_value();
    let audit = Route { page: Page::Audit, lock: Some(place.get_value()), ..Route::default() };
    view! {
        <Section title=over facts=contention />
        <When holds=flag(move || live.rewind.is_none())>
            <Trace />
        </When>
        <Section title=text(|| t!(why_this_dialect)) facts=dialect />
        <Section title=text(|| t!(form)) facts=form />
        <StoredForm lock whole />
        <History />
        <LockPast source=past.0 id=past.1 />
        <p>
            <NavLink route=audit>{t!(who_released_it_from_here)}</NavLink>
        </p>
    }
}

/// What can be done about a lock.
#[component]
pub(crate) fn Acts(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// Set to open the dialog.
    releasing: RwSignal<Option<PreviewRequest>>,
) -> impl IntoView {
    let is = move |holds: fn(&Lock) -> bool| flag(move || lock.with(|lock| lock.as_ref().is_some_and(holds)));
    view! {
        <When holds=flag(move || lock.with(Option::is_some))>
            <footer>
                <When holds=is(|lock| lock.holders.len() == 1 && lock.no_release.is_none())>
                    <ReleaseButton lock action=Action::Release at=0 releasing />
                </When>
                <When holds=is(|lock| is_beside(Action::ReleaseAndHold, lock))>
                    <ReleaseButton lock action=Action::ReleaseAndHold at=0 releasing />
                </When>
                <When holds=is(|lock| is_beside(Action::ExtendHold, lock))>
                    <ReleaseButton lock action=Action::ExtendHold at=0 releasing />
                </When>
                <When holds=is(|lock| is_beside(Action::RaiseFence, lock))>
                    <ReleaseButton lock action=Action::RaiseFence at=0 releasing />
                </When>
                <p>{maybe(move || lock.with(|lock| lock.as_ref().and_then(instead)))}</p>
            </footer>
        </When>
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
        return Some(t!(a_release_is_not_offered, shown(because.trim_end_matches('.'))));
    }
    match lock.holders.len() {
        0 if may_evict(lock) => Some(t!(nobody_has_it_what_can).to_owned()),
        0 => Some(t!(nobody_has_it_there_is).to_owned()),
        1 => None,
        holders => Some(t!(hold_it_each_has_its, holders)),
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
