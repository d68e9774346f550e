//! Releases of every dialect against whatever its clients do at the same moment, as often as it is promised that nobody
//! is hurt. The races themselves are an end-to-end test, which runs fewer of them with every change.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Bench;
use crate::report::{Line, Verdict};

const RACES: u64 = 100_000;

/// The end-to-end test, and what its last line begins with after the number of races.
const TEST: &str = "races_dialects::of_every_dialect_exactly_what_was_previewed_is_freed_whatever_happens_meanwhile";
const SUMMARY: &str = " races of ";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let races = bench.full_or(RACES, RACES / 100);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let began = Instant::now();
    let output = Command::new("cargo")
        .args(["test", "--quiet", "--package", "lockkeeper-tests", "--test", "end_to_end", "--"])
        .args(["--exact", TEST, "--nocapture"])
        .env("LOCKKEEPER_BIN", &bench.lockkeeper)
        .env("LOCKKEEPER_RACES", races.to_string())
        .current_dir(root)
        .output()
        .context("start `cargo test`")?;
    let log = bench.out.join("races.log");
    std::fs::write(&log, [&*output.stdout, &*output.stderr].concat())
        .with_context(|| format!("write `{}`", log.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let summary = said.lines().find(|line| line.contains(SUMMARY));
    let took = began.elapsed().as_secs_f64();
    Ok(vec![Line {
        name: "races",
        what: format!("{races} releases of every dialect against hand-overs, renewals, re-entries and expiries"),
        must: "not one frees anything else".to_owned(),
        measured: if output.status.success() { "not one".to_owned() } else { "a race was lost".to_owned() },
        // A summary without success is a race that was lost; neither is a test that could not be run.
        verdict: match summary {
            Some(_) => Verdict::of(output.status.success()),
            None if said.contains("LOCKKEEPER_SEED=") => Verdict::of(false),
            None => Verdict::Unknown,
        },
        details: vec![format!(
            "{}; {took:.0} s; all that was said: {}",
            summary.unwrap_or("it did not come to its end"),
            log.display()
        )],
        numbers: json!({ "races": races, "seconds": took }),
    }])
}
