//! The file: one append-only table, in SQLite because an entry must be on the disk before the attempt that it tells of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockkeeper_model::{AuditChain, AuditEntry, AuditKind, LockId, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params_from_iter};

use super::entry::{Deed, GENESIS, MAX_NAME_BYTES, Sealed, lock_name, seal};
use crate::access::Reach;

/// The file within the data folder.
pub const FILE: &str = "audit.db";

/// How long a write waits for somebody who has locked the file. A person waits for the release meanwhile.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(1);

/// Entries that are looked through at once for those that somebody may know of: some ten megabytes, a fraction of a second
/// in which nobody else is answered.
const MAX_LOOKED_THROUGH: usize = 5_000;

/// The version of what is stored.
const VERSION: i64 = 1;

/// "LKau": what `file` and others tell the file by.
const APPLICATION: i64 = 0x4c4b_6175;

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

/// The triggers of [`SCHEMA`].
const TRIGGERS: [&str; 3] = ["entries_are_not_changed", "entries_are_not_removed", "entries_come_at_the_end"];

/// Why the audit cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(pub(super) String);

impl From<rusqlite::Error> for AuditError {
    fn from(error: rusqlite::Error) -> AuditError {
        let because = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "there is no room left for the audit".to_owned(),
            Some(ErrorCode::ReadOnly) => "the audit's file may not be written".to_owned(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program has locked the audit's file".to_owned()
            }
            Some(ErrorCode::CannotOpen) => "the audit's file cannot be opened".to_owned(),
            Some(ErrorCode::NotADatabase) => "the audit's file is not an SQLite file".to_owned(),
            Some(ErrorCode::DatabaseCorrupt) => "the audit's file is damaged".to_owned(),
            _ => format!("SQLite says: {error}"),
        };
        AuditError(because)
    }
}

impl From<serde_json::Error> for AuditError {
    fn from(error: serde_json::Error) -> AuditError {
        AuditError(format!("an entry cannot be read: {error}"))
    }
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only about this source.
    pub source: Option<String>,
    /// Only about the lock with this id.
    pub lock: Option<String>,
    /// Only by the actor of this name.
    pub actor: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Not from before this moment.
    pub since: Option<Time>,
    /// From before this moment.
    pub until: Option<Time>,
    /// Only about locks that somebody with this reach may see; `None`: whatever they are about. What is about no lock is
    /// for whoever sees everything.
    pub reach: Option<Reach>,
}

impl Filter {
    /// The reach, if it is not everything.
    fn limited_to(&self) -> Option<&Reach> {
        self.reach.as_ref().filter(|reach| !reach.is_all())
    }
}

/// What was found of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that pass the filter.
    pub entries: Vec<AuditEntry>,
    /// The number of the last entry that was looked at, if there may be more after it.
    pub more_after: Option<u64>,
}

/// Which part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The newest of those before this number.
    Before(Option<u64>),
    /// The oldest of those after the first number, up to and with the second.
    Between(u64, u64),
}

/// A stored row as it is, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub seq: i64,
    /// What the hash is of.
    pub body: Vec<u8>,
    /// The hash that is stored with it.
    pub hash: Vec<u8>,
}

/// A connection to the file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Opens the file for writing; makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<Store, AuditError> {
        let store = Store {
            connection: Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?,
        };
        // Readers and the writer do not wait for each other; every commit is on the disk before it is reported.
        store.connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        store.prepare()
    }

    /// One that ends with the process.
    pub(super) fn in_memory() -> Result<Store, AuditError> {
        Store { connection: Connection::open_in_memory()? }.prepare()
    }

    /// Opens the file in this folder for reading, also beside a server that writes it, and also from a medium that
    /// cannot be written.
    ///
    /// # Errors
    /// When there is none, or it is none of ours.
    pub fn read(dir: &Path) -> Result<Store, AuditError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Err(AuditError(format!("there is no audit in `{}`: no file `{FILE}`", dir.display())));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store { connection: Connection::open_with_flags(&path, flags)? };
        store.connection.busy_timeout(MAX_LOCK_WAIT)?;
        let store = match store.version() {
            // SQLite wants to put a file beside it. Where it must not, nobody writes either, unless there is a log that
            // was not yet merged, without which the newest entries would be missing.
            Err(_) if !with_suffix(&path, "-wal").exists() => {
                let uri = url::Url::from_file_path(std::path::absolute(&path).unwrap_or_else(|_| path.clone()))
                    .map_err(|()| AuditError(format!("`{}` is not a path", path.display())))?;
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                Store { connection: Connection::open_with_flags(format!("{uri}?immutable=1"), flags)? }
            }
            _ => store,
        };
        match store.version()? {
            VERSION => Ok(store),
            0 => Err(AuditError(format!("`{}` is not an audit of Lockkeeper", path.display()))),
            newer => Err(newer_version(newer)),
        }
    }

    fn prepare(mut self) -> Result<Store, AuditError> {
        self.connection.busy_timeout(MAX_LOCK_WAIT)?;
        self.connection.pragma_update(None, "synchronous", "full")?;
        self.connection.pragma_update(None, "trusted_schema", false)?;
        match self.version()? {
            VERSION => {}
            0 => {
                let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
                transaction.commit()?;
            }
            newer => return Err(newer_version(newer)),
        }
        Ok(self)
    }

    fn version(&self) -> Result<i64, AuditError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// Appends these, all or none. When it returns they are on the disk.
    pub(super) fn append(&mut self, drafts: &[AuditEntry]) -> Result<Vec<AuditEntry>, AuditError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut chain = chain(&transaction)?;
        let mut appended = Vec::with_capacity(drafts.len());
        {
            let mut insert = transaction.prepare("INSERT INTO entries (seq, entry, hash) VALUES (?1, ?2, ?3)")?;
            for draft in drafts {
                let Sealed { entry, body } = seal(draft.clone(), chain.length + 1, &chain.head)?;
                insert.execute((signed(entry.seq), &body, &entry.hash))?;
                chain = AuditChain { length: entry.seq, head: entry.hash.clone() };
                appended.push(entry);
            }
        }
        transaction.commit()?;
        Ok(appended)
    }

    /// Where it ends.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn chain(&self) -> Result<AuditChain, AuditError> {
        chain(&self.connection)
    }

    /// At most `limit` entries of this part, and of [`MAX_LOOKED_THROUGH`] where not all may be known: the newest first of [`Part::Before`], the oldest first of [`Part::Between`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries(&self, filter: &Filter, part: Part, limit: usize) -> Result<Found, AuditError> {
        let mut wanted: Vec<(&str, Value)> = Vec::new();
        let mut want = |condition, value: Option<Value>| wanted.extend(value.map(|value| (condition, value)));
        want("source = ?", filter.source.as_deref().map(lock_name).map(Value::Text));
        want("lock = ?", filter.lock.as_deref().map(lock_name).map(Value::Text));
        want("actor = ?", filter.actor.clone().map(Value::Text));
        want("outcome = ?", filter.outcome.clone().map(Value::Text));
        want("at >= ?", filter.since.map(|at| Value::Text(at.to_string())));
        want("at < ?", filter.until.map(|at| Value::Text(at.to_string())));
        let order = match part {
            Part::Before(before) => {
                want("seq < ?", before.map(|before| Value::Integer(signed(before))));
                "DESC"
            }
            Part::Between(after, upto) => {
                want("seq > ?", Some(Value::Integer(signed(after))));
                want("seq <= ?", Some(Value::Integer(signed(upto))));
                "ASC"
            }
        };
        let most = if filter.limited_to().is_some() { MAX_LOOKED_THROUGH } else { limit };
        let conditions: Vec<&str> = wanted.iter().map(|(condition, _)| *condition).collect();
        let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
        let sql = format!("SELECT entry, hash FROM entries WHERE {conditions} ORDER BY seq {order} LIMIT {most}");
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(wanted.into_iter().map(|(_, value)| value)), texts)?;
        let mut found = Found::default();
        for (looked_at, row) in (1..).zip(rows) {
            let mut entry = entry(row?)?;
            let seq = entry.seq;
            match filter.limited_to() {
                Some(reach) if !is_seen(&entry, reach) => {}
                Some(_) => {
                    entry.previous.clear();
                    entry.hash.clear();
                    found.entries.push(entry);
                }
                None => found.entries.push(entry),
            }
            if found.entries.len() == limit || looked_at == most {
                found.more_after = Some(seq);
                break;
            }
        }
        Ok(found)
    }

    /// Attempts whose end was never written, oldest first: the server ended in the middle of them.
    pub(super) fn without_completion(&self, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        let sql = format!(
            "SELECT entry, hash FROM entries AS intention WHERE kind = 'intention' AND NOT EXISTS \
             (SELECT 1 FROM entries WHERE attempt = intention.seq AND kind = 'completion') ORDER BY seq LIMIT {limit}"
        );
        self.connection.prepare(&sql)?.query_map((), texts)?.map(|row| entry(row?)).collect()
    }

    /// Attempts up to this number that may have done something and of which nobody saw what came after, oldest first, each
    /// with its outcome.
    pub(super) fn without_follow_up(&self, upto: u64, limit: usize) -> Result<Vec<(AuditEntry, String)>, AuditError> {
        let sql = format!(
            "SELECT intention.entry, intention.hash, completion.outcome \
             FROM entries AS intention JOIN entries AS completion ON completion.attempt = intention.seq \
             WHERE intention.kind = 'intention' AND intention.seq <= ?1 AND completion.kind = 'completion' \
             AND completion.outcome IN ('released', 'held', 'partial', 'signalled', 'unknown') AND NOT EXISTS \
             (SELECT 1 FROM entries WHERE attempt = intention.seq AND kind = 'follow_up') \
             ORDER BY intention.seq LIMIT {limit}"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map([signed(upto)], |row| Ok((texts(row)?, row.get::<_, String>(2)?)))?;
        rows.map(|row| {
            let (texts, outcome) = row?;
            Ok((entry(texts)?, outcome))
        })
        .collect()
    }

    /// Every row as it is, in order, to whoever checks it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn each(&self, mut tell: impl FnMut(Stored)) -> Result<(), AuditError> {
        let mut statement = self.connection.prepare("SELECT seq, entry, hash FROM entries ORDER BY seq")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let bytes = |column| -> rusqlite::Result<Vec<u8>> {
                let value = row.get_ref(column)?;
                Ok(value.as_bytes().map(<[u8]>::to_vec).unwrap_or_default())
            };
            tell(Stored { seq: row.get(0)?, body: bytes(1)?, hash: bytes(2)? });
        }
        Ok(())
    }

    /// The triggers that should be there and are not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn missing_triggers(&self) -> Result<Vec<&'static str>, AuditError> {
        let mut statement =
            self.connection.prepare("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = ?1")?;
        let mut missing = Vec::new();
        for trigger in TRIGGERS {
            if statement.query_row([trigger], |_| Ok(())).optional()?.is_none() {
                missing.push(trigger);
            }
        }
        Ok(missing)
    }

    /// Puts everything into the one file, so that a copy of that alone lacks nothing.
    pub(super) fn merge(&self) -> Result<(), AuditError> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?)
    }

    /// Ends what an earlier run began and could not say the end of.
    pub(super) fn close_interrupted(&mut self, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        let open = self.without_completion(limit)?;
        let drafts: Vec<AuditEntry> = open
            .into_iter()
            .map(|intention| {
                let attempt = intention.seq;
                let mut draft = Deed::of(intention).entry(AuditKind::Completion, Some(attempt), INTERRUPTED);
                draft.outcome = Some("unknown".to_owned());
                draft
            })
            .collect();
        if drafts.is_empty() { Ok(drafts) } else { self.append(&drafts) }
    }

    /// The connection, to break it.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Whether whoever has this reach, which is not everything, may know of the entry.
fn is_seen(entry: &AuditEntry, reach: &Reach) -> bool {
    let (Some(source), Some(lock)) = (&entry.source, &entry.lock) else { return false };
    // Of a name that may have been cut nobody can say what it matches.
    let key = || (lock.len() < MAX_NAME_BYTES).then(|| LockId::parse(lock).ok()?.key().ok()).flatten();
    reach.has_all_of(source) || key().is_some_and(|key| reach.has(source, &key))
}

/// What is said of an attempt that the server did not survive.
pub(super) const INTERRUPTED: &str = "attempted, outcome unknown: the server ended in the middle of the attempt";

fn chain(connection: &Connection) -> Result<AuditChain, AuditError> {
    let head = connection
        .query_row("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1", (), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    Ok(match head {
        Some((seq, head)) => AuditChain { length: u64::try_from(seq).unwrap_or(0), head },
        None => AuditChain { length: 0, head: GENESIS.to_owned() },
    })
}

fn texts(row: &Row<'_>) -> rusqlite::Result<(String, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn entry((body, hash): (String, String)) -> Result<AuditEntry, AuditError> {
    let mut entry: AuditEntry = serde_json::from_str(&body)?;
    entry.hash = hash;
    Ok(entry)
}

fn newer_version(version: i64) -> AuditError {
    AuditError(format!("the audit's file has version {version}, and this Lockkeeper knows version {VERSION}"))
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
