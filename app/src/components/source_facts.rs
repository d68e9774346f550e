use leptos::prelude::*;
use lockkeeper_model::words::{bytes, shown};
use lockkeeper_model::{MissingPermission, NodeStatus, ReportsRead, SlotRange, SourceState, SourceStatus, Time};

use super::coverage::coverage;
use super::facts::Facts;
use super::facts_list::FactsList;
use super::sentence::{capital, whole};
use crate::lang::{self, count, duration, t};
use crate::live::Live;
use crate::ui::{copies, each, hms, text};

/// More ranges of slots than this say nothing to a person that their number does not say.
const MOST_RANGES: usize = 8;

/// Everything known about one source: first what it may not do, and the line that would let it.
#[component]
pub(crate) fn SourceFacts(
    /// Its name.
    name: String,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let source = move || live.sources.with(|sources| sources.iter().find(|source| source.name == name).cloned());
    let facts = {
        let source = source.clone();
        Memo::new(move |_| source().map(|source| facts(&source, live.running_now.get())).unwrap_or_default())
    };
    let missing = {
        let source = source.clone();
        move || source().map(|source| source.missing_permissions).unwrap_or_default()
    };
    let how_many = missing.clone();
    let one_missing = move |at: usize| {
        let part = |part: fn(&MissingPermission) -> String| {
            let missing = missing.clone();
            text(move || missing().get(at).map(part).unwrap_or_default())
        };
        view! {
            <div class="missing">
                <p>
                    <b>{t!(not_permitted)} {part(|missing| shown(&missing.permission))}</b>
                    ". "
                    {part(|missing| capital(&missing.costs))}
                </p>
                <p>
                    {t!(to_grant_it)}
                    <code>{part(|missing| shown(&missing.fix))}</code>
                    {copies(t!(the_line_that_grants_it), part(|missing| missing.fix.clone()))}
                </p>
            </div>
        }
    };
    view! {
        {each(move || how_many().len(), one_missing)}
        <FactsList facts />
    }
}

/// What is so of every lock of a source, said once, beside its name.
pub(crate) fn warnings(source: &SourceStatus) -> Option<String> {
    let mut warnings = Vec::new();
    let not_live = source.nodes.iter().filter(|node| node.state != SourceState::Live).count();
    if not_live > 0 {
        warnings.push(t!(of_masters_not_live, not_live, source.nodes.len()));
    }
    let uncovered = slots(&source.coverage.uncovered_slots);
    if uncovered > 0 {
        warnings.push(t!(slots_not_covered, count(uncovered)));
    }
    if source.reports.as_ref().is_some_and(|reports| reports.problem.is_some()) {
        warnings.push(t!(reports_not_read).to_owned());
    }
    let missing = source.missing_permissions.len();
    if missing > 0 {
        warnings.push(t!(permissions_missing, missing));
    }
    if source.eviction.is_some() {
        warnings.push(t!(may_evict_locks).to_owned());
    }
    if let Some(replicas) = source.replicas.filter(|replicas| *replicas > 0) {
        warnings.push(t!(replicas_n, replicas));
    }
    (!warnings.is_empty()).then(|| warnings.join(", "))
}

/// The class that brings the shape and the colour of a state.
pub(crate) fn state_class(state: SourceState) -> &'static str {
    match state {
        SourceState::Live => "source live",
        SourceState::Scanning => "source scanning",
        SourceState::Degraded => "source degraded",
        SourceState::Down => "source down",
    }
}

fn facts(source: &SourceStatus, now: i64) -> Facts {
    let mut facts: Facts = Vec::new();
    let mut add = |term, text: Option<String>| {
        if let Some(text) = text {
            facts.push((term, text));
        }
    };
    add(
        t!(state),
        Some(t!(state_for, lang::source_state(source.state), duration(Time(now).since(source.since) / 1_000 * 1_000))),
    );
    add(t!(problem), source.problem.as_deref().map(whole));
    add(t!(what_to_try), source.hint.as_deref().map(shown));
    for node in &source.nodes {
        add(t!(master), Some(master(node, Time(now))));
    }
    let version = source.server_version.as_deref().map(shown).unwrap_or_default();
    let place = t!(at, shown(&source.kind), version, shown(&source.address));
    add(t!(store), Some(place.replace("  ", " ")));
    add(t!(layout), source.topology.as_deref().map(shown));
    add(
        t!(eviction),
        source.eviction.as_deref().map(|policy| {
            let which = if policy.starts_with("volatile") { t!(a_lock_that_has_an) } else { t!(any_lock) };
            t!(when_its_memory_is_full, shown(policy), which)
        }),
    );
    add(
        t!(replicas),
        source.replicas.map(|replicas| match replicas {
            0 => t!(none).to_owned(),
            n => t!(which_copy_with_a_delay, n),
        }),
    );
    add(t!(environment), source.environment.as_deref().map(shown));
    add(
        t!(changes),
        source.feed.map(|feed| match &source.feed_because {
            Some(because) => t!(by_feed_because, lang::feed(feed), shown(because)),
            None => t!(by_feed, lang::feed(feed)),
        }),
    );
    add(
        t!(patterns),
        Some(match source.patterns.as_slice() {
            [] => t!(the_built_in_catalogue).to_owned(),
            patterns => patterns.iter().map(|pattern| shown(pattern)).collect::<Vec<_>>().join(", "),
        }),
    );
    let seen = &source.coverage;
    let last_scan = match (seen.finished_at, seen.took_ms) {
        (Some(at), Some(took)) => t!(last_whole_scan_took, hms(at), duration(took)),
        _ => String::new(),
    };
    add(t!(seen), Some(t!(seen_and_locks, coverage(seen, now), count(seen.locks), last_scan)));
    add(t!(slots), uncovered(&seen.uncovered_slots));
    add(t!(reports), source.reports.as_ref().map(reports));
    add(t!(behind), source.lag_ms.map(|lag| t!(at_most_changed_keys_to, duration(lag), count(source.dirty))));
    add(
        t!(gaps),
        Some(match (source.gaps, &source.last_gap) {
            (0, _) => t!(none_since_the_start).to_owned(),
            (gaps, last) => {
                let what = last.as_deref().map(|gap| t!(last, shown(gap))).unwrap_or_default();
                let when = source.last_gap_at.map(|at| t!(at_moment, hms(at))).unwrap_or_default();
                t!(notices_missed_each_was_followed, count(gaps), count(source.missed_events), what, when)
            }
        }),
    );
    let others = source.other_commands_per_second.map(|n| t!(everybody_else, count(n))).unwrap_or_default();
    add(
        t!(cost),
        Some(t!(
            commands_a_second_of_at,
            count(source.own_commands_per_second),
            count(source.budget.commands_per_second),
            others
        )),
    );
    add(
        t!(bytes),
        Some(source.own_bytes_per_second.map_or_else(
            || t!(unknown_not_counted_yet).to_owned(),
            |traffic| {
                let (sent, received) = (bytes(traffic.sent), bytes(traffic.received));
                t!(a_second_sent_received_without, sent, received)
            },
        )),
    );
    add(
        t!(no_locks),
        (source.not_locks.count > 0).then(|| {
            let sample =
                source.not_locks.sample.iter().map(|(id, why)| format!("{}: {}", shown(id.as_str()), shown(why)));
            let sample = sample.collect::<Vec<_>>().join("; ");
            t!(keys_fit_the_pattern_and, count(source.not_locks.count), sample)
        }),
    );
    facts.push((
        t!(releasing_allowed),
        if source.release_enabled { t!(switched_on) } else { t!(switched_off) }.to_owned(),
    ));
    facts
}

/// One of several masters: whether it is watched, how, and what is wrong with it.
fn master(node: &NodeStatus, now: Time) -> String {
    let mut parts =
        vec![t!(state_for, lang::source_state(node.state), duration(now.since(node.since) / 1_000 * 1_000))];
    if let Some(feed) = node.feed.filter(|_| node.state != SourceState::Down) {
        parts.push(t!(by_feed, lang::feed(feed)));
    }
    let mut said = format!("{}: {}", shown(&node.node), parts.join(", "));
    for more in [&node.problem, &node.hint].into_iter().flatten() {
        said.push_str(". ");
        said.push_str(capital(more).trim_end_matches('.'));
    }
    said
}

/// How many slots these are.
fn slots(ranges: &[SlotRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.last.saturating_sub(range.first)) + 1).sum()
}

/// The slots in which nothing is seen; `None` where there are none.
fn uncovered(ranges: &[SlotRange]) -> Option<String> {
    if ranges.is_empty() {
        return None;
    }
    let mut named: Vec<String> = ranges
        .iter()
        .take(MOST_RANGES)
        .map(|range| match range.first == range.last {
            true => range.first.to_string(),
            false => format!("{}–{}", range.first, range.last),
        })
        .collect();
    let beyond = ranges.len().saturating_sub(MOST_RANGES);
    if beyond > 0 {
        named.push(t!(more_ranges, beyond));
    }
    let all = count(slots(ranges));
    Some(t!(that_no_primary_serves_locks, all, named.join(", ")))
}

/// What is read of clients' own reports.
fn reports(reports: &ReportsRead) -> String {
    let mut said = t!(read_from, count(reports.read), shown(&reports.stream));
    if reports.not_understood > 0 {
        let fault = reports.last_fault.as_deref().map(|fault| t!(the_last, shown(fault)));
        said.push_str(&t!(not_understood, count(reports.not_understood), fault.unwrap_or_default()));
    }
    if reports.passed_over > 0 {
        said.push_str(&t!(entries_passed_over_times, count(reports.passed_over)));
    }
    match &reports.problem {
        Some(problem) => t!(not_read_now, shown(problem), said),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Coverage, FeedKind};

    use super::*;

    #[test]
    fn a_master_that_is_down_says_since_when_why_and_what_to_try() {
        let live = NodeStatus {
            node: "127.0.0.1:7001".to_owned(),
            state: SourceState::Live,
            since: Time(0),
            problem: None,
            hint: None,
            feed: Some(FeedKind::Tracking),
            server_version: None,
            server_started_at: None,
            confirmed_at: None,
            coverage: Coverage::default(),
        };
        assert_eq!(master(&live, Time(61_000)), "127.0.0.1:7001: live for 1 m 01 s, by tracking");
        let down = NodeStatus {
            state: SourceState::Down,
            problem: Some("connection refused\u{202e}".to_owned()),
            hint: Some("is it running?".to_owned()),
            ..live
        };
        assert_eq!(
            master(&down, Time(61_000)),
            "127.0.0.1:7001: down for 1 m 01 s. Connection refused\\u{202e}. Is it running?"
        );
    }

    #[test]
    fn slots_that_nobody_serves_are_counted_and_named_up_to_a_bound() {
        assert_eq!(uncovered(&[]), None);
        let few = [SlotRange { first: 0, last: 5_460 }, SlotRange { first: 7_000, last: 7_000 }];
        let said = uncovered(&few).unwrap();
        assert_eq!(said, "5,462 that no primary serves: 0–5460, 7000; locks in them are not seen");
        let many: Vec<SlotRange> = (0..20).map(|n| SlotRange { first: 2 * n, last: 2 * n }).collect();
        assert!(uncovered(&many).unwrap().contains("14, 12 more ranges;"));
    }

    #[test]
    fn reports_that_are_not_read_say_why_before_what_was_read() {
        let mut read = ReportsRead { stream: "s".to_owned(), read: 2, ..ReportsRead::default() };
        assert_eq!(reports(&read), "2 read from s");
        (read.not_understood, read.last_fault) = (1, Some("too long".to_owned()));
        read.problem = Some("may not read `s`".to_owned());
        let said = reports(&read);
        assert_eq!(said, "not read now: may not read `s`; 2 read from s, 1 not understood (the last: too long)");
    }
}
