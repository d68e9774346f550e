//! What can be done with a lock beside releasing it: keep it closed, give it back, raise its fence; and what is seen
//! afterwards.

use std::time::Duration;

use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use lockkeeper_model::{
    Action, AuditKind, AuditPage, Flag, Lock, LockId, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget,
    ReleaseResult,
};
use lockkeeper_tests::{Answer, Api, Family, LockClient, RedisServer, Server, store, until};

const LEASE: Duration = Duration::from_secs(60);

struct Scene {
    redis: RedisServer,
    _server: Server,
    api: Api,
    store: fred::clients::Client,
}

impl Scene {
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let server = Server::releasing(&redis).await;
        let (api, store) = (server.api(), redis.client().await);
        Scene { redis, _server: server, api, store }
    }

    /// A lock that is held, and seen to be.
    async fn held(&self, family: Family, name: &str) -> (LockClient, Lock) {
        let holder = family.client(&self.store, name, Some(LEASE));
        assert!(holder.take().await);
        let is_holder = |lock: &Lock| lock.holders[0].token.as_ref() == Some(&holder.token);
        let lock = self.api.until_lock("the lock", &holder.key, is_holder).await;
        (holder, lock)
    }

    /// A lock of two keys, set one after the other by one script that was held up between them.
    async fn two_keys(&self) -> Lock {
        let token = "0f8e41d2a2c941ef8b0a0242ac120003";
        let set = "local t = redis.call('TIME') local ends = t[1] * 1000 + math.floor(t[2] / 1000) + 60000 \
                   redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ends) redis.call('SET', KEYS[2], ARGV[1], 'PXAT', ends + 40)";
        let _: fred::types::Value = store(&self.store, "EVAL", [set, "2", "lock:a", "lock:b", token]).await;
        self.api.until_lock("both keys", "lock:a", |lock| lock.keys.len() == 2).await
    }

    /// The lock, as soon as an operator is seen to hold it.
    async fn kept(&self, key: &str) -> Lock {
        self.api.until_lock("an operator's hold", key, is_kept).await
    }

    async fn try_preview(&self, lock: &Lock, action: Action, hold_ms: Option<i64>) -> Answer {
        let target = PreviewTarget {
            source: lock.source.clone(),
            id: lock.id.clone(),
            generation: lock.holders[0].generation.clone(),
            holder: None,
        };
        self.api
            .post(
                "/api/v1/releases/preview",
                &PreviewRequest { locks: vec![target], action, hold_ms, leave_out: false },
            )
            .await
    }

    /// Previews and does it.
    async fn does(&self, lock: &Lock, action: Action, hold_ms: Option<i64>) -> (u16, ReleaseResult) {
        let answer = self.try_preview(lock, action, hold_ms).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        let preview: PreviewAnswer = answer.json();
        let (status, mut answer) = self.api.release(&preview).await;
        (status, answer.results.remove(0))
    }
}

fn is_kept(lock: &Lock) -> bool {
    lock.holders.first().is_some_and(|holder| holder.identity.operator.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_family_is_kept_closed_and_opened_again() {
    let scene = Scene::set().await;
    for family in Family::ALL {
        let (holder, lock) = scene.held(family, "cleanup").await;
        let (status, result) = scene.does(&lock, Action::ReleaseAndHold, Some(120_000)).await;
        assert_eq!((status, result.outcome), (200, Outcome::Held), "{family:?} {result:#?}");
        assert!(!holder.renew().await && !holder.release().await, "the former holder has lost it");
        assert!(!holder.fresh().take().await, "nobody gets in");

        let kept = scene.kept(&holder.key).await;
        let [operator] = kept.holders.as_slice() else { panic!("{kept:#?}") };
        assert_eq!(operator.identity.operator.as_deref(), Some("anonymous"));
        assert!(operator.evidence[0].contains("holds it through Lockkeeper"), "{operator:#?}");
        assert_eq!(kept.dialect.name, family.dialect(), "it stays its family's lock");
        assert_eq!(operator.lease.expires_at.map(|at| at <= result.held_until.unwrap().plus(5_000)), Some(true));
        scene.api.until_story(&holder.key, &["acquired", "forced", "acquired"]).await;

        let (status, opened) = scene.does(&kept, Action::Release, None).await;
        assert_eq!((status, opened.outcome), (200, Outcome::Released), "{opened:#?}");
        let next = holder.fresh();
        assert!(next.take().await && next.release().await, "it is open");
        until("the lock to be free", async || scene.api.lock(&holder.key).await, Option::is_none).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_woken_when_it_is_opened_and_not_before() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::Redisson, "asleep").await;
    let waiter = scene.redis.client().await;
    let mut messages = waiter.message_rx();
    waiter.subscribe(holder.signal()).await.unwrap();
    scene.does(&lock, Action::ReleaseAndHold, None).await;
    let (_, opened) = scene.does(&scene.kept(&holder.key).await, Action::Release, None).await;
    assert_eq!((opened.outcome, opened.woken), (Outcome::Released, Some(1)), "{opened:#?}");
    // Redis keeps the order of one channel's messages: an earlier one would be there first.
    let _: i64 = store(&scene.store, "PUBLISH", [holder.signal().as_str(), "the end"]).await;
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some("the end") {
        heard.push(messages.recv().await.unwrap().value.as_string().unwrap());
    }
    assert_eq!(heard, ["0", "the end"]);
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_extended_by_whoever_sees_it_and_lapses_by_itself() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::RedisPy, "lapses").await;
    assert_eq!(scene.try_preview(&lock, Action::ExtendHold, None).await.problem().kind, "/problems/not-offered");
    scene.does(&lock, Action::ReleaseAndHold, Some(60_000)).await;
    let kept = scene.kept(&holder.key).await;
    let (status, result) = scene.does(&kept, Action::ExtendHold, Some(600_000)).await;
    assert_eq!((status, result.outcome), (200, Outcome::Extended), "{result:#?}");
    assert!(store::<i64>(&scene.store, "PTTL", [holder.key.as_str()]).await > 500_000);
    let is_longer = |lock: &Lock| lock.holders[0].lease.ttl_ms.is_some_and(|ms| ms > 500_000);
    let longer = scene.api.until_lock("the longer hold", &holder.key, is_longer).await;
    assert_eq!(longer.holders[0].token, kept.holders[0].token);
    // Shorter is possible as well: then it opens by itself.
    let (_, result) = scene.does(&longer, Action::ExtendHold, Some(1_000)).await;
    assert_eq!(result.outcome, Outcome::Extended);
    until("the hold to lapse", async || scene.api.lock(&holder.key).await, Option::is_none).await;
    assert!(holder.fresh().take().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_one_lock_are_held_together() {
    let scene = Scene::set().await;
    let both = scene.two_keys().await;
    let (status, result) = scene.does(&both, Action::ReleaseAndHold, None).await;
    assert_eq!((status, result.outcome), (200, Outcome::Held), "{result:#?}");
    let values: Vec<String> = store(&scene.store, "MGET", ["lock:a", "lock:b"]).await;
    assert!(values[0].starts_with("lockkeeper-hold:node-redlock:") && values[0] == values[1], "{values:?}");
    let is_both = |lock: &Lock| lock.keys.len() == 2 && is_kept(lock);
    let kept = scene.api.until_lock("both keys, held", "lock:a", is_both).await;
    let (_, opened) = scene.does(&kept, Action::Release, None).await;
    assert_eq!(opened.outcome, Outcome::Released, "{opened:#?}");
    assert_eq!(store::<i64>(&scene.store, "EXISTS", ["lock:a", "lock:b"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_found_to_be_of_a_lock_later_is_freed_with_it() {
    let scene = Scene::set().await;
    let token = "0f8e41d2a2c941ef8b0a0242ac120003";
    let _: String = store(&scene.store, "SET", ["lock:a", token, "PX", "60000"]).await;
    scene.api.until_lock("the first key", "lock:a", |lock| lock.keys.len() == 1).await;
    let set = "redis.call('SET', KEYS[2], ARGV[1], 'PXAT', redis.call('PEXPIRETIME', KEYS[1]) + 60)";
    let _: fred::types::Value = store(&scene.store, "EVAL", [set, "2", "lock:a", "lock:b", token]).await;
    let both = scene.api.until_lock("both keys", "lock:a", |lock| lock.keys.len() == 2).await;
    let (_, result) = scene.does(&both, Action::Release, None).await;
    assert_eq!(result.outcome, Outcome::Released, "{result:#?}");
    assert_eq!(store::<i64>(&scene.store, "EXISTS", ["lock:a", "lock:b"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_which_one_does_not_end_any_more_are_freed_one_by_one() {
    let scene = Scene::set().await;
    scene.two_keys().await;
    let taken = |story: &[&str]| story.iter().filter(|word| **word == "acquired").count();
    let before = taken(&scene.api.story("lock:b").await);
    let _: i64 = store(&scene.store, "PERSIST", ["lock:b"]).await;
    for (key, left) in [("lock:a", 1), ("lock:b", 0)] {
        let alone =
            scene.api.until_lock("the key alone", key, |lock| lock.keys == [LockId::of_key(key.as_bytes())]).await;
        assert_eq!(taken(&scene.api.story("lock:b").await), before, "nobody took it anew");
        let (_, result) = scene.does(&alone, Action::Release, None).await;
        assert_eq!(result.outcome, Outcome::Released, "{result:#?}");
        assert_eq!(store::<i64>(&scene.store, "EXISTS", ["lock:a", "lock:b"]).await, left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_put_back_as_if_nothing_had_happened() {
    let scene = Scene::set().await;
    for family in Family::ALL {
        let (holder, lock) = scene.held(family, "mistake").await;
        let left: i64 = store(&scene.store, "PTTL", [holder.key.as_str()]).await;
        let (_, released) = scene.does(&lock, Action::Release, None).await;
        assert!(released.put_back_until.is_some(), "{family:?} {released:#?}");
        let (status, result) = scene.does(&lock, Action::PutBack, None).await;
        assert_eq!((status, result.outcome), (200, Outcome::PutBack), "{family:?} {result:#?}");
        let now: i64 = store(&scene.store, "PTTL", [holder.key.as_str()]).await;
        assert!((1..=left).contains(&now), "its lease went on meanwhile: {now} of {left}");
        let back = scene.api.until_lock("the holder", &holder.key, |lock| !lock.holders.is_empty()).await;
        assert_eq!(back.holders[0].token.as_ref(), Some(&holder.token));
        assert!(!back.flags.contains(&Flag::CameBack), "its client did not take it: {back:#?}");
        let newest = scene.api.events(&holder.key).await.remove(0);
        assert_eq!((newest.transition.word(), newest.cause.as_deref()), ("acquired", Some("put_back")));
        assert!(holder.renew().await && holder.release().await, "the holder noticed nothing");
        until("the lock to be free", async || scene.api.lock(&holder.key).await, Option::is_none).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_taken_is_not_put_back() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::Redisson, "taken").await;
    scene.does(&lock, Action::Release, None).await;
    let answer = scene.try_preview(&lock, Action::PutBack, None).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let preview: PreviewAnswer = answer.json();
    let next = holder.fresh();
    assert!(next.take().await);
    let (status, answer) = scene.api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::ChangedHands), "{answer:#?}");
    assert!(next.renew().await, "the next holder keeps it");
    assert!(!holder.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_raised_and_the_holder_keeps_the_lock() {
    let scene = Scene::set().await;
    let _: i64 = store(&scene.store, "INCRBY", ["redisson_lock_token:{guarded}", "33"]).await;
    let (holder, _) = scene.held(Family::Redisson, "guarded").await;
    let is_fenced = |lock: &Lock| lock.holders[0].fencing_token.as_ref().is_some_and(|fence| fence.value == "33");
    let lock = scene.api.until_lock("the fence", "guarded", is_fenced).await;
    let (status, result) = scene.does(&lock, Action::RaiseFence, None).await;
    assert_eq!((status, result.outcome), (200, Outcome::Raised), "{result:#?}");
    assert_eq!(store::<String>(&scene.store, "GET", ["redisson_lock_token:{guarded}"]).await, "34");
    assert!(holder.renew().await, "the holder keeps the lock");
    let fence = |lock: &Lock| lock.holders[0].fencing_token.clone();
    let is_raised = |lock: &Lock| fence(lock).is_some_and(|fence| fence.kind == "raised" && fence.value == "34");
    let after = scene.api.until_lock("the raised fence", "guarded", is_raised).await;
    assert_eq!(after.holders[0].generation, lock.holders[0].generation, "it is the same hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_release_is_watched_on_and_joins_the_audit() {
    let scene = Scene::set().await;
    // A lease as short as the shortest watch: nothing is known of its rhythm.
    let holder = Family::Redisson.client(&scene.store, "returns", Some(Duration::from_secs(10)));
    assert!(holder.take().await);
    let lock = scene.api.until_lock("the lock", &holder.key, |_| true).await;
    let (_, released) = scene.does(&lock, Action::Release, None).await;
    assert_eq!(released.outcome, Outcome::Released);
    // After the answer, as a client that lives does at its next beat.
    assert!(holder.take().await);
    let _: i64 = store(&scene.store, "PEXPIRE", [holder.key.as_str(), "60000"]).await;
    let page = until(
        "what was seen later",
        async || scene.api.get("/api/v1/audit").await.json::<AuditPage>(),
        |page| page.entries[0].detail.starts_with("watched for "),
    )
    .await;
    let entry = &page.entries[0];
    assert_eq!((entry.kind, entry.seen.as_deref()), (AuditKind::FollowUp, Some("came_back")), "{entry:#?}");
    assert_eq!(entry.attempt, page.entries.iter().find(|one| one.kind == AuditKind::Intention).map(|one| one.seq));
}
