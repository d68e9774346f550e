use lockkeeper_model::{Basis, Flag, Mode, Time, TransitionKind};
use smallvec::SmallVec;

use super::history::Ring;
use crate::source::{Recognition, SourceId};

/// Names a record while it exists.
pub type Slot = u32;

/// No deadline, in [`Hold::expires_max`].
pub(super) const NEVER: i64 = i64::MAX;

/// What is kept of one lock. A million of these must fit into a few hundred megabytes, so bytes are boxed exactly, an
/// unknown number is a sentinel where an `Option` would cost eight bytes, and what only few locks have is behind a box.
#[derive(Debug)]
pub struct Record {
    /// The source.
    pub source: SourceId,
    /// How many records there were before it, to tell it from others that used its slot.
    pub(super) born: u32,
    /// The key.
    pub key: Box<[u8]>,
    /// Family, certainty, reason.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// Who holds it; empty once it ended.
    pub holds: SmallVec<[Hold; 1]>,
    /// Its value names nobody.
    pub no_owner: bool,
    /// It had an expiry and lost it.
    pub expiry_lost: bool,
    /// The token that was released came back.
    pub came_back: bool,
    /// A scan after a gap did not meet it: if it is gone, it went while nobody was looking.
    pub(super) unwatched: bool,
    /// Known waiters; 0 where they are not counted.
    pub waiters: u32,
    /// Since when there were some without a break; meaningless while `waiters` is 0.
    pub waiting_since: i64,
    /// Changes with every change of holders.
    pub generation: u64,
    /// When it was last read.
    pub as_of: i64,
    /// That reading was not done before this moment.
    pub(super) asked_at: i64,
    /// When something last happened to it.
    pub last_change: i64,
    /// When the deadline queue will bring it up; `i64::MAX`: not at all.
    pub(super) wake_at: i64,
    /// How often it ended, to tell one end from another.
    pub(super) times_ended: u32,
    /// How it ended, while it is not held.
    pub ended: Option<Box<End>>,
    /// A release of this token was announced at this moment.
    pub(super) releasing: Option<Box<(Box<[u8]>, Time)>>,
    /// Its transitions.
    pub(super) history: Option<Box<Ring>>,
}

/// How a lock ended.
#[derive(Debug, Clone)]
pub struct End {
    /// How.
    pub transition: TransitionKind,
    /// When.
    pub at: i64,
    /// How long its last holder had it, at least.
    pub held_ms: Option<i64>,
    /// Its last holder.
    pub token: Box<[u8]>,
}

/// One holder's part of a [`Record`].
#[derive(Debug, Clone)]
pub struct Hold {
    /// The token as stored.
    pub token: Box<[u8]>,
    /// The re-entry count.
    pub count: u32,
    /// How the bounds are known.
    pub basis: Basis,
    /// Not taken before; `i64::MIN`: unknown.
    pub since_min: i64,
    /// Not taken after.
    pub since_max: i64,
    /// The lease does not end before this; `i64::MAX`: never.
    pub expires_min: i64,
    /// The lease does not end after this; `i64::MAX`: never.
    pub expires_max: i64,
    /// The lease's length when it was last granted or first seen; 0: unknown.
    pub lease_ms: i64,
    /// Whether `lease_ms` is from a grant that was watched, not the rest of one that was met.
    pub lease_watched: bool,
    /// Renewals seen.
    pub renewals: u32,
    /// The last of them.
    pub renewed_at: i64,
    /// Their rhythm; 0: unknown.
    pub period_ms: u32,
    /// The fencing counter; `i64::MIN`: none.
    pub fencing: i64,
    /// Changes when the hold begins anew.
    pub generation: u64,
}

impl Record {
    /// Nobody holds it now.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.holds.is_empty()
    }

    /// When the earliest hold was taken, as a moment to order by.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.holds.iter().map(|hold| hold.since_max).min().unwrap_or(i64::MAX)
    }

    /// When the last lease ends; `i64::MAX` without expiry.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.holds.iter().map(|hold| hold.expires_max).max().unwrap_or(NEVER)
    }

    /// When the first lease ends, for looking again.
    pub(super) fn first_deadline(&self) -> Option<i64> {
        self.holds.iter().map(|hold| hold.expires_max).min().filter(|&at| at != NEVER)
    }

    /// What is dangerous about it, apart from what its source and the moment add.
    #[must_use]
    pub fn has_flag(&self, flag: Flag) -> bool {
        match flag {
            Flag::NoExpiry => !self.is_ended() && self.expires() == NEVER,
            Flag::ExpiryLost => self.expiry_lost,
            Flag::NoOwner => self.no_owner,
            Flag::CameBack => self.came_back,
            // Both depend on the moment; they are added where a lock is shown.
            Flag::LeaseOver | Flag::Stale => false,
        }
    }

    /// Names the row that shows it within one run.
    #[must_use]
    pub fn row(&self, slot: Slot) -> u64 {
        // 2^53 is as far as a browser counts exactly: 21 bits of birth tell neighbours in time apart.
        u64::from(self.born & 0x001f_ffff) << 32 | u64::from(slot)
    }
}
