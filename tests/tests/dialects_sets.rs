//! Locks that are sorted sets, sets, lists and fields of hashes, as their libraries store them: who holds them is seen
//! member by member, and a release removes one holder and leaves all others.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fred::clients::Client;
use lockkeeper_model::{
    AfterState, Event, Flag, Holder, Lock, LockState, Mode, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget,
    WaitersBasis,
};
use lockkeeper_tests::{Answer, Api, RedisServer, Server, store, until};
use uuid::Uuid;

/// Long enough that no test outlives it.
const LEASE_MS: i64 = 60_000;

struct Scene {
    _redis: RedisServer,
    _server: Server,
    api: Api,
    store: Client,
}

impl Scene {
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let server = Server::releasing_apart(&redis).await;
        let (api, store) = (server.api(), redis.client().await);
        Scene { _redis: redis, _server: server, api, store }
    }

    async fn run<T: fred::types::FromValue>(&self, command: &'static str, args: &[&str]) -> T {
        store(&self.store, command, args.iter().copied()).await
    }

    /// A command whose answer does not matter.
    async fn put(&self, command: &'static str, args: &[&str]) {
        let _: fred::types::Value = self.run(command, args).await;
    }

    /// The server's clock.
    async fn now_ms(&self) -> i64 {
        let [s, us]: [i64; 2] = self.run::<Vec<i64>>("TIME", &[]).await.try_into().unwrap();
        s * 1_000 + us / 1_000
    }

    async fn members(&self, key: &str) -> BTreeSet<String> {
        self.run::<Vec<String>>("ZRANGE", &[key, "0", "-1"]).await.into_iter().collect()
    }

    async fn held_by(&self, id: &str, tokens: &[&str]) -> Lock {
        let wanted: BTreeSet<&str> = tokens.iter().copied().collect();
        let passes = |lock: &Lock| {
            lock.holders.iter().filter_map(|holder| holder.token.as_deref()).collect::<BTreeSet<_>>() == wanted
        };
        self.api.until_lock("the holders", id, passes).await
    }

    async fn try_preview(&self, lock: &Lock, holder: &Holder) -> Answer {
        let target = PreviewTarget {
            source: lock.source.clone(),
            id: lock.id.clone(),
            generation: holder.generation.clone(),
            holder: Some(holder.token_b64.clone()),
        };
        self.api
            .post(
                "/api/v1/releases/preview",
                &PreviewRequest { locks: vec![target], action: Default::default(), hold_ms: None, leave_out: false },
            )
            .await
    }

    async fn preview(&self, lock: &Lock, token: &str) -> PreviewAnswer {
        let answer = self.try_preview(lock, holder(lock, token)).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        answer.json()
    }

    /// Releases one holder, and expects that to be done.
    async fn free(&self, lock: &Lock, token: &str) {
        let (status, answer) = self.api.release(&self.preview(lock, token).await).await;
        assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{answer:#?}");
        assert_eq!(answer.results[0].after.as_ref().unwrap().state, AfterState::Free, "{answer:#?}");
    }

    /// Releases after something changed, and expects that nothing is done.
    async fn refused(&self, preview: &PreviewAnswer) -> Outcome {
        let (status, answer) = self.api.release(preview).await;
        assert_eq!(status, 409, "{answer:#?}");
        answer.results[0].outcome
    }
}

fn holder<'a>(lock: &'a Lock, token: &str) -> &'a Holder {
    lock.holders.iter().find(|holder| holder.token.as_deref() == Some(token)).unwrap_or_else(|| panic!("{lock:#?}"))
}

fn base64_of_32_bytes() -> String {
    STANDARD.encode(rand::random::<[u8; 32]>())
}

fn dotnet_id(pid: u32) -> String {
    format!("worker-7_{pid}_{}", Uuid::new_v4().simple())
}

fn job_id() -> String {
    Uuid::new_v4().simple().to_string()[..24].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_semaphore_is_freed_holder_by_holder() {
    let scene = Scene::set().await;
    let (a, b) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let now = scene.now_ms().await;
    let (early, late) = ((now - 5_000).to_string(), now.to_string());
    let (first, second) = (format!("{b}_0"), format!("{b}_1"));
    scene.put("ZADD", &["semaphore:export", &early, &a, &late, &first, &late, &second]).await;
    scene.put("PEXPIRE", &["semaphore:export", "60000"]).await;
    scene.held_by("semaphore:export", &[&a, &b]).await;
    let has_ends = |lock: &Lock| lock.holders.iter().all(|holder| holder.lease.expires_at.is_some());
    let lock = scene.api.until_lock("when it ends", "semaphore:export", has_ends).await;
    assert_eq!((lock.dialect.name.as_str(), lock.mode, lock.permits), ("redis-semaphore", Mode::Semaphore, None));
    assert_eq!((lock.name.as_str(), holder(&lock, &a).count, holder(&lock, &b).count), ("export", 1, 2));
    let ends = [&a, &b].map(|token| holder(&lock, token).lease.expires_at.unwrap());
    assert!((4_900..5_100).contains(&ends[1].since(ends[0])), "{lock:#?}");

    // One of three permits of one holder, or one more, is not the hold that was previewed.
    let preview = scene.preview(&lock, &b).await;
    scene.put("ZADD", &["semaphore:export", &late, &format!("{b}_2")]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::Refused);
    scene.put("ZREM", &["semaphore:export", &format!("{b}_2")]).await;
    let twice = |lock: &Lock| lock.holders.iter().any(|holder| holder.count == 2);
    let lock = scene.api.until_lock("two permits again", "semaphore:export", twice).await;
    scene.free(&lock, &b).await;
    assert_eq!(scene.members("semaphore:export").await, BTreeSet::from([a.clone()]));

    let lock = scene.held_by("semaphore:export", &[&a]).await;
    let preview = scene.preview(&lock, &a).await;
    scene.put("ZREM", &["semaphore:export", &a]).await;
    scene.put("ZADD", &["semaphore:export", &late, &b]).await;
    scene.put("PEXPIRE", &["semaphore:export", "60000"]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::ChangedHands);
    assert_eq!(scene.members("semaphore:export").await, BTreeSet::from([b]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_time_is_over_is_told_as_expired_while_the_key_stands() {
    let scene = Scene::set().await;
    let (short, long) = (dotnet_id(1), dotnet_id(2));
    let now = scene.now_ms().await;
    let (soon, later) = ((now + 8_000).to_string(), (now + LEASE_MS).to_string());
    scene.put("ZADD", &["pool", &soon, &short, &later, &long]).await;
    scene.put("PEXPIRE", &["pool", "90000"]).await;
    let lock = scene.held_by("pool", &[&short, &long]).await;
    assert_eq!((lock.dialect.name.as_str(), lock.mode), ("distributedlock-net", Mode::Semaphore));
    assert_eq!(holder(&lock, &short).identity.host.as_deref(), Some("worker-7"));
    assert_eq!(holder(&lock, &short).identity.pid, Some(1));

    let lock = scene.held_by("pool", &[&long]).await;
    assert!(lock.flags.contains(&Flag::DeadMember), "{lock:#?}");
    assert!(lock.notes.iter().any(|note| note.contains("time is over")), "{lock:#?}");
    assert_eq!(scene.members("pool").await.len(), 2, "the dead member is still stored");
    let ended = |event: &&Event| event.transition.word() == "expired" && event.holder.as_ref() == Some(&short);
    let events = scene.api.events("pool").await;
    assert!(events.iter().any(|event| ended(&event)), "{events:#?}");

    scene.free(&lock, &long).await;
    assert_eq!(scene.members("pool").await, BTreeSet::from([short.clone()]));
    until("the end of the lock", async || scene.api.lock("pool").await, Option::is_none).await;

    // The key stands with nobody in it; whoever enters is seen all the same.
    let next = dotnet_id(3);
    let later = (scene.now_ms().await + LEASE_MS).to_string();
    scene.put("ZADD", &["pool", &later, &next]).await;
    scene.held_by("pool", &[&next]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symfony_lock_is_freed_as_the_library_does_it() {
    let scene = Scene::set().await;
    let (a, b) = (base64_of_32_bytes(), base64_of_32_bytes());
    let now = scene.now_ms().await;
    let (sooner, later) = ((now + LEASE_MS).to_string(), (now + 2 * LEASE_MS).to_string());
    scene.put("ZADD", &["stock", &later, &a, &later, "__write__"]).await;
    scene.put("PEXPIREAT", &["stock", &later]).await;
    let lock = scene.held_by("stock", &[&a]).await;
    assert_eq!(
        (lock.dialect.name.as_str(), lock.mode, lock.holders[0].mode),
        ("symfony", Mode::Exclusive, Mode::Exclusive)
    );
    assert_eq!(lock.stored.as_ref().unwrap().entries.len(), 2);
    scene.free(&lock, &a).await;
    assert_eq!(scene.run::<i64>("EXISTS", &["stock"]).await, 0);

    scene.put("ZADD", &["stock", &sooner, &a, &later, &b]).await;
    scene.put("PEXPIREAT", &["stock", &later]).await;
    let lock = scene.held_by("stock", &[&a, &b]).await;
    assert_eq!(lock.mode, Mode::Shared);
    let preview = scene.preview(&lock, &a).await;
    // Without a name it is not clear whose hold is to end.
    assert_eq!(scene.api.try_preview(&[&lock]).await.status, 400);
    scene.free(&lock, &b).await;
    assert_eq!(scene.members("stock").await, BTreeSet::from([a.clone()]));
    let left: i64 = scene.run("PTTL", &["stock"]).await;
    assert!(left <= LEASE_MS, "the key ends with its last member, not in {left} ms");

    // Promoted to writer, which pushes the end out: another hold than was previewed.
    scene.put("ZADD", &["stock", &later, &a, &later, "__write__"]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::Refused);
    assert_eq!(scene.members("stock").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symfony_semaphore_is_one_lock_under_two_keys() {
    let scene = Scene::set().await;
    let (a, b) = (base64_of_32_bytes(), base64_of_32_bytes());
    let ends = (scene.now_ms().await / 1_000 + 60).to_string();
    scene.put("ZADD", &["{export}:time", &ends, &a, &ends, &b]).await;
    scene.put("ZADD", &["{export}:weight", "2", &a, "1", &b]).await;
    let lock = scene.held_by("{export}:time", &[&a, &b]).await;
    assert_eq!(
        (lock.dialect.name.as_str(), lock.mode, lock.name.as_str()),
        ("symfony-semaphore", Mode::Semaphore, "export")
    );
    let keys: Vec<&str> = lock.keys.iter().map(|key| key.as_str()).collect();
    assert_eq!((keys, holder(&lock, &a).count), (vec!["{export}:time", "{export}:weight"], 2));
    assert!(scene.api.lock("{export}:weight").await.is_none());
    scene.free(&lock, &a).await;
    for key in ["{export}:time", "{export}:weight"] {
        assert_eq!(scene.members(key).await, BTreeSet::from([b.clone()]), "{key}");
    }
    let lock = scene.held_by("{export}:time", &[&b]).await;
    let preview = scene.preview(&lock, &b).await;
    scene.put("ZADD", &["{export}:weight", "3", &b]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_the_writer_that_waits_for_them_are_one_lock() {
    let scene = Scene::set().await;
    let (a, b, writer) = (dotnet_id(1), dotnet_id(2), dotnet_id(3));
    scene.put("SADD", &["cat.readers", &a, &b]).await;
    scene.put("PEXPIRE", &["cat.readers", "60000"]).await;
    let lock = scene.held_by("cat.writer", &[&a, &b]).await;
    assert_eq!(
        (lock.dialect.name.as_str(), lock.mode, lock.name.as_str()),
        ("distributedlock-net", Mode::Shared, "cat")
    );
    assert_eq!(lock.keys.iter().map(|key| key.as_str()).collect::<Vec<_>>(), ["cat.readers"]);

    let waiting = format!("{writer}_WRITERWAITING");
    scene.put("SET", &["cat.writer", &waiting, "PX", "60000"]).await;
    let has_waiter = |lock: &Lock| lock.waiters.count == Some(1);
    let lock = scene.api.until_lock("the waiting writer", "cat.writer", has_waiter).await;
    assert_eq!((lock.waiters.basis, lock.waiters.list[0].identity.pid), (WaitersBasis::Exact, Some(3)));
    assert!(lock.flags.contains(&Flag::WriterWaiting));
    assert_eq!(lock.holders.len(), 2, "{lock:#?}");

    // The expiry of all is pushed out by one: that is no renewal of each.
    let was = lock.holders[0].lease.expires_at;
    scene.put("PEXPIRE", &["cat.readers", "120000"]).await;
    let lock = scene.api.until_lock("the later end", "cat.writer", |lock| lock.holders[0].lease.expires_at > was).await;
    assert!(lock.holders.iter().all(|holder| holder.renewals.count == 0), "{lock:#?}");

    scene.free(&lock, &a).await;
    assert_eq!(scene.run::<Vec<String>>("SMEMBERS", &["cat.readers"]).await.concat(), b);
    assert_eq!(scene.run::<String>("GET", &["cat.writer"]).await, waiting, "the waiting writer stays");
    let lock = scene.held_by("cat.writer", &[&b]).await;
    let preview = scene.preview(&lock, &b).await;
    scene.put("DEL", &["cat.readers"]).await;
    scene.put("SET", &["cat.writer", &writer, "PX", "60000"]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::ChangedHands);
    let lock = scene.held_by("cat.writer", &[&writer]).await;
    assert_eq!((lock.mode, lock.waiters.count), (Mode::Exclusive, None));
    scene.free(&lock, &writer).await;
    assert_eq!(scene.run::<i64>("EXISTS", &["cat.writer"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_waiting_writer_is_shown_though_nobody_holds_the_lock() {
    let scene = Scene::set().await;
    let waiting = format!("{}_WRITERWAITING", dotnet_id(3));
    scene.put("SET", &["cat.writer", &waiting, "PX", "60000"]).await;
    let is_waited_for = |lock: &Lock| lock.state == LockState::WaitingOnly;
    let lock = scene.api.until_lock("the waiting writer", "cat.writer", is_waited_for).await;
    assert!(lock.holders.is_empty());
    assert_eq!(lock.waiters.list[0].token.as_ref(), Some(&waiting));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidekiq_lock_of_version_8_is_handed_over_as_the_library_does_it() {
    let scene = Scene::set().await;
    let digest = format!("uniquejobs:{}", Uuid::new_v4().simple());
    let of = |ending: &str| format!("{digest}:{ending}");
    let (locked, job, next) = (of("LOCKED"), job_id(), job_id());
    let taken = scene.now_ms().await - 4_000;
    let time = format!("{}.{:03}", taken / 1_000, taken % 1_000);
    scene.put("HSET", &[&locked, &job, &time]).await;
    scene.put("SET", &[&digest, &job]).await;
    scene.put("RPUSH", &[&of("PRIMED"), &next]).await;
    scene
        .put("SET", &[&of("INFO"), r#"{"worker": "Import", "queue": "low", "type": "until_executed", "limit": 1}"#])
        .await;
    scene.put("ZADD", &["uniquejobs:digests", &time, &digest]).await;

    let whole = |lock: &Lock| lock.waiters.count == Some(1) && lock.stored.as_ref().unwrap().companions.len() == 3;
    let lock = scene.api.until_lock("the lock and what belongs to it", &locked, whole).await;
    assert_eq!((lock.dialect.name.as_str(), lock.mode), ("sidekiq-unique-jobs", Mode::Exclusive));
    assert_eq!((lock.waiters.list[0].token.as_ref(), lock.flags.contains(&Flag::NoExpiry)), (Some(&next), true));
    let metadata = lock.holders[0].identity.metadata.as_deref();
    assert_eq!(metadata, Some("worker Import, queue low, type until_executed"));
    for key in [&digest, &of("INFO"), &of("PRIMED"), "uniquejobs:digests"] {
        assert!(scene.api.lock(key).await.is_none(), "{key} is no lock");
    }

    scene.free(&lock, &job).await;
    assert_eq!(scene.run::<i64>("EXISTS", &[&locked, &digest, &of("INFO")]).await, 0);
    assert_eq!(scene.run::<Vec<String>>("LRANGE", &[&of("QUEUED"), "0", "-1"]).await, ["1"]);
    let left: i64 = scene.run("PTTL", &[&of("QUEUED")]).await;
    assert!((1..=5_000).contains(&left), "{left}");
    assert_eq!(scene.run::<Vec<String>>("LRANGE", &[&of("PRIMED"), "0", "-1"]).await, [next], "the waiters stay");
    assert_eq!(scene.run::<i64>("ZCARD", &["uniquejobs:digests"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidekiq_job_that_took_its_lock_anew_is_another_hold() {
    let scene = Scene::set().await;
    let digest = format!("uniquejobs:{}", Uuid::new_v4().simple());
    let (locked, a, b) = (format!("{digest}:LOCKED"), job_id(), job_id());
    let json = |at: i64| format!(r#"{{"worker": "Import", "queue": "low", "limit": 2, "time": {at}.5}}"#);
    let now = scene.now_ms().await / 1_000;
    scene.put("HSET", &[&locked, &a, &json(now - 60), &b, &json(now - 50)]).await;
    scene.put("ZADD", &["uniquejobs:digests", &now.to_string(), &digest]).await;
    let lock = scene.held_by(&locked, &[&a, &b]).await;
    assert_eq!((lock.mode, lock.permits, lock.dialect.because.contains("JSON")), (Mode::Semaphore, Some(2), true));
    assert_eq!(lock.holders[0].identity.metadata.as_deref(), Some("worker Import, queue low"));

    let preview = scene.preview(&lock, &a).await;
    scene.put("HSET", &[&locked, &a, &json(now - 1)]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::ChangedHands);
    let lock = scene.held_by(&locked, &[&a, &b]).await;
    scene.free(&lock, &a).await;
    assert_eq!(scene.run::<Vec<String>>("HKEYS", &[&locked]).await.concat(), b);
    assert_eq!(scene.run::<i64>("ZCARD", &["uniquejobs:digests"]).await, 1, "another job has the digest");
    assert_eq!(scene.run::<i64>("EXISTS", &[&format!("{digest}:QUEUED")]).await, 0, "version 9 has no queue");
    scene.free(&scene.held_by(&locked, &[&b]).await, &b).await;
    assert_eq!(scene.run::<i64>("EXISTS", &[&locked, "uniquejobs:digests"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ruby_semaphore_gets_its_resource_back() {
    let scene = Scene::set().await;
    let of = |ending: &str| format!("SEMAPHORE:api:{ending}");
    let (grabbed, available) = (of("GRABBED"), of("AVAILABLE"));
    let now = scene.now_ms().await / 1_000;
    let time = |ago: i64| format!("{}.25", now - ago);
    scene.put("SET", &[&of("EXISTS"), "1"]).await;
    scene.put("SET", &[&of("VERSION"), "1"]).await;
    scene.put("RPUSH", &[&available, "2"]).await;
    scene.put("HSET", &[&grabbed, "0", &time(90), "1", &time(30)]).await;
    let lock = scene.held_by(&grabbed, &["0", "1"]).await;
    assert_eq!((lock.permits, lock.stored.as_ref().unwrap().companions.len()), (Some(3), 2));
    assert_eq!(
        (lock.dialect.name.as_str(), lock.state, lock.name.as_str()),
        ("ruby-redis-semaphore", LockState::UnknownHolder, "api")
    );
    assert!(lock.flags.contains(&Flag::UnsafeUnlock) && lock.flags.contains(&Flag::NoOwner));

    let preview = scene.preview(&lock, "1").await;
    scene.put("HSET", &[&grabbed, "1", &time(1)]).await;
    assert_eq!(scene.refused(&preview).await, Outcome::ChangedHands);
    scene.free(&scene.held_by(&grabbed, &["0", "1"]).await, "0").await;
    assert_eq!(scene.run::<Vec<String>>("HKEYS", &[&grabbed]).await, ["1"]);
    assert_eq!(scene.run::<Vec<String>>("LRANGE", &[&available, "0", "-1"]).await, ["0", "2"]);
    let lock = scene.held_by(&grabbed, &["1"]).await;
    assert_eq!(lock.permits, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lock_in_a_large_hash_of_huey_is_a_lock_of_its_own() {
    let scene = Scene::set().await;
    const RESULTS: &str = "huey.results.shop";
    /// What huey pickles.
    const TAKEN: &[u8] = b"\x80\x05\x95\x05\0\0\0\0\0\0\0\x8c\x011\x94.";
    for _ in 0..30 {
        let results: Vec<String> = (0..100).flat_map(|_| [Uuid::new_v4().to_string(), "x".repeat(40)]).collect();
        let args: Vec<&str> = std::iter::once(RESULTS).chain(results.iter().map(String::as_str)).collect();
        scene.put("HSET", &args).await;
    }
    let take = async |name: &str| {
        let args: Vec<fred::types::Value> =
            vec![RESULTS.into(), format!("shop.lock.{name}").into(), bytes::Bytes::from_static(TAKEN).into()];
        let _: i64 = store(&scene.store, "HSET", args).await;
    };
    take("report").await;
    take("import").await;
    let id = |name: &str| format!("{RESULTS}#shop.lock.{name}");
    let ids = async || {
        let locks = scene.api.locks("limit=100").await.locks;
        locks.iter().map(|lock| lock.id.as_str().to_owned()).collect::<BTreeSet<_>>()
    };
    until("both locks", ids, |ids| *ids == BTreeSet::from([id("report"), id("import")])).await;
    assert_eq!(scene.run::<i64>("HLEN", &[RESULTS]).await, 3_002);

    let lock = scene.api.lock(id("report")).await.unwrap();
    assert_eq!(
        (lock.dialect.name.as_str(), lock.name.as_str(), lock.state),
        ("huey", "report", LockState::UnknownHolder)
    );
    assert_eq!(lock.keys.iter().map(|key| key.as_str()).collect::<Vec<_>>(), [RESULTS]);
    for flag in [Flag::NoOwner, Flag::NoExpiry, Flag::UnsafeUnlock] {
        assert!(lock.flags.contains(&flag), "{lock:#?}");
    }
    let (status, answer) = scene.api.release(&scene.api.preview(&lock).await).await;
    assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{answer:#?}");
    assert_eq!(answer.results[0].after.as_ref().unwrap().state, AfterState::Free, "{answer:#?}");
    assert_eq!(scene.run::<i64>("HLEN", &[RESULTS]).await, 3_001);
    assert_eq!(scene.api.story(id("report")).await.last(), Some(&"forced"));
    assert_eq!(ids().await, BTreeSet::from([id("import")]));

    // Its task lets go: that lock ends, whatever else is in the hash.
    take("report").await;
    scene.api.until_lock("the lock again", id("report"), |_| true).await;
    scene.put("HDEL", &[RESULTS, "shop.lock.import"]).await;
    until("the end of the other", ids, |ids| *ids == BTreeSet::from([id("report")])).await;
    assert_eq!(scene.api.story(id("import")).await.last(), Some(&"released"));

    // Nobody holds any lock in it, and the next is seen all the same.
    scene.put("HDEL", &[RESULTS, "shop.lock.report"]).await;
    until("no lock", ids, BTreeSet::is_empty).await;
    take("nightly").await;
    until("the next lock", ids, |ids| *ids == BTreeSet::from([id("nightly")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_library_stores_is_said_under_a_pattern_and_ignored_without() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let [now_s, _]: [i64; 2] = store::<Vec<i64>>(&client, "TIME", [] as [&str; 0]).await.try_into().unwrap();
    let later = now_s * 1_000 + LEASE_MS;
    let member = dotnet_id(1);
    let commands: [(&'static str, Vec<String>); 5] = [
        ("ZADD", vec!["jobs:ranking".into(), "3".into(), "ada".into()]),
        ("SADD", vec!["jobs:tags".into(), "new".into()]),
        ("RPUSH", vec!["jobs:mail".into(), "a".into()]),
        ("HSET", vec!["jobs:settings".into(), "timeout".into(), "30".into()]),
        ("ZADD", vec!["jobs:pool".into(), later.to_string(), member]),
    ];
    for (command, args) in commands {
        let _: i64 = store(&client, command, args).await;
    }
    let config = format!("[[source]]\nname = \"jobs\"\nurl = \"{}\"\npatterns = [\"jobs:*\"]\n", redis.url());
    let server = Server::serve().config(&config).start().await;
    server.ready().await;
    let source = server.api().source().await;
    let said: BTreeSet<&str> = source.not_locks.sample.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(said, BTreeSet::from(["jobs:ranking", "jobs:tags", "jobs:mail", "jobs:settings"]));
    assert!(server.api().lock("jobs:pool").await.is_some());

    let server = Server::watching(&redis).await;
    assert_eq!(server.api().source().await.not_locks.count, 0);
    assert_eq!(server.api().locks("limit=100").await.total, 1);
}
