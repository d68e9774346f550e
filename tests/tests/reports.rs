//! What lock clients say of themselves is shown as what they say, and never more.

use std::time::Duration;

use fred::clients::Client;
use lockkeeper_client::report::{Identity, Kind, Report};
use lockkeeper_client::{LockClient, Options, Reports, Settings};
use lockkeeper_model::{EdgeKind, Flag, LinkBasis, WaitGraph, WaitersBasis};
use lockkeeper_tests::{Api, Family, RedisServer, Server, store, until};
use serde::Deserialize;

const STREAM: &str = "lockkeeper:reports";

const LEASE: Duration = Duration::from_secs(20);

/// A server that watches this store through `url` and reads the reports in it.
async fn hearing(url: &str, patterns: &str) -> Server {
    let config = format!("[[source]]\nname = \"s\"\nurl = \"{url}\"\nreports = \"{STREAM}\"\n{patterns}");
    let server = Server::serve().config(&config).start().await;
    server.ready().await;
    server
}

/// The reference client, under a name, reporting.
async fn client(redis: &RedisServer, name: &str) -> LockClient {
    LockClient::new([redis.url()], Settings::default().named(name).reporting(Reports::default())).await.unwrap()
}

/// Writes a report by hand, as a client in another language does.
async fn say(redis: &Client, report: &Report) {
    let mut arguments: Vec<Vec<u8>> = vec![STREAM.into(), b"*".to_vec()];
    for (field, value) in report.fields().unwrap() {
        arguments.extend([field.as_bytes().to_vec(), value]);
    }
    let _: String = store(redis, "XADD", arguments.iter().map(Vec::as_slice)).await;
}

fn report(kind: Kind, lock: &str, attempt: &str) -> Report {
    Report {
        kind,
        lock: lock.into(),
        token: None,
        attempt: attempt.to_owned(),
        waited_ms: Some(1_000),
        identity: Identity::default(),
    }
}

#[derive(Debug, Deserialize)]
struct Waits {
    as_of: lockkeeper_model::Time,
    #[serde(flatten)]
    graph: WaitGraph,
}

async fn graph(api: &Api) -> WaitGraph {
    let waits: Waits = api.get("/api/v1/graph").await.json();
    assert!(waits.as_of.0 > 0);
    waits.graph
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_client_is_seen_with_its_waiters_its_name_and_its_fencing_token() {
    let redis = RedisServer::start().await;
    let server = hearing(&redis.url(), "").await;
    let api = server.api();
    let key = "lock:stock:4711";

    // Nobody wants this one, which comes first by name.
    let other = client(&redis, "quiet").await;
    let quiet = other.acquire("lock:a", Options::lease(LEASE)).await.unwrap();

    let first = client(&redis, "billing-1").await;
    let guard = first.acquire(key, Options::lease(LEASE)).await.unwrap();
    let mut waiting = Vec::new();
    for n in 2..=4 {
        let locks = client(&redis, &format!("billing-{n}")).await;
        let wants = async move { locks.acquire(key, Options::lease(LEASE)).await.unwrap() };
        waiting.push(tokio::spawn(wants));
    }
    let lock = api.until_lock("three waiters", key, |lock| lock.waiters.count == Some(3)).await;
    assert_eq!((lock.dialect.name.as_str(), lock.waiters.basis), ("lockkeeper-client", WaitersBasis::Reported));
    let mut names: Vec<_> = lock.waiters.list.iter().map(|waiter| waiter.identity.client_name.clone()).collect();
    names.sort();
    assert_eq!(names, ["billing-2", "billing-3", "billing-4"].map(|name| Some(name.to_owned())));
    assert!(lock.waiters.list.iter().all(|waiter| waiter.reported.is_some() && waiter.token.is_none()), "{lock:#?}");
    let lock = api
        .until_lock("its holder's name", key, |lock| {
            lock.holders[0].identity.client_name.as_deref() == Some("billing-1")
        })
        .await;
    let holder = &lock.holders[0];
    assert_eq!((holder.token.as_deref(), holder.identity.pid), (Some(guard.token()), Some(std::process::id())));
    assert_eq!(holder.fencing_token.as_ref().unwrap().value, guard.fencing_token().to_string());
    assert!(holder.evidence.iter().any(|line| line.starts_with("says of itself: billing-1")), "{holder:#?}");
    assert_eq!(lock.stored.unwrap().companions.len(), 1);

    // Its counter is no lock, and what everybody waits for comes first.
    api.until_lock("a second of waiting", key, |lock| {
        lock.contention.is_some_and(|contention| contention.blocked_ms >= Some(1_000))
    })
    .await;
    let page = api.locks("").await;
    let ids: Vec<&str> = page.locks.iter().map(|lock| lock.id.as_str()).collect();
    assert_eq!(ids, [key, "lock:a"]);
    let contention = page.locks[0].contention.unwrap();
    assert_eq!((contention.attempts, contention.refusals), (Some(4), Some(3)));
    assert_eq!(contention.attempts_basis, Some(WaitersBasis::Reported));
    assert_eq!((contention.blocked_basis, contention.hand_overs), (WaitersBasis::Reported, 0));

    // The head of the queue holds up three.
    let seen = until("the graph", async || graph(&api).await, |graph| graph.edges.len() == 4).await;
    assert_eq!((seen.locks.len(), seen.head_blockers[0].behind), (1, 3));

    // One that does not wait is an attempt, too.
    assert!(first.acquire(key, Options::lease(LEASE).without_waiting()).await.is_err());
    api.until_lock("the refusal", key, |lock| lock.contention.is_some_and(|contention| contention.refusals == Some(4)))
        .await;

    guard.release().await.unwrap();
    let lock = api
        .until_lock("the next holder, and those behind it", key, |lock| {
            lock.waiters.count == Some(2)
                && lock.holders[0].fencing_token.as_ref().is_some_and(|fence| fence.value == "2")
                && lock.contention.is_some_and(|contention| contention.hand_overs == 1)
        })
        .await;
    assert!(lock.waiters.longest_wait_ms.is_some_and(|waited| waited >= 1_000), "{lock:#?}");
    for wants in waiting {
        wants.abort();
    }
    api.until_lock("nobody", "lock:a", |lock| lock.waiters.count.is_none()).await;
    until("nobody to be waiting", async || graph(&api).await, |graph| graph.locks.is_empty()).await;
    quiet.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_threads_that_wait_for_each_other_are_named_as_a_deadlock() {
    let redis = RedisServer::start().await;
    let server = hearing(&redis.url(), "").await;
    let (api, store) = (server.api(), redis.client().await);
    let [x, y] = ["transfers:x", "transfers:y"].map(|name| Family::Redisson.client(&store, name, Some(LEASE)));
    assert!(x.take().await && y.take().await);
    let waits = |lock: &str, token: &str, attempt: &str| Report {
        token: Some(token.into()),
        ..report(Kind::Waiting, lock, attempt)
    };
    say(&store, &waits(&y.key, &x.token, "attempt-x")).await;
    let seen = until("one wait", async || graph(&api).await, |graph| graph.edges.len() == 2).await;
    assert!(seen.cycles.is_empty(), "{seen:#?}");
    let head = seen.parties.iter().find(|party| party.id == seen.head_blockers[0].party).unwrap();
    assert_eq!(head.identity.thread.as_deref(), y.token.split(':').next_back());

    say(&store, &waits(&x.key, &y.token, "attempt-y")).await;
    let seen = until("the deadlock", async || graph(&api).await, |graph| !graph.cycles.is_empty()).await;
    let [cycle] = seen.cycles.as_slice() else { panic!("{seen:#?}") };
    assert_eq!((cycle.nodes.len(), cycle.linked_by), (4, Some(LinkBasis::Token)));
    assert!(
        cycle.says.contains("waits for transfers:x held by") && cycle.says.contains("waits for transfers:y held by")
    );
    assert_eq!(seen.edges.iter().filter(|edge| edge.kind == EdgeKind::HeldBy).count(), 2);
    assert!(seen.head_blockers.is_empty(), "{seen:#?}");

    // One gives up: no deadlock any more.
    say(&store, &report(Kind::GaveUp, &x.key, "attempt-y")).await;
    until("its end", async || graph(&api).await, |graph| graph.cycles.is_empty()).await;
    assert_eq!(api.get("/api/v1/graph?source=nowhere").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_makes_no_lock_and_what_is_no_report_is_counted() {
    let redis = RedisServer::start().await;
    let server = hearing(&redis.url(), "patterns = [\"lock*\"]\n").await;
    let (api, store) = (server.api(), redis.client().await);
    let holder = Family::RedisPy.client(&store, "a", Some(LEASE));
    assert!(holder.take().await);
    let liar = Report { token: Some(b"nobody".to_vec()), ..report(Kind::Acquired, "lock:invented", "attempt-1") };
    say(&store, &liar).await;
    say(&store, &Report { lock: b"lock:a".to_vec(), ..liar }).await;
    let junk = "x".repeat(300_000);
    let _: String =
        lockkeeper_tests::store(&store, "XADD", [STREAM, "*", "v", "1", "kind", "waiting", "lock", &junk]).await;
    let source = api
        .until_source("all three to be read", |source| {
            source.reports.as_ref().is_some_and(|reports| reports.read == 2 && reports.not_understood == 1)
        })
        .await;
    let reports = source.reports.unwrap();
    assert_eq!(reports.last_fault.as_deref(), Some("`lock` has 1025 bytes; at most 1024 can be reported"));
    assert_eq!((source.not_locks.count, reports.problem), (0, None), "the stream is not in the way of the pattern");
    let lock = api.until_lock("the lock", "lock:a", |_| true).await;
    assert_eq!((lock.holders[0].token.as_deref(), lock.waiters.count), (Some(holder.token.as_str()), None));
    assert_eq!(lock.holders[0].identity.client_name, None);
    assert!(!lock.flags.contains(&Flag::Stale));
    assert_eq!(api.locks("").await.total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_may_not_be_read_or_are_none_are_said_to_be_so() {
    let redis = RedisServer::start().await;
    let url = redis.watcher("resetkeys ~lock:*").await;
    let server = hearing(&url, "").await;
    let problem = async || server.api().source().await.reports.unwrap().problem.unwrap_or_default();
    until("the missing right", problem, |problem| problem.contains("may not read `lockkeeper:reports`")).await;

    let _: i64 = store(&redis.client().await, "LPUSH", [STREAM, "x"]).await;
    let server = hearing(&redis.url(), "").await;
    let problem = async || server.api().source().await.reports.unwrap().problem.unwrap_or_default();
    until("the wrong type", problem, |problem| problem.contains("is not a stream")).await;
}
