//! What is said of a source, put together from what is known of its nodes.

use std::sync::Arc;
use std::time::Duration;

use lockkeeper_model::{Coverage, FeedKind, NotALock, SlotRange, SourceState, SourceStatus, Time, words};
use tokio::sync::{Notify, watch};

use super::RedisConfig;
use super::endpoint::Address;
use super::status::{NAMED_NOT_LOCKS, Unreadable, unknown};
use super::topology::{SLOTS, View};
use super::trouble::Trouble;
use super::whole::{NodeId, Phase, Whole};
use crate::clock;
use crate::source::permissions;

/// Between two publications: nodes change their status with every page of a scan, and the board looks ten times a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Addresses that are named; more are counted.
const NAMED_ADDRESSES: usize = 3;

/// Ranges of slots that are named in a sentence.
const NAMED_RANGES: usize = 3;

/// A node as the publisher knows it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) id: NodeId,
    pub(super) address: Address,
    pub(super) status: watch::Receiver<SourceStatus>,
    pub(super) unreadable: Arc<Unreadable>,
}

/// What is left of nodes that are not watched any more, and what concerned none of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) gaps: u64,
    pub(super) missed_events: u64,
    pub(super) last_gap: Option<(Time, String)>,
}

impl Past {
    /// Keeps the counts of a node that goes.
    pub(super) fn keep(&mut self, status: &SourceStatus) {
        self.gaps += status.gaps;
        self.missed_events += status.missed_events;
        self.note(status.last_gap_at.zip(status.last_gap.clone()));
    }

    /// Something was missed that concerned no single node.
    pub(super) fn gap(&mut self, at: Time, because: &str) {
        self.gaps += 1;
        self.note(Some((at, because.to_owned())));
    }

    fn note(&mut self, gap: Option<(Time, String)>) {
        let later = gap.filter(|(at, _)| self.last_gap.as_ref().is_none_or(|(last, _)| at >= last));
        self.last_gap = later.or(self.last_gap.take());
    }
}

/// What the supervisor knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    pub(super) view: View,
    pub(super) nodes: Vec<Watched>,
    pub(super) past: Past,
}

/// Publishes the status of a source.
pub(super) struct Publisher {
    published: watch::Sender<SourceStatus>,
    /// Told when a node's status or the scene changed.
    pub(super) changed: Arc<Notify>,
}

impl Publisher {
    pub(super) fn new(config: &RedisConfig) -> (Publisher, watch::Receiver<SourceStatus>) {
        let (published, seen) = watch::channel(unknown(config, config.first_address()));
        (Publisher { published, changed: Arc::default() }, seen)
    }

    /// Publishes whatever changes, for ever.
    pub(super) async fn run(self, config: Arc<RedisConfig>, whole: Arc<Whole>, scene: watch::Receiver<Scene>) {
        loop {
            self.changed.notified().await;
            let is_whole = whole.is_whole().await;
            let Scene { view, nodes, past } = scene.borrow().clone();
            let mut seen = Vec::with_capacity(nodes.len());
            for node in nodes {
                let status = node.status.borrow().clone();
                let (phase, unreadable) = (whole.phase(node.id).await, node.unreadable.any());
                seen.push(Seen { address: node.address, phase, unreadable, status });
            }
            let new = combine(&config, &view, &past, &seen, is_whole);
            self.published.send_modify(|status| {
                let since = if status.state == new.state { status.since } else { new.as_of };
                *status = SourceStatus { since, ..new };
            });
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct Seen {
    address: Address,
    phase: Phase,
    unreadable: bool,
    status: SourceStatus,
}

fn combine(config: &RedisConfig, view: &View, past: &Past, nodes: &[Seen], is_whole: bool) -> SourceStatus {
    let statuses = || nodes.iter().map(|node| &node.status);
    let uncovered = uncovered(view, nodes);
    let (state, trouble) = state(view, nodes, &uncovered, is_whole);
    let mut all = past.clone();
    statuses().for_each(|status| all.keep(status));
    let is_complete = is_whole && !nodes.is_empty() && statuses().all(|status| status.coverage.complete);
    let is_known =
        is_complete && uncovered.is_empty() && nodes.iter().all(|node| node.phase == Phase::Open && !node.unreadable);
    let slowest_feed =
        nodes.iter().filter_map(|node| Some((node.status.feed?, &node.status))).max_by_key(|(feed, _)| match feed {
            FeedKind::Tracking => 0,
            FeedKind::Notifications => 1,
            FeedKind::Polling => 2,
        });
    let mut status = unknown(config, address(config, nodes));
    status.server_version = {
        let mut versions: Vec<String> = statuses().filter_map(|status| status.server_version.clone()).collect();
        versions.sort();
        versions.dedup();
        (!versions.is_empty()).then(|| versions.join(", "))
    };
    if let Some(patterns) = statuses().map(|status| &status.patterns).next() {
        status.patterns.clone_from(patterns);
    }
    status.state = state;
    (status.problem, status.hint) = trouble.map_or((None, None), |trouble| (Some(trouble.problem), trouble.hint));
    status.feed = slowest_feed.map(|(feed, _)| feed);
    status.feed_because = slowest_feed.and_then(|(_, status)| status.feed_because.clone());
    status.coverage = Coverage {
        complete: is_complete && uncovered.is_empty(),
        scanned_keys: statuses().map(|status| status.coverage.scanned_keys).sum(),
        total_keys: if nodes.is_empty() { None } else { statuses().map(|status| status.coverage.total_keys).sum() },
        // The board knows.
        locks: 0,
        started_at: statuses().filter_map(|status| status.coverage.started_at).min(),
        // Not before the last of them was finished for the first time.
        finished_at: statuses().map(|status| status.coverage.finished_at).min().flatten(),
        took_ms: statuses().filter_map(|status| status.coverage.took_ms).max(),
        uncovered_slots: uncovered,
    };
    status.confirmed_at = statuses().map(|status| status.confirmed_at).min().flatten().filter(|_| is_known);
    status.lag_ms = status.confirmed_at.map(|at| clock::now().since(at));
    status.dirty = statuses().map(|status| status.dirty).sum();
    (status.gaps, status.missed_events) = (all.gaps, all.missed_events);
    (status.last_gap_at, status.last_gap) = all.last_gap.unzip();
    status.own_commands_per_second = statuses().map(|status| status.own_commands_per_second).sum();
    status.own_bytes_per_second =
        statuses().filter_map(|status| status.own_bytes_per_second).reduce(std::ops::Add::add);
    status.other_commands_per_second =
        if nodes.is_empty() { None } else { statuses().map(|status| status.other_commands_per_second).sum() };
    status.eviction = statuses().find_map(|status| status.eviction.clone());
    status.replicas = if nodes.is_empty() { None } else { statuses().map(|status| status.replicas).sum() };
    // The stream is on one of them.
    status.reports = statuses().filter_map(|status| status.reports.clone()).max_by_key(|reports| reports.read);
    // Of several servers each has its own.
    status.server_started_at = match nodes {
        [only] => only.status.server_started_at,
        _ => None,
    };
    status.budget.commands_per_second *= nodes.len().max(1) as u64;
    status.missing_permissions = permissions::merged(
        nodes.iter().map(|node| (node.address.to_string(), node.status.missing_permissions.as_slice())),
    );
    status.not_locks = NotALock {
        count: statuses().map(|status| status.not_locks.count).sum(),
        sample: statuses().flat_map(|status| status.not_locks.sample.iter().cloned()).take(NAMED_NOT_LOCKS).collect(),
    };
    status
}

/// The slots of a cluster that are nobody's, or of a primary that does not answer.
fn uncovered(view: &View, nodes: &[Seen]) -> Vec<SlotRange> {
    let is_lost = |owner: &Address| nodes.iter().any(|node| node.address == *owner && node.phase == Phase::Lost);
    view.slots.as_ref().map(|slots| slots.uncovered(|owner| !is_lost(owner))).unwrap_or_default()
}

fn state(view: &View, nodes: &[Seen], uncovered: &[SlotRange], is_whole: bool) -> (SourceState, Option<Trouble>) {
    let of = |status: &SourceStatus| {
        let problem = status.problem.clone()?;
        Some(Trouble { problem, hint: status.hint.clone() })
    };
    let named = |node: &Seen| {
        of(&node.status).map(|trouble| match nodes.len() {
            1 => trouble,
            _ => Trouble { problem: format!("primary {}: {}", node.address, trouble.problem), hint: trouble.hint },
        })
    };
    let first = |state: SourceState| nodes.iter().find(|node| node.status.state == state);
    if nodes.iter().all(|node| node.status.state == SourceState::Down) {
        let not_yet = || Trouble { problem: "not connected yet".to_owned(), hint: None };
        // A primary that cannot be reached says more than whoever names it, unless it is not tried any more.
        let trouble = nodes.iter().find(|node| node.phase == Phase::Lost).and_then(named);
        return (SourceState::Down, Some(trouble.or_else(|| view.trouble.clone()).unwrap_or_else(not_yet)));
    }
    if !uncovered.is_empty() {
        let lost = nodes.iter().find(|node| node.phase == Phase::Lost);
        let mut trouble = not_covered(uncovered, lost);
        if let Some(too) = &view.trouble {
            trouble.problem = format!("{}; {}", trouble.problem, too.problem);
        }
        return (SourceState::Degraded, Some(trouble));
    }
    if let Some(node) = nodes.iter().find(|node| node.phase == Phase::Lost) {
        return (SourceState::Degraded, named(node));
    }
    if let Some(trouble) = &view.trouble {
        return (SourceState::Degraded, Some(trouble.clone()));
    }
    if let Some(node) = nodes.iter().find(|node| node.unreadable) {
        let trouble = Trouble::new(
            format!("some keys of primary {} can be read on no node of the cluster now", node.address),
            "slots are moving, or the cluster is down; they are read again and again",
        );
        return (SourceState::Degraded, Some(trouble));
    }
    if let Some(node) = first(SourceState::Degraded) {
        return (SourceState::Degraded, named(node));
    }
    let is_scanning = !is_whole || nodes.iter().any(|node| node.status.state != SourceState::Live);
    (if is_scanning { SourceState::Scanning } else { SourceState::Live }, None)
}

fn not_covered(uncovered: &[SlotRange], lost: Option<&Seen>) -> Trouble {
    let slots: u64 = uncovered.iter().map(|range| u64::from(range.last - range.first) + 1).sum();
    let mut ranges: Vec<String> =
        uncovered.iter().take(NAMED_RANGES).map(|range| format!("{}-{}", range.first, range.last)).collect();
    if uncovered.len() > NAMED_RANGES {
        ranges.push("…".to_owned());
    }
    let why = lost
        .map(|node| format!("; primary {}: {}", node.address, node.status.problem.clone().unwrap_or_default()))
        .unwrap_or_default();
    Trouble::new(
        format!(
            "no primary serves {} of the cluster's {} slots ({}): locks in them are not seen{why}",
            words::count(slots),
            words::count(u64::from(SLOTS)),
            ranges.join(", ")
        ),
        "start the primary of these slots or one of its replicas; `CLUSTER SHARDS` names them",
    )
}

fn address(config: &RedisConfig, nodes: &[Seen]) -> String {
    if nodes.is_empty() {
        return config.first_address();
    }
    let mut named: Vec<String> = nodes.iter().take(NAMED_ADDRESSES).map(|node| config.shown(&node.address)).collect();
    if nodes.len() > NAMED_ADDRESSES {
        named.push(format!("and {} more", nodes.len() - NAMED_ADDRESSES));
    }
    named.join(", ")
}
