//! Whether a page that is open all day grows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::opened;
use crate::browser::Browser;
use crate::fill;
use crate::measure::Bench;
use crate::process::RedisServer;
use crate::report::{Line, Verdict, megabytes};
use crate::writer::Writer;

const MOST_BYTES: u64 = 80_000_000;
const MOST_DRIFT: f64 = 0.05;
const LOCKS: u32 = 100_000;
const CHANGES_PER_SECOND: u32 = 1_000;

/// The caches of the browser's engine have filled by then.
const WARM_UP: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3_600);
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Remembers the memory that the app's WebAssembly works in, which is no part of the script engine's heap.
const CATCH: &str = r"
    for (const name of ['instantiate', 'instantiateStreaming']) {
        const before = WebAssembly[name];
        WebAssembly[name] = async (...given) => {
            const made = await before.apply(WebAssembly, given);
            // Parts that come later work in the memory of the first.
            const { memory } = (made.instance || made).exports;
            if (memory) window.wasmMemory = memory;
            return made;
        };
    }
";

pub(in crate::measure) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let (warm_up, span) = bench.full_or((WARM_UP, HOUR), (WARM_UP / 4, WARM_UP));
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    let mut browser = Browser::start()?;
    browser.before_all(CATCH)?;
    // What changed last comes first: every change is on the screen.
    opened(&mut browser, &server, "?sort=last_change")?;
    let writer = Writer::start(redis.port, locks, CHANGES_PER_SECOND)?;
    std::thread::sleep(warm_up);

    let began = Instant::now();
    let (mut samples, mut nodes) = (vec![used(&mut browser)?], vec![nodes_of(&mut browser)?]);
    while began.elapsed() < span {
        std::thread::sleep(LOOK_EVERY.min(span.saturating_sub(began.elapsed())));
        samples.push(used(&mut browser)?);
        nodes.push(nodes_of(&mut browser)?);
    }
    writer.stop()?.must_reach(CHANGES_PER_SECOND)?;
    // Halves: a single sample is as good as the moment in which it was taken.
    let ((before, after), (nodes_before, nodes_after)) = (halves(&samples), halves(&nodes));
    let (drift, nodes_drift) = (after / before - 1.0, nodes_after / nodes_before - 1.0);
    let most = samples.iter().copied().max().unwrap_or(0);
    let minutes = span.as_secs() / 60;
    Ok(vec![Line {
        name: "page-memory",
        what: format!("memory of the page, {minutes} min, {locks} locks, {CHANGES_PER_SECOND} changes/s"),
        must: format!("\u{2264} {}, within {:.0} %", megabytes(MOST_BYTES), MOST_DRIFT * 100.0),
        measured: format!("{}, {:+.1} %, nodes {:+.1} %", megabytes(most), drift * 100.0, nodes_drift * 100.0),
        // A page that gets smaller has not grown.
        verdict: Verdict::of(most <= MOST_BYTES && drift <= MOST_DRIFT && nodes_drift <= MOST_DRIFT),
        details: vec![
            format!("mean of the first half {}, of the second {}", megabytes(before as u64), megabytes(after as u64)),
            format!(
                "{} samples after collecting garbage: the script engine's heap and the WebAssembly's memory",
                samples.len()
            ),
            // They are kept outside both, by whatever still refers to them.
            format!("nodes of the document, and of what was taken out of it: {nodes_before:.0}, then {nodes_after:.0}"),
        ],
        numbers: json!({ "locks": locks, "minutes": minutes, "bytes": samples, "drift": drift, "nodes": nodes }),
    }])
}

fn used(browser: &mut Browser) -> Result<u64> {
    browser.command("HeapProfiler.collectGarbage", json!({}))?;
    let metrics = browser.command("Performance.getMetrics", json!({}))?;
    let heap = metrics["metrics"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|metric| metric["name"] == "JSHeapUsedSize")
        .and_then(|metric| metric["value"].as_f64())
        .context("find the size of the heap")?;
    let Some(wasm) = browser.value("window.wasmMemory && window.wasmMemory.buffer.byteLength")?.as_f64() else {
        bail!("find the memory of the app");
    };
    Ok((heap + wasm) as u64)
}

/// After [`used`] has collected what nobody needs.
fn nodes_of(browser: &mut Browser) -> Result<u64> {
    browser.command("Memory.getDOMCounters", json!({}))?["nodes"].as_u64().context("count the nodes of the page")
}

/// The means of the first half and of the second.
fn halves(samples: &[u64]) -> (f64, f64) {
    let (before, after) = samples.split_at(samples.len() / 2);
    (mean(before), mean(after))
}

fn mean(samples: &[u64]) -> f64 {
    samples.iter().sum::<u64>() as f64 / samples.len().max(1) as f64
}
