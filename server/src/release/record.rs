//! What of a request is written into the audit.

use lockkeeper_model::{Action, Actor, ApprovalRequest, LockId, PreviewRequest, ReleaseRequest};

use super::approval::ApprovalRefusal;
use super::preview::MAX_LOCKS;
use super::ticket::{BoundHold, TicketError};
use super::{Refusal, ReleaseDesk};
use crate::recorder::audit::Deed;

/// Who asked, why and with which ticket: the same for every lock of one request.
pub(super) struct Asked<'a> {
    pub(super) actor: &'a Actor,
    pub(super) ticket: &'a str,
    pub(super) reason: &'a str,
}

impl Asked<'_> {
    /// The request, as far as it is about this hold.
    pub(super) fn about(&self, action: Action, hold: &BoundHold) -> Deed {
        self.deed()
            .action(action)
            .lock(&hold.source, LockId::of_key(&hold.key).as_str(), &hold.generation)
            .token(&hold.token)
    }

    fn deed(&self) -> Deed {
        Deed::by(self.actor).ticket(self.ticket).reason(self.reason)
    }
}

impl ReleaseDesk {
    /// Writes down that a preview was refused, for each lock that was asked about.
    pub(super) async fn record_refused_preview(&self, actor: &Actor, request: &PreviewRequest, refusal: &Refusal) {
        let deed = Deed::by(actor).action(request.action);
        let deeds = match request.locks.len() {
            1..=MAX_LOCKS => request
                .locks
                .iter()
                .map(|target| {
                    let about = refusal.is_about(&target.source, &target.id);
                    (deed.clone().lock(&target.source, target.id.as_str(), &target.generation), about)
                })
                .collect(),
            _ => vec![(deed, true)],
        };
        self.record_refusal("preview", deeds, refusal).await;
    }

    /// Writes down that a release was refused, for each lock that its ticket is bound to, if the ticket is ours.
    pub(super) async fn record_refused_release(&self, actor: &Actor, request: &ReleaseRequest, refusal: &Refusal) {
        self.record_refused_ticket(
            "release",
            &Asked { actor, ticket: &request.ticket, reason: &request.reason },
            refusal,
        )
        .await;
    }

    /// Writes down that somebody may not ask for an approval, in the same way.
    pub(super) async fn record_refused_asking(&self, actor: &Actor, request: &ApprovalRequest, refusal: &Refusal) {
        let asked = Asked { actor, ticket: &request.ticket, reason: &request.reason };
        self.record_refused_ticket("asking for approval", &asked, refusal).await;
    }

    async fn record_refused_ticket(&self, what: &str, asked: &Asked<'_>, refusal: &Refusal) {
        let deeds = match self.tickets.read(asked.ticket) {
            Ok(permission) => permission
                .holds
                .iter()
                .map(|hold| {
                    let about = refusal.is_about(&hold.source, &LockId::of_key(&hold.key));
                    (asked.about(permission.action, hold), about)
                })
                .collect(),
            Err(_) => vec![(asked.deed(), true)],
        };
        self.record_refusal(what, deeds, refusal).await;
    }

    /// Each deed comes with whether the refusal is about its lock. If it is about another one, that is not named: whoever
    /// reads of the one may not be allowed to know of the other.
    pub(super) async fn record_refusal(&self, what: &str, deeds: Vec<(Deed, bool)>, refusal: &Refusal) {
        let (about, beside): (Vec<_>, Vec<_>) = deeds.into_iter().partition(|(_, about)| *about);
        let because = [format!("{what} refused: {refusal}"), format!("{what} refused because of another lock of it")];
        for (deeds, because) in [about, beside].into_iter().zip(because) {
            let deeds: Vec<Deed> = deeds.into_iter().map(|(deed, _)| deed).collect();
            if !deeds.is_empty() {
                self.audit.refused(deeds, word(refusal), &because).await;
            }
        }
    }
}

/// The audit's word for a refusal.
fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Ticket(TicketError::Expired(_)) => "expired",
        Refusal::Ticket(TicketError::Used) => "used",
        Refusal::Ticket(TicketError::Unknown) => "forged",
        Refusal::Unconfirmed { .. } => "mistyped",
        Refusal::Gone { .. } | Refusal::HoldGone { .. } => "gone",
        Refusal::ChangedHands { .. } | Refusal::QueueMoved { .. } => "changed_hands",
        Refusal::Unreadable { .. } => "failed",
        Refusal::NoRight(_) | Refusal::NotAllowed { .. } => "not_allowed",
        Refusal::TooOften { .. } => "too_often",
        Refusal::Approval(
            ApprovalRefusal::Needed(_)
            | ApprovalRefusal::NotSignedIn
            | ApprovalRefusal::SamePerson
            | ApprovalRefusal::StaleSignIn,
        ) => "not_allowed",
        Refusal::Off
        | Refusal::Count { .. }
        | Refusal::Twice { .. }
        | Refusal::UnknownSource { .. }
        | Refusal::Id(_)
        | Refusal::SeveralHolders { .. }
        | Refusal::NotOffered { .. }
        | Refusal::NoEviction { .. }
        | Refusal::Ticket(_)
        | Refusal::Reason { .. }
        | Refusal::HoldTime { .. }
        | Refusal::ReasonPattern { .. }
        | Refusal::DryRunNeeded { .. }
        | Refusal::Approval(_)
        | Refusal::CoolingDown { .. }
        | Refusal::Busy
        | Refusal::Closing(_) => "refused",
    }
}
