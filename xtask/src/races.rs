//! Races in earnest: what the tests do a thousand times, as often as somebody wants to know.

use anyhow::Result;

use crate::args::Races;
use crate::install;
use crate::step::{cargo, run, say, step};
use crate::workspace::Workspace;

/// Runs the races of every form of lock, and then those in failovers. The first wrong release ends them with what it was.
pub(crate) fn run_all(workspace: &Workspace, races: &Races) -> Result<()> {
    install::system_programs(&[install::REDIS])?;
    step("build the server and the tests", "about 5 minutes the first time", || {
        run(cargo().args(["build", "--workspace", "--bins", "--tests"]).current_dir(&workspace.root))
    })?;
    let Races { races: number, failovers, arenas, seed } = races;
    say(&format!("race {number} times on {arenas} Redis servers, and in {failovers} failovers of each kind"));
    for filter in ["races_dialects::", "races_failover::"] {
        let mut command = cargo();
        command
            .args(["test", "--workspace", "--test", "end_to_end", "--", "--nocapture", "--test-threads", "1", filter])
            .current_dir(&workspace.root)
            .env("LOCKKEEPER_BIN", workspace.target.join("debug").join("lockkeeper"))
            .env("LOCKKEEPER_RACES", number.to_string())
            .env("LOCKKEEPER_ARENAS", arenas.to_string())
            .env("LOCKKEEPER_FAILOVERS", failovers.to_string());
        if let Some(seed) = seed {
            command.env("LOCKKEEPER_SEED", seed.to_string());
        }
        run(&mut command)?;
    }
    Ok(())
}
