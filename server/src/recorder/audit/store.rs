//! One append-only table, in a database because an entry must be on the disk before the attempt that it tells of. [`super::file`]
//! and [`super::shared`] say where it is.

use std::path::Path;

use lockkeeper_model::{AuditChain, AuditEntry, AuditKind, LockId, Time};
use rusqlite::ErrorCode;

use super::entry::{Deed, GENESIS, MAX_NAME_BYTES, Sealed, lock_name, seal};
use super::{file, shared};
use crate::access::Reach;
use crate::recorder::db::{Connection, DbError, Insert, Row, Target, Value, inserts};

/// Entries that are looked through at once for those that somebody may know of: some ten megabytes, a fraction of a second
/// in which nobody else is answered.
const MAX_LOOKED_THROUGH: usize = 5_000;

const ENTRIES: Insert = inserts!("entries (seq, entry, hash)", "($1, $2, $3)");

/// The triggers that keep honest hands from changing anything, wherever the table is.
pub(super) const TRIGGERS: [&str; 3] =
    ["entries_are_not_changed", "entries_are_not_removed", "entries_come_at_the_end"];

/// Why the audit cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(pub(super) String);

impl From<DbError> for AuditError {
    fn from(error: DbError) -> AuditError {
        let DbError::Sqlite(said) = &error else { return AuditError(error.to_string()) };
        let because = match said.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "there is no room left for the audit".to_owned(),
            Some(ErrorCode::ReadOnly) => "the audit's file may not be written".to_owned(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program has locked the audit's file".to_owned()
            }
            Some(ErrorCode::CannotOpen) => "the audit's file cannot be opened".to_owned(),
            Some(ErrorCode::NotADatabase) => "the audit's file is not an SQLite file".to_owned(),
            Some(ErrorCode::DatabaseCorrupt) => "the audit's file is damaged".to_owned(),
            _ => error.to_string(),
        };
        AuditError(because)
    }
}

impl From<rusqlite::Error> for AuditError {
    fn from(error: rusqlite::Error) -> AuditError {
        AuditError::from(DbError::from(error))
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

/// Where the audit is.
#[derive(Debug)]
pub struct Store {
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(Connection),
    Shared(Box<shared::Shared>),
}

impl Store {
    /// Opens the file for writing; makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<Store, AuditError> {
        Ok(Store { place: Place::File(file::open(path)?) })
    }

    /// One that ends with the process.
    pub(super) fn in_memory() -> Result<Store, AuditError> {
        Ok(Store { place: Place::File(file::in_memory()?) })
    }

    /// Opens the file in this folder for reading, also beside a server that writes it, and also from a medium that
    /// cannot be written.
    ///
    /// # Errors
    /// When there is none, or it is none of ours.
    pub fn read(dir: &Path) -> Result<Store, AuditError> {
        Ok(Store { place: Place::File(file::read(dir)?) })
    }

    /// Opens the tables in PostgreSQL for writing; makes them where there are none. Where it cannot be reached, that is
    /// tried again whenever something is asked of it.
    pub(super) fn share(target: &Target) -> Result<Store, AuditError> {
        Ok(Store { place: Place::Shared(Box::new(shared::Shared::to_write(target)?)) })
    }

    /// Opens the tables in PostgreSQL for reading, beside those who write them.
    ///
    /// # Errors
    /// When there are none, or PostgreSQL does not answer.
    pub fn read_shared(target: &Target) -> Result<Store, AuditError> {
        Ok(Store { place: Place::Shared(Box::new(shared::Shared::to_read(target)?)) })
    }

    /// The same, for a server's own questions: tried again whenever something is asked of it.
    pub(super) fn look_at_shared(target: &Target) -> Store {
        Store { place: Place::Shared(Box::new(shared::Shared::to_look_at(target))) }
    }

    /// To be called before anything is asked: a connection that was lost is made again.
    pub(super) fn revive(&mut self) {
        if let Place::Shared(shared) = &mut self.place {
            shared.revive();
        }
    }

    pub(super) fn connection(&self) -> Result<&Connection, AuditError> {
        match &self.place {
            Place::File(connection) => Ok(connection),
            Place::Shared(shared) => shared.connection(),
        }
    }

    /// Appends these, all or none. When it returns they are on the disk. What was written before without its writer
    /// having heard of it is not written again.
    pub(super) fn append(&mut self, drafts: &[AuditEntry]) -> Result<Vec<AuditEntry>, AuditError> {
        match &mut self.place {
            Place::File(connection) => {
                let transaction = connection.transaction()?;
                let mut chain = chain(&transaction)?;
                let mut appended = Vec::with_capacity(drafts.len());
                for draft in drafts {
                    appended.push(add(&transaction, &mut chain, draft.clone())?);
                }
                transaction.commit()?;
                Ok(appended)
            }
            Place::Shared(shared) => shared.append(drafts),
        }
    }

    /// Closes attempts of servers that ended, and takes over those of which nobody has said what came after: what was
    /// closed, and what is to be looked into. Nothing where one server alone keeps the audit.
    pub(super) fn take_over(&mut self) -> Result<TakenOver, AuditError> {
        match &mut self.place {
            Place::File(_) => Ok(TakenOver::default()),
            Place::Shared(shared) => shared.take_over(),
        }
    }

    /// Where it ends.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn chain(&self) -> Result<AuditChain, AuditError> {
        chain(self.connection()?)
    }

    /// At most `limit` entries of this part, and of [`MAX_LOOKED_THROUGH`] where not all may be known: the newest first of [`Part::Before`], the oldest first of [`Part::Between`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries(&self, filter: &Filter, part: Part, limit: usize) -> Result<Found, AuditError> {
        let moment = |at: Option<Time>| at.map(|at| at.to_string());
        let (source, lock) = (filter.source.as_deref().map(lock_name), filter.lock.as_deref().map(lock_name));
        let (since, until) = (moment(filter.since), moment(filter.until));
        let connection = self.connection()?;
        let said = |text: &Option<String>| text.as_ref().map(|text| shared::searched(connection, text));
        let (source, lock, actor, outcome) = (said(&source), said(&lock), said(&filter.actor), said(&filter.outcome));
        let mut wanted: Vec<(&str, Value<'_>)> = Vec::new();
        let texts = [
            ("source =", &source),
            ("lock =", &lock),
            ("actor =", &actor),
            ("outcome =", &outcome),
            ("at >=", &since),
            ("at <", &until),
        ];
        wanted.extend(texts.iter().filter_map(|(condition, text)| Some((*condition, Value::Text(text.as_deref()?)))));
        let order = match part {
            Part::Before(before) => {
                wanted.extend(before.map(|before| ("seq <", Value::Number(signed(before)))));
                "DESC"
            }
            Part::Between(after, upto) => {
                wanted.push(("seq >", Value::Number(signed(after))));
                wanted.push(("seq <=", Value::Number(signed(upto))));
                "ASC"
            }
        };
        let most = if filter.limited_to().is_some() { MAX_LOOKED_THROUGH } else { limit };
        let conditions: Vec<String> =
            wanted.iter().zip(1..).map(|((condition, _), number)| format!("{condition} ${number}")).collect();
        let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
        let values: Vec<Value<'_>> = wanted.into_iter().map(|(_, value)| value).collect();
        let sql = format!("SELECT entry, hash FROM entries WHERE {conditions} ORDER BY seq {order} LIMIT {most}");
        let rows: Vec<(String, String)> = connection.all(&sql, &values, texts_of)?;
        let mut found = Found::default();
        for (looked_at, row) in (1..).zip(rows) {
            let mut entry = entry(row)?;
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
        self.connection()?.all(&sql, &[], |row| entry(texts_of(row)?))
    }

    /// Attempts up to this number that may have done something and of which nobody saw what came after, oldest first, each
    /// with its outcome.
    pub(super) fn without_follow_up(&self, upto: u64, limit: usize) -> Result<Vec<(AuditEntry, String)>, AuditError> {
        let sql = format!(
            "SELECT intention.entry, intention.hash, completion.outcome \
             FROM entries AS intention JOIN entries AS completion ON completion.attempt = intention.seq \
             WHERE intention.kind = 'intention' AND intention.seq <= $1 AND completion.kind = 'completion' \
             AND completion.outcome IN ({}) AND NOT EXISTS \
             (SELECT 1 FROM entries WHERE attempt = intention.seq AND kind = 'follow_up') \
             ORDER BY intention.seq LIMIT {limit}",
            FOLLOWED.map(|outcome| format!("'{outcome}'")).join(", ")
        );
        self.connection()?.all(&sql, &[signed(upto).into()], |row| Ok((entry(texts_of(row)?)?, row.get(2)?)))
    }

    /// Every row as it is, in order, to whoever checks it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn each(&self, mut tell: impl FnMut(Stored)) -> Result<(), AuditError> {
        self.connection()?.each("SELECT seq, entry, hash FROM entries ORDER BY seq", &[], |row| {
            tell(Stored { seq: row.get(0)?, body: row.bytes(1).to_vec(), hash: row.bytes(2).to_vec() });
            Ok(())
        })
    }

    /// The triggers that should be there and are not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn missing_triggers(&self) -> Result<Vec<&'static str>, AuditError> {
        let connection = self.connection()?;
        let sql = if connection.sqlite().is_some() { file::TRIGGER } else { shared::TRIGGER };
        let mut missing = Vec::new();
        for trigger in TRIGGERS {
            if connection.one(sql, &[trigger.into()], |_| Ok::<(), AuditError>(()))?.is_none() {
                missing.push(trigger);
            }
        }
        Ok(missing)
    }

    /// Puts everything into the one file, so that a copy of that alone lacks nothing.
    pub(super) fn merge(&self) -> Result<(), AuditError> {
        match self.connection()?.sqlite() {
            Some(file) => Ok(file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?),
            None => Ok(()),
        }
    }

    /// Ends what an earlier run began and could not say the end of.
    pub(super) fn close_interrupted(&mut self, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        let open = self.without_completion(limit)?;
        let drafts: Vec<AuditEntry> = open.into_iter().map(|intention| interrupted(intention, INTERRUPTED)).collect();
        if drafts.is_empty() { Ok(drafts) } else { self.append(&drafts) }
    }

    /// The file's connection, to break it.
    #[cfg(test)]
    pub(super) fn sqlite(&self) -> &rusqlite::Connection {
        self.connection().unwrap().sqlite().unwrap()
    }
}

/// Outcomes after which somebody looks what became of the lock.
pub(super) const FOLLOWED: [&str; 5] = ["released", "held", "partial", "signalled", "unknown"];

/// What was taken over from servers that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TakenOver {
    /// Completions of attempts that had none.
    pub(super) closed: Vec<AuditEntry>,
    /// Intentions that nobody has looked into, each with its outcome.
    pub(super) left: Vec<(AuditEntry, String)>,
}

/// The end of an attempt that nobody saw.
pub(super) fn interrupted(intention: AuditEntry, because: &str) -> AuditEntry {
    let attempt = intention.seq;
    let mut draft = Deed::of(intention).entry(AuditKind::Completion, Some(attempt), because);
    draft.outcome = Some("unknown".to_owned());
    draft
}

/// Appends one entry within a transaction that nobody else appends in.
pub(super) fn add(
    connection: &Connection,
    chain: &mut AuditChain,
    draft: AuditEntry,
) -> Result<AuditEntry, AuditError> {
    let Sealed { entry, body } = seal(draft, chain.length + 1, &chain.head)?;
    connection.insert(&ENTRIES, &[signed(entry.seq).into(), body.as_str().into(), entry.hash.as_str().into()])?;
    *chain = AuditChain { length: entry.seq, head: entry.hash.clone() };
    Ok(entry)
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

pub(super) fn chain(connection: &Connection) -> Result<AuditChain, AuditError> {
    let head = connection.one("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1", &[], |row| {
        let seq: i64 = row.get(0)?;
        Ok::<_, AuditError>(AuditChain { length: u64::try_from(seq).unwrap_or(0), head: row.get(1)? })
    })?;
    Ok(head.unwrap_or_else(|| AuditChain { length: 0, head: GENESIS.to_owned() }))
}

fn texts_of(row: &Row<'_>) -> Result<(String, String), AuditError> {
    Ok((row.get(0)?, row.get(1)?))
}

pub(super) fn entry((body, hash): (String, String)) -> Result<AuditEntry, AuditError> {
    let mut entry: AuditEntry = serde_json::from_str(&body)?;
    entry.hash = hash;
    Ok(entry)
}

pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
