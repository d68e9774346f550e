//! Keys and values that nobody promised to keep tidy.

use std::time::Duration;

use lockkeeper_model::{LockId, SourceState};
use lockkeeper_tests::{Browser, Family, RedisServer, Server, store, until};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(60);

/// A token as redis-py writes it.
const TOKEN: &str = "5e0d7c3ef2d411ef8a7f0242ac120002";

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_may_be_a_key_and_come_back_unharmed() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let keys: [&[u8]; 7] = [
        b"lock:\xff\xfe\x00\x01",
        b"lock:<img src=x onerror=alert(1)>",
        b"lock:\x1b[31mred\x07\r\n",
        "lock:\u{202e}gnirts".as_bytes(),
        b"lock:a/b?c=d&e#f%20g",
        b"lock:{tag}:..:../../etc",
        b"b64:lock",
    ];
    for (n, key) in keys.into_iter().enumerate() {
        // One token in several keys would be one lock.
        let token = format!("{n}{}", &TOKEN[1..]);
        let _: String = store(&client, "SET", [key, token.as_bytes(), b"PX", b"60000"]).await;
    }
    // A token of any bytes, too.
    let _: String = store(&client, "SET", [b"lock:raw".as_slice(), &[0, 159, 146, 150], b"PX", b"60000"]).await;
    let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("*").start().await;
    server.ready().await;
    let api = server.api();
    for key in keys {
        let lock = api.lock(key).await.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(key)));
        assert_eq!(lock.id, LockId::of_key(key));
        assert_eq!(lock.id.key().unwrap(), key);
    }
    let raw = api.lock("lock:raw").await.unwrap();
    assert_eq!((raw.holders[0].token.as_deref(), raw.holders[0].token_b64.as_str()), (None, "AJ+Slg=="));
    assert_eq!(api.locks("").await.total, keys.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_key_can_be_released_like_any_other() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let server = Server::releasing(&redis).await;
    let key: &[u8] = b"lock:\xff<b>\x07";
    let _: String = store(&client, "SET", [key, TOKEN.as_bytes(), b"PX", b"60000"]).await;
    let api = server.api();
    let lock = api.until_lock("the lock", key, |_| true).await;
    let preview = api.preview(&lock).await;
    assert!(!preview.confirm.is_empty() && preview.confirm.chars().all(|c| !c.is_control()), "{preview:#?}");
    assert_eq!(api.release(&preview).await.0, 200);
    assert!(api.lock(key).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_reaches_no_log_line_raw() {
    const FORGED: &str = "\r\n2026-01-01T00:00:00Z  INFO audit: forged";
    const COLOURED: &str = "\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J";
    for format in ["text", "json"] {
        let redis = RedisServer::start().await;
        let client = redis.client().await;
        let key = format!("lock:{COLOURED}{FORGED}");
        let token = format!("{COLOURED}{FORGED}");
        let _: String = store(&client, "SET", [&*key, &*token, "PX", "60000"]).await;
        let _: String = store(&client, "CLIENT", ["SETNAME", "reporter"]).await;
        let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("lock:*").arg("--allow-release");
        let server = server.arg("--log-format").arg(format).env("LOCKKEEPER_LOG", "debug,fred=off").start().await;
        server.ready().await;
        let api = server.api();
        let lock = api.until_lock("the lock", &key, |_| true).await;
        let preview = api.preview(&lock).await;
        let reason = format!("stuck {COLOURED}{FORGED}");
        // With such a reason or without: what was asked is written down.
        api.try_release(&preview.ticket, "not this", &reason).await;
        api.try_release(&preview.ticket, &preview.confirm, &reason).await;
        api.try_release(&preview.ticket, &preview.confirm, "a plain reason").await;
        api.post("/api/v1/session", &json!({ "name": token, "password": reason })).await;
        api.get(&format!("/api/v1/locks?q={}", "%1b%5b31m%0d%0aforged")).await;
        let said = until(
            "the audit in the log",
            async || server.said(),
            |said| said.contains("lock:") && said.contains("a plain reason"),
        )
        .await;
        // In JSON the controls beyond ASCII are characters of a text, which whatever reads JSON shows as it shows text.
        let raw = |c: char| c.is_control() && c != '\n' && (format == "text" || c.is_ascii());
        assert_eq!(said.chars().find(|c| raw(*c)), None, "{said:?}");
        let forged = said.lines().find(|line| line.starts_with("2026-01-01T00:00:00Z"));
        assert_eq!(forged, None, "a line of its own was written from outside");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_tokens_and_reasons_are_text_in_the_browser() {
    /// Takes a page over wherever it is made into more than text.
    const MARKUP: &str =
        "<img src=x onerror=\"document.title='broken into'\"><script>document.title='broken into'</script>";
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let _: String = store(&client, "CLIENT", ["SETNAME", "<b/onclick=alert(1)>"]).await;
    let key = format!("lock:{MARKUP}");
    for (key, token) in [(&*key, MARKUP), ("lock:second", "'\"><svg/onload=document.title='broken into'>")] {
        let _: String = store(&client, "SET", [key, token, "PX", "300000"]).await;
    }
    // Whoever the proxy names: a name of theirs may be any text that can be shown.
    let config = format!(
        "[[source]]\nurl = \"{}\"\npatterns = [\"lock:*\"]\n\
         [[role]]\nname = \"all\"\ngroups = [\"all\"]\nrights = [\"view\", \"release\"]\n\
         [access.proxy]\nheader = \"X-Forwarded-User\"\ngroups_header = \"X-Forwarded-Groups\"\npeers = [\"127.0.0.0/8\"]\n",
        redis.url()
    );
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    let api = server.api().with_all(&[("x-forwarded-user", MARKUP), ("x-forwarded-groups", "all")]);
    let lock = api.until_lock("the lock", &key, |_| true).await;
    let preview = api.preview(&lock).await;
    let answer = api.try_release(&preview.ticket, &preview.confirm, &format!("stuck {MARKUP}")).await;
    assert_eq!(answer.status, 200, "{answer:#?}");

    let browser = Browser::start().await;
    let headers = json!({ "X-Forwarded-User": MARKUP, "X-Forwarded-Groups": "all" });
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setExtraHTTPHeaders", json!({ "headers": headers })).await;
    for (path, wanted) in [("audit", "stuck <img src=x"), ("", "Known as <img src=x")] {
        browser.open(&format!("{}{path}", server.url())).await;
        browser.until_text(wanted).await;
        assert_eq!(
            browser.run("return document.images.length + document.querySelectorAll('svg[onload]').length").await,
            0
        );
        assert!(!browser.client.title().await.unwrap().contains("broken into"), "/{path}");
    }
    browser.click("link", "second").await;
    let drawer = browser.until_text("<svg/onload").await;
    assert!(drawer.contains("second"), "{drawer}");
    assert_eq!(browser.run("return document.querySelectorAll('svg[onload]').length").await, 0);
    assert!(!browser.client.title().await.unwrap().contains("broken into"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_lock_is_left_alone_and_named() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let _: i64 = store(&client, "RPUSH", ["lock:list", "a"]).await;
    let _: i64 = store(&client, "SADD", ["lock:set", "a"]).await;
    let _: i64 = store(&client, "ZADD", ["lock:zset", "1", "a"]).await;
    let _: String = store(&client, "XADD", ["lock:stream", "*", "a", "b"]).await;
    let _: i64 = store(&client, "HSET", ["lock:hash", "a", "b"]).await;
    let _: i64 = store(&client, "RPUSH", ["lock-signal:real", "1"]).await;
    // Far more than any lock, and still not a lot for the test.
    let big = "x".repeat(20 * 1024 * 1024);
    let _: String = store(&client, "SET", ["lock:big", &big]).await;
    let fields = (0..50_000).flat_map(|n| [format!("field-{n}"), "1".to_owned()]);
    let _: i64 = store(&client, "HSET", std::iter::once("lock:wide".to_owned()).chain(fields)).await;
    assert!(Family::RedisPy.client(&client, "real", Some(LEASE)).take().await);

    let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("lock*").start().await;
    server.ready().await;
    let source = server.api().until_live().await;
    let named: Vec<_> = source.not_locks.sample.iter().map(|(id, _)| id.as_str()).collect();
    for key in ["lock:list", "lock:set", "lock:zset", "lock:stream", "lock:hash", "lock:wide"] {
        assert!(named.contains(&key), "{key} in {:#?}", source.not_locks);
    }
    let listed: Vec<_> = server.api().locks("sort=name").await.locks.into_iter().map(|lock| lock.id).collect();
    assert!(listed.iter().any(|id| id.as_str() == "lock:real"), "{listed:?}");
    assert!(listed.iter().all(|id| ["lock:real", "lock:big"].contains(&id.as_str())), "{listed:?}");

    // The store was not made to send what nobody wants: its answers to the dashboard stay small.
    let stats: String = store(&client, "INFO", ["stats"]).await;
    let sent: u64 =
        stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap().trim().parse().unwrap();
    assert!(sent < 1024 * 1024, "{sent} bytes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_become_a_lock_and_stop_being_one() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let server = Server::serve().redis(&redis.url()).arg("--pattern").arg("lock:*").start().await;
    server.ready().await;
    let api = server.api();
    let _: i64 = store(&client, "RPUSH", ["lock:odd", "a"]).await;
    until("the list to be named", async || api.source().await.not_locks.count, |count| *count >= 1).await;
    let _: i64 = store(&client, "DEL", ["lock:odd"]).await;
    let _: String = store(&client, "SET", ["lock:odd", TOKEN, "PX", "60000"]).await;
    api.until_lock("the lock", "lock:odd", |_| true).await;
    let _: i64 = store(&client, "DEL", ["lock:odd"]).await;
    let _: i64 = store(&client, "SADD", ["lock:odd", "a"]).await;
    until("the lock to be gone", async || api.lock("lock:odd").await, Option::is_none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_taken_away_is_flagged() {
    let redis = RedisServer::start().await;
    let client = redis.client().await;
    let server = Server::watching(&redis).await;
    let api = server.api();
    assert!(Family::RedisPy.client(&client, "persisted", Some(LEASE)).take().await);
    api.until_lock("the lock", "lock:persisted", |lock| lock.flags.is_empty()).await;
    let _: i64 = store(&client, "PERSIST", ["lock:persisted"]).await;
    let lock = api.until_lock("the flag", "lock:persisted", |lock| !lock.flags.is_empty()).await;
    assert!(lock.flags.iter().any(|flag| flag.word() == "expiry-lost"), "{lock:#?}");
    assert_eq!(server.api().source().await.state, SourceState::Live);
}
