//! What being watched costs when nothing but locks is written, as fast as Redis can; and how soon the view is exact
//! again when that ends.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::Rng as _;
use serde::Serialize;
use serde_json::json;

use super::Bench;
use crate::api::token_of;
use crate::fill::{self, Pipeline, lock_key};
use crate::process::{Load, Lockkeeper, RedisServer};
use crate::redis_benchmark::{CLIENTS, Throughput};
use crate::report::{Line, Verdict};
use crate::resp::{Connection, Reply};
use crate::stats::median;

const LEAST: f64 = 0.90;
const EXACT_WITHIN: Duration = Duration::from_secs(1);
const LOCKS: u32 = 100_000;

/// Locks that must all be shown as they are.
const COMPARED: usize = 200;

const SETTLE: Duration = Duration::from_secs(1);

/// A view that is not exact after this never will be.
const GIVE_UP: Duration = Duration::from_secs(60);

/// How long the writer of its own kind writes.
const BURST: Duration = Duration::from_secs(5);

const MARKER: &str = "lock:marker";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let redis = RedisServer::start()?;
    let rounds = bench.rounds(7, 3);
    let (mut bare, mut watched) = (Vec::new(), Vec::new());
    let (mut own, mut exact) = (Vec::new(), Vec::<Exact>::new());
    // Unmeasured: it fills the store, and the first load on a fresh Redis is slower.
    load(bench, &redis, locks, "token-0")?;
    for round in 0..rounds {
        for first in [true, false] {
            if first == (round % 2 == 0) {
                bare.push(load(bench, &redis, locks, &format!("token-{round}-bare"))?);
                continue;
            }
            let mut server = bench.watch(redis.port)?;
            server.until_live()?;
            std::thread::sleep(SETTLE);
            let used = Load::begin(server.pid())?;
            let token = format!("token-{round}-watched");
            watched.push(load(bench, &redis, locks, &token)?);
            let ended = Instant::now();
            own.push(used.percent()?);
            let keys: Vec<String> = (0..COMPARED).map(|_| random_key(locks)).collect();
            exact.push(until_exact(&server, &redis, ended, &keys, &token)?);
        }
        let last = |numbers: &[f64]| numbers.last().copied().unwrap_or(0.0);
        eprintln!(
            "  round {}: {:.0} SET/s, watched {:.0}; exact after {:.0} ms",
            round + 1,
            last(&bare),
            last(&watched),
            exact.last().map_or(0.0, Exact::ms)
        );
    }
    let ratio = median(&watched) / median(&bare);
    let own = median(&own);

    let (burst_per_second, burst_exact, gaps) = burst(bench)?;
    let slowest = exact.iter().map(Exact::ms).fold(burst_exact.ms(), f64::max);
    let exact_ms: Vec<f64> = exact.iter().map(Exact::ms).collect();
    Ok(vec![
        Line {
            name: "saturated",
            what: format!("throughput of SET on {locks} lock keys at full speed, watched / not"),
            must: format!("\u{2265} {LEAST:.2}"),
            measured: format!("{ratio:.3}"),
            verdict: Verdict::of(ratio >= LEAST),
            details: vec![
                format!("{:.0}/s of {:.0}/s", median(&watched), median(&bare)),
                format!("medians of {rounds} pairs, {CLIENTS} clients, one request at a time each"),
                format!("lockkeeper {own:.0} % of a core"),
            ],
            numbers: json!({ "locks": locks, "ratio": ratio, "watched": watched, "unwatched": bare, "lockkeeper_percent": own }),
        },
        Line {
            name: "saturated",
            what: "the view is exact again after that ends".to_owned(),
            must: format!("\u{2264} {} s", EXACT_WITHIN.as_secs()),
            measured: format!("{slowest:.0} ms"),
            verdict: Verdict::of(slowest <= EXACT_WITHIN.as_secs_f64() * 1_000.0),
            details: vec![
                format!("slowest of all; median after the load above {:.0} ms", median(&exact_ms)),
                format!(
                    "after {burst_per_second:.0} SET/s in pipelines, each with another token: {}, {gaps} gaps",
                    burst_exact.words()
                ),
                format!("exact: nothing left to read, and {COMPARED} locks and the last write shown as they are"),
            ],
            numbers: json!({
                "exact": exact, "burst_exact": burst_exact, "burst_per_second": burst_per_second, "burst_gaps": gaps,
            }),
        },
    ])
}

/// The load once; its requests a second.
fn load(bench: &Bench, redis: &RedisServer, locks: u32, token: &str) -> Result<f64> {
    let requests = bench.full_or(500_000, 200_000);
    let range = locks.to_string();
    let reached = Throughput::of(redis.port, requests, &["-r", &range, "SET", "lock:__rand_int__", token])?;
    reached.per_second("SET").context("find how fast `SET` was")
}

/// A key as the load makes them.
fn random_key(locks: u32) -> String {
    format!("lock:{:012}", rand::rng().random_range(0..locks))
}

/// Writes on one connection as fast as Redis takes it, every time another token. Answers writes a second, how soon the
/// view was exact, and how many gaps there were.
fn burst(bench: &Bench) -> Result<(f64, Exact, u64)> {
    let locks = bench.locks(LOCKS);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, 0)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    std::thread::sleep(SETTLE);
    let mut rng = rand::rng();
    let mut pipeline = Pipeline::open(redis.port)?;
    let mut recent = Vec::new();
    let (began, mut writes) = (Instant::now(), 0_u64);
    while began.elapsed() < BURST {
        recent.clear();
        // The clock is read rarely: this is about speed.
        for _ in 0..1_000 {
            let n = rng.random_range(0..locks);
            let token = format!("burst-{writes}");
            pipeline.push(&[b"SET", lock_key(n).as_bytes(), token.as_bytes()])?;
            writes += 1;
            recent.push(n);
        }
    }
    pipeline.finish()?;
    let ended = Instant::now();
    let per_second = writes as f64 / (ended - began).as_secs_f64();
    // The last that were written are the last to be read; the others are any.
    let half = COMPARED / 2;
    let any = (0..half).map(|_| rng.random_range(0..locks));
    let keys: Vec<String> = recent.iter().rev().copied().take(half).chain(any).map(lock_key).collect();
    let exact = until_exact(&server, &redis, ended, &keys, "burst-marker")?;
    Ok((per_second, exact, server.api()?.source()?.gaps))
}

/// How long after the load each part of the view was seen to be as it must, in milliseconds, the time for looking
/// included.
#[derive(Clone, Copy, Debug, Serialize)]
struct Exact {
    /// The last write was shown.
    last_write_ms: f64,
    /// So were the compared locks.
    locks_ms: f64,
    /// And nothing was left to read, by the server's own account.
    settled_ms: f64,
}

impl Exact {
    /// All of it.
    fn ms(&self) -> f64 {
        self.settled_ms
    }

    fn words(&self) -> String {
        let Exact { last_write_ms, locks_ms, settled_ms } = self;
        format!("last write shown after {last_write_ms:.0} ms, all locks {locks_ms:.0} ms, settled {settled_ms:.0} ms")
    }
}

/// Writes one last lock, and waits until that and these keys are shown as they are and nothing is left to read.
fn until_exact(
    server: &Lockkeeper,
    redis: &RedisServer,
    ended: Instant,
    keys: &[String],
    token: &str,
) -> Result<Exact> {
    let mut store = Connection::open(redis.port)?;
    store.ask(&[b"SET", MARKER.as_bytes(), token.as_bytes()])?;
    let mut expected = Vec::with_capacity(keys.len());
    for key in keys {
        expected.push(match store.ask(&[b"GET", key.as_bytes()])? {
            Reply::Bulk(token) => Some(String::from_utf8_lossy(token).into_owned()),
            _ => None,
        });
    }
    let mut api = server.api()?;
    let source = api.source()?.name;
    let ms = || ended.elapsed().as_secs_f64() * 1_000.0;
    until(ended, || Ok(api.lock(&source, MARKER)?.is_some_and(|lock| token_of(&lock) == token)))?;
    let last_write_ms = ms();
    // Nothing is written any more, so what was once as it must be stays so, and each is looked at until it is.
    for (key, expected) in keys.iter().zip(&expected) {
        until(ended, || Ok(api.lock(&source, key)?.as_ref().map(token_of) == expected.as_deref()))?;
    }
    let locks_ms = ms();
    until(ended, || {
        let status = api.source()?;
        Ok(status.dirty == 0 && status.coverage.complete)
    })?;
    Ok(Exact { last_write_ms, locks_ms, settled_ms: ms() })
}

fn until(ended: Instant, mut passes: impl FnMut() -> Result<bool>) -> Result<()> {
    while !passes()? {
        if ended.elapsed() > GIVE_UP {
            bail!("see the view exact again within {} s", GIVE_UP.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
