//! The attempt: one a ticket, never repeated, compared twice here and once more in the store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lockkeeper_model::{
    Action, Actor, After, AfterState, Flag, Holder, Lock, LockId, LockState, NodeRelease, Outcome, ReleaseAnswer,
    ReleaseRequest, ReleaseResult, Time, TransitionKind, words,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::afterwards::Ended;
use super::compare::{Different, MOVED, compare, whose_now};
use super::former::Former;
use super::lost::LOST_WORD;
use super::reason::check_reason;
use super::record::Asked;
use super::ticket::{BoundHold, Permission};
use super::{Refusal, ReleaseDesk, TicketError, actions, named, policy, resume};
use crate::access::{Reach, Right, Scope};
use crate::board::{BoardClosed, EventFilter, Subscription};
use crate::clock;
use crate::recorder::audit::Attempt;
use crate::source::{ReleaseReply, SourceHandle};

/// How long a freed lock is watched before the answer. Clients that poll for a lock do so every tenth of a second to
/// every second, and a person waits for this answer; the page goes on watching afterwards.
pub(super) const AFTER_WATCH: Duration = Duration::from_millis(1_500);

/// How long the store may take to answer an attempt before its outcome is called unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Said of an end that is not on the disk.
const NOT_WRITTEN: &str = "; this could not be written into the audit yet, only that it was attempted";

/// What came of one attempt.
struct Tried {
    result: ReleaseResult,
    /// The hold that ended with it, if one did: it is watched further.
    ended: Option<Ended>,
}

impl ReleaseDesk {
    /// Carries out what was previewed. It goes to its end even when the asker leaves.
    ///
    /// A mistyped confirmation or a missing reason does not use the ticket up; an attempt does, whatever comes of it.
    /// `signed_in` is how long ago the asker showed who they are; `None`: they did not sign in.
    ///
    /// # Errors
    /// When the ticket, the confirmation or the reason is not accepted. Then nothing was tried.
    pub async fn execute(
        self: &Arc<Self>,
        actor: &Actor,
        request: &ReleaseRequest,
        scope: &Scope,
        signed_in: Option<Duration>,
    ) -> Result<ReleaseAnswer, Refusal> {
        let answer = self.carry_out(actor, request, scope, signed_in).await;
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
        signed_in: Option<Duration>,
    ) -> Result<ReleaseAnswer, Refusal> {
        let permission = self.permitted(actor, &request.ticket, scope)?;
        if request.dry_run {
            self.check_cool_down(&permission)?;
            let _slot = self.slot()?;
            self.check_rate(actor, &permission)?;
            let asked = Asked { actor, ticket: &request.ticket, reason: &request.reason };
            return self.dry_run(&permission, &asked).await;
        }
        policy::check_confirmation(&request.confirm, &permission.confirm)?;
        let reason = check_reason(&request.reason, self.demanded(permission.sources()))?;
        if self.needs_dry_run(&permission.holds) && !self.tickets.had_dry_run(&permission) {
            return Err(Refusal::DryRunNeeded { holds: permission.holds.len() });
        }
        let consent = self.consent(actor, &permission, request.break_glass, signed_in)?;
        self.check_cool_down(&permission)?;
        let slot = self.slot()?;
        self.check_rate(actor, &permission)?;
        self.tickets.spend(&permission, clock::now())?;
        let about = Asked { actor, ticket: &request.ticket, reason: &reason };
        self.act_on(consent, &about, &permission).await?;

        // A task of its own: a browser that goes away must not leave an attempt half told to the log and the board.
        let desk = Arc::clone(self);
        let (actor, ticket, stop_at_first_failure) =
            (actor.clone(), request.ticket.clone(), request.stop_at_first_failure);
        let attempts = async move {
            let _slot = slot;
            let asked = Asked { actor: &actor, ticket: &ticket, reason: &reason };
            let Permission { action, holds, .. } = permission;
            if stop_at_first_failure {
                desk.until_one_fails(action, holds, &asked).await
            } else {
                desk.side_by_side(action, holds, &asked).await
            }
        };
        // What it logs is still about this request.
        let attempts = tokio::spawn(attempts.in_current_span());
        Ok(ReleaseAnswer { results: attempts.await.map_err(|_| BoardClosed)? })
    }

    /// What the ticket permits whoever brings it, if that may still be done by them.
    pub(super) fn permitted(&self, actor: &Actor, ticket: &str, scope: &Scope) -> Result<Permission, Refusal> {
        if !self.rules.enabled {
            return Err(Refusal::Off);
        }
        if !scope.may_anywhere(Right::Release) {
            return Err(Refusal::NoRight(Right::Release));
        }
        let permission = self.tickets.check(ticket, actor, clock::now())?;
        // Before anything else is said: what the ticket is for may be hidden from whoever brings it.
        check_rights(permission.action, &permission.holds, scope)?;
        Ok(permission)
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::Busy)
    }

    fn check_cool_down(&self, permission: &Permission) -> Result<(), Refusal> {
        for hold in &permission.holds {
            if let Some(until) = self.cooling_until(permission.action, hold) {
                return Err(Refusal::CoolingDown { id: LockId::of_key(&hold.key), until });
            }
        }
        Ok(())
    }

    /// Until when the lock is left alone, because it was released a moment ago.
    pub(super) fn cooling_until(&self, action: Action, hold: &BoundHold) -> Option<Time> {
        let is_limited = cools(action) && self.is_limited(&hold.source);
        self.cool_down.until(hold, clock::now()).filter(|_| is_limited)
    }

    fn check_rate(&self, actor: &Actor, permission: &Permission) -> Result<(), Refusal> {
        if !permission.sources().any(|source| self.is_limited(source)) {
            return Ok(());
        }
        let per_minute = self.rules.attempts_per_minute.get();
        self.rate.attempt(actor).map_err(|wait| Refusal::TooOften { per_minute, wait })
    }

    /// Whether what would become of these holds has to be looked at before it is done.
    pub(super) fn needs_dry_run(&self, holds: &[BoundHold]) -> bool {
        holds.len() > 1 && holds.iter().any(|hold| self.is_production(&hold.source))
    }

    /// One hold, from the intention in the audit to what was seen afterwards. What cannot be written down is not tried.
    /// `watch` is how long a freed lock is watched before the answer.
    pub(super) async fn release(
        &self,
        action: Action,
        hold: BoundHold,
        asked: &Asked<'_>,
        watch: Duration,
    ) -> ReleaseResult {
        let id = LockId::of_key(&hold.key);
        let attempt = match self.audit.intend(asked.about(action, &hold)).await {
            Ok(attempt) => Arc::new(attempt),
            Err(error) => {
                self.outcomes.count(Outcome::Refused);
                let detail = format!(
                    "the audit cannot be written, and nothing is released without it: {error}; nothing was done"
                );
                return result(&hold.source, id, Outcome::Refused, detail);
            }
        };
        let tried = self.attempt(action, &hold, id.clone(), &attempt, &asked.actor.name, watch).await;
        let Tried { mut result, ended } = tried.unwrap_or_else(|BoardClosed| {
            let detail = format!("{BoardClosed}: look at the lock");
            Tried { result: result(&hold.source, id, Outcome::Unknown, detail), ended: None }
        });
        self.outcomes.count(result.outcome);
        if !attempt.ended(result.outcome, &result.detail).await {
            result.detail.push_str(NOT_WRITTEN);
        }
        if let Some(after) = &result.after {
            attempt.followed(seen_word(after.state), &what_came(after)).await;
        }
        // What cannot be found out before the server ends, or beside all the others, is looked up at the next start.
        if result.outcome == Outcome::Unknown
            && let Ok(slot) = Arc::clone(&self.watches).try_acquire_owned()
            && let Ok(Some(unresolved)) = attempt.unresolved(result.outcome).await
        {
            let (board, audit) = (self.board.clone(), self.audit.clone());
            tokio::spawn(async move {
                let _slot = slot;
                resume::look_into(&board, &audit, &unresolved).await
            });
        }
        if let Some(ended) = ended {
            self.released.remember(&ended.former, &attempt);
            self.watch_on(ended, attempt);
        }
        result
    }

    async fn attempt(
        &self,
        action: Action,
        hold: &BoundHold,
        id: LockId,
        written: &Attempt,
        person: &str,
        watch: Duration,
    ) -> Result<Tried, BoardClosed> {
        let answer = |outcome, detail: String| result(&hold.source, id.clone(), outcome, detail);
        let untried = |result| Ok(Tried { result, ended: None });
        let Some(source) = self.board.source(&hold.source) else {
            return untried(answer(Outcome::Failed, "its source is not watched; nothing was done".to_owned()));
        };
        let key = Bytes::from(hold.key.clone());

        // Before the attempt, so that nobody can take the lock unseen between the attempt and the watching.
        let filter = EventFilter {
            reach: Reach::ALL,
            source: Some(hold.source.clone()),
            lock: Some(id.clone()),
            lost_releases: false,
        };
        let mut events = self.board.subscribe(filter, None).await?;

        if self.look(source, vec![key.clone()]).await.is_err() {
            return untried(answer(Outcome::Failed, "it could not be read again; nothing was done".to_owned()));
        }
        let found = self.board.lock(source.id, key.clone()).await?;
        let former = self.formers.find(source.id, &key, &hold.generation, clock::now());
        let order = match compare(action, hold, found.held.as_deref(), former.as_ref()) {
            Ok(order) => order,
            Err(different) => {
                let Different { outcome, detail, holder_now } = *different;
                let detail = format!("{detail}; nothing was done");
                return untried(ReleaseResult { holder_now, ..answer(outcome, detail) });
            }
        };

        let others: Vec<String> = found.held.iter().flat_map(|held| generations(&held.lock.holders)).collect();
        let taken_away = found.held.as_deref().and_then(|held| Former::of(source.id, held, &order, clock::now()));
        let token = order.token.clone();
        let order = actions::to_be_sent(action, order, hold.hold_ms, person);
        // Counted from before it is sent: it stands a moment longer at most.
        let held_until = hold.hold_ms.map(|ms| clock::now().plus(ms));
        self.announce(action, source, &key, &token, written.seq()).await?;
        let reply = tokio::time::timeout(ATTEMPT_TIMEOUT, source.release(order))
            .await
            .unwrap_or_else(|_| ReleaseReply::Unknown { because: "the store did not answer in time".to_owned() });
        let (reply, nodes) = match reply {
            ReleaseReply::OnNodes { whole, nodes } => (*whole, nodes),
            whole => (whole, Vec::new()),
        };
        let is_done = matches!(reply, ReleaseReply::Released { .. } | ReleaseReply::Done { .. });
        self.announce_end(action, source, &key, is_done).await?;
        if matches!(reply, ReleaseReply::Released { .. } | ReleaseReply::Partial { .. } | ReleaseReply::Unknown { .. })
            && cools(action)
        {
            self.cool_down.begin(hold, clock::now());
        }
        let words = actions::words_for(action);

        let mut result = match reply {
            ReleaseReply::Released { woken } => {
                let done = told(words.what, woken);
                // Before watching: whatever happens to us meanwhile, it was freed.
                let is_written = written.ended(Outcome::Released, &(done.clone() + &elsewhere(&nodes))).await;
                let after = self.watch(source, &key, &token, &others, &mut events, watch).await?;
                let mut detail = done + "; " + &came(after.as_ref()) + &elsewhere(&nodes);
                if !is_written {
                    detail.push_str(NOT_WRITTEN);
                }
                ReleaseResult { woken, after, ..answer(Outcome::Released, detail) }
            }
            ReleaseReply::Done { number } => {
                let detail = actions::done(action, person, held_until, number);
                if let Some(number) = number.filter(|_| action == Action::RaiseFence) {
                    self.board.raised(source.id, key.clone(), token.clone(), number.to_string()).await?;
                }
                let holders = self.lock_now(source, &key).await?.map(|lock| lock.holders).unwrap_or_default();
                let holder_now = holders.into_iter().next();
                ReleaseResult { holder_now, held_until, ..answer(actions::outcome(action), detail) }
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
            ReleaseReply::Gone => answer(Outcome::Gone, format!("{}; nothing was done", words.over)),
            ReleaseReply::Refused { because } => answer(Outcome::Refused, format!("{because}; nothing was done")),
            ReleaseReply::Failed { because } => answer(Outcome::Failed, format!("{because}; nothing was done")),
            ReleaseReply::Unknown { because } => answer(
                Outcome::Unknown,
                format!("{because}: it may or may not have been {}, look at the lock before trying again", words.done),
            ),
            ReleaseReply::Partial { because } => answer(Outcome::Partial, because + &elsewhere(&nodes)),
            // The masters' own answers are not nested.
            ReleaseReply::OnNodes { .. } => answer(Outcome::Unknown, "look at the lock".to_owned()),
        };
        result.nodes = nodes;
        if is_done && action == Action::PutBack {
            self.formers.forget(source.id, &key, &hold.generation);
        }
        let ended = taken_away.filter(|_| is_done && actions::ends_a_hold(action));
        if let (Some(former), Some(held)) = (&ended, &found.held)
            && former.no_put_back(&held.lock).is_none()
        {
            self.formers.remember(former.clone(), clock::now());
            result.put_back_until = Some(former.until);
        }
        Ok(Tried { result, ended: ended.map(|former| Ended { former, before: others }) })
    }

    /// Tells the board what is about to be tried, as the attempt `audit` of the audit, so that it attributes what it sees
    /// next.
    async fn announce(
        &self,
        action: Action,
        source: &SourceHandle,
        key: &Bytes,
        token: &Bytes,
        audit: u64,
    ) -> Result<(), BoardClosed> {
        if actions::ends_a_hold(action) {
            self.board.releasing(source.id, key.clone(), token.clone(), audit).await?;
        }
        if action == Action::PutBack {
            self.board.putting_back(source.id, key.clone(), Some(token.clone())).await?;
        }
        Ok(())
    }

    /// Tells the board whether it was done.
    async fn announce_end(
        &self,
        action: Action,
        source: &SourceHandle,
        key: &Bytes,
        is_done: bool,
    ) -> Result<(), BoardClosed> {
        if actions::ends_a_hold(action) {
            self.board.released(source.id, key.clone(), is_done).await?;
        }
        if action == Action::PutBack && !is_done {
            self.board.putting_back(source.id, key.clone(), None).await?;
        }
        Ok(())
    }

    /// Watches a freed lock until somebody takes it, at most for `watch`. `before` are the holds that were there
    /// already. `None` when the store was lost meanwhile, so that nobody can say what came after.
    async fn watch(
        &self,
        source: &SourceHandle,
        key: &Bytes,
        freed: &Bytes,
        before: &[String],
        events: &mut Subscription,
        watch: Duration,
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
        if tokio::time::timeout(watch, taken).await.is_err() {
            // A source without a live feed would not have told, and neither would one that was lost.
            if self.look(source, vec![key.clone()]).await.is_err() {
                return Ok(None);
            }
        }
        let lock = self.board.lock(source.id, key.clone()).await?.held.map(|held| held.lock);
        let watched_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let same_token = STANDARD.encode(freed);
        let has_flag = |flag| lock.as_ref().is_some_and(|lock| lock.flags.contains(&flag));
        let (is_lost, failed_over) = (has_flag(Flag::ReleaseLost), has_flag(Flag::FailedOver));
        let names_nobody = lock.as_ref().is_some_and(|lock| lock.state == LockState::UnknownHolder);
        let came_back = |holder: &Holder| (is_lost || !names_nobody) && holder.token_b64 == same_token;
        // Other holders of a shared lock had it before and have it still: that is not news.
        let mut came = lock.map(|lock| lock.holders).unwrap_or_default();
        came.retain(|holder| !before.contains(&holder.generation));
        let (state, holder) = match came.iter().position(came_back) {
            Some(place) if is_lost => (AfterState::ReleaseLost, Some(came.swap_remove(place))),
            // On a server that may not have heard of the release nobody can say that its client took it again.
            Some(place) if failed_over => (AfterState::Taken, Some(came.swap_remove(place))),
            Some(place) => (AfterState::CameBack, Some(came.swap_remove(place))),
            None if came.is_empty() => (AfterState::Free, None),
            None => (AfterState::Taken, Some(came.swap_remove(0))),
        };
        Ok(Some(After { state, holder, watched_ms }))
    }

    /// The lock as it is after the attempt. `None` as well where it could not be read: what was known before is not so any
    /// more.
    async fn lock_now(&self, source: &SourceHandle, key: &Bytes) -> Result<Option<Lock>, BoardClosed> {
        if self.look(source, vec![key.clone()]).await.is_err() {
            return Ok(None);
        }
        Ok(self.board.lock(source.id, key.clone()).await?.held.map(|held| held.lock))
    }
}

/// Whether an action leaves a lock alone for a while, and is not done to one that is. A queue may have several dead waiters;
/// what an operator holds, or gives back, is their own.
fn cools(action: Action) -> bool {
    action == Action::Release
}

/// Whether whoever brings the ticket may do what it permits. One that permits something to a lock that they do not see
/// was not given to them.
fn check_rights(action: Action, holds: &[BoundHold], scope: &Scope) -> Result<(), Refusal> {
    if holds.iter().any(|hold| !scope.sees(&hold.source, &hold.key)) {
        return Err(TicketError::Unknown.into());
    }
    let bulk = (holds.len() > 1).then_some(Right::Bulk);
    for hold in holds {
        let lacks = |right: &Right| !scope.may(*right, &hold.source, &hold.key);
        if let Some(right) = actions::rights(action).iter().copied().chain(bulk).find(lacks) {
            return Err(Refusal::NotAllowed { id: LockId::of_key(&hold.key), right });
        }
    }
    Ok(())
}

fn generations(holders: &[Holder]) -> Vec<String> {
    holders.iter().map(|holder| holder.generation.clone()).collect()
}

pub(super) fn result(source: &str, id: LockId, outcome: Outcome, detail: String) -> ReleaseResult {
    ReleaseResult {
        source: source.to_owned(),
        id,
        outcome,
        detail,
        holder_now: None,
        woken: None,
        after: None,
        held_until: None,
        put_back_until: None,
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
        (AfterState::ReleaseLost, _) => words::RELEASE_LOST.to_owned(),
        (AfterState::Taken, Some(holder)) => format!("{} had it within {watched}", named(holder)),
        (AfterState::Taken, None) => format!("somebody had it within {watched}"),
        (AfterState::Free, _) => format!("nobody has taken it in the {watched} since"),
    }
}

/// The audit's word for what was seen afterwards.
pub(super) fn seen_word(state: AfterState) -> &'static str {
    match state {
        AfterState::Free => "free",
        AfterState::Taken => "taken",
        AfterState::CameBack => "came_back",
        AfterState::ReleaseLost => LOST_WORD,
    }
}
