//! How long it takes until every lock of a cluster is known, next to clients that read its nodes side by side.

use anyhow::Result;
use rand::seq::SliceRandom as _;
use serde_json::json;

use super::Bench;
use super::listing::{PAUSE, compare, ms, must_be_whole};
use crate::bare;
use crate::cluster::Cluster;
use crate::fill::{self, PATTERN};
use crate::process::Completed;
use crate::report::{Line, Verdict};
use crate::stats::median;

const MOST: f64 = 1.3;
const LOCKS: u32 = 300_000;

/// Locks of each primary that are compared one by one with what it says.
const COMPARED: usize = 100;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let cluster = Cluster::start()?;
    let primaries = &cluster.primaries;
    let on = |key: &[u8]| {
        let owner = cluster.owner(key);
        owner..owner + 1
    };
    let filled = fill::fill_over(primaries, on, locks, locks)?;
    eprintln!("  filled {} keys in {:.1} s", u64::from(locks) * 2, filled.as_secs_f64());

    // Unmeasured: the first client of a fresh Redis pays for cold caches.
    let (mut warm, _) = bare::list_all(primaries)?;
    must_be_whole(&warm, locks)?;

    let (mut bare_ms, mut own_ms, mut complete_ms, mut took_ms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut furthest = 0;
    for round in 1..=bench.rounds(5, 3) {
        std::thread::sleep(PAUSE);
        let (listed, took) = bare::list_all(primaries)?;
        must_be_whole(&listed, locks)?;
        bare_ms.push(ms(took));
        drop(listed);

        std::thread::sleep(PAUSE);
        let mut server = bench.watch_url(&cluster.url(), &[PATTERN])?;
        let Completed { complete, counted, status } = server.until_complete(locks)?;
        own_ms.push(ms(counted));
        complete_ms.push(ms(complete));
        took_ms.push(status.coverage.took_ms.unwrap_or(0) as f64);
        for (listed, &port) in warm.iter_mut().zip(primaries) {
            listed.names.shuffle(&mut rand::rng());
            let sample = listed.names.get(..COMPARED.min(listed.names.len())).unwrap_or_default();
            furthest = furthest.max(compare(&mut server.api()?, port, &status.name, sample)?);
        }
        eprintln!(
            "  round {round}: bare {:.0} ms, lockkeeper {:.0} ms",
            bare_ms.last().unwrap_or(&0.0),
            own_ms.last().unwrap_or(&0.0)
        );
    }
    let (bare, own) = (median(&bare_ms), median(&own_ms));
    let ratio = own / bare;
    Ok(vec![Line {
        name: "cluster",
        what: format!(
            "listing {locks} locks among {} keys on three primaries, start to complete",
            u64::from(locks) * 2
        ),
        must: format!("\u{2264} {MOST} × a bare client on all of them at once"),
        measured: format!("{ratio:.2} ×"),
        verdict: Verdict::of(ratio <= MOST),
        details: vec![
            format!(
                "{own:.0} ms from the start of the process until all are counted (complete {:.0} ms, the scan {:.0} ms by \
                 its own account)",
                median(&complete_ms),
                median(&took_ms)
            ),
            format!("bare clients, one for each primary, {bare:.0} ms"),
            format!("medians of {}", own_ms.len()),
            format!("{COMPARED} locks of each primary compared each time, deadlines at most {furthest} ms off"),
        ],
        numbers: json!({
            "locks": locks, "keys": u64::from(locks) * 2, "ratio": ratio,
            "lockkeeper_ms": own_ms, "lockkeeper_complete_ms": complete_ms, "lockkeeper_took_ms": took_ms,
            "bare_ms": bare_ms, "deadline_off_ms": furthest,
        }),
    }])
}
