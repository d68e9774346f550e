//! The attempt: one a ticket, never repeated, compared twice here and once more in the store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lockkeeper_model::{
    Action, Actor, After, AfterState, Holder, Lock, LockId, LockState, Mode, NodeRelease, Outcome, ReleaseAnswer,
    ReleaseRequest, ReleaseResult, TransitionKind, words,
};
use tokio::time::Instant;

use super::record::Asked;
use super::ticket::BoundHold;
use super::{Refusal, ReleaseDesk, TicketError, named, policy, resume};
use crate::access::{Reach, Right, Scope};
use crate::board::{BoardClosed, EventFilter, Held, Subscription};
use crate::clock;
use crate::recorder::audit::Attempt;
use crate::source::{ReleaseOrder, ReleaseReply, SourceHandle};

/// How long a freed lock is watched before the answer. Clients that poll for a lock do so every tenth of a second to
/// every second, and a person waits for this answer; the page goes on watching afterwards.
const AFTER_WATCH: Duration = Duration::from_millis(1_500);

/// How long the store may take to answer an attempt before its outcome is called unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Locks of one request that are freed at the same time: a hundred are done in ten seconds, most of them waiting for
/// what comes after.
const LOCKS_AT_ONCE: usize = 16;

/// Said of an end that is not on the disk.
const NOT_WRITTEN: &str = "; this could not be written into the audit yet, only that it was attempted";

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
    pub async fn execute(
        self: &Arc<Self>,
        actor: &Actor,
        request: &ReleaseRequest,
        scope: &Scope,
    ) -> Result<ReleaseAnswer, Refusal> {
        let answer = self.carry_out(actor, request, scope).await;
        if let Err(refusal) = &answer {
            self.record_refused_release(actor, request, refusal).await;
        }
        answer
    }

    async fn carry_out(
        self: &Arc<Self>,
        actor: &Actor,
        request: &ReleaseRequest,
        scope: &Scope,
    ) -> Result<ReleaseAnswer, Refusal> {
        if !self.enabled {
            return Err(Refusal::Off);
        }
        if !scope.may_anywhere(Right::Release) {
            return Err(Refusal::NoRight(Right::Release));
        }
        let permission = self.tickets.check(&request.ticket, actor, clock::now())?;
        // Before anything else is said: what the ticket is for may be hidden from whoever brings it.
        check_rights(&permission.holds, scope)?;
        policy::check_confirmation(&request.confirm, &permission.confirm)?;
        let reason = policy::check_reason(&request.reason)?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        self.tickets.spend(&permission, clock::now())?;

        // A task of its own: a browser that goes away must not leave an attempt half told to the log and the board.
        let desk = Arc::clone(self);
        let action = permission.action;
        let asked = Arc::new((actor.clone(), request.ticket.clone(), reason));
        let attempts = tokio::spawn(async move {
            let _slot = slot;
            stream::iter(by_lock(permission.holds))
                .map(|holds| {
                    let (desk, asked) = (Arc::clone(&desk), Arc::clone(&asked));
                    async move {
                        let (actor, ticket, reason) = &*asked;
                        let asked = Asked { actor, ticket, reason };
                        let mut results = Vec::with_capacity(holds.len());
                        for (place, hold) in holds {
                            results.push((place, desk.release(action, hold, &asked).await));
                        }
                        results
                    }
                })
                .buffer_unordered(LOCKS_AT_ONCE)
                .concat()
                .await
        });
        let mut results: Vec<(usize, ReleaseResult)> = attempts.await.map_err(|_| BoardClosed)?;
        results.sort_by_key(|(place, _)| *place);
        Ok(ReleaseAnswer { results: results.into_iter().map(|(_, result)| result).collect() })
    }

    /// One hold, from the intention in the audit to what was seen afterwards. What cannot be written down is not tried.
    async fn release(&self, action: Action, hold: BoundHold, asked: &Asked<'_>) -> ReleaseResult {
        let id = LockId::of_key(&hold.key);
        let attempt = match self.audit.intend(asked.about(action, &hold)).await {
            Ok(attempt) => attempt,
            Err(error) => {
                self.outcomes.count(Outcome::Refused);
                let detail = format!(
                    "the audit cannot be written, and nothing is released without it: {error}; nothing was done"
                );
                return result(&hold.source, id, Outcome::Refused, detail);
            }
        };
        let mut result = self.attempt(action, &hold, id.clone(), &attempt).await.unwrap_or_else(|BoardClosed| {
            result(&hold.source, id, Outcome::Unknown, format!("{BoardClosed}: look at the lock"))
        });
        self.outcomes.count(result.outcome);
        if !attempt.ended(result.outcome, &result.detail).await {
            result.detail.push_str(NOT_WRITTEN);
        }
        if let Some(after) = &result.after {
            attempt.followed(seen_word(after.state), &what_came(after)).await;
        }
        if result.outcome == Outcome::Unknown
            && let Ok(Some(unresolved)) = attempt.unresolved(result.outcome).await
        {
            let (board, audit) = (self.board.clone(), self.audit.clone());
            // What cannot be found out before the server ends is looked up at the next start.
            tokio::spawn(async move { resume::look_into(&board, &audit, &unresolved).await });
        }
        result
    }

    async fn attempt(
        &self,
        action: Action,
        hold: &BoundHold,
        id: LockId,
        written: &Attempt,
    ) -> Result<ReleaseResult, BoardClosed> {
        let answer = |outcome, detail: String| result(&hold.source, id.clone(), outcome, detail);
        let Some(source) = self.board.source(&hold.source) else {
            return Ok(answer(Outcome::Failed, "its source is not watched; nothing was done".to_owned()));
        };
        let key = Bytes::from(hold.key.clone());

        // Before the attempt, so that nobody can take the lock unseen between the attempt and the watching.
        let filter = EventFilter { reach: Reach::ALL, source: Some(hold.source.clone()), lock: Some(id.clone()) };
        let mut events = self.board.subscribe(filter, None).await?;

        let unread = || answer(Outcome::Failed, "it could not be read again; nothing was done".to_owned());
        if self.look(source, vec![key.clone()]).await.is_err() {
            return Ok(unread());
        }
        let found = self.board.lock(source.id, key.clone()).await?;
        let same = match action {
            Action::Release => compare(hold, found.held.as_deref()),
            Action::EvictWaiter => compare_waiter(hold, found.held.as_deref()),
        };
        let order = match same {
            Ok(order) => order,
            Err(different) => {
                let Different { outcome, detail, holder_now } = *different;
                return Ok(ReleaseResult { holder_now, ..answer(outcome, format!("{detail}; nothing was done")) });
            }
        };

        let others: Vec<String> = found.held.iter().flat_map(|held| generations(&held.lock.holders)).collect();
        let token = order.token.clone();
        // Nobody loses the lock itself when a waiter goes: there is no end to attribute.
        let ends_a_hold = action == Action::Release;
        if ends_a_hold {
            self.board.releasing(source.id, key.clone(), token.clone(), written.seq()).await?;
        }
        let reply = tokio::time::timeout(ATTEMPT_TIMEOUT, source.release(order))
            .await
            .unwrap_or_else(|_| ReleaseReply::Unknown { because: "the store did not answer in time".to_owned() });
        let (reply, nodes) = match reply {
            ReleaseReply::OnNodes { whole, nodes } => (*whole, nodes),
            whole => (whole, Vec::new()),
        };
        let freed = matches!(reply, ReleaseReply::Released { .. });
        if ends_a_hold {
            self.board.released(source.id, key.clone(), freed).await?;
        }
        let (what, over, done) = match action {
            Action::Release => ("freed", "it was free already", "freed"),
            Action::EvictWaiter => ("taken out of the queue", "nobody is in its queue any more", "done"),
        };

        let result = match reply {
            ReleaseReply::Released { woken } => {
                let done = told(what, woken);
                // Before watching: whatever happens to us meanwhile, it was freed.
                let is_written = written.ended(Outcome::Released, &(done.clone() + &elsewhere(&nodes))).await;
                let after = self.watch(source, &key, &token, &others, &mut events).await?;
                let mut detail = done + "; " + &came(after.as_ref()) + &elsewhere(&nodes);
                if !is_written {
                    detail.push_str(NOT_WRITTEN);
                }
                ReleaseResult { woken, after, ..answer(Outcome::Released, detail) }
            }
            ReleaseReply::ChangedHands => {
                let now = self.lock_now(source, &key).await?;
                let (detail, holder_now) = match (now.as_ref(), action) {
                    (Some(lock), Action::EvictWaiter) if lock.holders.is_empty() => (MOVED.to_owned(), None),
                    (None, Action::EvictWaiter) => (MOVED.to_owned(), None),
                    (now, _) => whose_now(now),
                };
                ReleaseResult { holder_now, ..answer(Outcome::ChangedHands, format!("{detail}; nothing was done")) }
            }
            ReleaseReply::Gone => answer(Outcome::Gone, format!("{over}; nothing was done")),
            ReleaseReply::Refused { because } => answer(Outcome::Refused, format!("{because}; nothing was done")),
            ReleaseReply::Failed { because } => answer(Outcome::Failed, format!("{because}; nothing was done")),
            ReleaseReply::Unknown { because } => answer(
                Outcome::Unknown,
                format!("{because}: it may or may not have been {done}, look at the lock before trying again"),
            ),
            ReleaseReply::Partial { because } => answer(Outcome::Partial, because + &elsewhere(&nodes)),
            // The masters' own answers are not nested.
            ReleaseReply::OnNodes { .. } => answer(Outcome::Unknown, "look at the lock".to_owned()),
        };
        Ok(ReleaseResult { nodes, ..result })
    }

    /// Watches a freed lock until somebody takes it, at most for [`AFTER_WATCH`]. `before` are the holds that were there
    /// already. `None` when the store was lost meanwhile, so that nobody can say what came after.
    async fn watch(
        &self,
        source: &SourceHandle,
        key: &Bytes,
        freed: &Bytes,
        before: &[String],
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
        let lock = self.board.lock(source.id, key.clone()).await?.held.map(|held| held.lock);
        let watched_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let same_token = STANDARD.encode(freed);
        let names_nobody = lock.as_ref().is_some_and(|lock| lock.state == LockState::UnknownHolder);
        let came_back = |holder: &Holder| !names_nobody && holder.token_b64 == same_token;
        // Other holders of a shared lock had it before and have it still: that is not news.
        let mut came = lock.map(|lock| lock.holders).unwrap_or_default();
        came.retain(|holder| !before.contains(&holder.generation));
        let (state, holder) = match came.iter().position(came_back) {
            Some(place) => (AfterState::CameBack, Some(came.swap_remove(place))),
            None if came.is_empty() => (AfterState::Free, None),
            None => (AfterState::Taken, Some(came.swap_remove(0))),
        };
        Ok(Some(After { state, holder, watched_ms }))
    }

    async fn lock_now(&self, source: &SourceHandle, key: &Bytes) -> Result<Option<Lock>, BoardClosed> {
        // The board learns by itself as well; looking makes the answer say who it is.
        let _ = self.look(source, vec![key.clone()]).await;
        Ok(self.board.lock(source.id, key.clone()).await?.held.map(|held| held.lock))
    }
}

/// Whether whoever brings the ticket may do what it permits. One that permits something to a lock that they do not see
/// was not given to them.
fn check_rights(holds: &[BoundHold], scope: &Scope) -> Result<(), Refusal> {
    if holds.iter().any(|hold| !scope.sees(&hold.source, &hold.key)) {
        return Err(TicketError::Unknown.into());
    }
    let bulk = (holds.len() > 1).then_some(Right::Bulk);
    for (hold, right) in holds.iter().flat_map(|hold| [Some(Right::Release), bulk].map(|right| (hold, right))) {
        if let Some(right) = right.filter(|right| !scope.may(*right, &hold.source, &hold.key)) {
            return Err(Refusal::NotAllowed { id: LockId::of_key(&hold.key), right });
        }
    }
    Ok(())
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

fn generations(holders: &[Holder]) -> Vec<String> {
    holders.iter().map(|holder| holder.generation.clone()).collect()
}

/// Says of a hold that is not there any more who has the lock now. Where several may hold it, the others are not news.
fn whose_now(lock: Option<&Lock>) -> (String, Option<Holder>) {
    match lock {
        Some(lock) if lock.mode != Mode::Exclusive => ("this holder has let go; others have it".to_owned(), None),
        Some(Lock { holders, .. }) if !holders.is_empty() => {
            (format!("{} has it now", named(&holders[0])), Some(holders[0].clone()))
        }
        _ => ("another holder has it now".to_owned(), None),
    }
}

/// Why a waiter is left in its queue.
const MOVED: &str = "the queue moved: the waiter is not at its head any more, or not as it was seen";

/// The order that takes the waiter out of its queue that the ticket is bound to, if it is still the head of the queue of
/// a free lock, in the same place, and nothing new is known of it.
fn compare_waiter(hold: &BoundHold, held: Option<&Held>) -> Result<ReleaseOrder, Box<Different>> {
    let different = |outcome, detail, holder_now| Err(Box::new(Different { outcome, detail, holder_now }));
    let Some(held) = held else {
        return different(Outcome::Gone, "nobody is in its queue any more".to_owned(), None);
    };
    match (&held.eviction, held.lock.holders.first()) {
        (Some((head, order)), _) if *order.token == *hold.token && head.generation == hold.generation => {
            Ok(order.clone())
        }
        (_, Some(now)) => different(Outcome::ChangedHands, format!("{} has it now", named(now)), Some(now.clone())),
        (_, None) => different(Outcome::ChangedHands, MOVED.to_owned(), None),
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
        let (detail, now) = whose_now(Some(&held.lock));
        return different(Outcome::ChangedHands, detail, now);
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
    if order.fencing != hold.fencing {
        let number = |fencing: &Option<Box<str>>| fencing.as_deref().map_or("none".to_owned(), words::shown);
        let (before, now) = (number(&hold.fencing), number(&order.fencing));
        let detail = format!(
            "the fencing counter changed from {before} to {now} since the preview: the same client took it again"
        );
        return different(Outcome::Refused, detail, holder.cloned());
    }
    if order.mode != hold.mode {
        let detail = "how this holder holds the lock, alone or with others, changed since the preview".to_owned();
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

fn told(what: &str, woken: Option<i64>) -> String {
    match woken {
        Some(1) => format!("{what}; 1 sleeping waiter was woken"),
        Some(woken) => format!("{what}; {woken} sleeping waiters were woken"),
        None => what.to_owned(),
    }
}

fn came(after: Option<&After>) -> String {
    after.map_or_else(|| "the store was lost before anybody could see what came after".to_owned(), what_came)
}

fn what_came(after: &After) -> String {
    let watched = words::duration(after.watched_ms);
    match (after.state, &after.holder) {
        (AfterState::CameBack, _) => format!("the same token had it again within {watched}: its client lives"),
        (AfterState::Taken, Some(holder)) => format!("{} had it within {watched}", named(holder)),
        (AfterState::Taken, None) => format!("somebody had it within {watched}"),
        (AfterState::Free, _) => format!("nobody has taken it in the {watched} since"),
    }
}

/// The audit's word for what was seen afterwards.
fn seen_word(state: AfterState) -> &'static str {
    match state {
        AfterState::Free => "free",
        AfterState::Taken => "taken",
        AfterState::CameBack => "came_back",
    }
}
