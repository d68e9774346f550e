//! Keys and values that nobody promised to keep tidy.

use std::time::Duration;

use lockkeeper_model::{LockId, SourceState};
use lockkeeper_tests::{Family, RedisServer, Server, store, until};

const LEASE: Duration = Duration::from_secs(60);

/// A token as redis-py writes it.
const TOKEN: &str = "5e0d7c3ef2d411ef8a7f0242ac120002";

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_may_be_a_key_and_come_back_unharmed() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let keys: [&[u8]; 7] = [
        b"lock:\xff\xfe\x00\x01",
        b"lock:<img src=x onerror=alert(1)>",
        b"lock:\x1b[31mred\x07\r\n",
        "lock:\u{202e}gnirts".as_bytes(),
        b"lock:a/b?c=d&e#f%20g",
        b"lock:{tag}:..:../../etc",
        b"b64:lock",
    ];
    for (n, key) in keys.into_iter().enumerate() {
        // One token in several keys would be one lock.
        let token = format!("{n}{}", &TOKEN[1..]);
        let _: String = store(&client, "SET", [key, token.as_bytes(), b"PX", b"60000"]).await;
    }
    // A token of any bytes, too.
    let _: String = store(&client, "SET", [b"lock:raw".as_slice(), &[0, 159, 146, 150], b"PX", b"60000"]).await;
    let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("*").start().await;
    server.ready().await;
    let api = server.api();
    for key in keys {
        let lock = api.lock(key).await.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(key)));
        assert_eq!(lock.id, LockId::of_key(key));
        assert_eq!(lock.id.key().unwrap(), key);
    }
    let raw = api.lock("lock:raw").await.unwrap();
    assert_eq!((raw.holders[0].token.as_deref(), raw.holders[0].token_b64.as_str()), (None, "AJ+Slg=="));
    assert_eq!(api.locks("").await.total, keys.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_key_can_be_released_like_any_other() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let server = Server::releasing(&redis).await;
    let key: &[u8] = b"lock:\xff<b>\x07";
    let _: String = store(&client, "SET", [key, TOKEN.as_bytes(), b"PX", b"60000"]).await;
    let api = server.api();
    let lock = api.until_lock("the lock", key, |_| true).await;
    let preview = api.preview(&lock).await;
    assert!(!preview.confirm.is_empty() && preview.confirm.chars().all(|c| !c.is_control()), "{preview:#?}");
    assert_eq!(api.release(&preview).await.0, 200);
    assert!(api.lock(key).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_lock_is_left_alone_and_named() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let _: i64 = store(&client, "RPUSH", ["lock:list", "a"]).await;
    let _: i64 = store(&client, "SADD", ["lock:set", "a"]).await;
    let _: i64 = store(&client, "ZADD", ["lock:zset", "1", "a"]).await;
    let _: String = store(&client, "XADD", ["lock:stream", "*", "a", "b"]).await;
    let _: i64 = store(&client, "HSET", ["lock:hash", "a", "b"]).await;
    let _: i64 = store(&client, "RPUSH", ["lock-signal:real", "1"]).await;
    // Far more than any lock, and still not a lot for the test.
    let big = "x".repeat(20 * 1024 * 1024);
    let _: String = store(&client, "SET", ["lock:big", &big]).await;
    let fields = (0..50_000).flat_map(|n| [format!("field-{n}"), "1".to_owned()]);
    let _: i64 = store(&client, "HSET", std::iter::once("lock:wide".to_owned()).chain(fields)).await;
    assert!(Family::RedisPy.client(&client, "real", Some(LEASE)).take().await);

    let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("lock*").start().await;
    server.ready().await;
    let source = server.api().until_live().await;
    let named: Vec<_> = source.not_locks.sample.iter().map(|(id, _)| id.as_str()).collect();
    for key in ["lock:list", "lock:set", "lock:zset", "lock:stream", "lock:hash", "lock:wide"] {
        assert!(named.contains(&key), "{key} in {:#?}", source.not_locks);
    }
    let listed: Vec<_> = server.api().locks("sort=name").await.locks.into_iter().map(|lock| lock.id).collect();
    assert!(listed.iter().any(|id| id.as_str() == "lock:real"), "{listed:?}");
    assert!(listed.iter().all(|id| ["lock:real", "lock:big"].contains(&id.as_str())), "{listed:?}");

    // The store was not made to send what nobody wants: its answers to the dashboard stay small.
    let stats: String = store(&client, "INFO", ["stats"]).await;
    let sent: u64 =
        stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap().trim().parse().unwrap();
    assert!(sent < 1024 * 1024, "{sent} bytes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_become_a_lock_and_stop_being_one() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("lock:*").start().await;
    server.ready().await;
    let api = server.api();
    let _: i64 = store(&client, "RPUSH", ["lock:odd", "a"]).await;
    until("the list to be named", async || api.source().await.not_locks.count, |count| *count >= 1).await;
    let _: i64 = store(&client, "DEL", ["lock:odd"]).await;
    let _: String = store(&client, "SET", ["lock:odd", TOKEN, "PX", "60000"]).await;
    api.until_lock("the lock", "lock:odd", |_| true).await;
    let _: i64 = store(&client, "DEL", ["lock:odd"]).await;
    let _: i64 = store(&client, "SADD", ["lock:odd", "a"]).await;
    until("the lock to be gone", async || api.lock("lock:odd").await, Option::is_none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_taken_away_is_flagged() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let server = Server::watching(&redis).await;
    let api = server.api();
    assert!(Family::RedisPy.client(&client, "persisted", Some(LEASE)).take().await);
    api.until_lock("the lock", "lock:persisted", |lock| lock.flags.is_empty()).await;
    let _: i64 = store(&client, "PERSIST", ["lock:persisted"]).await;
    let lock = api.until_lock("the flag", "lock:persisted", |lock| !lock.flags.is_empty()).await;
    assert!(lock.flags.iter().any(|flag| flag.word() == "expiry-lost"), "{lock:#?}");
    assert_eq!(server.api().source().await.state, SourceState::Live);
}
