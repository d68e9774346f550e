//! What takes two people: one asks, another one looks and decides, the first carries it out. And what is done when there
//! is no other one.

use std::time::Duration;

use lockkeeper_model::{
    Action, Actor, Approval, ApprovalLock, ApprovalNeed, ApprovalRequest, ApprovalState, Approvals, AuditKind,
    Decision, DecisionRequest, LockId, PreviewTarget, ShownApproval,
};

use super::approval::{ApprovalRefusal, Asking, Decided};
use super::reason::check_reason;
use super::record::Asked;
use super::ticket::{BoundHold, Permission};
use super::{Refusal, ReleaseDesk};
use crate::access::{Right, Scope, Via};
use crate::board::BreakGlass;
use crate::clock;
use crate::recorder::audit::{Deed, Note};

/// To release in production without a second person, one has to have signed in at most this long ago: whoever finds an
/// unlocked screen cannot, and five minutes are enough to type a reason.
pub const FRESH_SIGN_IN: Duration = Duration::from_secs(5 * 60);

/// On whose word a release is carried out.
#[derive(Debug)]
pub(super) enum Consent {
    /// One person is enough.
    One,
    /// A second person approved it: the approval's id.
    Two(String),
    /// A second person would be needed, and there is none.
    BreakGlass,
}

impl ReleaseDesk {
    /// Asks another person to approve what was previewed. Asking again for the same changes nothing.
    ///
    /// # Errors
    /// When the ticket or the reason is not accepted, nobody else is needed, or the asker is nobody who signed in.
    pub async fn ask_approval(
        &self,
        actor: &Actor,
        request: &ApprovalRequest,
        scope: &Scope,
    ) -> Result<Approval, Refusal> {
        let answer = self.ask_second(actor, request, scope).await;
        if let Err(refusal) = &answer {
            self.record_refused_asking(actor, request, refusal).await;
        }
        answer
    }

    async fn ask_second(&self, actor: &Actor, request: &ApprovalRequest, scope: &Scope) -> Result<Approval, Refusal> {
        let permission = self.permitted(actor, &request.ticket, scope)?;
        if !self.needs_second_person(&permission.holds) {
            return Err(ApprovalRefusal::NotNeeded.into());
        }
        if !is_signed_in(actor) {
            return Err(ApprovalRefusal::NotSignedIn.into());
        }
        let reason = check_reason(&request.reason, self.demanded(permission.sources()))?;
        let _one_at_a_time = self.deciding.lock().await;
        let (asking, is_new) = self.approvals.ask(actor, &permission, &reason, clock::now())?;
        if is_new {
            let about = Asked { actor, ticket: &request.ticket, reason: &reason };
            if let Err(error) = self.note(&about, &asking, "asked", "a second person was asked to approve this").await {
                self.approvals.withdraw(&asking.id, clock::now());
                return Err(error.into());
            }
        }
        Ok(shown(&asking, actor, scope))
    }

    /// What this person asked for, or may decide.
    #[must_use]
    pub fn approvals(&self, actor: &Actor, scope: &Scope) -> Approvals {
        let all = self.approvals.all(clock::now()).into_iter();
        let visible = all.filter(|asking| is_visible(asking, actor, scope));
        Approvals { approvals: visible.map(|asking| shown(&asking, actor, scope)).collect() }
    }

    /// One of them, with the preview made afresh.
    ///
    /// # Errors
    /// When there is none for this person, the store cannot be read, or a lock is not held as it was any more.
    pub async fn approval(&self, actor: &Actor, id: &str, scope: &Scope) -> Result<ShownApproval, Refusal> {
        let asking = self.visible(actor, id, scope)?;
        let hold_ms = asking.holds.first().and_then(|hold| hold.hold_ms);
        let asked: Vec<PreviewTarget> = asking.holds.iter().map(target).collect();
        let (locks, holds) = self.explain_again(asking.action, hold_ms, &asked, scope).await?;
        let is_unchanged = holds == asking.holds;
        Ok(ShownApproval { approval: shown(&asking, actor, scope), locks, is_unchanged })
    }

    /// Approves or denies what another person asked for.
    ///
    /// # Errors
    /// When there is none for this person, they may not decide it, or somebody has.
    pub async fn decide(
        &self,
        actor: &Actor,
        id: &str,
        request: &DecisionRequest,
        scope: &Scope,
    ) -> Result<Approval, Refusal> {
        let answer = self.decide_for(actor, id, request, scope).await;
        if let Err(refusal) = &answer {
            let asking = self.visible(actor, id, scope).ok();
            self.record_refused_decision(actor, asking.as_ref(), &request.reason, refusal).await;
        }
        answer
    }

    async fn decide_for(
        &self,
        actor: &Actor,
        id: &str,
        request: &DecisionRequest,
        scope: &Scope,
    ) -> Result<Approval, Refusal> {
        let asking = self.visible(actor, id, scope)?;
        check_may_decide(&asking, actor, scope)?;
        let reason = check_reason(&request.reason, None)?;
        // Nobody else decides between what is written down and what counts.
        let _one_at_a_time = self.deciding.lock().await;
        let asking = self.approvals.find(id, clock::now()).ok_or(ApprovalRefusal::Unknown)?;
        if let Some(before) = &asking.decided {
            return Err(ApprovalRefusal::Decided(before.decision).into());
        }
        let (outcome, did) = match request.decision {
            Decision::Approve => ("approved", "approved"),
            Decision::Deny => ("denied", "denied"),
        };
        let about = Asked { actor, ticket: "", reason: &reason };
        let detail = format!("{did} what `{}` asked for", lockkeeper_model::words::shown(&asking.asker.name));
        self.note(&about, &asking, outcome, &detail).await?;
        let decided = Decided { by: actor.clone(), decision: request.decision, reason, at: clock::now() };
        let asking = self.approvals.decide(id, decided, clock::now())?;
        Ok(shown(&asking, actor, scope))
    }

    /// What a preview says of it.
    pub(super) fn approval_need(&self, actor: &Actor, action: Action, holds: &[BoundHold]) -> Option<ApprovalNeed> {
        if !self.needs_second_person(holds) {
            return None;
        }
        let asking = self.approvals.of(actor, action, holds, clock::now());
        Some(ApprovalNeed {
            required: true,
            state: asking.as_ref().map_or(ApprovalState::Unasked, Asking::state),
            id: asking.as_ref().map(|asking| asking.id.clone()),
            expires_at: asking.map(|asking| asking.expires_at),
        })
    }

    /// On whose word this would be carried out. Uses nothing up. `signed_in` is how long ago the asker showed who they
    /// are.
    pub(super) fn consent(
        &self,
        actor: &Actor,
        permission: &Permission,
        break_glass: bool,
        signed_in: Option<Duration>,
    ) -> Result<Consent, ApprovalRefusal> {
        if !self.needs_second_person(&permission.holds) {
            return Ok(Consent::One);
        }
        if break_glass {
            return match signed_in {
                Some(ago) if ago <= FRESH_SIGN_IN && is_signed_in(actor) => Ok(Consent::BreakGlass),
                _ => Err(ApprovalRefusal::StaleSignIn),
            };
        }
        let asking = self.approvals.of(actor, permission.action, &permission.holds, clock::now());
        match asking.as_ref().map(Asking::state) {
            Some(ApprovalState::Approved) => Ok(Consent::Two(asking.map(|asking| asking.id).unwrap_or_default())),
            state => Err(ApprovalRefusal::Needed(state.unwrap_or(ApprovalState::Unasked))),
        }
    }

    /// Uses the word up, writes that down and, if there was no second person, tells everybody.
    pub(super) async fn act_on(
        &self,
        consent: Consent,
        about: &Asked<'_>,
        permission: &Permission,
    ) -> Result<(), Refusal> {
        match consent {
            Consent::One => Ok(()),
            Consent::Two(id) => {
                let asking = self.approvals.use_up(&id, clock::now())?;
                let by = asking.decided.as_ref().map_or("", |decided| decided.by.name.as_str());
                let detail = format!("the approval of `{}` was used", lockkeeper_model::words::shown(by));
                Ok(self.note(about, &asking, "used", &detail).await?)
            }
            Consent::BreakGlass => {
                let notes = permission.holds.iter().map(|hold| Note {
                    deed: about.about(permission.action, hold),
                    outcome: "break_glass",
                    detail: "break-glass: carried out without the second person that is needed".to_owned(),
                });
                self.audit.note(AuditKind::Approval, notes.collect()).await.map_err(ApprovalRefusal::NotWritten)?;
                let locks: Vec<(String, LockId)> =
                    permission.holds.iter().map(|hold| (hold.source.clone(), LockId::of_key(&hold.key))).collect();
                tracing::warn!(
                    actor = about.actor.name,
                    actor.via = about.actor.via,
                    actor.address = about.actor.address,
                    reason = about.reason,
                    locks = locks.len(),
                    "break-glass: a release in production is carried out without a second person",
                );
                let told = BreakGlass { by: about.actor.name.clone(), reason: about.reason.to_owned(), locks };
                Ok(self.board.announce(told).await?)
            }
        }
    }

    fn needs_second_person(&self, holds: &[BoundHold]) -> bool {
        self.rules.two_persons && holds.iter().any(|hold| self.is_production(&hold.source))
    }

    fn visible(&self, actor: &Actor, id: &str, scope: &Scope) -> Result<Asking, ApprovalRefusal> {
        let asking = self.approvals.find(id, clock::now());
        asking.filter(|asking| is_visible(asking, actor, scope)).ok_or(ApprovalRefusal::Unknown)
    }

    async fn note(
        &self,
        about: &Asked<'_>,
        asking: &Asking,
        outcome: &'static str,
        detail: &str,
    ) -> Result<(), ApprovalRefusal> {
        let notes = asking.holds.iter().map(|hold| Note {
            deed: about.about(asking.action, hold),
            outcome,
            detail: detail.to_owned(),
        });
        Ok(self.audit.note(AuditKind::Approval, notes.collect()).await?)
    }

    /// Writes down that somebody was not let decide, for each lock that it is about, if they may know of it.
    async fn record_refused_decision(&self, actor: &Actor, asking: Option<&Asking>, reason: &str, refusal: &Refusal) {
        let about = Asked { actor, ticket: "", reason };
        let deeds: Vec<Deed> = match asking {
            Some(asking) => asking.holds.iter().map(|hold| about.about(asking.action, hold)).collect(),
            None => vec![Deed::by(actor).reason(reason)],
        };
        self.record_refusal("decision", deeds.into_iter().map(|deed| (deed, true)).collect(), refusal).await;
    }
}

/// Whether somebody showed who they are, as against a program, or whoever reaches this machine.
fn is_signed_in(actor: &Actor) -> bool {
    [Via::Password, Via::Oidc, Via::Proxy].iter().any(|via| via.word() == actor.via)
}

/// Whoever asked, and whoever may decide it, as long as all of its locks exist for them.
fn is_visible(asking: &Asking, actor: &Actor, scope: &Scope) -> bool {
    let sees = asking.holds.iter().all(|hold| scope.sees(&hold.source, &hold.key));
    sees && (asking.is_by(actor) || lacks_approve(asking, scope).is_none())
}

fn lacks_approve<'a>(asking: &'a Asking, scope: &Scope) -> Option<&'a BoundHold> {
    asking.holds.iter().find(|hold| !scope.may(Right::Approve, &hold.source, &hold.key))
}

fn check_may_decide(asking: &Asking, actor: &Actor, scope: &Scope) -> Result<(), Refusal> {
    if let Some(hold) = lacks_approve(asking, scope) {
        return Err(Refusal::NotAllowed { id: LockId::of_key(&hold.key), right: Right::Approve });
    }
    if !is_signed_in(actor) {
        return Err(ApprovalRefusal::NotSignedIn.into());
    }
    if asking.may_be_by(actor) {
        return Err(ApprovalRefusal::SamePerson.into());
    }
    Ok(())
}

fn shown(asking: &Asking, actor: &Actor, scope: &Scope) -> Approval {
    let lock = |hold: &BoundHold| ApprovalLock {
        source: hold.source.clone(),
        id: LockId::of_key(&hold.key),
        generation: hold.generation.clone(),
    };
    let decided = asking.decided.as_ref();
    Approval {
        id: asking.id.clone(),
        state: asking.state(),
        asker: asking.asker.clone(),
        action: asking.action,
        reason: asking.reason.clone(),
        asked_at: asking.asked_at,
        expires_at: asking.expires_at,
        decided_by: decided.map(|decided| decided.by.clone()),
        decided_because: decided.map(|decided| decided.reason.clone()),
        decided_at: decided.map(|decided| decided.at),
        may_decide: decided.is_none() && check_may_decide(asking, actor, scope).is_ok(),
        locks: asking.holds.iter().map(lock).collect(),
    }
}

/// The hold, as a preview is asked for it.
fn target(hold: &BoundHold) -> PreviewTarget {
    use base64::Engine as _;
    PreviewTarget {
        source: hold.source.clone(),
        id: LockId::of_key(&hold.key),
        generation: hold.generation.clone(),
        holder: Some(base64::engine::general_purpose::STANDARD.encode(&hold.token)),
    }
}
