//! How fast what is stored is recognised as whose lock.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use lockkeeper::source::redis::catalogue::Sample;
use serde_json::json;

use super::Bench;
use crate::corpus;
use crate::report::{Line, Verdict};
use crate::stats::median;

const LEAST: f64 = 2_000_000.0;

/// Long enough for the clock of the processor to settle.
const ROUND: Duration = Duration::from_millis(500);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let situations = corpus::load()?;
    let samples: Vec<(Sample, i64)> = situations
        .iter()
        .flat_map(|one| Sample::of_store(&one.keys).into_iter().map(|sample| (sample, one.now_ms)))
        .collect();
    let locks: usize = samples.iter().map(|(sample, now)| sample.recognise(false, *now)).sum();
    let mut per_second = Vec::new();
    for _ in 0..bench.rounds(7, 3) {
        let (began, mut n) = (Instant::now(), 0_u64);
        while began.elapsed() < ROUND {
            // The clock is read rarely: this is about speed.
            for _ in 0..16 {
                for (sample, now) in &samples {
                    black_box(black_box(sample).recognise(false, *now));
                }
                n += samples.len() as u64;
            }
        }
        per_second.push(n as f64 / began.elapsed().as_secs_f64());
    }
    let rate = median(&per_second);
    Ok(vec![Line {
        name: "recognition",
        what: "roots recognised, one core".to_owned(),
        must: format!("\u{2265} {:.0} /s", LEAST),
        measured: format!("{rate:.0} /s"),
        verdict: Verdict::of(rate >= LEAST),
        details: vec![format!(
            "{} recorded roots of every family in turn, {locks} of them locks; median of {}",
            samples.len(),
            per_second.len()
        )],
        numbers: json!({ "per_second": per_second, "roots": samples.len(), "locks": locks }),
    }])
}
