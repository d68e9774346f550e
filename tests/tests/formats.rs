//! Formats that an operator teaches in the configuration: seen with who holds them, released exactly, and refused at the
//! start where a rule cannot be meant.

use fred::clients::Client;
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use lockkeeper_model::{
    Certainty, Holder, Lock, LockState, Mode, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget,
};
use lockkeeper_tests::{Api, RedisServer, Server, store, until};

const FORMATS: &str = r#"
[[format]]
name = "billing-lock"
pattern = "billing:*:lock"
type = "string"
holder = "value.json:owner"
decode = "{host}:{pid}:{_}"
signal = { publish = "unlock:{name}", payload = "free" }

[[format]]
name = "export-slots"
pattern = "export:slots:*"
type = "zset"
holder = "member"
decode = "{host}/{instance}"
lease = "score_ms"
mode = "semaphore"
signal = { lpush = "signal:{key}", value = "1", expire_ms = 60_000 }

[[format]]
name = "crew"
pattern = "crew:?"
type = "hash"
holder = "field"
mode = "shared"

[[format]]
name = "badge"
pattern = "badge:?"
type = "hash"
holder = "field:by"

[[format]]
name = "room"
pattern = "room:?"
type = "set"
holder = "member"
mode = "semaphore"

[[format]]
name = "desk"
pattern = "desk:?"
type = "zset"
holder = "member"
mode = "semaphore"
"#;

struct Scene {
    redis: RedisServer,
    _server: Server,
    api: Api,
    store: Client,
}

impl Scene {
    async fn set() -> Scene {
        let redis = RedisServer::start().await;
        let config = format!("[release]\nenabled = true\n[[source]]\nurl = \"{}\"\n{FORMATS}", redis.url());
        let server = Server::serve().config(&config).start().await;
        server.ready().await;
        let (api, store) = (server.api(), redis.client().await);
        Scene { redis, _server: server, api, store }
    }

    async fn run<T: fred::types::FromValue>(&self, command: &'static str, args: &[&str]) -> T {
        store(&self.store, command, args.iter().copied()).await
    }

    /// A command whose answer does not matter.
    async fn put(&self, command: &'static str, args: &[&str]) {
        let _: fred::types::Value = self.run(command, args).await;
    }

    async fn now_ms(&self) -> i64 {
        let [s, us]: [i64; 2] = self.run::<Vec<i64>>("TIME", &[]).await.try_into().unwrap();
        s * 1_000 + us / 1_000
    }

    async fn held_by(&self, id: &str, tokens: &[&str]) -> Lock {
        let has = |lock: &Lock, token: &&str| lock.holders.iter().any(|h| h.token.as_deref() == Some(token));
        let passes = |lock: &Lock| lock.holders.len() == tokens.len() && tokens.iter().all(|token| has(lock, token));
        self.api.until_lock("the holders", id, passes).await
    }

    async fn preview(&self, lock: &Lock, token: &str) -> PreviewAnswer {
        let holder = holder(lock, token);
        let target = PreviewTarget {
            source: lock.source.clone(),
            id: lock.id.clone(),
            generation: holder.generation.clone(),
            holder: Some(holder.token_b64.clone()),
        };
        let request =
            PreviewRequest { locks: vec![target], action: Default::default(), hold_ms: None, leave_out: false };
        let answer = self.api.post("/api/v1/releases/preview", &request).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        answer.json()
    }

    async fn release(&self, preview: &PreviewAnswer) -> (u16, Outcome) {
        let (status, answer) = self.api.release(preview).await;
        (status, answer.results[0].outcome)
    }
}

fn holder<'a>(lock: &'a Lock, token: &str) -> &'a Holder {
    lock.holders.iter().find(|holder| holder.token.as_deref() == Some(token)).unwrap_or_else(|| panic!("{lock:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taught_json_lock_is_shown_with_its_owner_and_freed_with_its_signal() {
    let scene = Scene::set().await;
    let waiter = scene.redis.client().await;
    let mut heard = waiter.message_rx();
    waiter.subscribe("unlock:invoices").await.unwrap();
    let value = r#"{"owner": "web-1:4711:a", "since": 1}"#;
    scene.put("SET", &["billing:invoices:lock", value, "PX", "60000"]).await;
    let lock = scene.held_by("billing:invoices:lock", &["web-1:4711:a"]).await;
    assert_eq!((lock.dialect.name.as_str(), lock.dialect.certainty), ("billing-lock", Certainty::Configured));
    assert_eq!(
        lock.dialect.because,
        "the rule `billing-lock` of the configuration, for each string under `billing:*:lock`"
    );
    let identity = &holder(&lock, "web-1:4711:a").identity;
    assert_eq!((identity.host.as_deref(), identity.pid), (Some("web-1"), Some(4_711)));
    assert_eq!((lock.state, lock.mode), (LockState::Held, Mode::Exclusive));

    // The same owner in another value is another acquire.
    let preview = scene.preview(&lock, "web-1:4711:a").await;
    let again = r#"{"owner": "web-1:4711:a", "since": 2}"#;
    scene.put("SET", &["billing:invoices:lock", again, "PX", "50000"]).await;
    let (status, outcome) = scene.release(&preview).await;
    assert_eq!(status, 409);
    assert!(matches!(outcome, Outcome::ChangedHands | Outcome::Refused), "{outcome:?}");
    assert_eq!(scene.run::<String>("GET", &["billing:invoices:lock"]).await, again);

    let is_newer = |lock: &Lock| lock.holders.len() == 1 && lock.generation != preview.locks[0].generation;
    let lock = scene.api.until_lock("the second acquire", "billing:invoices:lock", is_newer).await;
    let preview = scene.preview(&lock, "web-1:4711:a").await;
    scene.put("SET", &["billing:invoices:lock", r#"{"owner": "web-2:1:b"}"#, "PX", "50000"]).await;
    assert_eq!(scene.release(&preview).await, (409, Outcome::ChangedHands));

    let lock = scene.held_by("billing:invoices:lock", &["web-2:1:b"]).await;
    let preview = scene.preview(&lock, "web-2:1:b").await;
    assert_eq!(scene.release(&preview).await, (200, Outcome::Released));
    assert_eq!(scene.run::<i64>("EXISTS", &["billing:invoices:lock"]).await, 0);
    let message = heard.recv().await.unwrap();
    assert_eq!((&*message.channel, message.value.as_str().as_deref()), ("unlock:invoices", Some("free")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taught_semaphore_is_freed_holder_by_holder() {
    let scene = Scene::set().await;
    let now = scene.now_ms().await;
    let (early, late) = ((now + 30_000).to_string(), (now + 60_000).to_string());
    let past = (now - 5_000).to_string();
    scene.put("ZADD", &["export:slots:eu", &early, "web-1/a1", &late, "web-2/b2", &past, "web-3/c3"]).await;
    let lock = scene.held_by("export:slots:eu", &["web-1/a1", "web-2/b2"]).await;
    assert_eq!((lock.dialect.name.as_str(), lock.mode), ("export-slots", Mode::Semaphore));
    let identity = &holder(&lock, "web-2/b2").identity;
    assert_eq!((identity.host.as_deref(), identity.instance.as_deref()), (Some("web-2"), Some("b2")));
    let ends = ["web-1/a1", "web-2/b2"].map(|token| holder(&lock, token).lease.expires_at.unwrap());
    assert!((29_900..30_100).contains(&ends[1].since(ends[0])), "{lock:#?}");

    // Its place is another's by now.
    let preview = scene.preview(&lock, "web-1/a1").await;
    scene.put("ZREM", &["export:slots:eu", "web-1/a1"]).await;
    scene.put("ZADD", &["export:slots:eu", &late, "web-4/d4"]).await;
    assert_eq!(scene.release(&preview).await, (409, Outcome::ChangedHands));
    scene.put("ZREM", &["export:slots:eu", "web-4/d4"]).await;
    scene.put("ZADD", &["export:slots:eu", &early, "web-1/a1"]).await;
    let lock = scene.held_by("export:slots:eu", &["web-1/a1", "web-2/b2"]).await;
    let preview = scene.preview(&lock, "web-1/a1").await;
    assert_eq!(scene.release(&preview).await, (200, Outcome::Released));
    let left: Vec<String> = scene.run("ZRANGE", &["export:slots:eu", "0", "-1"]).await;
    assert_eq!(left, ["web-3/c3", "web-2/b2"]);
    assert_eq!(scene.run::<Vec<String>>("LRANGE", &["signal:export:slots:eu", "0", "-1"]).await, ["1"]);
    assert!(scene.run::<i64>("PTTL", &["signal:export:slots:eu"]).await > 0);

    // A signal that cannot be given frees nothing.
    scene.put("SET", &["signal:export:slots:eu", "no list"]).await;
    let lock = scene.held_by("export:slots:eu", &["web-2/b2"]).await;
    let preview = scene.preview(&lock, "web-2/b2").await;
    let (_, outcome) = scene.release(&preview).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(scene.run::<i64>("ZCARD", &["export:slots:eu"]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_compared_where_its_holder_stands() {
    let scene = Scene::set().await;
    // What is there, how it changes under a preview, and what is left after a release.
    for (put, key, token, change, left) in [
        (
            &["HSET", "crew:1", "a", "2", "b", "1"][..],
            "crew:1",
            "a",
            &["HSET", "crew:1", "a", "3"][..],
            &["b", "1"][..],
        ),
        (
            &["HSET", "badge:1", "by", "a:1", "at", "7"],
            "badge:1",
            "a:1",
            &["HSET", "badge:1", "by", "b:2"],
            &["at", "7"],
        ),
        (&["SADD", "room:1", "a", "b"], "room:1", "a", &["SREM", "room:1", "a"], &["b"]),
        (&["ZADD", "desk:1", "1.5", "a", "2", "b"], "desk:1", "a", &["ZADD", "desk:1", "3", "a"], &["b"]),
    ] {
        let command = |words: &[&'static str]| (words[0], words[1..].to_vec());
        let (name, args) = command(put);
        scene.put(name, &args).await;
        let is_held = |lock: &Lock| lock.holders.iter().any(|holder| holder.token.as_deref() == Some(token));
        let lock = scene.api.until_lock("the holder", key, is_held).await;
        let preview = scene.preview(&lock, token).await;
        let (name, args) = command(change);
        scene.put(name, &args).await;
        assert_eq!(scene.release(&preview).await.0, 409, "{key}");

        scene.put("DEL", &[key]).await;
        until("it to be gone", async || scene.api.lock(key).await, Option::is_none).await;
        let (name, args) = command(put);
        scene.put(name, &args).await;
        let lock = scene.api.until_lock("the holder again", key, is_held).await;
        let preview = scene.preview(&lock, token).await;
        assert_eq!(scene.release(&preview).await, (200, Outcome::Released), "{key}");
        let read = match put[0] {
            "HSET" => scene.run::<Vec<String>>("HGETALL", &[key]).await,
            "SADD" => scene.run("SMEMBERS", &[key]).await,
            _ => scene.run("ZRANGE", &[key, "0", "-1"]).await,
        };
        assert_eq!(read, left, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_its_rule_is_shown_and_not_freed() {
    let scene = Scene::set().await;
    scene.put("SET", &["billing:odd:lock", "web-1:4711:a", "PX", "60000"]).await;
    let lock = scene.api.until_lock("the odd one", "billing:odd:lock", |_| true).await;
    assert_eq!((lock.dialect.name.as_str(), lock.dialect.certainty), ("billing-lock", Certainty::Ambiguous));
    assert_eq!((lock.state, lock.holders.len()), (LockState::UnknownHolder, 0));
    let refused = scene.api.try_preview(&[&lock]).await;
    assert_ne!(refused.status, 200, "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_rule_is_refused_at_the_start() {
    let config = "[[format]]\nname = \"billing-lock\"\npattern = \"billing:*\"\ntype = \"set\"\nholder = \"value\"\n";
    let output = Server::serve().config(config).run().await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("lockkeeper.toml:5:10: `format.holder` is `value`, expected `member` in a set"), "{said}");
}
