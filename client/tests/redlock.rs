use std::time::Duration;

use fred::interfaces::KeysInterface as _;
use lockkeeper_client::{Error, LockClient, Options, Settings, fence_key};

use crate::redis_server::{RedisServer, until_some};

const KEY: &str = "lock:stock";
const LONG: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(30);

async fn locks(masters: &[RedisServer]) -> LockClient {
    LockClient::new(masters.iter().map(RedisServer::url), Settings::default()).await.unwrap()
}

/// The masters that have the lock now.
async fn held_on(masters: &[RedisServer]) -> usize {
    let mut held = 0;
    for master in masters {
        held += usize::from(master.client().await.exists::<bool, _>(KEY).await.unwrap());
    }
    held
}

#[tokio::test]
async fn a_lock_is_on_all_masters_and_is_given_back_on_all() {
    let masters = RedisServer::start_many(3).await;
    let (one, other) = (locks(&masters).await, locks(&masters).await);
    let guard = one.acquire(KEY, Options::lease(LONG).wait_at_most(DEADLINE)).await.unwrap();
    assert!(held_on(&masters).await >= 2);
    let refused = other.acquire(KEY, Options::lease(LONG).without_waiting()).await.unwrap_err();
    assert_eq!(refused, Error::Refused { key: KEY.to_owned() });
    guard.release().await.unwrap();
    assert_eq!(held_on(&masters).await, 0);
}

#[tokio::test]
async fn with_two_of_five_masters_gone_it_works_and_with_three_it_refuses() {
    let mut masters = RedisServer::start_many(5).await;
    let locks = locks(&masters).await;
    let wanted = Options::lease(LONG).wait_at_most(DEADLINE);

    masters[0].kill();
    masters[3].kill();
    let guard = locks.acquire(KEY, wanted.clone()).await.unwrap();
    let first = guard.fencing_token();
    guard.release().await.unwrap();
    let guard = locks.acquire(KEY, wanted).await.unwrap();
    assert!(guard.fencing_token() > first);
    guard.release().await.unwrap();

    masters[4].kill();
    let options = Options::lease(LONG).wait_at_most(Duration::from_millis(300));
    let error = locks.acquire(KEY, options).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { masters: 5, needed: 3, answered: ..3, .. }), "{error}");
    let left = masters.drain(1..3).collect::<Vec<_>>();
    until_some("what the minority granted to be given back", async || (held_on(&left).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_master_that_hangs_costs_no_lock() {
    let masters = RedisServer::start_many(3).await;
    let locks = locks(&masters).await;
    masters[1].freeze();
    let guard = locks.acquire(KEY, Options::lease(LONG).wait_at_most(DEADLINE)).await;
    masters[1].thaw();
    let guard = guard.unwrap();
    guard.release().await.unwrap();
    until_some("the master that hung to give it back, too", async || (held_on(&masters).await == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn fencing_tokens_increase_although_every_master_counts_on_its_own() {
    let mut masters = RedisServer::start_many(3).await;
    let counters = fence_key(KEY.as_bytes());
    // One master is far ahead, as after tries that only it granted.
    for (master, counter) in masters.iter().zip([900, 7, 5]) {
        let _: () = master.client().await.set(counters.as_slice(), counter, None, None, false).await.unwrap();
    }
    let locks = locks(&masters).await;
    // Without the second master, so that the one that is ahead takes part.
    masters[1].freeze();
    let guard = locks.acquire(KEY, Options::lease(LONG).wait_at_most(DEADLINE)).await;
    masters[1].thaw();
    let guard = guard.unwrap();
    let first = guard.fencing_token();
    assert!(first > 900, "{first}");
    guard.release().await.unwrap();
    // And now without the one that was ahead.
    masters[0].kill();
    let guard = locks.acquire(KEY, Options::lease(LONG).wait_at_most(DEADLINE)).await.unwrap();
    assert!(guard.fencing_token() > first, "{} after {first}", guard.fencing_token());
    guard.release().await.unwrap();
}
