//! The parts of the app that are fetched after the page: without them the page does what it is there for, says what is
//! missing, and has it as soon as it can be had.

use std::time::Duration;

use fantoccini::Locator;
use fantoccini::key::Key;
use lockkeeper_tests::{Browser, Family, LockClient, Proxy, RedisServer, Server, until};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(300);

/// What the parts are called, and the first is not.
const PARTS: [&str; 2] = ["*_split_*.wasm", "*_chunk_*.wasm"];

/// Lets these addresses lead nowhere.
async fn block(browser: &Browser, addresses: &[&str]) {
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setBlockedURLs", json!({ "urls": addresses })).await;
}

/// A lock that somebody holds and has been seen to.
async fn stuck(server: &Server, redis: &RedisServer) -> LockClient {
    let holder = Family::RedisPy.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(holder.take().await);
    server.api().until_lock("the lock", &holder.key, |_| true).await;
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_lock_is_released_while_no_part_can_be_had() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let stuck = stuck(&server, &redis).await;
    let browser = Browser::start().await;
    block(&browser, &PARTS).await;
    browser.open(&server.url()).await;
    browser.click("link", "stock:4711").await;
    browser.until_text(&stuck.token).await;
    browser.click("button", "Release").await;
    let confirm = browser.by_role("textbox", "to confirm").await;
    confirm.send_keys("4711").await.unwrap();
    browser.by_role("textbox", "Why").await.send_keys("its worker hangs").await.unwrap();
    for tick in browser.client.find_all(Locator::Css("dialog input[type=checkbox]")).await.unwrap() {
        tick.click().await.unwrap();
    }
    confirm.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser.until_text("Released.").await;
    assert!(!stuck.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_is_said_to_be_missing_and_is_there_when_it_is_tried_again() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    stuck(&server, &redis).await;
    let browser = Browser::start().await;
    block(&browser, &PARTS).await;
    browser.open(&server.url()).await;
    browser.until_text("stock:4711").await;
    // What nobody asked for was fetched in vain before: later it would come by itself.
    let tried = "return performance.getEntriesByType('resource').filter(one => /_split_/.test(one.name)).length";
    until("both parts to be tried", async || browser.run(tried).await.as_u64(), |tried| *tried >= Some(2)).await;

    browser.click("link", "Settings").await;
    browser.by_role("heading", "Settings").await;
    browser.until_text("This could not be loaded. If the server was updated meanwhile").await;
    browser.by_role("button", "Reload to update").await;
    // The other pages go on.
    browser.click("link", "Locks").await;
    browser.until_text("stock:4711").await;
    browser.until_no_text("This could not be loaded").await;
    let press = "dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true }))";
    browser.run(press).await;
    browser.until_text("This could not be loaded").await;
    assert!(browser.text().await.contains("stock:4711"), "a dialog that does not come takes nothing away");

    block(&browser, &[]).await;
    browser.click("button", "Try now").await;
    let palette = browser.by_role("combobox", "Go to a page").await;
    palette.send_keys("settings").await.unwrap();
    browser.by_role("option", "Settings").await;
    palette.send_keys(&Key::Enter.to_string()).await.unwrap();
    browser.until_text("Listens on").await;
    browser.click("link", "History").await;
    browser.by_role("link", "Back to live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_opened_while_the_server_is_gone_comes_by_itself_when_it_is_back() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    stuck(&server, &redis).await;
    let (_, port) = server.address().rsplit_once(':').unwrap();
    let network = Proxy::to(port.parse().unwrap()).await;
    let browser = Browser::start().await;
    block(&browser, &PARTS).await;
    browser.open(&format!("http://127.0.0.1:{}/", network.port())).await;
    browser.until_text("stock:4711").await;

    network.cut();
    browser.until_text("Connection to Lockkeeper lost").await;
    block(&browser, &[]).await;
    browser.click("link", "Settings").await;
    browser.until_text("This could not be loaded. It is tried again when the connection is back.").await;
    assert!(browser.try_by_role("button", "Reload to update").await.is_none(), "there is nothing to load it from");
    // A dialog that was asked for meanwhile does not open over what is done when it could at last be had.
    browser.run("dispatchEvent(new KeyboardEvent('keydown', { key: '?' }))").await;
    network.restore();
    browser.until_text("Listens on").await;
    browser.until_no_text("This could not be loaded").await;
    assert!(browser.try_by_role("dialog", "Keys").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_were_never_opened_are_there_when_the_server_is_gone() {
    let redis = RedisServer::start().await;
    let mut server = Server::releasing(&redis).await;
    stuck(&server, &redis).await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    let fetched = "return performance.getEntriesByType('resource') \
                   .filter(one => one.name.includes('_split_') && one.responseEnd > 0).length";
    let count = async || browser.run(fetched).await;
    until("the parts, unasked", count, |count| count.as_u64() >= Some(2)).await;
    server.kill().await;
    browser.until_text("Connection to Lockkeeper lost").await;
    browser.run("dispatchEvent(new KeyboardEvent('keydown', { key: '?' }))").await;
    browser.by_role("dialog", "Keys").await;
}
