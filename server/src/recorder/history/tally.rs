//! What went on at one lock, added up: counts, and how long holds and hand-overs took.

use lockkeeper_model::TransitionKind;

use super::postings::{put, take};

/// Steps in each doubling of a duration: a bucket is at most a ninth wide.
const STEPS: u32 = 8;

/// A lock that is taken within this time after it was let go was waited for, in milliseconds: the rule of the board.
pub(super) const AT_ONCE_MS: i64 = 1_000;

/// Durations in buckets that grow with them, of one lock: few buckets are in use.
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

    /// Adds what [`Durations::write`] wrote, and takes it off the front.
    fn add_bytes(&mut self, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..take(bytes)? {
            let (bucket, count) = (u16::try_from(take(bytes)?).ok()?, take(bytes)?);
            self.add_to(bucket, count);
        }
        Some(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        put(out, self.buckets.len() as u64);
        for &(bucket, count) in &self.buckets {
            put(out, u64::from(bucket));
            put(out, count);
        }
    }
}

/// The same of any number of locks: a place for every bucket, so that adding looks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread(Vec<u64>);

impl Spread {
    fn add(&mut self, bucket: u16, count: u64) {
        let place = usize::from(bucket);
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0[place] = self.0[place].saturating_add(count);
    }

    /// Adds what [`Durations::write`] wrote, and takes it off the front.
    fn add_bytes(&mut self, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..take(bytes)? {
            let (bucket, count) = (u16::try_from(take(bytes)?).ok()?, take(bytes)?);
            self.add(bucket, count);
        }
        Some(())
    }

    fn used(&self) -> impl Iterator<Item = (i64, u64)> {
        let counted = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(bucket, count)| (upper(u16::try_from(bucket).unwrap_or(u16::MAX)), *count))
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// What this share of them does not exceed, as the upper end of its bucket, in milliseconds; `None` without any.
    pub(super) fn quantile(&self, share: f64) -> Option<i64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.used().find_map(|(upper, count)| {
            seen += count;
            (seen >= wanted).then_some(upper)
        })
    }

    /// How many are at most so many milliseconds long and longer than the one before.
    pub(super) fn steps(&self) -> Vec<(i64, u64)> {
        self.used().collect()
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

/// How often what happened, in the order in which it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
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
}

impl Counts {
    /// Counts a transition of one lock; `holder` names whom it is about, and `ended` is what this leaves for the next one.
    fn step(&mut self, ended: &mut Ended, kind: TransitionKind, at: i64, holder: i64, held_ms: Option<i64>) -> Took {
        let mut delay_ms = None;
        match kind {
            TransitionKind::Acquired | TransitionKind::TakenOver => {
                self.taken += 1;
                if let Some((ended, by)) = ended.take()
                    && by != holder
                    && (0..=AT_ONCE_MS).contains(&(at - ended))
                {
                    self.handed_over += 1;
                    delay_ms = Some(at - ended);
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
            *ended = Some((at, holder));
        }
        Took { held_ms: held_ms.filter(|_| kind.ends() || kind == TransitionKind::HandedOver), delay_ms }
    }

    fn all(&mut self) -> [&mut u64; 8] {
        let Counts { taken, released, lapsed, evicted, forced, lost, renewed, handed_over } = self;
        [taken, released, lapsed, evicted, forced, lost, renewed, handed_over]
    }

    /// Adds what [`Tally::write`] wrote of them, and takes it off the front.
    fn add_bytes(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let (which, rest) = bytes.split_first()?;
        *bytes = rest;
        for (bit, count) in self.all().into_iter().enumerate() {
            if which >> bit & 1 == 1 {
                *count = count.saturating_add(take(bytes)?);
            }
        }
        Some(())
    }
}

/// What went on at one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    /// How long holds lasted, at least.
    pub(super) held: Durations,
    /// How long hand-overs took that were watched in two steps.
    delays: Durations,
    /// Not kept.
    ended: Ended,
}

/// When a lock was last let go, by whom.
pub(super) type Ended = Option<(i64, i64)>;

/// What a transition took, as far as it ended anything.
struct Took {
    /// For how long the lock was held, at least.
    held_ms: Option<i64>,
    /// How long it was free before another had it, if that was at once.
    delay_ms: Option<i64>,
}

impl Tally {
    /// Takes note of a transition; `holder` names whom it is about.
    pub(super) fn add(&mut self, kind: TransitionKind, at: i64, holder: i64, held_ms: Option<i64>) {
        let took = self.counts.step(&mut self.ended, kind, at, holder, held_ms);
        took.held_ms.into_iter().for_each(|ms| self.held.add(ms));
        took.delay_ms.into_iter().for_each(|ms| self.delays.add(ms));
    }

    /// Adds what [`Tally::write`] wrote, and takes it off the front; `None` where that is not one.
    pub(super) fn add_bytes(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.counts.add_bytes(bytes)?;
        self.held.add_bytes(bytes)?;
        self.delays.add_bytes(bytes)
    }

    /// Adds what went on at the same lock at other times.
    pub(super) fn merge(&mut self, other: &Tally) {
        let mut theirs = other.counts;
        for (mine, theirs) in self.counts.all().into_iter().zip(theirs.all()) {
            *mine = mine.saturating_add(*theirs);
        }
        self.held.merge(&other.held);
        self.delays.merge(&other.delays);
    }

    /// Appends what is kept of it: which counts there are, a bit each, and those; most locks have one or two.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut counts = self.counts;
        let counts = counts.all();
        out.push(counts.iter().enumerate().fold(0, |which, (bit, count)| which | u8::from(**count > 0) << bit));
        for count in counts.into_iter().filter(|count| **count > 0) {
            put(out, *count);
        }
        self.held.write(out);
        self.delays.write(out);
    }
}

/// What went on at any number of locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) counts: Counts,
    /// How long holds lasted, at least.
    pub(super) held: Spread,
    /// How long hand-overs took that were watched in two steps.
    pub(super) delays: Spread,
}

impl Sum {
    /// Adds what [`Tally::write`] wrote, and takes it off the front; `None` where that is not one.
    pub(super) fn add_bytes(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.counts.add_bytes(bytes)?;
        self.held.add_bytes(bytes)?;
        self.delays.add_bytes(bytes)
    }

    /// Adds a transition of one lock, of which `ended` is known from the ones before.
    pub(super) fn step(&mut self, ended: &mut Ended, kind: TransitionKind, at: i64, holder: i64, held_ms: Option<i64>) {
        let took = self.counts.step(ended, kind, at, holder, held_ms);
        took.held_ms.into_iter().for_each(|ms| self.held.add(bucket(ms), 1));
        took.delay_ms.into_iter().for_each(|ms| self.delays.add(bucket(ms), 1));
    }
}

/// Takes a tally off the front without adding it to anything.
pub(super) fn skip(bytes: &mut &[u8]) -> Option<()> {
    let (which, rest) = bytes.split_first()?;
    *bytes = rest;
    for _ in 0..which.count_ones() {
        take(bytes)?;
    }
    for _ in 0..2 {
        for _ in 0..take(bytes)?.checked_mul(2)? {
            take(bytes)?;
        }
    }
    Some(())
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
            let mut spread = Spread::default();
            all.iter().for_each(|&ms| spread.add(bucket(ms), 1));
            all.sort_unstable();
            for share in [0.5, 0.95, 0.99] {
                let exact = all[((all.len() as f64 * share).ceil() as usize).max(1) - 1];
                let told = spread.quantile(share).unwrap();
                prop_assert!(exact <= told && told as f64 <= exact as f64 * 1.125 + 1.0, "{} for {}", told, exact);
            }
        }

        #[test]
        fn what_is_written_adds_up_to_the_same_and_the_parts_make_the_whole(
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
            let (mut parts, mut whole, mut written) = (Sum::default(), Sum::default(), Sum::default());
            let step = |sum: &mut Sum, part: &[(usize, i64)]| {
                let mut ended = None;
                part.iter().for_each(|&(kind, ms)| sum.step(&mut ended, kinds[kind], ms, ms, Some(ms)));
            };
            step(&mut whole, &what);
            let mut bytes = Vec::new();
            for part in [&what[..cut], &what[cut..]] {
                step(&mut parts, part);
                of(part).write(&mut bytes);
            }
            let (mut added, mut skipped) = (&bytes[..], &bytes[..]);
            for _ in 0..2 {
                prop_assert!(written.add_bytes(&mut added).is_some() && skip(&mut skipped).is_some());
                prop_assert_eq!(added.len(), skipped.len());
            }
            prop_assert!(added.is_empty());
            prop_assert_eq!(&parts, &whole);
            prop_assert_eq!(&written, &whole);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Sum::default().add_bytes(&mut &bytes[..]);
            let _ = skip(&mut &bytes[..]);
        }
    }

    #[test]
    fn a_lock_that_goes_to_another_at_once_is_handed_over_and_one_that_is_taken_again_is_not() {
        let (mut tally, mut sum, mut ended) = (Tally::default(), Sum::default(), None);
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
            sum.step(&mut ended, kind, at, holder, Some(1_000));
        }
        let mut written = Vec::new();
        tally.write(&mut written);
        let mut again = Sum::default();
        again.add_bytes(&mut &written[..]).unwrap();
        assert_eq!(again, sum);
        assert_eq!((sum.counts.taken, sum.counts.handed_over, sum.counts.lapsed), (4, 1, 1));
        assert_eq!(sum.delays.steps(), [(upper(bucket(40)), 1)]);
        assert_eq!(sum.held.count(), 3);
    }
}
