//! What becomes of a lock after a release was answered.
//!
//! A person waits for the answer, and a former holder may be heard of only at its next renewal. So the lock is watched on
//! for twice the rhythm of its former holder, and what was seen joins the attempt in the audit. A server that ends
//! meanwhile waits for none of this: what was seen until the answer is written down already.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockkeeper_model::words::RELEASE_LOST;
use lockkeeper_model::{Connection, Event, Flag, Holder, LockId, LockState, Time, TransitionKind, words};
use tokio::time::Instant;

use super::former::Former;
use super::lost::LOST_WORD;
use super::{ReleaseDesk, named, resume};
use crate::access::Reach;
use crate::board::{Board, BoardClosed, EventFilter, FormerHolder, Subscription};
use crate::clock;
use crate::recorder::audit::Attempt;
use crate::registry::RELEASE_LOST_CAUSE;
use crate::source::operator_hold::OperatorHold;

/// Renewals that a former holder should have tried while it is watched: one may have come just before.
const BEATS: i64 = 2;

/// The shortest watch: clients that poll for a lock do so every few seconds at most.
const SHORTEST: Duration = Duration::from_secs(10);

/// The longest watch. Whoever renews more rarely is not waited for: by then the incident is elsewhere.
const LONGEST: Duration = Duration::from_secs(120);

/// Watches at once: a bulk release of a hundred locks, and another. Each costs a subscription; a release beyond it is not
/// watched beyond its answer.
pub(super) const MAX_WATCHES: usize = 256;

/// The cause of a transition by which a hold was given back from here.
const PUT_BACK_CAUSE: &str = "put_back";

/// A hold that ended, and what was there beside it.
pub(super) struct Ended {
    pub(super) former: Former,
    /// The generations of all holds before.
    pub(super) before: Vec<String>,
}

impl ReleaseDesk {
    /// Watches on in the background, and writes what was seen into the audit.
    pub(super) fn watch_on(&self, ended: Ended, attempt: Arc<Attempt>) {
        let Ok(slot) = self.watches.clone().try_acquire_owned() else {
            return tracing::debug!("too many released locks are watched: one is not watched beyond its answer");
        };
        let board = self.board.clone();
        tokio::spawn(async move {
            let _slot = slot;
            // A server that ends has answered already, and waits for nobody.
            if let Ok(Some((seen, detail))) = watch(&board, &ended).await {
                attempt.followed(seen, &detail).await;
            }
        });
    }
}

/// For how long a former holder is watched.
fn span(holder: &Holder) -> Duration {
    // Whoever renews at all does so before the lease ends.
    let period = holder.renewals.period_ms.map(|ms| ms.saturating_mul(BEATS)).or(holder.lease.ttl_ms);
    let period = Duration::from_millis(u64::try_from(period.unwrap_or(0)).unwrap_or(0));
    period.clamp(SHORTEST, LONGEST)
}

/// What happened to the lock while it was watched.
#[derive(Default)]
struct Story {
    /// Who took it first, as an event names them, and when.
    taken: Option<(String, Time)>,
    /// How often it was taken.
    times: u32,
    came_back: Option<Time>,
    /// What happened last is that it was given back from here.
    is_put_back: bool,
}

impl Story {
    fn note(&mut self, event: &Event, former: &str) {
        let takes = [TransitionKind::Acquired, TransitionKind::HandedOver, TransitionKind::TakenOver];
        if !takes.contains(&event.transition) {
            return;
        }
        // An operator keeps others out; that it stands there was asked for.
        if event.holder.as_deref().is_some_and(|token| OperatorHold::of(token.as_bytes()).is_some()) {
            return;
        }
        // Nobody took what the store lost the release of.
        if event.cause.as_deref() == Some(RELEASE_LOST_CAUSE) {
            return;
        }
        self.is_put_back = event.cause.as_deref() == Some(PUT_BACK_CAUSE);
        if self.is_put_back {
            return;
        }
        self.times = self.times.saturating_add(1);
        let token = event.holder_b64.as_deref().unwrap_or_default();
        if token == former {
            self.came_back.get_or_insert(event.at);
        } else if self.taken.is_none() {
            let shown = event.holder.as_deref().unwrap_or(token);
            self.taken = Some((format!("`{}`", words::short_token(shown)), event.at));
        }
    }
}

/// Watches until the span is over, then looks. `None`: nothing can be said, because the store could not be read.
async fn watch(board: &Board, ended: &Ended) -> Result<Option<(&'static str, String)>, BoardClosed> {
    let Former { source_name, holder, order, released_at, .. } = &ended.former;
    let Some(source) = board.source(source_name) else { return Ok(None) };
    let id = LockId::of_key(&order.key);
    let filter =
        EventFilter { reach: Reach::ALL, source: Some(source_name.clone()), lock: Some(id), lost_releases: false };
    let mut events = board.subscribe(filter, None).await?;
    let (span, former) = (span(holder), STANDARD.encode(&order.token));
    // What happened before the subscription, while the answer was on its way.
    let mut story = Story::default();
    let found = board.lock(source.id, order.key.clone()).await?;
    let names_nobody = found.held.as_ref().is_some_and(|held| held.lock.state == LockState::UnknownHolder);
    let known: Vec<&Event> = found.events.iter().take_while(|event| event.at >= *released_at).collect();
    known.into_iter().rev().for_each(|event| story.note(event, &former));
    listen(&mut events, &mut story, &former, span).await;

    // A primary that is gone has a successor after a while.
    if tokio::time::timeout(LONGEST, resume::read(source, &order.key)).await.is_err() {
        return Ok(None);
    }
    let lock = board.lock(source.id, order.key.clone()).await?.held.map(|held| held.lock);
    let has_flag = |flag| lock.as_ref().is_some_and(|lock| lock.flags.contains(&flag));
    let (is_lost, failed_over) = (has_flag(Flag::ReleaseLost), has_flag(Flag::FailedOver));
    let holders = lock.map(|lock| lock.holders).unwrap_or_default();
    let now: Vec<&Holder> = holders.iter().filter(|holder| !ended.before.contains(&holder.generation)).collect();
    // A value that names nobody is always the same: that it is there again says nothing.
    let has_it_again = now.iter().any(|holder| holder.token_b64 == former) && (is_lost || !names_nobody);
    let (seen, state) = match now.first() {
        _ if has_it_again && story.is_put_back => ("put_back", "the former holder has it: it was put back".to_owned()),
        _ if has_it_again && is_lost => (LOST_WORD, RELEASE_LOST.to_owned()),
        _ if has_it_again && failed_over => {
            let unsure = "the same token has it; another server took over meanwhile, so that nobody can say whether its \
                          client took it again";
            ("still_held", unsure.to_owned())
        }
        _ if has_it_again => ("came_back", "the same token has it again: its client lives".to_owned()),
        Some(holder) if holder.identity.operator.is_some() => ("held", format!("{} holds it", named(holder))),
        Some(holder) => ("taken", format!("{} has it", named(holder))),
        None if story.times > 0 => ("free", "it is free again".to_owned()),
        None => ("free", "nobody has taken it".to_owned()),
    };
    let mut detail =
        format!("watched for {}: {state}", words::duration(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)));
    if let Some((who, at)) = story.taken.filter(|_| seen != "held") {
        detail.push_str(&format!(
            "; {who} was the first to take it, {} later",
            words::duration(at.since(*released_at).max(0))
        ));
    }
    if story.times > 1 {
        detail.push_str(&format!("; it was taken {} times", story.times));
    }
    if let Some(at) = story.came_back.filter(|_| !has_it_again && !names_nobody) {
        detail.push_str(&format!(
            "; the same token had it again for a while, {} later",
            words::duration(at.since(*released_at).max(0))
        ));
    }
    let who = FormerHolder {
        source: source.id,
        token: order.token.clone(),
        identity: holder.identity.clone(),
        since: holder.held_since.not_after.unwrap_or(*released_at),
    };
    detail.push_str("; ");
    detail.push_str(&of_connection(board.connection(who).await?.as_ref(), *released_at, clock::now()));
    Ok(Some((seen, detail)))
}

/// Takes note of what is told until the time is over.
async fn listen(events: &mut Subscription, story: &mut Story, former: &str, span: Duration) {
    let over = Instant::now() + span;
    // A subscription that ends early leaves the look at the end.
    while let Ok(Some(event)) = tokio::time::timeout_at(over, events.events.recv()).await {
        story.note(&event, former);
    }
    tokio::time::sleep_until(over).await;
}

/// Whether the former holder is still there, as far as its connection tells.
fn of_connection(connection: Option<&Connection>, released_at: Time, now: Time) -> String {
    let Some(connection) = connection else {
        return "which connection the former holder has is not known".to_owned();
    };
    let name = words::shown(&connection.name);
    match (connection.closed_at, connection.spoke_at) {
        (Some(at), _) => format!("the former holder's connection `{name}` was found closed at {at}"),
        (None, Some(at)) if at > released_at => format!(
            "the former holder's connection `{name}` is open and has run commands since, the last {} ago",
            words::duration(now.since(at).max(0))
        ),
        (None, Some(at)) => format!(
            "the former holder's connection `{name}` is open and has said nothing for {}",
            words::duration(now.since(at).max(0))
        ),
        (None, None) => format!("the former holder's connection `{name}` is open"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{b64, event};

    fn story(events: &[(&str, TransitionKind, Option<&str>)]) -> Story {
        let mut story = Story::default();
        for (token, transition, cause) in events {
            let event = Event {
                holder: Some((*token).to_owned()),
                holder_b64: Some(b64(token)),
                cause: cause.map(str::to_owned),
                ..event("1", "lock:a", *transition)
            };
            story.note(&event, &b64("alice"));
        }
        story
    }

    #[test]
    fn who_took_it_first_and_whether_the_former_holder_came_back_is_kept() {
        use TransitionKind::{Acquired, HandedOver, Released, Renewed};
        let seen = story(&[("bob", Acquired, None), ("bob", Renewed, None), ("carol", HandedOver, None)]);
        assert_eq!((seen.taken.unwrap().0.as_str(), seen.times, seen.came_back), ("`bob`", 2, None));
        let seen = story(&[("alice", Acquired, None), ("alice", Released, None), ("bob", Acquired, None)]);
        assert!(seen.came_back.is_some() && !seen.is_put_back && seen.taken.is_some());
    }

    #[test]
    fn what_was_done_from_here_is_nobody_taking_it() {
        use TransitionKind::Acquired;
        let operator = crate::source::operator_hold::token("redis-py", "bob");
        let seen = story(&[(&operator, Acquired, None), ("alice", Acquired, Some(PUT_BACK_CAUSE))]);
        assert!(seen.is_put_back && seen.times == 0 && seen.taken.is_none() && seen.came_back.is_none());
        let seen = story(&[("alice", Acquired, Some(PUT_BACK_CAUSE)), ("alice", Acquired, None)]);
        assert!(!seen.is_put_back && seen.came_back.is_some(), "it took it again by itself afterwards");
        let seen = story(&[("bob", Acquired, None), ("alice", Acquired, Some(RELEASE_LOST_CAUSE))]);
        assert!(seen.came_back.is_none() && seen.times == 1, "nobody took what the store lost the release of");
    }
}
