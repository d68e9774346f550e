//! How well the whole is watched, from how well each master is.

use lockkeeper_model::{
    Budget, Coverage, FeedKind, NodeStatus, NotALock, ReportsRead, SourceState, SourceStatus, Time,
};

use super::RedlockConfig;
use super::quorum::majority;
use crate::clock;
use crate::source::{SourceHandle, permissions};

/// Keys that are no locks are named up to this number, as for a single store.
const NAMED_NOT_LOCKS: usize = 20;

/// What does not change.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: String,
    environment: Option<String>,
    patterns: Vec<String>,
    release_enabled: bool,
    trace_limit: Option<u64>,
    demo: bool,
}

/// What only the task knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Whole {
    /// A majority was seen whole, and is watched since.
    pub(super) complete: bool,
    /// When that was so for the first time, or again.
    pub(super) finished_at: Option<Time>,
    pub(super) confirmed_at: Option<Time>,
    pub(super) gaps: u64,
    pub(super) last_gap: Option<(Time, String)>,
    /// Locks that wait to be told, and keys that wait to be read.
    pub(super) waiting: u64,
    /// Masters that do not answer although their connection seems to stand.
    pub(super) silent: u16,
}

impl About {
    pub(super) fn new(config: &RedlockConfig) -> About {
        let first = config.masters.first();
        About {
            name: config.name.clone(),
            environment: first.and_then(|master| master.environment.clone()),
            patterns: first.map(|master| master.patterns.clone()).unwrap_or_default(),
            release_enabled: first.is_some_and(|master| master.release_enabled),
            trace_limit: first.and_then(|master| master.trace_limit),
            demo: first.is_some_and(|master| master.demo),
        }
    }

    /// Before anything is known.
    pub(super) fn beginning(&self, masters: &[SourceHandle]) -> SourceStatus {
        self.put_together(masters, &Whole::default(), None)
    }

    /// The status of the whole. `before`: the one before, for since when it is so.
    pub(super) fn put_together(
        &self,
        masters: &[SourceHandle],
        whole: &Whole,
        before: Option<&SourceStatus>,
    ) -> SourceStatus {
        let now = clock::now();
        let parts: Vec<SourceStatus> = masters
            .iter()
            .enumerate()
            .map(|(i, master)| {
                let mut status = master.status.borrow().clone();
                if whole.silent & 1 << i != 0 && status.state != SourceState::Down {
                    status.state = SourceState::Down;
                    status.problem = Some("it does not answer".to_owned());
                }
                status
            })
            .collect();
        let (state, problem, hint) = judge(&parts, whole);
        let since = before.filter(|before| before.state == state).map_or(now, |before| before.since);
        let feed = feed(&parts);
        let sum = |of: fn(&SourceStatus) -> u64| parts.iter().map(of).sum::<u64>();
        let all = |of: fn(&SourceStatus) -> Option<u64>| parts.iter().map(of).sum::<Option<u64>>();
        SourceStatus {
            name: self.name.clone(),
            kind: "redlock".to_owned(),
            topology: Some("redlock".to_owned()),
            address: parts.iter().map(|part| part.address.as_str()).collect::<Vec<_>>().join(", "),
            server_version: common(&parts),
            environment: self.environment.clone(),
            demo: self.demo,
            state,
            since,
            problem,
            hint,
            feed,
            feed_because: feed.and_then(|feed| parts.iter().find(|part| part.feed == Some(feed))?.feed_because.clone()),
            patterns: self.patterns.clone(),
            coverage: Coverage {
                complete: whole.complete,
                scanned_keys: sum(|part| part.coverage.scanned_keys),
                total_keys: all(|part| part.coverage.total_keys),
                started_at: parts.iter().filter_map(|part| part.coverage.started_at).min(),
                finished_at: whole.finished_at,
                took_ms: parts.iter().filter_map(|part| part.coverage.took_ms).max(),
                ..Coverage::default()
            },
            confirmed_at: whole.confirmed_at,
            lag_ms: whole.confirmed_at.map(|at| now.since(at)),
            dirty: sum(|part| part.dirty) + whole.waiting,
            gaps: whole.gaps,
            missed_events: sum(|part| part.missed_events),
            last_gap_at: whole.last_gap.as_ref().map(|(at, _)| *at),
            last_gap: whole.last_gap.as_ref().map(|(_, because)| because.clone()),
            own_commands_per_second: sum(|part| part.own_commands_per_second),
            own_bytes_per_second: parts.iter().filter_map(|part| part.own_bytes_per_second).reduce(std::ops::Add::add),
            other_commands_per_second: all(|part| part.other_commands_per_second),
            budget: Budget { commands_per_second: sum(|part| part.budget.commands_per_second) },
            missing_permissions: permissions::merged(
                parts.iter().map(|part| (part.name.clone(), part.missing_permissions.as_slice())),
            ),
            not_locks: not_locks(&parts),
            eviction: parts.iter().find_map(|part| part.eviction.clone()),
            // A quorum does not depend on any of them alone.
            replicas: None,
            reports: parts.iter().filter_map(|part| part.reports.clone()).reduce(together),
            release_enabled: self.release_enabled,
            trace_limit: self.trace_limit,
            server_started_at: None,
            nodes: parts.into_iter().map(node).collect(),
            as_of: now,
        }
    }
}

/// What is read on two masters.
fn together(one: ReportsRead, other: ReportsRead) -> ReportsRead {
    ReportsRead {
        stream: one.stream,
        read: one.read + other.read,
        not_understood: one.not_understood + other.not_understood,
        last_fault: other.last_fault.or(one.last_fault),
        passed_over: one.passed_over + other.passed_over,
        problem: one.problem.or(other.problem),
    }
}

fn node(status: SourceStatus) -> NodeStatus {
    NodeStatus {
        node: status.name,
        state: status.state,
        since: status.since,
        problem: status.problem,
        hint: status.hint,
        feed: status.feed,
        server_version: status.server_version,
        server_started_at: status.server_started_at,
        confirmed_at: status.confirmed_at,
        coverage: status.coverage,
    }
}

/// The state of the whole, what is wrong and what to try.
fn judge(parts: &[SourceStatus], whole: &Whole) -> (SourceState, Option<String>, Option<String>) {
    let (all, needed) = (parts.len(), majority(parts.len()));
    let down: Vec<&SourceStatus> = parts.iter().filter(|part| part.state == SourceState::Down).collect();
    let named = |parts: &[&SourceStatus]| {
        let named: Vec<String> = parts
            .iter()
            .map(|part| format!("{} ({})", part.name, part.problem.as_deref().unwrap_or("it does not answer")))
            .collect();
        named.join(", ")
    };
    let hint = down.iter().find_map(|part| part.hint.clone());
    let answer = all - down.len();
    if answer < needed {
        let problem = format!(
            "only {answer} of {all} masters answer and {needed} are needed: nobody can say who owns a lock; missing: {}",
            named(&down)
        );
        return (SourceState::Down, Some(problem), hint);
    }
    if !down.is_empty() {
        let problem = format!(
            "{} of {all} masters cannot be reached: {}; owners are decided by the other {answer}",
            down.len(),
            named(&down)
        );
        return (SourceState::Degraded, Some(problem), hint);
    }
    let degraded: Vec<&SourceStatus> = parts.iter().filter(|part| part.state == SourceState::Degraded).collect();
    if !degraded.is_empty() {
        return (SourceState::Degraded, Some(named(&degraded)), degraded.iter().find_map(|part| part.hint.clone()));
    }
    let scanning = !whole.complete || parts.iter().any(|part| part.state == SourceState::Scanning);
    (if scanning { SourceState::Scanning } else { SourceState::Live }, None, None)
}

/// The feed that all have, or the weakest.
fn feed(parts: &[SourceStatus]) -> Option<FeedKind> {
    let has = |kind| parts.iter().any(|part| part.feed == Some(kind));
    [FeedKind::Polling, FeedKind::Notifications, FeedKind::Tracking].into_iter().find(|kind| has(*kind))
}

/// The version, where all that said one said the same.
fn common(parts: &[SourceStatus]) -> Option<String> {
    let mut versions = parts.iter().filter_map(|part| part.server_version.as_ref());
    let first = versions.next()?;
    versions.all(|version| version == first).then(|| first.clone())
}

/// The most that one master has: the same key stands on several.
fn not_locks(parts: &[SourceStatus]) -> NotALock {
    let mut most = parts.iter().map(|part| &part.not_locks).max_by_key(|not| not.count).cloned().unwrap_or_default();
    most.sample.truncate(NAMED_NOT_LOCKS);
    most
}
