//! The attempt: one a ticket, never repeated, compared twice here and once more in the store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lockkeeper_model::{
    After, AfterState, Holder, LockId, NodeRelease, Outcome, ReleaseAnswer, ReleaseRequest, ReleaseResult,
    TransitionKind, words,
};
use tokio::time::Instant;

use super::ticket::BoundHold;
use super::{Refusal, ReleaseDesk, named, policy, word};
use crate::board::{BoardClosed, EventFilter, Held, Subscription};
use crate::clock;
use crate::source::{ReleaseOrder, ReleaseReply, SourceHandle};

/// How long a freed lock is watched before the answer. Clients that poll for a lock do so every tenth of a second to
/// every second, and a person waits for this answer; the page goes on watching afterwards.
const AFTER_WATCH: Duration = Duration::from_millis(1_500);

/// How long the store may take to answer an attempt before its outcome is called unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Locks of one request that are freed at the same time: a hundred are done in ten seconds, most of them waiting for
/// what comes after.
const LOCKS_AT_ONCE: usize = 16;

/// What is logged of a token: whole for every known library, bounded for the rest.
const LOGGED_TOKEN_BYTES: usize = 64;

/// The lock is not what the ticket is bound to any more.
struct Different {
    outcome: Outcome,
    detail: String,
    holder_now: Option<Holder>,
}

impl ReleaseDesk {
    /// Carries out what was previewed. It goes to its end even when the asker leaves.
    ///
    /// A mistyped confirmation or a missing reason does not use the ticket up; an attempt does, whatever comes of it.
    ///
    /// # Errors
    /// When the ticket, the confirmation or the reason is not accepted. Then nothing was tried.
    pub async fn execute(self: &Arc<Self>, request: &ReleaseRequest) -> Result<ReleaseAnswer, Refusal> {
        if !self.enabled {
            return Err(Refusal::Off);
        }
        let permission = self.tickets.check(&request.ticket, clock::now())?;
        policy::check_confirmation(&request.confirm, &permission.confirm)?;
        let reason: Arc<str> = policy::check_reason(&request.reason)?.into();
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        self.tickets.spend(&permission, clock::now())?;

        // A task of its own: a browser that goes away must not leave an attempt half told to the log and the board.
        let desk = Arc::clone(self);
        let attempts = tokio::spawn(async move {
            let _slot = slot;
            stream::iter(permission.holds)
                .map(|hold| {
                    let (desk, reason) = (Arc::clone(&desk), Arc::clone(&reason));
                    async move { desk.release(hold, &reason).await }
                })
                .buffered(LOCKS_AT_ONCE)
                .collect()
                .await
        });
        let results = attempts.await.map_err(|_| BoardClosed)?;
        Ok(ReleaseAnswer { results })
    }

    /// One hold, from the line in the log before to the line after.
    async fn release(&self, hold: BoundHold, reason: &str) -> ReleaseResult {
        let id = LockId::of_key(&hold.key);
        let token = STANDARD.encode(&hold.token[..hold.token.len().min(LOGGED_TOKEN_BYTES)]);
        tracing::info!(
            target: "lockkeeper::release",
            source = hold.source, lock.id = %words::shown(id.as_str()), lock.token_b64 = token,
            lock.generation = hold.generation, reason,
            "releasing a lock of `{}`", hold.source,
        );
        let began = Instant::now();
        let result = self.attempt(&hold, id.clone()).await.unwrap_or_else(|BoardClosed| {
            result(&hold.source, id.clone(), Outcome::Unknown, format!("{BoardClosed}: look at the lock"))
        });
        self.outcomes.count(result.outcome);
        tracing::info!(
            target: "lockkeeper::release",
            source = hold.source, lock.id = %words::shown(id.as_str()), lock.token_b64 = token,
            lock.generation = hold.generation, outcome = word(result.outcome),
            duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "release of a lock of `{}` ended: {}", hold.source, result.detail,
        );
        result
    }

    async fn attempt(&self, hold: &BoundHold, id: LockId) -> Result<ReleaseResult, BoardClosed> {
        let answer = |outcome, detail: String| result(&hold.source, id.clone(), outcome, detail);
        let Some(source) = self.board.source(&hold.source) else {
            return Ok(answer(Outcome::Failed, "its source is not watched; nothing was done".to_owned()));
        };
        let key = Bytes::from(hold.key.clone());

        // Before the attempt, so that nobody can take the lock unseen between the attempt and the watching.
        let filter = EventFilter { source: Some(hold.source.clone()), lock: Some(id.clone()) };
        let mut events = self.board.subscribe(filter, None).await?;

        let unread = || answer(Outcome::Failed, "it could not be read again; nothing was done".to_owned());
        if self.look(source, vec![key.clone()]).await.is_err() {
            return Ok(unread());
        }
        let found = self.board.lock(source.id, key.clone()).await?;
        let order = match compare(hold, found.held.as_deref()) {
            Ok(order) => order,
            Err(different) => {
                let Different { outcome, detail, holder_now } = *different;
                return Ok(ReleaseResult { holder_now, ..answer(outcome, format!("{detail}; nothing was done")) });
            }
        };

        let token = order.token.clone();
        self.board.releasing(source.id, key.clone(), token.clone()).await?;
        let reply = tokio::time::timeout(ATTEMPT_TIMEOUT, source.release(order))
            .await
            .unwrap_or_else(|_| ReleaseReply::Unknown { because: "the store did not answer in time".to_owned() });
        let (reply, nodes) = match reply {
            ReleaseReply::OnNodes { whole, nodes } => (*whole, nodes),
            whole => (whole, Vec::new()),
        };
        let freed = matches!(reply, ReleaseReply::Released { .. });
        self.board.released(source.id, key.clone(), freed).await?;

        let result = match reply {
            ReleaseReply::Released { woken } => {
                let after = self.watch(source, &key, &token, &mut events).await?;
                let detail = told(woken, after.as_ref()) + &elsewhere(&nodes);
                ReleaseResult { woken, after, ..answer(Outcome::Released, detail) }
            }
            ReleaseReply::ChangedHands => {
                let holder_now = self.holder_now(source, &key).await?;
                let who = holder_now.as_ref().map_or_else(|| "another holder".to_owned(), named);
                let detail = format!("{who} has it now; nothing was done");
                ReleaseResult { holder_now, ..answer(Outcome::ChangedHands, detail) }
            }
            ReleaseReply::Gone => answer(Outcome::Gone, "it was free already; nothing was done".to_owned()),
            ReleaseReply::Refused { because } => answer(Outcome::Refused, format!("{because}; nothing was done")),
            ReleaseReply::Failed { because } => answer(Outcome::Failed, format!("{because}; nothing was done")),
            ReleaseReply::Unknown { because } => answer(
                Outcome::Unknown,
                format!("{because}: it may or may not have been freed, look at the lock before trying again"),
            ),
            ReleaseReply::Partial { because } => answer(Outcome::Partial, because + &elsewhere(&nodes)),
            // The masters' own answers are not nested.
            ReleaseReply::OnNodes { .. } => answer(Outcome::Unknown, "look at the lock".to_owned()),
        };
        Ok(ReleaseResult { nodes, ..result })
    }

    /// Watches a freed lock until somebody takes it, at most for [`AFTER_WATCH`]. `None` when the store was lost
    /// meanwhile, so that nobody can say what came after.
    async fn watch(
        &self,
        source: &SourceHandle,
        key: &Bytes,
        freed: &Bytes,
        events: &mut Subscription,
    ) -> Result<Option<After>, BoardClosed> {
        let began = Instant::now();
        let taken = async {
            while let Some(event) = events.events.recv().await {
                if matches!(
                    event.transition,
                    TransitionKind::Acquired | TransitionKind::HandedOver | TransitionKind::TakenOver
                ) {
                    return;
                }
            }
            // The subscription ended: what is left is to look when the time is over.
            std::future::pending().await
        };
        if tokio::time::timeout(AFTER_WATCH, taken).await.is_err() {
            // A source without a live feed would not have told, and neither would one that was lost.
            if self.look(source, vec![key.clone()]).await.is_err() {
                return Ok(None);
            }
        }
        let holders = self.board.lock(source.id, key.clone()).await?.held.map(|held| held.lock.holders);
        let watched_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let same_token = STANDARD.encode(freed);
        let came_back = |holder: &Holder| holder.token_b64 == same_token;
        let (state, holder) = match holders {
            Some(holders) if holders.iter().any(came_back) => {
                (AfterState::CameBack, holders.into_iter().find(came_back))
            }
            // Other readers of a shared lock had it before and have it still; that is not news, but it is not free.
            Some(mut holders) if !holders.is_empty() => (AfterState::Taken, Some(holders.swap_remove(0))),
            _ => (AfterState::Free, None),
        };
        Ok(Some(After { state, holder, watched_ms }))
    }

    async fn holder_now(&self, source: &SourceHandle, key: &Bytes) -> Result<Option<Holder>, BoardClosed> {
        // The board learns by itself as well; looking makes the answer say who it is.
        let _ = self.look(source, vec![key.clone()]).await;
        let held = self.board.lock(source.id, key.clone()).await?.held;
        Ok(held.and_then(|held| held.lock.holders.into_iter().next()))
    }
}

/// The order that frees the hold that the ticket is bound to, if it is still the same hold. Equal tokens are not
/// enough: some libraries use one again.
fn compare(hold: &BoundHold, held: Option<&Held>) -> Result<ReleaseOrder, Box<Different>> {
    let different = |outcome, detail, holder_now| Err(Box::new(Different { outcome, detail, holder_now }));
    let Some(held) = held else {
        return different(Outcome::Gone, "it was free already".to_owned(), None);
    };
    let holders = &held.lock.holders;
    let Some((index, order)) = held.orders.iter().enumerate().find(|(_, order)| *order.token == *hold.token) else {
        let now = holders.first().cloned();
        let who = now.as_ref().map_or_else(|| "another holder".to_owned(), named);
        return different(Outcome::ChangedHands, format!("{who} has it now"), now);
    };
    let holder = holders.get(index);
    if holder.is_none_or(|holder| holder.generation != hold.generation) {
        let detail = "the same token has it, but it let go and took it again since the preview".to_owned();
        return different(Outcome::ChangedHands, detail, holder.cloned());
    }
    if order.count != hold.count {
        let detail = format!("the hold count changed from {} to {} since the preview", hold.count, order.count);
        return different(Outcome::Refused, detail, holder.cloned());
    }
    Ok(order.clone())
}

fn result(source: &str, id: LockId, outcome: Outcome, detail: String) -> ReleaseResult {
    ReleaseResult {
        source: source.to_owned(),
        id,
        outcome,
        detail,
        holder_now: None,
        woken: None,
        after: None,
        nodes: Vec::new(),
    }
}

/// The masters where it was not freed, and what becomes of it there.
fn elsewhere(nodes: &[NodeRelease]) -> String {
    let left = nodes.iter().filter(|node| {
        matches!(
            node.outcome,
            Outcome::Failed | Outcome::Unknown | Outcome::Refused | Outcome::Signalled | Outcome::Partial
        )
    });
    left.map(|node| format!("; {}: {}", node.node, node.detail)).collect()
}

fn told(woken: Option<i64>, after: Option<&After>) -> String {
    let mut detail = "freed".to_owned();
    match woken {
        Some(1) => detail.push_str("; 1 sleeping waiter was woken"),
        Some(woken) => detail.push_str(&format!("; {woken} sleeping waiters were woken")),
        None => {}
    }
    let Some(after) = after else { return detail + "; the store was lost before anybody could see what came after" };
    let watched = words::duration(after.watched_ms);
    detail.push_str(&match (after.state, &after.holder) {
        (AfterState::CameBack, _) => format!("; the same token had it again within {watched}: its client lives"),
        (AfterState::Taken, Some(holder)) => format!("; {} had it within {watched}", named(holder)),
        (AfterState::Taken, None) => format!("; somebody had it within {watched}"),
        (AfterState::Free, _) => format!("; nobody has taken it in the {watched} since"),
    });
    detail
}
