//! What was asked for.

use std::path::PathBuf;

use crate::measure::{BENCHMARKS, Bench, Benchmark, FULL_SIZE};

/// What to do.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Run(Run),
}

/// What to measure, and on what.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) bench: Bench,
    pub(crate) chosen: Vec<&'static Benchmark>,
}

/// What the command line understands.
pub(crate) fn usage() -> String {
    let mut usage = format!(
        "\
Measures what Lockkeeper promises; a promise that is not kept makes the exit code 1

  cargo xtask bench [-- [NAME]… [FLAG]…]

  --keys N             locks at most, for trying things out; the promises are about {FULL_SIZE}
  --rounds N           how often each side of a comparison is measured
  --lockkeeper FILE    the binary to measure, instead of building it
  --dist DIR           the built app
  --out DIR            where the numbers are written as JSON, and what the server logs

"
    );
    for benchmark in &BENCHMARKS {
        usage.push_str(&format!("  {:<10}  {}: {}\n", benchmark.name, benchmark.about, benchmark.must));
    }
    usage.truncate(usage.trim_end().len());
    usage
}

/// Reads the command line; the error is for the person.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut bench = Bench {
        lockkeeper: PathBuf::from("target/release/lockkeeper"),
        dist: PathBuf::from("app/dist"),
        out: PathBuf::from("target/bench"),
        locks: FULL_SIZE,
        rounds: None,
    };
    let mut chosen = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
        match arg.as_str() {
            "-h" | "--help" => return Ok(Asked::Help),
            "--keys" => bench.locks = number(&arg, &value()?, 1_000)?,
            "--rounds" => bench.rounds = Some(number(&arg, &value()?, 1)? as usize),
            "--lockkeeper" => bench.lockkeeper = value()?.into(),
            "--dist" => bench.dist = value()?.into(),
            "--out" => bench.out = value()?.into(),
            name => match BENCHMARKS.iter().find(|benchmark| benchmark.name == name) {
                Some(benchmark) => chosen.push(benchmark),
                None => return Err(format!("`{name}` is neither a benchmark nor a flag")),
            },
        }
    }
    if chosen.is_empty() {
        chosen.extend(&BENCHMARKS);
    }
    // The processes that are started work elsewhere.
    for path in [&mut bench.lockkeeper, &mut bench.dist, &mut bench.out] {
        *path = std::path::absolute(&*path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    }
    Ok(Asked::Run(Run { bench, chosen }))
}

fn number(flag: &str, text: &str, least: u32) -> Result<u32, String> {
    match text.replace('_', "").parse() {
        Ok(number) if (least..=FULL_SIZE).contains(&number) => Ok(number),
        _ => Err(format!("`{flag}` is `{text}`, expected a number from {least} to {FULL_SIZE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Run, String> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Asked::Run(run) => Ok(run),
            Asked::Help => Err("help".to_owned()),
        }
    }

    #[test]
    fn without_names_everything_is_measured_at_full_size() {
        let run = parsed("").unwrap();
        assert_eq!(run.chosen.len(), BENCHMARKS.len());
        assert!(run.bench.is_full_size());
    }

    #[test]
    fn names_choose_and_keys_make_it_small() {
        let run = parsed("listing --keys 20_000 idle").unwrap();
        assert_eq!(run.chosen.iter().map(|benchmark| benchmark.name).collect::<Vec<_>>(), ["listing", "idle"]);
        assert_eq!(run.bench.locks, 20_000);
        assert!(!run.bench.is_full_size());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed("lsting").unwrap_err(), "`lsting` is neither a benchmark nor a flag");
        assert_eq!(parsed("--keys 1").unwrap_err(), "`--keys` is `1`, expected a number from 1000 to 1000000");
        assert_eq!(parsed("--keys").unwrap_err(), "`--keys` needs a value");
    }
}
