use serde::{Deserialize, Serialize};

use crate::{LockId, Time};

/// One watched store and how well it is watched: the conscience of every screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceStatus {
    /// Its name, shown everywhere.
    pub name: String,
    /// The kind of store, `redis` for example.
    pub kind: String,
    /// How the store is laid out, `standalone` for example; null before the first connection.
    pub topology: Option<String>,
    /// Where it is, without credentials.
    pub address: String,
    /// The store's version, once it said it.
    pub server_version: Option<String>,
    /// `production` asks for more before a release.
    pub environment: Option<String>,
    /// A throw-away store with invented locks.
    pub demo: bool,
    /// Whether what is shown is what is.
    pub state: SourceState,
    /// Since when it is in that state.
    pub since: Time,
    /// Why it is not live, in a sentence; null when it is.
    pub problem: Option<String>,
    /// What to try about it.
    pub hint: Option<String>,
    /// How changes are learned; null before that is decided.
    pub feed: Option<FeedKind>,
    /// Why this feed and not another.
    pub feed_because: Option<String>,
    /// The key patterns that are watched; empty means the built-in catalogue.
    pub patterns: Vec<String>,
    /// How much of the store was seen.
    pub coverage: Coverage,
    /// Until when every change in the store is known to have been heard of; null without a live feed.
    pub confirmed_at: Option<Time>,
    /// How far behind the store's changes the board is at most; null when unknown.
    pub lag_ms: Option<i64>,
    /// Changed keys that wait to be read.
    pub dirty: u64,
    /// Times the link was lost or notices were missed since the start; each was followed by a rescan.
    pub gaps: u64,
    /// Notices known or feared to have been missed since the start.
    pub missed_events: u64,
    /// When the last gap was.
    pub last_gap_at: Option<Time>,
    /// What the last gap was, in words.
    pub last_gap: Option<String>,
    /// Commands a second that watching costs the store, over the last seconds.
    pub own_commands_per_second: u64,
    /// Commands a second of everybody else; null where the store does not say.
    pub other_commands_per_second: Option<u64>,
    /// Bytes a second that watching sends to and gets from the store, over the last seconds; null before that was
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_bytes_per_second: Option<Traffic>,
    /// The limit on the former, and when it applies.
    pub budget: Budget,
    /// What the credential may not do, and what that costs.
    pub missing_permissions: Vec<MissingPermission>,
    /// Keys that were in the way of a pattern and are no locks.
    pub not_locks: NotALock,
    /// What the store drops when its memory is full, as it says itself; null where nothing, or where it does not say.
    #[serde(default)]
    pub eviction: Option<String>,
    /// Replicas that copy it with a delay; null where the store does not say.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// What is read of clients' own reports; null where they are not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportsRead>,
    /// Whether releasing is switched on for it.
    pub release_enabled: bool,
    /// The busiest it may be to be traced, in commands a second, for each of its nodes; null: tracing is switched off.
    #[serde(default)]
    pub trace_limit: Option<u64>,
    /// When the server's process was started, to the second, by its own account; null where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_started_at: Option<Time>,
    /// Each of several independent masters, in the order of the configuration; left out for a single store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
    /// When this was true.
    pub as_of: Time,
}

/// Bytes a second in the store's protocol, before TLS and TCP add to them. Counted on the connections that are open for
/// watching; what a release, a trace and looking for nodes send besides is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Traffic {
    /// To the store.
    pub sent: u64,
    /// From it, notices included.
    pub received: u64,
}

impl std::ops::Add for Traffic {
    type Output = Traffic;

    fn add(self, other: Traffic) -> Traffic {
        Traffic { sent: self.sent + other.sent, received: self.received + other.received }
    }
}

/// What is read of the reports that lock clients write about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportsRead {
    /// The stream that they write to.
    pub stream: String,
    /// Reports read since the start.
    pub read: u64,
    /// Entries that are no reports; they were left alone.
    pub not_understood: u64,
    /// What is wrong with the last of those, in words.
    pub last_fault: Option<String>,
    /// Times that entries were passed over, because more were written than could be read.
    pub passed_over: u64,
    /// Why nothing is read, in a sentence; null while reading.
    pub problem: Option<String>,
}

/// One of several independent masters, and how well it is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStatus {
    /// Its address, without credentials.
    pub node: String,
    /// Whether what is shown of it is what is.
    pub state: SourceState,
    /// Since when it is in that state.
    pub since: Time,
    /// Why it is not live; null when it is.
    pub problem: Option<String>,
    /// What to try about it.
    pub hint: Option<String>,
    /// How changes on it are learned; null before that is decided.
    pub feed: Option<FeedKind>,
    /// Its version, once it said it.
    pub server_version: Option<String>,
    /// When its process was started; null where it does not say.
    pub server_started_at: Option<Time>,
    /// Until when every change on it is known to have been heard of; null without a live feed.
    pub confirmed_at: Option<Time>,
    /// How much of it was seen.
    pub coverage: Coverage,
}

/// Whether what is shown of a source is what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Everything was seen and changes are heard of as they happen.
    Live,
    /// A scan is under way that has not seen everything yet.
    Scanning,
    /// It answers, but something is missing: `problem` says what.
    Degraded,
    /// It does not answer: what is shown is the last known state.
    Down,
}

impl SourceState {
    /// The word on the screen and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            SourceState::Live => "live",
            SourceState::Scanning => "scanning",
            SourceState::Degraded => "degraded",
            SourceState::Down => "down",
        }
    }
}

/// How changes are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FeedKind {
    /// Redis client tracking in broadcast mode.
    Tracking,
    /// Redis keyspace notifications.
    Notifications,
    /// Scanning again and again.
    Polling,
}

impl FeedKind {
    /// The word on the screen and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FeedKind::Tracking => "tracking",
            FeedKind::Notifications => "notifications",
            FeedKind::Polling => "polling",
        }
    }
}

/// How much of a store was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Coverage {
    /// Whether a whole scan was finished since the last gap.
    pub complete: bool,
    /// Keys that the scan under way (or the last one) went past.
    pub scanned_keys: u64,
    /// Keys in the store when that scan began; null where the store does not say.
    pub total_keys: Option<u64>,
    /// Locks known.
    pub locks: u64,
    /// When that scan began.
    pub started_at: Option<Time>,
    /// When the last whole scan was finished.
    pub finished_at: Option<Time>,
    /// How long the last whole scan took.
    pub took_ms: Option<i64>,
    /// Slots of a cluster that no primary serves which answers: locks in them are not seen. Always empty elsewhere.
    #[serde(default)]
    pub uncovered_slots: Vec<SlotRange>,
}

/// Hash slots of a cluster that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotRange {
    /// The first.
    pub first: u16,
    /// The last, which is part of it.
    pub last: u16,
}

/// The limit on what watching may cost a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Budget {
    /// Commands a second that are not passed while anybody else uses the store.
    pub commands_per_second: u64,
}

/// Something that a credential may not do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MissingPermission {
    /// The command that was refused.
    pub permission: String,
    /// What is not seen or done because of it.
    pub costs: String,
    /// The statement that grants it.
    pub fix: String,
}

/// Keys that were looked at and are no locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotALock {
    /// How many keys that match a pattern were found not to be locks, in the last whole scan and since.
    pub count: u64,
    /// A few of them, each with the reason.
    pub sample: Vec<(LockId, String)>,
}
