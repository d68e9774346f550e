//! The holds of one ticket: several locks at a time, or one after the other until one fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lockkeeper_model::{Action, LockId, Outcome, ReleaseResult, words};

use super::ReleaseDesk;
use super::execution::{AFTER_WATCH, result};
use super::record::Asked;
use super::ticket::BoundHold;

/// Locks of one request that are freed at the same time: a hundred are done in ten seconds, most of them waiting for
/// what comes after.
const LOCKS_AT_ONCE: usize = 16;

/// How long the watching of holds that are freed one after the other may take together. A person waits for the answer,
/// and the server ends every answer after half a minute.
const SEQUENCE_WATCH: Duration = Duration::from_secs(15);

impl ReleaseDesk {
    /// Frees each by itself, whatever becomes of the others. The results are in the order of the holds.
    pub(super) async fn side_by_side(
        self: &Arc<Self>,
        action: Action,
        holds: Vec<BoundHold>,
        asked: &Asked<'_>,
    ) -> Vec<ReleaseResult> {
        let mut results: Vec<(usize, ReleaseResult)> = stream::iter(by_lock(holds))
            .map(|holds| async move {
                let watch = watch_each(holds.len());
                let mut results = Vec::with_capacity(holds.len());
                for (place, hold) in holds {
                    results.push((place, self.release(action, hold, asked, watch).await));
                }
                results
            })
            .buffer_unordered(LOCKS_AT_ONCE)
            .concat()
            .await;
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Frees one after the other, until one is not freed. Those after it are not tried, which is written down.
    pub(super) async fn until_one_fails(
        &self,
        action: Action,
        holds: Vec<BoundHold>,
        asked: &Asked<'_>,
    ) -> Vec<ReleaseResult> {
        let watch = watch_each(holds.len());
        let mut results = Vec::with_capacity(holds.len());
        let mut holds = holds.into_iter();
        for hold in holds.by_ref() {
            let result = self.release(action, hold, asked, watch).await;
            let is_done = is_done(result.outcome);
            results.push(result);
            if !is_done {
                break;
            }
        }
        let left: Vec<BoundHold> = holds.collect();
        let Some(failed) = results.last().filter(|_| !left.is_empty()).map(|result| result.id.clone()) else {
            return results;
        };
        let deeds = left.iter().map(|hold| asked.about(action, hold)).collect();
        // Whoever reads of the one may not be allowed to know of the other.
        self.audit.refused(deeds, "refused", "not tried, because another lock of the request failed first").await;
        let detail = format!("not tried, because `{}` failed first", words::shown(failed.as_str()));
        results.extend(left.iter().map(|hold| {
            self.outcomes.count(Outcome::Refused);
            result(&hold.source, LockId::of_key(&hold.key), Outcome::Refused, detail.clone())
        }));
        results
    }
}

/// Whether what was asked for came about.
fn is_done(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Released
        | Outcome::Held
        | Outcome::Extended
        | Outcome::PutBack
        | Outcome::Raised
        | Outcome::Signalled => true,
        Outcome::WouldRelease
        | Outcome::ChangedHands
        | Outcome::Gone
        | Outcome::Partial
        | Outcome::Refused
        | Outcome::Failed
        | Outcome::Unknown => false,
    }
}

/// How long each of so many holds is watched that are freed one after the other.
fn watch_each(holds: usize) -> Duration {
    let holds = u32::try_from(holds).unwrap_or(u32::MAX).max(1);
    AFTER_WATCH.min(SEQUENCE_WATCH / holds)
}

/// The holds of each lock together, in their order and each with its place: those of one lock are freed one after the
/// other, because the board follows one attempt at a lock at a time.
fn by_lock(holds: Vec<BoundHold>) -> Vec<Vec<(usize, BoundHold)>> {
    let mut locks: Vec<Vec<(usize, BoundHold)>> = Vec::new();
    for (place, hold) in holds.into_iter().enumerate() {
        let same = |known: &BoundHold| known.source == hold.source && known.key == hold.key;
        match locks.iter_mut().find(|lock| same(&lock[0].1)) {
            Some(lock) => lock.push((place, hold)),
            None => locks.push(vec![(place, hold)]),
        }
    }
    locks
}
