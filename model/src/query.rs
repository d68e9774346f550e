use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Flag;
use crate::search::{STATE_FILTERS, Search, SearchError};

/// The window size when a question names none.
pub const DEFAULT_LIMIT: u32 = 100;
/// The largest window: more than any screen shows, and what one answer may cost the server.
pub const MAX_LIMIT: u32 = 1_000;
/// The longest search text: longer than any key a person types, short enough that a search stays a search.
pub const MAX_TEXT_BYTES: usize = 256;

/// Which locks, in which order. Two viewers with equal questions share the work of answering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Question {
    /// A [`Search`]: words that must each occur in the key or in a holder's token, and conditions.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
    /// Only this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only this dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Only in this state: one of the words of `state`, or `waiting` for locks that somebody is known to wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only with this flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Put together by this, and told as groups; with `within`, as the locks of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupBy>,
    /// Only locks of this group, by its `value`. Needs `group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// What to order by.
    pub sort: SortKey,
    /// Which end comes first; without it, the end that matters more for this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// What locks can be put together by. A lock is in exactly one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// Who holds it, where a token says more than a name that is used once; of several holders the first counts.
    Holder,
    /// The name up to its first `:`, `/` or `.`.
    Prefix,
    /// The library that stored it.
    Dialect,
}

impl GroupBy {
    /// Every way, in the order in which they are offered.
    pub const ALL: [GroupBy; 3] = [GroupBy::Holder, GroupBy::Prefix, GroupBy::Dialect];

    /// The word in URLs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            GroupBy::Holder => "holder",
            GroupBy::Prefix => "prefix",
            GroupBy::Dialect => "dialect",
        }
    }
}

/// The `value` of the group of those that are in no other: a holder that cannot be told from others, a name without a prefix.
/// No other group is called so.
pub const NO_GROUP: &str = "none";

/// What locks can be ordered by. Ties are broken by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SortKey {
    /// How long all who waited in the last minutes have waited together, then the number of waiters.
    #[default]
    Blocked,
    /// Number of waiters, then how long somebody has been waiting.
    Waiters,
    /// When the present holder got it, as far as known.
    HeldSince,
    /// When the lease ends; locks without expiry come last.
    TimeLeft,
    /// The key's bytes.
    Name,
    /// When something last happened to it.
    LastChange,
}

impl SortKey {
    /// Every key, in the order in which they are offered.
    pub const ALL: [SortKey; 6] =
        [SortKey::Blocked, SortKey::Waiters, SortKey::HeldSince, SortKey::TimeLeft, SortKey::Name, SortKey::LastChange];

    /// The word in URLs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            SortKey::Blocked => "blocked",
            SortKey::Waiters => "waiters",
            SortKey::HeldSince => "held_since",
            SortKey::TimeLeft => "time_left",
            SortKey::Name => "name",
            SortKey::LastChange => "last_change",
        }
    }

    /// The end that comes first unless asked otherwise: most waiters, longest held, soonest over, A, newest.
    #[must_use]
    pub fn natural_order(self) -> Order {
        match self {
            SortKey::Blocked | SortKey::Waiters | SortKey::LastChange => Order::Desc,
            SortKey::HeldSince | SortKey::TimeLeft | SortKey::Name => Order::Asc,
        }
    }
}

/// Which end of an order comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Smallest, earliest, A first.
    Asc,
    /// Largest, latest, Z first.
    Desc,
}

impl Order {
    /// The word in URLs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Order::Asc => "asc",
            Order::Desc => "desc",
        }
    }
}

/// Flags that can be asked for. The others are of a whole source, which can be asked for itself, or depend on other
/// locks.
pub const FLAG_FILTERS: [Flag; 21] = [
    Flag::NoExpiry,
    Flag::ExpiryLost,
    Flag::NoOwner,
    Flag::DeadlineAsValue,
    Flag::UnsafeUnlock,
    Flag::ComesBack,
    Flag::RenewalStopped,
    Flag::LongLease,
    Flag::LeaseTooShort,
    Flag::HeldWhileWaiting,
    Flag::QueueWithoutHolder,
    Flag::DeadMember,
    Flag::WriterWaiting,
    Flag::KeptAfterWork,
    Flag::HalfLock,
    Flag::PollStorm,
    Flag::ReleaseLost,
    Flag::FailedOver,
    Flag::Unrecognised,
    Flag::LeaseOver,
    Flag::CameBack,
];

/// A question that cannot be answered as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionError {
    /// The parameter.
    pub parameter: &'static str,
    /// Its value, cut to something that can be shown.
    pub value: String,
    /// What it may be.
    pub expected: String,
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.parameter == "q" { "has" } else { "is" };
        write!(f, "`{}` {verb} `{}`, expected {}", self.parameter, crate::words::shown(&self.value), self.expected)
    }
}

impl std::error::Error for QuestionError {}

impl Question {
    /// The order in which to answer.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order.unwrap_or(self.sort.natural_order())
    }

    /// Whether every lock is an answer.
    #[must_use]
    pub fn is_unfiltered(&self) -> bool {
        self.q.trim().is_empty()
            && self.source.is_none()
            && self.dialect.is_none()
            && self.state.is_none()
            && self.flag.is_none()
            && self.within.is_none()
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    pub fn check(&self) -> Result<(), QuestionError> {
        let too_long = |parameter, value: &str| {
            Err(QuestionError {
                parameter,
                value: value.chars().take(40).collect(),
                expected: format!("at most {MAX_TEXT_BYTES} bytes"),
            })
        };
        if self.q.len() > MAX_TEXT_BYTES {
            return too_long("q", &self.q);
        }
        for (parameter, value) in [("source", &self.source), ("dialect", &self.dialect), ("within", &self.within)] {
            if let Some(value) = value
                && value.len() > MAX_TEXT_BYTES
            {
                return too_long(parameter, value);
            }
        }
        if let (None, Some(value)) = (self.group, &self.within) {
            return Err(QuestionError {
                parameter: "within",
                value: value.clone(),
                expected: "`group` beside it, which says what it is a group of".to_owned(),
            });
        }
        Search::parse(&self.q).map_err(|SearchError { word, expected }| QuestionError {
            parameter: "q",
            value: word,
            expected,
        })?;
        if let Some(state) = &self.state
            && !STATE_FILTERS.contains(&state.as_str())
        {
            return Err(QuestionError {
                parameter: "state",
                value: state.clone(),
                expected: format!("one of {}", STATE_FILTERS.join(", ")),
            });
        }
        if let Some(flag) = &self.flag
            && !FLAG_FILTERS.iter().any(|known| known.word() == flag)
        {
            return Err(QuestionError {
                parameter: "flag",
                value: flag.clone(),
                expected: format!("one of {}", FLAG_FILTERS.map(Flag::word).join(", ")),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_question_names_the_parameter_the_value_and_the_choices() {
        let bad = Question { flag: Some("nope".to_owned()), ..Question::default() };
        let said = bad.check().unwrap_err().to_string();
        assert!(said.starts_with("`flag` is `nope`, expected one of no-expiry, expiry-lost, no-owner, "), "{said}");
        assert!(Question { q: "x".repeat(300), ..Question::default() }.check().is_err());
        assert!(Question::default().check().is_ok());
        let within = Question { within: Some("stock:".to_owned()), ..Question::default() };
        let said = within.check().unwrap_err().to_string();
        assert_eq!(said, "`within` is `stock:`, expected `group` beside it, which says what it is a group of");
        assert!(Question { group: Some(GroupBy::Prefix), ..within }.check().is_ok());
    }
}
