use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::{ClusterHash, CustomCommand, Expiration};
use lockkeeper_client::{Error, LockClient, Loss, Options, Settings, fence_key};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::redis_server::{RedisServer, until_some};

const KEY: &str = "lock:stock";

/// A lease that does not run out while a test runs on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A lease that is renewed often while a test watches, yet outlives a busy machine's pauses.
const SHORT: Duration = Duration::from_secs(6);

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

async fn locks(redis: &RedisServer) -> LockClient {
    LockClient::new([redis.url()], Settings::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_tasks_that_want_the_same_lock_get_it_one_at_a_time() {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 10;
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let outside = redis.client().await;
    let inside = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (locks, outside, inside) = (locks.clone(), outside.clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            let options = Options::lease(LONG).pauses(Duration::from_millis(1), Duration::from_millis(10));
            for _ in 0..ROUNDS {
                let guard = locks.acquire(KEY, options.clone()).await.unwrap();
                assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                // Read and write apart: what a second holder does in between is lost.
                let count: Option<u64> = outside.get("counter").await.unwrap();
                tokio::task::yield_now().await;
                let _: () = outside.set("counter", count.unwrap_or(0) + 1, None, None, false).await.unwrap();
                inside.store(false, Ordering::SeqCst);
                guard.release().await.unwrap();
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
    assert_eq!(outside.get::<u64, _>("counter").await.unwrap(), TASKS * ROUNDS);
    assert!(!outside.exists::<bool, _>(KEY).await.unwrap());
}

#[tokio::test]
async fn fencing_tokens_increase_from_holder_to_holder() {
    let redis = RedisServer::start().await;
    let outside = redis.client().await;
    let mut last = 0;
    for _ in 0..3 {
        // A new client each time: the counter is in the store, not in the program.
        let guard = locks(&redis).await.acquire(KEY, Options::lease(LONG)).await.unwrap();
        assert!(guard.fencing_token() > last);
        last = guard.fencing_token();
        guard.release().await.unwrap();
    }
    let fence = fence_key(KEY.as_bytes());
    assert_eq!(outside.get::<u64, _>(fence.as_slice()).await.unwrap(), last);
    assert_eq!(outside.ttl::<i64, _>(fence.as_slice()).await.unwrap(), -1, "the counter never ends");
}

#[tokio::test]
async fn a_holder_that_is_alive_keeps_its_lock_by_renewing() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let outside = redis.client().await;
    let guard = locks.acquire(KEY, Options::lease(SHORT)).await.unwrap();
    let mut last_ttl = i64::MAX;
    let renewals = AtomicU64::new(0);
    until_some("four renewals, which outlast the lease", async || {
        let ttl: i64 = outside.pttl(KEY).await.unwrap();
        assert!(ttl > 0, "the lock lapsed after {renewals:?} renewals");
        if ttl > last_ttl {
            renewals.fetch_add(1, Ordering::SeqCst);
        }
        last_ttl = ttl;
        (renewals.load(Ordering::SeqCst) == 4).then_some(())
    })
    .await;
    assert!(!guard.is_lost());
    assert_eq!(outside.get::<String, _>(KEY).await.unwrap(), guard.token());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_holder_learns_that_its_lock_was_deleted_and_does_not_take_it_back() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let outside = redis.client().await;
    let guard = locks.acquire(KEY, Options::lease(SHORT)).await.unwrap();
    let lost = guard.lost();
    let _: () = outside.del(KEY).await.unwrap();
    assert_eq!(timeout(DEADLINE, lost).await.expect("word of the loss"), Loss::TakenAway);
    assert!(guard.is_lost());
    assert!(!outside.exists::<bool, _>(KEY).await.unwrap());
    assert!(matches!(guard.release().await, Err(Error::NotHeld { .. })));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_lost_when_it_runs_out() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let options = Options::lease(Duration::from_millis(300)).without_renewal();
    let guard = locks.acquire(KEY, options).await.unwrap();
    assert_eq!(timeout(DEADLINE, guard.lost()).await.expect("word of the loss"), Loss::Lapsed);
}

#[tokio::test]
async fn a_holder_whose_redis_hangs_learns_that_its_lease_ran_out() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let guard = locks.acquire(KEY, Options::lease(SHORT)).await.unwrap();
    redis.freeze();
    let loss = timeout(DEADLINE, guard.lost()).await.expect("word of the loss");
    redis.thaw();
    assert_eq!(loss, Loss::Lapsed);
}

#[tokio::test]
async fn the_next_holders_token_is_never_deleted_or_renewed() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let outside = redis.client().await;
    for dropped in [false, true] {
        let guard = locks.acquire(KEY, Options::lease(SHORT)).await.unwrap();
        let _: () = outside.set(KEY, "somebody else", Some(Expiration::PX(600_000)), None, false).await.unwrap();
        assert_eq!(timeout(DEADLINE, guard.lost()).await.expect("word of the loss"), Loss::TakenAway);
        if dropped {
            drop(guard);
            // The release of the drop went out before this one, on the same connection.
            let other = locks.acquire("lock:other", Options::lease(LONG)).await.unwrap();
            other.release().await.unwrap();
        } else {
            assert!(matches!(guard.release().await, Err(Error::NotHeld { .. })));
        }
        assert_eq!(outside.get::<String, _>(KEY).await.unwrap(), "somebody else");
        assert!(outside.pttl::<i64, _>(KEY).await.unwrap() > 300_000, "its lease was not touched");
        let _: () = outside.del(KEY).await.unwrap();
    }
}

#[tokio::test]
async fn a_guard_that_is_dropped_frees_its_lock() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    drop(locks.acquire(KEY, Options::lease(LONG)).await.unwrap());
    let next = locks.acquire(KEY, Options::lease(LONG).wait_at_most(DEADLINE)).await.unwrap();
    next.release().await.unwrap();
}

#[tokio::test]
async fn who_does_not_want_to_wait_is_refused_and_who_does_gives_up_at_the_deadline() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let guard = locks.acquire(KEY, Options::lease(LONG)).await.unwrap();
    let refused = locks.acquire(KEY, Options::lease(LONG).without_waiting()).await.unwrap_err();
    assert_eq!(refused, Error::Refused { key: KEY.to_owned() });
    let options = Options::lease(LONG).wait_at_most(Duration::from_secs(1));
    match locks.acquire(KEY, options).await.unwrap_err() {
        Error::GaveUp { key, tries, waited } => {
            assert_eq!(key, KEY);
            assert!(tries > 1 && waited >= Duration::from_secs(1), "{tries} tries in {waited:?}");
        }
        other => panic!("{other}"),
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn what_redis_refuses_is_an_error_at_once_and_leaves_no_lock_behind() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let outside = redis.client().await;
    let fence = fence_key(KEY.as_bytes());
    for (counter, because) in
        [("no number", "integer"), ("-1", "out of range"), ("-7", "out of range"), ("9007199254740991", "out of range")]
    {
        let _: () = outside.set(fence.as_slice(), counter, None, None, false).await.unwrap();
        let error = locks.acquire(KEY, Options::lease(LONG)).await.unwrap_err();
        assert!(matches!(&error, Error::Denied { because: said } if said.contains(because)), "{counter}: {error}");
        assert!(!outside.exists::<bool, _>(KEY).await.unwrap(), "{counter}");
    }
}

#[tokio::test]
async fn keys_are_bytes() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis).await;
    let key = b"lock:\xff\x00{\r\n";
    let guard = locks.acquire(key, Options::lease(LONG)).await.unwrap();
    let held = locks.acquire(key, Options::lease(LONG).without_waiting()).await.unwrap_err();
    assert_eq!(held.to_string(), r"`lock:\xff\x00{\r\n` is held by somebody else");
    assert_eq!(redis.client().await.get::<String, _>(&key[..]).await.unwrap(), guard.token());
    guard.release().await.unwrap();
    let empty = locks.acquire("", Options::lease(LONG)).await.unwrap_err();
    assert!(matches!(empty, Error::Invalid { .. }), "{empty}");
}

#[tokio::test]
async fn in_a_cluster_a_lock_and_its_counter_share_a_slot() {
    let redis = RedisServer::with(&["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]).await;
    let outside = redis.client().await;
    let command = CustomCommand::new_static("CLUSTER", ClusterHash::FirstKey, false);
    let _: () = outside.custom(command.clone(), vec!["ADDSLOTSRANGE", "0", "16383"]).await.unwrap();
    until_some("the cluster to serve", async || {
        let info: String = outside.custom(command.clone(), vec!["INFO"]).await.unwrap();
        info.contains("cluster_state:ok").then_some(())
    })
    .await;
    let url = redis.url().replace("redis://", "redis-cluster://");
    let locks = LockClient::new([url], Settings::default()).await.unwrap();
    for key in ["lock:a", "lock:{orders}:7", "lock:a{"] {
        let guard = locks.acquire(key, Options::lease(LONG)).await.unwrap();
        assert_eq!(guard.fencing_token(), 1);
        guard.release().await.unwrap();
    }
    let error = locks.acquire("lock:a}", Options::lease(LONG)).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { because } if because.contains("slot")), "{error}");
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let error = LockClient::new([redis.url()], Settings::default()).await.err().unwrap();
    assert!(matches!(error, Error::Unreachable { answered: 0, masters: 1, needed: 1, .. }), "{error}");
}
