//! Releases that their store lost: it answered, and was replaced by a server that had not heard of it.
//!
//! A failover may come long after everybody has stopped watching the lock. The board tells of it whenever it meets the
//! hold again, and it joins the attempt in the audit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockkeeper_model::words::RELEASE_LOST;
use lockkeeper_model::{Event, LockId, words};

use super::ReleaseDesk;
use super::former::Former;
use crate::access::Reach;
use crate::board::EventFilter;
use crate::recorder::audit::Attempt;

/// The audit's word for a release that its store lost.
pub(super) const LOST_WORD: &str = "release_lost";

/// Attempts that are kept in mind: far more than hands release while a replica can lag behind and still be promoted; it
/// bounds memory. Of an older one the loss stands in the timeline alone.
const MAX_ATTEMPTS: usize = 4_096;

/// The last holds that were released from here, and their attempts.
#[derive(Debug, Default)]
pub(super) struct Released(Mutex<VecDeque<One>>);

#[derive(Debug)]
struct One {
    source: String,
    lock: LockId,
    token_b64: String,
    attempt: Arc<Attempt>,
}

impl Released {
    /// Keeps in mind by which attempt a hold was released.
    pub(super) fn remember(&self, hold: &Former, attempt: &Arc<Attempt>) {
        let one = One {
            source: hold.source_name.clone(),
            lock: LockId::of_key(&hold.order.key),
            token_b64: STANDARD.encode(&hold.order.token),
            attempt: Arc::clone(attempt),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_ATTEMPTS {
            kept.pop_front();
        }
        kept.push_back(one);
    }

    /// The last attempt that released the hold of which an event tells.
    fn find(&self, event: &Event) -> Option<Arc<Attempt>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &&One| {
            one.source == event.source
                && Some(&one.lock) == event.lock.as_ref()
                && Some(&one.token_b64) == event.holder_b64.as_ref()
        };
        kept.iter().rev().find(is_it).map(|one| Arc::clone(&one.attempt))
    }
}

impl ReleaseDesk {
    /// Writes down of each release that its store lost, for as long as the board tells of any.
    pub async fn note_lost_releases(self: Arc<Self>) {
        let filter = EventFilter { reach: Reach::ALL, source: None, lock: None, lost_releases: true };
        let mut last = None;
        // A subscription that fell behind is taken up where it ended.
        while let Ok(told) = self.board.subscribe(filter.clone(), last.clone()).await {
            for event in &told.backlog {
                self.note_lost(event).await;
            }
            let mut events = told.events;
            while let Some(event) = events.recv().await {
                self.note_lost(&event).await;
                last = Some(event.id);
            }
        }
    }

    async fn note_lost(&self, event: &Event) {
        let Some(lock) = &event.lock else { return };
        let (source, shown) = (words::shown(&event.source), words::shown(lock.as_str()));
        tracing::warn!(source.name = %source, "`{shown}` of `{source}` was {RELEASE_LOST}");
        if let Some(attempt) = self.released.find(event) {
            attempt.followed(LOST_WORD, RELEASE_LOST).await;
        }
    }
}
