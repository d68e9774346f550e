//! A store of the wanted size, and the names in it.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use rand::Rng;

use crate::resp::{self, Connection};

/// What the locks are for: the middle part of their keys.
const KINDS: [&str; 8] = ["order", "stock", "invoice", "user", "job", "cron", "mail", "sync"];

/// Commands in one pipeline, and pipelines under way.
const AT_ONCE: usize = 1_000;
const UNDER_WAY: usize = 8;

/// The pattern that all locks match and nothing else does.
pub(crate) const PATTERN: &str = "lock:*";

/// The key of the nth lock.
pub(crate) fn lock_key(n: u32) -> String {
    format!("lock:{}:{n}", KINDS[n as usize % KINDS.len()])
}

/// The key of the nth lock that is watched for changes one by one.
pub(crate) fn probe_key(n: usize) -> String {
    format!("lock:probe:{n:03}")
}

/// A fresh random token, 32 hexadecimal digits.
pub(crate) fn token(rng: &mut impl Rng) -> String {
    let mut token = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(token, "{:032x}", rng.random::<u128>());
    token
}

/// A lease that no benchmark outlives, as the digits of its milliseconds.
pub(crate) fn lease(rng: &mut impl Rng) -> String {
    const HOUR_MS: u64 = 3_600_000;
    rng.random_range(2 * HOUR_MS..8 * HOUR_MS).to_string()
}

/// Writes so many locks, each held by somebody, and as many other keys as asked.
pub(crate) fn fill(port: u16, locks: u32, others: u32) -> Result<Duration> {
    fill_over(&[port], |_| 0..1, locks, others)
}

/// The same where there are several stores; `on` says for each key on which of them it is.
pub(crate) fn fill_over(
    ports: &[u16],
    on: impl Fn(&[u8]) -> Range<usize>,
    locks: u32,
    others: u32,
) -> Result<Duration> {
    let began = std::time::Instant::now();
    let mut rng = rand::rng();
    let mut pipelines = ports.iter().map(|&port| Pipeline::open(port)).collect::<Result<Vec<_>>>()?;
    let mut push = |words: &[&[u8]]| {
        pipelines.get_mut(on(words[1])).unwrap_or_default().iter_mut().try_for_each(|pipeline| pipeline.push(words))
    };
    for n in 0..locks.max(others) {
        // In turn, so that locks lie between other keys as they do in a real store.
        if n < locks {
            let (key, token, lease) = (lock_key(n), token(&mut rng), lease(&mut rng));
            push(&[b"SET", key.as_bytes(), token.as_bytes(), b"PX", lease.as_bytes()])?;
        }
        if n < others {
            let value = token(&mut rng);
            if n % 2 == 0 {
                let (key, lease) = (format!("session:{n}"), lease(&mut rng));
                push(&[b"SET", key.as_bytes(), value.as_bytes(), b"PX", lease.as_bytes()])?;
            } else {
                push(&[b"SET", format!("cache:{n}").as_bytes(), value.as_bytes()])?;
            }
        }
    }
    pipelines.into_iter().try_for_each(Pipeline::finish)?;
    Ok(began.elapsed())
}

/// Commands that are sent many at once, for their effect only.
pub(crate) struct Pipeline {
    connection: Connection,
    commands: Vec<u8>,
    waiting: usize,
    under_way: std::collections::VecDeque<usize>,
}

impl Pipeline {
    pub(crate) fn open(port: u16) -> Result<Pipeline> {
        let connection = Connection::open(port)?;
        Ok(Pipeline { connection, commands: Vec::new(), waiting: 0, under_way: std::collections::VecDeque::new() })
    }

    pub(crate) fn push(&mut self, words: &[&[u8]]) -> Result<()> {
        resp::push(&mut self.commands, words);
        self.waiting += 1;
        if self.waiting == AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.connection.send(&self.commands)?;
        self.commands.clear();
        self.under_way.push_back(std::mem::take(&mut self.waiting));
        while self.under_way.len() > UNDER_WAY {
            self.settle_oldest()?;
        }
        Ok(())
    }

    fn settle_oldest(&mut self) -> Result<()> {
        for _ in 0..self.under_way.pop_front().unwrap_or(0) {
            self.connection.fine()?;
        }
        Ok(())
    }

    /// Waits until everything was done.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        while !self.under_way.is_empty() {
            self.settle_oldest()?;
        }
        Ok(())
    }
}
