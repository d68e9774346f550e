use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, Lock, PreviewRequest, Time, Waiter};

use super::release_button::{ReleaseButton, may_evict};
use crate::components::facts;
use crate::components::facts_list::FactsList;
use crate::lang::{count, duration, t};
use crate::live::Live;
use crate::ui::{When, copies, each, flag, hms, maybe, text};

/// More waiters than this say nothing to a person that their number does not say.
const MOST_LISTED: usize = 50;

/// Who waits: how many and how that is known, and those that can be told apart, in their order.
#[component]
pub(crate) fn Waiting(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// Set to open the dialog.
    releasing: RwSignal<Option<PreviewRequest>>,
) -> impl IntoView {
    let facts = Memo::new(move |_| {
        lock.with(|lock| lock.as_ref().map(|lock| facts::of_waiters(&lock.waiters))).unwrap_or_default()
    });
    let listed = move || lock.with(|lock| lock.as_ref().map_or(0, |lock| lock.waiters.list.len()));
    let ordered = flag(move || lock.with(|lock| lock.as_ref().is_some_and(|lock| lock.waiters.ordered)));
    let beyond = maybe(move || {
        let beyond = listed().saturating_sub(MOST_LISTED);
        (beyond > 0).then(|| t!(and_more, count(beyond as u64)))
    });
    view! {
        <h3>{t!(waiters_title)}</h3>
        <FactsList facts />
        <ol class="queue" class:ordered=ordered>
            {each(move || listed().min(MOST_LISTED), move |at| view! { <InLine lock at releasing /> })}
        </ol>
        <small>{beyond}</small>
    }
}

/// One waiter. What may be done about it stands at its end.
#[component]
fn InLine(lock: Memo<Option<Lock>>, at: usize, releasing: RwSignal<Option<PreviewRequest>>) -> impl IntoView {
    let live = expect_context::<Live>();
    let waiter = move || lock.with(|lock| lock.as_ref()?.waiters.list.get(at).cloned());
    let name = maybe(move || {
        waiter().map(|waiter| facts::named(&waiter.identity, &waiter.token, waiter.token_b64.as_deref()))
    });
    let whole = text(move || waiter().and_then(|waiter| waiter.token.or(waiter.token_b64)).unwrap_or_default());
    let shown_whole = text(move || shown(&whole.get()));
    let abandoned = Memo::new(move |_| waiter().is_some_and(|waiter| waiter.abandoned == Some(true)));
    let more = maybe(move || waiter().and_then(|waiter| more(&waiter, Time(live.now.get()))));
    let in_the_way = flag(move || at == 0 && lock.with(|lock| lock.as_ref().is_some_and(may_evict)));
    view! {
        <li class:abandoned=abandoned>
            <code title=shown_whole>{name}</code>
            <When holds=abandoned>
                <i class="tag">{t!(abandoned)}</i>
            </When>
            <When holds=flag(move || !whole.with(String::is_empty))>
                {copies(t!(what_names_this_waiter), whole)}
            </When>
            <small>{more}</small>
            <When holds=in_the_way>
                <div class="holder-release">
                    <ReleaseButton lock action=Action::EvictWaiter at=0 releasing />
                </div>
            </When>
        </li>
    }
}

/// How long a waiter keeps its place, and what it says itself.
fn more(waiter: &Waiter, now: Time) -> Option<String> {
    let said = waiter.reported.as_ref().map(|said| {
        let heard = duration(now.since(said.heard_at));
        t!(says_that_it_waits_since, hms(said.since), duration(now.since(said.since)), heard)
    });
    let parts: Vec<String> = facts::place(waiter.expires_at, now).into_iter().chain(said).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::ReportedWait;

    use super::*;
    use crate::fixtures::stuck;

    #[test]
    fn what_a_waiter_says_itself_is_marked_as_its_own_word() {
        let mut waiter = stuck().waiters.list.remove(0);
        assert_eq!(more(&waiter, Time(60_000)).unwrap(), "keeps its place for 30 s");
        let said = ReportedWait { attempt: "a".to_owned(), since: Time(10_000), heard_at: Time(58_500) };
        waiter.reported = Some(said);
        assert_eq!(
            more(&waiter, Time(60_000)).unwrap(),
            "keeps its place for 30 s; says that it waits since 00:00:10 (50 s), last heard 1.5 s ago"
        );
        (waiter.expires_at, waiter.reported) = (None, None);
        assert_eq!(more(&waiter, Time(60_000)), None);
    }
}
