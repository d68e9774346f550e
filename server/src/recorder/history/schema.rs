//! The tables, and how the file is opened. Numbers, times in milliseconds of the epoch, and bytes: nothing in it is
//! SQLite's own, so that PostgreSQL has the same tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection as File, ErrorCode, OpenFlags, TransactionBehavior};

use crate::recorder::db::{Connection, DbError};

/// The file within the data folder.
pub const FILE: &str = "history.db";

/// The version of what is stored.
pub(super) const VERSION: i64 = 2;

/// "LKhi": what `file` and others tell the file by.
const APPLICATION: i64 = 0x4c4b_6869;

/// Statements that are kept prepared: more than there are texts of them.
const STATEMENTS: usize = 64;

/// Pages that are given back to the system after each step of cutting off.
const FREED_AT_ONCE: i64 = 512;

/// How long somebody who has locked the file is waited for.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(1);

/// Pages of the log before whoever writes merges them itself: 16 MB. By then another thread has merged nearly all of them,
/// unless the disk is slower than what happens; the log begins anew once the last one is.
const MERGE_PAGES: i64 = 4_096;

/// What is left of the log once it was merged, in bytes.
const MAX_LOG_BYTES: i64 = 64 * 1024 * 1024;

/// Every table is written at its end only, and cut off at its beginning: what is kept costs the disk no more than its
/// size, and deleting the oldest touches nothing else.
///
/// - `transitions`: what happened, one row each. The number of a row is the number of its event within its run, plus the
///   run's `base`: so events keep their names, and what was not written is a hole in the numbers.
/// - `runs`: runs of the server. `eras`: from which row on a lock has one number only (a new one begins with every run,
///   and when too many names are known).
/// - `sources`, `forms`, `locks`, `tokens`: what the numbers in other tables stand for. `locks` are locks (with source and
///   form) and sources as a whole (with source alone). Locks and tokens are numbered together; there are far more tokens,
///   and who goes through all locks should not have to pass them.
/// - `segments`: runs of transitions that are complete. `minutes` is how much happened when. The newest rows have no
///   segment yet and are read as they are.
/// - `postings`: where each name occurs in a segment. `tallies`: what went on at each lock in it, added up; some hundred
///   locks together, in the order of their numbers, of which `name` is the first.
/// - `checkpoints`, `held`: the whole board, now and then. `missed`: when each source was last known to be incomplete.
/// - `incidents`: what somebody froze. It is not cut off.
pub(super) const SCHEMA: &str = "
CREATE TABLE runs (base INTEGER PRIMARY KEY, name TEXT NOT NULL, began INTEGER NOT NULL, alive INTEGER NOT NULL) STRICT;
CREATE TABLE eras (first_row INTEGER PRIMARY KEY, first_name INTEGER NOT NULL) STRICT;
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE forms (
    id INTEGER PRIMARY KEY, dialect TEXT NOT NULL, certainty TEXT NOT NULL, because TEXT NOT NULL,
    mode TEXT NOT NULL, state TEXT NOT NULL
) STRICT;
CREATE TABLE locks (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, form INTEGER, name BLOB NOT NULL) STRICT;
CREATE TABLE tokens (id INTEGER PRIMARY KEY, name BLOB NOT NULL) STRICT;
CREATE TABLE transitions (
    row INTEGER PRIMARY KEY, at INTEGER NOT NULL, lock INTEGER NOT NULL, what INTEGER NOT NULL, holder INTEGER,
    previous INTEGER, held INTEGER, lease INTEGER, number INTEGER
) STRICT;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, last_row INTEGER NOT NULL, first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL, first_name INTEGER NOT NULL, minutes BLOB NOT NULL
) STRICT;
CREATE TABLE postings (
    segment INTEGER NOT NULL, hash INTEGER NOT NULL, name INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (segment, hash, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE tallies (
    segment INTEGER NOT NULL, name INTEGER NOT NULL, sums BLOB NOT NULL, PRIMARY KEY (segment, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, last_row INTEGER NOT NULL, began INTEGER NOT NULL,
    ended INTEGER NOT NULL, first_held INTEGER NOT NULL, last_held INTEGER NOT NULL, first_name INTEGER NOT NULL
) STRICT;
CREATE TABLE missed (checkpoint INTEGER NOT NULL, source INTEGER NOT NULL, at INTEGER, PRIMARY KEY (checkpoint, source))
    STRICT, WITHOUT ROWID;
CREATE TABLE held (
    id INTEGER PRIMARY KEY, row INTEGER NOT NULL, lock INTEGER NOT NULL, holder INTEGER NOT NULL, count INTEGER,
    basis INTEGER NOT NULL, since INTEGER NOT NULL, width INTEGER, expires INTEGER, early INTEGER, lease INTEGER,
    renewals INTEGER, renewed INTEGER, period INTEGER
) STRICT;
CREATE TABLE incidents (id TEXT PRIMARY KEY, at INTEGER NOT NULL, packet TEXT NOT NULL) STRICT;
";

/// Tables that came later than [`VERSION`]: they are added to what is there, and who does not know them leaves them alone.
///
/// - `waits`: the minutes in which somebody waited, some hundred locks together. `first_name` is not above any number of a
///   lock in it.
/// - `followed`: from when to when everybody was seen who can be seen to wait in a source. What is not in it is not known.
/// - `seen`: the forms of locks of which those who wait can be seen, and how.
pub(super) const ADDED: &str = "
CREATE TABLE IF NOT EXISTS waits (
    minute INTEGER NOT NULL, part INTEGER NOT NULL, first_name INTEGER NOT NULL, sums BLOB NOT NULL,
    PRIMARY KEY (minute, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS followed (
    source INTEGER NOT NULL, began INTEGER NOT NULL, ended INTEGER NOT NULL, counted INTEGER NOT NULL,
    PRIMARY KEY (source, began)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (form INTEGER PRIMARY KEY, how INTEGER NOT NULL) STRICT;
";

/// Why the history cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HistoryError(pub(super) String);

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> HistoryError {
        HistoryError::from(DbError::from(error))
    }
}

impl From<DbError> for HistoryError {
    fn from(error: DbError) -> HistoryError {
        let DbError::Sqlite(said) = &error else { return HistoryError(error.to_string()) };
        let because = match said.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "there is no room left for the history".to_owned(),
            Some(ErrorCode::ReadOnly) => "the history's file may not be written".to_owned(),
            Some(ErrorCode::SystemIoFailure) => "the disk refuses to take or give the history".to_owned(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program has locked the history's file".to_owned()
            }
            Some(ErrorCode::CannotOpen) => "the history's file cannot be opened".to_owned(),
            Some(ErrorCode::NotADatabase) => "the history's file is not an SQLite file".to_owned(),
            Some(ErrorCode::DatabaseCorrupt) => "the history's file is damaged".to_owned(),
            Some(ErrorCode::OperationInterrupted) => "the question took too long".to_owned(),
            _ => error.to_string(),
        };
        HistoryError(because)
    }
}

/// Opens the file for writing; makes it where there is none.
pub(super) fn open_to_write(path: &Path, max_bytes: u64) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = File::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    // Before the first table: later it would take a rewriting of the whole file.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // What was committed outlives the process in any case; an outage of power may take what the system had not yet
    // written, which is the last second or so. The audit is the one that waits for the disk.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", MERGE_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", MAX_LOG_BYTES, |_| Ok(()))?;
    match version(&connection)? {
        VERSION => {}
        0 => {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        other => {
            return Err(HistoryError(format!(
                "the history's file has version {other}, and this Lockkeeper knows version {VERSION}: move `{FILE}` away \
                 to begin another"
            )));
        }
    }
    connection.execute_batch(ADDED)?;
    let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let most = i64::try_from(max_bytes).unwrap_or(i64::MAX) / page_size.max(512);
    connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))?;
    Ok(Connection::Sqlite(connection))
}

/// Opens the file for merging its log, beside whoever writes it.
pub(super) fn open_to_merge(path: &Path) -> Result<File, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = File::open_with_flags(path, flags)?;
    file.pragma_update(None, "synchronous", "normal")?;
    Ok(file)
}

/// Opens the file for reading, beside whoever writes it.
pub(super) fn open_to_read(path: &PathBuf) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = File::open_with_flags(path, flags)?;
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(Connection::Sqlite(connection))
}

/// Gives some of the pages that nothing is in any more back to the system.
pub(super) fn give_back(file: &File) -> Result<(), HistoryError> {
    let mut free = file.prepare_cached(&format!("PRAGMA incremental_vacuum({FREED_AT_ONCE})"))?;
    let mut freed = free.query(())?;
    while freed.next()?.is_some() {}
    Ok(())
}

/// Bytes of the file that hold something.
pub(super) fn used_bytes(file: &File) -> Result<u64, HistoryError> {
    let number = |name: &str| file.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages * number("page_size")?).unwrap_or(0))
}

fn version(connection: &File) -> Result<i64, HistoryError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
