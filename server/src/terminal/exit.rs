//! What an exit code says, and the errors that end a command.

use std::fmt;
use std::io;
use std::process::ExitCode;

use lockkeeper_model::Problem;

use super::words::whole;

/// What a command that speaks to a server returns. Scripts decide by it, so no code ever changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It could not be done.
    CouldNot = 1,
    /// What was asked for cannot be understood.
    Usage = 2,
    /// There is nothing of the kind now.
    NotFound = 3,
    /// It was not what one was looking at any more.
    NothingReleased = 4,
    /// Nobody can say that it is done, or it is done in part.
    InDoubt = 5,
    /// The server does not let one.
    NotAllowed = 6,
    /// It was not confirmed as it has to be.
    Unconfirmed = 7,
}

impl Exit {
    /// Every code.
    pub const ALL: [Exit; 8] = [
        Exit::Done,
        Exit::CouldNot,
        Exit::Usage,
        Exit::NotFound,
        Exit::NothingReleased,
        Exit::InDoubt,
        Exit::NotAllowed,
        Exit::Unconfirmed,
    ];

    /// What it means, for `--help`.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::CouldNot => "could not: no server, no answer, or the store or the server failed",
            Exit::Usage => "the command line cannot be understood, or names no single lock",
            Exit::NotFound => "nothing found: no such source, not held, or no lock that fits",
            Exit::NothingReleased => "nothing released: the lock changed hands, was free, or a release is not offered",
            Exit::InDoubt => "released in part, or nobody knows: look again",
            Exit::NotAllowed => "not allowed: not known to the server, a right is missing, or it is switched off",
            Exit::Unconfirmed => "not confirmed: the text or the reason is missing or wrong; nothing was tried",
        }
    }

    /// The end of `--help` of each command that speaks to a server.
    #[must_use]
    pub fn help() -> String {
        let mut help = "Exit codes:".to_owned();
        for exit in Exit::ALL {
            help.push_str(&format!("\n  {}  {}", exit as u8, exit.says()));
        }
        help
    }

    /// What a server's refusal comes to.
    pub(super) fn of_problem(problem: &Problem) -> Exit {
        match (problem.kind.as_str(), problem.status) {
            (
                "/problems/unconfirmed"
                | "/problems/reason-needed"
                | "/problems/reason-pattern"
                | "/problems/dry-run-needed",
                _,
            ) => Exit::Unconfirmed,
            ("/problems/warning-resolved", _) => Exit::NotFound,
            // Another trace is under way.
            ("/problems/tracing", _) => Exit::CouldNot,
            ("/problems/unknown-source", _) | (_, 404) => Exit::NotFound,
            (_, 401 | 403) => Exit::NotAllowed,
            (_, 409) => Exit::NothingReleased,
            (_, 400 | 414 | 422) => Exit::Usage,
            _ => Exit::CouldNot,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command came to no good end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Something to tell the person, harmless to look at.
    Said(Box<Said>),
    /// Standard output does not take it.
    Output(io::Error),
}

/// What a person is told who did not get what they asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// What the command returns.
    pub(super) exit: Exit,
    /// What went wrong.
    pub(super) text: String,
    /// What to try.
    pub(super) hint: Option<String>,
}

impl Trouble {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Trouble {
        Trouble::Said(Box::new(Said { exit, text: text.into(), hint: None }))
    }

    /// What to try.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Trouble {
        if let Trouble::Said(said) = &mut self {
            said.hint = Some(hint.into());
        }
        self
    }

    /// What a server refused, in its own words.
    pub(super) fn of_problem(problem: &Problem) -> Trouble {
        let trouble = Trouble::new(Exit::of_problem(problem), whole(&problem.detail));
        match &problem.hint {
            Some(hint) => trouble.hint(whole(hint)),
            None => trouble,
        }
    }

    /// What the command returns. Whoever reads from a pipe and stops has read enough.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Trouble::Said(said) => said.exit,
            Trouble::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Trouble::Output(_) => Exit::CouldNot,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Said(said) => {
                write!(f, "lockkeeper: {}", said.text)?;
                if let Some(hint) = &said.hint {
                    write!(f, "\nhint: {hint}")?;
                }
                Ok(())
            }
            Trouble::Output(error) => write!(f, "lockkeeper: could not write the answer: {error}"),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Problem {
        Problem {
            kind: format!("/problems/{kind}"),
            title: String::new(),
            status,
            detail: "d\u{202e}".to_owned(),
            hint: Some("h".to_owned()),
        }
    }

    #[test]
    fn the_codes_are_what_the_documentation_says() {
        let page = include_str!("../../../docs/cli.md");
        for (at, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(exit as usize, at);
            assert!(Exit::help().contains(&format!("\n  {at}  {}", exit.says())));
            assert!(page.contains(&format!("| {at} | {} |", exit.says())), "docs/cli.md: {at}");
        }
    }

    #[test]
    fn what_the_server_refuses_has_a_code_of_its_kind() {
        for (kind, status, exit) in [
            ("who", 401, Exit::NotAllowed),
            ("not-allowed", 403, Exit::NotAllowed),
            ("release-off", 403, Exit::NotAllowed),
            ("unknown-source", 400, Exit::NotFound),
            ("not-held", 404, Exit::NotFound),
            ("bad-parameter", 400, Exit::Usage),
            ("trace-seconds", 422, Exit::Usage),
            ("tracing", 409, Exit::CouldNot),
            ("warning-resolved", 409, Exit::NotFound),
            ("no-such-mute", 404, Exit::NotFound),
            ("bad-note", 422, Exit::Usage),
            ("changed-hands", 409, Exit::NothingReleased),
            ("ticket-expired", 410, Exit::CouldNot),
            ("unconfirmed", 422, Exit::Unconfirmed),
            ("reason-needed", 422, Exit::Unconfirmed),
            ("full", 503, Exit::CouldNot),
        ] {
            assert_eq!(Exit::of_problem(&problem(kind, status)), exit, "{kind}");
        }
    }

    #[test]
    fn a_refusal_is_said_harmlessly_and_with_what_to_try() {
        let said = Trouble::of_problem(&problem("who", 401));
        assert_eq!(said.to_string(), "lockkeeper: d\\u{202e}\nhint: h");
    }

    #[test]
    fn whoever_stops_reading_has_read_enough() {
        assert_eq!(Trouble::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit(), Exit::Done);
        assert_eq!(Trouble::from(io::Error::from(io::ErrorKind::StorageFull)).exit(), Exit::CouldNot);
    }
}
