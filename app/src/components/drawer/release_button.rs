use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, DEFAULT_HOLD_MS, Lock, LockState, PreviewRequest, PreviewTarget, Waiter};

use crate::lang::t;
use crate::live::Live;
use crate::ui::{flag, maybe};

/// Opens the dialog, or says why it cannot be opened.
#[component]
pub(crate) fn ReleaseButton(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// What to do with it.
    action: Action,
    /// The holder's place among all; of waiters only the first can go.
    at: usize,
    /// Set to open the dialog.
    releasing: RwSignal<Option<PreviewRequest>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let why_not = maybe(move || {
        if !live.link.get().is_live() {
            return Some(t!(not_while_the_connection_to).to_owned());
        }
        if !live.release_enabled.get() {
            let off = t!(releasing_is_switched_off_on);
            return Some(off.to_owned());
        }
        let source = lock.with(|lock| lock.as_ref().map(|lock| lock.source.clone()))?;
        let enabled = live.sources.with(|sources| {
            sources.iter().find(|known| known.name == source).is_none_or(|known| known.release_enabled)
        });
        (!enabled).then(|| t!(releasing_is_switched_off_for, shown(&source)))
    });
    let reason_id = format!("why-not-{at}");
    let described_by = {
        let reason_id = reason_id.clone();
        maybe(move || why_not.with(Option::is_some).then(|| reason_id.clone()))
    };
    let open = move |_| releasing.set(lock.with_untracked(|lock| request(lock.as_ref()?, action, at)));
    // Where nothing can ever come of it, there is no button to wonder at.
    let is_for_me = flag(move || live.release_enabled.get() || !live.link.get().is_live());
    view! {
        <button
            type="button"
            hidden=flag(move || !is_for_me.get())
            class=if action == Action::Release || action == Action::EvictWaiter { "danger" } else { "plain" }
            disabled=flag(move || why_not.with(Option::is_some))
            aria-describedby=described_by
            on:click=open
        >
            {match action {
                Action::Release => t!(release),
                Action::EvictWaiter => t!(evict),
                Action::ReleaseAndHold => t!(release_and_hold),
                Action::ExtendHold => t!(hold_on),
                Action::RaiseFence => t!(raise_the_fence),
                Action::PutBack => t!(put_back),
            }}
        </button>
        // Beside the first of several buttons, which have it in common.
        {matches!(action, Action::Release | Action::EvictWaiter).then(|| view! { <small id=reason_id>{why_not}</small> })}
    }
}

/// Asks what would happen to the holder at this place, or to the waiter at the head of the queue.
fn request(lock: &Lock, action: Action, at: usize) -> Option<PreviewRequest> {
    let several = lock.holders.len() > 1;
    let (generation, holder) = match action {
        Action::Release | Action::ReleaseAndHold | Action::ExtendHold | Action::RaiseFence => {
            let holder = lock.holders.get(at)?;
            let generation = if several { &holder.generation } else { &lock.generation };
            (generation, several.then(|| holder.token_b64.clone()))
        }
        Action::EvictWaiter => (&lock.generation, Some(head(lock)?.token_b64.clone()?)),
        // From the result of a release, never from what is on the screen.
        Action::PutBack => return None,
    };
    let target =
        PreviewTarget { source: lock.source.clone(), id: lock.id.clone(), generation: generation.clone(), holder };
    Some(PreviewRequest {
        locks: vec![target],
        action,
        hold_ms: action.holds().then_some(DEFAULT_HOLD_MS),
        leave_out: false,
    })
}

/// Whether a waiter could be what keeps everybody out: nobody has the lock, and its queue has an order and a head that
/// can be named. Whether its family allows it to be taken out is for the server to say.
pub(crate) fn may_evict(lock: &Lock) -> bool {
    lock.state == LockState::WaitingOnly
        && lock.holders.is_empty()
        && head(lock).is_some_and(|head| head.token_b64.is_some())
}

/// The head of a queue that has an order. Those that are known by their own word alone have no place in it.
pub(crate) fn head(lock: &Lock) -> Option<&Waiter> {
    let queued =
        |waiter: &&Waiter| waiter.reported.is_none() || waiter.expires_at.is_some() || waiter.abandoned.is_some();
    lock.waiters.list.first().filter(queued).filter(|_| lock.waiters.ordered)
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{ReportedWait, Time};

    use super::*;
    use crate::fixtures::{lock, stuck};

    #[test]
    fn a_holder_is_named_only_where_there_are_several() {
        let mut lock = lock();
        let only = request(&lock, Action::Release, 0).unwrap().locks.remove(0);
        assert_eq!((only.generation.as_str(), only.holder), ("g1", None));
        lock.holders.push(lock.holders[0].clone());
        let second = request(&lock, Action::Release, 1).unwrap().locks.remove(0);
        assert_eq!((second.generation.as_str(), second.holder.as_deref()), ("h1", Some("MGY4ZQ==")));
        assert_eq!(request(&lock, Action::Release, 2), None);
    }

    #[test]
    fn only_the_head_of_the_queue_of_a_lock_that_nobody_has_can_be_evicted() {
        let stuck = stuck();
        let asked = request(&stuck, Action::EvictWaiter, 0).unwrap();
        assert_eq!((asked.action, asked.locks[0].holder.as_deref()), (Action::EvictWaiter, Some("Yjo3")));
        assert!(may_evict(&stuck));
        let mut held = stuck.clone();
        (held.holders, held.state) = (lock().holders, LockState::Held);
        let mut unordered = stuck.clone();
        unordered.waiters.ordered = false;
        let mut hearsay = stuck.clone();
        let head = &mut hearsay.waiters.list[0];
        (head.expires_at, head.abandoned) = (None, None);
        head.reported = Some(ReportedWait { attempt: "a".to_owned(), since: Time(0), heard_at: Time(1) });
        for not in [held, unordered, hearsay] {
            assert!(!may_evict(&not), "{not:#?}");
        }
    }
}
