//! The demo's world, in its own real Redis, for a few seconds.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it is made of")]

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fred::prelude::*;
use lockkeeper::demo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Far beyond what any condition here needs.
const DEADLINE: Duration = Duration::from_secs(30);

async fn store(url: &url::Url) -> Client {
    let client = Builder::from_config(Config::from_url(url.as_str()).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

/// Looks again and again until there is something to see.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "never seen: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn subscribers(store: &Client, channel: &str) -> u64 {
    let counts: HashMap<String, u64> = store.pubsub_numsub(channel).await.unwrap();
    counts[channel]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promised_character_is_there_and_reacts_when_its_lock_is_freed() {
    let demo = demo::start(CancellationToken::new()).await.unwrap();
    let store = store(&demo.url).await;

    // One died with a lock that has no expiry.
    let dead: String =
        until("the lock without expiry", async || store.get("lock:billing:invoice-run").await.unwrap()).await;
    assert_eq!(store.pttl::<i64, _>("lock:billing:invoice-run").await.unwrap(), -1);
    assert_eq!((dead.len(), &dead[12..13]), (32, "1"), "a UUID of version 1 in hex: {dead}");

    // One lock has a crowd waiting, each on its channel.
    let crowd: HashSet<String> = until("the crowd", async || {
        let waiting = subscribers(&store, "redisson_lock__channel:{payments:settlement}").await;
        (waiting >= 14).then_some(())?;
        let fields: Vec<String> = store.hkeys("payments:settlement").await.unwrap();
        (fields.len() == 1).then(|| fields.into_iter().collect())
    })
    .await;
    let left: i64 = store.pttl("payments:settlement").await.unwrap();
    assert!((1..=30_000).contains(&left), "{left}");

    // One was entered twice.
    until("the lock that was entered twice", async || {
        let counts: Vec<u32> = store.hvals("catalog:rebuild").await.unwrap();
        (counts == [2]).then_some(())
    })
    .await;

    // python-redis-lock's form.
    let token: String = until("the newsletter's lock", async || store.get("lock:mail:newsletter").await.unwrap()).await;
    assert_eq!(token.len(), 24, "{token}");

    // One died and left its lease to run out, or will: it has one.
    until("the import's lease", async || {
        let left: i64 = store.pttl("lock:import:prices").await.unwrap();
        (left > 0).then_some(())
    })
    .await;

    // Short ones change hands.
    let mut holders = HashSet::new();
    until("three holders of one article", async || {
        holders.extend(store.get::<Option<String>, _>("lock:stock:4711").await.unwrap());
        (holders.len() >= 3).then_some(())
    })
    .await;

    // One hangs and goes on renewing.
    let stuck: String = until("the stuck worker", async || store.get("lock:warehouse:sync").await.unwrap()).await;
    let before: i64 = store.pttl("lock:warehouse:sync").await.unwrap();
    let mut lowest = before;
    until("a renewal by the stuck worker", async || {
        let left: i64 = store.pttl("lock:warehouse:sync").await.unwrap();
        lowest = lowest.min(left);
        (left > lowest + 1_000).then_some(())
    })
    .await;
    assert_eq!(store.get::<String, _>("lock:warehouse:sync").await.unwrap(), stuck);

    // The reference client's locks have a fencing counter, and those who wait say so.
    let token: String = until("the seats' lock", async || store.get("lock:seats:allocation").await.unwrap()).await;
    assert_eq!(token.len(), 40, "{token}");
    assert!(store.get::<u64, _>("{lock:seats:allocation}:fence").await.unwrap() >= 1);
    let mut waiting = HashSet::new();
    until("three who report that they wait for seats, and both transfers", async || {
        let entries: Vec<(String, HashMap<String, String>)> =
            store.xrange_values("lockkeeper:reports", "-", "+", None).await.unwrap();
        let fields = entries.into_iter().map(|(_, fields)| fields).filter(|fields| fields["kind"] == "waiting");
        waiting.extend(fields.map(|fields| (fields["name"].clone(), fields["lock"].clone())));
        let of = |lock: &str| waiting.iter().filter(|(_, wanted)| wanted == lock).count();
        (of("lock:seats:allocation") >= 3 && of("lock:accounts:checking") >= 1 && of("lock:accounts:savings") >= 1)
            .then_some(())
    })
    .await;

    // Freed, they go to somebody who waited.
    for (key, token) in [("lock:billing:invoice-run", &dead), ("lock:warehouse:sync", &stuck)] {
        let _: i64 = store.del(key).await.unwrap();
        until("the next holder", async || {
            store.get::<Option<String>, _>(key).await.unwrap().filter(|now| now != token)
        })
        .await;
    }
    let _: i64 = store.del("payments:settlement").await.unwrap();
    let _: i64 = store.publish("redisson_lock__channel:{payments:settlement}", 0).await.unwrap();
    until("the next of the crowd", async || {
        let fields: Vec<String> = store.hkeys("payments:settlement").await.unwrap();
        (fields.len() == 1 && !crowd.contains(&fields[0])).then_some(())
    })
    .await;

    // And none of this grows.
    let keys: u64 = store.dbsize().await.unwrap();
    assert!((20..170).contains(&keys), "{keys} keys");
    let clients = store.client_list::<String, String>(None, None).await.unwrap();
    assert!(clients.lines().count() < 60, "{clients}");

    let port = demo.url.port().unwrap();
    demo.end().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the store outlived its demo");
}

#[tokio::test]
async fn the_demo_ends_when_it_is_told_to_stop() {
    let stop = CancellationToken::new();
    let demo = demo::start(stop.clone()).await.unwrap();
    let port = demo.url.port().unwrap();
    stop.cancel();
    until("the end of the store", async || TcpStream::connect(("127.0.0.1", port)).await.err()).await;
}
