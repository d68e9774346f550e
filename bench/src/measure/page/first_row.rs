//! How soon there is something to read.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::browser::Browser;
use crate::fill;
use crate::measure::Bench;
use crate::process::RedisServer;
use crate::report::{Line, Verdict};
use crate::stats::Spread;

const MOST_MS: f64 = 1_500.0;
const LOCKS: u32 = 100_000;

/// As slow as a tired laptop.
const SLOWER: u32 = 4;

/// Notes when the first row was drawn: the frame after the one in which it came to be.
const WATCH: &str = r"
    new MutationObserver((_, observer) => {
        const cell = document.querySelector('[role=grid] tbody [role=row] .c-lock');
        if (!cell || cell.textContent.trim() === '') return;
        observer.disconnect();
        requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => { window.firstRow = performance.now(); };
            port2.postMessage(0);
        });
    }).observe(document, { childList: true, subtree: true, characterData: true });
";

pub(in crate::measure) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;

    let mut browser = Browser::start()?;
    browser.command("Network.enable", json!({}))?;
    browser.command("Network.setCacheDisabled", json!({ "cacheDisabled": true }))?;
    browser.before_all(WATCH)?;
    let mut took = Vec::new();
    for _ in 0..bench.rounds(9, 3) {
        browser.open("about:blank")?;
        browser.slow_down(SLOWER)?;
        browser.open(&format!("http://{}/", server.address))?;
        browser.until("the first row", "typeof window.firstRow === 'number'")?;
        let ms = browser.value("window.firstRow")?.as_f64().context("understand a time")?;
        took.push(Duration::from_secs_f64(ms / 1_000.0));
        browser.slow_down(1)?;
    }
    let spread = Spread::of(&took).context("open the page at all")?;
    Ok(vec![Line {
        name: "first-row",
        what: format!(
            "navigation to the first readable row, {locks} locks, nothing cached, processor {SLOWER} × slower"
        ),
        must: format!("\u{2264} {MOST_MS} ms"),
        measured: format!("{:.0} ms", spread.p50_ms),
        verdict: Verdict::of(spread.p50_ms <= MOST_MS),
        details: vec![spread.words()],
        numbers: json!({ "locks": locks, "spread": spread }),
    }])
}
