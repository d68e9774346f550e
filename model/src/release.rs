use serde::{Deserialize, Serialize};

use crate::{ApprovalNeed, Holder, LockId, Time};

/// Asks what a release would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The locks, each bound to the generation that the person was looking at.
    pub locks: Vec<PreviewTarget>,
    /// What to do with them.
    #[serde(default)]
    pub action: Action,
}

/// One lock of a [`PreviewRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PreviewTarget {
    /// The source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// The lock's or the holder's generation as shown.
    pub generation: String,
    /// The holder's `token_b64`, needed where there are several; the waiter's, where a waiter is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// What to do with a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Free it, if exactly that holder still has it.
    #[default]
    Release,
    /// Take the waiter at the head of the queue of a lock that nobody holds out of the queue, if it is still there.
    EvictWaiter,
}

/// What would happen, and a permission to let it happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewAnswer {
    /// To be sent back unchanged; good for one attempt.
    pub ticket: String,
    /// When the ticket ends.
    pub expires_at: Time,
    /// The text to type.
    pub confirm: String,
    /// Whether a reason must be given.
    pub reason_required: bool,
    /// A regular expression that the reason has to contain; null where any reason will do.
    #[serde(default)]
    pub reason_pattern: Option<String>,
    /// Whether the ticket has to be used for a dry run first, because it is for more than one hold.
    #[serde(default)]
    pub dry_run_required: bool,
    /// Whether another person has to approve this first, and how far that is; null where nobody has to.
    #[serde(default)]
    pub approval: Option<ApprovalNeed>,
    /// What would happen, lock by lock.
    pub locks: Vec<PreviewedLock>,
}

/// What a release would do to one lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewedLock {
    /// The source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// What a person calls it.
    pub name: String,
    /// The generation that the ticket is bound to.
    pub generation: String,
    /// Who would lose it: the holder, or the waiter that would lose its place, whose lease is the time until that lapses.
    pub holder: Holder,
    /// How strong the comparison is.
    pub strength: Strength,
    /// Whether the former holder learns of it.
    pub told: Told,
    /// How it learns of it, or why not, in words.
    pub told_because: String,
    /// What happens, in words: what is compared, what is deleted, who is woken.
    pub plan: String,
    /// What else ends with it.
    pub collateral: Collateral,
    /// What should give pause; each must be acknowledged on screen.
    pub warnings: Vec<Warning>,
}

/// How strong the comparison before a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Compared and freed in one step of the store.
    Atomic,
    /// Names one session that can never be another's.
    SessionExact,
    /// Compared, then freed, with a moment between.
    CheckedThenActed,
    /// Atomic on each of several independent masters.
    Quorum,
}

/// Whether a former holder learns of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// At once.
    AtOnce,
    /// When it next renews, or lets go.
    AtRenewal,
    /// Not at all.
    Never,
}

/// What else ends with a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Collateral {
    /// Whether the list is everything.
    pub complete: bool,
    /// One line each.
    pub items: Vec<String>,
}

/// Something that should give pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Warning {
    /// A stable word: `holder_alive`, `no_owner`, `shared_token`, `no_fencing`, `never_renews`, `unsafe_unlock`,
    /// `came_back`, `comes_back`, `not_live`, `production`, `waiter_alive`, `waiter_not_proven_dead`,
    /// `unreachable_masters`, `cooling_down`.
    pub code: String,
    /// The sentence for the person.
    pub text: String,
}

/// Asks for what was previewed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// From the preview.
    pub ticket: String,
    /// The text of the preview's `confirm`, typed.
    #[serde(default)]
    pub confirm: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Only looks and compares again, and says what would happen. Needs neither `confirm` nor `reason`, changes nothing,
    /// and the ticket is still good afterwards.
    #[serde(default)]
    pub dry_run: bool,
    /// One after the other; after the first that is not freed, the others are not tried.
    #[serde(default)]
    pub stop_at_first_failure: bool,
    /// Without the second person that is needed: for whoever has signed in within the last five minutes. Everybody who sees
    /// the locks is told. Means nothing where nobody else is needed.
    #[serde(default)]
    pub break_glass: bool,
}

/// What became of each lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseAnswer {
    /// In the order of the preview.
    pub results: Vec<ReleaseResult>,
}

/// What became of one lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseResult {
    /// The source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// What happened.
    pub outcome: Outcome,
    /// The same in a sentence.
    pub detail: String,
    /// Who has it now, where that is the news.
    pub holder_now: Option<Holder>,
    /// How many sleeping waiters the store said were woken; null where the library's waiters need no waking.
    pub woken: Option<i64>,
    /// What was seen afterwards; null when nothing was released, or nothing could be seen.
    pub after: Option<After>,
    /// What happened on each of several independent masters; left out for a lock of one store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRelease>,
}

/// What became of a lock on one of several independent masters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeRelease {
    /// The master's address, without credentials.
    pub node: String,
    /// What happened there.
    pub outcome: Outcome,
    /// The same in a sentence, with what to do where something is left.
    pub detail: String,
}

/// What happened to one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Freed.
    Released,
    /// In a dry run only: it is as it was previewed, and would be freed. Nothing was done.
    WouldRelease,
    /// Freed and kept closed.
    Held,
    /// Another hold has it: nothing was done.
    ChangedHands,
    /// It was free already: nothing was done.
    Gone,
    /// Freed on some of its masters.
    Partial,
    /// Accepted and not finished.
    Signalled,
    /// Not done: something else had changed, or the store refused.
    Refused,
    /// Not done: it could not be tried.
    Failed,
    /// Sent, and no answer came: look again.
    Unknown,
}

/// What was seen after a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct After {
    /// What became of the lock.
    pub state: AfterState,
    /// Who has it, if anybody.
    pub holder: Option<Holder>,
    /// How long it was watched before this was said.
    pub watched_ms: i64,
}

/// What became of a lock after a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AfterState {
    /// Nobody took it.
    Free,
    /// Another holder took it.
    Taken,
    /// The same token is back.
    CameBack,
}
