//! What somebody should know is told to programs, survives a restart, and follows a new configuration.

use std::time::Duration;

use lockkeeper_model::{Mute, WarningPage, WarningState};
use lockkeeper_tests::{Answer, Api, Family, Program, RedisServer, Server, until};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(300);

/// Every hold is told of at once.
const AT_ONCE: &str = "[[warning]]\nrule = \"held-long\"\nfor = 0\n";

fn config(redis: &RedisServer, rest: &str) -> String {
    format!("[[source]]\nname = \"store\"\nurl = \"{}\"\n{rest}", redis.url())
}

async fn until_warnings(api: &Api, passes: impl Fn(&WarningPage) -> bool) -> WarningPage {
    let ask = async || api.get("/api/v1/warnings").await.json::<WarningPage>();
    until("the warnings", ask, passes).await
}

fn is_in(page: &WarningPage, state: WarningState) -> bool {
    page.warnings.len() == 1 && page.warnings[0].state == state
}

async fn delete(api: &Api, path: &str) -> u16 {
    api.request(Method::DELETE, path).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_answered_and_the_answer_survives_a_restart() {
    let (redis, dir) = (RedisServer::start().await, TempDir::new().unwrap());
    let start = async || {
        let server = Server::serve().config(&config(&redis, AT_ONCE));
        let server = server.arg("--data-dir").arg(dir.path().to_str().unwrap()).start().await;
        server.ready().await;
        server
    };
    let mut server = start().await;
    let holder = Family::RedisPy.client(&redis.client().await, "a", Some(LEASE));
    assert!(holder.take().await);
    let page = until_warnings(&server.api(), |page| is_in(page, WarningState::Open)).await;
    assert_eq!((page.not_kept, page.warnings[0].about.as_str()), (None, "a"));
    let id = &page.warnings[0].id;
    let path = format!("/api/v1/warnings/{id}/acknowledge");
    let answer: Answer = server.api().post(&path, &json!({"note": "on it"})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mute = json!({"source": "store", "pattern": "other:*", "for_ms": 3_600_000, "reason": "a migration"});
    let muted: Mute = server.api().post("/api/v1/mutes", &mute).await.json();
    server.stop().await;

    let server = start().await;
    let page = until_warnings(&server.api(), |page| is_in(page, WarningState::Acknowledged)).await;
    assert_eq!(&page.warnings[0].id, id, "it is the same");
    assert_eq!(page.warnings[0].acknowledged.as_ref().unwrap().note.as_deref(), Some("on it"));
    assert!(server.api().get("/api/v1/mutes").await.body.contains(&muted.id));
    assert_eq!(delete(&server.api(), &format!("/api/v1/mutes/{}", muted.id)).await, 204);
    assert!(holder.release().await);
    let page = until_warnings(&server.api(), |page| is_in(page, WarningState::Resolved)).await;
    assert_eq!(page.warnings[0].resolved.as_deref(), Some("It was let go."));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_are_followed_and_what_cannot_be_used_changes_nothing() {
    let redis = RedisServer::start().await;
    let server = Server::serve().config(&config(&redis, "")).start().await;
    server.ready().await;
    assert!(Family::RedisPy.client(&redis.client().await, "a", Some(LEASE)).take().await);
    server.api().until_lock("the lock", "lock:a", |_| true).await;
    assert_eq!(server.api().get("/api/v1/warnings").await.json::<WarningPage>().total, 0);
    server.reconfigure(&config(&redis, AT_ONCE)).await;
    until_warnings(&server.api(), |page| is_in(page, WarningState::Open)).await;
    let metrics = server.api().get("/metrics").await.body;
    let line = "lockkeeper_warnings_open{source=\"store\",rule=\"held-long\",severity=\"warning\"} 1";
    assert!(metrics.lines().any(|known| known == line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_lists_acknowledges_mutes_and_freezes() {
    let redis = RedisServer::start().await;
    let server = Server::serve().config(&config(&redis, AT_ONCE)).start().await;
    server.ready().await;
    let url = server.url();
    let run = async |args: &[&str]| Program::new(&[args, &["--server", &url]].concat()).run().await;
    let none = run(&["warnings"]).await;
    assert_eq!((none.code, none.out.starts_with("no warning, as of ")), (Some(3), true), "{none:#?}");
    assert!(Family::RedisPy.client(&redis.client().await, "a", Some(LEASE)).take().await);
    let page = until_warnings(&server.api(), |page| is_in(page, WarningState::Open)).await;
    let id = &page.warnings[0].id[..8];
    let listed = run(&["warnings", "list", "--rule", "held-long"]).await;
    assert!(listed.code == Some(0) && listed.out.contains("held-long  store"), "{listed:#?}");
    let noted = run(&["warnings", "ack", id, "--note", "on it"]).await;
    assert!(noted.code == Some(0) && noted.out.starts_with("acknowledged by anonymous: "), "{noted:#?}");
    assert_eq!(run(&["warnings", "ack", "nothing"]).await.code, Some(3));
    let muted = run(&["warnings", "mute", "a", "--for", "2h", "--reason", "a migration"]).await;
    assert!(muted.code == Some(0) && muted.out.contains("every rule of lock:a in store"), "{muted:#?}");
    assert_eq!(run(&["warnings", "mute", "a", "--for", "2y", "--reason", "a migration"]).await.code, Some(2));
    let mutes = run(&["warnings", "mutes", "--json"]).await;
    let mutes: serde_json::Value = serde_json::from_str(&mutes.out).unwrap();
    let mute = mutes["mutes"][0]["id"].as_str().unwrap();
    assert_eq!(run(&["warnings", "unmute", &mute[..6]]).await.code, Some(0));
    assert_eq!(run(&["warnings", "mutes"]).await.code, Some(3));

    let frozen = run(&["incident", "freeze", "a", "--title", "stuck", "--last", "10m"]).await;
    assert!(frozen.code == Some(0) && frozen.out.starts_with("frozen as "), "{frozen:#?}");
    let id = frozen.out.lines().next().unwrap().trim_start_matches("frozen as ");
    let shown = run(&["incident", "show", id]).await;
    assert!(shown.code == Some(0) && shown.out.contains("stuck") && shown.out.contains("lock:a"), "{shown:#?}");
    let listed = run(&["incident", "list"]).await;
    assert!(listed.code == Some(0) && listed.out.contains(id), "{listed:#?}");
    assert_eq!(run(&["incident", "show", "nothing"]).await.code, Some(3));
}
