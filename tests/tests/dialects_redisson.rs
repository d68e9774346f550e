//! Everything that Redisson stores, in the library's exact form in a real Redis: seen as what it is, released as the
//! library would, and otherwise left alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::types::{Message, Value};
use lockkeeper_model::{
    Action, Certainty, Flag, Lock, LockState, Mode, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget, Verdict,
    Waiter, WaitersBasis,
};
use lockkeeper_tests::{Answer, Api, DEADLINE, RedisServer, Server, store, until};
use tokio::sync::broadcast::Receiver;

const A: &str = "6f1a3c0e-1111-4222-8333-444455556666:42";
const B: &str = "0d9e8f70-aaaa-4bbb-8ccc-dddd00001111:7";
const C: &str = "11112222-3333-4444-8555-666677778888:1";

struct Scene {
    redis: RedisServer,
    _server: Server,
    api: Api,
    store: Client,
}

impl Scene {
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let server = Server::releasing_apart(&redis).await;
        let (api, store) = (server.api(), redis.client().await);
        Scene { redis, _server: server, api, store }
    }

    /// A command, its words between spaces.
    async fn does(&self, command: &str) -> Value {
        let (name, arguments) = command.split_once(' ').unwrap();
        let name: &'static str = NAMES.iter().find(|known| **known == name).unwrap();
        store(&self.store, name, arguments.split(' ')).await
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = store(&self.store, "KEYS", ["*"]).await;
        keys.sort();
        keys
    }

    async fn seen(&self, key: &str, dialect: &str) -> Lock {
        self.api.until_lock(dialect, key, |lock| lock.dialect.name == dialect).await
    }

    /// Somebody who listens on these channels.
    async fn listener(&self, channels: &[&str]) -> (Client, Receiver<Message>) {
        let client = self.redis.client().await;
        let messages = client.message_rx();
        for channel in channels {
            client.subscribe(*channel).await.unwrap();
        }
        (client, messages)
    }

    async fn try_preview(&self, lock: &Lock, holder: &str, action: Action) -> Answer {
        let target = PreviewTarget {
            source: lock.source.clone(),
            id: lock.id.clone(),
            generation: lock.generation.clone(),
            holder: Some(holder.to_owned()),
        };
        self.api
            .post(
                "/api/v1/releases/preview",
                &PreviewRequest { locks: vec![target], action, hold_ms: None, leave_out: false },
            )
            .await
    }

    async fn preview(&self, lock: &Lock, holder: &str, action: Action) -> PreviewAnswer {
        let answer = self.try_preview(lock, holder, action).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        answer.json()
    }

    /// Previews and does it; answers how many were woken.
    async fn release(&self, lock: &Lock, holder: &str, action: Action) -> Option<i64> {
        let preview = self.preview(lock, holder, action).await;
        let (status, answer) = self.api.release(&preview).await;
        assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{answer:#?}");
        answer.results[0].woken
    }
}

const NAMES: [&str; 15] = [
    "HSET", "HDEL", "HGETALL", "HKEYS", "PEXPIRE", "SET", "GET", "DEL", "RPUSH", "LRANGE", "ZADD", "ZRANGE", "LPOP",
    "INCR", "ACL",
];

fn b64(token: impl AsRef<[u8]>) -> String {
    STANDARD.encode(token)
}

fn strings(value: Value) -> Vec<String> {
    let mut strings: Vec<String> = value.into_array().into_iter().filter_map(|one| one.into_string()).collect();
    strings.sort();
    strings
}

async fn message(messages: &mut Receiver<Message>) -> (String, String) {
    let message = tokio::time::timeout(DEADLINE, messages.recv()).await.unwrap().unwrap();
    (message.channel.to_string(), message.value.as_string().unwrap())
}

fn now_ms() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fair_lock_shows_its_queue_and_a_release_wakes_the_head_alone() {
    let scene = Scene::set().await;
    let (head, mut heard) = scene.listener(&[&format!("redisson_lock__channel:{{orders}}:{B}")]).await;
    let (other, mut other_heard) =
        scene.listener(&["redisson_lock__channel:{orders}", &format!("redisson_lock__channel:{{orders}}:{C}")]).await;
    let end = now_ms() + 330_000;
    scene.does(&format!("HSET orders {A} 1")).await;
    scene.does("PEXPIRE orders 30000").await;
    scene.does(&format!("RPUSH redisson_lock_queue:{{orders}} {B} {C}")).await;
    scene.does(&format!("ZADD redisson_lock_timeout:{{orders}} {end} {B} {} {C}", end + 300_000)).await;
    let lock = scene
        .api
        .until_lock("the queue and who is in it", "orders", |lock| {
            let is_there = |head: &Waiter| head.abandoned == Some(false) && head.expires_at.is_some();
            lock.waiters.count == Some(2) && lock.waiters.list.first().is_some_and(is_there)
        })
        .await;
    assert_eq!((lock.dialect.name.as_str(), lock.dialect.certainty), ("redisson-fair", Certainty::Certain));
    assert_eq!((lock.state, lock.mode, lock.holders.len()), (LockState::Held, Mode::Exclusive, 1));
    assert_eq!((lock.waiters.basis, lock.waiters.ordered), (WaitersBasis::Exact, true));
    let waiters: Vec<_> = lock.waiters.list.iter().map(|waiter| waiter.token.as_deref().unwrap()).collect();
    assert_eq!(waiters, [B, C]);
    assert_eq!(lock.waiters.list[0].expires_at.unwrap().0, end);
    assert_eq!(lock.waiters.list[0].identity.thread.as_deref(), Some("7"));
    assert_eq!(lock.stored.as_ref().unwrap().companions.len(), 2);
    assert!(!lock.flags.contains(&Flag::QueueWithoutHolder));

    assert_eq!(scene.release(&lock, &b64(A), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await, (format!("redisson_lock__channel:{{orders}}:{B}"), "0".to_owned()));
    assert!(other_heard.try_recv().is_err(), "only the head is woken");
    assert_eq!(scene.keys().await, ["redisson_lock_queue:{orders}", "redisson_lock_timeout:{orders}"]);
    for client in [head, other] {
        client.quit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_waiter_that_keeps_everybody_out_is_proven_dead_and_taken_out() {
    let scene = Scene::set().await;
    let (next, mut heard) = scene.listener(&[&format!("redisson_lock__channel:{{orders}}:{B}")]).await;
    let end = now_ms() + 200_000;
    scene.does(&format!("RPUSH redisson_lock_queue:{{orders}} {A} {B}")).await;
    scene.does(&format!("ZADD redisson_lock_timeout:{{orders}} {end} {A} {} {B}", end + 300_000)).await;
    let stuck = |lock: &Lock| lock.flags.contains(&Flag::QueueWithoutHolder);
    let lock = scene.api.until_lock("the finding", "orders", stuck).await;
    assert_eq!((lock.dialect.name.as_str(), lock.state), ("redisson-fair", LockState::WaitingOnly));
    assert!(lock.holders.is_empty() && lock.held_since.not_after.is_none(), "{lock:#?}");
    let abandoned: Vec<_> = lock.waiters.list.iter().map(|waiter| waiter.abandoned).collect();
    assert_eq!(abandoned, [Some(true), Some(false)]);
    assert!(lock.notes.iter().any(|note| note.contains(A)), "{:?}", lock.notes);

    // There is no hold to release, and only the head can go.
    assert_eq!(scene.try_preview(&lock, &b64(A), Action::Release).await.status, 409);
    let answer = scene.try_preview(&lock, &b64(B), Action::EvictWaiter).await;
    assert_eq!((answer.status, answer.problem().kind.as_str()), (409, "/problems/queue-moved"));

    let preview = scene.preview(&lock, &b64(A), Action::EvictWaiter).await;
    let [previewed] = preview.locks.as_slice() else { panic!("{preview:#?}") };
    assert_eq!((previewed.holder.token.as_deref(), previewed.holder.verdict), (Some(A), Verdict::Gone));
    assert!(previewed.warnings.is_empty() && previewed.plan.contains("1 waiter is behind it"), "{previewed:#?}");
    let (status, answer) = scene.api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{answer:#?}");
    assert_eq!(answer.results[0].woken, Some(1));
    assert!(answer.results[0].detail.starts_with("taken out of the queue"), "{answer:#?}");
    assert_eq!(message(&mut heard).await, (format!("redisson_lock__channel:{{orders}}:{B}"), "0".to_owned()));
    assert_eq!(strings(scene.does("LRANGE redisson_lock_queue:{orders} 0 -1").await), [B]);
    let left: Vec<String> =
        store(&scene.store, "ZRANGE", ["redisson_lock_timeout:{orders}", "0", "-1", "WITHSCORES"]).await;
    assert_eq!(left, [B.to_owned(), end.to_string()], "it moved up by one wait");

    // The next one takes it, as the library does, and all is well.
    scene.does(&format!("HSET orders {B} 1")).await;
    scene.does("LPOP redisson_lock_queue:{orders}").await;
    scene.does("DEL redisson_lock_timeout:{orders}").await;
    let lock = scene.seen("orders", "redisson").await;
    assert_eq!((lock.state, lock.holders[0].token.as_deref()), (LockState::Held, Some(B)));
    next.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_head_is_found_under_a_pattern_that_names_the_locks_alone() {
    for feed in ["tracking", "notifications"] {
        let redis = RedisServer::with(&["--notify-keyspace-events", "KA"]).await;
        let queue = async |name: &str| {
            let queue = format!("redisson_lock_queue:{{{name}}}");
            let _: Value = store(&redis.client().await, "RPUSH", [&*queue, A, B]).await;
        };
        for name in ["lock:before", "other:before"] {
            queue(name).await;
        }
        let config = format!(
            "[[source]]\nname = \"orders\"\nurl = \"{}\"\nfeed = \"{feed}\"\npatterns = [\"lock:*\"]\n",
            redis.url()
        );
        let server = Server::serve().config(&config).start().await;
        let api = server.api();
        let source = api.until_live().await;
        assert_eq!(source.feed.map(|kind| kind.word()), Some(feed));
        let is_stuck = |lock: &Lock| lock.flags.contains(&Flag::QueueWithoutHolder);
        let lock = api.until_lock("the queue that a scan finds", "lock:before", is_stuck).await;
        assert_eq!((lock.state, lock.waiters.count), (LockState::WaitingOnly, Some(2)));
        // Nothing else tells of it: its lock is not there, and the next scan is a minute away.
        for name in ["other:later", "lock:later"] {
            queue(name).await;
        }
        api.until_lock("the queue that a change tells of", "lock:later", is_stuck).await;
        assert_eq!(api.locks("").await.total, 2, "what no pattern names is left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_whose_lock_was_taken_meanwhile_keeps_its_place() {
    let scene = Scene::set().await;
    scene.does(&format!("RPUSH redisson_lock_queue:{{orders}} {A} {B}")).await;
    let dead = |lock: &Lock| lock.waiters.list.first().is_some_and(|waiter| waiter.abandoned == Some(true));
    let lock = scene.api.until_lock("the dead head", "orders", dead).await;
    let preview = scene.preview(&lock, &b64(A), Action::EvictWaiter).await;
    scene.does(&format!("HSET orders {C} 1")).await;
    let (status, answer) = scene.api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::ChangedHands), "{answer:#?}");
    assert_eq!(answer.results[0].holder_now.as_ref().unwrap().token.as_deref(), Some(C));
    let queue: Vec<String> = store(&scene.store, "LRANGE", ["redisson_lock_queue:{orders}", "0", "-1"]).await;
    assert_eq!(queue, [A, B]);
    let answer = scene.try_preview(&lock, &b64(A), Action::EvictWaiter).await;
    assert_eq!((answer.status, answer.problem().kind.as_str()), (409, "/problems/changed-hands"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_lock_has_its_number_which_outlives_a_release() {
    let scene = Scene::set().await;
    let (waiter, mut heard) = scene.listener(&["redisson_lock__channel:{ledger}"]).await;
    scene.does("SET redisson_lock_token:{ledger} 33").await;
    scene.does(&format!("HSET ledger {A} 1")).await;
    scene.does("PEXPIRE ledger 30000").await;
    let lock = scene.seen("ledger", "redisson-fenced").await;
    let fence = lock.holders[0].fencing_token.as_ref().unwrap();
    assert_eq!((fence.kind.as_str(), fence.value.as_str()), ("counter", "33"));
    // The same thread took it again, with the same count and no longer lease.
    let preview = scene.preview(&lock, &b64(A), Action::Release).await;
    scene.does("INCR redisson_lock_token:{ledger}").await;
    let (_, answer) = scene.api.release(&preview).await;
    assert_eq!(answer.results[0].outcome, Outcome::Refused, "{answer:#?}");
    assert!(answer.results[0].detail.contains("fencing counter changed from 33 to 34"), "{answer:#?}");
    let lock = scene.seen("ledger", "redisson-fenced").await;
    assert_eq!(scene.release(&lock, &b64(A), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await.1, "0");
    assert_eq!(scene.keys().await, ["redisson_lock_token:{ledger}"]);
    assert_eq!(scene.api.locks("").await.total, 0);
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_told_apart_and_released_one_by_one() {
    let scene = Scene::set().await;
    let (waiter, mut heard) = scene.listener(&["redisson_rwlock:{catalog}"]).await;
    scene.does(&format!("SET {{catalog}}:{A}:rwlock_timeout:1 1 PX 20000")).await;
    scene.does(&format!("SET {{catalog}}:{A}:rwlock_timeout:2 1 PX 30000")).await;
    scene.does(&format!("SET {{catalog}}:{B}:rwlock_timeout:1 1 PX 10000")).await;
    scene.does(&format!("HSET catalog mode read {A} 2 {B} 1 {C} 1")).await;
    scene.does("PEXPIRE catalog 30000").await;
    let counted = |lock: &Lock| lock.dialect.name == "redisson-rw" && lock.waiters.count == Some(1);
    let lock = scene.api.until_lock("the readers", "catalog", counted).await;
    assert_eq!((lock.mode, lock.waiters.basis), (Mode::Shared, WaitersBasis::Inferred));
    assert_eq!(lock.flags, [Flag::DeadMember]);
    assert!(lock.notes[0].contains(C), "{:?}", lock.notes);
    let mut holders: Vec<_> =
        lock.holders.iter().map(|holder| (holder.token.as_deref().unwrap(), holder.count, holder.mode)).collect();
    holders.sort_by_key(|(_, count, _)| *count);
    assert_eq!(holders, [(B, 1, Mode::Shared), (A, 2, Mode::Shared)]);
    let ttl = |lock: &Lock, token: &str| {
        lock.holders.iter().find(|holder| holder.token.as_deref() == Some(token)).unwrap().lease.ttl_ms.unwrap()
    };
    assert!(ttl(&lock, A) > 10_000 && ttl(&lock, B) <= 10_000, "each its own slots'");

    assert_eq!(scene.release(&lock, &b64(A), Action::Release).await, Some(0), "others read on");
    assert_eq!(scene.keys().await, ["catalog".to_owned(), format!("{{catalog}}:{B}:rwlock_timeout:1")]);
    let lock = scene.api.until_lock("the other reader", "catalog", |lock| lock.holders.len() == 1).await;
    assert_eq!(scene.release(&lock, &b64(B), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await, ("redisson_rwlock:{catalog}".to_owned(), "0".to_owned()));
    assert_eq!(scene.keys().await, [] as [&str; 0]);
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_released_and_those_who_wait_hear_it() {
    let scene = Scene::set().await;
    let (waiter, mut heard) = scene.listener(&["redisson_rwlock:{catalog}"]).await;
    scene.does(&format!("HSET catalog mode write {A}:write 1")).await;
    scene.does("PEXPIRE catalog 30000").await;
    let lock = scene.seen("catalog", "redisson-rw").await;
    assert_eq!((lock.mode, lock.holders[0].mode), (Mode::Exclusive, Mode::Exclusive));
    assert_eq!(lock.holders[0].identity.thread.as_deref(), Some("42"));
    let preview = scene.preview(&lock, &b64(format!("{A}:write")), Action::Release).await;
    // Another writer has it by the time of the release.
    scene.does(&format!("HDEL catalog {A}:write")).await;
    scene.does(&format!("HSET catalog mode write {B}:write 1")).await;
    let (status, answer) = scene.api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::ChangedHands), "{answer:#?}");
    let is_b = |lock: &Lock| lock.holders[0].token.as_deref() == Some(&format!("{B}:write"));
    let lock = scene.api.until_lock("the new writer", "catalog", is_b).await;
    assert_eq!(scene.release(&lock, &b64(format!("{B}:write")), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await.1, "1");
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_are_holds_with_ends_of_their_own() {
    let scene = Scene::set().await;
    let (waiter, mut heard) = scene.listener(&["redisson_sc:{export}"]).await;
    let (first, second, overdue) = ([0xf1_u8; 16], [0xf2_u8; 16], [0xf3_u8; 16]);
    let members: Vec<Value> = vec![
        "{export}:timeout".into(),
        (now_ms() + 20_000).into(),
        Value::Bytes(first.to_vec().into()),
        922_337_203_685_477_i64.into(),
        Value::Bytes(second.to_vec().into()),
        (now_ms() - 1_000).into(),
        Value::Bytes(overdue.to_vec().into()),
    ];
    let _: i64 = store(&scene.store, "ZADD", members).await;
    scene.does("SET export 0").await;
    let held = |lock: &Lock| lock.dialect.name == "redisson-permits" && lock.waiters.count == Some(1);
    let lock = scene.api.until_lock("the permits", "export", |lock| held(lock) && lock.permits.is_some()).await;
    assert_eq!((lock.mode, lock.permits, lock.holders.len()), (Mode::Semaphore, Some(3), 2));
    let keys: Vec<&str> = lock.keys.iter().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["export", "{export}:timeout"]);
    assert!(lock.flags.contains(&Flag::DeadMember), "{:?}", lock.flags);
    let lease = |token: &[u8]| {
        lock.holders.iter().find(|holder| holder.token_b64 == b64(token)).unwrap().lease.expires_at.is_some()
    };
    assert!(lease(&first) && !lease(&second));

    assert_eq!(scene.release(&lock, &b64(first), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await, ("redisson_sc:{export}".to_owned(), "1".to_owned()), "the new number");
    assert_eq!(scene.does("GET export").await.into_string().as_deref(), Some("1"));
    let left = scene.api.until_lock("the other permit", "export", |lock| lock.holders.len() == 1).await;
    assert_eq!(left.holders[0].token_b64, b64(second));
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_semaphore_is_shown_while_somebody_waits_for_it_and_is_nobodys_to_release() {
    let scene = Scene::set().await;
    scene.does("SET exports 0").await;
    scene.does("SET visits 7").await;
    scene.does(&format!("HSET marker {A} 1")).await;
    scene.seen("marker", "redisson").await;
    assert_eq!(scene.api.locks("").await.total, 1, "a number is no lock");
    let (waiter, _) = scene.listener(&["redisson_sc:{exports}"]).await;
    let counted = |lock: &Lock| lock.waiters.count == Some(1);
    let lock = scene.api.until_lock("the semaphore", "exports", counted).await;
    assert_eq!((lock.dialect.name.as_str(), lock.mode), ("redisson-semaphore", Mode::Semaphore));
    assert_eq!((lock.state, lock.holders.len()), (LockState::UnknownHolder, 0));
    assert!(lock.no_release.is_some());
    // It is read anew when it changes.
    scene.does("SET exports 2").await;
    let note = |lock: &Lock| lock.notes.iter().any(|note| note.starts_with("2 permits are free"));
    scene.api.until_lock("the new number", "exports", note).await;
    waiter.quit().await.unwrap();
    until("nobody to wait for it", async || scene.api.lock("exports").await, Option::is_none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_of_a_multi_value_lock_is_a_lock_of_its_own() {
    let scene = Scene::set().await;
    let (waiter, mut heard) = scene.listener(&["redisson_lock__channel:{multi}"]).await;
    let end = now_ms() + 30_000;
    scene
        .does(&format!(
            "HSET multi v1== {A} v1==:{A}:expire_time {end} v1==:{A}:lock_count 1 v2== {B} v2==:{B}:expire_time {end} \
             v2==:{B}:lock_count 2"
        ))
        .await;
    let lock = scene.seen("multi#v1==", "redisson-multi-value").await;
    let other = scene.seen("multi#v2==", "redisson-multi-value").await;
    assert_eq!((other.holders[0].token.as_deref(), other.holders[0].count), (Some(B), 2));
    assert_eq!((lock.name.as_str(), lock.keys[0].as_str()), ("v1==", "multi"));
    assert_eq!(scene.release(&lock, &b64(A), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await.1, "0");
    let fields = strings(scene.does("HKEYS multi").await);
    assert_eq!(fields, ["v2==".to_owned(), format!("v2==:{B}:expire_time"), format!("v2==:{B}:lock_count")]);
    assert!(scene.api.lock("multi#v1==").await.is_none() && scene.api.lock("multi#v2==").await.is_some());
    waiter.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_shown_whole_and_left_alone() {
    let scene = Scene::set().await;
    scene.does(&format!("HSET orders {A} 1 version 9")).await;
    let lock = scene.seen("orders", "redisson").await;
    assert_eq!((lock.state, lock.dialect.certainty), (LockState::UnknownHolder, Certainty::Ambiguous));
    assert!(lock.flags.contains(&Flag::Unrecognised) && lock.no_release.is_some());
    assert_eq!(lock.stored.as_ref().unwrap().entries.len(), 2);
    let answer = scene.try_preview(&lock, &b64(A), Action::Release).await;
    assert_eq!((answer.status, answer.problem().kind.as_str()), (409, "/problems/not-offered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn latches_and_companions_are_never_locks() {
    let scene = Scene::set().await;
    for key in [
        "redisson_unlock_latch:{orders}:0f8e41d2a2c911ef8b0a0242ac120003",
        "redisson_lock_token:{orders}",
        "{catalog}:6f1a3c0e-1111-4222-8333-444455556666:42:rwlock_timeout:1",
    ] {
        scene.does(&format!("SET {key} 1")).await;
    }
    scene.does(&format!("ZADD redisson_lock_timeout:{{orders}} 1 {A}")).await;
    scene.does(&format!("HSET marker {A} 1")).await;
    scene.seen("marker", "redisson").await;
    let locks = scene.api.locks("").await;
    assert_eq!(locks.total, 1, "{locks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_waits_on_a_sharded_channel_is_counted_and_woken() {
    let scene = Scene::set().await;
    // Redis before 7 does not know the command, so the rules name it apart.
    scene.does("ACL SETUSER lockkeeper-release +spublish").await;
    let waiter = scene.redis.client().await;
    let mut heard = waiter.message_rx();
    waiter.ssubscribe("redisson_lock__channel:{orders}").await.unwrap();
    scene.does(&format!("HSET orders {A} 1")).await;
    let lock = scene.api.until_lock("the waiter", "orders", |lock| lock.waiters.count == Some(1)).await;
    assert_eq!(scene.release(&lock, &b64(A), Action::Release).await, Some(1));
    assert_eq!(message(&mut heard).await.1, "0");
    waiter.quit().await.unwrap();
}
