//! Warnings: what somebody should be told of before customers notice, and how they answer it.

use serde::{Deserialize, Serialize};

use crate::{LockId, Time};

/// What is looked for. Each is one condition that has to last for some time before anybody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WarningRule {
    /// One holder has had it for longer than a time that is set.
    HeldLong,
    /// One holder has had it for much longer than nearly all holds of this lock lasted.
    HeldUnusually,
    /// Somebody waits, and nobody has got it for a time that is set.
    WaitingLong,
    /// It is held and has no expiry.
    NoExpiry,
    /// It was renewed regularly, the renewals have stopped, and it is still held.
    RenewalStopped,
    /// Its lease is shorter than nearly all of its holds lasted, and it is not renewed.
    LeaseBelowUsual,
    /// Its lease ran out before it was let go, and another took it at once.
    Lapsed,
    /// One holder has more locks than a number that is set.
    ManyLocks,
    /// Somebody queues for it and nobody holds it.
    QueueWithoutHolder,
    /// Those who wait for it try hundreds of times a second.
    PollStorm,
    /// The store drops keys when its memory is full, and locks may be among them.
    Evictable,
    /// It was released from Lockkeeper.
    ReleasedByForce,
}

impl WarningRule {
    /// Every rule, in the order in which they are listed.
    pub const ALL: [WarningRule; 12] = [
        WarningRule::HeldLong,
        WarningRule::HeldUnusually,
        WarningRule::WaitingLong,
        WarningRule::NoExpiry,
        WarningRule::RenewalStopped,
        WarningRule::LeaseBelowUsual,
        WarningRule::Lapsed,
        WarningRule::ManyLocks,
        WarningRule::QueueWithoutHolder,
        WarningRule::PollStorm,
        WarningRule::Evictable,
        WarningRule::ReleasedByForce,
    ];

    /// The word on the wire and in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WarningRule::HeldLong => "held-long",
            WarningRule::HeldUnusually => "held-unusually",
            WarningRule::WaitingLong => "waiting-long",
            WarningRule::NoExpiry => "no-expiry",
            WarningRule::RenewalStopped => "renewal-stopped",
            WarningRule::LeaseBelowUsual => "lease-below-usual",
            WarningRule::Lapsed => "lapsed",
            WarningRule::ManyLocks => "many-locks",
            WarningRule::QueueWithoutHolder => "queue-without-holder",
            WarningRule::PollStorm => "poll-storm",
            WarningRule::Evictable => "evictable",
            WarningRule::ReleasedByForce => "released-by-force",
        }
    }

    /// The rule that is written like this.
    #[must_use]
    pub fn of_word(word: &str) -> Option<WarningRule> {
        WarningRule::ALL.into_iter().find(|rule| rule.word() == word)
    }
}

/// How much a warning matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it during the day.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    /// The word on the wire and in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// The severity that is written like this.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.word() == word)
    }
}

/// How a warning stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WarningState {
    /// It is so, and nobody has said that they look into it.
    Open,
    /// Somebody looks into it.
    Acknowledged,
    /// It is so, and nobody wants to be told of it until some moment.
    Muted,
    /// It is so no more.
    Resolved,
}

impl WarningState {
    /// Every state.
    pub const ALL: [WarningState; 4] =
        [WarningState::Open, WarningState::Acknowledged, WarningState::Muted, WarningState::Resolved];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WarningState::Open => "open",
            WarningState::Acknowledged => "acknowledged",
            WarningState::Muted => "muted",
            WarningState::Resolved => "resolved",
        }
    }

    /// The state that is written like this.
    #[must_use]
    pub fn of_word(word: &str) -> Option<WarningState> {
        WarningState::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// One thing that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockWarning {
    /// Names it: the same rule about the same hold of the same lock has the same id, after a restart as well.
    pub id: String,
    /// What was looked for.
    pub rule: WarningRule,
    /// How much it matters.
    pub severity: Severity,
    /// How it stands.
    pub state: WarningState,
    /// The source.
    pub source: String,
    /// The lock; `None`: it is about the source as a whole, or about a holder of several locks.
    pub lock: Option<LockId>,
    /// What a person calls the lock, or whom it is about; made safe to look at.
    pub about: String,
    /// Since when it has been so, as far as known.
    pub since: Time,
    /// When it had lasted for long enough to be told.
    pub opened_at: Time,
    /// What is so, about this lock, in one sentence.
    pub says: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub todo: String,
    /// How often it has been told of: one that comes back after it was resolved is the same again.
    pub times: u32,
    /// Who looks into it.
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// The mute because of which nobody is told.
    #[serde(default)]
    pub muted: Option<MutedBy>,
    /// When it was so no more; `None`: it still is.
    #[serde(default)]
    pub resolved_at: Option<Time>,
    /// How that came about, in one sentence.
    #[serde(default)]
    pub resolved: Option<String>,
    /// What can be said now is not current: its source cannot be reached, or the lock was not read since something was
    /// missed.
    #[serde(default)]
    pub stale: bool,
}

/// That somebody looks into a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When they said so.
    pub at: Time,
    /// What they added.
    #[serde(default)]
    pub note: Option<String>,
}

/// Why nobody is told of a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MutedBy {
    /// The mute.
    pub id: String,
    /// Until when.
    pub until: Time,
    /// By whom.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// `POST /api/v1/warnings/{id}/acknowledge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// Something to add, for the others.
    #[serde(default)]
    pub note: Option<String>,
}

/// What nobody wants to be told of for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mute {
    /// Names it.
    pub id: String,
    /// The source that it is about.
    pub source: String,
    /// The lock that it is about; `None`: every lock that the pattern matches, and the source itself.
    #[serde(default)]
    pub lock: Option<LockId>,
    /// The Redis glob that the keys of locks have to match; `None` with a lock.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Only this rule; `None`: every rule.
    #[serde(default)]
    pub rule: Option<WarningRule>,
    /// Until when.
    pub until: Time,
    /// Why, in their words.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub at: Time,
}

/// `POST /api/v1/mutes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MuteRequest {
    /// The source.
    pub source: String,
    /// One lock; or else `pattern`.
    #[serde(default)]
    pub lock: Option<LockId>,
    /// The locks whose keys match this Redis glob, and with `*` the source itself as well.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Only this rule.
    #[serde(default)]
    pub rule: Option<WarningRule>,
    /// For how long, in milliseconds, from a minute to 30 days.
    pub for_ms: i64,
    /// Why.
    pub reason: String,
}

/// The shortest and the longest time that something is muted for, in milliseconds: a minute, and 30 days, after which
/// nobody remembers why.
pub const MUTE_MS: std::ops::RangeInclusive<i64> = 60_000..=30 * 86_400_000;

/// The longest reason of a mute and the longest note of an acknowledgement, in characters.
pub const MAX_NOTE_CHARS: usize = 500;

/// `GET /api/v1/warnings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WarningPage {
    /// When this was true.
    pub as_of: Time,
    /// Warnings that are an answer, of which `warnings` may be a part.
    pub total: u64,
    /// Those that are so now first, the worst and then the newest of them first; then those that are so no more, the latest
    /// first.
    pub warnings: Vec<LockWarning>,
    /// Conditions that are so and not told of one by one, because too many are so at once.
    pub not_listed: u64,
    /// What is looked for.
    pub rules: Vec<RuleInForce>,
    /// Whether acknowledgements and mutes survive a restart; `None`: they do. Else why not.
    #[serde(default)]
    pub not_kept: Option<String>,
}

/// One rule, as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuleInForce {
    /// Which.
    pub rule: WarningRule,
    /// Only in sources whose names match this Redis glob; `None`: in all.
    #[serde(default)]
    pub source: Option<String>,
    /// Only of locks whose keys match this Redis glob; `None`: of all.
    #[serde(default)]
    pub pattern: Option<String>,
    /// How much it matters; `None`: it is switched off there.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// When it warns, in one sentence.
    pub says: String,
}

/// `GET /api/v1/deliveries`: one attempt to tell a webhook something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// Names it; the receiver is told the same name with every attempt.
    pub id: String,
    /// When it was to be told.
    pub at: Time,
    /// The webhook's name.
    pub webhook: String,
    /// The warning; `None`: a test.
    pub warning: Option<String>,
    /// `opened`, `acknowledged`, `resolved` or `test`.
    pub event: String,
    /// `waiting`, `delivered`, `refused`, `failed` or `dropped`.
    pub outcome: String,
    /// How often it was tried so far.
    pub tries: u32,
    /// When it was decided; `None`: it is not.
    pub done_at: Option<Time>,
    /// What the receiver answered or why it was not reached, in words.
    pub detail: Option<String>,
}
