//! Since when each condition is so of one lock, and what to say of it.

use lockkeeper_model::{Flag, Time, TransitionKind, WaitersBasis, WarningRule, words};

use super::rules::{Limit, Setting};
use super::usual::Nearly;
use crate::registry::{Record, Registry};

/// The rules that are about one lock, and follow from what is known of it.
pub(super) const OF_LOCKS: [WarningRule; 9] = [
    WarningRule::HeldLong,
    WarningRule::HeldUnusually,
    WarningRule::WaitingLong,
    WarningRule::NoExpiry,
    WarningRule::RenewalStopped,
    WarningRule::LeaseBelowUsual,
    WarningRule::Lapsed,
    WarningRule::QueueWithoutHolder,
    WarningRule::PollStorm,
];

/// A condition that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Since when, in milliseconds.
    pub(super) since: i64,
    /// When it will have lasted for long enough.
    pub(super) due: i64,
}

/// Whether the condition of a rule is about this hold alone: the next holder's is another.
pub(super) fn is_of_hold(rule: WarningRule) -> bool {
    matches!(
        rule,
        WarningRule::HeldLong | WarningRule::HeldUnusually | WarningRule::NoExpiry | WarningRule::RenewalStopped
    )
}

/// Whether a rule compares a hold with how long those before it lasted.
pub(super) fn compares(rule: WarningRule) -> bool {
    matches!(rule, WarningRule::HeldUnusually | WarningRule::LeaseBelowUsual)
}

/// Whether a rule's condition is so of a lock that is there.
pub(super) fn judge(
    rule: WarningRule,
    setting: &Setting,
    registry: &Registry,
    record: &Record,
    nearly: Option<&Nearly>,
) -> Option<Found> {
    let lasting = |since: i64| Found { since, due: since.saturating_add(setting.for_ms) };
    let first = record.holds.iter().min_by_key(|hold| hold.since);
    match rule {
        WarningRule::HeldLong => {
            let counts = |renewals: u32| setting.limit != Limit::Renewed(false) || renewals == 0;
            first.filter(|hold| counts(hold.renewals)).map(|hold| lasting(hold.since))
        }
        WarningRule::HeldUnusually => {
            let hold = first?;
            let too_long = too_long_ms(nearly?, setting);
            Some(Found { since: hold.since, due: hold.since.saturating_add(too_long) })
        }
        WarningRule::WaitingLong => registry.unserved(record).map(|unserved| lasting(unserved.since)),
        WarningRule::NoExpiry => Registry::endless_since(record).map(lasting),
        WarningRule::RenewalStopped => Registry::quiet_since(record).map(lasting),
        WarningRule::LeaseBelowUsual => {
            let hold = first.filter(|hold| hold.renewals == 0 && hold.lease_ms > 0)?;
            let nearly = nearly.filter(|nearly| !nearly.renews)?;
            (i64::from(hold.lease_ms) < surely_ms(nearly)).then(|| lasting(hold.since))
        }
        WarningRule::Lapsed => registry.has_flag(record, Flag::LeaseTooShort).then(|| lasting(record.last_change)),
        WarningRule::QueueWithoutHolder => {
            let since = record.waits_since().unwrap_or(record.last_change).max(record.last_change);
            registry.has_flag(record, Flag::QueueWithoutHolder).then(|| lasting(since))
        }
        WarningRule::PollStorm => registry.has_flag(record, Flag::PollStorm).then(|| lasting(record.as_of)),
        WarningRule::ManyLocks | WarningRule::Evictable | WarningRule::ReleasedByForce => None,
    }
}

/// How long a hold has to last to be unusual.
fn too_long_ms(nearly: &Nearly, setting: &Setting) -> i64 {
    let Limit::Times(times) = setting.limit else { return setting.for_ms };
    nearly.at_most_ms.saturating_mul(i64::from(times)).max(setting.for_ms)
}

/// What the 99th percentile is at least: it is known up to a ninth.
fn surely_ms(nearly: &Nearly) -> i64 {
    nearly.at_most_ms - nearly.at_most_ms / 8
}

/// What is so of this lock, in one sentence. Moments are named rather than durations, so that it stays true.
pub(super) fn says(
    rule: WarningRule,
    setting: &Setting,
    registry: &Registry,
    record: &Record,
    found: &Found,
    nearly: Option<&Nearly>,
) -> String {
    let since = Time(found.since);
    // What was held already when it was first looked at was taken at an unknown moment before.
    let first = record.holds.iter().min_by_key(|hold| hold.since);
    let held_since = match first.is_some_and(|hold| hold.not_before().is_none()) {
        true => format!("at least since {since}"),
        false => format!("since {since}"),
    };
    let holder = Registry::first_holder(record).unwrap_or_else(|| "nobody".to_owned());
    let set = words::duration(setting.for_ms);
    match rule {
        WarningRule::HeldLong => format!("`{holder}` has had it {held_since}, for more than the {set} that are set."),
        WarningRule::HeldUnusually => match nearly {
            Some(nearly) => format!(
                "`{holder}` has had it {held_since}, for more than {}: 99 % of its {} last holds were over after {}.",
                words::duration(too_long_ms(nearly, setting)),
                words::count(nearly.holds),
                words::duration(nearly.at_most_ms),
            ),
            None => format!("`{holder}` has had it {held_since}, which is unusually long."),
        },
        WarningRule::WaitingLong => {
            let unserved = registry.unserved(record);
            let count = match registry.waiters_known(record) {
                (Some(1), basis) => format!("One waits ({})", basis_word(basis)),
                (Some(count), basis) => format!("{} wait ({})", words::count(count.into()), basis_word(basis)),
                (None, _) => "Somebody waits".to_owned(),
            };
            match unserved.map(|unserved| unserved.basis) {
                Some(WaitersBasis::Reported) => {
                    format!("{count}, and one of them says that it has done so since {since}.")
                }
                _ => format!("{count}, and nobody else has got it since {since}: `{holder}` has it."),
            }
        }
        WarningRule::NoExpiry if record.expiry_lost => {
            format!("It had an expiry and has had none since {since}; `{holder}` has it.")
        }
        WarningRule::NoExpiry => format!("`{holder}` has had it {held_since}, and it has no expiry."),
        WarningRule::RenewalStopped => {
            format!("`{holder}` renewed it regularly, should have done so again by {since}, and has not.")
        }
        WarningRule::LeaseBelowUsual => {
            let lease = record.holds.first().map_or(0, |hold| i64::from(hold.lease_ms));
            let held = nearly.map_or_else(String::new, |nearly| {
                format!(
                    ", and 1 in 100 of its {} last holds took {} or longer",
                    words::count(nearly.holds),
                    words::duration(surely_ms(nearly))
                )
            });
            format!("Its lease is {} and is not renewed{held}.", words::duration(lease))
        }
        WarningRule::Lapsed => {
            format!("Its lease ran out {} times in a row and another took it at once.", record.lapses())
        }
        WarningRule::QueueWithoutHolder => format!(
            "{} in its queue since {since}, and nobody holds it.",
            match record.waiting() {
                1 => "One stands".to_owned(),
                count => format!("{} stand", words::count(count.into())),
            }
        ),
        WarningRule::PollStorm => {
            let note = registry.flag_notes(record, &[Flag::PollStorm]).into_iter().next();
            note.map_or_else(|| "Those who wait for it try very often.".to_owned(), |note| note.what)
        }
        WarningRule::ManyLocks | WarningRule::Evictable | WarningRule::ReleasedByForce => String::new(),
    }
}

fn basis_word(basis: WaitersBasis) -> &'static str {
    match basis {
        WaitersBasis::Exact => "known exactly",
        WaitersBasis::Inferred => "inferred",
        WaitersBasis::Sampled => "seen in a sample",
        WaitersBasis::Reported => "by their own word",
        WaitersBasis::Unknown => "unknown how many",
    }
}

/// Why it matters, and what to do.
pub(super) fn advice(rule: WarningRule) -> (&'static str, &'static str) {
    match rule {
        WarningRule::HeldLong | WarningRule::HeldUnusually => (
            "Work that takes this long is often stuck, and everybody else is kept out meanwhile.",
            "Look whether the holder lives and what it does; release the lock only when it does not work on it any more.",
        ),
        WarningRule::WaitingLong => (
            "Whoever waits does no work, and what they were asked for is late.",
            "See who has it and whether that one lives; ask or restart it before you release anything.",
        ),
        WarningRule::NoExpiry => (
            "If its holder crashes, it stays locked for ever.",
            "Find out whether the holder lives before you release it; give the lock a lease in the code that takes it.",
        ),
        WarningRule::RenewalStopped => (
            "Its holder died, is stalled, or lost its connection; the lock ends by itself at its deadline, and then two \
             can be at work.",
            "Look at the holder. If the deadline is near, waiting is safer than a release.",
        ),
        WarningRule::LeaseBelowUsual => (
            "The lease of a hold like most others runs out before its work is done: then two are at work at once.",
            "Lengthen the lease beyond the longest hold, or renew it.",
        ),
        WarningRule::Lapsed => (
            "Those who had it may still have been at work: two at once.",
            "Lengthen the lease or renew it; check what it protects.",
        ),
        WarningRule::ManyLocks => (
            "Somebody who takes locks and does not let go blocks more and more of the others.",
            "Look at what that client does; its locks are found by its name.",
        ),
        WarningRule::QueueWithoutHolder => (
            "If the first in the queue is dead, nobody can take the lock until its time in the queue is over.",
            "If the first is proven to be gone, evict it.",
        ),
        WarningRule::PollStorm => {
            ("That is load on the store, and none of them is served in order.", "Slow down the polling of its clients.")
        }
        WarningRule::Evictable => (
            "A lock that is dropped is free for the next, while its holder works on.",
            "Set `maxmemory-policy noeviction`, or keep locks in a store of their own.",
        ),
        WarningRule::ReleasedByForce => (
            "Its former holder may not know it and work on.",
            "Check with whoever released it that the former holder stopped.",
        ),
    }
}

/// How it ended of which nobody saw the end.
pub(super) const UNSEEN: &str = "It ended while nobody was looking.";

/// How it ended whose rule is looked for no more.
pub(super) const SWITCHED_OFF: &str = "Its rule is switched off.";

/// How it ended when the time that is set, or what is usual, became longer.
pub(super) const TOO_SHORT: &str = "It has not lasted for long enough by the rules and what is known now.";

/// How a condition ended of which nothing is so any more, in one sentence. `same_hold`: the hold is still there that a rule
/// about one hold was about.
pub(super) fn ended(rule: WarningRule, record: Option<&Record>, same_hold: bool) -> String {
    if let Some(record) = record.filter(|record| record.is_ended()) {
        return match record.end().map(|end| end.transition) {
            Some(TransitionKind::Expired) => "Its lease ran out.",
            Some(TransitionKind::Evicted) => "Its store dropped it.",
            Some(TransitionKind::Forced) => "It was released from Lockkeeper.",
            Some(TransitionKind::Lost) => UNSEEN,
            Some(_) => "It was let go.",
            None if rule == WarningRule::QueueWithoutHolder => "Nobody queues for it any more.",
            None => "It is not taken for a lock any more.",
        }
        .to_owned();
    }
    match rule {
        _ if is_of_hold(rule) && record.is_some() && !same_hold => "Another holder has it.",
        WarningRule::HeldLong if record.is_some() => "Its holder renews it.",
        WarningRule::HeldUnusually if record.is_some() => "How long its holds last is not known any more.",
        WarningRule::NoExpiry if record.is_some_and(|record| !record.no_expiry()) => "It has an expiry now.",
        WarningRule::RenewalStopped if record.is_some() => "Renewals go on.",
        WarningRule::WaitingLong => "It changed hands, or nobody waits any more.",
        WarningRule::QueueWithoutHolder => "Somebody has it, or nobody queues any more.",
        WarningRule::Evictable => "The store keeps its keys now.",
        WarningRule::ManyLocks => "It has fewer locks now.",
        WarningRule::ReleasedByForce => "It was some time ago.",
        _ => "It is so no more.",
    }
    .to_owned()
}
