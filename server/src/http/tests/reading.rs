use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use lockkeeper_model::{LockId, SourceState, TransitionKind};

use super::{Rim, ask};
use crate::fake::TRAITS;

#[tokio::test]
async fn sources_say_how_well_they_are_watched() {
    let (status, body) = Rim::new().get("/api/v1/sources").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["sources"][0]["name"], "orders");
    assert_eq!(body["sources"][0]["state"], "live");
    assert_eq!(body["sources"][1]["name"], "a/b");
}

#[tokio::test]
async fn a_page_of_locks_says_as_of_when_and_how_complete_it_is() {
    let rim = Rim::new();
    let (status, body) = rim.get("/api/v1/locks").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["total"], 1);
    assert_eq!(body["locks"][0]["id"], "lock:stock:4711");
    assert!(body["as_of"].as_str().unwrap().ends_with('Z'));
    assert_eq!(body["coverage"]["complete"], true);

    rim.fake.set_status(1, |status| {
        status.state = SourceState::Scanning;
        status.coverage.complete = false;
        status.coverage.finished_at = None;
    });
    let (_, body) = rim.get("/api/v1/locks").await;
    assert_eq!(body["coverage"]["complete"], false);
    assert_eq!(body["coverage"]["sources"][1]["source"], "a/b");
    assert_eq!(body["coverage"]["sources"][1]["state"], "scanning");
    assert!(body["coverage"]["sources"][1]["finished_at"].is_null());
    let (_, body) = rim.get("/api/v1/locks?source=orders").await;
    assert_eq!(body["coverage"]["complete"], true, "the other source was not asked about");

    rim.fake.set_status(0, |status| status.state = SourceState::Down);
    let (_, body) = rim.get("/api/v1/locks?source=orders").await;
    assert_eq!(body["coverage"]["complete"], false, "what a lost store shows is the past");
}

#[tokio::test]
async fn every_parameter_reaches_the_board() {
    let rim = Rim::new();
    let query = "q=stock+47%2F11&source=orders&dialect=redis-py&state=waiting&flag=no-expiry&sort=time_left&order=desc&offset=5&limit=7";
    let (status, _) = rim.get(&format!("/api/v1/locks?{query}")).await;
    assert_eq!(status, StatusCode::OK);
    let asked = rim.fake.asked().remove(0);
    for part in ["\"stock 47/11\"", "redis-py", "waiting", "no-expiry", "TimeLeft", "Desc", " 5 7"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

#[tokio::test]
async fn a_bad_parameter_is_named_with_its_value_and_what_is_expected() {
    let rim = Rim::new();
    for (query, detail) in [
        ("colour=red", "`colour` is not a parameter here"),
        ("limit=1001", "`limit` is `1001`, expected a whole number up to 1000"),
        ("limit=-1", "`limit` is `-1`, expected a whole number up to 1000"),
        ("offset=x", "`offset` is `x`, expected a whole number up to 4294967295"),
        ("sort=size", "`sort` is `size`, expected one of blocked, waiters, held_since, time_left, name, last_change"),
        ("order=up", "`order` is `up`, expected one of asc, desc"),
        ("q=a&q=b", "`q` is given twice"),
        ("source=nowhere", "there is no source `nowhere`"),
        ("<b>=1", "`<b>` is not a parameter here"),
        ("q=stock+held>5x", "`q` has `held>5x`, expected a time, such as `held>30s`, `held>5m` or `held>1h30m`"),
        ("q=source:nowhere", "there is no source `nowhere`"),
        ("format=xml", "`format` is `xml`, expected `json`, `csv` or `jsonl`"),
        ("format=csv&limit=5", "`at`, `offset` and `limit` are of pages, and a file has everything as it is now"),
    ] {
        let query = query.replace('<', "%3C").replace('>', "%3E");
        let (status, problem) = rim.get(&format!("/api/v1/locks?{query}")).await;
        assert_eq!((status, problem["detail"].as_str()), (StatusCode::BAD_REQUEST, Some(detail)));
    }
    let (status, problem) = rim.get("/api/v1/locks?flag=x").await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("`flag` is `x`, expected one of no-expiry, "), "{detail}");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, problem) = rim.get("/api/v1/locks?source=nowhere").await;
    assert_eq!(problem["hint"], "the sources are: orders, a/b");
}

#[tokio::test]
async fn what_is_asked_can_be_taken_away_as_a_file_that_computes_nothing() {
    let rim = Rim::new();
    rim.fake.with(|world| world.hold(b"=HYPERLINK(1)", &[(b"t,1", "g")], &TRAITS));
    let file = async |format: &str| {
        let path = format!("/api/v1/locks?format={format}&q=-nothing");
        let response = rim.send(ask(Method::GET, &path, Body::empty())).await;
        let name = response.headers()["content-disposition"].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (name, String::from_utf8(body.to_vec()).unwrap())
    };
    let (name, csv) = file("csv").await;
    assert_eq!(name, "attachment; filename=\"lockkeeper-locks.csv\"");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("as_of,source,id,name,"), "{csv}");
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(csv.contains(",\"'=HYPERLINK(1)\",") && csv.contains(",\"t,1\","), "{csv}");
    assert!(rim.fake.asked()[0].contains("-nothing"), "the question reaches the board");
    let (_, jsonl) = file("jsonl").await;
    let lock: serde_json::Value = serde_json::from_str(jsonl.lines().last().unwrap()).unwrap();
    assert!(lock["id"].is_string() && lock["as_of"].is_string(), "{lock}");
}

#[tokio::test]
async fn ids_of_every_kind_find_their_lock() {
    let rim = Rim::new();
    for (key, segment) in [
        (b"lock:stock:4711".as_slice(), "lock:stock:4711"),
        (b"lock:stock:4711", "lock%3Astock%3A4711"),
        (b"a/b/c", "a%2Fb%2Fc"),
        (b"a/events", "a%2Fevents"),
        (b"events", "events"),
        (b"..", ".."),
        (b"..", "%2E%2E"),
        (b"../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        (b"nul\0", "nul%00"),
        (b"100%", "100%25"),
        (b"%2F", "%252F"),
        (b"a b+c", "a%20b+c"),
        (b"<script>alert(1)</script>", "%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
        ("schlüssel".as_bytes(), "schl%C3%BCssel"),
        (b"\xff\x00", "b64:_wA"),
        (b"b64:x", "b64:YjY0Ong"),
        (b"", "b64:"),
    ] {
        rim.fake.with(|world| world.hold(key, &[(b"t", "g")], &TRAITS));
        let (status, lock) = rim.get(&format!("/api/v1/locks/orders/{segment}")).await;
        assert_eq!(status, StatusCode::OK, "{segment}: {lock}");
        assert_eq!(lock["id"], LockId::of_key(key).as_str());
        let (status, events) = rim.get(&format!("/api/v1/locks/orders/{segment}/events")).await;
        assert_eq!((status, events["cut"].as_bool()), (StatusCode::OK, Some(false)), "{segment}");
    }
    let (status, _) = rim.get("/api/v1/locks/a%2Fb/x").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a source with a slash is found, its lock is not");
}

#[tokio::test]
async fn a_lock_that_is_not_held_is_404_with_what_is_known_instead() {
    let rim = Rim::new();
    let (status, problem) = rim.get("/api/v1/locks/orders/gone%2Fnow").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["type"], "/problems/not-held");
    assert_eq!(problem["detail"], "`gone/now` of `orders` is not held now");
    assert_eq!(problem["hint"], "what happened to it: /api/v1/locks/orders/gone%2Fnow/events");

    rim.fake.set_status(0, |status| status.coverage.complete = false);
    let (_, problem) = rim.get("/api/v1/locks/orders/x").await;
    assert_eq!(
        problem["detail"],
        "`x` of `orders` is not held now, as far as is known: the source was not seen whole yet"
    );

    rim.fake.set_status(0, |status| {
        status.not_locks.sample = vec![(LockId::of_key(b"lock:cache"), "it is a list".to_owned())];
    });
    let (_, problem) = rim.get("/api/v1/locks/orders/lock:cache").await;
    assert_eq!(problem["type"], "/problems/not-a-lock");
    assert_eq!(problem["detail"], "`lock:cache` of `orders` is not a lock: it is a list");

    let (status, problem) = rim.get("/api/v1/locks/nowhere/x").await;
    assert_eq!((status, problem["hint"].as_str()), (StatusCode::NOT_FOUND, Some("the sources are: orders, a/b")));
    let (status, _) = rim.get("/api/v1/locks/orders/b64:***").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_lock_that_is_free_still_has_a_past() {
    let rim = Rim::new();
    rim.fake.with(|world| world.tell("lock:gone", TransitionKind::Expired));
    let (status, body) = rim.get("/api/v1/locks/orders/lock:gone/events").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["events"][0]["transition"], "expired");
}

#[tokio::test]
async fn ready_means_that_every_source_was_seen_whole_once_and_answers() {
    let rim = Rim::new();
    assert_eq!(rim.get("/healthz").await.0, StatusCode::OK);
    let (status, body) = rim.get("/readyz").await;
    assert_eq!((status, body["ready"].as_bool()), (StatusCode::OK, Some(true)));

    rim.fake.set_status(0, |status| status.coverage.finished_at = None);
    rim.fake.set_status(1, |status| {
        status.state = SourceState::Down;
        status.problem = Some("connection refused".to_owned());
    });
    let (status, body) = rim.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["missing"][0]["because"], "the first scan is under way: 7 of 7 keys");
    assert_eq!(body["missing"][1]["because"], "connection refused");
    assert_eq!(rim.get("/healthz").await.0, StatusCode::OK, "a dead store is no reason to restart us");
}

#[tokio::test]
async fn metrics_carry_the_numbers_of_the_screen_and_leave_the_unknown_out() {
    let rim = Rim::new();
    let response = rim.send(ask(Method::GET, "/metrics", Body::empty())).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for line in [
        "lockkeeper_own_commands_per_second{source=\"orders\"} 5",
        "lockkeeper_own_sent_bytes_per_second{source=\"orders\"} 700",
        "lockkeeper_own_received_bytes_per_second{source=\"orders\"} 9000",
        "lockkeeper_source_state{source=\"orders\",state=\"live\"} 1",
        "lockkeeper_source_state{source=\"orders\",state=\"down\"} 0",
        "lockkeeper_gaps_total{source=\"orders\"} 1",
        "lockkeeper_gaps_total{source=\"a/b\"} 1",
        "lockkeeper_viewers{kind=\"stream\"} 0",
        "lockkeeper_releases_total{outcome=\"changed_hands\"} 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
    assert!(!text.contains("other_commands_per_second{"), "unknown is not 0");
    let mut described: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let all = described.len();
    described.dedup();
    assert_eq!(described.len(), all, "a family is described once");
}

#[tokio::test]
async fn every_route_is_described_with_its_method_and_nothing_else_is() {
    let (_, description) = Rim::new().get("/api/v1/openapi.json").await;
    let described: BTreeMap<&str, Vec<&str>> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| (path.as_str(), methods.as_object().unwrap().keys().map(String::as_str).collect()))
        .collect();
    let rim = Rim::new();
    for (path, methods) in &described {
        for method in [Method::GET, Method::POST] {
            let asked = path.replace("{source}", "orders").replace("{id}", "x");
            let mut request = ask(method.clone(), &asked, Body::empty());
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
            let known = rim.send(request).await.status() != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(known, methods.contains(&method.as_str().to_lowercase().as_str()), "{method} {path}");
        }
    }
    let routed: Vec<&str> = super::super::router::api().iter().map(|(path, _)| *path).collect();
    let mut missing: Vec<&str> = described.keys().copied().filter(|path| !routed.contains(path)).collect();
    missing.extend(routed.iter().filter(|path| !described.contains_key(**path)));
    assert_eq!(missing, [] as [&str; 0]);
    for schema in ["Lock", "Holder", "SourceStatus", "Event", "PreviewAnswer", "ReleaseAnswer", "Problem", "Readiness"]
    {
        assert!(description["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

#[tokio::test]
async fn the_page_is_served_or_says_how_to_build_it() {
    let rim = Rim::new();
    for path in ["/", "/index.html"] {
        let response = rim.send(ask(Method::GET, path, Body::empty())).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        match response.status() {
            StatusCode::OK => {
                assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'"), "{policy}");
                assert_eq!(response.headers()["cache-control"], "private, no-cache");
                let etag = response.headers()["etag"].clone();
                let mut again = ask(Method::GET, path, Body::empty());
                again.headers_mut().insert("if-none-match", etag);
                assert_eq!(rim.send(again).await.status(), StatusCode::NOT_MODIFIED);
            }
            status => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                assert!(String::from_utf8_lossy(&bytes).contains("cargo xtask build"));
            }
        }
    }
}
