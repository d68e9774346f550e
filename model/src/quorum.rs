use serde::{Deserialize, Serialize};

use crate::Time;

/// How a lock stands on several independent masters. By the Redlock recipe a token owns the lock while it stands on a
/// majority of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quorum {
    /// Whether a majority agrees.
    pub standing: Standing,
    /// Masters that make a majority.
    pub needed: u32,
    /// Masters on which the first holder's token was read and still counts.
    pub votes: u32,
    /// How long a majority is guaranteed to keep the owner's token: what is left on the last master that is needed, less
    /// what clocks may drift (1 % of the lease and 2 ms) and the time that its reading took. Counted from the answer's
    /// `as_of`. Null where nobody owns it or the token has no expiry.
    pub valid_for_ms: Option<i64>,
    /// The same as a moment on the server's clock.
    pub valid_until: Option<Time>,
    /// All of this in a sentence.
    pub says: String,
    /// Each master, in the order of the configuration.
    pub nodes: Vec<QuorumNode>,
}

/// Whether a majority of the masters agrees on a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// One token stands on a majority.
    Owned,
    /// No token does, and none can, whatever the masters say that were not read.
    Nobody,
    /// It depends on masters that were not read.
    Undecided,
}

/// What one master has of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuorumNode {
    /// The master's address, without credentials.
    pub node: String,
    /// What is there.
    pub state: OnNode,
    /// The token there; null where there is none, or it is not UTF-8.
    pub token: Option<String>,
    /// The same bytes in standard base64; null where there is none.
    pub token_b64: Option<String>,
    /// When it ends there by itself, at the latest; null without an expiry or a token.
    pub expires_at: Option<Time>,
    /// The same from the answer's `as_of`.
    pub ttl_ms: Option<i64>,
    /// How long the reading took, within which the store counted.
    pub round_trip_ms: Option<i64>,
    /// When the lock was last read there; null where it never was because nothing was ever found.
    pub read_at: Option<Time>,
    /// The master was started again more recently than the lease is long: it may have forgotten a lock that its client
    /// still believes to hold.
    pub restarted_within_lease: bool,
}

/// What one master has of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnNode {
    /// The token of the lock's first holder.
    Holds,
    /// Another token.
    Other,
    /// Nothing.
    Absent,
    /// It does not answer: it has no vote.
    Unreachable,
    /// It answers and was not read yet, or not since changes were missed there: it has no vote.
    Unread,
}
