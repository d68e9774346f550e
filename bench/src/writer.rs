//! Services that take, renew and give back locks, so many times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::Rng as _;

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
    /// Commands that changed something.
    pub(crate) changes: u64,
    pub(crate) seconds: f64,
}

impl Written {
    pub(crate) fn per_second(&self) -> f64 {
        self.changes as f64 / self.seconds
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
        let mut connection = Connection::open(port)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut services = Services { held: (0..locks).collect(), free: Vec::new() };
            let began = Instant::now();
            let (mut sent, mut changes) = (0_u64, 0_u64);
            let most = u64::from((rate / 1_000).max(1) * MOST_AT_ONCE_MS);
            let mut commands = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                let now = due.saturating_sub(sent).min(most);
                commands.clear();
                for _ in 0..now {
                    services.act(&mut commands);
                }
                connection.send(&commands)?;
                for _ in 0..now {
                    changes += u64::from(connection.fine()?.is_effect());
                }
                sent += now;
                if due.saturating_sub(sent) == 0 {
                    std::thread::sleep(TICK);
                }
            }
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

/// Who holds what, so that every command has an effect.
struct Services {
    held: Vec<u32>,
    free: Vec<u32>,
}

impl Services {
    /// Appends one command that changes one lock.
    fn act(&mut self, commands: &mut Vec<u8>) {
        let mut rng = rand::rng();
        if !self.held.is_empty() && rng.random_bool(RENEWALS) {
            let n = self.held[rng.random_range(0..self.held.len())];
            resp::push(commands, &[b"PEXPIRE", lock_key(n).as_bytes(), lease(&mut rng).as_bytes()]);
        } else if self.free.is_empty() || (!self.held.is_empty() && rng.random_bool(0.5)) {
            let n = self.held.swap_remove(rng.random_range(0..self.held.len()));
            self.free.push(n);
            resp::push(commands, &[b"DEL", lock_key(n).as_bytes()]);
        } else {
            let n = self.free.swap_remove(rng.random_range(0..self.free.len()));
            self.held.push(n);
            let (key, token, lease) = (lock_key(n), token(&mut rng), lease(&mut rng));
            resp::push(commands, &[b"SET", key.as_bytes(), token.as_bytes(), b"NX", b"PX", lease.as_bytes()]);
        }
    }
}
