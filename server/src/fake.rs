//! A scripted world for tests of the rim: a board and a store that do as they are told, and note what they were asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lockkeeper_model::wire::ClientFrame;
use lockkeeper_model::{
    Basis, Bounds, Budget, Certainty, Connection, Coverage, DialectInfo, Event, Holder, Identity, Lease, LeaseKind,
    Lock, LockId, LockState, Mode, NotALock, OtherLocks, Renewals, SourceState, SourceStatus, Time, Told, TraceReport,
    Traffic, TransitionKind, Verdict, WaitGraph, Waiters, WaitersBasis, encode_token,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::board::{
    self, Ask, Board, BoardOptions, Found, Grouping, Held, ListedRows, Listing, Numbers, Subscription, Viewer, Waits,
};
use crate::recorder::history::Tape;
use crate::registry::Registry;
use crate::registry::holders::Holders;
use crate::registry::minutes::LostTime;
use crate::registry::past::Piece;
use crate::source::{
    Act, Batch, Command, DialectTraits, ReleaseOrder, ReleaseReply, SourceHandle, SourceId, TraceRefusal,
};
use crate::warning::{Remembered, Rules, Watch};

/// The moment at which everything in this world is true.
pub(crate) fn now() -> Time {
    crate::clock::now()
}

pub(crate) static TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "lock:",
    told_because: "its next renewal fails",
    release: "The key is deleted only if its value is still this token.",
    waiters_because: "its waiters poll",
    ..DialectTraits::PLAIN
};

pub(crate) static SHARED_TOKEN_TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    told: Told::Never,
    told_because: "nothing tells it",
    release: "The field is deleted, which wakes its waiters.",
    token_is_one_use: false,
    waiters_counted: true,
    waiters_because: "connections subscribed to its channel",
    never_renews: Some("this library never renews"),
    ..DialectTraits::PLAIN
};

/// Of a library whose unlock does not compare, and which takes the lock again.
pub(crate) static CARELESS_TRAITS: DialectTraits = DialectTraits {
    unsafe_unlock: Some("this library deletes without comparing"),
    comes_back: Some("its next renewal takes the lock again"),
    ..DialectTraits::PLAIN
};

pub(crate) static NO_RELEASE_TRAITS: DialectTraits =
    DialectTraits { no_release: Some("it would hurt"), ..DialectTraits::PLAIN };

/// Of a library that leaves others' tokens alone and counts a fence.
pub(crate) static HOLDABLE_TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "lock:",
    raise_fence: Some("The next holder has a higher number still."),
    ..DialectTraits::COMPARING
};

pub(crate) static QUEUE_TRAITS: DialectTraits =
    DialectTraits { evict_waiter: Some("The head leaves the queue and the next is woken."), ..DialectTraits::PLAIN };

/// What the world is like, and what was asked of it.
pub(crate) struct World {
    pub(crate) held: BTreeMap<Bytes, Held>,
    pub(crate) events: Vec<Event>,
    pub(crate) asked: Vec<String>,
    /// The next readings first do this to the world.
    pub(crate) before_look: VecDeque<Change>,
    /// The next attempts are answered so, and do this to the world.
    pub(crate) replies: VecDeque<(ReleaseReply, Change)>,
    /// The next traces are answered so.
    pub(crate) traces: VecDeque<Result<Arc<TraceReport>, TraceRefusal>>,
    /// Readings are never answered.
    pub(crate) is_deaf: bool,
    /// Readings are answered although the store was not reached.
    pub(crate) is_blind: bool,
    /// What else a holder has.
    pub(crate) others: OtherLocks,
    /// What was ordered, in order.
    pub(crate) orders: Vec<ReleaseOrder>,
    /// The connection of whoever held a lock.
    pub(crate) connection: Option<Connection>,
    pub(crate) subscribers: Vec<mpsc::Sender<Event>>,
    pub(crate) viewers: Vec<mpsc::Sender<Bytes>>,
    pub(crate) frames: Vec<ClientFrame>,
}

pub(crate) type Change = Box<dyn FnOnce(&mut World) + Send>;

/// Nothing changes.
pub(crate) fn nothing() -> Change {
    Box::new(|_| {})
}

/// A handle on the world.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) board: Board,
    pub(crate) world: Arc<Mutex<World>>,
    statuses: Arc<Vec<watch::Sender<SourceStatus>>>,
    /// Ends the product's board, if that is it.
    pub(crate) stop: CancellationToken,
}

impl Fake {
    /// A world with these sources, each live and empty.
    pub(crate) fn new(names: &[&str]) -> Fake {
        let (asks, asked) = mpsc::channel(16);
        Fake::with_board(names, |handles, world, _| {
            tokio::spawn(board(world, asked, asks.clone()));
            Board::new(asks, handles)
        })
    }

    /// A world with these sources and the board of the product, which knows what is sent to it and leaves what happens on
    /// the tape.
    pub(crate) fn watched(names: &[&str], tape: Option<Tape>) -> (Fake, mpsc::Sender<Batch>) {
        let (reports, reported) = mpsc::channel(16);
        let options = BoardOptions { release_enabled: true, max_locks: 100, tape, ..BoardOptions::default() };
        let fake = Fake::with_board(names, |handles, _, stop| board::spawn(handles, reported, options, stop));
        (fake, reports)
    }

    fn with_board(
        names: &[&str],
        board: impl FnOnce(Vec<SourceHandle>, Arc<Mutex<World>>, CancellationToken) -> Board,
    ) -> Fake {
        let world = Arc::new(Mutex::new(World {
            held: BTreeMap::new(),
            events: Vec::new(),
            asked: Vec::new(),
            before_look: VecDeque::new(),
            replies: VecDeque::new(),
            traces: VecDeque::new(),
            is_deaf: false,
            is_blind: false,
            others: OtherLocks { complete: true, ..OtherLocks::default() },
            orders: Vec::new(),
            connection: None,
            subscribers: Vec::new(),
            viewers: Vec::new(),
            frames: Vec::new(),
        }));
        let mut handles = Vec::new();
        let mut statuses = Vec::new();
        for (position, name) in names.iter().enumerate() {
            let (status_tx, status) = watch::channel(status(name));
            let (commands, orders) = mpsc::channel(16);
            let (traced, last_trace) = watch::channel(None);
            tokio::spawn(store(Arc::clone(&world), orders, traced));
            statuses.push(status_tx);
            let id = SourceId(u16::try_from(position).unwrap());
            handles.push(SourceHandle {
                id,
                name: (*name).into(),
                status,
                commands,
                locks: Arc::new(AtomicU64::new(0)),
                last_trace,
            });
        }
        let stop = CancellationToken::new();
        let board = board(handles, Arc::clone(&world), stop.clone());
        Fake { board, world, statuses: Arc::new(statuses), stop }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }

    /// Puts a lock into the world that `token` holds.
    pub(crate) fn hold(&self, key: &str, token: &str, generation: &str) {
        self.with(|world| world.hold(key.as_bytes(), &[(token.as_bytes(), generation)], &TRAITS));
    }

    pub(crate) fn set_status(&self, source: usize, change: impl FnOnce(&mut SourceStatus)) {
        self.statuses[source].send_modify(change);
    }

    /// What was asked, leaving nothing.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.with(|world| std::mem::take(&mut world.asked))
    }
}

impl World {
    pub(crate) fn hold(&mut self, key: &[u8], holders: &[(&[u8], &str)], traits: &'static DialectTraits) {
        let key = Bytes::copy_from_slice(key);
        let holds: Vec<Holder> = holders.iter().map(|(token, generation)| holder(token, generation)).collect();
        let orders = holders
            .iter()
            .map(|(token, _)| ReleaseOrder {
                key: key.clone(),
                keys: vec![key.clone()],
                dialect: "redis-py",
                token: Bytes::copy_from_slice(token),
                mode: Mode::Exclusive,
                count: 1,
                stamp: None,
                fencing: None,
                expires_not_after: Some(now().plus(30_000)),
                act: Act::Release,
            })
            .collect();
        let held = Held { lock: lock(&key, holds), traits, orders, eviction: None };
        self.held.insert(key, held);
    }

    /// Puts a lock into the world that nobody holds and that `token`, at the head of its queue, keeps others from.
    pub(crate) fn queue(&mut self, key: &[u8], token: &[u8], generation: &str, verdict: Verdict) {
        let key = Bytes::copy_from_slice(key);
        let mut lock = lock(&key, Vec::new());
        lock.state = LockState::WaitingOnly;
        lock.generation = format!("lock of {generation}");
        let order = ReleaseOrder {
            key: key.clone(),
            keys: vec![key.clone()],
            dialect: "redisson-fair",
            token: Bytes::copy_from_slice(token),
            mode: Mode::Exclusive,
            count: 1,
            expires_not_after: Some(now().plus(30_000)),
            stamp: None,
            fencing: None,
            act: Act::Evict,
        };
        let head = Holder { verdict, ..holder(token, generation) };
        self.held.insert(key, Held { lock, traits: &QUEUE_TRAITS, orders: Vec::new(), eviction: Some((head, order)) });
    }

    pub(crate) fn free(&mut self, key: &str) {
        self.held.remove(key.as_bytes());
    }

    /// Tells the subscribers.
    pub(crate) fn tell(&mut self, key: &str, transition: TransitionKind) {
        let id = format!("{}", self.events.len() + 1);
        let event = event(&id, key, transition);
        self.events.insert(0, event.clone());
        self.subscribers.retain(|subscriber| subscriber.try_send(event.clone()).is_ok());
    }
}

async fn store(
    world: Arc<Mutex<World>>,
    mut orders: mpsc::Receiver<Command>,
    traced: watch::Sender<Option<Arc<TraceReport>>>,
) {
    let mut unanswered = Vec::new();
    while let Some(order) = orders.recv().await {
        let mut world = world.lock().unwrap();
        match order {
            Command::Together { .. } | Command::Follow(_) => {}
            Command::Look { done, .. } => {
                world.asked.push("look".to_owned());
                if let Some(change) = world.before_look.pop_front() {
                    change(&mut world);
                }
                if !world.is_blind {
                    world.held.values_mut().for_each(|held| held.lock.as_of = now());
                }
                if world.is_deaf {
                    unanswered.push(done);
                } else if let Some(done) = done
                    && !world.is_blind
                {
                    let _ = done.send(());
                }
            }
            Command::Trace { order, done } => {
                world.asked.push(format!("trace {order:?}"));
                let trace = world.traces.pop_front().expect("a trace that the test did not expect");
                if let Ok(report) = &trace {
                    traced.send_replace(Some(Arc::clone(report)));
                }
                let _ = done.send(trace);
            }
            Command::Release { order, done } => {
                let what = match &order.act {
                    Act::Release | Act::Evict => "release",
                    Act::Hold { .. } => "hold",
                    Act::ExtendHold { .. } => "extend",
                    Act::PutBack => "put back",
                    Act::RaiseFence => "raise",
                };
                world.asked.push(format!("{what} {} of {}", text(&order.key), text(&order.token)));
                world.orders.push(order);
                let (reply, change) = world.replies.pop_front().expect("an attempt that the test did not expect");
                change(&mut world);
                let _ = done.send(reply);
            }
        }
    }
}

async fn board(world: Arc<Mutex<World>>, mut asked: mpsc::Receiver<Ask>, asks: mpsc::Sender<Ask>) {
    let registry = Registry::new([], 0);
    let mut warnings = Watch::new([], Rules::default(), Remembered::default(), now());
    while let Some(ask) = asked.recv().await {
        let mut world = world.lock().unwrap();
        match ask {
            Ask::List { asked, offset, limit, answer } => {
                world.asked.push(format!("list {asked:?} {offset} {limit}"));
                let locks: Vec<Lock> = world.held.values().map(|held| held.lock.clone()).collect();
                let _ = answer.send(Listing { as_of: now(), total: locks.len() as u64, locks });
            }
            Ask::Groups { asked, limit, answer } => {
                world.asked.push(format!("groups {asked:?} {limit}"));
                let _ = answer.send(Grouping { as_of: now(), total: 0, locks: 0, groups: Vec::new() });
            }
            Ask::Rows { asked, limit, answer } => {
                world.asked.push(format!("rows {asked:?} {limit}"));
                let rows: Vec<u64> = (0..world.held.len() as u64).collect();
                let _ = answer.send(ListedRows { total: rows.len() as u64, rows });
            }
            Ask::OfRows { rows, answer } => {
                let locks = world.held.values().enumerate().filter(|(row, _)| rows.contains(&(*row as u64)));
                let _ = answer.send(locks.map(|(_, held)| held.lock.clone()).collect());
            }
            Ask::Lock { key, answer, .. } => {
                let held = world.held.get(&key).cloned().map(Box::new);
                let id = LockId::of_key(&key);
                let events = world.events.iter().filter(|event| event.lock.as_ref() == Some(&id)).cloned().collect();
                let _ = answer.send(Found { as_of: now(), held, events, events_cut: false });
            }
            Ask::Piece { answer, .. } => {
                let _ = answer.send(Piece { seq: 0, at: now(), held: Vec::new(), next: None });
            }
            Ask::Count { answer, .. } => drop(answer.send(Vec::new())),
            // As many as anybody has sources.
            Ask::Numbers { answer, .. } => drop(answer.send(vec![Numbers::default(); 8])),
            Ask::Graph { source, answer, .. } => {
                world.asked.push(format!("graph {source:?}"));
                let _ = answer.send(Waits { as_of: now(), graph: WaitGraph::default() });
            }
            Ask::Holders { looking, answer } => {
                world.asked.push(format!("holders {looking:?}"));
                let _ = answer.send((looking, Some(Holders { complete: true, ..Holders::default() })));
            }
            Ask::TellWaits { answer } => {
                let _ = answer.send(());
            }
            Ask::LostTime { answer, .. } => drop(answer.send((now(), LostTime::default()))),
            Ask::Subscribe { filter, after, answer } => {
                world.asked.push(format!("subscribe {filter:?} {after:?}"));
                let backlog = if after.is_some() { world.events.iter().rev().cloned().collect() } else { Vec::new() };
                let (tx, events) = mpsc::channel(16);
                world.subscribers.push(tx);
                let _ = answer.send(Subscription { backlog, events });
            }
            Ask::Connect { answer, .. } => {
                let (tx, frames) = mpsc::channel(4);
                world.viewers.push(tx);
                let _ = answer.send(Viewer::new(world.viewers.len() as u64, frames, asks.clone()));
            }
            Ask::Viewer { frame, .. } => world.frames.push(frame),
            Ask::Leave { viewer } => world.asked.push(format!("leave {viewer}")),
            Ask::Warnings(ask) => warnings.answer(&registry, *ask, now()),
            Ask::Announce { what } => world.asked.push(format!("announce {what:?}")),
            Ask::Releasing { key, .. } => world.asked.push(format!("releasing {}", text(&key))),
            Ask::PuttingBack { key, token, .. } => {
                let what = if token.is_some() { "putting back" } else { "not put back" };
                world.asked.push(format!("{what} {}", text(&key)));
            }
            Ask::Raised { key, value, .. } => world.asked.push(format!("raised {} to {value}", text(&key))),
            Ask::Others { holders, answer, .. } => drop(answer.send(vec![world.others.clone(); holders.len()])),
            Ask::Connection { answer, .. } => drop(answer.send(world.connection.clone())),
            Ask::Released { key, freed, .. } => {
                let outcome = if freed { "released" } else { "not released" };
                world.asked.push(format!("{outcome} {}", text(&key)));
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn holder(token: &[u8], generation: &str) -> Holder {
    let (text, token_b64) = encode_token(token);
    Holder {
        token: text,
        token_b64,
        mode: Mode::Exclusive,
        count: 1,
        identity: Identity::default(),
        held_since: since(),
        lease: lease(),
        renewals: Renewals::default(),
        fencing_token: None,
        connection: None,
        verdict: Verdict::Unknown,
        evidence: Vec::new(),
        generation: generation.to_owned(),
    }
}

pub(crate) fn b64(token: &str) -> String {
    STANDARD.encode(token)
}

fn lock(key: &[u8], holders: Vec<Holder>) -> Lock {
    let id = LockId::of_key(key);
    Lock {
        source: "orders".to_owned(),
        name: id.as_str().trim_start_matches("lock:").to_owned(),
        keys: vec![id.clone()],
        id,
        mode: Mode::Exclusive,
        state: LockState::Held,
        dialect: DialectInfo {
            name: "redis-py".to_owned(),
            certainty: Certainty::Likely,
            because: "32 hex digits".to_owned(),
        },
        generation: format!(
            "lock of {}",
            holders.iter().map(|holder| &*holder.generation).collect::<Vec<_>>().join("+")
        ),
        holders,
        permits: None,
        held_since: since(),
        lease: lease(),
        waiters: Waiters {
            count: None,
            basis: WaitersBasis::Unknown,
            because: String::new(),
            ordered: false,
            longest_wait_ms: None,
            list: Vec::new(),
        },
        contention: None,
        flags: Vec::new(),
        flag_notes: Vec::new(),
        notes: Vec::new(),
        no_release: None,
        quorum: None,
        stored: None,
        // A second old, until it is looked at.
        as_of: now().plus(-1_000),
    }
}

fn since() -> Bounds {
    Bounds { not_before: None, not_after: Some(now()), basis: Basis::FirstSeen }
}

fn lease() -> Lease {
    Lease { kind: LeaseKind::Ttl, expires_at: Some(now().plus(30_000)), ttl_ms: Some(30_000) }
}

pub(crate) fn event(id: &str, key: &str, transition: TransitionKind) -> Event {
    Event {
        id: id.to_owned(),
        at: Time(1_767_235_900_120),
        transition,
        source: "orders".to_owned(),
        lock: Some(LockId::of_key(key.as_bytes())),
        holder: None,
        holder_b64: None,
        previous_holder: None,
        cause: None,
        evidence: None,
        held_ms: None,
        count: 1,
        first_at: None,
    }
}

pub(crate) fn status(name: &str) -> SourceStatus {
    SourceStatus {
        name: name.to_owned(),
        kind: "redis".to_owned(),
        topology: Some("standalone".to_owned()),
        address: "127.0.0.1:6379".to_owned(),
        server_version: None,
        environment: None,
        demo: false,
        state: SourceState::Live,
        since: now(),
        problem: None,
        hint: None,
        feed: None,
        feed_because: None,
        patterns: Vec::new(),
        coverage: Coverage {
            complete: true,
            scanned_keys: 7,
            total_keys: Some(7),
            locks: 2,
            started_at: Some(now()),
            finished_at: Some(now()),
            took_ms: Some(3),
            uncovered_slots: Vec::new(),
        },
        confirmed_at: None,
        lag_ms: None,
        dirty: 0,
        gaps: 1,
        missed_events: 0,
        last_gap_at: None,
        last_gap: None,
        own_commands_per_second: 5,
        other_commands_per_second: None,
        own_bytes_per_second: Some(Traffic { sent: 700, received: 9_000 }),
        budget: Budget { commands_per_second: 50_000 },
        missing_permissions: Vec::new(),
        not_locks: NotALock::default(),
        eviction: None,
        replicas: None,
        reports: None,
        release_enabled: true,
        trace_limit: Some(20_000),
        server_started_at: None,
        nodes: Vec::new(),
        as_of: now(),
    }
}
