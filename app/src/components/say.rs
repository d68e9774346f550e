//! What rows, sources and results are called on the screen. Plain functions: what is known goes in, words come out.

use lockkeeper_model::wire::{Ended, Row};
use lockkeeper_model::words::{count, duration, short_token, shown};
use lockkeeper_model::{
    Basis, Bounds, Flag, Holder, Identity, LockState, Mode, Outcome, SourceState, SourceStatus, Time, TransitionKind,
    Verdict, WaitersBasis,
};

use crate::live::board::{Condition, RowView};

/// A judgement with its evidence; the look is chosen by [`super::verdict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The word.
    pub(crate) word: &'static str,
    /// The verdict whose shape and colour it wears; `None`: no verdict, it is over.
    pub(crate) verdict: Option<Verdict>,
    /// What it rests on.
    pub(crate) evidence: String,
}

/// What the third column says of a row.
pub(crate) fn judgement(view: &RowView, at: i64, now: i64, old: bool) -> Judgement {
    if let Condition::Ended(ended) = &view.condition {
        return Judgement { word: ended_word(ended.transition), verdict: None, evidence: ended_when(ended, now) };
    }
    let (verdict, evidence) = view.row.judge(Time(at));
    if old {
        return Judgement { word: was(verdict), verdict: Some(verdict), evidence: as_of(at, now) };
    }
    Judgement { word: verdict.word(), verdict: Some(verdict), evidence: evidence.join("; ") }
}

/// A verdict on something that is not live: it was so.
fn was(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Alive => "was alive",
        Verdict::Quiet => "was quiet",
        Verdict::Gone => "was gone",
        Verdict::Unknown => "unknown",
    }
}

/// How old something is that is not live.
pub(crate) fn as_of(at: i64, now: i64) -> String {
    format!("as of {} ago", duration((now - at) / 1_000 * 1_000).replace(".0 s", " s"))
}

/// How a hold ended, in a word.
pub(crate) fn ended_word(transition: TransitionKind) -> &'static str {
    match transition {
        TransitionKind::Released => "released",
        TransitionKind::Expired => "expired",
        TransitionKind::Evicted => "evicted",
        TransitionKind::Forced => "released from here",
        TransitionKind::Lost => "ended unseen",
        TransitionKind::HandedOver => "handed over",
        TransitionKind::TakenOver => "taken over",
        TransitionKind::FirstSeen
        | TransitionKind::Acquired
        | TransitionKind::Renewed
        | TransitionKind::ReEntered
        | TransitionKind::LeaseChanged
        | TransitionKind::Gap => "ended",
    }
}

fn ended_when(ended: &Ended, now: i64) -> String {
    let ago = duration(now - ended.at);
    match ended.held_ms {
        Some(held) => format!("{ago} ago, after {}", duration(held)),
        None => format!("{ago} ago"),
    }
}

/// Who holds it: the token and the small line under it.
pub(crate) fn holder(row: &Row) -> (String, String) {
    let token = match (&row.token, &row.token_b64) {
        (Some(token), _) if token.is_empty() => "(empty)".to_owned(),
        (Some(token), _) => short_token(token),
        (None, Some(b64)) => format!("{} (not text)", short_token(b64)),
        (None, None) => "–".to_owned(),
    };
    let who = match (row.state, &row.who) {
        (LockState::WaitingOnly, _) => "nobody has it; somebody waits".to_owned(),
        (LockState::NoQuorum, _) => "no majority of its replicas agrees".to_owned(),
        (_, Some(who)) => shown(who),
        (LockState::UnknownHolder, None) => "its form does not say who".to_owned(),
        (LockState::Held, None) => "token names nobody".to_owned(),
    };
    let mut parts = vec![who];
    if row.count > 1 {
        parts.push(format!("×{}", row.count));
    }
    if row.holders > 1 {
        parts.push(format!("and {} more", count(u64::from(row.holders) - 1)));
    }
    (token, parts.join(", "))
}

/// For how long, never more exactly than it is known.
pub(crate) fn held_for(bounds: &Bounds, at: Time) -> String {
    let at_least = bounds.not_after.map_or(0, |since| at.since(since));
    let text = duration(at_least);
    match (bounds.basis, bounds.not_before) {
        (Basis::Observed, Some(_)) => text,
        (Basis::Reported | Basis::QueuedAt | Basis::SessionStart, Some(_)) => text,
        _ => format!("≥ {text}"),
    }
}

/// How a row's age is known.
pub(crate) fn bounds(row: &Row) -> Bounds {
    Bounds {
        not_before: row.since_not_before.map(Time),
        not_after: Some(Time(row.since_not_after)),
        basis: row.since_basis,
    }
}

/// How a moment is known, after a comma.
pub(crate) fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Observed => "seen as it happened",
        Basis::FirstSeen => "already held at the first look",
        Basis::Reported => "written down by the library",
        Basis::QueuedAt => "counted from when it queued",
        Basis::SessionStart => "not before its session began",
    }
}

/// The text under the bar.
pub(crate) fn lease(expires_at: Option<i64>, lease_ms: Option<i64>, at: i64) -> String {
    match expires_at {
        None => "no expiry".to_owned(),
        Some(end) if end <= at => "over, not confirmed".to_owned(),
        Some(end) => {
            let left = format!("{} left", duration(end - at));
            match lease_ms {
                Some(length) if length > 0 => format!("{left} of {}", whole(length)),
                _ => left,
            }
        }
    }
}

/// A length of time without false precision: what the store says of 30 s is a few milliseconds less.
fn whole(ms: i64) -> String {
    let rounded = if ms < 2_000 { ms } else { (ms + 500) / 1_000 * 1_000 };
    duration(rounded).replace(".0 s", " s")
}

/// How many wait, and how that is known. Unknown is a dash, never a zero.
pub(crate) fn waiting(waiters: Option<u32>, basis: WaitersBasis, since: Option<i64>, at: i64) -> (String, String) {
    let number = waiters.map_or_else(|| "–".to_owned(), |n| count(u64::from(n)));
    let mut how = waiters_basis(basis).to_owned();
    if let Some(since) = since
        && waiters != Some(0)
    {
        how = format!("{how}, {}", duration(at - since));
    }
    (number, how)
}

/// How a number of waiters is known.
pub(crate) fn waiters_basis(basis: WaitersBasis) -> &'static str {
    match basis {
        WaitersBasis::Exact => "exact",
        WaitersBasis::Inferred => "inferred",
        WaitersBasis::Sampled => "sampled",
        WaitersBasis::Reported => "reported",
        WaitersBasis::Unknown => "unknown",
    }
}

/// A flag in the table: `None` where another column already says it.
pub(crate) fn flag_tag(flag: Flag) -> Option<String> {
    match flag {
        Flag::NoExpiry | Flag::LeaseOver | Flag::Stale => None,
        flag => Some(flag.word().replace('-', " ")),
    }
}

/// A flag in the drawer, with what it means. What the server says of it is better: this is for what it did not explain.
pub(crate) fn flag_meaning(flag: Flag) -> String {
    match flag {
        Flag::NoExpiry => "no expiry: if its holder crashes, it stays locked until somebody releases it".to_owned(),
        Flag::LeaseOver => "lease over: its time has run out and the store has not confirmed the end yet".to_owned(),
        Flag::Stale => "old: its source cannot be reached, this is the last known state".to_owned(),
        flag => flag.word().replace('-', " "),
    }
}

/// How many may hold it together.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared by readers",
        Mode::Semaphore => "semaphore",
        Mode::Leader => "leader election",
    }
}

/// Who a holder is, as far as anything says it.
pub(crate) fn identity(identity: &Identity) -> Option<String> {
    let mut parts = Vec::new();
    let mut add = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            parts.push(format!("{word}{}", shown(value)));
        }
    };
    add("", &identity.host);
    add("process ", &identity.pid.map(|pid| pid.to_string()));
    add("thread ", &identity.thread);
    add("", &identity.client_name);
    add("from ", &identity.client_addr);
    add("as ", &identity.user);
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A holder's token in full, as far as it can be shown.
pub(crate) fn token(holder: &Holder) -> String {
    match &holder.token {
        Some(token) if token.is_empty() => "(empty)".to_owned(),
        Some(token) => shown(token),
        None => format!("b64:{} (not text)", shown(&holder.token_b64)),
    }
}

/// What is said of a source beside its name.
pub(crate) fn source_state(source: &SourceStatus) -> String {
    let state = match source.state {
        SourceState::Live => "live".to_owned(),
        SourceState::Scanning => format!("scanning, {}", coverage(source)),
        SourceState::Degraded => "degraded".to_owned(),
        SourceState::Down => "down".to_owned(),
    };
    let feed = source.feed.filter(|_| source.state != SourceState::Down);
    match feed {
        Some(feed) => format!("{state}, by {}", feed.word()),
        None => state,
    }
}

/// How much of a source was seen, in a few words.
pub(crate) fn coverage(source: &SourceStatus) -> String {
    let coverage = &source.coverage;
    if coverage.complete {
        return "all keys seen".to_owned();
    }
    match coverage.total_keys {
        Some(total) if total > 0 => {
            let percent = (coverage.scanned_keys.min(total) * 100 / total).min(99);
            format!("{percent} % of {} keys seen", count(total))
        }
        _ => format!("{} keys seen so far", count(coverage.scanned_keys)),
    }
}

/// How much of all sources together was seen.
pub(crate) fn coverage_of_all(sources: &[SourceStatus]) -> String {
    if sources.is_empty() {
        return "no source".to_owned();
    }
    if sources.iter().all(|source| source.coverage.complete) {
        return "100 % of keys seen".to_owned();
    }
    let totals: Option<u64> = sources.iter().map(|source| source.coverage.total_keys).sum();
    let seen: u64 = sources
        .iter()
        .map(|source| match source.coverage.total_keys {
            Some(total) if source.coverage.complete => total,
            Some(total) => source.coverage.scanned_keys.min(total),
            None => source.coverage.scanned_keys,
        })
        .sum();
    match totals {
        Some(total) if total > 0 => format!("{} % of keys seen", (seen * 100 / total).min(99)),
        _ => format!("{} keys seen", count(seen)),
    }
}

/// As of when everything that is shown was true: the oldest of the sources.
pub(crate) fn confirmed_at(sources: &[SourceStatus]) -> Option<i64> {
    sources
        .iter()
        .map(|source| source.confirmed_at.or(source.coverage.finished_at).map_or(i64::MIN, |at| at.0))
        .min()
        .filter(|at| *at > i64::MIN)
}

/// What a result is called.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => "Released.",
        Outcome::Held => "Released and kept closed.",
        Outcome::ChangedHands => "Nothing was released: it had changed hands.",
        Outcome::Gone => "Nothing was released: it was free already.",
        Outcome::Partial => "Released on some of its masters only.",
        Outcome::Signalled => "Accepted, and not finished yet.",
        Outcome::Refused => "Nothing was released: it was refused.",
        Outcome::Failed => "Nothing was released: it could not be tried.",
        Outcome::Unknown => "It was sent and no answer came: look at the lock again.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::row;

    fn live(row: Row) -> RowView {
        RowView { row, condition: Condition::Live }
    }

    #[test]
    fn unknown_is_never_a_zero() {
        assert_eq!(waiting(None, WaitersBasis::Unknown, None, 0), ("–".to_owned(), "unknown".to_owned()));
        assert_eq!(waiting(Some(0), WaitersBasis::Exact, Some(0), 9), ("0".to_owned(), "exact".to_owned()));
        let (number, how) = waiting(Some(1_400), WaitersBasis::Inferred, Some(0), 61_000);
        assert_eq!((number.as_str(), how.as_str()), ("1,400", "inferred, 1 m 01 s"));
    }

    #[test]
    fn an_age_that_was_not_watched_is_a_lower_bound() {
        let mut bounds = bounds(&row(1));
        assert_eq!(held_for(&bounds, Time(61_000)), "1 m 01 s");
        bounds.basis = Basis::FirstSeen;
        bounds.not_before = None;
        assert_eq!(held_for(&bounds, Time(664_000)), "≥ 11 m 04 s");
    }

    #[test]
    fn a_lease_says_when_it_is_over_and_that_nobody_confirmed_it() {
        assert_eq!(lease(Some(4_100), Some(30_000), 0), "4.1 s left of 30 s");
        assert_eq!(lease(Some(4_100), Some(19_983), 0), "4.1 s left of 20 s");
        assert_eq!(lease(Some(4_100), None, 0), "4.1 s left");
        assert_eq!(lease(Some(4_100), Some(30_000), 4_100), "over, not confirmed");
        assert_eq!(lease(None, None, 0), "no expiry");
    }

    #[test]
    fn strangers_strings_are_shown_harmless() {
        let hostile = Row {
            token: Some("\u{202e}<b>\n".to_owned()),
            who: Some("evil\u{7}host".to_owned()),
            count: 2,
            holders: 3,
            ..row(1)
        };
        let (token, who) = holder(&hostile);
        assert_eq!(token, "\\u{202e}<b>\\u{a}");
        assert_eq!(who, "evil\\u{7}host, ×2, and 2 more");
        let binary = Row { token: None, token_b64: Some("/wA=".to_owned()), ..row(1) };
        assert_eq!(holder(&binary).0, "/wA= (not text)");
    }

    #[test]
    fn an_ended_row_says_how_and_when_and_an_old_one_how_old() {
        let ended = Ended { row: 1, transition: TransitionKind::Released, at: 1_000, held_ms: Some(840) };
        let view = RowView { row: row(1), condition: Condition::Ended(ended) };
        let said = judgement(&view, 3_000, 3_000, false);
        assert_eq!((said.word, said.evidence.as_str()), ("released", "2.0 s ago, after 0.8 s"));
        assert_eq!(judgement(&live(row(1)), 2_000, 10_400, true).evidence, "as of 8 s ago");
    }
}
