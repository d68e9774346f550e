//! The thread that owns the file: gathers what happened, writes it down, and goes on when that fails.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockkeeper_model::Time;

use super::schema::HistoryError;
use super::store::{Line, Store};
use super::tape::Missed;
use crate::clock;
use crate::registry::LoggedEvent;

/// Notes that may wait. Each is what the board concluded from one report, up to some thousand events.
const WAITING_NOTES: usize = 4_096;

/// How long events are gathered before they are written together: many small transactions would write each page of the
/// file many times.
const GATHER: Duration = Duration::from_millis(40);

/// Events in one transaction: some fifty milliseconds of writing.
const MAX_TOGETHER: usize = 8_192;

/// How often the file is told that the server lives. So much of the time before a crash is not known to be whole.
const BEAT: Duration = Duration::from_secs(5);

/// How often it is looked whether something is too old or too much.
const TRIM: Duration = Duration::from_secs(10);

/// Between two tries to write when it failed.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread is told.
pub(super) enum Note {
    /// A run of the server begins.
    Began { run: String, sources: Vec<String>, at: Time },
    /// What happened.
    Happened(Vec<LoggedEvent>),
    /// What found no room.
    Missed(Missed),
    /// Something to do with the file once all of the above is written.
    Do(Box<dyn FnOnce(&mut Store) + Send>),
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Note")
    }
}

/// How the recording goes, since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Transitions and gaps that were written.
    pub(super) written: AtomicU64,
    /// Transitions that could not be written.
    pub(super) not_written: AtomicU64,
    /// Transitions that found no room to wait for the disk.
    pub(super) missed: AtomicU64,
    /// Of the file, when it was last asked.
    pub(super) bytes: AtomicU64,
    /// From when an event came about until it was written, in milliseconds, of the last one.
    pub(super) delay_ms: AtomicU64,
    pub(super) has_many_names: AtomicBool,
    pub(super) held: AtomicUsize,
    problem: Mutex<Option<String>>,
}

impl Counts {
    /// Why nothing is written now; `None` while it is.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Starts the thread. It ends when nobody can tell it anything any more; until then the file is locked by `lock`.
pub(super) fn start(
    store: Store,
    lock: File,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
) -> Result<SyncSender<Note>, HistoryError> {
    let (notes, noted) = sync_channel(WAITING_NOTES);
    let now = Instant::now();
    let writer =
        Writer { store, counts, waiting, lost: None, retry_at: None, beat_at: now, trim_at: now, has_more: true };
    let work = move || {
        writer.run(&noted);
        drop(lock);
    };
    match std::thread::Builder::new().name("history".to_owned()).spawn(work) {
        Ok(_) => Ok(notes),
        Err(error) => Err(HistoryError(format!("the thread that writes it could not be started: {error}"))),
    }
}

struct Writer {
    store: Store,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
    /// What could not be written and is not told of yet.
    lost: Option<Missed>,
    /// While writing fails: when it is tried again.
    retry_at: Option<Instant>,
    beat_at: Instant,
    trim_at: Instant,
    /// There is more to cut off.
    has_more: bool,
}

impl Writer {
    fn run(mut self, noted: &Receiver<Note>) {
        let mut lines: Vec<Line> = Vec::new();
        let mut gathering: Option<Instant> = None;
        loop {
            let wait = match gathering {
                Some(since) => GATHER.saturating_sub(since.elapsed()),
                None if self.has_more => Duration::ZERO,
                None => BEAT.saturating_sub(self.beat_at.elapsed()).min(RETRY),
            };
            let note = noted.recv_timeout(wait);
            let mut errand = None;
            match note {
                Ok(Note::Happened(events)) => lines.extend(events.into_iter().map(Line::Event)),
                Ok(Note::Missed(missed)) => {
                    lines.push(not_recorded(missed, "they came faster than the disk took them"))
                }
                Ok(Note::Began { run, sources, at }) => self.store.begin(run, sources, at),
                Ok(Note::Do(work)) => errand = Some(work),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write(std::mem::take(&mut lines));
                    let _ = self.store.beat(clock::now());
                    return;
                }
            }
            if !lines.is_empty() && gathering.is_none() {
                gathering = Some(Instant::now());
            }
            let is_time = gathering.is_some_and(|since| since.elapsed() >= GATHER);
            if is_time || errand.is_some() || lines.len() >= MAX_TOGETHER {
                self.write(std::mem::take(&mut lines));
                gathering = None;
            }
            if let Some(work) = errand {
                work(&mut self.store);
            }
            self.keep_house(gathering.is_none());
        }
    }

    fn write(&mut self, lines: Vec<Line>) {
        if lines.is_empty() && self.lost.is_none() {
            return;
        }
        let own = lines.len();
        self.waiting.fetch_sub(lines.iter().filter(|line| matches!(line, Line::Event(_))).count(), Ordering::Relaxed);
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.lose(&lines);
            return;
        }
        let problem = self.counts.problem().unwrap_or_default();
        let mut all: Vec<Line> = self.lost.iter().map(|lost| not_recorded(*lost, &problem)).collect();
        all.extend(lines);
        let mut written = self.store.append(&all);
        if written.is_err() {
            // The oldest may be what there is no room for.
            while self.store.trim(clock::now()).unwrap_or(false) {}
            written = self.store.append(&all);
        }
        match written {
            Ok(()) => {
                self.counts.written.fetch_add(all.len() as u64, Ordering::Relaxed);
                if let Some(line) = all.last() {
                    let delay = clock::now().since(line.at());
                    self.counts.delay_ms.store(delay.cast_unsigned(), Ordering::Relaxed);
                }
                if let Some(lost) = self.lost.take() {
                    tracing::info!(history.not_written = lost.count, "the history is written again");
                }
                (self.retry_at, self.has_more) = (None, true);
                self.counts.set_problem(None);
            }
            Err(error) => {
                if self.retry_at.is_none() {
                    tracing::error!("the history cannot be written: {error}");
                }
                self.retry_at = Some(Instant::now() + RETRY);
                self.counts.set_problem(Some(error.to_string()));
                self.lose(&all[all.len() - own..]);
            }
        }
    }

    fn lose(&mut self, lines: &[Line]) {
        let before = self.lost.map_or(0, |lost| lost.count);
        for line in lines {
            self.lost = match line {
                Line::Event(_) => Missed::and(self.lost, [(line.seq(), line.at())]),
                Line::NotRecorded { seq, since, at, count, .. } => {
                    let lost = self.lost.unwrap_or(Missed { seq: *seq, since: *since, at: *at, count: 0 });
                    Some(Missed { seq: lost.seq.max(*seq), at: lost.at.max(*at), count: lost.count + count, ..lost })
                }
            };
        }
        let lost = self.lost.map_or(0, |lost| lost.count) - before;
        self.counts.not_written.fetch_add(lost, Ordering::Relaxed);
    }

    /// Sees to what is due; to what may wait only if nothing is being gathered, or each of many small notes would wait
    /// for it.
    fn keep_house(&mut self, has_time: bool) {
        if self.beat_at.elapsed() >= BEAT
            || (self.lost.is_some() && self.retry_at.is_some_and(|at| Instant::now() >= at))
        {
            self.beat_at = Instant::now();
            if self.lost.is_some() {
                // Nothing may happen for a long time, and then the gap should be told of.
                self.write(Vec::new());
            } else if let Err(error) = self.store.beat(clock::now()) {
                self.counts.set_problem(Some(error.to_string()));
                self.retry_at = Some(Instant::now() + RETRY);
            } else if self.retry_at.take().is_some() {
                self.counts.set_problem(None);
            }
        }
        if has_time && self.has_more || self.trim_at.elapsed() >= TRIM {
            self.trim_at = Instant::now();
            self.has_more = self.store.trim(clock::now()).unwrap_or_else(|error| {
                tracing::debug!("the history could not be cut: {error}");
                false
            });
            let held = self.counts.held.load(Ordering::Relaxed);
            self.counts.has_many_names.store(self.store.has_many_names(held), Ordering::Relaxed);
            if let Ok(bytes) = self.store.used_bytes() {
                self.counts.bytes.store(bytes, Ordering::Relaxed);
            }
        }
    }
}

fn not_recorded(missed: Missed, because: &str) -> Line {
    let Missed { seq, since, at, count } = missed;
    Line::NotRecorded { seq, since, at, count, because: because.to_owned() }
}
