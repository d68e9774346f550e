//! What is looked up the morning after, in a real browser: a moment of the past, how a lock is usually held, an incident
//! that is kept.

use std::time::Duration;

use fantoccini::key::Key;
use lockkeeper_model::Time;
use lockkeeper_tests::{Browser, Family, LOOKS, LockClient, RedisServer, Server, store, until, until_some};
use tempfile::TempDir;

use crate::accessibility::violations;

const LEASE: Duration = Duration::from_secs(600);

/// A server that wrote down how one lock was held and let go, and another one taken.
struct Scene {
    server: Server,
    browser: Browser,
    released: LockClient,
    /// When it was held.
    held_at: Time,
    /// When it was free again.
    free_at: Time,
    _redis: RedisServer,
    _data: TempDir,
}

impl Scene {
    async fn set() -> Scene {
        let (redis, data) = (RedisServer::start().await, TempDir::new().unwrap());
        let folder = data.path().to_str().unwrap();
        let server =
            Server::serve().redis(&redis.url()).arg("--allow-release").arg("--data-dir").arg(folder).start().await;
        server.ready().await;
        let (api, client) = (server.api(), redis.client().await);
        let [released, kept] = ["stock:4711", "kept"].map(|name| Family::RedisPy.client(&client, name, Some(LEASE)));
        // Once there was a whole board, what follows can be looked back at.
        until_some("a moment that is recorded", async || {
            let now = api.locks("").await.as_of;
            (api.get(&format!("/api/v1/locks?at={now}")).await.status == 200).then_some(())
        })
        .await;
        for lock in [&released, &kept] {
            assert!(lock.take().await);
            api.until_lock("the lock", &lock.key, |_| true).await;
        }
        let held_at = api.locks("").await.as_of;
        store::<i64>(&client, "DEL", [released.key.as_str()]).await;
        api.until_story(&released.key, &["released"]).await;
        let free_at = api.locks("").await.as_of;
        let browser = Browser::start().await;
        Scene { server, browser, released, held_at, free_at, _redis: redis, _data: data }
    }

    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.server.url().trim_end_matches('/'))).await;
    }

    async fn path(&self) -> String {
        let path = self.browser.run("return location.pathname + location.search").await;
        path.as_str().unwrap_or_default().to_owned()
    }

    async fn write_moment(&self, moment: &str) {
        let field = self.browser.by_role("textbox", "Moment").await;
        field.click().await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(&format!("{moment}{}", char::from(Key::Enter))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_of_a_moment_is_looked_at_and_left_for_the_one_of_now() {
    let scene = Scene::set().await;
    let browser = &scene.browser;
    scene.open(&format!("/history?at={}", scene.held_at)).await;
    browser.until_text("2 held").await;
    let text = browser.until_text("stock:4711").await;
    assert!(text.contains("The board as of") && text.contains("Back to live"), "{text}");

    // The drawer is that of now, and offers nothing.
    browser.click("link", "stock:4711").await;
    browser.until_text("A release is not offered: this is the past").await;
    browser.until_text(&scene.released.token).await;
    assert!(browser.try_by_role("button", "Release").await.is_none());
    assert!(browser.try_by_role("button", "Sample").await.is_none());
    browser.click("button", "Close").await;

    // Another moment, exactly, and back to the one before.
    scene.write_moment(&scene.free_at.to_string()).await;
    browser.until_text("1 held").await;
    browser.until_no_text("stock:4711").await;
    assert!(scene.path().await.starts_with(&format!("/history?at={}", scene.free_at)));
    browser.client.back().await.unwrap();
    browser.until_text("stock:4711").await;

    // By keys, a second a step.
    let slider = browser.by_role("slider", "Moment").await;
    let before = scene.path().await;
    slider.send_keys(&char::from(Key::Left).to_string()).await.unwrap();
    until("another moment in the address", async || scene.path().await, |path| *path != before).await;

    // What cannot be understood is said, and what is not recorded.
    scene.write_moment("yesterday").await;
    browser.until_text("“yesterday” is no moment").await;
    scene.write_moment("2020-01-01 00:00:00").await;
    browser.until_text("was not recorded").await;
    assert!(!browser.text().await.contains("held\n"), "nothing is shown for a moment of which nothing is known");

    browser.click("link", "Back to live").await;
    browser.until_text("kept").await;
    assert_eq!(scene.path().await, "/");
    browser.until_no_text("The board as of").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_lock_was_held_is_looked_up_and_kept_as_an_incident() {
    let scene = Scene::set().await;
    let browser = &scene.browser;
    let source = scene.server.api().source().await.name;
    scene.open(&format!("/?lock={source}/{}", scene.released.key)).await;
    browser.click("DisclosureTriangle", "What was written down of it").await;
    browser.until_text("taken 1, released 1").await;
    browser.until_text("Half held at most").await;

    let title = browser.by_role("textbox", "Freeze its last hour").await;
    title.send_keys("stuck stock").await.unwrap();
    browser.click("button", "Freeze").await;
    browser.until_text("Nobody waited for any of them.").await;
    let text = browser.until_text("copy as Markdown").await;
    assert!(text.contains("stuck stock") && text.contains("released by"), "{text}");
    let path = scene.path().await;
    let id = path.strip_prefix("/incidents/").unwrap_or_else(|| panic!("{path}"));
    let json = browser.by_role("link", "JSON").await.attr("href").await.unwrap();
    assert_eq!(json.as_deref(), Some(&*format!("/api/v1/incidents/{id}")));

    browser.click("link", "all incidents").await;
    browser.click("link", "stuck stock").await;
    browser.until_text("Nobody waited for any of them.").await;
    scene.open(&path).await;
    browser.until_text("stuck stock").await;
    scene.open("/incidents/nope").await;
    browser.until_text("there is no incident `nope`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_past_say_so_where_nothing_is_written_down() {
    let server = Server::demo().start().await;
    server.ready().await;
    let browser = Browser::start().await;
    for page in ["history", "incidents"] {
        browser.open(&format!("{}{page}", server.url())).await;
        browser.until_text("nothing of the demo is written down").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_past_pass_an_audit_in_every_look() {
    let Some(path) = std::env::var_os("LOCKKEEPER_AXE") else {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let scene = Scene::set().await;
    let browser = &scene.browser;
    for (theme, features) in LOOKS {
        browser.look(features).await;
        scene.open(&format!("/history?at={}", scene.held_at)).await;
        browser.until_text("2 held").await;
        assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "{theme}, a moment");
        browser.click("link", "stock:4711").await;
        browser.click("DisclosureTriangle", "What was written down of it").await;
        browser.until_text("taken 1").await;
        assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "{theme}, a lock of a moment");
        scene.write_moment("2020-01-01 00:00:00").await;
        browser.until_text("was not recorded").await;
        assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "{theme}, nothing recorded");

        scene.open(&format!("/history?at={}", scene.held_at)).await;
        browser.click("link", "stock:4711").await;
        browser.click("DisclosureTriangle", "What was written down of it").await;
        let title = browser.by_role("textbox", "Freeze its last hour").await;
        title.send_keys(theme).await.unwrap();
        browser.click("button", "Freeze").await;
        browser.until_text("copy as Markdown").await;
        assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "{theme}, an incident");
        scene.open("/incidents").await;
        browser.until_text("frozen by").await;
        assert_eq!(violations(browser, &axe).await, Vec::<String>::new(), "{theme}, incidents");
    }
}
