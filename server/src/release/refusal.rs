use std::time::Duration;

use lockkeeper_model::{Holder, LockId, LockIdError, Time, words};

use super::approval::ApprovalRefusal;
use super::reason::{MAX_REASON_CHARS, MIN_REASON_CHARS};
use super::ticket::TicketError;
use crate::access::Right;
use crate::board::BoardClosed;

/// Why a preview or a release did not get as far as the store.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody switched it on.
    #[error("releasing is switched off on this server")]
    Off,
    /// Whoever asks may release nothing at all.
    #[error("`{0}` is needed for this, and none of your roles grants it")]
    NoRight(Right),
    /// Whoever asks lacks a right on it.
    #[error("`{right}` is needed on `{}`, and none of your roles grants it there", words::shown(.id.as_str()))]
    NotAllowed {
        /// The lock.
        id: LockId,
        /// The right.
        right: Right,
    },
    /// None, or too many.
    #[error("`locks` has {found} entries, expected 1 to {max}")]
    Count {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// One hold twice.
    #[error("`{}` of `{}` is named twice", words::shown(.id.as_str()), words::shown(.source_name))]
    Twice {
        /// The source.
        source_name: String,
        /// The lock.
        id: LockId,
    },
    /// No such source.
    #[error("there is no source `{}`", words::shown(.name))]
    UnknownSource {
        /// As it was asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// No such lock is possible.
    #[error("{0}")]
    Id(#[from] LockIdError),
    /// The source does not answer.
    #[error("`{name}` cannot be read now, so nobody can say what would be released{}", .problem.as_deref().map(|problem| format!(": {problem}")).unwrap_or_default())]
    Unreadable {
        /// The source.
        name: String,
        /// What its status says.
        problem: Option<String>,
    },
    /// It is free already.
    #[error("`{}` is not held any more", words::shown(.id.as_str()))]
    Gone {
        /// The lock.
        id: LockId,
    },
    /// That hold of a lock with several is over; others hold it.
    #[error("that holder of `{}` has let go of it; {others} still hold it", words::shown(.id.as_str()))]
    HoldGone {
        /// The lock.
        id: LockId,
        /// How many hold it.
        others: usize,
    },
    /// Somebody else has it.
    #[error("`{}` changed hands: {} has it now", words::shown(.id.as_str()), super::named(.holder_now))]
    ChangedHands {
        /// The lock.
        id: LockId,
        /// Who has it.
        holder_now: Box<Holder>,
    },
    /// It is not clear whose hold is meant.
    #[error("`{}` has {holders} holders and the request does not say whose hold is to end", words::shown(.id.as_str()))]
    SeveralHolders {
        /// The lock.
        id: LockId,
        /// How many hold it.
        holders: usize,
    },
    /// It would hurt, or nobody can say what it would have to do.
    #[error("{what} `{}` is not offered: {because}", words::shown(.id.as_str()))]
    NotOffered {
        /// What was asked for, before the lock's name.
        what: &'static str,
        /// The lock.
        id: LockId,
        /// Why.
        because: &'static str,
    },
    /// No waiter of it can be taken out of a queue.
    #[error("`{}` has no waiter that could be taken out of its queue: {because}", words::shown(.id.as_str()))]
    NoEviction {
        /// The lock.
        id: LockId,
        /// Why.
        because: &'static str,
    },
    /// Another waiter is at the head than the one that is named, or than the one that was looked at.
    #[error("the queue of `{}` moved: {} is at its head now", words::shown(.id.as_str()), super::named(.head))]
    QueueMoved {
        /// The lock.
        id: LockId,
        /// Who is at the head.
        head: Box<Holder>,
    },
    /// The ticket is not honoured.
    #[error("{0}")]
    Ticket(#[from] TicketError),
    /// The text was not typed, or mistyped.
    #[error("`confirm` is not the text to type, `{expected}`")]
    Unconfirmed {
        /// The text to type.
        expected: String,
    },
    /// Nobody will know why.
    #[error("`reason` {problem}, expected {MIN_REASON_CHARS} to {MAX_REASON_CHARS} characters without line breaks")]
    Reason {
        /// What is wrong with it.
        problem: String,
    },
    /// For how long an operator is to hold it cannot be.
    #[error("`hold_ms` {problem}")]
    HoldTime {
        /// What is wrong with it.
        problem: String,
    },
    /// In production more is demanded of a reason.
    #[error("`reason` does not contain what is demanded in production, `{}`", words::shown(.pattern))]
    ReasonPattern {
        /// The regular expression.
        pattern: String,
    },
    /// Nobody has seen yet what freeing several would come to.
    #[error("a ticket for {holds} holds has to be used for a dry run first")]
    DryRunNeeded {
        /// How many it is for.
        holds: usize,
    },
    /// It takes a second person, or it was not for this one to decide.
    #[error(transparent)]
    Approval(#[from] ApprovalRefusal),
    /// One person too often.
    #[error(
        "you tried {per_minute} releases in a minute, which is as many as one person may; the next may be tried in {} s",
        seconds(*.wait)
    )]
    TooOften {
        /// How many one person may try in a minute.
        per_minute: u32,
        /// Until the next.
        wait: Duration,
    },
    /// One lock too often.
    #[error("`{}` was released a moment ago and cannot be released again before {until}", words::shown(.id.as_str()))]
    CoolingDown {
        /// The lock.
        id: LockId,
        /// From then on it can.
        until: Time,
    },
    /// Too many at once.
    #[error("too many releases are under way")]
    Busy,
    /// The server ends.
    #[error("{0}")]
    Closing(#[from] BoardClosed),
}

impl Refusal {
    /// Whether what it says is about this lock, or about no lock in particular. Whoever may see this lock may then be
    /// told of it.
    pub(super) fn is_about(&self, source: &str, lock: &LockId) -> bool {
        match self {
            Refusal::NotAllowed { id, .. }
            | Refusal::Gone { id }
            | Refusal::HoldGone { id, .. }
            | Refusal::ChangedHands { id, .. }
            | Refusal::SeveralHolders { id, .. }
            | Refusal::NotOffered { id, .. }
            | Refusal::NoEviction { id, .. }
            | Refusal::QueueMoved { id, .. }
            | Refusal::CoolingDown { id, .. } => id == lock,
            Refusal::Twice { source_name, id } => source_name == source && id == lock,
            Refusal::UnknownSource { name, .. } | Refusal::Unreadable { name, .. } => name == source,
            Refusal::Id(_) => lock.key().is_err(),
            Refusal::Off
            | Refusal::NoRight(_)
            | Refusal::Count { .. }
            | Refusal::Ticket(_)
            | Refusal::Unconfirmed { .. }
            | Refusal::Reason { .. }
            | Refusal::HoldTime { .. }
            | Refusal::ReasonPattern { .. }
            | Refusal::DryRunNeeded { .. }
            | Refusal::Approval(_)
            | Refusal::TooOften { .. }
            | Refusal::Busy
            | Refusal::Closing(_) => true,
        }
    }
}

/// Whole seconds after which a wait is over.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}
