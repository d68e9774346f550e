use leptos::prelude::*;
use lockkeeper_model::words::{count, duration, shown};
use lockkeeper_model::{Lock, Time};

use crate::components::facts;
use crate::components::facts_list::FactsList;
use crate::live::Live;
use crate::ui::{CopyButton, When, each, flag, maybe, text};

/// More waiters than this say nothing to a person that their number does not say.
const MOST_LISTED: usize = 50;

/// Who waits: how many and how that is known, and those that can be told apart, in their order.
#[component]
pub(crate) fn Waiting(
    /// The lock.
    lock: Memo<Option<Lock>>,
) -> impl IntoView {
    let facts = Memo::new(move |_| {
        lock.with(|lock| lock.as_ref().map(|lock| facts::of_waiters(&lock.waiters))).unwrap_or_default()
    });
    let listed = move || lock.with(|lock| lock.as_ref().map_or(0, |lock| lock.waiters.list.len()));
    let ordered = flag(move || lock.with(|lock| lock.as_ref().is_some_and(|lock| lock.waiters.ordered)));
    let beyond = maybe(move || {
        let beyond = listed().saturating_sub(MOST_LISTED);
        (beyond > 0).then(|| format!("and {} more", count(beyond as u64)))
    });
    view! {
        <h3>"Waiters"</h3>
        <FactsList facts />
        <ol class="queue" class:ordered=ordered>
            {each(move || listed().min(MOST_LISTED), move |at| view! { <InLine lock at /> })}
        </ol>
        <small>{beyond}</small>
    }
}

/// One waiter. What may be done about it stands at its end.
#[component]
fn InLine(lock: Memo<Option<Lock>>, at: usize) -> impl IntoView {
    let live = expect_context::<Live>();
    let waiter = move || lock.with(|lock| lock.as_ref()?.waiters.list.get(at).cloned());
    let name = maybe(move || {
        waiter().map(|waiter| facts::named(&waiter.identity, &waiter.token, waiter.token_b64.as_deref()))
    });
    let whole = text(move || waiter().and_then(|waiter| waiter.token.or(waiter.token_b64)).unwrap_or_default());
    let shown_whole = text(move || shown(&whole.get()));
    let abandoned = Memo::new(move |_| waiter().is_some_and(|waiter| waiter.abandoned == Some(true)));
    let deadline = maybe(move || waiter().and_then(|waiter| deadline(waiter.expires_at, Time(live.now.get()))));
    view! {
        <li class:abandoned=abandoned>
            <code title=shown_whole>{name}</code>
            <When holds=abandoned>
                <i class="tag">"abandoned"</i>
            </When>
            <When holds=flag(move || !whole.with(String::is_empty))>
                <CopyButton text=whole what="what names this waiter" />
            </When>
            <small>{deadline}</small>
        </li>
    }
}

fn deadline(expires_at: Option<Time>, now: Time) -> Option<String> {
    let end = expires_at?;
    Some(match end <= now {
        true => format!("its time in the queue was over {} ago", duration(now.since(end))),
        false => format!("keeps its place for {}", duration(end.since(now))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_queue_says_how_long_it_is_kept() {
        assert_eq!(deadline(None, Time(0)), None);
        assert_eq!(deadline(Some(Time(30_000)), Time(0)).unwrap(), "keeps its place for 30 s");
        assert_eq!(deadline(Some(Time(0)), Time(12_000)).unwrap(), "its time in the queue was over 12.0 s ago");
    }
}
