//! Redis, seen through fred. Nothing outside this folder (and the demo, which plays the lock clients) knows fred.
//!
//! - [`link`]: the loop around connections: dial, watch until something breaks, say what, wait, dial again.
//! - [`session`]: one set of connections while they hold: scan, feed, readings, vital signs.
//! - [`feed`]: what tells that a key changed: client tracking, keyspace notifications, or nothing.
//! - [`own_thread`]: where the feed is listened to, so that it can blink.
//! - [`dirty`]: keys that changed and wait to be read.
//! - [`scan`]: finding what exists.
//! - [`read`]: reading keys with bounds; [`dialect`] understands what was read.
//! - [`scope`]: which keys are looked at at all.
//! - [`waiting`]: counting those who wait, where Redis knows.
//! - [`release`]: freeing exactly one hold.
//! - [`trace`]: looking at every command for some seconds, to see who tries in vain and whose connection holds.
//! - [`pace`]: what all of this may cost. [`status`], [`trouble`]: what is said about it.

mod connect;
mod dialect;
mod dirty;
mod feed;
mod glob;
mod link;
mod own_thread;
mod pace;
mod read;
mod release;
mod scan;
mod scope;
mod session;
mod status;
mod trace;
mod trouble;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockkeeper_model::FeedKind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Batch, Report, SourceHandle, SourceId};
use pace::Pacer;
use scope::Scope;
use status::Status;

/// Orders that may wait for a source: releases are rare and looks come a thousand keys at a time.
const WAITING_COMMANDS: usize = 256;

/// The port where Redis listens unless told otherwise.
const DEFAULT_PORT: u16 = 6379;

/// How one Redis is to be watched.
#[derive(Clone)]
pub struct RedisConfig {
    /// Shown everywhere.
    pub name: String,
    /// `redis://[[user]:password@]host[:port][/db]`. Carries the password: never printed.
    pub url: Url,
    /// Key patterns; empty: the built-in catalogue decides.
    pub patterns: Vec<String>,
    /// `production` asks for more before a release.
    pub environment: Option<String>,
    /// Commands a second that are not passed while anybody else uses the store.
    pub commands_per_second: u64,
    /// How changes are learned; `None`: chosen automatically.
    pub feed: Option<FeedKind>,
    /// How often everything is scanned again, in milliseconds, while a feed is live.
    pub reconcile_ms: i64,
    /// Whether releasing is switched on.
    pub release_enabled: bool,
    /// The busiest store that may be traced, in commands a second; `None`: tracing is switched off.
    pub trace_limit: Option<u64>,
    /// A throw-away store with invented locks.
    pub demo: bool,
}

impl RedisConfig {
    /// Host, port and database, without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        let db = match self.database() {
            0 => String::new(),
            db => format!("/{db}"),
        };
        format!("{}:{}{db}", self.url.host_str().unwrap_or("127.0.0.1"), self.url.port().unwrap_or(DEFAULT_PORT))
    }

    fn database(&self) -> u8 {
        self.url.path().trim_start_matches('/').parse().unwrap_or(0)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("name", &self.name)
            .field("address", &self.address())
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}

/// What all parts of one source share.
#[derive(Clone)]
struct Shared {
    id: SourceId,
    config: Arc<RedisConfig>,
    reports: mpsc::Sender<Batch>,
    status: Arc<Status>,
    pacer: Arc<Pacer>,
    scope: Arc<Scope>,
    /// How many locks the board knows of this source.
    locks: Arc<AtomicU64>,
    tracer: Arc<trace::Tracer>,
}

/// The board ended: the server is shutting down.
#[derive(Clone, Copy, Debug)]
struct BoardGone;

impl Shared {
    async fn report(&self, report: Report) -> Result<(), BoardGone> {
        self.reports.send(Batch { source: self.id, report, folded: None }).await.map_err(|_| BoardGone)
    }

    /// Reports, and waits until the board knows it.
    async fn report_and_wait(&self, report: Report) -> Result<(), BoardGone> {
        let (folded, known) = tokio::sync::oneshot::channel();
        self.reports.send(Batch { source: self.id, report, folded: Some(folded) }).await.map_err(|_| BoardGone)?;
        known.await.map_err(|_| BoardGone)
    }
}

/// Starts watching. Never fails: what is wrong is in the status.
pub fn spawn(id: SourceId, config: RedisConfig, reports: mpsc::Sender<Batch>, stop: CancellationToken) -> SourceHandle {
    let (commands, orders) = mpsc::channel(WAITING_COMMANDS);
    let (status, seen) = Status::new(&config);
    let locks = Arc::new(AtomicU64::new(0));
    let name = config.name.as_str().into();
    let (tracer, last_trace) = trace::Tracer::new(config.trace_limit);
    let shared = Shared {
        id,
        reports,
        status: Arc::new(status),
        pacer: Arc::new(Pacer::new(config.commands_per_second)),
        scope: Arc::new(Scope::new(config.patterns.clone())),
        locks: locks.clone(),
        tracer: Arc::new(tracer),
        config: Arc::new(config),
    };
    tokio::spawn(link::run(shared, orders, stop));
    SourceHandle { id, name, status: seen, commands, locks, last_trace }
}
