//! Nobody comes in without showing who they are, in each of the ways there are, and nobody stays longer than that counts.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use lockkeeper_tests::{
    Answer, Api, Authority, Browser, CLIENT, Provider, RedisServer, Server, Viewer, free_port, lockkeeper, until,
};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// The files that say who may come. `ada` is on call, `bob` looks on.
pub(crate) struct House {
    dir: TempDir,
}

impl House {
    pub(crate) async fn new() -> House {
        let house = House { dir: TempDir::new().unwrap() };
        house.add("ada", "oncall").await;
        house.add("bob", "staff").await;
        house
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// A configuration with local users and tokens; `access` holds more keys of `[access]`, or whole tables after it.
    pub(crate) fn config(&self, redis: &RedisServer, access: &str) -> String {
        format!(
            "[[source]]\nurl = \"{}\"\n\
             [[role]]\nname = \"oncall\"\ngroups = [\"oncall\"]\nrights = [\"view\", \"release\", \"trace\"]\n\
             [[role]]\nname = \"look\"\ngroups = [\"staff\"]\nrights = [\"view\"]\n\
             [access]\nusers_file = \"{}\"\ntokens_file = \"{}\"\n{access}",
            redis.url(),
            self.path("users.toml"),
            self.path("tokens.toml"),
        )
    }

    async fn add(&self, name: &str, group: &str) {
        let file = self.path("users.toml");
        said(&["user", "add", name, "--group", group, "--file", &file], &format!("{PASSWORD}\n")).await;
    }

    pub(crate) async fn user(&self, command: &[&str], stdin: &str) -> String {
        let file = self.path("users.toml");
        said(&[&["user"], command, &["--file", &file]].concat(), stdin).await
    }

    async fn token(&self, command: &[&str]) -> String {
        let file = self.path("tokens.toml");
        said(&[&["token"], command, &["--file", &file]].concat(), "").await
    }

    pub(crate) async fn serve(&self, redis: &RedisServer, access: &str) -> Server {
        let server = Server::serve().config(&self.config(redis, access)).arg("--allow-release").start().await;
        server.ready().await;
        server
    }
}

/// What a command printed that did what it was asked.
async fn said(args: &[&str], stdin: &str) -> String {
    let output = lockkeeper(args, stdin).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command complained about.
async fn refused(args: &[&str], stdin: &str) -> String {
    let output = lockkeeper(args, stdin).await;
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Signs in; the cookie as it was set, whole.
pub(crate) async fn sign_in(api: &Api, name: &str) -> String {
    let body = json!({ "name": name, "password": PASSWORD });
    let answer = api.request(Method::POST, "/api/v1/session").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    answer.headers()["set-cookie"].to_str().unwrap().to_owned()
}

/// What the browser sends back of it.
pub(crate) fn pair(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

pub(crate) async fn status(api: &Api) -> u16 {
    api.get("/api/v1/locks").await.status
}

pub(crate) async fn until_status(api: &Api, wanted: u16) {
    until(&format!("{wanted}"), async || status(api).await, |status| *status == wanted).await;
}

pub(crate) async fn wrong_password(api: &Api, name: &str) -> Answer {
    api.post("/api/v1/session", &json!({ "name": name, "password": "not this one, surely" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_unknown_is_told_nothing_but_how_to_sign_in() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api().with("accept", "*/*");
    for path in ["/api/v1/locks", "/api/v1/sources", "/api/v1/session", "/api/v1/stream", "/api/v1/nothing", "/metrics"]
    {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.problem().kind.as_str()), (401, "/problems/who"), "{path}: {answer:#?}");
    }
    for bad in ["Bearer lkt_nonsense", "Bearer", "Basic YWRhOmFkYQ=="] {
        assert_eq!(status(&server.api().with("authorization", bad)).await, 401, "{bad}");
    }
    assert_eq!(status(&server.api().with("cookie", "lockkeeper=nonsense")).await, 401);
    assert_eq!(api.get("/healthz").await.status, 200);
    assert!(!api.get("/readyz").await.body.contains(&redis.source()));

    let page = api.request(Method::GET, "/?q=stock").send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.headers()["location"].to_str().unwrap()),
        (303, "/sign-in?next=%2F%3Fq%3Dstock")
    );
    // A link from elsewhere comes without the cookie even of somebody who is signed in: one more step of our own.
    let page = api.request(Method::GET, "/?q=stock").header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("content=\"0;url=/?q=stock\""));
    let page = api.get("/sign-in?next=%22%3E%3Cscript%3E").await;
    assert!(page.body.contains("type=\"password\"") && !page.body.contains("<script"), "{page:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_begins_a_session_that_ends_when_told() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let (wrong, unknown) = (wrong_password(&api, "ada").await, wrong_password(&api, "nobody").await);
    assert_eq!((wrong.status, &wrong.body), (401, &unknown.body));

    let cookie = sign_in(&api, "ada").await;
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "over plain HTTP the browser would drop it: {cookie}");
    let ada = api.with("cookie", pair(&cookie));
    let session = ada.get("/api/v1/session").await.json::<Value>();
    assert_eq!(
        (&session["name"], &session["via"], &session["access"]),
        (&json!("ada"), &json!("password"), &json!("required"))
    );
    assert_eq!(session["rights"], json!(["view", "trace", "release"]));
    assert_eq!(status(&ada).await, 200);

    // A key that somebody planted is not taken over, and signing in again ends what the browser had.
    let again = sign_in(&ada, "ada").await;
    assert_ne!(pair(&again), pair(&cookie));
    assert_eq!(status(&ada).await, 401);
    let planted = sign_in(&api.with("cookie", "lockkeeper=planted"), "ada").await;
    assert!(!planted.contains("planted"));

    let ada = api.with("cookie", pair(&again));
    let mut viewer = Viewer::connect_with(&server, "cookie", pair(&again)).await;
    viewer.frame().await;
    assert_eq!(ada.request(Method::DELETE, "/api/v1/session").send().await.unwrap().status(), 204);
    assert_eq!(viewer.close_code().await, Some(1008));
    assert_eq!(status(&ada).await, 401);

    let bob = api.with("cookie", pair(&sign_in(&api, "bob").await));
    let here = api.with("cookie", pair(&planted));
    let elsewhere = api.with("cookie", pair(&sign_in(&api, "ada").await));
    let ended = here.request(Method::DELETE, "/api/v1/sessions").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(ended, json!({ "ended": 2 }));
    assert_eq!((status(&here).await, status(&elsewhere).await, status(&bob).await), (401, 401, 200));
    let log = server.said();
    assert!(log.contains("signed in") && log.contains("wrong name or password"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains(pair(&again).split_once('=').unwrap().1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_removed_or_gets_another_password_is_signed_out() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let api = server.api();
    let cookies = [sign_in(&api, "ada").await, sign_in(&api, "bob").await];
    let [ada, bob] = cookies.each_ref().map(|cookie| api.with("cookie", pair(cookie)));
    let mut viewer = Viewer::connect_with(&server, "cookie", pair(&cookies[0])).await;
    viewer.frame().await;
    house.user(&["passwd", "ada"], "another horse entirely\n").await;
    assert_eq!(viewer.close_code().await, Some(1008));
    assert_eq!((status(&ada).await, status(&bob).await), (401, 200));
    house.user(&["remove", "bob"], "").await;
    until_status(&bob, 401).await;
    let body = json!({ "name": "ada", "password": "another horse entirely" });
    assert_eq!(api.post("/api/v1/session", &body).await.status, 200);

    // Half a file is no file: what was read before stays in force.
    std::fs::write(house.file("users.toml"), "[[user]]\nname = \"ad").unwrap();
    until("the complaint", async || server.said(), |said| said.contains("cannot be used")).await;
    assert_eq!(api.post("/api/v1/session", &body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends_and_its_stream_with_it() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "idle = \"5s\"\n").await;
    let cookie = sign_in(&server.api(), "ada").await;
    let mut viewer = Viewer::connect_with(&server, "cookie", pair(&cookie)).await;
    assert_eq!(viewer.close_code().await, Some(1008));
    assert_eq!(status(&server.api().with("cookie", pair(&cookie))).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_the_owner_is_not_kept_out() {
    let redis = RedisServer::start().await;
    // The test is its own trusted proxy, so that it can come from several addresses.
    let proxy = "[access.proxy]\nheader = \"X-Forwarded-User\"\npeers = [\"127.0.0.1\"]\n";
    let house = House::new().await;
    let server = house.serve(&redis, proxy).await;
    let from = |address: &str| server.api().with("x-forwarded-for", address);
    sign_in(&from("198.51.100.1"), "ada").await;
    let guesses: Vec<Api> = (0..20).map(|n| from(&format!("203.0.113.{n}"))).collect();
    let right = from("203.0.113.99");
    for guess in &guesses[..6] {
        assert_eq!(wrong_password(guess, "ada").await.status, 401);
    }
    // Each guess that is let in later, on a machine that takes its time, doubles how long the next ones are not.
    let mut guesses = guesses[6..].iter();
    let slowed = loop {
        let guess = guesses.next().expect("guessing to be slowed down");
        if wrong_password(guess, "ada").await.status == 429 {
            let right = right.request(Method::POST, "/api/v1/session");
            let answer = right.json(&json!({ "name": "ada", "password": PASSWORD })).send().await.unwrap();
            if answer.status() == 429 {
                break answer;
            }
        }
    };
    assert!(slowed.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    // Where ada is at home, and for everybody else, nothing has changed.
    sign_in(&from("198.51.100.1"), "ada").await;
    sign_in(&from("203.0.113.99"), "bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_managed_without_a_password_on_the_command_line() {
    let house = House::new().await;
    let file = house.path("users.toml");
    assert_eq!(house.user(&["list"], "").await, "ada\toncall\nbob\tstaff\n");
    let text = std::fs::read_to_string(house.file("users.toml")).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains(PASSWORD), "{text}");
    assert_eq!(std::fs::metadata(house.file("users.toml")).unwrap().mode() & 0o777, 0o600);
    for (args, stdin, complaint) in [
        (["user", "add", "ada"], PASSWORD, "there is a user `ada` already"),
        (["user", "add", "eve"], "short", "the password has 5 characters, expected 12 to 128"),
        (["user", "add", "eve"], "", "there is no password"),
        (["user", "add", "e ve"], PASSWORD, "`e ve` cannot be a name"),
        (["user", "remove", "eve"], "", "there is no user `eve`"),
        (["user", "passwd", "eve"], PASSWORD, "there is no user `eve`"),
    ] {
        let complained = refused(&[args.as_slice(), &["--file", &file]].concat(), stdin).await;
        assert!(complained.contains(complaint), "{args:?}: {complained}");
    }
    assert!(refused(&["user", "list"], "").await.contains("access.users_file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_it_is_for_until_it_is_revoked() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let secret = house.token(&["new", "--name", "ci", "--right", "view", "--expires", "30d"]).await;
    let ci = server.api().bearing(secret.trim());
    until_status(&ci, 200).await;
    let session = ci.get("/api/v1/session").await.json::<Value>();
    assert_eq!(
        (&session["name"], &session["via"], &session["rights"]),
        (&json!("ci"), &json!("token"), &json!(["view"]))
    );
    assert_eq!(ci.try_preview(&[]).await.status, 403);
    let file = std::fs::read_to_string(house.file("tokens.toml")).unwrap();
    assert!(!file.contains(secret.trim()) && !house.token(&["list"]).await.contains(secret.trim()));
    assert!(house.token(&["list"]).await.starts_with("ci\tview\tall roles\tuntil "));

    let mut events = ci.request(Method::GET, "/api/v1/events").send().await.unwrap();
    assert_eq!(events.status(), 200);
    let bearer = format!("Bearer {}", secret.trim());
    let mut viewer = Viewer::connect_with(&server, "authorization", &bearer).await;
    viewer.frame().await;
    house.token(&["revoke", "ci"]).await;
    assert_eq!(viewer.close_code().await, Some(1008));
    while events.chunk().await.unwrap().is_some() {}
    assert_eq!(status(&ci).await, 401);

    let brief = house.token(&["new", "--name", "brief", "--right", "view", "--role", "look", "--expires", "8s"]).await;
    let brief = server.api().bearing(brief.trim());
    until_status(&brief, 200).await;
    until_status(&brief, 401).await;
    assert!(!server.said().contains(secret.trim()));
    let file = house.path("tokens.toml");
    let complained = refused(&["token", "new", "--name", "x", "--right", "fly", "--file", &file], "").await;
    assert!(complained.contains("expected one of view, annotate"), "{complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_trusted_proxy_says_who_it_is() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let proxy = |peers: &str| {
        format!(
            "[access.proxy]\nheader = \"X-Forwarded-User\"\ngroups_header = \"X-Forwarded-Groups\"\npeers = [\"{peers}\"]\n"
        )
    };
    let server = house.serve(&redis, &proxy("127.0.0.0/8")).await;
    let grace = server.api().with("x-forwarded-user", "grace@example.org");
    let answer = grace.request(Method::GET, "/api/v1/session").header("x-forwarded-groups", "staff, oncall").send();
    let session = answer.await.unwrap().json::<Value>().await.unwrap();
    assert_eq!((&session["name"], &session["via"]), (&json!("grace@example.org"), &json!("proxy")));
    assert_eq!(session["roles"], json!(["oncall", "look"]));
    assert_eq!(status(&grace).await, 403, "without a group there is no role, and without a role no right");
    assert_eq!(status(&server.api()).await, 401);
    let twice = server.api().request(Method::GET, "/api/v1/locks").header("x-forwarded-user", "grace");
    let twice = twice.header("x-forwarded-user", "root").send().await.unwrap();
    assert_eq!(twice.status(), 401);

    let server = house.serve(&redis, &proxy("192.0.2.0/24")).await;
    assert_eq!(status(&server.api().with("x-forwarded-user", "grace")).await, 401);
    until("the complaint", async || server.said(), |said| said.contains("did not come from the trusted proxy")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_a_restart_and_a_broken_one_is_not_taken() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let (first, second) = (Authority::new(), Authority::new());
    let install = |authority: &Authority| {
        for name in ["server.key", "server.pem"] {
            // Moved into place, as renewing programs do.
            std::fs::copy(authority.file(name), house.file("new")).unwrap();
            std::fs::rename(house.file("new"), house.file(name)).unwrap();
        }
    };
    install(&first);
    let tls = format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", house.path("server.pem"), house.path("server.key"));
    let server = Server::serve().config(&house.config(&redis, &tls)).start().await;
    let api = |authority: &Authority| Api::over_tls(server.address(), &authority.file("ca.pem"));
    let cookie = sign_in(&api(&first), "ada").await;
    assert!(cookie.starts_with("__Host-lockkeeper=") && cookie.contains("Secure"), "{cookie}");
    let answer =
        api(&first).request(Method::GET, "/api/v1/locks").header("cookie", pair(&cookie)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let trusted = async |authority: &Authority| api(authority).request(Method::GET, "/healthz").send().await.is_ok();
    assert!(!trusted(&second).await);

    install(&second);
    until("the renewed certificate", async || trusted(&second).await, |trusted| *trusted).await;
    std::fs::write(house.file("server.pem"), "no certificate").unwrap();
    until("the complaint", async || server.said(), |said| said.contains("holds no certificate in PEM form")).await;
    assert!(trusted(&second).await);
    // Whoever speaks no TLS, or begins and falls silent, keeps nobody else waiting.
    let _silent = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    assert!(trusted(&second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_access_control_only_this_machine_is_served_and_told_so() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let session = server.api().get("/api/v1/session").await.json::<Value>();
    assert_eq!((&session["access"], &session["via"]), (&json!("none"), &json!("loopback")));
    assert_eq!(session["rights"].as_array().unwrap().len(), 8);

    let output = Server::serve().redis(&redis.url()).arg("--listen").arg("0.0.0.0:0").run().await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    // What the complaint offers is tried: its lines, with files that are there.
    let house = House::new().await;
    let authority = Authority::new();
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(lines.len(), 3, "{said}");
    let config = format!("{}\n[[source]]\nurl = \"{}\"\n", lines.join("\n"), redis.url())
        .replace("lockkeeper-users.toml", &house.path("users.toml"))
        .replace("\"cert.pem\"", &format!("\"{}\"", authority.path("server.pem")))
        .replace("\"key.pem\"", &format!("\"{}\"", authority.path("server.key")));
    let server = Server::serve().config(&config).arg("--listen").arg("0.0.0.0:0").start_where_it_is_told().await;
    let port = server.address().rsplit(':').next().unwrap();
    let api = Api::over_tls(&format!("127.0.0.1:{port}"), &authority.file("ca.pem"));
    assert_eq!(status(&api).await, 401);
    sign_in(&api, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_and_out_in_a_browser() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let server = house.serve(&redis, "").await;
    let browser = Browser::start().await;
    browser.open(&format!("{}?q=stock", server.url())).await;
    browser.until_text("Sign in").await;
    let fill = async |name: &str, password: &str| {
        for (field, text) in [("Name", name), ("Password", password)] {
            let field = browser.by_role("textbox", field).await;
            field.clear().await.unwrap();
            field.send_keys(text).await.unwrap();
        }
        browser.click("button", "Sign in").await;
    };
    fill("ada", "not this one, surely").await;
    browser.until_text("The name or the password is wrong").await;
    fill("ada", PASSWORD).await;
    browser.until_text("Signed in as ada").await;
    browser.until_text("0 locks").await;
    assert!(
        browser.client.current_url().await.unwrap().as_str().ends_with("/?q=stock"),
        "back where they wanted to go"
    );
    browser.click("button", "Sign out").await;
    browser.until_text("Sign in").await;

    // An open page whose session ends elsewhere does not stay on the screen as if it were live.
    fill("ada", PASSWORD).await;
    browser.until_text("Signed in as ada").await;
    browser.until_text("0 locks").await;
    house.user(&["remove", "ada"], "").await;
    browser.by_role("textbox", "Password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_with_a_provider() {
    let port = free_port();
    let own = format!("http://localhost:{port}");
    let Some(provider) = Provider::start(&format!("{own}/auth/callback"), false).await else {
        println!("skipped: `LOCKKEEPER_OIDC_PROVIDER` does not name npm's oidc-provider; `cargo xtask test` sets it");
        return;
    };
    let redis = RedisServer::start().await;
    let house = House::new().await;
    std::fs::write(house.file("secret"), CLIENT.1).unwrap();
    let access = format!(
        "url = \"{own}\"\n[access.oidc]\nissuer = \"{}\"\nclient_id = \"{}\"\nclient_secret_file = \"{}\"\n",
        provider.issuer(),
        CLIENT.0,
        house.path("secret")
    );
    let config = house.config(&redis, &access);
    let server = Server::serve()
        .config(&config)
        .arg("--listen")
        .arg(&format!("127.0.0.1:{port}"))
        .start_where_it_is_told()
        .await;
    let api = server.api().with("accept", "*/*");

    // What comes back without having been begun by this browser is nobody's.
    let stray = api.get("/auth/callback?code=abc&state=def").await;
    assert_eq!(stray.status, 400, "{stray:#?}");
    let begun = api.request(Method::GET, "/auth/login?next=%2F%2Fevil.example").send().await.unwrap();
    let to = begun.headers()["location"].to_str().unwrap().to_owned();
    for part in ["code_challenge_method=S256", "code_challenge=", "state=", "nonce=", "response_type=code"] {
        assert!(to.contains(part), "{to}");
    }
    let kept = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(kept.contains("HttpOnly") && kept.contains("SameSite=Lax"), "{kept}");
    let state = url::Url::parse(&to).unwrap().query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    // The right browser with a code that the provider never gave.
    let forged = api.with("cookie", pair(&kept)).get(&format!("/auth/callback?code=abc&state={state}")).await;
    assert_eq!(forged.status, 502, "{forged:#?}");
    let denied = api.with("cookie", pair(&kept));
    let denied =
        denied.get(&format!("/auth/callback?error=access_denied&error_description=%3Cb%3E&state={state}")).await;
    assert!(denied.status == 403 && denied.body.contains("&lt;b&gt;"), "{denied:#?}");

    let browser = Browser::start().await;
    sign_in_at_provider(&browser, &own, "ada").await;
    browser.until_text("Signed in as ada").await;
    browser.until_text("0 locks").await;
    let session = browser.run("return fetch('/api/v1/session').then(answer => answer.json())").await;
    assert_eq!((&session["via"], &session["roles"]), (&json!("oidc"), &json!(["oncall"])));
    browser.click("button", "Sign out").await;
    browser.until_text("Sign in").await;

    // Other keys, and another place for the groups: nothing has to be done here.
    let provider = provider.restart(true).await;
    let browser = Browser::start().await;
    sign_in_at_provider(&browser, &own, "eve").await;
    browser.until_text("Signed in as eve").await;
    let session = browser.run("return fetch('/api/v1/session').then(answer => answer.json())").await;
    assert_eq!((&session["name"], &session["roles"]), (&json!("eve"), &json!([])));
    let log = server.said();
    assert!(log.contains("the OpenID Connect provider answers") && !log.contains(CLIENT.1), "{log}");
    drop(provider);
}

/// Through the provider's own pages: a name, any password, and consent.
async fn sign_in_at_provider(browser: &Browser, own: &str, name: &str) {
    browser.open(own).await;
    browser.click("link", "Sign in with your organisation").await;
    browser.until_text("Sign-in").await;
    for (field, text) in [("login", name), ("password", "any")] {
        let field = browser.client.find(fantoccini::Locator::Css(&format!("input[name={field}]"))).await.unwrap();
        field.send_keys(text).await.unwrap();
    }
    browser.click("button", "Sign-in").await;
    browser.click("button", "Continue").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_said_and_keeps_nobody_else_out() {
    let redis = RedisServer::start().await;
    let house = House::new().await;
    let access = format!(
        "url = \"http://localhost\"\n[access.oidc]\nissuer = \"http://127.0.0.1:{}\"\nclient_id = \"lockkeeper\"\n",
        free_port()
    );
    let server = house.serve(&redis, &access).await;
    let answer = server.api().get("/auth/login").await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.body.contains("The provider cannot be used") && answer.body.contains("type=\"password\""),
        "{answer:#?}"
    );
    until("the line in the log", async || server.said(), |said| said.contains("nobody signs in with it")).await;
    sign_in(&server.api(), "ada").await;
}
