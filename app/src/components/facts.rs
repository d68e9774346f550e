//! What the drawer says of a lock: one sentence, and every fact. Plain functions.

use lockkeeper_model::words::{count, duration, shown};
use lockkeeper_model::{
    Bounds, Event, Holder, Lease, LeaseKind, Lock, LockState, Signs, Time, TransitionKind, Verdict, Waiters, judge,
};

use super::say;
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
    let bought = holder.renewals.last_at.zip(holder.lease.expires_at).map(|(last, end)| end.since(last));
    let signs = Signs {
        renewals: holder.renewals,
        lease_ms: bought,
        expires_at: holder.lease.expires_at,
        watched_since: holder.held_since.not_after,
        connection: holder.connection.clone(),
    };
    judge(&signs, now)
}

/// The lock in a few sentences.
pub(crate) fn sentence(lock: Option<&Lock>, events: &[Event], now: Time) -> Sentence {
    let Some(lock) = lock else { return not_held(events, now) };
    let first_holder = lock.holders.first();
    let (verdict, evidence) = match first_holder {
        Some(holder) => verdict_on(holder, now),
        None => (Verdict::Unknown, Vec::new()),
    };
    let first = match (lock.state, verdict) {
        (LockState::WaitingOnly, _) => "Nobody has it, yet somebody waits.",
        (LockState::NoQuorum, _) => "No majority of its replicas agrees on a holder.",
        (_, Verdict::Alive) => "Its holder is alive.",
        (_, Verdict::Quiet) => "Its holder has gone quiet.",
        (_, Verdict::Gone) => "Its holder is gone.",
        (LockState::UnknownHolder, Verdict::Unknown) => "It is held, and its form does not say by whom.",
        (LockState::Held, Verdict::Unknown) => "Whether its holder lives is unknown.",
    };
    let mut rest = Vec::new();
    if let Some(holder) = first_holder {
        let who = match say::identity(&holder.identity) {
            Some(who) if holder.identity.host.is_some() || holder.identity.client_name.is_some() => who,
            Some(who) => format!("a client, {who},"),
            None => "a holder whose token names nobody".to_owned(),
        };
        let together = match lock.holders.len() {
            0 | 1 => String::new(),
            n => format!(" and {} more", count(n as u64 - 1)),
        };
        rest.push(format!("Held by {who}{together} for {}.", say::held_for(&lock.held_since, now)));
    }
    rest.extend(evidence.into_iter().map(|line| capital(&line)));
    rest.push(lease_sentence(&lock.lease, now));
    rest.push(waiters_sentence(&lock.waiters));
    let endless = lock.lease.kind == LeaseKind::None && lock.state == LockState::Held;
    let tone = match verdict {
        Verdict::Gone => Tone::Bad,
        Verdict::Quiet => Tone::Warn,
        Verdict::Alive | Verdict::Unknown if endless && verdict != Verdict::Alive => Tone::Warn,
        Verdict::Alive | Verdict::Unknown => Tone::Calm,
    };
    Sentence { tone, first: first.to_owned(), rest: rest.join(" ") }
}

fn not_held(events: &[Event], now: Time) -> Sentence {
    let end = events.iter().find(|event| event.transition.ends());
    let rest = match end {
        Some(event) => {
            let after = event.held_ms.map(|held| format!(", after {}", duration(held))).unwrap_or_default();
            let word = say::ended_word(event.transition);
            format!("It was {word} at {}, {} ago{after}.", hms(event.at), duration(now.since(event.at)))
                .replace("It was ended unseen", "It ended unseen")
        }
        None => "Nothing was seen of it since Lockkeeper started to watch.".to_owned(),
    };
    Sentence { tone: Tone::Calm, first: "Not held now.".to_owned(), rest }
}

fn lease_sentence(lease: &Lease, now: Time) -> String {
    match (lease.kind, lease.expires_at) {
        (LeaseKind::None, _) => "No expiry: it will stay until somebody releases it.".to_owned(),
        (LeaseKind::Session, None) => "It ends with its session.".to_owned(),
        (LeaseKind::Transaction, None) => "It ends with its transaction.".to_owned(),
        (LeaseKind::Ttl, None) => "When it ends by itself is not known.".to_owned(),
        (_, Some(end)) if end <= now => "Its time is over, and the store has not confirmed the end yet.".to_owned(),
        (_, Some(end)) => format!("It ends by itself in {}, unless it is renewed.", duration(end.since(now))),
    }
}

fn waiters_sentence(waiters: &Waiters) -> String {
    let how = say::waiters_basis(waiters.basis);
    match waiters.count {
        None => "Whether anybody waits is unknown.".to_owned(),
        Some(0) => format!("Nobody waits ({how})."),
        Some(n) => {
            let longest = waiters
                .longest_wait_ms
                .filter(|ms| *ms >= 1_000)
                .map(|ms| format!(", for at least {}", duration(ms)))
                .unwrap_or_default();
            format!("{} {} for it ({how}){longest}.", count(u64::from(n)), if n == 1 { "waits" } else { "wait" })
        }
    }
}

/// A sentence out of a line that begins small and ends without a full stop.
pub(crate) fn capital(line: &str) -> String {
    let mut chars = line.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), shown(chars.as_str().trim_end_matches('.'))),
        None => String::new(),
    }
}

/// Everything known of the lock as a whole, but its holders.
pub(crate) fn lock_facts(lock: &Lock) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "Dialect",
        format!("{}, {}: {}", shown(&lock.dialect.name), lock.dialect.certainty.word(), shown(&lock.dialect.because)),
    )];
    let permits = lock.permits.map(|permits| format!(", {permits} permits")).unwrap_or_default();
    facts.push(("Mode", format!("{}{permits}", say::mode(lock.mode))));
    facts.push(("Waiters", waiters(&lock.waiters)));
    if !lock.waiters.list.is_empty() {
        let list: Vec<String> = lock
            .waiters
            .list
            .iter()
            .map(|waiter| match (&waiter.token, &waiter.token_b64) {
                (Some(token), _) => shown(token),
                (None, Some(b64)) => format!("b64:{}", shown(b64)),
                (None, None) => say::identity(&waiter.identity).unwrap_or_else(|| "somebody".to_owned()),
            })
            .collect();
        facts.push((if lock.waiters.ordered { "In this order" } else { "Namely" }, list.join(", ")));
    }
    for flag in &lock.flags {
        facts.push(match lock.flag_notes.iter().find(|note| note.flag == *flag) {
            Some(note) => ("Flag", format!("{} {} {}", shown(&note.what), shown(&note.why), shown(&note.todo))),
            None => ("Flag", say::flag_meaning(*flag)),
        });
    }
    facts.extend(lock.notes.iter().map(|note| ("Noted", shown(note))));
    facts.extend(lock.no_release.iter().map(|because| ("No release", shown(because))));
    let keys: Vec<String> = lock.keys.iter().map(|key| shown(key.as_str())).collect();
    facts.push((if keys.len() == 1 { "Key" } else { "Keys" }, keys.join(", ")));
    if let Some(stored) = &lock.stored
        && !stored.companions.is_empty()
    {
        let companions: Vec<String> = stored.companions.iter().map(|key| shown(key.as_str())).collect();
        facts.push(("Companions", companions.join(", ")));
    }
    facts.push(("Generation", shown(&lock.generation)));
    facts.push(("Read at", hms(lock.as_of)));
    facts
}

fn waiters(waiters: &Waiters) -> String {
    let number = waiters.count.map_or_else(|| "unknown".to_owned(), |n| count(u64::from(n)));
    let basis =
        if waiters.count.is_some() { format!(", {}", say::waiters_basis(waiters.basis)) } else { String::new() };
    let longest = waiters.longest_wait_ms.map(|ms| format!("; longest at least {}", duration(ms))).unwrap_or_default();
    let because = if waiters.because.is_empty() { String::new() } else { format!(": {}", shown(&waiters.because)) };
    format!("{number}{basis}{because}{longest}")
}

/// Everything known of one hold, but its token.
pub(crate) fn holder_facts(holder: &Holder, now: Time) -> Vec<(&'static str, String)> {
    let (verdict, evidence) = verdict_on(holder, now);
    let mut facts = vec![
        ("Who", say::identity(&holder.identity).unwrap_or_else(|| "unknown: the token names nobody".to_owned())),
        ("Is it alive?", format!("{}: {}", verdict.word(), shown(&evidence.join("; ")))),
        ("Held since", since(&holder.held_since, now)),
        ("Lease", lease(&holder.lease, now)),
        ("Renewals", renewals(holder, now)),
    ];
    if holder.count != 1 {
        facts.push(("Entered", format!("{} times", count(u64::from(holder.count)))));
    }
    facts.push((
        "Fencing token",
        holder.fencing_token.as_ref().map_or_else(
            || "none: nothing lets the resource refuse a late holder".to_owned(),
            |token| format!("{} ({})", shown(&token.value), shown(&token.kind)),
        ),
    ));
    facts
}

fn since(bounds: &Bounds, now: Time) -> String {
    let age = say::held_for(bounds, now);
    let basis = say::basis(bounds.basis);
    match (bounds.not_before, bounds.not_after) {
        (Some(early), Some(late)) if late.since(early) >= 1_000 => {
            format!("between {} and {}, {basis} ({age})", hms(early), hms(late))
        }
        (_, Some(late)) if bounds.not_before.is_some() => format!("{}, {basis} ({age})", hms(late)),
        (None, Some(late)) => format!("before {}, {basis} ({age})", hms(late)),
        (Some(early), None) => format!("after {}, {basis}", hms(early)),
        _ => "unknown".to_owned(),
    }
}

fn lease(lease: &Lease, now: Time) -> String {
    let kind = match lease.kind {
        LeaseKind::Ttl => "expiry",
        LeaseKind::Session => "session",
        LeaseKind::Transaction => "transaction",
        LeaseKind::None => return "no expiry".to_owned(),
    };
    match lease.expires_at {
        None => format!("ends with its {kind}"),
        Some(end) if end <= now => format!("{kind} at {}: over, not confirmed", hms(end)),
        Some(end) => format!("{kind} at {}, {} left", hms(end), duration(end.since(now))),
    }
}

fn renewals(holder: &Holder, now: Time) -> String {
    let renewals = &holder.renewals;
    let Some(last) = renewals.last_at else { return "none was seen".to_owned() };
    let rhythm = renewals.period_ms.map(|ms| format!(", every {}", duration(ms))).unwrap_or_default();
    format!("{}, the last {} ago{rhythm}", count(u64::from(renewals.count)), duration(now.since(last)))
}

/// One line of a lock's history.
pub(crate) fn event_said(event: &Event) -> String {
    let name = |token: &Option<String>, b64: &Option<String>| match (token, b64) {
        (Some(token), _) => lockkeeper_model::words::short_token(token),
        (None, Some(b64)) => format!("b64:{}", lockkeeper_model::words::short_token(b64)),
        (None, None) => "somebody".to_owned(),
    };
    let holder = name(&event.holder, &event.holder_b64);
    let from = event.previous_holder.as_ref().map(|token| format!(" from {}", name(&Some(token.clone()), &None)));
    let from = from.unwrap_or_default();
    let after = event.held_ms.map(|held| format!(", after {}", duration(held))).unwrap_or_default();
    match event.transition {
        TransitionKind::FirstSeen => format!("already held by {holder} at the first look"),
        TransitionKind::Acquired => format!("taken by {holder}"),
        TransitionKind::Renewed => match (event.count, event.first_at) {
            (0 | 1, _) | (_, None) => format!("renewed by {holder}"),
            (n, Some(first)) => format!("renewed {} times since {}", count(u64::from(n)), hms(first)),
        },
        TransitionKind::ReEntered => format!("entered once more, or left one level, by {holder}"),
        TransitionKind::HandedOver => format!("handed over to {holder}{from}{after}"),
        TransitionKind::TakenOver => format!("taken over by {holder}{from}, which had not let go"),
        TransitionKind::Released => format!("released by {holder}{after}"),
        TransitionKind::Expired => format!("expired{after}"),
        TransitionKind::Evicted => format!("evicted by the store{after}"),
        TransitionKind::Forced => format!("released from here{after}"),
        TransitionKind::Lost => format!("ended while nobody was looking{after}"),
        TransitionKind::LeaseChanged => "its lease was changed".to_owned(),
        TransitionKind::Gap => "something was not seen here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
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
    fn facts_never_leave_out_how_they_are_known() {
        let facts = holder_facts(&lock().holders[0], Time(61_000));
        let fact = |term| facts.iter().find(|(t, _)| *t == term).map(|(_, text)| text.as_str()).unwrap();
        assert_eq!(fact("Held since"), "00:00:00, seen as it happened (1 m 01 s)");
        assert_eq!(fact("Renewals"), "6, the last 1.0 s ago, every 10.0 s");
        let facts = lock_facts(&lock());
        assert!(
            facts.iter().any(|(_, text)| text == "14, inferred: subscribers of its channel; longest at least 40 s")
        );
    }

    #[test]
    fn renewals_are_one_line() {
        let renewed = Event { count: 27, first_at: Some(Time(0)), ..event(TransitionKind::Renewed, 270_000) };
        assert_eq!(event_said(&renewed), "renewed 27 times since 00:00:00");
    }
}
