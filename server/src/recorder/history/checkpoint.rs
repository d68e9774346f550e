//! Writes the whole board down now and then, so that the past can be rebuilt from there.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lockkeeper_model::{SourceState, SourceStatus, Time};
use tokio_util::sync::CancellationToken;

use super::{History, HistoryError};
use crate::board::Board;
use crate::registry::past::Piece;
use crate::source::{SourceHandle, SourceId};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Transitions between two, at least: as many as are gone through in a tenth of a second when the past is rebuilt.
const LEAST_TRANSITIONS: u64 = 100_000;

/// …and for each lock that is held, so that checkpoints take no more room than what they are about.
const TRANSITIONS_PER_LOCK: u64 = 2;

/// If anything at all happened, one is due after this time: what is older is cut off, and the board with it.
const AT_LATEST: Duration = Duration::from_secs(6 * 60 * 60);

/// Between two there is at least this time, however often a source loses its link…
const LEAST_APART: Duration = Duration::from_secs(10);

/// …and so many times as long as writing one takes.
const PAUSES: u32 = 20;

/// What is known of the last checkpoint.
struct Last {
    ended: Instant,
    took: Duration,
    written: u64,
    /// How well each source was known then.
    sources: Vec<Condition>,
}

/// How well a source is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// It was seen whole since it last missed something.
    is_whole: bool,
    /// How often it missed something.
    gaps: u64,
    missed_at: Option<Time>,
}

/// Writes checkpoints until `stop`. Does nothing where nothing is written down.
pub async fn keep_checkpoints(history: History, board: Board, stop: CancellationToken) {
    if !history.is_kept() {
        return;
    }
    let mut last: Option<Last> = None;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let sources = conditions(&board);
        if !is_due(&history, last.as_ref(), &sources) {
            continue;
        }
        let began = Instant::now();
        let written = history.numbers().written;
        match write(&history, &board, &sources).await {
            Ok(true) => last = Some(Last { ended: Instant::now(), took: began.elapsed(), written, sources }),
            // Tried again at the next look, after the pause.
            Ok(false) | Err(_) => {
                let sources = Vec::new();
                last = Some(Last { ended: Instant::now(), took: began.elapsed(), written, sources });
            }
        }
    }
}

fn is_due(history: &History, last: Option<&Last>, sources: &[Condition]) -> bool {
    let Some(last) = last else { return sources.iter().any(|source| source.is_whole) };
    if last.ended.elapsed() < LEAST_APART.max(last.took * PAUSES) {
        return false;
    }
    let counts = &history.0.counts;
    let written = history.numbers().written - last.written;
    let held = counts.held.load(Ordering::Relaxed) as u64;
    let healed = sources.iter().enumerate().any(|(at, now)| {
        // The one before does not speak for what was missed since, or was not whole then.
        now.is_whole && last.sources.get(at).is_none_or(|then| !then.is_whole || then.gaps != now.gaps)
    });
    healed
        || written >= LEAST_TRANSITIONS.max(TRANSITIONS_PER_LOCK * held)
        || (written > 0 && last.ended.elapsed() >= AT_LATEST)
        || (written > 0 && counts.has_many_names.load(Ordering::Relaxed))
}

/// Writes one. Says whether it can be used.
pub(super) async fn write(history: &History, board: &Board, before: &[Condition]) -> Result<bool, HistoryError> {
    let closed = |_| super::gone();
    let last_held = history.0.counts.held.load(Ordering::Relaxed);
    history.with_store(move |store| store.prepare_checkpoint(last_held)).await?;
    let mut from = 0;
    let mut held = 0;
    let mut is_first = true;
    loop {
        let piece = board.piece(from).await.map_err(closed)?;
        let (seq, at, next) = (piece.seq, piece.at, piece.next);
        held += piece.held.len();
        add(history, piece, is_first).await?;
        is_first = false;
        let Some(next) = next else {
            history.0.counts.held.store(held, Ordering::Relaxed);
            let now = conditions(board);
            let missed = before.iter().zip(&now).enumerate().map(|(position, (before, now))| {
                let is_whole = before.is_whole && now.is_whole && before.gaps == now.gaps;
                let missed_at = (!is_whole).then(|| now.missed_at.unwrap_or(at));
                (SourceId(u16::try_from(position).unwrap_or(u16::MAX)), missed_at)
            });
            let missed: Vec<_> = missed.collect();
            return history.with_store(move |store| store.end_checkpoint(seq, at, &missed)).await?;
        };
        from = next;
    }
}

async fn add(history: &History, piece: Piece, is_first: bool) -> Result<(), HistoryError> {
    history
        .with_store(move |store| {
            if is_first {
                store.begin_checkpoint(piece.seq, piece.at);
            }
            store.add_to_checkpoint(&piece)
        })
        .await?
}

pub(super) fn conditions(board: &Board) -> Vec<Condition> {
    board.sources().iter().map(SourceHandle::status_now).map(|status| condition(&status)).collect()
}

fn condition(status: &SourceStatus) -> Condition {
    Condition {
        is_whole: status.coverage.complete && status.state != SourceState::Down,
        gaps: status.gaps,
        missed_at: status.last_gap_at,
    }
}
