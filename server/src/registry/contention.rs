//! What goes on around a lock: who hands it to whom, and how long others stood waiting, over the last minutes.

use lockkeeper_model::{Contention as Shown, WaitersBasis};

use super::waits::Untold;

/// Minutes that are looked back on: an incident's beginning is still in view, and a lock that was busy before lunch is
/// not at the top after it.
pub(crate) const MINUTES: usize = 5;

/// What a minute has, in milliseconds.
pub(super) const MINUTE_MS: i64 = 60_000;

/// Counts by the minute, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contention {
    /// The minute of the first bucket, since the epoch.
    minute: i64,
    buckets: [Bucket; MINUTES],
    /// Those who waited until this moment have been counted.
    counted_until: i64,
    /// How many there were at that moment, and how that was known.
    stood: Option<(u32, WaitersBasis)>,
    /// What is still to be written down.
    untold: Untold,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    blocked_ms: u64,
    hand_overs: u32,
    reported: Tried,
    sampled: Tried,
    /// The weakest way in which those who waited were known.
    basis: Option<WaitersBasis>,
}

/// Attempts, and those of them that were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tried {
    attempts: u32,
    refusals: u32,
}

/// How attempts are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tries {
    /// Clients told of them.
    Reported,
    /// They were seen in a sample.
    Sampled,
}

impl Bucket {
    /// Whichever is more of what was told and what was seen: each can leave some out, and together they may count some
    /// twice.
    fn tried(&self) -> (Tried, WaitersBasis) {
        if self.sampled.attempts > self.reported.attempts {
            (self.sampled, WaitersBasis::Sampled)
        } else {
            (self.reported, WaitersBasis::Reported)
        }
    }
}

/// The weaker the later.
fn weakness(basis: WaitersBasis) -> u8 {
    match basis {
        WaitersBasis::Exact => 0,
        WaitersBasis::Inferred => 1,
        WaitersBasis::Sampled => 2,
        WaitersBasis::Reported => 3,
        WaitersBasis::Unknown => 4,
    }
}

/// The one of two ways that says less.
pub(crate) fn weaker(one: WaitersBasis, other: WaitersBasis) -> WaitersBasis {
    if weakness(other) > weakness(one) { other } else { one }
}

impl Contention {
    fn now(&mut self, now: i64) -> &mut Bucket {
        let minute = now.div_euclid(MINUTE_MS);
        let passed = usize::try_from(minute - self.minute).unwrap_or(0).min(MINUTES);
        self.buckets.rotate_right(passed % MINUTES);
        let fresh = if passed == MINUTES { MINUTES } else { passed };
        self.buckets[..fresh].fill(Bucket::default());
        self.minute = self.minute.max(minute);
        &mut self.buckets[0]
    }

    /// So many have waited since the last count, as known in this way.
    pub(super) fn waited(&mut self, waiters: u32, basis: WaitersBasis, now: i64) {
        let since = if self.counted_until == 0 { now } else { self.counted_until };
        // A gap in the counting is not time that anybody was seen waiting in.
        let ms = u64::try_from((now - since).clamp(0, MINUTE_MS)).unwrap_or(0);
        // Those who are all gone now have waited until now, as far as anybody saw.
        let (blocked, blocked_basis) = match self.stood {
            Some(stood) if waiters == 0 => stood,
            _ => (waiters, basis),
        };
        let blocked_ms = ms * u64::from(blocked);
        if blocked_ms > 0 {
            let bucket = self.now(now);
            bucket.blocked_ms += blocked_ms;
            bucket.basis = bucket.basis.into_iter().chain([blocked_basis]).max_by_key(|basis| weakness(*basis));
            self.untold.waited(blocked, blocked_basis, now - ms.cast_signed(), now);
        }
        self.stood = Some((waiters, basis));
        self.counted_until = if waiters == 0 { 0 } else { now.max(since) };
    }

    /// Begins to count those who wait; so many do, as known in this way.
    pub(super) fn begin(&mut self, waiters: u32, basis: WaitersBasis, now: i64) {
        self.untold.saw(waiters, basis, now);
        self.stood = Some((waiters, basis));
        self.counted_until = now;
    }

    /// What is still to be written down.
    pub(super) fn untold(&mut self) -> &mut Untold {
        &mut self.untold
    }

    /// One let go and another took it.
    pub(super) fn handed_over(&mut self, now: i64) {
        self.now(now).hand_overs += 1;
    }

    /// Attempts were seen or told of.
    pub(super) fn tried(&mut self, known: Tries, attempts: u32, refusals: u32, now: i64) {
        let bucket = self.now(now);
        let tried = match known {
            Tries::Reported => &mut bucket.reported,
            Tries::Sampled => &mut bucket.sampled,
        };
        tried.attempts = tried.attempts.saturating_add(attempts);
        tried.refusals = tried.refusals.saturating_add(refusals);
    }

    /// The time that all who waited have waited together, in milliseconds.
    #[must_use]
    pub fn blocked_ms(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.blocked_ms).sum()
    }

    /// The same by the minute as it is now, newest first.
    pub(super) fn minutes(&self, now: i64) -> [u64; MINUTES] {
        let passed = usize::try_from(now.div_euclid(MINUTE_MS) - self.minute).unwrap_or(0);
        let bucket = |at: usize| Some(self.buckets.get(at.checked_sub(passed)?)?.blocked_ms);
        std::array::from_fn(|at| bucket(at).unwrap_or(0))
    }

    /// Whether those who waited could be counted, if there were any.
    pub(super) fn is_counted(&self) -> bool {
        self.counted_until != 0 || self.buckets.iter().any(|bucket| bucket.basis.is_some())
    }

    /// How the time is known; the weakest way where there were several, `None` where nobody waited.
    pub(super) fn basis(&self) -> Option<WaitersBasis> {
        self.buckets.iter().filter_map(|bucket| bucket.basis).max_by_key(|basis| weakness(*basis))
    }

    /// The same by the minute, the oldest first.
    pub(super) fn blocked_by_minute(&self) -> impl Iterator<Item = i64> {
        self.buckets.iter().rev().map(|bucket| i64::try_from(bucket.blocked_ms).unwrap_or(i64::MAX))
    }

    /// Leaves out what is too long ago. Says whether anything is left.
    pub(super) fn forget(&mut self, now: i64) -> bool {
        self.now(now);
        // Who has just begun to wait has no time yet.
        let is_counting = self.counted_until != 0 && now - self.counted_until <= MINUTE_MS;
        is_counting || self.buckets.iter().any(|bucket| *bucket != Bucket::default())
    }

    /// In the words of the contract. `waiters` is how those who wait now are known.
    #[must_use]
    pub fn shown(&self, waiters: WaitersBasis) -> Shown {
        let sum = |of: fn(&Bucket) -> u32| self.buckets.iter().map(of).fold(0u32, u32::saturating_add);
        let (attempts, refusals) = (sum(|bucket| bucket.tried().0.attempts), sum(|bucket| bucket.tried().0.refusals));
        let known = self.buckets.iter().map(Bucket::tried).filter(|(tried, _)| tried.attempts > 0);
        let attempts_basis = known.map(|(_, basis)| basis).max_by_key(|basis| weakness(*basis));
        let tried = attempts > 0;
        Shown {
            over_ms: MINUTES as i64 * MINUTE_MS,
            blocked_ms: match waiters {
                // A sample is a moment: it tells nothing of the minutes.
                WaitersBasis::Unknown | WaitersBasis::Sampled if self.blocked_ms() == 0 => None,
                _ => Some(i64::try_from(self.blocked_ms()).unwrap_or(i64::MAX)),
            },
            blocked_basis: self.basis().unwrap_or(waiters),
            hand_overs: sum(|bucket| bucket.hand_overs),
            attempts: tried.then_some(attempts),
            refusals: tried.then_some(refusals),
            attempts_basis,
            attempts_per_second: None,
            refusals_per_second: None,
            sampled_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_adds_up_and_is_forgotten_minute_by_minute() {
        let start = 100 * MINUTE_MS;
        let mut contention = Contention::default();
        contention.begin(3, WaitersBasis::Inferred, start);
        contention.waited(3, WaitersBasis::Inferred, start + 1_000);
        contention.waited(3, WaitersBasis::Inferred, start + 2_000);
        contention.handed_over(start + 2_000);
        assert_eq!(contention.blocked_ms(), 6_000);
        contention.waited(1, WaitersBasis::Reported, start + MINUTE_MS);
        assert_eq!(contention.blocked_ms(), 64_000);
        assert!(contention.forget(start + 5 * MINUTE_MS));
        assert_eq!(contention.blocked_ms(), 58_000);
        assert!(!contention.forget(start + 6 * MINUTE_MS));
    }

    #[test]
    fn each_number_says_how_it_is_known_and_what_was_not_seen_is_not_zero() {
        let mut contention = Contention::default();
        assert_eq!(contention.shown(WaitersBasis::Unknown).blocked_ms, None);
        contention.begin(1, WaitersBasis::Exact, MINUTE_MS);
        contention.waited(1, WaitersBasis::Reported, MINUTE_MS + 500);
        contention.waited(1, WaitersBasis::Exact, MINUTE_MS + 900);
        let shown = contention.shown(WaitersBasis::Unknown);
        assert_eq!((shown.blocked_ms, shown.blocked_basis), (Some(900), WaitersBasis::Reported));
        assert_eq!((shown.attempts, shown.refusals, shown.attempts_basis), (None, None, None));
        contention.tried(Tries::Reported, 1, 0, MINUTE_MS + 900);
        let shown = contention.shown(WaitersBasis::Exact);
        assert_eq!((shown.attempts, shown.refusals), (Some(1), Some(0)));
        assert_eq!(shown.attempts_basis, Some(WaitersBasis::Reported));
    }

    #[test]
    fn what_was_told_and_what_was_seen_in_one_minute_is_not_counted_twice() {
        let mut contention = Contention::default();
        contention.tried(Tries::Reported, 10, 4, MINUTE_MS);
        contention.tried(Tries::Sampled, 30, 29, MINUTE_MS);
        let shown = contention.shown(WaitersBasis::Unknown);
        assert_eq!((shown.attempts, shown.refusals), (Some(30), Some(29)));
        assert_eq!(shown.attempts_basis, Some(WaitersBasis::Sampled));
        contention.tried(Tries::Reported, 5, 5, 2 * MINUTE_MS);
        let shown = contention.shown(WaitersBasis::Unknown);
        assert_eq!((shown.attempts, shown.attempts_basis), (Some(35), Some(WaitersBasis::Reported)));
    }

    #[test]
    fn those_who_are_gone_at_the_next_count_have_waited_until_then() {
        let mut contention = Contention::default();
        contention.begin(2, WaitersBasis::Exact, MINUTE_MS);
        contention.waited(0, WaitersBasis::Inferred, MINUTE_MS + 300);
        contention.waited(0, WaitersBasis::Inferred, MINUTE_MS + 900);
        assert_eq!((contention.blocked_ms(), contention.basis()), (600, Some(WaitersBasis::Exact)));
    }

    #[test]
    fn a_gap_in_the_counting_is_not_waiting() {
        let mut contention = Contention::default();
        contention.begin(1, WaitersBasis::Exact, MINUTE_MS);
        contention.waited(1, WaitersBasis::Exact, 60 * MINUTE_MS);
        assert_eq!(contention.blocked_ms(), 60_000);
    }
}
