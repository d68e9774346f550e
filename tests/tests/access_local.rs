//! What local users do about their own access: another password, a second factor, their sessions; and that it is written
//! down.

use std::time::{SystemTime, UNIX_EPOCH};

use lockkeeper_model::{AuditEntry, AuditPage};
use lockkeeper_tests::{Api, RedisServer, Server, Viewer, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::access::{House, PASSWORD, pair, sign_in, status, until_status, wrong_password};

const ANOTHER: &str = "another horse entirely";

/// The role of whoever looks after the server, and of whoever sees everything.
const ADMIN: &str = "[[role]]\nname = \"admin\"\ngroups = [\"staff\"]\nrights = [\"admin\", \"view\"]\n";

async fn changed(api: &Api, old: &str, new: &str) -> reqwest::Response {
    let body = json!({ "old": old, "new": new });
    api.request(Method::POST, "/api/v1/session/password").json(&body).send().await.unwrap()
}

async fn sessions(api: &Api, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/api/v1/sessions{query}")).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.json::<Value>()["sessions"].as_array().unwrap().clone()
}

/// Entries about access, oldest first.
async fn written(api: &Api) -> Vec<AuditEntry> {
    let page: AuditPage = api.get("/api/v1/audit?limit=100").await.json();
    page.entries.into_iter().rev().filter(|entry| entry.kind.word() == "access").collect()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changes_ones_own_password_and_every_other_session_ends() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let here = api.with("cookie", pair(&sign_in(&api, "ada").await));
    let other = sign_in(&api, "ada").await;
    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let mut viewer = Viewer::connect_with(&server, "cookie", pair(&other)).await;
    viewer.frame().await;
    for (old, new, code, kind) in [
        ("not this one, surely", ANOTHER, 401, "wrong-password"),
        (PASSWORD, "short", 422, "bad-password"),
        (PASSWORD, "passwordpassword", 422, "bad-password"),
        (PASSWORD, "ada-ada-ada-ada", 422, "bad-password"),
    ] {
        let refused = changed(&here, old, new).await;
        assert_eq!(refused.status().as_u16(), code);
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["type"], format!("/problems/{kind}"));
        assert!(!problem.to_string().contains(new) || new == "short", "{problem}");
    }
    assert_eq!(status(&here).await, 200, "nothing has changed");

    let done = changed(&here, PASSWORD, ANOTHER).await;
    assert_eq!(done.status(), 204);
    let cookie = done.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(viewer.close_code().await, Some(1008));
    assert_eq!((status(&here).await, status(&api.with("cookie", pair(&other))).await), (401, 401));
    // The file that was written is read anew, which ends nothing more.
    let old = json!({ "name": "ada", "password": PASSWORD });
    until(
        "the old password to be refused",
        async || api.post("/api/v1/session", &old).await.status,
        |status| *status != 200,
    )
    .await;
    assert_eq!((status(&api.with("cookie", pair(&cookie))).await, status(&bob).await), (200, 200));
    assert_eq!(api.post("/api/v1/session", &json!({ "name": "ada", "password": ANOTHER })).await.status, 200);
    assert!(!server.said().contains(ANOTHER));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_and_by_an_administrator() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let config = house.config(&redis, "") + ADMIN;
    let server = Server::serve().config(&config).start().await;
    server.ready().await;
    let api = server.api();
    let (here, there) = (sign_in(&api, "ada").await, sign_in(&api, "ada").await);
    let [ada, elsewhere] = [&here, &there].map(|cookie| api.with("cookie", pair(cookie)));
    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let hers = sessions(&ada, "").await;
    let told: Vec<_> = hers.iter().map(|one| (&one["name"], &one["address"], &one["via"])).collect();
    assert_eq!(told, [(&json!("ada"), &json!("127.0.0.1"), &json!("password")); 2]);
    assert_eq!(hers.iter().filter(|one| one["current"] == true).count(), 1);
    assert!(!hers.iter().any(|one| one.to_string().contains(pair(&there).split_once('=').unwrap().1)));
    assert_eq!(ada.get("/api/v1/sessions?all=true").await.status, 403);

    let end = async |api: &Api, id: &Value| {
        let path = format!("/api/v1/sessions/{}", id.as_str().unwrap());
        api.request(Method::DELETE, &path).send().await.unwrap().status().as_u16()
    };
    let of_bob = sessions(&bob, "").await[0]["id"].clone();
    assert_eq!(end(&ada, &of_bob).await, 404, "bob's is none for ada");
    let other = hers.iter().find(|one| one["current"] == false).unwrap();
    assert_eq!((end(&ada, &other["id"]).await, end(&ada, &other["id"]).await), (204, 404));
    assert_eq!((status(&ada).await, status(&elsewhere).await), (200, 401));

    let all = sessions(&bob, "?all=true").await;
    let of_ada = all.iter().find(|one| one["name"] == "ada").unwrap();
    assert_eq!((all.len(), end(&bob, &of_ada["id"]).await), (2, 204));
    assert_eq!(status(&ada).await, 401);
    assert_eq!(ada.get("/api/v1/sessions").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_and_sign_outs_are_written_down_and_nothing_that_was_typed() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = Server::serve().config(&(house.config(&redis, "") + ADMIN)).start().await;
    server.ready().await;
    let api = server.api();
    let ada = api.with("cookie", pair(&sign_in(&api, "ada").await));
    assert_eq!(ada.request(Method::DELETE, "/api/v1/session").send().await.unwrap().status(), 204);
    wrong_password(&api, "ada").await;
    // A password in the field for the name is a mistake that everybody makes.
    wrong_password(&api, PASSWORD).await;
    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let entries = written(&bob).await;
    let told: Vec<_> =
        entries.iter().map(|entry| (entry.actor.name.as_str(), entry.outcome.as_deref().unwrap())).collect();
    let expected = [
        ("ada", "signed_in"),
        ("ada", "signed_out"),
        ("ada", "not_signed_in"),
        ("unknown", "not_signed_in"),
        ("bob", "signed_in"),
    ];
    assert_eq!(told, expected);
    assert!(entries.iter().all(|entry| entry.actor.address.as_deref() == Some("127.0.0.1")), "{entries:#?}");
    let all = format!("{entries:?}");
    assert!(!all.contains(PASSWORD) && !all.contains("not this one, surely"), "{all}");
    let ended = bob.request(Method::DELETE, "/api/v1/sessions").send().await.unwrap();
    assert_eq!(ended.status(), 200);
    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let details: Vec<String> = written(&bob).await.into_iter().skip(5).map(|entry| entry.detail).collect();
    assert_eq!(details, ["signed out everywhere, sessions ended: 1", "signed in with a password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_second_factor_needs_a_code_that_is_good_once() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    assert!(!api.get("/sign-in").await.body.contains("one-time-code"));
    let ada = api.with("cookie", pair(&sign_in(&api, "ada").await));
    let url = house.user(&["totp", "ada"], "").await;
    let secret = url.split_once("secret=").unwrap().1.split('&').next().unwrap().trim();
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    let codes = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    until_status(&ada, 401).await;
    assert!(api.get("/sign-in").await.body.contains("one-time-code"));

    let sign_in_with = async |code: Option<&str>| {
        let body = json!({ "name": "ada", "password": PASSWORD, "code": code });
        api.post("/api/v1/session", &body).await
    };
    let wrong = sign_in_with(None).await;
    assert_eq!((wrong.status, wrong.problem().kind.as_str()), (401, "/problems/wrong-password"));
    assert_eq!(sign_in_with(Some("12345")).await.body, wrong.body);
    let code = codes.generate(now_s()).to_string();
    assert_eq!(sign_in_with(Some(&code)).await.status, 200);
    assert_eq!(sign_in_with(Some(&code)).await.body, wrong.body, "it was used");
    // Nobody else needs one, and it can be taken away by whoever runs the server.
    sign_in(&api, "bob").await;
    house.user(&["totp", "ada", "--remove"], "").await;
    until("the password to be enough", async || sign_in_with(None).await.status, |status| *status == 200).await;
    let said = server.said();
    assert!(!said.contains(&code) && !said.contains(url.trim()), "{said}");
}
