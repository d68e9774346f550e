use axum::http::StatusCode;
use serde_json::json;

use super::Rim;

const PATH: &str = "/api/v1/locks/orders/lock:stock:4711/notes";

fn body(text: &str, generation: &str) -> String {
    json!({"text": text, "generation": generation}).to_string()
}

async fn generation(rim: &Rim) -> String {
    let (_, lock) = rim.get("/api/v1/locks/orders/lock:stock:4711").await;
    lock["generation"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_note_is_about_the_hold_that_its_writer_saw_and_is_in_the_audit() {
    let rim = Rim::new();
    let now = generation(&rim).await;
    let (status, written) = rim.post(PATH, body(" INC-7: asked the team ", &now)).await;
    assert_eq!((status, &written["text"]), (StatusCode::CREATED, &json!("INC-7: asked the team")));
    let (_, answer) = rim.get(PATH).await;
    assert_eq!((&answer["notes"][0]["about"], &answer["may_write"]), (&json!("now"), &json!(true)));
    assert_eq!((&answer["lasting"], &answer["notes"][0]["author"]), (&json!(false), &json!("anonymous")));
    let (_, audit) = rim.get("/api/v1/audit?outcome=noted").await;
    assert_eq!((&audit["entries"][0]["kind"], &audit["entries"][0]["reason"]), (&json!("note"), &written["text"]));

    // Somebody else has it: what was written is about the one before, and no more can be written about that one.
    rim.fake.hold("lock:stock:4711", "bob", "g2");
    let (_, answer) = rim.get(PATH).await;
    assert_eq!(answer["notes"][0]["about"], "earlier");
    let (status, problem) = rim.post(PATH, body("too late", &now)).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("/problems/changed-hands")));
    let (_, answer) = rim.get(PATH).await;
    assert_eq!(answer["notes"].as_array().unwrap().len(), 1, "a refused note is not kept");
}

#[tokio::test]
async fn what_cannot_be_a_note_is_refused_with_its_length_and_a_free_lock_has_no_place_for_one() {
    let rim = Rim::new();
    let now = generation(&rim).await;
    for (text, chars) in [("  ".to_owned(), 0), ("ä".repeat(501), 501)] {
        let (status, problem) = rim.post(PATH, body(&text, &now)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["detail"], format!("`text` has {chars} characters, expected 1 to 500"));
    }
    let (status, problem) = rim.post("/api/v1/locks/orders/lock:free/notes", body("x", "g")).await;
    assert_eq!((status, &problem["type"]), (StatusCode::NOT_FOUND, &json!("/problems/not-held")));
}

#[tokio::test]
async fn holders_are_asked_for_by_the_name_that_an_answer_gave() {
    let rim = Rim::new();
    let (status, answer) = rim.get("/api/v1/holders?source=orders&limit=5").await;
    assert_eq!((status, &answer["complete"]), (StatusCode::OK, &json!(true)));
    assert!(answer["as_of"].is_string() && answer["coverage"]["complete"].is_boolean());
    assert!(rim.fake.asked().remove(0).contains("limit: 5"));
    for (query, detail) in [
        ("holder=web-1", "`holder` is `web-1`: it names no holder"),
        ("limit=0", "`limit` is `0`, expected a whole number from 1 to 500"),
        ("limit=501", "`limit` is `501`, expected a whole number up to 500"),
    ] {
        let (status, problem) = rim.get(&format!("/api/v1/holders?{query}")).await;
        assert_eq!((status, problem["detail"].as_str()), (StatusCode::BAD_REQUEST, Some(detail)));
    }
}

#[tokio::test]
async fn settings_say_who_asks_and_what_is_asked_of_them() {
    let (status, settings) = Rim::with_releases(false).get("/api/v1/settings").await;
    assert_eq!((status, &settings["me"]["via"]), (StatusCode::OK, &json!("loopback")));
    assert_eq!(settings["grants"][0]["sources"], json!([]), "all of them");
    assert_eq!((&settings["release"]["enabled"], &settings["release"]["max_locks"]), (&json!(false), &json!(100)));
    assert_eq!(settings["server"]["sources"][0]["name"], "orders");
}
