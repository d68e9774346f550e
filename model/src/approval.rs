use serde::{Deserialize, Serialize};

use crate::{Action, Actor, LockId, PreviewedLock, Time};

/// Asks another person to approve what was previewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// From the preview. It is not used up.
    pub ticket: String,
    /// Why, for whoever is to approve.
    #[serde(default)]
    pub reason: String,
}

/// What another person says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Yes or no.
    pub decision: Decision,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may be carried out, once, by whoever asked.
    Approve,
    /// It may not.
    Deny,
}

/// How far an approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody was asked, or what was approved has expired or was used.
    Unasked,
    /// Asked for and not decided.
    Pending,
    /// It may be carried out.
    Approved,
    /// It may not.
    Denied,
}

/// Whether another person has to approve what was previewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalNeed {
    /// Whether one has to.
    pub required: bool,
    /// How far that is.
    pub state: ApprovalState,
    /// Names the approval; null while nobody was asked.
    pub id: Option<String>,
    /// When it ends; null while nobody was asked.
    pub expires_at: Option<Time>,
}

/// What somebody asked another person to approve. It is about exactly these holds, and ends when they do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approval {
    /// Names it.
    pub id: String,
    /// How far it is.
    pub state: ApprovalState,
    /// Who asked.
    pub asker: Actor,
    /// What for.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// When.
    pub asked_at: Time,
    /// When it ends, approved or not.
    pub expires_at: Time,
    /// Who decided, if somebody has.
    pub decided_by: Option<Actor>,
    /// Why, in their words.
    pub decided_because: Option<String>,
    /// When.
    pub decided_at: Option<Time>,
    /// Whether you may decide it.
    pub may_decide: bool,
    /// The holds that it is about.
    pub locks: Vec<ApprovalLock>,
}

/// One hold of an [`Approval`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalLock {
    /// The source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// The generation of the hold.
    pub generation: String,
}

/// The approvals that somebody asked for or may decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approvals {
    /// The newest first.
    pub approvals: Vec<Approval>,
}

/// An approval, and what it would do now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownApproval {
    /// That.
    pub approval: Approval,
    /// The preview, made afresh.
    pub locks: Vec<PreviewedLock>,
    /// Whether everything that is compared is as it was when it was asked for. What is not would be refused.
    pub is_unchanged: bool,
}
