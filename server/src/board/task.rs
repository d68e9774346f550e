//! The task: wake up, fold, take note, tell.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lockkeeper_model::wire::{ClientFrame, PROTOCOL, STATUS_EVERY_MS, ServerFrame};
use lockkeeper_model::{Event, FeedKind, LockId, MAX_LIMIT, Severity, SourceState, Time, TransitionKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use super::{
    Ask, Board, BreakGlass, EventFilter, Found, Grouping, Held, ListedRows, Listing, LockNumbers, Numbers,
    SUBSCRIBER_EVENTS, Subscription, VIEWER_FRAMES, Viewer, Waits,
};
use crate::access::{Reach, Right, Scope};
use crate::clock;
use crate::recorder::history::Tape;
use crate::registry::{Cause, Changes, LOG_EVENTS, LoggedEvent, Record, Registry, Slot};
use crate::source::{Batch, Command, SourceHandle, SourceId, Surroundings};
use crate::view::{Asked, FRAME_MS, Part, Views};
use crate::warning::{self, Remembered, Rules, Told, Watch};

/// Asks that may wait. Each is answered in microseconds; more waiting than this means that the machine is overloaded,
/// and then those who ask should wait, too.
const WAITING_ASKS: usize = 1_024;

/// Reports folded in before the task looks at anything else.
const REPORTS_AT_ONCE: usize = 32;

/// How often the task looks for changes of the sources' conditions: soon enough that a lost store is on the screen
/// before a person could act on what is old.
const CONDITION_EVERY: Duration = Duration::from_millis(100);

/// Keys in one order to look again.
const LOOK_AT_ONCE: usize = 1_000;

/// What the board says about the server as a whole.
#[derive(Debug, Default)]
pub struct BoardOptions {
    /// Whether releasing is switched on.
    pub release_enabled: bool,
    /// How many locks one request may release at most.
    pub max_locks: u32,
    /// Whether this is the demo.
    pub demo: bool,
    /// Where to leave what happens; `None`: it is not written down.
    pub tape: Option<Tape>,
    /// What to warn of.
    pub rules: Rules,
    /// What was so when the server ended last.
    pub remembered: Remembered,
    /// Where to say what opens and what is over; `None`: nobody is told.
    pub told: Option<mpsc::Sender<Told>>,
}

/// Starts the task. It ends with `stop`.
pub fn spawn(
    sources: Vec<SourceHandle>,
    reports: mpsc::Receiver<Batch>,
    mut options: BoardOptions,
    stop: CancellationToken,
) -> Board {
    let (asks, asked) = mpsc::channel(WAITING_ASKS);
    let names: Vec<String> = sources.iter().map(|source| source.name.to_string()).collect();
    let registry = Registry::new(names.clone(), rand::random());
    if let Some(tape) = &mut options.tape {
        tape.begin(registry.run(), names.clone(), clock::now());
    }
    let (rules, remembered) = (std::mem::take(&mut options.rules), std::mem::take(&mut options.remembered));
    let task = Task {
        registry,
        views: Views::default(),
        meter: Meter::new(sources.len()),
        watch: Watch::new(names, rules, remembered, clock::now()),
        told_warnings: 0,
        shown_warnings: Vec::new(),
        changes: Changes::default(),
        conditions: vec![Condition::default(); sources.len()],
        unsent_looks: vec![VecDeque::new(); sources.len()],
        sources: sources.clone(),
        options,
        log: VecDeque::new(),
        subscribers: Vec::new(),
        waiting_lists: Vec::new(),
        waiting_counts: Vec::new(),
        next_viewer: 1,
        flushed_at: Time(0),
        unflushed: false,
        told_sources_at: Time(0),
        asks: asks.clone(),
    };
    tokio::spawn(task.run(reports, asked, stop));
    Board::new(asks, sources)
}

/// What of a source's status changes what its locks look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Condition {
    state: Option<SourceState>,
    feed: Option<FeedKind>,
    complete: bool,
    around: Surroundings,
}

impl Condition {
    fn for_warnings(&self) -> warning::Condition {
        let Surroundings { down, evicts_all, evicts_volatile, .. } = self.around;
        warning::Condition { current: self.complete && !down, evicts: evicts_all || evicts_volatile }
    }
}

struct Subscriber {
    reach: Reach,
    source: Option<SourceId>,
    lock: Option<Bytes>,
    lost_releases: bool,
    events: mpsc::Sender<Event>,
}

struct WaitingList {
    asked: Asked,
    offset: u64,
    limit: u32,
    answer: PageAnswer,
}

/// How a page is answered.
enum PageAnswer {
    Groups(oneshot::Sender<Grouping>),
    Locks(oneshot::Sender<Listing>),
    Rows(oneshot::Sender<ListedRows>),
}

impl PageAnswer {
    /// Whoever asked does not wait any more.
    fn is_given_up(&self) -> bool {
        match self {
            PageAnswer::Groups(answer) => answer.is_closed(),
            PageAnswer::Locks(answer) => answer.is_closed(),
            PageAnswer::Rows(answer) => answer.is_closed(),
        }
    }
}

struct Task {
    registry: Registry,
    views: Views,
    meter: Meter,
    watch: Watch,
    /// The version of the warnings that viewers were told of, and what of it each reach was.
    told_warnings: u64,
    shown_warnings: Vec<(Reach, (u64, Option<Severity>))>,
    changes: Changes,
    sources: Vec<SourceHandle>,
    conditions: Vec<Condition>,
    /// Keys that a source had no room to be asked about yet.
    unsent_looks: Vec<VecDeque<Bytes>>,
    options: BoardOptions,
    log: VecDeque<LoggedEvent>,
    subscribers: Vec<Subscriber>,
    /// Pages of questions that are being answered for the first time.
    waiting_lists: Vec<WaitingList>,
    /// Those who want to know how many locks of a reach each source has, while these are counted for the first time.
    waiting_counts: Vec<(Reach, oneshot::Sender<Vec<u64>>)>,
    next_viewer: u64,
    flushed_at: Time,
    /// Something changed since the last flush.
    unflushed: bool,
    told_sources_at: Time,
    asks: mpsc::Sender<Ask>,
}

enum Wake {
    Reports,
    Ask(Option<Ask>),
    Flush,
    Deadline,
    Condition,
    Examine,
    Stop,
}

impl Task {
    async fn run(
        mut self,
        mut reports: mpsc::Receiver<Batch>,
        mut asked: mpsc::Receiver<Ask>,
        stop: CancellationToken,
    ) {
        let mut batches = Vec::with_capacity(REPORTS_AT_ONCE);
        let mut condition = tokio::time::interval(CONDITION_EVERY);
        condition.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut examining = false;
        loop {
            let flush_at = self.unflushed.then(|| instant_of(self.flushed_at.plus(FRAME_MS)));
            let deadline =
                self.registry.next_deadline().into_iter().chain(self.watch.next_moment()).min().map(instant_of);
            // Asks come first: a person waits for them. A first answer goes on only while nothing else is to do.
            let wake = tokio::select! {
                biased;
                () = stop.cancelled() => Wake::Stop,
                ask = asked.recv() => Wake::Ask(ask),
                () = until(flush_at) => Wake::Flush,
                _ = condition.tick() => Wake::Condition,
                n = reports.recv_many(&mut batches, REPORTS_AT_ONCE), if !reports.is_closed() || !reports.is_empty() => {
                    let _: usize = n;
                    Wake::Reports
                }
                () = until(deadline) => Wake::Deadline,
                () = tokio::task::yield_now(), if examining => Wake::Examine,
            };
            let now = clock::now();
            match wake {
                Wake::Stop | Wake::Ask(None) => {
                    self.tell_waits(now);
                    break;
                }
                Wake::Ask(Some(ask)) => self.ask(ask, now),
                Wake::Reports => {
                    for batch in batches.drain(..) {
                        self.registry.apply(batch.source, batch.report, &mut self.changes);
                        self.took_note(now);
                        self.count_locks(batch.source);
                        if let Some(folded) = batch.folded {
                            // Whoever wanted to know may have given up.
                            let _ = folded.send(());
                        }
                    }
                    // Also here: reports can come without a pause.
                    self.registry.tick(now, &mut self.changes);
                    self.took_note(now);
                    self.watch.tick(&self.registry, now);
                    self.tell_warnings();
                    self.registry.forget_ended(now);
                }
                Wake::Deadline => {
                    self.registry.tick(now, &mut self.changes);
                    self.took_note(now);
                    self.watch.tick(&self.registry, now);
                    self.tell_warnings();
                }
                Wake::Flush => {}
                Wake::Condition => self.conditions(now),
                Wake::Examine => {
                    self.views.examine(&self.registry);
                    self.answer_waiting_lists(now);
                    self.answer_waiting_counts(now);
                    self.unflushed = true;
                }
            }
            examining = self.views.has_unexamined();
            // At once when it is quiet, merged when it is not.
            if self.unflushed && now.since(self.flushed_at) >= FRAME_MS {
                self.flush(now);
            }
        }
    }

    /// Passes on what the registry changed.
    fn took_note(&mut self, now: Time) {
        let mut changes = std::mem::take(&mut self.changes);
        for &slot in &changes.dirty {
            self.views.change(&self.registry, slot);
            self.watch.change(&self.registry, slot, now);
        }
        if changes.repaint {
            self.views.repaint();
        }
        self.unflushed |= changes.repaint || !changes.dirty.is_empty() || !changes.events.is_empty();
        if let Some(tape) = &mut self.options.tape {
            tape.leave(&changes.events);
            tape.leave_waits(std::mem::take(&mut changes.waits));
        }
        for logged in &changes.events {
            self.publish(logged);
            self.meter.happened(logged);
            self.watch.happened(&self.registry, logged, now);
            if self.log.len() == LOG_EVENTS {
                self.log.pop_front();
            }
            self.log.push_back(logged.clone());
        }
        for (source, keys) in &changes.together {
            if let Some(handle) = self.sources.get(usize::from(source.0)) {
                // Without room they stay two rows until one of them changes.
                let _ = handle.commands.try_send(Command::Together { keys: keys.clone() });
            }
        }
        for (source, key) in &changes.look {
            if let Some(looks) = self.unsent_looks.get_mut(usize::from(source.0)) {
                looks.push_back(key.clone());
            }
        }
        self.send_looks();
        self.changes = changes;
        self.changes.clear();
    }

    /// Leaves all that is known by now of those who waited.
    fn tell_waits(&mut self, now: Time) {
        self.registry.tell_waits(now, &mut self.changes);
        self.took_note(now);
    }

    fn count_locks(&self, source: SourceId) {
        if let Some(handle) = self.sources.get(usize::from(source.0)) {
            handle.locks.store(self.registry.locks_of(source), Ordering::Relaxed);
        }
    }

    fn publish(&mut self, logged: &LoggedEvent) {
        let registry = &self.registry;
        self.subscribers.retain(|subscriber| {
            // A subscriber that fell behind is let go of: its stream ends, and it resumes from the last event it saw.
            !subscriber.wants(registry, logged) || subscriber.events.try_send(registry.event(logged)).is_ok()
        });
    }

    fn send_looks(&mut self) {
        for (source, looks) in self.sources.iter().zip(&mut self.unsent_looks) {
            while !looks.is_empty() {
                let Ok(room) = source.commands.try_reserve() else { break };
                let keys = looks.drain(..looks.len().min(LOOK_AT_ONCE)).collect();
                room.send(Command::Look { keys, done: None });
            }
        }
    }

    fn ask(&mut self, ask: Ask, now: Time) {
        // Whoever asked may have left meanwhile; an answer that nobody takes is no error.
        match ask {
            Ask::List { asked, offset, limit, answer } => {
                self.waiting_lists.push(WaitingList { asked, offset, limit, answer: PageAnswer::Locks(answer) });
                self.answer_waiting_lists(now);
            }
            Ask::Groups { asked, limit, answer } => {
                self.waiting_lists.push(WaitingList { asked, offset: 0, limit, answer: PageAnswer::Groups(answer) });
                self.answer_waiting_lists(now);
            }
            Ask::Rows { asked, limit, answer } => {
                self.waiting_lists.push(WaitingList { asked, offset: 0, limit, answer: PageAnswer::Rows(answer) });
                self.answer_waiting_lists(now);
            }
            Ask::OfRows { rows, answer } => {
                // A row's lower half is its slot.
                let record = |row: &u64| {
                    let slot = (*row & u64::from(u32::MAX)) as Slot;
                    self.registry.record(slot).filter(|record| !record.is_ended() && record.row(slot) == *row)
                };
                let lock = |record| self.registry.lock(record, now, self.around(record.source), false);
                drop(answer.send(rows.iter().filter_map(record).map(lock).collect()));
            }
            Ask::Lock { source, key, answer } => drop(answer.send(self.found(source, &key, now))),
            Ask::Graph { source, reach, answer } => {
                drop(answer.send(Waits { as_of: now, graph: self.registry.wait_graph(source, &reach) }));
            }
            Ask::Holders { mut looking, answer } => {
                let found = self.registry.look_for_holders(&mut looking, now);
                drop(answer.send((looking, found)));
            }
            Ask::LostTime { source, reach, answer } => {
                drop(answer.send((now, self.registry.lost_time(source, &reach, now))));
            }
            Ask::TellWaits { answer } => {
                self.tell_waits(now);
                let _ = answer.send(());
            }
            Ask::Count { reach, answer } => {
                self.waiting_counts.push((reach, answer));
                self.answer_waiting_counts(now);
            }
            Ask::Piece { from, answer } => drop(answer.send(self.registry.piece(from, now))),
            Ask::Numbers { locks, answer } => drop(answer.send(self.numbers(&locks, now))),
            Ask::Subscribe { filter, after, answer } => {
                drop(answer.send(self.subscribe(&filter, after.as_deref(), now)))
            }
            Ask::Connect { scope, answer } => {
                let viewer = self.connect(&scope, now);
                drop(answer.send(viewer));
            }
            Ask::Viewer { viewer, frame } => self.viewer_said(viewer, frame, now),
            Ask::Leave { viewer } => self.views.leave(viewer),
            Ask::Announce { what } => self.announce(&what, now),
            Ask::Warnings(ask) => {
                self.watch.answer(&self.registry, *ask, now);
                self.watch.tick(&self.registry, now);
                self.tell_warnings();
            }
            Ask::Releasing { source, key, token, audit } => {
                self.registry.releasing(source, &key, &token, audit, now);
            }
            Ask::PuttingBack { source, key, token } => self.registry.putting_back(source, &key, token.as_deref()),
            Ask::Raised { source, key, token, value } => {
                self.registry.raised(source, &key, &token, &value, &mut self.changes);
                self.took_note(now);
            }
            Ask::Others { holders, reach, answer } => drop(answer.send(self.registry.others(&holders, &reach))),
            Ask::Connection { holder, answer } => {
                let connection =
                    self.registry.connection_of(holder.source, &holder.token, &holder.identity, holder.since);
                drop(answer.send(connection));
            }
            Ask::Released { source, key, freed } => {
                self.registry.released(source, &key, freed, now, &mut self.changes);
                self.took_note(now);
            }
        }
    }

    /// Tells each viewer of those of the locks that there are for them.
    fn announce(&mut self, what: &BreakGlass, now: Time) {
        for reach in self.views.reaches() {
            let seen = |(source, id): &&(String, LockId)| id.key().is_ok_and(|key| reach.has(source, &key));
            let locks: Vec<(String, LockId)> = what.locks.iter().filter(seen).cloned().collect();
            if locks.is_empty() {
                continue;
            }
            let (by, reason) = (what.by.clone(), what.reason.clone());
            self.views.announce(
                &reach,
                &ServerFrame::Notice { at: now.0, code: "break_glass".to_owned(), by, reason, locks },
            );
        }
        self.unflushed = true;
    }

    fn answer_waiting_lists(&mut self, now: Time) {
        for waiting in std::mem::take(&mut self.waiting_lists) {
            if waiting.answer.is_given_up() {
                continue;
            }
            if !self.views.is_ready(&self.registry, &waiting.asked, now) {
                self.waiting_lists.push(waiting);
                continue;
            }
            let WaitingList { asked, offset, limit, answer } = waiting;
            match answer {
                PageAnswer::Locks(answer) => {
                    let (total, slots) = self.views.page(&self.registry, &asked, offset, limit, now);
                    let lock = |record: &Record| self.registry.lock(record, now, self.around(record.source), false);
                    let locks = slots.into_iter().filter_map(|slot| self.registry.record(slot).map(lock)).collect();
                    drop(answer.send(Listing { as_of: now, total, locks }));
                }
                PageAnswer::Rows(answer) => {
                    let (total, slots) = self.views.page(&self.registry, &asked, offset, limit, now);
                    let row = |slot| Some(self.registry.record(slot)?.row(slot));
                    drop(answer.send(ListedRows { total, rows: slots.into_iter().filter_map(row).collect() }));
                }
                PageAnswer::Groups(answer) => {
                    let (total, locks, groups) = self.views.groups(&self.registry, &asked, limit as usize, now);
                    drop(answer.send(Grouping { as_of: now, total, locks, groups }));
                }
            }
        }
    }

    fn answer_waiting_counts(&mut self, now: Time) {
        for (reach, answer) in std::mem::take(&mut self.waiting_counts) {
            if self.views.is_counted(&self.registry, &reach, now) {
                drop(answer.send(self.views.by_source(&self.registry, &reach, self.sources.len(), now)));
            } else {
                self.waiting_counts.push((reach, answer));
            }
        }
    }

    fn numbers(&mut self, locks: &[LockId], now: Time) -> Vec<Numbers> {
        self.unflushed |= self.views.grow_older(&self.registry, now);
        let of_lock = |source: SourceId, id: &LockId| {
            let slot = id.key().ok().and_then(|key| self.registry.find(source, &key));
            let record = slot.and_then(|slot| self.registry.record(slot)).filter(|record| !record.is_ended());
            let held = record.filter(|record| !record.holds.is_empty());
            LockNumbers {
                id: id.clone(),
                held: held.is_some(),
                held_ms: held.map(|record| (now.0 - record.since()).max(0)),
                waiters: record.map_or(0, |record| record.waiting()),
            }
        };
        let of_source = |source: &SourceHandle| {
            let locks = locks.iter().map(|id| of_lock(source.id, id)).collect();
            self.meter.numbers(source.id, self.views.counted(source.id), locks)
        };
        self.sources.iter().map(of_source).collect()
    }

    fn found(&self, source: SourceId, key: &[u8], now: Time) -> Found {
        let record = self.registry.find(source, key).and_then(|slot| self.registry.record(slot));
        let (events, events_cut) = record.map(|record| self.registry.timeline(record)).unwrap_or_default();
        let held = record.filter(|record| !record.is_ended()).map(|record| {
            Box::new(Held {
                lock: self.registry.lock(record, now, self.around(source), true),
                traits: record.recognition.traits,
                orders: Registry::release_orders(record),
                eviction: self.registry.eviction(record, now),
            })
        });
        Found { as_of: now, held, events, events_cut }
    }

    fn subscribe(&mut self, filter: &EventFilter, after: Option<&str>, now: Time) -> Subscription {
        let (events, received) = mpsc::channel(SUBSCRIBER_EVENTS);
        let subscriber = Subscriber {
            reach: filter.reach.clone(),
            source: filter.source.as_deref().and_then(|name| self.source_id(name)),
            // An id that is none has no events; an empty key stands for it, since no lock is without a name.
            lock: filter.lock.as_ref().map(|id| id.key().unwrap_or_default().into()),
            lost_releases: filter.lost_releases,
            events,
        };
        let mut backlog = Vec::new();
        if let Some(after) = after {
            let oldest = self.log.front().map(|logged| logged.entry.seq);
            let seq = self.registry.event_seq(after);
            let reaches_back = seq.is_some_and(|seq| oldest.is_none_or(|oldest| oldest <= seq.saturating_add(1)));
            if !reaches_back {
                backlog.push(self.cannot_resume(after, filter, now));
            }
            let from = seq.unwrap_or(0);
            backlog.extend(
                self.log
                    .iter()
                    .filter(|logged| logged.entry.seq > from && subscriber.wants(&self.registry, logged))
                    .map(|logged| self.registry.event(logged)),
            );
        }
        self.subscribers.retain(|subscriber| !subscriber.events.is_closed());
        self.subscribers.push(subscriber);
        Subscription { backlog, events: received }
    }

    fn cannot_resume(&self, after: &str, filter: &EventFilter, now: Time) -> Event {
        let oldest = self.log.front().map_or(0, |logged| logged.entry.seq.saturating_sub(1));
        Event {
            id: self.registry.event_id(oldest),
            at: now,
            transition: TransitionKind::Gap,
            source: filter.source.clone().unwrap_or_else(|| "*".to_owned()),
            lock: None,
            holder: None,
            holder_b64: None,
            previous_holder: None,
            cause: Some("not_kept".to_owned()),
            evidence: Some(format!(
                "events after `{}` are not kept any more; what follows is what is left",
                lockkeeper_model::words::shown(after)
            )),
            held_ms: None,
            count: 1,
            first_at: None,
        }
    }

    fn connect(&mut self, scope: &Scope, now: Time) -> Viewer {
        let (frames, received) = mpsc::channel(VIEWER_FRAMES);
        let id = self.next_viewer;
        self.next_viewer += 1;
        self.views.connect(id, scope.seen().clone(), frames);
        let release_enabled = self.options.release_enabled && scope.may_anywhere(Right::Release);
        let hello = ServerFrame::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.registry.run(),
            release_enabled,
            bulk_locks: if release_enabled && scope.may_anywhere(Right::Bulk) { self.options.max_locks } else { 0 },
            demo: self.options.demo,
            now: now.0,
        };
        self.views.tell(id, &hello);
        let sources = self.sources_frame(scope.seen(), now);
        self.views.tell(id, &sources);

        Viewer::new(id, received, self.asks.clone())
    }

    fn viewer_said(&mut self, viewer: u64, frame: ClientFrame, now: Time) {
        match frame {
            ClientFrame::Ask { ask, question, offset, limit, seen } => {
                if let Err(error) = question.check() {
                    self.views.tell(viewer, &ServerFrame::Refused { detail: error.to_string() });
                    return;
                }
                let part = Part { offset, limit: limit.clamp(1, MAX_LIMIT), seen };
                self.views.ask(&self.registry, viewer, ask, &question, part, now);
            }
            ClientFrame::Follow { lock: None } => self.views.follow(&self.registry, viewer, None),
            ClientFrame::Follow { lock: Some((source, id)) } => match (self.source_for(viewer, &source), id.key()) {
                (Some(source), Ok(key)) => self.views.follow(&self.registry, viewer, Some((source, key.into()))),
                (None, _) => {
                    let detail = format!("there is no source `{}`", lockkeeper_model::words::shown(&source));
                    self.views.tell(viewer, &ServerFrame::Refused { detail });
                }
                (_, Err(error)) => self.views.tell(viewer, &ServerFrame::Refused { detail: error.to_string() }),
            },
        }
        let conditions = self.conditions.clone();
        self.views.flush_viewer(&self.registry, viewer, now, &|source| around(&conditions, source));
        self.unflushed = true;
    }

    /// Looks at the sources' conditions, tells viewers of them, and does what has waited.
    fn conditions(&mut self, now: Time) {
        let conditions: Vec<Condition> = self
            .sources
            .iter()
            .map(|source| {
                let status = source.status.borrow();
                let evicts = |what: &str| status.eviction.as_deref().is_some_and(|policy| policy.starts_with(what));
                Condition {
                    state: Some(status.state),
                    feed: status.feed,
                    complete: status.coverage.complete,
                    around: Surroundings {
                        down: status.state == SourceState::Down,
                        evicts_all: evicts("allkeys"),
                        evicts_volatile: evicts("volatile"),
                        replicated: status.replicas.is_some_and(|replicas| replicas > 0),
                    },
                }
            })
            .collect();
        let changed = conditions != self.conditions;
        // Which rows are stale depends on both.
        let look = |conditions: &[Condition]| -> Vec<(Surroundings, bool)> {
            conditions.iter().map(|condition| (condition.around, condition.complete)).collect()
        };
        let look_changed = look(&conditions) != look(&self.conditions);
        self.conditions = conditions;
        if look_changed {
            self.views.repaint();
            self.unflushed = true;
        }
        if changed || now.since(self.told_sources_at) >= STATUS_EVERY_MS {
            self.told_sources_at = now;
            for reach in self.views.reaches() {
                let frame = self.sources_frame(&reach, now);
                self.views.tell_all(&reach, &frame);
            }
            self.views.tell_facets(&self.registry, now);
            self.views.forget_unused(now);
            self.subscribers.retain(|subscriber| !subscriber.events.is_closed());
        }
        let current: Vec<warning::Condition> = self.conditions.iter().map(Condition::for_warnings).collect();
        self.watch.conditions(&self.registry, &current, now);
        self.tell_warnings();
        self.show_warnings(now);
        self.unflushed |= self.views.grow_older(&self.registry, now);
        self.send_looks();
        if let Some(tape) = &mut self.options.tape {
            // What found no room before is told of even if nothing else happens.
            tape.leave(&[]);
        }
    }

    fn sources_frame(&mut self, reach: &Reach, now: Time) -> ServerFrame {
        let locks = self.views.by_source(&self.registry, reach, self.sources.len(), now);
        let sources = self.sources.iter().zip(locks);
        let (open_warnings, worst_warning) = self.watch.to_look_at(reach);
        ServerFrame::Sources {
            now: now.0,
            sources: sources.filter_map(|(source, locks)| reach.narrow(source.status_now(), locks)).collect(),
            dialects: self.views.dialects(&self.registry, reach, now),
            open_warnings,
            worst_warning,
        }
    }

    /// Passes on what opened and what is over.
    fn tell_warnings(&mut self) {
        for told in self.watch.take_told() {
            if let Some(to) = &self.options.told
                && let Err(mpsc::error::TrySendError::Full(told)) = to.try_send(told)
            {
                tracing::warn!(
                    warning.id = told.warning.id,
                    "too many warnings at once: one is neither written nor told"
                );
            }
        }
    }

    /// Tells viewers how many warnings there are, if that may be another number than before.
    fn show_warnings(&mut self, now: Time) {
        if self.watch.version() == self.told_warnings {
            return;
        }
        self.told_warnings = self.watch.version();
        // No frame is sent because of a lock that somebody does not see.
        let before = std::mem::take(&mut self.shown_warnings);
        for reach in self.views.reaches() {
            let shown = self.watch.to_look_at(&reach);
            if !before.iter().any(|(known, told)| *known == reach && *told == shown) {
                let frame = self.sources_frame(&reach, now);
                self.views.tell_all(&reach, &frame);
            }
            self.shown_warnings.push((reach, shown));
        }
    }

    fn flush(&mut self, now: Time) {
        let conditions = self.conditions.clone();
        self.flushed_at = now;
        self.unflushed = self.views.flush(&self.registry, now, &|source| around(&conditions, source));
    }

    fn around(&self, source: SourceId) -> Surroundings {
        around(&self.conditions, source)
    }

    fn source_id(&self, name: &str) -> Option<SourceId> {
        self.sources.iter().find(|source| &*source.name == name).map(|source| source.id)
    }

    /// The source of that name, if there is one for this viewer.
    fn source_for(&self, viewer: u64, name: &str) -> Option<SourceId> {
        self.source_id(name).filter(|_| self.views.reach(viewer).is_some_and(|reach| reach.touches(name)))
    }
}

impl Subscriber {
    fn wants(&self, registry: &Registry, logged: &LoggedEvent) -> bool {
        if self.lost_releases && logged.entry.cause != Cause::ReleaseLost {
            return false;
        }
        let source = registry.source_name(logged.source);
        let is_seen = match &logged.key {
            Some(key) => self.reach.has(source, key),
            None => self.reach.touches(source),
        };
        is_seen
            && self.source.is_none_or(|source| source == logged.source)
            && match (&self.lock, &logged.key) {
                (None, _) => true,
                (Some(wanted), Some(key)) => wanted == key,
                // A gap of the source concerns each of its locks.
                (Some(_), None) => true,
            }
    }
}

fn around(conditions: &[Condition], source: SourceId) -> Surroundings {
    conditions.get(usize::from(source.0)).map_or_else(Surroundings::default, |condition| condition.around)
}

/// The server's clock as the runtime's.
fn instant_of(at: Time) -> Instant {
    let ms = u64::try_from(at.since(clock::now())).unwrap_or(0);
    Instant::now() + Duration::from_millis(ms)
}

/// Waits for a moment; for ever without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
