//! The audit in a file of SQLite's, for one server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection as File, OpenFlags, TransactionBehavior};

use super::store::AuditError;
use crate::recorder::db::Connection;

/// The file within the data folder.
pub const FILE: &str = "audit.db";

/// How long a write waits for somebody who has locked the file. A person waits for the release meanwhile.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(1);

/// The version of what is stored.
const VERSION: i64 = 1;

/// "LKau": what `file` and others tell the file by.
const APPLICATION: i64 = 0x4c4b_6175;

/// Finds a trigger by its name.
pub(super) const TRIGGER: &str = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = $1";

/// The entry's text is what counts and what is hashed; the columns after it are looked up in it, so that they cannot say
/// anything else. The triggers keep honest hands from changing anything; what keeps others from it unseen is the chain.
const SCHEMA: &str = "
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    entry TEXT NOT NULL,
    hash TEXT NOT NULL,
    at TEXT GENERATED ALWAYS AS (entry ->> '$.at') VIRTUAL,
    kind TEXT GENERATED ALWAYS AS (entry ->> '$.kind') VIRTUAL,
    attempt INTEGER GENERATED ALWAYS AS (entry ->> '$.attempt') VIRTUAL,
    actor TEXT GENERATED ALWAYS AS (entry ->> '$.actor.name') VIRTUAL,
    source TEXT GENERATED ALWAYS AS (entry ->> '$.source') VIRTUAL,
    lock TEXT GENERATED ALWAYS AS (entry ->> '$.lock') VIRTUAL,
    outcome TEXT GENERATED ALWAYS AS (entry ->> '$.outcome') VIRTUAL
) STRICT;
CREATE INDEX entries_by_time ON entries (at);
CREATE INDEX entries_by_attempt ON entries (attempt, kind) WHERE attempt IS NOT NULL;
CREATE INDEX entries_by_kind ON entries (kind);
CREATE INDEX entries_by_actor ON entries (actor);
CREATE INDEX entries_by_lock ON entries (lock, source);
CREATE INDEX entries_by_source ON entries (source);
CREATE INDEX entries_by_outcome ON entries (outcome);
CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries of the audit are never changed'); END;
CREATE TRIGGER entries_are_not_removed BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'entries of the audit are never removed'); END;
CREATE TRIGGER entries_come_at_the_end BEFORE INSERT ON entries
    WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM entries)
    BEGIN SELECT RAISE(ABORT, 'entries of the audit are only appended'); END;
";

pub(super) fn open(path: &Path) -> Result<Connection, AuditError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = File::open_with_flags(path, flags)?;
    // Readers and the writer do not wait for each other; every commit is on the disk before it is reported.
    file.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    prepare(file)
}

pub(super) fn in_memory() -> Result<Connection, AuditError> {
    prepare(File::open_in_memory()?)
}

pub(super) fn read(dir: &Path) -> Result<Connection, AuditError> {
    let path = dir.join(FILE);
    if !path.is_file() {
        return Err(AuditError(format!("there is no audit in `{}`: no file `{FILE}`", dir.display())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = File::open_with_flags(&path, flags)?;
    file.busy_timeout(MAX_LOCK_WAIT)?;
    let file = match version(&file) {
        // SQLite wants to put a file beside it. Where it must not, nobody writes either, unless there is a log that
        // was not yet merged, without which the newest entries would be missing.
        Err(_) if !with_suffix(&path, "-wal").exists() => {
            let uri = url::Url::from_file_path(std::path::absolute(&path).unwrap_or_else(|_| path.clone()))
                .map_err(|()| AuditError(format!("`{}` is not a path", path.display())))?;
            File::open_with_flags(format!("{uri}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        _ => file,
    };
    match version(&file)? {
        VERSION => Ok(Connection::Sqlite(file)),
        0 => Err(AuditError(format!("`{}` is not an audit of Lockkeeper", path.display()))),
        newer => Err(newer_version(newer)),
    }
}

fn prepare(mut file: File) -> Result<Connection, AuditError> {
    file.busy_timeout(MAX_LOCK_WAIT)?;
    file.pragma_update(None, "synchronous", "full")?;
    file.pragma_update(None, "trusted_schema", false)?;
    match version(&file)? {
        VERSION => {}
        0 => {
            let transaction = file.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        newer => return Err(newer_version(newer)),
    }
    Ok(Connection::Sqlite(file))
}

fn version(file: &File) -> Result<i64, AuditError> {
    Ok(file.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn newer_version(version: i64) -> AuditError {
    AuditError(format!("the audit's file has version {version}, and this Lockkeeper knows version {VERSION}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
