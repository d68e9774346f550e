//! How locks are seen and freed. One folder per kind of store; what is here fits all of them.
//!
//! A source reads its store and reports [`Batch`]es of [`Sight`]s; it never knows who is watching. It takes
//! [`Command`]s: look again at these keys, release exactly this hold.

pub mod redis;
pub mod redlock;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lockkeeper_model::{
    Certainty, Flag, Identity, LockState, Mode, NodeRelease, SourceStatus, Standing, Time, Told, TraceReport,
};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot, watch};

/// Names a source within one run: its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// What one reading of one lock showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The lock's id as bytes: its key, for nearly all.
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
    /// A lock.
    Held(Form),
    /// Nothing, or nothing that is a lock any more.
    Gone,
    /// What is there belongs to a lock that is shown under another id: it was never a lock by itself.
    PartOfAnother,
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

/// A lock as its dialect understands what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Which library family, and how sure that is.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// What is so of it as a whole.
    pub state: LockState,
    /// Who holds it, in the order of the store.
    pub holds: SmallVec<[Hold; 1]>,
    /// What only some forms have.
    pub extra: Option<Box<Extra>>,
}

impl Form {
    /// A lock with one holder and nothing else to say of it.
    #[must_use]
    pub fn exclusive(recognition: &'static Recognition, token: &[u8], ttl_ms: Option<i64>) -> Form {
        Form {
            recognition,
            mode: Mode::Exclusive,
            state: LockState::Held,
            holds: smallvec::smallvec![Hold::new(token, ttl_ms)],
            extra: None,
        }
    }

    /// Whether those it lists have it. Only on several masters can a token be there without being a holder's.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let quorum = self.extra.as_ref().and_then(|extra| extra.quorum.as_ref());
        quorum.map_or(Standing::Owned, |quorum| quorum.standing())
    }

    /// The rare parts, made if there were none.
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// What only some [`Form`]s have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// What people call it, where that is not its key without the family's prefix.
    pub name: Option<Box<str>>,
    /// The keys that hold it, where those are not just its id.
    pub keys: Vec<Bytes>,
    /// Keys that are there, belong to it and are no locks.
    pub companions: Vec<Bytes>,
    /// How many may hold a semaphore together, where that is recorded.
    pub permits: Option<u32>,
    /// Those who wait, where the store keeps them.
    pub queue: Option<Queue>,
    /// What its form shows to be dangerous.
    pub flags: SmallVec<[Flag; 2]>,
    /// What else its form says, one sentence each.
    pub notes: Vec<String>,
    /// How it lies in the store, where that does not follow from its holds.
    pub entries: Vec<Entry>,
    /// How it stands on several independent masters.
    pub quorum: Option<Box<redlock::Quorum>>,
}

/// Those who wait, as the store keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Whether they are served in this order.
    pub ordered: bool,
    /// How many there are; more than `waiters` where only the first were read.
    pub count: u32,
    /// The first of them.
    pub waiters: Vec<Queued>,
}

/// One who waits, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What names it; empty where nothing does.
    pub token: Box<[u8]>,
    /// When it may be dropped from the queue, in milliseconds of the epoch.
    pub expires_at_ms: Option<i64>,
    /// Whether it is proven to be away.
    pub abandoned: Option<bool>,
}

/// One value of a stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, where that is not the lock's id.
    pub key: Option<Bytes>,
    /// The field or member.
    pub field: Option<Bytes>,
    /// The value or score.
    pub value: Bytes,
}

/// One holder's part of a [`Form`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The token as stored. Boxed exactly: the registry keeps it as it comes.
    pub token: Box<[u8]>,
    /// The re-entry count, or the permits that it has; 1 where the library does not count.
    pub count: u32,
    /// What is left of the lease at the moment of the reading, in milliseconds; `None` without expiry.
    pub ttl_ms: Option<i64>,
    /// What only some holds have.
    pub extra: Option<Box<HoldExtra>>,
}

impl Hold {
    /// A hold that is entered once and has nothing else to say.
    #[must_use]
    pub fn new(token: &[u8], ttl_ms: Option<i64>) -> Hold {
        Hold { token: token.into(), count: 1, ttl_ms, extra: None }
    }
}

/// What only some [`Hold`]s have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldExtra {
    /// How it holds the lock, where that is not the lock's mode.
    pub mode: Option<Mode>,
    /// The number by which the resource can refuse a late holder.
    pub fencing: Option<Box<str>>,
    /// When it was taken, where the store keeps that beside the token.
    pub taken_at: Option<Time>,
    /// What the library wrote beside the token, in words.
    pub metadata: Option<Box<str>>,
    /// What is stored with the token and differs from one acquire to the next: with another of it, it is another hold.
    pub stamp: Option<Bytes>,
    /// The store keeps one expiry for all holders: a later end does not say that this one renewed.
    pub shares_lease: bool,
    /// The lease may end so many milliseconds earlier than `ttl_ms` says: it is known from several masters that differ.
    pub ends_early_ms: u32,
    /// Who that is, where more than its token says it.
    pub identity: Option<Identity>,
}

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
    /// Why a release is not offered; `None` where it is.
    pub no_release: Option<&'static str>,
    /// What taking a dead waiter out of the queue of a free lock does; `None` where that is not offered.
    pub evict_waiter: Option<&'static str>,
    /// How the library's own unlock can free another's lock; `None` where it compares.
    pub unsafe_unlock: Option<&'static str>,
    /// How the library takes the lock again after a release; `None` where it does not.
    pub comes_back: Option<&'static str>,
    /// A token names one acquisition and never another: where false, equal tokens do not prove the same hold.
    pub token_is_one_use: bool,
    /// One lock may be several keys with one token, whose names do not tell.
    pub may_span_keys: bool,
    /// Whether [`Report::Waiting`] counts those who wait.
    pub waiters_counted: bool,
    /// What that number counts, or why there is none.
    pub waiters_because: &'static str,
    /// Why renewals cannot be expected; `None` where the library may renew.
    pub never_renews: Option<&'static str>,
    /// What is left of the lease at least, in milliseconds, while its renewals work; `None` where that is not fixed.
    pub renewal_keeps_ms: Option<i64>,
    /// What a token says of its holder.
    pub identity: fn(token: &[u8]) -> Identity,
    /// When the lock was taken, if its token says it, on its holder's clock.
    pub taken_at: fn(token: &[u8]) -> Option<Time>,
}

impl DialectTraits {
    /// A string with a token under its bare name, freed by comparing and deleting, whose waiters poll. Families begin
    /// with this and say what is different.
    pub const PLAIN: DialectTraits = DialectTraits {
        stored_as: "string",
        strip_prefix: "",
        told: Told::AtRenewal,
        told_because: "The store does not tell it. A library that renews or unlocks by comparing finds out then; until \
                       then it goes on as if it had the lock.",
        release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out \
                  since.",
        no_release: None,
        evict_waiter: None,
        unsafe_unlock: None,
        comes_back: None,
        token_is_one_use: true,
        may_span_keys: false,
        waiters_counted: false,
        waiters_because: "those who wait for it poll, which leaves no trace in Redis",
        never_renews: None,
        renewal_keeps_ms: None,
        identity: |_| Identity::NOBODY,
        taken_at: |_| None,
    };
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
        /// What was written before this moment is known to be on the new server; `None`: nothing is known of that.
        copied_until: Option<Time>,
        /// Whose keys it serves.
        among: Among,
    },
    /// Every change before `at` has been reported.
    Confirmed {
        /// The moment.
        at: Time,
    },
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
        done: oneshot::Sender<Traced>,
    },
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
    /// The lease ends no later than this; `None`: it has no expiry. A later end means that it was renewed or taken
    /// again unseen.
    pub expires_not_after: Option<Time>,
    /// What to do with whom.
    pub target: Target,
}

/// Whom a [`ReleaseOrder`] is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// The holder with that token loses its hold.
    #[default]
    Holder,
    /// The waiter with that token, at the head of the queue of a lock that nobody holds, loses its place.
    Waiter,
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
    pub async fn trace(&self, order: TraceOrder) -> Traced {
        let (done, told) = oneshot::channel();
        let stopped = || TraceRefusal::Failed { because: "the source stopped before it answered".to_owned() };
        self.commands.send(Command::Trace { order, done }).await.map_err(|_| stopped())?;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }
}
