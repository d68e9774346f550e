//! What was asked for.

/// One chore.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Help,
    Setup,
    Build,
    Run {
        /// No store was named: play one.
        demo: bool,
        /// Passed to the binary.
        args: Vec<String>,
    },
    Test,
    /// Takes pictures of the pages.
    Pictures(Pictures),
    Bench {
        /// Passed to the benchmarks.
        args: Vec<String>,
    },
    Races(Races),
}

/// What is done with pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pictures {
    /// They are taken anew, after a change that is meant.
    Take,
    /// The pages are compared with them.
    Check,
}

/// How many races are run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Races {
    /// Releases against hand-over, renewal, re-entry and expiry.
    pub(crate) races: u64,
    /// Failovers in which locks of every form are released.
    pub(crate) failovers: u64,
    /// Redis servers on which is raced at a time.
    pub(crate) arenas: u64,
    /// Repeats the moves of a run; `None`: others than before.
    pub(crate) seed: Option<u64>,
}

impl Default for Races {
    /// A hundred thousand take about an hour on two cores.
    fn default() -> Races {
        Races { races: 100_000, failovers: 20, arenas: 3, seed: None }
    }
}

/// Reads the command line; the error is for the person.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Chore, String> {
    let mut args = args.into_iter();
    let Some(name) = args.next() else { return Ok(Chore::Help) };
    // `cargo xtask run -- --redis URL` hands the separator through, `cargo xtask run --redis URL` has none.
    let rest: Vec<String> = args.enumerate().filter(|(i, arg)| !(*i == 0 && arg == "--")).map(|(_, arg)| arg).collect();
    let chore = match name.as_str() {
        "help" | "-h" | "--help" => Chore::Help,
        "setup" => Chore::Setup,
        "build" => Chore::Build,
        "test" => Chore::Test,
        "pictures" => match rest.as_slice() {
            [] => Chore::Pictures(Pictures::Take),
            [flag] if flag == "--check" => return Ok(Chore::Pictures(Pictures::Check)),
            [other, ..] => return Err(format!("`cargo xtask pictures` takes no `{other}`, but `--check`")),
        },
        "bench" => return Ok(Chore::Bench { args: rest }),
        "races" => return races(&rest).map(Chore::Races),
        "run" => {
            let named_in_environment = ["LOCKKEEPER_REDIS", "LOCKKEEPER_CONFIG"]
                .iter()
                .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
            return Ok(Chore::Run { demo: !named_in_environment && !names_a_store(&rest), args: rest });
        }
        _ => return Err(format!("`{name}` is not a chore")),
    };
    match rest.first() {
        Some(extra) if chore != Chore::Help => Err(format!("`cargo xtask {name}` takes no `{extra}`")),
        _ => Ok(chore),
    }
}

/// `--races N`, `--failovers N`, `--arenas N`, `--seed N`, in any order.
fn races(args: &[String]) -> Result<Races, String> {
    let mut races = Races::default();
    for pair in args.chunks(2) {
        let number = pair.get(1).ok_or_else(|| format!("`{}` needs a whole number", pair[0]))?;
        let number: u64 =
            number.parse().map_err(|_| format!("`{}` is `{number}`, expected a whole number", pair[0]))?;
        match pair[0].as_str() {
            "--races" => races.races = number,
            "--failovers" => races.failovers = number,
            "--arenas" => races.arenas = number,
            "--seed" => races.seed = Some(number),
            other => {
                let known = "`--races`, `--failovers`, `--arenas` and `--seed`";
                return Err(format!("`cargo xtask races` takes no `{other}`, but {known}"));
            }
        }
    }
    Ok(races)
}

/// Whether these flags of `lockkeeper serve` say what to watch.
fn names_a_store(args: &[String]) -> bool {
    args.iter()
        .any(|arg| ["--redis", "--config"].iter().any(|flag| arg == flag || arg.starts_with(&format!("{flag}="))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Chore, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn run(demo: bool, args: &[&str]) -> Result<Chore, String> {
        Ok(Chore::Run { demo, args: args.iter().map(|&arg| arg.to_owned()).collect() })
    }

    #[test]
    fn run_without_a_store_is_the_demo_and_keeps_its_flags() {
        assert_eq!(parsed("run"), run(true, &[]));
        assert_eq!(parsed("run -- --listen 127.0.0.1:9000"), run(true, &["--listen", "127.0.0.1:9000"]));
    }

    #[test]
    fn run_watches_the_named_redis_with_and_without_the_separator() {
        assert_eq!(parsed("run -- --redis redis://x"), run(false, &["--redis", "redis://x"]));
        assert_eq!(parsed("run --redis=redis://x"), run(false, &["--redis=redis://x"]));
        assert_eq!(parsed("run --config a.toml"), run(false, &["--config", "a.toml"]));
    }

    #[test]
    fn bench_passes_everything_on() {
        let args = ["listing", "--keys", "20000"].map(str::to_owned).to_vec();
        assert_eq!(parsed("bench -- listing --keys 20000"), Ok(Chore::Bench { args }));
        assert_eq!(parsed("bench"), Ok(Chore::Bench { args: Vec::new() }));
    }

    #[test]
    fn pictures_are_taken_unless_they_are_to_be_compared() {
        assert_eq!(parsed("pictures"), Ok(Chore::Pictures(Pictures::Take)));
        assert_eq!(parsed("pictures --check"), Ok(Chore::Pictures(Pictures::Check)));
        assert!(parsed("pictures --chek").unwrap_err().ends_with("takes no `--chek`, but `--check`"));
    }

    #[test]
    fn races_are_a_hundred_thousand_unless_told_otherwise() {
        assert_eq!(parsed("races"), Ok(Chore::Races(Races::default())));
        let told = Races { races: 500, seed: Some(7), ..Races::default() };
        assert_eq!(parsed("races -- --seed 7 --races 500"), Ok(Chore::Races(told)));
        assert_eq!(parsed("races --races"), Err("`--races` needs a whole number".to_owned()));
        assert_eq!(parsed("races --seed x"), Err("`--seed` is `x`, expected a whole number".to_owned()));
        assert!(parsed("races --lanes 3").unwrap_err().contains("takes no `--lanes`"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed("tset"), Err("`tset` is not a chore".to_owned()));
        assert_eq!(parsed("test --fast"), Err("`cargo xtask test` takes no `--fast`".to_owned()));
        assert_eq!(parsed(""), Ok(Chore::Help));
    }
}
