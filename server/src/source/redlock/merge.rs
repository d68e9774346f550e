//! The task: takes in what the masters report, tells the board, and passes orders on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lockkeeper_model::{SourceState, SourceStatus, Time, TraceReport};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use super::quorum::majority;
use super::release::{self, Target};
use super::status::{About, Whole};
use super::table::{Has, Slot, Table, Tell};
use crate::clock;
use crate::source::traces::{self, Nodes};
use crate::source::{
    Batch, ClientSeen, Command, NotRead, Report, Sight, SourceHandle, SourceId, TraceOrder, Traced, WaitersSeen,
};

/// What masters show within this time of each other is one sight: an acquire is one step on each of them.
const GATHER: Duration = Duration::from_millis(4);

/// How often what only time changes is looked at: the masters' states, decisions that waited, deadlines.
const TICK: Duration = Duration::from_millis(50);

/// How long one master may take to read keys that a person waits for: less than a preview waits for the whole.
const LOOK_WITHIN: Duration = Duration::from_millis(1_500);

/// Reports taken in before anything else is looked at.
const REPORTS_AT_ONCE: usize = 32;

/// Sights in one report.
const SIGHTS_AT_ONCE: usize = 500;

/// Locks that are gone over at a time when something about a master changed.
const SWEEP_AT_ONCE: usize = 500;

/// Waiting decisions that are looked at when a master confirms: the oldest, so that each costs little.
const UNSETTLED_AT_ONCE: usize = 256;

/// Keys in one order to a master.
const LOOK_AT_ONCE: usize = 1_000;

/// Keys that may wait to be read on one master, and deadlines; beyond it the next scan finds what there is to find.
const MAX_WAITING: usize = 1_000_000;

/// A lock that is nowhere any more is remembered for this long, in milliseconds, while a page of a scan may still come
/// that was read before: longer than a command may take.
const REMEMBER_MS: i64 = 15_000;

/// …and so many of them at most.
const MAX_REMEMBERED: usize = 50_000;

/// A lapsed lease is looked at this long after its deadline, in milliseconds.
const LOOK_AFTER_MS: i64 = 2;

/// Questions to the task that may wait: each belongs to a person who waits.
const WAITING_ASKS: usize = 64;

/// The board ended: the server is shutting down.
struct BoardGone;

/// Keys that were just read on the masters: tell the board what is so.
struct Ask {
    keys: Vec<Bytes>,
    /// Masters that did not answer.
    silent: Vec<usize>,
    /// Told once the board knows.
    done: oneshot::Sender<()>,
}

pub(super) struct Merge {
    id: SourceId,
    about: About,
    masters: Arc<[SourceHandle]>,
    nodes: Vec<Node>,
    table: Table,
    reports: mpsc::Sender<Batch>,
    told: watch::Sender<SourceStatus>,
    /// What the last trace saw.
    traced: watch::Sender<Option<Arc<TraceReport>>>,
    whole: Whole,
    /// Locks to tell of, each once.
    dirty: Vec<Slot>,
    flush_at: Option<Instant>,
    /// Decisions that wait, with since when.
    unsettled: VecDeque<(Time, Slot)>,
    /// Where the round over all locks is, while there is one.
    sweep: Option<Slot>,
    /// One is to begin when no scan is under way any more.
    sweep_due: bool,
    /// Leases whose guaranteed time is over and that stand until this moment.
    later: BinaryHeap<Reverse<(i64, Bytes)>>,
    /// Keys that a master had no room to be asked about yet.
    unsent: Vec<VecDeque<Bytes>>,
    /// Locks that are nowhere, with since when.
    over: VecDeque<(Time, Slot)>,
    /// Those who wait, as each master counts them.
    waiting: Vec<Option<HashMap<Bytes, u32>>>,
    /// Named connections, by node.
    clients: Vec<Vec<ClientSeen>>,
    /// Nodes on which clients' reports are heard, a bit for each.
    hears: u64,
    asks: mpsc::Sender<Ask>,
    asked: Option<mpsc::Receiver<Ask>>,
}

enum Wake {
    Stop,
    Ask(Option<Ask>),
    Order(Option<Command>),
    Reports,
    Flush,
    Tick,
    Sweep,
}

impl Merge {
    pub(super) fn new(
        id: SourceId,
        about: About,
        masters: Vec<SourceHandle>,
        reports: mpsc::Sender<Batch>,
        told: watch::Sender<SourceStatus>,
        traced: watch::Sender<Option<Arc<TraceReport>>>,
    ) -> Merge {
        let n = masters.len();
        let names: Arc<[Box<str>]> = masters.iter().map(|master| Box::from(&*master.name)).collect();
        let (asks, asked) = mpsc::channel(WAITING_ASKS);
        Merge {
            id,
            about,
            masters: masters.into(),
            nodes: vec![Node::UNKNOWN; n],
            table: Table::new(names),
            reports,
            told,
            traced,
            whole: Whole::default(),
            dirty: Vec::new(),
            flush_at: None,
            unsettled: VecDeque::new(),
            sweep: None,
            sweep_due: false,
            later: BinaryHeap::new(),
            unsent: vec![VecDeque::new(); n],
            over: VecDeque::new(),
            waiting: vec![None; n],
            clients: vec![Vec::new(); n],
            hears: 0,
            asks,
            asked: Some(asked),
        }
    }

    pub(super) async fn run(
        mut self,
        mut inner: mpsc::Receiver<Batch>,
        mut orders: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let Some(mut asked) = self.asked.take() else { return };
        let mut batches = Vec::with_capacity(REPORTS_AT_ONCE);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let flush_at = self.flush_at;
            // What a person waits for comes first. The round over all locks goes on behind everything.
            let wake = tokio::select! {
                biased;
                () = stop.cancelled() => Wake::Stop,
                ask = asked.recv() => Wake::Ask(ask),
                order = orders.recv() => Wake::Order(order),
                () = until(flush_at) => Wake::Flush,
                _ = tick.tick() => Wake::Tick,
                n = inner.recv_many(&mut batches, REPORTS_AT_ONCE) => if n == 0 { Wake::Stop } else { Wake::Reports },
                () = tokio::task::yield_now(), if self.sweep.is_some() => Wake::Sweep,
            };
            let done = match wake {
                Wake::Stop | Wake::Ask(None) | Wake::Order(None) => return,
                Wake::Ask(Some(ask)) => self.asked(ask).await,
                Wake::Order(Some(order)) => {
                    self.obey(order);
                    Ok(())
                }
                Wake::Flush => self.flush().await,
                Wake::Tick => self.tick().await,
                Wake::Reports => self.take_in(&mut batches).await,
                Wake::Sweep => Ok(()),
            };
            let done = match done {
                Ok(()) => self.sweep_on().await,
                gone => gone,
            };
            if let Err(BoardGone) = done {
                return;
            }
        }
    }

    async fn take_in(&mut self, batches: &mut Vec<Batch>) -> Result<(), BoardGone> {
        for Batch { source, report, folded } in batches.drain(..) {
            let i = usize::from(source.0);
            if i < self.nodes.len() {
                if !self.nodes[i].reachable {
                    self.refresh(i);
                }
                self.fold(i, report).await?;
            }
            if let Some(folded) = folded {
                // Whoever wanted to know may have given up.
                let _ = folded.send(());
            }
        }
        if !self.dirty.is_empty() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + GATHER);
        }
        self.send_looks();
        Ok(())
    }

    async fn fold(&mut self, i: usize, report: Report) -> Result<(), BoardGone> {
        match report {
            Report::Sights { sights, scan } => {
                for sight in sights {
                    self.nodes[i].heard(sight.asked_at);
                    let key = sight.key.clone();
                    let folded = self.table.fold(i, &self.nodes[i], sight, scan);
                    self.dirty.extend(folded.dirty);
                    if folded.in_doubt {
                        self.look_on(i, key);
                    }
                }
            }
            Report::ScanBegan { at } => self.nodes[i].scan_began = Some(at),
            Report::ScanEnded { began_at } => {
                self.look_at_unmet(i, began_at);
                self.sweep_due |= self.nodes[i].scanned(began_at);
                self.refresh(i);
                self.weigh().await?;
            }
            Report::Gap { at, .. } => {
                self.nodes[i].missed(at);
                self.sweep = Some(0);
                self.weigh().await?;
            }
            Report::Waiting { counts, at } => {
                self.waiting[i] = Some(counts.into_iter().map(|(key, seen)| (key, seen.count)).collect());
                self.tell_waiting(at).await?;
            }
            Report::WaitingUnknown => {
                self.waiting[i] = None;
                if self.waiting.iter().all(Option::is_none) {
                    self.report(Report::WaitingUnknown).await?;
                }
            }
            Report::Clients { clients, at } => {
                self.clients[i] = clients;
                // A name that is open on any master is open.
                let clients = self.clients.concat();
                self.report(Report::Clients { clients, at }).await?;
            }
            // A client reports to the first master that it can reach.
            Report::Said { said, at } => {
                self.hears |= 1 << i;
                self.report(Report::Said { said, at }).await?;
            }
            Report::SaidUnknown => {
                self.hears &= !(1 << i);
                // Who reported to this one falls silent as long as others are heard.
                if self.hears == 0 {
                    self.report(Report::SaidUnknown).await?;
                }
            }
            // What all of them saw is told together.
            Report::Traced(_) => {}
            // A master of a quorum has no replica that could take over for it.
            Report::FailedOver { .. } => {}
            // Its rules are those of its start.
            Report::Withdrawn { .. } => {}
            Report::Confirmed { at } => {
                self.nodes[i].confirmed_at = Some(at);
                self.nodes[i].heard(at);
                self.settle(UNSETTLED_AT_ONCE, false).await?;
                self.confirm().await?;
            }
        }
        Ok(())
    }

    /// Tells the board of what changed.
    async fn flush(&mut self) -> Result<(), BoardGone> {
        self.flush_at = None;
        let dirty = std::mem::take(&mut self.dirty);
        self.tell(&dirty, false, false, None).await?;
        self.dirty = dirty;
        self.dirty.clear();
        Ok(())
    }

    /// Tells the board of these locks. `done` is told once it knows.
    async fn tell(
        &mut self,
        slots: &[Slot],
        hurry: bool,
        swept: bool,
        done: Option<oneshot::Sender<()>>,
    ) -> Result<(), BoardGone> {
        let now = clock::now();
        let mut sights: Vec<Sight> = Vec::new();
        let mut scanned: Vec<Sight> = Vec::new();
        for &slot in slots {
            match self.table.tell(slot, &self.nodes, now, hurry, swept) {
                Tell::Sight { sight, scan } => {
                    let to = if scan { &mut scanned } else { &mut sights };
                    to.push(sight);
                    if to.len() == SIGHTS_AT_ONCE {
                        let sights = std::mem::take(to);
                        self.report(Report::Sights { sights, scan }).await?;
                    }
                }
                Tell::Wait { new: true } => self.unsettled.push_back((now, slot)),
                Tell::Wait { new: false } | Tell::Nothing => {}
            }
            if self.table.is_over(slot) {
                self.over.push_back((now, slot));
            }
        }
        if !scanned.is_empty() {
            self.report(Report::Sights { sights: scanned, scan: true }).await?;
        }
        if !sights.is_empty() || done.is_some() {
            let batch = Batch { source: self.id, report: Report::Sights { sights, scan: false }, folded: done };
            self.reports.send(batch).await.map_err(|_| BoardGone)?;
        }
        Ok(())
    }

    /// Looks at the oldest decisions that wait.
    async fn settle(&mut self, at_most: usize, hurry: bool) -> Result<(), BoardGone> {
        let n = self.unsettled.len().min(at_most);
        let oldest: Vec<(Time, Slot)> = self.unsettled.drain(..n).collect();
        // Those that were decided meanwhile, and slots of other locks by now, wait no more.
        let waits = |merge: &Merge, (since, slot): &(Time, Slot)| merge.table.unsettled_since(*slot) == Some(*since);
        let slots: Vec<Slot> = oldest.iter().filter(|one| waits(self, one)).map(|&(_, slot)| slot).collect();
        self.tell(&slots, hurry, false, None).await?;
        for one in oldest.into_iter().rev() {
            if waits(self, &one) {
                self.unsettled.push_front(one);
            }
        }
        Ok(())
    }

    /// Every change before this moment is known to the board: what every watched master has confirmed.
    async fn confirm(&mut self) -> Result<(), BoardGone> {
        if !self.whole.complete || self.sweep.is_some() {
            return Ok(());
        }
        let watched = self.nodes.iter().filter(|node| node.reachable && node.complete);
        let Some(all) = watched.map(|node| node.confirmed_at).collect::<Option<Vec<Time>>>() else { return Ok(()) };
        let Some(mut at) = all.into_iter().min() else { return Ok(()) };
        self.flush().await?;
        if let Some(&(since, _)) = self.unsettled.front() {
            at = at.min(since.plus(-1));
        }
        if self.whole.confirmed_at.is_none_or(|before| before < at) {
            self.whole.confirmed_at = Some(at);
            self.report(Report::Confirmed { at }).await?;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), BoardGone> {
        for i in 0..self.nodes.len() {
            self.refresh(i);
        }
        self.weigh().await?;
        let now = clock::now();
        let due = self.unsettled.iter().take_while(|(since, _)| now.since(*since) >= super::table::SETTLE_MS).count();
        if due > 0 {
            self.settle(due, false).await?;
        }
        while self.later.peek().is_some_and(|Reverse((at, _))| *at <= now.0) {
            if let Some(Reverse((_, key))) = self.later.pop() {
                self.look_everywhere(&key);
            }
        }
        while let Some(&(since, slot)) = self.over.front() {
            if now.since(since) < REMEMBER_MS && self.over.len() <= MAX_REMEMBERED {
                break;
            }
            self.over.pop_front();
            if self.table.is_over(slot) {
                self.table.remove(slot);
            }
        }
        self.send_looks();
        let masters = self.masters.clone();
        self.whole.waiting = (self.dirty.len() + self.unsettled.len()) as u64;
        self.whole.silent = self
            .nodes
            .iter()
            .zip(0..)
            .filter(|(node, _)| node.silent_since.is_some())
            .fold(0, |all, (_, i)| all | 1 << i);
        let status = self.about.put_together(&masters, &self.whole, Some(&self.told.borrow()));
        self.told.send_if_modified(|told| {
            // When it was looked at is no news, nor is how long ago that makes the last confirmation.
            let same = SourceStatus { as_of: told.as_of, lag_ms: told.lag_ms, ..status.clone() } == *told;
            *told = status;
            !same
        });
        Ok(())
    }

    /// Takes note of whether a master answers.
    fn refresh(&mut self, i: usize) {
        let (state, started_at) = {
            let status = self.masters[i].status.borrow();
            (status.state, status.server_started_at)
        };
        let node = &mut self.nodes[i];
        node.started_at = started_at;
        node.scanning = state == SourceState::Scanning;
        let up = state != SourceState::Down;
        if !up {
            node.silent_since = None;
        }
        let reachable = up && node.silent_since.is_none();
        if node.reachable == reachable {
            return;
        }
        node.reachable = reachable;
        if !up {
            node.missed(clock::now());
            node.scan_began = None;
            self.unsent[i].clear();
            self.waiting[i] = None;
        } else if let Some(began_at) = node.whole_since.filter(|_| node.complete) {
            // It was scanned before it was said to answer: what it had then and has no more is still to be read.
            self.look_at_unmet(i, began_at);
        }
        self.sweep = Some(0);
    }

    /// Has those read again that a scan of a master did not meet.
    fn look_at_unmet(&mut self, i: usize, began_at: Time) {
        let unmet: Vec<Bytes> = self.table.unmet(i, began_at).map(Bytes::copy_from_slice).collect();
        for key in unmet {
            self.look_on(i, key);
        }
    }

    /// Weighs whether a majority is watched, and says when that begins and ends.
    async fn weigh(&mut self) -> Result<(), BoardGone> {
        let watched = self.nodes.iter().filter(|node| node.reachable && node.complete).count();
        let needed = majority(self.nodes.len());
        if self.whole.complete && watched < needed {
            let at = clock::now();
            let because = format!("only {watched} of {} masters are watched and {needed} are needed", self.nodes.len());
            tracing::warn!(source.name = %self.about.name, "source `{}`: {because}", self.about.name);
            self.whole.complete = false;
            self.whole.confirmed_at = None;
            self.whole.gaps += 1;
            self.whole.last_gap = Some((at, because.clone()));
            return self.report(Report::Gap { at, because }).await;
        }
        let scanning = self.nodes.iter().any(|node| node.reachable && !node.complete && node.scanning);
        if !scanning && std::mem::take(&mut self.sweep_due) {
            self.sweep = Some(0);
        }
        if self.whole.complete || watched < needed || scanning {
            return Ok(());
        }
        let began_at =
            self.nodes.iter().filter(|node| node.reachable && node.complete).filter_map(|node| node.whole_since).min();
        let Some(began_at) = began_at else { return Ok(()) };
        // Every lock as it is now, before it is said that these are all.
        while self.sweep.is_some() {
            self.sweep_on().await?;
        }
        self.flush().await?;
        self.settle(self.unsettled.len(), true).await?;
        let after_gap = self.whole.last_gap.as_ref().map_or(began_at, |(at, _)| at.plus(1));
        self.report(Report::ScanEnded { began_at: began_at.max(after_gap) }).await?;
        self.whole.complete = true;
        self.whole.finished_at = Some(clock::now());
        Ok(())
    }

    /// A part of the round over all locks.
    async fn sweep_on(&mut self) -> Result<(), BoardGone> {
        let Some(from) = self.sweep else { return Ok(()) };
        let to = (from + SWEEP_AT_ONCE).min(self.table.slots());
        self.sweep = (to < self.table.slots()).then_some(to);
        let slots: Vec<Slot> = (from..to).collect();
        self.tell(&slots, false, true, None).await
    }

    async fn tell_waiting(&mut self, at: Time) -> Result<(), BoardGone> {
        // One who waits does so on every master, so the most that one of them counts is how many there are at least.
        let mut most: HashMap<&Bytes, u32> = HashMap::new();
        for (key, &count) in self.waiting.iter().flatten().flatten() {
            let known = most.entry(key).or_default();
            *known = count.max(*known);
        }
        let counts = most.into_iter().map(|(key, count)| (key.clone(), WaitersSeen { count })).collect();
        self.report(Report::Waiting { counts, at }).await
    }

    async fn report(&self, report: Report) -> Result<(), BoardGone> {
        self.reports.send(Batch { source: self.id, report, folded: None }).await.map_err(|_| BoardGone)
    }
}

/// Orders.
impl Merge {
    /// Has every master sampled: who wants a lock asks all of them, and some may refuse to be sampled.
    fn trace(&self, order: TraceOrder, mut done: oneshot::Sender<Traced>) {
        let ask = |master: &SourceHandle| {
            let (done, told) = oneshot::channel();
            // One that has no room says so by dropping the other end.
            let _ = master.commands.try_send(Command::Trace { order: order.clone(), done });
            (master.name.to_string(), told)
        };
        let asked: Vec<_> = self.masters.iter().map(ask).collect();
        let (id, source, last, reports) = (self.id, self.about.name.clone(), self.traced.clone(), self.reports.clone());
        tokio::spawn(async move {
            let Some(traced) = traces::gather(&source, asked, Nodes::Copies, &mut done).await else { return };
            if let Ok(report) = &traced {
                last.send_replace(Some(Arc::clone(report)));
                let (folded, known) = oneshot::channel();
                let batch = Batch { source: id, report: Report::Traced(Arc::clone(report)), folded: Some(folded) };
                // So that the board says the same as the answer. An error means that the server ends.
                if reports.send(batch).await.is_ok() {
                    let _ = known.await;
                }
            }
            // Whoever ordered it may have given up.
            let _ = done.send(traced);
        });
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::Trace { order, done } => self.trace(order, done),
            Command::Look { keys, done: None } => {
                let now = clock::now();
                for key in keys {
                    self.expect(&key);
                    match self.table.lapses_at(&key, &self.nodes, now) {
                        Some(at) if self.later.len() < MAX_WAITING => {
                            self.later.push(Reverse((at.0 + LOOK_AFTER_MS, key)));
                        }
                        _ => self.look_everywhere(&key),
                    }
                }
                self.send_looks();
            }
            Command::Look { keys, done: Some(done) } => {
                for key in &keys {
                    self.expect(key);
                }
                tokio::spawn(look(self.masters.clone(), self.asks.clone(), keys, done));
            }
            // Not offered: dropping it says that nothing stopped.
            Command::Follow(_) => {}
            Command::Together { keys } => {
                for master in self.masters.iter() {
                    // Without room they stay two until one of them changes.
                    let _ = master.commands.try_send(Command::Together { keys: keys.clone() });
                }
            }
            // Whoever ordered it was told meanwhile that it is not known what came of it: it must not happen later.
            Command::Release { done, .. } if done.is_closed() => {}
            Command::Release { order, done } => {
                let has =
                    self.table.has(&order.key, &order.token).unwrap_or_else(|| vec![Has::NotIt; self.nodes.len()]);
                let targets: Vec<Target> = self
                    .masters
                    .iter()
                    .zip(&self.nodes)
                    .zip(has)
                    .map(|((handle, node), has)| Target { handle: handle.clone(), reachable: node.reachable, has })
                    .collect();
                let asks = self.asks.clone();
                tokio::spawn(async move {
                    let key = order.key.clone();
                    let reply = release::run(targets, order).await;
                    let (told, known) = oneshot::channel();
                    let ask = Ask { keys: vec![key], silent: Vec::new(), done: told };
                    if asks.send(ask).await.is_ok() {
                        // An error means that the server ends; the attempt was made all the same.
                        let _ = known.await;
                    }
                    // It was made whether or not anybody still listens; it is in the log.
                    let _ = done.send(reply);
                });
            }
        }
    }

    /// Somebody waits for the board to know what was just read.
    async fn asked(&mut self, ask: Ask) -> Result<(), BoardGone> {
        for i in ask.silent {
            if let Some(node) = self.nodes.get_mut(i) {
                node.silent_since = Some(clock::now());
                self.refresh(i);
            }
        }
        let slots: Vec<Slot> = ask.keys.iter().filter_map(|key| self.table.find(key)).collect();
        self.tell(&slots, true, false, Some(ask.done)).await
    }

    fn expect(&mut self, key: &[u8]) {
        if let Some(slot) = self.table.expect(key) {
            self.over.push_back((clock::now(), slot));
        }
    }

    fn look_everywhere(&mut self, key: &Bytes) {
        for i in 0..self.nodes.len() {
            self.look_on(i, key.clone());
        }
    }

    fn look_on(&mut self, i: usize, key: Bytes) {
        // One that is away is scanned when it is back.
        if self.nodes[i].reachable && self.unsent[i].len() < MAX_WAITING {
            self.unsent[i].push_back(key);
        }
    }

    fn send_looks(&mut self) {
        for (master, looks) in self.masters.iter().zip(&mut self.unsent) {
            while !looks.is_empty() {
                let Ok(room) = master.commands.try_reserve() else { break };
                let keys = looks.drain(..looks.len().min(LOOK_AT_ONCE)).collect();
                room.send(Command::Look { keys, done: None });
            }
        }
    }
}

/// Has keys read on every master that answers. `done` is dropped if none did.
async fn look(masters: Arc<[SourceHandle]>, asks: mpsc::Sender<Ask>, keys: Vec<Bytes>, done: oneshot::Sender<()>) {
    let reads = join_all(masters.iter().map(async |master| {
        if master.status.borrow().state == SourceState::Down {
            return Ok(Err(NotRead));
        }
        tokio::time::timeout(LOOK_WITHIN, master.look(keys.clone())).await
    }))
    .await;
    if reads.iter().any(|read| matches!(read, Ok(Ok(())))) {
        let silent = reads.iter().enumerate().filter(|(_, read)| read.is_err()).map(|(i, _)| i).collect();
        // Otherwise the server ends.
        let _ = asks.send(Ask { keys, silent, done }).await;
    }
}

/// Waits for a moment; for ever without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
