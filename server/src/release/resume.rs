//! Attempts whose end nobody saw: looks up in the store what is there now, and has it written into the audit.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lockkeeper_model::{Action, LockId, SourceState, words};
use tokio::time::timeout;

use super::{LOOK_TIMEOUT, named};
use crate::board::{Board, BoardClosed, Held};
use crate::recorder::audit::{Audit, Unresolved, is_cut, token_sha256};
use crate::source::SourceHandle;

/// How long a store may take to come up before its attempts are left for the next start. Longer than a scan of a million
/// keys, and than a Redis that reads its file back needs.
const SOURCE_WAIT: Duration = Duration::from_secs(300);

/// Between two tries to read a lock of a store that answers badly.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether another server ended and left something open.
const LOOK_AROUND: Duration = Duration::from_secs(2);

/// Looks into everything that earlier runs left open, and then ends. Where several servers share an audit it goes on: what
/// one of them leaves open, another looks into.
pub async fn resume(board: Board, audit: Audit) {
    if !audit.is_kept() {
        return;
    }
    if !audit.is_shared() {
        return match audit.unresolved().await {
            Ok(left) => look_into_all(&board, &audit, left).await,
            Err(error) => tracing::warn!("earlier attempts to release cannot be looked into: {error}"),
        };
    }
    let mut looks = tokio::time::interval(LOOK_AROUND);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !board.is_closed() {
        looks.tick().await;
        // Where it cannot be written, that is said where somebody wants to release.
        let left = audit.take_over().await.unwrap_or_default();
        if !left.is_empty() {
            let (board, audit) = (board.clone(), audit.clone());
            tokio::spawn(async move { look_into_all(&board, &audit, left).await });
        }
    }
}

async fn look_into_all(board: &Board, audit: &Audit, left: Vec<Unresolved>) {
    let mut by_source: BTreeMap<Option<String>, Vec<Unresolved>> = BTreeMap::new();
    for attempt in left {
        by_source.entry(attempt.intention.source.clone()).or_default().push(attempt);
    }
    // A store that stays away does not keep the others waiting.
    join_all(by_source.into_iter().map(|(source, attempts)| async move {
        for attempt in &attempts {
            if !matches!(look_into(board, audit, attempt).await, Ok(true)) {
                let source = source.as_deref().map(words::shown);
                return tracing::warn!(
                    source,
                    attempts = attempts.len(),
                    "what became of earlier attempts to release will be looked up at the next start: the source does \
                         not answer",
                );
            }
        }
    }))
    .await;
}

/// Looks into one attempt. False: its store did not come up in time, and nothing was written.
pub(super) async fn look_into(board: &Board, audit: &Audit, of: &Unresolved) -> Result<bool, BoardClosed> {
    let intention = &of.intention;
    let (Some(source_name), Some(lock)) = (&intention.source, &intention.lock) else {
        audit.resolved(of, None, "it does not say which lock it was about").await;
        return Ok(true);
    };
    let Some(source) = board.source(source_name) else {
        let detail = format!("`{}` is not watched any more: nobody can look", words::shown(source_name));
        audit.resolved(of, None, &detail).await;
        return Ok(true);
    };
    let key = match LockId::parse(lock).and_then(|id| id.key()) {
        Ok(key) if !is_cut(lock) => Bytes::from(key),
        _ => {
            audit.resolved(of, None, "the lock's id is too long to be looked up").await;
            return Ok(true);
        }
    };
    if timeout(SOURCE_WAIT, read(source, &key)).await.is_err() {
        return Ok(false);
    }
    let held = board.lock(source.id, key).await?.held;
    let (seen, detail) = compare(of, held.as_deref());
    audit.resolved(of, Some(seen), &format!("looked up afterwards: {detail}")).await;
    Ok(true)
}

/// Waits until the store could be read.
pub(super) async fn read(source: &SourceHandle, key: &Bytes) {
    let mut status = source.status.clone();
    loop {
        // An error would mean that the source ended; then the time runs out.
        let _ = status.wait_for(|status| matches!(status.state, SourceState::Live | SourceState::Degraded)).await;
        if matches!(timeout(LOOK_TIMEOUT, source.look(vec![key.clone()])).await, Ok(Ok(()))) {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What is there now, beside what was to be freed.
fn compare(of: &Unresolved, held: Option<&Held>) -> (&'static str, String) {
    let is_it = |token: &[u8]| of.intention.token_sha256.as_deref() == Some(&*token_sha256(token));
    let was_eviction = of.intention.action.as_deref() == Some(Action::EvictWaiter.word());
    if of.intention.action.as_deref() == Some(Action::PutBack.word()) {
        return was_put_back(of, held);
    }
    let is_open = of.outcome == "unknown";
    let or_by_itself = match (is_open, was_eviction) {
        (false, _) => "",
        (true, false) => ": it was freed, or ended by itself",
        (true, true) => ": it was taken out, or left by itself",
    };

    let Some(held) = held else {
        let what = if was_eviction { "nobody is in its queue" } else { "nobody has it" };
        return ("free", format!("{what}{or_by_itself}"));
    };
    if was_eviction {
        let is_there = held.eviction.as_ref().is_some_and(|(_, order)| is_it(&order.token));
        return match held.lock.holders.first() {
            _ if is_there => ("still_held", "the same waiter is still at the head of the queue".to_owned()),
            Some(holder) => ("taken", format!("{} has the lock", named(holder))),
            None => ("free", format!("the waiter is not at the head of the queue any more{or_by_itself}")),
        };
    }
    if held.orders.iter().any(|order| is_it(&order.token)) {
        let again = match (is_open, held.traits.token_is_one_use) {
            (true, true) => "it was not freed, or its client took it again",
            (true, false) => "it was not freed, or was taken again: this library uses a token more than once",
            (false, true) => "it was given back, or the store lost the release",
            (false, false) => "its client took it again, or the store lost the release",
        };
        return ("still_held", format!("the same token has it: {again}"));
    }
    match held.lock.holders.first() {
        Some(holder) => ("taken", format!("{} has it, and the former holder does not{or_by_itself}", named(holder))),
        None => ("free", format!("nobody has it{or_by_itself}")),
    }
}

/// What is there now, where a hold was to be given back.
fn was_put_back(of: &Unresolved, held: Option<&Held>) -> (&'static str, String) {
    let is_it = |token: &[u8]| of.intention.token_sha256.as_deref() == Some(&*token_sha256(token));
    match held.and_then(|held| Some((held, held.lock.holders.first()?))) {
        Some((held, _)) if held.orders.iter().any(|order| is_it(&order.token)) => {
            ("still_held", "the former holder has it: it was put back, or its client took it again".to_owned())
        }
        Some((_, holder)) => ("taken", format!("{} has it, and the former holder does not", named(holder))),
        None => ("free", "nobody has it: it was not put back, or ended since".to_owned()),
    }
}
