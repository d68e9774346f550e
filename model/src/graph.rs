//! Who waits for whom.

use serde::{Deserialize, Serialize};

use crate::{Identity, LockId, Mode, WaitersBasis};

/// Locks that somebody waits for, who has them and who waits, as far as one can be told from another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitGraph {
    /// Those who have or want a lock.
    pub parties: Vec<Party>,
    /// The locks that somebody waits for.
    pub locks: Vec<ContendedLock>,
    /// Who waits for which lock, and which lock is held by whom.
    pub edges: Vec<Edge>,
    /// Those who wait for each other in a circle: none of them goes on by itself unless one gives up or loses its lock.
    /// Everybody who is in such a circle is in one of these.
    pub cycles: Vec<Cycle>,
    /// Those who have what others wait for and wait for nothing themselves, the one with most behind it first.
    pub head_blockers: Vec<HeadBlocker>,
    /// Locks that somebody waits for and that are not here, because there are too many.
    pub more_locks: u64,
    /// Waiters and holders that are not here, likewise.
    pub more_parties: u64,
    /// Cycles that are not here, likewise.
    pub more_cycles: u64,
}

/// Somebody who has or wants locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Party {
    /// Names it within this answer.
    pub id: String,
    /// What to call it on a screen.
    pub name: String,
    /// Who it is, as far as known.
    pub identity: Identity,
    /// Why what it has and what it wants are taken to be of one party, a way in each line; empty where it stands at one
    /// place only.
    pub linked_by: Vec<LinkBasis>,
}

/// Why two places are taken to be of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkBasis {
    /// The tokens that stand in the store name the same client instance and thread.
    Token,
    /// They name, or say that they are, the same thread of the same process on the same host.
    Thread,
    /// The same process on the same host; nothing says which thread, so that it may be two of them.
    Process,
}

/// A lock that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContendedLock {
    /// Names it within this answer.
    pub node: String,
    /// Its source.
    pub source: String,
    /// Its identity within the source.
    pub id: LockId,
    /// What a person calls it.
    pub name: String,
    /// How many may hold it together.
    pub mode: Mode,
    /// How many wait for it.
    pub waiters: u32,
    /// How that number is known.
    pub basis: WaitersBasis,
    /// How many of those are nobody who could be told apart.
    pub nameless: u32,
}

/// From a party to a lock that it waits for, or from a lock to a party that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Edge {
    /// A party's `id` or a lock's `node`.
    pub from: String,
    /// The other.
    pub to: String,
    /// Which.
    pub kind: EdgeKind,
    /// How it is known.
    pub basis: WaitersBasis,
}

/// What an [`Edge`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// The party waits for the lock.
    Waits,
    /// The lock is held by the party.
    HeldBy,
}

/// Parties that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cycle {
    /// Party, the lock that it waits for, the party that holds that, and so on; the last lock is held by the first party.
    pub nodes: Vec<String>,
    /// The same as a sentence.
    pub says: String,
    /// The weakest of the reasons for which its parties are taken to be one each; null where each stands at one place.
    pub linked_by: Option<LinkBasis>,
}

/// A party that others wait for and that waits for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadBlocker {
    /// The party's `id`.
    pub party: String,
    /// How many wait for what it has, or for what one of those has, and so on.
    pub behind: u64,
}
