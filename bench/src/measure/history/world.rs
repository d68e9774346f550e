use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use lockkeeper::board::{self, Board, BoardOptions};
use lockkeeper::clock;
use lockkeeper::recorder::history::{History, Limits, keep_checkpoints};
use lockkeeper::source::{Batch, DialectTraits, Form, Hint, Recognition, Report, Seen, Sight, SourceHandle, SourceId};
use lockkeeper_model::{Certainty, SourceStatus};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Moment;
use crate::fill::lock_key;

const SOURCE: SourceId = SourceId(0);

/// Readings in a report, as many as a busy source reads at once.
const TOGETHER: u64 = 256;

/// Reports that may be on their way to the board, as in the product.
const WAITING_REPORTS: usize = 64;

/// Transitions that wait for the disk when no more are made: the recorder should never run dry, nor overflow.
const ENOUGH_WAITING: u64 = 100_000;

/// A lease when a lock is taken and when it is renewed: so far apart that a renewal is seen by the deadline alone, and so
/// long that none runs out meanwhile.
const TAKEN_MS: i64 = 3_600_000;
const RENEWED_MS: i64 = 7_200_000;

/// How often something happens at a steady pace, and how often it is looked whether it was written.
const PACE: Duration = Duration::from_millis(4);
const LOOK: Duration = Duration::from_millis(1);

static TOKEN: Recognition = Recognition {
    dialect: "token",
    certainty: Certainty::Certain,
    because: "it was made up",
    traits: &DialectTraits::PLAIN,
};

/// What comes next for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Take,
    Renew,
    LetGo,
}

#[derive(Debug)]
struct Lock {
    key: Bytes,
    token: String,
    next: Next,
}

/// A board whose transitions are written down, and locks that are taken, renewed and let go.
#[derive(Debug)]
pub(super) struct World {
    pub(super) history: History,
    _board: Board,
    reports: mpsc::Sender<Batch>,
    /// The source says nothing new of itself as long as it lives.
    _status: watch::Sender<SourceStatus>,
    _stop: DropGuard,
    locks: Vec<Lock>,
    held: u64,
    done: u64,
    rng: StdRng,
}

impl World {
    /// A source that was seen whole and has no locks yet.
    pub(super) async fn new(dir: &Path, locks: u32) -> Result<World> {
        let history = History::open(dir, Limits::default()).context("open a history")?;
        let (reports, board_reports) = mpsc::channel(WAITING_REPORTS);
        let (status, told) = watch::channel(live()?);
        let (commands, mut ordered) = mpsc::channel(1);
        // Nothing is to be read again.
        tokio::spawn(async move { while ordered.recv().await.is_some() {} });
        let source = SourceHandle {
            id: SOURCE,
            name: "orders".into(),
            status: told,
            commands,
            locks: Arc::new(AtomicU64::new(0)),
            last_trace: watch::channel(None).1,
        };
        let stop = CancellationToken::new();
        let options = BoardOptions { tape: history.tape(), ..BoardOptions::default() };
        let board = board::spawn(vec![source], board_reports, options, stop.clone());
        tokio::spawn(keep_checkpoints(history.clone(), board.clone(), stop.clone()));
        let lock = |n| Lock { key: lock_key(n).into(), token: String::new(), next: Next::Take };
        let world = World {
            history,
            _board: board,
            reports,
            _status: status,
            _stop: stop.drop_guard(),
            locks: (0..locks).map(lock).collect(),
            held: 0,
            done: 0,
            rng: StdRng::seed_from_u64(7),
        };
        let at = clock::now();
        world.tell(Report::ScanBegan { at }).await?;
        world.tell(Report::ScanEnded { began_at: at }).await?;
        Ok(world)
    }

    /// How many locks are held.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// How many transitions there were.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Changes locks as fast as the recorder takes it.
    pub(super) async fn flat_out_until(&mut self, is_over: impl Fn(&World) -> bool) -> Result<()> {
        while !is_over(self) {
            if self.history.numbers().waiting > ENOUGH_WAITING {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let sights = (0..TOGETHER).map_while(|_| (!is_over(self)).then(|| self.step())).collect();
            self.send(sights, None).await?;
        }
        self.settle().await
    }

    /// Makes so many transitions a second for so long. Returns how long each report took from when it was due until all of
    /// it was written.
    pub(super) async fn paced(&mut self, per_second: u32, length: Duration) -> Result<Vec<Duration>> {
        let is_over = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (history, is_over) = (self.history.clone(), Arc::clone(&is_over));
            std::thread::spawn(move || watch_written(&history, &is_over))
        };
        let began = Instant::now();
        let first = self.done;
        let mut sent = Vec::new();
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while began.elapsed() < length {
            let due = ticks.tick().await.into_std();
            let wanted = (due.saturating_duration_since(began).as_secs_f64() * f64::from(per_second)) as u64;
            let sights: Vec<Sight> = (self.done - first..wanted).map(|_| self.step()).collect();
            if !sights.is_empty() {
                self.send(sights, None).await?;
                sent.push((due, self.done));
            }
        }
        self.settle().await?;
        self.history.flush().await;
        is_over.store(true, Ordering::Relaxed);
        let written = watcher.join().ok().context("watch what is written")?;
        let mut delays = Vec::with_capacity(sent.len());
        for (due, count) in sent {
            let place = written.partition_point(|(_, written)| *written < count);
            let (at, _) = written.get(place).context("see everything written")?;
            delays.push(at.saturating_duration_since(due));
        }
        Ok(delays)
    }

    /// A moment between two changes.
    pub(super) async fn moment(&self) -> Moment {
        let later = async |at| {
            while clock::now() == at {
                tokio::time::sleep(LOOK).await;
            }
        };
        later(clock::now()).await;
        let moment = Moment { at: clock::now(), held: self.held, done: self.done };
        later(moment.at).await;
        moment
    }

    /// The next thing that happens, to whichever lock.
    fn step(&mut self) -> Sight {
        let place = self.rng.random_range(0..self.locks.len());
        let lock = &mut self.locks[place];
        let now = clock::now();
        let lease = |lock: &Lock, ms| Seen::Held(Form::exclusive(&TOKEN, lock.token.as_bytes(), Some(ms)));
        let (seen, hint, next) = match lock.next {
            Next::Take => {
                lock.token = uuid(&mut self.rng);
                self.held += 1;
                (lease(lock, TAKEN_MS), Hint::New, Next::Renew)
            }
            Next::Renew => (lease(lock, RENEWED_MS), Hint::None, Next::LetGo),
            Next::LetGo => {
                self.held -= 1;
                (Seen::Gone, Hint::Deleted, Next::Take)
            }
        };
        lock.next = next;
        self.done += 1;
        Sight { key: lock.key.clone(), seen, asked_at: now, read_at: now, noticed_at: Some(now), hint }
    }

    /// Waits until the board knows everything.
    async fn settle(&self) -> Result<()> {
        self.tell(Report::Sights { sights: Vec::new(), scan: false }).await
    }

    async fn tell(&self, report: Report) -> Result<()> {
        let (folded, told) = oneshot::channel();
        let batch = Batch { source: SOURCE, report, folded: Some(folded) };
        self.reports.send(batch).await.ok().context("tell the board")?;
        told.await.context("hear of the board")
    }

    async fn send(&self, sights: Vec<Sight>, folded: Option<oneshot::Sender<()>>) -> Result<()> {
        let batch = Batch { source: SOURCE, report: Report::Sights { sights, scan: false }, folded };
        self.reports.send(batch).await.ok().context("tell the board")
    }
}

/// When how much was in the file.
fn watch_written(history: &History, is_over: &AtomicBool) -> Vec<(Instant, u64)> {
    let mut seen: Vec<(Instant, u64)> = Vec::new();
    loop {
        // Looked at once more after the end.
        let is_last = is_over.load(Ordering::Relaxed);
        let written = history.numbers().written;
        if seen.last().is_none_or(|(_, before)| *before < written) {
            seen.push((Instant::now(), written));
        }
        if is_last {
            return seen;
        }
        std::thread::sleep(LOOK);
    }
}

/// A token as most libraries make it.
fn uuid(rng: &mut StdRng) -> String {
    let hex = format!("{:032x}", rng.random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// What a source says of itself that was seen whole and is watched.
fn live() -> Result<SourceStatus> {
    let now = clock::now();
    let status = json!({
        "name": "orders", "kind": "redis", "address": "127.0.0.1:6379", "demo": false, "state": "live", "since": now,
        "patterns": [], "dirty": 0, "gaps": 0, "missed_events": 0, "own_commands_per_second": 0,
        "coverage": { "complete": true, "scanned_keys": 0, "locks": 0, "uncovered_slots": [] },
        "budget": { "commands_per_second": 0 }, "missing_permissions": [], "not_locks": { "count": 0, "sample": [] },
        "release_enabled": false, "nodes": [], "as_of": now,
    });
    serde_json::from_value(status).context("make up a source")
}
