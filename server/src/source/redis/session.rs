//! One set of connections while they hold. Whatever breaks ends the session; the loop in [`super::link`] says so and
//! dials again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::{ClusterHash, CustomCommand};
use lockkeeper_model::{FeedKind, SourceState};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::assemble::{Reader, Wanted};
use super::connect::For;
use super::dirty::Dirty;
use super::elsewhere::Here;
use super::feed::{self, Broken, Progress};
use super::own_thread::OwnThread;
use super::pace::Purpose;
use super::read::Keys;
use super::scan::{self, Scanned};
use super::trouble::{Trouble, is_of_connection, refused_command};
use super::turns::Turns;
use super::{BoardGone, Shared, Topology, connect, release, reported, surroundings, trace, vital, waiting};
use crate::clock;
use crate::source::{Command, Hint, ReleaseReply, Report};

/// Changed keys are given this long to change again before they are read: a hand-over is then one reading, and a person
/// sees no difference.
const GATHER: Duration = Duration::from_millis(2);

/// …and longer while others use the store: reading and waking rarely, and more at a time, costs the machine less than
/// half of what reading at once does, and the screen is drawn anew every 33 ms at most.
const GATHER_CROWDED: Duration = Duration::from_millis(8);

/// Changed keys read in one pipeline: about a millisecond of the server's time while others use it, and more when there
/// is nobody whom that could keep waiting.
const CHANGES_AT_ONCE: usize = 500;
const CHANGES_AT_ONCE_ALONE: usize = 2_000;

/// Times are in whole milliseconds, and only a scan that began after something was missed makes up for it.
const AFTER_A_GAP: Duration = Duration::from_millis(1);

/// Keys that are on no node of the cluster for the moment, or that a cluster that is down does not show, are read again
/// after this long: slots are taken over, and primaries replaced, within a second or so.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Connections for the readings of a scan: two, so that two cores can take replies apart.
const VALUE_CONNECTIONS: usize = 2;

/// Without a feed everything is scanned again after this pause at least, and at most after so many times the scan's own
/// length: a third of the time is spent scanning.
const POLL_PAUSE: Duration = Duration::from_secs(1);
const POLL_PAUSE_PER_SCAN: u32 = 2;

/// Changes wait so long for a reading of one of their locks that hangs on another connection. Past that everything that changed
/// would be shown late for the sake of one, whose reading is of no use then.
const OF_OTHERS: Duration = Duration::from_secs(1);

/// A look before which changes went is made again, so many times at most: whoever asked waits for three seconds.
const LOOKS: usize = 3;

/// The oldest Redis whose tracking and SCAN are what is relied on here.
const OLDEST: (u32, u32) = (6, 2);

/// How long the board may take to learn what came of a release before that is answered. Whoever asked waits for the answer, and
/// gives up on one that comes late, though it is known.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How a session ended.
pub(super) enum End {
    /// The connection was lost, or never made.
    Lost {
        trouble: Trouble,
        /// The link had been proven alive by a whole scan.
        proven: bool,
    },
    BoardGone,
}

/// Runs until something breaks.
pub(super) async fn run(shared: &Shared, orders: &mut mpsc::Receiver<Command>) -> End {
    let mut session = match open(shared).await {
        Ok(session) => session,
        Err(Unopened::Trouble(trouble)) => return End::Lost { trouble, proven: false },
        Err(Unopened::BoardGone) => return End::BoardGone,
    };
    // What was ordered of the connection before is not done on this one: the person was looking at another moment.
    while let Ok(order) = orders.try_recv() {
        super::link::refuse(order);
    }
    loop {
        tokio::select! {
            ended = session.tasks.join_next() => {
                let proven = session.proven.load(Ordering::Relaxed);
                return match ended {
                    Some(Ok(Broken::BoardGone)) | None => End::BoardGone,
                    Some(Ok(Broken::Error(error))) => End::Lost { trouble: Trouble::of(&error), proven },
                    Some(Err(panicked)) => {
                        let problem = format!("a part of the watcher failed: {panicked}");
                        End::Lost { trouble: Trouble { problem, hint: None }, proven }
                    }
                };
            }
            order = orders.recv() => match order {
                Some(order) => session.obey(shared, order),
                None => return End::BoardGone,
            },
        }
    }
}

struct Session {
    /// What runs side by side; the first to end is the end.
    tasks: JoinSet<Broken>,
    reader: Reader,
    /// The connection for what a person waits for.
    act: Client,
    dirty: Arc<Dirty>,
    turns: Arc<Turns>,
    proven: Arc<std::sync::atomic::AtomicBool>,
    /// They end with the session.
    _connections: Vec<connect::Connection>,
    _thread: OwnThread,
}

/// Why there is no session.
enum Unopened {
    Trouble(Trouble),
    BoardGone,
}

impl From<Trouble> for Unopened {
    fn from(trouble: Trouble) -> Unopened {
        Unopened::Trouble(trouble)
    }
}

impl From<BoardGone> for Unopened {
    fn from(_: BoardGone) -> Unopened {
        Unopened::BoardGone
    }
}

async fn open(shared: &Shared) -> Result<Session, Unopened> {
    let is_tls = shared.endpoint.tls.is_some();
    let trouble = |error: Error| match error.kind() {
        // A Redis that does not speak TLS waits for the end of a line that never comes.
        ErrorKind::Timeout if is_tls => Trouble::new(
            "Redis does not answer, or does not speak TLS at this port",
            "use the port for TLS, or the URL without it: redis://",
        ),
        _ => Trouble::of(&error),
    };
    let thread = OwnThread::start().map_err(|error| Trouble {
        problem: format!("a thread for the feed could not be started: {error}"),
        hint: Some("look at the limits on this process".to_owned()),
    })?;
    let mut connections = vec![thread.connect(&shared.endpoint, For::Feed).await.map_err(trouble)?];
    let feed = connections[0].client();
    check_version(shared, &feed).await?;
    check_cluster(shared, &feed).await?;
    for purpose in [For::Act, For::Changes, For::Names].into_iter().chain([For::Values; VALUE_CONNECTIONS]) {
        connections.push(shared.connect(purpose).await.map_err(trouble)?);
    }
    let mut clients = connections[1..].iter().map(connect::Connection::client);
    let (Some(act), Some(changes), Some(names)) = (clients.next(), clients.next(), clients.next()) else {
        return Err(Trouble { problem: "a connection is missing".to_owned(), hint: None }.into());
    };
    let values: Vec<Client> = clients.collect();
    // Before anything is sent in numbers, so that the store's own average is of others.
    shared.pacer.count(1);
    let others =
        info(&act, "stats").await.ok().and_then(|stats| field(&stats, "instantaneous_ops_per_sec")?.parse().ok());
    shared.pacer.learn(others);
    let chosen = feed::choose(shared, &feed).await.map_err(trouble)?;
    tracing::info!(
        source.name = %shared.config.name,
        "watching source `{}` by {}: {}", shared.config.name, chosen.kind.word(), chosen.because
    );
    shared.status.update(|status| {
        status.feed = Some(chosen.kind);
        status.feed_because = Some(chosen.because.clone());
    });
    shared.whole.opened(shared.node).await?;
    shared.status.enter(SourceState::Scanning, None);
    shared.status.sees_again();
    shared.offsets.ask_again();

    if shared.config.release_enabled {
        tokio::spawn(release::check_credential(shared.clone()));
    }

    let dirty = Arc::new(Dirty::default());
    shared.status.keys_unreadable(false);
    let reader = Reader {
        keys: Keys {
            pacer: shared.pacer.clone(),
            status: shared.status.clone(),
            may_script: Arc::new(std::sync::atomic::AtomicBool::new(true)),
            guess: Arc::default(),
            here: shared.elsewhere.is_some().then(|| Arc::new(Here::new(shared.clone(), dirty.clone()))),
        },
        scope: shared.scope.clone(),
        memory: shared.memory.clone(),
        company: Arc::default(),
    };
    let progress = Arc::new(Progress::default());
    let turns = Arc::new(Turns::default());
    let proven = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    {
        let (shared, client, dirty, progress) = (shared.clone(), feed, dirty.clone(), progress.clone());
        let kind = chosen.kind;
        tasks.spawn_on(async move { feed::pump(&shared, &client, kind, &dirty, &progress).await }, thread.runtime());
    }
    {
        let (shared, client, reader, dirty) = (shared.clone(), changes.clone(), reader.clone(), dirty.clone());
        let turns = Arc::clone(&turns);
        tasks.spawn(async move { read_changes(&shared, &client, &reader, &dirty, &turns, &progress).await });
    }
    {
        let (shared, reader, proven) = (shared.clone(), reader.clone(), proven.clone());
        let feed = chosen.clone();
        tasks.spawn(async move { scan_again(&shared, &names, &values, &reader, &feed, &proven).await });
    }
    {
        let (shared, client, dirty) = (shared.clone(), changes.clone(), dirty.clone());
        let (kind, all) = (chosen.kind, connections.iter().map(connect::Connection::client).collect::<Vec<_>>());
        tasks.spawn(async move { vital::run(&shared, &client, &all, kind, &dirty).await });
    }
    {
        // Once a second on the connection for what a person waits for, which nothing else keeps awake.
        let (shared, client, dirty) = (shared.clone(), act.clone(), dirty.clone());
        tasks.spawn(async move {
            match waiting::run(&shared, &client, &dirty).await {
                Ok(error) => Broken::Error(error),
                Err(BoardGone) => Broken::BoardGone,
            }
        });
    }
    {
        let (shared, client) = (shared.clone(), act.clone());
        tasks.spawn(async move {
            match surroundings::run(&shared, &client).await {
                Ok(error) => Broken::Error(error),
                Err(BoardGone) => Broken::BoardGone,
            }
        });
    }
    if let Some(stream) = shared.config.reports.clone() {
        let (shared, client) = (shared.clone(), act.clone());
        tasks.spawn(async move {
            match reported::run(&shared, &client, &stream).await {
                Ok(error) => Broken::Error(error),
                Err(BoardGone) => Broken::BoardGone,
            }
        });
    }
    {
        let idle: Vec<Client> = connections[1..].iter().map(connect::Connection::client).collect();
        let shared = shared.clone();
        tasks.spawn(async move { keep_awake(&shared, &idle).await });
    }
    for connection in &connections {
        tasks.spawn(end_of(connection.client()));
    }
    Ok(Session { tasks, reader, act, dirty, turns, proven, _connections: connections, _thread: thread })
}

impl Session {
    /// Does what was ordered, beside everything else.
    fn obey(&self, shared: &Shared, order: Command) {
        match order {
            Command::Look { keys, done: None } => {
                for key in &keys {
                    // A full queue means that a scan is due, which finds whatever there is to find.
                    let _ = self.dirty.put(key, None, Hint::None);
                }
            }
            Command::Look { keys, done: Some(done) } => {
                let (shared, reader, client) = (shared.clone(), self.reader.clone(), self.act.clone());
                let turns = Arc::clone(&self.turns);
                tokio::spawn(async move {
                    if look(&shared, &reader, &client, &turns, keys).await {
                        // Whoever asked may have given up.
                        let _ = done.send(());
                    }
                });
            }
            // Whoever ordered it was told meanwhile that it is not known what came of it: it must not happen later.
            Command::Release { done, .. } if done.is_closed() => {}
            // It was remembered before it was passed on.
            // The supervisor follows them.
            Command::Follow(_) => {}
            Command::Together { keys } => self.obey(shared, Command::Look { keys, done: None }),
            Command::Release { order, done } if !shared.scope.has(&shared.memory.root_of(&order.key)) => {
                let because = "its key is not among those that are watched".to_owned();
                let _ = done.send(ReleaseReply::Failed { because });
                drop(order);
            }
            Command::Trace { order, done } => trace::begin(shared, order, done),
            Command::Release { order, done } => {
                let (shared, reader, client) = (shared.clone(), self.reader.clone(), self.act.clone());
                let turns = Arc::clone(&self.turns);
                tokio::spawn(async move {
                    let reply = release::run_on_owner(&shared, &client, &order).await;
                    // So that the board knows even without a feed; if it fails, the next scan tells.
                    let looked = look(&shared, &reader, &client, &turns, vec![order.key]);
                    let _ = tokio::time::timeout(LOOK_AFTER, looked).await;
                    // The attempt was made whether or not anybody still listens; it is in the log.
                    let _ = done.send(reply);
                });
            }
        }
    }
}

/// Reads keys now and waits until the board knows. Says whether it does; a failure ends the session elsewhere.
async fn look(shared: &Shared, reader: &Reader, client: &Client, turns: &Arc<Turns>, keys: Vec<bytes::Bytes>) -> bool {
    // A key that no pattern names is no lock, whatever it holds.
    if keys.iter().any(|key| !shared.scope.has(&shared.memory.root_of(key))) {
        return false;
    }
    for _ in 0..LOOKS {
        let wanted = keys.iter().cloned().map(Wanted::of).collect();
        let turn = turns.take(keys.clone(), |key| shared.memory.lock_of(key)).await;
        let Ok(sights) = reader.read_while(client, wanted, Purpose::Change, || turn.stands()).await else {
            return false;
        };
        if turn.stands() {
            // A key that may not be read is missing among the sights.
            return keys.iter().all(|key| sights.iter().any(|sight| sight.key == *key))
                && shared.report_and_wait(Report::Sights { sights, scan: false }).await.is_ok();
        }
    }
    false
}

async fn check_version(shared: &Shared, client: &Client) -> Result<(), Trouble> {
    shared.pacer.count(1);
    let info: Result<String, Error> = info(client, "server").await;
    let (mut mode, mut started_at) = (None, None);
    let version = match info {
        Ok(info) => {
            mode = field(&info, "redis_mode").map(str::to_owned);
            started_at = field(&info, "uptime_in_seconds")
                .and_then(|uptime| uptime.parse::<i64>().ok())
                .map(|seconds| clock::now().plus(seconds.saturating_mul(-1_000)));
            field(&info, "redis_version").map(str::to_owned)
        }
        Err(error) => match refused_command(&error) {
            Some(command) => {
                shared.status.missing(&command, "how busy the store is is not known, so the budget always holds");
                None
            }
            None => return Err(Trouble::of(&error)),
        },
    };
    if let Some(version) = &version {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let numbers = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if numbers < OLDEST {
            return Err(Trouble::new(
                format!("this Redis is too old: it is {}", lockkeeper_model::words::shown(version)),
                format!("Lockkeeper needs Redis {}.{} or later", OLDEST.0, OLDEST.1),
            ));
        }
    }
    let is_cluster = matches!(shared.config.topology, Topology::Cluster { .. });
    match mode.as_deref() {
        Some("cluster") if !is_cluster => {
            return Err(Trouble::new(
                "this Redis is one node of a cluster, and has only some of its keys",
                "watch the whole: redis-cluster://host:port",
            ));
        }
        Some("sentinel") => {
            return Err(Trouble::new(
                "this is a sentinel, which has no keys",
                "watch the primary that it knows: redis-sentinel://host:port/name",
            ));
        }
        _ => {}
    }
    shared.status.update(|status| {
        status.server_version = version;
        status.server_started_at = started_at;
    });
    Ok(())
}

pub(super) async fn info(client: &Client, section: &'static str) -> Result<String, Error> {
    let info = CustomCommand::new_static("INFO", ClusterHash::Random, false);
    client.custom(info, vec![section]).await
}

/// A cluster that is down shows no keys, and the client ends a connection on which it is told so: there is nothing to
/// watch yet.
async fn check_cluster(shared: &Shared, client: &Client) -> Result<(), Trouble> {
    if shared.elsewhere.is_none() {
        return Ok(());
    }
    shared.pacer.count(1);
    match cluster_info(client).await {
        Ok(info) if field(&info, "cluster_state").is_some_and(|state| state != "ok") => Err(Trouble::cluster_down()),
        Err(error) if is_of_connection(&error) => Err(Trouble::of(&error)),
        _ => Ok(()),
    }
}

/// Waits until a connection ends. What is asked on it afterwards is not refused: the client lets it wait in vain, so that
/// only the heartbeat would find out, and seconds later.
async fn end_of(client: Client) -> Broken {
    match client.error_rx().recv().await {
        Ok((error, _)) => Broken::Error(error),
        Err(_) => std::future::pending().await,
    }
}

pub(super) async fn cluster_info(client: &Client) -> Result<String, Error> {
    let cluster = CustomCommand::new_static("CLUSTER", ClusterHash::Random, false);
    client.custom(cluster, vec!["INFO"]).await
}

pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Reads what changed, batch by batch.
async fn read_changes(
    shared: &Shared,
    client: &Client,
    reader: &Reader,
    dirty: &Dirty,
    turns: &Arc<Turns>,
    progress: &Progress,
) -> Broken {
    loop {
        if dirty.len() == 0 {
            dirty.more().await;
        }
        let alone = !shared.pacer.is_crowded();
        let (gather, most) = if alone { (GATHER, CHANGES_AT_ONCE_ALONE) } else { (GATHER_CROWDED, CHANGES_AT_ONCE) };
        if dirty.len() < most {
            tokio::time::sleep(gather).await;
        }
        let (wanted, taken) = dirty.take(most);
        if wanted.is_empty() {
            continue;
        }
        let unread_before = reader.keys.unread();
        let keys = wanted.iter().map(|wanted| wanted.key.clone()).collect();
        let turn = turns.take_within(OF_OTHERS, keys, |key| shared.memory.lock_of(key)).await;
        let sights = match reader.read(client, wanted, Purpose::Change).await {
            Ok(sights) => sights,
            Err(error) => return Broken::Error(error),
        };
        if shared.report(Report::Sights { sights, scan: false }).await.is_err() {
            return Broken::BoardGone;
        }
        drop(turn);
        if reader.keys.unread() > unread_before {
            // They are in the queue again, and nothing is confirmed before they have been read.
            tokio::time::sleep(READ_AGAIN).await;
            continue;
        }
        if dirty.len() == 0 {
            shared.status.keys_unreadable(false);
        }
        if let Some(at) = progress.reported(taken)
            && feed::confirm(shared, at).await.is_err()
        {
            return Broken::BoardGone;
        }
    }
}

/// Scans at once, and again: to reconcile, after something was missed, or because there is no feed.
async fn scan_again(
    shared: &Shared,
    names: &Client,
    values: &[Client],
    reader: &Reader,
    feed: &feed::Chosen,
    proven: &std::sync::atomic::AtomicBool,
) -> Broken {
    loop {
        let began = tokio::time::Instant::now();
        let round = shared.whole.begin_scan(shared.node).await;
        tokio::time::sleep(AFTER_A_GAP).await;
        let scanned = scan::run(shared, names, values, reader).await;
        match scanned {
            Ok(Scanned::Complete { began_at }) => {
                proven.store(true, Ordering::Relaxed);
                // What was missed while it ran may be behind it: then the next scan decides.
                if shared.status.completed(began_at) {
                    let (state, trouble) = verdict(shared, feed);
                    shared.status.enter(state, trouble);
                }
            }
            Ok(Scanned::Refused) => {
                let trouble = Trouble::new(
                    "existing locks cannot be found: the credential may not run `SCAN`",
                    "grant it: ACL SETUSER <user> +scan",
                );
                shared.status.enter(SourceState::Degraded, Some(trouble));
                // Changes still arrive; a rescan would be refused again.
                return std::future::pending().await;
            }
            Ok(Scanned::BoardGone) => return Broken::BoardGone,
            Err(error) => return Broken::Error(error),
        }
        let pause = if feed.kind == FeedKind::Polling {
            POLL_PAUSE.max(began.elapsed() * POLL_PAUSE_PER_SCAN)
        } else {
            Duration::from_millis(u64::try_from(shared.config.reconcile_ms).unwrap_or(u64::MAX))
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => shared.whole.reconcile(round),
            () = shared.whole.missed_after(round) => shared.status.enter(SourceState::Scanning, None),
        }
    }
}

/// What a source is after a whole scan.
fn verdict(shared: &Shared, feed: &feed::Chosen) -> (SourceState, Option<Trouble>) {
    if feed.kind == FeedKind::Polling {
        return (
            SourceState::Degraded,
            Some(Trouble::new(
                "changes are found by scanning only, so what is shown can be seconds old",
                format!("allow client tracking or keyspace notifications: {}", feed.because),
            )),
        );
    }
    let mut unreadable = None;
    shared.status.update(|status| {
        unreadable =
            status.missing_permissions.iter().find(|missing| missing.costs.contains("cannot be read")).cloned();
    });
    match unreadable {
        Some(missing) => (
            SourceState::Degraded,
            Some(Trouble::new(
                format!("{}: the credential may not run `{}`", missing.costs, missing.permission),
                format!("grant it: {}", missing.fix),
            )),
        ),
        None => (SourceState::Live, None),
    }
}

/// Middleboxes forget idle connections after minutes at the least.
const KEEP_AWAKE: Duration = Duration::from_secs(15);

/// Connections that are used only now and then are asked for a sign of life, so that one that was cut by something in
/// between is found out before a person needs it.
async fn keep_awake(shared: &Shared, clients: &[Client]) -> Broken {
    loop {
        tokio::time::sleep(KEEP_AWAKE).await;
        for client in clients {
            shared.pacer.count(1);
            match client.ping::<fred::types::Value>(None).await {
                Err(error) if is_of_connection(&error) => return Broken::Error(error),
                _ => {}
            }
        }
    }
}
