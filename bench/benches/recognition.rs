//! What `lockkeeper-bench recognition` holds to its promise, with criterion's comparison to the run before:
//! `cargo bench -p lockkeeper-bench --bench recognition`.

#[path = "../src/corpus.rs"]
mod corpus;

use std::process::ExitCode;

use corpus::Roots;
use criterion::{Criterion, Throughput};

fn main() -> ExitCode {
    let roots = match Roots::load() {
        Ok(roots) => roots,
        Err(error) => {
            eprintln!("failed to {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("recognition");
    group.throughput(Throughput::Elements(roots.len() as u64));
    group.bench_function("roots of every family", |loops| loops.iter(|| roots.recognise()));
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}
