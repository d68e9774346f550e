//! What the engineer at 3 a.m. does, in a real browser, found by what can be read and by roles.

use std::time::Duration;

use fantoccini::key::Key;
use fred::interfaces::ClientInterface as _;
use lockkeeper_model::{Lock, SourceState};
use lockkeeper_tests::{Browser, Family, LockClient, RedisServer, Server, store, until};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(300);

/// Takes a lock and waits until the server has seen it.
async fn hold(server: &Server, redis: &RedisServer, family: Family, name: &str, lease: Option<Duration>) -> LockClient {
    let holder = family.client(&redis.client().await, name, lease);
    assert!(holder.take().await);
    server.api().until_lock("the lock", &holder.key, |_| true).await;
    holder
}

/// What the column of this heading says in the row of this lock.
async fn cell(browser: &Browser, name: &str, heading: &str) -> String {
    let script = "const [name, heading] = arguments; \
                  const at = [...document.querySelectorAll('th')].findIndex(one => one.innerText.includes(heading)); \
                  const row = [...document.querySelectorAll('tbody tr')].find(row => row.innerText.includes(name)); \
                  return row && at >= 0 ? row.cells[at].innerText : ''";
    let text = browser.client.execute(script, vec![name.into(), heading.into()]).await.unwrap();
    text.as_str().unwrap_or_default().to_owned()
}

/// The lease that is left, in seconds: the first of `4 m 31 s of 5 m 00 s`.
async fn seconds_left(browser: &Browser, name: &str) -> Option<u64> {
    let text = cell(browser, name, "Lease").await;
    let mut words = text.split_whitespace();
    let minutes: u64 = words.next()?.parse().ok()?;
    (words.next()? == "m").then_some(())?;
    Some(minutes * 60 + words.next()?.parse::<u64>().ok()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_lock_is_found_by_typing_watched_released_and_seen_to_go_to_the_next() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    for n in 0..40 {
        hold(&server, &redis, Family::Redisson, &format!("noise:{n:02}"), Some(LEASE)).await;
    }
    let stuck = hold(&server, &redis, Family::RedisPy, "stock:4711", Some(LEASE)).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;

    // Found by typing.
    browser.until_text("noise:00").await;
    let search = browser.by_role("combobox", "Search locks").await;
    search.send_keys("4711").await.unwrap();
    browser.until_text("stock:4711").await;
    browser.until_no_text("noise:00").await;

    // Its time runs.
    let first = until("a lease in minutes", async || seconds_left(&browser, "stock:4711").await, Option::is_some)
        .await
        .unwrap();
    until(
        "the lease to run down",
        async || seconds_left(&browser, "stock:4711").await,
        |left| left.is_some_and(|left| left < first),
    )
    .await;

    // Opened, it says who has it.
    browser.click("link", "stock:4711").await;
    browser.until_text(&stuck.token).await;

    // Released, with a confirmation and a reason.
    let next = stuck.fresh();
    let waiting = tokio::spawn(async move {
        while !next.take().await {
            tokio::task::yield_now().await;
        }
        next
    });
    browser.click("button", "Release").await;
    browser.by_role("dialog", "Release stock:4711?").await;
    let confirm = browser.by_role("textbox", "to confirm").await;
    confirm.send_keys("4711").await.unwrap();
    browser.by_role("textbox", "Why").await.send_keys("its worker hangs").await.unwrap();
    let ticks = browser.client.find_all(fantoccini::Locator::Css("dialog input[type=checkbox]")).await.unwrap();
    for tick in ticks {
        tick.click().await.unwrap();
    }
    confirm.send_keys(&Key::Enter.to_string()).await.unwrap();

    // And it is seen who got it.
    let next = waiting.await.unwrap();
    let ends = [&next.token[..6], &next.token[next.token.len() - 4..]];
    until(
        "the next holder in the dialog",
        async || browser.text().await,
        |text| ends.iter().all(|end| text.contains(*end)),
    )
    .await;
    assert!(!stuck.renew().await && next.renew().await);
    let story = server.api().story(&stuck.key).await;
    assert!(story.contains(&"forced"), "{story:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_redis_is_seen_at_once_and_its_return_too() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    hold(&server, &redis, Family::RedisPy, "kept", Some(LEASE)).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.until_text("kept").await;
    redis.freeze();
    browser.by_role("alert", "").await;
    let text = browser.until_text("is down").await;
    assert!(text.contains("kept"), "the last known state is still shown: {text}");
    redis.thaw();
    browser.until_no_text("is down").await;
    server.api().until_source("live", |source| source.state == SourceState::Live).await;
    browser.until_text("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_seen_and_what_is_shown_is_marked_as_old() {
    let redis = RedisServer::start().await;
    let mut server = Server::releasing(&redis).await;
    hold(&server, &redis, Family::RedisPy, "kept", Some(LEASE)).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.click("link", "kept").await;
    browser.by_role("button", "Release").await;
    server.kill().await;
    let text = browser.until_text("Connection to Lockkeeper lost").await;
    assert!(text.contains("kept"), "the last known state is still shown: {text}");
    browser.until_text("Not while the connection to Lockkeeper is lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_whose_clock_is_an_hour_off_shows_the_same_ages() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    hold(&server, &redis, Family::RedisPy, "aged", Some(LEASE)).await;
    for hours in [-1, 1] {
        let browser = Browser::start().await;
        let skew = format!(
            "const Real = Date, skew = {hours} * 3600e3; \
             Date = class extends Real {{ \
               constructor(...args) {{ args.length ? super(...args) : super(Real.now() + skew) }} \
               static now() {{ return Real.now() + skew }} }};"
        );
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": skew })).await;
        browser.open(&server.url()).await;
        browser.until_text("aged").await;
        let off =
            browser.run("return Math.abs(Date.now() - performance.timeOrigin - performance.now()) / 3600e3").await;
        assert!(off.as_f64().is_some_and(|off| off > 0.9), "the clock is not off: {off}");
        let shown = until("a lease", async || seconds_left(&browser, "aged").await, Option::is_some).await.unwrap();
        let real = server.api().lock("lock:aged").await.unwrap().lease.ttl_ms.unwrap() / 1000;
        assert!(shown.abs_diff(u64::try_from(real).unwrap()) <= 2, "shown {shown} s, really {real} s");
        let held = cell(&browser, "aged", "Held").await;
        assert!(!held.contains(" h"), "hours in: {held}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_key_is_text_and_nothing_else() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let client = redis.client().await;
    let key = "lock:<img src=x onerror=\"document.title='broken into'\">\u{202e}evil";
    let _: String = store(&client, "SET", [key, "5e0d7c3ef2d411ef8a7f0242ac120002", "PX", "300000"]).await;
    server.api().until_lock("the lock", key, |_| true).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    let text = browser.until_text("<img src=x").await;
    assert!(text.contains("\\u{202e}"), "{text}");
    browser.click("link", "<img src=x").await;
    browser.by_role("button", "Close").await;
    assert_eq!(browser.run("return document.images.length").await, 0);
    assert!(!browser.client.title().await.unwrap().contains("broken into"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_of_several_masters_has_of_a_lock_can_be_read_and_a_lost_one_is_named() {
    let mut masters = Vec::new();
    for _ in 0..5 {
        masters.push(RedisServer::start().await);
    }
    let urls: Vec<String> = masters.iter().map(|master| format!("{:?}", master.url())).collect();
    let config = format!("[[source]]\nname = \"quorum\"\nkind = \"redlock\"\nurls = [{}]\n", urls.join(", "));
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    server.ready().await;
    let token = "5e0d7c3ef2d411ef8a7f0242ac120002";
    for master in &masters[..3] {
        let _: String = store(&master.client().await, "SET", ["lock:spread", token, "PX", "300000"]).await;
    }
    let owned = |lock: &Lock| lock.quorum.as_ref().is_some_and(|quorum| quorum.votes == 3);
    server.api().until_lock("the lock", "lock:spread", owned).await;
    masters[4].kill();

    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.click("link", "spread").await;
    browser.by_role("table", "What each master has of this lock").await;
    let script = "return [...document.querySelectorAll('table.masters tbody tr')] \
                  .map(row => row.cells[1].innerText.trim()).join(', ')";
    let said = until(
        "the lost master in the table",
        async || browser.run(script).await.as_str().unwrap_or_default().to_owned(),
        |said| said.ends_with("unreachable"),
    )
    .await;
    assert_eq!(said, "holds it, holds it, holds it, absent, unreachable");
    let text = browser.until_text("1 of 5 masters not live").await;
    assert!(text.contains("3 of 5 masters") && text.contains(&masters[4].source()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_waiter_that_keeps_everybody_out_is_found_and_taken_out_of_the_queue() {
    const DEAD: &str = "6f1a2b3c-4d5e-4f60-8a9b-0c1d2e3f4a5b:7";
    const NEXT: &str = "7a2b3c4d-5e6f-4071-9b8c-1d2e3f4a5b6c:9";

    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let client = redis.client().await;
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + LEASE;
    let end = end.as_millis().to_string();
    let _: i64 = store(&client, "RPUSH", ["redisson_lock_queue:{orders}", DEAD, NEXT]).await;
    let _: i64 = store(&client, "ZADD", ["redisson_lock_timeout:{orders}", &*end, DEAD, &*end, NEXT]).await;
    server.api().until_lock("the queue", "orders", |lock| lock.waiters.count == Some(2)).await;

    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.click("link", "orders").await;
    browser.click("button", "Evict").await;
    browser.by_role("dialog", "Evict the first waiter of orders?").await;
    let confirm = browser.by_role("textbox", "to confirm").await;
    confirm.send_keys("orders").await.unwrap();
    browser.by_role("textbox", "Why").await.send_keys("its process is dead").await.unwrap();
    let ticks = browser.client.find_all(fantoccini::Locator::Css("dialog input[type=checkbox]")).await.unwrap();
    for tick in ticks {
        tick.click().await.unwrap();
    }
    confirm.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser.until_text("Taken out of the queue.").await;
    let left: Vec<String> = store(&client, "LRANGE", ["redisson_lock_queue:{orders}", "0", "-1"]).await;
    assert_eq!(left, [NEXT]);
}

/// Samples, and again if need be: a machine under load may end one early, which it then says.
pub(crate) async fn sample_until(browser: &Browser, words: &[&str]) {
    let has_all = |text: &String| words.iter().all(|word| text.contains(word));
    let sampled = async || {
        let text = browser.text().await;
        // What the text says, not what is so by now: another sample would take away what this one brought.
        if !has_all(&text)
            && text.contains("Sample for 3 s")
            && let Some(button) = browser.try_by_role("button", "Sample for 3 s").await
        {
            // By the keyboard alone.
            button.send_keys(&Key::Enter.to_string()).await.unwrap();
        }
        text
    };
    until("the sample", sampled, has_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_for_a_lock_in_vain_is_sampled_from_its_drawer_and_named() {
    let redis = RedisServer::start().await;
    let server = Server::serve().redis(&redis.url()).arg("--allow-trace").start().await;
    server.ready().await;
    let holder = hold(&server, &redis, Family::RedisPy, "stuck", Some(LEASE)).await;
    let client = redis.client().await;
    client.client_setname("night-shift").await.unwrap();
    let waiter = Family::RedisPy.client(&client, "stuck", Some(LEASE));
    let trying = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            waiter.take().await;
        }
    });

    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.click("link", "stuck").await;
    let before = browser.until_text("It makes the store send every command").await;
    assert!(!before.contains("night-shift"), "{before}");
    sample_until(&browser, &["Sampled: until", "(night-shift, ", " refused", "commands were sent once more, "]).await;
    // The board has learned it, too, with how it is known.
    browser.until_text("1, sampled: client addresses that wanted it").await;
    trying.abort();

    // A store that does too much is left alone, and a source that allows no traces offers none.
    let source = format!("[[source]]\nurl = \"{}\"\n", redis.url());
    let busy = format!("{source}[trace]\nenabled = true\nmax_commands_per_second = 1\n");
    let refusing = Server::serve().config(&busy).start().await;
    refusing.ready().await;
    browser.open(&refusing.url()).await;
    browser.click("link", "stuck").await;
    sample_until(&browser, &["No trace: the store does", "What to try: try again when it does less"]).await;
    let without = Server::watching(&redis).await;
    browser.open(&without.url()).await;
    browser.click("link", "stuck").await;
    let text = browser.until_text(&holder.token).await;
    assert!(!text.contains("MONITOR"), "{text}");
}
