//! What a server answers, as far as the terminal reads it.

use lockkeeper_model::{Event, Lock, SourceState, SourceStatus, Time};
use serde::Deserialize;

/// `GET /api/v1/locks`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LocksAnswer {
    /// When this was true.
    pub(super) as_of: Time,
    /// Locks that are an answer, of which this is a page.
    pub(super) total: u64,
    /// How much of the stores it rests on.
    pub(super) coverage: Coverage,
    /// The page.
    pub(super) locks: Vec<Lock>,
}

/// How much of the stores an answer rests on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Coverage {
    /// Whether every source was seen whole and still answers.
    pub(super) complete: bool,
    /// Each of them.
    pub(super) sources: Vec<SourceCoverage>,
}

impl Coverage {
    /// What is known of a source.
    pub(super) fn of(&self, name: &str) -> Option<&SourceCoverage> {
        self.sources.iter().find(|source| source.source == name)
    }
}

/// How much of one store an answer rests on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SourceCoverage {
    /// Its name.
    pub(super) source: String,
    /// Whether what is shown of it is what is.
    pub(super) state: SourceState,
    /// Whether it was seen whole since the last gap, and still answers.
    pub(super) complete: bool,
    /// Keys that the scan under way (or the last one) went past.
    pub(super) scanned_keys: u64,
    /// Keys in the store when that scan began; `None` where the store does not say.
    pub(super) total_keys: Option<u64>,
    /// Why it is not live.
    pub(super) problem: Option<String>,
}

/// `GET /api/v1/sources`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SourcesAnswer {
    /// Every source.
    pub(super) sources: Vec<SourceStatus>,
}

/// `GET /api/v1/locks/{source}/{id}/events`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EventsAnswer {
    /// Newest first.
    pub(super) events: Vec<Event>,
    /// Older ones were let go of.
    pub(super) cut: bool,
}

/// `GET /api/v1/session`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SessionAnswer {
    /// What one may do with anything at all.
    pub(super) rights: Vec<String>,
}
