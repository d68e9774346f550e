use axum::http::StatusCode;
use lockkeeper_model::TransitionKind;
use serde_json::{Value, json};

use super::Rim;
use crate::bent::Bender;
use crate::fake::nothing;
use crate::source::ReleaseReply;

fn preview(generation: &str) -> String {
    json!({"locks": [{"source": "orders", "id": "lock:stock:4711", "generation": generation}], "action": "release"})
        .to_string()
}

async fn ticket(rim: &Rim) -> String {
    let (status, answer) = rim.post("/api/v1/releases/preview", preview("g1")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["ticket"].as_str().unwrap().to_owned()
}

async fn release(rim: &Rim, ticket: &str) -> (StatusCode, Value) {
    let body = json!({"ticket": ticket, "confirm": "4711", "reason": "worker 7 crashed"});
    rim.post("/api/v1/releases", body.to_string()).await
}

#[tokio::test]
async fn a_preview_and_its_release_go_through() {
    let rim = Rim::new();
    let (status, answer) = rim.post("/api/v1/releases/preview", preview("g1")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["confirm"], "4711");
    assert_eq!(answer["locks"][0]["strength"], "atomic");
    assert_eq!(answer["locks"][0]["told"], "at_renewal");
    assert!(answer["expires_at"].as_str().unwrap().ends_with('Z'));

    rim.fake.with(|world| {
        world.replies.push_back((
            ReleaseReply::Released { woken: None },
            Box::new(|world| {
                world.free("lock:stock:4711");
                world.hold(b"lock:stock:4711", &[(b"bob", "g2")], &crate::fake::TRAITS);
                world.tell("lock:stock:4711", TransitionKind::Acquired);
            }),
        ));
    });
    let (status, answer) = release(&rim, answer["ticket"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["results"][0]["outcome"], "released");
    assert_eq!(answer["results"][0]["after"]["state"], "taken");
    assert_eq!(answer["results"][0]["after"]["holder"]["token"], "bob");
}

#[tokio::test]
async fn the_status_says_whether_anything_was_done() {
    let because = "its lease was pushed out".to_owned();
    for (reply, status, outcome) in [
        (ReleaseReply::ChangedHands, StatusCode::CONFLICT, "changed_hands"),
        (ReleaseReply::Gone, StatusCode::CONFLICT, "gone"),
        (ReleaseReply::Refused { because: because.clone() }, StatusCode::CONFLICT, "refused"),
        (ReleaseReply::Failed { because: because.clone() }, StatusCode::BAD_GATEWAY, "failed"),
        (ReleaseReply::Unknown { because }, StatusCode::OK, "unknown"),
    ] {
        let rim = Rim::new();
        let ticket = ticket(&rim).await;
        rim.fake.with(|world| world.replies.push_back((reply, nothing())));
        let (answered, answer) = release(&rim, &ticket).await;
        assert_eq!((answered, answer["results"][0]["outcome"].as_str()), (status, Some(outcome)));
    }
}

#[tokio::test]
async fn a_lock_that_changed_hands_is_409_and_says_who_has_it() {
    let rim = Rim::new();
    let (status, problem) = rim.post("/api/v1/releases/preview", preview("g0")).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::CONFLICT, Some("/problems/changed-hands")));
    assert_eq!(problem["holder_now"]["token"], "alice");

    let ticket = ticket(&rim).await;
    rim.fake.hold("lock:stock:4711", "bob", "g2");
    let (status, answer) = release(&rim, &ticket).await;
    assert_eq!((status, answer["results"][0]["outcome"].as_str()), (StatusCode::CONFLICT, Some("changed_hands")));
    assert_eq!(answer["results"][0]["holder_now"]["token"], "bob");
    rim.fake.with(|world| world.free("lock:stock:4711"));
    let (status, problem) = rim.post("/api/v1/releases/preview", preview("g2")).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::CONFLICT, Some("/problems/gone")));
}

#[tokio::test]
async fn switched_off_is_403_with_the_switch() {
    let rim = Rim::with_releases(false);
    for (path, body) in [
        ("/api/v1/releases/preview", preview("g1")),
        ("/api/v1/releases", json!({"ticket": "x", "confirm": "x", "reason": "xxx"}).to_string()),
    ] {
        let (status, problem) = rim.post(path, body).await;
        assert_eq!((status, problem["type"].as_str()), (StatusCode::FORBIDDEN, Some("/problems/release-off")));
        assert!(problem["hint"].as_str().unwrap().contains("--allow-release"));
    }
}

#[tokio::test]
async fn tickets_that_are_not_good_are_410_and_a_missing_confirmation_is_422() {
    let rim = Rim::new();
    let (status, problem) = release(&rim, "forged").await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::GONE, Some("/problems/ticket-unknown")));

    let ticket = ticket(&rim).await;
    for (body, kind) in [
        (json!({"ticket": ticket}), "/problems/unconfirmed"),
        (json!({"ticket": ticket, "confirm": "4712", "reason": "worker 7 crashed"}), "/problems/unconfirmed"),
        (json!({"ticket": ticket, "confirm": "4711"}), "/problems/reason-needed"),
    ] {
        let (status, problem) = rim.post("/api/v1/releases", body.to_string()).await;
        assert_eq!((status, problem["type"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some(kind)));
    }
    rim.fake.with(|world| world.replies.push_back((ReleaseReply::Gone, nothing())));
    assert_eq!(release(&rim, &ticket).await.0, StatusCode::CONFLICT);
    let (status, problem) = release(&rim, &ticket).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::GONE, Some("/problems/ticket-used")));
}

#[tokio::test]
async fn a_body_that_cannot_be_understood_is_400_and_says_where() {
    let rim = Rim::new();
    for (path, body, part) in [
        ("/api/v1/releases", "{", "EOF"),
        ("/api/v1/releases", "[]", "expected"),
        ("/api/v1/releases", r#"{"ticket": 5}"#, "ticket"),
        ("/api/v1/releases", r#"{"ticket": "x", "force": true}"#, "force"),
        ("/api/v1/releases/preview", r#"{"locks": [{"source": "orders", "id": "x"}]}"#, "generation"),
        ("/api/v1/releases/preview", r#"{"locks": [], "action": "release"}"#, "0 entries"),
        ("/api/v1/releases/preview", r#"{"locks": [], "action": "obliterate"}"#, "obliterate"),
    ] {
        let (status, problem) = rim.post(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
}

#[tokio::test]
async fn no_get_releases_anything() {
    let rim = Rim::new();
    for path in ["/api/v1/releases", "/api/v1/releases/preview"] {
        assert_eq!(rim.get(path).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(rim.fake.asked(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_lock_that_was_released_a_moment_ago_is_429_and_says_when_to_try_again() {
    let rim = Rim::new();
    rim.fake.set_status(0, |status| status.environment = Some("production".to_owned()));
    let [first, second] = [ticket(&rim).await, ticket(&rim).await];
    rim.fake.with(|world| world.replies.push_back((ReleaseReply::Released { woken: None }, nothing())));
    assert_eq!(release(&rim, &first).await.0, StatusCode::OK);
    let body = json!({"ticket": second, "confirm": "4711", "reason": "worker 7 crashed"}).to_string();
    let mut request = super::ask(axum::http::Method::POST, "/api/v1/releases", body.into());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let response = rim.send(request).await;
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    let (status, problem) = super::json(response).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::TOO_MANY_REQUESTS, Some("/problems/cooling-down")));
}

#[tokio::test]
async fn a_dry_run_is_answered_as_one_and_uses_nothing_up() {
    let rim = Rim::new();
    let ticket = ticket(&rim).await;
    let dry_run = json!({"ticket": ticket, "dry_run": true}).to_string();
    let (status, answer) = rim.post("/api/v1/releases", dry_run.clone()).await;
    assert_eq!((status, answer["results"][0]["outcome"].as_str()), (StatusCode::OK, Some("would_release")));
    rim.fake.hold("lock:stock:4711", "bob", "g2");
    let (status, answer) = rim.post("/api/v1/releases", dry_run).await;
    assert_eq!((status, answer["results"][0]["outcome"].as_str()), (StatusCode::CONFLICT, Some("changed_hands")));
    assert!(!rim.fake.asked().iter().any(|asked| asked.starts_with("release ")), "nothing was tried");
    rim.fake.hold("lock:stock:4711", "alice", "g1");
    rim.fake.with(|world| world.replies.push_back((ReleaseReply::Gone, nothing())));
    assert_eq!(release(&rim, &ticket).await.0, StatusCode::CONFLICT);
}

/// As many as are tried in some seconds without optimisation.
const BENT: usize = 5_000;

#[tokio::test]
async fn no_body_makes_the_server_stumble_or_the_store_be_asked_to_free() {
    let rim = Rim::new();
    let ticket = ticket(&rim).await;
    let confirmed =
        json!({"ticket": ticket, "confirm": "4711", "reason": "worker 7 crashed", "dry_run": true}).to_string();
    let held =
        json!({"locks": [{"source": "orders", "id": "lock:stock:4711", "generation": "g1", "holder": "YWxpY2U="}],
        "action": "release_and_hold", "hold_ms": 60_000})
        .to_string();
    let real = [preview("g1").into_bytes(), held.into_bytes(), confirmed.into_bytes()];
    let real: Vec<&[u8]> = real.iter().map(Vec::as_slice).collect();
    let mut bender = Bender::new();
    for n in 0..BENT {
        let body = bender.bend(&real);
        let path = if n % 2 == 0 { "/api/v1/releases/preview" } else { "/api/v1/releases" };
        let (status, answer) = rim.post(path, body.clone()).await;
        let said = String::from_utf8_lossy(&body).into_owned();
        assert!(!status.is_server_error(), "{status} {answer} for {said}");
        let text = answer.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?} for {said:?}");
    }
    // Nothing but dry runs could be understood, so that whatever was asked, nothing was freed.
    assert!(rim.fake.with(|world| world.orders.is_empty()));
}
