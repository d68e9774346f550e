//! What is recorded as its one writer sees it: appends, closes segments, cuts off the oldest.

use std::path::Path;

use lockkeeper_model::{Basis, Time, TransitionKind};

use super::Limits;
use super::codes;
use super::merge::Merger;
use super::names::{Kind, Names};
use super::postings::hash;
use super::schema::{self, HistoryError};
use super::segment::{Closing, Mark, Tail, clear_unfinished};
use super::waits::Keeper;
use super::{follow, shared, waits};
use crate::recorder::db::{Connection, DbError, Insert, Value, inserts};
use crate::registry::past::Piece;
use crate::registry::waits::Waits;
use crate::registry::{Cause, Hold, LoggedEvent};
use crate::source::SourceId;

const TRANSITIONS: Insert = inserts!(
    "transitions (row, at, lock, what, holder, previous, held, lease, number)",
    "($1, $2, $3, $4, $5, $6, $7, $8, $9)"
);
const HELD: Insert = inserts!(
    "held (id, row, lock, holder, count, basis, since, width, expires, early, lease, renewals, renewed, period)",
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
);

/// Transitions in a segment: a week of a busy store has a few thousand segments.
const SEGMENT_ROWS: u64 = 65_536;

/// Names in a row at most: the lock, its holder, and the one before. When so many postings of a segment are written for
/// each row, it is there before the next one is full.
const NAMES_PER_ROW: usize = 3;

/// Postings that are written at once when nothing else is to be: some five milliseconds.
const CLOSED_AT_ONCE: usize = 2_048;

/// The file may be this many segments long at least: with fewer the oldest would be nearly everything.
const LEAST_SEGMENTS: u64 = 16;

/// Rows that are deleted in one transaction: some ten milliseconds in which nothing else is written.
const DELETED_AT_ONCE: u64 = 8_192;

/// An unused number, in the column of the cause of a gap, for what the board did not miss.
pub(super) const NOT_RECORDED: i64 = 100 << 8;
/// The same, for the time between two runs.
pub(super) const NOT_RUNNING: i64 = 101 << 8;

/// One line to be written.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// What the board says.
    Event(LoggedEvent),
    /// What could not be written, up to this event of the board.
    NotRecorded { seq: u64, since: Time, at: Time, count: u64, because: String },
}

impl Line {
    pub(super) fn seq(&self) -> u64 {
        match self {
            Line::Event(logged) => logged.entry.seq,
            Line::NotRecorded { seq, .. } => *seq,
        }
    }

    pub(super) fn at(&self) -> Time {
        match self {
            Line::Event(logged) => logged.entry.at,
            Line::NotRecorded { at, .. } => *at,
        }
    }
}

/// This run of the server.
#[derive(Debug)]
struct Run {
    name: String,
    sources: Vec<String>,
    began: Time,
    /// Its numbers of sources; empty until it is written.
    ids: Vec<i64>,
    is_written: bool,
    /// Another server watched until it took over: there is no gap between.
    succeeds: bool,
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct Checkpoint {
    first_row: i64,
    began: Time,
    first_held: i64,
    first_name: i64,
    era: u64,
}

/// The file, or the tables in PostgreSQL.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    /// Of the file; PostgreSQL sees to its own log.
    merger: Option<Merger>,
    limits: Limits,
    base: i64,
    run: Option<Run>,
    names: Names,
    /// Names of an era begin here.
    era_name: i64,
    era: u64,
    tail: Tail,
    closing: Option<Closing>,
    next_held: i64,
    checkpoint: Option<Checkpoint>,
    keeper: Keeper,
    room: shared::Room,
}

impl Store {
    /// Opens the file; makes it where there is none.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<Store, HistoryError> {
        let mut store = Store::of(schema::open_to_write(path, limits.max_bytes)?, limits)?;
        store.merger = Some(Merger::start(path)?);
        Ok(store)
    }

    /// Goes on after what is there. What an earlier run left open is closed.
    pub(super) fn of(connection: Connection, limits: Limits) -> Result<Store, HistoryError> {
        let number = |sql: &str| connection.number(sql, &[]);
        let last_row = number("SELECT max(row) FROM transitions")?
            .max(number("SELECT max(base) FROM runs")?)
            .max(number("SELECT max(last_row) FROM segments")?)
            .max(number("SELECT max(last_row) FROM checkpoints")?)
            .unwrap_or(0);
        let last_name = number("SELECT max(id) FROM locks")?.max(number("SELECT max(id) FROM tokens")?);
        let next_name = last_name.unwrap_or(0) + 1;
        let last_held = number("SELECT max(last_held) FROM checkpoints")?.unwrap_or(0);
        // Of a checkpoint that was not finished.
        connection.execute("DELETE FROM held WHERE id > $1", &[last_held.into()])?;
        let keeper = Keeper::of(&connection)?;
        let mut store = Store {
            connection,
            merger: None,
            limits,
            base: last_row + 1,
            run: None,
            names: Names::new(next_name, limits.max_bytes),
            era_name: next_name,
            era: 0,
            tail: Tail::default(),
            closing: None,
            next_held: last_held + 1,
            checkpoint: None,
            keeper,
            room: shared::Room::default(),
        };
        store.adopt_tail()?;
        Ok(store)
    }

    /// Names the run whose events come from now on. It is written with the first of them, or with the next heartbeat.
    pub(super) fn begin(&mut self, name: String, sources: Vec<String>, began: Time) {
        self.run = Some(Run { name, sources, began, ids: Vec::new(), is_written: false, succeeds: false });
    }

    /// Goes on where another server stopped, or an earlier connection of this one. With `is_witness` the other one wrote after
    /// this run had begun, so that nothing was unwatched between; the run is then taken to have begun when that one's did.
    pub(super) fn go_on(&mut self, run: &follow::Run, is_witness: bool) -> Result<(), HistoryError> {
        let sql = "SELECT base, name, began FROM runs ORDER BY base DESC LIMIT 1";
        let newest: Option<(i64, String, i64)> =
            self.connection.one(sql, &[], |row| Ok::<_, DbError>((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        self.begin(run.name.clone(), run.sources.clone(), run.began);
        let (Some(own), Some((base, name, began))) = (&mut self.run, newest) else { return Ok(()) };
        if name == own.name {
            own.ids = source_ids(&own.sources, &self.connection)?;
            (own.is_written, self.base) = (true, base);
        } else if is_witness {
            (own.succeeds, own.began) = (true, Time(began));
        }
        Ok(())
    }

    /// Whether its connection can be used no more.
    pub(super) fn is_lost(&self) -> bool {
        self.connection.is_lost()
    }

    /// So many lines were written.
    fn wrote(&mut self, lines: usize) {
        if let Some(merger) = &mut self.merger {
            merger.wrote(lines);
        }
    }

    /// Writes these, all or none.
    pub(super) fn append(&mut self, lines: &[Line]) -> Result<(), HistoryError> {
        let written = self.try_append(lines);
        if written.is_err() {
            // Numbers that were given out are in no file.
            self.forget_names();
        }
        let marks = written?;
        self.wrote(lines.len());
        for mark in marks {
            self.tail.take(&mark, self.era_name);
        }
        let is_full = self.tail.count >= SEGMENT_ROWS || self.is_tail_large();
        let begun = if is_full { self.begin_closing() } else { Ok(()) };
        if let Err(error) = begun.and_then(|()| self.close(lines.len() * NAMES_PER_ROW)) {
            // The rows are written all the same; it is tried again with the next ones.
            tracing::debug!("a segment of the history could not be closed: {error}");
        }
        if self.names.are_too_many() {
            self.forget_names();
        }
        Ok(())
    }

    /// Writes who waited, all or none.
    pub(super) fn keep_waits(&mut self, waits: &[Waits]) -> Result<(), HistoryError> {
        self.introduce()?;
        let Some(run) = &self.run else { return Ok(()) };
        let transaction = self.connection.transaction()?;
        let kept = self.keeper.write(waits, &run.ids, &mut self.names, self.era_name, &transaction);
        match kept.and_then(|keeper| Ok(transaction.commit().map(|()| keeper)?)) {
            Ok(keeper) => self.keeper = keeper,
            Err(error) => {
                self.forget_names();
                return Err(error);
            }
        }
        self.wrote(waits.len());
        if self.names.are_too_many() {
            self.forget_names();
        }
        Ok(())
    }

    /// Writes down that there is this run, if that was not done yet.
    pub(super) fn introduce(&mut self) -> Result<(), HistoryError> {
        if self.run.as_ref().is_some_and(|run| !run.is_written) { self.append(&[]) } else { Ok(()) }
    }

    /// Says that the server lives.
    pub(super) fn beat(&mut self, now: Time) -> Result<(), HistoryError> {
        self.introduce()?;
        let update = "UPDATE runs SET alive = $1 WHERE base = $2";
        self.connection.execute(update, &[now.0.into(), self.base.into()])?;
        Ok(())
    }

    fn try_append(&mut self, lines: &[Line]) -> Result<Vec<Mark>, HistoryError> {
        let Some(run) = &mut self.run else { return Ok(Vec::new()) };
        let mut marks = Vec::with_capacity(lines.len() * 2);
        let transaction = self.connection.transaction()?;
        let ids = if run.is_written { run.ids.clone() } else { source_ids(&run.sources, &transaction)? };
        let mut writing = Writing {
            transaction: &transaction,
            names: &mut self.names,
            ids: &ids,
            base: self.base,
            marks: &mut marks,
        };
        if !run.is_written {
            let before = writing.last_alive()?;
            let insert = "INSERT INTO runs (base, name, began, alive) VALUES ($1, $2, $3, $4)";
            let began = Value::Number(run.began.0);
            transaction.execute(insert, &[self.base.into(), run.name.as_str().into(), began, began])?;
            if let Some(alive) = before.filter(|_| !run.succeeds) {
                let down = (run.began.0 - alive).max(0);
                writing.gap(0, 0, NOT_RUNNING, run.began, Some(down), None, "")?;
            }
        }
        if writing.names.era_begins {
            let first = lines.first().map_or(0, Line::seq);
            let first_row = self.base + i64::try_from(if run.is_written { first } else { 0 }).unwrap_or(0);
            let insert = "INSERT INTO eras (first_row, first_name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            transaction.execute(insert, &[first_row.into(), self.era_name.into()])?;
        }
        for line in lines {
            writing.line(line)?;
        }
        if let Some(last) = lines.last() {
            let update = "UPDATE runs SET alive = $1 WHERE base = $2 AND alive < $1";
            transaction.execute(update, &[last.at().0.into(), self.base.into()])?;
        }
        transaction.commit()?;
        run.is_written = true;
        run.ids = ids;
        self.names.era_begins = false;
        Ok(marks)
    }

    /// Begins another era: names are numbered anew.
    pub(super) fn forget_names(&mut self) {
        self.names.forget();
        self.era_name = self.names.next();
        self.era += 1;
    }

    /// Rows of an earlier run that no segment has yet.
    fn adopt_tail(&mut self) -> Result<(), HistoryError> {
        clear_unfinished(&self.connection)?;
        let sql = "SELECT t.row, t.at, t.lock, t.what, t.holder, t.previous, t.held, l.name, h.name, p.name, l.source
             FROM transitions t JOIN locks l ON l.id = t.lock LEFT JOIN tokens h ON h.id = t.holder
             LEFT JOIN tokens p ON p.id = t.previous
             WHERE t.row > (SELECT coalesce(max(last_row), 0) FROM segments) ORDER BY t.row";
        let least = "SELECT min(lock), min(holder), min(previous) FROM transitions
             WHERE row > (SELECT coalesce(max(last_row), 0) FROM segments)";
        let least: Option<[Option<i64>; 3]> =
            self.connection.one(least, &[], |row| Ok::<_, DbError>([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        let first_name = least.into_iter().flatten().flatten().min().unwrap_or(0);
        let mut tail = Tail::default();
        self.connection.each(sql, &[], |row| {
            let (number, at) = (row.get(0)?, row.get(1)?);
            let holder: Option<i64> = row.get(4)?;
            let held = row.get(6)?;
            let what = codes::counted(row.get(3)?).map(|kind| (kind, holder.unwrap_or(0), held));
            let source = row.get(10)?;
            let lock = Mark { row: number, at, source, name: row.get(2)?, hash: hash(row.bytes(7)), what };
            tail.take(&lock, first_name);
            for (name, column) in [(holder, 8), (row.get(5)?, 9)] {
                if let Some(name) = name {
                    let hash = hash(row.bytes(column));
                    tail.take(&Mark { row: number, at, source, name, hash, what: None }, 0);
                }
            }
            Ok::<(), DbError>(())
        })?;
        self.tail = tail;
        self.begin_closing()?;
        self.close(usize::MAX)
    }

    /// Makes the newest rows a segment that is to be written. The one before is there then.
    fn begin_closing(&mut self) -> Result<(), HistoryError> {
        self.close(usize::MAX)?;
        if self.tail.count > 0 {
            let sql = "SELECT coalesce(max(id), 0) + 1 FROM segments";
            let id = self.connection.number(sql, &[])?.unwrap_or(1);
            self.closing = Some(Closing::of(std::mem::take(&mut self.tail), id));
        }
        Ok(())
    }

    /// Writes so many postings of the segment that is to be written, if there is one.
    fn close(&mut self, portion: usize) -> Result<(), HistoryError> {
        if let Some(closing) = &mut self.closing
            && closing.write(&self.connection, portion)?
        {
            self.closing = None;
        }
        Ok(())
    }

    /// Whether the newest rows are so large a part of what may be kept that they should be a segment by themselves.
    fn is_tail_large(&self) -> bool {
        /// What a row and its names take together at most in ordinary use.
        const ROW_BYTES: u64 = 120;
        self.tail.count * ROW_BYTES > self.limits.max_bytes / LEAST_SEGMENTS
    }

    /// Goes on with what may wait: closing a segment, then cutting off a part of what is too old or too much. Says whether
    /// there is more of it.
    pub(super) fn trim(&mut self, now: Time) -> Result<bool, HistoryError> {
        // Where there is no room for it, the oldest has to go first.
        if self.closing.is_some() && self.close(CLOSED_AT_ONCE).is_ok() {
            return Ok(true);
        }
        let is_tail_old = now.0.saturating_sub(self.tail.first_at) > self.limits.keep_ms / LEAST_SEGMENTS as i64;
        if self.tail.count > 0 && is_tail_old && self.closing.is_none() {
            self.begin_closing()?;
            return Ok(true);
        }
        let oldest = "SELECT id, last_row, last_at FROM segments ORDER BY id LIMIT 1";
        let oldest: Option<[i64; 3]> =
            self.connection.one(oldest, &[], |row| Ok::<_, DbError>([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        let is_too_much = self.used_bytes()? > self.limits.max_bytes / 8 * 7;
        let too_old = now.0.saturating_sub(self.limits.keep_ms);
        if let Some(before) = waits::is_due(&self.connection, too_old, is_too_much && oldest.is_none())? {
            let transaction = self.connection.transaction()?;
            let is_cut = waits::cut(&transaction, before)?;
            transaction.commit()?;
            return Ok(is_cut);
        }
        let Some([segment, last_row, last_at]) = oldest else { return Ok(false) };
        if last_at >= too_old && !is_too_much {
            return Ok(false);
        }
        let transaction = self.connection.transaction()?;
        waits::cut(&transaction, last_at)?;
        let mut left = DELETED_AT_ONCE;
        let mut delete = |table: &str, key: &str, condition: &str, value: i64| -> Result<(), HistoryError> {
            if left > 0 {
                left = left.saturating_sub(transaction.delete_some(table, key, condition, value, left)?);
            }
            Ok(())
        };
        delete("transitions", "row", "row <= $1", last_row)?;
        delete("postings", "segment, hash, name", "segment <= $1", segment)?;
        delete("tallies", "segment, name", "segment <= $1", segment)?;
        let gone = "SELECT coalesce(max(last_held), 0) FROM checkpoints WHERE first_row <= $1";
        let held = transaction.number(gone, &[last_row.into()])?.unwrap_or(0);
        delete("held", "id", "id <= $1", held)?;
        let first_name = "SELECT min(first_name) FROM
             (SELECT first_name FROM segments WHERE id > $1
              UNION ALL SELECT first_name FROM checkpoints WHERE first_row > $2
              UNION ALL SELECT first_name FROM (SELECT first_name FROM waits ORDER BY minute, part LIMIT 1) AS waited
              UNION ALL SELECT CAST($3 AS BIGINT)) AS kept";
        let tail = (self.tail.count > 0).then_some(self.tail.first_name);
        let closing = self.closing.as_ref().map(|closing| closing.first_name);
        let open = [tail, closing].into_iter().flatten().fold(self.era_name, i64::min);
        let bounds = [segment, last_row, open].map(Value::Number);
        let first_name = transaction.number(first_name, &bounds)?.unwrap_or(open);
        delete("locks", "id", "id < $1", first_name)?;
        delete("tokens", "id", "id < $1", first_name)?;
        if left > 0 {
            for sql in [
                "DELETE FROM missed WHERE checkpoint IN (SELECT id FROM checkpoints WHERE first_row <= $1)",
                "DELETE FROM checkpoints WHERE first_row <= $1",
                "DELETE FROM runs WHERE base < (SELECT max(base) FROM runs WHERE base <= $1)",
                "DELETE FROM eras WHERE first_row < (SELECT max(first_row) FROM eras WHERE first_row <= $1)",
            ] {
                transaction.execute(sql, &[last_row.into()])?;
            }
            transaction.execute("DELETE FROM segments WHERE id <= $1", &[segment.into()])?;
        }
        transaction.commit()?;
        if let Some(file) = self.connection.sqlite() {
            schema::give_back(file)?;
        }
        Ok(true)
    }

    /// Bytes of the file, or of the tables, that hold something.
    pub(super) fn used_bytes(&mut self) -> Result<u64, HistoryError> {
        match self.connection.sqlite() {
            Some(file) => schema::used_bytes(file),
            None => self.room.used_bytes(&self.connection),
        }
    }

    /// Whether another checkpoint is wanted only to forget names.
    pub(super) fn has_many_names(&self, held: usize) -> bool {
        self.names.are_many(held)
    }

    /// To be called before the first piece of a checkpoint is taken: what is forgotten later would make it useless.
    pub(super) fn prepare_checkpoint(&mut self, held: usize) {
        if self.names.are_many(held) {
            self.forget_names();
        }
    }

    /// Begins a checkpoint: all pieces of it are of events after this one, or with it. One that was begun before and not
    /// ended is given up; what was written of it is deleted at the next start.
    pub(super) fn begin_checkpoint(&mut self, seq: u64, at: Time) {
        self.checkpoint = Some(Checkpoint {
            first_row: self.base + signed(seq),
            began: at,
            first_held: self.next_held,
            first_name: self.era_name,
            era: self.era,
        });
    }

    /// Writes a piece of it.
    pub(super) fn add_to_checkpoint(&mut self, piece: &Piece) -> Result<(), HistoryError> {
        self.introduce()?;
        let (Some(run), Some(_)) = (&self.run, &self.checkpoint) else { return Ok(()) };
        let row = self.base + signed(piece.seq);
        let transaction = self.connection.transaction()?;
        let mut next = self.next_held;
        let written = (|| {
            for one in &piece.held {
                let source = run.ids.get(usize::from(one.source.0)).copied().unwrap_or(0);
                let form = self.names.form(one.recognition, one.mode, one.state, &transaction)?;
                let lock = self.names.number(Kind::Lock { source, form }, &one.key, &transaction)?;
                let holder = self.names.number(Kind::Token, &one.hold.token, &transaction)?;
                insert_hold(&transaction, next, row, lock, holder, &one.hold)?;
                next += 1;
            }
            Ok(())
        })();
        match written.and_then(|()| Ok(transaction.commit()?)) {
            Ok(()) => {
                self.next_held = next;
                self.wrote(piece.held.len());
                Ok(())
            }
            Err(error) => {
                self.forget_names();
                Err(error)
            }
        }
    }

    /// Ends it: `missed` says of each source when something was last missed of it that is not made up for yet. Says
    /// whether the board can be rebuilt from it.
    pub(super) fn end_checkpoint(
        &mut self,
        seq: u64,
        at: Time,
        missed: &[(SourceId, Option<Time>)],
    ) -> Result<bool, HistoryError> {
        let (Some(checkpoint), Some(run)) = (self.checkpoint.take(), &self.run) else { return Ok(false) };
        if checkpoint.era != self.era || !run.is_written {
            return Ok(false);
        }
        let transaction = self.connection.transaction()?;
        let values = [
            checkpoint.first_row,
            self.base + signed(seq),
            checkpoint.began.0,
            at.0,
            checkpoint.first_held,
            self.next_held - 1,
            checkpoint.first_name,
        ];
        let insert = "INSERT INTO checkpoints (first_row, last_row, began, ended, first_held, last_held, first_name)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
        let id = transaction.number(insert, &values.map(Value::Number))?.unwrap_or(0);
        for (source, at) in missed {
            let source = run.ids.get(usize::from(source.0)).copied().unwrap_or(0);
            let insert = "INSERT INTO missed (checkpoint, source, at) VALUES ($1, $2, $3)
                 ON CONFLICT (checkpoint, source) DO UPDATE SET at = excluded.at";
            transaction.execute(insert, &[id.into(), source.into(), at.map(|at| at.0).into()])?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Keeps a packet for good.
    pub(super) fn keep_incident(&mut self, id: &str, at: Time, packet: &str) -> Result<(), HistoryError> {
        keep_incident(&self.connection, id, at, packet)
    }

    /// Puts everything into the one file, where it is one.
    pub(super) fn merge(&self) -> Result<(), HistoryError> {
        match self.connection.sqlite() {
            Some(file) => Ok(file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?),
            None => Ok(()),
        }
    }

    /// The file's connection, to break it.
    #[cfg(test)]
    pub(super) fn sqlite(&self) -> &rusqlite::Connection {
        self.connection.sqlite().unwrap()
    }
}

/// One transaction.
struct Writing<'a> {
    transaction: &'a Connection,
    names: &'a mut Names,
    ids: &'a [i64],
    base: i64,
    marks: &'a mut Vec<Mark>,
}

impl Writing<'_> {
    fn line(&mut self, line: &Line) -> Result<(), HistoryError> {
        match line {
            Line::Event(logged) => self.event(logged),
            Line::NotRecorded { seq, since, at, count, because } => {
                let lasted = (at.0 - since.0).max(0);
                self.gap(*seq, 0, NOT_RECORDED, *at, Some(lasted), Some(signed(*count)), because)
            }
        }
    }

    fn event(&mut self, logged: &LoggedEvent) -> Result<(), HistoryError> {
        let entry = &logged.entry;
        let source = self.ids.get(usize::from(logged.source.0)).copied().unwrap_or(0);
        let (Some(key), Some(after)) = (&logged.key, &logged.after) else {
            let because = logged.because.as_deref().unwrap_or_default();
            return self.gap(entry.seq, source, gap_cause(entry.cause), entry.at, None, None, because);
        };
        let row = self.base + signed(entry.seq);
        let form = self.names.form(after.recognition, after.mode, after.state, self.transaction)?;
        let lock = self.names.number(Kind::Lock { source, form }, key, self.transaction)?;
        let holder = self.names.number(Kind::Token, &entry.token, self.transaction)?;
        let previous = match &entry.previous {
            Some(token) => Some(self.names.number(Kind::Token, token, self.transaction)?),
            None => None,
        };
        let number = entry.audit.map(signed).or((after.count > 1).then_some(i64::from(after.count)));
        let lease = (after.count > 0 && after.expires != i64::MAX).then(|| after.expires.saturating_sub(entry.at.0));
        let what = codes::number(entry.kind, entry.cause);
        self.row([
            row.into(),
            entry.at.0.into(),
            lock.into(),
            what.into(),
            holder.into(),
            previous.into(),
            entry.held_ms.into(),
            lease.into(),
            number.into(),
        ])?;
        let mark = |name, hash, what| Mark { row, at: entry.at.0, source, name, hash, what };
        self.marks.push(mark(lock, hash(key), codes::counted(what).map(|kind| (kind, holder, entry.held_ms))));
        self.marks.push(mark(holder, hash(&entry.token), None));
        if let (Some(previous), Some(token)) = (previous, &entry.previous) {
            self.marks.push(mark(previous, hash(token), None));
        }
        Ok(())
    }

    /// A gap of a source, or of every one where that is 0.
    #[expect(clippy::too_many_arguments, reason = "the columns of a row, each named at every call")]
    fn gap(
        &mut self,
        seq: u64,
        source: i64,
        cause: i64,
        at: Time,
        lasted: Option<i64>,
        count: Option<i64>,
        because: &str,
    ) -> Result<(), HistoryError> {
        let row = self.base + signed(seq);
        let lock = self.names.number(Kind::Source { source }, &[], self.transaction)?;
        let text = self.names.number(Kind::Token, because.as_bytes(), self.transaction)?;
        let what = i64::from(codes::number_of_kind(TransitionKind::Gap)) | cause;
        let (row_at, none) = (Value::Number(at.0), Value::Null);
        self.row([row.into(), row_at, lock.into(), what.into(), text.into(), none, lasted.into(), none, count.into()])?;
        self.marks.push(Mark { row, at: at.0, source, name: lock, hash: hash(&[]), what: None });
        Ok(())
    }

    fn row(&self, values: [Value<'_>; 9]) -> Result<(), HistoryError> {
        Ok(self.transaction.insert(&TRANSITIONS, &values)?)
    }

    fn last_alive(&self) -> Result<Option<i64>, HistoryError> {
        Ok(self.transaction.number("SELECT max(alive) FROM runs", &[])?)
    }
}

/// Keeps a packet for good.
pub(super) fn keep_incident(connection: &Connection, id: &str, at: Time, packet: &str) -> Result<(), HistoryError> {
    let insert = "INSERT INTO incidents (id, at, packet) VALUES ($1, $2, $3)";
    connection.execute(insert, &[id.into(), at.0.into(), packet.into()])?;
    Ok(())
}

/// The numbers of these sources, written down where they have none.
fn source_ids(names: &[String], connection: &Connection) -> Result<Vec<i64>, HistoryError> {
    names
        .iter()
        .map(|name| {
            let name = [name.as_str().into()];
            connection.execute("INSERT INTO sources (name) VALUES ($1) ON CONFLICT DO NOTHING", &name)?;
            Ok(connection.number("SELECT id FROM sources WHERE name = $1", &name)?.unwrap_or(0))
        })
        .collect()
}

fn insert_hold(
    connection: &Connection,
    id: i64,
    row: i64,
    lock: i64,
    holder: i64,
    hold: &Hold,
) -> Result<(), HistoryError> {
    let unless = |value: u32, other: u32| Value::from((value != other).then_some(i64::from(value)));
    let values = [
        id.into(),
        row.into(),
        lock.into(),
        holder.into(),
        unless(hold.count, 1),
        number_of_basis(hold.basis).into(),
        hold.since.into(),
        unless(hold.since_before_ms, u32::MAX),
        (hold.expires != i64::MAX).then_some(hold.expires).into(),
        unless(hold.expires_before_ms, 0),
        unless(hold.lease_ms, 0),
        unless(hold.renewals, 0),
        hold.renewed().into(),
        unless(hold.period_ms, 0),
    ];
    Ok(connection.insert(&HELD, &values)?)
}

const BASES: [Basis; 5] = [Basis::Observed, Basis::FirstSeen, Basis::Reported, Basis::QueuedAt, Basis::SessionStart];

fn number_of_basis(basis: Basis) -> i64 {
    BASES.iter().position(|known| *known == basis).map_or(1, |at| at as i64)
}

/// What the number of a basis says.
pub(super) fn basis(number: i64) -> Basis {
    usize::try_from(number).ok().and_then(|at| BASES.get(at)).copied().unwrap_or(Basis::FirstSeen)
}

fn gap_cause(cause: Cause) -> i64 {
    codes::number(TransitionKind::Gap, cause) & !0xff
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
