//! How fast what is stored is recognised as whose lock.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::Criterion;
use serde_json::json;

use super::Bench;
use crate::corpus::Roots;
use crate::report::{Line, Verdict};
use crate::stats::median;

const LEAST: f64 = 2_000_000.0;

/// Long enough for the clock of the processor to settle.
const WARM_UP: Duration = Duration::from_secs(1);

/// All samples together. Criterion takes no fewer than ten.
const ROUND: Duration = Duration::from_millis(500);
const FEWEST_ROUNDS: usize = 10;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let roots = Roots::load()?;
    let locks = roots.recognise();
    let rounds = bench.rounds(FEWEST_ROUNDS, FEWEST_ROUNDS).max(FEWEST_ROUNDS);
    let mut per_second = Vec::new();
    Criterion::default()
        .output_directory(&bench.out.join("criterion"))
        .without_plots()
        .warm_up_time(WARM_UP)
        .sample_size(rounds)
        .measurement_time(ROUND * rounds as u32)
        .bench_function("recognition", |loops| {
            loops.iter_custom(|times| {
                let began = Instant::now();
                for _ in 0..times {
                    black_box(roots.recognise());
                }
                let took = began.elapsed();
                per_second.push(times as f64 * roots.len() as f64 / took.as_secs_f64());
                took
            });
        });
    // What was taken to warm up comes first.
    let per_second = per_second.split_off(per_second.len().saturating_sub(rounds));
    let rate = median(&per_second);
    Ok(vec![Line {
        name: "recognition",
        what: "roots recognised, one core".to_owned(),
        must: format!("\u{2265} {:.0} /s", LEAST),
        measured: format!("{rate:.0} /s"),
        verdict: Verdict::of(rate >= LEAST),
        details: vec![format!(
            "{} recorded roots of every family in turn, {locks} of them locks; median of {}",
            roots.len(),
            per_second.len()
        )],
        numbers: json!({ "per_second": per_second, "roots": roots.len(), "locks": locks }),
    }])
}
