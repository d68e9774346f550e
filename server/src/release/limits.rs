//! How often: by one person, and of one lock. Both in bounded memory.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use lockkeeper_model::{Actor, Mode, Time};

use super::ticket::{BoundHold, person};

/// People whose attempts are counted at once: more than any server has who may release. Whoever was quiet for a minute is
/// not remembered.
const MAX_PEOPLE: usize = 4_096;

/// Locks that are left alone at once, some megabytes. One more lets go of the one whose time is over first.
const MAX_COOLING: usize = 16_384;

/// The monotonic clock of the runtime, which stands still in tests.
#[derive(Clone, Copy, Debug)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

type Person = (String, String);

/// Counts what each person tries. An unused minute is good for as many attempts at once.
pub(super) struct Rate(RateLimiter<Person, HashMapStateStore<Person>, RuntimeClock>);

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").finish_non_exhaustive()
    }
}

impl Rate {
    pub(super) fn new(per_minute: NonZeroU32) -> Rate {
        Rate(RateLimiter::hashmap_with_clock(Quota::per_minute(per_minute), RuntimeClock))
    }

    /// Counts one more attempt, or says how long to wait before the next.
    pub(super) fn attempt(&self, actor: &Actor) -> Result<(), Duration> {
        if self.0.len() >= MAX_PEOPLE {
            self.0.retain_recent();
            if self.0.len() >= MAX_PEOPLE {
                return Err(Duration::from_secs(1));
            }
        }
        self.0.check_key(&person(actor)).map_err(|until| until.wait_time_from(RuntimeClock.now()))
    }
}

/// A lock of a source; of one that several may hold at once, the holder.
type What = (String, Vec<u8>, Option<Vec<u8>>);

/// Leaves locks alone for a while after they were released.
#[derive(Debug)]
pub(super) struct CoolDown {
    lasts_ms: i64,
    until: Mutex<HashMap<What, Time>>,
}

impl CoolDown {
    pub(super) fn new(lasts: Duration) -> CoolDown {
        CoolDown { lasts_ms: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX), until: Mutex::default() }
    }

    /// The lock was released, or may have been.
    pub(super) fn begin(&self, hold: &BoundHold, now: Time) {
        if self.lasts_ms == 0 {
            return;
        }
        let mut locks = self.locks();
        if locks.len() >= MAX_COOLING {
            locks.retain(|_, until| *until > now);
        }
        if locks.len() >= MAX_COOLING
            && let Some(first) = locks.iter().min_by_key(|(_, until)| **until).map(|(lock, _)| lock.clone())
        {
            locks.remove(&first);
        }
        locks.insert(what(hold), now.plus(self.lasts_ms));
    }

    /// Until when the lock is left alone, if it is.
    pub(super) fn until(&self, hold: &BoundHold, now: Time) -> Option<Time> {
        self.locks().get(&what(hold)).copied().filter(|until| *until > now)
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<What, Time>> {
        // A panic elsewhere cannot leave a map of copies half changed.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever frees the permits of dead holders one by one does not meet the next holder by mistake: each names its own.
fn what(hold: &BoundHold) -> What {
    let holder = (hold.mode != Mode::Exclusive).then(|| hold.token.clone());
    (hold.source.clone(), hold.key.clone(), holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_767_235_900_000);

    fn named(name: &str, via: &str) -> Actor {
        Actor { name: name.to_owned(), via: via.to_owned(), address: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_attempts_may_come_at_once_and_the_next_has_to_wait() {
        let rate = Rate::new(NonZeroU32::new(3).unwrap());
        let ada = named("ada", "password");
        for _ in 0..3 {
            assert_eq!(rate.attempt(&ada), Ok(()));
        }
        assert_eq!(rate.attempt(&ada), Err(Duration::from_secs(20)));
        // From wherever they come; and what one does is not counted for another.
        assert!(rate.attempt(&Actor { address: Some("192.0.2.7".to_owned()), ..ada.clone() }).is_err());
        assert_eq!(rate.attempt(&named("ada", "oidc")), Ok(()));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(rate.attempt(&ada), Ok(()));
        assert!(rate.attempt(&ada).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_people_is_bounded_and_frees_itself() {
        let rate = Rate::new(NonZeroU32::new(3).unwrap());
        for n in 0..MAX_PEOPLE {
            assert_eq!(rate.attempt(&named(&n.to_string(), "password")), Ok(()));
        }
        assert!(rate.attempt(&named("one more", "password")).is_err());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(rate.attempt(&named("one more", "password")), Ok(()));
        assert_eq!(rate.0.len(), 1);
    }

    fn hold(source: &str, key: &[u8], token: &str, mode: Mode) -> BoundHold {
        BoundHold {
            source: source.to_owned(),
            key: key.to_vec(),
            token: token.as_bytes().to_vec(),
            generation: "g1".to_owned(),
            count: 1,
            fencing: None,
            mode,
            hold_ms: None,
        }
    }

    fn of(source: &str, key: &str) -> BoundHold {
        hold(source, key.as_bytes(), "alice", Mode::Exclusive)
    }

    #[test]
    fn a_lock_is_left_alone_for_a_while_and_no_other() {
        let cool_down = CoolDown::new(Duration::from_secs(10));
        cool_down.begin(&of("orders", "a"), NOW);
        assert_eq!(cool_down.until(&of("orders", "a"), NOW.plus(9_999)), Some(NOW.plus(10_000)));
        assert!(cool_down.until(&hold("orders", b"a", "bob", Mode::Exclusive), NOW).is_some(), "its next holder");
        assert_eq!(cool_down.until(&of("orders", "a"), NOW.plus(10_000)), None);
        assert_eq!(cool_down.until(&of("other", "a"), NOW), None);
        assert_eq!(cool_down.until(&of("orders", "b"), NOW), None);
        let none = CoolDown::new(Duration::ZERO);
        none.begin(&of("orders", "a"), NOW);
        assert_eq!(none.until(&of("orders", "a"), NOW), None);
    }

    #[test]
    fn of_several_holders_the_others_can_be_freed_at_once() {
        let cool_down = CoolDown::new(Duration::from_secs(10));
        cool_down.begin(&hold("orders", b"a", "alice", Mode::Semaphore), NOW);
        assert!(cool_down.until(&hold("orders", b"a", "alice", Mode::Semaphore), NOW).is_some());
        assert_eq!(cool_down.until(&hold("orders", b"a", "bob", Mode::Semaphore), NOW), None);
    }

    #[test]
    fn the_memory_of_locks_is_bounded_and_lets_go_of_the_oldest() {
        let cool_down = CoolDown::new(Duration::from_secs(10));
        let numbered = |n: usize| of("orders", &n.to_string());
        for n in 0..=MAX_COOLING {
            cool_down.begin(&numbered(n), NOW.plus(i64::from(n > 0)));
        }
        assert_eq!(cool_down.locks().len(), MAX_COOLING);
        assert_eq!(cool_down.until(&numbered(0), NOW), None);
        cool_down.begin(&of("orders", "later"), NOW.plus(20_000));
        assert_eq!(cool_down.locks().len(), 1);
    }
}
