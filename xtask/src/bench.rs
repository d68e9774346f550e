//! Measuring what is promised.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{cargo, forget_xtask, run, say, step};
use crate::workspace::Workspace;
use crate::{app, install};

/// Builds what is measured and what measures, and measures. Returns only if that could not be started.
pub(crate) fn measure(workspace: &Workspace, args: &[String]) -> Result<()> {
    // `redis-benchmark` comes along with the server.
    install::system_programs(&[install::REDIS])?;
    let release = workspace.target.join("release");
    let brings_its_own = args.iter().any(|arg| ["--help", "-h", "--lockkeeper"].contains(&arg.as_str()));
    if !brings_its_own {
        app::build(workspace)?;
    }
    step("build the benchmarks", "about 8 minutes the first time", || {
        let mut build = cargo();
        build.args(["build", "--release", "--package", "lockkeeper-bench"]);
        if !brings_its_own {
            // Together, so that what both are made of is built once.
            build.args(["--package", "lockkeeper"]);
        }
        run(build.current_dir(&workspace.root))
    })?;
    say("measure; leave the machine alone meanwhile");
    let binary = release.join("lockkeeper-bench");
    let mut command = Command::new(&binary);
    forget_xtask(&mut command);
    // What was given comes last, so that it wins.
    command.arg("--lockkeeper").arg(release.join("lockkeeper"));
    command.arg("--dist").arg(workspace.dist()).arg("--out").arg(workspace.target.join("bench"));
    let error = command.args(args).exec();
    Err(error).with_context(|| format!("start `{}`", binary.display()))
}
