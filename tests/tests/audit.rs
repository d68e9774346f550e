//! What is released is written down before, whatever happens to the server then; and nothing is released unwritten.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use lockkeeper_model::{AuditEntry, AuditKind, AuditPage, Outcome, PreviewAnswer};
use lockkeeper_tests::{Api, Caught, Family, LockClient, Proxy, RedisServer, Server, ServerBuilder, until};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LEASE: Duration = Duration::from_secs(600);

/// A server behind a network that can be stopped, with a folder that outlives it.
struct Scene {
    redis: RedisServer,
    proxy: Proxy,
    data: TempDir,
    server: Server,
    holder: LockClient,
}

impl Scene {
    /// `lock:job` is held, and seen to be.
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let holder = Family::RedisPy.client(&redis.client().await, "job", Some(LEASE));
        assert!(holder.take().await);
        let proxy = Proxy::to(redis.port()).await;
        let data = TempDir::new().unwrap();
        let server = serve(&proxy, &data).start().await;
        server.ready().await;
        Scene { redis, proxy, data, server, holder }
    }

    async fn preview(&self) -> PreviewAnswer {
        let api = self.server.api();
        let lock = api.until_lock("the lock", &self.holder.key, |_| true).await;
        api.preview(&lock).await
    }

    /// Asks for the release and does not wait for the answer.
    async fn begin(&self) {
        let (api, preview) = (self.server.api(), self.preview().await);
        // Ends with the server, which is the point.
        tokio::spawn(async move { api.try_release(&preview.ticket, &preview.confirm, "worker 7 crashed").await });
    }

    /// What the killed server left: an intention and nothing after it.
    async fn left_behind(&self) -> AuditEntry {
        let listed = audit(&self.data, &["list"]).await;
        assert!(listed.contains("attempted, outcome unknown"), "{listed}");
        let verified = audit(&self.data, &["verify"]).await;
        assert!(verified.starts_with("intact: 1 entry is"), "{verified}");
        assert!(verified.contains("attempted, outcome unknown"), "{verified}");
        let exported = audit(&self.data, &["export"]).await;
        let entry: AuditEntry = serde_json::from_str(exported.trim_end()).unwrap();
        assert_eq!((entry.kind, entry.outcome.as_deref()), (AuditKind::Intention, Some("attempted")));
        assert_eq!(entry.reason.as_deref(), Some("worker 7 crashed"));
        entry
    }

    /// The server, started again on a network that works, once it has found out what became of the attempt.
    async fn found_out(&mut self) -> Vec<AuditEntry> {
        self.proxy.cut();
        self.proxy.restore();
        self.server = serve(&self.proxy, &self.data).start().await;
        let entries = until(
            "what became of the attempt",
            async || entries(&self.server.api(), "").await,
            |entries| entries.iter().any(|entry| entry.kind == AuditKind::FollowUp),
        )
        .await;
        let verified = audit(&self.data, &["verify", "--head", &entries[0].hash]).await;
        assert!(verified.starts_with("intact: "), "{verified}");
        entries
    }

    async fn is_held(&self) -> bool {
        let holder: Option<String> =
            lockkeeper_tests::store(&self.redis.client().await, "GET", [self.holder.key.as_str()]).await;
        holder.as_ref() == Some(&self.holder.token)
    }
}

fn serve(proxy: &Proxy, data: &TempDir) -> ServerBuilder {
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    Server::serve().redis(&url).arg("--allow-release").arg("--data-dir").arg(data.path().to_str().unwrap())
}

/// What `lockkeeper audit` prints.
async fn audit(data: &TempDir, arguments: &[&str]) -> String {
    let mut command = Server::audit();
    for argument in arguments {
        command = command.arg(argument);
    }
    let output = command.arg("--data-dir").arg(data.path().to_str().unwrap()).run().await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn entries(api: &Api, query: &str) -> Vec<AuditEntry> {
    api.get(&format!("/api/v1/audit?{query}")).await.json::<AuditPage>().entries
}

/// Kind, outcome and what was seen, oldest first.
fn told(entries: &[AuditEntry]) -> Vec<(AuditKind, Option<&str>, Option<&str>)> {
    entries.iter().rev().map(|entry| (entry.kind, entry.outcome.as_deref(), entry.seen.as_deref())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_told_from_the_intention_to_what_came_after() {
    let scene = Scene::set().await;
    let api = scene.server.api();
    let preview = scene.preview().await;
    let wrong = api.try_release(&preview.ticket, "something else", "worker 7 crashed").await;
    assert_eq!(wrong.status, 422);
    let (_, answer) = api.release(&preview).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released);
    assert_eq!(api.try_release(&preview.ticket, &preview.confirm, "again").await.status, 410);

    let entries = entries(&api, "lock=lock%3Ajob").await;
    assert_eq!(
        told(&entries),
        [
            (AuditKind::Refusal, Some("mistyped"), None),
            (AuditKind::Intention, Some("attempted"), None),
            (AuditKind::Completion, Some("released"), None),
            (AuditKind::FollowUp, None, Some("free")),
            (AuditKind::Refusal, Some("used"), None),
        ]
    );
    for entry in &entries {
        assert_eq!(entry.actor.address.as_deref(), Some("127.0.0.1"));
        assert_eq!(entry.ticket, entries[0].ticket);
    }
    let exported = api.get("/api/v1/audit?format=jsonl").await;
    assert!(!exported.body.contains(&scene.holder.token) && !scene.server.said().contains(&scene.holder.token));
    assert_eq!(exported.body, audit(&scene.data, &["export"]).await, "the server and the file say the same");
    let csv = api.get("/api/v1/audit?format=csv").await;
    assert_eq!(csv.body, audit(&scene.data, &["export", "--format", "csv"]).await);
    assert_eq!(csv.body.lines().count(), 6);

    // The log has each of them as a line.
    let said = scene.server.said();
    let lines = said.lines().filter(|line| line.contains(" audit: ")).count();
    assert_eq!(lines, 5, "{said}");
    let metrics = api.get("/metrics").await.body;
    assert!(metrics.contains("lockkeeper_audit_entries_total{kind=\"refusal\"} 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_store_was_asked_it_finds_that_nothing_was_released() {
    let mut scene = Scene::set().await;
    let preview = scene.preview().await;
    scene.proxy.freeze();
    let api = scene.server.api();
    tokio::spawn(async move { api.try_release(&preview.ticket, &preview.confirm, "worker 7 crashed").await });
    let written = async || audit(&scene.data, &["export"]).await;
    until("the intention", written, |entries| entries.contains(r#""kind":"intention""#)).await;
    scene.server.kill().await;
    scene.left_behind().await;
    assert_eq!(
        told(&scene.found_out().await),
        [
            (AuditKind::Intention, Some("attempted"), None),
            (AuditKind::Completion, Some("unknown"), None),
            (AuditKind::FollowUp, None, Some("still_held")),
        ]
    );
    assert!(scene.is_held().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_order_is_on_its_way_it_finds_that_nothing_was_released() {
    let mut scene = Scene::set().await;
    scene.proxy.freeze_at(scene.holder.token.as_bytes(), Caught::OnTheWay);
    scene.begin().await;
    scene.proxy.frozen().await;
    scene.server.kill().await;
    scene.left_behind().await;
    let entries = scene.found_out().await;
    assert_eq!(entries[0].seen.as_deref(), Some("still_held"));
    assert!(entries[1].detail.contains("attempted, outcome unknown"), "{entries:#?}");
    assert!(scene.is_held().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_answer_came_back_it_finds_that_the_lock_is_free() {
    let mut scene = Scene::set().await;
    scene.proxy.freeze_at(scene.holder.token.as_bytes(), Caught::Delivered);
    scene.begin().await;
    scene.proxy.frozen().await;
    until("the lock to be free", async || scene.is_held().await, |held| !held).await;
    scene.server.kill().await;
    let intention = scene.left_behind().await;
    let entries = scene.found_out().await;
    assert_eq!(entries[0].seen.as_deref(), Some("free"), "{entries:#?}");
    assert!(entries.iter().all(|entry| entry.token_sha256 == intention.token_sha256));
    assert_eq!(entries[0].attempt, Some(intention.seq));

    // Known now: another start has nothing to add.
    let known = entries.len();
    scene.server.stop().await;
    scene.server = serve(&scene.proxy, &scene.data).start().await;
    scene.server.ready().await;
    assert_eq!(self::entries(&scene.server.api(), "").await.len(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_answer_came_back_it_finds_who_has_it_now() {
    let mut scene = Scene::set().await;
    scene.proxy.freeze_at(scene.holder.token.as_bytes(), Caught::Delivered);
    scene.begin().await;
    scene.proxy.frozen().await;
    let next = scene.holder.fresh();
    until("the next holder", async || next.take().await, |taken| *taken).await;
    scene.server.kill().await;
    scene.left_behind().await;
    let entries = scene.found_out().await;
    assert_eq!(entries[0].seen.as_deref(), Some("taken"), "{entries:#?}");
    assert!(next.release().await, "the next holder lost its lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_watched_what_came_after_it_looks_again() {
    let mut scene = Scene::set().await;
    scene.begin().await;
    let written = async || audit(&scene.data, &["export"]).await;
    until("the completion", written, |entries| entries.contains(r#""kind":"completion""#)).await;
    scene.server.kill().await;
    assert_eq!(
        told(&scene.found_out().await),
        [
            (AuditKind::Intention, Some("attempted"), None),
            (AuditKind::Completion, Some("released"), None),
            (AuditKind::FollowUp, None, Some("free")),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_came_is_found_out_by_the_same_server() {
    let scene = Scene::set().await;
    scene.proxy.freeze_at(scene.holder.token.as_bytes(), Caught::Delivered);
    let (api, preview) = (scene.server.api(), scene.preview().await);
    let (status, answer) = api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (200, Outcome::Unknown), "{answer:#?}");
    scene.proxy.cut();
    scene.proxy.restore();
    let entries =
        until("the truth", async || entries(&api, "").await, |entries| entries[0].kind == AuditKind::FollowUp).await;
    assert_eq!((entries[0].seen.as_deref(), entries[1].outcome.as_deref()), (Some("free"), Some("unknown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_not_released() {
    let scene = Scene::set().await;
    let (api, preview) = (scene.server.api(), scene.preview().await);
    let file = rusqlite::Connection::open(scene.data.path().join("audit.db")).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, answer) = api.release(&preview).await;
    assert_eq!((status, answer.results[0].outcome), (409, Outcome::Refused), "{answer:#?}");
    assert!(answer.results[0].detail.contains("another program has locked the audit's file"), "{answer:#?}");
    assert!(scene.is_held().await);
    assert!(api.get("/metrics").await.body.contains("lockkeeper_audit_write_failures_total 1"));
    file.execute_batch("ROLLBACK").unwrap();
    let (_, answer) = api.release(&scene.preview().await).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_server_that_may_not_release_are_written_down_as_well() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let api = server.api();
    assert_eq!(api.try_release("x", "y", "because").await.status, 403);
    let entries = entries(&api, "outcome=refused").await;
    assert_eq!(entries.len(), 1);
    assert!(entries[0].detail.contains("switched off"), "{entries:#?}");
}

/// A receiver of the webhook that answers with these statuses, then with 200, and keeps what it got.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    async fn answering(statuses: &[u16]) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut statuses) = (Arc::clone(&got), statuses.iter().copied().collect::<VecDeque<_>>());
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                while let Some(request) = read_request(&mut connection).await {
                    kept.lock().unwrap().push(request);
                    let status = statuses.pop_front().unwrap_or(200);
                    let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n");
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Receiver { port, got }
    }

    fn got(&self) -> Vec<(String, String)> {
        self.got.lock().unwrap().clone()
    }
}

/// Head and body; `None` at the end.
async fn read_request(connection: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().unwrap();
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_every_entry_signed_and_again_until_it_takes_it() {
    let receiver = Receiver::answering(&[503]).await;
    let redis = RedisServer::start().await;
    let secret = TempDir::new().unwrap();
    let file = secret.path().join("secret");
    std::fs::write(&file, "a secret of good length\n").unwrap();
    let config = format!(
        "[audit]\nwebhook = \"http://127.0.0.1:{}/hook\"\nwebhook_secret_file = \"{}\"\n",
        receiver.port,
        file.display()
    );
    let server = Server::serve().config(&config).redis(&redis.url()).start().await;
    let api = server.api();
    for reason in ["one", "two"] {
        assert_eq!(api.try_release("x", "y", reason).await.status, 403);
    }
    let got = until("the entries", async || receiver.got(), |got| got.len() == 3).await;
    assert_eq!(got[0].1, got[1].1, "sent again");
    let known = entries(&api, "").await;
    for ((head, body), entry) in got[1..].iter().zip(known.iter().rev()) {
        assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
        assert_eq!(&serde_json::from_str::<AuditEntry>(body).unwrap(), entry);
        let key = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(b"a secret of good length").unwrap();
        let mac = key.chain_update(body).finalize().into_bytes();
        let signature: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(head.contains(&format!("x-lockkeeper-signature: sha256={signature}")), "{head}");
    }
    until(
        "the count",
        async || api.get("/metrics").await.body,
        |metrics| metrics.contains("lockkeeper_audit_webhook_total{result=\"delivered\"} 2"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_answer_holds_up_nothing_and_one_that_declines_is_counted() {
    // Takes connections into its backlog and never reads from them.
    let deaf = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let config = format!("[audit]\nwebhook = \"http://{}/\"\n", deaf.local_addr().unwrap());
    let redis = RedisServer::start().await;
    let holder = Family::RedisPy.client(&redis.client().await, "job", Some(LEASE));
    assert!(holder.take().await);
    let server = Server::serve().config(&config).redis(&redis.url()).arg("--allow-release").start().await;
    let api = server.api();
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    let (_, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released);

    let receiver = Receiver::answering(&[404]).await;
    let config = format!("[audit]\nwebhook = \"http://127.0.0.1:{}/s3cret\"\n", receiver.port);
    let server = Server::serve().config(&config).redis(&redis.url()).start().await;
    let api = server.api();
    assert_eq!(api.try_release("x", "y", "because").await.status, 403);
    until(
        "the count",
        async || api.get("/metrics").await.body,
        |metrics| metrics.contains("lockkeeper_audit_webhook_total{result=\"undelivered\"} 1"),
    )
    .await;
    until("the line in the log", async || server.said(), |said| said.contains("did not take an entry")).await;
    assert!(!server.said().contains("s3cret"), "{}", server.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_did_not_get_before_the_end_it_gets_after_the_next_start() {
    // Takes connections into its backlog and never reads from them.
    let deaf = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let redis = RedisServer::start().await;
    let data = TempDir::new().unwrap();
    let telling = |port: u16| {
        let config = format!("[audit]\nwebhook = \"http://127.0.0.1:{port}/\"\n");
        Server::serve().config(&config).redis(&redis.url()).arg("--data-dir").arg(data.path().to_str().unwrap())
    };
    let mut server = telling(deaf.local_addr().unwrap().port()).start().await;
    for reason in ["one", "two"] {
        assert_eq!(server.api().try_release("x", "y", reason).await.status, 403);
    }
    let known = entries(&server.api(), "").await;
    server.stop().await;

    let receiver = Receiver::answering(&[]).await;
    let server = telling(receiver.port).start().await;
    let got = until("the entries", async || receiver.got(), |got| got.len() == 2).await;
    let told: Vec<AuditEntry> = got.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(told, known.into_iter().rev().collect::<Vec<_>>(), "the same entries, in their order");
    let file = data.path().join("audit-waiting.json");
    until("nothing to wait", async || file.exists(), |there| !there).await;
    drop(server);
}
