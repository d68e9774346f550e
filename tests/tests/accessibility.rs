//! An audit of each state of the page with axe-core, in both themes.

use std::time::Duration;

use fred::interfaces::PubsubInterface as _;
use lockkeeper_tests::{Browser, Family, LOOKS, RedisServer, Server};
use serde_json::Value;

use crate::journeys::sample_until;

const LEASE: Duration = Duration::from_secs(300);

/// What is violated on the page as it is now, in a line each.
pub(crate) async fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.client.execute(axe, Vec::new()).await.unwrap();
    let script = "const done = arguments[arguments.length - 1]; \
                  axe.run(document, { resultTypes: ['violations'] }).then( \
                    result => done(result.violations.map(one => \
                      `${one.id} (${one.impact}): ${one.help}: ${one.nodes.map(node => node.target + ' ' + node.failureSummary).join(' | ')}`)), \
                    error => done([String(error)]))";
    let found = browser.client.execute_async(script, Vec::new()).await.unwrap();
    let Value::Array(found) = found else { panic!("{found}") };
    found.into_iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn table_drawer_and_dialog_pass_an_audit_in_every_look() {
    let Some(path) = std::env::var_os("LOCKKEEPER_AXE") else {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let redis = RedisServer::start().await;
    let server = Server::serve().redis(&redis.url()).arg("--allow-release").arg("--allow-trace").start().await;
    server.ready().await;
    let client = redis.client().await;
    for family in Family::ALL {
        assert!(family.client(&client, &format!("held:{}", family.dialect()), Some(LEASE)).take().await);
    }
    assert!(Family::RedisPy.client(&client, "immortal", None).take().await);
    server.api().until_lock("the last lock", "lock:immortal", |_| true).await;

    let browser = Browser::start().await;
    for (theme, features) in LOOKS {
        browser.look(features).await;
        browser.open(&server.url()).await;
        browser.until_text("immortal").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the table");
        browser.click("link", "immortal").await;
        browser.until_text("Token").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the drawer");
        browser.click("button", "Sample for 3 s").await;
        browser.until_text("Sampling for 3 s").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, a trace");
        // A store that answers late for a moment is not traced.
        sample_until(&browser, &["Sampled: until"]).await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, what a trace saw");
        browser.click("button", "Release").await;
        browser.by_role("textbox", "Why").await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, the dialog");
    }

    // What is done with many, and what helps to find one.
    browser.open(&server.url()).await;
    browser.until_text("immortal").await;
    browser.click("button", "View").await;
    assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "views and columns");
    browser.click("button", "View").await;
    browser.click("button", "Select").await;
    browser.click("checkbox", "Select immortal").await;
    browser.click("checkbox", "Select held:redis-py").await;
    assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "a selection");
    browser.click("button", "Release…").await;
    browser.by_role("textbox", "Why").await;
    assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "the dialog of several");
    browser.click("button", "Cancel").await;
    for key in ["k", "?"] {
        let press = format!("dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', ctrlKey: '{key}' == 'k' }}))");
        browser.run(&press).await;
        browser.until_text(if key == "k" { "Held for more than 5 minutes" } else { "hold the table still" }).await;
        assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "the dialog of `{key}`");
        browser.run("document.querySelector('dialog[open]').close()").await;
    }
    browser.by_role("combobox", "Search locks").await.send_keys("flag:no-e").await.unwrap();
    browser.by_role("option", "flag:no-expiry").await;
    assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "a completion");

    // The same where there is nothing to show, and where what is shown is old.
    browser.open(&format!("{}?q=nothing-is-called-this", server.url())).await;
    browser.by_role("combobox", "Search locks").await;
    browser.until_no_text("immortal").await;
    assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "an empty answer");
    redis.freeze();
    browser.until_text("is down").await;
    assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "a lost store");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_page_passes_an_audit_in_every_look() {
    let Some(path) = std::env::var_os("LOCKKEEPER_AXE") else {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let redis = RedisServer::start().await;
    let config = format!(
        "[[source]]\nname = \"s\"\nurl = \"{}\"\n\n[[link]]\nname = \"logs\"\ntemplate = \"https://logs.example.org/{{lock}}\"\n",
        redis.url()
    );
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    server.ready().await;
    let client = redis.client().await;
    let held = Family::Redisson.client(&client, "stock:4711", Some(LEASE));
    assert!(held.take().await);
    // Its library subscribes to this channel while it waits, and that is counted.
    let waiter = redis.client().await;
    waiter.subscribe(held.signal()).await.unwrap();
    server.api().until_lock("one who waits", "stock:4711", |lock| lock.waiters.count == Some(1)).await;

    let browser = Browser::start().await;
    for (theme, features) in LOOKS {
        browser.look(features).await;
        for (path, words) in [
            ("lock?lock=s/stock:4711", "Nobody wrote anything"),
            ("lock", "The address names no lock"),
            ("contention", "who cannot be told apart"),
            ("holders", "Longest held"),
            ("?group=dialect", "redisson"),
            ("?group=prefix&within=stock%3A", "4711"),
            ("sources", "Bytes"),
            ("audit", "Nothing was released"),
            ("settings", "Listens on"),
        ] {
            browser.open(&format!("{}{path}", server.url())).await;
            browser.until_text(words).await;
            assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, {path}");
        }
    }
}
