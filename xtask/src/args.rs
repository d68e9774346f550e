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
    /// Takes the pictures of the pages anew.
    Pictures,
    Bench {
        /// Passed to the benchmarks.
        args: Vec<String>,
    },
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
        "pictures" => Chore::Pictures,
        "bench" => return Ok(Chore::Bench { args: rest }),
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
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed("tset"), Err("`tset` is not a chore".to_owned()));
        assert_eq!(parsed("test --fast"), Err("`cargo xtask test` takes no `--fast`".to_owned()));
        assert_eq!(parsed(""), Ok(Chore::Help));
    }
}
