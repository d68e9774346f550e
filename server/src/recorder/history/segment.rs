//! Segments: what is gathered about the newest rows, and how it is written when there are enough of them without holding
//! up what happens meanwhile.

use hashbrown::HashMap;
use lockkeeper_model::TransitionKind;

use super::minutes::Minutes;
use super::postings::{Rows, put};
use super::schema::HistoryError;
use super::tally::Tally;
use crate::recorder::db::{Connection, DbError, Insert, Value, inserts};

const POSTINGS: Insert = inserts!("postings (segment, hash, name, rows)", "($1, $2, $3, $4)");
const TALLIES: Insert = inserts!("tallies (segment, name, sums)", "($1, $2, $3)");

/// Locks whose tallies are written together: some four kilobytes. Who asks about one lock reads those of the others, too.
const TALLIES_TOGETHER: usize = 256;

/// What a committed row says of a name.
pub(super) struct Mark {
    pub(super) row: i64,
    pub(super) at: i64,
    /// Of the lock, whichever name this is about; 0 is every source.
    pub(super) source: i64,
    pub(super) name: i64,
    pub(super) hash: u32,
    /// For a lock: what happened, to whom, and how long that one had had it, as far as that is counted.
    pub(super) what: Option<(TransitionKind, i64, Option<i64>)>,
}

/// The rows after the last segment.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) count: u64,
    pub(super) first_at: i64,
    pub(super) first_name: i64,
    first_row: i64,
    last_row: i64,
    last_at: i64,
    minutes: Minutes,
    names: HashMap<i64, Posting>,
}

#[derive(Debug, Default)]
struct Posting {
    hash: u32,
    rows: Rows,
    tally: Option<Box<Tally>>,
}

impl Tail {
    /// Takes note of a row; `first_name` is one that is not above any in the rows that follow.
    pub(super) fn take(&mut self, mark: &Mark, first_name: i64) {
        if self.count == 0 {
            *self = Tail { first_row: mark.row, first_at: i64::MAX, last_at: i64::MIN, first_name, ..Tail::default() };
        }
        if mark.row > self.last_row || self.count == 0 {
            self.count += 1;
        }
        self.last_row = self.last_row.max(mark.row);
        self.first_at = self.first_at.min(mark.at);
        self.last_at = self.last_at.max(mark.at);
        let first_row = self.first_row;
        let posting = self.names.entry(mark.name).or_default();
        posting.hash = mark.hash;
        posting.rows.push(first_row, mark.row);
        if let Some((kind, holder, held)) = mark.what {
            posting.tally.get_or_insert_default().add(kind, mark.at, holder, held);
            self.minutes.add(mark.source, mark.at);
        }
    }
}

/// A segment that is being written. Its rows are read as the newest until it is there as a whole.
#[derive(Debug)]
pub(super) struct Closing {
    id: i64,
    first_row: i64,
    last_row: i64,
    first_at: i64,
    last_at: i64,
    minutes: Vec<u8>,
    pub(super) first_name: i64,
    /// In the order of the table, so that it grows at its end.
    postings: Vec<(u32, i64, Rows)>,
    /// How many of them are written.
    written: usize,
    /// The first name, and the tallies that begin with it.
    sums: Vec<(i64, Vec<u8>)>,
}

impl Closing {
    pub(super) fn of(tail: Tail, id: i64) -> Closing {
        let Tail { first_row, last_row, first_at, last_at, first_name, minutes, names, .. } = tail;
        let mut postings = Vec::with_capacity(names.len());
        let mut tallies = Vec::new();
        for (name, Posting { hash, rows, tally }) in names {
            postings.push((hash, name, rows));
            tallies.extend(tally.map(|tally| (name, tally)));
        }
        postings.sort_unstable_by_key(|(hash, name, _)| (*hash, *name));
        tallies.sort_unstable_by_key(|(name, _)| *name);
        let together = |tallies: &[(i64, Box<Tally>)]| {
            let first = tallies.first().map_or(0, |(name, _)| *name);
            let (mut sums, mut before) = (Vec::new(), first);
            for (name, tally) in tallies {
                put(&mut sums, (name - before).cast_unsigned());
                tally.write(&mut sums);
                before = *name;
            }
            (first, sums)
        };
        let sums = tallies.chunks(TALLIES_TOGETHER).map(together).collect();
        let minutes = minutes.to_bytes();
        Closing { id, first_row, last_row, first_at, last_at, minutes, first_name, postings, written: 0, sums }
    }

    /// Writes so many postings, and with the last of them the rest. Says whether it is there as a whole.
    pub(super) fn write(&mut self, connection: &Connection, portion: usize) -> Result<bool, HistoryError> {
        let upto = self.written.saturating_add(portion).min(self.postings.len());
        let transaction = connection.transaction()?;
        for (hash, name, rows) in &self.postings[self.written..upto] {
            let values = [self.id.into(), i64::from(*hash).into(), (*name).into(), rows.bytes().into()];
            transaction.insert(&POSTINGS, &values)?;
        }
        let is_whole = upto == self.postings.len();
        if is_whole {
            for (first, sums) in &self.sums {
                transaction.insert(&TALLIES, &[self.id.into(), (*first).into(), sums.as_slice().into()])?;
            }
            let Closing { id, first_row, last_row, first_at, last_at, first_name, minutes, .. } = &*self;
            let numbers = [*id, *first_row, *last_row, *first_at, *last_at, *first_name].map(Value::Number);
            let values: Vec<Value<'_>> = numbers.into_iter().chain([minutes.as_slice().into()]).collect();
            transaction.execute(
                "INSERT INTO segments (id, first_row, last_row, first_at, last_at, first_name, minutes)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &values,
            )?;
        }
        transaction.commit()?;
        self.written = upto;
        Ok(is_whole)
    }
}

/// Deletes what is there of a segment that was not written as a whole.
pub(super) fn clear_unfinished(connection: &Connection) -> Result<(), DbError> {
    for table in ["postings", "tallies"] {
        let sql = format!("DELETE FROM {table} WHERE segment > (SELECT coalesce(max(id), 0) FROM segments)");
        connection.execute(&sql, &[])?;
    }
    Ok(())
}
