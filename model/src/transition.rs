use serde::{Deserialize, Serialize};

use crate::{LockId, Time};

/// What was concluded about a lock from two looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// It was already held at the first look.
    FirstSeen,
    /// A holder took it while it was free.
    Acquired,
    /// The same holder pushed the lease out.
    Renewed,
    /// The same holder entered once more, or left one level.
    ReEntered,
    /// It went from one holder to another between two looks.
    HandedOver,
    /// It was let go, or deleted, before its deadline.
    Released,
    /// Its lease ran out.
    Expired,
    /// The store dropped it to save memory.
    Evicted,
    /// Another holder replaced one that had not let go.
    TakenOver,
    /// It was released from here.
    Forced,
    /// It ended while nobody was looking: how is not known.
    Lost,
    /// The lease changed without a renewal: it was cut, removed or set.
    LeaseChanged,
    /// Something was not seen here: a link was lost, or notices were missed.
    Gap,
}

impl TransitionKind {
    /// Every kind.
    pub const ALL: [TransitionKind; 13] = [
        TransitionKind::FirstSeen,
        TransitionKind::Acquired,
        TransitionKind::Renewed,
        TransitionKind::ReEntered,
        TransitionKind::HandedOver,
        TransitionKind::Released,
        TransitionKind::Expired,
        TransitionKind::Evicted,
        TransitionKind::TakenOver,
        TransitionKind::Forced,
        TransitionKind::Lost,
        TransitionKind::LeaseChanged,
        TransitionKind::Gap,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TransitionKind::FirstSeen => "first_seen",
            TransitionKind::Acquired => "acquired",
            TransitionKind::Renewed => "renewed",
            TransitionKind::ReEntered => "re_entered",
            TransitionKind::HandedOver => "handed_over",
            TransitionKind::Released => "released",
            TransitionKind::Expired => "expired",
            TransitionKind::Evicted => "evicted",
            TransitionKind::TakenOver => "taken_over",
            TransitionKind::Forced => "forced",
            TransitionKind::Lost => "lost",
            TransitionKind::LeaseChanged => "lease_changed",
            TransitionKind::Gap => "gap",
        }
    }

    /// Whether the lock is free afterwards.
    #[must_use]
    pub fn ends(self) -> bool {
        matches!(
            self,
            TransitionKind::Released
                | TransitionKind::Expired
                | TransitionKind::Evicted
                | TransitionKind::Forced
                | TransitionKind::Lost
        )
    }
}

/// One transition of one lock, or one gap of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Names this event for `Last-Event-ID`, for good where what happens is written down; grows within one run of the
    /// server.
    pub id: String,
    /// When it was concluded, on the server's clock.
    pub at: Time,
    /// What happened.
    pub transition: TransitionKind,
    /// The source.
    pub source: String,
    /// The lock; null for a gap of the whole source.
    pub lock: Option<LockId>,
    /// The token of the holder that this is about: the new one, or the one that left. Null where it is not UTF-8 or
    /// not known.
    pub holder: Option<String>,
    /// The same as standard base64.
    pub holder_b64: Option<String>,
    /// The holder before, where there was another.
    pub previous_holder: Option<String>,
    /// How it came about, where that is known: `deadline`, `deleted`, `release`, `came_back`, `release_lost`, `link lost`.
    pub cause: Option<String>,
    /// What the conclusion rests on, in words.
    pub evidence: Option<String>,
    /// For an end: how long the holder had it, at least.
    pub held_ms: Option<i64>,
    /// For renewals in a timeline: how many this line stands for. For a gap: how many transitions are known to be missing.
    pub count: u32,
    /// For renewals in a timeline: when the first of them was. For a gap: when it began, where that is known.
    pub first_at: Option<Time>,
}
