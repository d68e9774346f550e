//! A cluster: what breaks on one node is said with its name, and the others are watched as before.

use lockkeeper_model::{Flag, Lock, SlotRange, SourceState, SourceStatus, TransitionKind};
use lockkeeper_tests::{
    Api, Cluster, Family, Impostor, LOADS_SLOWLY, LockClient, Oddities, Proxy, RedisServer, Server, free_port, range,
    store, until,
};

use super::{LEASE, OLD, degraded_because, down_because, server_for};

/// The rest goes on without a node, and no replica takes its place.
const NOBODY_TAKES_OVER: [&str; 4] = ["--cluster-require-full-coverage", "no", "--cluster-replica-no-failover", "yes"];

async fn take(cluster: &Cluster, i: usize, name: &str) -> LockClient {
    cluster.take(i, Family::RedisPy, name, LEASE).await
}

async fn is_shown(api: &Api, holder: &LockClient) {
    let has_it =
        |lock: &Lock| lock.holders[0].token.as_ref() == Some(&holder.token) && !lock.flags.contains(&Flag::Stale);
    api.until_lock("the lock as it is", &holder.key, has_it).await;
}

/// The slots of primary `i` are all that is said not to be seen.
fn lacks(source: &SourceStatus, i: usize) -> bool {
    let (first, last) = range(i);
    source.coverage.uncovered_slots == [SlotRange { first, last }] && source.confirmed_at.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_node_of_a_cluster_is_named() {
    let (impostor, old) = (Impostor::start().await, RedisServer::with(&OLD).await);
    for (port, words) in [
        (free_port(), "the connection failed: connection refused"),
        (impostor.port(), "does not speak the protocol of Redis"),
        (old.port(), "too old"),
    ] {
        let (_server, api) = server_for(&format!("redis-cluster://127.0.0.1:{port}")).await;
        let source = down_because(&api, words).await;
        let problem = source.problem.unwrap();
        let named = format!("no node of the cluster says what there is: 127.0.0.1:{port}: ");
        assert!(problem.starts_with(&named), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_the_password_is_named_and_the_others_are_watched() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        node.watcher("").await;
    }
    let (server, api) = server_for(&cluster.url_as("watcher:wr0ng@")).await;
    down_because(&api, "Redis refused the user name or the password").await;
    assert!(!server.said().contains("wr0ng"), "{}", server.said());

    let refusing = &cluster.nodes[1];
    let _: String = store(&refusing.client().await, "ACL", ["SETUSER", "watcher", "resetpass", ">other"]).await;
    let (_server, api) = server_for(&cluster.url_as("watcher:secret@")).await;
    let source = degraded_because(&api, &format!("primary 127.0.0.1:{}: Redis refused", refusing.port())).await;
    assert!(lacks(&source, 1), "{source:#?}");
    is_shown(&api, &take(&cluster, 0, "seen").await).await;
    let _: String = store(&refusing.client().await, "ACL", ["SETUSER", "watcher", ">secret"]).await;
    api.until_live().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_permission_is_named_with_its_node_and_what_it_does_not_touch_goes_on() {
    let cluster = Cluster::start().await;
    let url = cluster.url_as("watcher:secret@");
    let holder = take(&cluster, 0, "before").await;
    let hidden = take(&cluster, 1, "before").await;
    let allow = async |rules: &str| {
        for node in &cluster.nodes {
            node.watcher(rules).await;
        }
    };
    let missing = |source: &SourceStatus, named: &str| {
        source.missing_permissions.iter().find(|missing| missing.permission == named).cloned()
    };
    allow("-cluster|slots").await;
    let (_server, api) = server_for(&url).await;
    let source = down_because(&api, "the credential may not run `CLUSTER SLOTS`").await;
    assert!(source.hint.as_ref().is_some_and(|hint| hint.contains("+cluster|slots")), "{source:#?}");

    allow("-cluster|info").await;
    let (_server, api) = server_for(&url).await;
    api.until_source("`CLUSTER INFO` to be missing", |source| missing(source, "CLUSTER INFO").is_some()).await;
    api.until_live().await;
    is_shown(&api, &holder).await;

    // On one of them only.
    allow("").await;
    cluster.nodes[1].watcher("-scan").await;
    let (_server, api) = server_for(&url).await;
    let named = format!("primary 127.0.0.1:{}: existing locks cannot be found", cluster.ports[1]);
    let source = degraded_because(&api, &named).await;
    let costs = missing(&source, "SCAN").unwrap().costs;
    assert!(costs.ends_with(&format!("(on 127.0.0.1:{})", cluster.ports[1])), "{costs}");
    is_shown(&api, &holder).await;
    assert_eq!(api.lock(&hidden.key).await, None);
    is_shown(&api, &take(&cluster, 1, "after").await).await;

    allow("-asking").await;
    let (_server, api) = server_for(&url).await;
    api.until_live().await;
    is_shown(&api, &holder).await;
    cluster
        .move_slot(&holder.key, 0, 1, async || {
            let source = api.until_source("`ASKING` to be missing", |source| missing(source, "ASKING").is_some()).await;
            assert!(source.confirmed_at.is_none(), "{source:#?}");
        })
        .await;
    api.until_live().await;
    is_shown(&api, &holder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_and_loads_is_said_to_and_what_it_did_not_keep_is_lost() {
    let mut cluster = Cluster::with(&[&NOBODY_TAKES_OVER[..], &LOADS_SLOWLY].concat()).await;
    let kept = take(&cluster, 0, "kept").await;
    cluster.nodes[0].save_much(&kept.key).await;
    let (_server, api) = server_for(&cluster.url()).await;
    api.until_live().await;
    let lost = take(&cluster, 0, "lost").await;
    is_shown(&api, &lost).await;
    cluster.nodes[0].spawn_again();
    let named = format!("primary 127.0.0.1:{}: Redis is loading its data set", cluster.ports[0]);
    let source = degraded_because(&api, &named).await;
    assert!(lacks(&source, 0), "{source:#?}");
    assert_eq!(api.locks("").await.total, 2, "what was known is still shown");
    is_shown(&api, &take(&cluster, 2, "meanwhile").await).await;
    let source = api.until_live().await;
    assert!(source.gaps >= 1 && source.last_gap.is_some(), "{source:#?}");
    is_shown(&api, &kept).await;
    until("the other to be gone", async || api.lock(&lost.key).await, Option::is_none).await;
    assert_eq!(api.events(&lost.key).await[0].transition, TransitionKind::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_left_for_its_replica_and_not_returned_to() {
    let cluster = Cluster::with(&["--cluster-require-full-coverage", "no"]).await;
    let (_server, api) = server_for(&cluster.url()).await;
    api.until_live().await;
    let (holder, other) = (take(&cluster, 0, "held").await, take(&cluster, 1, "held").await);
    is_shown(&api, &holder).await;
    is_shown(&api, &other).await;
    let _: i64 = store(&cluster.nodes[0].client().await, "WAIT", ["1", "0"]).await;
    cluster.nodes[0].freeze();
    let source = api.until_source("the freeze", |source| lacks(source, 0)).await;
    assert_eq!(source.state, SourceState::Degraded, "{source:#?}");
    cluster.until_primary(3).await;
    let source = api.until_live().await;
    assert!(source.last_gap.as_ref().is_some_and(|gap| gap.contains("new primary")), "{source:#?}");
    is_shown(&api, &holder).await;

    cluster.nodes[0].thaw();
    until(
        "the former primary to follow",
        async || cluster.nodes[0].info("replication").await.unwrap_or_default(),
        |info| info.contains("role:slave"),
    )
    .await;
    let name = cluster.name_on(0, Family::RedisPy, "next").await;
    let next = Family::RedisPy.client(&cluster.nodes[3].client().await, &name, Some(LEASE));
    assert!(next.take().await);
    is_shown(&api, &next).await;
    assert!(!api.until_live().await.address.contains(&cluster.ports[0].to_string()));
}

/// Has node `i` say that it is at this port. To the other nodes it speaks elsewhere, so that none of them misses it.
async fn announce(cluster: &Cluster, i: usize, port: u16) {
    let node = cluster.nodes[i].client().await;
    let _: String = store(&node, "CONFIG", ["SET", "cluster-announce-port", &port.to_string()]).await;
    for other in &cluster.nodes {
        let other = other.client().await;
        until(
            "all to say where it is",
            async || store::<String>(&other, "CLUSTER", ["NODES"]).await,
            |nodes| nodes.contains(&format!("127.0.0.1:{port}@")),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_something_else_for_us_is_named_and_the_others_are_watched() {
    let (impostor, old) = (Impostor::start().await, RedisServer::with(&OLD).await);
    let cluster = Cluster::start().await;
    let holder = take(&cluster, 0, "held").await;
    for (port, words) in [
        (free_port(), "the connection failed: connection refused"),
        (impostor.port(), "what answers at this address does not speak the protocol of Redis"),
        (old.port(), "this Redis is too old"),
    ] {
        announce(&cluster, 1, port).await;
        let (_server, api) = server_for(&format!("redis-cluster://127.0.0.1:{}", cluster.ports[0])).await;
        let source = degraded_because(&api, &format!("primary 127.0.0.1:{port}: {words}")).await;
        assert!(lacks(&source, 1), "{source:#?}");
        is_shown(&api, &holder).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_only_we_cannot_reach_is_seen_and_healed_after() {
    let cluster = Cluster::start().await;
    let proxy = Proxy::to(cluster.nodes[0].port()).await;
    let port = proxy.port();
    announce(&cluster, 0, port).await;
    let handed = take(&cluster, 0, "handed").await;
    let (_server, api) = server_for(&format!("redis-cluster://127.0.0.1:{}", cluster.ports[1])).await;
    api.until_live().await;
    is_shown(&api, &handed).await;
    proxy.cut();
    let source = degraded_because(&api, &format!("primary 127.0.0.1:{port}: the connection failed")).await;
    assert!(lacks(&source, 0), "{source:#?}");
    assert!(handed.release().await);
    let next = handed.fresh();
    assert!(next.take().await);
    is_shown(&api, &take(&cluster, 1, "meanwhile").await).await;
    proxy.restore();
    let source = api.until_live().await;
    assert!(source.gaps >= 1, "{source:#?}");
    is_shown(&api, &next).await;
    assert!(api.story(&next.key).await.contains(&"gap"));

    proxy.freeze();
    degraded_because(&api, &format!("primary 127.0.0.1:{port}: Redis does not answer")).await;
    proxy.restore();
    api.until_live().await;
    is_shown(&api, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_come_back_unharmed_wherever_they_are() {
    let cluster = Cluster::start().await;
    Oddities::write(async |key| vec![cluster.nodes[cluster.owner(key).await].client().await]).await;
    let server = Server::serve().redis(&cluster.url()).arg("--pattern").arg("*").start().await;
    Oddities::are_shown(&server.api()).await;
}
