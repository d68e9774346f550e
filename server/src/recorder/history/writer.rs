//! The thread that owns the file, or the connection: gathers what happened, writes it down, and goes on when that fails. Where
//! another server writes, it follows.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockkeeper_model::Time;

use super::follow::{self, Follower, Succession};
use super::schema::HistoryError;
use super::store::{Line, Store};
use super::tape::Missed;
use super::written::Expected;
use crate::clock;
use crate::recorder::folder::Locked;
use crate::registry::LoggedEvent;
use crate::registry::waits::Waits;

/// Notes that may wait. Each is what the board concluded from one report, up to some thousand events.
const WAITING_NOTES: usize = 4_096;

/// How long events are gathered before they are written together: many small transactions would write each page of the
/// file many times.
const GATHER: Duration = Duration::from_millis(40);

/// Events in one transaction: some fifty milliseconds of writing.
const MAX_TOGETHER: usize = 8_192;

/// How often the file is told that the server lives. So much of the time before a crash is not known to be whole.
const BEAT: Duration = Duration::from_secs(5);

/// …and how often PostgreSQL is, where other servers wait for the sign.
const SHARED_BEAT: Duration = Duration::from_secs(1);

/// How often it is looked whether something is too old or too much.
const TRIM: Duration = Duration::from_secs(10);

/// Between two tries to write when it failed.
const RETRY: Duration = Duration::from_secs(1);

/// Something to do with the store; or why this server does not write.
type Errand = Box<dyn FnOnce(Result<&mut Store, HistoryError>) + Send>;

/// What the thread is told.
pub(super) enum Note {
    /// A run of the server begins.
    Began { run: String, sources: Vec<String>, at: Time },
    /// What happened.
    Happened(Vec<LoggedEvent>),
    /// Who waited.
    Waited(Vec<Waits>),
    /// What found no room.
    Missed(Missed),
    /// Once all of the above is written.
    Do(Errand),
}

/// What the thread has to write to.
pub(super) enum Role {
    /// A file that is locked as long as the thread runs.
    Alone { store: Box<Store>, _lock: Locked },
    /// PostgreSQL, if it is for this server to write; else there is no store.
    Shared { store: Option<Box<Store>>, follower: Box<Follower> },
}

impl Role {
    fn store(&mut self) -> Option<&mut Store> {
        match self {
            Role::Alone { store, .. } => Some(store),
            Role::Shared { store, .. } => store.as_deref_mut(),
        }
    }

    /// Names the run whose events come from now on.
    fn begin(&mut self, name: String, sources: Vec<String>, began: Time) {
        match self {
            Role::Alone { store, .. } => store.begin(name, sources, began),
            Role::Shared { follower, .. } => follower.begin(follow::Run { name, sources, began }),
        }
    }

    fn beat(&self) -> Duration {
        match self {
            Role::Alone { .. } => BEAT,
            Role::Shared { .. } => SHARED_BEAT,
        }
    }

    /// For how long the thread may sleep when nothing happens.
    fn rest(&self) -> Duration {
        match self {
            Role::Alone { .. } => RETRY,
            Role::Shared { .. } => follow::LOOK,
        }
    }
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

/// Starts the thread. It ends when nobody can tell it anything any more.
pub(super) fn start(
    role: Role,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
) -> Result<SyncSender<Note>, HistoryError> {
    let (notes, noted) = sync_channel(WAITING_NOTES);
    let now = Instant::now();
    let writer = Writer {
        role,
        counts,
        waiting,
        expected: Expected::default(),
        lost: None,
        retry_at: None,
        beat_at: now,
        trim_at: now,
        has_more: true,
    };
    match std::thread::Builder::new().name("history".to_owned()).spawn(move || writer.run(&noted)) {
        Ok(_) => Ok(notes),
        Err(error) => Err(HistoryError(format!("the thread that writes it could not be started: {error}"))),
    }
}

struct Writer {
    role: Role,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
    /// What another server has written that is still to be seen here.
    expected: Expected,
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
                None if self.has_more && self.role.store().is_some() => Duration::ZERO,
                None => self.role.beat().saturating_sub(self.beat_at.elapsed()).min(self.role.rest()),
            };
            let note = noted.recv_timeout(wait);
            let mut errand = None;
            match note {
                Ok(Note::Happened(events)) => lines.extend(events.into_iter().map(Line::Event)),
                Ok(Note::Missed(missed)) => {
                    lines.push(not_recorded(missed, "they came faster than the disk took them"))
                }
                Ok(Note::Waited(waits)) => self.keep_waits(&waits),
                Ok(Note::Began { run, sources, at }) => self.role.begin(run, sources, at),
                Ok(Note::Do(work)) => errand = Some(work),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write(std::mem::take(&mut lines));
                    if let Some(store) = self.role.store() {
                        let _ = store.beat(clock::now());
                    }
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
                work(self.role.store().ok_or_else(|| HistoryError("another server writes the history".to_owned())));
            }
            self.look();
            self.keep_house(gathering.is_none());
        }
    }

    fn write(&mut self, lines: Vec<Line>) {
        if lines.is_empty() && self.lost.is_none() {
            return;
        }
        self.waiting.fetch_sub(lines.iter().filter(|line| matches!(line, Line::Event(_))).count(), Ordering::Relaxed);
        if let Role::Shared { store: None, follower } = &mut self.role {
            return follower.keep(lines);
        }
        let lines = lines.into_iter().filter(|line| !self.expected.has(line)).collect();
        self.write_now(lines);
    }

    /// Writes what nobody else has written.
    fn write_now(&mut self, lines: Vec<Line>) {
        let Some(store) = self.role.store() else { return };
        let own = lines.len();
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.lose(&lines);
            return;
        }
        let problem = self.counts.problem().unwrap_or_default();
        let mut all: Vec<Line> = self.lost.iter().map(|lost| not_recorded(*lost, &problem)).collect();
        all.extend(lines);
        if all.is_empty() {
            return;
        }
        let mut written = store.append(&all);
        if written.is_err() && !store.is_lost() {
            // The oldest may be what there is no room for.
            while store.trim(clock::now()).unwrap_or(false) {}
            written = store.append(&all);
        }
        let is_lost = store.is_lost();
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
            // Whether they were written is not known; whoever writes next finds out.
            Err(error) if is_lost => self.step_back(&error, all.split_off(all.len() - own)),
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

    /// Writes who waited. Where another server writes, that one knows as well; what cannot be written is missing from the
    /// time that is known.
    fn keep_waits(&mut self, waits: &[Waits]) {
        let Some(store) = self.role.store() else { return };
        let kept = store.keep_waits(waits);
        let is_lost = store.is_lost();
        match kept {
            Err(error) if is_lost => self.step_back(&error, Vec::new()),
            Err(error) => tracing::debug!("who waited is not written down: {error}"),
            Ok(()) => self.has_more = true,
        }
    }

    /// Writes no more, because the connection is lost, and keeps what may not have been written.
    fn step_back(&mut self, error: &HistoryError, lines: Vec<Line>) {
        if let Role::Shared { store, follower } = &mut self.role {
            tracing::warn!("this server does not write the history any more: {error}");
            self.counts.set_problem(Some(error.to_string()));
            *store = None;
            follower.step_back(lines);
        }
    }

    /// Where another server writes, looks whether it still does.
    fn look(&mut self) {
        let Role::Shared { store: store @ None, follower } = &mut self.role else { return };
        if !follower.is_due() {
            return;
        }
        match follower.look() {
            Ok(None) => self.counts.set_problem(None),
            Ok(Some(Succession { store: succeeded, lines, expected })) => {
                tracing::info!(lines = lines.len(), "this server writes the history");
                *store = Some(Box::new(succeeded));
                (self.expected, self.retry_at) = (expected, None);
                self.counts.set_problem(None);
                self.write_now(lines);
            }
            Err(error) => {
                if self.counts.problem().is_none() {
                    tracing::error!("the history cannot be followed: {error}");
                }
                self.counts.set_problem(Some(error.to_string()));
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
        let is_beat = self.beat_at.elapsed() >= self.role.beat();
        let is_retry = self.lost.is_some() && self.retry_at.is_some_and(|at| Instant::now() >= at);
        if is_beat || is_retry {
            self.beat_at = Instant::now();
            if self.lost.is_some() {
                // Nothing may happen for a long time, and then the gap should be told of.
                self.write_now(Vec::new());
            } else {
                self.beat();
            }
        }
        let Some(store) = self.role.store() else { return };
        if has_time && self.has_more || self.trim_at.elapsed() >= TRIM {
            self.trim_at = Instant::now();
            self.has_more = store.trim(clock::now()).unwrap_or_else(|error| {
                tracing::debug!("the history could not be cut: {error}");
                false
            });
            let held = self.counts.held.load(Ordering::Relaxed);
            self.counts.has_many_names.store(store.has_many_names(held), Ordering::Relaxed);
            if let Ok(bytes) = store.used_bytes() {
                self.counts.bytes.store(bytes, Ordering::Relaxed);
            }
        }
    }

    /// Says that the server lives, and that all is written, unless something waits.
    fn beat(&mut self) {
        let is_idle = self.waiting.load(Ordering::Relaxed) == 0;
        let Some(store) = self.role.store() else { return };
        let beaten = if is_idle { store.beat(clock::now()) } else { store.introduce() };
        match beaten {
            Err(error) if store.is_lost() => self.step_back(&error, Vec::new()),
            Err(error) => {
                self.counts.set_problem(Some(error.to_string()));
                self.retry_at = Some(Instant::now() + RETRY);
            }
            Ok(()) => {
                if self.retry_at.take().is_some() {
                    self.counts.set_problem(None);
                }
            }
        }
    }
}

fn not_recorded(missed: Missed, because: &str) -> Line {
    let Missed { seq, since, at, count } = missed;
    Line::NotRecorded { seq, since, at, count, because: because.to_owned() }
}
