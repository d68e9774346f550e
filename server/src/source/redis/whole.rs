//! What the nodes of one source report, put together: the board sees one source, however many servers there are.
//!
//! A scan of the source is over when every node that answers has been scanned; everything is known up to the earliest
//! moment that is known of any node; who waits is counted over all of them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lockkeeper_model::Time;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::BoardGone;
use crate::clock;
use crate::source::{Among, Batch, ClientSeen, Copied, Report, SourceId, WaitersSeen};

/// Names a node within one run. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u64);

/// Scans of the source are numbered: each node takes part once in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    /// The one to take part in now.
    number: u64,
    /// What was missed before is found by this one or a later one.
    needed: u64,
}

/// The nodes of one source.
#[derive(Debug)]
pub(super) struct Whole {
    source: SourceId,
    reports: mpsc::Sender<Batch>,
    rounds: watch::Sender<Round>,
    /// Held until what follows from a report has been passed on, so that the board hears it in order.
    combined: Mutex<Combined>,
}

impl Whole {
    pub(super) fn new(source: SourceId, reports: mpsc::Sender<Batch>) -> Whole {
        Whole {
            source,
            reports,
            rounds: watch::Sender::new(Round { number: 1, needed: 1 }),
            combined: Mutex::default(),
        }
    }

    /// Passes on what one node reports, as far as it says something of the source.
    pub(super) async fn report(&self, node: NodeId, report: Report) -> Result<(), BoardGone> {
        self.pass_on(node, report, None).await
    }

    /// As [`Self::report`], and waits until the board knows it.
    pub(super) async fn report_and_wait(&self, node: NodeId, report: Report) -> Result<(), BoardGone> {
        let (folded, known) = oneshot::channel();
        self.pass_on(node, report, Some(folded)).await?;
        // Dropped as well when there was nothing to tell.
        let told = known.await;
        if told.is_err() && self.reports.is_closed() { Err(BoardGone) } else { Ok(()) }
    }

    async fn pass_on(
        &self,
        node: NodeId,
        report: Report,
        folded: Option<oneshot::Sender<()>>,
    ) -> Result<(), BoardGone> {
        if matches!(report, Report::Sights { .. }) {
            return self.send(report, folded).await;
        }
        let mut combined = self.combined.lock().await;
        let mut reports = combined.fold(node, report);
        let last = reports.pop();
        for report in reports {
            self.send(report, None).await?;
        }
        match last {
            Some(report) => self.send(report, folded).await,
            None => Ok(()),
        }
    }

    async fn send(&self, report: Report, folded: Option<oneshot::Sender<()>>) -> Result<(), BoardGone> {
        self.reports.send(Batch { source: self.source, report, folded }).await.map_err(|_| BoardGone)
    }

    /// A node is to be watched. If others were watched before, a gap has been told.
    pub(super) async fn add(&self, node: NodeId) {
        self.combined.lock().await.nodes.insert(node, Node::default());
    }

    /// A node is not watched any more.
    pub(super) async fn forget(&self, node: NodeId) {
        self.combined.lock().await.nodes.remove(&node);
    }

    /// Changes may have been missed that no single node can tell of.
    pub(super) async fn gap(&self, because: &str) -> Result<(), BoardGone> {
        let mut combined = self.combined.lock().await;
        combined.confirmed = None;
        self.send(Report::Gap { at: clock::now(), because: because.to_owned() }, None).await?;
        self.rescan();
        Ok(())
    }

    /// Another server took over from one that was lost at that moment, and has so much of it.
    pub(super) async fn failed_over(&self, lost_at: Time, copied: Copied, among: Among) -> Result<(), BoardGone> {
        self.send(Report::FailedOver { at: lost_at, copied, among }, None).await
    }

    /// By other rules than before these may be no locks.
    pub(super) async fn withdrawn(&self, among: Among) -> Result<(), BoardGone> {
        self.send(Report::Withdrawn { at: clock::now(), among }, None).await
    }

    /// A node answers. What happened on it while others were scanned is not known.
    pub(super) async fn opened(&self, node: NodeId) -> Result<(), BoardGone> {
        let (missed_scan, was_lost) = {
            let mut combined = self.combined.lock().await;
            let known = combined.nodes.entry(node).or_default();
            let was = (known.missed_scan, known.phase == Phase::Lost);
            *known = Node { phase: Phase::Open, ..Node::default() };
            was
        };
        if missed_scan {
            return self.gap("a primary answers that was not scanned with the others").await;
        }
        if was_lost {
            self.rescan();
        }
        Ok(())
    }

    /// A node does not answer: the others do not wait for it.
    pub(super) async fn lost(&self, node: NodeId) -> Result<(), BoardGone> {
        let mut combined = self.combined.lock().await;
        if let Some(known) = combined.nodes.get_mut(&node) {
            *known = Node { phase: Phase::Lost, missed_scan: known.missed_scan, ..Node::default() };
        }
        for report in combined.end_of_round() {
            self.send(report, None).await?;
        }
        Ok(())
    }

    /// Whether a whole scan of all nodes was finished since something was missed.
    pub(super) async fn is_whole(&self) -> bool {
        let combined = self.combined.lock().await;
        combined.ended >= self.rounds.borrow().needed
    }

    /// How far a node has come.
    pub(super) async fn phase(&self, node: NodeId) -> Phase {
        self.combined.lock().await.nodes.get(&node).map_or(Phase::Opening, |known| known.phase)
    }

    /// A node begins to be scanned; answers the number of the round.
    pub(super) async fn begin_scan(&self, node: NodeId) -> u64 {
        let number = self.rounds.borrow().number;
        if let Some(known) = self.combined.lock().await.nodes.get_mut(&node) {
            known.round = number;
        }
        number
    }

    /// Everything may be another now: every node is to be scanned again.
    pub(super) fn rescan(&self) {
        self.rounds.send_modify(|round| {
            round.number += 1;
            round.needed = round.number;
        });
    }

    /// The time has come to look at everything again, unless another node was first to say so.
    pub(super) fn reconcile(&self, last: u64) {
        self.rounds.send_if_modified(|round| {
            let first = round.number == last;
            if first {
                round.number += 1;
            }
            first
        });
    }

    /// Waits until something was missed that the round `last` may not have found.
    pub(super) async fn missed_after(&self, last: u64) {
        let mut rounds = self.rounds.subscribe();
        // The sender is here.
        let _ = rounds.wait_for(|round| round.needed > last).await;
    }

    /// Takes note of how many keys a node has; answers how many all have, if that is known of all.
    pub(super) async fn keys(&self, node: NodeId, keys: u64) -> Option<u64> {
        let mut combined = self.combined.lock().await;
        if let Some(known) = combined.nodes.get_mut(&node) {
            known.keys = Some(keys);
        }
        combined.nodes.values().map(|node| node.keys).sum()
    }
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was not reached yet.
    #[default]
    Opening,
    /// It answers.
    Open,
    /// It does not answer.
    Lost,
}

#[derive(Debug, Default)]
struct Node {
    phase: Phase,
    /// The round in which it is scanned, or was last.
    round: u64,
    /// When the scan under way began.
    scanning: Option<Time>,
    /// The round of the last whole scan, and when that began.
    scanned: Option<(u64, Time)>,
    /// The others were scanned without it.
    missed_scan: bool,
    confirmed: Option<Time>,
    waiting: Waiting,
    clients: Vec<ClientSeen>,
    keys: Option<u64>,
}

#[derive(Debug, Default)]
enum Waiting {
    #[default]
    NotCounted,
    Unknown,
    Counted(Vec<(Bytes, WaitersSeen)>),
}

/// The fold from what nodes report to what the source reports.
#[derive(Debug, Default)]
struct Combined {
    nodes: BTreeMap<NodeId, Node>,
    /// The last round in which the scan of the source began, and the last in which it ended.
    began: u64,
    ended: u64,
    confirmed: Option<Time>,
}

impl Combined {
    fn fold(&mut self, node: NodeId, report: Report) -> Vec<Report> {
        if let Report::Gap { .. } = report {
            self.confirmed = None;
            if let Some(known) = self.nodes.get_mut(&node) {
                known.confirmed = None;
            }
            return vec![report];
        }
        // One that was removed has nothing to say any more.
        let Some(known) = self.nodes.get_mut(&node) else { return Vec::new() };
        match report {
            Report::ScanBegan { at } => {
                known.scanning = Some(at);
                if known.round <= self.began {
                    return Vec::new();
                }
                self.began = known.round;
                vec![Report::ScanBegan { at }]
            }
            Report::ScanEnded { began_at } => {
                known.scanning = None;
                known.scanned = Some((known.round, began_at));
                self.end_of_round()
            }
            Report::Confirmed { at } => {
                known.confirmed = Some(at);
                let all = self.nodes.values().map(|node| node.confirmed).min().flatten();
                if all <= self.confirmed {
                    return Vec::new();
                }
                self.confirmed = all;
                all.map(|at| Report::Confirmed { at }).into_iter().collect()
            }
            Report::Waiting { counts, at } => {
                known.waiting = Waiting::Counted(counts);
                self.waiting(at)
            }
            Report::Clients { clients, at } => {
                known.clients = clients;
                let clients = self.nodes.values().flat_map(|node| node.clients.iter().cloned()).collect();
                vec![Report::Clients { clients, at }]
            }
            Report::WaitingUnknown => {
                known.waiting = Waiting::Unknown;
                vec![Report::WaitingUnknown]
            }
            // The stream of reports is one key on one node.
            Report::Said { .. }
            | Report::SaidUnknown
            | Report::Traced(_)
            | Report::Sights { .. }
            | Report::Gap { .. }
            | Report::Withdrawn { .. }
            | Report::FailedOver { .. } => vec![report],
        }
    }

    /// The scan of the source is over once every node that answers, and every one that may yet, was scanned in this
    /// round or a later one.
    fn end_of_round(&mut self) -> Vec<Report> {
        let awaited = || self.nodes.values().filter(|node| node.phase != Phase::Lost);
        let Some(ended) = awaited().map(|node| node.scanned.map_or(0, |(round, _)| round)).min() else {
            return Vec::new();
        };
        if ended <= self.ended {
            return Vec::new();
        }
        let Some(began_at) = awaited().filter_map(|node| Some(node.scanned?.1)).min() else { return Vec::new() };
        // The board takes the end for the end of every scan.
        let still = awaited().filter_map(|node| node.scanning).min();
        self.ended = ended;
        for node in self.nodes.values_mut().filter(|node| node.phase == Phase::Lost) {
            node.missed_scan = true;
        }
        // The last is what the caller waits for.
        let began = still.map(|at| Report::ScanBegan { at });
        [Some(Report::ScanEnded { began_at }), began].into_iter().flatten().collect()
    }

    fn waiting(&self, at: Time) -> Vec<Report> {
        let mut sum: HashMap<Bytes, u32> = HashMap::new();
        for node in self.nodes.values() {
            match &node.waiting {
                Waiting::Counted(counts) => {
                    for (key, seen) in counts {
                        let known = sum.entry(key.clone()).or_default();
                        *known = known.saturating_add(seen.count);
                    }
                }
                // Less than the truth would be a guess.
                Waiting::Unknown => return vec![Report::WaitingUnknown],
                Waiting::NotCounted if node.phase == Phase::Lost => return vec![Report::WaitingUnknown],
                Waiting::NotCounted => return Vec::new(),
            }
        }
        let counts = sum.into_iter().map(|(key, count)| (key, WaitersSeen { count })).collect();
        vec![Report::Waiting { counts, at }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn two() -> Combined {
        let open = || Node { phase: Phase::Open, ..Node::default() };
        Combined { nodes: [(A, open()), (B, open())].into(), ..Combined::default() }
    }

    fn said(reports: &[Report]) -> Vec<String> {
        reports
            .iter()
            .map(|report| match report {
                Report::ScanBegan { at } => format!("began {}", at.0),
                Report::ScanEnded { began_at } => format!("ended {}", began_at.0),
                Report::Confirmed { at } => format!("confirmed {}", at.0),
                Report::Gap { .. } => "gap".to_owned(),
                Report::Waiting { counts, .. } => {
                    let mut counts: Vec<_> =
                        counts.iter().map(|(key, seen)| format!("{}={}", key.escape_ascii(), seen.count)).collect();
                    counts.sort();
                    format!("waiting {}", counts.join(" "))
                }
                Report::WaitingUnknown => "unknown".to_owned(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn scan(whole: &mut Combined, node: NodeId, round: u64, at: i64) -> Vec<String> {
        whole.nodes.get_mut(&node).unwrap().round = round;
        said(&whole.fold(node, Report::ScanBegan { at: Time(at) }))
    }

    fn scanned(whole: &mut Combined, node: NodeId, began_at: i64) -> Vec<String> {
        said(&whole.fold(node, Report::ScanEnded { began_at: Time(began_at) }))
    }

    #[test]
    fn a_scan_is_over_when_every_node_was_scanned_and_began_with_the_first() {
        let mut whole = two();
        assert_eq!(scan(&mut whole, A, 1, 10), ["began 10"]);
        assert!(scan(&mut whole, B, 1, 12).is_empty());
        assert!(scanned(&mut whole, B, 12).is_empty());
        assert_eq!(scanned(&mut whole, A, 10), ["ended 10"]);
        // The second round of one begins while the other is still in the first.
        scan(&mut whole, A, 2, 20);
        scan(&mut whole, B, 2, 21);
        scanned(&mut whole, A, 20);
        assert_eq!(scan(&mut whole, A, 3, 25), ["began 25"]);
        assert_eq!(scanned(&mut whole, B, 21), ["ended 20", "began 25"]);
        assert!(scanned(&mut whole, A, 25).is_empty());
        scan(&mut whole, B, 3, 30);
        assert_eq!(scanned(&mut whole, B, 30), ["ended 25"]);
    }

    #[test]
    fn nobody_waits_for_a_node_that_does_not_answer() {
        let mut whole = two();
        scan(&mut whole, A, 1, 10);
        scanned(&mut whole, A, 10);
        whole.nodes.insert(B, Node { phase: Phase::Lost, ..Node::default() });
        assert_eq!(said(&whole.end_of_round()), ["ended 10"]);
        assert!(whole.nodes[&B].missed_scan);
    }

    #[test]
    fn what_is_known_of_all_is_what_is_known_of_each() {
        let mut whole = two();
        let confirm = |whole: &mut Combined, node, at| said(&whole.fold(node, Report::Confirmed { at: Time(at) }));
        assert!(confirm(&mut whole, A, 5).is_empty());
        assert_eq!(confirm(&mut whole, B, 7), ["confirmed 5"]);
        assert!(confirm(&mut whole, B, 9).is_empty());
        assert_eq!(confirm(&mut whole, A, 8), ["confirmed 8"]);
        let gap = Report::Gap { at: Time(9), because: String::new() };
        assert_eq!(said(&whole.fold(A, gap)), ["gap"]);
        assert!(confirm(&mut whole, B, 20).is_empty());
    }

    #[test]
    fn waiters_are_counted_over_all_nodes_or_not_at_all() {
        let mut whole = two();
        let count = |whole: &mut Combined, node, counts: &[(&'static str, u32)]| {
            let counts = counts.iter().map(|&(key, count)| (Bytes::from(key), WaitersSeen { count })).collect();
            said(&whole.fold(node, Report::Waiting { counts, at: Time(1) }))
        };
        assert!(count(&mut whole, A, &[("x", 1), ("y", 1)]).is_empty());
        assert_eq!(count(&mut whole, B, &[("x", 2)]), ["waiting x=3 y=1"]);
        assert_eq!(said(&whole.fold(A, Report::WaitingUnknown)), ["unknown"]);
        assert_eq!(count(&mut whole, B, &[("x", 2)]), ["unknown"]);
    }
}
