//! The project's chores: `cargo xtask run`, `build`, `test`, `bench`, `races`.
//!
//! Each installs what it lacks, says what it is doing and how long that usually takes, and does nothing that is
//! already done. It depends on next to nothing, because it is the first thing that a newcomer waits for.

mod app;
mod args;
mod bench;
mod build;
mod dependencies;
mod fingerprint;
mod install;
mod lockfile;
#[cfg(test)]
mod named_tests;
mod pack;
mod parts;
mod races;
mod run;
mod step;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use crate::args::Chore;
use crate::workspace::Workspace;

const USAGE: &str = "\
The chores of Lockkeeper

  cargo xtask run [--redis URL] [FLAG]…   build everything and serve: the demo, or `lockkeeper serve` with these flags
  cargo xtask build                       leave one self-contained binary at target/release/lockkeeper
  cargo xtask test                        format, lints, unit, integration, app and browser tests, pictures
  cargo xtask pictures [--check]          take the pictures in docs/pictures anew, after a change of the pages that is meant;
                                          or compare the pages with them
  cargo xtask bench [-- NAME… FLAG…]      measure what is promised; `cargo xtask bench -- --help` lists it
  cargo xtask races [--races N] [--failovers N] [--arenas N] [--seed N]
                                          release locks of every form against their clients, 100,000 times
  cargo xtask setup                       only install what those need";

fn main() -> ExitCode {
    let chore = match args::parse(std::env::args().skip(1)) {
        Ok(chore) => chore,
        Err(unknown) => {
            eprintln!("{unknown}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = Workspace::locate().and_then(|workspace| match chore {
        Chore::Help => {
            println!("{USAGE}");
            Ok(())
        }
        Chore::Setup => install::everything(&workspace),
        Chore::Build => build::release_binary(&workspace).map(|_| ()),
        Chore::Run { demo, args } => run::serve(&workspace, demo, &args),
        Chore::Test => test::everything(&workspace),
        Chore::Pictures(mode) => test::pictures(&workspace, mode),
        Chore::Bench { args } => bench::measure(&workspace, &args),
        Chore::Races(races) => races::run_all(&workspace, &races),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed to {error:#}");
            ExitCode::FAILURE
        }
    }
}
