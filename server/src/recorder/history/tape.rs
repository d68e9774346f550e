//! Where the board leaves what happened. It never waits: what finds no room is counted, and the gap is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use lockkeeper_model::Time;

use super::writer::{Counts, Note};
use crate::registry::LoggedEvent;
use crate::registry::waits::Waits;

/// Events that may wait for the disk: ten seconds of a very busy store, some fifty megabytes.
const MAX_WAITING: usize = 262_144;

/// Where the board leaves what happened.
#[derive(Debug)]
pub struct Tape {
    notes: SyncSender<Note>,
    waiting: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    /// What found no room and is not told of yet.
    missed: Option<Missed>,
}

/// Events that were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// The last of them.
    pub(super) seq: u64,
    pub(super) since: Time,
    pub(super) at: Time,
    pub(super) count: u64,
}

impl Missed {
    /// With these too; `None` of none.
    pub(super) fn and(before: Option<Missed>, events: impl IntoIterator<Item = (u64, Time)>) -> Option<Missed> {
        events.into_iter().fold(before, |missed, (seq, at)| {
            let missed = missed.unwrap_or(Missed { seq, since: at, at, count: 0 });
            Some(Missed { seq: missed.seq.max(seq), at: missed.at.max(at), count: missed.count + 1, ..missed })
        })
    }
}

impl Tape {
    pub(super) fn new(notes: SyncSender<Note>, waiting: Arc<AtomicUsize>, counts: Arc<Counts>) -> Tape {
        Tape { notes, waiting, counts, missed: None }
    }

    /// Names the run whose events come from now on, and its sources in the order of their ids.
    pub fn begin(&self, run: String, sources: Vec<String>, at: Time) {
        // The first of all, when there is room for everything.
        let _ = self.notes.try_send(Note::Began { run, sources, at });
    }

    /// Leaves who waited. What finds no room is missing from the time that is known.
    pub fn leave_waits(&self, waits: Vec<Waits>) {
        if !waits.is_empty() && self.notes.try_send(Note::Waited(waits)).is_err() {
            tracing::debug!("who waited is not written down: too much waits for the disk");
        }
    }

    /// Leaves what happened, in order.
    pub fn leave(&mut self, events: &[LoggedEvent]) {
        if let Some(missed) = self.missed.take()
            && self.notes.try_send(Note::Missed(missed)).is_err()
        {
            self.missed = Some(missed);
        }
        if events.is_empty() {
            return;
        }
        let has_room = self.waiting.fetch_add(events.len(), Ordering::Relaxed) + events.len() <= MAX_WAITING;
        // After a gap that could not be told of, what follows waits for that, too: the order is that of what happened.
        let sent = has_room && self.missed.is_none() && {
            match self.notes.try_send(Note::Happened(events.to_vec())) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            }
        };
        if !sent {
            self.waiting.fetch_sub(events.len(), Ordering::Relaxed);
            self.counts.missed.fetch_add(events.len() as u64, Ordering::Relaxed);
            self.missed = Missed::and(self.missed, events.iter().map(|event| (event.entry.seq, event.entry.at)));
        }
    }
}
