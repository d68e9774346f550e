//! What a lock is, in the words that the server, the app and the public contract share.
//!
//! Nothing here does IO or reads a clock: everything that depends on "now" takes it as an argument, so that the
//! server and a browser with a wrong clock come to the same judgement.

#![deny(missing_docs)]

mod approval;
mod audit;
mod graph;
mod history;
mod id;
mod lock;
mod query;
mod quorum;
mod release;
pub mod search;
mod source;
mod time;
mod trace;
mod transition;
mod verdict;
mod warning;
pub mod wire;
pub mod words;

pub use approval::{
    Approval, ApprovalLock, ApprovalNeed, ApprovalRequest, ApprovalState, Approvals, Decision, DecisionRequest,
    ShownApproval,
};
pub use audit::{Actor, AuditChain, AuditEntry, AuditKind, AuditPage};
pub use graph::{ContendedLock, Cycle, Edge, EdgeKind, HeadBlocker, LinkBasis, Party, WaitGraph};
pub use history::{
    Activity, ContentionStats, DurationStats, DurationStep, IncidentLock, IncidentRequest, LockStats, MostWaiters,
    Recording, RecordingState, WaitedLock, WaitedSteps,
};
pub use id::{LockId, LockIdError, encode_token};
pub use lock::{
    Basis, Bounds, Certainty, Contention, DialectInfo, FencingToken, Flag, FlagNote, Holder, Identity, Lease,
    LeaseKind, Lock, LockState, Mode, Renewals, ReportedWait, Stored, StoredEntry, Waiter, Waiters, WaitersBasis,
};
pub use query::{
    DEFAULT_LIMIT, FLAG_FILTERS, GroupBy, MAX_LIMIT, MAX_TEXT_BYTES, NO_GROUP, Order, Question, QuestionError, SortKey,
};
pub use quorum::{OnNode, Quorum, QuorumNode, Standing};
pub use release::{
    Action, After, AfterState, Collateral, DEFAULT_HOLD_MS, HOLD_MS, LeftOut, NodeRelease, OfferedAction, OtherLocks,
    Outcome, PreviewAnswer, PreviewRequest, PreviewTarget, PreviewedLock, ReleaseAnswer, ReleaseRequest, ReleaseResult,
    Strength, Told, Warning,
};
pub use source::{
    Budget, Coverage, FeedKind, MissingPermission, NodeStatus, NotALock, ReportsRead, SlotRange, SourceState,
    SourceStatus, Traffic,
};
pub use time::{Time, TimeError};
pub use trace::{
    ClientFacts, Deed, TRACE_SECONDS, TraceEnd, TraceReport, TraceRequest, TracedClient, TracedDeed, TracedLock,
    TracedNode, WaitsBy,
};
pub use transition::{Event, TransitionKind};
pub use verdict::{Connection, Evidence, Signs, Verdict, judge, missed_beats};
pub use warning::{
    AcknowledgeRequest, Acknowledgement, Delivery, LockWarning, MAX_NOTE_CHARS, MUTE_MS, Mute, MuteRequest, MutedBy,
    RuleInForce, Severity, WarningPage, WarningRule, WarningState,
};

use serde::{Deserialize, Serialize};

/// An error as `application/problem+json` (RFC 9457) carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable relative reference that names the kind of problem, `/problems/not-held` for example.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words; the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, with the name and the value of the thing.
    pub detail: String,
    /// What to try, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
