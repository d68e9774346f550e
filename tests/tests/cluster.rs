//! A cluster is one source: every primary is watched, keys are followed when they move, and what nobody serves is said
//! not to be seen.

use std::time::Duration;

use fred::types::Value;
use lockkeeper_model::{Flag, Outcome, SlotRange, SourceState};
use lockkeeper_tests::{Api, Cluster, Family, LockClient, RedisServer, Server, range, store, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const LEASE: Duration = Duration::from_secs(600);

/// A cluster that is watched, with a lock on each primary that was taken before the others were watched.
async fn watched(cluster: &Cluster) -> (Server, Api, Vec<LockClient>) {
    let mut holders = Vec::new();
    for i in 0..3 {
        let family = if i == 1 { Family::Redisson } else { Family::RedisPy };
        holders.push(take(cluster, i, family, "before").await);
    }
    let server = Server::serve().redis(&cluster.url()).arg("--allow-release").start().await;
    let api = server.api();
    let source = api.until_live().await;
    assert_eq!(source.topology.as_deref(), Some("cluster"));
    assert_eq!(source.coverage.uncovered_slots, []);
    (server, api, holders)
}

/// A lock on primary `i` of the beginning, taken there.
async fn take(cluster: &Cluster, i: usize, family: Family, name: &str) -> LockClient {
    cluster.take(i, family, name, LEASE).await
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
        let heard = take(&cluster, i, Family::RedisPy, "heard").await;
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

    // One that is read and freed while it is on its way.
    let moving = &holders[2];
    cluster
        .move_slot(&moving.key, 2, 1, async || {
            is_released(&api, moving).await;
        })
        .await;
    assert_eq!(store::<i64>(&cluster.nodes[1].client().await, "EXISTS", [&*moving.key]).await, 0);

    // A script that names more than the key cannot run on the way, and says so.
    let moving = &holders[1];
    cluster
        .move_slot(&moving.key, 1, 2, async || {
            let lock = is_shown(&api, moving).await;
            let (_, answer) = api.release(&api.preview(&lock).await).await;
            assert_eq!(answer.results[0].outcome, Outcome::Failed, "{answer:#?}");
            assert!(answer.results[0].detail.contains("nothing was done; try again"), "{answer:#?}");
        })
        .await;
    is_released(&api, moving).await;
    assert_eq!(api.until_live().await.gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_keys_are_in_two_slots_is_not_freed_and_both_are_named() {
    let cluster = Cluster::start().await;
    let (_server, api, _) = watched(&cluster).await;
    let apart = take(&cluster, 0, Family::PythonRedisLock, "apart").await;
    let lock = is_shown(&api, &apart).await;
    let (status, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::Refused), "{answer:#?}");
    let detail = &answer.results[0].detail;
    for key in [apart.key.clone(), apart.signal()] {
        let slot: u16 = store(&cluster.nodes[0].client().await, "CLUSTER", ["KEYSLOT", &key]).await;
        assert!(detail.contains(&format!("`{key}` in slot {slot}")), "{detail}");
    }
    assert!(detail.ends_with("nothing was done"), "{detail}");
    is_shown(&api, &apart).await;
    assert_eq!(store::<i64>(&cluster.nodes[0].client().await, "EXISTS", [&*apart.key]).await, 1);

    // With a hash tag in its name both keys are in one slot.
    let slot: u16 = store(&cluster.nodes[0].client().await, "CLUSTER", ["KEYSLOT", "together"]).await;
    let owner = (0..3).find(|&i| (range(i).0..=range(i).1).contains(&slot)).unwrap();
    let client = cluster.nodes[owner].client().await;
    let together = Family::PythonRedisLock.client(&client, "{together}", Some(LEASE));
    assert!(together.take().await);
    is_released(&api, &together).await;
    assert_eq!(store::<i64>(&client, "EXISTS", [&*together.key]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_is_followed_and_slots_that_nobody_serves_are_said_not_to_be_seen() {
    let mut cluster = Cluster::with(&["--cluster-require-full-coverage", "no"]).await;
    let (_server, api, holders) = watched(&cluster).await;
    // Renewed without the replica's knowledge; and one elsewhere.
    let touched = take(&cluster, 0, Family::RedisPy, "touched").await;
    let untouched = take(&cluster, 2, Family::RedisPy, "touched").await;
    for node in &cluster.nodes[..3] {
        let _: i64 = store(&node.client().await, "WAIT", ["1", "0"]).await;
    }
    let lock = is_shown(&api, &touched).await;
    cluster.nodes[0].keep_replicas_off().await;
    // To a later end than any acquire before: one that ends a few milliseconds later is taken for the same.
    let later = (2 * LEASE).as_millis().to_string();
    for (holder, node) in [(&touched, 0), (&untouched, 2)] {
        is_shown(&api, holder).await;
        let client = cluster.nodes[node].client().await;
        assert_eq!(store::<i64>(&client, "PEXPIRE", [&*holder.key, &*later]).await, 1);
        api.until_lock("the renewal", &holder.key, |lock| lock.holders[0].renewals.count > 0).await;
    }
    assert_eq!(lock.holders[0].renewals.count, 0);
    let (first, last) = range(0);
    let lost = [SlotRange { first, last }];

    cluster.nodes[0].kill();
    api.until_source("the loss of one primary", |source| source.coverage.uncovered_slots == lost).await;
    cluster.until_primary(3).await;
    let source = api.until_source("the new primary", |source| source.state == SourceState::Live).await;
    assert!(source.last_gap.as_ref().is_some_and(|gap| gap.contains("new primary")), "{source:#?}");
    assert!(source.coverage.complete && source.coverage.uncovered_slots.is_empty(), "{source:#?}");
    let lock = is_shown(&api, &holders[0]).await;
    assert!(!lock.flags.contains(&Flag::Stale), "{lock:#?}");

    let lock = is_shown(&api, &touched).await;
    assert!(lock.flags.contains(&Flag::FailedOver), "{lock:#?}");
    let lock = is_shown(&api, &untouched).await;
    assert!(!lock.flags.contains(&Flag::FailedOver), "{lock:#?}");

    let lock = is_shown(&api, &holders[0]).await;
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
    let heard = take(&cluster, 1, Family::RedisPy, "meanwhile").await;
    is_released(&api, &heard).await;
    let answer = api.try_preview(&[&lock]).await;
    assert_ne!(answer.status, 200, "{answer:#?}");

    cluster.nodes[3].start_again().await;
    api.until_source("all to be watched again", |source| source.state == SourceState::Live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_refuses_to_read_is_not_taken_for_an_empty_one() {
    let mut cluster = Cluster::start().await;
    let (_server, api, holders) = watched(&cluster).await;
    cluster.nodes[0].kill();
    cluster.nodes[3].kill();
    let source = api
        .until_source("the refusal", |source| {
            let said =
                source.problem.as_ref().is_some_and(|problem| problem.contains("the cluster says that it is down"));
            source.state != SourceState::Live && said && !source.coverage.uncovered_slots.is_empty()
        })
        .await;
    assert!(source.confirmed_at.is_none(), "{source:#?}");
    // As soon as the others have noticed, they answer to no key at all.
    let client = cluster.nodes[1].client().await;
    until(
        "the cluster to be down",
        async || store::<Value>(&client, "CLUSTER", ["INFO"]).await.into_string().unwrap_or_default(),
        |info| info.contains("cluster_state:fail"),
    )
    .await;
    assert_eq!(api.locks("").await.total, 3, "what was known is still shown");
    let lock = api.lock(&holders[1].key).await.unwrap();
    let answer = api.try_preview(&[&lock]).await;
    assert_ne!(answer.status, 200, "{answer:#?}");
    cluster.nodes[0].start_again().await;
    api.until_source("all to be watched again", |source| source.state == SourceState::Live).await;
    // The one that came back had kept nothing.
    until("what is there", async || api.locks("").await.total, |total| *total == 2).await;
    is_released(&api, &holders[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_counted_over_all_nodes_and_on_channels_of_both_kinds() {
    let cluster = Cluster::start().await;
    let (_server, api, holders) = watched(&cluster).await;
    let holder = &holders[1];
    let mut waiting = Vec::new();
    for (command, node) in [("SSUBSCRIBE", 1), ("SUBSCRIBE", 2)] {
        let mut stream = TcpStream::connect(("127.0.0.1", cluster.nodes[node].port())).await.unwrap();
        stream.write_all(format!("{command} {}\r\n", holder.signal()).as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    api.until_lock("two who wait", &holder.key, |lock| lock.waiters.count == Some(2)).await;
    waiting.pop();
    api.until_lock("one who waits", &holder.key, |lock| lock.waiters.count == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_for_another_topology_is_answered_with_the_one_that_would_do() {
    let cluster = Cluster::start().await;
    let redis = RedisServer::start().await;
    for (url, hint) in [
        (format!("redis://127.0.0.1:{}", cluster.nodes[0].port()), "redis-cluster://"),
        (format!("redis-cluster://127.0.0.1:{}", redis.port()), "redis://"),
    ] {
        let server = Server::serve().redis(&url).start().await;
        let source = server
            .api()
            .until_source(hint, |source| source.hint.as_ref().is_some_and(|said| said.contains(hint)))
            .await;
        assert_eq!(source.state, SourceState::Down, "{source:#?}");
    }
}
