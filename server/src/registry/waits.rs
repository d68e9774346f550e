//! What is to be written down of those who waited: minute by minute of each lock, and from when to when they were followed.

use bytes::Bytes;
use lockkeeper_model::{LockState, Mode, Time, WaitersBasis};

use super::contention::{MINUTE_MS, MINUTES, weaker};
use super::{Changes, Registry};
use crate::source::{Recognition, SourceId};

/// What is of a minute is handed over so long after its end, in milliseconds: those who wait are counted every second, and
/// what is counted later is of that minute, too, and would be written apart.
const SETTLE_MS: i64 = 5_000;

/// Between two signs that all is known there is at most this time, in milliseconds, or it was not followed between. A
/// quarter of a second is usual; a store without a feed is scanned every few seconds.
const APART_MS: i64 = 10_000;

/// Who waits is taken to be counted for so long after the last count, in milliseconds: ten counts.
const COUNTED_WITHIN_MS: i64 = 10_000;

/// Locks of one source that are handed over at once: a megabyte. Where more were waited for, some are left out, and the time
/// is not said to be known.
const MAX_LOCKS: usize = 10_000;

/// Stretches of one source until they are handed over, which is every minute. One that is lost more often is not known.
const MAX_STRETCHES: usize = 16;

/// A minute in which somebody waited for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Of the epoch.
    pub minute: i64,
    /// The time that all who waited have waited together, in milliseconds.
    pub waited_ms: u64,
    /// The seconds in which somebody waited, the first in the lowest bit.
    pub seconds: u64,
    /// How many waited at once, at most.
    pub most: u32,
    /// When there were so many for the first time.
    pub most_at: i64,
    /// The weakest way in which they were known.
    pub basis: WaitersBasis,
}

impl Waited {
    /// Nobody is known to have waited yet.
    fn nobody(minute: i64, basis: WaitersBasis) -> Waited {
        Waited { minute, waited_ms: 0, seconds: 0, most: 0, most_at: minute * MINUTE_MS, basis }
    }

    fn saw(&mut self, waiters: u32, basis: WaitersBasis, at: i64) {
        if waiters > self.most {
            (self.most, self.most_at) = (waiters, at);
        }
        self.basis = weaker(self.basis, basis);
    }
}

/// Minutes of one lock that nobody has taken yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Untold(Vec<Waited>);

impl Untold {
    /// So many waited at this moment.
    pub(super) fn saw(&mut self, waiters: u32, basis: WaitersBasis, at: i64) {
        if waiters > 0 {
            let waited = self.minute(at.div_euclid(MINUTE_MS), basis);
            waited.seconds |= seconds(at, at + 1);
            waited.saw(waiters, basis, at);
        }
    }

    /// So many waited from here to there.
    pub(super) fn waited(&mut self, waiters: u32, basis: WaitersBasis, from: i64, to: i64) {
        let mut at = from;
        while at < to && waiters > 0 {
            let minute = at.div_euclid(MINUTE_MS);
            let next = (minute + 1) * MINUTE_MS;
            let end = to.min(next);
            let waited = self.minute(minute, basis);
            waited.waited_ms += u64::from(waiters) * at.abs_diff(end);
            waited.seconds |= seconds(at, end);
            waited.saw(waiters, basis, to.min(next - 1));
            at = end;
        }
    }

    fn minute(&mut self, minute: i64, basis: WaitersBasis) -> &mut Waited {
        let at = self.0.iter().position(|waited| waited.minute == minute).unwrap_or_else(|| {
            // Only of a source of which nobody said for minutes that all is known: that time is not said to be known.
            if self.0.len() >= MINUTES {
                self.0.remove(0);
            }
            self.0.push(Waited::nobody(minute, basis));
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// Takes out what is of minutes before this one.
    fn take(&mut self, before: i64) -> Vec<Waited> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (taken, left) = self.0.drain(..).partition(|waited| waited.minute < before);
        self.0 = left;
        taken
    }
}

/// The seconds of a minute that this time touches, which ends in that minute.
pub(crate) fn seconds(from: i64, to: i64) -> u64 {
    let second = |at: i64| at.rem_euclid(MINUTE_MS) / 1_000;
    let (first, last) = (second(from), second(to - 1));
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

/// From here to there everybody who can be seen to wait was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// From here…
    pub from: i64,
    /// …to here, without it.
    pub to: i64,
    /// Those were, too, whom the store only counts.
    pub counted: bool,
}

/// How well those who wait in a source are followed, since somebody took that last.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// When that was; `None`: nothing is known yet.
    since: Option<i64>,
    stretches: Vec<Followed>,
    /// The last stretch goes on.
    is_open: bool,
    /// Some were not counted, because there are too many.
    is_crowded: bool,
    /// When those who wait were last counted.
    counted_at: i64,
}

impl Following {
    /// All is known up to this moment.
    fn go_on(&mut self, at: i64, counted: bool) {
        let is_open = std::mem::replace(&mut self.is_open, true);
        let count = self.stretches.len();
        match self.stretches.last_mut() {
            Some(last) if is_open && last.counted == counted && at - last.to <= APART_MS => last.to = last.to.max(at),
            _ if count < MAX_STRETCHES => self.stretches.push(Followed { from: at, to: at, counted }),
            _ => self.is_crowded = true,
        }
    }

    /// Something was missed.
    pub(super) fn interrupt(&mut self) {
        self.is_open = false;
    }

    /// Some who wait are not counted.
    pub(super) fn leaves_out(&mut self) {
        self.is_crowded = true;
    }

    /// Those who wait were counted.
    pub(super) fn counted(&mut self, at: i64) {
        self.counted_at = at;
    }

    /// Takes out what was before this moment.
    fn take(&mut self, before: i64) -> Vec<Followed> {
        if std::mem::take(&mut self.is_crowded) {
            self.stretches.clear();
            self.is_open = false;
        }
        let cut = |stretch: &Followed| before.clamp(stretch.from, stretch.to);
        let taken = self.stretches.iter().map(|stretch| Followed { to: cut(stretch), ..*stretch });
        let taken = taken.filter(|stretch| stretch.to > stretch.from).collect();
        let last = self.stretches.len().saturating_sub(1);
        let is_open = self.is_open;
        let left = self.stretches.iter().map(|stretch| Followed { from: cut(stretch), ..*stretch });
        let left = left.enumerate().filter(|(at, stretch)| stretch.to > stretch.from || is_open && *at == last);
        self.stretches = left.map(|(_, stretch)| stretch).collect();
        taken
    }
}

/// What is to be written down of those who waited in one source.
#[derive(Clone, Debug)]
pub struct Waits {
    /// The source.
    pub source: SourceId,
    /// It is of no time before this.
    pub since: Time,
    /// Who was waited for.
    pub locks: Vec<LockWaited>,
    /// When anybody else would have been seen.
    pub followed: Vec<Followed>,
}

/// A minute in which somebody waited for this lock.
#[derive(Clone, Debug)]
pub struct LockWaited {
    /// The lock.
    pub key: Bytes,
    /// Family, certainty, reason.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// What was so of it as a whole.
    pub state: LockState,
    /// That minute, or a part of it that was not told of yet.
    pub waited: Waited,
}

impl Registry {
    /// All is known of a source up to this moment. Hands over what is of minutes that have passed.
    pub(super) fn follow(&mut self, source: SourceId, at: Time, out: &mut Changes) {
        let known = self.known_mut(source);
        let counted = known.waiting.is_some() && at.0 - known.following.counted_at <= COUNTED_WITHIN_MS;
        if known.complete {
            known.following.go_on(at.0, counted);
        } else {
            known.following.interrupt();
        }
        let settled = (at.0 - SETTLE_MS).div_euclid(MINUTE_MS);
        let since = *known.following.since.get_or_insert(at.0);
        if since.div_euclid(MINUTE_MS) < settled {
            self.hand_over_waits(source, settled * MINUTE_MS, settled, out);
        }
    }

    /// Hands over all that is known by now of those who waited.
    pub fn tell_waits(&mut self, now: Time, out: &mut Changes) {
        for source in (0..self.sources.len()).filter_map(|at| u16::try_from(at).ok()) {
            self.hand_over_waits(SourceId(source), now.0, i64::MAX, out);
        }
    }

    /// What was followed before a moment, and who waited in minutes before that one.
    fn hand_over_waits(&mut self, source: SourceId, upto: i64, before: i64, out: &mut Changes) {
        let known = &mut self.sources[usize::from(source.0)];
        let since = Time(known.following.since.unwrap_or(upto));
        let mut locks = Vec::new();
        for &slot in &known.contended {
            let Some(record) = self.records.get_mut(slot as usize).filter(|record| record.source == source) else {
                continue;
            };
            let Some(contention) = record.rare.as_mut().and_then(|rare| rare.contention.as_mut()) else { continue };
            for waited in contention.untold().take(before) {
                if locks.len() >= MAX_LOCKS {
                    known.following.leaves_out();
                    break;
                }
                let (recognition, mode, state) = (record.recognition, record.mode, record.state);
                locks.push(LockWaited { key: Bytes::copy_from_slice(&record.key), recognition, mode, state, waited });
            }
        }
        let followed = known.following.take(upto);
        known.following.since = Some(known.following.stretches.first().map_or(upto, |left| left.from.min(upto)));
        if !locks.is_empty() || !followed.is_empty() {
            out.waits.push(Waits { source, since, locks, followed });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::World;
    use super::*;
    use crate::source::{Hint, Report, WaitersSeen};

    proptest! {
        #[test]
        fn parts_of_a_time_are_together_what_the_whole_is(
            from in 0_i64..MINUTE_MS, cuts in proptest::collection::btree_set(1_i64..MINUTE_MS, 0..8), waiters in 1_u32..9,
        ) {
            let to = from + MINUTE_MS;
            let (mut whole, mut parts) = (Untold::default(), Untold::default());
            whole.waited(waiters, WaitersBasis::Exact, from, to);
            let mut at = from;
            for end in cuts.into_iter().map(|cut| from + cut).chain([to]) {
                parts.waited(waiters, WaitersBasis::Exact, at, end);
                at = end;
            }
            let told = |untold: &Untold| -> Vec<Waited> {
                // When there were most is told of the end of each part.
                untold.0.iter().map(|waited| Waited { most_at: 0, ..*waited }).collect()
            };
            prop_assert_eq!(told(&parts), told(&whole));
            let sum: u64 = whole.0.iter().map(|waited| waited.waited_ms).sum();
            prop_assert_eq!(sum, u64::from(waiters) * 60_000);
            let touched: u32 = whole.0.iter().map(|waited| waited.seconds.count_ones()).sum();
            prop_assert_eq!(i64::from(touched), (to - 1) / 1_000 - from / 1_000 + 1);
            prop_assert!(whole.0.iter().all(|waited| waited.seconds < 1 << 60 && waited.most == waiters));
        }

        #[test]
        fn what_is_taken_in_turns_is_what_was_followed(
            steps in proptest::collection::vec((0_u8..6, 1_i64..100), 1..80),
        ) {
            // Against a ledger of milliseconds.
            let mut following = Following::default();
            let (mut at, mut expected, mut taken) = (0_i64, 0_i64, Vec::new());
            let mut before: Option<(i64, bool)> = None;
            for (what, ms) in steps {
                at += ms;
                match what {
                    0 => { following.interrupt(); before = None; }
                    1 => taken.extend(following.take(at)),
                    _ => {
                        let counted = what > 2;
                        expected += before.filter(|(_, then)| *then == counted).map_or(0, |(then, _)| at - then);
                        before = Some((at, counted));
                        following.go_on(at, counted);
                    }
                }
                prop_assume!(!following.is_crowded);
            }
            taken.extend(following.take(i64::MAX));
            prop_assert_eq!(taken.iter().map(|stretch| stretch.to - stretch.from).sum::<i64>(), expected);
            prop_assert!(taken.windows(2).all(|pair| pair[0].to <= pair[1].from));
        }
    }

    fn counted(world: &mut World, count: u32) {
        let counts = vec![(Bytes::from_static(b"lock:a"), WaitersSeen { count })];
        world.apply(Report::Waiting { counts, at: Time(world.now) });
        world.apply(Report::Confirmed { at: Time(world.now) });
    }

    fn handed_over(world: &mut World) -> (Vec<Waited>, Vec<Followed>) {
        let waits: Vec<Waits> = std::mem::take(&mut world.changes.waits);
        let locks = waits.iter().flat_map(|waits| waits.locks.iter().map(|lock| lock.waited)).collect();
        (locks, waits.iter().flat_map(|waits| waits.followed.clone()).collect())
    }

    #[test]
    fn a_minute_is_handed_over_once_it_has_passed_and_its_beginning_when_somebody_asks() {
        let mut world = World::new();
        world.now = 10 * MINUTE_MS;
        world.scan();
        world.take("lock:a", "t", None);
        world.notice("lock:a", Hint::New);
        world.now = 10 * MINUTE_MS + 46_000;
        for count in [2, 2, 5, 2, 0] {
            counted(&mut world, count);
            world.now += 4_000;
        }
        let (waited, followed) = handed_over(&mut world);
        assert_eq!((waited.as_slice(), followed.len()), (&[][..], 0), "the minute has not settled");
        let mut changes = Changes::default();
        world.registry.tell_waits(Time(world.now), &mut changes);
        world.changes.waits = changes.waits;
        let (waited, followed) = handed_over(&mut world);
        // Two for 4 s, five for 4 s, and two until they were gone, of which 2 s are in the next minute.
        let ms: Vec<u64> = waited.iter().map(|waited| waited.waited_ms).collect();
        assert_eq!(ms, [2 * 4_000 + 5 * 4_000 + 2 * 6_000, 2 * 2_000]);
        assert_eq!((waited[0].seconds, waited[1].seconds), (((1 << 14) - 1) << 46, 0b11));
        assert_eq!((waited[0].most, waited[0].most_at), (5, 10 * MINUTE_MS + 54_000));
        assert_eq!(waited[1].most, 2);
        assert_eq!(waited[1].basis, WaitersBasis::Inferred);
        assert!(followed.last().unwrap().counted && followed.last().unwrap().to == 11 * MINUTE_MS + 2_000);

        // What follows goes on where that ended.
        let asked_at = followed.last().unwrap().to;
        world.now = asked_at + 1_000;
        while world.now <= 12 * MINUTE_MS + SETTLE_MS {
            counted(&mut world, 0);
            world.now += 1_000;
        }
        let (waited, followed) = handed_over(&mut world);
        assert!(waited.is_empty());
        assert_eq!(followed, [Followed { from: asked_at, to: 12 * MINUTE_MS, counted: true }]);
    }

    #[test]
    fn what_is_not_known_to_be_whole_is_not_followed() {
        let mut world = World::new();
        world.now = 10 * MINUTE_MS;
        world.apply(Report::Confirmed { at: Time(world.now) });
        world.now += 1_000;
        world.scan();
        let from = world.now;
        world.apply(Report::Confirmed { at: Time(world.now) });
        world.now += 1_000;
        world.apply(Report::Confirmed { at: Time(world.now) });
        world.apply(Report::Gap { at: Time(world.now), because: "link lost".to_owned() });
        world.now += 1_000;
        world.apply(Report::Confirmed { at: Time(world.now) });
        world.registry.tell_waits(Time(world.now), &mut world.changes);
        let (_, followed) = handed_over(&mut world);
        assert_eq!(followed, [Followed { from, to: from + 1_000, counted: false }]);
    }

    #[test]
    fn somebody_who_waits_while_others_come_and_go_waits_all_the_time() {
        let mut world = World::new();
        world.now = 10 * MINUTE_MS;
        world.scan();
        for round in 0..10 {
            world.take("lock:a", &format!("t{round}"), None);
            world.notice("lock:a", Hint::New);
            world.now += 500;
            counted(&mut world, 1);
            world.now += 500;
            world.store.remove("lock:a");
            world.notice("lock:a", Hint::Deleted);
        }
        world.registry.tell_waits(Time(world.now), &mut world.changes);
        let (waited, _) = handed_over(&mut world);
        assert_eq!(waited.iter().map(|waited| waited.waited_ms).sum::<u64>(), 9_500);
    }
}
