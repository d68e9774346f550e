//! One server.

use std::time::Duration;

use lockkeeper_model::{Flag, SourceState, TransitionKind};
use lockkeeper_tests::{
    Api, Family, Impostor, LOADS_SLOWLY, Locks, Proxy, RedisServer, Server, free_port, store, until,
};

use super::{LEASE, OLD, down_because, server_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_shown_as_down_until_it_comes() {
    let port = free_port();
    let (_server, api) = server_for(&format!("redis://:s3cret@127.0.0.1:{port}")).await;
    down_because(&api, "connection").await;
    let said = format!("{:?}{:?}{:?}", api.get("/api/v1/sources").await, api.get("/readyz").await, api.locks("").await);
    assert!(!said.contains("s3cret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named_without_being_shown() {
    let redis = RedisServer::with(&["--requirepass", "right"]).await;
    for url in [format!("redis://:wr0ng@127.0.0.1:{}", redis.port()), redis.url_as("nobody", "wr0ng")] {
        let (server, api) = server_for(&url).await;
        down_because(&api, "password").await;
        assert!(!server.said().contains("wr0ng"), "{}", server.said());
    }
    let (_server, api) = server_for(&format!("redis://127.0.0.1:{}", redis.port())).await;
    down_because(&api, "password").await;
    let (server, api) = server_for(&redis.url()).await;
    api.until_live().await;
    assert!(!server.said().contains("right"), "{}", server.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_permission_is_named_with_what_it_costs_and_what_grants_it() {
    for (rule, named, is_vital) in [
        ("-scan", "SCAN", true),
        ("-info", "INFO", false),
        ("-config", "CONFIG", false),
        ("-client", "CLIENT", false),
        ("-pubsub", "PUBSUB", false),
        ("-get -getrange", "GETRANGE", true),
        ("-memory", "MEMORY", false),
        ("-dbsize", "DBSIZE", false),
    ] {
        // Without tracking, so that the configuration is asked for notifications.
        let redis = RedisServer::start().await;
        let url = redis.watcher(&format!("-client|tracking {rule}")).await;
        let client = redis.client().await;
        assert!(Family::RedisPy.client(&client, "seen", Some(LEASE)).take().await);
        assert!(Family::Redisson.client(&client, "seen", Some(LEASE)).take().await);
        let (_server, api) = server_for(&url).await;
        let source = api
            .until_source(&format!("`{named}` to be missing"), |source| {
                let missing = source.missing_permissions.iter().any(|missing| missing.permission.starts_with(named));
                missing || source.problem.as_ref().is_some_and(|problem| problem.contains(named))
            })
            .await;
        for missing in &source.missing_permissions {
            assert!(!missing.costs.is_empty() && missing.fix.contains('+'), "{missing:#?}");
        }
        if is_vital {
            api.until_source("a source that is not live", |source| source.state != SourceState::Live).await;
        } else {
            until("the lock all the same", async || api.lock("lock:seen").await, Option::is_some).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_on_the_port_and_a_redis_that_is_too_old_are_said_to_be_so() {
    let impostor = Impostor::start().await;
    let (_server, api) = server_for(&format!("redis://127.0.0.1:{}", impostor.port())).await;
    down_because(&api, "protocol").await;
    // What it answers to a greeting that it does not know, as every Redis before version 6 does.
    let old = RedisServer::with(&OLD).await;
    let (_server, api) = server_for(&old.url()).await;
    down_because(&api, "this Redis is too old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_restarts_empty_loses_its_locks_on_the_screen_too() {
    let mut redis = RedisServer::start().await;
    let client = redis.client().await;
    assert!(Family::RedisPy.client(&client, "before", Some(LEASE)).take().await);
    let server = Server::watching(&redis).await;
    let api = server.api();
    api.until_lock("the lock", "lock:before", |_| true).await;
    redis.kill();
    api.until_source("the loss", |source| source.state == SourceState::Down).await;
    api.until_lock("the last known state, marked as such", "lock:before", |lock| lock.flags == [Flag::Stale]).await;

    redis.start_again().await;
    let source = api.until_live().await;
    assert!(source.gaps >= 1 && source.last_gap_at.is_some() && source.last_gap.is_some(), "{source:#?}");
    until("the lock to be gone", async || api.lock("lock:before").await, Option::is_none).await;
    // Nobody saw how it ended, and that is what is said.
    assert_eq!(api.events("lock:before").await[0].transition, TransitionKind::Lost);

    let client = redis.client().await;
    assert!(Family::Redisson.client(&client, "after", Some(LEASE)).take().await);
    api.until_lock("the new lock", "after", |_| true).await;
}

/// Changes go on while the dashboard cannot see them.
async fn change_unseen(
    client: &fred::clients::Client,
    handed: &lockkeeper_tests::LockClient,
) -> lockkeeper_tests::LockClient {
    assert!(handed.release().await);
    let next = handed.fresh();
    assert!(next.take().await);
    assert!(Family::Redisson.client(client, "new", Some(LEASE)).take().await);
    next
}

async fn is_right_again(api: &Api, next: &lockkeeper_tests::LockClient) {
    let source = api.until_live().await;
    assert!(source.gaps >= 1, "{source:#?}");
    api.until_lock("the holder of now", &next.key, |lock| {
        lock.holders[0].token.as_ref() == Some(&next.token) && lock.flags.is_empty()
    })
    .await;
    api.until_lock("the lock that was taken meanwhile", "new", |_| true).await;
    assert_eq!(api.locks("").await.total, 2);
    let story = api.story(&next.key).await;
    assert!(story.contains(&"gap"), "the gap is not in the story: {story:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_is_seen_and_healed_after() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let client = redis.client().await;
    let handed = Family::RedisPy.client(&client, "handed", Some(LEASE));
    let (_server, api) = server_for(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    api.until_live().await;
    assert!(handed.take().await);
    api.until_lock("the lock", &handed.key, |_| true).await;
    proxy.cut();
    api.until_source("the loss", |source| source.state == SourceState::Down).await;
    let next = change_unseen(&client, &handed).await;
    proxy.restore();
    is_right_again(&api, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_goes_silent_is_not_taken_for_a_quiet_store() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let client = redis.client().await;
    let handed = Family::RedisPy.client(&client, "handed", Some(LEASE));
    let (_server, api) = server_for(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    api.until_live().await;
    assert!(handed.take().await);
    api.until_lock("the lock", &handed.key, |_| true).await;
    proxy.freeze();
    let source = api.until_source("the silence", |source| source.state != SourceState::Live).await;
    assert!(source.problem.is_some(), "{source:#?}");
    let next = change_unseen(&client, &handed).await;
    proxy.restore();
    is_right_again(&api, &next).await;
}

/// What comes back on the connection for changes is as old as the store was when it was asked, and what a person waits for
/// is asked on another.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_late_does_not_bring_a_former_holder_back() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let client = redis.client().await;
    let first = Family::RedisPy.client(&client, "late", Some(LEASE));
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let server = Server::serve().redis(&url).arg("--allow-release").start().await;
    server.ready().await;
    let api = server.api();
    assert!(first.take().await);
    let lock = api.until_lock("the lock", &first.key, |_| true).await;

    proxy.answer_late(first.key.as_bytes(), Duration::from_secs(1));
    let longer = (2 * LEASE).as_millis().to_string();
    let _: i64 = store(&client, "PEXPIRE", [first.key.as_str(), longer.as_str()]).await;
    until("the renewal to be read", async || proxy.is_answering_late(), |is_read| *is_read).await;
    let second = first.fresh();
    assert!(first.release().await && second.take().await);
    assert_eq!(api.try_preview(&[&lock]).await.status, 409, "another has it");
    let _: i64 = store(&client, "PEXPIRE", [first.key.as_str(), longer.as_str()]).await;
    api.until_lock("the next renewal", &first.key, |lock| {
        lock.holders[0].token.as_ref() == Some(&second.token) && lock.holders[0].renewals.count == 1
    })
    .await;
    assert_eq!(api.story(&first.key).await, ["acquired", "renewed", "handed_over", "renewed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_store_is_shown_as_such_within_seconds_and_thaws() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    assert!(Family::RedisPy.client(&client, "cold", Some(LEASE)).take().await);
    let server = Server::watching(&redis).await;
    let api = server.api();
    api.until_live().await;
    redis.freeze();
    let began = std::time::Instant::now();
    api.until_source("the freeze", |source| source.state == SourceState::Down).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    api.until_lock("the last known state, marked as such", "lock:cold", |lock| lock.flags == [Flag::Stale]).await;
    redis.thaw();
    api.until_live().await;
    api.until_lock("the lock as it is", "lock:cold", |lock| lock.flags.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_still_loads_is_said_to_load_and_not_to_be_empty() {
    let mut redis = RedisServer::with(&LOADS_SLOWLY).await;
    let client = redis.client().await;
    assert!(Family::RedisPy.client(&client, "kept", Some(LEASE)).take().await);
    redis.save_much("filler").await;
    let server = Server::watching(&redis).await;
    let api = server.api();
    redis.spawn_again();
    down_because(&api, "loading").await;
    assert_eq!(api.locks("").await.total, 1, "what was known is still shown");
    api.until_live().await;
    api.until_lock("the lock that was kept", "lock:kept", |lock| lock.flags.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_for_more_connections_is_said_to_have_none() {
    let redis = RedisServer::with(&["--maxclients", "4"]).await;
    let (_server, api) = server_for(&redis.url()).await;
    down_because(&api, "room for another connection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_source_does_not_darken_the_other() {
    let redis = RedisServer::start().await;
    let mut other = RedisServer::start().await;
    let client = redis.client().await;
    assert!(Family::RedisPy.client(&client, "here", Some(LEASE)).take().await);
    let server = Server::serve().redis(&redis.url()).redis(&other.url()).start().await;
    server.ready().await;
    other.kill();
    let api = server.api();
    until("one to be down", async || api.get("/api/v1/sources").await.body, |body| body.contains("\"down\"")).await;
    let is_current = |page: &Locks| page.total == 1 && page.locks[0].flags.is_empty();
    until("the lock of the other", async || api.locks("").await, is_current).await;
    assert!(Family::RedisPy.client(&client, "there", Some(LEASE)).take().await);
    until("the new lock", async || api.locks("").await.total, |total| *total == 2).await;
}
