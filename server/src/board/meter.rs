//! What is counted for charts: what happened since the start, added up as it happens.

use lockkeeper_model::{LockId, TransitionKind};

use crate::registry::{Cause, LoggedEvent};
use crate::source::SourceId;
use crate::view::Counted;

/// How long a hold lasted, up to so many seconds: from what one critical section takes to a day.
pub const HOLD_BOUNDS_S: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0];

/// What is charted of one source.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Its locks as they are.
    pub counted: Counted,
    /// Transitions since the start, by kind.
    pub transitions: Vec<(TransitionKind, u64)>,
    /// How long holds lasted that ended since the start, at least: of one that was met already held, since then.
    pub hold_times: Times,
    /// The locks that were asked for.
    pub locks: Vec<LockNumbers>,
}

/// What is charted of one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockNumbers {
    /// Which.
    pub id: LockId,
    /// Whether somebody holds it.
    pub held: bool,
    /// For how long at least, in milliseconds; `None` while nobody does.
    pub held_ms: Option<i64>,
    /// Those who are known to wait.
    pub waiters: u32,
}

/// Durations, counted by their length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// Those that are not longer than each of [`HOLD_BOUNDS_S`] and longer than the one before; then those that are longer
    /// than the last.
    pub lengths: [u64; HOLD_BOUNDS_S.len() + 1],
    /// All of them together, in seconds.
    pub sum_s: f64,
}

impl Times {
    fn add(&mut self, ms: i64) {
        let seconds = ms.max(0) as f64 / 1_000.0;
        let place = HOLD_BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(HOLD_BOUNDS_S.len());
        self.lengths[place] += 1;
        self.sum_s += seconds;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lengths.iter().sum()
    }
}

/// What happened since the start, by source.
#[derive(Debug)]
pub(super) struct Meter(Vec<OfSource>);

#[derive(Clone, Debug, Default)]
struct OfSource {
    transitions: [u64; TransitionKind::ALL.len()],
    hold_times: Times,
}

impl Meter {
    pub(super) fn new(sources: usize) -> Meter {
        Meter(vec![OfSource::default(); sources])
    }

    /// Takes note of what happened.
    pub(super) fn happened(&mut self, event: &LoggedEvent) {
        let Some(of_source) = self.0.get_mut(usize::from(event.source.0)) else { return };
        // Nobody knows that it ended, and an alert on locks that did should not say so.
        if event.entry.cause == Cause::NoLongerWatched {
            return;
        }
        let Some(place) = TransitionKind::ALL.iter().position(|kind| *kind == event.entry.kind) else { return };
        of_source.transitions[place] += 1;
        if let Some(held_ms) = event.entry.held_ms {
            of_source.hold_times.add(held_ms);
        }
    }

    /// What happened in one source, beside its locks as they are.
    pub(super) fn numbers(&self, source: SourceId, counted: Counted, locks: Vec<LockNumbers>) -> Numbers {
        let of_source = self.0.get(usize::from(source.0)).cloned().unwrap_or_default();
        let transitions = TransitionKind::ALL.into_iter().zip(of_source.transitions);
        // A gap is not about a lock, and is counted by itself.
        let transitions = transitions.filter(|(kind, _)| *kind != TransitionKind::Gap).collect();
        Numbers { counted, transitions, hold_times: of_source.hold_times, locks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_once_up_to_its_bound() {
        let mut times = Times::default();
        for ms in [100, 101, 90_000_000, -5] {
            times.add(ms);
        }
        assert_eq!((times.lengths[0], times.lengths[1], times.lengths[11], times.count()), (2, 1, 1, 4));
        assert!((times.sum_s - 90_000.201).abs() < 1e-6);
    }
}
