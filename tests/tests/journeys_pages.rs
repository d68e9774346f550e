//! The other pages of the console, in a real browser: each found by its name, and each says what the store has.

use std::time::Duration;

use lockkeeper_client::report::{Identity, Kind, Report};
use lockkeeper_model::{Lock, Standing};
use lockkeeper_tests::{Browser, Family, Masters, RedisServer, Server, store, until, until_some};
use serde_json::{Value, json};

const LEASE: Duration = Duration::from_secs(300);

/// A server with a link to another tool and a folder for what people write.
async fn with_links(redis: &RedisServer) -> Server {
    let config = format!(
        "[[source]]\nname = \"orders\"\nurl = \"{}\"\nreports = \"reports\"\n\n[[link]]\nname = \"logs\"\n\
         template = \"https://logs.example.org/?lock={{lock}}&source={{source}}\"\n\n[[link]]\nname = \"shell\"\n\
         template = \"https://shell.example.org/{{host}}\"\n",
        redis.url()
    );
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    server.ready().await;
    server
}

/// Says in the store's stream of reports that somebody waits for a lock.
async fn say_waiting(redis: &RedisServer, key: &str, attempt: &str, pid: u32) {
    let identity = Identity { host: Some("web-1".to_owned()), pid: Some(pid), ..Identity::default() };
    let report = Report {
        kind: Kind::Waiting,
        lock: key.into(),
        token: None,
        attempt: attempt.to_owned(),
        waited_ms: Some(1_000),
        identity,
    };
    let mut arguments: Vec<Vec<u8>> = vec!["reports".into(), b"*".to_vec()];
    for (field, value) in report.fields().unwrap() {
        arguments.extend([field.as_bytes().to_vec(), value]);
    }
    let client = redis.client().await;
    let _: String = store(&client, "XADD", arguments.iter().map(Vec::as_slice)).await;
}

async fn href(browser: &Browser, name: &str) -> String {
    let link = browser.by_role("link", name).await;
    link.attr("href").await.unwrap().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_a_page_of_its_own_with_links_and_notes() {
    let redis = RedisServer::start().await;
    let server = with_links(&redis).await;
    let held = Family::RedisPy.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(held.take().await);
    server.api().until_lock("the lock", &held.key, |_| true).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;

    // From the drawer to the page, and the page says the same.
    browser.click("link", "stock:4711").await;
    browser.click("link", "open as a page").await;
    browser.by_role("heading", "stock:4711").await;
    let page = browser.until_text("Why this dialect").await;
    for words in [held.token.as_str(), "Lease", "Waiters", "As stored: string", "base64", "Timeline", "Notes"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert_eq!(
        href(&browser, "logs").await,
        "https://logs.example.org/?lock=lock%3Astock%3A4711&source=orders",
        "what stands in braces is encoded"
    );
    assert!(browser.try_by_role("link", "shell").await.is_none(), "the token names no host");

    // A renewal is drawn as it comes.
    browser.until_text("not renewed since this page was opened").await;
    assert!(held.renew().await);
    browser.until_text("renewed once since").await;

    // A note is about who holds it now, and afterwards about an earlier hold.
    browser.by_role("textbox", "A note about who holds it now").await.send_keys("asked the team").await.unwrap();
    browser.click("button", "Write").await;
    browser.until_text("Written down.").await;
    browser.until_text("about who holds it now").await;
    assert!(held.release().await);
    let next = held.fresh();
    assert!(next.take().await);
    browser.until_text("about an earlier hold").await;

    // The address brings the same page back, without the way there.
    let address = browser.run("return location.href").await;
    browser.open(address.as_str().unwrap()).await;
    browser.until_text(&next.token).await;
    // At its end the page has nothing under its footer, and that moves while its parts come.
    until_some("the link at the end", async || {
        browser.run("document.querySelector('main').scrollTo(0, 100000)").await;
        browser.try_by_role("link", "Who released it from here").await?.click().await.ok()
    })
    .await;
    browser.until_text("noted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_changed_while_somebody_wrote_is_not_written_on() {
    let redis = RedisServer::start().await;
    let server = with_links(&redis).await;
    let held = Family::RedisPy.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(held.take().await);
    server.api().until_lock("the lock", &held.key, |_| true).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}lock?lock=orders/lock:stock:4711", server.url())).await;
    browser.by_role("textbox", "A note about who holds it now").await.send_keys("it hangs").await.unwrap();
    // While nobody has it, what was typed stays.
    assert!(held.release().await);
    browser.until_text("Not held now.").await;
    let next = held.fresh();
    assert!(next.take().await);
    browser.until_text(&next.token).await;
    browser.click("button", "Write").await;
    browser.until_text("changed hands since you looked at it").await;
    browser.until_text("Nobody wrote anything about this lock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_is_told_as_a_tree_and_by_the_minute() {
    let redis = RedisServer::start().await;
    let server = with_links(&redis).await;
    let held = Family::RedisPy.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(held.take().await);
    server.api().until_lock("the lock", &held.key, |_| true).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}contention", server.url())).await;
    browser.until_text("Nobody is known to wait for a lock.").await;
    say_waiting(&redis, &held.key, "attempt-a", 7).await;
    say_waiting(&redis, &held.key, "attempt-b", 8).await;
    let waiting = |lock: &Lock| lock.waiters.count == Some(2);
    server.api().until_lock("two who wait", &held.key, waiting).await;
    browser.until_text("keeps 2 waiting").await;
    let page = browser.until_text("Together").await;
    for words in
        ["holds stock:4711, for which 2 wait", "web-1, pid 7 waits for it", "reported", "Time lost in the last"]
    {
        assert!(page.contains(words), "{words} in {page}");
    }
    // As it was written down: the page was not open all the time.
    let written = async || {
        // Who asks for this has what was waited up to now written down.
        assert_eq!(server.api().get("/api/v1/stats").await.status, 200);
        server.api().get("/api/v1/waited").await.json::<Value>()
    };
    let waited = |told: &Value| told["locks"][0]["waited_ms"].as_u64().is_some_and(|ms| ms >= 2_000);
    until("what was waited to be written down", written, waited).await;
    say_waiting(&redis, &held.key, "attempt-a", 7).await;
    browser.open(&format!("{}contention", server.url())).await;
    let page = browser.until_text("of 1 m 00 s that").await;
    assert!(page.contains("When was waited for what") && page.contains("Until now"), "{page}");
    browser.by_role("combobox", "How much time is shown").await.select_by_value("1d").await.unwrap();
    browser.until_text("of 24 m 00 s that").await;
    assert_eq!(browser.run("return location.search").await, "?span=1d");
    say_waiting(&redis, &held.key, "attempt-a", 7).await;
    browser.click("link", "holds stock:4711").await;
    browser.by_role("heading", "stock:4711").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_is_looked_at_with_all_that_it_has_and_what_would_go_free() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let client = redis.client().await;
    let first = Family::Redisson.client(&client, "stock:1", Some(LEASE));
    assert!(first.take().await);
    // The same instance and thread has another.
    let _: i64 = store(&client, "HSET", ["stock:2", first.token.as_str(), "1"]).await;
    server.api().until_lock("the second", "stock:2", |lock| !lock.holders.is_empty()).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}holders", server.url())).await;
    browser.until_text("its tokens name one client and thread").await;
    browser.click("link", "thread").await;
    let page = browser.until_text("would never go free by themselves").await;
    for words in ["All holders", "stock:1", "stock:2", "free at ", "never by itself: no expiry"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    browser.click("link", "stock:2").await;
    browser.until_text("Why this dialect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_says_which_locks_nobody_owns_and_what_is_left_of_them() {
    let masters = Masters::start().await;
    let holder = masters.holder("half");
    masters.take(&holder, 0..2).await;
    masters.until_votes(&holder.key, Standing::Nobody, 2).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}sources", masters.server.url())).await;
    browser.until_text("Without a quorum").await;
    let page = browser.until_text("2 of 5, 3 needed").await;
    for words in ["nobody owns it", "half", "Bytes", "a second sent", &masters.address(0)] {
        assert!(page.contains(words), "{words} in {page}");
    }
    browser.click("link", "half").await;
    browser.by_role("table", "What each master has of this lock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_who_one_is_and_how_the_server_is_set_up() {
    let redis = RedisServer::start().await;
    let server = with_links(&redis).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.click("link", "Settings").await;
    browser.by_role("heading", "Settings").await;
    let page = browser.until_text("Listens on").await;
    for words in
        ["nobody is asked: only this machine is served", "release", "https://logs.example.org/", "up to 100 locks"]
    {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(browser.try_by_role("button", "Sign out everywhere").await.is_none(), "nobody is signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_no_page_is_wider_than_the_screen() {
    let redis = RedisServer::start().await;
    let server = with_links(&redis).await;
    let long = format!("stock:{}", "x".repeat(180));
    let held = Family::Redisson.client(&redis.client().await, &long, Some(LEASE));
    assert!(held.take().await);
    server.api().until_lock("the lock", &held.key, |_| true).await;
    say_waiting(&redis, &held.key, "attempt-a", 7).await;
    server.api().until_lock("one who waits", &held.key, |lock| lock.waiters.count == Some(1)).await;
    let browser = Browser::start().await;
    let phone = json!({ "width": 375, "height": 812, "deviceScaleFactor": 2, "mobile": true });
    browser.cdp("Emulation.setDeviceMetricsOverride", phone).await;
    for (path, words) in [
        (format!("lock?lock=orders/{}", held.key), "Why this dialect"),
        ("contention".to_owned(), "waits for it"),
        ("holders".to_owned(), "Longest held"),
        ("sources".to_owned(), "Bytes"),
        ("settings".to_owned(), "Listens on"),
    ] {
        // Whoever waits says so again and again.
        say_waiting(&redis, &held.key, "attempt-a", 7).await;
        browser.open(&format!("{}{path}", server.url())).await;
        browser.until_text(words).await;
        let over = browser
            .run("const page = document.querySelector('main'); return page.scrollWidth - page.clientWidth")
            .await;
        assert_eq!(over, 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_version_asks_for_a_reload() {
    let redis = RedisServer::start().await;
    let server = with_links(&redis).await;
    let browser = Browser::start().await;
    // From the second connection on the server says that it is another version, as after an update.
    let script = "const Real = WebSocket; \
                  window.WebSocket = class extends Real { \
                    constructor(...all) { super(...all); (window.sockets ??= []).push(this); this.at = sockets.length; } \
                    set onmessage(hear) { super.onmessage = hear && (event => hear(this.at < 2 ? event : \
                      new MessageEvent('message', { data: event.data.replace(/\"version\":\"[^\"]+\"/, '\"version\":\"99.9.9\"') }))); } \
                  };";
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    browser.open(&format!("{}settings", server.url())).await;
    browser.until_text("Listens on").await;
    assert!(!browser.text().await.contains("The server was updated"));
    browser.run("sockets[0].close()").await;
    browser.until_text("The server was updated to version 99.9.9; this page is of the one before.").await;
    browser.click("button", "Reload to update").await;
    browser.until_no_text("The server was updated").await;
}
