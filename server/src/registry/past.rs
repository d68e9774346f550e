//! The board as it was: who holds what, taken out in pieces to be kept, and put together again for looking at.

use bytes::Bytes;
use lockkeeper_model::{LockState, Mode, Time};
use smallvec::SmallVec;

use super::record::{Hold, Record, Slot};
use super::{Registry, hold};
use crate::source::{Recognition, SourceId};

/// Slots in one piece: some two milliseconds in which the board does nothing else.
const SLOTS_AT_ONCE: usize = 4_096;

/// One holder of one lock, at one moment. What only some forms have (a queue, a quorum, metadata) is not in it.
#[derive(Clone, Debug)]
pub struct HeldThen {
    /// The source.
    pub source: SourceId,
    /// The lock.
    pub key: Bytes,
    /// Family, certainty, reason.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// What was so of it as a whole.
    pub state: LockState,
    /// The hold.
    pub hold: Hold,
}

/// A piece of the board.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Every event up to this one had been taken into account.
    pub seq: u64,
    /// When that was.
    pub at: Time,
    /// Who held what.
    pub held: Vec<HeldThen>,
    /// Where the next piece begins; `None`: this was the last.
    pub next: Option<Slot>,
}

/// A source, as much as is known of it at some moment.
#[derive(Clone, Debug)]
pub struct SourceThen {
    /// Its name.
    pub name: String,
    /// When something was last missed that was not made up for by that moment; `None`: it was seen whole.
    pub missed_at: Option<Time>,
}

impl Registry {
    /// The piece of the board that begins with this slot. Pieces are of different moments: whoever puts them together
    /// must take into account what happened to each lock after its piece.
    #[must_use]
    pub fn piece(&self, from: Slot, at: Time) -> Piece {
        let (from, end) = (from as usize, self.slots());
        let to = (from + SLOTS_AT_ONCE).min(end);
        let records = (from..to).filter_map(|slot| self.records.get(slot)).filter(|record| !record.is_ended());
        let held = records.flat_map(|record| {
            record.holds.iter().map(|hold| HeldThen {
                source: record.source,
                key: Bytes::copy_from_slice(&record.key),
                recognition: record.recognition,
                mode: record.mode,
                state: record.state,
                hold: Hold { extra: None, ..hold.clone() },
            })
        });
        Piece { seq: self.next_seq - 1, at, held: held.collect(), next: (to < end).then_some(to as Slot) }
    }

    /// A registry in which these locks are held, for looking at. Those who hold one lock together stand together. Nothing
    /// may be applied to it. `salt` must be that of no other, so that no generation in it is taken for one of now.
    #[must_use]
    pub fn of_the_past(sources: &[SourceThen], held: Vec<HeldThen>, at: Time, salt: u64) -> Registry {
        let mut past = Registry::new(sources.iter().map(|source| source.name.clone()), salt);
        for (known, source) in past.sources.iter_mut().zip(sources) {
            known.complete = source.missed_at.is_none();
            known.confirmed_at = Some(at);
            known.gaps.extend(source.missed_at.map(|missed| (missed, String::new())));
        }
        // One that grows as it is filled looks at all that is in it again and again.
        past.reserve(held.len());
        let mut last: Option<Slot> = None;
        for one in held {
            let generation = past.new_generation();
            let hold = Hold { generation, ..one.hold };
            if let Some(record) = last.and_then(|slot| past.records.get_mut(slot as usize))
                && (record.source, &*record.key) == (one.source, &*one.key)
            {
                record.holds.push(hold);
                continue;
            }
            let touched = hold.renewed().unwrap_or(hold.since).max(hold.since);
            last = Some(past.insert(Record {
                source: one.source,
                born: 0,
                key: one.key.as_ref().into(),
                recognition: one.recognition,
                mode: one.mode,
                there: true,
                state: one.state,
                holds: SmallVec::from_iter([hold]),
                extra: None,
                expiry_lost: false,
                came_back: false,
                has_owner: true,
                lease_over: false,
                quiet: false,
                starves: false,
                unwatched: false,
                waiters: 0,
                waiting_since: 0,
                as_of: touched,
                asked_before_ms: 0,
                last_change: touched,
                wake_at: i64::MAX,
                times_ended: 0,
                rare: None,
            }));
            past.sources[usize::from(one.source.0)].locks += 1;
        }
        past
    }
}

impl Hold {
    /// Takes note that it was renewed, by the rule of the board.
    pub fn was_renewed(&mut self, at: Time) {
        hold::learn_rhythm(self, at);
    }
}
