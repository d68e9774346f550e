//! Traces: who may have one, what is refused, and where the last one is.

use std::sync::Arc;

use axum::http::StatusCode;
use lockkeeper_model::{Time, TraceEnd, TraceReport};

use super::Rim;
use crate::source::TraceRefusal;

const TRACES: &str = "/api/v1/traces";

fn report() -> Arc<TraceReport> {
    Arc::new(TraceReport {
        source: "orders".to_owned(),
        lock: None,
        from: Time(1_767_235_900_000),
        to: Time(1_767_235_903_000),
        ended: TraceEnd::Complete,
        ended_because: "its 3 s were over".to_owned(),
        commands: 412,
        bytes: 40_960,
        unreadable: 0,
        cost: "412 commands".to_owned(),
        largest_delay_ms: 1,
        locks: Vec::new(),
        locks_not_counted: 0,
        already_blocked: None,
        missing: Vec::new(),
        nodes: Vec::new(),
    })
}

#[tokio::test]
async fn a_trace_answers_when_it_is_over_and_is_kept() {
    let rim = Rim::new();
    assert_eq!(rim.get("/api/v1/sources/orders/trace").await.0, StatusCode::NOT_FOUND);
    rim.fake.with(|world| world.traces.push_back(Ok(report())));
    let (status, answer) = rim.post(TRACES, r#"{"source":"orders","seconds":3,"lock":"lock:stock:4711"}"#).await;
    assert_eq!((status, &answer["commands"]), (StatusCode::OK, &412.into()), "{answer}");
    assert_eq!(answer["from"], "2026-01-01T02:51:40.000Z");
    assert_eq!(rim.fake.asked(), [r#"trace TraceOrder { seconds: 3, key: Some(b"lock:stock:4711") }"#]);
    let (status, last) = rim.get("/api/v1/sources/orders/trace").await;
    assert_eq!((status, last), (StatusCode::OK, answer));
    assert_eq!(rim.get("/api/v1/sources/a%2Fb/trace").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_traced_is_refused_before_the_store_is_asked() {
    let rim = Rim::new();
    for (body, status, kind) in [
        (r#"{"source":"orders","seconds":0}"#, 422, "trace-seconds"),
        (r#"{"source":"orders","seconds":11}"#, 422, "trace-seconds"),
        (r#"{"source":"nowhere","seconds":1}"#, 404, "unknown-source"),
        (r#"{"source":"orders","seconds":1,"lock":"b64:***"}"#, 400, "bad-lock-id"),
        (r#"{"source":"orders"}"#, 400, "bad-body"),
    ] {
        let (answered, problem) = rim.post(TRACES, body).await;
        assert_eq!(
            (answered.as_u16(), problem["type"].as_str()),
            (status, Some(&*format!("/problems/{kind}"))),
            "{body}"
        );
    }
    let off = Rim::with_releases(false);
    let (status, problem) = off.post(TRACES, r#"{"source":"orders","seconds":1}"#).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::FORBIDDEN, Some("/problems/tracing-off")));
    assert!(rim.fake.asked().is_empty() && off.fake.asked().is_empty());
}

#[tokio::test]
async fn what_the_store_refuses_is_said_with_its_numbers_and_what_to_try() {
    let rim = Rim::new();
    for (refusal, status, says) in [
        (TraceRefusal::Running, 409, "under way"),
        (TraceRefusal::TooBusy { commands_per_second: 31_000, limit: 20_000 }, 503, "31000"),
        (TraceRefusal::TooSlow { delay_ms: 400, limit_ms: 250 }, 503, "400 ms"),
        (TraceRefusal::NotPermitted { command: "MONITOR".to_owned() }, 403, "MONITOR"),
        (TraceRefusal::Failed { because: "there is no connection to the store".to_owned() }, 503, "no connection"),
    ] {
        rim.fake.with(|world| world.traces.push_back(Err(refusal)));
        let (answered, problem) = rim.post(TRACES, r#"{"source":"orders","seconds":1}"#).await;
        assert_eq!(answered.as_u16(), status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}
