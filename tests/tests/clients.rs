//! What every family's clients do is seen as what it is, whichever way changes are learned.

use std::time::Duration;

use lockkeeper_model::{Basis, FeedKind, Flag, LeaseKind, LockState, TransitionKind, Verdict};
use lockkeeper_tests::{Family, RedisServer, Server, until};

const LEASE: Duration = Duration::from_secs(20);

/// Shorter than a lock's whole story and longer than a slow machine needs to see it.
const SHORT_LEASE: Duration = Duration::from_secs(4);

async fn watched(options: &[&str], tracking: bool) -> (RedisServer, Server) {
    let redis = RedisServer::with(options).await;
    let url = if tracking { redis.url() } else { redis.watcher("-client|tracking").await };
    let server = Server::serve().redis(&url).start().await;
    server.ready().await;
    (redis, server)
}

/// The life of one lock of each family: taken, renewed, handed over, let go; taken again, and left to expire.
async fn every_family_tells_its_story(redis: &RedisServer, server: &Server, feed: FeedKind) {
    let (api, store) = (server.api(), redis.client().await);
    let source = api.source().await;
    assert_eq!(source.feed, Some(feed), "{source:#?}");

    for family in Family::ALL {
        let name = format!("nightly-{}", family.dialect());
        let first = family.client(&store, &name, Some(LEASE));
        assert!(first.take().await);
        let lock = api.until_lock("the lock", &first.key, |lock| lock.flags.is_empty()).await;
        assert_eq!(lock.dialect.name, family.dialect());
        assert_eq!((&lock.name, lock.state), (&name, LockState::Held));
        let [holder] = lock.holders.as_slice() else { panic!("{lock:#?}") };
        assert_eq!((holder.token.as_deref(), holder.count), (Some(first.token.as_str()), 1));
        assert_eq!((lock.lease.kind, lock.held_since.basis), (LeaseKind::Ttl, Basis::Observed));
        assert!(holder.lease.ttl_ms.is_some_and(|left| (1..=20_000).contains(&left)), "{lock:#?}");

        // A renewal is one when the lease is longer than it would be by itself.
        let ends = holder.lease.expires_at.unwrap();
        until(
            "some of the lease to pass",
            async || api.lock(&first.key).await,
            |lock| lock.as_ref().is_some_and(|lock| lock.lease.ttl_ms.unwrap() < 19_000),
        )
        .await;
        assert!(first.renew().await);
        let lock = api.until_lock("the renewal", &first.key, |lock| lock.holders[0].renewals.count == 1).await;
        assert!(lock.lease.expires_at.unwrap() > ends, "{lock:#?}");
        assert_eq!(lock.holders[0].verdict, Verdict::Alive, "{lock:#?}");
        assert!(lock.holders[0].evidence[0].starts_with("renewed once"), "{lock:#?}");
        assert_eq!(lock.holders[0].generation, holder.generation, "a renewal is the same hold");

        let second = first.fresh();
        assert!(!second.take().await, "{family:?}");
        assert!(first.release().await && second.take().await);
        let lock = api
            .until_lock("the next holder", &first.key, |lock| lock.holders[0].token.as_ref() == Some(&second.token))
            .await;
        assert_ne!(lock.generation, holder.generation);
        assert!(second.release().await);
        until("the lock to be free", async || api.lock(&first.key).await, Option::is_none).await;

        let last = family.client(&store, &name, Some(SHORT_LEASE));
        let before = api.locks("").await.as_of;
        assert!(last.take().await);
        api.until_lock("the lock again", &first.key, |_| true).await;
        until("the lock to lapse", async || api.lock(&first.key).await, Option::is_none).await;

        let story = api.story(&first.key).await;
        let told = story.join(" ");
        assert!(
            [
                "acquired renewed handed_over released acquired expired",
                "acquired renewed released acquired released acquired expired",
            ]
            .contains(&told.as_str()),
            "{family:?} by {feed:?}: {told}"
        );
        let lapsed = &api.events(&first.key).await[0];
        assert_eq!(lapsed.transition, TransitionKind::Expired);
        // It ended with its lease, however late it was first seen and its end was noticed.
        let lease = i64::try_from(SHORT_LEASE.as_millis()).unwrap();
        assert!(lapsed.at.since(before) >= lease - 1, "taken after {before}: {lapsed:#?}");
        assert!(lapsed.held_ms.is_some_and(|held| (1..=lease + 1).contains(&held)), "{lapsed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_client_tracking() {
    let (redis, server) = watched(&[], true).await;
    every_family_tells_its_story(&redis, &server, FeedKind::Tracking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_keyspace_notifications_where_tracking_is_not_allowed() {
    let (redis, server) = watched(&["--notify-keyspace-events", "KEAn"], false).await;
    every_family_tells_its_story(&redis, &server, FeedKind::Notifications).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_scanning_again_where_neither_is_to_be_had_and_it_says_so() {
    let (redis, server) = watched(&[], false).await;
    every_family_tells_its_story(&redis, &server, FeedKind::Polling).await;
    let source = server.api().source().await;
    assert!(source.missing_permissions.iter().any(|missing| missing.permission == "CLIENT TRACKING"), "{source:#?}");
    assert!(source.feed_because.is_some(), "{source:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_feed_is_used_even_where_a_better_one_is_allowed() {
    let redis = RedisServer::with(&["--notify-keyspace-events", "KEAn"]).await;
    for (word, kind) in [("notifications", FeedKind::Notifications), ("polling", FeedKind::Polling)] {
        let config = format!("[[source]]\nname = \"orders\"\nurl = \"{}\"\nfeed = \"{word}\"\n", redis.url());
        let server = Server::serve().config(&config).start().await;
        server.ready().await;
        let source = server.api().source().await;
        assert_eq!((source.name.as_str(), source.feed), ("orders", Some(kind)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_at_the_first_look_is_said_to_be_only_first_seen() {
    let redis = RedisServer::start().await;
    let store = redis.client().await;
    for family in Family::ALL {
        assert!(family.client(&store, "old", None).take().await || family == Family::PythonRedisLock);
    }
    let server = Server::watching(&redis).await;
    for key in ["lock:old", "old"] {
        let lock = server.api().until_lock("the flag", key, |lock| lock.flags == [Flag::NoExpiry]).await;
        assert_eq!((lock.held_since.basis, lock.held_since.not_before), (Basis::FirstSeen, None), "{lock:#?}");
        assert_eq!((lock.lease.kind, lock.lease.ttl_ms), (LeaseKind::None, None));
        assert_eq!(lock.holders[0].verdict, Verdict::Unknown);
        assert_eq!(server.api().story(key).await, ["first_seen"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redisson_lock_counts_its_entries_and_its_waiting_clients() {
    use fred::interfaces::{ClientLike as _, PubsubInterface as _};

    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let (api, store) = (server.api(), redis.client().await);
    let holder = Family::Redisson.client(&store, "settlement", Some(LEASE));
    assert!(holder.take().await && holder.take().await);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let waiter = redis.client().await;
        waiter.subscribe(holder.signal()).await.unwrap();
        waiting.push(waiter);
    }
    let lock = api.until_lock("three waiters", "settlement", |lock| lock.waiters.count == Some(3)).await;
    assert_eq!(lock.holders[0].count, 2);
    assert!(!lock.waiters.because.is_empty());

    // Most waited for comes first, and can be asked for.
    assert!(Family::RedisPy.client(&store, "quiet", Some(LEASE)).take().await);
    api.until_lock("another lock", "lock:quiet", |lock| lock.waiters.count.is_none()).await;
    let page = api.locks("sort=waiters").await;
    assert_eq!((page.total, page.locks[0].name.as_str()), (2, "settlement"));
    assert_eq!(api.locks("state=waiting").await.total, 1);

    for waiter in waiting {
        waiter.quit().await.unwrap();
    }
    api.until_lock("no waiters", "settlement", |lock| lock.waiters.count == Some(0)).await;
    assert!(holder.release().await);
    api.until_lock("one entry left", "settlement", |lock| lock.holders[0].count == 1).await;
    assert!(api.story("settlement").await.contains(&"re_entered"));
}
