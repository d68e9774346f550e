//! What a release would do, said before anybody is asked to confirm it.

use std::collections::HashSet;

use bytes::Bytes;
use lockkeeper_model::{
    Collateral, Flag, Holder, Lock, OnNode, PreviewAnswer, PreviewRequest, PreviewTarget, PreviewedLock, QuorumNode,
    SourceState, SourceStatus, Strength, Told, Verdict, Waiters, WaitersBasis, Warning, words,
};

use super::ticket::BoundHold;
use super::{Refusal, ReleaseDesk, policy};
use crate::board::Held;
use crate::clock;
use crate::source::{DialectTraits, NotRead, ReleaseOrder, SourceHandle};

/// Locks in one request: more than anybody reads warnings for, and what one ticket can carry.
pub const MAX_LOCKS: usize = 100;

/// A target with its source and key.
struct Target<'a> {
    asked: &'a PreviewTarget,
    source: &'a SourceHandle,
    key: Bytes,
}

impl ReleaseDesk {
    /// Reads the locks again, compares them with what the person was looking at, and explains what a release would do.
    ///
    /// # Errors
    /// When it is switched off, cannot be said now, or is not what the person was looking at any more.
    pub async fn preview(&self, request: &PreviewRequest) -> Result<PreviewAnswer, Refusal> {
        if !self.enabled {
            return Err(Refusal::Off);
        }
        let targets = self.targets(request)?;
        self.read_again(&targets).await?;

        let mut locks = Vec::with_capacity(targets.len());
        let mut holds = Vec::with_capacity(targets.len());
        let mut bound = HashSet::new();
        for target in &targets {
            let found = self.board.lock(target.source.id, target.key.clone()).await?;
            let held = found.held.ok_or_else(|| Refusal::Gone { id: target.asked.id.clone() })?;
            let (holder, order) = choose(&held, target.asked)?;
            if !bound.insert((target.source.id, order.key.clone(), order.token.clone())) {
                return Err(Refusal::Twice { source_name: target.asked.source.clone(), id: target.asked.id.clone() });
            }
            holds.push(BoundHold {
                source: target.source.name.to_string(),
                key: order.key.to_vec(),
                token: order.token.to_vec(),
                generation: holder.generation.clone(),
                count: order.count,
            });
            let status = target.source.status.borrow().clone();
            locks.push(explain(&held, holder, &status));
        }

        let names: Vec<&str> = locks.iter().map(|lock| lock.name.as_str()).collect();
        let confirm = policy::confirm_text(&names);
        let (ticket, expires_at) = self.tickets.issue(request.action, &confirm, holds, clock::now())?;
        Ok(PreviewAnswer { ticket, expires_at, confirm, reason_required: true, locks })
    }

    fn targets<'a>(&'a self, request: &'a PreviewRequest) -> Result<Vec<Target<'a>>, Refusal> {
        if request.locks.is_empty() || request.locks.len() > MAX_LOCKS {
            return Err(Refusal::Count(request.locks.len()));
        }
        request
            .locks
            .iter()
            .map(|asked| {
                let source = self.board.source(&asked.source).ok_or_else(|| Refusal::UnknownSource {
                    name: asked.source.clone(),
                    known: self.board.sources().iter().map(|source| source.name.to_string()).collect(),
                })?;
                Ok(Target { asked, source, key: asked.id.key()?.into() })
            })
            .collect()
    }

    async fn read_again(&self, targets: &[Target<'_>]) -> Result<(), Refusal> {
        for source in self.board.sources() {
            let keys: Vec<Bytes> = targets
                .iter()
                .filter(|target| target.source.id == source.id)
                .map(|target| target.key.clone())
                .collect();
            if keys.is_empty() {
                continue;
            }
            // Not asked when it is known to be down: everybody would wait for nothing.
            if source.status.borrow().state == SourceState::Down {
                return Err(unreadable(source));
            }
            self.look(source, keys).await.map_err(|NotRead| unreadable(source))?;
        }
        Ok(())
    }
}

fn unreadable(source: &SourceHandle) -> Refusal {
    let status = source.status.borrow();
    Refusal::Unreadable { name: status.name.clone(), problem: status.problem.clone() }
}

/// The hold that is meant, if it is still the one that the person was looking at.
fn choose<'a>(held: &'a Held, asked: &PreviewTarget) -> Result<(&'a Holder, &'a ReleaseOrder), Refusal> {
    let holders = &held.lock.holders;
    let gone = || Refusal::Gone { id: asked.id.clone() };
    let first = holders.first().ok_or_else(gone)?;
    let index = match &asked.holder {
        Some(token) => holders.iter().position(|holder| holder.token_b64 == *token),
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

fn explain(held: &Held, holder: &Holder, status: &SourceStatus) -> PreviewedLock {
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
        warnings: warnings(lock, holder, traits, status),
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
    if lock.flags.contains(&Flag::CameBack) {
        warn("came_back", "the same token came back after an earlier release: its client takes it again".to_owned());
    }
    if status.state != SourceState::Live {
        let problem = status.problem.as_deref().map(|problem| format!(" ({problem})")).unwrap_or_default();
        warn(
            "not_live",
            format!("`{}` is {}{problem}: other things here may be old", status.name, status.state.word()),
        );
    }
    if status.environment.as_deref() == Some("production") {
        warn("production", format!("`{}` is a production store", status.name));
    }
    warnings
}
