//! The HTTP contract that other programs rely on.

use std::time::Duration;

use lockkeeper_tests::{Family, RedisServer, Server};
use reqwest::Method;
use serde_json::Value;

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_ordered_and_cut_into_pages() {
    let redis = RedisServer::start().await;
    let store = redis.client().await;
    for n in 0..30 {
        let family = Family::ALL[n % 3];
        assert!(family.client(&store, &format!("job:{n:02}"), Some(LEASE)).take().await);
    }
    let server = Server::watching(&redis).await;
    let api = server.api();
    assert_eq!(api.locks("").await.total, 30);
    let page = api.locks("sort=name&order=desc&offset=1&limit=2&dialect=redisson").await;
    assert_eq!(page.total, 10);
    assert_eq!(page.locks.iter().map(|lock| lock.id.as_str()).collect::<Vec<_>>(), ["job:26", "job:23"]);
    assert_eq!(api.locks("q=JOB%3A07").await.total, 1);
    assert_eq!(api.locks("flag=no-expiry").await.total, 0);

    for bad in ["flag=nope", "limit=1001", "sort=size", "state=stuck", "frobnicate=1", "q=a&q=b", "source=nowhere"] {
        let answer = api.get(&format!("/api/v1/locks?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:#?}");
        assert!(!answer.problem().detail.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_problem_with_a_name() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let api = server.api();
    let source = redis.source();
    for (path, status) in [
        (format!("/api/v1/locks/{source}/lock%3Anone"), 404),
        ("/api/v1/locks/nowhere/lock%3Anone".to_owned(), 404),
        (format!("/api/v1/locks/{source}/b64%3A***"), 400),
        ("/api/v1/nothing".to_owned(), 404),
        ("/api/v1/stream".to_owned(), 426),
    ] {
        let answer = api.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {answer:#?}");
        assert!(answer.problem().kind.starts_with("/problems/"), "{answer:#?}");
    }
    let answer = api.request(Method::DELETE, "/api/v1/locks").send().await.unwrap();
    assert!(answer.status().is_client_error(), "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_how_it_does_in_the_usual_forms() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let api = server.api();
    assert_eq!(api.get("/healthz").await.status, 200);
    assert_eq!(api.get("/readyz").await.status, 200);
    let metrics = api.get("/metrics").await;
    assert!(metrics.body.lines().any(|line| line.starts_with("lockkeeper_")), "{metrics:#?}");
    assert!(metrics.body.trim_end().ends_with("# EOF"), "{metrics:#?}");
    let openapi: Value = api.get("/api/v1/openapi.json").await.json();
    for path in ["/api/v1/sources", "/api/v1/locks", "/api/v1/releases/preview", "/api/v1/releases"] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_stream_as_server_sent_events_and_resume() {
    use futures_util::StreamExt as _;

    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let (api, store) = (server.api(), redis.client().await);
    let client = Family::RedisPy.client(&store, "events", Some(LEASE));

    let response = api.request(Method::GET, "/api/v1/events?lock=lock%3Aevents").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut bytes = response.bytes_stream();
    let mut text = String::new();
    assert!(client.take().await);
    while !text.contains("\"acquired\"") {
        text.push_str(std::str::from_utf8(&bytes.next().await.unwrap().unwrap()).unwrap());
    }
    let id = text.lines().find_map(|line| line.strip_prefix("id:")).unwrap().trim().to_owned();
    drop(bytes);

    // What happened meanwhile comes first.
    assert!(client.release().await);
    let request = api.request(Method::GET, "/api/v1/events?lock=lock%3Aevents").header("Last-Event-ID", id);
    let mut bytes = request.send().await.unwrap().bytes_stream();
    let mut text = String::new();
    while !text.contains("\"released\"") {
        text.push_str(std::str::from_utf8(&bytes.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("\"acquired\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_page_on_our_own_host_may_ask_for_changes() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let api = server.api();
    let preview = || api.request(Method::POST, "/api/v1/releases/preview");
    let body = r#"{"locks":[],"action":"release"}"#;
    let json = ("content-type", "application/json");

    for (what, request, status) in [
        ("a foreign page", preview().header("origin", "http://evil.example"), 403),
        ("a foreign page with our port", preview().header("origin", "http://evil.example:7420"), 403),
        ("a page without an origin", preview().header("origin", "null"), 403),
        ("a name that points here", preview().header("host", "evil.example"), 421),
        ("our own page", preview().header("origin", format!("http://{}", server.address())), 400),
    ] {
        let answer = request.header(json.0, json.1).body(body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{what}");
    }
    let form = preview().header("content-type", "text/plain").body(body).send().await.unwrap();
    assert_eq!(form.status(), 415, "a form of a foreign page");
    let stream = api
        .request(Method::GET, "/api/v1/stream")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("origin", "http://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), 403, "a foreign page's WebSocket");
    let foreign = api.request(Method::GET, "/").header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_with_the_binary_and_allows_nothing_foreign() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let page = server.api().request(Method::GET, "/").send().await.unwrap();
    assert_eq!(page.status(), 200, "built without the app: `cargo xtask test` builds it first");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
    let html = page.text().await.unwrap();
    let wasm = html.split(['"', '=', ' ', '>']).find(|part| part.ends_with(".wasm")).expect("the app's code");
    let code = server.api().request(Method::GET, wasm).send().await.unwrap();
    assert_eq!(code.headers()["content-type"], "application/wasm");
    assert!(code.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(&code.bytes().await.unwrap()[..4], b"\0asm");
}
