//! What the drawer says first: the lock in a few sentences. Plain functions.

use lockkeeper_model::words::{MAX_SHOWN_CHARS, shown};
use lockkeeper_model::{
    Event, Holder, Lease, LeaseKind, Lock, LockState, Signs, Standing, Time, TransitionKind, Verdict, Waiters, judge,
};

use super::say;
use crate::lang::{self, count, duration, t};
use crate::ui::hms;

/// How much a sentence worries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be, or nobody can tell.
    Calm,
    /// Something to look at.
    Warn,
    /// Something is wrong.
    Bad,
}

/// What the drawer says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// How much it worries.
    pub(crate) tone: Tone,
    /// The judgement.
    pub(crate) first: String,
    /// What it rests on and what follows.
    pub(crate) rest: String,
}

/// The verdict on a holder at `now`.
pub(crate) fn verdict_on(holder: &Holder, now: Time) -> (Verdict, Vec<String>) {
    if holder.identity.operator.is_some() {
        // An operator renews nothing: what the server says is all there is.
        return (holder.verdict, holder.evidence.clone());
    }
    let bought = holder.renewals.last_at.zip(holder.lease.expires_at).map(|(last, end)| end.since(last));
    let signs = Signs {
        renewals: holder.renewals,
        lease_ms: bought,
        expires_at: holder.lease.expires_at,
        watched_since: holder.held_since.not_after,
        connection: holder.connection.clone(),
    };
    let (verdict, evidence) = judge(&signs, now);
    (verdict, evidence.iter().map(lang::evidence).collect())
}

/// The lock in a few sentences.
pub(crate) fn sentence(lock: Option<&Lock>, events: &[Event], now: Time) -> Sentence {
    let Some(lock) = lock else { return not_held(events, now) };
    let judged: Vec<_> = lock.holders.iter().map(|holder| verdict_on(holder, now)).collect();
    let verdicts: Vec<Verdict> = judged.iter().map(|(verdict, _)| *verdict).collect();
    let (verdict, mut first) = judgement(lock.state, &verdicts);
    let standing = lock.quorum.as_ref().map(|quorum| quorum.standing);
    if lock.state == LockState::NoQuorum && standing == Some(Standing::Undecided) {
        first = t!(nobody_can_say_who_has).to_owned();
    }
    let mut rest = Vec::new();
    rest.extend(held_by(lock, now));
    // Where there are several, each has its evidence beside it.
    if let [(_, evidence)] = judged.as_slice() {
        rest.extend(evidence.iter().map(|line| capital(line)));
    }
    if !lock.holders.is_empty() {
        rest.push(lease_sentence(&lock.lease, lock.holders.len() > 1, now));
    }
    rest.push(waiters_sentence(&lock.waiters));
    let endless = lock.lease.kind == LeaseKind::None && lock.state == LockState::Held;
    let tone = match (lock.state, verdict) {
        (LockState::NoQuorum, _) | (_, Verdict::Gone) => Tone::Bad,
        (LockState::WaitingOnly | LockState::UnknownHolder, _) | (_, Verdict::Quiet) => Tone::Warn,
        (LockState::Held, Verdict::Unknown) if endless => Tone::Warn,
        (LockState::Held, Verdict::Alive | Verdict::Unknown) => Tone::Calm,
    };
    Sentence { tone, first, rest: rest.join(" ") }
}

/// The worst of the verdicts, and the judgement on all holders together.
fn judgement(state: LockState, verdicts: &[Verdict]) -> (Verdict, String) {
    let number = |wanted: Verdict| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let all = verdicts.len();
    let worst = [Verdict::Gone, Verdict::Quiet, Verdict::Unknown, Verdict::Alive];
    let worst = worst.into_iter().find(|verdict| number(*verdict) > 0).unwrap_or(Verdict::Unknown);
    let first = match (state, worst) {
        (LockState::WaitingOnly, _) => t!(nobody_has_it_yet_somebody_waits).to_owned(),
        (LockState::NoQuorum, _) => t!(no_majority_of_its_replicas).to_owned(),
        (LockState::UnknownHolder, Verdict::Unknown) => t!(it_is_held_and_its).to_owned(),
        (_, Verdict::Alive) if all == 1 => t!(its_holder_is_alive).to_owned(),
        (_, Verdict::Quiet) if all == 1 => t!(its_holder_has_gone_quiet).to_owned(),
        (_, Verdict::Gone) if all == 1 => t!(its_holder_is_gone).to_owned(),
        (_, Verdict::Unknown) if all <= 1 => t!(whether_its_holder_lives_is).to_owned(),
        (_, Verdict::Alive) => t!(all_holders_are_alive, all),
        (_, Verdict::Quiet) => t!(of_holders_went_quiet, number(Verdict::Quiet), all),
        (_, Verdict::Gone) => match number(Verdict::Gone) {
            1 => t!(one_of_holders_is_gone, all),
            gone => t!(of_holders_are_gone, gone, all),
        },
        (_, Verdict::Unknown) => match number(Verdict::Alive) {
            0 => t!(whether_its_holders_live_is, all),
            alive => t!(of_holders_are_known_to, alive, all),
        },
    };
    (worst, first)
}

fn held_by(lock: &Lock, now: Time) -> Option<String> {
    let holder = lock.holders.first()?;
    if lock.state == LockState::NoQuorum && lock.holders.len() > 1 {
        return Some(t!(tokens_are_there_and_none, lock.holders.len()));
    }
    if lock.holders.len() > 1 {
        let who = say::together(lock.mode, lock.holders.len() as u64, lock.permits);
        return Some(t!(held_by_the_longest_for, who, say::held_for(&lock.held_since, now)));
    }
    let who = match say::identity(&holder.identity) {
        Some(who) if holder.identity.host.is_some() || holder.identity.client_name.is_some() => who,
        Some(who) => t!(a_client, who),
        None => t!(a_holder_whose_token_names).to_owned(),
    };
    if lock.state == LockState::NoQuorum {
        return Some(t!(seen_on_fewer_of_them, who));
    }
    Some(t!(held_by_for, who, say::held_for(&lock.held_since, now)))
}

fn not_held(events: &[Event], now: Time) -> Sentence {
    let end = events.iter().find(|event| event.transition.ends());
    let rest = match end {
        Some(event) => {
            let after = event.held_ms.map(|held| t!(after_so_long, duration(held))).unwrap_or_default();
            let (at, ago) = (hms(event.at), duration(now.since(event.at)));
            match event.transition {
                TransitionKind::Lost => t!(it_ended_unseen, at, ago, after),
                TransitionKind::Expired => t!(it_expired, at, ago, after),
                other => t!(it_was_ended, say::ended_word(other), at, ago, after),
            }
        }
        None => t!(nothing_was_seen_of_it).to_owned(),
    };
    Sentence { tone: Tone::Calm, first: t!(not_held_now_in_sentence).to_owned(), rest }
}

fn lease_sentence(lease: &Lease, several: bool, now: Time) -> String {
    match (lease.kind, lease.expires_at) {
        (LeaseKind::None, _) => t!(no_expiry_it_will_stay).to_owned(),
        (LeaseKind::Session, None) => t!(it_ends_with_its_session).to_owned(),
        (LeaseKind::Transaction, None) => t!(it_ends_with_its_transaction).to_owned(),
        (LeaseKind::Ttl, None) => t!(when_it_ends_by_itself).to_owned(),
        (_, Some(end)) if end <= now && several => t!(the_time_of_all_of).to_owned(),
        (_, Some(end)) if end <= now => t!(its_time_is_over_and).to_owned(),
        (_, Some(end)) if several => t!(the_last_of_them_ends, duration(end.since(now))),
        (_, Some(end)) => t!(it_ends_by_itself_in, duration(end.since(now))),
    }
}

fn waiters_sentence(waiters: &Waiters) -> String {
    let how = say::waiters_basis(waiters.basis);
    match waiters.count {
        None => t!(whether_anybody_waits_is_unknown).to_owned(),
        Some(0) => t!(nobody_waits, how),
        Some(n) => {
            let longest = waiters
                .longest_wait_ms
                .filter(|ms| *ms >= 1_000)
                .map(|ms| t!(for_at_least, duration(ms)))
                .unwrap_or_default();
            t!(n_wait_for_it, count(u64::from(n)), how, longest)
        }
    }
}

/// Pieces of [`MAX_SHOWN_CHARS`] that are shown of one text: more than the server says of anything.
const MOST_PIECES: usize = 20;

/// What the server says, harmless and whole: a sentence about what will happen must not be cut like a stranger's name.
pub(crate) fn whole(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let pieces = chars.chunks(MAX_SHOWN_CHARS).take(MOST_PIECES);
    let mut said: String = pieces.map(|piece| shown(&String::from_iter(piece))).collect();
    if chars.len() > MOST_PIECES * MAX_SHOWN_CHARS {
        said.push('…');
    }
    said
}

/// A sentence out of a line that begins small and ends without a full stop.
pub(crate) fn capital(line: &str) -> String {
    let mut chars = line.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), whole(chars.as_str().trim_end_matches('.'))),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::TransitionKind;

    use super::*;
    use crate::fixtures::{event, lock};

    #[test]
    fn the_sentence_says_who_how_long_what_ends_it_and_who_waits() {
        let said = sentence(Some(&lock()), &[], Time(61_000));
        assert_eq!(said.first, "Its holder is alive.");
        assert_eq!(
            said.rest,
            "Held by worker-3, process 42 for 1 m 01 s. Renewed 1.0 s ago, every 10.0 s. \
             It ends by itself in 29 s, unless it is renewed. 14 wait for it (inferred), for at least 40 s."
        );
        assert_eq!(said.tone, Tone::Calm);
    }

    #[test]
    fn what_the_server_says_is_shown_whole_harmless_and_within_bounds() {
        let long = format!("{}\u{202e}end", "x".repeat(300));
        assert_eq!(whole(&long), format!("{}\\u{{202e}}end", "x".repeat(300)));
        assert_eq!(capital(&long), format!("X{}\\u{{202e}}end.", "x".repeat(299)));
        assert_eq!(whole(&"x".repeat(1_000_000)).chars().count(), MOST_PIECES * MAX_SHOWN_CHARS + 1);
    }

    #[test]
    fn a_lock_without_expiry_says_that_it_will_stay() {
        let mut lock = lock();
        lock.lease = Lease { kind: LeaseKind::None, expires_at: None, ttl_ms: None };
        lock.holders[0].lease = lock.lease;
        lock.holders[0].renewals = lockkeeper_model::Renewals::default();
        lock.waiters.count = None;
        let said = sentence(Some(&lock), &[], Time(61_000));
        assert!(said.rest.contains("No expiry: it will stay until somebody releases it."), "{}", said.rest);
        assert!(said.rest.ends_with("Whether anybody waits is unknown."), "{}", said.rest);
        assert_eq!(said.tone, Tone::Warn);
    }

    #[test]
    fn a_lock_that_is_not_held_says_how_it_ended() {
        let ended = Event { held_ms: Some(840), ..event(TransitionKind::Released, 1_000) };
        let said = sentence(None, &[ended], Time(3_000));
        assert_eq!(said.first, "Not held now.");
        assert_eq!(said.rest, "It was released at 00:00:01, 2.0 s ago, after 0.8 s.");
    }

    #[test]
    fn several_holders_are_judged_together_and_a_free_lock_with_waiters_is_no_held_one() {
        let mut lock = lock();
        lock.mode = lockkeeper_model::Mode::Shared;
        lock.holders.push(lock.holders[0].clone());
        lock.holders[1].renewals.last_at = Some(Time(30_000));
        let said = sentence(Some(&lock), &[], Time(61_000));
        assert_eq!((said.first.as_str(), said.tone), ("1 of 2 holders went quiet.", Tone::Warn));
        assert!(
            said.rest.starts_with("Held by 2 readers, the longest for 1 m 01 s. The last of them"),
            "{}",
            said.rest
        );
        lock.holders.truncate(1);
        lock.state = LockState::NoQuorum;
        let said = sentence(Some(&lock), &[], Time(61_000));
        assert!(said.rest.starts_with("Seen on fewer of them: worker-3, process 42."), "{}", said.rest);
        let mut quorum = crate::fixtures::quorum();
        quorum.standing = Standing::Undecided;
        lock.quorum = Some(quorum);
        let said = sentence(Some(&lock), &[], Time(61_000));
        assert_eq!(said.first, "Nobody can say who has it: too few of its masters were read.");
        lock.holders.push(lock.holders[0].clone());
        let said = sentence(Some(&lock), &[], Time(61_000));
        assert!(said.rest.starts_with("2 tokens are there, and none was seen on enough of them."), "{}", said.rest);
        lock.quorum = None;
        lock.holders.clear();
        lock.state = LockState::WaitingOnly;
        let said = sentence(Some(&lock), &[], Time(61_000));
        assert_eq!(said.first, "Nobody has it, yet somebody waits.");
        assert_eq!(said.rest, "14 wait for it (inferred), for at least 40 s.");
    }
}
