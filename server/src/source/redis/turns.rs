//! Readings of one lock, one after the other.
//!
//! Changes are read on one connection and what a person waits for on another. What is read on both at once could be
//! reported in the wrong order, and the lock would seem to go back to a holder who has let go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

/// Readings that are under way or wait for their turn, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Turns {
    line: Mutex<Line>,
    over: Notify,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    readings: Vec<(u64, Vec<Bytes>)>,
}

/// Lasts until what was read has been reported.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turns {
    /// Waits until no reading that came before is of the same lock as one of these keys. `lock_of` is the key by which a
    /// lock is known whose part a key is. Giving up on the answer gives up the turn.
    pub(super) async fn take(self: &Arc<Self>, keys: Vec<Bytes>, lock_of: impl Fn(&[u8]) -> Bytes) -> Turn {
        let (turn, before) = self.line_up(keys, lock_of);
        self.until_over(&before).await;
        turn
    }

    /// The same, but after this long it is taken before those that came before and are still under way: what they read is not
    /// to be reported any more.
    pub(super) async fn take_within(
        self: &Arc<Self>,
        patience: Duration,
        keys: Vec<Bytes>,
        lock_of: impl Fn(&[u8]) -> Bytes,
    ) -> Turn {
        let (turn, before) = self.line_up(keys, lock_of);
        if tokio::time::timeout(patience, self.until_over(&before)).await.is_err() {
            self.line().readings.retain(|(number, _)| !before.contains(number));
            self.over.notify_waiters();
        }
        turn
    }

    async fn until_over(&self, before: &[u64]) {
        loop {
            let over = self.over.notified();
            if !self.line().readings.iter().any(|(number, _)| before.contains(number)) {
                return;
            }
            over.await;
        }
    }

    /// A place in the line, and who has to be waited for.
    fn line_up(self: &Arc<Self>, keys: Vec<Bytes>, lock_of: impl Fn(&[u8]) -> Bytes) -> (Turn, Vec<u64>) {
        let mut line = self.line();
        // Most of the time nobody is there, and no key is looked at.
        let mut before = Vec::new();
        if !line.readings.is_empty() {
            let own: Vec<Bytes> = keys.iter().map(|key| lock_of(key)).collect();
            let meets = |keys: &Vec<Bytes>| keys.iter().any(|key| own.contains(&lock_of(key)));
            before.extend(line.readings.iter().filter(|(_, keys)| meets(keys)).map(|(number, _)| *number));
        }
        let number = line.next;
        line.next += 1;
        line.readings.push((number, keys));
        (Turn { turns: Arc::clone(self), number }, before)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The sections under this lock only move memory and cannot panic half-way.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Whether what was read in it may be reported: nobody went before it meanwhile.
    pub(super) fn stands(&self) -> bool {
        self.turns.line().readings.iter().any(|(number, _)| *number == self.number)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.line().readings.retain(|(number, _)| *number != self.number);
        self.turns.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn keys(keys: &[&'static str]) -> Vec<Bytes> {
        keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect()
    }

    /// What belongs to a lock is called as it is, with more behind a colon.
    fn root(key: &[u8]) -> Bytes {
        Bytes::copy_from_slice(key.split(|byte| *byte == b':').next().unwrap_or_default())
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn those_who_read_the_same_lock_go_one_after_the_other_and_nobody_else_waits() {
        let turns = Arc::new(Turns::default());
        let first = now(turns.take(keys(&["a", "b:queue"]), root)).unwrap();
        let other = now(turns.take(keys(&["c"]), root)).unwrap();
        let mut second = Box::pin(turns.take(keys(&["b"]), root));
        assert!(now(second.as_mut()).is_none());
        let mut third = Box::pin(turns.take(keys(&["b:channel"]), root));
        drop(other);
        assert!(now(second.as_mut()).is_none() && now(third.as_mut()).is_none());
        drop(first);
        assert!(now(third.as_mut()).is_none(), "it came later");
        let second = now(second.as_mut()).unwrap();
        assert!(now(third.as_mut()).is_none());
        drop(second);
        assert!(now(third.as_mut()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_long_enough_goes_first_and_the_other_reports_nothing() {
        let turns = Arc::new(Turns::default());
        let hangs = now(turns.take(keys(&["a"]), root)).unwrap();
        let other = now(turns.take(keys(&["b"]), root)).unwrap();
        let patience = Duration::from_secs(1);
        let mut second = Box::pin(turns.take_within(patience, keys(&["a"]), root));
        let mut third = Box::pin(turns.take(keys(&["a"]), root));
        assert!(now(second.as_mut()).is_none() && now(third.as_mut()).is_none());
        let second = second.await;
        assert!(!hangs.stands() && second.stands() && other.stands());
        drop(hangs);
        assert!(now(third.as_mut()).is_none());
        drop(second);
        assert!(now(third).is_some_and(|third| third.stands()));
        assert!(turns.take_within(patience, keys(&["a"]), root).await.stands(), "nobody is in the way");
    }

    #[test]
    fn who_gives_up_keeps_nobody_waiting() {
        let turns = Arc::new(Turns::default());
        let first = now(turns.take(keys(&["a"]), root)).unwrap();
        let mut second = Box::pin(turns.take(keys(&["a"]), root));
        let mut third = Box::pin(turns.take(keys(&["a"]), root));
        assert!(now(second.as_mut()).is_none() && now(third.as_mut()).is_none());
        drop(second);
        drop(first);
        assert!(now(third.as_mut()).is_some());
        assert!(turns.line().readings.is_empty());
    }
}
