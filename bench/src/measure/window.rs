//! How long one waits for any window, wherever in whichever order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::{LockId, Order, Question, SortKey};
use rand::Rng as _;
use serde_json::json;

use super::Bench;
use crate::api::Locks;
use crate::fill;
use crate::process::{Load, Lockkeeper, Memory, RedisServer};
use crate::report::{Line, Verdict, megabytes};
use crate::stats::Spread;
use crate::viewer::Viewer;
use crate::writer::Writer;

const MOST_MS: f64 = 50.0;
const CHANGES_PER_SECOND: u32 = 1_000;
const WINDOW: u32 = 60;

/// A viewer may say 60 things a second; a person scrolling says fewer.
const ASK_EVERY: Duration = Duration::from_millis(25);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(super::FULL_SIZE);
    let samples = bench.full_or(1_500, 1_000);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    let writer = Writer::start(redis.port, locks, CHANGES_PER_SECOND)?;

    let orders: Vec<(SortKey, Order)> =
        SortKey::ALL.into_iter().flat_map(|sort| [(sort, Order::Asc), (sort, Order::Desc)]).collect();
    let own = Load::begin(server.pid())?;
    let http = over_http(&server, &orders, locks, samples)?;
    let stream = over_stream(&server, &orders, locks, samples)?;
    let own = own.percent()?;
    let written = writer.stop()?;
    written.must_reach(CHANGES_PER_SECOND)?;
    let memory = Memory::of(server.pid())?;

    let mut lines = Vec::new();
    for (how, Asked { first, then }) in [("HTTP", http), ("stream", stream)] {
        let spread = Spread::of(&then).context("get any window at all")?;
        let first = Spread::of(&first).context("get any window at all")?;
        lines.push(Line {
            name: "window",
            what: format!("any window of {WINDOW} among {locks} locks by {how}, {CHANGES_PER_SECOND} changes/s"),
            must: format!("p99 \u{2264} {MOST_MS} ms"),
            measured: format!("p99 {:.1} ms", spread.p99_ms),
            verdict: Verdict::of(spread.p99_ms <= MOST_MS),
            details: vec![
                spread.words(),
                format!("first time in each order: {}", first.words()),
                format!("lockkeeper {own:.0} % of a core, {}", megabytes(memory.resident)),
            ],
            numbers: json!({
                "by": how, "locks": locks, "changes_per_second": written.per_second(), "spread": spread,
                "first": first, "lockkeeper_percent": own, "resident_bytes": memory.resident,
            }),
        });
    }
    Ok(lines)
}

/// How long answers took: the first in each order, and those after.
struct Asked {
    first: Vec<Duration>,
    then: Vec<Duration>,
}

fn over_http(server: &Lockkeeper, orders: &[(SortKey, Order)], locks: u32, samples: usize) -> Result<Asked> {
    let mut api = server.api()?;
    ask_all(orders, locks, samples, |sort, order, offset| {
        let query = format!("sort={}&order={}&offset={offset}&limit={WINDOW}", sort.word(), order.word());
        let began = Instant::now();
        let (status, body) = api.get(&format!("/api/v1/locks?{query}"))?;
        let took = began.elapsed();
        if status != 200 {
            bail!("get a window of {query}: {status} {}", String::from_utf8_lossy(&body));
        }
        let answer: Locks = serde_json::from_slice(&body).context("understand a window")?;
        let ids: Vec<&LockId> = answer.locks.iter().map(|lock| &lock.id).collect();
        must_fit(sort, order, offset, answer.total, &ids)?;
        Ok(took)
    })
}

fn over_stream(server: &Lockkeeper, orders: &[(SortKey, Order)], locks: u32, samples: usize) -> Result<Asked> {
    let mut viewer = Viewer::open(server.address)?;
    ask_all(orders, locks, samples, |sort, order, offset| {
        let question = Question { sort, order: Some(order), ..Question::default() };
        let window = viewer.ask(&question, offset, WINDOW)?;
        let ids: Vec<&LockId> = window.rows.iter().map(|row| &row.id).collect();
        must_fit(sort, order, offset, window.total, &ids)?;
        Ok(window.took)
    })
}

fn ask_all(
    orders: &[(SortKey, Order)],
    locks: u32,
    samples: usize,
    mut ask: impl FnMut(SortKey, Order, u64) -> Result<Duration>,
) -> Result<Asked> {
    let mut rng = rand::rng();
    let mut first = Vec::new();
    for &(sort, order) in orders {
        first.push(ask(sort, order, 0)?);
        std::thread::sleep(ASK_EVERY);
    }
    let mut then = Vec::with_capacity(samples);
    for _ in 0..samples {
        let (sort, order) = orders[rng.random_range(0..orders.len())];
        // Some locks are free at any moment, so the very last may not exist.
        let offset = rng.random_range(0..u64::from(locks - locks / 100));
        let began = Instant::now();
        then.push(ask(sort, order, offset)?);
        std::thread::sleep(ASK_EVERY.saturating_sub(began.elapsed()));
    }
    Ok(Asked { first, then })
}

/// Fails if a window is not full, or, where that can be seen from the names alone, not in order.
fn must_fit(sort: SortKey, order: Order, offset: u64, total: u64, ids: &[&LockId]) -> Result<()> {
    let expected = total.saturating_sub(offset).min(u64::from(WINDOW));
    if ids.len() as u64 != expected {
        bail!("get {expected} rows at {offset} of {total} by {}: {} came", sort.word(), ids.len());
    }
    let sorted = match order {
        Order::Asc => ids.is_sorted(),
        Order::Desc => ids.iter().rev().is_sorted(),
    };
    if sort == SortKey::Name && !sorted {
        bail!("get rows by name at {offset}: they are not in order");
    }
    Ok(())
}
