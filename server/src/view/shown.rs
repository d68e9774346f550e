//! How many of a question's answers each further filter would leave.

use lockkeeper_model::wire::FacetCount;
use lockkeeper_model::{FLAG_FILTERS, LockState};

use super::keys::Keys;
use crate::source::SourceId;

/// The answers to one question, counted: added up as they come and go, never by walking over them.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// By the place of the state among [`LockState::ALL`].
    states: [u64; LockState::ALL.len()],
    /// Those that somebody waits for.
    waiting: u64,
    /// By the place of the flag among [`FLAG_FILTERS`].
    flags: [u64; FLAG_FILTERS.len()],
    /// By the place of the dialect.
    dialects: Vec<u64>,
    /// By the number of the source.
    sources: Vec<u64>,
}

impl Shown {
    /// One answer comes, or goes.
    pub(super) fn count(&mut self, source: SourceId, keys: &Keys, by: i64) {
        add(&mut self.states[usize::from(keys.state)], by);
        if keys.waiting {
            add(&mut self.waiting, by);
        }
        let mut flags = keys.flags;
        while flags != 0 {
            add(&mut self.flags[flags.trailing_zeros() as usize], by);
            flags &= flags - 1;
        }
        for (counts, place) in
            [(&mut self.dialects, usize::from(keys.dialect)), (&mut self.sources, usize::from(source.0))]
        {
            if place >= counts.len() {
                counts.resize(place + 1, 0);
            }
            add(&mut counts[place], by);
        }
    }

    /// The counts in words, those of nothing left out. `dialects` and `sources` are the names by their places.
    pub(super) fn told<'a>(
        &self,
        dialects: impl Iterator<Item = &'a str>,
        sources: impl Iterator<Item = &'a str>,
    ) -> Vec<FacetCount> {
        let states = LockState::ALL.into_iter().map(LockState::word).zip(self.states);
        let states = states.chain([("waiting", self.waiting)]).map(|(word, n)| ("state", word, n));
        let flags = FLAG_FILTERS.into_iter().zip(self.flags).map(|(flag, n)| ("flag", flag.word(), n));
        let dialects = dialects.zip(self.dialects.iter().copied()).map(|(name, n)| ("dialect", name, n));
        let sources = sources.zip(self.sources.iter().copied()).map(|(name, n)| ("source", name, n));
        let mut told = Vec::new();
        for (field, value, locks) in
            states.map(owned).chain(flags.map(owned)).chain(dialects.map(owned)).chain(sources.map(owned))
        {
            if locks > 0 {
                told.push(FacetCount { field: field.to_owned(), value, locks });
            }
        }
        told
    }
}

fn owned((field, value, locks): (&'static str, &str, u64)) -> (&'static str, String, u64) {
    (field, value.to_owned(), locks)
}

fn add(to: &mut u64, by: i64) {
    *to = to.saturating_add_signed(by);
}
