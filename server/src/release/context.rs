//! What a person should know of a lock before deciding, beside what the action does: who waits, who is next, when it was
//! renewed, what else its holder has, what else could be done.

use lockkeeper_model::{
    Action, Holder, OfferedAction, OtherLocks, PreviewedLock, Time, Waiters, WaitersBasis, Warning, words,
};

use super::actions;
use crate::board::Held;

/// Actions on a hold, in the order in which they should be considered.
const ON_A_HOLD: [Action; 3] = [Action::ReleaseAndHold, Action::ExtendHold, Action::RaiseFence];

/// Other locks that one warning names; the rest are counted.
const NAMED: usize = 3;

/// Adds what is known around a hold.
pub(super) fn add(shown: &mut PreviewedLock, action: Action, held: &Held, holder: &Holder, now: Time) {
    if actions::ends_a_hold(action)
        && let Some(fence) = holder.fencing_token.as_ref()
        && actions::not_offered(Action::RaiseFence, held, holder).is_none()
    {
        shown.plan.push_str(&format!(
            " Its fencing token is {}: what the lock protects refuses this holder's late writes when the next holder has \
             written with a higher one, if it compares them; raising the fence makes the counter in the store higher now.",
            words::shown(&fence.value)
        ));
    }
    shown.waiters = (held.lock.waiters.basis != WaitersBasis::Unknown).then(|| held.lock.waiters.clone());
    shown.next = next(&held.lock.waiters);
    shown.renewed = renewed(holder, now);
    shown.actions = ON_A_HOLD
        .into_iter()
        .map(|action| {
            let not_offered = actions::not_offered(action, held, holder).map(str::to_owned);
            OfferedAction { action, not_offered }
        })
        .collect();
}

/// Adds what else the holder has.
pub(super) fn add_others(shown: &mut PreviewedLock, others: OtherLocks) {
    if others.count > 0 {
        shown.warnings.push(Warning { code: "other_locks".to_owned(), text: others_in_words(&others) });
    }
    shown.others = others;
}

fn others_in_words(others: &OtherLocks) -> String {
    let named: Vec<String> =
        others.list.iter().take(NAMED).map(|id| format!("`{}`", words::shown(id.as_str()))).collect();
    let more = usize::try_from(others.count).unwrap_or(usize::MAX).saturating_sub(named.len());
    let more = if more > 0 { format!(" and {} more", words::count(more as u64)) } else { String::new() };
    let at_least = if others.complete { "" } else { ", at least" };
    let locks = if others.count == 1 {
        "1 other lock".to_owned()
    } else {
        format!("{} other locks", words::count(u64::from(others.count)))
    };
    format!("this holder has {locks}{at_least}, which it keeps: {}{more}", named.join(", "))
}

/// Who has the lock next. A guess is not made where nothing decides it.
fn next(waiters: &Waiters) -> String {
    let Some(head) = waiters.list.first().filter(|head| waiters.ordered && head.token_b64.is_some()) else {
        return match waiters.count {
            Some(0) => "Nobody is known to wait: whoever comes first has it next.".to_owned(),
            _ => "No queue decides who has it next: whoever tries first.".to_owned(),
        };
    };
    let name = head.token.as_deref().or(head.token_b64.as_deref()).unwrap_or_default();
    let name = format!("`{}`", words::short_token(name));
    match head.abandoned {
        Some(true) => format!(
            "{name} is at the head of the queue and is not there any more: nobody has the lock until its place lapses or \
             it is taken out"
        ),
        Some(false) => format!("{name} is at the head of the queue, listens, and has it next."),
        None => format!("{name} is at the head of the queue and has it next, if it is still there."),
    }
}

fn renewed(holder: &Holder, now: Time) -> String {
    let renewals = &holder.renewals;
    let Some(last_at) = renewals.last_at else {
        return "It was not seen to renew.".to_owned();
    };
    let ago = words::duration(now.since(last_at).max(0));
    match renewals.period_ms {
        Some(period) => format!("It renewed {ago} ago, as a rule every {}.", words::duration(period)),
        None => format!("It renewed {ago} ago, for the first time that was seen."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use lockkeeper_model::{LockId, Renewals, Waiter};

    fn waiter(token: &str, abandoned: Option<bool>) -> Waiter {
        Waiter {
            token: Some(token.to_owned()),
            token_b64: Some(fake::b64(token)),
            identity: lockkeeper_model::Identity::NOBODY,
            expires_at: None,
            abandoned,
            reported: None,
        }
    }

    fn waiters(ordered: bool, count: Option<u32>, list: Vec<Waiter>) -> Waiters {
        let because = String::new();
        Waiters { count, basis: WaitersBasis::Exact, because, ordered, longest_wait_ms: None, list }
    }

    #[test]
    fn who_is_next_is_said_only_where_a_queue_decides_it() {
        let said = |ordered, abandoned| next(&waiters(ordered, Some(1), vec![waiter("bob", abandoned)]));
        assert_eq!(said(true, Some(false)), "`bob` is at the head of the queue, listens, and has it next.");
        assert_eq!(said(true, None), "`bob` is at the head of the queue and has it next, if it is still there.");
        assert!(said(true, Some(true)).contains("is not there any more"));
        assert_eq!(said(false, None), "No queue decides who has it next: whoever tries first.");
        assert!(next(&waiters(false, Some(0), Vec::new())).starts_with("Nobody is known to wait"));
    }

    #[test]
    fn when_it_renewed_is_said_as_far_as_it_was_seen() {
        let holder = |renewals| Holder { renewals, ..fake::holder(b"alice", "g1") };
        assert_eq!(renewed(&holder(Renewals::default()), Time(9_000)), "It was not seen to renew.");
        let seen = Renewals { count: 3, last_at: Some(Time(7_000)), period_ms: Some(10_000), missed: None };
        assert_eq!(renewed(&holder(seen), Time(9_000)), "It renewed 2.0 s ago, as a rule every 10.0 s.");
    }

    #[test]
    fn other_locks_are_named_and_the_rest_counted() {
        let list = ["a", "b", "c", "d\n"].map(|name| LockId::of_key(name.as_bytes())).to_vec();
        let said = others_in_words(&OtherLocks { count: 7, complete: false, list });
        assert_eq!(said, "this holder has 7 other locks, at least, which it keeps: `a`, `b`, `c` and 4 more");
        let one = OtherLocks { count: 1, complete: true, list: vec![LockId::of_key(b"a")] };
        assert_eq!(others_in_words(&one), "this holder has 1 other lock, which it keeps: `a`");
    }
}
