//! What is known of locks, holders and sources, in words for a terminal. Plain functions: what is known goes in, words
//! come out. What is not known is said to be unknown and is never a zero; what strangers chose is made safe to look at.

use lockkeeper_model::words::{MAX_SHOWN_CHARS, count, duration, short_token, shown};
use lockkeeper_model::{
    Basis, Bounds, Event, Flag, Holder, Identity, Lease, LeaseKind, Lock, LockState, Mode, Signs, SourceState, Time,
    TransitionKind, Verdict, Waiters, WaitersBasis, judge,
};

use super::answers::SourceCoverage;
use super::screen::Tone;

/// Pieces of [`MAX_SHOWN_CHARS`] that are shown of one text: more than the server says of anything.
const MOST_PIECES: usize = 20;

/// What the server says, harmless and whole: a sentence about what will happen must not be cut like a stranger's name.
pub(super) fn whole(text: &str) -> String {
    let chars: Vec<char> = text.chars().take(MOST_PIECES * MAX_SHOWN_CHARS + 1).collect();
    let pieces = chars.chunks(MAX_SHOWN_CHARS).take(MOST_PIECES);
    let mut said: String = pieces.map(|piece| shown(&String::from_iter(piece))).collect();
    if chars.len() > MOST_PIECES * MAX_SHOWN_CHARS {
        said.push('…');
    }
    said
}

/// A sentence out of a line that begins small and ends without a full stop.
pub(super) fn sentence(line: &str) -> String {
    let mut chars = line.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), whole(chars.as_str().trim_end_matches('.'))),
        None => String::new(),
    }
}

/// `1 lock`, `3 locks`.
pub(super) fn number_of(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A token as it is told from others in a line; `None` where nothing is known of it.
pub(super) fn token(token: Option<&str>, b64: Option<&str>) -> Option<String> {
    match (token, b64) {
        (Some(""), _) => Some("(empty)".to_owned()),
        (Some(token), _) => Some(short_token(token)),
        (None, Some(b64)) => Some(format!("{} (not text)", short_token(b64))),
        (None, None) => None,
    }
}

/// Who somebody is, as far as anything says it; `None` where nothing does.
pub(super) fn identity(identity: &Identity) -> Option<String> {
    let mut parts = Vec::new();
    let mut add = |word: &str, value: Option<&str>| parts.extend(value.map(|value| format!("{word}{}", shown(value))));
    add("", identity.host.as_deref());
    if identity.host.is_none() && identity.client_name.is_none() {
        add("instance ", identity.instance.as_deref().map(short_token).as_deref());
    }
    add("process ", identity.pid.map(|pid| pid.to_string()).as_deref());
    add("thread ", identity.thread.as_deref());
    add("", identity.client_name.as_deref());
    add("from ", identity.client_addr.as_deref());
    add("as ", identity.user.as_deref());
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A holder in a line: the token, and who that is where anything says it.
pub(super) fn holder(holder: &Holder) -> String {
    let token = token(holder.token.as_deref(), Some(&holder.token_b64)).unwrap_or_default();
    match identity(&holder.identity) {
        Some(who) => format!("{token} ({who})"),
        None => token,
    }
}

/// Who has a lock, in a line.
pub(super) fn holders(lock: &Lock) -> String {
    match lock.holders.as_slice() {
        [] => "nobody".to_owned(),
        [one] if !matches!(lock.mode, Mode::Shared | Mode::Semaphore) => holder(one),
        several => together(lock.mode, several.len() as u64, lock.permits),
    }
}

/// How many hold it, in the words of its mode.
pub(super) fn together(mode: Mode, holders: u64, permits: Option<u32>) -> String {
    let (one, many) = match mode {
        Mode::Exclusive | Mode::Leader => ("holder", "holders"),
        Mode::Shared => ("reader", "readers"),
        Mode::Semaphore => ("permit", "permits"),
    };
    match permits {
        Some(permits) => format!("{} of {} {many}", count(holders), count(u64::from(permits))),
        None => number_of(holders, one, many),
    }
}

/// How many may hold it together.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared by readers",
        Mode::Semaphore => "semaphore",
        Mode::Leader => "leader election",
    }
}

/// For how long, never more exactly than it is known.
pub(super) fn held_for(bounds: &Bounds, at: Time) -> String {
    let Some(late) = bounds.not_after else { return "unknown".to_owned() };
    let age = duration(at.since(late));
    match (bounds.basis, bounds.not_before) {
        (Basis::FirstSeen, _) | (_, None) => format!("≥ {age}"),
        (Basis::Observed | Basis::Reported | Basis::QueuedAt | Basis::SessionStart, Some(_)) => age,
    }
}

/// How a moment is known.
pub(super) fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Observed => "seen as it happened",
        Basis::FirstSeen => "already held at the first look",
        Basis::Reported => "written down by the library",
        Basis::QueuedAt => "counted from when it queued",
        Basis::SessionStart => "not before its session began",
    }
}

/// What is left of a lease, in a few words.
pub(super) fn left(lease: &Lease, at: Time) -> String {
    match (lease.kind, lease.expires_at) {
        (LeaseKind::None, _) => "no expiry".to_owned(),
        (LeaseKind::Session, None) => "with its session".to_owned(),
        (LeaseKind::Transaction, None) => "with its transaction".to_owned(),
        (LeaseKind::Ttl, None) => "unknown".to_owned(),
        (_, Some(end)) if end <= at => "over, not confirmed".to_owned(),
        (_, Some(end)) => duration(end.since(at)),
    }
}

/// How a number of waiters is known.
pub(super) fn waiters_basis(basis: WaitersBasis) -> &'static str {
    match basis {
        WaitersBasis::Exact => "exact",
        WaitersBasis::Inferred => "inferred",
        WaitersBasis::Sampled => "sampled",
        WaitersBasis::Reported => "reported",
        WaitersBasis::Unknown => "unknown",
    }
}

/// How many wait, and how that is known.
pub(super) fn waiting(waiters: &Waiters) -> String {
    match waiters.count {
        Some(n) => format!("{} {}", count(u64::from(n)), waiters_basis(waiters.basis)),
        None => "unknown".to_owned(),
    }
}

/// The time that all who waited in the last minutes have waited together.
pub(super) fn blocked(lock: &Lock) -> String {
    let known = lock.contention.and_then(|contention| Some((contention.blocked_ms?, contention.blocked_basis)));
    match known {
        None => "unknown".to_owned(),
        Some((0, WaitersBasis::Unknown | WaitersBasis::Sampled)) => "unknown".to_owned(),
        Some((ms, _)) => duration(ms),
    }
}

/// A flag in words.
pub(super) fn flag(flag: Flag) -> String {
    flag.word().replace('-', " ")
}

/// Whether what is shown of a lock is what is: not if its source does not answer, or did not when it was last read.
pub(super) fn is_old(lock: &Lock, source: Option<&SourceCoverage>) -> bool {
    lock.flags.contains(&Flag::Stale) || source.is_some_and(|source| source.state == SourceState::Down)
}

/// The verdict on a holder at `at`, from what is known of it.
pub(super) fn verdict_at(holder: &Holder, at: Time) -> (Verdict, Vec<String>) {
    let lease_ms = holder.renewals.last_at.zip(holder.lease.expires_at).map(|(last, end)| end.since(last));
    let signs = Signs {
        renewals: holder.renewals,
        lease_ms,
        expires_at: holder.lease.expires_at,
        watched_since: holder.held_since.not_after,
        connection: holder.connection.clone(),
    };
    let (verdict, evidence) = judge(&signs, at);
    (verdict, evidence.iter().map(ToString::to_string).collect())
}

/// A verdict as a word with its look. What is not live any more was so.
pub(super) fn verdict(verdict: Verdict, is_old: bool) -> (String, Tone) {
    let tone = match verdict {
        Verdict::Alive => Tone::Good,
        Verdict::Quiet => Tone::Warn,
        Verdict::Gone => Tone::Bad,
        Verdict::Unknown => Tone::Plain,
    };
    match (is_old, verdict) {
        (false, _) => (verdict.word().to_owned(), tone),
        (true, Verdict::Unknown) => ("unknown".to_owned(), Tone::Dim),
        (true, _) => (format!("was {}", verdict.word()), Tone::Dim),
    }
}

/// Whether whoever has a lock lives, in a word or two.
pub(super) fn alive(lock: &Lock, is_old: bool) -> (String, Tone) {
    let state = match lock.state {
        LockState::Held => None,
        LockState::WaitingOnly => Some("not held"),
        LockState::NoQuorum => Some("no quorum"),
        LockState::UnknownHolder => Some("holder unknown"),
    };
    if let Some(word) = state {
        return (word.to_owned(), Tone::Warn);
    }
    let judged = |holder: &Holder| if is_old { verdict_at(holder, lock.as_of).0 } else { holder.verdict };
    let worst = [Verdict::Gone, Verdict::Quiet, Verdict::Unknown, Verdict::Alive];
    let verdicts: Vec<Verdict> = lock.holders.iter().map(judged).collect();
    let number = |wanted: Verdict| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let worst = worst.into_iter().find(|verdict| number(*verdict) > 0).unwrap_or(Verdict::Unknown);
    let (word, tone) = verdict(worst, is_old);
    if verdicts.len() > 1 { (format!("{} of {} {word}", number(worst), verdicts.len()), tone) } else { (word, tone) }
}

/// How well a source is watched, in a line.
pub(super) fn source_line(source: &SourceCoverage) -> String {
    let mut line = format!("{}: {}, {}", shown(&source.source), source.state.word(), seen(source));
    if source.state == SourceState::Down {
        line.push_str("; what is shown of it is the last that is known");
    }
    if let Some(problem) = &source.problem {
        line.push_str(&format!("; {}", whole(problem)));
    }
    line
}

/// How much of a source was seen, in a few words.
pub(super) fn seen(source: &SourceCoverage) -> String {
    match source.total_keys {
        _ if source.complete => "all keys seen".to_owned(),
        Some(total) if total > 0 => {
            let percent = (source.scanned_keys.min(total) * 100 / total).min(99);
            format!("{percent} % of {} keys seen", count(total))
        }
        _ => format!("{} keys seen so far", count(source.scanned_keys)),
    }
}

/// One line of a lock's history, without its moment.
pub(super) fn event(event: &Event) -> String {
    let somebody = || "somebody".to_owned();
    let holder = token(event.holder.as_deref(), event.holder_b64.as_deref()).unwrap_or_else(somebody);
    let from = token(event.previous_holder.as_deref(), None).map(|from| format!(" from {from}")).unwrap_or_default();
    let after = event.held_ms.map(|held| format!(", after {}", duration(held))).unwrap_or_default();
    let what = match event.transition {
        TransitionKind::FirstSeen => format!("already held by {holder} at the first look"),
        TransitionKind::Acquired => format!("taken by {holder}"),
        TransitionKind::Renewed => match (event.count, event.first_at) {
            (0 | 1, _) | (_, None) => format!("renewed by {holder}"),
            (n, Some(first)) => format!("renewed {} times since {first} by {holder}", count(u64::from(n))),
        },
        TransitionKind::ReEntered => format!("entered once more, or left one level, by {holder}"),
        TransitionKind::HandedOver => format!("handed over to {holder}{from}{after}"),
        TransitionKind::TakenOver => format!("taken over by {holder}{from}, which had not let go"),
        TransitionKind::Released => format!("released by {holder}{after}"),
        TransitionKind::Expired => format!("expired{after}"),
        TransitionKind::Evicted => format!("evicted by the store{after}"),
        TransitionKind::Forced => format!("released from here{after}"),
        TransitionKind::Lost if event.cause.as_deref() == Some("no_longer_watched") => {
            "not watched any more".to_owned()
        }
        TransitionKind::Lost => format!("ended while nobody was looking{after}"),
        TransitionKind::LeaseChanged => "its lease was changed".to_owned(),
        TransitionKind::Gap => "GAP: something was not seen here".to_owned(),
    };
    let why: Vec<String> = [&event.cause, &event.evidence].into_iter().flatten().map(|text| whole(text)).collect();
    if why.is_empty() { what } else { format!("{what} ({})", why.join(": ")) }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{lock, source};
    use super::*;

    #[test]
    fn unknown_is_never_a_zero() {
        let mut waiters = lock().waiters;
        assert_eq!(waiting(&waiters), "14 inferred");
        waiters.count = None;
        assert_eq!(waiting(&waiters), "unknown");
        let mut lock = lock();
        lock.contention = None;
        assert_eq!(blocked(&lock), "unknown");
        let bounds = Bounds { not_before: None, not_after: None, basis: Basis::FirstSeen };
        assert_eq!(held_for(&bounds, Time(1)), "unknown");
    }

    #[test]
    fn an_age_that_was_not_watched_is_a_lower_bound() {
        let observed = lock().held_since;
        assert_eq!(held_for(&observed, Time(61_000)), "1 m 01 s");
        let seen = Bounds { not_before: None, basis: Basis::FirstSeen, ..observed };
        assert_eq!(held_for(&seen, Time(61_000)), "≥ 1 m 01 s");
    }

    #[test]
    fn strangers_strings_are_shown_harmless() {
        let mut lock = lock();
        lock.holders[0].token = Some("\u{1b}[31m\u{202e}".to_owned());
        lock.holders[0].identity.host = Some("evil\u{7}".to_owned());
        assert_eq!(holders(&lock), "\\u{1b}[31m\\u{202e} (evil\\u{7}, process 42)");
        assert_eq!(whole(&format!("{}\n", "x".repeat(300))), format!("{}\\u{{a}}", "x".repeat(300)));
        assert_eq!(whole(&"x".repeat(1_000_000)).chars().count(), MOST_PIECES * MAX_SHOWN_CHARS + 1);
    }

    #[test]
    fn a_token_that_is_no_text_and_one_that_is_empty_are_said_to_be() {
        assert_eq!(token(None, Some("/wA=")).unwrap(), "/wA= (not text)");
        assert_eq!(token(Some(""), None).unwrap(), "(empty)");
        assert_eq!(token(None, None), None);
    }

    #[test]
    fn a_holder_of_a_source_that_is_down_was_alive() {
        let mut lock = lock();
        assert_eq!(alive(&lock, false), ("alive".to_owned(), Tone::Good));
        lock.as_of = Time(61_000);
        assert_eq!(alive(&lock, true), ("was alive".to_owned(), Tone::Dim));
        let down = SourceCoverage { state: SourceState::Down, complete: false, ..source("orders") };
        assert!(is_old(&lock, Some(&down)) && !is_old(&lock, Some(&source("orders"))));
        assert!(source_line(&down).contains("the last that is known"));
    }

    #[test]
    fn the_worst_of_several_is_counted_and_a_free_lock_has_no_verdict() {
        let mut lock = lock();
        lock.holders.push(lock.holders[0].clone());
        lock.holders[1].verdict = Verdict::Quiet;
        assert_eq!(alive(&lock, false), ("1 of 2 quiet".to_owned(), Tone::Warn));
        lock.holders.clear();
        lock.state = LockState::WaitingOnly;
        assert_eq!((alive(&lock, false).0.as_str(), holders(&lock).as_str()), ("not held", "nobody"));
    }

    #[test]
    fn several_holders_are_counted_in_the_words_of_their_mode() {
        assert_eq!(together(Mode::Shared, 1, None), "1 reader");
        assert_eq!(together(Mode::Semaphore, 2, Some(5)), "2 of 5 permits");
    }

    #[test]
    fn a_lease_that_is_over_is_not_said_to_have_ended() {
        let lease = lock().lease;
        assert_eq!(left(&lease, Time(61_000)), "29 s");
        assert_eq!(left(&lease, Time(90_000)), "over, not confirmed");
        assert_eq!(left(&Lease { kind: LeaseKind::None, expires_at: None, ttl_ms: None }, Time(0)), "no expiry");
    }
}
