//! The audit in PostgreSQL, for several servers: one chain, to which one of them appends at a time.
//!
//! Every server that may attempt something has a number and holds an advisory lock of that number for as long as it is
//! connected. An attempt of which nobody has said yet what came after is in `attempts`, with the number of its server;
//! when nobody holds the lock of that number any more, another server closes the attempt and looks into it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use lockkeeper_model::{AuditEntry, AuditKind};

use super::entry::Deed;
use super::store::{AuditError, FOLLOWED, TakenOver, add, chain, entry, interrupted, signed};
use crate::recorder::db::{Connection, DbError, Postgres, Target, Transaction, Value, advisory};

/// What the tables are called among the versions.
const PART: &str = "audit";

/// The version of what is stored.
const VERSION: i64 = 1;

/// Finds a trigger by its name.
pub(super) const TRIGGER: &str = "SELECT 1 FROM pg_trigger WHERE CAST(tgname AS TEXT) = $1 AND tgenabled <> 'D'
    AND tgrelid = CAST('lockkeeper.entries' AS REGCLASS)";

/// As the file has it. PostgreSQL has no text with a zero byte, so where columns are looked up in the entry, another sign
/// stands for it; [`searched`] does the same with what is looked for. Locks' ids are too long for any other kind of index.
const TABLES: &str = r#"
CREATE TABLE entries (
    seq BIGINT PRIMARY KEY,
    entry TEXT NOT NULL,
    hash TEXT NOT NULL,
    at TEXT COLLATE "C" GENERATED ALWAYS AS (replace(entry, '\u0000', '\ufffd')::json ->> 'at') STORED,
    kind TEXT GENERATED ALWAYS AS (replace(entry, '\u0000', '\ufffd')::json ->> 'kind') STORED,
    attempt BIGINT GENERATED ALWAYS AS ((replace(entry, '\u0000', '\ufffd')::json ->> 'attempt')::bigint) STORED,
    actor TEXT GENERATED ALWAYS AS (replace(entry, '\u0000', '\ufffd')::json #>> '{actor,name}') STORED,
    source TEXT GENERATED ALWAYS AS (replace(entry, '\u0000', '\ufffd')::json ->> 'source') STORED,
    lock TEXT GENERATED ALWAYS AS (replace(entry, '\u0000', '\ufffd')::json ->> 'lock') STORED,
    outcome TEXT GENERATED ALWAYS AS (replace(entry, '\u0000', '\ufffd')::json ->> 'outcome') STORED
);
CREATE INDEX entries_by_time ON entries (at);
CREATE INDEX entries_by_attempt ON entries (attempt, kind) WHERE attempt IS NOT NULL;
CREATE INDEX entries_by_kind ON entries (kind);
CREATE INDEX entries_by_actor ON entries USING hash (actor);
CREATE INDEX entries_by_lock ON entries USING hash (lock);
CREATE INDEX entries_by_source ON entries USING hash (source);
CREATE INDEX entries_by_outcome ON entries (outcome);
CREATE FUNCTION entries_stay() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'entries of the audit are never changed or removed'; END $$;
CREATE FUNCTION entries_follow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM lockkeeper.entries) THEN
            RAISE EXCEPTION 'entries of the audit are only appended';
        END IF;
        RETURN NEW;
    END $$;
CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION entries_stay();
CREATE TRIGGER entries_are_not_removed BEFORE DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION entries_stay();
CREATE TRIGGER entries_come_at_the_end BEFORE INSERT ON entries
    FOR EACH ROW EXECUTE FUNCTION entries_follow();
CREATE TABLE attempts (seq BIGINT PRIMARY KEY, server BIGINT NOT NULL);
CREATE SEQUENCE servers AS INTEGER CYCLE;
"#;

/// Settings of whoever writes. A person waits for the release meanwhile: another server appends within milliseconds, and
/// what takes longer than five seconds is too late for an attempt. What is committed is on the disk.
const WRITING: &str = "SET synchronous_commit = on; SET lock_timeout = '2s'; SET statement_timeout = '5s'";

/// Settings of whoever answers a server's questions, which are pages and parts of an export.
const LOOKING: &str = "SET statement_timeout = '30s'; SET default_transaction_read_only = on";

/// Settings of whoever reads all of it, however long that takes.
const READING: &str = "SET default_transaction_read_only = on";

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_secs(1);

/// For how long a server must be gone before its attempts are closed. One that has only lost its connection makes another
/// within two seconds or so.
#[cfg(not(test))]
const GRACE: Duration = Duration::from_secs(6);
#[cfg(test)]
const GRACE: Duration = Duration::from_millis(300);

/// Attempts that are taken over at once.
const BATCH: usize = 1_024;

/// What is said of an attempt whose server is gone.
const INTERRUPTED: &str = "attempted, outcome unknown: the server ended in the middle of the attempt, or was cut off from \
                           the audit";

/// What is said of an intention of which the server never heard that it was written.
const UNHEARD: &str = "the connection to the audit was lost while the intention was written, so nothing was tried";

/// What this server is to the audit.
#[derive(Debug)]
enum Part {
    /// It appends, under this number once it has one.
    Writer {
        number: Option<i32>,
        ongoing: HashSet<u64>,
        gone_since: HashMap<i64, Instant>,
    },
    Reader {
        settings: &'static str,
    },
}

/// A connection to the audit that is made again when it is lost.
#[derive(Debug)]
pub(super) struct Shared {
    target: Target,
    part: Part,
    connection: Result<Connection, AuditError>,
    tried_at: Option<Instant>,
}

impl Shared {
    /// To append.
    pub(super) fn to_write(target: &Target) -> Result<Shared, AuditError> {
        let part = Part::Writer { number: None, ongoing: HashSet::new(), gone_since: HashMap::new() };
        let mut shared = Shared::unconnected(target, part);
        match shared.connect() {
            Err(error) if !error.may_pass() => Err(shared.unusable(error)),
            connected => {
                shared.connection = connected.map_err(|error| shared.unusable(error));
                Ok(shared)
            }
        }
    }

    /// To read all of it.
    pub(super) fn to_read(target: &Target) -> Result<Shared, AuditError> {
        let mut shared = Shared::unconnected(target, Part::Reader { settings: READING });
        shared.connection = Ok(shared.connect().map_err(|error| shared.unusable(error))?);
        Ok(shared)
    }

    /// To answer questions.
    pub(super) fn to_look_at(target: &Target) -> Shared {
        Shared::unconnected(target, Part::Reader { settings: LOOKING })
    }

    fn unconnected(target: &Target, part: Part) -> Shared {
        let connection = Err(AuditError(format!("`{target}` was not asked yet")));
        Shared { target: target.clone(), part, connection, tried_at: None }
    }

    fn unusable(&self, error: DbError) -> AuditError {
        AuditError(format!("`{}` cannot be used: {error}", self.target))
    }

    fn connect(&mut self) -> Result<Connection, DbError> {
        match &mut self.part {
            Part::Reader { settings } => {
                let connection = self.target.connect(settings)?;
                match postgres(&connection)?.version_of(PART)? {
                    Some(VERSION) => Ok(connection),
                    None => Err(DbError::Refused("there is no audit in it".to_owned())),
                    Some(other) => Err(DbError::Refused(format!(
                        "the audit in it has version {other}, and this Lockkeeper knows version {VERSION}"
                    ))),
                }
            }
            Part::Writer { number, .. } => {
                let connection = self.target.connect(WRITING)?;
                let postgres = postgres(&connection)?;
                postgres.prepare_tables(PART, VERSION, TABLES)?;
                let own = match number {
                    Some(own) => *own,
                    None => {
                        let next = connection.number("SELECT nextval('servers')", &[])?;
                        *number.insert(next.and_then(|next| i32::try_from(next).ok()).unwrap_or(0))
                    }
                };
                if !postgres.try_lock(advisory::SERVER, own)? {
                    return Err(DbError::Refused("the former connection of this server is not closed yet".to_owned()));
                }
                Ok(connection)
            }
        }
    }

    /// Makes another connection where there is none, unless that was tried just now. One may have been cut while nobody
    /// used it.
    pub(super) fn revive(&mut self) {
        let is_due = match &self.connection {
            Ok(connection) => postgres(connection).and_then(Postgres::ping).is_err(),
            Err(_) => self.tried_at.is_none_or(|at| at.elapsed() >= AGAIN),
        };
        if is_due {
            self.connect_again();
        }
    }

    fn connect_again(&mut self) {
        self.tried_at = Some(Instant::now());
        // The former one first: the lock that it has is wanted by the next.
        self.connection = Err(AuditError(format!("`{}` does not answer", self.target)));
        self.connection = self.connect().map_err(|error| self.unusable(error));
    }

    pub(super) fn connection(&self) -> Result<&Connection, AuditError> {
        self.connection.as_ref().map_err(Clone::clone)
    }

    /// Begins to append: nobody else does until the transaction ends.
    fn begin(&mut self) -> Result<(), AuditError> {
        self.revive();
        self.connection().map(drop)
    }

    /// Appends these, all or none.
    pub(super) fn append(&mut self, drafts: &[AuditEntry]) -> Result<Vec<AuditEntry>, AuditError> {
        self.begin()?;
        let own = self.number();
        let transaction = begin(self.connection()?)?;
        let mut chain = chain(&transaction)?;
        let mut appended = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let entry = match told_already(&transaction, draft)? {
                Told::Written(entry) => *entry,
                Told::Otherwise => add(&transaction, &mut chain, late(draft))?,
                Told::Not => add(&transaction, &mut chain, draft.clone())?,
            };
            book(&transaction, &entry, own)?;
            appended.push(entry);
        }
        transaction.commit()?;
        if let Part::Writer { ongoing, .. } = &mut self.part {
            for entry in &appended {
                match entry.attempt {
                    None if entry.kind == AuditKind::Intention => drop(ongoing.insert(entry.seq)),
                    Some(attempt) if is_over(entry) => drop(ongoing.remove(&attempt)),
                    _ => {}
                }
            }
        }
        Ok(appended)
    }

    /// Closes what servers that are gone left open, and what this one never heard to be written. What somebody should look
    /// into is this server's from then on.
    pub(super) fn take_over(&mut self) -> Result<TakenOver, AuditError> {
        self.begin()?;
        let own = self.number();
        let connection = self.connection.as_ref().map_err(Clone::clone)?;
        let Part::Writer { ongoing, gone_since, .. } = &mut self.part else { return Ok(TakenOver::default()) };
        let gone: Vec<i64> = connection.all(&gone(), &[own.into()], |row| Ok::<_, AuditError>(row.get(0)?))?;
        gone_since.retain(|server, _| gone.contains(server));
        let now = Instant::now();
        let due = gone.into_iter().filter(|server| gone_since.entry(*server).or_insert(now).elapsed() >= GRACE);
        let due: Vec<i64> = due.collect();
        let sql = "SELECT seq FROM attempts WHERE server = $1 ORDER BY seq";
        let mut unheard: Vec<i64> = connection.all(sql, &[own.into()], |row| Ok::<_, AuditError>(row.get(0)?))?;
        unheard.retain(|seq| !ongoing.contains(&seq.cast_unsigned()));
        if due.is_empty() && unheard.is_empty() {
            return Ok(TakenOver::default());
        }
        let transaction = begin(connection)?;
        let mut taken = TakenOver::default();
        let mut chain = chain(&transaction)?;
        for seq in unheard {
            if let Some(intention) = entry_of(&transaction, seq)? {
                let mut draft = Deed::of(intention).entry(AuditKind::Completion, Some(seq.cast_unsigned()), UNHEARD);
                draft.outcome = Some("refused".to_owned());
                taken.closed.push(add(&transaction, &mut chain, draft)?);
            }
            transaction.execute("DELETE FROM attempts WHERE seq = $1", &[seq.into()])?;
        }
        for server in due {
            let number = i32::try_from(server).unwrap_or(0);
            if !postgres(&transaction)?.try_lock_for_transaction(advisory::SERVER, number)? {
                continue;
            }
            let sql = format!("SELECT seq FROM attempts WHERE server = $1 ORDER BY seq LIMIT {BATCH}");
            for seq in transaction.all(&sql, &[server.into()], |row| Ok::<i64, AuditError>(row.get(0)?))? {
                let Some(intention) = entry_of(&transaction, seq)? else { continue };
                let outcome = match completion_of(&transaction, seq)? {
                    Some(completion) => completion.outcome.unwrap_or_default(),
                    None => {
                        let closed = add(&transaction, &mut chain, interrupted(intention.clone(), INTERRUPTED))?;
                        taken.closed.push(closed);
                        "unknown".to_owned()
                    }
                };
                taken.left.push((intention, outcome));
                let update = "UPDATE attempts SET server = $1 WHERE seq = $2";
                transaction.execute(update, &[own.into(), seq.into()])?;
            }
        }
        transaction.commit()?;
        ongoing.extend(taken.left.iter().map(|(intention, _)| intention.seq));
        Ok(taken)
    }

    fn number(&self) -> i64 {
        match &self.part {
            Part::Writer { number, .. } => i64::from(number.unwrap_or(0)),
            Part::Reader { .. } => 0,
        }
    }
}

/// Servers with open attempts, other than this one, that nobody is.
fn gone() -> String {
    format!(
        "SELECT DISTINCT server FROM attempts WHERE server <> $1 AND NOT EXISTS
         (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND CAST(classid AS BIGINT) = {}
          AND CAST(objid AS BIGINT) = server
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        advisory::SERVER
    )
}

fn postgres(connection: &Connection) -> Result<&Postgres, DbError> {
    connection.postgres().ok_or_else(|| DbError::Refused("this is no PostgreSQL".to_owned()))
}

fn begin(connection: &Connection) -> Result<Transaction<'_>, AuditError> {
    let transaction = connection.transaction()?;
    postgres(connection)?.lock_for_transaction(advisory::AUDIT)?;
    Ok(transaction)
}

/// What the audit has of an entry that is about to be written.
enum Told {
    Not,
    /// The same: its writer had not heard of it.
    Written(Box<AuditEntry>),
    /// Another end of the same attempt.
    Otherwise,
}

fn told_already(connection: &Connection, draft: &AuditEntry) -> Result<Told, AuditError> {
    let Some(attempt) = draft.attempt else { return Ok(Told::Not) };
    let known = entries_of(connection, attempt, draft.kind)?;
    Ok(match known.into_iter().find(|known| known.at == draft.at) {
        Some(same) => Told::Written(Box::new(same)),
        None if draft.kind == AuditKind::Completion && completion_of(connection, signed(attempt))?.is_some() => {
            let later = entries_of(connection, attempt, AuditKind::FollowUp)?;
            later
                .into_iter()
                .find(|known| known.at == draft.at)
                .map_or(Told::Otherwise, |same| Told::Written(Box::new(same)))
        }
        None => Told::Not,
    })
}

/// An end that another server has closed as unknown meanwhile.
fn late(draft: &AuditEntry) -> AuditEntry {
    let outcome = draft.outcome.as_deref().unwrap_or("unknown");
    let detail = format!("said later by the server that had begun it: {outcome}: {}", draft.detail);
    let mut late = Deed::of(draft.clone()).entry(AuditKind::FollowUp, draft.attempt, &detail);
    late.at = draft.at;
    late
}

/// Keeps `attempts`.
fn book(connection: &Connection, entry: &AuditEntry, own: i64) -> Result<(), AuditError> {
    match entry.attempt {
        None if entry.kind == AuditKind::Intention => {
            let insert = "INSERT INTO attempts (seq, server) VALUES ($1, $2)";
            connection.execute(insert, &[signed(entry.seq).into(), own.into()])?;
        }
        Some(attempt) if is_over(entry) => {
            connection.execute("DELETE FROM attempts WHERE seq = $1", &[signed(attempt).into()])?;
        }
        _ => {}
    }
    Ok(())
}

/// Whether nobody needs to look into the attempt after this entry about it.
fn is_over(entry: &AuditEntry) -> bool {
    match entry.kind {
        AuditKind::FollowUp => true,
        AuditKind::Completion => !FOLLOWED.contains(&entry.outcome.as_deref().unwrap_or_default()),
        _ => false,
    }
}

fn entry_of(connection: &Connection, seq: i64) -> Result<Option<AuditEntry>, AuditError> {
    let sql = "SELECT entry, hash FROM entries WHERE seq = $1";
    connection.one(sql, &[seq.into()], |row| entry((row.get(0)?, row.get(1)?)))
}

fn completion_of(connection: &Connection, attempt: i64) -> Result<Option<AuditEntry>, AuditError> {
    Ok(entries_of(connection, attempt.cast_unsigned(), AuditKind::Completion)?.into_iter().next())
}

fn entries_of(connection: &Connection, attempt: u64, kind: AuditKind) -> Result<Vec<AuditEntry>, AuditError> {
    let sql = "SELECT entry, hash FROM entries WHERE attempt = $1 AND kind = $2 ORDER BY seq";
    let values = [signed(attempt).into(), Value::Text(kind.word())];
    connection.all(sql, &values, |row| entry((row.get(0)?, row.get(1)?)))
}

/// A text as the columns have it that are looked up in the entries.
pub(super) fn searched(connection: &Connection, text: &str) -> String {
    match connection.postgres() {
        Some(_) => text.replace('\0', "\u{fffd}").replace("\\u0000", "\\ufffd"),
        None => text.to_owned(),
    }
}
