//! What of warnings survives a restart: what is open, who looks into it, what is muted, and what was resolved lately.

use std::path::Path;
use std::time::Duration;

use lockkeeper_model::{Acknowledgement, LockWarning, Mute, Severity, Time, WarningState};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::watch::{KEEP_RESOLVED_MS, MAX_MUTES, MAX_OPEN, MAX_RESOLVED};
use crate::recorder::folder::{Locked, create_private, lock, make_private};

/// The file within the data folder.
pub const FILE: &str = "warnings.db";

/// Locked by the server that keeps its warnings there.
const LOCK_FILE: &str = "warnings.lock";

/// The version of what is stored.
const VERSION: i64 = 1;

/// "LKwa": what `file` and others tell the file by.
const APPLICATION: i64 = 0x4c4b_7761;

/// How long somebody who has locked the file is waited for.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(1);

/// Warnings that are read at the start: as many as there can be.
const MAX_READ: usize = MAX_OPEN + MAX_RESOLVED;

/// Both are JSON, the public forms and what is only known here, which only ever gain fields; what is looked for has a column.
const SCHEMA: &str = "
CREATE TABLE warnings (id TEXT PRIMARY KEY, resolved_at INTEGER, warning TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE mutes (id TEXT PRIMARY KEY, until INTEGER NOT NULL, mute TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Files of earlier servers are without it. Those to be forgotten are looked for each time that something is written.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS resolved ON warnings (resolved_at) WHERE resolved_at IS NOT NULL";

/// Why warnings cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError(format!("the file of warnings cannot be used: {error}"))
    }
}

/// A warning as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// That.
    #[serde(flatten)]
    pub warning: LockWarning,
    /// The highest severity with which others were told that it opened, so that they are told that it is over; `None`: they
    /// were not.
    #[serde(default)]
    pub told_as: Option<Severity>,
}

/// What an earlier run left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Those that were open when it ended, and those that were resolved within a day, the oldest first.
    pub warnings: Vec<Kept>,
    /// The mutes that are still in force.
    pub mutes: Vec<Mute>,
}

/// The file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    /// Locked as long as this lives.
    _lock: Locked,
}

impl Store {
    /// The file in this folder; both are made where they are missing.
    ///
    /// # Errors
    /// Names the folder and what is wrong with it.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        let unusable = |because: String| StoreError(format!("`{}` cannot be used: {because}", dir.display()));
        create_private(dir).map_err(|error| unusable(error.to_string()))?;
        let lock = lock(dir, LOCK_FILE, "another Lockkeeper keeps its warnings there").map_err(&unusable)?;
        let path = dir.join(FILE);
        make_private(&path).map_err(|error| unusable(error.to_string()))?;
        let connection = open(&path).map_err(|error| unusable(error.to_string()))?;
        Ok(Store { connection, _lock: lock })
    }

    /// What is still of use at this moment; the rest is deleted.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn remembered(&mut self, now: Time) -> Result<Remembered, StoreError> {
        forget(&self.connection, now)?;
        self.connection.execute("DELETE FROM mutes WHERE until <= ?", (now.0,))?;
        let mut find = self.connection.prepare("SELECT warning FROM warnings ORDER BY resolved_at LIMIT ?")?;
        let warnings = find.query_map((MAX_READ as i64,), |row| row.get::<_, String>(0))?;
        // What another version wrote and this one cannot read is left out rather than in the way.
        let warnings = warnings.filter_map(|text| serde_json::from_str(&text.ok()?).ok()).collect();
        let mut find = self.connection.prepare("SELECT mute FROM mutes ORDER BY until DESC LIMIT ?")?;
        let mutes = find.query_map((MAX_MUTES as i64,), |row| row.get::<_, String>(0))?;
        let mutes = mutes.filter_map(|text| serde_json::from_str(&text.ok()?).ok()).collect();
        Ok(Remembered { warnings, mutes })
    }

    /// Writes these as they are now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&mut self, warnings: &[Kept], now: Time) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for kept in warnings {
            let Ok(text) = serde_json::to_string(kept) else { continue };
            let warning = &kept.warning;
            let resolved_at = warning.resolved_at.filter(|_| warning.state == WarningState::Resolved).map(|at| at.0);
            transaction.execute(
                "INSERT OR REPLACE INTO warnings (id, resolved_at, warning) VALUES (?, ?, ?)",
                (&warning.id, resolved_at, text),
            )?;
        }
        forget(&transaction, now)?;
        transaction.commit()?;
        Ok(())
    }

    /// Writes that somebody looks into a warning, if it is there and not resolved: it may have come to be while they did.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn acknowledge(&mut self, id: &str, what: &Acknowledgement) -> Result<(), StoreError> {
        let what = serde_json::to_string(what).map_err(|error| StoreError(error.to_string()))?;
        self.connection.execute(
            "UPDATE warnings SET warning = json_set(warning, '$.acknowledged', json(?)) \
             WHERE id = ? AND resolved_at IS NULL",
            (what, id),
        )?;
        Ok(())
    }

    /// Writes a mute.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mute(&mut self, mute: &Mute) -> Result<(), StoreError> {
        let text = serde_json::to_string(mute).map_err(|error| StoreError(error.to_string()))?;
        let until = mute.until.0;
        self.connection
            .execute("INSERT OR REPLACE INTO mutes (id, until, mute) VALUES (?, ?, ?)", (&mute.id, until, text))?;
        Ok(())
    }

    /// Deletes a mute.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn unmute(&mut self, id: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM mutes WHERE id = ?", (id,))?;
        Ok(())
    }
}

/// Deletes those that were resolved long ago, and all but the last of the others: as many as are listed.
fn forget(connection: &Connection, now: Time) -> Result<(), StoreError> {
    connection.execute("DELETE FROM warnings WHERE resolved_at < ?", (now.0 - KEEP_RESOLVED_MS,))?;
    connection.execute(
        "DELETE FROM warnings WHERE id IN (SELECT id FROM warnings WHERE resolved_at IS NOT NULL \
         ORDER BY resolved_at DESC LIMIT -1 OFFSET ?)",
        (MAX_RESOLVED as i64,),
    )?;
    Ok(())
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // As the history: what was committed outlives the process in any case.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let version: Option<i64> = connection.pragma_query_value(None, "user_version", |row| row.get(0)).optional()?;
    match version.unwrap_or(0) {
        VERSION => {}
        0 => {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        newer => {
            return Err(StoreError(format!(
                "the file of warnings has version {newer}, and this Lockkeeper knows version {VERSION}"
            )));
        }
    }
    connection.execute_batch(INDEX)?;
    Ok(connection)
}
