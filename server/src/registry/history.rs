//! The bounded memory of what happened.

use std::collections::VecDeque;

use bytes::Bytes;
use lockkeeper_model::{Basis, LockState, Mode, Time, TransitionKind};

use super::Registry;
use super::record::{Hold, NEVER};
use crate::source::{Recognition, SourceId};

/// Transitions kept per lock. Renewals in a row share one entry, so this is some dozen hand-overs.
pub(super) const RING_ENTRIES: usize = 32;

/// Transitions kept over all locks. Each is about 150 bytes: a hundred megabytes at the worst.
const MAX_HISTORY_ENTRIES: usize = 600_000;

/// Events that a subscriber can catch up on after a broken connection.
pub const LOG_EVENTS: usize = 16_384;

/// How a transition came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Watched as it happened; nothing more is known.
    Seen,
    /// The deadline had passed.
    Deadline,
    /// The store announced it: expired, deleted, evicted.
    Announced,
    /// Gone well before the deadline.
    BeforeDeadline,
    /// Gone, and it had no deadline.
    NoDeadline,
    /// Another token was there at the next look.
    BetweenLooks,
    /// Released from here.
    Release,
    /// The token that was released is back.
    CameBack,
    /// Given back from here to the holder from whom it was released.
    PutBack,
    /// Released from here, and there again because the store lost the release.
    ReleaseLost,
    /// Found by a scan.
    FoundByScan,
    /// It happened while the link was lost.
    Unwatched,
    /// Another server took over, which may not have heard of it.
    MaybeNotCopied,
    /// The store announced a new key although the token is the same.
    TakenAnew,
    /// The lease was removed.
    ExpiryRemoved,
    /// A lease was set.
    ExpirySet,
    /// The lease was pushed out under a value that names nobody.
    RenewedOrTakenAnew,
    /// The lease was cut.
    ExpiryCut,
    /// Fewer than a majority of its masters have its token any more.
    QuorumLost,
    /// By other rules than before it is no lock of its own. What became of it is not known, and nobody looks.
    NoLongerWatched,
}

/// One transition of one lock. Renewals in a row are one entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place among all events of the run.
    pub seq: u64,
    /// When; of the last of several renewals.
    pub at: Time,
    /// When the first of several renewals was.
    pub first_at: Time,
    /// How many renewals; else 1.
    pub count: u32,
    /// What.
    pub kind: TransitionKind,
    /// Whose.
    pub token: Box<[u8]>,
    /// The holder before.
    pub previous: Option<Box<[u8]>>,
    /// How it came about.
    pub cause: Cause,
    /// How long an ended hold lasted, at least.
    pub held_ms: Option<i64>,
    /// The attempt in the audit by which it was released from here.
    pub audit: Option<u64>,
}

impl Entry {
    /// How the history of a lock begins that was already held at the first look.
    pub(super) fn first_seen(hold: &Hold) -> Entry {
        let at = Time(hold.since);
        Entry {
            seq: 0,
            at,
            first_at: at,
            count: 1,
            kind: TransitionKind::FirstSeen,
            token: hold.token.clone(),
            previous: None,
            cause: Cause::FoundByScan,
            held_ms: None,
            audit: None,
        }
    }
}

/// An event of all locks.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// The source.
    pub source: SourceId,
    /// The lock; `None`: a gap of the source.
    pub key: Option<Bytes>,
    /// What happened.
    pub entry: Entry,
    /// A gap's reason.
    pub because: Option<String>,
    /// How the lock stood afterwards; `None`: a gap of the source.
    pub after: Option<Stood>,
}

/// How a lock stood after a transition, for whoever rebuilds the past from what happened.
#[derive(Clone, Copy, Debug)]
pub struct Stood {
    /// Family, certainty, reason.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// What was so of it as a whole.
    pub state: LockState,
    /// The re-entry count of the holder that the transition is about; 0 where that one has it no more.
    pub count: u32,
    /// When that one's lease ends at the latest; `i64::MAX`: never.
    pub expires: i64,
}

impl Stood {
    pub(super) fn of(record: &super::Record, token: &[u8]) -> Stood {
        let hold = record.holds.iter().find(|hold| *hold.token == *token);
        Stood {
            recognition: record.recognition,
            mode: record.mode,
            state: record.state,
            count: hold.map_or(0, |hold| hold.count),
            expires: hold.map_or(NEVER, |hold| hold.expires),
        }
    }
}

impl LoggedEvent {
    pub(super) fn gap(seq: u64, at: Time, source: SourceId, because: String) -> LoggedEvent {
        LoggedEvent {
            source,
            key: None,
            entry: Entry {
                seq,
                at,
                first_at: at,
                count: 1,
                kind: TransitionKind::Gap,
                token: Box::default(),
                previous: None,
                cause: Cause::Unwatched,
                held_ms: None,
                audit: None,
            },
            because: Some(because),
            after: None,
        }
    }
}

/// One lock's transitions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// Older ones were let go of.
    pub(super) cut: bool,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// Adds an entry, or folds a renewal into the one before. Says by how many entries it grew.
    fn push(&mut self, entry: Entry) -> usize {
        if entry.kind == TransitionKind::Renewed
            && let Some(last) = self.entries.back_mut()
            && last.kind == TransitionKind::Renewed
            && last.token == entry.token
        {
            last.count = last.count.saturating_add(1);
            last.at = entry.at;
            last.seq = entry.seq;
            return 0;
        }
        let grew = if self.entries.len() == RING_ENTRIES {
            self.entries.pop_front();
            self.cut = true;
            0
        } else {
            1
        };
        self.entries.push_back(entry);
        grew
    }

    /// Nothing is in it of how the lock came to be held as it is: nothing at all, or what was before it was watched anew.
    pub(super) fn begins_anew(&self) -> bool {
        self.entries.back().is_none_or(|last| last.cause == Cause::NoLongerWatched)
    }

    fn halve(&mut self) -> usize {
        let gone = self.entries.len() / 2;
        self.entries.drain(..gone);
        self.entries.shrink_to_fit();
        self.cut |= gone > 0;
        gone
    }
}

impl Registry {
    /// Before the first thing happens to a lock that was met already held, what is told of it begins with that.
    pub(super) fn remember_beginning(&mut self, slot: super::Slot, holds: &[Hold]) {
        if self.records[slot as usize].history().is_none_or(Ring::begins_anew) {
            for hold in holds.iter().filter(|hold| hold.basis == Basis::FirstSeen) {
                self.remember(slot, Entry::first_seen(hold));
            }
        }
    }

    pub(super) fn remember(&mut self, slot: super::Slot, entry: Entry) {
        let record = &mut self.records[slot as usize];
        self.history_entries += record.rare.get_or_insert_default().history.push(entry);
    }

    /// Keeps the memory of all histories bounded: a hand goes round the locks and halves what it meets, so that no
    /// single lock loses everything.
    pub(super) fn bound_history(&mut self) {
        let mut steps = self.records.capacity();
        while self.history_entries > MAX_HISTORY_ENTRIES && steps > 0 {
            self.history_hand = (self.history_hand + 1) % self.records.capacity().max(1);
            steps -= 1;
            if let Some(rare) = self.records.get_mut(self.history_hand).and_then(|record| record.rare.as_mut()) {
                self.history_entries -= rare.history.halve();
            }
        }
    }
}
