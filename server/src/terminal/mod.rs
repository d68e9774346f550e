//! The commands that speak to a running server, for people in a terminal and for scripts.
//!
//! Each command is a file. What it says is made by plain functions from what the server answered and from what it is
//! written on ([`screen::Look`]); only [`link`] speaks to the server, and only [`screen`] writes. A person gets words
//! that say as of when and how complete they are; `--json` is the server's answer as it came. [`Exit`] is what scripts
//! decide by.

mod action;
mod answers;
mod approvals;
mod audit;
mod exit;
mod explain;
mod find;
#[cfg(test)]
mod fixtures;
mod incident;
mod link;
mod locks;
mod plan;
mod release;
mod screen;
mod shell;
mod sign_in;
mod sources;
mod span;
mod sse;
mod table;
mod trace;
mod warnings;
mod watch;
mod why;
mod words;

use std::io::{self, BufWriter};
use std::process::ExitCode;

use clap::{Command, Subcommand};

pub use approvals::ApprovalsArguments;
pub use audit::{AskedServer, export as export_audit, list as list_audit};
pub use exit::Exit;
pub use incident::IncidentArguments;
pub use link::{IdentityArguments, ServerArguments};
pub use locks::LocksArguments;
pub use release::ReleaseArguments;
pub use shell::{CompletionsArguments, ManArguments};
pub use sources::SourcesArguments;
pub use trace::TraceArguments;
pub use warnings::WarningsArguments;
pub use watch::WatchArguments;
pub use why::WhyArguments;

use exit::Trouble;
use link::Link;
use screen::{Look, Screen, aside};

/// What to ask a running server, and what the program tells of itself.
#[derive(Debug, Subcommand)]
pub enum TerminalCommand {
    /// Lists the locks that are held now: who has each, whether the holder is alive, and who waits.
    #[command(after_help = Exit::help())]
    Locks(LocksArguments),
    /// Says everything that is known about one lock: who has it and on what evidence, who waits, what is dangerous about
    /// it, what happened to it, and what a release would do.
    #[command(after_help = Exit::help())]
    Why(WhyArguments),
    /// Tells transitions as they come, until it is ended.
    #[command(after_help = Exit::help())]
    Watch(WatchArguments),
    /// Looks at every command of a source for some seconds: who tries for its locks in vain, and whose connection holds
    /// one.
    #[command(after_help = Exit::help())]
    Trace(TraceArguments),
    /// Releases locks, each only while exactly the hold that was previewed still has it; holds them closed, opens them, gives
    /// them back, raises their fences or takes the head out of their queues by `--action`.
    #[command(after_help = Exit::help())]
    Release(ReleaseArguments),
    /// Lists what waits for a second person, says what each would do, and approves or refuses it.
    #[command(after_help = Exit::help())]
    Approvals(ApprovalsArguments),
    /// Lists the watched stores and says how well each is watched.
    #[command(after_help = Exit::help())]
    Sources(SourcesArguments),
    /// Lists what somebody should know before customers notice, says that one looks into it, or mutes it for a while.
    #[command(after_help = Exit::help())]
    Warnings(WarningsArguments),
    /// Freezes what is known of some locks in some time, and shows what was frozen.
    #[command(after_help = Exit::help())]
    Incident(IncidentArguments),
    /// Prints a script that teaches a shell to complete this command line.
    Completions(CompletionsArguments),
    /// Prints a page for `man`.
    Man(ManArguments),
}

impl TerminalCommand {
    /// Does it. The answer goes to standard output, everything else to standard error; `program` is the whole command
    /// line.
    #[must_use]
    pub fn run(self, program: Command) -> ExitCode {
        on_stdout(async |screen| match self {
            TerminalCommand::Locks(given) => linked(&given.server, async |link| given.run(link, screen).await).await,
            TerminalCommand::Why(given) => linked(&given.server, async |link| given.run(link, screen).await).await,
            TerminalCommand::Watch(given) => linked(&given.server, async |link| given.run(link, screen).await).await,
            TerminalCommand::Trace(given) => linked(&given.server, async |link| given.run(link, screen).await).await,
            TerminalCommand::Release(given) => linked(&given.server, async |link| given.run(link, screen).await).await,
            TerminalCommand::Approvals(given) => {
                linked(&given.server, async |link| given.run(link, screen).await).await
            }
            TerminalCommand::Sources(given) => linked(&given.server, async |link| given.run(link, screen).await).await,
            TerminalCommand::Warnings(given) => {
                linked(given.server(), async |link| given.run(link, screen).await).await
            }
            TerminalCommand::Incident(given) => {
                linked(given.server(), async |link| given.run(link, screen).await).await
            }
            TerminalCommand::Completions(given) => given.run(program, screen),
            TerminalCommand::Man(given) => given.run(program, screen),
        })
    }
}

/// Does something with a server, signed in for as long as that takes where somebody is to be.
async fn linked(
    server: &ServerArguments,
    act: impl AsyncFnOnce(&Link) -> Result<Exit, Trouble>,
) -> Result<Exit, Trouble> {
    let link = Link::signed_in(server).await?;
    let done = act(&link).await;
    link.leave().await;
    done
}

/// Does something whose answer goes to standard output, and says on standard error what went wrong.
fn on_stdout(answer: impl AsyncFnOnce(&mut Screen<'_>) -> Result<Exit, Trouble>) -> ExitCode {
    // One task that waits for one server: more threads would be in the way.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Trouble::from).and_then(|runtime| {
        let mut out = BufWriter::new(io::stdout());
        let mut screen = Screen::new(&mut out, Look::of_stdout());
        runtime.block_on(answer(&mut screen))
    });
    match done {
        Ok(exit) => exit.into(),
        Err(trouble) => {
            if trouble.exit() != Exit::Done {
                aside(&trouble.to_string());
            }
            trouble.exit().into()
        }
    }
}
