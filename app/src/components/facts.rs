//! What is known of a lock, term by term. Plain functions: what is known goes in, words come out.

use lockkeeper_model::words::{short_token, shown};
use lockkeeper_model::{
    Bounds, Certainty, Contention, Holder, Lease, LeaseKind, Lock, Mode, Time, Waiters, missed_beats,
};

use super::say;
use crate::lang::{self, count, duration, t};
use crate::ui::hms;

/// Terms and what is known of each, in order.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// Everything known of one hold, but who has it, its token and its verdict.
pub(crate) fn of_holder(holder: &Holder, lock_mode: Mode, now: Time) -> Facts {
    let mut facts: Facts = Vec::new();
    if holder.mode != lock_mode {
        facts.push((t!(holds_it), say::mode(holder.mode).to_owned()));
    }
    facts.push((t!(held_since), since(&holder.held_since, now)));
    facts.push((t!(lease), lease(&holder.lease, now)));
    facts.push((t!(renewals), renewals(holder, now)));
    if holder.count != 1 {
        facts.push((t!(entered), t!(times, count(u64::from(holder.count)))));
    }
    facts.push((
        t!(fencing_token),
        holder.fencing_token.as_ref().map_or_else(
            || t!(none_nothing_lets_the_resource).to_owned(),
            |token| format!("{} ({})", shown(&token.value), shown(&token.kind)),
        ),
    ));
    let identity = &holder.identity;
    let connection = [("", &identity.client_name), (t!(from), &identity.client_addr), (t!(as_user), &identity.user)];
    let connection: Vec<String> = connection
        .into_iter()
        .filter_map(|(word, value)| value.as_ref().map(|value| format!("{word}{}", shown(value))))
        .collect();
    if !connection.is_empty() {
        facts.push((t!(connection), connection.join(", ")));
    }
    let more =
        [(t!(instance), &identity.instance), (t!(node), &identity.node), (t!(its_caller_says), &identity.metadata)];
    facts.extend(more.into_iter().filter_map(|(term, value)| value.as_ref().map(|value| (term, shown(value)))));
    if let Some(made) = identity.token_time {
        facts.push((t!(token_made), t!(by_its_holders_clock, hms(made))));
    }
    facts
}

fn since(bounds: &Bounds, now: Time) -> String {
    let age = say::held_for(bounds, now);
    let basis = say::basis(bounds.basis);
    match (bounds.not_before, bounds.not_after) {
        (Some(early), Some(late)) if late.since(early) >= 1_000 => {
            t!(between_and, hms(early), hms(late), basis, age)
        }
        (_, Some(late)) if bounds.not_before.is_some() => format!("{}, {basis} ({age})", hms(late)),
        (None, Some(late)) => t!(before, hms(late), basis, age),
        (Some(early), None) => t!(after, hms(early), basis),
        _ => t!(unknown).to_owned(),
    }
}

fn lease(lease: &Lease, now: Time) -> String {
    let kind = match lease.kind {
        LeaseKind::Ttl => t!(expiry),
        LeaseKind::Session => t!(session),
        LeaseKind::Transaction => t!(transaction),
        LeaseKind::None => return t!(no_expiry).to_owned(),
    };
    match lease.expires_at {
        None => t!(ends_with_its, kind),
        Some(end) if end <= now => t!(at_over_not_confirmed, kind, hms(end)),
        Some(end) => t!(at_left, kind, hms(end), duration(end.since(now))),
    }
}

fn renewals(holder: &Holder, now: Time) -> String {
    let renewals = &holder.renewals;
    let Some(last) = renewals.last_at else { return t!(none_was_seen).to_owned() };
    let rhythm = renewals.period_ms.map(|ms| t!(every, duration(ms))).unwrap_or_default();
    let missed = match missed_beats(renewals, now) {
        None => String::new(),
        Some(0) => t!(no_beat_missed).to_owned(),
        Some(1) => t!(one_beat_missed).to_owned(),
        Some(missed) => t!(beats_missed, count(u64::from(missed))),
    };
    t!(the_last_ago, count(u64::from(renewals.count)), duration(now.since(last)), rhythm, missed)
}

/// How many wait, and how that is known.
pub(crate) fn of_waiters(waiters: &Waiters) -> Facts {
    let number = waiters.count.map_or_else(|| t!(unknown).to_owned(), |n| count(u64::from(n)));
    let basis =
        if waiters.count.is_some() { format!(", {}", say::waiters_basis(waiters.basis)) } else { String::new() };
    let because = if waiters.because.is_empty() { String::new() } else { format!(": {}", shown(&waiters.because)) };
    let mut facts = vec![(t!(how_many), format!("{number}{basis}{because}"))];
    if let Some(longest) = waiters.longest_wait_ms {
        facts.push((t!(longest_wait), t!(at_least, duration(longest))));
    }
    if !waiters.list.is_empty() {
        facts.push((t!(order), if waiters.ordered { t!(as_they_will_be_served) } else { t!(not_known) }.to_owned()));
    }
    facts
}

/// How long a place in a queue is kept; `None` where it has no end.
pub(crate) fn place(expires_at: Option<Time>, now: Time) -> Option<String> {
    let end = expires_at?;
    Some(match end <= now {
        true => t!(its_time_in_the_queue, duration(now.since(end))),
        false => t!(keeps_its_place_for, duration(end.since(now))),
    })
}

/// What went on around a lock.
pub(crate) fn of_contention(contention: &Contention) -> Facts {
    let blocked = match contention.blocked_ms {
        Some(ms) => {
            t!(all_who_waited_added_up, duration(ms), say::waiters_basis(contention.blocked_basis))
        }
        None => t!(unknown_nobody_could_be_counted).to_owned(),
    };
    let seen = |number: Option<u32>| number.map_or_else(|| t!(unknown).to_owned(), |n| count(u64::from(n)));
    let attempts = match (contention.attempts, contention.refusals) {
        (None, None) => t!(unknown_neither_a_sample_nor).to_owned(),
        (attempts, refusals) => {
            let basis = contention.attempts_basis.map_or("", say::waiters_basis);
            let sample = contention.sampled_at.map(|at| {
                let refused = seen(contention.refusals_per_second);
                t!(a_second_refused_sampled_at, seen(contention.attempts_per_second), refused, hms(at))
            });
            let sample = sample.unwrap_or_default();
            t!(seen_refused, seen(attempts), seen(refusals), basis, sample)
        }
    };
    vec![
        (t!(blocked), blocked),
        (t!(hand_overs), t!(watched, count(u64::from(contention.hand_overs)))),
        (t!(attempts), attempts),
    ]
}

/// Why it is taken for a lock of this family.
pub(crate) fn of_dialect(lock: &Lock) -> Facts {
    let means = match lock.dialect.certainty {
        Certainty::Certain => t!(no_other_known_library_stores),
        Certainty::Likely => t!(others_could_store_this_form),
        Certainty::Ambiguous => t!(several_libraries_store_exactly_this),
        Certainty::Configured => t!(a_configured_pattern_says_that),
    };
    vec![
        (t!(dialect), format!("{}, {}", shown(&lock.dialect.name), lang::certainty(lock.dialect.certainty))),
        (t!(because), shown(&lock.dialect.because)),
        (t!(that_means), means.to_owned()),
    ]
}

/// What it consists of.
pub(crate) fn of_form(lock: &Lock) -> Facts {
    let permits = match lock.permits {
        Some(permits) => t!(of_permits_taken, lock.holders.len(), permits),
        None => String::new(),
    };
    let list =
        |ids: &[lockkeeper_model::LockId]| ids.iter().map(|id| shown(id.as_str())).collect::<Vec<_>>().join(", ");
    let mut facts = vec![(t!(mode), format!("{}{permits}", say::mode(lock.mode)))];
    facts.push((if lock.keys.len() == 1 { t!(key) } else { t!(keys_plural) }, list(&lock.keys)));
    let companions = lock.stored.as_ref().map(|stored| list(&stored.companions)).unwrap_or_default();
    if !companions.is_empty() {
        facts.push((t!(companions), companions));
    }
    // What the masters say together has its own place.
    let of_masters = lock.quorum.as_ref().map(|quorum| &quorum.says);
    let notes = lock.notes.iter().filter(|note| Some(*note) != of_masters);
    facts.extend(notes.map(|note| (t!(noted), shown(note))));
    facts.push((t!(generation), shown(&lock.generation)));
    facts.push((t!(read_at), hms(lock.as_of)));
    facts
}

/// A holder or a waiter in a few words: who it is, or the token by which it is told from others.
pub(crate) fn named(identity: &lockkeeper_model::Identity, token: &Option<String>, b64: Option<&str>) -> String {
    say::identity(identity).unwrap_or_else(|| match (token, b64) {
        (Some(token), _) if token.is_empty() => t!(empty).to_owned(),
        (Some(token), _) => short_token(token),
        (None, Some(b64)) => t!(not_text, short_token(b64)),
        (None, None) => t!(somebody).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Identity, WaitersBasis};

    use super::*;
    use crate::fixtures::lock;

    fn fact<'a>(facts: &'a Facts, term: &str) -> &'a str {
        facts.iter().find(|(known, _)| *known == term).map(|(_, text)| text.as_str()).unwrap()
    }

    #[test]
    fn facts_never_leave_out_how_they_are_known() {
        let facts = of_holder(&lock().holders[0], Mode::Exclusive, Time(61_000));
        assert_eq!(fact(&facts, "Held since"), "00:00:00, seen as it happened (1 m 01 s)");
        assert_eq!(fact(&facts, "Renewals"), "6, the last 1.0 s ago, every 10.0 s; no beat missed");
        let facts = of_waiters(&lock().waiters);
        assert_eq!(fact(&facts, "How many"), "14, inferred: subscribers of its channel");
        assert_eq!(fact(&facts, "Longest wait"), "at least 40 s");
        let nobody_counted = Contention {
            over_ms: 300_000,
            blocked_ms: None,
            blocked_basis: WaitersBasis::Unknown,
            hand_overs: 3,
            attempts: Some(40),
            refusals: None,
            attempts_basis: Some(WaitersBasis::Sampled),
            attempts_per_second: Some(13),
            refusals_per_second: None,
            sampled_at: Some(Time(61_000)),
        };
        let facts = of_contention(&nobody_counted);
        assert_eq!(fact(&facts, "Blocked"), "unknown: nobody could be counted");
        assert_eq!(
            fact(&facts, "Attempts"),
            "40 seen, unknown refused (sampled); 13 a second, unknown refused, sampled at 00:01:01"
        );
    }

    #[test]
    fn a_reader_of_a_lock_that_a_writer_has_says_how_it_holds_it() {
        let mut holder = lock().holders[0].clone();
        holder.mode = Mode::Shared;
        holder.identity = Identity { instance: Some("6f1a\u{202e}".to_owned()), ..Identity::default() };
        let facts = of_holder(&holder, Mode::Exclusive, Time(61_000));
        assert_eq!(fact(&facts, "Holds it"), "shared by readers");
        assert_eq!(fact(&facts, "Instance"), "6f1a\\u{202e}");
    }

    #[test]
    fn permits_are_counted_against_what_there_are() {
        let mut lock = lock();
        (lock.mode, lock.permits) = (Mode::Semaphore, Some(5));
        assert_eq!(fact(&of_form(&lock), "Mode"), "semaphore, 1 of 5 permits taken");
    }

    #[test]
    fn a_place_in_the_queue_says_how_long_it_is_kept() {
        assert_eq!(place(None, Time(0)), None);
        assert_eq!(place(Some(Time(30_000)), Time(0)).unwrap(), "keeps its place for 30 s");
        assert_eq!(place(Some(Time(0)), Time(12_000)).unwrap(), "its time in the queue was over 12.0 s ago");
    }

    #[test]
    fn what_the_masters_say_is_not_noted_once_more() {
        let mut lock = lock();
        let quorum = crate::fixtures::quorum();
        lock.notes = vec![quorum.says.clone(), "n".to_owned()];
        lock.quorum = Some(quorum);
        let facts = of_form(&lock);
        let noted: Vec<&str> = facts.iter().filter(|(term, _)| *term == "Noted").map(|(_, note)| &**note).collect();
        assert_eq!(noted, ["n"]);
    }

    #[test]
    fn whom_nothing_names_is_called_by_its_token() {
        assert_eq!(named(&Identity::NOBODY, &Some("ab".to_owned()), Some("YWI=")), "ab");
        assert_eq!(named(&Identity::NOBODY, &None, Some("/wA=")), "/wA= (not text)");
        assert_eq!(named(&Identity::NOBODY, &None, None), "somebody");
    }
}
