//! What went on at one lock, added up: counts, and how long holds and hand-overs took.

use lockkeeper_model::TransitionKind;

use super::postings::{put, take};

/// Steps in each doubling of a duration: a bucket is at most a ninth wide.
const STEPS: u32 = 8;

/// A lock that is taken within this time after it was let go was waited for, in milliseconds: the rule of the board.
pub(super) const AT_ONCE_MS: i64 = 1_000;

/// Durations in buckets that grow with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// The bucket and how many are in it, in the order of the buckets.
    buckets: Vec<(u16, u64)>,
}

impl Durations {
    /// One more.
    pub(crate) fn add(&mut self, ms: i64) {
        self.add_to(bucket(ms), 1);
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Durations) {
        for &(bucket, count) in &other.buckets {
            self.add_to(bucket, count);
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// What this share of them does not exceed, as the upper end of its bucket, in milliseconds; `None` without any.
    pub(crate) fn quantile(&self, share: f64) -> Option<i64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets.iter().find_map(|&(bucket, count)| {
            seen += count;
            (seen >= wanted).then(|| upper(bucket))
        })
    }

    /// How many are at most so many milliseconds long and longer than the one before.
    pub(super) fn steps(&self) -> Vec<(i64, u64)> {
        self.buckets.iter().map(|&(bucket, count)| (upper(bucket), count)).collect()
    }

    fn write(&self, out: &mut Vec<u8>) {
        put(out, self.buckets.len() as u64);
        for &(bucket, count) in &self.buckets {
            put(out, u64::from(bucket));
            put(out, count);
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Durations> {
        let mut durations = Durations::default();
        for _ in 0..take(bytes)? {
            let (bucket, count) = (u16::try_from(take(bytes)?).ok()?, take(bytes)?);
            durations.add_to(bucket, count);
        }
        Some(durations)
    }
}

/// Exact up to [`STEPS`] milliseconds, then in steps.
fn bucket(ms: i64) -> u16 {
    let ms = ms.max(0).cast_unsigned();
    if ms < u64::from(STEPS) {
        return ms as u16;
    }
    let doublings = ms.ilog2() - STEPS.ilog2();
    let step = (ms >> doublings) as u32 - STEPS;
    u16::try_from((doublings + 1) * STEPS + step).unwrap_or(u16::MAX)
}

/// The longest that falls into it.
fn upper(bucket: u16) -> i64 {
    let bucket = u32::from(bucket);
    if bucket < STEPS {
        return i64::from(bucket);
    }
    let (doublings, step) = (bucket / STEPS - 1, bucket % STEPS);
    let next = u64::from(STEPS + step + 1).checked_shl(doublings).unwrap_or(u64::MAX);
    i64::try_from(next - 1).unwrap_or(i64::MAX)
}

/// What went on at one lock, or at several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How often it was taken, hand-overs included.
    pub(super) taken: u64,
    /// How often it was let go or deleted.
    pub(super) released: u64,
    /// How often its lease ran out while it was held.
    pub(super) lapsed: u64,
    /// How often the store dropped it.
    pub(super) evicted: u64,
    /// How often it was released from here.
    pub(super) forced: u64,
    /// How often it ended while nobody was looking.
    pub(super) lost: u64,
    /// How often a lease was pushed out.
    pub(super) renewed: u64,
    /// How often it went to another at once: in one step between two looks, or within [`AT_ONCE_MS`].
    pub(super) handed_over: u64,
    /// How long holds lasted, at least.
    pub(super) held: Durations,
    /// How long hand-overs took that were watched in two steps.
    pub(super) delays: Durations,
    /// When it was last let go, by whom; of one lock only, and not kept.
    ended: Option<(i64, i64)>,
}

impl Tally {
    /// Takes note of a transition; `holder` names whom it is about.
    pub(super) fn add(&mut self, kind: TransitionKind, at: i64, holder: i64, held_ms: Option<i64>) {
        if let Some(ms) = held_ms.filter(|_| kind.ends() || kind == TransitionKind::HandedOver) {
            self.held.add(ms);
        }
        match kind {
            TransitionKind::Acquired | TransitionKind::TakenOver => {
                self.taken += 1;
                if let Some((ended, by)) = self.ended.take()
                    && by != holder
                    && (0..=AT_ONCE_MS).contains(&(at - ended))
                {
                    self.handed_over += 1;
                    self.delays.add(at - ended);
                }
            }
            TransitionKind::HandedOver => {
                self.taken += 1;
                self.handed_over += 1;
            }
            TransitionKind::Released => self.released += 1,
            TransitionKind::Expired => self.lapsed += 1,
            TransitionKind::Evicted => self.evicted += 1,
            TransitionKind::Forced => self.forced += 1,
            TransitionKind::Lost => self.lost += 1,
            TransitionKind::Renewed => self.renewed += 1,
            TransitionKind::FirstSeen
            | TransitionKind::ReEntered
            | TransitionKind::LeaseChanged
            | TransitionKind::Gap => {}
        }
        if kind.ends() {
            self.ended = Some((at, holder));
        }
    }

    /// Adds what went on elsewhere, or at another time.
    pub(super) fn merge(&mut self, other: &Tally) {
        for (mine, other) in self.counts().into_iter().zip(other.clone().counts()) {
            *mine += *other;
        }
        self.held.merge(&other.held);
        self.delays.merge(&other.delays);
        self.ended = None;
    }

    fn counts(&mut self) -> [&mut u64; 8] {
        let Tally { taken, released, lapsed, evicted, forced, lost, renewed, handed_over, .. } = self;
        [taken, released, lapsed, evicted, forced, lost, renewed, handed_over]
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for count in self.clone().counts() {
            put(&mut out, *count);
        }
        self.held.write(&mut out);
        self.delays.write(&mut out);
        out
    }

    pub(super) fn of_bytes(mut bytes: &[u8]) -> Option<Tally> {
        let mut tally = Tally::default();
        for count in tally.counts() {
            *count = take(&mut bytes)?;
        }
        tally.held = Durations::read(&mut bytes)?;
        tally.delays = Durations::read(&mut bytes)?;
        Some(tally)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_has_what_falls_into_it_and_is_narrow(ms in 0_i64..1 << 52) {
            let top = upper(bucket(ms));
            prop_assert!(ms <= top && top as f64 <= ms as f64 * 1.125 + 1.0, "{} in {}", ms, top);
            prop_assert_eq!(bucket(top), bucket(ms));
            prop_assert_eq!(bucket(top + 1), bucket(ms) + 1);
        }

        #[test]
        fn a_quantile_is_not_below_the_exact_one_and_little_above(mut all in proptest::collection::vec(0_i64..10_000_000, 1..200)) {
            let mut durations = Durations::default();
            all.iter().for_each(|&ms| durations.add(ms));
            all.sort_unstable();
            for share in [0.5, 0.95, 0.99] {
                let exact = all[((all.len() as f64 * share).ceil() as usize).max(1) - 1];
                let told = durations.quantile(share).unwrap();
                prop_assert!(exact <= told && told as f64 <= exact as f64 * 1.125 + 1.0, "{} for {}", told, exact);
            }
        }

        #[test]
        fn a_tally_comes_back_and_the_parts_make_the_whole(
            what in proptest::collection::vec((0_usize..6, 0_i64..100_000), 0..100), cut in 0_usize..100,
        ) {
            let kinds = [TransitionKind::Renewed, TransitionKind::Released, TransitionKind::Expired,
                TransitionKind::HandedOver, TransitionKind::Forced, TransitionKind::Lost];
            let of = |part: &[(usize, i64)]| {
                let mut tally = Tally::default();
                part.iter().for_each(|&(kind, ms)| tally.add(kinds[kind], ms, ms, Some(ms)));
                tally
            };
            let cut = cut.min(what.len());
            let mut parts = of(&what[..cut]);
            parts.merge(&of(&what[cut..]));
            let whole = Tally { ended: None, ..of(&what) };
            prop_assert_eq!(Tally::of_bytes(&whole.to_bytes()).unwrap(), whole.clone());
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Tally::of_bytes(&bytes);
        }
    }

    #[test]
    fn a_lock_that_goes_to_another_at_once_is_handed_over_and_one_that_is_taken_again_is_not() {
        let mut tally = Tally::default();
        for (kind, at, holder) in [
            (TransitionKind::Acquired, 0, 1),
            (TransitionKind::Released, 1_000, 1),
            (TransitionKind::Acquired, 1_040, 2),
            (TransitionKind::Expired, 5_000, 2),
            (TransitionKind::Acquired, 5_010, 2),
            (TransitionKind::Released, 6_000, 2),
            (TransitionKind::Acquired, 9_000, 3),
        ] {
            tally.add(kind, at, holder, Some(1_000));
        }
        assert_eq!((tally.taken, tally.handed_over, tally.lapsed), (4, 1, 1));
        assert_eq!(tally.delays.steps(), [(upper(bucket(40)), 1)]);
        assert_eq!(tally.held.count(), 3);
    }
}
