//! Why a database did not do what it was asked for.

use ::postgres::error::SqlState;

/// What the database says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// SQLite says it.
    #[error("SQLite says: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says it, or there is no connection to it.
    #[error("{}", words(.0))]
    Postgres(#[from] ::postgres::Error),
    /// It is said here.
    #[error("{0}")]
    Refused(String),
}

impl DbError {
    /// Whether the database might answer the same later: it could not be reached, is starting or has no room for another.
    pub(crate) fn may_pass(&self) -> bool {
        let DbError::Postgres(error) = self else { return false };
        match error.code() {
            Some(code) => {
                [SqlState::CANNOT_CONNECT_NOW, SqlState::TOO_MANY_CONNECTIONS, SqlState::ADMIN_SHUTDOWN].contains(code)
            }
            None => is_of_the_network(error),
        }
    }
}

/// Whether the reason is a connection that was not made or is there no more, and not what was said over it.
fn is_of_the_network(error: &::postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(because) = cause {
        // A certificate that cannot be trusted arrives as an error of input and output, too.
        if let Some(error) = because.downcast_ref::<std::io::Error>() {
            return error.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>());
        }
        cause = because.source();
    }
    error.is_closed()
}

fn words(error: &::postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let hint = match *said.code() {
            SqlState::INSUFFICIENT_PRIVILEGE => "; grant it what `docs/operations.md` lists",
            SqlState::UNDEFINED_DATABASE => "; create it, or name another",
            _ => "",
        };
        return format!("PostgreSQL says: {}{hint}", lockkeeper_model::words::shown(said.message()));
    }
    if error.is_closed() {
        return "the connection to PostgreSQL was lost".to_owned();
    }
    // The causes name addresses and system errors, and nothing of what was sent.
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(because) = cause {
        let because_words = because.to_string();
        if !words.contains(&because_words) {
            words = format!("{words}: {because_words}");
        }
        cause = because.source();
    }
    format!("PostgreSQL does not answer: {}", lockkeeper_model::words::shown(&words))
}
