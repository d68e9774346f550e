use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use lockkeeper_model::{Basis, LockState, Mode, Standing, Time, TransitionKind, WaitersBasis};
use smallvec::SmallVec;

use super::contention::Contention;
use super::forced::Forced;
use super::history::Ring;
use crate::source::redlock::Quorum;
use crate::source::{Copied, Extra, HoldExtra, Queue, Queued, Recognition, SourceId};

/// Names a record while it exists.
pub type Slot = u32;

/// No deadline, in [`Hold::expires`].
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
    /// It is there: held, or waited for.
    pub(super) there: bool,
    /// What is so of it as a whole, while it is there.
    pub state: LockState,
    /// Who holds it; empty once it ended.
    pub holds: SmallVec<[Hold; 1]>,
    /// What only some forms have.
    pub extra: Option<Box<Extra>>,
    /// It had an expiry and lost it.
    pub expiry_lost: bool,
    /// The token that was released came back.
    pub came_back: bool,
    /// Those it lists have it, as far as was told: only on several masters can a token be there without being a holder's.
    pub(super) has_owner: bool,
    /// A scan after a gap did not meet it: if it is gone, it went while nobody was looking.
    pub(super) unwatched: bool,
    /// Its lease is over, and the store has not confirmed the end.
    pub(super) lease_over: bool,
    /// A holder that renewed regularly has missed a beat.
    pub(super) quiet: bool,
    /// One holder keeps it for many leases while others wait.
    pub(super) starves: bool,
    /// Known waiters; 0 where they are not counted, and [`UNCOUNTED`] until they were counted for the first time.
    pub(super) waiters: u32,
    /// Since when there were some without a break; meaningless while `waiters` is 0.
    pub waiting_since: i64,
    /// When it was last read.
    pub as_of: i64,
    /// That reading was not done earlier than so many milliseconds before.
    pub(super) asked_before_ms: u32,
    /// When something last happened to it.
    pub last_change: i64,
    /// When the deadline queue will bring it up; `i64::MAX`: not at all.
    pub(super) wake_at: i64,
    /// How often it ended, to tell one end from another.
    pub(super) times_ended: u32,
    /// What only few locks have.
    pub(super) rare: Option<Box<Rare>>,
}

/// What only few locks have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// How it ended, while it is not held.
    pub(super) ended: Option<End>,
    /// A release that is being tried, or freed it.
    pub(super) releasing: Option<Releasing>,
    /// The hold of it that was freed from here last.
    pub(super) forced: Option<Forced>,
    /// A hold that was freed from here is there again, because the store lost the release.
    pub(super) release_lost: bool,
    /// A hold by its generation, and what its fencing counter was raised to from here.
    pub(super) raised: Option<(u64, Box<str>)>,
    /// The holder to whom it is being given back from here.
    pub(super) putting_back: Option<Box<[u8]>>,
    /// Its transitions.
    pub(super) history: Ring,
    /// How often its lease ran out and another took it at once, in a row.
    pub(super) lapses: u8,
    /// How many say themselves that they wait for it.
    pub(super) reported: u32,
    /// What a sample showed a moment ago.
    pub(super) sampled: Option<Sampled>,
    /// What went on around it in the last minutes.
    pub(super) contention: Option<Box<Contention>>,
    /// What last happened to it did not happen after this moment; 0: nothing was seen to happen.
    pub(super) happened_by: i64,
    /// Another server took over that may not know it as it was.
    pub(super) failed_over: Option<Arc<Failover>>,
}

/// Where nothing is known of how far a new primary had copied the old one, what was written so long before it took over
/// is taken to be copied, in milliseconds: a replica that lags more than this is not elected by default.
pub(super) const COPIED_WITHIN_MS: i64 = 10_000;

/// Another server took over from one that was watched.
#[derive(Debug)]
pub(super) struct Failover {
    /// When the former one stopped answering, or the change was noticed.
    pub(super) at: Time,
    /// How much of it the new one has.
    pub(super) copied: Copied,
}

impl Failover {
    /// What was written before this moment is taken to be on the new server.
    pub(super) fn unsure_since(&self) -> i64 {
        match self.copied {
            Copied::Until(at) => at.0,
            Copied::NotUntil(_) => i64::MIN,
            Copied::Unknown { .. } => self.at.0 - COPIED_WITHIN_MS,
        }
    }
}

/// What a sample of the traffic showed, as far as locks are found and ordered by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    /// How many wanted it.
    pub(super) waiters: u32,
    /// They tried hard enough to be a load.
    pub(super) storm: bool,
    /// When this is too long ago to be told.
    pub(super) until: i64,
}

/// A release from here.
#[derive(Debug, Clone)]
pub(super) struct Releasing {
    pub(super) token: Box<[u8]>,
    /// When it was announced, and then when it had freed the hold.
    pub(super) at: i64,
    /// The store said that it freed the hold; until then nobody knows.
    pub(super) freed: bool,
    /// The attempt's number in the audit.
    pub(super) audit: u64,
    /// Another server took over since it was announced, which may not have heard of it.
    pub(super) failover: Option<Arc<Failover>>,
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
    /// Not taken after.
    pub since: i64,
    /// Not taken earlier than so many milliseconds before; `u32::MAX`: unknown.
    pub since_before_ms: u32,
    /// The lease does not end after this; `i64::MAX`: never.
    pub expires: i64,
    /// The lease does not end earlier than so many milliseconds before that.
    pub expires_before_ms: u32,
    /// The lease's length in milliseconds when it was last granted or first seen; 0: unknown.
    pub lease_ms: u32,
    /// Renewals seen.
    pub renewals: u32,
    /// The last of them; meaningless while there are none.
    pub renewed_at: i64,
    /// Their rhythm in milliseconds; 0: unknown.
    pub period_ms: u32,
    /// Changes when the hold begins anew.
    pub generation: u64,
    /// What only some holds have.
    pub extra: Option<Box<HoldExtra>>,
}

/// Nobody has counted those who wait for this hold yet.
pub(super) const UNCOUNTED: u32 = u32::MAX;

/// A width in milliseconds that is not known, or too wide to say anything.
pub(super) const UNKNOWN_MS: u32 = u32::MAX;

/// Changes whenever a waiter's place begins anew, or it is learned whether anybody is behind it.
pub(super) fn waiter_generation(waiter: &Queued) -> u64 {
    // Keyed alike every time: equal places have equal generations, and the run's salt is added where they are shown.
    let mut hasher = std::hash::DefaultHasher::new();
    (&waiter.token, waiter.expires_at_ms, waiter.abandoned).hash(&mut hasher);
    hasher.finish()
}

/// Milliseconds as they are kept.
pub(super) fn width(ms: i64) -> u32 {
    u32::try_from(ms.max(0)).unwrap_or(UNKNOWN_MS)
}

impl Hold {
    /// Not taken before this moment; `None`: unknown.
    #[must_use]
    pub fn not_before(&self) -> Option<i64> {
        (self.since_before_ms != UNKNOWN_MS).then(|| self.since - i64::from(self.since_before_ms))
    }

    /// The lease does not end before this moment; `i64::MAX`: never.
    #[must_use]
    pub fn expires_min(&self) -> i64 {
        if self.expires == NEVER { NEVER } else { self.expires - i64::from(self.expires_before_ms) }
    }

    /// When a beat of its renewals is missed.
    fn beat_due(&self) -> Option<i64> {
        let period = i64::from(self.period_ms);
        (self.renewals > 0 && period > 0).then(|| self.renewed_at.saturating_add(period + period / 2))
    }

    /// The last renewal, if one was seen.
    #[must_use]
    pub fn renewed(&self) -> Option<i64> {
        (self.renewals > 0).then_some(self.renewed_at)
    }
}

impl Record {
    /// It is not there any more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        !self.there
    }

    /// Its value names nobody, so that equal values prove nothing.
    #[must_use]
    pub fn names_nobody(&self) -> bool {
        self.state == LockState::UnknownHolder
    }

    /// Whether those it lists have it.
    pub(super) fn standing(&self) -> Standing {
        self.quorum().map_or(Standing::Owned, Quorum::standing)
    }

    /// How it stands on several independent masters.
    pub(super) fn quorum(&self) -> Option<&Quorum> {
        self.extra.as_ref()?.quorum.as_deref()
    }

    /// Those who wait, where the store keeps them.
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        self.extra.as_ref()?.queue.as_ref()
    }

    /// Changes with every change of holders, and while there are none, of the waiter whose turn it is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        if self.holds.is_empty() {
            return self.queue().and_then(|queue| queue.waiters.first()).map_or(0, waiter_generation);
        }
        // Each hold's number is given once, so the newest of them and how many there are change with every change.
        let newest = self.holds.iter().map(|hold| hold.generation).max().unwrap_or(0);
        newest.wrapping_mul(31).wrapping_add(self.holds.len() as u64)
    }

    /// Those who are known to wait: who the store keeps; else whichever is more of those who were counted, those who say
    /// so and those who were seen in a sample, since each can leave some out and none adds any.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        match self.queue() {
            Some(queue) => queue.count,
            None => self.followed().max(self.sampled().map_or(0, |sampled| sampled.waiters)),
        }
    }

    /// How that number is known, where there is anybody.
    pub(super) fn waiting_basis(&self) -> WaitersBasis {
        if self.waiting() > self.followed() { WaitersBasis::Sampled } else { self.followed_basis() }
    }

    /// Those of them whose number is kept up to date, so that their time can be added up: a sample is a moment.
    pub(super) fn followed(&self) -> u32 {
        self.queue().map_or_else(|| self.counted().max(self.reported()), |queue| queue.count)
    }

    /// How that number is known.
    pub(super) fn followed_basis(&self) -> WaitersBasis {
        match self.queue() {
            Some(_) => WaitersBasis::Exact,
            None if self.reported() > self.counted() => WaitersBasis::Reported,
            None => WaitersBasis::Inferred,
        }
    }

    /// Since when somebody has been waiting without a break; `None` where that is not followed.
    #[must_use]
    pub fn waits_since(&self) -> Option<i64> {
        (self.followed() > 0).then_some(self.waiting_since)
    }

    /// Those whose traces were counted.
    pub(super) fn counted(&self) -> u32 {
        if self.waiters == UNCOUNTED { 0 } else { self.waiters }
    }

    /// Those who say themselves that they wait.
    pub(super) fn reported(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.reported)
    }

    /// What a sample showed of it a moment ago, while it is there.
    pub(super) fn sampled(&self) -> Option<Sampled> {
        self.rare.as_ref()?.sampled.filter(|_| self.there)
    }

    /// When what a sample showed is too long ago to be told.
    pub(super) fn sampled_until(&self) -> Option<i64> {
        Some(self.rare.as_ref()?.sampled?.until)
    }

    /// How it ended, while it is not held.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.rare.as_ref()?.ended.as_ref()
    }

    pub(super) fn history(&self) -> Option<&Ring> {
        self.rare.as_ref().map(|rare| &rare.history)
    }

    /// When the last reading was not done before.
    pub(super) fn asked_at(&self) -> i64 {
        self.as_of - i64::from(self.asked_before_ms)
    }

    /// Takes note of a reading.
    pub(super) fn read(&mut self, asked_at: Time, read_at: Time) {
        self.as_of = read_at.0;
        self.asked_before_ms = width(read_at.since(asked_at));
    }

    /// When the earliest hold was taken, as a moment to order by.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.holds.iter().map(|hold| hold.since).min().unwrap_or(i64::MAX)
    }

    /// Nothing was done to it after this moment, as far as was seen.
    pub(super) fn touched(&self) -> i64 {
        let happened = self.rare.as_ref().map_or(0, |rare| rare.happened_by);
        self.holds.iter().map(|hold| hold.since).max().unwrap_or(0).max(happened)
    }

    /// A hold that was freed from here is there again, because the store lost the release.
    #[must_use]
    pub fn is_release_lost(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.release_lost)
    }

    /// Another server took over that may not know it as it was.
    pub(super) fn failed_over(&self) -> Option<&Failover> {
        self.rare.as_ref()?.failed_over.as_deref()
    }

    /// When the last lease ends; `i64::MAX` without expiry.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.holds.iter().map(|hold| hold.expires).max().unwrap_or(NEVER)
    }

    /// When the first lease ends, for looking again.
    pub(super) fn first_deadline(&self) -> Option<i64> {
        self.holds.iter().map(|hold| hold.expires).min().filter(|&at| at != NEVER)
    }

    /// How often its lease ran out and another took it at once.
    #[must_use]
    pub fn lapses(&self) -> u8 {
        self.rare.as_ref().map_or(0, |rare| rare.lapses)
    }

    /// Somebody holds it, and nothing ends that.
    #[must_use]
    pub fn no_expiry(&self) -> bool {
        !self.holds.is_empty() && self.expires() == NEVER
    }

    /// When a beat of its renewals is missed, unless it comes before.
    pub(super) fn beat_due(&self) -> Option<i64> {
        self.holds.iter().filter_map(Hold::beat_due).min()
    }

    /// A holder that renewed regularly has missed a beat.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Contention over the last minutes, if there was any.
    #[must_use]
    pub fn contention(&self) -> Option<&Contention> {
        self.rare.as_ref()?.contention.as_deref()
    }

    /// Names the row that shows it within one run.
    #[must_use]
    pub fn row(&self, slot: Slot) -> u64 {
        // 2^53 is as far as a browser counts exactly: 21 bits of birth tell neighbours in time apart.
        u64::from(self.born & 0x001f_ffff) << 32 | u64::from(slot)
    }
}
