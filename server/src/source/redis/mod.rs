//! Redis, seen through fred. Nothing outside this folder (and the demo, which plays the lock clients) knows fred.
//!
//! A source is a set of nodes: one server, the primary of the moment, or every primary of a cluster.
//!
//! - [`topology`]: which nodes there are now, and which keys are whose.
//! - [`supervisor`]: starts and stops watching nodes, and passes orders to the right one.
//! - [`whole`]: what the nodes report, put together; [`publish`] does the same with what is said of them.
//! - [`endpoint`]: what a connection needs to know; [`connect`] makes it.
//!
//! Of each node:
//!
//! - [`link`]: the loop around connections: dial, watch until something breaks, say what, wait, dial again.
//! - [`session`]: one set of connections while they hold: scan, feed, readings.
//! - [`feed`]: what tells that a key changed: client tracking, keyspace notifications, or nothing.
//! - [`own_thread`]: where the feed is listened to, so that it can blink.
//! - [`dirty`]: keys that changed and wait to be read.
//! - [`scan`]: finding what exists.
//! - [`read`]: reading keys with bounds; [`elsewhere`] reads those that are on another node of a cluster by now.
//!   [`dialect`] understands what was read, and [`assemble`] makes locks of keys.
//! - [`catalogue`]: the recognisers by themselves, to be measured and fed anything.
//! - [`scope`]: which keys are looked at at all.
//! - [`waiting`]: counting those who wait, where Redis knows, by who is [`listening`]. [`reported`]: reading what clients
//!   say of themselves.
//! - [`vital`]: how busy the store is, and whether its keys vanished. [`surroundings`]: what of the store itself bears on
//!   its locks, and whose connections are open.
//! - [`replication`]: how much of a primary the one that takes over from it has.
//! - [`release`]: freeing exactly one hold.
//! - [`trace`]: looking at every command for some seconds, to see who tries in vain and whose connection holds.
//! - [`pace`]: what all of this may cost. [`status`], [`trouble`]: what is said about it.

mod assemble;
pub mod catalogue;
mod company;
mod connect;
mod dialect;
mod dirty;
mod elsewhere;
mod endpoint;
mod feed;
mod guess;
mod link;
mod listening;
mod own_thread;
mod pace;
mod packed;
mod publish;
mod read;
mod release;
mod replication;
mod reported;
mod scan;
mod scope;
mod session;
mod status;
mod supervisor;
mod surroundings;
mod topology;
mod trace;
mod trouble;
mod turns;
mod vital;
mod waiting;
mod whole;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockkeeper_model::FeedKind;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Batch, Report, SourceHandle, SourceId};
pub use crate::tls::{BadTls, TlsFiles};
use assemble::Memory;
use connect::{Connection, For};
pub use dialect::operator::{
    Decode, Format, Holder, Lease, MAX_SIGNAL_BYTES, Signal, Target, TooManyFormats, formats, is_built_in, teach,
};
use elsewhere::Elsewhere;
use endpoint::Endpoint;
pub use endpoint::{Address, Credentials};
use pace::Pacer;
use scope::Scope;
use status::Status;
pub use topology::Topology;
use whole::{NodeId, Whole};

/// Orders that may wait for a source: releases are rare and looks come a thousand keys at a time.
const WAITING_COMMANDS: usize = 256;

/// How one Redis is to be watched.
#[derive(Clone)]
pub struct RedisConfig {
    /// Shown everywhere.
    pub name: String,
    /// How it is made up, and where to ask.
    pub topology: Topology,
    /// For every server that has keys.
    pub credentials: Credentials,
    /// For releasing alone; `None`: those that watch release as well.
    pub release_credentials: Option<Credentials>,
    /// For the sentinels.
    pub sentinel_credentials: Credentials,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<TlsFiles>,
    /// The number of the database.
    pub database: u8,
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
    /// The stream in which clients report themselves, if it is to be read.
    pub reports: Option<String>,
    /// Whether releasing is switched on.
    pub release_enabled: bool,
    /// The busiest store that may be traced, in commands a second; `None`: tracing is switched off.
    pub trace_limit: Option<u64>,
    /// A throw-away store with invented locks.
    pub demo: bool,
}

impl RedisConfig {
    /// A server that has keys.
    fn node(&self, address: Address) -> Endpoint {
        let (credentials, tls) = (self.credentials.clone(), self.tls.clone());
        Endpoint { address, credentials, tls, database: self.database }
    }

    /// The same server for whoever releases, where that takes a credential of its own.
    fn releasing(&self, address: Address) -> Option<Endpoint> {
        let credentials = self.release_credentials.clone()?;
        Some(Endpoint { credentials, ..self.node(address) })
    }

    /// A server that only knows where those are.
    fn sentinel(&self, address: Address) -> Endpoint {
        Endpoint { address, credentials: self.sentinel_credentials.clone(), tls: self.tls.clone(), database: 0 }
    }

    /// Where one server is, without credentials, with the database unless it is the first.
    fn shown(&self, address: &Address) -> String {
        match self.database {
            0 => address.to_string(),
            database => format!("{address}/{database}"),
        }
    }

    /// Where the source is while no server of it is known.
    fn first_address(&self) -> String {
        match &self.topology {
            Topology::Standalone(address) => self.shown(address),
            Topology::Sentinel { sentinels: several, .. } | Topology::Cluster { seeds: several } => {
                several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("name", &self.name)
            .field("topology", &self.topology)
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}

/// What all parts that watch one node share.
#[derive(Clone)]
struct Shared {
    node: NodeId,
    config: Arc<RedisConfig>,
    endpoint: Arc<Endpoint>,
    whole: Arc<Whole>,
    /// Of this node.
    status: Arc<Status>,
    pacer: Arc<Pacer>,
    scope: Arc<Scope>,
    /// The other nodes of a cluster.
    elsewhere: Option<Arc<Elsewhere>>,
    memory: Arc<Memory>,
    /// How many locks the board knows of this source.
    locks: Arc<AtomicU64>,
    tracer: Arc<trace::Tracer>,
    /// Of this node.
    offsets: Arc<replication::Offsets>,
}

/// The board ended: the server is shutting down.
#[derive(Clone, Copy, Debug)]
struct BoardGone;

impl Shared {
    async fn report(&self, report: Report) -> Result<(), BoardGone> {
        self.whole.report(self.node, report).await
    }

    /// Reports, and waits until the board knows it.
    async fn report_and_wait(&self, report: Report) -> Result<(), BoardGone> {
        self.whole.report_and_wait(self.node, report).await
    }

    /// A connection to this node.
    async fn connect(&self, purpose: For) -> Result<Connection, fred::error::Error> {
        connect::connect(&self.endpoint, purpose).await
    }
}

impl Shared {
    /// Whether a key can belong to a lock that is to be looked at: by its own name, or by that of its root.
    fn wants(&self, key: &[u8]) -> bool {
        self.scope.has(key) || dialect::root_of(key).is_some_and(|root| self.scope.has(&root))
    }
}

/// Starts watching. Never fails: what is wrong is in the status.
pub fn spawn(id: SourceId, config: RedisConfig, reports: mpsc::Sender<Batch>, stop: CancellationToken) -> SourceHandle {
    let (commands, orders) = mpsc::channel(WAITING_COMMANDS);
    let locks = Arc::new(AtomicU64::new(0));
    let name = config.name.as_str().into();
    let whole = Arc::new(Whole::new(id, reports));
    let (publisher, status) = publish::Publisher::new(&config);
    let (traced, last_trace) = watch::channel(None);
    tokio::spawn(supervisor::run(Arc::new(config), whole, locks.clone(), publisher, traced, orders, stop));
    SourceHandle { id, name, status, commands, locks, last_trace }
}
