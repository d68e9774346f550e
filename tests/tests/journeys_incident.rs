//! A whole incident, from the warning to what is handed to whoever reviews it, on a desk and on a phone: in a real browser, by
//! roles and labels, against a real Redis whose holder died.

use fantoccini::Locator;
use fred::interfaces::{ClientInterface as _, ClientLike as _, PubsubInterface as _};
use lockkeeper_model::{Lock, Verdict};
use lockkeeper_tests::{Browser, Family, RedisServer, Server, until};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// Long enough that nobody who waits gets in by itself.
const LEASE: Duration = Duration::from_secs(3_000);

/// How often one who waits tries.
const TRIES_EVERY: Duration = Duration::from_millis(50);

/// A width and a height of a screen, in CSS pixels.
type Size = (u32, u32);

const DESK: Size = (1_440, 900);
const PHONE: Size = (375, 812);

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_gone_through_from_the_warning_to_the_packet_on_a_desk() {
    whole_incident(DESK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_gone_through_from_the_warning_to_the_packet_on_a_phone() {
    whole_incident(PHONE).await;
}

/// Lets pages write to the clipboard and read it, as people allow it with the first click.
pub(crate) async fn allow_clipboard(browser: &Browser, server: &Server) {
    let origin = server.url().trim_end_matches('/').to_owned();
    let permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"];
    browser.cdp("Browser.grantPermissions", json!({ "origin": origin, "permissions": permissions })).await;
}

/// Waits until what was copied passes.
pub(crate) async fn until_copied(browser: &Browser, what: &str, passes: impl Fn(&str) -> bool) -> String {
    let read = "const done = arguments[arguments.length - 1]; \
                navigator.clipboard.readText().then(done, error => done(String(error)))";
    let copied = async || {
        let text = browser.client.execute_async(read, Vec::new()).await.unwrap();
        text.as_str().unwrap_or_default().to_owned()
    };
    until(what, copied, |text| passes(text)).await
}

/// Nothing sticks out to the right, on no screen.
async fn fits(browser: &Browser, where_it_is: &str) {
    let width = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]";
    let width = browser.run(width).await;
    assert_eq!(width[0], width[1], "{where_it_is}");
}

async fn whole_incident((width, height): Size) {
    let (redis, data) = (RedisServer::start().await, TempDir::new().unwrap());
    let config = format!(
        "[[source]]\nname = \"orders\"\nurl = \"{}\"\n\
         [[warning]]\nrule = \"held-long\"\nfor = \"2s\"\nseverity = \"critical\"\n",
        redis.url()
    );
    let server = Server::serve().config(&config).arg("--allow-release");
    let server = server.arg("--data-dir").arg(data.path().to_str().unwrap()).start().await;
    server.ready().await;
    let browser = Browser::start().await;
    let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    browser.cdp("Emulation.setDeviceMetricsOverride", size).await;
    allow_clipboard(&browser, &server).await;
    browser.open(&server.url()).await;
    browser.until_text("as of now").await;

    // A worker takes the lock and dies; its connection had its name. Another one waits.
    let worker = redis.client().await;
    let holder = Family::Redisson.client(&worker, "stock:4711", Some(LEASE));
    worker.client_setname(holder.token.as_str()).await.unwrap();
    assert!(holder.take().await);
    let api = server.api();
    let judged = |lock: &Lock, verdict| lock.holders.first().is_some_and(|holder| holder.verdict == verdict);
    api.until_lock("a holder that lives", &holder.key, |lock| judged(lock, Verdict::Alive)).await;
    let sleeper = redis.client().await;
    sleeper.subscribe(holder.signal()).await.unwrap();
    worker.quit().await.unwrap();
    let next = Family::Redisson.client(&redis.client().await, "stock:4711", Some(LEASE));
    let waiting = tokio::spawn(async move {
        let mut tick = tokio::time::interval(TRIES_EVERY);
        while !next.take().await {
            tick.tick().await;
        }
        next
    });
    let is_stuck = |lock: &Lock| judged(lock, Verdict::Gone) && lock.waiters.count == Some(1);
    api.until_lock("a holder that is gone and somebody who waits", &holder.key, is_stuck).await;

    // The warning is told wherever one is, and is opened.
    browser.by_role("link", "Warnings 1 open, the worst is critical").await;
    browser.click("link", "Warnings").await;
    let text = browser.until_text("stock:4711").await;
    for words in ["held-long", "Why it matters: ", "What to do: "] {
        assert!(text.contains(words), "{words} in {text}");
    }
    fits(&browser, "the warnings").await;
    browser.click("button", "I look into it").await;
    browser.until_text("anonymous looks into it.").await;

    // From there to the lock, with all that it is judged by.
    browser.click("link", "stock:4711").await;
    browser.by_role("heading", "stock:4711").await;
    let text = browser.until_text("has not come back").await;
    for words in ["redisson (certain)", "gone", "closed ", &holder.token, "1, inferred", "Lease", "Warning: held-long"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    fits(&browser, "the lock").await;

    // It is released: exactly this hold, with a reason, and what becomes of it is seen.
    browser.click("button", "Release").await;
    browser.by_role("dialog", "Release stock:4711?").await;
    let plan = browser.until_text("What happens").await;
    assert!(plan.contains(&holder.token), "{plan}");
    browser.by_role("textbox", "Why").await.send_keys("INC-7: its worker died").await.unwrap();
    for tick in browser.client.find_all(Locator::Css("dialog input[type=checkbox]")).await.unwrap() {
        tick.click().await.unwrap();
    }
    fits(&browser, "the dialog").await;
    browser.by_role("textbox", "to confirm").await.send_keys("4711").await.unwrap();
    browser.client.find(Locator::Css("dialog button[type=submit]")).await.unwrap().click().await.unwrap();
    browser.until_text("Released.").await;
    let next = waiting.await.unwrap();
    let thread = next.token.rsplit(':').next().unwrap().to_owned();
    browser.until_text("It was taken by ").await;
    browser.click("button", "Close").await;
    browser.until_text(&next.token).await;
    browser.until_text(&format!("thread {thread}")).await;

    // What was learned is written down where the next one will look.
    browser.click("link", "open as a page").await;
    browser.by_role("textbox", "A note about who holds it now").await.send_keys("INC-7 is over").await.unwrap();
    browser.click("button", "Write").await;
    browser.until_text("Written down.").await;
    fits(&browser, "the lock's page").await;

    // And what is known is kept, found again by its address, and taken along.
    browser.by_role("textbox", "Freeze its last hour").await.send_keys("Orders stopped").await.unwrap();
    browser.click("button", "Freeze").await;
    let packet = browser.until_text("copy as Markdown").await;
    for words in ["Orders stopped", "stock:4711", "INC-7: its worker died", "INC-7 is over"] {
        assert!(packet.contains(words), "{words} in {packet}");
    }
    fits(&browser, "the incident").await;
    browser.click("button", "copy link").await;
    let address = until_copied(&browser, "the address", |text| text.contains("/incidents/")).await;
    browser.open("about:blank").await;
    browser.open(&address).await;
    browser.by_role("heading", "Orders stopped").await;
    browser.click("button", "copy as Markdown").await;
    let markdown = until_copied(&browser, "the packet", |text| text.contains("Orders stopped")).await;
    assert!(markdown.contains("stock:4711") && markdown.contains("INC-7: its worker died"), "{markdown}");
    let json = browser.by_role("link", "JSON").await.attr("href").await.unwrap().unwrap();
    let json: Value = api.get(&json).await.json();
    assert_eq!(json["title"], "Orders stopped");
    browser.click("link", "stock:4711").await;
    browser.until_text(&next.token).await;
    assert!(next.renew().await, "the next holder was not touched");
    sleeper.quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_copied_with_one_click_or_key_and_times_are_told_in_utc() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let holder = Family::Redisson.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(holder.take().await);
    server.api().until_lock("the lock", &holder.key, |_| true).await;
    let browser = Browser::start().await;
    browser.cdp("Emulation.setTimezoneOverride", json!({ "timezoneId": "Asia/Kathmandu" })).await;
    allow_clipboard(&browser, &server).await;
    browser.open(&server.url()).await;
    browser.until_text("stock:4711").await;

    // In the table by a key, without opening the row.
    for key in ["ArrowDown", "c"] {
        browser.run(&format!("dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}' }}))")).await;
    }
    until_copied(&browser, "the key", |text| text == "stock:4711").await;
    browser.by_role("status", "").await;
    browser.until_text("copied").await;

    // Of a shortened token all of it, by the keyboard; and it is said.
    browser.click("link", "stock:4711").await;
    browser.until_text("Held since").await;
    let focus =
        "[...document.querySelectorAll('.drawer [data-copy]')].find(one => one.ariaLabel === arguments[0]).focus()";
    browser.client.execute(focus, vec!["copy: the token".into()]).await.unwrap();
    browser.click("button", "copy: the token").await;
    until_copied(&browser, "the token", |text| text == holder.token).await;

    // A time is that of the reader's clock, five hours and three quarters from UTC, and says so to a keyboard and to a pointer.
    browser.client.execute(focus, vec!["copy: Held since".into()]).await.unwrap();
    let told = "const button = document.activeElement; const shown = button.parentElement.textContent.match(/(\\d\\d):(\\d\\d):(\\d\\d)/); \
                button.parentElement.dispatchEvent(new PointerEvent('pointerover', { bubbles: true })); \
                return [shown && shown.slice(1).map(Number), button.ariaDescription, button.parentElement.title]";
    let told = browser.run(told).await;
    let number = |at: usize| told[0][at].as_u64().unwrap_or_else(|| panic!("{told}"));
    let minutes = (number(0) * 60 + number(1) + 24 * 60 - (5 * 60 + 45)) % (24 * 60);
    let utc = format!("{:02}:{:02}:{:02}", minutes / 60, minutes % 60, number(2));
    for said in [&told[1], &told[2]] {
        let said = said.as_str().unwrap_or_default();
        assert!(said.contains(&utc) && said.ends_with(" UTC"), "{utc} in {told}");
    }
}
