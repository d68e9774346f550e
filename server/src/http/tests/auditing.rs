use axum::body::{Body, to_bytes};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Rim, ask};
use crate::fake::nothing;
use crate::source::ReleaseReply;

async fn refused(rim: &Rim, ticket: &str) {
    let body = json!({"ticket": ticket, "confirm": "4711", "reason": "=1+1 \"worker\" 7"});
    assert_eq!(rim.post("/api/v1/releases", body.to_string()).await.0, StatusCode::GONE);
}

async fn text(rim: &Rim, path: &str, accept: Option<&str>) -> (String, String) {
    let mut request = ask(Method::GET, path, Body::empty());
    if let Some(accept) = accept {
        request.headers_mut().insert("accept", accept.parse().unwrap());
    }
    let response = rim.send(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (kind, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn whatever_was_asked_is_told_newest_first_in_pages() {
    let rim = Rim::new();
    let preview = |generation: &str| {
        json!({"locks": [{"source": "orders", "id": "lock:stock:4711", "generation": generation}]}).to_string()
    };
    let (_, answer) = rim.post("/api/v1/releases/preview", preview("g1")).await;
    let ticket = answer["ticket"].as_str().unwrap();
    rim.post("/api/v1/releases/preview", preview("g0")).await;
    rim.post("/api/v1/releases", json!({"ticket": ticket, "confirm": "4712", "reason": "worker 7"}).to_string()).await;
    rim.fake.with(|world| world.replies.push_back((ReleaseReply::Gone, nothing())));
    rim.post("/api/v1/releases", json!({"ticket": ticket, "confirm": "4711", "reason": "worker 7"}).to_string()).await;
    refused(&rim, ticket).await;
    refused(&rim, "forged").await;

    let (status, audit) = rim.get("/api/v1/audit").await;
    assert_eq!(status, StatusCode::OK);
    let said = |entries: &Value| -> Vec<(String, String)> {
        let word = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("null").to_owned();
        entries.as_array().unwrap().iter().map(|entry| (word(entry, "kind"), word(entry, "outcome"))).collect()
    };
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(kind, outcome)| ((*kind).to_owned(), (*outcome).to_owned())).collect()
    };
    assert_eq!(
        said(&audit["entries"]),
        pairs(&[
            ("refusal", "forged"),
            ("refusal", "used"),
            ("completion", "gone"),
            ("intention", "attempted"),
            ("refusal", "mistyped"),
            ("refusal", "changed_hands"),
        ])
    );
    let [forged, used, completion, intention, ..] = audit["entries"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!(audit["chain"], json!({"length": 6, "head": forged["hash"]}));
    assert_eq!(audit["next_before"], Value::Null);
    assert_eq!((&forged["lock"], &forged["source"]), (&Value::Null, &Value::Null));
    assert_eq!((&used["lock"], &used["token"]), (&json!("lock:stock:4711"), &json!("alice")));
    assert_eq!((&completion["attempt"], &completion["ticket"]), (&intention["seq"], &used["ticket"]));
    assert_eq!(intention["actor"], json!({"name": "anonymous", "via": "loopback", "address": null}));

    let (_, page) = rim.get("/api/v1/audit?limit=2&outcome=used").await;
    assert_eq!(said(&page["entries"]), pairs(&[("refusal", "used")]));
    let (_, page) = rim.get("/api/v1/audit?limit=4").await;
    assert_eq!(page["next_before"], 3);
    let (_, page) = rim.get("/api/v1/audit?limit=4&before=3").await;
    assert_eq!(page["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let rim = Rim::new();
    for (query, part) in [
        ("since=yesterday", "`since`: `yesterday` is no RFC 3339 time"),
        ("limit=0", "`limit` is `0`"),
        ("limit=1001", "`limit` is `1001`"),
        ("before=-1", "`before` is `-1`"),
        ("format=xml", "`format` is `xml`"),
        ("format=csv&limit=5", "`limit` and `before` cut pages"),
        ("who=alice", "`who` is not a parameter here"),
    ] {
        let (status, problem) = rim.get(&format!("/api/v1/audit?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
}

#[tokio::test]
async fn an_export_is_whole_oldest_first_and_harmless_in_a_spreadsheet() {
    let rim = Rim::new();
    for _ in 0..3 {
        refused(&rim, "forged").await;
    }
    for (path, accept) in [("/api/v1/audit?format=csv", None), ("/api/v1/audit", Some("text/csv"))] {
        let (kind, csv) = text(&rim, path, accept).await;
        assert!(kind.starts_with("text/csv"), "{kind}");
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!(lines.len(), 5, "{csv}");
        assert!(lines[0].starts_with("seq,at,kind,") && lines[1].starts_with("1,") && lines[3].starts_with("3,"));
        assert!(lines[1].contains(",\"'=1+1 \"\"worker\"\" 7\","), "{csv}");
    }
    for (path, accept) in
        [("/api/v1/audit?format=jsonl&outcome=forged", None), ("/api/v1/audit", Some("application/x-ndjson;q=1, */*"))]
    {
        let (kind, lines) = text(&rim, path, accept).await;
        assert!(kind.starts_with("application/jsonl"), "{kind}");
        let seqs: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone()).collect();
        assert_eq!(seqs, [1, 2, 3]);
    }
    let (kind, _) = text(&rim, "/api/v1/audit", Some("text/html, */*")).await;
    assert_eq!(kind, "application/json");
}
