//! The board at a moment of the past: the last checkpoint before it, and what happened since.

use hashbrown::HashMap;
use lockkeeper_model::{IncidentLock, Lock, LockState, Time, TransitionKind};

use super::names::MODES;
use super::past::{FormThen, Loaded, Past};
use super::read::{COLUMNS, Raw, Reader};
use super::schema::HistoryError;
use super::store::basis;
use super::{History, forms, is_future};
use crate::access::Reach;
use crate::recorder::db::{DbError, Value};
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
    began: i64,
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
            let sql =
                format!("SELECT {COLUMNS} FROM transitions WHERE row BETWEEN $1 AND $2 AND at <= $3 ORDER BY row");
            let (first, last) = (stretch.first_row.max(checkpoint.first_row.saturating_add(1)), stretch.last_row);
            let bounds = [first, last, at.0].map(Value::Number);
            let mut rows: Vec<Raw> = self.connection().all(&sql, &bounds, Raw::of)?;
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
        let sql =
            "SELECT id, first_row, ended, first_held, last_held, first_name, began FROM checkpoints WHERE ended <= $1
                   ORDER BY id DESC LIMIT 1";
        let found = self.connection().one(sql, &[at.0.into()], |row| {
            Ok::<_, DbError>(Checkpoint {
                id: row.get(0)?,
                first_row: row.get(1)?,
                ended: row.get(2)?,
                first_held: row.get(3)?,
                last_held: row.get(4)?,
                first_name: row.get(5)?,
                began: row.get(6)?,
            })
        })?;
        let next = self.connection().number("SELECT min(ended) FROM checkpoints WHERE ended > $1", &[at.0.into()])?;
        let next =
            next.map_or_else(String::new, |next| format!("; the next moment that is recorded is {}", Time(next)));
        let Some(checkpoint) = found else {
            return Ok(Err(format!("what was held at {at} was not recorded, or is not kept any more{next}")));
        };
        // A server that took over from another counts as having begun when that one did.
        let sql = "SELECT began FROM runs WHERE base > $1 AND began <= $2 AND began > $3 ORDER BY base DESC LIMIT 1";
        let bounds = [checkpoint.first_row, at.0, checkpoint.began].map(Value::Number);
        let restarted = self.connection().number(sql, &bounds)?;
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
        let sql = "SELECT min(first_row) FROM eras WHERE first_row > $1 AND first_name > $2";
        Ok(self.connection().number(sql, &[checkpoint.first_row.into(), checkpoint.first_name.into()])?)
    }

    /// For each source of a checkpoint, when something of it was missed that was not made up for by then.
    fn missed(&self, checkpoint: i64) -> Result<Vec<(i64, Option<i64>)>, HistoryError> {
        let sql = "SELECT source, at FROM missed WHERE checkpoint = $1 ORDER BY source";
        self.connection().all(sql, &[checkpoint.into()], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn load(&mut self, checkpoint: &Checkpoint, past: &mut Past) -> Result<(), HistoryError> {
        let sql =
            "SELECT row, lock, holder, count, basis, since, width, expires, early, lease, renewals, renewed, period
             FROM held WHERE id BETWEEN $1 AND $2 ORDER BY id";
        let bounds = [checkpoint.first_held, checkpoint.last_held].map(Value::Number);
        let held = self.connection().all(sql, &bounds, |row| {
            let small = |column: usize, unless: u32| -> Result<u32, DbError> {
                let number: Option<i64> = row.get(column)?;
                Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(unless))
            };
            let hold = Hold {
                token: Box::default(),
                count: small(3, 1)?,
                basis: basis(row.get(4)?),
                since: row.get(5)?,
                since_before_ms: small(6, u32::MAX)?,
                expires: row.get::<Option<i64>>(7)?.unwrap_or(i64::MAX),
                expires_before_ms: small(8, 0)?,
                lease_ms: small(9, 0)?,
                renewals: small(10, 0)?,
                renewed_at: row.get::<Option<i64>>(11)?.unwrap_or(0),
                period_ms: small(12, 0)?,
                generation: 0,
                extra: None,
            };
            Ok::<_, DbError>(Loaded { valid_from: row.get(0)?, lock: row.get(1)?, holder: row.get(2)?, hold })
        })?;
        past.load(self, held)
    }

    /// What a form was. Families that this server knows are as they are now; of others only what is written is known.
    fn forms(&self) -> Result<HashMap<i64, FormThen>, HistoryError> {
        let sql = "SELECT id, dialect, certainty, because, mode, state FROM forms";
        let forms = self.connection().all(sql, &[], |row| {
            let mode: String = row.get(4)?;
            let state: String = row.get(5)?;
            let form = FormThen {
                recognition: forms::written(&row.get::<String>(1)?, &row.get::<String>(2)?, &row.get::<String>(3)?),
                mode: MODES.iter().find(|(word, _)| *word == mode).map_or(MODES[0].1, |(_, mode)| *mode),
                state: LockState::ALL.into_iter().find(|known| known.word() == state).unwrap_or(LockState::Held),
            };
            Ok::<(i64, FormThen), DbError>((row.get(0)?, form))
        })?;
        Ok(forms.into_iter().collect())
    }
}
