//! What a server does while another one writes the history: it keeps what it sees until that one has written it, and writes
//! the rest when that one is gone. The same when it has lost its own connection in the middle of writing.
//!
//! Whoever has the advisory lock writes; PostgreSQL takes the lock away when the connection ends. A server that has seen the
//! writer write since its own beginning is a witness: of what the writer did not get to, nothing is missing in what it keeps. One
//! that came later leaves the writing to a witness, or what only that one has seen would be written by nobody.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockkeeper_model::{Time, TransitionKind};

use super::schema::HistoryError;
use super::shared;
use super::store::{Line, Store};
use super::tape::Missed;
use super::written::{Expected, Written};
use super::{Limits, gone};
use crate::recorder::db::{Connection, DbError, Target};

/// Between two looks at how far the writer is.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// For how long something is kept beyond what the writer has written, in milliseconds: the servers do not see everything at
/// once, and their clocks differ.
pub(super) const KEPT_LONGER: i64 = 10_000;

/// Events that are kept, as many as may wait for a disk: some fifty megabytes.
const MAX_KEPT: usize = 262_144;

/// A writer that has given no sign of life for so long is said to be stuck. It gives one every second.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// So long whoever is no witness waits for one that has lost its connection, too: until it has noticed and connected again.
const PATIENCE: Duration = Duration::from_secs(4);

/// This server's run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) sources: Vec<String>,
    pub(super) began: Time,
}

/// Who follows.
#[derive(Debug)]
pub(super) struct Follower {
    target: Target,
    limits: Limits,
    connection: Option<Connection>,
    run: Option<Run>,
    kept: VecDeque<Line>,
    /// What was kept no longer for want of room, and may not have been written.
    dropped: Option<Missed>,
    looked_at: Option<Instant>,
    /// The writer's last sign of life, and when it was seen here.
    sign: Option<(i64, Instant)>,
    /// Somebody has written since this run began, and this run knows what happened since.
    is_witness: bool,
    /// The connection says so.
    says_witness: bool,
    /// When it connected.
    since: Instant,
}

/// What is to be done by whoever writes from now on.
#[derive(Debug)]
pub(super) struct Succession {
    pub(super) store: Store,
    /// What happened and was not written.
    pub(super) lines: Vec<Line>,
    /// What was written and is still to be seen here.
    pub(super) expected: Expected,
}

impl Follower {
    pub(super) fn new(target: &Target, limits: Limits) -> Follower {
        Follower {
            target: target.clone(),
            limits,
            connection: None,
            run: None,
            kept: VecDeque::new(),
            dropped: None,
            looked_at: None,
            sign: None,
            is_witness: false,
            says_witness: false,
            since: Instant::now(),
        }
    }

    /// Connects, unless it is; makes the tables where there are none.
    pub(super) fn connect(&mut self) -> Result<(), DbError> {
        if self.connection.as_ref().is_none_or(Connection::is_lost) {
            (self.connection, self.says_witness) = (None, false);
            self.connection = Some(shared::open_to_write(&self.target)?);
            self.since = Instant::now();
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, run: Run) {
        self.run = Some(run);
        (self.sign, self.is_witness) = (None, false);
    }

    /// Keeps what this server was about to write when it lost its connection. Until then it wrote itself.
    pub(super) fn step_back(&mut self, lines: Vec<Line>) {
        self.is_witness = true;
        self.keep(lines);
    }

    /// Keeps what happened.
    pub(super) fn keep(&mut self, lines: impl IntoIterator<Item = Line>) {
        for line in lines {
            if self.kept.len() >= MAX_KEPT
                && let Some(oldest) = self.kept.pop_front()
            {
                self.dropped = Missed::and(self.dropped, [(oldest.seq(), oldest.at())]);
            }
            self.kept.push_back(line);
        }
    }

    /// Whether it is time for another look.
    pub(super) fn is_due(&self) -> bool {
        self.looked_at.is_none_or(|at| at.elapsed() >= LOOK)
    }

    /// Looks whether nobody writes any more; then it is for this server to do. `Ok(None)`: another does.
    pub(super) fn look(&mut self) -> Result<Option<Succession>, HistoryError> {
        self.looked_at = Some(Instant::now());
        self.try_look()
    }

    fn try_look(&mut self) -> Result<Option<Succession>, HistoryError> {
        self.connect().map_err(|error| HistoryError(format!("`{}` cannot be used: {error}", self.target)))?;
        let (Some(connection), Some(run)) = (&self.connection, &self.run) else { return Ok(None) };
        let alive = connection.number("SELECT max(alive) FROM runs", &[])?;
        if let Some(alive) = alive
            && self.sign.is_none_or(|(known, _)| known != alive)
        {
            self.is_witness |= self.sign.is_some();
            self.sign = Some((alive, Instant::now()));
        }
        if self.is_witness && !self.says_witness {
            self.says_witness = shared::say_witness(connection)?;
        }
        let has_waited = self.since.elapsed() >= PATIENCE;
        let is_next = self.is_witness || alive.is_none() || has_waited && !shared::has_witness(connection)?;
        if is_next && shared::may_write(connection)? {
            return self.succeed().map(Some);
        }
        let watched = shared::watched(connection)?;
        let unwatched = run.sources.iter().find(|source| !watched.is_empty() && !watched.contains(source)).cloned();
        let Some(alive) = alive else { return Ok(None) };
        self.forget(alive - KEPT_LONGER);
        if let Some(source) = unwatched {
            return Err(HistoryError(format!(
                "the server that writes the history does not watch `{}`: what happens there is not recorded",
                lockkeeper_model::words::shown(&source)
            )));
        }
        if self.sign.is_some_and(|(_, seen)| seen.elapsed() > MAX_SILENCE) {
            let because = "another server is to write the history and has given no sign of life since";
            return Err(HistoryError(format!("{because} {}", Time(alive))));
        }
        Ok(None)
    }

    /// What the writer has written is not needed any more.
    fn forget(&mut self, before: i64) {
        while self.kept.pop_front_if(|line| line.at().0 < before).is_some() {}
        self.dropped = self.dropped.filter(|dropped| dropped.at.0 >= before);
    }

    fn succeed(&mut self) -> Result<Succession, HistoryError> {
        let (Some(connection), Some(run)) = (self.connection.take(), self.run.clone()) else { return Err(gone()) };
        let since = self.kept.front().map_or(i64::MAX, |line| line.at().0.saturating_sub(KEPT_LONGER));
        let written = Written::read(&connection, since, &run.name)?;
        shared::say_watched(&connection, &run.sources)?;
        let mut store = Store::of(connection, self.limits)?;
        store.go_on(&run, self.is_witness)?;
        let mut lines: Vec<Line> = self.dropped.take().map(unwritten).into_iter().collect();
        lines.extend(self.kept.drain(..));
        let (lines, expected) = written.leave_out(lines, &run.sources, self.is_witness);
        self.sign = None;
        Ok(Succession { store, lines, expected })
    }
}

fn unwritten(missed: Missed) -> Line {
    let Missed { seq, since, at, count } = missed;
    let because = "the server that wrote the history ended before it had written them".to_owned();
    Line::NotRecorded { seq, since, at, count, because }
}

/// Whether this says that something was already so, as against that it came about.
pub(super) fn is_first_look(line: &Line) -> bool {
    matches!(line, Line::Event(logged) if logged.entry.kind == TransitionKind::FirstSeen)
}
