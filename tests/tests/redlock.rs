//! Locks on several independent masters: who owns one is decided by a majority of those that answer, and what cannot be
//! known is said not to be.

use std::time::Duration;

use lockkeeper_model::{AfterState, Flag, Lock, LockState, OnNode, Outcome, SourceState, Standing, Strength, Time};
use lockkeeper_tests::{LEASE, Masters, quorum, store, until};

/// What the recipe takes off a lease of [`LEASE`] for drifting clocks: 1 % and 2 ms.
const DRIFT_MS: i64 = 602;

fn states(lock: &Lock) -> Vec<OnNode> {
    quorum(lock).nodes.iter().map(|node| node.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_every_master_is_owned_and_its_guaranteed_time_is_the_recipes() {
    let masters = Masters::start().await;
    let holder = masters.holder("all");
    let before = Time(now());
    masters.take(&holder, 0..5).await;
    let after = Time(now());
    let lock = masters.until_votes(&holder.key, Standing::Owned, 5).await;
    assert_eq!((lock.state, lock.flags.as_slice()), (LockState::Held, &[][..]));
    assert_eq!(lock.dialect.name, "redis-py");
    assert_eq!(states(&lock), [OnNode::Holds; 5]);
    let [only] = lock.holders.as_slice() else { panic!("{lock:#?}") };
    assert_eq!(only.token.as_ref(), Some(&holder.token));

    let quorum = quorum(&lock);
    assert_eq!(quorum.needed, 3);
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    let valid_until = quorum.valid_until.unwrap();
    // A reading may lie a little before it is answered, which only makes the guarantee shorter.
    assert!(valid_until <= after.plus(lease - DRIFT_MS), "{quorum:#?}");
    let took = quorum.nodes.iter().filter_map(|node| node.round_trip_ms).max().unwrap();
    assert!(valid_until >= before.plus(lease - DRIFT_MS - took - 2), "{quorum:#?}");
    let mut ends: Vec<i64> = quorum.nodes.iter().map(|node| node.ttl_ms.unwrap()).collect();
    ends.sort_unstable();
    assert!(quorum.valid_for_ms.unwrap() < ends[2], "{quorum:#?}");
    assert!(quorum.says.starts_with("owned: its token stands on 5 of 5 masters"), "{}", quorum.says);
    for (node, server) in quorum.nodes.iter().zip(&masters.servers) {
        assert_eq!((&node.node, node.token.as_ref()), (&server.source(), Some(&holder.token)));
        assert!(node.read_at.is_some());
    }

    let renewed_before = lock.holders[0].renewals.count;
    let ends = (now() + 120_000).to_string();
    for client in &masters.clients {
        let _: i64 = store(client, "PEXPIREAT", [holder.key.as_str(), ends.as_str()]).await;
    }
    let renewed = |lock: &Lock| lock.holders[0].renewals.count > renewed_before;
    let lock = masters.api.until_lock("the renewal", &holder.key, renewed).await;
    assert_eq!(lock.holders[0].renewals.count, renewed_before + 1, "five steps are one renewal");

    for i in 0..5 {
        masters.delete(i, &holder.key).await;
    }
    until("the lock to be free", async || masters.api.lock(&holder.key).await, Option::is_none).await;
    assert_eq!(masters.api.story(&holder.key).await, ["acquired", "renewed", "released"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_three_of_five_is_owned_and_two_are_not_enough() {
    let masters = Masters::start().await;
    let holder = masters.holder("three");
    masters.take(&holder, [0, 2, 4]).await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 3).await;
    assert_eq!(lock.state, LockState::Held);
    assert_eq!(states(&lock), [OnNode::Holds, OnNode::Absent, OnNode::Holds, OnNode::Absent, OnNode::Holds]);
    let ends: Vec<i64> = quorum(&lock).nodes.iter().filter_map(|node| node.ttl_ms).collect();
    assert!(ends.iter().all(|&ttl| quorum(&lock).valid_for_ms.unwrap() < ttl), "{lock:#?}");

    masters.delete(2, &holder.key).await;
    let lock = masters.until_votes(&holder.key, Standing::Nobody, 2).await;
    assert_eq!((lock.state, lock.flags.as_slice()), (LockState::NoQuorum, &[Flag::HalfLock][..]));
    assert_eq!(lock.holders[0].token.as_ref(), Some(&holder.token));
    assert_eq!(quorum(&lock).valid_for_ms, None);
    let events = masters.api.events(&holder.key).await;
    assert_eq!(events[0].cause.as_deref(), Some("quorum_lost"), "{events:#?}");
    assert_eq!(masters.api.story(&holder.key).await, ["acquired", "released"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_two_one_is_held_by_nobody_and_ends_without_having_been_held() {
    let masters = Masters::start().await;
    let [first, second, third] = [masters.holder("split"), masters.holder("split"), masters.holder("split")];
    masters.take(&first, [0, 1]).await;
    masters.take(&second, [2, 3]).await;
    masters.take(&third, [4]).await;
    let lock = masters
        .api
        .until_lock("2/2/1", &first.key, |lock| {
            quorum(lock).standing == Standing::Nobody && quorum(lock).says.contains("2/2/1")
        })
        .await;
    assert_eq!((lock.state, lock.flags.as_slice()), (LockState::NoQuorum, &[Flag::HalfLock][..]));
    assert_eq!(lock.holders.len(), 3);
    let tokens: Vec<_> = quorum(&lock).nodes.iter().map(|node| node.token.as_deref().unwrap()).collect();
    let [a, b, c] = [&first, &second, &third].map(|holder| holder.token.as_str());
    assert_eq!(tokens, [a, a, b, b, c]);
    assert!(lock.notes.iter().any(|note| note.starts_with("held by nobody: 2/2/1 of 5 masters")), "{:?}", lock.notes);
    for i in 0..5 {
        masters.delete(i, &first.key).await;
    }
    until("the lock to be free", async || masters.api.lock(&first.key).await, Option::is_none).await;
    assert_eq!(masters.api.story(&first.key).await, [""; 0], "nobody ever held it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_master_owners_are_still_decided_and_it_is_named() {
    let mut masters = Masters::start().await;
    let holder = masters.holder("kept");
    masters.take(&holder, 0..5).await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    masters.servers[1].kill();
    let source = masters.until_down(&[1]).await;
    assert_eq!(source.state, SourceState::Degraded, "{source:#?}");
    assert!(source.problem.as_ref().unwrap().contains(&masters.address(1)), "{source:#?}");
    assert!(source.coverage.complete, "{source:#?}");
    let silent = |lock: &Lock| quorum(lock).nodes[1].state == OnNode::Unreachable;
    let lock = masters.api.until_lock("the silence", &holder.key, silent).await;
    assert_eq!((lock.state, lock.flags.as_slice()), (LockState::Held, &[][..]));
    assert_eq!((quorum(&lock).standing, quorum(&lock).votes), (Standing::Owned, 4));
    assert_eq!(quorum(&lock).nodes[1].token, None);

    // What is taken meanwhile is seen, too.
    let other = masters.holder("meanwhile");
    masters.take(&other, [0, 2, 3, 4]).await;
    masters.until_votes(&other.key, Standing::Owned, 4).await;

    masters.servers[1].start_again().await;
    masters.api.until_live().await;
    // It restarted empty, within the lease.
    let lock = masters
        .api
        .until_lock("the master to be read", &holder.key, |lock| quorum(lock).nodes[1].state == OnNode::Absent)
        .await;
    assert_eq!((quorum(&lock).standing, quorum(&lock).votes), (Standing::Owned, 4));
    let marked: Vec<bool> = quorum(&lock).nodes.iter().map(|node| node.restarted_within_lease).collect();
    assert!(marked[1], "{lock:#?}");
    let says = &quorum(&lock).says;
    assert!(says.contains(&masters.address(1)) && says.contains("restarted within the lease"), "{says}");
    assert_eq!(masters.api.story(&holder.key).await, ["acquired"], "it was held all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nobody_can_say_and_locks_are_stale() {
    let mut masters = Masters::start().await;
    let holder = masters.holder("unknown");
    masters.take(&holder, 0..5).await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    for i in [0, 1, 2] {
        masters.servers[i].kill();
    }
    let source = masters.until_down(&[0, 1, 2]).await;
    assert_eq!((source.state, source.confirmed_at), (SourceState::Down, None), "{source:#?}");
    assert!(source.problem.as_ref().unwrap().starts_with("only 2 of 5 masters answer"), "{source:#?}");
    let lock = masters.until_votes(&holder.key, Standing::Undecided, 2).await;
    assert_eq!((lock.state, lock.flags.as_slice()), (LockState::NoQuorum, &[Flag::Stale][..]));
    assert!(quorum(&lock).says.starts_with("nobody can say who has it"), "{}", quorum(&lock).says);
    assert_eq!(masters.api.story(&holder.key).await, ["acquired", "gap"]);
    assert_eq!(masters.api.get("/readyz").await.status, 503);

    for i in [0, 1, 2] {
        masters.servers[i].start_again().await;
    }
    masters.api.until_live().await;
    // The three came back empty: two copies are left.
    let lock = masters.until_votes(&holder.key, Standing::Nobody, 2).await;
    assert_eq!(lock.flags, [Flag::HalfLock]);
    assert!(quorum(&lock).nodes[..3].iter().all(|node| node.restarted_within_lease), "{lock:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_master_has_no_vote_until_it_answers_again() {
    let masters = Masters::start().await;
    let holder = masters.holder("frozen");
    masters.take(&holder, 0..5).await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    masters.servers[3].freeze();
    let silent = |lock: &Lock| quorum(lock).nodes[3].state == OnNode::Unreachable;
    let lock = masters.api.until_lock("the silence", &holder.key, silent).await;
    assert_eq!((lock.state, quorum(&lock).votes), (LockState::Held, 4));
    let source = masters.until_down(&[3]).await;
    assert_eq!(source.state, SourceState::Degraded);
    masters.servers[3].thaw();
    masters.api.until_live().await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 5).await;
    assert_eq!(states(&lock), [OnNode::Holds; 5]);
    assert_eq!(masters.api.story(&holder.key).await, ["acquired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_on_a_minority_changes_no_owner() {
    let masters = Masters::start().await;
    let (holder, intruder) = (masters.holder("minority"), masters.holder("minority"));
    masters.take(&holder, 0..5).await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    for i in [3, 4] {
        masters.delete(i, &holder.key).await;
    }
    masters.take(&intruder, [3, 4]).await;
    let lock =
        masters.api.until_lock("the other token", &holder.key, |lock| states(lock)[3..] == [OnNode::Other; 2]).await;
    assert_eq!((lock.state, quorum(&lock).votes), (LockState::Held, 3));
    assert_eq!(lock.holders.len(), 1);
    assert_eq!(quorum(&lock).nodes[4].token.as_ref(), Some(&intruder.token));
    assert_eq!(masters.api.story(&holder.key).await, ["acquired"]);

    // With one more it has the majority, and the lock.
    masters.delete(2, &holder.key).await;
    masters.take(&intruder, [2]).await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 3).await;
    let has_it = |lock: &Lock| lock.holders[0].token.as_ref() == Some(&intruder.token);
    let lock = if has_it(&lock) { lock } else { masters.api.until_lock("the hand-over", &holder.key, has_it).await };
    assert_eq!(lock.state, LockState::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_frees_the_token_on_every_master() {
    let masters = Masters::start().await;
    let holder = masters.holder("stuck");
    masters.take(&holder, 0..5).await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 5).await;
    let preview = masters.api.preview(&lock).await;
    assert_eq!(preview.locks[0].strength, Strength::Quorum);
    assert!(preview.locks[0].plan.contains("on each of its 5 masters"), "{}", preview.locks[0].plan);
    let (status, answer) = masters.api.release(&preview).await;
    let result = &answer.results[0];
    assert_eq!((status, result.outcome), (200, Outcome::Released), "{answer:#?}");
    assert!(result.nodes.iter().all(|node| node.outcome == Outcome::Released), "{answer:#?}");
    let named: Vec<&str> = result.nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(named, (0..5).map(|i| masters.address(i)).collect::<Vec<_>>());
    assert_eq!(result.after.as_ref().unwrap().state, AfterState::Free, "{answer:#?}");
    for i in 0..5 {
        assert_eq!(masters.get(i, &holder.key).await, None);
    }
    assert_eq!(masters.api.story(&holder.key).await, ["acquired", "forced"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_never_touches_another_token() {
    let masters = Masters::start().await;
    let (holder, other) = (masters.holder("mixed"), masters.holder("mixed"));
    masters.take(&holder, [0, 1, 2]).await;
    masters.take(&other, [3]).await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 3).await;
    let (status, answer) = masters.api.release(&masters.api.preview(&lock).await).await;
    let result = &answer.results[0];
    assert_eq!((status, result.outcome), (200, Outcome::Released), "{answer:#?}");
    let outcomes: Vec<Outcome> = result.nodes.iter().map(|node| node.outcome).collect();
    let freed = Outcome::Released;
    assert_eq!(outcomes, [freed, freed, freed, Outcome::ChangedHands, Outcome::Gone], "{answer:#?}");
    assert_eq!(masters.get(3, &holder.key).await, Some(other.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_one_master_is_one_and_says_what_is_left_there() {
    let mut masters = Masters::start().await;
    let holder = masters.holder("almost");
    masters.take(&holder, 0..5).await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    masters.servers[4].kill();
    masters.until_down(&[4]).await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 4).await;
    let preview = masters.api.preview(&lock).await;
    let warning = preview.locks[0].warnings.iter().find(|warning| warning.code == "unreachable_masters").unwrap();
    assert!(warning.text.contains(&masters.address(4)), "{warning:#?}");
    let (status, answer) = masters.api.release(&preview).await;
    let result = &answer.results[0];
    assert_eq!((status, result.outcome), (200, Outcome::Released), "{answer:#?}");
    assert_eq!(result.nodes[4].outcome, Outcome::Failed, "{answer:#?}");
    assert!(result.nodes[4].detail.contains("lapses by itself in"), "{answer:#?}");
    assert!(result.detail.contains(&masters.address(4)), "{answer:#?}");
    for i in 0..4 {
        assert_eq!(masters.get(i, &holder.key).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_a_majority_is_partial() {
    let mut masters = Masters::start().await;
    let holder = masters.holder("half");
    masters.take(&holder, 0..5).await;
    let lock = masters.until_votes(&holder.key, Standing::Owned, 5).await;
    let preview = masters.api.preview(&lock).await;
    for i in [2, 3, 4] {
        masters.servers[i].kill();
    }
    masters.until_down(&[2, 3, 4]).await;
    let (status, answer) = masters.api.release(&preview).await;
    let result = &answer.results[0];
    assert_eq!((status, result.outcome), (200, Outcome::Partial), "{answer:#?}");
    let outcomes: Vec<Outcome> = result.nodes.iter().map(|node| node.outcome).collect();
    let (freed, failed) = (Outcome::Released, Outcome::Failed);
    assert_eq!(outcomes, [freed, freed, failed, failed, failed], "{answer:#?}");
    assert!(result.detail.contains("it may still stand on a majority"), "{answer:#?}");

    // Nothing is previewed while nobody can say who owns it.
    let answer = masters.api.try_preview(&[&lock]).await;
    assert!(answer.status >= 400, "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_ends_once_everywhere() {
    let masters = Masters::with(&["--notify-keyspace-events", "KEAn"]).await;
    let holder = masters.holder("short");
    for i in 0..5 {
        masters.set(i, &holder.key, &holder.token, Duration::from_secs(6)).await;
    }
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    until("the lock to be free", async || masters.api.lock(&holder.key).await, Option::is_none).await;
    assert_eq!(masters.api.story(&holder.key).await, ["acquired", "expired"]);
}

/// This machine's clock, which the servers under test share.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
