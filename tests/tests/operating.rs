//! Running the server: another configuration without a restart, one request followed through log and traces, and an end
//! that nobody can hold up.

use std::time::Duration;

use lockkeeper_model::{Outcome, TransitionKind};
use lockkeeper_tests::{Api, DEADLINE, Family, RedisServer, Server, Viewer, lockkeeper, store, until};
use reqwest::Method;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LEASE: Duration = Duration::from_secs(120);

async fn names(api: &Api) -> Vec<String> {
    let mut names: Vec<String> = api.locks("").await.locks.into_iter().map(|lock| lock.id.to_string()).collect();
    names.sort();
    names
}

async fn until_names(api: &Api, wanted: &[&str]) {
    until(&format!("the locks {wanted:?}"), async || names(api).await, |names| names == wanted).await;
}

async fn until_metric(api: &Api, line: &str) {
    let is_there = |metrics: &String| metrics.lines().any(|known| known == line);
    until(line, async || api.get("/metrics").await.body, is_there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_and_formats_are_followed_and_what_they_do_not_touch_keeps_its_story() {
    let redis = RedisServer::start().await;
    let config = |patterns: &str, rest: &str| {
        format!("[[source]]\nname = \"store\"\nurl = \"{}\"\npatterns = {patterns}\n{rest}", redis.url())
    };
    let server = Server::serve().config(&config("[\"lock:*\"]", "")).start().await;
    server.ready().await;
    let (api, client) = (server.api(), redis.client().await);
    let lock = Family::RedisPy.client(&client, "a", Some(LEASE));
    assert!(lock.take().await);
    let _: String = store(&client, "SET", ["mutex:b", "somebody"]).await;
    let before = api.until_lock("lock:a", "lock:a", |_| true).await;
    assert_eq!(names(&api).await, ["lock:a"]);

    server.reconfigure(&config("[\"lock:*\", \"mutex:*\"]", "")).await;
    until_names(&api, &["lock:a", "mutex:b"]).await;
    let after = api.until_lock("lock:a", "lock:a", |_| true).await;
    assert_eq!(after.held_since, before.held_since, "nothing about it was decided otherwise");

    // A rule that reads another token out of the same bytes hands nothing over.
    let _: String = store(&client, "SET", ["mutex:b", "{\"by\": \"somebody\"}"]).await;
    let format = "[[format]]\nname = \"ours\"\npattern = \"mutex:*\"\ntype = \"string\"\nholder = \"value.json:by\"\n";
    server.reconfigure(&config("[\"lock:*\", \"mutex:*\"]", format)).await;
    let taught = api.until_lock("the format", "mutex:b", |lock| lock.dialect.name == "ours").await;
    assert_eq!(taught.holders[0].token.as_deref(), Some("somebody"));
    let told = api.events("mutex:b").await;
    assert!(told.iter().filter(|event| event.transition == TransitionKind::HandedOver).count() <= 1, "{told:#?}");

    server.reconfigure(&config("[\"lock:*\"]", format)).await;
    until_names(&api, &["lock:a"]).await;
    let told = api.events("mutex:b").await;
    assert!(told.iter().all(|event| event.transition != TransitionKind::Released), "it is there: {told:#?}");
    let last = told.iter().find(|event| event.transition != TransitionKind::Gap).unwrap();
    assert_eq!(
        (last.transition, last.cause.as_deref()),
        (TransitionKind::Lost, Some("no_longer_watched")),
        "{told:#?}"
    );
    let stats: serde_json::Value = api.get("/api/v1/stats?lock=mutex:b").await.json();
    assert_eq!(stats["stats"]["lost"], 0, "nobody knows that it ended: {stats}");
    assert!(lock.release().await);
    until_names(&api, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_named() {
    let redis = RedisServer::start().await;
    let good = format!("[[source]]\nname = \"store\"\nurl = \"{}\"\npatterns = [\"lock:*\"]\n", redis.url());
    let server = Server::serve().config(&good).start().await;
    server.ready().await;
    let api = server.api();
    until_metric(&api, "lockkeeper_config_last_reload_successful 1").await;

    server.reconfigure(&format!("{good}pattern = [\"*\"]\n")).await;
    until_metric(&api, "lockkeeper_config_last_reload_successful 0").await;
    let ready: serde_json::Value = api.get("/readyz").await.json();
    let why = ready["configuration"].as_str().unwrap();
    assert!(why.contains("lockkeeper.toml:5:1: `source.pattern` is not a key here"), "{why}");
    assert_eq!((ready["ready"].as_bool(), api.source().await.patterns), (Some(true), vec!["lock:*".to_owned()]));
    assert!(server.said().contains("lockkeeper.toml:5:1"), "it is in the log");

    server
        .reconfigure(&format!("data_dir = \"/tmp\"\n{good}[[source]]\nname = \"two\"\nurl = \"redis://127.0.0.1:1\"\n"))
        .await;
    until_metric(&api, "lockkeeper_config_last_reload_successful 1").await;
    let said = server.said();
    assert!(said.contains("`data_dir` changed in the configuration, which counts after a restart"), "{said}");
    assert!(said.contains("the source `two`, which is new, changed in the configuration"), "{said}");
    assert_eq!(api.source().await.name, "store");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_followed_by_whoever_is_in_and_their_streams_end() {
    let redis = RedisServer::start().await;
    let dir = TempDir::new().unwrap();
    let tokens = dir.path().join("tokens.toml").to_str().unwrap().to_owned();
    let config = |rights: &str| {
        format!(
            "[[source]]\nname = \"store\"\nurl = \"{}\"\n[access]\ntokens_file = \"{tokens}\"\n\
             [[role]]\nname = \"watch\"\nrights = [{rights}]\n[[role]]\nname = \"look\"\nrights = [\"admin\"]\n",
            redis.url()
        )
    };
    let new = ["token", "new", "--name", "watcher", "--role", "watch", "--right", "view", "--right", "release"];
    let output = lockkeeper(&[&new[..], &["--file", &tokens]].concat(), "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let token = said.split_whitespace().find(|word| word.starts_with("lkt_")).unwrap().to_owned();
    let server = Server::serve().config(&config("\"view\"")).arg("--allow-release").start().await;
    server.ready().await;
    let api = server.api().bearing(&token);
    let mut viewer = Viewer::connect_with(&server, "authorization", leak(format!("Bearer {token}"))).await;
    viewer.frame().await;
    let mut events = api.request(Method::GET, "/api/v1/events").send().await.unwrap();
    let rights = async || api.get("/api/v1/session").await.json::<serde_json::Value>()["rights"].clone();
    assert_eq!(rights().await, serde_json::json!(["view"]));

    server.reconfigure(&config("\"view\", \"release\"")).await;
    assert_eq!(viewer.close_code().await, Some(1012));
    while events.chunk().await.unwrap().is_some() {}
    assert_eq!(rights().await, serde_json::json!(["view", "release"]));

    let mut viewer = Viewer::connect_with(&server, "authorization", leak(format!("Bearer {token}"))).await;
    viewer.frame().await;
    server.reconfigure(&config("\"admin\"")).await;
    assert_eq!(viewer.close_code().await, Some(1012));
    assert_eq!(api.get("/api/v1/locks").await.status, 403);
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_followed_from_the_click_to_the_script() {
    let (redis, mut collector) = (RedisServer::start().await, Collector::start().await);
    let config = format!("[[source]]\nurl = \"{}\"\n[telemetry]\notlp = \"{}\"\n", redis.url(), collector.url);
    let mut server = Server::serve().config(&config).arg("--allow-release").start().await;
    server.ready().await;
    let lock = Family::RedisPy.client(&redis.client().await, "a", Some(LEASE));
    assert!(lock.take().await);
    let lock = server.api().until_lock("the lock", "lock:a", |_| true).await;

    let api = server.api().with("x-request-id", "click-4711");
    let preview = api.preview(&lock).await;
    let (_, answer) = api.release(&preview).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released);
    let said = server.said();
    for what in ["the store was asked to free it: released", "audit.kind=\"intention\"", "audit.kind=\"completion\""] {
        let line = said.lines().find(|line| plain(line).contains(what)).unwrap_or_else(|| panic!("{what} in {said}"));
        assert!(plain(line).contains("request.id=\"click-4711\""), "{line}");
    }

    let chosen = api.request(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(chosen.headers()["x-request-id"], "click-4711");
    let hostile = server.api().with("x-request-id", "a b").request(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(hostile.headers()["x-request-id"].len(), 36, "one of ours");

    assert!(server.stop().await.success());
    let mut sent = Vec::new();
    while !has(&sent, b"click-4711") || !has(&sent, b"attempt") {
        sent.extend(collector.request().await);
    }
    assert!(has(&sent, b"lockkeeper") && has(&sent, b"/api/v1/releases"));
}

/// A log line without what colours it.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Takes traces as OpenTelemetry's collector does.
struct Collector {
    url: String,
    requests: mpsc::Receiver<Vec<u8>>,
}

impl Collector {
    async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tx, requests) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Collector::serve(stream, tx.clone()));
            }
        });
        Collector { url, requests }
    }

    async fn serve(mut stream: TcpStream, told: mpsc::Sender<Vec<u8>>) {
        let (mut read, mut chunk) = (Vec::new(), [0; 4_096]);
        loop {
            let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
                match stream.read(&mut chunk).await {
                    Ok(n) if n > 0 => read.extend_from_slice(&chunk[..n]),
                    _ => return,
                }
                continue;
            };
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            assert!(head.starts_with("post /v1/traces ") && head.contains("application/x-protobuf"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let whole = end + 4 + length.trim().parse::<usize>().unwrap();
            while read.len() < whole {
                let n = stream.read(&mut chunk).await.unwrap();
                read.extend_from_slice(&chunk[..n]);
            }
            told.send(read[end + 4..whole].to_vec()).await.unwrap();
            read.drain(..whole);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    }

    async fn request(&mut self) -> Vec<u8> {
        timeout(DEADLINE, self.requests.recv()).await.unwrap().unwrap()
    }
}

/// Locks that fill a window.
const MANY: usize = 1_000;

/// Windows that together are more than what sockets hold back.
const WINDOWS: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_does_not_read_holds_up_the_end() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let long = "x".repeat(200);
    for n in 0..MANY {
        let _: String = store(&client, "SET", [format!("lock:{n}:{long}"), format!("{n}{long}")]).await;
    }
    let mut server = Server::serve().redis(&redis.url()).arg("--pattern").arg("lock:*").start().await;
    server.ready().await;
    let mut reader = Viewer::connect(&server).await;
    reader.frame().await;

    // As little as can be waits on this side.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stuck = socket.connect(server.address().parse().unwrap()).await.unwrap();
    let upgrade = format!(
        "GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address()
    );
    stuck.write_all(upgrade.as_bytes()).await.unwrap();
    for ask in 0..WINDOWS {
        let text = format!(r#"{{"kind":"ask","ask":{ask},"question":{{}},"offset":0,"limit":{MANY}}}"#);
        stuck.write_all(&frame(&text)).await.unwrap();
    }
    // One that follows events and does not read them either.
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let follow = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    silent.write_all(follow.as_bytes()).await.unwrap();
    until_metric(&server.api(), "lockkeeper_viewers{kind=\"stream\"} 2").await;
    until_metric(&server.api(), "lockkeeper_viewers{kind=\"events\"} 1").await;

    let closed = tokio::spawn(async move { reader.close_code().await });
    assert!(server.stop().await.success());
    assert_eq!(closed.await.unwrap(), Some(1001), "whoever reads is told");
    drop((stuck, silent));
}

/// A text as a WebSocket client sends it (RFC 6455, 5.2), masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}
