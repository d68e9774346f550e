//! What runs on an SQLite file.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{DbError, Row, Value};

/// Numbers that are no further apart are looked up in one pass: passing a row takes a fortieth of looking one up.
const NEAR: i64 = 32;

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Number(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

pub(super) fn execute(connection: &Connection, sql: &str, values: &[Value<'_>]) -> Result<u64, DbError> {
    Ok(connection.prepare_cached(sql)?.execute(params_from_iter(values))? as u64)
}

pub(super) fn each<E: From<DbError>>(
    connection: &Connection,
    sql: &str,
    values: &[Value<'_>],
    mut look: impl FnMut(&Row<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection.prepare_cached(sql).map_err(DbError::from)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(DbError::from)?;
    while let Some(row) = rows.next().map_err(DbError::from)? {
        look(&Row::Sqlite(row))?;
    }
    Ok(())
}

pub(super) fn each_of<E: From<DbError>>(
    connection: &Connection,
    select: &str,
    column: &str,
    ids: &[i64],
    mut look: impl FnMut(i64, &Row<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!("{select} WHERE {column} BETWEEN $1 AND $2 ORDER BY {column}");
    for near in ids.chunk_by(|one, next| next - one <= NEAR) {
        let (&[first, ..], &[.., last]) = (near, near) else { continue };
        let mut wanted = near.iter().copied().peekable();
        each(connection, &sql, &[first.into(), last.into()], |row| {
            let id = row.get(0)?;
            while wanted.next_if(|wanted| *wanted < id).is_some() {}
            match wanted.next_if_eq(&id) {
                Some(_) => look(id, row),
                None => Ok(()),
            }
        })?;
    }
    Ok(())
}
