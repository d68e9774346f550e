//! A release frees exactly the hold that was previewed, wakes who sleeps, and otherwise does nothing and says why.

use std::time::Duration;

use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::types::Value;
use lockkeeper_model::{AfterState, Lock, Outcome, Strength, Told};
use lockkeeper_tests::{Api, Family, HURRIED, LockClient, RedisServer, Server, store, until};

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

    /// The same, where more is asked for.
    async fn in_production() -> Scene {
        let redis = RedisServer::start().await;
        let config = format!("[[source]]\nurl = '{}'\nenvironment = 'production'\n{HURRIED}", redis.url());
        let server = Server::serve().config(&config).arg("--allow-release").start().await;
        server.ready().await;
        let (api, store) = (server.api(), redis.client().await);
        Scene { redis, _server: server, api, store }
    }

    /// A lock that is held, and seen to be.
    async fn held(&self, family: Family, name: &str) -> (LockClient, Lock) {
        let holder = family.client(&self.store, name, Some(LEASE));
        assert!(holder.take().await);
        let lock = self.seen(&holder).await;
        (holder, lock)
    }

    async fn seen(&self, holder: &LockClient) -> Lock {
        let is_holder = |lock: &Lock| lock.holders[0].token.as_ref() == Some(&holder.token);
        self.api.until_lock("the lock", &holder.key, is_holder).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_family_is_released_and_what_follows_is_told() {
    let scene = Scene::set().await;
    for family in Family::ALL {
        let (holder, lock) = scene.held(family, "stuck").await;
        let preview = scene.api.preview(&lock).await;
        assert_eq!(preview.confirm, "stuck");
        let [previewed] = preview.locks.as_slice() else { panic!("{preview:#?}") };
        assert_eq!(previewed.holder.token, Some(holder.token.clone()));
        assert_eq!((previewed.strength, previewed.told), (Strength::Atomic, Told::AtRenewal), "{family:?}");
        assert!(!previewed.plan.is_empty() && !previewed.told_because.is_empty());

        let (status, answer) = scene.api.release(&preview).await;
        assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{answer:#?}");
        let after = answer.results[0].after.as_ref().unwrap();
        assert_eq!(after.state, AfterState::Free, "{answer:#?}");
        assert!(!holder.renew().await && !holder.release().await, "the former holder learns of it");
        assert!(scene.api.lock(&holder.key).await.is_none());
        assert_eq!(scene.api.story(&holder.key).await.last(), Some(&"forced"));
        // The next family's lock of this name is another lock, or the same key.
        assert!(holder.fresh().take().await);
        let _: i64 = store(&scene.store, "DEL", [holder.key.as_str()]).await;
        until("the lock to be free", async || scene.api.lock(&holder.key).await, Option::is_none).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_python_redis_lock_waiter_is_woken() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::PythonRedisLock, "signalled").await;
    let waiter = holder.fresh();
    let sleeper = scene.redis.client().await;
    let signal = holder.signal();
    let asleep = tokio::spawn(async move {
        let woken: Value = store(&sleeper, "BLPOP", [signal.as_str(), "20"]).await;
        (!woken.is_null(), waiter.take().await, waiter.token)
    });
    until(
        "the waiter to sleep",
        async || store::<String>(&scene.store, "CLIENT", ["LIST"]).await,
        |list| list.contains("cmd=blpop"),
    )
    .await;
    let (_, answer) = scene.api.release(&scene.api.preview(&lock).await).await;
    let (woken, taken, token) = asleep.await.unwrap();
    assert!(woken && taken, "{answer:#?}");
    // It is told who took it while that was watched, which does not last for ever.
    let after = answer.results[0].after.as_ref().unwrap();
    match after.state {
        AfterState::Taken => assert_eq!(after.holder.as_ref().unwrap().token.as_ref(), Some(&token)),
        state => assert_eq!(state, AfterState::Free, "{answer:#?}"),
    }
    let is_next = |lock: &Lock| lock.holders.first().is_some_and(|holder| holder.token.as_ref() == Some(&token));
    scene.api.until_lock("the next holder", &holder.key, is_next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_redisson_client_is_told_on_its_channel_as_the_library_does() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::Redisson, "signalled").await;
    let waiter = scene.redis.client().await;
    let mut messages = waiter.message_rx();
    waiter.subscribe(holder.signal()).await.unwrap();
    let (_, answer) = scene.api.release(&scene.api.preview(&lock).await).await;
    assert_eq!((answer.results[0].outcome, answer.results[0].woken), (Outcome::Released, Some(1)), "{answer:#?}");
    let message = tokio::time::timeout(lockkeeper_tests::DEADLINE, messages.recv()).await.unwrap().unwrap();
    assert_eq!(message.value.as_string().as_deref(), Some("0"));
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_entered_twice_is_freed_whole() {
    let scene = Scene::set().await;
    let (holder, _) = scene.held(Family::Redisson, "twice").await;
    assert!(holder.take().await);
    let lock = scene.api.until_lock("the second entry", "twice", |lock| lock.holders[0].count == 2).await;
    let (status, _) = scene.api.release(&scene.api.preview(&lock).await).await;
    assert_eq!(status, 200);
    assert!(!holder.release().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_changed_hands_is_left_to_its_new_holder() {
    let scene = Scene::set().await;
    for family in Family::ALL {
        let (first, lock) = scene.held(family, "handed").await;
        let preview = scene.api.preview(&lock).await;
        let second = first.fresh();
        assert!(first.release().await && second.take().await);
        let (status, answer) = scene.api.release(&preview).await;
        assert_eq!((status, answer.results[0].outcome), (409, Outcome::ChangedHands), "{answer:#?}");
        let now = answer.results[0].holder_now.as_ref().unwrap();
        assert_eq!(now.token.as_ref(), Some(&second.token));
        assert!(second.renew().await, "the new holder lost its lock");

        // Nor is it previewed for somebody who has not seen that yet.
        let answer = scene.api.try_preview(&[&lock]).await;
        assert_eq!(answer.status, 409);
        assert_eq!(answer.problem().kind, "/problems/changed-hands");

        assert!(second.release().await);
        until("the lock to be free", async || scene.api.lock(&first.key).await, Option::is_none).await;
        let answer = scene.api.try_preview(&[&lock]).await;
        assert_eq!((answer.status, answer.problem().kind.as_str()), (409, "/problems/gone"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_the_same_thread_took_again_is_another_hold() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::Redisson, "again").await;
    let preview = scene.api.preview(&lock).await;
    assert!(holder.release().await);
    until("the end of the first hold", async || scene.api.lock("again").await, Option::is_none).await;
    assert!(holder.take().await);
    scene.seen(&holder).await;
    let (status, answer) = scene.api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::ChangedHands), "{answer:#?}");
    assert!(holder.renew().await, "the new hold was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_let_go_is_gone_and_nothing_is_done() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::PythonRedisLock, "gone").await;
    let preview = scene.api.preview(&lock).await;
    assert!(holder.release().await);
    let (status, answer) = scene.api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::Gone), "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_one_attempt_by_whoever_confirms_it() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::RedisPy, "careful").await;
    let preview = scene.api.preview(&lock).await;

    for (confirm, reason, kind) in [
        ("carefull", "a test", "unconfirmed"),
        ("", "a test", "unconfirmed"),
        ("careful", "", "reason-needed"),
        ("careful", " x ", "reason-needed"),
    ] {
        let answer = scene.api.try_release(&preview.ticket, confirm, reason).await;
        assert_eq!((answer.status, answer.problem().kind), (422, format!("/problems/{kind}")));
    }
    let mut forged = preview.ticket.clone();
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    for ticket in [forged.as_str(), "", "nonsense"] {
        assert_eq!(scene.api.try_release(ticket, "careful", "a test").await.status, 410);
    }
    assert!(holder.renew().await, "none of that did anything");

    assert_eq!(scene.api.release(&preview).await.0, 200);
    let again = scene.api.try_release(&preview.ticket, &preview.confirm, "a test").await;
    assert_eq!((again.status, again.problem().kind.as_str()), (410, "/problems/ticket-used"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_use_one_ticket_at_once_one_gets_through() {
    let scene = Scene::set().await;
    let (_, lock) = scene.held(Family::RedisPy, "contended").await;
    let preview = scene.api.preview(&lock).await;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (api, preview) = (scene.api.clone(), preview.clone());
            tokio::spawn(async move { api.try_release(&preview.ticket, &preview.confirm, "a test").await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in tries {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 410, 503].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_released_where_that_is_not_switched_on() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let (api, client) = (server.api(), redis.client().await);
    let holder = Family::RedisPy.client(&client, "safe", Some(LEASE));
    assert!(holder.take().await);
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    assert_eq!(api.try_preview(&[&lock]).await.status, 403);
    assert_eq!(api.try_release("x", "safe", "a test").await.status, 403);
    assert!(holder.release().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_may_not_release_fails_and_says_which_command() {
    let redis = RedisServer::start().await;
    let url = redis.watcher("-eval -evalsha").await;
    let server = Server::serve().redis(&url).arg("--allow-release").start().await;
    server.ready().await;
    let (api, client) = (server.api(), redis.client().await);
    let holder = Family::RedisPy.client(&client, "forbidden", Some(LEASE));
    assert!(holder.take().await);
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    let (status, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!((status, answer.results[0].outcome), (502, Outcome::Failed), "{answer:#?}");
    assert!(answer.results[0].detail.contains("EVAL"), "{answer:#?}");
    assert!(holder.release().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_locks_are_released_with_one_ticket_each_for_itself() {
    let scene = Scene::in_production().await;
    let mut locks = Vec::new();
    let mut holders = Vec::new();
    for (n, family) in Family::ALL.into_iter().enumerate() {
        let (holder, lock) = scene.held(family, &format!("batch:{n}")).await;
        holders.push(holder);
        locks.push(lock);
    }
    let answer = scene.api.try_preview(&locks.iter().collect::<Vec<_>>()).await;
    let preview: lockkeeper_model::PreviewAnswer = answer.json();
    assert_eq!(preview.confirm, "release 3 locks");
    assert!(holders[1].release().await && holders[1].fresh().take().await);
    assert_eq!(scene.api.try_release(&preview.ticket, &preview.confirm, "a test").await.status, 422, "no dry run yet");
    let (status, answer) = scene.api.dry_run(&preview).await;
    let outcomes: Vec<_> = answer.results.iter().map(|result| result.outcome).collect();
    let would = [Outcome::WouldRelease, Outcome::ChangedHands, Outcome::WouldRelease];
    assert_eq!((status, outcomes), (200, would.to_vec()));
    let (status, answer) = scene.api.release(&preview).await;
    let outcomes: Vec<_> = answer.results.iter().map(|result| result.outcome).collect();
    assert_eq!((status, outcomes), (200, vec![Outcome::Released, Outcome::ChangedHands, Outcome::Released]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_store_is_not_said_to_have_released_anything() {
    let scene = Scene::set().await;
    let (holder, lock) = scene.held(Family::RedisPy, "frozen").await;
    let preview = scene.api.preview(&lock).await;
    scene.redis.freeze();
    let (status, answer) = scene.api.release(&preview).await;
    let outcome = answer.results[0].outcome;
    assert!(matches!((status, outcome), (502, Outcome::Failed) | (200, Outcome::Unknown)), "{status}: {answer:#?}");
    assert!(answer.results[0].after.is_none());
    scene.redis.thaw();
    // An attempt that was said to have failed must not happen later.
    scene.api.until_live().await;
    if outcome == Outcome::Failed {
        assert!(holder.release().await, "it was released after all");
    }
}
