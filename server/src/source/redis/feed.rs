//! What tells that a key changed.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface, TrackingInterface};
use fred::types::client::Invalidation;
use fred::types::{ClusterHash, CustomCommand, Key, KeyspaceEvent, Value as Reply};
use lockkeeper_model::{FeedKind, Time};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::dirty::Dirty;
use super::trouble::refused_command;
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::{Hint, Report};

/// How often the feed is asked whether it is still there. Its answer also proves that every earlier notice has arrived,
/// so this bounds what "live" means on the screen.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Silence for this long means that the store is frozen or cut off. A healthy Redis answers in microseconds; its slow
/// commands take tens of milliseconds.
const SILENCE: Duration = Duration::from_secs(2);

/// While others use the store, the feed's thread sleeps this long after each look at what arrived: notices gather
/// unseen, and waking up is what they cost.
const BLINK: Duration = Duration::from_millis(5);

/// Which feed was chosen, and why.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) kind: FeedKind,
    pub(super) because: String,
}

/// Chooses the best feed that the store and the credential allow, and switches it on for this connection.
pub(super) async fn choose(shared: &Shared, client: &Client) -> Result<Chosen, Error> {
    let wanted = shared.config.feed;
    let prefixes = shared.scope.prefixes();
    let mut why_not = Vec::new();
    if wanted.is_none_or(|kind| kind == FeedKind::Tracking) {
        shared.pacer.count(1);
        let arguments: Vec<String> = if prefixes == [""] { Vec::new() } else { prefixes.clone() };
        match client.start_tracking(arguments, true, false, false, false).await {
            Ok(()) => {
                let of = match prefixes.as_slice() {
                    [all] if all.is_empty() && !shared.scope.is_configured() => {
                        "all keys; one that held something else is looked at again ever more rarely".to_owned()
                    }
                    [all] if all.is_empty() => "all keys".to_owned(),
                    some => some.iter().map(|prefix| format!("`{prefix}…`")).collect::<Vec<_>>().join(", "),
                };
                return Ok(Chosen { kind: FeedKind::Tracking, because: format!("client tracking of {of}") });
            }
            Err(error) => why_not.push(refusal(shared, &error, "client tracking", "changes are learned another way")?),
        }
    }
    if wanted.is_none_or(|kind| kind == FeedKind::Notifications) {
        match subscribe(shared, client, &prefixes).await? {
            Ok(because) => return Ok(Chosen { kind: FeedKind::Notifications, because }),
            Err(because) => why_not.push(because),
        }
    }
    let because = if why_not.is_empty() { "it was configured".to_owned() } else { why_not.join("; ") };
    Ok(Chosen { kind: FeedKind::Polling, because })
}

/// Subscribes to keyspace notifications if the server sends those that are needed. The server's configuration is never
/// changed.
async fn subscribe(shared: &Shared, client: &Client, prefixes: &[String]) -> Result<Result<String, String>, Error> {
    shared.pacer.count(1);
    let config = CustomCommand::new_static("CONFIG", ClusterHash::Random, false);
    let reply: Result<Reply, Error> = client.custom(config, vec!["GET", "notify-keyspace-events"]).await;
    let flags = match reply {
        Ok(reply) => setting(reply).unwrap_or_default(),
        Err(error) => {
            let costs = "whether the server sends keyspace notifications is not known";
            return Ok(Err(refusal(shared, &error, "keyspace notifications", costs)?));
        }
    };
    let has = |flag: char| flags.contains(flag);
    let events = has('A') || ['g', '$', 'h', 'x'].into_iter().all(has);
    if !events || !(has('K') || has('E')) {
        return Ok(Err(format!(
            "keyspace notifications are off (`notify-keyspace-events` is `{flags}`; `KEAn` would do)"
        )));
    }
    let db = shared.config.database;
    let narrow = has('K') && prefixes.iter().all(|prefix| !prefix.is_empty());
    let (channels, because): (Vec<String>, _) = if narrow {
        (
            shared.scope.patterns().map(|pattern| format!("__keyspace@{db}__:{pattern}")).collect(),
            "keyspace notifications of the patterns; keys that are not UTF-8 are found by scans only",
        )
    } else if has('E') {
        (vec![format!("__keyevent@{db}__:*")], "keyspace notifications of all keys")
    } else {
        (
            vec![format!("__keyspace@{db}__:*")],
            "keyspace notifications of all keys; those not UTF-8 are found by scans only",
        )
    };
    shared.pacer.count(1);
    match client.psubscribe(channels).await {
        Ok(()) => Ok(Ok(because.to_owned())),
        Err(error) => Ok(Err(refusal(shared, &error, "keyspace notifications", "changes are learned another way")?)),
    }
}

/// The value of the only setting in a reply of `CONFIG GET`.
fn setting(reply: Reply) -> Option<String> {
    match reply {
        Reply::Map(map) => map.inner().into_values().next().and_then(|value| value.into_string()),
        Reply::Array(mut items) => items.pop().and_then(|value| value.into_string()),
        _ => None,
    }
}

/// Why something was refused, in words; passes on what is wrong with the connection itself.
fn refusal(shared: &Shared, error: &Error, what: &str, costs: &str) -> Result<String, Error> {
    if super::trouble::is_of_connection(error) {
        return Err(error.clone());
    }
    Ok(match refused_command(error) {
        Some(command) => {
            shared.status.missing(&command, costs);
            format!("{what}: the credential may not run `{command}`")
        }
        None => format!("{what}: {}", lockkeeper_model::words::shown(error.details())),
    })
}

/// What the feed and the reader of changes tell each other.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Changes that were read and reported, in the numbering of [`Dirty`].
    reported: AtomicU64,
    /// Once so many changes have been reported, everything before the moment is known.
    mark: Mutex<Option<(u64, Time)>>,
}

impl Progress {
    /// All notices before `at` are in the queue, which has taken `put` keys so far. Says whether they were all reported
    /// already.
    fn marked(&self, put: u64, at: Time) -> bool {
        if self.reported.load(Ordering::Acquire) >= put {
            return true;
        }
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        // An older mark stays: under a steady load a newer one would never be reached.
        mark.get_or_insert((put, at));
        false
    }

    /// So many changes have been reported by now. Answers the moment up to which everything is known, if that is news.
    pub(super) fn reported(&self, taken: u64) -> Option<Time> {
        self.reported.store(taken, Ordering::Release);
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.take_if(|(put, _)| taken >= *put).map(|(_, at)| at)
    }
}

/// Why the pump ended.
pub(super) enum Broken {
    Error(Error),
    BoardGone,
}

impl From<BoardGone> for Broken {
    fn from(_: BoardGone) -> Broken {
        Broken::BoardGone
    }
}

/// Moves notices into the queue and keeps the heartbeat, until the connection breaks.
pub(super) async fn pump(
    shared: &Shared,
    client: &Client,
    kind: FeedKind,
    dirty: &Dirty,
    progress: &Progress,
) -> Broken {
    let mut notices = Notices::of(client, kind);
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let asked_at = clock::now();
        shared.pacer.count(1);
        let ping = tokio::time::timeout(SILENCE, client.ping::<Reply>(None));
        tokio::pin!(ping);
        let pong = loop {
            tokio::select! {
                biased;
                pong = &mut ping => break pong,
                notice = notices.next() => {
                    if let Err(broken) = take(shared, notice, dirty).await {
                        return broken;
                    }
                }
            }
        };
        match pong {
            // Any answer is an answer, one that refuses the command, too.
            Ok(Ok(_)) => {}
            Ok(Err(error)) if !super::trouble::is_of_connection(&error) => {}
            Ok(Err(error)) => return Broken::Error(error),
            Err(_) => return Broken::Error(Error::new(ErrorKind::Timeout, "no answer to the heartbeat")),
        }
        // The answer came behind every notice that was sent before it; what of them is still in the channel goes first.
        while let Some(notice) = notices.waiting() {
            if let Err(broken) = take(shared, notice, dirty).await {
                return broken;
            }
        }
        if kind != FeedKind::Polling
            && progress.marked(dirty.put_so_far(), asked_at)
            && let Err(gone) = confirm(shared, asked_at).await
        {
            return gone.into();
        }
        shared.status.update(|status| {
            status.dirty = dirty.len() as u64;
            status.lag_ms = status.confirmed_at.map(|at| clock::now().since(at));
        });
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => break,
                notice = notices.next() => {
                    if let Err(broken) = take(shared, notice, dirty).await {
                        return broken;
                    }
                    while let Some(notice) = notices.waiting() {
                        if let Err(broken) = take(shared, notice, dirty).await {
                            return broken;
                        }
                    }
                    if shared.pacer.is_crowded() {
                        // The whole thread, on purpose: the connection must not be read meanwhile.
                        std::thread::sleep(BLINK);
                    }
                }
            }
        }
    }
}

/// Everything before `at` is known.
pub(super) async fn confirm(shared: &Shared, at: Time) -> Result<(), BoardGone> {
    if shared.status.is_blind() {
        return Ok(());
    }
    shared.report_and_wait(Report::Confirmed { at }).await?;
    shared.status.confirmed(at);
    Ok(())
}

/// What a feed says.
enum Notice {
    Changed(Vec<Key>, Hint),
    /// So many messages were dropped before they were looked at.
    Missed(u64),
    Closed,
}

enum Notices {
    Tracking(Receiver<Invalidation>),
    Events(Receiver<KeyspaceEvent>),
    /// Nobody tells of changes.
    None,
}

impl Notices {
    fn of(client: &Client, kind: FeedKind) -> Notices {
        match kind {
            FeedKind::Tracking => Notices::Tracking(client.invalidation_rx()),
            FeedKind::Notifications => Notices::Events(client.keyspace_event_rx()),
            FeedKind::Polling => Notices::None,
        }
    }

    /// The next notice. Never, without a feed.
    async fn next(&mut self) -> Notice {
        match self {
            Notices::Tracking(invalidations) => invalidations.recv().await.map_or_else(Notice::from, Notice::from),
            Notices::Events(events) => events.recv().await.map_or_else(Notice::from, Notice::from),
            Notices::None => std::future::pending().await,
        }
    }

    /// A notice that is already here.
    fn waiting(&mut self) -> Option<Notice> {
        let notice = match self {
            Notices::Tracking(invalidations) => invalidations.try_recv().map(Notice::from),
            Notices::Events(events) => events.try_recv().map(Notice::from),
            Notices::None => return None,
        };
        match notice {
            Ok(notice) => Some(notice),
            Err(TryRecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(TryRecvError::Closed) => Some(Notice::Closed),
            Err(TryRecvError::Empty) => None,
        }
    }
}

impl From<Invalidation> for Notice {
    fn from(invalidation: Invalidation) -> Notice {
        Notice::Changed(invalidation.keys, Hint::None)
    }
}

impl From<KeyspaceEvent> for Notice {
    fn from(event: KeyspaceEvent) -> Notice {
        Notice::Changed(vec![event.key], hint(&event.operation))
    }
}

impl From<RecvError> for Notice {
    fn from(error: RecvError) -> Notice {
        match error {
            RecvError::Lagged(missed) => Notice::Missed(missed),
            RecvError::Closed => Notice::Closed,
        }
    }
}

async fn take(shared: &Shared, notice: Notice, dirty: &Dirty) -> Result<(), Broken> {
    match notice {
        Notice::Changed(keys, hint) => {
            let now = clock::now();
            let mut overflowed = 0;
            for key in &keys {
                let key = key.as_bytes();
                if shared.wants(key) && !shared.scope.puts_off(key, now) && dirty.put(key, Some(now), hint).is_err() {
                    overflowed += 1;
                }
            }
            match overflowed {
                0 => Ok(()),
                n => Ok(missed(shared, n, "more keys changed than can wait to be read").await?),
            }
        }
        Notice::Missed(n) => Ok(missed(shared, n, "notices of changes came faster than they could be read").await?),
        Notice::Closed => Err(Broken::Error(Error::new(ErrorKind::Canceled, "the feed was closed"))),
    }
}

/// Something was missed: says so, and has everything scanned again.
pub(super) async fn missed(shared: &Shared, count: u64, because: &str) -> Result<(), BoardGone> {
    let at = clock::now();
    tracing::warn!(source.name = %shared.config.name, missed = count, "source `{}`: {because}", shared.config.name);
    shared.status.gap(at, because, count);
    shared.report(Report::Gap { at, because: because.to_owned() }).await?;
    shared.whole.rescan();
    Ok(())
}

/// What the name of an event says of an end or a beginning.
fn hint(operation: &str) -> Hint {
    match operation {
        "del" | "unlink" | "rename_from" | "move_from" => Hint::Deleted,
        "expired" => Hint::Expired,
        "evicted" => Hint::Evicted,
        "new" => Hint::New,
        _ => Hint::None,
    }
}
