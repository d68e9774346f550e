//! What happened to every lock, in a file: who had it at 02:47 and how that ended, answered weeks later.
//!
//! ```text
//! board ──▶ [`tape`] ──▶ [`writer`] (a thread) ──▶ [`store`] ──▶ history.db ──▶ [`read`], [`rewind`], [`stats`]
//!       ──pieces──▶ [`checkpoint`] ──▲
//! ```
//!
//! It is a file, or, for several servers, tables in PostgreSQL: [`schema`] and [`shared`] say how each is opened, and all
//! else is the same for both. [`tally`] and [`postings`] are what a segment keeps added up and looked up; [`hold_times`]
//! adds up lock by lock. [`waits`] is who waited, minute by minute, and [`contention`] adds that up. [`incident`] freezes a part of it. [`merge`] keeps the disk's waits away from the writer.

mod activity;
mod checkpoint;
mod codes;
mod contention;
mod follow;
mod forms;
mod hold_times;
mod incident;
mod merge;
mod minutes;
mod names;
mod past;
mod place;
mod postings;
mod read;
mod rewind;
mod schema;
mod segment;
mod shared;
mod stats;
mod store;
mod tally;
mod tape;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_servers;
mod waited;
mod waits;
mod writer;
mod written;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use lockkeeper_model::{Recording, RecordingState, Time};
use tokio::sync::{Semaphore, oneshot};

use super::db::{Target, aside};
use super::folder::{create_private, lock, make_private};
use crate::board::Board;
use crate::clock;
pub use activity::Span;
pub use checkpoint::keep_checkpoints;
use follow::Follower;
pub use hold_times::HoldTimes;
pub use incident::{FrozenLock, Listed, Packet};
use place::Place;
use read::{Direction, Reader};
pub use read::{Filter, Page};
pub use rewind::{Then, Unavailable};
pub use schema::{FILE, HistoryError};
use store::Store;
pub use tally::Durations;
pub use tape::Tape;
use writer::{Counts, Note, Role};

/// Locked by the server that writes the history.
const LOCK_FILE: &str = "history.lock";

/// How long transitions are kept unless told otherwise: an incident is looked into within weeks.
pub const DEFAULT_KEEP_DAYS: u64 = 30;

/// How large the file may become unless told otherwise, in megabytes: some twenty million transitions.
pub const DEFAULT_MAX_MB: u64 = 2_048;

/// The smallest file that can be asked for, in megabytes: smaller ones would keep nothing worth reading.
pub const LEAST_MAX_MB: u64 = 16;

/// Questions that are answered at once; each reads with one core. More wait for their turn.
const QUESTIONS: usize = 4;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For how long, in milliseconds.
    pub keep_ms: i64,
    /// How large the file may be, in bytes.
    pub max_bytes: u64,
}

impl Limits {
    /// So many days and megabytes.
    #[must_use]
    pub fn of(keep_days: u64, max_mb: u64) -> Limits {
        const DAY_MS: i64 = 86_400_000;
        Limits {
            keep_ms: i64::try_from(keep_days).unwrap_or(i64::MAX).saturating_mul(DAY_MS),
            max_bytes: max_mb.max(LEAST_MAX_MB).saturating_mul(1_000_000),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::of(DEFAULT_KEEP_DAYS, DEFAULT_MAX_MB)
    }
}

/// Where everything that happens is written down, and looked up. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Result<Kept, HistoryError>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Kept {
    notes: SyncSender<Note>,
    waiting: Arc<AtomicUsize>,
    place: Arc<Place>,
    questions: Semaphore,
}

/// How the recording went, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Transitions and gaps that were written.
    pub written: u64,
    /// Transitions that could not be written.
    pub not_written: u64,
    /// Transitions that came faster than the disk took them.
    pub missed: u64,
    /// Of the file.
    pub bytes: u64,
    /// How long the last one took to be written, in milliseconds.
    pub delay_ms: u64,
    /// Transitions that wait to be written.
    pub waiting: u64,
}

impl History {
    /// The history in this folder; both are made where they are missing.
    ///
    /// # Errors
    /// Names the folder and what is wrong with it.
    pub fn open(dir: &Path, limits: Limits) -> Result<History, HistoryError> {
        let unusable = |because: String| HistoryError(format!("`{}` cannot be used: {because}", dir.display()));
        create_private(dir).map_err(|error| unusable(error.to_string()))?;
        let lock = lock(dir, LOCK_FILE, "another Lockkeeper keeps its history there").map_err(&unusable)?;
        let path = dir.join(FILE);
        make_private(&path).map_err(|error| unusable(error.to_string()))?;
        let store = Store::open(&path, limits).map_err(|error| unusable(error.0))?;
        let (counts, waiting) = (Arc::new(Counts::default()), Arc::new(AtomicUsize::new(0)));
        let role = Role::Alone { store: Box::new(store), _lock: lock };
        let notes = writer::start(role, Arc::clone(&counts), Arc::clone(&waiting))?;
        let kept = Kept { notes, waiting, place: Arc::new(Place::File(path)), questions: Semaphore::new(QUESTIONS) };
        Ok(History(Arc::new(Inner { kept: Ok(kept), counts })))
    }

    /// The history in PostgreSQL, which several servers share and one of them writes; its tables are made where they are
    /// missing. Where PostgreSQL cannot be reached, that is tried again and again.
    ///
    /// # Errors
    /// Names the database and what is wrong with it.
    pub fn share(target: &Target, limits: Limits) -> Result<History, HistoryError> {
        let mut follower = Follower::new(target, limits);
        if let Err(error) = aside(|| follower.connect())
            && !error.may_pass()
        {
            return Err(HistoryError(format!("`{target}` cannot be used: {error}")));
        }
        let (counts, waiting) = (Arc::new(Counts::default()), Arc::new(AtomicUsize::new(0)));
        let role = Role::Shared { store: None, follower: Box::new(follower) };
        let notes = writer::start(role, Arc::clone(&counts), Arc::clone(&waiting))?;
        let kept =
            Kept { notes, waiting, place: Arc::new(Place::shared(target)), questions: Semaphore::new(QUESTIONS) };
        Ok(History(Arc::new(Inner { kept: Ok(kept), counts })))
    }

    /// None: nothing is written down.
    #[must_use]
    pub fn not_kept(because: &str) -> History {
        let kept = Err(HistoryError(because.to_owned()));
        History(Arc::new(Inner { kept, counts: Arc::default() }))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.kept.is_ok()
    }

    /// Where the board leaves what happens; `None` where nothing is written down.
    #[must_use]
    pub fn tape(&self) -> Option<Tape> {
        let kept = self.0.kept.as_ref().ok()?;
        Some(Tape::new(kept.notes.clone(), Arc::clone(&kept.waiting), Arc::clone(&self.0.counts)))
    }

    /// Whether what happens is written down, without looking into the file.
    #[must_use]
    pub fn state(&self) -> (RecordingState, Option<String>) {
        match &self.0.kept {
            Err(error) => (RecordingState::Off, Some(error.to_string())),
            Ok(_) => match self.0.counts.problem() {
                Some(problem) => (RecordingState::Failing, Some(problem)),
                None => (RecordingState::Recording, None),
            },
        }
    }

    /// The same, with from when on there is something.
    pub async fn recording(&self) -> Recording {
        let (state, because) = self.state();
        let from = match state {
            RecordingState::Off => None,
            _ => self.ask(|reader| reader.begins_at()).await.unwrap_or(None),
        };
        Recording { state, because, from }
    }

    /// How it went, since the start.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let Counts { written, not_written, missed, bytes, delay_ms, .. } = &*self.0.counts;
        let waiting = self.0.kept.as_ref().map_or(0, |kept| kept.waiting.load(Ordering::Relaxed) as u64);
        let [written, not_written, missed, bytes, delay_ms] =
            [written, not_written, missed, bytes, delay_ms].map(|count| count.load(Ordering::Relaxed));
        Numbers { written, not_written, missed, bytes, delay_ms, waiting }
    }

    /// A page, newest first, of what was before the event `before`. With `fold`, renewals in a row are one line.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read, and `None` where no event of that name is known.
    pub async fn older(
        &self,
        filter: Filter,
        before: Option<String>,
        limit: usize,
        fold: bool,
    ) -> Result<Option<Page>, HistoryError> {
        self.flush().await;
        self.ask(move |reader| {
            let before = match &before {
                None => Some(i64::MAX),
                Some(id) => reader.row_of(id),
            };
            before.map(|before| reader.page(&filter, Direction::Before(before), limit, fold)).transpose()
        })
        .await
    }

    /// A page, oldest first, of what was after the event `after`; `None` where what follows that event is not kept.
    /// Where it has no next one, `upto` of the page is the last event that is kept.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn newer(&self, filter: Filter, after: String, limit: usize) -> Result<Option<Page>, HistoryError> {
        self.flush().await;
        self.ask(move |reader| {
            let Some(after) = reader.row_of(&after) else { return Ok(None) };
            if reader.first_row()?.is_some_and(|first| after + 1 < first) {
                return Ok(None);
            }
            let mut page = reader.page(&filter, Direction::After(after), limit, false)?;
            page.upto = reader.last_row()?.filter(|last| *last >= after).map(|last| reader.id_of(last));
            Ok(Some(page))
        })
        .await
    }

    /// Writes all that is held now down, so that the board can be rebuilt from there. Says whether it can.
    ///
    /// # Errors
    /// When nothing is kept or it cannot be written.
    pub async fn checkpoint(&self, board: &Board) -> Result<bool, HistoryError> {
        checkpoint::write(self, board, &checkpoint::conditions(board)).await
    }

    /// Waits until what happened up to now is written, or could not be.
    pub async fn flush(&self) {
        // What cannot be written is counted and told of elsewhere.
        let _ = self.with_store(Store::introduce).await;
    }

    /// Writes what is still to be written. To be called when nothing happens any more.
    pub async fn close(&self) {
        // What cannot be merged is merged at the next start.
        let _ = self.with_store(|store| store.beat(clock::now()).and_then(|()| store.merge())).await;
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, HistoryError> {
        let notes = self.kept()?.notes.clone();
        let told = tokio::task::spawn_blocking(move || {
            let (done, told) = oneshot::channel();
            // Whoever asked may have left.
            let note = Note::Do(Box::new(move |store| drop(done.send(store.map(work)))));
            notes.send(note).ok()?;
            told.blocking_recv().ok()
        });
        told.await.ok().flatten().unwrap_or_else(|| Err(gone()))
    }

    async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Reader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let kept = self.kept()?;
        let _turn = kept.questions.acquire().await.map_err(|_| gone())?;
        let place = Arc::clone(&kept.place);
        tokio::task::spawn_blocking(move || place.ask(look)).await.map_err(|_| gone())?
    }

    /// Where it is, if several servers share it.
    fn shared_target(&self) -> Result<Option<Target>, HistoryError> {
        Ok(match &*self.kept()?.place {
            Place::File(_) => None,
            Place::Shared { target, .. } => Some(target.clone()),
        })
    }

    fn kept(&self) -> Result<&Kept, HistoryError> {
        self.0.kept.as_ref().map_err(Clone::clone)
    }
}

fn gone() -> HistoryError {
    HistoryError("the thread that writes the history ended".to_owned())
}

/// A moment of which nothing can be said yet.
fn is_future(at: Time) -> bool {
    at > clock::now()
}
