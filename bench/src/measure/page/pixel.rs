//! How long after a write it can be seen.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::opened;
use crate::browser::{Browser, wall_ms};
use crate::fill::{self, lease, probe_key};
use crate::measure::Bench;
use crate::process::RedisServer;
use crate::report::{Line, Verdict};
use crate::resp::{self, Connection};
use crate::stats::Spread;
use crate::writer::Writer;

const MOST_MS: f64 = 120.0;
const LOCKS: u32 = 100_000;
const CHANGES_PER_SECOND: u32 = 1_000;

/// Locks that are written one after the other, all of them in sight.
const PROBES: usize = 12;
const PROBE_EVERY: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Notes when each token was drawn: after the frame in which it came to be.
const WATCH: &str = r"
    window.drawn = {};
    const look = () => {
        const found = document.querySelector('[role=grid]').textContent.match(/probe-\d{6}/g) || [];
        const news = found.filter(token => !(token in window.drawn));
        if (!news.length) return;
        for (const token of news) window.drawn[token] = null;
        requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => {
                for (const token of news) window.drawn[token] = performance.timeOrigin + performance.now();
            };
            port2.postMessage(0);
        });
    };
    new MutationObserver(look).observe(document.querySelector('[role=grid]'),
        { childList: true, subtree: true, characterData: true });
    true
";

pub(in crate::measure) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut connection = Connection::open(redis.port)?;
    for n in 0..PROBES {
        write(&mut connection, n, "before")?;
    }
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    let mut browser = Browser::start()?;
    opened(&mut browser, &server, "?q=lock%3Aprobe%3A&sort=name")?;
    browser.value(WATCH)?;

    let writer = Writer::start(redis.port, locks, CHANGES_PER_SECOND)?;
    let began = Instant::now();
    let mut sent: HashMap<String, f64> = HashMap::new();
    for n in 0..bench.full_or(1_200_u32, 200) {
        std::thread::sleep((began + PROBE_EVERY * n).saturating_duration_since(Instant::now()));
        let token = format!("probe-{n:06}");
        sent.insert(token.clone(), wall_ms());
        write(&mut connection, n as usize % PROBES, &token)?;
    }
    std::thread::sleep(LAST_WAIT);
    let written = writer.stop()?;
    written.must_reach(CHANGES_PER_SECOND)?;
    let drawn = browser.value("window.drawn")?;
    let took: Vec<Duration> = sent
        .iter()
        .filter_map(|(token, sent)| Some(drawn[token].as_f64()? - sent))
        .map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1_000.0))
        .collect();
    let spread = Spread::of(&took).context("see any change at all")?;
    let unseen = sent.len() - took.len();
    Ok(vec![Line {
        name: "pixel",
        what: format!("Redis write to the drawn row, {locks} locks, {CHANGES_PER_SECOND} changes/s"),
        must: format!("p99 \u{2264} {MOST_MS} ms"),
        measured: format!("p99 {:.1} ms", spread.p99_ms),
        verdict: Verdict::of(spread.p99_ms <= MOST_MS && unseen == 0),
        details: vec![spread.words(), format!("{unseen} never drawn")],
        numbers: json!({ "locks": locks, "spread": spread, "unseen": unseen }),
    }])
}

fn write(connection: &mut Connection, n: usize, token: &str) -> Result<()> {
    let mut command = Vec::new();
    let (key, lease) = (probe_key(n), lease(&mut rand::rng()));
    resp::push(&mut command, &[b"SET", key.as_bytes(), token.as_bytes(), b"PX", lease.as_bytes()]);
    connection.send(&command)?;
    connection.fine().map(drop)
}
