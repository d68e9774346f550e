//! What was written down, as a client asks for it.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use lockkeeper_model::Certainty;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::{Rim, ask};
use crate::clock;
use crate::fake::Fake;
use crate::recorder::history::{History, Limits};
use crate::source::{Batch, DialectTraits, Form, Hint, Recognition, Report, Seen, Sight, SourceId};

static TOKEN: Recognition = Recognition {
    dialect: "token",
    certainty: Certainty::Certain,
    because: "test",
    traits: &DialectTraits { strip_prefix: "lock:", ..DialectTraits::PLAIN },
};

/// The product's board and recorder behind the rim.
struct Scene {
    rim: Rim,
    reports: mpsc::Sender<Batch>,
    dir: TempDir,
}

impl Scene {
    async fn new() -> Scene {
        Scene::of(TempDir::new().unwrap()).await
    }

    async fn of(dir: TempDir) -> Scene {
        // The board and the thread of the one before end, and then let go of the file.
        let history = loop {
            match History::open(dir.path(), Limits::default()) {
                Ok(history) => break history,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let (fake, reports) = Fake::watched(&["orders", "vault"], history.tape());
        let mut rim = Rim::around(fake);
        rim.state.history = history;
        let scene = Scene { rim, reports, dir };
        let at = clock::now();
        scene.report(Report::ScanBegan { at }).await;
        scene.report(Report::ScanEnded { began_at: at }).await;
        scene
    }

    /// Another run on the same folder.
    async fn again(self) -> Scene {
        let Scene { rim, reports, dir } = self;
        rim.fake.stop.cancel();
        drop((rim, reports));
        Scene::of(dir).await
    }

    async fn report(&self, report: Report) {
        let (folded, told) = oneshot::channel();
        self.reports.send(Batch { source: SourceId(0), report, folded: Some(folded) }).await.unwrap();
        told.await.unwrap();
    }

    async fn sight(&self, key: &str, seen: Seen, hint: Hint) {
        let at = clock::now();
        let key = Bytes::copy_from_slice(key.as_bytes());
        let sight = Sight { key, seen, asked_at: at, read_at: at, noticed_at: Some(at), hint };
        self.report(Report::Sights { sights: vec![sight], scan: false }).await;
    }

    async fn takes(&self, key: &str, token: &str) {
        self.sight(key, Seen::Held(Form::exclusive(&TOKEN, token.as_bytes(), Some(60_000))), Hint::New).await;
    }

    async fn lets_go(&self, key: &str) {
        self.sight(key, Seen::Gone, Hint::Deleted).await;
    }

    /// As many transitions as a lock has in memory, and more.
    async fn many(&self, key: &str, times: usize) {
        for n in 0..times {
            self.takes(key, &format!("w{n}")).await;
            self.lets_go(key).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.rim.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// What a stream that resumes after this event begins with.
    async fn stream(&self, after: &str, count: usize) -> Vec<String> {
        let path = format!("/api/v1/events?last_event_id={after}");
        let response = self.rim.send(ask(Method::GET, &path, Body::empty())).await;
        let mut chunks = response.into_body().into_data_stream();
        let mut said = String::new();
        while said.matches("\nid: ").count() + usize::from(said.starts_with("id: ")) < count {
            said.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
        }
        said.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let events = answer["events"].as_array().unwrap();
    events
        .iter()
        .filter(|event| event["lock"].is_string())
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_timeline_goes_on_beyond_memory_and_beyond_a_restart() {
    let scene = Scene::new().await;
    scene.many("lock:a", 30).await;
    let first = scene.get("/api/v1/locks/orders/lock:a/events").await;
    let all = ids(&first);
    assert_eq!(all.len(), 60, "what is in memory and what is not, without a seam");
    let mut unique = all.clone();
    unique.dedup();
    assert_eq!(unique, all);
    assert_eq!((&first["cut"], &first["next_before"]), (&json!(false), &Value::Null));
    assert_eq!(first["recording"]["state"], "recording");

    let mut paged = Vec::new();
    let mut path = "/api/v1/locks/orders/lock:a/events?limit=40".to_owned();
    loop {
        let page = scene.get(&path).await;
        paged.extend(ids(&page));
        let Some(next) = page["next_before"].as_str() else { break };
        path = format!("/api/v1/locks/orders/lock:a/events?limit=7&before={next}");
    }
    assert_eq!(paged, all);

    let scene = scene.again().await;
    let again = scene.get("/api/v1/locks/orders/lock:a/events").await;
    assert_eq!(ids(&again), all, "under the same names");
    scene.takes("lock:a", "w99").await;
    let again = scene.get("/api/v1/locks/orders/lock:a/events").await;
    assert_eq!(ids(&again)[1..], all);
    let gap = again["events"].as_array().unwrap().iter().find(|event| event["cause"] == "not_running").unwrap();
    assert!(gap["evidence"].as_str().unwrap().starts_with("Lockkeeper was not running for "), "{gap}");
    let nobody = scene.get("/api/v1/locks/orders/lock:never/events").await;
    assert_eq!(nobody["events"], json!([]), "gaps alone are no history");
}

#[tokio::test]
async fn a_stream_resumes_across_a_restart_without_loss_and_says_so_when_it_cannot() {
    let scene = Scene::new().await;
    scene.many("lock:a", 5).await;
    let mut all = ids(&scene.get("/api/v1/history?limit=1000").await);
    all.reverse();
    let scene = scene.again().await;
    scene.many("lock:b", 2).await;
    let mut new = ids(&scene.get("/api/v1/history?limit=4").await);
    new.reverse();
    let heard = scene.stream(&all[6], 3 + 1 + 4).await;
    assert_eq!(heard[..3], all[7..]);
    assert!(heard[3].ends_with("-0"), "the time in which it was not running: {heard:?}");
    assert_eq!(heard[4..], new);
    let response = scene.rim.send(ask(Method::GET, "/api/v1/events?last_event_id=never-7", Body::empty())).await;
    let first = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.contains("event: gap") && first.contains("not_kept"), "{first}");
}

#[tokio::test]
async fn the_board_of_a_moment_is_filtered_and_ordered_like_that_of_now() {
    let scene = Scene::new().await;
    scene.takes("lock:a", "w1").await;
    scene.takes("lock:b", "w2").await;
    let (status, early) = scene.rim.get(&format!("/api/v1/locks?at={}", clock::now())).await;
    assert_eq!((status, &early["type"]), (StatusCode::NOT_FOUND, &json!("/problems/not-recorded")));
    assert!(scene.rim.state.history.checkpoint(&scene.rim.fake.board).await.unwrap());
    let then = clock::now();
    // The clock has a resolution of a millisecond: what happens in the same is of the same moment.
    while clock::now() == then {
        tokio::task::yield_now().await;
    }
    scene.lets_go("lock:a").await;
    scene.takes("lock:c", "w3").await;
    let past = scene.get(&format!("/api/v1/locks?at={then}&sort=name&order=desc")).await;
    let held: Vec<&str> = past["locks"].as_array().unwrap().iter().map(|lock| lock["id"].as_str().unwrap()).collect();
    assert_eq!(held, ["lock:b", "lock:a"]);
    assert_eq!((&past["as_of"], &past["total"]), (&json!(then.to_string()), &json!(2)));
    assert_eq!(past["locks"][0]["holders"][0]["token"], "w2");
    assert_eq!(past["locks"][0]["name"], "b", "the family is known");
    assert_eq!(past["locks"][0]["waiters"]["because"], "who waited is not written down");
    assert_eq!(past["coverage"]["complete"], true);
    assert_eq!(past["coverage"]["past"]["sources"][0]["source"], "orders");
    assert_eq!(scene.get(&format!("/api/v1/locks?at={then}&q=w1")).await["total"], 1);
    let after = scene.get(&format!("/api/v1/locks?at={}&sort=name", clock::now())).await;
    let held: Vec<&str> = after["locks"].as_array().unwrap().iter().map(|lock| lock["id"].as_str().unwrap()).collect();
    assert_eq!(held, ["lock:b", "lock:c"]);

    scene.report(Report::Gap { at: clock::now(), because: "link lost".to_owned() }).await;
    let torn = scene.get(&format!("/api/v1/locks?at={}", clock::now())).await;
    assert_eq!(torn["coverage"]["complete"], false);
    assert!(torn["coverage"]["past"]["sources"][0]["missed_at"].is_string());
    assert_eq!(scene.get(&format!("/api/v1/locks?at={then}")).await["coverage"]["complete"], true);

    let (status, future) = scene.rim.get("/api/v1/locks?at=2999-01-01T00:00:00Z").await;
    assert_eq!(
        (status, future["detail"].as_str()),
        (StatusCode::BAD_REQUEST, Some("`at`: `2999-01-01T00:00:00.000Z` is in the future"))
    );
}

#[tokio::test]
async fn what_went_on_is_added_up() {
    let scene = Scene::new().await;
    scene.many("lock:a", 3).await;
    scene.many("lock:b", 2).await;
    let of = async |query: &str| scene.get(&format!("/api/v1/stats?{query}")).await["stats"].clone();
    let stats = of("lock=lock:a").await;
    assert_eq!((&stats["taken"], &stats["released"], &stats["handed_over"]), (&json!(3), &json!(3), &json!(2)));
    assert_eq!((&stats["held"]["count"], &stats["hand_over"]["count"]), (&json!(3), &json!(2)));
    assert_eq!(of("pattern=lock:*").await["taken"], 5);
    assert_eq!(of("pattern=lock:*&to=2020-01-01T00:00:00Z").await["locks"], 0);
    assert!(of("pattern=none:*").await["held"]["p99_ms"].is_null(), "unknown is not 0");
    let contention = &of("pattern=lock:*").await["contention"];
    assert_eq!((&contention["waited_ms"], &contention["share"]), (&Value::Null, &Value::Null), "its waiters poll");
    assert_eq!((&contention["unseen_locks"], &contention["basis"]), (&json!(2), &json!("unknown")));
    assert_eq!(contention["because"], "those who wait for these locks leave no trace in the store");
}

#[tokio::test]
async fn an_incident_is_frozen_and_read_as_json_and_as_text() {
    let scene = Scene::new().await;
    scene.many("lock:a", 2).await;
    scene.takes("lock:a|\u{202e}<b>", "w7").await;
    let body = json!({
        "title": "orders stuck", "from": "2020-01-01T00:00:00Z", "to": "2120-01-01T00:00:00Z",
        "locks": [{"source": "orders", "id": "lock:a"}, {"source": "orders", "id": "lock:a|\u{202e}<b>"}],
    });
    let (status, packet) = scene.rim.post("/api/v1/incidents", body.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{packet}");
    scene.many("lock:a", 2).await;
    let id = packet["id"].as_str().unwrap();
    let scene = scene.again().await;
    assert_eq!(scene.get(&format!("/api/v1/incidents/{id}")).await, packet, "as it was");
    assert_eq!(packet["locks"][0]["events"].as_array().unwrap().len(), 4);
    assert!(packet["missing"][0].as_str().unwrap().starts_with("how the locks were at the beginning: "), "{packet}");
    assert_eq!(scene.get("/api/v1/incidents").await["incidents"][0]["title"], "orders stuck");
    let response = scene.rim.send(ask(Method::GET, &format!("/api/v1/incidents/{id}.md"), Body::empty())).await;
    assert_eq!(response.headers()["content-type"], "text/markdown; charset=utf-8");
    let text = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.starts_with("# orders stuck\n\n") && text.contains("## lock:a of orders"), "{text}");
    assert!(text.contains("\\|\\\\u\\{202e\\}\\<b\\>"), "a hostile name is text: {text}");

    for (field, value, detail) in [
        ("title", json!(" "), "`title` has 0 characters, expected 1 to 200"),
        ("locks", json!([]), "`locks` has 0, expected 1 to 32"),
        (
            "to",
            json!("2019-01-01T00:00:00Z"),
            "`from` is 2020-01-01T00:00:00.000Z, expected a moment before `to`, 2019-01-01T00:00:00.000Z",
        ),
    ] {
        let mut bad = body.clone();
        bad[field] = value;
        let (status, problem) = scene.rim.post("/api/v1/incidents", bad.to_string()).await;
        assert_eq!((status, problem["detail"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some(detail)));
    }
}

#[tokio::test]
async fn where_nothing_is_written_down_that_is_said() {
    let rim = Rim::new();
    for path in ["/api/v1/history", "/api/v1/stats", "/api/v1/incidents", "/api/v1/locks?at=2020-01-01T00:00:00Z"] {
        let (status, problem) = rim.get(path).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("/problems/no-history")),
            "{path}"
        );
    }
    assert_eq!(rim.get("/api/v1/sources").await.1["recording"]["state"], "off");
    assert_eq!(rim.get("/api/v1/locks/orders/lock:stock:4711/events").await.1["recording"]["state"], "off");
    let (status, ready) = rim.get("/readyz").await;
    assert_eq!((status, &ready["recording"]), (StatusCode::OK, &json!("off")));
    for (path, detail) in [
        ("/api/v1/history?limit=0", "`limit` is `0`, expected a whole number from 1 to 1000"),
        ("/api/v1/history?lock=a&pattern=b", "`lock` names one lock and `pattern` many: give one of the two"),
        ("/api/v1/history?from=now", "`from`: `now` is no RFC 3339 time such as `2026-01-01T02:51:40.120Z`"),
        ("/api/v1/stats?holder=x", "`holder` is not a parameter here"),
    ] {
        let (status, problem) = rim.get(path).await;
        assert_eq!((status, problem["detail"].as_str()), (StatusCode::BAD_REQUEST, Some(detail)));
    }
}
