//! What people with different rights do about a stuck lock in production, in real browsers.

use std::time::Duration;

use fantoccini::Locator;
use lockkeeper_tests::{Answer, Api, Browser, Family, HURRIED, LockClient, RedisServer, Server, lockkeeper, until};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";
const LEASE: Duration = Duration::from_secs(300);

/// Ada is on call, Bob leads, Vera looks on. The store is in production.
pub(crate) struct House {
    redis: RedisServer,
    pub(crate) server: Server,
    _dir: TempDir,
}

impl House {
    pub(crate) async fn open(two_persons: bool) -> House {
        let (redis, dir) = (RedisServer::start().await, TempDir::new().unwrap());
        let users = dir.path().join("users.toml").to_str().unwrap().to_owned();
        for (name, group) in [("ada", "oncall"), ("bob", "leads"), ("vera", "viewers")] {
            let args = ["user", "add", name, "--group", group, "--file", &users];
            assert!(lockkeeper(&args, &format!("{PASSWORD}\n")).await.status.success());
        }
        let config = format!(
            "[[source]]\nname = \"orders\"\nurl = \"{}\"\nenvironment = \"production\"\n\
             [[role]]\nname = \"oncall\"\ngroups = [\"oncall\"]\nrights = [\"release\", \"hold\"]\n\
             [[role]]\nname = \"lead\"\ngroups = [\"leads\"]\nrights = [\"approve\"]\n\
             [[role]]\nname = \"look\"\ngroups = [\"viewers\"]\nrights = [\"view\"]\n\
             [access]\nusers_file = \"{users}\"\n{HURRIED}two_persons = {two_persons}\n",
            redis.url(),
        );
        let server = Server::serve().config(&config).arg("--allow-release").start().await;
        server.ready().await;
        House { redis, server, _dir: dir }
    }

    async fn signed_in(&self, name: &str) -> Api {
        let body = json!({ "name": name, "password": PASSWORD });
        let answer = self.server.api().request(Method::POST, "/api/v1/session").json(&body).send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        self.server.api().with("cookie", &cookie)
    }

    /// A lock that somebody holds and has been seen to.
    pub(crate) async fn stuck(&self, name: &str) -> LockClient {
        let holder = Family::RedisPy.client(&self.redis.client().await, name, Some(LEASE));
        assert!(holder.take().await);
        self.signed_in("vera").await.until_lock("the lock", &holder.key, |_| true).await;
        holder
    }

    /// A browser of this person's, with the lock open.
    pub(crate) async fn browser(&self, name: &str, holder: &LockClient) -> Browser {
        let browser = Browser::start().await;
        browser.open(&format!("{}?lock=orders/{}", self.server.url(), holder.key)).await;
        for (field, text) in [("Name", name), ("Password", PASSWORD)] {
            browser.by_role("textbox", field).await.send_keys(text).await.unwrap();
        }
        browser.click("button", "Sign in").await;
        browser.until_text(&holder.token).await;
        browser
    }
}

/// Ticks every warning in the dialog, and says why.
pub(crate) async fn read_and_say_why(browser: &Browser, why: &str) {
    browser.by_role("textbox", "Why").await.send_keys(why).await.unwrap();
    for tick in browser.client.find_all(Locator::Css("dialog input[type=checkbox]")).await.unwrap() {
        let label = "return arguments[0].closest('label').innerText";
        let label = browser.client.execute(label, vec![serde_json::to_value(&tick).unwrap()]).await.unwrap();
        if !label.as_str().unwrap_or_default().contains("Break glass") {
            tick.click().await.unwrap();
        }
    }
}

async fn confirm(browser: &Browser, text: &str) {
    browser.by_role("textbox", "to confirm").await.send_keys(text).await.unwrap();
}

/// Does everything that is asked for, and presses the button.
pub(crate) async fn carry_out(browser: &Browser, why: &str, button: &str) {
    read_and_say_why(browser, why).await;
    confirm(browser, "4711").await;
    browser.click("button", button).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_is_offered_nothing_and_is_refused_by_the_server_as_well() {
    let house = House::open(false).await;
    let holder = house.stuck("stock:4711").await;
    let browser = house.browser("vera", &holder).await;
    browser.until_text("not for you").await;
    for name in ["Release", "hold", "Put back", "Select"] {
        assert!(browser.try_by_role("button", name).await.is_none(), "{name}");
    }
    let vera = house.signed_in("vera").await;
    let lock = vera.lock(&holder.key).await.unwrap();
    let refused: Answer = vera.try_preview(&[&lock]).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(holder.renew().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_production_one_asks_another_looks_and_approves_and_the_first_releases() {
    let house = House::open(true).await;
    let holder = house.stuck("stock:4711").await;
    let ada = house.browser("ada", &holder).await;
    ada.click("button", "Release…").await;
    ada.until_text("another person, with the right to approve").await;
    read_and_say_why(&ada, "INC-7: worker 3 hangs").await;
    ada.click("button", "Ask a second person").await;
    ada.until_text("Waiting for somebody who may approve it").await;

    let bob = house.browser("bob", &holder).await;
    bob.until_text("ada asks you to approve").await;
    bob.click("button", "Look and decide").await;
    let text = bob.until_text("What happens").await;
    assert!(text.contains("INC-7: worker 3 hangs"), "{text}");
    bob.by_role("textbox", "Why").await.send_keys("looked at it").await.unwrap();
    bob.click("button", "Approve").await;
    bob.until_text("Approved. ada can carry it out").await;
    assert!(holder.renew().await, "an approval releases nothing");

    ada.until_text("A second person has approved this").await;
    carry_out(&ada, "INC-7: worker 3 hangs", "Release").await;
    ada.until_text("Released.").await;
    assert!(!holder.renew().await);

    // And it can be read who did what.
    ada.open(&format!("{}audit", house.server.url())).await;
    let audit = ada.until_text("INC-7: worker 3 hangs").await;
    for part in ["ada", "bob", "released", "stock:4711"] {
        assert!(audit.contains(part), "{part} in {audit}");
    }
    // A page without a table is as live as one with it.
    ada.until_text("as of now").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_night_the_glass_is_broken_and_everybody_is_told() {
    let house = House::open(true).await;
    let holder = house.stuck("stock:4711").await;
    let vera = house.browser("vera", &holder).await;
    let ada = house.browser("ada", &holder).await;
    ada.click("button", "Release…").await;
    ada.until_text("another person, with the right to approve").await;
    read_and_say_why(&ada, "nobody else is awake").await;
    ada.click("checkbox", "Break glass").await;
    confirm(&ada, "4711").await;
    ada.click("button", "Release").await;
    ada.until_text("Released.").await;
    assert!(!holder.renew().await);
    let told = vera.until_text("broke the glass").await;
    assert!(told.contains("ada") && told.contains("nobody else is awake"), "{told}");
    vera.click("button", "I have read this").await;
    vera.until_no_text("broke the glass").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_lock_is_put_back_and_its_holder_notices_nothing() {
    let house = House::open(false).await;
    let holder = house.stuck("stock:4711").await;
    let ada = house.browser("ada", &holder).await;
    ada.click("button", "Release…").await;
    carry_out(&ada, "worker 3 hangs", "Release").await;
    ada.until_text("Released.").await;
    ada.click("button", "Put back…").await;
    ada.by_role("dialog", "Put back stock:4711?").await;
    carry_out(&ada, "it was the wrong one", "Put back").await;
    ada.until_text("the former holder has it again").await;
    assert!(holder.renew().await && holder.release().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_held_while_things_are_cleaned_up_and_opened_again() {
    let house = House::open(false).await;
    let holder = house.stuck("stock:4711").await;
    let ada = house.browser("ada", &holder).await;
    ada.click("button", "Release and hold…").await;
    carry_out(&ada, "its rows have to be repaired first", "Release and hold").await;
    ada.until_text("you hold it now").await;
    let next = holder.fresh();
    assert!(!next.take().await, "nobody gets in");
    ada.click("button", "Close").await;
    ada.until_text("ada, through Lockkeeper").await;
    ada.click("button", "Release…").await;
    carry_out(&ada, "they are repaired", "Release").await;
    ada.until_text("Released.").await;
    until("the next to get in", async || next.take().await, |taken| *taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_changes_hands_under_an_open_dialog_cannot_be_released_from_it() {
    let house = House::open(false).await;
    let holder = house.stuck("stock:4711").await;
    let ada = house.browser("ada", &holder).await;
    ada.click("button", "Release…").await;
    read_and_say_why(&ada, "worker 3 hangs").await;
    confirm(&ada, "4711").await;
    assert!(holder.release().await);
    let next = holder.fresh();
    assert!(next.take().await);
    ada.until_text("This preview is void").await;
    let button = ada.client.find(Locator::Css("dialog button[type=submit]")).await.unwrap();
    assert!(!button.is_enabled().await.unwrap());
    assert!(next.renew().await, "the next holder keeps it");
}
