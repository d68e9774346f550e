//! How long one waits for something to see after a key was pressed in the search box.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::Question;
use serde_json::json;

use super::Bench;
use crate::fill;
use crate::process::RedisServer;
use crate::report::{Line, Verdict};
use crate::stats::Spread;
use crate::viewer::{Viewer, Window};

const MOST_MS: f64 = 100.0;
const WINDOW: u32 = 60;

/// Typed letter by letter: a word, a condition on who holds, one on time, and one that leaves nearly everything.
const TYPED: [&str; 4] = ["invoice:77", "holder:0f8e", "held>1s stock", "-flag:no-expiry"];

/// Nobody types faster for long.
const KEY_EVERY: Duration = Duration::from_millis(100);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(super::FULL_SIZE);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, 0)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    let mut viewer = Viewer::open(server.address)?;
    let (mut first, mut whole) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds(5, 2) {
        for typed in TYPED {
            for end in 1..=typed.len() {
                // Of its own in each round: an answer that is kept from before is no search.
                let q = format!("{} -never{round}", &typed[..end]);
                let question = Question { q, ..Question::default() };
                if question.check().is_err() {
                    continue;
                }
                let (shown, Window { total, rows, took }) = viewer.search(&question, WINDOW)?;
                if rows.len() as u64 != total.min(u64::from(WINDOW)) {
                    bail!("find {total} locks by `{}`: {} rows came", question.q, rows.len());
                }
                first.push(shown);
                whole.push(took);
                std::thread::sleep(KEY_EVERY.saturating_sub(took));
            }
        }
    }
    let first = Spread::of(&first).context("find anything at all")?;
    let whole = Spread::of(&whole).context("find everything")?;
    Ok(vec![Line {
        name: "search",
        what: format!("first rows after a key was pressed, {locks} locks"),
        must: format!("p99 \u{2264} {MOST_MS} ms"),
        measured: format!("p99 {:.1} ms", first.p99_ms),
        verdict: Verdict::of(first.p99_ms <= MOST_MS),
        details: vec![first.words(), format!("until all were looked at: {}", whole.words())],
        numbers: json!({ "locks": locks, "first": first, "whole": whole }),
    }])
}
