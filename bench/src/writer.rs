//! Services that take, renew and give back locks, so many times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::Rng;

use crate::fill::{lease, lock_key, token};
use crate::resp::{self, Connection};

/// Commands leave in batches this far apart, so that the load is as smooth as many independent services are.
const TICK: Duration = Duration::from_millis(1);

/// What has piled up while Redis was busy is caught up in batches of at most this many milliseconds' worth.
const MOST_AT_ONCE_MS: u32 = 50;

/// Half of what happens to locks is renewal; taking and giving back share the rest.
const RENEWALS: f64 = 0.5;

/// A writer in the background.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Written>>,
}

/// What it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Those that changed something: half of one that did on half of its masters.
    pub(crate) changes: f64,
    pub(crate) seconds: f64,
}

impl Written {
    pub(crate) fn per_second(&self) -> f64 {
        self.changes / self.seconds
    }

    /// Fails if it fell behind: what was measured meanwhile was measured at another load.
    pub(crate) fn must_reach(&self, rate: u32) -> Result<()> {
        if self.per_second() < f64::from(rate) * 0.95 {
            bail!("keep up {rate} changes a second: only {:.0} were reached", self.per_second());
        }
        Ok(())
    }
}

impl Writer {
    /// Starts changing the first `locks` locks, which must all be held.
    pub(crate) fn start(port: u16, locks: u32, rate: u32) -> Result<Writer> {
        Writer::start_on(&[port], locks, rate)
    }

    /// The same where each lock is on all or a majority of several independent masters; all must be held on all of them.
    pub(crate) fn start_on(masters: &[u16], locks: u32, rate: u32) -> Result<Writer> {
        let mut connections = masters.iter().map(|&port| Connection::open(port)).collect::<Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let all = Set::all(connections.len());
            let mut services = Services { all, held: (0..locks).map(|n| (n, all)).collect(), free: Vec::new() };
            let began = Instant::now();
            let (mut sent, mut commands_sent, mut effects) = (0_u64, 0_u64, 0_u64);
            let most = u64::from((rate / 1_000).max(1) * MOST_AT_ONCE_MS);
            let mut batches: Vec<Batch> = connections.iter().map(|_| Batch::default()).collect();
            while !stopped.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                let now = due.saturating_sub(sent).min(most);
                for _ in 0..now {
                    services.act(&mut batches);
                }
                for (connection, batch) in connections.iter_mut().zip(&batches) {
                    connection.send(&batch.commands)?;
                }
                for (connection, batch) in connections.iter_mut().zip(&mut batches) {
                    commands_sent += batch.len;
                    for _ in 0..batch.len {
                        effects += u64::from(connection.fine()?.is_effect());
                    }
                    batch.len = 0;
                    batch.commands.clear();
                }
                sent += now;
                if due.saturating_sub(sent) == 0 {
                    std::thread::sleep(TICK);
                }
            }
            let changes = sent as f64 * effects as f64 / commands_sent.max(1) as f64;
            Ok(Written { changes, seconds: began.elapsed().as_secs_f64() })
        });
        Ok(Writer { stop, thread })
    }

    pub(crate) fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(written) => written,
            Err(_) => bail!("go on writing: the writer panicked"),
        }
    }
}

/// Some of the masters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set(u16);

impl Set {
    pub(crate) fn all(masters: usize) -> Set {
        Set((1 << masters) - 1)
    }

    /// All of these, or a majority of them as it comes about when the others do not answer in time: each half of the
    /// time.
    pub(crate) fn pick(self, rng: &mut impl Rng) -> Set {
        let mut picked = self;
        if rng.random_bool(0.5) {
            let majority = self.len() / 2 + 1;
            while picked.len() > majority {
                picked.0 &= !(1 << rng.random_range(0..u16::BITS));
            }
        }
        picked
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn has(self, master: usize) -> bool {
        self.0 >> master & 1 == 1
    }
}

/// What one master is sent at once.
#[derive(Default)]
struct Batch {
    commands: Vec<u8>,
    len: u64,
}

/// Who holds what and where, so that every command has an effect.
struct Services {
    all: Set,
    held: Vec<(u32, Set)>,
    free: Vec<u32>,
}

impl Services {
    /// Appends the commands that change one lock.
    fn act(&mut self, batches: &mut [Batch]) {
        let mut rng = rand::rng();
        let mut push = |on: Set, words: &[&[u8]]| {
            for (_, batch) in batches.iter_mut().enumerate().filter(|(master, _)| on.has(*master)) {
                resp::push(&mut batch.commands, words);
                batch.len += 1;
            }
        };
        if !self.held.is_empty() && rng.random_bool(RENEWALS) {
            let (n, on) = self.held[rng.random_range(0..self.held.len())];
            push(on, &[b"PEXPIRE", lock_key(n).as_bytes(), lease(&mut rng).as_bytes()]);
        } else if self.free.is_empty() || (!self.held.is_empty() && rng.random_bool(0.5)) {
            let (n, on) = self.held.swap_remove(rng.random_range(0..self.held.len()));
            self.free.push(n);
            push(on, &[b"DEL", lock_key(n).as_bytes()]);
        } else {
            let n = self.free.swap_remove(rng.random_range(0..self.free.len()));
            let on = self.all.pick(&mut rng);
            self.held.push((n, on));
            let (key, token, lease) = (lock_key(n), token(&mut rng), lease(&mut rng));
            push(on, &[b"SET", key.as_bytes(), token.as_bytes(), b"NX", b"PX", lease.as_bytes()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_is_all_of_them_or_a_majority() {
        let mut sizes: Vec<usize> = (0..100).map(|_| Set::all(5).pick(&mut rand::rng()).len()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        assert_eq!(sizes, [3, 5]);
        assert_eq!(Set::all(1).pick(&mut rand::rng()), Set::all(1));
    }
}
