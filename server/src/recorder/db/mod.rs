//! The database that the recorder writes and reads: an SQLite file, or PostgreSQL.
//!
//! Both run the same SQL, with numbers of 64 bits, texts and bytes; parameters are `$1`, `$2` and so on in the order in which
//! they first stand in the text, which is what SQLite takes them for. What differs is in [`sqlite`] and [`postgres`].
//! Everything here waits, so it is for threads that may.

mod error;
mod postgres;
mod sqlite;
mod target;
#[cfg(test)]
#[expect(unreachable_pub, reason = "it is the end-to-end tests' own")]
#[path = "../../../../tests/src/postgres_server.rs"]
pub(crate) mod testing;

use std::ops::Deref;

pub(crate) use error::DbError;
pub(crate) use postgres::{Postgres, advisory, in_postgres};
pub use target::{BadTarget, Target};

/// A value that goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Number(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Value::Null, Value::Number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes)
    }
}

/// What can be taken out of a column.
pub(crate) trait Column: rusqlite::types::FromSql + for<'a> ::postgres::types::FromSql<'a> {}

impl<T: rusqlite::types::FromSql + for<'a> ::postgres::types::FromSql<'a>> Column for T {}

/// A row that was found.
pub(crate) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a ::postgres::Row),
}

impl Row<'_> {
    /// What is in that column: `i64`, `String`, `Vec<u8>`, or an `Option` of them.
    pub(crate) fn get<T: Column>(&self, column: usize) -> Result<T, DbError> {
        Ok(match self {
            Row::Sqlite(row) => row.get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    /// The bytes of that column, or of its text; none where there are none.
    pub(crate) fn bytes(&self, column: usize) -> &[u8] {
        match self {
            Row::Sqlite(row) => row.get_ref(column).ok().and_then(|value| value.as_bytes().ok()),
            Row::Postgres(row) => {
                row.try_get(column).ok().or_else(|| row.try_get::<_, &str>(column).ok().map(str::as_bytes))
            }
        }
        .unwrap_or_default()
    }
}

/// A statement that adds a row, of which many follow each other.
#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) insert: &'static str,
    pub(crate) copy: &'static str,
}

/// `inserts!("table (columns)", "($1, …)")`
macro_rules! inserts {
    ($into:literal, $values:literal) => {
        crate::recorder::db::Insert {
            insert: concat!("INSERT INTO ", $into, " VALUES ", $values),
            copy: concat!("COPY ", $into, " FROM STDIN BINARY"),
        }
    };
}
pub(crate) use inserts;

/// A connection to either.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Box<Postgres>),
}

impl Connection {
    /// The file's connection, if it is one.
    pub(crate) fn sqlite(&self) -> Option<&rusqlite::Connection> {
        match self {
            Connection::Sqlite(connection) => Some(connection),
            Connection::Postgres(_) => None,
        }
    }

    /// The connection to PostgreSQL, if it is one.
    pub(crate) fn postgres(&self) -> Option<&Postgres> {
        match self {
            Connection::Sqlite(_) => None,
            Connection::Postgres(connection) => Some(connection),
        }
    }

    /// Whether it can be used no more: another has to be made.
    pub(crate) fn is_lost(&self) -> bool {
        self.postgres().is_some_and(Postgres::is_lost)
    }

    /// Runs a statement and says how many rows it touched.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, DbError> {
        match self {
            Connection::Sqlite(connection) => sqlite::execute(connection, sql, values),
            Connection::Postgres(connection) => connection.execute(sql, values),
        }
    }

    /// Tells of each row that is found, one after the other. What is told of must not ask this connection for anything.
    pub(crate) fn each<E: From<DbError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        look: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Connection::Sqlite(connection) => sqlite::each(connection, sql, values, look),
            Connection::Postgres(connection) => connection.each(sql, values, look),
        }
    }

    /// What `read` makes of each row that is found.
    pub(crate) fn all<T, E: From<DbError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut found = Vec::new();
        self.each(sql, values, |row| {
            found.push(read(row)?);
            Ok::<(), E>(())
        })?;
        Ok(found)
    }

    /// What `read` makes of the only row, or of the last one; `None`: there is none.
    pub(crate) fn one<T, E: From<DbError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let mut found = None;
        self.each(sql, values, |row| {
            found = Some(read(row)?);
            Ok::<(), E>(())
        })?;
        Ok(found)
    }

    /// The number that is found; `None` where there is none.
    pub(crate) fn number(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<i64>, DbError> {
        Ok(self.one(sql, values, |row| row.get(0))?.flatten())
    }

    /// Tells of the rows in whose `column`, a number without duplicates, is one of these, in the order of the numbers: a row
    /// of `select`, which begins with that column. `ids` are in growing order.
    pub(crate) fn each_of<E: From<DbError>>(
        &self,
        select: &str,
        column: &str,
        ids: &[i64],
        look: impl FnMut(i64, &Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Connection::Sqlite(connection) => sqlite::each_of(connection, select, column, ids, look),
            Connection::Postgres(connection) => connection.each_of(select, column, ids, look),
        }
    }

    /// Adds a row. Within a transaction of PostgreSQL it is there when that is committed, and not before.
    pub(crate) fn insert(&self, into: &'static Insert, values: &[Value<'_>]) -> Result<(), DbError> {
        match self {
            Connection::Sqlite(connection) => sqlite::execute(connection, into.insert, values).map(drop),
            Connection::Postgres(connection) => connection.insert(into, values),
        }
    }

    /// Deletes at most `limit` rows of which `condition` on `$1` holds, the first by their key, and says how many.
    pub(crate) fn delete_some(
        &self,
        table: &str,
        key: &str,
        condition: &str,
        value: i64,
        limit: u64,
    ) -> Result<u64, DbError> {
        let sql = match self {
            Connection::Sqlite(_) => format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {condition} ORDER BY {key} LIMIT $2)"
            ),
            // By their place: a key of several columns would be looked for in the whole table.
            Connection::Postgres(_) => format!(
                "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} ORDER BY {key} LIMIT $2))"
            ),
        };
        self.execute(&sql, &[value.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()])
    }

    /// Begins a transaction that writes.
    pub(crate) fn transaction(&self) -> Result<Transaction<'_>, DbError> {
        match self {
            Connection::Sqlite(connection) => connection.execute_batch("BEGIN IMMEDIATE")?,
            Connection::Postgres(connection) => connection.begin()?,
        }
        Ok(Transaction { connection: self, is_open: true })
    }

    /// Holds on to what is there now, until [`Self::let_go`].
    pub(crate) fn hold_still(&self) -> Result<(), DbError> {
        match self {
            Connection::Sqlite(connection) => Ok(connection.execute_batch("BEGIN")?),
            Connection::Postgres(connection) => connection.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }

    /// Ends what [`Self::hold_still`] began.
    pub(crate) fn let_go(&self) -> Result<(), DbError> {
        match self {
            Connection::Sqlite(connection) => Ok(connection.execute_batch("ROLLBACK")?),
            Connection::Postgres(connection) => connection.batch("ROLLBACK"),
        }
    }
}

/// A transaction. What is not committed is undone.
pub(crate) struct Transaction<'a> {
    connection: &'a Connection,
    is_open: bool,
}

impl Transaction<'_> {
    /// Makes it last. When it returns, it is as safe as the connection was opened for.
    pub(crate) fn commit(mut self) -> Result<(), DbError> {
        match self.connection {
            Connection::Sqlite(connection) => connection.execute_batch("COMMIT")?,
            Connection::Postgres(connection) => connection.commit()?,
        }
        self.is_open = false;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // A connection that cannot undo has lost what was not committed, or is itself lost.
            let _ = match self.connection {
                Connection::Sqlite(connection) => connection.execute_batch("ROLLBACK").map_err(DbError::from),
                Connection::Postgres(connection) => connection.roll_back(),
            };
        }
    }
}

/// Ends connections on a thread of its own, for whoever may be in a runtime's task: saying goodbye waits, too.
pub(crate) fn end_aside(connections: Vec<Connection>) {
    if !connections.is_empty() {
        std::thread::spawn(move || drop(connections));
    }
}

/// Does what waits on a thread of its own, for whoever is in a runtime's task and may wait all the same: at the start.
pub(crate) fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
impl testing::PostgresServer {
    pub(crate) fn target(&self) -> Target {
        Target::parse(&self.url()).unwrap()
    }
}
