use std::fmt;
use std::path::PathBuf;

use lockkeeper_model::words;

/// Why the server cannot start as it was told to. No variant carries a password: values of URLs arrive here redacted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be used.
    #[error("{place} is `{}`, expected {expected}", words::shown(.value))]
    Value {
        /// Where it was given.
        place: Place,
        /// The value, without credentials.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// A value of the wrong type in the file.
    #[error("{place} is {found}, expected {expected}")]
    Type {
        /// Where it was given.
        place: Place,
        /// The type that was found, `an integer` for example.
        found: &'static str,
        /// What it may be.
        expected: String,
    },
    /// A URL that cannot be used; its reason never repeats more of it than its scheme, host and port.
    #[error("{place} {because}")]
    Url {
        /// Where it was given.
        place: Place,
        /// What is wrong and what is expected.
        because: String,
    },
    /// Something that a later version will do.
    #[error("{place} asks for {what}, which is not supported yet by this version")]
    NotYet {
        /// Where it was given.
        place: Place,
        /// The thing.
        what: &'static str,
    },
    /// A value that cannot be used as things are; its reason carries no secret.
    #[error("{place} cannot be used: {because}")]
    Unusable {
        /// Where it was given.
        place: Place,
        /// Why.
        because: String,
    },
    /// A key that means nothing.
    #[error("{place} is not a key here, expected one of {expected}")]
    UnknownKey {
        /// The key and where it stands.
        place: Place,
        /// The keys that may stand there.
        expected: String,
    },
    /// A key that must be there.
    #[error("{place} is missing, expected {expected}")]
    Missing {
        /// The key, and where its table begins.
        place: Place,
        /// What it may be.
        expected: &'static str,
    },
    /// A key that means nothing beside another.
    #[error("{place} {because}")]
    Misplaced {
        /// Where it was given.
        place: Place,
        /// Where it belongs.
        because: &'static str,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser expected. It does not repeat the file's text.
        message: String,
    },
    /// The file cannot be read.
    #[error("could not read the configuration file `{}`: {because}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        because: String,
    },
    /// `--pattern` beside sources that come from the file.
    #[error("{place} applies to the sources given by `--redis`, but the sources come from `{}`", file.display())]
    PatternsWithoutSource {
        /// Where the pattern was given.
        place: Place,
        /// The file that names the sources.
        file: PathBuf,
    },
    /// Listening where everybody can come.
    #[error(
        "{place} is `{address}`, which other machines can reach, but nothing says who may come: whoever reaches the \
         address could see every lock and, where releasing is on, free them"
    )]
    Exposed {
        /// Where it was given.
        place: Place,
        /// The address.
        address: String,
    },
}

impl ConfigError {
    /// What to try, where there is something beyond the message.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Exposed { address, .. } => {
                let port = address.rsplit(':').next().unwrap_or("7420");
                Some(format!(
                    "put these lines at the top of lockkeeper.toml and add people with `lockkeeper user add NAME --group \
                     oncall`:\n\
                     \x20 access = {{ users_file = \"lockkeeper-users.toml\" }}\n\
                     \x20 role = [{{ name = \"oncall\", groups = [\"oncall\"], rights = [\"view\", \"release\"] }}]\n\
                     \x20 tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
                     or listen on 127.0.0.1:{port} and come through a tunnel, `ssh -L {port}:127.0.0.1:{port} HOST`"
                ))
            }
            ConfigError::PatternsWithoutSource { .. } => {
                Some("put `patterns = [...]` into the file's `[[source]]` tables".to_owned())
            }
            _ => None,
        }
    }
}

/// Where a value was given, in the form in which a person finds it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A command line flag, `--listen` for example.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A key of the configuration file.
    Key {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// With the tables around it, `source.budget.commands_per_second` for example.
        key: String,
    },
    /// Nowhere: it is the default.
    Default(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(name) | Place::Variable(name) | Place::Default(name) => write!(f, "`{name}`"),
            Place::Key { file, line, column, key } => {
                write!(f, "{}:{line}:{column}: `{}`", file.display(), words::shown(key))
            }
        }
    }
}

/// A value and where it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub place: Place,
}

impl<T> fmt::Debug for Given<T> {
    /// Without the value: it may be a URL with a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given(from {})", self.place)
    }
}

impl<T> Given<T> {
    pub(super) fn new(value: T, place: Place) -> Given<T> {
        Given { value, place }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        Given { value: change(self.value), place: self.place }
    }
}
