//! What is dangerous about a lock, why it matters and what to do: for the person who has to act.

use lockkeeper_model::{Flag, FlagNote, Time, words};

use super::Registry;
use super::record::{COPIED_WITHIN_MS, Failover, NEVER, Record};
use crate::source::{Copied, Surroundings};

/// A lease of this length that is not renewed stalls everybody for as long after a crash: an hour is longer than any
/// incident should last.
const LONG_LEASE_MS: i64 = 3_600_000;

/// One holder that keeps a lock for so many of its leases while others wait is stuck rather than slow.
const STARVING_LEASES: i64 = 5;

/// …and one without a lease, for this long.
const STARVING_MS: i64 = 300_000;

/// So many times in a row a lease ran out and another took the lock at once: once can be a crash.
const LAPSES: u8 = 2;

impl Registry {
    /// Whether a lock has a flag that does not depend on where it is stored.
    #[must_use]
    pub fn has_flag(&self, record: &Record, flag: Flag) -> bool {
        if record.is_ended() {
            return false;
        }
        let traits = record.recognition.traits;
        match flag {
            Flag::NoExpiry => record.no_expiry(),
            Flag::ExpiryLost => record.expiry_lost,
            Flag::NoOwner => record.names_nobody() && !record.holds.is_empty(),
            Flag::CameBack => record.came_back,
            Flag::ReleaseLost => record.is_release_lost(),
            Flag::LeaseOver => record.lease_over,
            Flag::UnsafeUnlock => traits.unsafe_unlock.is_some(),
            Flag::ComesBack => traits.comes_back.is_some(),
            Flag::SharedToken => {
                !record.names_nobody()
                    && !traits.may_span_keys
                    && record.holds.iter().any(|hold| self.stands_elsewhere(record.source, &hold.token))
            }
            Flag::RenewalStopped => record.quiet,
            Flag::LongLease => {
                record.holds.iter().any(|hold| hold.renewals == 0 && i64::from(hold.lease_ms) >= LONG_LEASE_MS)
            }
            Flag::LeaseTooShort => record.lapses() >= LAPSES,
            Flag::HeldWhileWaiting => record.starves,
            // Depends on the source; it is added where a lock is shown.
            Flag::Stale | Flag::Evictable | Flag::Replicated => false,
            Flag::FailedOver => record.failed_over().is_some(),
            Flag::PollStorm => record.sampled().is_some_and(|sampled| sampled.storm),
            flag => record.extra.as_ref().is_some_and(|extra| extra.flags.contains(&flag)),
        }
    }

    /// Every flag of a lock, where it is stored included.
    #[must_use]
    pub fn flags(&self, record: &Record, now: Time, around: Surroundings) -> Vec<Flag> {
        Flag::ALL
            .into_iter()
            .filter(|&flag| match flag {
                Flag::LeaseOver => !record.holds.is_empty() && record.expires() < now.0,
                Flag::Stale => around.down || self.is_unseen_since_gap(record),
                Flag::Evictable => around.evicts_all || (around.evicts_volatile && record.expires() != NEVER),
                Flag::Replicated => around.replicated,
                flag => self.has_flag(record, flag),
            })
            .collect()
    }

    /// What each flag of this lock is, why it matters and what to do.
    #[must_use]
    pub fn flag_notes(&self, record: &Record, flags: &[Flag]) -> Vec<FlagNote> {
        flags
            .iter()
            .map(|&flag| match (flag, self.sample(record)) {
                (Flag::PollStorm, Some(sample)) => FlagNote { what: sample.storm_in_words(), ..note(record, flag) },
                _ => note(record, flag),
            })
            .collect()
    }
}

/// Whether one holder keeps it while others starve.
pub(super) fn starves(record: &Record, now: i64) -> bool {
    if record.waiting() == 0 {
        return false;
    }
    record.holds.iter().any(|hold| {
        let held = now - hold.since;
        match i64::from(hold.lease_ms) {
            0 => held >= STARVING_MS,
            lease => hold.renewals > 0 && held >= lease.saturating_mul(STARVING_LEASES),
        }
    })
}

/// Why a lock is marked after a failover, and how that is known.
fn failed_over(failover: &Failover) -> String {
    let Failover { at, copied } = failover;
    match copied {
        Copied::Until(until) => format!(
            "Something was done to it after {until}, and only what was done before is known to have been copied to the \
             primary that took over."
        ),
        Copied::NotUntil(_) => format!("It is not known to have been copied: {copied}."),
        Copied::Unknown { .. } => format!(
            "Something was done to it less than {} before a failover at {at}: {copied}.",
            words::duration(COPIED_WITHIN_MS)
        ),
    }
}

fn note(record: &Record, flag: Flag) -> FlagNote {
    let traits = record.recognition.traits;
    let (what, why, todo): (String, &str, &str) = match flag {
        Flag::NoExpiry => (
            "It has no expiry.".to_owned(),
            "If its holder crashes, it stays locked for ever.",
            "Find out whether the holder lives before you release it; give the lock a lease in the code that takes it.",
        ),
        Flag::ExpiryLost => (
            "It had an expiry and has none now.".to_owned(),
            "Something removed it: a `PERSIST`, or a plain `SET` over the key. Waiters that sleep until the expiry sleep \
             for ever.",
            "Look for who wrote the key; release the lock if its holder is done.",
        ),
        Flag::NoOwner => (
            "Its value names nobody.".to_owned(),
            "Comparing the value before a release cannot tell this holder from the next one.",
            "Release it only while you watch that nobody else takes it; store a unique token in the code that takes it.",
        ),
        Flag::SharedToken => (
            "Its token stands in other locks, too.".to_owned(),
            "Its client uses one token for many locks, or again after a release: an equal token does not prove the same \
             hold.",
            "A release compares lease and count as well; refuse it yourself if the holder looks alive.",
        ),
        Flag::DeadlineAsValue => (
            "Its value is a deadline, and the key does not expire.".to_owned(),
            "The key may stand while nobody holds the lock, the clocks of its clients decide, and two can believe that \
             they have it.",
            "Trust the deadline shown, not the key; replace this way of locking.",
        ),
        Flag::UnsafeUnlock => (
            traits.unsafe_unlock.unwrap_or("Its library unlocks without comparing.").to_owned(),
            "After a release or an overrun its late unlock frees the next holder's lock, and that one's the next.",
            "Stop the holder before you release, or wait until it ends.",
        ),
        Flag::ComesBack => (
            traits.comes_back.unwrap_or("Its library takes the lock again after a deletion.").to_owned(),
            "A release does not last unless somebody else takes the lock first.",
            "Stop the holder; a release alone is not enough.",
        ),
        Flag::RenewalStopped => (
            "It was renewed regularly, and the renewals have stopped.".to_owned(),
            "Its holder died, is stalled, or lost its connection; the lock ends by itself at its deadline.",
            "Look at the holder. If the deadline is near, waiting is safer than a release.",
        ),
        Flag::LongLease => (
            match record.holds.first() {
                Some(hold) => {
                    format!("Its lease is {} and is not renewed.", words::duration(i64::from(hold.lease_ms)))
                }
                None => "Its lease is long and is not renewed.".to_owned(),
            },
            "If its holder crashes, everybody waits for as long.",
            "Shorten the lease and renew it.",
        ),
        Flag::LeaseTooShort => (
            format!("Its lease ran out {} times and another took it at once.", record.lapses()),
            "Those who had it may still have been at work: two at once.",
            "Lengthen the lease or renew it; check what it protects.",
        ),
        Flag::HeldWhileWaiting => (
            "One holder keeps it for many leases while others wait.".to_owned(),
            "It renews, so it lives: a release would leave it at work without the lock.",
            "Ask the holder first: restart or drain it, and release only when it is stopped.",
        ),
        Flag::QueueWithoutHolder => (
            "Somebody queues for it and nobody holds it.".to_owned(),
            "If the first in the queue is dead, nobody can take the lock until its time in the queue is over.",
            "If the first is proven to be gone, evict it.",
        ),
        Flag::DeadMember => (
            "It lists holders whose time is over.".to_owned(),
            "They do not hold it, but others may count them until somebody cleans up.",
            "Nothing, if its library cleans up at the next acquire.",
        ),
        Flag::WriterWaiting => (
            "A waiting writer keeps readers out.".to_owned(),
            "If that writer is dead, readers wait until its mark runs out.",
            "Look for the writer that is named.",
        ),
        Flag::KeptAfterWork => (
            "It may only be kept for its minimal time, after the work is done.".to_owned(),
            "Nothing tells a lock that is kept from one that is held.",
            "Wait for its deadline.",
        ),
        Flag::HalfLock => (
            "Fewer of its keys stand than make the lock.".to_owned(),
            "Nobody holds it by its own rule, yet what is left can be in the way.",
            "Wait for the deadline of what is left, or release it.",
        ),
        Flag::PollStorm => (
            "Those who wait for it try hundreds of times a second.".to_owned(),
            "That is load on the store, and none of them is served in order.",
            "Slow down the polling of its clients.",
        ),
        Flag::Evictable => (
            "Its store drops keys when its memory is full, and this lock may be among them.".to_owned(),
            "A lock that is dropped is free for the next, while its holder works on.",
            "Set `maxmemory-policy noeviction`, or keep locks in a store of their own.",
        ),
        Flag::Replicated => (
            "Its store is copied with a delay.".to_owned(),
            "After a failover a lock that was not copied yet is free, while its holder works on.",
            "Use a fencing token, or a quorum of independent stores, for what must not happen twice.",
        ),
        Flag::FailedOver => (
            record.failed_over().map_or_else(|| "It was touched around a failover.".to_owned(), failed_over),
            "The lock may have another holder than is shown, or one more: who had it last works on.",
            "Check what it protects before you trust it; the mark stays until it ends.",
        ),
        Flag::Unrecognised => (
            format!(
                "It is stored in a form that no known version of `{}` writes.",
                words::shown(record.recognition.dialect)
            ),
            "What is shown of it may not be all, and a release could do harm.",
            "Look at the raw form.",
        ),
        Flag::LeaseOver => (
            "Its lease is over, and the store has not confirmed the end.".to_owned(),
            "It is free for the next, or will be in a moment.",
            "Wait for the next reading.",
        ),
        Flag::CameBack => (
            "The token that was released is back.".to_owned(),
            "Its client lives and took the lock again.",
            "Stop the client.",
        ),
        Flag::ReleaseLost => (
            format!("It was {}.", words::RELEASE_LOST),
            "The release did not last: its holder never lost the lock on the primary that there is now.",
            "Look at the holder afresh, and release it again if it is still stuck.",
        ),
        Flag::Stale => (
            "Its source cannot be reached, or it has not been read since something was missed.".to_owned(),
            "What is shown is the last known state.",
            "Do not act on it before the source is back.",
        ),
    };
    FlagNote { flag, what, why: why.to_owned(), todo: todo.to_owned() }
}
