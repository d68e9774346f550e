//! What is said of attempts whose end nobody saw.

use lockkeeper_model::{Action, Actor, AuditKind, Outcome, SourceState, Verdict};
use tempfile::TempDir;

use super::resume;
use crate::fake::{Fake, SHARED_TOKEN_TRAITS};
use crate::recorder::audit::{Audit, Deed, Filter};

const LOCK: &str = "lock:stock:4711";

/// A folder in which an earlier run left an attempt at `alice`'s hold without an end, or with this one.
async fn left_behind(action: Action, source: &str, lock: &str, ended: Option<Outcome>) -> TempDir {
    let dir = TempDir::new().unwrap();
    let audit = Audit::open(dir.path(), None).unwrap();
    let deed = Deed::by(&Actor::anonymous(None)).action(action).lock(source, lock, "g1").token(b"alice");
    let attempt = audit.intend(deed).await.unwrap();
    if let Some(outcome) = ended {
        assert!(attempt.ended(outcome, "it ended").await);
    }
    dir
}

/// What this run finds: seen and detail, or nothing.
async fn found(dir: &TempDir, fake: &Fake) -> Option<(Option<String>, String)> {
    let audit = Audit::open(dir.path(), None).unwrap();
    resume(fake.board.clone(), audit.clone()).await;
    let newest = audit.page(Filter::default(), None, 1).await.unwrap().entries.remove(0);
    (newest.kind == AuditKind::FollowUp).then_some((newest.seen, newest.detail))
}

fn said(seen: &str, detail: &str) -> Option<(Option<String>, String)> {
    Some((Some(seen.to_owned()), format!("looked up afterwards: {detail}")))
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_attempt_is_looked_up_in_the_store() {
    let dir = left_behind(Action::Release, "orders", LOCK, None).await;
    let fake = Fake::new(&["orders"]);
    fake.hold(LOCK, "alice", "g7");
    let expected = "the same token has it: it was not freed, or its client took it again";
    assert_eq!(found(&dir, &fake).await, said("still_held", expected));

    let dir = left_behind(Action::Release, "orders", LOCK, None).await;
    fake.with(|world| world.hold(LOCK.as_bytes(), &[(b"alice", "g7")], &SHARED_TOKEN_TRAITS));
    let (_, detail) = found(&dir, &fake).await.unwrap();
    assert!(detail.ends_with("or was taken again: this library uses a token more than once"), "{detail}");

    let dir = left_behind(Action::Release, "orders", LOCK, None).await;
    fake.hold(LOCK, "bob", "g8");
    let expected = "`bob` has it, and the former holder does not: it was freed, or ended by itself";
    assert_eq!(found(&dir, &fake).await, said("taken", expected));

    let dir = left_behind(Action::Release, "orders", LOCK, Some(Outcome::Unknown)).await;
    fake.with(|world| world.free(LOCK));
    assert_eq!(found(&dir, &fake).await, said("free", "nobody has it: it was freed, or ended by itself"));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_nobody_watched_to_its_end_is_looked_at_again() {
    let dir = left_behind(Action::Release, "orders", LOCK, Some(Outcome::Released)).await;
    let fake = Fake::new(&["orders"]);
    assert_eq!(found(&dir, &fake).await, said("free", "nobody has it"));

    let dir = left_behind(Action::Release, "orders", LOCK, Some(Outcome::Released)).await;
    fake.hold(LOCK, "alice", "g7");
    let expected = "the same token has it: it was given back, or the store lost the release";
    assert_eq!(found(&dir, &fake).await, said("still_held", expected));

    let dir = left_behind(Action::Release, "orders", LOCK, Some(Outcome::Released)).await;
    fake.with(|world| world.hold(LOCK.as_bytes(), &[(b"alice", "g7")], &SHARED_TOKEN_TRAITS));
    let expected = "the same token has it: its client took it again, or the store lost the release";
    assert_eq!(found(&dir, &fake).await, said("still_held", expected));

    let dir = left_behind(Action::Release, "orders", LOCK, Some(Outcome::ChangedHands)).await;
    assert_eq!(found(&dir, &fake).await, None, "nothing had been done");
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_looked_up_in_the_queue() {
    let fake = Fake::new(&["orders"]);
    fake.with(|world| world.queue(LOCK.as_bytes(), b"alice", "w1", Verdict::Unknown));
    let dir = left_behind(Action::EvictWaiter, "orders", LOCK, None).await;
    assert_eq!(found(&dir, &fake).await, said("still_held", "the same waiter is still at the head of the queue"));
    fake.with(|world| world.queue(LOCK.as_bytes(), b"bob", "w2", Verdict::Unknown));
    let dir = left_behind(Action::EvictWaiter, "orders", LOCK, None).await;
    let expected = "the waiter is not at the head of the queue any more: it was taken out, or left by itself";
    assert_eq!(found(&dir, &fake).await, said("free", expected));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_up_is_said_or_left_for_the_next_start() {
    let fake = Fake::new(&["orders"]);
    let dir = left_behind(Action::Release, "elsewhere", LOCK, None).await;
    let unwatched = Some((None, "`elsewhere` is not watched any more: nobody can look".to_owned()));
    assert_eq!(found(&dir, &fake).await, unwatched);

    // The beginning of a name is the name of another lock.
    let dir = left_behind(Action::Release, "orders", &"x".repeat(10_000), None).await;
    assert_eq!(found(&dir, &fake).await, Some((None, "the lock's id is too long to be looked up".to_owned())));

    let dir = left_behind(Action::Release, "orders", LOCK, None).await;
    fake.set_status(0, |status| status.state = SourceState::Down);
    assert_eq!(found(&dir, &fake).await, None);
    fake.set_status(0, |status| status.state = SourceState::Live);
    assert!(found(&dir, &fake).await.is_some(), "the next start finds it");
}
