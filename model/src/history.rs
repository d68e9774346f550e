//! What is kept of the past, and what is said of it.

use serde::{Deserialize, Serialize};

use crate::{Event, LockId, Time, WaitersBasis};

/// Whether what happens is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// It is.
    Recording,
    /// It should be, and cannot be written now. What happens meanwhile is lost, and counted.
    Failing,
    /// It is not.
    Off,
}

/// How the recording of what happens goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recording {
    /// Whether what happens is written down.
    pub state: RecordingState,
    /// Why not; null where it is.
    pub because: Option<String>,
    /// The oldest moment of which something is kept; null where nothing is.
    pub from: Option<Time>,
}

impl Recording {
    /// Nothing is kept.
    #[must_use]
    pub fn off(because: &str) -> Recording {
        Recording { state: RecordingState::Off, because: Some(because.to_owned()), from: None }
    }
}

/// How long something took, over many times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DurationStats {
    /// How many times it was measured.
    pub count: u64,
    /// Half of them took at most so long; like the others up to an eighth too long; null without any.
    pub p50_ms: Option<i64>,
    /// 95 of 100 took at most so long.
    pub p95_ms: Option<i64>,
    /// 99 of 100 took at most so long.
    pub p99_ms: Option<i64>,
    /// How many took at most `up_to_ms` and longer than the step before.
    pub histogram: Vec<DurationStep>,
}

/// One step of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DurationStep {
    /// Where it ends.
    pub up_to_ms: i64,
    /// How many are in it.
    pub count: u64,
}

/// What went on at one lock or at several together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockStats {
    /// Locks at which something happened.
    pub locks: u64,
    /// How often one was taken, as watched.
    pub taken: u64,
    /// How often one was let go or deleted.
    pub released: u64,
    /// How often a lease ran out while the lock was held.
    pub lapsed: u64,
    /// How often the store dropped one to save memory.
    pub evicted: u64,
    /// How often one was released from here.
    pub forced: u64,
    /// How often one ended while nobody was looking.
    pub lost: u64,
    /// How often a lease was pushed out.
    pub renewed: u64,
    /// How often one let go and another took it at once: somebody had waited.
    pub handed_over: u64,
    /// How long holds lasted, at least.
    pub held: DurationStats,
    /// How long a lock was free in hand-overs that were watched in two steps.
    pub hand_over: DurationStats,
    /// Who waited; null in what was kept before that was written down.
    #[serde(default)]
    pub contention: Option<ContentionStats>,
}

/// Who waited for the locks at which something happened, or somebody waited, over a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContentionStats {
    /// From this moment on, on a whole minute.
    pub from: Time,
    /// Up to this one: on a whole minute, or now.
    pub to: Time,
    /// For how much of that time everybody would have been seen who can be seen to wait for these locks, in milliseconds:
    /// what is missing was not watched, or not written down. Where it is not all of the time, the other numbers are the
    /// least that they can be.
    pub known_ms: i64,
    /// The time that all who waited have waited together, in milliseconds; null: unknown, which is not 0.
    pub waited_ms: Option<i64>,
    /// For how long somebody waited for any of these locks, in milliseconds; a second in which somebody did counts whole;
    /// null: unknown.
    pub contended_ms: Option<i64>,
    /// In what part of the known time somebody waited, 0 to 1; null: unknown.
    pub share: Option<f64>,
    /// The most who waited for one lock at once; null where nobody is known to have waited.
    pub most: Option<MostWaiters>,
    /// The weakest way in which those who waited were known.
    pub basis: WaitersBasis,
    /// Locks whose waiters leave no trace in the store: in no number is anyone who waited for one of them, unless it said so
    /// itself.
    pub unseen_locks: u64,
    /// Why it is not known; null where it is.
    pub because: Option<String>,
}

/// How long was waited for which lock, step by step of a time, as far as it was written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitedSteps {
    /// When the first step began, on a whole minute.
    pub from: Time,
    /// Up to this moment.
    pub to: Time,
    /// How long each step is, in milliseconds: whole minutes.
    pub step_ms: i64,
    /// The locks that were waited for longest, the longest first.
    pub locks: Vec<WaitedLock>,
    /// How many more were waited for.
    pub more_locks: u64,
}

/// How long was waited for one lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitedLock {
    /// Its source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// What a person calls it.
    pub name: String,
    /// The time that all who waited for it have waited together, in milliseconds; at least, where not all of it is known.
    pub waited_ms: u64,
    /// The weakest way in which those who waited were known.
    pub basis: WaitersBasis,
    /// The same in each step. 0: nobody waited; null: it is not known whether anybody did.
    pub steps: Vec<Option<u64>>,
}

/// When most waited for one lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MostWaiters {
    /// How many.
    pub count: u32,
    /// When there were so many for the first time.
    pub at: Time,
    /// The source of the lock.
    pub source: String,
    /// The lock.
    pub id: LockId,
}

/// How much happened when, and what was missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Activity {
    /// From this moment on, on a whole minute.
    pub from: Time,
    /// Up to this one.
    pub to: Time,
    /// How long a step is, in milliseconds: whole minutes. The last one may be cut by `to`.
    pub step_ms: i64,
    /// Transitions in each step, oldest first, without gaps. Null: not known, because it is not kept any more, or because
    /// locks out of your scope are counted with it.
    pub counts: Vec<Option<u64>>,
    /// Gaps in that time, oldest first. `first_at` is from when on something was missed, where that is known.
    pub gaps: Vec<Event>,
    /// Older gaps that are not among them.
    pub more_gaps: u64,
}

/// What to freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IncidentRequest {
    /// What to call it.
    pub title: String,
    /// Which locks.
    pub locks: Vec<IncidentLock>,
    /// From this moment on.
    pub from: Time,
    /// Up to this moment.
    pub to: Time,
}

/// A lock of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IncidentLock {
    /// Its source.
    pub source: String,
    /// Its id.
    pub id: LockId,
}
