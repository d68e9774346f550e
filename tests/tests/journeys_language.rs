//! What somebody reads and does whose browser asks for German.

use std::time::Duration;

use fantoccini::key::Key;
use lockkeeper_tests::{Browser, Family, LockClient, RedisServer, Server, until};
use serde_json::json;

use crate::accessibility::violations;

const LEASE: Duration = Duration::from_secs(300);

/// A browser whose owner reads German.
async fn german() -> Browser {
    Browser::with(&["--accept-lang=de-DE,de"]).await
}

/// A lock that somebody holds and has been seen to.
async fn stuck(server: &Server, redis: &RedisServer) -> LockClient {
    let holder = Family::RedisPy.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(holder.take().await);
    server.api().until_lock("the lock", &holder.key, |_| true).await;
    holder
}

/// The language that the document says it is in.
async fn until_spoken(browser: &Browser, tag: &str) {
    let spoken = async || browser.run("return document.documentElement.lang").await;
    until(&format!("the document in `{tag}`"), spoken, |spoken| spoken == tag).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_lock_is_found_read_and_released_in_german() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let stuck = stuck(&server, &redis).await;
    let browser = german().await;
    browser.open(&server.url()).await;
    until_spoken(&browser, "de").await;
    browser.by_role("columnheader", "Inhaber").await;

    browser.by_role("combobox", "Locks suchen").await.send_keys("4711").await.unwrap();
    browser.until_text("Locks mit „4711“ im Schlüssel oder im Token").await;
    browser.click("link", "stock:4711").await;
    let drawer = browser.until_text(&stuck.token).await;
    assert!(drawer.contains("Ob der Inhaber lebt, ist unbekannt."), "{drawer}");
    assert!(drawer.contains("Keine Verlängerung in den"), "evidence is told in German, too: {drawer}");
    let lease = browser.until_text("Er endet von selbst in").await;
    assert!(lease.contains(" min "), "minutes are no metres: {lease}");

    browser.click("button", "Freigeben …").await;
    browser.by_role("dialog", "stock:4711 freigeben?").await;
    let confirm = browser.by_role("textbox", "zur Bestätigung").await;
    confirm.send_keys("4711").await.unwrap();
    browser.by_role("textbox", "Warum").await.send_keys("der Worker hängt").await.unwrap();
    for tick in browser.client.find_all(fantoccini::Locator::Css("dialog input[type=checkbox]")).await.unwrap() {
        tick.click().await.unwrap();
    }
    confirm.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser.until_text("Freigegeben.").await;
    assert!(!stuck.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_language_is_chosen_and_stays_under_the_same_address() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let stuck = stuck(&server, &redis).await;
    let browser = german().await;
    browser.open(&format!("{}settings", server.url())).await;
    let choice = browser.by_role("combobox", "Sprache").await;
    choice.select_by_value("en").await.unwrap();
    until_spoken(&browser, "en").await;
    browser.by_role("heading", "Settings").await;

    let address =
        format!("{}?lock={}/{}", server.url(), server.api().lock(&stuck.key).await.unwrap().source, stuck.key);
    browser.open(&address).await;
    browser.until_text("Whether its holder lives is unknown.").await;
    until_spoken(&browser, "en").await;

    // The palette leads to it as well.
    let press = "dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true }))";
    browser.run(press).await;
    let palette = browser.by_role("combobox", "Go to a page").await;
    palette.send_keys("deutsch").await.unwrap();
    browser.by_role("option", "Deutsch").await;
    palette.send_keys(&Key::Enter.to_string()).await.unwrap();
    until_spoken(&browser, "de").await;
    browser.until_text("Ob der Inhaber lebt, ist unbekannt.").await;
    let shown = browser.run("return location.href").await;
    assert_eq!(shown, address, "a state has the same address in every language");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_do_not_come_are_english_and_said_to_be_missing() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let browser = german().await;
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setBlockedURLs", json!({ "urls": ["*/de-*.txt"] })).await;
    browser.open(&server.url()).await;
    browser.until_text("Deutsch could not be loaded: this is English.").await;
    until_spoken(&browser, "en").await;
    browser.cdp("Network.setBlockedURLs", json!({ "urls": [] })).await;
    browser.click("button", "Try now").await;
    until_spoken(&browser, "de").await;
    browser.until_no_text("could not be loaded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_german_pages_pass_an_audit() {
    let Some(path) = std::env::var_os("LOCKKEEPER_AXE") else {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let stuck = stuck(&server, &redis).await;
    let browser = german().await;
    for theme in ["light", "dark"] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        browser.cdp("Emulation.setEmulatedMedia", media).await;
        browser.open(&server.url()).await;
        until_spoken(&browser, "de").await;
        browser.until_text("stock:4711").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the table");
        browser.click("link", "stock:4711").await;
        browser.until_text(&stuck.token).await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the drawer");
        browser.click("button", "Freigeben …").await;
        browser.by_role("textbox", "Warum").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the dialog");
        browser.open(&format!("{}settings", server.url())).await;
        browser.by_role("combobox", "Sprache").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the settings");
    }
}
