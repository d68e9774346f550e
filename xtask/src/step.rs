//! Running commands so that the person in front always knows what is going on.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Steps that take less are not worth a line about how long they took.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

/// Says what comes next.
pub(crate) fn say(what: &str) {
    eprintln!("\u{25b8} {what}");
}

/// Says what comes next, does it, and says how long it took where that was long. `what` reads well after
/// "failed to", for example ``install `trunk` ``.
pub(crate) fn step<T>(what: &str, usually: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if usually.is_empty() {
        say(what)
    } else {
        say(&format!("{what} ({usually})"))
    }
    let began = Instant::now();
    let done = work().with_context(|| what.to_owned())?;
    let took = began.elapsed();
    if took >= WORTH_A_LINE {
        say(&format!("{what}: done in {}", duration(took)));
    }
    Ok(done)
}

/// Runs a command to its end, its output in sight.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// What a command prints, or `None` if it is not there or fails.
pub(crate) fn output(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A cargo command that does not inherit what cargo told xtask about xtask: build scripts that look at those
/// variables would otherwise run again whenever cargo is called from here and from a shell in turn.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_xtask(&mut command);
    command
}

/// See [`cargo`].
pub(crate) fn forget_xtask(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
}

/// Where a program is on the `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let mut words = vec![program];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

fn duration(took: Duration) -> String {
    match took.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s => format!("{} m {:02} s", s / 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_without_the_folder_it_lives_in() {
        let error = run(Command::new("/bin/false").arg("--x")).unwrap_err().to_string();
        assert!(error.starts_with("`false --x` ended with exit status: 1"), "{error}");
    }

    #[test]
    fn durations_are_said_in_minutes_once_they_are_long() {
        assert_eq!(duration(Duration::from_secs(42)), "42 s");
        assert_eq!(duration(Duration::from_secs(361)), "6 m 01 s");
    }

    #[test]
    fn a_missing_program_has_no_output() {
        assert_eq!(output("lockkeeper-there-is-no-such-program", &[]), None);
        assert!(find_program("sh").is_some());
    }
}
