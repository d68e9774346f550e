//! How locks are seen and freed. One folder per kind of store; what is here fits all of them.
//!
//! A source reads its store and reports [`Batch`]es of [`Sight`]s; it never knows who is watching. It takes
//! [`Command`]s: look again at these keys, release exactly this hold.

pub mod redis;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lockkeeper_model::{Certainty, Mode, SourceStatus, Time, Told, TraceReport};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot, watch};

/// Names a source within one run: its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// What one reading of one key showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The lock's key.
    pub key: Bytes,
    /// What was there.
    pub seen: Seen,
    /// The reading was not done before this moment…
    pub asked_at: Time,
    /// …nor after this one.
    pub read_at: Time,
    /// The change that led to this reading was noticed at this moment; `None` for a scan.
    pub noticed_at: Option<Time>,
    /// What the store itself said of the change.
    pub hint: Hint,
}

/// What was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A lock that is held.
    Held(Form),
    /// Nothing, or nothing that is a lock any more.
    Gone,
}

/// What the store itself said of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// The key was deleted on somebody's command.
    Deleted,
    /// The key's time ran out.
    Expired,
    /// The key was dropped to save memory.
    Evicted,
    /// The key did not exist before: an acquire, never a renewal.
    New,
}

/// A held lock as its dialect understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Which library family, and how sure that is.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// Who holds it, in the order of the store.
    pub holds: SmallVec<[Hold; 1]>,
    /// Its value names nobody.
    pub no_owner: bool,
}

/// One holder's part of a [`Form`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The token as stored. Boxed exactly: the registry keeps it as it comes.
    pub token: Box<[u8]>,
    /// The re-entry count; 1 where the library does not count.
    pub count: u32,
    /// What is left of the lease at the moment of the reading, in milliseconds; `None` without expiry.
    pub ttl_ms: Option<i64>,
}

/// What the store counts of those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitersSeen {
    /// How many.
    pub count: u32,
}

/// A judgement about a stored form: which family, how sure, why. One static per way of recognising.
#[derive(Debug, PartialEq, Eq)]
pub struct Recognition {
    /// The dialect's name.
    pub dialect: &'static str,
    /// How sure.
    pub certainty: Certainty,
    /// Why.
    pub because: &'static str,
    /// How this family lets go and waits.
    pub traits: &'static DialectTraits,
}

/// What holds for every lock of one family.
#[derive(Debug)]
pub struct DialectTraits {
    /// The store's word for the type of the key.
    pub stored_as: &'static str,
    /// Turns a key into what a person calls the lock.
    pub strip_prefix: &'static str,
    /// Whether a former holder learns of a release.
    pub told: Told,
    /// How it learns of it, or why not.
    pub told_because: &'static str,
    /// What a release does beyond deleting, for example how waiters are woken.
    pub release: &'static str,
    /// A token names one acquisition and never another: where false, equal tokens do not prove the same hold.
    pub token_is_one_use: bool,
    /// Whether [`Report::Waiting`] counts those who wait.
    pub waiters_counted: bool,
    /// What that number counts, or why there is none.
    pub waiters_because: &'static str,
    /// Why renewals cannot be expected; `None` where the library may renew.
    pub never_renews: Option<&'static str>,
    /// Prefixes of the keys that belong to a lock and are none; the lock's name follows.
    pub companions: fn(key: &[u8]) -> Vec<Vec<u8>>,
    /// The thread or process that a token names, for [`lockkeeper_model::Identity`].
    pub identity: fn(token: &[u8]) -> lockkeeper_model::Identity,
}

impl PartialEq for DialectTraits {
    /// There is one static per family.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for DialectTraits {}

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
    /// Every change before `at` has been reported.
    Confirmed {
        /// The moment.
        at: Time,
    },
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
    /// Free exactly this hold.
    Release {
        /// Which.
        order: ReleaseOrder,
        /// Told what happened.
        done: oneshot::Sender<ReleaseReply>,
    },
    /// Look at every command for some seconds.
    Trace {
        /// How long, and whether at one lock only.
        order: TraceOrder,
        /// Told what was seen. Dropping the other end stops the trace.
        done: oneshot::Sender<Result<Arc<TraceReport>, TraceRefusal>>,
    },
}

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
    /// The lock's key.
    pub key: Bytes,
    /// The dialect's name, which chooses the script.
    pub dialect: &'static str,
    /// The exact token.
    pub token: Bytes,
    /// The exact re-entry count.
    pub count: u32,
    /// The lease ends no later than this; `None`: it has no expiry. A later end means that it was renewed or taken
    /// again unseen.
    pub expires_not_after: Option<Time>,
}

/// What became of a [`ReleaseOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseReply {
    /// Freed.
    Released {
        /// Waiters that were woken, as the store counts them; `None` where this family needs no waking.
        woken: Option<i64>,
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
        let (done, told) = oneshot::channel();
        if self.commands.send(Command::Release { order, done }).await.is_err() {
            return ReleaseReply::Failed { because: "the source is shutting down".to_owned() };
        }
        told.await.unwrap_or(ReleaseReply::Unknown { because: "the source stopped before it answered".to_owned() })
    }

    /// Looks at every command for some seconds. Giving up on the answer stops it.
    ///
    /// # Errors
    /// Why nothing was looked at.
    pub async fn trace(&self, order: TraceOrder) -> Result<Arc<TraceReport>, TraceRefusal> {
        let (done, told) = oneshot::channel();
        let stopped = || TraceRefusal::Failed { because: "the source stopped before it answered".to_owned() };
        self.commands.send(Command::Trace { order, done }).await.map_err(|_| stopped())?;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }
}
