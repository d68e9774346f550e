//! Two servers on one Redis and one PostgreSQL: whichever of them dies, and whenever, everything that happened is written
//! once, and the audit is one chain.

use std::collections::BTreeMap;
use std::time::Duration;

use lockkeeper_model::{AuditEntry, AuditKind, AuditPage, Event, Outcome};
use lockkeeper_tests::{Api, Family, LockClient, PostgresServer, Proxy, RedisServer, Server, ServerBuilder, until};
use serde::Deserialize;
use serde_json::Value;

const LEASE: Duration = Duration::from_secs(600);

/// Locks that change together.
const LOCKS: usize = 8;

#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
}

/// The stores, and what was done to the locks.
struct Scene {
    redis: RedisServer,
    store: PostgresServer,
    locks: Vec<LockClient>,
    /// For each key, the tokens that had it, in order.
    done: BTreeMap<String, Vec<String>>,
}

impl Scene {
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let client = redis.client().await;
        let lock = |n| Family::RedisPy.client(&client, &format!("job{n}"), Some(LEASE));
        let locks = (0..LOCKS).map(lock).collect();
        let store = tokio::task::spawn_blocking(PostgresServer::start).await.unwrap();
        Scene { redis, store, locks, done: BTreeMap::new() }
    }

    fn server(&self, redis: &str) -> ServerBuilder {
        // Both have to call the source the same, though they reach it by other ways.
        let config = format!("[[source]]\nname = \"orders\"\nurl = \"{redis}\"\n");
        Server::serve().config(&config).arg("--allow-release").arg("--store").arg(&self.store.url())
    }

    async fn started(&self) -> Server {
        let server = self.server(&self.redis.url()).start().await;
        server.ready().await;
        server
    }

    /// All locks are taken by somebody new, and all of these servers see it.
    async fn take(&mut self, servers: &[&Server]) {
        self.locks = self.locks.iter().map(LockClient::fresh).collect();
        for lock in &self.locks {
            assert!(lock.take().await);
            self.done.entry(lock.key.clone()).or_default().push(lock.token.clone());
        }
        for server in servers {
            until("all to be held", async || server.api().locks("").await.total, |held| *held == LOCKS as u64).await;
        }
    }

    /// All locks are let go of, and all of these servers see it.
    async fn let_go(&self, servers: &[&Server]) {
        for lock in &self.locks {
            assert!(lock.release().await);
        }
        for server in servers {
            until("all to be free", async || server.api().locks("").await.total, |held| *held == 0).await;
        }
    }

    async fn rounds(&mut self, servers: &[&Server], rounds: usize) {
        for _ in 0..rounds {
            self.take(servers).await;
            self.let_go(servers).await;
        }
    }

    /// The history is what was done: each transition once, and nothing else.
    async fn is_all_written(&self, server: &Server) {
        let count: usize = self.done.values().map(|tokens| 2 * tokens.len()).sum();
        let written = async || history(&server.api()).await;
        let events = until("everything to be written", written, |events| events.len() >= count).await;
        assert_eq!(
            events.len(),
            count,
            "{:#?}",
            events.iter().filter(|event| event.lock.is_none()).collect::<Vec<_>>()
        );
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in events.iter().rev() {
            let lock = event.lock.as_ref().unwrap().to_string();
            let token = event.holder.clone().unwrap();
            told.entry(lock).or_default().push(format!("{} {token}", event.transition.word()));
        }
        for (key, tokens) in &self.done {
            let wanted = tokens.iter().flat_map(|token| ["acquired", "released"].map(|word| format!("{word} {token}")));
            assert_eq!(told[key], wanted.collect::<Vec<_>>(), "{key}");
        }
    }

    /// What `lockkeeper audit` prints.
    async fn audit(&self, what: &str) -> String {
        let output = Server::audit().arg(what).arg("--store").arg(&self.store.url()).run().await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn history(api: &Api) -> Vec<Event> {
    let answer = api.get("/api/v1/history?limit=1000").await;
    // While PostgreSQL is away there is no answer.
    if answer.status == 200 { answer.json::<Events>().events } else { Vec::new() }
}

async fn until_recording(server: &Server, state: &str) {
    let said = async || -> Value { server.api().get("/readyz").await.json() };
    until("the state of the recording", said, |said| said["recording"] == state).await;
}

/// Waits until the one of these that does not write has seen that the other has, since both were there.
async fn until_both_follow(scene: &Scene) {
    let alive = || scene.store.ask("SELECT max(alive) FROM lockkeeper.runs").parse::<i64>().unwrap_or(0);
    let before = alive();
    until("signs of life", async || alive(), |now| *now > before + 2_000).await;
}

fn told(entries: &[AuditEntry]) -> Vec<(AuditKind, Option<&str>, Option<&str>)> {
    entries.iter().rev().map(|entry| (entry.kind, entry.outcome.as_deref(), entry.seen.as_deref())).collect()
}

async fn entries(api: &Api) -> Vec<AuditEntry> {
    api.get("/api/v1/audit").await.json::<AuditPage>().entries
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transition_is_written_once_whichever_server_is_killed() {
    let mut scene = Scene::set().await;
    let mut writer = scene.started().await;
    let other = scene.started().await;
    until_both_follow(&scene).await;
    scene.rounds(&[&writer, &other], 4).await;

    // The one that writes, while locks change.
    scene.take(&[&other]).await;
    writer.kill().await;
    scene.let_go(&[&other]).await;
    scene.rounds(&[&other], 4).await;
    scene.is_all_written(&other).await;

    // The one that writes now, with the first one back.
    let again = scene.started().await;
    until_both_follow(&scene).await;
    scene.rounds(&[&other, &again], 2).await;
    let mut writer = other;
    let (killed, going_on) = tokio::join!(writer.kill(), async {
        scene.take(&[&again]).await;
        scene.let_go(&[&again]).await;
        scene
    });
    let () = killed;
    scene = going_on;
    scene.rounds(&[&again], 2).await;

    // The one that does not.
    let mut third = scene.started().await;
    until_both_follow(&scene).await;
    scene.take(&[&again, &third]).await;
    third.kill().await;
    scene.let_go(&[&again]).await;
    scene.rounds(&[&again], 2).await;
    scene.is_all_written(&again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_it_is_said_and_what_happens_is_written_afterwards() {
    let mut scene = Scene::set().await;
    let (one, other) = (scene.started().await, scene.started().await);
    until_both_follow(&scene).await;
    scene.rounds(&[&one, &other], 2).await;
    scene.take(&[&one, &other]).await;
    scene.store.stop();
    for server in [&one, &other] {
        until_recording(server, "failing").await;
    }
    // Nothing is released that cannot be written down.
    let api = one.api();
    let lock = api.until_lock("the lock", &scene.locks[0].key, |_| true).await;
    let preview = api.preview(&lock).await;
    let refused = api.try_release(&preview.ticket, &preview.confirm, "worker 7 crashed").await;
    assert_ne!(refused.status, 200, "{refused:#?}");
    scene.let_go(&[&one, &other]).await;
    scene.rounds(&[&one, &other], 3).await;
    scene.store.start_again();
    for server in [&one, &other] {
        until_recording(server, "recording").await;
    }
    scene.rounds(&[&one, &other], 2).await;
    scene.is_all_written(&one).await;
    scene.is_all_written(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_through_either_server_is_in_one_chain() {
    let mut scene = Scene::set().await;
    let (one, other) = (scene.started().await, scene.started().await);
    scene.take(&[&one, &other]).await;
    for (server, lock) in [&one, &other, &one, &other].into_iter().zip(&scene.locks) {
        let api = server.api();
        let lock = api.until_lock("the lock", &lock.key, |_| true).await;
        let (status, answer) = api.release(&api.preview(&lock).await).await;
        assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released));
    }
    let attempt = [
        (AuditKind::Intention, Some("attempted"), None),
        (AuditKind::Completion, Some("released"), None),
        (AuditKind::FollowUp, None, Some("free")),
    ];
    assert_eq!(told(&entries(&one.api()).await), attempt.repeat(4));
    assert_eq!(entries(&one.api()).await, entries(&other.api()).await);
    let verified = scene.audit("verify").await;
    assert!(verified.starts_with("intact: 12 entries are"), "{verified}");
    assert_eq!(scene.audit("export").await, other.api().get("/api/v1/audit?format=jsonl").await.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_was_attempting_is_closed_by_the_other() {
    let mut scene = Scene::set().await;
    let proxy = Proxy::to(scene.redis.port()).await;
    let mut killed = scene.server(&format!("redis://127.0.0.1:{}", proxy.port())).start().await;
    killed.ready().await;
    let other = scene.started().await;
    scene.take(&[&killed, &other]).await;
    let api = killed.api();
    let lock = api.until_lock("the lock", &scene.locks[0].key, |_| true).await;
    let preview = api.preview(&lock).await;
    proxy.freeze();
    tokio::spawn(async move { api.try_release(&preview.ticket, &preview.confirm, "worker 7 crashed").await });
    until("the intention", async || entries(&other.api()).await.len(), |count| *count == 1).await;
    killed.kill().await;
    let closed = until("what became of it", async || entries(&other.api()).await, |entries| entries.len() >= 3).await;
    assert_eq!(
        told(&closed),
        [
            (AuditKind::Intention, Some("attempted"), None),
            (AuditKind::Completion, Some("unknown"), None),
            (AuditKind::FollowUp, None, Some("still_held")),
        ]
    );
    assert!(scene.audit("verify").await.starts_with("intact: 3 entries are"));
    // The next to start finds nothing left to do.
    let next = scene.started().await;
    until_both_follow(&scene).await;
    assert_eq!(entries(&next.api()).await.len(), 3);
    drop(proxy);
}
