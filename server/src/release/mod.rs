//! Freeing a stuck lock without hurting anybody: preview, ticket, policy, execution.
//!
//! ```text
//! preview ── looks, compares, explains ──▶ ticket, bound to exactly these holds
//! execute ── ticket, confirmation, reason ──▶ looks, compares, one attempt in the store ──▶ what was seen afterwards
//! ```
//!
//! The screen may be old; nothing here trusts it. The lock is read again before the preview and again before the
//! attempt, and the store compares once more, in the step that deletes. What is tried is written into the audit before,
//! and what is refused as well.

mod actions;
#[cfg(test)]
mod actions_tests;
mod afterwards;
mod approval;
#[cfg(test)]
mod approval_tests;
mod compare;
mod context;
mod dry_run;
mod execution;
mod former;
mod limits;
mod lost;
mod policy;
mod preview;
mod reason;
mod record;
mod refusal;
mod resume;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod rule_tests;
mod rules;
mod second_person;
mod sequence;
#[cfg(test)]
mod tests;
mod ticket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lockkeeper_model::{Holder, Outcome, words};
use tokio::sync::Semaphore;

pub use approval::{APPROVAL_LIFE_MS, ApprovalRefusal};
pub use preview::MAX_LOCKS;
pub use reason::{MAX_REASON_CHARS, MIN_REASON_CHARS, ReasonPattern};
pub use refusal::Refusal;
pub(crate) use refusal::seconds;
pub use resume::resume;
pub use rules::{DEFAULT_ATTEMPTS_PER_MINUTE, DEFAULT_COOL_DOWN, Rules};
pub use second_person::FRESH_SIGN_IN;
pub use ticket::{MAX_TICKET_BYTES, TICKET_LIFE_MS, TicketError};

use crate::board::Board;
use crate::recorder::audit::{Audit, outcome_word};
use crate::source::{NotRead, SourceHandle};

/// How long one reading of a key may take before a preview or an attempt gives up. A store that needs longer is in
/// no state in which a person should free locks by hand.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Releases under way at once. People release by hand: more than a few at a time is a runaway script.
const MAX_RELEASES_AT_ONCE: usize = 8;

/// The environment in which more is asked before a release.
const PRODUCTION: &str = "production";

/// Where releases are asked for and carried out.
#[derive(Debug)]
pub struct ReleaseDesk {
    board: Board,
    rules: Rules,
    tickets: ticket::Tickets,
    rate: limits::Rate,
    cool_down: limits::CoolDown,
    approvals: approval::OpenApprovals,
    /// Held while an approval is asked for or decided: what counts is written down before.
    deciding: tokio::sync::Mutex<()>,
    slots: Arc<Semaphore>,
    outcomes: Outcomes,
    audit: Audit,
    formers: former::Formers,
    released: lost::Released,
    /// Releases that are watched after they were answered.
    watches: Arc<Semaphore>,
}

impl ReleaseDesk {
    /// What is asked of whoever releases.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A desk with these rules, which writes down in `audit` what is done and what is refused. Tickets of an earlier desk
    /// are worth nothing here.
    #[must_use]
    pub fn new(board: Board, rules: Rules, audit: Audit) -> ReleaseDesk {
        ReleaseDesk {
            board,
            tickets: ticket::Tickets::new(),
            rate: limits::Rate::new(rules.attempts_per_minute),
            cool_down: limits::CoolDown::new(rules.cool_down),
            approvals: approval::OpenApprovals::default(),
            deciding: tokio::sync::Mutex::default(),
            rules,
            slots: Arc::new(Semaphore::new(MAX_RELEASES_AT_ONCE)),
            outcomes: Outcomes::default(),
            audit,
            formers: former::Formers::default(),
            released: lost::Released::default(),
            watches: Arc::new(Semaphore::new(afterwards::MAX_WATCHES)),
        }
    }

    /// Waits until no release is under way.
    pub async fn settled(&self) {
        // An error would mean that the semaphore was closed, which nobody does.
        let _ = self.slots.acquire_many(MAX_RELEASES_AT_ONCE as u32).await;
    }

    /// How often each outcome came about since the start.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES
            .iter()
            .zip(&self.outcomes.0)
            .map(|(outcome, count)| (outcome_word(*outcome), count.load(Ordering::Relaxed)))
    }

    /// What a reason has to contain for these locks of these sources: something only where one is in production.
    fn demanded<'a>(&self, mut sources: impl Iterator<Item = &'a str>) -> Option<&ReasonPattern> {
        let pattern = self.rules.reason_pattern.as_ref()?;
        sources.any(|source| self.is_production(source)).then_some(pattern)
    }

    /// Whether the limits on how often apply to this source: in production, and everywhere where the operator set any.
    fn is_limited(&self, source: &str) -> bool {
        self.rules.limits_everywhere || self.is_production(source)
    }

    fn is_production(&self, source: &str) -> bool {
        let environment = |source: &SourceHandle| source.status.borrow().environment.as_deref() == Some(PRODUCTION);
        self.board.source(source).is_some_and(environment)
    }

    /// Has the board learn what is in the store now.
    async fn look(&self, source: &SourceHandle, keys: Vec<Bytes>) -> Result<(), NotRead> {
        tokio::time::timeout(LOOK_TIMEOUT, source.look(keys)).await.unwrap_or(Err(NotRead))
    }
}

const OUTCOMES: [Outcome; 12] = [
    Outcome::Released,
    Outcome::Held,
    Outcome::Extended,
    Outcome::PutBack,
    Outcome::Raised,
    Outcome::ChangedHands,
    Outcome::Gone,
    Outcome::Partial,
    Outcome::Signalled,
    Outcome::Refused,
    Outcome::Failed,
    Outcome::Unknown,
];

#[derive(Debug, Default)]
struct Outcomes([AtomicU64; OUTCOMES.len()]);

impl Outcomes {
    fn count(&self, outcome: Outcome) {
        if let Some(index) = OUTCOMES.iter().position(|known| *known == outcome) {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A holder in a sentence: its token's ends, or the operator that it is.
fn named(holder: &Holder) -> String {
    if let Some(person) = &holder.identity.operator {
        return format!("an operator, `{}`,", words::shown(person));
    }
    format!("`{}`", words::short_token(holder.token.as_deref().unwrap_or(&holder.token_b64)))
}
