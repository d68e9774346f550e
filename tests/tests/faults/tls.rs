//! TLS on the way to the servers: what breaks is said as it is without, and what is wrong with a certificate of any of
//! them with its name.

use lockkeeper_model::{Flag, Lock, Outcome, SourceState, SourceStatus, Standing, TransitionKind};
use lockkeeper_tests::{
    Api, Authority, Cluster, Family, Impostor, LockClient, Masters, Oddities, Proxy, Sentinels, Server, free_port,
    quorum, store, until,
};

use super::{LEASE, degraded_because, down_because};

async fn server_for(url: &str, lines: &str) -> (Server, Api) {
    let config = format!("[[source]]\nurl = \"{url}\"\n{lines}");
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    let api = server.api();
    (server, api)
}

async fn is_shown(api: &Api, holder: &LockClient) -> Lock {
    let has_it =
        |lock: &Lock| lock.holders[0].token.as_ref() == Some(&holder.token) && !lock.flags.contains(&Flag::Stale);
    api.until_lock("the lock as it is", &holder.key, has_it).await
}

/// Releases it. A key that was moved just before has a lease that ends a little later, which is refused until it was
/// read again: what is left of a lease is what moves.
async fn is_released(api: &Api, holder: &LockClient) {
    until(
        "the release",
        async || {
            let lock = is_shown(api, holder).await;
            api.release(&api.preview(&lock).await).await.1.results.remove(0)
        },
        |result| {
            assert!(matches!(result.outcome, Outcome::Released | Outcome::Refused), "{result:#?}");
            result.outcome == Outcome::Released
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_us_is_said_to_and_so_is_what_is_no_redis() {
    let authority = Authority::new();
    let (redis, port) = authority.redis().await;
    let impostor = Impostor::start().await;
    redis.watcher("-scan").await;
    for (user_info, port, words) in [
        ("watcher:wr0ng@", port, "Redis refused the user name or the password"),
        ("", free_port(), "the connection failed: connection refused"),
        ("", impostor.port(), "does not speak TLS"),
    ] {
        let (server, api) = server_for(&format!("rediss://{user_info}127.0.0.1:{port}"), &authority.config()).await;
        down_because(&api, words).await;
        assert!(!server.said().contains("wr0ng"), "{}", server.said());
    }
    let (_server, api) = server_for(&format!("rediss://watcher:secret@127.0.0.1:{port}"), &authority.config()).await;
    degraded_because(&api, "the credential may not run `SCAN`").await;
    assert_eq!(api.source().await.missing_permissions[0].permission, "SCAN");
    let holder = Family::RedisPy.client(&redis.client().await, "heard", Some(LEASE));
    assert!(holder.take().await);
    is_shown(&api, &holder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_frozen_or_restarted_is_seen_and_healed_after() {
    let authority = Authority::new();
    let (mut redis, port) = authority.redis().await;
    let proxy = Proxy::to(port).await;
    let (_server, api) = server_for(&format!("rediss://127.0.0.1:{}", proxy.port()), &authority.config()).await;
    api.until_live().await;
    let handed = Family::RedisPy.client(&redis.client().await, "handed", Some(LEASE));
    assert!(handed.take().await);
    is_shown(&api, &handed).await;
    proxy.cut();
    down_because(&api, "the connection failed").await;
    assert!(handed.release().await);
    let next = handed.fresh();
    assert!(next.take().await);
    proxy.restore();
    assert!(api.until_live().await.gaps >= 1);
    is_shown(&api, &next).await;
    assert!(api.story(&next.key).await.contains(&"gap"));

    redis.freeze();
    down_because(&api, "does not answer").await;
    redis.thaw();
    api.until_live().await;
    is_shown(&api, &next).await;

    redis.start_again().await;
    until("the lock to be gone", async || api.lock(&next.key).await, Option::is_none).await;
    assert_eq!(api.events(&next.key).await[0].transition, TransitionKind::Lost);
    api.until_live().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_come_back_unharmed() {
    let authority = Authority::new();
    let (redis, port) = authority.redis().await;
    Oddities::write(async |_| vec![redis.client().await]).await;
    let lines = format!("{}patterns = [\"*\"]\n", authority.config());
    let (_server, api) = server_for(&format!("rediss://127.0.0.1:{port}"), &lines).await;
    Oddities::are_shown(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_servers_are_watched_and_a_failover_is_followed() {
    let authority = Authority::new();
    let mut sentinels = Sentinels::over_tls(&authority).await;
    let (_server, api) = server_for(&sentinels.url(), &authority.config()).await;
    let source = api.until_live().await;
    assert_eq!(source.address, format!("127.0.0.1:{}", sentinels.ports[0]));
    let client = sentinels.servers[0].client().await;
    let holder = Family::RedisPy.client(&client, "kept", Some(LEASE));
    assert!(holder.take().await);
    is_shown(&api, &holder).await;
    let _: i64 = store(&client, "WAIT", ["2", "0"]).await;

    let former = sentinels.servers[0].port();
    sentinels.servers[0].kill();
    down_because(&api, "the connection failed").await;
    let next = sentinels.another_primary(former).await.port();
    let at = sentinels.servers.iter().position(|server| server.port() == next).unwrap();
    let address = format!("127.0.0.1:{}", sentinels.ports[at]);
    let is_followed = |source: &SourceStatus| source.state == SourceState::Live && source.address == address;
    api.until_source("the new primary", is_followed).await;
    is_released(&api, &holder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_with_whom_tls_cannot_be_spoken_are_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let sentinels = Sentinels::over_tls(&authority).await;
    let url = sentinels.url();
    let first = format!("127.0.0.1:{}", sentinels.sentinel_ports()[0]);
    let (_server, api) = server_for(&url, &stranger.config()).await;
    down_because(&api, &format!("{first}: the certificate of Redis is not signed by an authority")).await;
    let (_server, api) = server_for(&url.replace("rediss", "redis"), "").await;
    down_because(&api, &format!("no sentinel says where it is, so the primary is not known: {first}: ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_watched_its_keys_are_followed_and_a_replica_that_takes_over_too() {
    let authority = Authority::new();
    let mut cluster = Cluster::over_tls(&authority).await;
    let (_server, api) = server_for(&cluster.url(), &authority.config()).await;
    let source = api.until_live().await;
    assert!(cluster.ports[..3].iter().all(|port| source.address.contains(&port.to_string())), "{source:#?}");
    let moving = cluster.take(0, Family::RedisPy, "moving", LEASE).await;
    let kept = cluster.take(1, Family::RedisPy, "kept", LEASE).await;
    is_shown(&api, &moving).await;
    is_shown(&api, &kept).await;
    cluster.move_slot(&moving.key, 0, 2, async || is_released(&api, &moving).await).await;
    let _: i64 = store(&cluster.nodes[1].client().await, "WAIT", ["1", "0"]).await;
    cluster.nodes[1].kill();
    api.until_source("the loss", |source| source.state != SourceState::Live).await;
    cluster.until_primary(4).await;
    api.until_live().await;
    is_released(&api, &kept).await;

    let stranger = Authority::new();
    let (_server, api) = server_for(&cluster.url(), &stranger.config()).await;
    down_because(&api, ": the certificate of Redis is not signed by an authority").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_of_a_quorum_may_speak_tls_or_not() {
    let authority = Authority::new();
    let masters = Masters::start().await;
    let mut urls: Vec<String> = masters.servers.iter().map(|server| server.url()).collect();
    let mut sealed = Vec::new();
    for url in &mut urls[1..] {
        let (redis, port) = authority.redis().await;
        *url = format!("rediss://127.0.0.1:{port}");
        sealed.push(redis);
    }
    let server = Masters::watched(&urls, &authority.config()).await;
    let api = server.api();
    api.until_live().await;
    let holder = masters.holder("held");
    masters.take(&holder, [0]).await;
    for redis in &sealed {
        let arguments = [holder.key.as_str(), &holder.token, "PX", "60000"];
        let _: String = store(&redis.client().await, "SET", arguments).await;
    }
    let owned = |lock: &Lock| (quorum(lock).standing, quorum(lock).votes) == (Standing::Owned, 5);
    api.until_lock("five votes", &holder.key, owned).await;
    is_released(&api, &holder).await;

    let stranger = Authority::new();
    let server = Masters::watched(&urls, &stranger.config()).await;
    let api = server.api();
    down_because(&api, "only 1 of 5 masters answer").await;
    let has_tried_all =
        |source: &SourceStatus| source.problem.as_ref().is_some_and(|problem| !problem.contains("not connected yet"));
    let problem = api.until_source("each master to be tried", has_tried_all).await.problem.unwrap();
    assert!(problem.contains(&urls[1]["rediss://".len()..]) && problem.contains("not signed by"), "{problem}");
}
