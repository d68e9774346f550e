//! The word of a second person, bound to whoever asked for it, to what they want done, and to exactly these holds. Kept in
//! memory: a restart voids every approval.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lockkeeper_model::{Action, Actor, ApprovalState, Decision, Time};

use super::ticket::{BoundHold, Permission, person};
use crate::recorder::audit::AuditError;

/// How long an approval may be waited for and used: long enough for a colleague to be woken, to look and to decide, and so
/// short that both still mean the same incident.
pub const APPROVAL_LIFE_MS: i64 = 10 * 60 * 1_000;

/// Approvals that are open at once. More than people can look at.
const MAX_OPEN: usize = 256;

/// Those that one person may have asked for.
const MAX_OF_ONE: usize = 16;

/// Why there is no second person's word.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalRefusal {
    /// A second person has to approve it first.
    #[error("in production another person has to approve this first: {}", state_in_words(*.0))]
    Needed(ApprovalState),
    /// One person is enough.
    #[error("none of these locks needs a second person")]
    NotNeeded,
    /// There is no such approval, or not any more, or it is not theirs to know.
    #[error("there is no such approval, or not any more")]
    Unknown,
    /// A program, or somebody who did not say who they are.
    #[error("approvals are between people who are signed in: nobody can say whose an API token is")]
    NotSignedIn,
    /// The first person is no second one.
    #[error("you asked for this yourself; it takes another person to decide it")]
    SamePerson,
    /// Somebody was quicker.
    #[error("it was {} already", if matches!(.0, Decision::Approve) { "approved" } else { "denied" })]
    Decided(Decision),
    /// Nobody could look at so many.
    #[error("too many approvals are open; they end after {} minutes", APPROVAL_LIFE_MS / 60_000)]
    TooMany,
    /// To go without a second person takes somebody who has just shown who they are.
    #[error("to release without a second person, sign in again first: that has to be at most {} minutes ago", super::FRESH_SIGN_IN.as_secs() / 60)]
    StaleSignIn,
    /// What is not written down does not count.
    #[error("it could not be written into the audit, and does not count without that: {0}")]
    NotWritten(#[from] AuditError),
}

fn state_in_words(state: ApprovalState) -> &'static str {
    match state {
        ApprovalState::Unasked => "nobody was asked, or what was approved was used, expired, or is about another hold",
        ApprovalState::Pending => "somebody was asked and has not decided yet",
        ApprovalState::Approved => "it was approved",
        ApprovalState::Denied => "somebody was asked and denied it",
    }
}

/// What somebody asked a second person for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) id: String,
    pub(super) asker: Actor,
    pub(super) action: Action,
    /// In an order that does not depend on that of the preview.
    pub(super) holds: Vec<BoundHold>,
    pub(super) reason: String,
    pub(super) asked_at: Time,
    pub(super) expires_at: Time,
    pub(super) decided: Option<Decided>,
}

/// What the second person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) by: Actor,
    pub(super) decision: Decision,
    pub(super) reason: String,
    pub(super) at: Time,
}

impl Asking {
    pub(super) fn state(&self) -> ApprovalState {
        match self.decided.as_ref().map(|decided| decided.decision) {
            None => ApprovalState::Pending,
            Some(Decision::Approve) => ApprovalState::Approved,
            Some(Decision::Deny) => ApprovalState::Denied,
        }
    }

    /// Whether this is the person who asked, from wherever they come.
    pub(super) fn is_by(&self, actor: &Actor) -> bool {
        person(&self.asker) == person(actor)
    }

    /// Whether this person, by whatever way they came in, could be the one who asked. Two ways of signing in may know one
    /// person by the same name.
    pub(super) fn may_be_by(&self, actor: &Actor) -> bool {
        self.asker.name.to_lowercase() == actor.name.to_lowercase()
    }

    fn is_about(&self, action: Action, sorted: &[BoundHold]) -> bool {
        self.action == action && self.holds == sorted
    }
}

/// What is open.
#[derive(Debug, Default)]
pub(super) struct OpenApprovals(Mutex<Vec<Asking>>);

impl OpenApprovals {
    /// Asks for what a ticket permits. Whoever asks for the same again is given what they asked for before, unless it was
    /// denied. Says whether it is new.
    pub(super) fn ask(
        &self,
        actor: &Actor,
        permission: &Permission,
        reason: &str,
        now: Time,
    ) -> Result<(Asking, bool), ApprovalRefusal> {
        let holds = sorted(&permission.holds);
        let mut open = self.open(now);
        let same = |asking: &Asking| asking.is_by(actor) && asking.is_about(permission.action, &holds);
        open.retain(|asking| !(same(asking) && asking.state() == ApprovalState::Denied));
        if let Some(known) = open.iter().find(|asking| same(asking)) {
            return Ok((known.clone(), false));
        }
        if open.len() >= MAX_OPEN || open.iter().filter(|asking| asking.is_by(actor)).count() >= MAX_OF_ONE {
            return Err(ApprovalRefusal::TooMany);
        }
        let asking = Asking {
            // Nothing that a command line could take for an option: base64 begins with a hyphen now and then.
            id: format!("{:032x}", rand::random::<u128>()),
            asker: actor.clone(),
            action: permission.action,
            holds,
            reason: reason.to_owned(),
            asked_at: now,
            expires_at: now.plus(APPROVAL_LIFE_MS),
            decided: None,
        };
        open.push(asking.clone());
        Ok((asking, true))
    }

    /// Takes back what was asked for.
    pub(super) fn withdraw(&self, id: &str, now: Time) {
        self.open(now).retain(|asking| asking.id != id);
    }

    /// Everything that is open, the newest first.
    pub(super) fn all(&self, now: Time) -> Vec<Asking> {
        self.open(now).iter().rev().cloned().collect()
    }

    pub(super) fn find(&self, id: &str, now: Time) -> Option<Asking> {
        self.open(now).iter().find(|asking| asking.id == id).cloned()
    }

    /// What the second person says. It stands.
    pub(super) fn decide(&self, id: &str, decided: Decided, now: Time) -> Result<Asking, ApprovalRefusal> {
        let mut open = self.open(now);
        let asking = open.iter_mut().find(|asking| asking.id == id).ok_or(ApprovalRefusal::Unknown)?;
        if let Some(before) = &asking.decided {
            return Err(ApprovalRefusal::Decided(before.decision));
        }
        asking.decided = Some(decided);
        Ok(asking.clone())
    }

    /// What this person asked for, if it was exactly this.
    pub(super) fn of(&self, actor: &Actor, action: Action, holds: &[BoundHold], now: Time) -> Option<Asking> {
        let holds = sorted(holds);
        let open = self.open(now);
        open.iter().rev().find(|asking| asking.is_by(actor) && asking.is_about(action, &holds)).cloned()
    }

    /// Uses an approval up. Of two attempts with one approval exactly one gets past here.
    pub(super) fn use_up(&self, id: &str, now: Time) -> Result<Asking, ApprovalRefusal> {
        let mut open = self.open(now);
        let approved = |asking: &Asking| asking.id == id && asking.state() == ApprovalState::Approved;
        let place = open.iter().position(approved).ok_or(ApprovalRefusal::Needed(ApprovalState::Unasked))?;
        Ok(open.remove(place))
    }

    /// Those that have not expired.
    fn open(&self, now: Time) -> MutexGuard<'_, Vec<Asking>> {
        // A panic elsewhere cannot leave a list of copies half changed.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|asking| asking.expires_at > now);
        open
    }
}

fn sorted(holds: &[BoundHold]) -> Vec<BoundHold> {
    let mut holds = holds.to_vec();
    holds.sort_by(|a, b| (&a.source, &a.key, &a.token).cmp(&(&b.source, &b.key, &b.token)));
    holds
}
