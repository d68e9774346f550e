use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{KeysInterface as _, StreamsInterface as _};
use lockkeeper_client::report::{DEFAULT_STREAM, Kind, Report};
use lockkeeper_client::{LockClient, Options, Reports, Settings};
use tokio::time::timeout;

use crate::redis_server::{RedisServer, until_some};

const KEY: &[u8] = b"lock:stock\xff";
const LONG: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(30);

type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);

async fn read(outside: &Client) -> Vec<Report> {
    let entries: fred::types::Value = outside.xrange(DEFAULT_STREAM, "-", "+", None).await.unwrap();
    let entries: Vec<Entry> = match entries {
        fred::types::Value::Array(entries) => entries.into_iter().map(entry).collect(),
        _ => Vec::new(),
    };
    let parse =
        |fields: &[(Vec<u8>, Vec<u8>)]| Report::parse(fields.iter().map(|(name, value)| (&name[..], &value[..])));
    entries.iter().map(|(_, fields)| parse(fields).unwrap()).collect()
}

fn entry(value: fred::types::Value) -> Entry {
    let mut parts = value.into_array().into_iter();
    let id = parts.next().unwrap().into_string().unwrap();
    let mut flat = parts.next().unwrap().into_array().into_iter().map(|part| part.into_bytes().unwrap().to_vec());
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.push((name, value));
    }
    (id, fields)
}

async fn told(outside: &Client, count: usize) -> Vec<Report> {
    until_some("the reports to be in the stream", async || {
        let reports = read(outside).await;
        (reports.len() >= count).then_some(reports)
    })
    .await
}

async fn locks(redis: &RedisServer, reports: Reports) -> LockClient {
    LockClient::new([redis.url()], Settings::default().named("billing").reporting(reports)).await.unwrap()
}

#[tokio::test]
async fn a_wait_is_told_from_its_beginning_to_the_release() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis, Reports::default()).await;
    let outside = redis.client().await;

    let holder = locks.acquire(KEY, Options::lease(LONG)).await.unwrap();
    let holder_token = holder.token().as_bytes().to_vec();
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire(KEY, Options::lease(LONG)).await.unwrap() }
    });
    let reports = told(&outside, 2).await;
    assert_eq!((reports[0].kind, reports[1].kind), (Kind::Acquired, Kind::Waiting));
    assert_eq!(reports[0].token.as_deref(), Some(&holder_token[..]));
    assert_ne!(reports[0].attempt, reports[1].attempt);

    holder.release().await.unwrap();
    let waiter = timeout(DEADLINE, waiter).await.expect("the waiter's turn").unwrap();
    let waiter_token = waiter.token().as_bytes().to_vec();
    waiter.release().await.unwrap();
    let reports = told(&outside, 5).await;
    assert_eq!(reports.len(), 5, "{reports:?}");
    let of_waiter: Vec<&Report> = reports.iter().filter(|report| report.attempt == reports[1].attempt).collect();
    let kinds: Vec<Kind> = of_waiter.iter().map(|report| report.kind).collect();
    assert_eq!(kinds, [Kind::Waiting, Kind::Acquired, Kind::Released]);
    assert_eq!(of_waiter[1].token, Some(waiter_token));
    assert!(of_waiter[1].waited_ms >= of_waiter[0].waited_ms);
    for report in &reports {
        assert_eq!(report.lock, KEY);
        assert_eq!(report.identity.pid, Some(std::process::id()));
        assert_eq!(report.identity.name.as_deref(), Some("billing"));
        assert!(report.identity.host.is_some());
    }
    assert_eq!(locks.unsent_reports(), 0);
}

#[tokio::test]
async fn every_way_to_go_without_the_lock_is_told() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis, Reports::default()).await;
    let outside = redis.client().await;
    let _holder = locks.acquire(KEY, Options::lease(LONG)).await.unwrap();

    locks.acquire(KEY, Options::lease(LONG).without_waiting()).await.unwrap_err();
    locks.acquire(KEY, Options::lease(LONG).wait_at_most(Duration::from_secs(1))).await.unwrap_err();
    let reports = told(&outside, 4).await;
    let kinds: Vec<Kind> = reports.iter().map(|report| report.kind).collect();
    assert_eq!(kinds, [Kind::Acquired, Kind::Refused, Kind::Waiting, Kind::GaveUp]);
    assert_eq!(reports[2].attempt, reports[3].attempt);

    // A caller that walks away says nothing; its future does.
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire(KEY, Options::lease(LONG)).await.map(drop) }
    });
    told(&outside, 5).await;
    waiter.abort();
    let reports = told(&outside, 6).await;
    assert_eq!((reports[4].kind, reports[5].kind), (Kind::Waiting, Kind::GaveUp));
    assert_eq!(reports[4].attempt, reports[5].attempt);
}

#[tokio::test]
async fn the_stream_stays_capped() {
    const ROUNDS: usize = 600;
    // Redis trims whole nodes, of 100 entries by default.
    const NODE: usize = 100;
    let redis = RedisServer::start().await;
    let locks = locks(&redis, Reports { max_entries: 100, ..Reports::default() }).await;
    let outside = redis.client().await;
    for _ in 0..ROUNDS {
        locks.acquire(KEY, Options::lease(LONG)).await.unwrap().release().await.unwrap();
    }
    // The last two may still be on their way.
    let last = locks.acquire("lock:last", Options::lease(LONG)).await.unwrap();
    until_some("the last report", async || {
        read(&outside).await.last().filter(|report| report.lock == b"lock:last").map(|_| ())
    })
    .await;
    let kept: usize = outside.xlen(DEFAULT_STREAM).await.unwrap();
    assert!((100..=100 + 2 * NODE).contains(&kept), "{kept} entries");
    last.release().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_takes_nothing_hinders_nobody() {
    let redis = RedisServer::start().await;
    let locks = locks(&redis, Reports::default()).await;
    let outside = redis.client().await;
    let _: () = outside.set(DEFAULT_STREAM, "not a stream", None, None, false).await.unwrap();
    locks.acquire(KEY, Options::lease(LONG)).await.unwrap().release().await.unwrap();
    until_some("both reports to be counted as unsent", async || (locks.unsent_reports() == 2).then_some(())).await;
    assert_eq!(outside.get::<String, _>(DEFAULT_STREAM).await.unwrap(), "not a stream");
}
