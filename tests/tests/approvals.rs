//! A release in production takes two people who signed in, or one who has just done so and whom everybody hears of.

use lockkeeper_model::wire::ServerFrame;
use lockkeeper_model::{
    Approval, ApprovalRequest, ApprovalState, Approvals, AuditPage, Decision, DecisionRequest, Lock, LockId, Outcome,
    PreviewAnswer, ReleaseAnswer, ReleaseRequest, ShownApproval,
};
use lockkeeper_tests::{Answer, Api, Family, HURRIED, LockClient, RedisServer, Server, Viewer, lockkeeper};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery";
const LEASE: Duration = Duration::from_secs(60);

/// Ada may release, Bob and Ada may approve, and Carl sees nothing of what is locked here.
pub(crate) struct Scene {
    redis: RedisServer,
    pub(crate) server: Server,
    pub(crate) dir: TempDir,
}

impl Scene {
    pub(crate) async fn set() -> Scene {
        let (redis, dir) = (RedisServer::start().await, TempDir::new().unwrap());
        let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for (name, group) in [("ada", "oncall"), ("bob", "leads"), ("carl", "elsewhere")] {
            let args = ["user", "add", name, "--group", group, "--file", &file("users.toml")];
            let added = lockkeeper(&args, &format!("{PASSWORD}\n")).await;
            assert!(added.status.success(), "{added:?}");
        }
        let config = format!(
            "[[source]]\nname = \"orders\"\nurl = \"{}\"\nenvironment = \"production\"\n\
             [[role]]\nname = \"oncall\"\ngroups = [\"oncall\"]\nrights = [\"release\", \"bulk\", \"approve\"]\n\
             [[role]]\nname = \"lead\"\ngroups = [\"leads\"]\nrights = [\"approve\"]\n\
             [[role]]\nname = \"else\"\ngroups = [\"elsewhere\"]\nrights = [\"view\"]\nkeys = [\"other:*\"]\n\
             [access]\nusers_file = \"{}\"\ntokens_file = \"{}\"\n{HURRIED}two_persons = true\n",
            redis.url(),
            file("users.toml"),
            file("tokens.toml"),
        );
        let server = Server::serve().config(&config).arg("--allow-release").start().await;
        server.ready().await;
        Scene { redis, server, dir }
    }

    /// The cookie of somebody who signs in now.
    async fn sign_in(&self, name: &str) -> String {
        let body = json!({ "name": name, "password": PASSWORD });
        let answer = self.server.api().request(Method::POST, "/api/v1/session").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    pub(crate) async fn signed_in(&self, name: &str) -> Api {
        self.server.api().with("cookie", &self.sign_in(name).await)
    }

    pub(crate) async fn held(&self, api: &Api, name: &str) -> (LockClient, Lock) {
        let holder = Family::RedisPy.client(&self.redis.client().await, name, Some(LEASE));
        assert!(holder.take().await);
        let lock = api.until_lock("the lock", &holder.key, |_| true).await;
        (holder, lock)
    }
}

async fn ask(api: &Api, preview: &PreviewAnswer) -> Answer {
    let request = ApprovalRequest { ticket: preview.ticket.clone(), reason: "worker 7 crashed".to_owned() };
    api.post("/api/v1/approvals", &request).await
}

async fn approve(api: &Api, id: &str) -> Answer {
    let request = DecisionRequest { decision: Decision::Approve, reason: "looked at it".to_owned() };
    api.post(&format!("/api/v1/approvals/{id}"), &request).await
}

async fn break_glass(api: &Api, preview: &PreviewAnswer) -> Answer {
    let request = ReleaseRequest {
        ticket: preview.ticket.clone(),
        confirm: preview.confirm.clone(),
        reason: "nobody else is awake".to_owned(),
        break_glass: true,
        ..Default::default()
    };
    api.post("/api/v1/releases", &request).await
}

/// Outcomes of the audit about approvals, oldest first.
async fn approvals_written(api: &Api) -> Vec<(String, String)> {
    let page: AuditPage = api.get("/api/v1/audit").await.json();
    let entries = page.entries.into_iter().rev().filter(|entry| entry.kind.word() == "approval");
    entries.map(|entry| (entry.actor.name, entry.outcome.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_asks_another_looks_and_approves_and_the_first_releases_once() {
    let scene = Scene::set().await;
    let (ada, bob) = (scene.signed_in("ada").await, scene.signed_in("bob").await);
    let (holder, lock) = scene.held(&ada, "stuck").await;
    let preview = ada.preview(&lock).await;
    assert_eq!(preview.approval.as_ref().unwrap().state, ApprovalState::Unasked);
    let refused = ada.try_release(&preview.ticket, &preview.confirm, "worker 7 crashed").await;
    assert_eq!((refused.status, refused.problem().kind.as_str()), (403, "/problems/approval-needed"));
    assert!(refused.problem().hint.unwrap().contains("/api/v1/approvals"));

    let asked = ask(&ada, &preview).await;
    assert_eq!(asked.status, 201, "{asked:?}");
    let asked: Approval = asked.json();
    // Ada has the right to approve, and is no second person, however often she signs in.
    for ada in [&ada, &scene.signed_in("ada").await] {
        let refused = approve(ada, &asked.id).await;
        assert_eq!((refused.status, refused.problem().kind.as_str()), (403, "/problems/same-person"));
    }
    let listed: Approvals = bob.get("/api/v1/approvals").await.json();
    assert_eq!((listed.approvals[0].id.as_str(), listed.approvals[0].may_decide), (asked.id.as_str(), true));
    let carl = scene.signed_in("carl").await;
    assert_eq!(carl.get("/api/v1/approvals").await.json::<Approvals>().approvals, []);
    assert_eq!(approve(&carl, &asked.id).await.status, 404);

    let shown: ShownApproval = bob.get(&format!("/api/v1/approvals/{}", asked.id)).await.json();
    assert!(shown.is_unchanged);
    assert_eq!(shown.locks[0].holder.token, Some(holder.token.clone()));
    let approved: Approval = approve(&bob, &asked.id).await.json();
    assert_eq!(approved.state, ApprovalState::Approved);
    assert!(holder.renew().await, "approving releases nothing");

    let preview = ada.preview(&lock).await;
    assert_eq!(preview.approval.as_ref().unwrap().state, ApprovalState::Approved);
    let (status, answer) = ada.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{answer:#?}");
    assert!(!holder.renew().await);
    assert!(holder.take().await, "the same client takes it again");
    let lock = ada.until_lock("the new hold", &holder.key, |now| now.generation != lock.generation).await;
    let preview = ada.preview(&lock).await;
    let again = ada.try_release(&preview.ticket, &preview.confirm, "worker 7 crashed").await;
    assert_eq!((again.status, again.problem().kind.as_str()), (403, "/problems/approval-needed"));
    let told = [("ada", "asked"), ("bob", "approved"), ("ada", "used")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(approvals_written(&ada).await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_just_signed_in_goes_without_and_everybody_who_sees_the_lock_hears_of_it() {
    let scene = Scene::set().await;
    let ada = scene.signed_in("ada").await;
    let (holder, lock) = scene.held(&ada, "stuck").await;
    let mut watching = Viewer::connect_with(&scene.server, "cookie", &scene.sign_in("bob").await).await;
    let mut elsewhere = Viewer::connect_with(&scene.server, "cookie", &scene.sign_in("carl").await).await;

    // A token is nobody who could have just signed in.
    let file = scene.dir.path().join("tokens.toml");
    let args = ["token", "new", "--name", "deploy", "--right", "release", "--file", file.to_str().unwrap()];
    let made = lockkeeper(&args, "").await;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout).unwrap();
    let token = text.split_whitespace().find(|word| word.starts_with("lkt_")).unwrap();
    let deploy = scene.server.api().bearing(token);
    lockkeeper_tests::until(
        "the token to be known",
        async || deploy.get("/api/v1/locks").await.status,
        |at| *at == 200,
    )
    .await;
    let refused = break_glass(&deploy, &deploy.preview(&lock).await).await;
    assert_eq!((refused.status, refused.problem().kind.as_str()), (403, "/problems/sign-in-needed"));
    assert!(holder.renew().await, "nothing was done");

    let answer = break_glass(&ada, &ada.preview(&lock).await).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json::<ReleaseAnswer>().results[0].outcome, Outcome::Released);
    assert!(!holder.renew().await);
    let notice = watching
        .until(|frame| match frame {
            ServerFrame::Notice { code, by, reason, locks, .. } => Some((code, by, reason, locks)),
            _ => None,
        })
        .await;
    let locks = vec![("orders".to_owned(), LockId::of_key(holder.key.as_bytes()))];
    assert_eq!(notice, ("break_glass".to_owned(), "ada".to_owned(), "nobody else is awake".to_owned(), locks));
    // For somebody who does not see the lock nothing happened. A whole round of news later that would have come.
    let mut rounds = 0;
    elsewhere
        .until(|frame| match frame {
            ServerFrame::Notice { .. } => panic!("{frame:?}"),
            ServerFrame::Sources { .. } => {
                rounds += 1;
                (rounds > 1).then_some(())
            }
            _ => None,
        })
        .await;
    assert_eq!(approvals_written(&ada).await, [("ada".to_owned(), "break_glass".to_owned())]);
    let said = scene.server.said();
    assert!(said.lines().any(|line| line.contains("WARN") && line.contains("second_person: break-glass")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_tell_people_apart_asks_for_no_second_one() {
    let output = Server::serve().config("[release]\ntwo_persons = true\n").run().await;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("lockkeeper.toml:2:15: `release.two_persons` cannot be used: nobody can sign in here"),
        "{said}"
    );
}
