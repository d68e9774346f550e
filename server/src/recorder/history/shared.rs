//! The history in PostgreSQL: how it is opened, and how large it is.

use super::schema::{ADDED, HistoryError, SCHEMA, VERSION};
use crate::recorder::db::{Connection, DbError, Target, advisory, in_postgres};

/// What the tables are called among the versions.
const PART: &str = "history";

/// Settings of whoever writes. What was committed is on the disk of this PostgreSQL: other servers go by what they read. It
/// waits for no other PostgreSQL.
const WRITING: &str = "SET synchronous_commit = local; SET lock_timeout = '5s'; SET statement_timeout = '60s'";

/// Settings of whoever answers questions: nobody waits longer for one.
const READING: &str = "SET statement_timeout = '60s'; SET default_transaction_read_only = on";

/// What one file has no need of: the sources of the server that writes.
const WATCHED: &str = "CREATE TABLE watched (source TEXT PRIMARY KEY);";

/// What counts towards the limit.
const TABLES: [&str; 13] = [
    "transitions",
    "locks",
    "tokens",
    "postings",
    "tallies",
    "segments",
    "held",
    "checkpoints",
    "missed",
    "runs",
    "eras",
    "waits",
    "followed",
];

/// Connects to what is written; makes the tables where there are none.
pub(super) fn open_to_write(target: &Target) -> Result<Connection, DbError> {
    let connection = target.connect(WRITING)?;
    if let Some(postgres) = connection.postgres() {
        postgres.prepare_tables(PART, VERSION, &(in_postgres(SCHEMA) + WATCHED))?;
        postgres.add_tables("seen", &in_postgres(ADDED))?;
    }
    Ok(connection)
}

/// Says which sources the writer watches.
pub(super) fn say_watched(connection: &Connection, sources: &[String]) -> Result<(), DbError> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM watched", &[])?;
    for source in sources {
        let insert = "INSERT INTO watched (source) VALUES ($1) ON CONFLICT DO NOTHING";
        transaction.execute(insert, &[source.as_str().into()])?;
    }
    transaction.commit()
}

/// Which sources the writer watches; none: nobody has written yet.
pub(super) fn watched(connection: &Connection) -> Result<Vec<String>, DbError> {
    connection.all("SELECT source FROM watched", &[], |row| row.get(0))
}

/// Connects to what is read.
pub(super) fn open_to_read(target: &Target) -> Result<Connection, DbError> {
    target.connect(READING)
}

/// Whether this connection is the one whose server writes, from now on until it ends.
pub(super) fn may_write(connection: &Connection) -> Result<bool, DbError> {
    connection.postgres().map_or(Ok(true), |postgres| postgres.try_lock(advisory::HISTORY, 0))
}

/// Says that this connection's server knows what happened since another one wrote; until it ends.
pub(super) fn say_witness(connection: &Connection) -> Result<bool, DbError> {
    connection.postgres().map_or(Ok(true), |postgres| postgres.try_share(advisory::WITNESS))
}

/// Whether any server knows what happened since another one wrote.
pub(super) fn has_witness(connection: &Connection) -> Result<bool, DbError> {
    connection.postgres().map_or(Ok(false), |postgres| postgres.is_locked(advisory::WITNESS))
}

/// How much of the tables holds something. PostgreSQL keeps the room of what was deleted, for what is written next, and
/// does not say how much that is: so it is taken that all of it held something when the tables last grew, and that segments
/// are of one size.
#[derive(Debug, Default)]
pub(super) struct Room {
    bytes: u64,
    segments: u64,
}

impl Room {
    pub(super) fn used_bytes(&mut self, connection: &Connection) -> Result<u64, HistoryError> {
        let sizes = TABLES.map(|table| format!("pg_total_relation_size('lockkeeper.{table}')")).join(" + ");
        let number = |sql: &str| -> Result<u64, DbError> {
            Ok(connection.number(sql, &[])?.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
        };
        let bytes = number(&format!("SELECT {sizes}"))?;
        let segments = number("SELECT count(*) FROM segments")?;
        if bytes > self.bytes {
            *self = Room { bytes, segments };
        }
        Ok(self.estimate(segments).min(bytes))
    }

    /// With so many segments.
    fn estimate(&self, segments: u64) -> u64 {
        // The newest rows are as much as one, which no division by 0 comes of.
        let share = u128::from(self.bytes) * u128::from(segments + 1) / u128::from(self.segments + 1);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_does_not_count_until_the_tables_grow() {
        let room = Room { bytes: 1_000, segments: 9 };
        assert_eq!((room.estimate(9), room.estimate(4), room.estimate(12)), (1_000, 500, 1_300));
    }
}
