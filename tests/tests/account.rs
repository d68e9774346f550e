//! The page on which people look after their own access: another password, where they are signed in, a second factor; in
//! the real browser, by roles and labels, and against whoever sends its forms unasked.

use std::time::{SystemTime, UNIX_EPOCH};

use lockkeeper_tests::{Api, Browser, RedisServer, Server};
use reqwest::Method;
use serde_json::json;

use crate::access::{House, PASSWORD, pair, sign_in, status};
use crate::accessibility::violations;

const ANOTHER: &str = "another horse entirely";

/// The width of a phone, and of a desk.
const WIDTHS: [u32; 2] = [375, 1440];

async fn fill(browser: &Browser, label: &str, text: &str) {
    let field = browser.by_role("textbox", label).await;
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

/// A browser in which somebody is signed in and sees the page.
async fn opened(server: &Server, name: &str) -> Browser {
    let browser = Browser::start().await;
    browser.open(&format!("{}account", server.url())).await;
    fill(&browser, "Name", name).await;
    fill(&browser, "Password", PASSWORD).await;
    browser.click("button", "Sign in").await;
    browser.until_text("Your account").await;
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changes_ones_password_in_the_browser_and_is_told_why_not() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let elsewhere = api.with("cookie", pair(&sign_in(&api, "ada").await));
    let browser = opened(&server, "ada").await;
    let change = async |old: &str, new: &str| {
        fill(&browser, "Password so far", old).await;
        fill(&browser, "New password", new).await;
        browser.click("button", "Change the password").await;
    };
    browser.until_text("12 to 128 characters").await;
    change(PASSWORD, "passwordpassword").await;
    browser.until_text("The password is too easy to guess").await;
    change("not this one, surely", ANOTHER).await;
    browser.until_text("The password is wrong").await;
    assert_eq!(status(&elsewhere).await, 200, "nothing has changed");
    change(PASSWORD, ANOTHER).await;
    browser.until_text("The password was changed. Your other sessions ended.").await;
    assert_eq!(status(&elsewhere).await, 401);
    // The browser that changed it goes on, and nothing is sent again by looking again.
    browser.client.refresh().await.unwrap();
    browser.until_text("this browser").await;
    let said = server.said();
    assert!(!said.contains(ANOTHER) && !said.contains("passwordpassword"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ends_ones_other_sessions_one_by_one_and_all_at_once() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(api.with("cookie", pair(&sign_in(&api, "ada").await)));
    }
    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let browser = opened(&server, "ada").await;
    browser.click("button", "End the session from 127.0.0.1").await;
    browser.until_text("The session has ended").await;
    // The newest stands first.
    let mut left = Vec::new();
    for other in &others {
        left.push(status(other).await);
    }
    assert_eq!(left, [200, 200, 401]);
    browser.click("button", "End all others").await;
    browser.until_text("Your other sessions have ended").await;
    assert_eq!((status(&others[0]).await, status(&others[1]).await, status(&bob).await), (401, 401, 200));
    browser.until_no_text("End all others").await;
}

/// The code of now for a secret as the page shows it.
fn code(secret: &str, later_s: u64) -> String {
    let secret: String = secret.chars().filter(char::is_ascii_alphanumeric).collect();
    let secret = totp_rs::Secret::try_from_base32(&secret).unwrap();
    let codes = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    codes.generate(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + later_s).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_switched_on_with_a_code_and_off_with_another() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let elsewhere = api.with("cookie", pair(&sign_in(&api, "ada").await));
    let browser = opened(&server, "ada").await;
    browser.click("button", "Set one up").await;
    browser.until_text("Scan this").await;
    let secret = browser.run("return document.querySelector('.account code').textContent").await;
    let secret = secret.as_str().unwrap().to_owned();
    assert!(secret.replace(' ', "").len() == 32, "160 bits in base32: {secret}");
    let modules = browser.run("return document.querySelector('.qr path').getAttribute('d').length").await;
    assert!(modules.as_u64().unwrap() > 1_000, "{modules}");
    let confirm = async |password: &str, code: &str, button: &str| {
        fill(&browser, "Your password", password).await;
        fill(&browser, "Code that the app shows", code).await;
        browser.click("button", button).await;
    };
    confirm(PASSWORD, "000000", "Switch it on").await;
    browser.until_text("The code does not fit the secret").await;
    browser.until_text(&secret).await;
    assert_eq!(status(&elsewhere).await, 200, "nothing has changed");
    let used = code(&secret, 0);
    confirm(PASSWORD, &used, "Switch it on").await;
    browser.until_text("The second factor is on.").await;
    assert_eq!(status(&elsewhere).await, 401);
    let without = api.post("/api/v1/session", &json!({ "name": "ada", "password": PASSWORD })).await;
    assert_eq!(without.status, 401, "{without:#?}");

    // The code that switched it on is used.
    confirm(PASSWORD, &used, "Switch it off").await;
    browser.until_text("or a code was needed and is wrong, missing or used already").await;
    confirm(PASSWORD, &code(&secret, 30), "Switch it off").await;
    browser.until_text("The second factor is off.").await;
    sign_in(&api, "ada").await;
    let said = server.said();
    assert!(!said.contains(&secret.replace(' ', "")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_forms_are_taken_from_our_own_page_and_from_whoever_is_known_alone() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let stranger = api.with("accept", "*/*");
    let page = stranger.request(Method::GET, "/account").send().await.unwrap();
    let to = page.headers()["location"].to_str().unwrap();
    assert_eq!(
        (page.status().as_u16(), to),
        (303, "/sign-in?next=%2Faccount"),
        "whoever is unknown is asked to sign in"
    );
    let ada = api.with("cookie", pair(&sign_in(&api, "ada").await));
    let send = async |api: &Api, path: &str, origin: Option<&str>, form: &str| {
        let mut request = api.request(Method::POST, path).body(form.to_owned());
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let own = server.url().trim_end_matches('/').to_owned();
    for (path, form) in [
        ("/account/password", format!("old={}&new={}", PASSWORD.replace(' ', "+"), ANOTHER.replace(' ', "+"))),
        ("/account/sessions", "id=others".to_owned()),
        ("/account/second-factor", "step=begin".to_owned()),
    ] {
        assert_eq!(send(&ada, path, Some("https://evil.example"), &form).await, 403, "{path}");
        assert_eq!(send(&ada, path, None, &form).await, 403, "{path}");
        assert_eq!(send(&api, path, Some(&own), &form).await, 401, "{path}");
    }
    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let sessions: serde_json::Value = bob.get("/api/v1/sessions").await.json();
    let of_bob = format!("id={}", sessions["sessions"][0]["id"].as_str().unwrap());
    assert_eq!(send(&ada, "/account/sessions", Some(&own), &of_bob).await, 404, "bob's is none for ada");
    assert_eq!((status(&ada).await, status(&bob).await), (200, 200));
    // A secret that somebody made up and no device has is not taken over.
    let forged = format!("step=on&secret=MFRGG&code=000000&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(send(&ada, "/account/second-factor", Some(&own), &forged).await, 422);
    assert_eq!(status(&ada).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_passes_an_audit_in_light_and_dark_and_fits_a_phone() {
    let Some(path) = std::env::var_os("LOCKKEEPER_AXE") else {
        println!("skipped: `LOCKKEEPER_AXE` does not name axe-core's script; `cargo xtask test` sets it where npm is");
        return;
    };
    let axe = std::fs::read_to_string(path).unwrap();
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    sign_in(&server.api(), "ada").await;
    let browser = opened(&server, "ada").await;
    for theme in ["light", "dark"] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        browser.cdp("Emulation.setEmulatedMedia", media).await;
        for width in WIDTHS {
            let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
            browser.cdp("Emulation.setDeviceMetricsOverride", size).await;
            browser.open(&format!("{}account", server.url())).await;
            browser.until_text("End all others").await;
            let fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
            assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, {width}");
            assert_eq!(browser.run(fits).await, json!(true), "{theme}, {width}");
            browser.click("button", "Set one up").await;
            browser.until_text("Scan this").await;
            assert_eq!(violations(&browser, &axe).await, Vec::<String>::new(), "{theme}, {width}, setting up");
            assert_eq!(browser.run(fits).await, json!(true), "{theme}, {width}, setting up");
        }
    }
}
