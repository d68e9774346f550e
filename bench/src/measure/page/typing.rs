//! How long after a keystroke its result is there.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::opened;
use crate::browser::Browser;
use crate::fill;
use crate::measure::{Bench, FULL_SIZE};
use crate::process::RedisServer;
use crate::report::{Line, Verdict};
use crate::stats::Spread;

/// Half of all keystrokes: what is slower is told beside it.
const MOST_MS: f64 = 100.0;

/// A result that is not there by then changes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is typed: each further letter leaves fewer locks, so that each has a result of its own.
const TYPED: [&str; 6] = ["stock:4711", "order:123", "user:77", "cron:901", "mail:38", "sync:4207"];

/// Notes when a key was pressed, and when a count that is another one was drawn and nothing is being asked for any more.
const WATCH: &str = r"
    (() => {
        const grid = document.querySelector('[role=grid]');
        const field = document.querySelector('.search [role=combobox]');
        window.typed = { pressed: null, before: null, took: null };
        field.addEventListener('keydown', event => {
            window.typed = { pressed: event.timeStamp, before: grid.getAttribute('aria-rowcount'), took: null };
        }, true);
        const look = () => {
            const typed = window.typed;
            if (typed.pressed === null || typed.took !== null) return;
            if (grid.getAttribute('aria-rowcount') === typed.before) return;
            requestAnimationFrame(() => {
                const { port1, port2 } = new MessageChannel();
                port1.onmessage = () => { if (typed.took === null) typed.took = performance.now() - typed.pressed; };
                port2.postMessage(0);
            });
        };
        new MutationObserver(look).observe(grid, { attributes: true, attributeFilter: ['aria-rowcount'] });
        field.focus();
        return true;
    })()
";

pub(in crate::measure) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(FULL_SIZE);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    let mut browser = Browser::start()?;
    let mut took = Vec::new();
    let mut unanswered = 0;
    for typed in TYPED {
        opened(&mut browser, &server, "")?;
        browser.value(WATCH)?;
        for key in typed.chars() {
            browser.press(key)?;
            if browser.comes_true("window.typed.took !== null", PATIENCE) {
                let ms = browser.value("window.typed.took")?.as_f64().context("understand a time")?;
                took.push(Duration::from_secs_f64(ms / 1_000.0));
            } else {
                // The same locks are left: nothing to be seen.
                unanswered += 1;
            }
        }
    }
    let spread = Spread::of(&took).context("see the result of any keystroke")?;
    Ok(vec![Line {
        name: "typing",
        what: format!("a keystroke in the search box to its result, {locks} locks"),
        must: format!("p50 \u{2264} {MOST_MS} ms"),
        measured: format!("p50 {:.0} ms, p99 {:.0} ms", spread.p50_ms, spread.p99_ms),
        verdict: Verdict::of(spread.p50_ms <= MOST_MS),
        details: vec![spread.words(), format!("{unanswered} keystrokes left the number of locks as it was")],
        numbers: json!({ "locks": locks, "spread": spread, "unanswered": unanswered }),
    }])
}
