//! What runs on PostgreSQL.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write as _;

use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Statement};
use bytes::BytesMut;

use super::{DbError, Insert, Row, Value};

/// The schema of all tables.
const SCHEMA: &str = "lockkeeper";

/// Statements that are kept prepared: more than there are texts of them.
const MAX_STATEMENTS: usize = 256;

/// Numbers that are asked for at once.
const ASKED_AT_ONCE: usize = 16_384;

/// The first of the two numbers of every advisory lock. Of other programs in the same database, whoever takes one of these
/// keeps Lockkeeper waiting. What each is for stands beside it; the second number is 0 where nothing else is said.
pub(crate) mod advisory {
    /// Whoever makes or checks the tables, for a moment.
    pub(super) const TABLES: i32 = 0x4c4b_0001;
    /// Whoever appends to the audit, for a moment.
    pub(crate) const AUDIT: i32 = 0x4c4b_0002;
    /// A server that lives and may be attempting something; the second number is the server's.
    pub(crate) const SERVER: i32 = 0x4c4b_0003;
    /// The server that writes the history.
    pub(crate) const HISTORY: i32 = 0x4c4b_0004;
    /// Servers that have seen another one write it, and know what happened since; each has it, shared.
    pub(crate) const WITNESS: i32 = 0x4c4b_0005;
}

/// A connection.
pub(crate) struct Postgres {
    client: RefCell<Client>,
    statements: RefCell<HashMap<String, Statement>>,
    /// Rows that go in with the end of the transaction, by table, as `COPY` takes them.
    pending: RefCell<Vec<(&'static Insert, Vec<u8>)>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

impl Postgres {
    pub(super) fn new(client: Client) -> Postgres {
        Postgres { client: RefCell::new(client), statements: RefCell::default(), pending: RefCell::default() }
    }

    /// Whether it can be used no more.
    pub(crate) fn is_lost(&self) -> bool {
        self.client.borrow().is_closed()
    }

    /// Asks for a sign of life, so that a lost connection is noticed where nothing else is asked.
    pub(crate) fn ping(&self) -> Result<(), DbError> {
        Ok(self.client.borrow_mut().batch_execute("")?)
    }

    pub(super) fn is_utf8(&self) -> Result<bool, DbError> {
        self.truth("SELECT current_setting('server_encoding') = 'UTF8'")
    }

    /// Runs statements without parameters.
    pub(crate) fn batch(&self, sql: &str) -> Result<(), DbError> {
        Ok(self.client.borrow_mut().batch_execute(sql)?)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, DbError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        Ok(self.client.borrow_mut().execute(&statement, &values)?)
    }

    pub(super) fn each<E: From<DbError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut look: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let statement = self.statement(sql)?;
        let mut client = self.client.borrow_mut();
        let mut rows = client.query_raw(&statement, values).map_err(DbError::from)?;
        while let Some(row) = rows.next().map_err(DbError::from)? {
            look(&Row::Postgres(&row))?;
        }
        Ok(())
    }

    pub(super) fn each_of<E: From<DbError>>(
        &self,
        select: &str,
        column: &str,
        ids: &[i64],
        mut look: impl FnMut(i64, &Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let statement = self.statement(&format!("{select} WHERE {column} = ANY($1) ORDER BY {column}"))?;
        let mut client = self.client.borrow_mut();
        for ids in ids.chunks(ASKED_AT_ONCE) {
            let mut rows = client.query_raw(&statement, [ids]).map_err(DbError::from)?;
            while let Some(row) = rows.next().map_err(DbError::from)? {
                let row = Row::Postgres(&row);
                look(row.get(0)?, &row)?;
            }
        }
        Ok(())
    }

    fn statement(&self, sql: &str) -> Result<Statement, DbError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.borrow_mut().prepare(sql)?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= MAX_STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Keeps a row for the end of the transaction: one statement for each row would be one way there and back for each.
    pub(super) fn insert(&self, into: &'static Insert, values: &[Value<'_>]) -> Result<(), DbError> {
        let mut pending = self.pending.borrow_mut();
        let at = match pending.iter().position(|(known, _)| std::ptr::eq(*known, into)) {
            Some(at) => at,
            None => {
                // Signature, flags, and no extension of the header.
                let begin = [&b"PGCOPY\n\xff\r\n\0"[..], &[0; 8]].concat();
                pending.push((into, begin));
                pending.len() - 1
            }
        };
        let rows = &mut pending[at].1;
        rows.extend(i16::try_from(values.len()).unwrap_or(i16::MAX).to_be_bytes());
        for value in values {
            let number;
            let bytes = match value {
                Value::Null => {
                    rows.extend((-1_i32).to_be_bytes());
                    continue;
                }
                Value::Number(value) => {
                    number = value.to_be_bytes();
                    &number[..]
                }
                Value::Text(text) => text.as_bytes(),
                Value::Bytes(bytes) => bytes,
            };
            let Ok(length) = i32::try_from(bytes.len()) else {
                return Err(DbError::Refused(format!("a value of {} bytes is too long to be stored", bytes.len())));
            };
            rows.extend(length.to_be_bytes());
            rows.extend_from_slice(bytes);
        }
        Ok(())
    }

    pub(super) fn begin(&self) -> Result<(), DbError> {
        self.pending.borrow_mut().clear();
        self.batch("BEGIN")
    }

    /// Writes what was kept, and makes it last.
    pub(super) fn commit(&self) -> Result<(), DbError> {
        for (into, mut rows) in self.pending.take() {
            rows.extend((-1_i16).to_be_bytes());
            let mut client = self.client.borrow_mut();
            let mut copy = client.copy_in(into.copy)?;
            copy.write_all(&rows).map_err(|error| DbError::Refused(format!("PostgreSQL does not take it: {error}")))?;
            copy.finish()?;
        }
        self.batch("COMMIT")
    }

    pub(super) fn roll_back(&self) -> Result<(), DbError> {
        self.pending.borrow_mut().clear();
        self.batch("ROLLBACK")
    }

    /// Waits for an advisory lock that ends with the transaction.
    pub(crate) fn lock_for_transaction(&self, of: i32) -> Result<(), DbError> {
        self.batch(&format!("SELECT pg_advisory_xact_lock({of}, 0)"))
    }

    /// Takes an advisory lock that ends with the connection, if nobody has it.
    pub(crate) fn try_lock(&self, of: i32, number: i32) -> Result<bool, DbError> {
        self.truth(&format!("SELECT pg_try_advisory_lock({of}, {number})"))
    }

    /// Takes a share of an advisory lock that ends with the connection, unless somebody has it for themselves.
    pub(crate) fn try_share(&self, of: i32) -> Result<bool, DbError> {
        self.truth(&format!("SELECT pg_try_advisory_lock_shared({of}, 0)"))
    }

    /// Whether anybody has an advisory lock, or a share of it.
    pub(crate) fn is_locked(&self, of: i32) -> Result<bool, DbError> {
        self.truth(&format!(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted
             AND CAST(classid AS BIGINT) = {of} AND objid = 0
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        ))
    }

    /// Takes an advisory lock that ends with the transaction, if nobody has it.
    pub(crate) fn try_lock_for_transaction(&self, of: i32, number: i32) -> Result<bool, DbError> {
        self.truth(&format!("SELECT pg_try_advisory_xact_lock({of}, {number})"))
    }

    fn truth(&self, sql: &str) -> Result<bool, DbError> {
        Ok(self.client.borrow_mut().query_one(sql, &[])?.try_get(0)?)
    }

    /// Makes the tables of `part` where there are none, and refuses those of another version.
    pub(crate) fn prepare_tables(&self, part: &str, version: i64, tables: &str) -> Result<(), DbError> {
        self.begin()?;
        let prepared = self.tables(part, version, tables);
        match &prepared {
            Ok(()) => self.commit()?,
            Err(_) => drop(self.roll_back()),
        }
        prepared
    }

    /// Makes tables that came later, of which `last` is the last, unless they are there. The schema is there.
    pub(crate) fn add_tables(&self, last: &str, tables: &str) -> Result<(), DbError> {
        self.begin()?;
        let added = self.lock_for_transaction(advisory::TABLES).and_then(|()| {
            // Whoever may not make tables may still write into those that there are.
            let is_there = self.truth(&format!("SELECT to_regclass('{SCHEMA}.{last}') IS NOT NULL"))?;
            if is_there { Ok(()) } else { self.batch(tables) }
        });
        match &added {
            Ok(()) => self.commit()?,
            Err(_) => drop(self.roll_back()),
        }
        added
    }

    fn tables(&self, part: &str, version: i64, tables: &str) -> Result<(), DbError> {
        self.lock_for_transaction(advisory::TABLES)?;
        if !self.truth(&format!("SELECT to_regnamespace('{SCHEMA}') IS NOT NULL"))? {
            self.batch(&format!("CREATE SCHEMA {SCHEMA}"))?;
        }
        if !self.truth(&format!("SELECT to_regclass('{SCHEMA}.versions') IS NOT NULL"))? {
            self.batch("CREATE TABLE versions (part TEXT PRIMARY KEY, version BIGINT NOT NULL)")?;
        }
        match self.version_of(part)? {
            Some(known) if known == version => Ok(()),
            Some(other) => Err(DbError::Refused(format!(
                "the {part} in it has version {other}, and this Lockkeeper knows version {version}"
            ))),
            None => {
                self.batch(tables)?;
                let insert = "INSERT INTO versions (part, version) VALUES ($1, $2)";
                self.execute(insert, &[part.into(), version.into()]).map(drop)
            }
        }
    }

    /// The version of the tables of `part`; `None`: there are none.
    pub(crate) fn version_of(&self, part: &str) -> Result<Option<i64>, DbError> {
        if !self.truth(&format!("SELECT to_regclass('{SCHEMA}.versions') IS NOT NULL"))? {
            return Ok(None);
        }
        let mut version = None;
        self.each("SELECT version FROM versions WHERE part = $1", &[part.into()], |row| {
            version = row.get(0)?;
            Ok::<(), DbError>(())
        })?;
        Ok(version)
    }
}

/// The same tables as SQLite has, in the words of PostgreSQL.
pub(crate) fn in_postgres(tables: &str) -> String {
    tables
        .replace("INTEGER PRIMARY KEY AUTOINCREMENT", "INTEGER PRIMARY KEY")
        .replace("INTEGER PRIMARY KEY", "INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
        .replace("INTEGER", "BIGINT")
        .replace("BLOB", "BYTEA")
        .replace("STRICT, WITHOUT ROWID;", ";")
        .replace("STRICT;", ";")
}

impl ToSql for Value<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Number(number) if *of == Type::INT4 => i32::try_from(*number)?.to_sql(of, out),
            Value::Number(number) => number.to_sql(of, out),
            Value::Text(text) => text.to_sql(of, out),
            Value::Bytes(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        [Type::INT4, Type::INT8, Type::TEXT, Type::VARCHAR, Type::BYTEA].contains(of)
    }

    to_sql_checked!();
}
