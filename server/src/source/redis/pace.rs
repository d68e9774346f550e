//! The light hand: what watching may cost the store.
//!
//! While nobody else uses the store, it is read as fast as it answers. As soon as others do, the budget holds. Who
//! "others" are is learned from the store's own command counter, less what was sent from here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Others count as using the store from this many commands a second: below it are health checks and other dashboards.
const QUIET_COMMANDS_PER_SECOND: f64 = 1_000.0;

/// A burst of this length may run ahead of the budget, so that a batch need not be cut up.
const BURST: Duration = Duration::from_millis(20);

/// The share of the budget that a scan may take; the rest is for changes.
const SCAN_SHARE: f64 = 0.25;

/// Where more changes come than the budget can read, no reading stays true for long, and each takes from those who keep the
/// store so busy. Then what waits is read within this time, not as fast as the budget allows.
const FLOODED_WITHIN: Duration = Duration::from_secs(20);

/// …but at this share of the budget for changes at least.
const FLOODED_LEAST: f64 = 0.1;

/// A changed key is read by this many commands: its value, and its remaining life.
const COMMANDS_A_CHANGE: f64 = 2.0;

/// What a batch of commands is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Finding what exists.
    Scan,
    /// Reading what changed.
    Change,
}

/// Counts commands, and holds them back where the budget says so.
#[derive(Debug)]
pub(crate) struct Pacer {
    budget: u64,
    sent: AtomicU64,
    answered: AtomicU64,
    crowded: AtomicBool,
    /// Commands a second for changes, while the budget holds.
    for_changes: AtomicU64,
    /// When the commands that were let through are paid for, for scans and for changes.
    paid: Mutex<[Option<Instant>; 2]>,
}

impl Pacer {
    pub(crate) fn new(commands_per_second: u64) -> Pacer {
        Pacer {
            budget: commands_per_second.max(1),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            // Until the store has said how busy it is, it is taken to be busy.
            crowded: AtomicBool::new(true),
            for_changes: AtomicU64::new(for_changes(commands_per_second.max(1))),
            paid: Mutex::new([None; 2]),
        }
    }

    /// Takes note of how many changes come a second, those of keys that wait already included, and of how many keys wait.
    pub(crate) fn learn_changes(&self, a_second: f64, waiting: usize) {
        let most = for_changes(self.budget) as f64;
        let is_flooded = a_second * COMMANDS_A_CHANGE > most;
        let enough = waiting as f64 / FLOODED_WITHIN.as_secs_f64() * COMMANDS_A_CHANGE;
        let rate = if is_flooded { enough.clamp(most * FLOODED_LEAST, most) } else { most };
        self.for_changes.store(rate as u64, Ordering::Relaxed);
    }

    /// Waits until `commands` may be sent.
    pub(crate) async fn take(&self, commands: u64, purpose: Purpose) {
        if self.crowded.load(Ordering::Relaxed) {
            self.wait(commands, purpose).await;
        }
        self.sent.fetch_add(commands, Ordering::Relaxed);
    }

    async fn wait(&self, commands: u64, purpose: Purpose) {
        let a_second = match purpose {
            Purpose::Scan => self.budget as f64 * SCAN_SHARE,
            Purpose::Change => self.for_changes.load(Ordering::Relaxed) as f64,
        };
        let cost = Duration::from_secs_f64(commands as f64 / a_second.max(1.0));
        let start = {
            let now = Instant::now();
            // A poisoned lock means that a task panicked between two assignments: the times in it are still good.
            let mut paid = self.paid.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let slot = &mut paid[purpose as usize];
            let start = slot.map_or(now, |at| at.max(now));
            *slot = Some(start + cost);
            start
        };
        if let Some(wait) = start.checked_duration_since(Instant::now() + BURST) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Commands that are not read through [`Pacer::take`]: a few a second.
    pub(crate) fn count(&self, commands: u64) {
        self.sent.fetch_add(commands, Ordering::Relaxed);
        self.answered.fetch_add(commands, Ordering::Relaxed);
    }

    /// A script is about to be sent that runs the commands that were `taken` and up to `more`: the store counts each.
    pub(crate) fn may_run(&self, taken: u64, more: u64) -> Running<'_> {
        self.sent.fetch_add(more, Ordering::Relaxed);
        Running { pacer: self, might: taken + more, did: 0 }
    }

    /// Replies arrived.
    pub(crate) fn answered(&self, commands: u64) {
        self.answered.fetch_add(commands, Ordering::Relaxed);
    }

    /// Commands since the start: answered, and sent. The store has processed some number between the two.
    pub(crate) fn own(&self) -> Own {
        // In this order, so that no command counts as answered that does not count as sent.
        let answered = self.answered.load(Ordering::Relaxed);
        Own { answered, sent: self.sent.load(Ordering::Relaxed) }
    }

    /// Whether the budget holds.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Takes note of how many commands a second others send at least. `None`: the store does not say, so the budget
    /// holds.
    pub(crate) fn learn(&self, others_at_least: Option<f64>) {
        let crowded = others_at_least.is_none_or(|others| others > QUIET_COMMANDS_PER_SECOND);
        self.crowded.store(crowded, Ordering::Relaxed);
    }
}

/// The part of a budget that is for changes, in commands a second.
fn for_changes(budget: u64) -> u64 {
    (budget as f64 * (1.0 - SCAN_SHARE)) as u64
}

/// A script that is under way. Whoever gives up on it gives back what it might have run: if it ran after all, that counts as
/// somebody else's for a moment, and the budget holds.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pacer: &'a Pacer,
    might: u64,
    did: u64,
}

impl Running<'_> {
    /// It is over, and ran so many commands.
    pub(crate) fn ran(mut self, did: u64) {
        self.did = did;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.pacer.answered.fetch_add(self.did, Ordering::Relaxed);
        self.pacer.sent.fetch_sub(self.might.saturating_sub(self.did), Ordering::Relaxed);
    }
}

/// What was sent from here since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) answered: u64,
    pub(crate) sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_on_a_script_gives_back_what_it_might_have_run() {
        let pacer = Pacer::new(1_000);
        pacer.learn(Some(0.0));
        for (did, sent) in [(Some(7), 7), (None, 7), (Some(3), 10)] {
            pacer.take(2, Purpose::Change).await;
            let running = pacer.may_run(2, 6);
            assert_eq!(pacer.own().sent, pacer.own().answered + 8);
            match did {
                Some(did) => running.ran(did),
                None => drop(running),
            }
            assert_eq!(pacer.own(), Own { sent, answered: sent });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_holds_while_others_use_the_store_and_only_then() {
        let pacer = Pacer::new(1_000);
        let start = Instant::now();
        pacer.learn(Some(5_000.0));
        for _ in 0..10 {
            pacer.take(150, Purpose::Change).await;
        }
        let crowded = start.elapsed();
        assert!(crowded > Duration::from_millis(1_700) && crowded < Duration::from_millis(2_000), "{crowded:?}");
        pacer.learn(Some(10.0));
        let start = Instant::now();
        for _ in 0..10 {
            pacer.take(150_000, Purpose::Scan).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_changes_is_read_no_faster_than_what_waits_needs() {
        let pacer = Pacer::new(40_000);
        let took = async |changes: u64| {
            let start = Instant::now();
            for _ in 0..changes / 500 {
                pacer.take(1_000, Purpose::Change).await;
            }
            start.elapsed().as_secs()
        };
        pacer.learn_changes(10_000.0, 100_000);
        assert_eq!(took(150_000).await, 9, "15,000 a second can be read");
        pacer.learn_changes(100_000.0, 100_000);
        assert_eq!(took(50_000).await, 9, "100,000 keys within 20 s");
        pacer.learn_changes(100_000.0, 10);
        assert_eq!(took(15_000).await, 9, "a tenth of the budget for changes");
    }
}
