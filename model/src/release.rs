use serde::{Deserialize, Serialize};

use crate::{ApprovalNeed, Holder, LockId, Time, Waiters};

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
    /// For how long an operator is to hold it, in milliseconds, for the actions that hold: within [`HOLD_MS`]; left out:
    /// [`DEFAULT_HOLD_MS`]. To be left out for every other action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<i64>,
    /// Leaves out those of several locks that it cannot be done to, and says of each why; without it one of them refuses
    /// all. The ticket is for the others alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leave_out: bool,
}

/// For how long an operator may hold a lock at a time, in milliseconds. A second is over before anybody has looked; who
/// needs more than an hour says so again by extending it, so that what was forgotten opens by itself.
pub const HOLD_MS: std::ops::RangeInclusive<i64> = 1_000..=3_600_000;

/// For how long an operator holds a lock where nothing else is asked for, in milliseconds: five minutes are enough to
/// stop a process and to look at what it left.
pub const DEFAULT_HOLD_MS: i64 = 300_000;

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
    /// Put an operator in the place of exactly that holder for a while, so that nobody gets in; wake nobody.
    ReleaseAndHold,
    /// Let an operator who holds it hold it for so long from now on.
    ExtendHold,
    /// Give it back to the holder from whom it was released a moment ago, if nobody has it.
    PutBack,
    /// Count its fencing counter up, so that what the lock protects can refuse the holder, who keeps the lock.
    RaiseFence,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 6] = [
        Action::Release,
        Action::EvictWaiter,
        Action::ReleaseAndHold,
        Action::ExtendHold,
        Action::PutBack,
        Action::RaiseFence,
    ];

    /// The word on the wire and in the audit.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Action::Release => "release",
            Action::EvictWaiter => "evict_waiter",
            Action::ReleaseAndHold => "release_and_hold",
            Action::ExtendHold => "extend_hold",
            Action::PutBack => "put_back",
            Action::RaiseFence => "raise_fence",
        }
    }

    /// Whether an operator holds the lock afterwards, for a time that can be asked for.
    #[must_use]
    pub fn holds(self) -> bool {
        matches!(self, Action::ReleaseAndHold | Action::ExtendHold)
    }
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
    /// Those of the request that it cannot be done to, which the ticket is not for; empty unless `leave_out` was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A lock that a preview was asked for, and that nothing will be done to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftOut {
    /// The source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// Why, in a sentence.
    pub because: String,
    /// Who has it now, where that is why; null elsewhere.
    #[serde(default)]
    pub holder_now: Option<Holder>,
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
    /// Who waits for it now; left out where it is not known that anybody does or does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiters: Option<Waiters>,
    /// Who has it next, as far as the store's queue says, in words.
    #[serde(default)]
    pub next: String,
    /// When it last renewed and how regularly, in words.
    #[serde(default)]
    pub renewed: String,
    /// What else the holder has, within what the asker may see.
    #[serde(default)]
    pub others: OtherLocks,
    /// What else could be done with this hold, and why not.
    #[serde(default)]
    pub actions: Vec<OfferedAction>,
    /// What should give pause; each must be acknowledged on screen.
    pub warnings: Vec<Warning>,
}

/// Other locks of one holder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OtherLocks {
    /// How many were found: with its token, or held by the same party as far as tokens say.
    pub count: u32,
    /// Whether all locks were looked through.
    pub complete: bool,
    /// Some of them.
    pub list: Vec<LockId>,
}

/// Something that could be done with a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfferedAction {
    /// What.
    pub action: Action,
    /// Why it is not offered; null where it is.
    pub not_offered: Option<String>,
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
    /// `came_back`, `release_lost`, `comes_back`, `not_live`, `production`, `waiter_alive`, `waiter_not_proven_dead`,
    /// `unreachable_masters`, `other_locks`, `taken_meanwhile`, `no_expiry`, `former_may_have_noticed`, `cooling_down`.
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
    /// Until when an operator holds it now; left out where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
    /// Until when it can be given back to the former holder with the action `put_back`; left out where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_back_until: Option<Time>,
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
    /// In a dry run only: it is as it was previewed, and would be done. Nothing was done.
    WouldRelease,
    /// Freed and kept closed: an operator holds it.
    Held,
    /// The operator's hold ends at another time now.
    Extended,
    /// The former holder has it again.
    PutBack,
    /// The fencing counter was counted up.
    Raised,
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
    /// The store lost the release with the primary that had carried it out: the former holder has it again.
    ReleaseLost,
}
