//! How locks are seen and freed. One folder per kind of store; what is here fits all of them.
//!
//! A source reads its store and reports [`Batch`]es of [`Sight`]s; it never knows who is watching. It takes
//! [`Command`]s: look again at these keys, release exactly this hold.
//!
//! - `sight`: what a reading showed. `recognition`: which library family stored it, and how that one behaves.
//! - `operator_hold`: the token by which an operator keeps a lock closed.
//! - here: what a source reports, and what it is told to do.

pub mod operator_hold;
mod permissions;
mod recognition;
pub mod redis;
pub mod redlock;
mod sight;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lockkeeper_model::{LockId, Mode, NodeRelease, SourceStatus, Time, TraceReport, words};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use recognition::{DialectTraits, Recognition};
pub use sight::{Entry, Extra, Form, Hint, Hold, HoldExtra, Queue, Queued, Seen, Sight};

/// Names a source within one run: its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// What of a source's condition bears on every lock in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// It does not answer, or may have been missed something: what is shown is old.
    pub down: bool,
    /// It drops any key when its memory is full.
    pub evicts_all: bool,
    /// It drops keys with an expiry when its memory is full.
    pub evicts_volatile: bool,
    /// It is copied with a delay.
    pub replicated: bool,
}

/// A connection of a client to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSeen {
    /// The name that it gave itself.
    pub name: Box<str>,
    /// Its network address.
    pub addr: Box<str>,
    /// The store's user.
    pub user: Box<str>,
    /// For how long it has said nothing, in milliseconds.
    pub idle_ms: i64,
}

/// What the store counts of those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitersSeen {
    /// How many.
    pub count: u32,
}

/// What a client said of itself. Nothing in it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When the store took it down, in the server's time.
    pub at: Time,
    /// What it said.
    pub report: lockkeeper_client::report::Report,
}

/// What a source reports.
#[derive(Clone, Debug)]
pub enum Report {
    /// A scan begins: sights carry `scan` until it ends.
    ScanBegan {
        /// When.
        at: Time,
    },
    /// Keys were read.
    Sights {
        /// The readings.
        sights: Vec<Sight>,
        /// Whether they belong to the scan under way, as against a change that was noticed.
        scan: bool,
    },
    /// The scan saw everything: a lock that it did not see, and that was not read since it began, is gone.
    ScanEnded {
        /// When it began.
        began_at: Time,
    },
    /// From here until the next whole scan, changes may have been missed.
    Gap {
        /// When.
        at: Time,
        /// Why, in words.
        because: String,
    },
    /// How many wait, for locks where that is learned apart from the lock. Locks not named have nobody waiting.
    Waiting {
        /// Key and count.
        counts: Vec<(Bytes, WaitersSeen)>,
        /// When.
        at: Time,
    },
    /// The waiters of a family cannot be counted any more.
    WaitingUnknown,
    /// What clients said of themselves. Comes at least every few seconds while such reports are read, if with nothing.
    Said {
        /// What, oldest first.
        said: Vec<Said>,
        /// Everything that was said before this moment is in this or an earlier one.
        at: Time,
    },
    /// What clients say of themselves is not heard any more.
    SaidUnknown,
    /// Every named connection that is open.
    Clients {
        /// They.
        clients: Vec<ClientSeen>,
        /// When.
        at: Time,
    },
    /// What a trace saw: true of the seconds in which it was taken.
    Traced(Arc<TraceReport>),
    /// Another server took over from the one that was watched.
    FailedOver {
        /// When the former one stopped answering, or the change was noticed.
        at: Time,
        /// How much of what had been written to the former one the new one has.
        copied: Copied,
        /// Whose keys it serves.
        among: Among,
    },
    /// By other rules than before these may be no locks, or other ones: they are not shown until they are found again.
    Withdrawn {
        /// When.
        at: Time,
        /// Which.
        among: Among,
    },
    /// Every change before `at` has been reported.
    Confirmed {
        /// The moment.
        at: Time,
    },
}

/// How much of what was written to a store its successor has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copied {
    /// All that was written before this moment. What was written later may be missing.
    Until(Time),
    /// Something is missing that was written before this moment, and what was written before that is not known.
    NotUntil(Time),
    /// It cannot be told.
    Unknown {
        /// Why, in words.
        because: String,
    },
}

impl std::fmt::Display for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Copied::Until(at) => {
                write!(f, "all that was done before {at} is known to have been copied to the primary that took over")
            }
            Copied::NotUntil(at) => {
                write!(f, "the primary that took over lacks something done about {at} or before; how much is not known")
            }
            Copied::Unknown { because } => {
                write!(f, "how much the primary that took over had copied is not known: {because}")
            }
        }
    }
}

/// Some of the locks of a source, by their ids.
#[derive(Clone)]
pub struct Among(Arc<IdTest>);

type IdTest = dyn Fn(&[u8]) -> bool + Send + Sync;

impl Among {
    /// Those of which `has` says so.
    pub fn those(has: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Among {
        Among(Arc::new(has))
    }

    /// Every one.
    #[must_use]
    pub fn all() -> Among {
        Among::those(|_| true)
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(&self, id: &[u8]) -> bool {
        (self.0)(id)
    }
}

impl std::fmt::Debug for Among {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Among")
    }
}

/// A report with its source.
#[derive(Debug)]
pub struct Batch {
    /// Who reports.
    pub source: SourceId,
    /// What.
    pub report: Report,
    /// Told once the board knows it.
    pub folded: Option<oneshot::Sender<()>>,
}

/// Asks a source to do something.
#[derive(Debug)]
pub enum Command {
    /// Read these keys again soon, and report them.
    Look {
        /// The keys.
        keys: Vec<Bytes>,
        /// Told once the board knows what was there; dropped if that could not be found out.
        done: Option<oneshot::Sender<()>>,
    },
    /// These keys are one lock, because one token that is used once stands in all of them: show them as one.
    Together {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// Free exactly this hold, or do with it what else the order says.
    Release {
        /// Which.
        order: ReleaseOrder,
        /// Told what happened.
        done: oneshot::Sender<ReleaseReply>,
    },
    /// Go on by other rules.
    Follow(Rules),
    /// Look at every command for some seconds.
    Trace {
        /// How long, and whether at one lock only.
        order: TraceOrder,
        /// Told what was seen. Dropping the other end stops the trace.
        done: oneshot::Sender<Traced>,
    },
}

/// What decides which keys are locks, and of which family.
#[derive(Debug)]
pub struct Rules {
    /// The patterns to watch from now on; empty: the built-in catalogue decides.
    pub patterns: Vec<String>,
    /// The operator's formats that are new, or are not in force any more.
    pub formats: Arc<[redis::Format]>,
    /// Told once nothing is read by the former rules any more.
    pub stopped: oneshot::Sender<()>,
    /// Cancelled once the new ones are in force.
    pub go: CancellationToken,
}

/// What came of a trace.
pub type Traced = Result<Arc<TraceReport>, TraceRefusal>;

/// What to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOrder {
    /// How long, in seconds: within [`lockkeeper_model::TRACE_SECONDS`].
    pub seconds: u32,
    /// Only this key; `None`: every lock that is spoken of.
    pub key: Option<Bytes>,
}

/// Why there was no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceRefusal {
    /// It is not switched on.
    #[error("tracing is switched off")]
    Off,
    /// Another one is under way: two would cost twice as much.
    #[error("another trace of this source is under way")]
    Running,
    /// The store does more than a trace is allowed on.
    #[error("the store does {commands_per_second} commands a second, and it is traced up to {limit} only")]
    TooBusy {
        /// What it does now.
        commands_per_second: u64,
        /// The configured limit.
        limit: u64,
    },
    /// The store answers too slowly as it is.
    #[error("the store takes {delay_ms} ms to answer, and it is traced up to {limit_ms} ms only")]
    TooSlow {
        /// A round trip, in milliseconds.
        delay_ms: u64,
        /// The limit.
        limit_ms: u64,
    },
    /// The credential may not do it.
    #[error("the credential may not run `{command}`")]
    NotPermitted {
        /// The command that was refused.
        command: String,
    },
    /// It could not be tried.
    #[error("{because}")]
    Failed {
        /// Why, in words, without addresses or credentials.
        because: String,
    },
}

/// Names exactly one hold, with all that must still be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseOrder {
    /// The lock's id as bytes.
    pub key: Bytes,
    /// The keys that hold it; the first is what the family calls the lock's key.
    pub keys: Vec<Bytes>,
    /// The dialect's name, which chooses the script.
    pub dialect: &'static str,
    /// The exact token.
    pub token: Bytes,
    /// How it is held.
    pub mode: Mode,
    /// The exact re-entry count, or the permits that it has.
    pub count: u32,
    /// What is stored with the token, where another acquire would have another: [`HoldExtra::stamp`].
    pub stamp: Option<Bytes>,
    /// The exact fencing counter, where the token is used again: each acquire counts up, so with another number it is
    /// another acquire, whatever the lease says. Where a token is used once it says this by itself.
    pub fencing: Option<Box<str>>,
    /// The lease ends no later than this; `None`: it has no expiry. A later end means that it was renewed or taken
    /// again unseen.
    pub expires_not_after: Option<Time>,
    /// What to do.
    pub act: Act,
}

/// What a [`ReleaseOrder`] does with what it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// The holder with that token loses its hold.
    #[default]
    Release,
    /// The waiter with that token, at the head of the queue of a lock that nobody holds, loses its place.
    Evict,
    /// The holder with that token loses its hold, and in the same step an operator has the lock. Nobody is woken.
    Hold {
        /// The operator's: see [`operator_hold`].
        with: Bytes,
        /// For how long, in milliseconds.
        lease_ms: i64,
    },
    /// The lease of the holder with that token, an operator, begins anew.
    ExtendHold {
        /// How long it is, in milliseconds.
        lease_ms: i64,
    },
    /// The holder with that token, which lost the lock, has it again if nobody has it: with `count`, and until
    /// `expires_not_after`.
    PutBack,
    /// The counter from which the holder has its fencing token is counted up once, if it still is `fencing`.
    RaiseFence,
}

/// What became of a [`ReleaseOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseReply {
    /// Freed.
    Released {
        /// Waiters that were woken, as the store counts them; `None` where this family needs no waking.
        woken: Option<i64>,
    },
    /// Something other than freeing was ordered, and is done.
    Done {
        /// The number that came of it: the counter, where one was counted up.
        number: Option<i64>,
    },
    /// Another token is there: nothing was done.
    ChangedHands,
    /// Nothing is there: nothing was done.
    Gone,
    /// The token is the same and something else is not: nothing was done.
    Refused {
        /// What differs, in words.
        because: String,
    },
    /// It could not be tried.
    Failed {
        /// Why, in words, without addresses or credentials.
        because: String,
    },
    /// It was sent and no answer came: it may or may not have happened.
    Unknown {
        /// Why, in words.
        because: String,
    },
    /// Freed on some masters, and it may still stand on a majority.
    Partial {
        /// Why, in words.
        because: String,
    },
    /// What it came to on several independent masters, and what happened on each.
    OnNodes {
        /// The whole: any of the others.
        whole: Box<ReleaseReply>,
        /// Each master, in the order of the configuration.
        nodes: Vec<NodeRelease>,
    },
}

impl ReleaseReply {
    /// What became of it, for the log.
    fn word(&self) -> &'static str {
        match self {
            ReleaseReply::Released { .. } => "released",
            ReleaseReply::Done { .. } => "done",
            ReleaseReply::ChangedHands => "changed hands",
            ReleaseReply::Gone => "gone",
            ReleaseReply::Refused { .. } => "refused",
            ReleaseReply::Failed { .. } => "failed",
            ReleaseReply::Unknown { .. } => "unknown",
            ReleaseReply::Partial { .. } => "partial",
            ReleaseReply::OnNodes { whole, .. } => whole.word(),
        }
    }
}

/// A source could not read the keys that it was asked to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store could not be read")]
pub struct NotRead;

/// How the rest of the server speaks to a source.
#[derive(Clone, Debug)]
pub struct SourceHandle {
    /// Its position.
    pub id: SourceId,
    /// Its name.
    pub name: Arc<str>,
    /// How well it is watched.
    pub status: watch::Receiver<SourceStatus>,
    /// Its orders.
    pub commands: mpsc::Sender<Command>,
    /// How many locks the board knows of it.
    pub locks: Arc<AtomicU64>,
    /// What the last trace saw.
    pub last_trace: watch::Receiver<Option<Arc<TraceReport>>>,
}

impl SourceHandle {
    /// How well it is watched, now.
    #[must_use]
    pub fn status_now(&self) -> SourceStatus {
        let mut status = self.status.borrow().clone();
        status.coverage.locks = self.locks.load(Ordering::Relaxed);
        status
    }

    /// Has these keys read again and waits until the board has been told what was there.
    ///
    /// # Errors
    /// When they could not be read: nothing new is known of them.
    pub async fn look(&self, keys: Vec<Bytes>) -> Result<(), NotRead> {
        let (done, told) = oneshot::channel();
        self.commands.send(Command::Look { keys, done: Some(done) }).await.map_err(|_| NotRead)?;
        told.await.map_err(|_| NotRead)
    }

    /// One attempt to free exactly this hold.
    pub async fn release(&self, order: ReleaseOrder) -> ReleaseReply {
        let lock = words::shown(LockId::of_key(&order.key).as_str());
        let span = tracing::info_span!("attempt", source.name = &*self.name, lock.id = lock, dialect = order.dialect);
        async move {
            let (done, told) = oneshot::channel();
            if self.commands.send(Command::Release { order, done }).await.is_err() {
                return ReleaseReply::Failed { because: "the source is shutting down".to_owned() };
            }
            let reply = told.await;
            let reply = reply.unwrap_or_else(|_| ReleaseReply::Unknown {
                because: "the source stopped before it answered".to_owned(),
            });
            tracing::info!("the store was asked to free it: {}", reply.word());
            reply
        }
        .instrument(span)
        .await
    }

    /// Looks at every command for some seconds. Giving up on the answer stops it.
    ///
    /// # Errors
    /// Why nothing was looked at.
    pub async fn trace(&self, order: TraceOrder) -> Traced {
        let (done, told) = oneshot::channel();
        let stopped = || TraceRefusal::Failed { because: "the source stopped before it answered".to_owned() };
        self.commands.send(Command::Trace { order, done }).await.map_err(|_| stopped())?;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }
}
