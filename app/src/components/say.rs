//! What rows, sources and results are called on the screen. Plain functions: what is known goes in, words come out.

use lockkeeper_model::wire::{Ended, Row};
use lockkeeper_model::words::{short_token, shown};
use lockkeeper_model::{
    Basis, Bounds, Flag, Holder, Identity, LockState, Mode, SourceState, SourceStatus, Time, TransitionKind, Verdict,
    WaitersBasis,
};

use super::coverage::coverage;
use crate::lang::{self, count, duration, t, without_tenths};
use crate::live::board::{Condition, RowView};

/// A judgement with its evidence; the look is chosen by [`super::verdict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The word.
    pub(crate) word: &'static str,
    /// What it looks like.
    pub(crate) look: Look,
    /// What it rests on.
    pub(crate) evidence: String,
}

/// The shapes and colours of judgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// On a holder.
    Verdict(Verdict),
    /// On a lock that is not simply held.
    State,
    /// It is over.
    Over,
}

/// What the third column says of a row.
pub(crate) fn judgement(view: &RowView, at: i64, now: i64, old: bool) -> Judgement {
    if let Condition::Ended(ended) = &view.condition {
        return Judgement { word: ended_word(ended.transition), look: Look::Over, evidence: ended_when(ended, now) };
    }
    let row = &view.row;
    let state = match row.state {
        LockState::Held => None,
        LockState::WaitingOnly => Some((t!(not_held), t!(nobody_has_it_yet_somebody))),
        LockState::NoQuorum => Some((t!(no_quorum), t!(no_majority_was_seen_to))),
        LockState::UnknownHolder => Some((t!(holder_unknown), t!(held_its_form_does_not))),
    };
    if let Some((word, evidence)) = state {
        let evidence = if old { as_of(at, now) } else { evidence.to_owned() };
        return Judgement { word, look: Look::State, evidence };
    }
    let (verdict, evidence) = row.judge(Time(at));
    let look = Look::Verdict(verdict);
    if old {
        return Judgement { word: was(verdict), look, evidence: as_of(at, now) };
    }
    // The table knows the evidence of one of several only; the drawer has everybody's.
    let evidence = evidence.iter().map(lang::evidence).collect::<Vec<_>>().join("; ");
    if row.holders > 1 {
        return Judgement { word: of_the_first(verdict), look, evidence: t!(first_of, row.holders, evidence) };
    }
    Judgement { word: lang::verdict(verdict), look, evidence }
}

/// A verdict on one of several.
fn of_the_first(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Alive => t!(first_alive),
        Verdict::Quiet => t!(first_quiet),
        Verdict::Gone => t!(first_gone),
        Verdict::Unknown => t!(first_unknown),
    }
}

/// A verdict on something that is not live: it was so.
fn was(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Alive => t!(was_alive),
        Verdict::Quiet => t!(was_quiet),
        Verdict::Gone => t!(was_gone),
        Verdict::Unknown => t!(unknown),
    }
}

/// How old something is that is not live.
pub(crate) fn as_of(at: i64, now: i64) -> String {
    t!(as_of_ago, without_tenths((now - at) / 1_000 * 1_000))
}

/// How a hold ended, in a word.
pub(crate) fn ended_word(transition: TransitionKind) -> &'static str {
    match transition {
        TransitionKind::Released => t!(released),
        TransitionKind::Expired => t!(expired_briefly),
        TransitionKind::Evicted => t!(evicted),
        TransitionKind::Forced => t!(forced),
        TransitionKind::Lost => t!(ended_unseen),
        TransitionKind::HandedOver => t!(handed_over),
        TransitionKind::TakenOver => t!(taken_over),
        TransitionKind::FirstSeen
        | TransitionKind::Acquired
        | TransitionKind::Renewed
        | TransitionKind::ReEntered
        | TransitionKind::LeaseChanged
        | TransitionKind::Gap => t!(ended),
    }
}

fn ended_when(ended: &Ended, now: i64) -> String {
    let ago = duration(now - ended.at);
    match ended.held_ms {
        Some(held) => t!(ago_after, ago, duration(held)),
        None => t!(ago, ago),
    }
}

/// Who holds it: the token or, where several may, how many; and the small line under it.
pub(crate) fn holder(row: &Row) -> (String, String) {
    let token = match (&row.token, &row.token_b64) {
        (Some(token), _) if token.is_empty() => t!(empty).to_owned(),
        (Some(token), _) => short_token(token),
        (None, Some(b64)) => t!(not_text, short_token(b64)),
        (None, None) => "–".to_owned(),
    };
    if row.state == LockState::WaitingOnly || row.holders == 0 {
        return ("–".to_owned(), t!(nobody_has_it).to_owned());
    }
    let who = match (row.state, &row.who) {
        (_, Some(who)) => shown(who),
        (LockState::UnknownHolder, None) => t!(its_form_does_not_say).to_owned(),
        _ => t!(token_names_nobody).to_owned(),
    };
    let mut parts = vec![who];
    if row.count > 1 {
        parts.push(format!("×{}", row.count));
    }
    let several = row.holders > 1 || matches!(row.mode, Mode::Shared | Mode::Semaphore);
    if !several {
        return (token, parts.join(", "));
    }
    parts.insert(0, token);
    if row.holders > 1 {
        parts.push(t!(and_more, count(u64::from(row.holders) - 1)));
    }
    (together(row.mode, u64::from(row.holders), row.permits), parts.join(", "))
}

/// How many hold it, in the words of its mode.
pub(crate) fn together(mode: Mode, holders: u64, permits: Option<u32>) -> String {
    let holders = count(holders);
    match (mode, permits.map(|permits| count(u64::from(permits)))) {
        (Mode::Exclusive | Mode::Leader, None) => t!(holders_n, holders),
        (Mode::Exclusive | Mode::Leader, Some(all)) => t!(holders_of, holders, all),
        (Mode::Shared, None) => t!(readers_n, holders),
        (Mode::Shared, Some(all)) => t!(readers_of, holders, all),
        (Mode::Semaphore, None) => t!(permits_n, holders),
        (Mode::Semaphore, Some(all)) => t!(permits_of, holders, all),
    }
}

/// What stands in a row beside the lock's source: the family, and how it is held where that is no matter of course.
pub(crate) fn family(row: &Row) -> String {
    match row.mode {
        Mode::Exclusive => shown(&row.dialect),
        Mode::Shared => t!(shared, shown(&row.dialect)),
        Mode::Semaphore => t!(semaphore, shown(&row.dialect)),
        Mode::Leader => t!(leader, shown(&row.dialect)),
    }
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
        Basis::Observed => t!(seen_as_it_happened),
        Basis::FirstSeen => t!(already_held_at_the_first),
        Basis::Reported => t!(written_down_by_the_library),
        Basis::QueuedAt => t!(counted_from_when_it_queued),
        Basis::SessionStart => t!(not_before_its_session_began),
    }
}

/// The text under the bar.
pub(crate) fn lease(expires_at: Option<i64>, lease_ms: Option<i64>, at: i64) -> String {
    match expires_at {
        None => t!(no_expiry).to_owned(),
        Some(end) if end <= at => t!(over_not_confirmed).to_owned(),
        Some(end) => {
            let left = t!(left, duration(end - at));
            match lease_ms {
                Some(length) if length > 0 => t!(left_of_all, left, whole(length)),
                _ => left,
            }
        }
    }
}

/// A length of time without false precision: what the store says of 30 s is a few milliseconds less.
fn whole(ms: i64) -> String {
    let rounded = if ms < 2_000 { ms } else { (ms + 500) / 1_000 * 1_000 };
    without_tenths(rounded)
}

/// The time that all who waited in the last minutes have waited together, and how that is known.
pub(crate) fn blocked(ms: Option<i64>, basis: WaitersBasis) -> (String, String) {
    match ms {
        None | Some(0) if matches!(basis, WaitersBasis::Unknown | WaitersBasis::Sampled) => {
            ("–".to_owned(), t!(unknown).to_owned())
        }
        None | Some(0) => ("0".to_owned(), waiters_basis(basis).to_owned()),
        Some(ms) => (without_tenths(ms / 1_000 * 1_000), waiters_basis(basis).to_owned()),
    }
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
        WaitersBasis::Exact => t!(exact),
        WaitersBasis::Inferred => t!(inferred),
        WaitersBasis::Sampled => t!(sampled),
        WaitersBasis::Reported => t!(reported),
        WaitersBasis::Unknown => t!(unknown),
    }
}

/// Flags that a row says in another column, in the strip, or not at all: what is so of every lock of a library is read
/// in the drawer.
const NOT_IN_ROWS: [Flag; 8] = [
    Flag::NoExpiry,
    Flag::LeaseOver,
    Flag::Stale,
    Flag::RenewalStopped,
    Flag::QueueWithoutHolder,
    Flag::Evictable,
    Flag::Replicated,
    Flag::UnsafeUnlock,
];

/// More tags than this do not fit into a row; the others are counted.
const MOST_TAGS: usize = 1;

/// The flags in a row, as small tags.
pub(crate) fn tags(flags: &[Flag]) -> Vec<String> {
    let told: Vec<&Flag> = flags.iter().filter(|flag| !NOT_IN_ROWS.contains(flag)).collect();
    let mut tags: Vec<String> = told.iter().take(MOST_TAGS).map(|flag| flag_name(**flag)).collect();
    if told.len() > MOST_TAGS {
        tags.push(format!("+{}", told.len() - MOST_TAGS));
    }
    tags
}

/// A flag in words.
pub(crate) fn flag_name(flag: Flag) -> String {
    lang::flag(flag).to_owned()
}

/// How many may hold it together.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => t!(exclusive),
        Mode::Shared => t!(shared_by_readers),
        Mode::Semaphore => t!(semaphore_in_say),
        Mode::Leader => t!(leader_election),
    }
}

/// Who a holder is, as far as anything says it.
pub(crate) fn identity(identity: &Identity) -> Option<String> {
    if let Some(person) = &identity.operator {
        return Some(t!(through_lockkeeper, shown(person)));
    }
    let mut parts = Vec::new();
    let mut add = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            parts.push(format!("{word}{}", shown(value)));
        }
    };
    add("", &identity.host);
    if identity.host.is_none() && identity.client_name.is_none() {
        add(t!(instance_in_say), &identity.instance.as_deref().map(short_token));
    }
    add(t!(process), &identity.pid.map(|pid| pid.to_string()));
    add(t!(thread), &identity.thread);
    add("", &identity.client_name);
    add(t!(from), &identity.client_addr);
    add(t!(as_user_briefly), &identity.user);
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A holder's token in full, as far as it can be shown.
pub(crate) fn token(holder: &Holder) -> String {
    match &holder.token {
        Some(token) if token.is_empty() => t!(empty).to_owned(),
        Some(token) => shown(token),
        None => t!(b64_not_text, shown(&holder.token_b64)),
    }
}

/// What is said of a source beside its name.
pub(crate) fn source_state(source: &SourceStatus) -> String {
    let state = match source.state {
        SourceState::Live => t!(live).to_owned(),
        SourceState::Scanning => t!(scanning, coverage(&source.coverage, source.as_of.0)),
        SourceState::Degraded => t!(degraded).to_owned(),
        SourceState::Down => t!(down).to_owned(),
    };
    let feed = source.feed.filter(|_| source.state != SourceState::Down);
    match feed {
        Some(feed) => t!(by, state, lang::feed(feed)),
        None => state,
    }
}

/// Whether everything that a source has was seen, now or at any time before.
pub(crate) fn was_seen(source: &SourceStatus) -> bool {
    source.confirmed_at.or(source.coverage.finished_at).is_some()
}

/// As of when everything that is shown was true: the oldest of the sources.
pub(crate) fn confirmed_at(sources: &[SourceStatus]) -> Option<i64> {
    sources
        .iter()
        .map(|source| source.confirmed_at.or(source.coverage.finished_at).map_or(i64::MIN, |at| at.0))
        .min()
        .filter(|at| *at > i64::MIN)
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
        assert_eq!(token, "3 holders");
        assert_eq!(who, "\\u{202e}<b>\\u{a}, evil\\u{7}host, ×2, and 2 more");
        let binary = Row { token: None, token_b64: Some("/wA=".to_owned()), ..row(1) };
        assert_eq!(holder(&binary).0, "/wA= (not text)");
    }

    #[test]
    fn several_holders_are_counted_in_the_words_of_their_mode() {
        let readers = Row { mode: Mode::Shared, holders: 3, ..row(1) };
        assert_eq!(holder(&readers).0, "3 readers");
        assert_eq!(holder(&Row { holders: 1, ..readers }).0, "1 reader");
        let semaphore = Row { mode: Mode::Semaphore, holders: 2, permits: Some(5), ..row(1) };
        assert_eq!(holder(&semaphore).0, "2 of 5 permits");
        assert_eq!(
            judgement(&live(semaphore), 1_000, 1_000, false).evidence,
            "first of 2: no renewal in the 1.0 s that it was watched"
        );
    }

    #[test]
    fn a_state_that_is_not_held_takes_the_place_of_a_verdict() {
        let waiting = Row { state: LockState::WaitingOnly, holders: 0, token: None, ..row(1) };
        assert_eq!(holder(&waiting), ("–".to_owned(), "nobody has it".to_owned()));
        let said = judgement(&live(waiting), 1_000, 1_000, false);
        assert_eq!((said.word, said.look), ("not held", Look::State));
    }

    #[test]
    fn a_row_has_room_for_one_tag_and_counts_the_rest() {
        let flags = [Flag::NoExpiry, Flag::ExpiryLost, Flag::FailedOver, Flag::CameBack, Flag::PollStorm];
        assert_eq!(tags(&flags), ["expiry lost", "+3"]);
        assert!(tags(&[Flag::NoExpiry]).is_empty());
    }

    #[test]
    fn blocked_time_that_nobody_counted_is_no_zero() {
        assert_eq!(blocked(None, WaitersBasis::Unknown).0, "–");
        assert_eq!(blocked(Some(0), WaitersBasis::Exact).0, "0");
        assert_eq!(blocked(Some(6_720_000), WaitersBasis::Inferred).0, "1 h 52 m");
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
