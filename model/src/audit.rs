use serde::{Deserialize, Serialize};

use crate::Time;

/// Somebody who asked for something: a person, a program, or the server itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Actor {
    /// What they are called. `anonymous` where nobody has to say who they are; `lockkeeper` for the server itself.
    pub name: String,
    /// How that is known: `loopback` where it is only known that they reached this machine, `server` for the server itself.
    pub via: String,
    /// The network address that they came from, without the port.
    pub address: Option<String>,
}

impl Actor {
    /// Somebody who did not have to say who they are.
    #[must_use]
    pub fn anonymous(address: Option<String>) -> Actor {
        Actor { name: "anonymous".to_owned(), via: "loopback".to_owned(), address }
    }

    /// The server, of its own accord.
    #[must_use]
    pub fn server() -> Actor {
        Actor { name: "lockkeeper".to_owned(), via: "server".to_owned(), address: None }
    }
}

/// What an entry of the audit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// An attempt is about to be made. Written before it; without its completion, the outcome is unknown.
    Intention,
    /// What came of an attempt.
    Completion,
    /// What was seen of the lock after an attempt.
    FollowUp,
    /// Somebody asked for something and was turned away; nothing was tried.
    Refusal,
    /// Somebody asked what an attempt would come to; nothing was tried.
    DryRun,
    /// A second person was asked for their approval, gave or denied it, it was used, or was done without.
    Approval,
    /// Somebody signed in or out, could not, or changed their password.
    Access,
    /// Somebody wrote a note on a lock; `reason` has it.
    Note,
}

impl AuditKind {
    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            AuditKind::Intention => "intention",
            AuditKind::Completion => "completion",
            AuditKind::FollowUp => "follow_up",
            AuditKind::Refusal => "refusal",
            AuditKind::DryRun => "dry_run",
            AuditKind::Approval => "approval",
            AuditKind::Access => "access",
            AuditKind::Note => "note",
        }
    }
}

/// One entry of the audit.
///
/// Its JSON without `hash`, in this order and without spaces, is what `hash` is the SHA-256 of; `previous` is the hash of
/// the entry before. Words are texts rather than enumerations: an audit is read for longer than a program lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// When it happened.
    pub at: Time,
    /// What it tells.
    pub kind: AuditKind,
    /// The `seq` of the intention that this belongs to; null where it belongs to none.
    pub attempt: Option<u64>,
    /// Who asked.
    pub actor: Actor,
    /// What for: the word of an action, such as `release`; null where the request did not get so far as to say.
    pub action: Option<String>,
    /// The source.
    pub source: Option<String>,
    /// The lock's id.
    pub lock: Option<String>,
    /// The generation that was previewed. It means something only within one run of the server.
    pub generation: Option<String>,
    /// The ends of the holder's token. Never the whole: whoever has it could release the lock in the holder's name.
    pub token: Option<String>,
    /// The SHA-256 of the whole token in hexadecimal, by which it can be recognised.
    pub token_sha256: Option<String>,
    /// Names the ticket, so that what was done or tried with one ticket can be found: the beginning of its SHA-256.
    pub ticket: Option<String>,
    /// Why, in the words of who asked.
    pub reason: Option<String>,
    /// What came of it: `attempted` for an intention; a release's outcome; `expired`, `used`, `forged` or `mistyped` for a
    /// refusal that has its own word. Null for a follow-up.
    pub outcome: Option<String>,
    /// What was seen of the lock afterwards: `free`, `taken`, `came_back` (the same token took it again), `held`
    /// (an operator holds it), `put_back` (it was given back), `release_lost` (the store lost the release with its
    /// primary) or `still_held`.
    pub seen: Option<String>,
    /// The same in a sentence.
    pub detail: String,
    /// The hash of the entry before; zeros for the first. Empty, as is `hash`, for whoever is told of a part of the audit:
    /// a part proves nothing, and its hashes would confirm guesses at the rest.
    pub previous: String,
    /// The hash of this entry.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// Where the audit ends, to be noted elsewhere: it proves later that nothing up to there was changed or cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditChain {
    /// How many entries there are.
    pub length: u64,
    /// The hash of the newest; zeros where there is none.
    pub head: String,
}

/// A page of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// What to give as `before` for the next page; null where there is none.
    pub next_before: Option<u64>,
    /// Where the audit ends; null for whoever is told of a part of it.
    pub chain: Option<AuditChain>,
}
