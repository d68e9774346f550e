//! Building everything and serving it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{forget_xtask, say};
use crate::workspace::Workspace;
use crate::{build, install};

/// Serves until it is stopped. Returns only if that could not be started.
pub(crate) fn serve(workspace: &Workspace, demo: bool, args: &[String]) -> Result<()> {
    if demo {
        install::system_programs(&[install::REDIS])?;
    }
    let binary = build::release_binary(workspace)?;
    let subcommand = if demo { "demo" } else { "serve" };
    say(&format!("lockkeeper {subcommand}; stop it with Ctrl-C"));
    let mut command = Command::new(&binary);
    forget_xtask(&mut command);
    // In place of this process, so that signals reach the server and nothing stands between it and the terminal.
    let error = command.arg(subcommand).args(args).exec();
    Err(error).with_context(|| format!("start `{}`", binary.display()))
}
