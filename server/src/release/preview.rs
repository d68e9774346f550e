//! What a release would do, said before anybody is asked to confirm it.

use std::collections::HashSet;

use bytes::Bytes;
use lockkeeper_model::{
    Action, Actor, Collateral, Flag, Holder, LeftOut, Lock, Mode, OnNode, OtherLocks, PreviewAnswer, PreviewRequest,
    PreviewTarget, PreviewedLock, QuorumNode, SourceState, SourceStatus, Strength, Told, Verdict, Waiters,
    WaitersBasis, Warning, words,
};

use super::compare::compared;
use super::former::Former;
use super::ticket::BoundHold;
use super::{PRODUCTION, Refusal, ReleaseDesk, actions, context, policy};
use crate::access::{Right, Scope};
use crate::board::{Found, Held, Whose};
use crate::clock;
use crate::recorder::audit::Deed;
use crate::source::{DialectTraits, ReleaseOrder, SourceHandle, SourceId};

/// Locks in one request: more than anybody reads warnings for, and what one ticket can carry.
pub const MAX_LOCKS: usize = 100;

/// A target with its source and key.
struct Target<'a> {
    asked: &'a PreviewTarget,
    source: &'a SourceHandle,
    key: Bytes,
    /// It does not exist for whoever asks.
    is_hidden: bool,
}

/// What is previewed: what would happen to each lock, and what a permission for it is bound to.
type Explained = (Vec<PreviewedLock>, Vec<BoundHold>);

/// Locks of a request that a preview goes on without, each with why.
type Without<'a> = Vec<(&'a PreviewTarget, Refusal)>;

impl ReleaseDesk {
    /// Reads the locks again, compares them with what the person was looking at, and explains what a release would do.
    /// A lock outside the scope is answered as one that is free, without asking the store.
    ///
    /// # Errors
    /// When it is switched off, not allowed, cannot be said now, or is not what the person was looking at any more.
    pub async fn preview(
        &self,
        actor: &Actor,
        request: &PreviewRequest,
        scope: &Scope,
    ) -> Result<PreviewAnswer, Refusal> {
        let answer = self.look_and_explain(actor, request, scope).await;
        if let Err(refusal) = &answer {
            self.record_refused_preview(actor, request, refusal).await;
        }
        answer
    }

    async fn look_and_explain(
        &self,
        actor: &Actor,
        request: &PreviewRequest,
        scope: &Scope,
    ) -> Result<PreviewAnswer, Refusal> {
        if !self.rules.enabled {
            return Err(Refusal::Off);
        }
        if !scope.may_anywhere(Right::Release) {
            return Err(Refusal::NoRight(Right::Release));
        }
        let hold_ms = actions::hold_ms(request)?;
        let mut without = request.leave_out.then(Vec::new);
        let targets = self.targets(request, scope, without.as_mut())?;
        let (locks, holds) = self.explain_now(request.action, hold_ms, &targets, scope, without.as_mut()).await?;
        let left_out = self.tell_left_out(actor, request.action, without.unwrap_or_default()).await;

        let names: Vec<&str> = locks.iter().map(|lock| lock.name.as_str()).collect();
        let confirm = policy::confirm_text(request.action, &names);
        let reason_pattern =
            self.demanded(holds.iter().map(|hold| hold.source.as_str())).map(|pattern| pattern.as_str().to_owned());
        let dry_run_required = self.needs_dry_run(&holds);
        let approval = self.approval_need(actor, request.action, &holds);
        let (ticket, expires_at) = self.tickets.issue(actor, request.action, &confirm, holds, clock::now())?;
        Ok(PreviewAnswer {
            ticket,
            expires_at,
            confirm,
            reason_required: true,
            reason_pattern,
            dry_run_required,
            approval,
            locks,
            left_out,
        })
    }

    /// Writes down which locks a preview went on without, and says why.
    async fn tell_left_out(&self, actor: &Actor, action: Action, without: Without<'_>) -> Vec<LeftOut> {
        let mut left_out = Vec::with_capacity(without.len());
        for (target, refusal) in without {
            let deed = Deed::by(actor).action(action).lock(&target.source, target.id.as_str(), &target.generation);
            self.record_refusal("preview", vec![(deed, true)], &refusal).await;
            left_out.push(LeftOut {
                source: target.source.clone(),
                id: target.id.clone(),
                because: refusal.to_string(),
                holder_now: match refusal {
                    Refusal::ChangedHands { holder_now, .. } => Some(*holder_now),
                    _ => None,
                },
            });
        }
        left_out
    }

    /// The same for holds that somebody else previewed, without a ticket. Whether the asker may know of them is for the
    /// caller to decide.
    pub(super) async fn explain_again(
        &self,
        action: Action,
        hold_ms: Option<i64>,
        asked: &[PreviewTarget],
        scope: &Scope,
    ) -> Result<Explained, Refusal> {
        let mut targets = Vec::with_capacity(asked.len());
        for asked in asked {
            let unknown = || Refusal::UnknownSource { name: asked.source.clone(), known: Vec::new() };
            let source = self.board.source(&asked.source).ok_or_else(unknown)?;
            targets.push(Target { asked, source, key: asked.id.key()?.into(), is_hidden: false });
        }
        self.explain_now(action, hold_ms, &targets, scope, None).await
    }

    /// Reads the targets again and says of each what would happen to it, and what a permission for it is bound to. With
    /// `without`, what this cannot be said of goes there, as long as something is left.
    async fn explain_now<'a>(
        &self,
        action: Action,
        hold_ms: Option<i64>,
        targets: &[Target<'a>],
        scope: &Scope,
        mut without: Option<&mut Without<'a>>,
    ) -> Result<Explained, Refusal> {
        let unread = self.read_again(targets).await;
        let mut locks = Vec::with_capacity(targets.len());
        let mut holds = Vec::with_capacity(targets.len());
        let mut bound = HashSet::new();
        for target in targets {
            let (hold, lock) = match (self.consider_now(action, hold_ms, target, &unread).await, &mut without) {
                (Ok(considered), _) => considered,
                (Err(refusal), Some(without)) if !matches!(refusal, Refusal::Closing(_)) => {
                    without.push((target.asked, refusal));
                    continue;
                }
                (Err(refusal), _) => return Err(refusal),
            };
            if !bound.insert((target.source.id, hold.key.clone(), hold.token.clone())) {
                return Err(Refusal::Twice { source_name: target.asked.source.clone(), id: target.asked.id.clone() });
            }
            holds.push(hold);
            locks.push(lock);
        }
        if locks.is_empty()
            && let Some(without) = without
            && !without.is_empty()
        {
            return Err(without.swap_remove(0).1);
        }
        self.add_others(action, &holds, &mut locks, scope).await?;
        Ok((locks, holds))
    }

    /// The same of one target; `unread` are the sources that could not be read.
    async fn consider_now(
        &self,
        action: Action,
        hold_ms: Option<i64>,
        target: &Target<'_>,
        unread: &[SourceId],
    ) -> Result<(BoundHold, PreviewedLock), Refusal> {
        if unread.contains(&target.source.id) {
            return Err(unreadable(target.source));
        }
        if target.is_hidden {
            return Err(Refusal::Gone { id: target.asked.id.clone() });
        }
        let found = self.board.lock(target.source.id, target.key.clone()).await?;
        self.consider(action, hold_ms, target, &found)
    }

    /// Adds what else the holders have, where they would lose something.
    async fn add_others(
        &self,
        action: Action,
        holds: &[BoundHold],
        locks: &mut [PreviewedLock],
        scope: &Scope,
    ) -> Result<(), Refusal> {
        if !matches!(action, Action::Release | Action::ReleaseAndHold | Action::RaiseFence) {
            return Ok(());
        }
        let whose = |(hold, lock): (&BoundHold, &PreviewedLock)| {
            let source = self.board.source(&hold.source)?.id;
            let (key, token) = (hold.key.clone().into(), hold.token.clone().into());
            Some(Whose { source, key, token, identity: lock.holder.identity.clone() })
        };
        let whose = holds.iter().zip(locks.iter()).filter_map(whose).collect();
        let others = self.board.others(whose, scope.seen().clone()).await?;
        for (lock, others) in locks.iter_mut().zip(others) {
            context::add_others(lock, others);
        }
        Ok(())
    }

    /// What of one lock a ticket is bound to, and what the action would do to it.
    fn consider(
        &self,
        action: Action,
        hold_ms: Option<i64>,
        target: &Target<'_>,
        found: &Found,
    ) -> Result<(BoundHold, PreviewedLock), Refusal> {
        let (asked, status) = (target.asked, target.source.status.borrow().clone());
        let bound = |holder: &Holder, order: &ReleaseOrder| BoundHold {
            source: target.source.name.to_string(),
            key: order.key.to_vec(),
            token: order.token.to_vec(),
            generation: holder.generation.clone(),
            count: order.count,
            fencing: order.fencing.clone(),
            mode: order.mode,
            hold_ms,
        };
        if action == Action::PutBack {
            let former = self.former(target, found)?;
            let shown = actions::explain_put_back(&former, found, &asked.id, &status);
            return Ok((bound(&former.holder, &former.order), shown));
        }
        let held = found.held.as_deref().ok_or_else(|| Refusal::Gone { id: asked.id.clone() })?;
        let (holder, order) = match action {
            Action::EvictWaiter => choose_waiter(held, asked)?,
            _ => choose(held, asked)?,
        };
        if let Some(because) = actions::not_offered(action, held, holder) {
            let what = actions::called(action);
            return Err(Refusal::NotOffered { what, id: asked.id.clone(), because });
        }
        let mut shown = match (action, hold_ms.unwrap_or_default()) {
            (Action::EvictWaiter, _) => explain_eviction(held, holder, &status),
            (Action::ReleaseAndHold, ms) => actions::explain_hold(held, holder, &status, ms),
            (Action::ExtendHold, ms) => actions::explain_extension(held, holder, &status, ms),
            (Action::RaiseFence, _) => actions::explain_fence(held, holder, &status),
            (Action::Release | Action::PutBack, _) => explain(held, holder, &status),
        };
        if action != Action::EvictWaiter {
            context::add(&mut shown, action, held, holder, clock::now());
        }
        let hold = bound(holder, &compared(action, order, holder));
        if let Some(until) = self.cooling_until(action, &hold) {
            let text = format!("it was released a moment ago and cannot be released again before {until}");
            shown.warnings.push(Warning { code: "cooling_down".to_owned(), text });
        }
        Ok((hold, shown))
    }

    /// The hold that was released from here, if nobody has its lock now and it can be put back.
    fn former(&self, target: &Target<'_>, found: &Found) -> Result<Former, Refusal> {
        let id = || target.asked.id.clone();
        let holders = found.held.iter().flat_map(|held| &held.lock.holders);
        if let Some(holder) = holders.into_iter().next() {
            return Err(Refusal::ChangedHands { id: id(), holder_now: Box::new(holder.clone()) });
        }
        self.formers.find(target.source.id, &target.key, &target.asked.generation, clock::now()).ok_or_else(|| {
            Refusal::NotOffered {
                what: actions::called(Action::PutBack),
                id: id(),
                because: "no hold of this generation was released from here within the last minute that could be put \
                          back and whose lease is not over",
            }
        })
    }

    fn targets<'a>(
        &'a self,
        request: &'a PreviewRequest,
        scope: &Scope,
        mut without: Option<&mut Without<'a>>,
    ) -> Result<Vec<Target<'a>>, Refusal> {
        let max = self.rules.max_locks.min(MAX_LOCKS);
        if !(1..=max).contains(&request.locks.len()) {
            return Err(Refusal::Count { found: request.locks.len(), max });
        }
        let mut targets = Vec::with_capacity(request.locks.len());
        for asked in &request.locks {
            let source = self.board.source_for(&asked.source, scope.seen()).ok_or_else(|| {
                let known = self.board.sources_for(scope.seen()).map(|source| source.name.to_string()).collect();
                Refusal::UnknownSource { name: asked.source.clone(), known }
            })?;
            let key = asked.id.key()?;
            let is_hidden = !scope.sees(&source.name, &key);
            let bulk = (request.locks.len() > 1).then_some(Right::Bulk);
            let lacks = |right: &Right| !is_hidden && !scope.may(*right, &source.name, &key);
            if let Some(right) = actions::rights(request.action).iter().copied().chain(bulk).find(lacks) {
                let refusal = Refusal::NotAllowed { id: asked.id.clone(), right };
                match &mut without {
                    Some(without) => without.push((asked, refusal)),
                    None => return Err(refusal),
                }
                continue;
            }
            targets.push(Target { asked, source, key: key.into(), is_hidden });
        }
        Ok(targets)
    }

    /// Has the board learn what the targets are now, and says which sources could not be read.
    async fn read_again(&self, targets: &[Target<'_>]) -> Vec<SourceId> {
        let mut unread = Vec::new();
        for source in self.board.sources() {
            let here = || targets.iter().filter(|target| target.source.id == source.id);
            if here().next().is_none() {
                continue;
            }
            let keys: Vec<Bytes> = here().filter(|target| !target.is_hidden).map(|target| target.key.clone()).collect();
            // Not asked when it is known to be down: everybody would wait for nothing.
            let is_down = source.status.borrow().state == SourceState::Down;
            if is_down || (!keys.is_empty() && self.look(source, keys).await.is_err()) {
                unread.push(source.id);
            }
        }
        unread
    }
}

fn unreadable(source: &SourceHandle) -> Refusal {
    let status = source.status.borrow();
    Refusal::Unreadable { name: status.name.clone(), problem: status.problem.clone() }
}

/// The waiter that is meant, if it is still at the head of the queue of a free lock and as the person saw it.
fn choose_waiter<'a>(held: &'a Held, asked: &PreviewTarget) -> Result<(&'a Holder, &'a ReleaseOrder), Refusal> {
    let none = |because| Refusal::NoEviction { id: asked.id.clone(), because };
    let Some((head, order)) = &held.eviction else {
        return Err(match held.lock.holders.first() {
            Some(holder) => Refusal::ChangedHands { id: asked.id.clone(), holder_now: Box::new(holder.clone()) },
            None => none("its family keeps no queue that is known here"),
        });
    };
    let named = asked.holder.as_ref().ok_or_else(|| none("the request does not say which: `holder` is missing"))?;
    let same = asked.generation == head.generation || asked.generation == held.lock.generation;
    if head.token_b64 == *named && same {
        Ok((head, order))
    } else {
        Err(Refusal::QueueMoved { id: asked.id.clone(), head: Box::new(head.clone()) })
    }
}

/// The hold that is meant, if it is still the one that the person was looking at.
fn choose<'a>(held: &'a Held, asked: &PreviewTarget) -> Result<(&'a Holder, &'a ReleaseOrder), Refusal> {
    if let Some(because) = held.traits.no_release {
        let what = actions::called(Action::Release);
        return Err(Refusal::NotOffered { what, id: asked.id.clone(), because });
    }
    let holders = &held.lock.holders;
    let gone = || Refusal::Gone { id: asked.id.clone() };
    let first = holders.first().ok_or_else(gone)?;
    let is_named = |holder: &Holder| asked.holder.as_ref() == Some(&holder.token_b64);
    // That others hold a shared lock or a semaphore is no news: the hold that was meant is over.
    if asked.holder.is_some() && held.lock.mode != Mode::Exclusive && !holders.iter().any(is_named) {
        return Err(Refusal::HoldGone { id: asked.id.clone(), others: holders.len() });
    }
    let index = match &asked.holder {
        Some(_) => holders.iter().position(is_named),
        None if holders.len() > 1 => {
            return Err(Refusal::SeveralHolders { id: asked.id.clone(), holders: holders.len() });
        }
        None => Some(0),
    };
    index
        .and_then(|index| Some((&holders[index], held.orders.get(index)?)))
        .filter(|(holder, _)| asked.generation == holder.generation || asked.generation == held.lock.generation)
        .ok_or_else(|| {
            let now = index.and_then(|index| holders.get(index)).unwrap_or(first);
            Refusal::ChangedHands { id: asked.id.clone(), holder_now: Box::new(now.clone()) }
        })
}

pub(super) fn explain(held: &Held, holder: &Holder, status: &SourceStatus) -> PreviewedLock {
    let Held { lock, traits, .. } = held;
    PreviewedLock {
        source: lock.source.clone(),
        id: lock.id.clone(),
        name: lock.name.clone(),
        generation: holder.generation.clone(),
        holder: holder.clone(),
        strength: if lock.quorum.is_some() { Strength::Quorum } else { Strength::Atomic },
        told: traits.told,
        told_because: traits.told_because.to_owned(),
        plan: plan(lock, traits),
        collateral: Collateral { complete: true, items: Vec::new() },
        waiters: None,
        next: String::new(),
        renewed: String::new(),
        others: OtherLocks::default(),
        actions: Vec::new(),
        warnings: warnings(lock, holder, traits, status),
    }
}

/// What taking a waiter out of a queue does. It has no hold to lose and guards nothing: what it loses is its turn.
fn explain_eviction(held: &Held, waiter: &Holder, status: &SourceStatus) -> PreviewedLock {
    let Held { lock, traits, .. } = held;
    let behind = lock.waiters.count.unwrap_or(1).saturating_sub(1);
    let behind = match behind {
        0 => "Nobody waits behind it.".to_owned(),
        1 => "1 waiter is behind it.".to_owned(),
        behind => format!("{behind} waiters are behind it."),
    };
    let mut warnings = Vec::new();
    let mut warn = |code: &str, text: &str| warnings.push(Warning { code: code.to_owned(), text: text.to_owned() });
    let evidence = waiter.evidence.first().map_or("nothing is known of it", String::as_str);
    match waiter.verdict {
        Verdict::Gone => {}
        Verdict::Alive => {
            warn("waiter_alive", &format!("{evidence}: it is alive, loses its turn, and has to queue again"));
        }
        Verdict::Quiet | Verdict::Unknown => warn(
            "waiter_not_proven_dead",
            &format!("{evidence}: if it is alive, it loses its turn and has to queue again"),
        ),
    }
    warn_of_source(status, &mut warn);
    PreviewedLock {
        source: lock.source.clone(),
        id: lock.id.clone(),
        name: lock.name.clone(),
        generation: waiter.generation.clone(),
        holder: waiter.clone(),
        strength: Strength::Atomic,
        told: Told::Never,
        told_because:
            "Nobody tells a waiter that it lost its place. One that is alive after all asks for the lock again \
                       by and by, and joins the queue at its end."
                .to_owned(),
        plan: format!("{} {behind}", traits.evict_waiter.unwrap_or_default()),
        collateral: Collateral { complete: true, items: Vec::new() },
        waiters: None,
        next: String::new(),
        renewed: String::new(),
        others: OtherLocks::default(),
        actions: Vec::new(),
        warnings,
    }
}

fn plan(lock: &Lock, traits: &DialectTraits) -> String {
    let mut plan = traits.release.to_owned();
    if let Some(quorum) = &lock.quorum {
        plan.push_str(&format!(
            " This is done on each of its {} masters by itself; the lock is free when {} of them are without the token.",
            quorum.nodes.len(),
            quorum.needed
        ));
    }
    let Waiters { count: Some(count @ 1..), basis, .. } = &lock.waiters else { return plan };
    let basis = match basis {
        WaitersBasis::Exact => "counted by the store",
        WaitersBasis::Inferred => "inferred",
        WaitersBasis::Sampled => "seen in a sample",
        WaitersBasis::Reported => "by their own word",
        WaitersBasis::Unknown => "unknown",
    };
    let waiters = if *count == 1 { "1 waiter".to_owned() } else { format!("{count} waiters") };
    format!("{plan} {waiters} ({basis}) may take it next.")
}

fn warnings(lock: &Lock, holder: &Holder, traits: &DialectTraits, status: &SourceStatus) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code: &str, text: String| warnings.push(Warning { code: code.to_owned(), text });
    if holder.verdict == Verdict::Alive {
        let evidence = holder.evidence.first().map_or("it renews", String::as_str);
        let until = match traits.told {
            Told::AtOnce => "until it hears of the release",
            Told::AtRenewal => "until it notices",
            Told::Never => "and never notice",
        };
        warn("holder_alive", format!("{evidence}: this holder is alive and will go on working unprotected {until}"));
    }
    if let Some(unsafe_unlock) = traits.unsafe_unlock {
        let harm = "when this holder lets go later, that can free the next holder's lock";
        warn("unsafe_unlock", format!("{harm}: {unsafe_unlock}"));
    }
    if lock.flags.contains(&Flag::NoOwner) {
        warn(
            "no_owner",
            "its value names nobody, so the comparison cannot tell this holder from the next one; only the lease and \
             the moment of the release protect the next"
                .to_owned(),
        );
    } else if !traits.token_is_one_use {
        warn(
            "shared_token",
            "one client may use this token again and again: an equal token does not prove that it is still the same \
             hold, so the lease is compared as well"
                .to_owned(),
        );
    }
    if holder.fencing_token.is_none() {
        warn(
            "no_fencing",
            "it has no fencing token: what the lock protects cannot refuse this holder's late writes".to_owned(),
        );
    }
    if let Some(never_renews) = traits.never_renews
        && holder.verdict != Verdict::Alive
    {
        warn("never_renews", format!("{never_renews}: silence does not mean that the holder is dead"));
    }
    if let Some(quorum) = &lock.quorum {
        let silent = |node: &&QuorumNode| matches!(node.state, OnNode::Unreachable | OnNode::Unread);
        let away: Vec<&QuorumNode> = quorum.nodes.iter().filter(silent).collect();
        if !away.is_empty() {
            let names: Vec<&str> = away.iter().map(|node| node.node.as_str()).collect();
            let lapses = match holder.lease.ttl_ms {
                Some(ttl) => format!("it lapses there by itself in about {}", words::duration(ttl.max(0))),
                None => "without an expiry it stays there until it is released again".to_owned(),
            };
            let text = format!("not read: {}; if the token stands there, {lapses}", names.join(", "));
            warn("unreachable_masters", text);
        }
    }
    if lock.flags.contains(&Flag::ReleaseLost) {
        warn("release_lost", format!("it was {}", words::RELEASE_LOST));
    }
    if lock.flags.contains(&Flag::CameBack) {
        warn("came_back", "the same token came back after an earlier release: its client takes it again".to_owned());
    } else if let Some(comes_back) = traits.comes_back {
        warn("comes_back", format!("the release may not last: {comes_back}; only stopping the holder ends that"));
    }
    warn_of_source(status, &mut |code, text| warn(code, text.to_owned()));
    warnings
}

/// What the source adds, whatever is done to a lock of it.
pub(super) fn warn_of_source(status: &SourceStatus, warn: &mut dyn FnMut(&str, &str)) {
    if status.state != SourceState::Live {
        let problem = status.problem.as_deref().map(|problem| format!(" ({problem})")).unwrap_or_default();
        warn(
            "not_live",
            &format!("`{}` is {}{problem}: other things here may be old", status.name, status.state.word()),
        );
    }
    if status.environment.as_deref() == Some(PRODUCTION) {
        warn("production", &format!("`{}` is a production store", status.name));
    }
}
