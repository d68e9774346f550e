//! What happened is known after the server was killed, after a full disk, and from a moment of the past.

use std::process::Command;
use std::time::Duration;

use lockkeeper_model::Event;
use lockkeeper_tests::{Api, Family, LockClient, RedisServer, Server, ServerBuilder, store, until, until_some};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(600);

/// A store, and a folder that outlives every server.
struct Scene {
    redis: RedisServer,
    data: TempDir,
    holder: LockClient,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
}

impl Scene {
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let holder = Family::RedisPy.client(&redis.client().await, "job", Some(LEASE));
        Scene { redis, data: TempDir::new().unwrap(), holder }
    }

    fn server(&self) -> ServerBuilder {
        Server::serve().redis(&self.redis.url()).arg("--data-dir").arg(self.data.path().to_str().unwrap())
    }

    async fn started(&self) -> Server {
        let server = self.server().arg("--allow-release").start().await;
        server.ready().await;
        server
    }

    async fn take_and_let_go(&self, api: &Api) {
        assert!(self.holder.take().await);
        api.until_lock("the lock", &self.holder.key, |_| true).await;
        store::<i64>(&self.redis.client().await, "DEL", [self.holder.key.as_str()]).await;
        api.until_story(&self.holder.key, &["released"]).await;
    }
}

async fn history(api: &Api, query: &str) -> Vec<Event> {
    let answer = api.get(&format!("/api/v1/history?limit=1000&{query}")).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.json::<Events>().events
}

/// Who waited, as the statistics say it.
async fn contention(api: &Api, query: &str) -> Value {
    let answer: Value = api.get(&format!("/api/v1/stats?{query}")).await.json();
    answer["stats"]["contention"].clone()
}

/// The words of what happened, oldest first.
fn told(events: &[Event]) -> Vec<&'static str> {
    events.iter().rev().map(|event| event.transition.word()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_knows_afterwards_who_had_it_and_how_that_ended() {
    let scene = Scene::set().await;
    let mut server = scene.started().await;
    let api = server.api();
    scene.take_and_let_go(&api).await;
    assert!(scene.holder.take().await);
    let lock = api.until_lock("the lock", &scene.holder.key, |_| true).await;
    let preview = api.preview(&lock).await;
    api.release(&preview).await;
    api.until_story(&scene.holder.key, &["forced"]).await;
    // Once it was asked for, it is on the disk.
    let before = history(&api, "lock=lock%3Ajob").await;
    assert_eq!(told(&before), ["acquired", "released", "acquired", "forced"]);
    server.kill().await;

    let server = scene.started().await;
    let api = server.api();
    let after = history(&api, "lock=lock%3Ajob").await;
    assert_eq!(told(&after), ["acquired", "released", "acquired", "forced", "gap"]);
    let (gap, rest) = after.split_first().unwrap();
    assert_eq!(rest, before, "the same events under the same names");
    assert_eq!(gap.cause.as_deref(), Some("not_running"));
    let forced = before[0].evidence.as_deref().unwrap();
    assert!(forced.ends_with("; entry 1 of the audit"), "{forced}");
    let timeline = api.events(&scene.holder.key).await;
    assert_eq!(told(&timeline)[..4], ["acquired", "released", "acquired", "forced"]);

    let resumed = api.request(reqwest::Method::GET, &format!("/api/v1/events?last_event_id={}", before[1].id));
    let mut stream = resumed.send().await.unwrap();
    let mut said = String::new();
    while !said.contains("event: gap") {
        said.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(said.contains(&format!("id: {}", before[0].id)) && !said.contains("not_kept"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_of_a_moment_is_shown_after_it_changed_and_after_a_restart() {
    let scene = Scene::set().await;
    assert!(scene.holder.take().await);
    let mut server = scene.started().await;
    let api = server.api();
    // As soon as all that is held was written down.
    let then = until_some("a moment that is recorded", async || {
        let now = api.locks("").await.as_of;
        (api.get(&format!("/api/v1/locks?at={now}")).await.status == 200).then_some(now)
    })
    .await;
    store::<i64>(&scene.redis.client().await, "DEL", [scene.holder.key.as_str()]).await;
    api.until_story(&scene.holder.key, &["released"]).await;
    assert_eq!(api.locks("").await.total, 0);
    let past = api.locks(&format!("at={then}")).await;
    assert_eq!((past.as_of, past.total), (then, 1));
    assert_eq!(past.locks[0].holders[0].token.as_ref(), Some(&scene.holder.token));
    assert_eq!(past.coverage["complete"], true);
    server.stop().await;

    let server = scene.started().await;
    let api = server.api();
    assert_eq!(api.locks(&format!("at={then}")).await.total, 1);
    let early = api.get("/api/v1/locks?at=2020-01-01T00:00:00Z").await;
    assert_eq!(early.problem().kind, "/problems/not-recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_watching_goes_on_and_what_is_missing_is_a_gap() {
    let scene = Scene::set().await;
    // A disk is made full by a limit on the size of files, of which a write then fails.
    let server = scene.server().start().await;
    server.ready().await;
    let api = server.api();
    scene.take_and_let_go(&api).await;
    history(&api, "").await;
    limit_files(server.pid(), "4096:unlimited");
    scene.take_and_let_go(&api).await;
    let ready = until(
        "the recording to fail",
        async || api.get("/readyz").await.json::<Value>(),
        |ready| ready["recording"] == "failing",
    )
    .await;
    assert_eq!(ready["ready"], true, "watching goes on: {ready}");
    assert!(ready["recording_because"].is_string(), "{ready}");
    assert!(api.get("/metrics").await.body.contains("lockkeeper_history_recording 0"));
    assert_eq!(api.get("/api/v1/sources").await.json::<Value>()["recording"]["state"], json!("failing"));
    scene.take_and_let_go(&api).await;

    limit_files(server.pid(), "unlimited:unlimited");
    let recorded = until(
        "the recording to go on",
        async || history(&api, "lock=lock%3Ajob").await,
        |events| events.iter().any(|event| event.cause.as_deref() == Some("not_recorded")),
    )
    .await;
    let gap = recorded.iter().find(|event| event.cause.as_deref() == Some("not_recorded")).unwrap();
    assert!(gap.count >= 1, "{gap:#?}");
    assert_eq!(told(&recorded)[..2], ["acquired", "released"]);
    scene.take_and_let_go(&api).await;
    let recorded = history(&api, "lock=lock%3Ajob").await;
    assert!(told(&recorded).ends_with(&["acquired", "released"]), "{recorded:#?}");
}

fn limit_files(pid: u32, limit: &str) {
    let limited = Command::new("prlimit").arg(format!("--pid={pid}")).arg(format!("--fsize={limit}")).status();
    assert!(limited.unwrap().success(), "prlimit");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_is_known_afterwards_and_where_nobody_can_know_it_that_is_said() {
    const HOLDER: &str = "6f1a3c0e-1111-4222-8333-444455556666:42";
    const WAITERS: [&str; 3] = [
        "0d9e8f70-aaaa-4bbb-8ccc-dddd00001111:7",
        "11112222-3333-4444-8555-666677778888:1",
        "11112222-3333-4444-8555-666677778888:2",
    ];
    let scene = Scene::set().await;
    let mut server = scene.started().await;
    let api = server.api();
    let client = scene.redis.client().await;
    let from = api.locks("").await.as_of;
    // Its waiters poll.
    assert!(scene.holder.take().await);
    api.until_lock("the lock that is polled for", &scene.holder.key, |_| true).await;
    // The library lists those who wait for a fair one.
    store::<i64>(&client, "HSET", ["orders", HOLDER, "1"]).await;
    store::<i64>(&client, "RPUSH", ["redisson_lock_queue:{orders}", WAITERS[0], WAITERS[1]]).await;
    api.until_lock("two who wait", "orders", |lock| lock.waiters.count == Some(2)).await;
    let waited = |stats: &Value| stats["waited_ms"].as_i64().unwrap_or(0);
    until("time that two have waited", async || waited(&contention(&api, "lock=orders").await), |ms| *ms >= 2_000)
        .await;
    store::<i64>(&client, "RPUSH", ["redisson_lock_queue:{orders}", WAITERS[2]]).await;
    api.until_lock("three who wait", "orders", |lock| lock.waiters.count == Some(3)).await;
    let before = until_some("most of them at once", async || {
        let stats = contention(&api, &format!("lock=orders&from={from}")).await;
        (stats["most"]["count"] == 3).then_some(stats)
    })
    .await;
    assert_eq!((&before["most"]["id"], &before["basis"]), (&json!("orders"), &json!("exact")), "{before}");
    assert_eq!((&before["unseen_locks"], &before["because"]), (&json!(0), &Value::Null), "{before}");
    let share = before["share"].as_f64().unwrap();
    assert!(share > 0.0 && share <= 1.0, "{before}");
    let known = before["known_ms"].as_i64().unwrap();
    assert!(known > 0 && before["contended_ms"].as_i64().unwrap() <= waited(&before), "{before}");

    let polled = contention(&api, "lock=lock:job").await;
    assert_eq!((&polled["waited_ms"], &polled["share"]), (&Value::Null, &Value::Null), "{polled}");
    assert_eq!((&polled["known_ms"], &polled["unseen_locks"]), (&json!(0), &json!(1)));
    assert_eq!(polled["because"], "those who wait for these locks leave no trace in the store");
    let both = contention(&api, "pattern=*").await;
    assert!(waited(&both) >= waited(&before) && both["unseen_locks"] == 1, "{both}");

    // They leave, the server dies, and another one is asked about that time.
    store::<i64>(&client, "DEL", ["redisson_lock_queue:{orders}"]).await;
    api.until_lock("nobody who waits", "orders", |lock| lock.waiters.list.is_empty()).await;
    let to = api.locks("").await.as_of;
    let span = format!("lock=orders&from={from}&to={to}");
    let told = contention(&api, &span).await;
    server.kill().await;
    let server = scene.started().await;
    let after = contention(&server.api(), &span).await;
    assert_eq!((waited(&after), &after["most"]), (waited(&told), &told["most"]), "{after}");
    assert!(waited(&after) >= waited(&before), "{after}");
    assert!(after["known_ms"].as_i64().unwrap() >= known, "{after}");
}
