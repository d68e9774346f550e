//! Somebody is told before customers notice, and says that they look into it: in a real browser, by what can be read and
//! by roles.

use std::time::Duration;

use lockkeeper_tests::{Browser, Family, LOOKS, RedisServer, Server};
use serde_json::Value;

const LEASE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_seen_explained_acknowledged_muted_and_over() {
    let redis = RedisServer::start().await;
    let config = format!(
        "[[source]]\nname = \"store\"\nurl = \"{}\"\n[[warning]]\nrule = \"held-long\"\nfor = 0\nseverity = \"critical\"\n",
        redis.url()
    );
    let server = Server::serve().config(&config).start().await;
    server.ready().await;
    let browser = Browser::start().await;
    browser.open(&server.url()).await;
    browser.click("link", "Warnings").await;
    let text = browser.until_text("Nothing to warn of.").await;
    assert!(text.contains("What is looked for") && text.contains("one holder has had it for"), "{text}");

    // It is told on every page, and the page says why and what to do.
    let holder = Family::RedisPy.client(&redis.client().await, "stock:4711", Some(LEASE));
    assert!(holder.take().await);
    browser.by_role("link", "Warnings 1 open, the worst is critical").await;
    let text = browser.until_text("stock:4711").await;
    assert!(text.contains("Why it matters: ") && text.contains("What to do: "), "{text}");

    // The lock's own page says so, too, and leads back.
    browser.click("link", "stock:4711").await;
    browser.until_text("Warning: held-long (open): ").await;
    browser.click("link", "Why, and what to do").await;
    browser.until_text("Warnings of lock:stock:4711 in store").await;

    browser.click("button", "I look into it").await;
    browser.until_text("anonymous looks into it.").await;
    browser.click("button", "Mute").await;
    browser.by_role("dialog", "Mute this?").await;
    browser.by_role("textbox", "Why").await.send_keys("a migration").await.unwrap();
    browser.click("button", "Mute it").await;
    browser.until_text("“a migration”").await;
    browser.click("button", "Tell people again").await;
    browser.until_no_text("“a migration”").await;

    assert!(holder.release().await);
    let text = browser.until_text("It was let go.").await;
    assert!(text.contains("Nothing to warn of.") && text.contains("Over, within the last day"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_warnings_passes_an_audit() {
    let Some(path) = std::env::var_os("LOCKKEEPER_AXE") else {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let redis = RedisServer::start().await;
    let config = format!(
        "[[source]]\nname = \"store\"\nurl = \"{}\"\n[[warning]]\nrule = \"held-long\"\nfor = 0\nseverity = \"critical\"\n",
        redis.url()
    );
    let server = Server::serve().config(&config).start().await;
    server.ready().await;
    assert!(Family::RedisPy.client(&redis.client().await, "a", Some(LEASE)).take().await);
    let browser = Browser::start().await;
    for (theme, features) in LOOKS {
        browser.look(features).await;
        browser.open(&format!("{}warnings", server.url())).await;
        browser.until_text("What to do: ").await;
        for (state, opens) in [("the page", None), ("the dialog", Some("Mute"))] {
            if let Some(button) = opens {
                browser.click("button", button).await;
                browser.by_role("textbox", "Why").await;
            }
            browser.client.execute(&axe, Vec::new()).await.unwrap();
            let script = "const done = arguments[arguments.length - 1]; \
                          axe.run(document, { resultTypes: ['violations'] }).then( \
                            result => done(result.violations.map(one => `${one.id}: ${one.nodes.map(node => node.target)}`)), \
                            error => done([String(error)]))";
            let found = browser.client.execute_async(script, Vec::new()).await.unwrap();
            assert_eq!(found, Value::Array(Vec::new()), "{theme}, {state}");
        }
    }
}
