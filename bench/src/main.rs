//! Measures what Lockkeeper promises about its own cost and speed: `cargo xtask bench`.
//!
//! Every benchmark starts a throw-away Redis and the real binary, and speaks to both as anybody would: RESP, HTTP,
//! WebSocket. What is promised as a ratio is measured against a bare client, or against the same load unwatched, in
//! the same run and in turn. A promise that was not kept is printed as missed and makes the exit code 1.

mod api;
mod args;
mod bare;
mod browser;
mod cluster;
mod corpus;
mod fill;
mod measure;
mod mixed;
mod process;
mod redis_benchmark;
mod report;
mod resp;
mod stats;
mod viewer;
mod writer;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::args::Asked;
use crate::measure::{Bench, Benchmark};
use crate::report::{Conditions, Line, Verdict};

fn main() -> ExitCode {
    let asked = match args::parse(std::env::args().skip(1)) {
        Ok(Asked::Help) => {
            println!("{}", args::usage());
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Run(asked)) => asked,
        Err(unknown) => {
            eprintln!("{unknown}\n\n{}", args::usage());
            return ExitCode::from(2);
        }
    };
    match run(&asked.bench, &asked.chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, and says whether every promise was kept.
fn run(bench: &Bench, chosen: &[&'static Benchmark]) -> Result<bool> {
    std::fs::create_dir_all(&bench.out).with_context(|| format!("create `{}`", bench.out.display()))?;
    let conditions = Conditions::now(bench.locks, bench.is_full_size());
    eprintln!("{}", conditions.words());
    let mut lines: Vec<Line> = Vec::new();
    let mut file = None;
    for benchmark in chosen {
        eprintln!("\u{25b8} {}: {}", benchmark.name, benchmark.about);
        lines.extend((benchmark.measure)(bench).unwrap_or_else(|error| {
            eprintln!("  failed to {error:#}");
            vec![Line {
                name: benchmark.name,
                what: benchmark.about.to_owned(),
                must: benchmark.must.to_owned(),
                measured: "-".to_owned(),
                verdict: Verdict::Unknown,
                details: vec![format!("failed to {error:#}")],
                numbers: serde_json::Value::Null,
            }]
        }));
        // After each, so that an interrupted run leaves what it has found out.
        file = Some(report::write(&bench.out, &conditions, &lines)?);
    }
    println!("\n{}", report::table(&lines));
    if let Some(file) = file {
        println!("as JSON: {}", file.display());
    }
    Ok(!lines.iter().any(|line| line.verdict.is_failure()))
}
