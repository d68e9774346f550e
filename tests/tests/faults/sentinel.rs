//! A primary that sentinels move about: the servers can break, and so can those who say which of them it is.

use lockkeeper_model::{Flag, SourceState, SourceStatus, TransitionKind};
use lockkeeper_tests::{
    Api, Family, Impostor, LOADS_SLOWLY, LockClient, Oddities, PRIMARY, Proxy, RedisServer, Sentinels, Server,
    free_port, store, until,
};

use super::{LEASE, OLD, degraded_because, down_because, server_for};

/// So long that no sentinel takes a server for gone.
const NOBODY_TAKES_OVER: &str = "sentinel down-after-milliseconds main 600000";

async fn take(server: &RedisServer, name: &str) -> LockClient {
    let holder = Family::RedisPy.client(&server.client().await, name, Some(LEASE));
    assert!(holder.take().await);
    holder
}

async fn is_shown(api: &Api, holder: &LockClient) {
    let has_it = |lock: &lockkeeper_model::Lock| {
        lock.holders[0].token.as_ref() == Some(&holder.token) && !lock.flags.contains(&Flag::Stale)
    };
    api.until_lock("the lock as it is", &holder.key, has_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sentinel_is_named() {
    let (redis, impostor, old) = (RedisServer::start().await, Impostor::start().await, RedisServer::with(&OLD).await);
    for (port, words) in [
        (free_port(), "the connection failed: connection refused"),
        (redis.port(), "this Redis is no sentinel"),
        (impostor.port(), "does not speak the protocol of Redis"),
        (old.port(), "too old"),
    ] {
        let (_server, api) = server_for(&format!("redis-sentinel://127.0.0.1:{port}/{PRIMARY}")).await;
        let source = down_because(&api, words).await;
        let problem = source.problem.unwrap();
        let named = format!("no sentinel says where it is, so the primary is not known: 127.0.0.1:{port}: ");
        assert!(problem.starts_with(&named), "{problem}");
    }
}

/// Has the sentinels say that the primary is at this port.
async fn name(sentinels: &Sentinels, port: u16) {
    for sentinel in sentinels.clients().await {
        let _: String = store(&sentinel, "SENTINEL", ["REMOVE", PRIMARY]).await;
        let _: String = store(&sentinel, "SENTINEL", ["MONITOR", PRIMARY, "127.0.0.1", &port.to_string(), "2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sentinels_name_and_is_no_primary_is_named() {
    let (impostor, old) = (Impostor::start().await, RedisServer::with(&OLD).await);
    let sentinels = Sentinels::start().await;
    for (port, words) in [
        (free_port(), "the connection failed: connection refused"),
        (impostor.port(), "what answers at this address does not speak the protocol of Redis"),
        (old.port(), "this Redis is too old"),
        (sentinels.ports[1], "it says that it is a replica"),
    ] {
        name(&sentinels, port).await;
        let (_server, api) = server_for(&sentinels.url()).await;
        down_because(&api, &format!("the sentinels name 127.0.0.1:{port} as the primary: {words}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_are_said_to_be_the_servers_or_the_sentinels() {
    let sentinels = Sentinels::start().await;
    for server in &sentinels.servers {
        server.watcher("").await;
    }
    let wrong = sentinels.url().replace("://", "://watcher:wr0ng@");
    let (server, api) = server_for(&wrong).await;
    let named = format!("the sentinels name 127.0.0.1:{} as the primary: Redis refused", sentinels.ports[0]);
    down_because(&api, &named).await;
    assert!(!server.said().contains("wr0ng"), "{}", server.said());

    for sentinel in sentinels.clients().await {
        for rules in ["SETUSER asker on >hush +ping", "SETUSER default off"] {
            let _: String = store(&sentinel, "ACL", rules.split(' ')).await;
        }
    }
    let url = sentinels.url().replace("://", "://watcher:secret@");
    for (user, words, hint) in [
        ("", "the sentinel wants a password and none is configured", "sentinel = {"),
        (
            "user = \"asker\", password = \"wr0ng\"",
            "the sentinel refused the user name or the password",
            "sentinel = {",
        ),
        (
            "user = \"asker\", password = \"hush\"",
            "its user may not run `SENTINEL",
            "+sentinel|get-master-addr-by-name",
        ),
    ] {
        let config = format!("[[source]]\nurl = \"{url}\"\nsentinel = {{ {user} }}\n");
        let server = Server::serve().config(&config).start().await;
        let source = down_because(&server.api(), words).await;
        assert!(source.hint.as_ref().is_some_and(|said| said.contains(hint)), "{source:#?}");
        let said = format!("{source:?}{}", server.said());
        assert!(!said.contains("wr0ng") && !said.contains("hush"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_permission_is_named_and_what_it_does_not_touch_goes_on() {
    let sentinels = Sentinels::start().await;
    let before = take(&sentinels.servers[0], "before").await;
    let url = sentinels.url().replace("://", "://watcher:secret@");
    for (i, (rule, named)) in
        [("-scan", "SCAN"), ("-client", "CLIENT TRACKING"), ("-client -config", "CONFIG GET")].into_iter().enumerate()
    {
        for server in &sentinels.servers {
            server.watcher(rule).await;
        }
        let (_server, api) = server_for(&url).await;
        let source = api
            .until_source(named, |source| source.missing_permissions.iter().any(|one| one.permission == named))
            .await;
        for missing in &source.missing_permissions {
            assert!(!missing.costs.is_empty() && missing.fix.contains('+'), "{missing:#?}");
        }
        let degraded = api.until_source("what it costs", |source| source.state == SourceState::Degraded).await;
        assert!(degraded.problem.is_some() && degraded.hint.is_some(), "{degraded:#?}");
        is_shown(&api, &take(&sentinels.servers[0], &format!("after-{i}")).await).await;
        if named != "SCAN" {
            is_shown(&api, &before).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_restarts_and_loads_is_said_to_and_what_it_did_not_keep_is_lost() {
    let mut sentinels = Sentinels::with(NOBODY_TAKES_OVER, &LOADS_SLOWLY).await;
    let kept = take(&sentinels.servers[0], "kept").await;
    sentinels.servers[0].save_much("filler").await;
    let (_server, api) = server_for(&sentinels.url()).await;
    api.until_live().await;
    let lost = take(&sentinels.servers[0], "lost").await;
    is_shown(&api, &lost).await;
    sentinels.servers[0].spawn_again();
    down_because(&api, "Redis is loading its data set").await;
    assert_eq!(api.locks("").await.total, 2, "what was known is still shown");
    let source = api.until_live().await;
    assert!(source.gaps >= 1 && source.last_gap.is_some(), "{source:#?}");
    is_shown(&api, &kept).await;
    until("the other to be gone", async || api.lock(&lost.key).await, Option::is_none).await;
    assert_eq!(api.events(&lost.key).await[0].transition, TransitionKind::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_left_for_its_successor_and_not_returned_to() {
    let sentinels = Sentinels::start().await;
    let former = &sentinels.servers[0];
    let (_server, api) = server_for(&sentinels.url()).await;
    api.until_live().await;
    let holder = take(former, "held").await;
    is_shown(&api, &holder).await;
    let _: i64 = store(&former.client().await, "WAIT", ["2", "0"]).await;
    former.freeze();
    down_because(&api, "Redis does not answer").await;
    let next = sentinels.another_primary(former.port()).await;
    let address = format!("127.0.0.1:{}", next.port());
    let is_followed = |source: &SourceStatus| source.state == SourceState::Live && source.address == address;
    api.until_source("the successor", is_followed).await;
    is_shown(&api, &holder).await;

    former.thaw();
    until(
        "the former primary to follow",
        async || former.info("replication").await.unwrap_or_default(),
        |info| info.contains("role:slave"),
    )
    .await;
    is_shown(&api, &take(next, "next").await).await;
    let source = api.source().await;
    assert!(is_followed(&source), "{source:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_that_is_promoted_is_watched_when_it_answers_as_a_primary() {
    let sentinels = Sentinels::start().await;
    let (former, promoted) = (&sentinels.servers[0], &sentinels.servers[1]);
    let (_server, api) = server_for(&sentinels.url()).await;
    api.until_live().await;
    promoted.freeze();
    name(&sentinels, promoted.port()).await;
    let named = format!("the sentinels name 127.0.0.1:{} as the primary: ", promoted.port());
    degraded_because(&api, &format!("{named}Redis does not answer")).await;
    // What the former says is heard as long as it says anything.
    is_shown(&api, &take(former, "heard").await).await;
    promoted.thaw();
    degraded_because(&api, &format!("{named}it says that it is a replica")).await;
    let _: String = store(&promoted.client().await, "REPLICAOF", ["NO", "ONE"]).await;
    let address = format!("127.0.0.1:{}", promoted.port());
    let is_followed = |source: &SourceStatus| source.state == SourceState::Live && source.address == address;
    let source = api.until_source("the promoted", is_followed).await;
    assert!(source.last_gap.as_ref().is_some_and(|gap| gap.starts_with("failover from")), "{source:#?}");
    is_shown(&api, &take(promoted, "next").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_cut_off_cost_the_promise_to_notice_a_failover_and_nothing_else() {
    let sentinels = Sentinels::start().await;
    let mut proxies = Vec::new();
    for port in sentinels.sentinel_ports() {
        proxies.push(Proxy::to(port).await);
    }
    let ports: Vec<u16> = proxies.iter().map(Proxy::port).collect();
    let (_server, api) = server_for(&sentinels.url_through(&ports)).await;
    api.until_live().await;
    for proxy in &proxies[..2] {
        proxy.cut();
    }
    let most =
        format!("only 1 of 3 sentinels name the primary, so a failover may go unnoticed: 127.0.0.1:{}", ports[0]);
    degraded_because(&api, &most).await;
    proxies[2].freeze();
    degraded_because(&api, "no sentinel says where it is, so a failover is not noticed").await;
    is_shown(&api, &take(&sentinels.servers[0], "heard").await).await;
    for proxy in &proxies {
        proxy.restore();
    }
    let source = api.until_live().await;
    assert_eq!(source.gaps, 0, "{source:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_cut_off_is_seen_and_healed_after() {
    // The sentinels say that it is at the far end of a network that breaks, and wait for it to be mended.
    let sentinels = Sentinels::with(NOBODY_TAKES_OVER, &[]).await;
    let server = &sentinels.servers[0];
    let proxy = Proxy::to(server.port()).await;
    name(&sentinels, proxy.port()).await;
    let handed = take(server, "handed").await;
    let (_server, api) = server_for(&sentinels.url()).await;
    api.until_live().await;
    is_shown(&api, &handed).await;
    proxy.cut();
    down_because(&api, "the connection failed").await;
    assert!(handed.release().await);
    let next = handed.fresh();
    assert!(next.take().await);
    proxy.restore();
    let source = api.until_live().await;
    assert!(source.gaps >= 1, "{source:#?}");
    is_shown(&api, &next).await;
    assert!(api.story(&next.key).await.contains(&"gap"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_come_back_unharmed() {
    let sentinels = Sentinels::start().await;
    Oddities::write(async |_| vec![sentinels.servers[0].client().await]).await;
    let server = Server::serve().redis(&sentinels.url()).arg("--pattern").arg("*").start().await;
    Oddities::are_shown(&server.api()).await;
}
