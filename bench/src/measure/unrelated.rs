//! What being watched costs those who have nothing to do with locks.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Bench;
use crate::fill::{self, PATTERN};
use crate::process::{Load, RedisServer};
use crate::redis_benchmark::{CLIENTS, Throughput};
use crate::report::{Line, Verdict};
use crate::stats::median;
use crate::writer::Writer;

const LEAST: f64 = 0.95;
const LOCKS: u32 = 100_000;
const CHANGES_PER_SECOND: u32 = 10_000;

/// A fresh server has settled by then.
const SETTLE: Duration = Duration::from_secs(1);

const COMMANDS: [&str; 2] = ["SET", "GET"];

/// What one side of the comparison reached.
#[derive(Debug, Default)]
struct Side {
    /// Requests a second of each of [`COMMANDS`], a number a round.
    per_second: [Vec<f64>; 2],
    written: Vec<f64>,
    /// Percent of a core that the server used.
    own: Vec<f64>,
    store: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let redis = RedisServer::start()?;
    let (mut bare, mut watched, mut catalogue) = (Side::default(), Side::default(), Side::default());
    let rounds = bench.rounds(7, 3);
    // Unmeasured: the first load on a fresh Redis is slower.
    run(bench, &redis, locks, None, &mut Side::default())?;
    for round in 0..rounds {
        // In turn, and each first as often as the other: a machine that slows down must not decide this.
        for first in [true, false] {
            match first == (round % 2 == 0) {
                true => run(bench, &redis, locks, None, &mut bare)?,
                false => run(bench, &redis, locks, Some(&[PATTERN]), &mut watched)?,
            }
        }
        let last = |side: &Side| side.per_second.iter().map(|one| one.last().copied().unwrap_or(0.0)).sum::<f64>();
        eprintln!("  round {}: {:.0} requests/s, watched {:.0}", round + 1, last(&bare) / 2.0, last(&watched) / 2.0);
    }
    for _ in 0..rounds.div_ceil(3) {
        run(bench, &redis, locks, Some(&[]), &mut catalogue)?;
    }

    let ratios = |side: &Side| [0, 1].map(|i| median(&side.per_second[i]) / median(&bare.per_second[i]));
    let own = ratios(&watched);
    let worst = own[0].min(own[1]);
    let of_catalogue = ratios(&catalogue);
    let each = |i: usize| {
        let (bare, watched) = (median(&bare.per_second[i]), median(&watched.per_second[i]));
        format!("{} {watched:.0}/s of {bare:.0}/s: {:.3}", COMMANDS[i], own[i])
    };
    Ok(vec![Line {
        name: "unrelated",
        what: format!("throughput of an unrelated load, {CHANGES_PER_SECOND} lock changes/s, watched / not"),
        must: format!("\u{2265} {LEAST}"),
        measured: format!("{worst:.3}"),
        verdict: Verdict::of(worst >= LEAST),
        details: vec![
            each(0),
            each(1),
            format!("medians of {rounds} pairs, {CLIENTS} clients"),
            format!("lock changes/s {:.0} watched, {:.0} not", median(&watched.written), median(&bare.written)),
            format!(
                "lockkeeper {:.0} % of a core, Redis {:.0} % (unwatched {:.0} %)",
                median(&watched.own),
                median(&watched.store),
                median(&bare.store)
            ),
            format!("without a pattern, for information: SET {:.3}, GET {:.3}", of_catalogue[0], of_catalogue[1]),
        ],
        numbers: json!({
            "locks": locks, "ratio": { "SET": own[0], "GET": own[1] },
            "unwatched": { "SET": bare.per_second[0], "GET": bare.per_second[1], "changes": bare.written },
            "watched": { "SET": watched.per_second[0], "GET": watched.per_second[1], "changes": watched.written },
            "without_pattern": { "SET": catalogue.per_second[0], "GET": catalogue.per_second[1],
                "changes": catalogue.written, "ratio": { "SET": of_catalogue[0], "GET": of_catalogue[1] } },
            "lockkeeper_percent": watched.own, "redis_percent": watched.store, "redis_unwatched_percent": bare.store,
        }),
    }])
}

/// The load once, watched with these patterns or not at all.
fn run(bench: &Bench, redis: &RedisServer, locks: u32, watched: Option<&[&str]>, side: &mut Side) -> Result<()> {
    // Every run begins with the same locks.
    fill::fill(redis.port, locks, 0)?;
    let mut server = watched.map(|patterns| bench.watch_for(redis.port, patterns)).transpose()?;
    if let Some(server) = &mut server {
        server.until_live()?;
    }
    let writer = Writer::start(redis.port, locks, CHANGES_PER_SECOND)?;
    std::thread::sleep(SETTLE);
    let own = server.as_ref().map(|server| Load::begin(server.pid())).transpose()?;
    let store = Load::begin(redis.pid())?;
    let requests = bench.full_or(400_000, 100_000);
    let reached = Throughput::of(redis.port, requests, &["-t", "get,set"])?;
    if let Some(own) = own {
        side.own.push(own.percent()?);
    }
    side.store.push(store.percent()?);
    let written = writer.stop()?;
    written.must_reach(CHANGES_PER_SECOND)?;
    side.written.push(written.per_second());
    for (name, numbers) in COMMANDS.iter().zip(&mut side.per_second) {
        numbers.push(reached.per_second(name).with_context(|| format!("find how fast `{name}` was"))?);
    }
    Ok(())
}
