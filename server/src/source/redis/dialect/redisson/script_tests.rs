//! Every script against a real Redis: what it does when all is as it was seen, and that it does nothing when anything
//! is not, which nobody can arrange from outside between the last look and the script.

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::Config;
use fred::types::{Builder, ClusterHash, CustomCommand, FromValue};
use lockkeeper_model::{Mode, Time};

use super::tests::{A, B, C};
use crate::clock;
use crate::demo::redis_process::RedisProcess;
use crate::source::redis::release;
use crate::source::{Act, ReleaseOrder, ReleaseReply};

pub(in super::super) struct Scene {
    redis: RedisProcess,
    client: Client,
}

pub(in super::super) const RELEASED: ReleaseReply = ReleaseReply::Released { woken: Some(0) };

impl Scene {
    pub(in super::super) async fn set() -> Scene {
        let redis = RedisProcess::start().await.unwrap();
        let client = Builder::from_config(Config::from_url(redis.url().as_str()).unwrap()).build().unwrap();
        client.init().await.unwrap();
        Scene { redis, client }
    }

    pub(in super::super) async fn end(self) {
        self.client.quit().await.unwrap();
        self.redis.end().await;
    }

    /// A command, its words between spaces.
    pub(in super::super) async fn does<T: FromValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let name = CustomCommand::new(words.next().unwrap().to_owned(), ClusterHash::FirstKey, false);
        let answer = self.client.custom(name, words.map(str::to_owned).collect::<Vec<_>>()).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    pub(in super::super) async fn all(&self, commands: &[String]) {
        let _: () = self.does("FLUSHALL").await;
        for command in commands {
            let _: fred::types::Value = self.does(command).await;
        }
    }

    /// Runs an order and answers everything that is stored afterwards.
    pub(in super::super) async fn release(&self, order: &ReleaseOrder) -> (ReleaseReply, Vec<String>) {
        let reply = release::run_here(&self.client, order).await;
        let mut keys: Vec<String> = self.does("KEYS *").await;
        keys.sort();
        (reply, keys)
    }

    /// That an order does nothing at all.
    pub(in super::super) async fn refuses(&self, what: &str, order: &ReleaseOrder) {
        let changes = async || self.does::<String>("INFO persistence").await;
        let of = |info: String| info.lines().find(|line| line.starts_with("rdb_changes")).unwrap().to_owned();
        let before = of(changes().await);
        let (reply, _) = self.release(order).await;
        assert!(
            !matches!(reply, ReleaseReply::Released { .. } | ReleaseReply::Done { .. } | ReleaseReply::Failed { .. }),
            "{what}: {reply:?}"
        );
        assert_eq!(of(changes().await), before, "{what}");
    }
}

pub(in super::super) fn order(dialect: &'static str, key: &str, token: &[u8], ttl_ms: Option<i64>) -> ReleaseOrder {
    ReleaseOrder {
        key: Bytes::copy_from_slice(key.as_bytes()),
        keys: vec![Bytes::copy_from_slice(key.as_bytes())],
        dialect,
        token: Bytes::copy_from_slice(token),
        mode: Mode::Exclusive,
        count: 1,
        // Some time passes until the keys are there.
        expires_not_after: ttl_ms.map(|ms| clock::now().plus(ms + 5_000)),
        stamp: None,
        fencing: None,
        act: Act::Release,
    }
}

#[tokio::test]
async fn a_lock_is_freed_only_as_it_was_seen_and_its_companions_stay() {
    let scene = Scene::set().await;
    let taken = [
        format!("HSET orders {A} 1"),
        "PEXPIRE orders 20000".to_owned(),
        "SET redisson_lock_token:{orders} 33".to_owned(),
    ];
    let right =
        ReleaseOrder { fencing: Some("33".into()), ..order("redisson-fenced", "orders", A.as_bytes(), Some(20_000)) };
    scene.all(&taken).await;
    for (what, wrong) in [
        ("another token", ReleaseOrder { token: Bytes::from(B), ..right.clone() }),
        ("another count", ReleaseOrder { count: 2, ..right.clone() }),
        ("another number of the fence", ReleaseOrder { fencing: Some("32".into()), ..right.clone() }),
        (
            "a lease that was pushed out",
            ReleaseOrder { expires_not_after: Some(clock::now().plus(9_000)), ..right.clone() },
        ),
        ("an expiry that it did not have", ReleaseOrder { expires_not_after: None, ..right.clone() }),
        ("nothing there", ReleaseOrder { key: Bytes::from_static(b"other"), ..right.clone() }),
    ] {
        scene.refuses(what, &wrong).await;
    }
    let _: () = scene.does(&format!("HSET orders {B} 1")).await;
    scene.refuses("another field", &right).await;
    let _: () = scene.does(&format!("HDEL orders {B}")).await;
    let _: () = scene.does("DEL redisson_lock_token:{orders}").await;
    scene.refuses("a fence that is gone", &right).await;
    let _: () = scene.does("SET redisson_lock_token:{orders} 33").await;
    assert_eq!(scene.release(&right).await, (RELEASED, vec!["redisson_lock_token:{orders}".to_owned()]));
    scene.end().await;
}

#[tokio::test]
async fn a_fair_lock_is_freed_and_only_overdue_heads_leave_its_queue() {
    let scene = Scene::set().await;
    let now = clock::now().0;
    scene
        .all(&[
            format!("HSET orders {A} 1"),
            "PEXPIRE orders 20000".to_owned(),
            format!("RPUSH redisson_lock_queue:{{orders}} {B} {C}"),
            format!("ZADD redisson_lock_timeout:{{orders}} {} {B} {} {C}", now - 1_000, now + 300_000),
        ])
        .await;
    let (reply, _) = scene.release(&order("redisson-fair", "orders", A.as_bytes(), Some(20_000))).await;
    assert_eq!(reply, RELEASED);
    assert_eq!(scene.does::<Vec<String>>("LRANGE redisson_lock_queue:{orders} 0 -1").await, [C]);
    assert_eq!(scene.does::<Vec<String>>("ZRANGE redisson_lock_timeout:{orders} 0 -1").await, [C]);
    scene.end().await;
}

#[tokio::test]
async fn a_waiter_leaves_the_queue_only_from_its_head_while_the_lock_is_free() {
    let scene = Scene::set().await;
    let now = clock::now().0;
    let queue = |first: i64| {
        [
            format!("RPUSH redisson_lock_queue:{{orders}} {A} {B} {C}"),
            format!("ZADD redisson_lock_timeout:{{orders}} {first} {A} {} {B} {} {C}", now + 500_000, now + 800_000),
        ]
    };
    let evict = |waiter: &str, deadline: i64| ReleaseOrder {
        expires_not_after: Some(Time(deadline)),
        stamp: None,
        act: Act::Evict,
        ..order("redisson-fair", "orders", waiter.as_bytes(), None)
    };
    let deadline = async |waiter: &str| {
        scene.does::<Option<i64>>(&format!("ZSCORE redisson_lock_timeout:{{orders}} {waiter}")).await
    };

    scene.all(&queue(now + 200_000)).await;
    scene.refuses("one that is not the head", &evict(B, now + 500_000)).await;
    scene.refuses("a place that was taken anew", &evict(A, now + 100_000)).await;
    let _: () = scene.does(&format!("HSET orders {C} 1")).await;
    scene.refuses("a lock that is held", &evict(A, now + 200_000)).await;
    let _: () = scene.does("DEL orders").await;

    assert_eq!(scene.release(&evict(A, now + 200_000)).await.0, RELEASED);
    assert_eq!(scene.does::<Vec<String>>("LRANGE redisson_lock_queue:{orders} 0 -1").await, [B, C]);
    let after = (deadline(A).await, deadline(B).await, deadline(C).await);
    assert_eq!(after, (None, Some(now + 200_000), Some(now + 500_000)), "each moved up by one wait");

    scene.all(&queue(now - 5_000)).await;
    assert_eq!(scene.release(&evict(A, now - 5_000)).await.0, RELEASED);
    assert_eq!(deadline(B).await, Some(now + 500_000), "nobody moves up for one whose time was over");

    scene.all(&[]).await;
    assert_eq!(scene.release(&evict(A, now)).await.0, ReleaseReply::Gone);
    scene.all(&[format!("RPUSH redisson_lock_queue:{{orders}} {A}")]).await;
    let last = ReleaseOrder { expires_not_after: None, ..evict(A, 0) };
    assert_eq!(scene.release(&last).await, (RELEASED, vec![]), "the last one, which has no deadline");
    scene.end().await;
}

#[tokio::test]
async fn one_reader_leaves_and_the_others_keep_the_lock() {
    let scene = Scene::set().await;
    let slot = |reader: &str, n: u32| format!("{{catalog}}:{reader}:rwlock_timeout:{n}");
    let held = [
        format!("HSET catalog mode read {A} 2 {B} 1 {C} 1"),
        "PEXPIRE catalog 60000".to_owned(),
        format!("SET {} 1 PX 50000", slot(A, 1)),
        format!("SET {} 1 PX 60000", slot(A, 2)),
        format!("SET {} 1 PX 30000", slot(B, 1)),
    ];
    let right = ReleaseOrder { count: 2, ..order("redisson-rw", "catalog", A.as_bytes(), Some(60_000)) };
    scene.all(&held).await;
    for (what, wrong) in [
        ("another token", ReleaseOrder { token: Bytes::from(A.replace(":42", ":43")), ..right.clone() }),
        ("another count", ReleaseOrder { count: 1, ..right.clone() }),
        (
            "a slot that was pushed out",
            ReleaseOrder { expires_not_after: Some(clock::now().plus(55_000)), ..right.clone() },
        ),
    ] {
        scene.refuses(what, &wrong).await;
    }
    assert_eq!(scene.release(&right).await, (RELEASED, vec!["catalog".to_owned(), slot(B, 1)]));
    let mut fields: Vec<String> = scene.does("HKEYS catalog").await;
    fields.sort();
    assert_eq!(
        fields,
        [B, C, "mode"]
            .map(str::to_owned)
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert!(scene.does::<i64>("PTTL catalog").await <= 30_000, "as long as the longest slot that is left");
    // The dead reader keeps nobody out when the last living one leaves.
    let last = order("redisson-rw", "catalog", B.as_bytes(), Some(30_000));
    assert_eq!(scene.release(&last).await, (RELEASED, vec![]));
    scene.end().await;
}

#[tokio::test]
async fn a_writer_leaves_and_goes_on_reading_if_it_did() {
    let scene = Scene::set().await;
    let writer = format!("{A}:write");
    let right = order("redisson-rw", "catalog", writer.as_bytes(), Some(60_000));
    scene.all(&[format!("HSET catalog mode write {writer} 1"), "PEXPIRE catalog 60000".to_owned()]).await;
    scene.refuses("another count", &ReleaseOrder { count: 2, ..right.clone() }).await;
    scene.refuses("no expiry", &ReleaseOrder { expires_not_after: None, ..right.clone() }).await;
    assert_eq!(scene.release(&right).await, (RELEASED, vec![]));
    scene.all(&[format!("HSET catalog mode write {writer} 1 {A} 1"), "PEXPIRE catalog 60000".to_owned()]).await;
    assert_eq!(scene.release(&right).await, (RELEASED, vec!["catalog".to_owned()]));
    assert_eq!(scene.does::<String>("HGET catalog mode").await, "read");
    scene.refuses("a writer that left", &right).await;
    scene.end().await;
}

#[tokio::test]
async fn one_permit_is_given_back() {
    let scene = Scene::set().await;
    let ends = clock::now().plus(30_000);
    scene
        .all(&[
            "SET export 0".to_owned(),
            format!("ZADD {{export}}:timeout {} aaaaaaaaaaaaaaaa 922337203685477 bbbbbbbbbbbbbbbb", ends.0),
        ])
        .await;
    let right = ReleaseOrder {
        expires_not_after: Some(ends),
        ..order("redisson-permits", "export", b"aaaaaaaaaaaaaaaa", None)
    };
    let unleased = order("redisson-permits", "export", b"bbbbbbbbbbbbbbbb", None);
    scene
        .refuses("another permit", &ReleaseOrder { token: Bytes::from_static(b"cccccccccccccccc"), ..right.clone() })
        .await;
    scene
        .refuses("an end that moved out", &ReleaseOrder { expires_not_after: Some(Time(ends.0 - 1)), ..right.clone() })
        .await;
    scene.refuses("a lease that there was not", &ReleaseOrder { expires_not_after: None, ..right.clone() }).await;
    scene.refuses("a lease that went", &ReleaseOrder { expires_not_after: Some(ends), ..unleased.clone() }).await;
    assert_eq!(scene.release(&right).await.0, RELEASED);
    assert_eq!(scene.does::<String>("GET export").await, "1");
    assert_eq!(scene.release(&right).await.0, ReleaseReply::Gone, "twice gives back once");
    assert_eq!(scene.release(&unleased).await, (RELEASED, vec!["export".to_owned()]));
    assert_eq!(scene.does::<String>("GET export").await, "2");
    scene.end().await;
}

#[tokio::test]
async fn one_value_of_many_is_freed() {
    let scene = Scene::set().await;
    let ends = clock::now().plus(30_000);
    let value = |value: &str, holder: &str| {
        format!("HSET multi {value} {holder} {value}:{holder}:expire_time {} {value}:{holder}:lock_count 1", ends.0)
    };
    scene.all(&[value("v1==", A), value("v2==", B)]).await;
    let right = ReleaseOrder {
        key: Bytes::from_static(b"multi#v1=="),
        expires_not_after: Some(ends),
        ..order("redisson-multi-value", "multi", A.as_bytes(), None)
    };
    for (what, wrong) in [
        ("another value's holder", ReleaseOrder { key: Bytes::from_static(b"multi#v2=="), ..right.clone() }),
        ("another count", ReleaseOrder { count: 2, ..right.clone() }),
        ("an end that moved out", ReleaseOrder { expires_not_after: Some(Time(ends.0 - 1)), ..right.clone() }),
    ] {
        scene.refuses(what, &wrong).await;
    }
    assert_eq!(scene.release(&right).await.0, RELEASED);
    let mut fields: Vec<String> = scene.does("HKEYS multi").await;
    fields.sort();
    assert_eq!(fields, ["v2==".to_owned(), format!("v2==:{B}:expire_time"), format!("v2==:{B}:lock_count")]);
    scene.end().await;
}
