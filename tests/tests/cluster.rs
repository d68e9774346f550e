//! A cluster is one source: every primary is watched, keys are followed when they move, and what nobody serves is said
//! not to be seen.

use std::time::Duration;

use lockkeeper_model::{Outcome, SlotRange, SourceState};
use lockkeeper_tests::{Api, Cluster, Family, LockClient, Server, range};

const LEASE: Duration = Duration::from_secs(600);

/// A cluster that is watched, with a lock on each primary that was taken before the others were watched.
async fn watched(cluster: &Cluster) -> (Server, Api, Vec<LockClient>) {
    let mut holders = Vec::new();
    for i in 0..3 {
        holders.push(take(cluster, i, "before").await);
    }
    let server = Server::serve().redis(&cluster.url()).arg("--allow-release").start().await;
    let api = server.api();
    let source = api.until_live().await;
    assert_eq!(source.topology.as_deref(), Some("cluster"));
    assert_eq!(source.coverage.uncovered_slots, []);
    (server, api, holders)
}

/// A lock on primary `i` of the beginning, taken there.
async fn take(cluster: &Cluster, i: usize, name: &str) -> LockClient {
    let name = cluster.name_on(i, name).await;
    let holder = Family::RedisPy.client(&cluster.nodes[i].client().await, &name, Some(LEASE));
    assert!(holder.take().await);
    holder
}

async fn is_shown(api: &Api, holder: &LockClient) -> lockkeeper_model::Lock {
    api.until_lock("the lock", &holder.key, |lock| lock.holders[0].token.as_ref() == Some(&holder.token)).await
}

async fn is_released(api: &Api, holder: &LockClient) {
    let lock = is_shown(api, holder).await;
    let (_, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released, "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_on_every_primary_are_listed_heard_of_and_freed() {
    let cluster = Cluster::start().await;
    let (_server, api, holders) = watched(&cluster).await;
    assert_eq!(api.locks("").await.total, 3);
    for (i, holder) in holders.iter().enumerate() {
        is_released(&api, holder).await;
        assert!(!holder.release().await, "the former holder learns of it");
        let heard = take(&cluster, i, "heard").await;
        is_shown(&api, &heard).await;
        assert!(heard.release().await);
        api.until_story(&heard.key, &["acquired", "released"]).await;
    }
    let source = api.until_live().await;
    assert_eq!((source.gaps, source.missing_permissions.as_slice()), (0, [].as_slice()), "{source:#?}");
    api.until_source("everything to be confirmed", |source| source.confirmed_at.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_slot_moves_stays_shown_and_can_be_freed() {
    let cluster = Cluster::start().await;
    let (_server, api, holders) = watched(&cluster).await;
    let moving = &holders[0];
    cluster
        .move_slot(&moving.key, 0, 1, async || {
            // On its way: the former owner says where it is.
            let lock = is_shown(&api, moving).await;
            api.preview(&lock).await;
        })
        .await;
    is_shown(&api, moving).await;
    api.until_source("everything to be confirmed", |source| source.confirmed_at.is_some()).await;
    is_released(&api, moving).await;
    assert_eq!(api.story(&moving.key).await.last(), Some(&"forced"));
    assert!(!api.story(&moving.key).await.contains(&"released"), "it was not let go of when it moved");

    let moving = &holders[1];
    cluster
        .move_slot(&moving.key, 1, 2, async || {
            is_released(&api, moving).await;
        })
        .await;
    assert_eq!(api.until_live().await.gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_is_followed_and_slots_that_nobody_serves_are_said_not_to_be_seen() {
    let mut cluster = Cluster::with(&["--cluster-require-full-coverage", "no"]).await;
    let (_server, api, holders) = watched(&cluster).await;
    for node in &cluster.nodes[..3] {
        let _: i64 = lockkeeper_tests::store(&node.client().await, "WAIT", ["1", "0"]).await;
    }
    let (first, last) = range(0);
    let lost = [SlotRange { first, last }];

    cluster.nodes[0].kill();
    api.until_source("the loss of one primary", |source| source.coverage.uncovered_slots == lost).await;
    cluster.until_primary(3).await;
    let source = api.until_source("the new primary", |source| source.state == SourceState::Live).await;
    assert!(source.last_gap.as_ref().is_some_and(|gap| gap.contains("new primary")), "{source:#?}");
    assert!(source.coverage.complete && source.coverage.uncovered_slots.is_empty(), "{source:#?}");
    let lock = is_shown(&api, &holders[0]).await;
    assert!(lock.flags.is_empty(), "{lock:#?}");

    cluster.nodes[3].kill();
    let source = api
        .until_source("slots that nobody serves", |source| {
            source.state == SourceState::Degraded && source.coverage.uncovered_slots == lost
        })
        .await;
    let problem = source.problem.unwrap_or_default();
    assert!(problem.contains("5,461 of the cluster's 16,384 slots (0-5460)"), "{problem}");
    assert!(!source.coverage.complete && source.confirmed_at.is_none());
    // The others are watched as before, and what cannot be done is said.
    let heard =
        Family::RedisPy.client(&cluster.nodes[1].client().await, &cluster.name_on(1, "meanwhile").await, Some(LEASE));
    assert!(heard.take().await);
    is_released(&api, &heard).await;
    let answer = api.try_preview(&[&lock]).await;
    assert_ne!(answer.status, 200, "{answer:#?}");

    cluster.nodes[3].start_again().await;
    api.until_source("all to be watched again", |source| source.state == SourceState::Live).await;
}
