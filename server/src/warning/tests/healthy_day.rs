//! A day of those who are well in the demo, without a store and in no time: nobody is woken. Those who come and go every
//! second do so for a shift of it, which is as much as they will ever show.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::demo::playbill::{Family, Part, quick, steady};
use crate::demo::worker::End;

const DAY_MS: i64 = 86_400_000;

/// For how long the quick ones are at work, in milliseconds.
const SHIFT_MS: i64 = 3 * 3_600_000;

/// How long somebody who waits takes to notice that a lock is free, in milliseconds: the poll of the slowest library.
const POLL_MS: std::ops::RangeInclusive<i64> = 1..=100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Wants,
    Renews,
    IsDone,
    /// Those who wait are counted.
    Count,
}

impl Family {
    /// The lease, and how often it is renewed.
    fn rhythm(self) -> (i64, Option<i64>) {
        match self {
            Family::RedisPy { lease, every } => (ms(lease), every.map(ms)),
            Family::PythonRedisLock { lease_s } => (i64::from(lease_s) * 1_000, Some(i64::from(lease_s) * 2_000 / 3)),
            Family::Redisson { lease: Some(lease), .. } => (ms(lease), None),
            Family::Redisson { lease: None, .. } => (30_000, Some(10_000)),
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

#[test]
fn a_healthy_day_has_no_warning() {
    let steady = steady();
    let first_quick = steady.len();
    let parts = [steady, quick()].concat();
    let mut numbers = StdRng::seed_from_u64(7);
    let mut story = Story::new(Vec::new());
    let begin = story.now;
    let mut steps: BinaryHeap<Reverse<(i64, usize, Step)>> = BinaryHeap::new();
    for (who, part) in parts.iter().enumerate() {
        steps.push(Reverse((begin + ms(part.habit.begins_after), who, Step::Wants)));
    }
    steps.push(Reverse((begin, 0, Step::Count)));
    let mut held: HashMap<&str, (usize, i64)> = HashMap::new();
    let mut waiting: HashMap<&str, VecDeque<usize>> = HashMap::new();
    let mut taken = 0_u32;
    while let Some(Reverse((at, who, step))) = steps.pop().filter(|Reverse((at, ..))| at - begin < DAY_MS) {
        story.now = story.now.max(at);
        let Part { lock, family, habit, .. } = &parts[who];
        let (lease, every) = family.rhythm();
        let is_off = who >= first_quick && at - begin > SHIFT_MS;
        match step {
            Step::Wants if is_off => {}
            Step::Wants if held.contains_key(lock.as_str()) => waiting.entry(lock).or_default().push_back(who),
            Step::Wants => {
                let End::LetsGo(hold) = habit.end else { panic!("{lock}: whoever is well lets go") };
                let done = at + ms(hold.pick_with(&mut numbers));
                held.insert(lock, (who, done));
                taken += 1;
                story.take(lock, &format!("{who}-{taken}"), Some(lease));
                steps.push(Reverse((done, who, Step::IsDone)));
                steps.extend(every.map(|every| Reverse((at + every, who, Step::Renews))));
            }
            Step::Renews => {
                // A timer of an earlier hold may still be under way.
                if let Some((_, done)) = held.get(lock.as_str()).filter(|(holder, done)| *holder == who && at < *done) {
                    let next = at + every.unwrap();
                    let done = *done;
                    story.renew(lock, Some(lease));
                    if next < done {
                        steps.push(Reverse((next, who, Step::Renews)));
                    }
                }
            }
            Step::IsDone => {
                held.remove(lock.as_str());
                story.let_go(lock);
                steps.push(Reverse((at + ms(habit.pause.pick_with(&mut numbers)), who, Step::Wants)));
                if let Some(next) = waiting.get_mut(lock.as_str()).and_then(VecDeque::pop_front) {
                    steps.push(Reverse((at + numbers.random_range(POLL_MS), next, Step::Wants)));
                }
            }
            Step::Count => {
                let counts = waiting.iter().filter(|(_, who)| !who.is_empty()).map(|(lock, who)| {
                    let count = u32::try_from(who.len()).unwrap();
                    (Bytes::from((*lock).to_owned()), WaitersSeen { count })
                });
                let counts = counts.collect();
                story.apply(Report::Waiting { counts, at: Time(at) });
                story.apply(Report::Confirmed { at: Time(at) });
                story.tick();
                story.registry.forget_ended(Time(at));
                steps.push(Reverse((at + 1_000, 0, Step::Count)));
            }
        }
    }
    assert!(taken > 60_000, "{taken} holds are no day");
    assert_eq!(story.said(), Vec::<String>::new());
    let shown: Vec<_> = story.watch.seen(&crate::access::Reach::ALL).map(|(warning, _)| warning.clone()).collect();
    assert_eq!(shown, Vec::new(), "nor anything that was muted or is over");
}
