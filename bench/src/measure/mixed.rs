//! Listing locks of many libraries without a pattern, next to a client that reads the same keys.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use super::Bench;
use crate::mixed;
use crate::process::RedisServer;
use crate::report::{Line, Verdict};
use crate::stats::median;

const MOST: f64 = 1.8;

/// As for listing: Redis's own measure of how busy it is looks back over 1.6 s.
const PAUSE: Duration = Duration::from_secs(3);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(super::FULL_SIZE) / 10 * 10;
    let redis = RedisServer::start()?;
    mixed::fill(redis.port, locks)?;
    // Unmeasured: the first client of a fresh Redis pays for cold caches.
    mixed::list(redis.port)?;
    let (mut bare_ms, mut own_ms) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds(5, 3) {
        std::thread::sleep(PAUSE);
        let (keys, took) = mixed::list(redis.port)?;
        if keys < 2 * locks {
            bail!("list {} keys with a bare client: it found {keys}", 2 * locks);
        }
        bare_ms.push(took.as_secs_f64() * 1_000.0);
        std::thread::sleep(PAUSE);
        let mut server = bench.watch_for(redis.port, &[])?;
        let counted = server.until_complete(locks)?.counted;
        own_ms.push(counted.as_secs_f64() * 1_000.0);
        eprintln!(
            "  round {round}: bare {:.0} ms, lockkeeper {:.0} ms",
            bare_ms.last().unwrap_or(&0.0),
            own_ms.last().unwrap_or(&0.0)
        );
    }
    let (bare, own) = (median(&bare_ms), median(&own_ms));
    let ratio = own / bare;
    Ok(vec![Line {
        name: "mixed",
        what: format!("listing {locks} locks of ten kinds among {} keys, without a pattern", 2 * locks),
        must: format!("\u{2264} {MOST} × a bare client"),
        measured: format!("{ratio:.2} ×"),
        verdict: Verdict::of(ratio <= MOST),
        details: vec![
            format!("{own:.0} ms from the start of the process until all are counted, bare client {bare:.0} ms"),
            format!("medians of {}; the bare client knows each key's type by its name", own_ms.len()),
        ],
        numbers: json!({ "locks": locks, "ratio": ratio, "lockkeeper_ms": own_ms, "bare_ms": bare_ms }),
    }])
}
