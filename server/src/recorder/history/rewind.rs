//! The board at a moment of the past: the last checkpoint before it, and what happened since.

use hashbrown::HashMap;
use lockkeeper_model::{IncidentLock, Lock, LockState, Time, TransitionKind};
use rusqlite::OptionalExtension as _;

use super::names::MODES;
use super::past::{FormThen, Loaded, Past};
use super::read::{COLUMNS, Raw, Reader};
use super::schema::HistoryError;
use super::store::basis;
use super::{History, forms, is_future};
use crate::access::Reach;
use crate::registry::past::SourceThen;
use crate::registry::{Hold, Record, Registry};
use crate::source::{SourceId, Surroundings};
use crate::view::{self, Asked};

/// The board at a moment of the past.
#[derive(Debug)]
pub struct Then {
    /// That moment.
    pub as_of: Time,
    /// How much of each source was known at that moment.
    pub sources: Vec<SourceThen>,
    /// When the board was last written down as a whole before.
    pub checkpoint_at: Time,
    registry: Registry,
}

/// Why nothing is said of a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It is yet to come.
    #[error("`{0}` is in the future")]
    Future(Time),
    /// The board of that moment is not kept, or was never written down.
    #[error("{0}")]
    NotRecorded(String),
    /// The file cannot be read, or there is none.
    #[error(transparent)]
    Unreadable(#[from] HistoryError),
}

impl Then {
    /// A page of the locks that were held: how many there were in all, and those.
    #[must_use]
    pub fn page(&self, asked: &Asked, offset: u64, limit: u32) -> (u64, Vec<Lock>) {
        let (total, slots) = view::once(&self.registry, asked, offset, limit, self.as_of);
        let records = slots.into_iter().filter_map(|slot| self.registry.record(slot));
        (total, records.map(|record| self.shown(record)).collect())
    }

    /// One lock, if it was held and is in reach.
    #[must_use]
    pub fn lock(&self, reach: &Reach, lock: &IncidentLock) -> Option<Lock> {
        let key = lock.id.key().ok().filter(|key| reach.has(&lock.source, key))?;
        let place = self.sources.iter().position(|source| source.name == lock.source)?;
        let slot = self.registry.find(SourceId(u16::try_from(place).ok()?), &key)?;
        Some(self.shown(self.registry.record(slot)?))
    }

    fn shown(&self, record: &Record) -> Lock {
        let mut lock = self.registry.lock(record, self.as_of, Surroundings::default(), false);
        lock.waiters.because = "who waited is not written down".to_owned();
        lock
    }
}

impl History {
    /// What `look` finds on the board as it was at a moment.
    ///
    /// # Errors
    /// Why nothing is said of that moment.
    pub async fn then<T: Send + 'static>(
        &self,
        at: Time,
        look: impl FnOnce(&Then) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        if is_future(at) {
            return Err(Unavailable::Future(at));
        }
        self.flush().await;
        self.ask(move |reader| Ok(reader.rebuild(at)?.map(|then| look(&then)))).await?
    }
}

struct Checkpoint {
    id: i64,
    first_row: i64,
    first_name: i64,
    ended: i64,
    first_held: i64,
    last_held: i64,
}

impl Reader {
    fn rebuild(&mut self, at: Time) -> Result<Result<Then, Unavailable>, HistoryError> {
        let checkpoint = match self.checkpoint_before(at)? {
            Ok(checkpoint) => checkpoint,
            Err(because) => return Ok(Err(Unavailable::NotRecorded(because))),
        };
        let mut past = Past::new(self.later_numbers(&checkpoint)?);
        self.load(&checkpoint, &mut past)?;
        let mut missed = self.missed(checkpoint.id)?;
        for stretch in self.stretches()? {
            if stretch.last_row <= checkpoint.first_row || stretch.first_at > at.0 {
                continue;
            }
            let mut wanted = self.connection().prepare_cached(&format!(
                "SELECT {COLUMNS} FROM transitions WHERE row BETWEEN ? AND ? AND at <= ? ORDER BY row"
            ))?;
            let (first, last) = (stretch.first_row.max(checkpoint.first_row.saturating_add(1)), stretch.last_row);
            let mut rows: Vec<Raw> =
                wanted.query_map((first, last, at.0), Raw::of)?.collect::<rusqlite::Result<_>>()?;
            drop(wanted);
            for gap in rows.iter().filter(|raw| raw.kind() == TransitionKind::Gap) {
                let source = self.lock(gap.lock)?.source.unwrap_or(0);
                for (_, missed_at) in missed.iter_mut().filter(|(id, _)| source == 0 || *id == source) {
                    *missed_at = Some(missed_at.map_or(gap.at, |known: i64| known.max(gap.at)));
                }
            }
            rows.retain(|raw| raw.kind() != TransitionKind::Gap);
            past.apply(self, &rows)?;
        }
        let sources: Vec<SourceThen> = missed
            .iter()
            .map(|(id, missed)| SourceThen {
                name: self.sources.get(id).map_or_else(String::new, |name| name.to_string()),
                missed_at: missed.map(Time),
            })
            .collect();
        let places: HashMap<i64, SourceId> = missed
            .iter()
            .enumerate()
            .map(|(place, (id, _))| (*id, SourceId(u16::try_from(place).unwrap_or(u16::MAX))))
            .collect();
        let held = past.held(self, &places, &self.forms()?)?;
        let registry = Registry::of_the_past(&sources, held, at, rand::random());
        Ok(Ok(Then { as_of: at, sources, checkpoint_at: Time(checkpoint.ended), registry }))
    }

    /// The checkpoint from which that moment can be reached, or why there is none.
    fn checkpoint_before(&self, at: Time) -> Result<Result<Checkpoint, String>, HistoryError> {
        let sql = "SELECT id, first_row, ended, first_held, last_held, first_name FROM checkpoints WHERE ended <= ?
                   ORDER BY id DESC LIMIT 1";
        let found = self
            .connection()
            .query_row(sql, [at.0], |row| {
                Ok(Checkpoint {
                    id: row.get(0)?,
                    first_row: row.get(1)?,
                    ended: row.get(2)?,
                    first_held: row.get(3)?,
                    last_held: row.get(4)?,
                    first_name: row.get(5)?,
                })
            })
            .optional()?;
        let next: Option<i64> =
            self.connection()
                .query_row("SELECT min(ended) FROM checkpoints WHERE ended > ?", [at.0], |row| row.get(0))?;
        let next =
            next.map_or_else(String::new, |next| format!("; the next moment that is recorded is {}", Time(next)));
        let Some(checkpoint) = found else {
            return Ok(Err(format!("what was held at {at} was not recorded, or is not kept any more{next}")));
        };
        let sql = "SELECT began FROM runs WHERE base > ? AND began <= ? ORDER BY base DESC LIMIT 1";
        let restarted: Option<i64> =
            self.connection().query_row(sql, (checkpoint.first_row, at.0), |row| row.get(0)).optional()?;
        if let Some(began) = restarted {
            let began = Time(began);
            return Ok(Err(format!(
                "what was held at {at} was not recorded: Lockkeeper had started at {began} and not yet seen what there \
                 is{next}"
            )));
        }
        Ok(Ok(checkpoint))
    }

    /// The row from which on locks and tokens may have other numbers than in the checkpoint; `None`: all have the same.
    fn later_numbers(&self, checkpoint: &Checkpoint) -> Result<Option<i64>, HistoryError> {
        let sql = "SELECT min(first_row) FROM eras WHERE first_row > ? AND first_name > ?";
        Ok(self.connection().query_row(sql, (checkpoint.first_row, checkpoint.first_name), |row| row.get(0))?)
    }

    /// For each source of a checkpoint, when something of it was missed that was not made up for by then.
    fn missed(&self, checkpoint: i64) -> Result<Vec<(i64, Option<i64>)>, HistoryError> {
        let mut find =
            self.connection().prepare("SELECT source, at FROM missed WHERE checkpoint = ? ORDER BY source")?;
        let missed = find.query_map([checkpoint], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(missed.collect::<rusqlite::Result<_>>()?)
    }

    fn load(&mut self, checkpoint: &Checkpoint, past: &mut Past) -> Result<(), HistoryError> {
        let mut find = self.connection().prepare(
            "SELECT row, lock, holder, count, basis, since, width, expires, early, lease, renewals, renewed, period
             FROM held WHERE id BETWEEN ? AND ? ORDER BY id",
        )?;
        let mut rows = find.query((checkpoint.first_held, checkpoint.last_held))?;
        let mut held = Vec::new();
        while let Some(row) = rows.next()? {
            let number =
                |column: usize| -> rusqlite::Result<u32> { Ok(row.get::<_, Option<u32>>(column)?.unwrap_or(0)) };
            let hold = Hold {
                token: Box::default(),
                count: row.get::<_, Option<u32>>(3)?.unwrap_or(1),
                basis: basis(row.get(4)?),
                since: row.get(5)?,
                since_before_ms: row.get::<_, Option<u32>>(6)?.unwrap_or(u32::MAX),
                expires: row.get::<_, Option<i64>>(7)?.unwrap_or(i64::MAX),
                expires_before_ms: number(8)?,
                lease_ms: number(9)?,
                renewals: number(10)?,
                renewed_at: row.get::<_, Option<i64>>(11)?.unwrap_or(0),
                period_ms: number(12)?,
                generation: 0,
                extra: None,
            };
            held.push(Loaded { valid_from: row.get(0)?, lock: row.get(1)?, holder: row.get(2)?, hold });
        }
        past.load(self, held)
    }

    /// What a form was. Families that this server knows are as they are now; of others only what is written is known.
    fn forms(&self) -> Result<HashMap<i64, FormThen>, HistoryError> {
        let sql = "SELECT id, dialect, certainty, because, mode, state FROM forms";
        let forms = super::read::collect(self.connection(), sql, |row| {
            let mode: String = row.get(4)?;
            let state: String = row.get(5)?;
            let form = FormThen {
                recognition: forms::written(
                    &row.get::<_, String>(1)?,
                    &row.get::<_, String>(2)?,
                    &row.get::<_, String>(3)?,
                ),
                mode: MODES.iter().find(|(word, _)| *word == mode).map_or(MODES[0].1, |(_, mode)| *mode),
                state: LockState::ALL.into_iter().find(|known| known.word() == state).unwrap_or(LockState::Held),
            };
            Ok((row.get(0)?, form))
        })?;
        Ok(forms.into_iter().collect())
    }
}
