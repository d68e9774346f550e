//! An audit of every dialog with axe-core, in every look: what one does at night is done in dialogs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockkeeper_model::LockState;
use lockkeeper_tests::{Browser, Family, LOOKS, RedisServer, Server, store};

use crate::accessibility::violations;
use crate::journeys_release::{House, carry_out, read_and_say_why};

const LEASE: Duration = Duration::from_secs(300);

/// The script of the audit, where there is one.
fn axe() -> Option<String> {
    let path = std::env::var_os("LOCKKEEPER_AXE");
    if path.is_none() {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
    }
    Some(std::fs::read_to_string(path?).unwrap())
}

/// What is violated by what is on the screen, in each look.
async fn passes(browser: &Browser, axe: &str, what: &str) {
    let mut found = Vec::new();
    for (look, features) in LOOKS {
        browser.look(features).await;
        found.extend(violations(browser, axe).await.into_iter().map(|one| format!("{what}, {look}: {one}")));
    }
    browser.look(&[]).await;
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_does_to_a_lock_passes_an_audit() {
    let Some(axe) = axe() else { return };
    let house = House::open(false).await;
    let holder = house.stuck("stock:4711").await;
    let ada = house.browser("ada", &holder).await;
    passes(&ada, &axe, "the drawer").await;

    ada.click("button", "Release…").await;
    ada.by_role("textbox", "Why").await;
    passes(&ada, &axe, "releasing").await;
    carry_out(&ada, "worker 3 hangs", "Release").await;
    ada.until_text("Released.").await;
    passes(&ada, &axe, "released").await;
    ada.click("button", "Put back…").await;
    ada.by_role("dialog", "Put back stock:4711?").await;
    ada.by_role("textbox", "Why").await;
    passes(&ada, &axe, "putting back").await;
    carry_out(&ada, "it was the wrong one", "Put back").await;
    ada.until_text("the former holder has it again").await;
    ada.click("button", "Close").await;

    ada.click("button", "Release and hold…").await;
    ada.by_role("textbox", "Why").await;
    passes(&ada, &axe, "holding").await;
    carry_out(&ada, "its rows have to be repaired first", "Release and hold").await;
    ada.until_text("you hold it now").await;
    passes(&ada, &axe, "held").await;
    ada.click("button", "Close").await;
    ada.click("button", "Hold on…").await;
    ada.by_role("textbox", "Why").await;
    passes(&ada, &axe, "extending").await;
    ada.click("button", "Cancel").await;
    ada.click("button", "Release…").await;
    ada.by_role("textbox", "Why").await;
    passes(&ada, &axe, "opening").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_persons_decide_passes_an_audit() {
    let Some(axe) = axe() else { return };
    let house = House::open(true).await;
    let holder = house.stuck("stock:4711").await;
    let stranger = Browser::start().await;
    stranger.open(&house.server.url()).await;
    stranger.by_role("textbox", "Password").await;
    passes(&stranger, &axe, "signing in").await;
    stranger.by_role("textbox", "Name").await.send_keys("ada").await.unwrap();
    stranger.by_role("textbox", "Password").await.send_keys("not this one, surely").await.unwrap();
    stranger.click("button", "Sign in").await;
    stranger.until_text("wrong").await;
    passes(&stranger, &axe, "a wrong password").await;

    let ada = house.browser("ada", &holder).await;
    ada.click("button", "Release…").await;
    ada.until_text("another person, with the right to approve").await;
    read_and_say_why(&ada, "INC-7: worker 3 hangs").await;
    passes(&ada, &axe, "a second person is needed").await;
    ada.click("checkbox", "Break glass").await;
    passes(&ada, &axe, "breaking the glass").await;
    ada.click("checkbox", "Break glass").await;
    ada.click("button", "Ask a second person").await;
    ada.until_text("Waiting for somebody who may approve it").await;
    passes(&ada, &axe, "waiting for the second person").await;

    let bob = house.browser("bob", &holder).await;
    bob.until_text("ada asks you to approve").await;
    passes(&bob, &axe, "being asked").await;
    bob.click("button", "Look and decide").await;
    bob.until_text("What happens").await;
    passes(&bob, &axe, "deciding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_over_a_page_passes_an_audit() {
    let Some(axe) = axe() else { return };
    let redis = RedisServer::start().await;
    let config = format!(
        "[[source]]\nname = \"s\"\nurl = \"{}\"\n[[warning]]\nrule = \"held-long\"\nfor = 0\nseverity = \"critical\"\n",
        redis.url()
    );
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    server.ready().await;
    let client = redis.client().await;
    for name in ["a", "b"] {
        let holder = Family::RedisPy.client(&client, name, Some(LEASE));
        assert!(holder.take().await);
        server.api().until_lock("the lock", &holder.key, |_| true).await;
    }
    // A queue that nobody gets out of: its head is dead.
    let [dead, next] = ["6b1c2d3e-0000-4000-8000-000000000001:1", "6b1c2d3e-0000-4000-8000-000000000002:2"];
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() + 200_000;
    let later = end + 300_000;
    let _: i64 = store(&client, "RPUSH", ["redisson_lock_queue:{orders}", dead, next]).await;
    let queue = ["redisson_lock_timeout:{orders}", &end.to_string(), dead, &later.to_string(), next];
    let _: i64 = store(&client, "ZADD", queue).await;
    server.api().until_lock("the queue", "orders", |lock| lock.state == LockState::WaitingOnly).await;

    let browser = Browser::start().await;
    browser.open(&format!("{}?lock=s/orders", server.url())).await;
    browser.click("button", "Evict…").await;
    browser.by_role("textbox", "Why").await;
    passes(&browser, &axe, "evicting").await;
    browser.click("button", "Cancel").await;
    browser.click("button", "Close").await;

    browser.click("button", "View").await;
    browser.by_role("textbox", "Name of this view").await.send_keys("Mine").await.unwrap();
    browser.click("button", "Keep").await;
    browser.until_text("Kept in this browser").await;
    passes(&browser, &axe, "columns and kept views").await;
    browser.click("button", "View").await;
    browser.click("button", "Select").await;
    for name in ["a", "b"] {
        browser.click("checkbox", &format!("Select {name}")).await;
    }
    passes(&browser, &axe, "a selection").await;
    browser.click("button", "Release…").await;
    browser.by_role("textbox", "Why").await;
    passes(&browser, &axe, "releasing several").await;
    browser.click("button", "Cancel").await;

    for (key, words) in [("k", "Held for more than 5 minutes"), ("?", "hold the table still")] {
        let press = format!("dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', ctrlKey: '{key}' == 'k' }}))");
        browser.run(&press).await;
        browser.until_text(words).await;
        passes(&browser, &axe, &format!("the dialog of `{key}`")).await;
        browser.run("document.querySelector('dialog[open]').close()").await;
    }

    browser.open(&format!("{}lock?lock=s/lock:a", server.url())).await;
    browser.by_role("textbox", "A note about who holds it now").await.send_keys("it hangs").await.unwrap();
    browser.click("button", "Write").await;
    browser.until_text("Written down.").await;
    passes(&browser, &axe, "a note").await;
    browser.open(&format!("{}warnings", server.url())).await;
    browser.click("button", "Mute").await;
    browser.by_role("textbox", "Why").await;
    passes(&browser, &axe, "muting").await;
}
