use serde::{Deserialize, Serialize};

use crate::{Connection, LockId, Quorum, Time, Verdict};

/// One named mutual exclusion in one source, as the public contract describes it.
///
/// What belongs to one holder (lease, age, renewals, fencing token, generation) is on the holder; `lease`,
/// `held_since` and `generation` here are summaries of the same form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lock {
    /// The source that holds it.
    pub source: String,
    /// Its identity within the source.
    pub id: LockId,
    /// What a person calls it: the key without the part that the library adds.
    pub name: String,
    /// Every key that is part of it, as ids.
    pub keys: Vec<LockId>,
    /// How many may hold it together.
    pub mode: Mode,
    /// What is known of it as a whole.
    pub state: LockState,
    /// Which library family stored it, and how sure that is.
    pub dialect: DialectInfo,
    /// Who has it, in the order in which the store keeps them.
    pub holders: Vec<Holder>,
    /// How many may hold a semaphore together; null where that is not a semaphore or not recorded.
    pub permits: Option<u32>,
    /// The earliest of the holders'.
    pub held_since: Bounds,
    /// The latest to end of the holders'.
    pub lease: Lease,
    /// Changes whenever any holder changes.
    pub generation: String,
    /// Who is trying to get it.
    pub waiters: Waiters,
    /// What went on around it in the last minutes; null where nothing was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contention: Option<Contention>,
    /// What is dangerous about it.
    pub flags: Vec<Flag>,
    /// What each flag is, why it matters and what to do. Only in answers about one lock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flag_notes: Vec<FlagNote>,
    /// What else its stored form says, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why a release is not offered; null where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_release: Option<String>,
    /// How it stands on several independent masters; left out for a lock of one store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// How it lies in the store, as last read. Only in answers about one lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// When its value and lease were last read from the store.
    pub as_of: Time,
}

/// How many may hold a lock together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One.
    Exclusive,
    /// Many readers.
    Shared,
    /// As many as there are permits.
    Semaphore,
    /// One, elected.
    Leader,
}

/// What is known of a lock as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LockState {
    /// Somebody has it.
    Held,
    /// Nobody has it, yet somebody waits.
    WaitingOnly,
    /// Fewer than a majority of its replicas agree on a holder.
    NoQuorum,
    /// It is held, and its form does not say by whom.
    UnknownHolder,
}

impl LockState {
    /// Every state.
    pub const ALL: [LockState; 4] =
        [LockState::Held, LockState::WaitingOnly, LockState::NoQuorum, LockState::UnknownHolder];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            LockState::Held => "held",
            LockState::WaitingOnly => "waiting_only",
            LockState::NoQuorum => "no_quorum",
            LockState::UnknownHolder => "unknown_holder",
        }
    }
}

/// How sure a judgement about the dialect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// No other known library stores this form.
    Certain,
    /// Others could, but it is improbable.
    Likely,
    /// Several libraries store exactly this.
    Ambiguous,
    /// An operator's pattern says that it is a lock; nothing says whose.
    Configured,
}

impl Certainty {
    /// The word on the screen and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
            Certainty::Ambiguous => "ambiguous",
            Certainty::Configured => "configured",
        }
    }
}

/// Which library family stored a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DialectInfo {
    /// The family's name, `python-redis-lock` for example.
    pub name: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// Why, in words.
    pub because: String,
}

/// One holder's hold on a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holder {
    /// The token as stored; null where it is not UTF-8.
    pub token: Option<String>,
    /// The token's bytes in standard base64.
    pub token_b64: String,
    /// How this holder holds it.
    pub mode: Mode,
    /// How often it was entered; 1 where the library does not count.
    pub count: u32,
    /// Who that is, as far as the token says.
    pub identity: Identity,
    /// Since when.
    pub held_since: Bounds,
    /// When the hold ends by itself.
    pub lease: Lease,
    /// How the lease was pushed out so far.
    pub renewals: Renewals,
    /// The number by which the resource can refuse a late holder, where the library keeps one.
    pub fencing_token: Option<FencingToken>,
    /// Its connection to the store, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// Whether it lives.
    pub verdict: Verdict,
    /// What the verdict rests on, one sentence a line.
    pub evidence: Vec<String>,
    /// Opaque; changes whenever this hold begins anew.
    pub generation: String,
}

/// Who a holder is. Every field is null where nothing says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Identity {
    /// Host name.
    pub host: Option<String>,
    /// Process id on that host.
    pub pid: Option<u32>,
    /// Thread, as the library names it.
    pub thread: Option<String>,
    /// Network address of its connection.
    pub client_addr: Option<String>,
    /// Name that its connection gave itself.
    pub client_name: Option<String>,
    /// Store user of its connection.
    pub user: Option<String>,
    /// Client instance, where the token names one that several locks share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Network card or random node of a UUID of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The moment that the token carries, on its holder's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_time: Option<Time>,
    /// What the caller wrote beside the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The operator who holds it through Lockkeeper, as far as their name can stand in a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

impl Identity {
    /// Nothing is known.
    pub const NOBODY: Identity = Identity {
        host: None,
        pid: None,
        thread: None,
        client_addr: None,
        client_name: None,
        user: None,
        instance: None,
        node: None,
        token_time: None,
        metadata: None,
        operator: None,
    };
}

/// A moment known by its bounds; exact when both are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bounds {
    /// It was not earlier; null where nothing says so.
    pub not_before: Option<Time>,
    /// It was not later.
    pub not_after: Option<Time>,
    /// How the bounds are known.
    pub basis: Basis,
}

/// How a moment is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// It was watched as it happened.
    Observed,
    /// It was already so at the first look.
    FirstSeen,
    /// The store or the library wrote the moment down.
    Reported,
    /// The store counts from when the holder queued.
    QueuedAt,
    /// It cannot be older than its session.
    SessionStart,
}

/// When a hold ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// What ends it.
    pub kind: LeaseKind,
    /// When, on the server's clock; null without a deadline.
    pub expires_at: Option<Time>,
    /// How long from the answer's `as_of`; 0 when it is over and the end is not confirmed yet.
    pub ttl_ms: Option<i64>,
}

/// What ends a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaseKind {
    /// A time to live.
    Ttl,
    /// The end of its session.
    Session,
    /// The end of its transaction.
    Transaction,
    /// Nothing.
    None,
}

/// How a holder pushed its lease out, as far as that was watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Renewals {
    /// How often.
    pub count: u32,
    /// The last time.
    pub last_at: Option<Time>,
    /// The rhythm that was learned; null before two renewals.
    pub period_ms: Option<i64>,
    /// Beats that are overdue now; null without a rhythm.
    pub missed: Option<u32>,
}

/// A number that grows with every hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FencingToken {
    /// Where it comes from. `counter`: the counter in the store, as it was when the hold began. `raised`: that counter after
    /// somebody raised it through Lockkeeper; the holder's own number is lower.
    pub kind: String,
    /// The number in decimal: it may pass 2^53.
    pub value: String,
}

/// Who is trying to get a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiters {
    /// How many; null where that is unknown.
    pub count: Option<u32>,
    /// How the number is known.
    pub basis: WaitersBasis,
    /// What the number counts and where it comes from, in words.
    pub because: String,
    /// Whether `list` is in the order in which they will be served.
    pub ordered: bool,
    /// How long somebody has been waiting without a break, at least.
    pub longest_wait_ms: Option<i64>,
    /// Those that can be told apart.
    pub list: Vec<Waiter>,
}

/// One who is trying to get a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiter {
    /// What names it, as stored; null where it is not UTF-8 or nothing names it.
    pub token: Option<String>,
    /// The same bytes in standard base64; null where nothing names it.
    pub token_b64: Option<String>,
    /// Who that is, as far as known.
    pub identity: Identity,
    /// When the store may drop it from the queue.
    pub expires_at: Option<Time>,
    /// Whether its place in the queue is proven to be abandoned; null where nothing tells.
    pub abandoned: Option<bool>,
    /// What it says of its wait itself; null where it says nothing. Those of whom nothing else is known come after all
    /// others, whatever the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<ReportedWait>,
}

/// What a waiter says of its wait, by its own word only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportedWait {
    /// The random id of this attempt.
    pub attempt: String,
    /// Since when, by the store's clock.
    pub since: Time,
    /// When it last said so.
    pub heard_at: Time,
}

/// What went on around a lock, over the last minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Contention {
    /// Over how long, in milliseconds.
    pub over_ms: i64,
    /// The time that all who waited have waited together, in milliseconds; null where nobody could be counted.
    pub blocked_ms: Option<i64>,
    /// How that is known; the weakest way where there were several.
    pub blocked_basis: WaitersBasis,
    /// How often one let go and another took it at once, as watched: more than one between two looks count as one.
    pub hand_overs: u32,
    /// Attempts to take it, in samples and reports; null where none were seen.
    pub attempts: Option<u32>,
    /// Attempts that were refused, likewise.
    pub refusals: Option<u32>,
    /// How attempts and refusals are known, the weakest way where there were several; null where none were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_basis: Option<WaitersBasis>,
    /// Attempts a second in the last sample, rounded; left out where there was none a moment ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_per_second: Option<u32>,
    /// Attempts a second that are known to have been refused, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals_per_second: Option<u32>,
    /// When that sample ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<Time>,
}

/// How a number of waiters is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitersBasis {
    /// The store keeps them.
    Exact,
    /// Something that comes with waiting was counted.
    Inferred,
    /// Seen in a sample of the traffic.
    Sampled,
    /// The waiters said so.
    Reported,
    /// Not known.
    Unknown,
}

/// What is dangerous about a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// It has no expiry: a crash locks for ever.
    NoExpiry,
    /// It had an expiry and lost it.
    ExpiryLost,
    /// Its value names nobody: compare-and-delete protects nobody.
    NoOwner,
    /// Its token stands in other locks too, or is used again: a match does not prove the same hold.
    SharedToken,
    /// Its value is a deadline: the key may stand while nobody holds it.
    DeadlineAsValue,
    /// Its library unlocks without comparing: a late unlock frees the next holder's lock.
    UnsafeUnlock,
    /// Its library takes the lock again after a deletion: a release does not last.
    ComesBack,
    /// Its renewals stopped: the holder is dead or stalled.
    RenewalStopped,
    /// Its lease is hours long and not renewed: a crash stalls everybody for as long.
    LongLease,
    /// Its lease ran out under a living holder: two may have been inside.
    LeaseTooShort,
    /// One holder keeps it for many leases while others wait.
    HeldWhileWaiting,
    /// Somebody queues and nobody holds it.
    QueueWithoutHolder,
    /// It lists holders whose time is over.
    DeadMember,
    /// A waiting writer keeps readers out.
    WriterWaiting,
    /// It may only be kept for its minimal time after the work is done.
    KeptAfterWork,
    /// Fewer of its keys stand than make the lock.
    HalfLock,
    /// Those who wait for it try hundreds of times a second.
    PollStorm,
    /// The store may drop it to save memory.
    Evictable,
    /// The store has asynchronous replicas: a failover can lose it.
    Replicated,
    /// It was taken or renewed around a failover: it may be lost or have two holders.
    FailedOver,
    /// It is stored in a form that no known version of its library writes.
    Unrecognised,
    /// Its lease is over and the store has not confirmed the end.
    LeaseOver,
    /// The same token came back after a release.
    CameBack,
    /// It was released on a primary that was replaced before its replicas knew: the former holder has it again.
    ReleaseLost,
    /// Its source cannot be reached: what is shown is old.
    Stale,
}

impl Flag {
    /// Every flag, in the order in which they are shown.
    pub const ALL: [Flag; 25] = [
        Flag::NoExpiry,
        Flag::ExpiryLost,
        Flag::NoOwner,
        Flag::SharedToken,
        Flag::DeadlineAsValue,
        Flag::UnsafeUnlock,
        Flag::ComesBack,
        Flag::RenewalStopped,
        Flag::LongLease,
        Flag::LeaseTooShort,
        Flag::HeldWhileWaiting,
        Flag::QueueWithoutHolder,
        Flag::DeadMember,
        Flag::WriterWaiting,
        Flag::KeptAfterWork,
        Flag::HalfLock,
        Flag::PollStorm,
        Flag::Evictable,
        Flag::Replicated,
        Flag::ReleaseLost,
        Flag::FailedOver,
        Flag::Unrecognised,
        Flag::LeaseOver,
        Flag::CameBack,
        Flag::Stale,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Flag::NoExpiry => "no-expiry",
            Flag::ExpiryLost => "expiry-lost",
            Flag::NoOwner => "no-owner",
            Flag::SharedToken => "shared-token",
            Flag::DeadlineAsValue => "deadline-as-value",
            Flag::UnsafeUnlock => "unsafe-unlock",
            Flag::ComesBack => "comes-back",
            Flag::RenewalStopped => "renewal-stopped",
            Flag::LongLease => "long-lease",
            Flag::LeaseTooShort => "lease-too-short",
            Flag::HeldWhileWaiting => "held-while-waiting",
            Flag::QueueWithoutHolder => "queue-without-holder",
            Flag::DeadMember => "dead-member",
            Flag::WriterWaiting => "writer-waiting",
            Flag::KeptAfterWork => "kept-after-work",
            Flag::HalfLock => "half-lock",
            Flag::PollStorm => "poll-storm",
            Flag::Evictable => "evictable",
            Flag::Replicated => "replicated",
            Flag::FailedOver => "failed-over",
            Flag::Unrecognised => "unrecognised",
            Flag::LeaseOver => "lease-over",
            Flag::CameBack => "came-back",
            Flag::ReleaseLost => "release-lost",
            Flag::Stale => "stale",
        }
    }
}

/// A flag, explained for the person who has to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlagNote {
    /// The flag.
    pub flag: Flag,
    /// What is so, about this lock.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub todo: String,
}

/// How a lock lies in the store, as last read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stored {
    /// The store's own word for the type, `string` or `hash` for example.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value, or each field of it.
    pub entries: Vec<StoredEntry>,
    /// Keys that belong to the lock and are no locks, as ids.
    pub companions: Vec<LockId>,
}

/// One value of a stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredEntry {
    /// The key, in the form of a lock id, where that is not the lock's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The field or member, in the form of a lock id; null for a plain value.
    pub field: Option<String>,
    /// The value; null where it is not UTF-8.
    pub value: Option<String>,
    /// The value's bytes in standard base64.
    pub value_b64: String,
}
