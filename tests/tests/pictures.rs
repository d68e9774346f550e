//! The main pages look as they did: pictures of them, by day and by night, on three screens, are compared with those in
//! `docs/pictures` at the end of `cargo xtask test`. A change that is meant is taken up with `cargo xtask pictures`.

use std::path::Path;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::PubsubInterface as _;
use lockkeeper_tests::{
    Album, Browser, Compared, Family, LockClient, RedisServer, SAME_EVERYWHERE, Screen, Server, still, until_some,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(3_000);

/// A page may be caught between two answers: it is looked at anew so many times before it counts as another one.
const LOOKS: usize = 4;

/// The pages, by the name of their picture, with words that are there once everything is.
const PAGES: [(&str, &str, &str); 11] = [
    ("locks", "/", "report:daily"),
    ("drawer", "/?lock=orders/lock:stock:4711", "Generation"),
    ("lock", "/lock?lock=orders/invoice:2026-01", "Nobody wrote anything"),
    ("warnings", "/warnings", "What to do: "),
    ("contention", "/contention", "Until now"),
    ("holders", "/holders", "Longest held"),
    ("history", "/history?at=AT", "stock:4711"),
    ("incidents", "/incidents", "frozen by"),
    ("audit", "/audit", "Nobody has taken it"),
    ("sources", "/sources", "Bytes"),
    ("settings", "/settings", "Listens on"),
];

/// A store with the same locks each time, and a server that saw some of them come and go.
struct Scene {
    server: Server,
    /// A moment at which the stuck lock was held.
    held_at: String,
    _waiters: Vec<Client>,
    _redis: RedisServer,
    /// Where the server keeps what it writes down.
    data: String,
    _data: TempDir,
}

impl Scene {
    async fn set() -> Scene {
        let (redis, data) = (RedisServer::start().await, TempDir::new().unwrap());
        let config = format!(
            "[[source]]\nname = \"orders\"\nurl = \"{}\"\nenvironment = \"production\"\n\
             [[warning]]\nrule = \"held-long\"\npattern = \"lock:stock:*\"\nfor = 0\nseverity = \"critical\"\n\
             [[link]]\nname = \"logs\"\ntemplate = \"https://logs.example.org/{{lock}}\"\n",
            redis.url()
        );
        let server = Server::serve().config(&config).arg("--allow-release").arg("--data-dir");
        let server = server.arg(data.path().to_str().unwrap()).start().await;
        server.ready().await;
        let (api, client) = (server.api(), redis.client().await);
        // Once there was a whole board, what follows can be looked back at.
        until_some("a moment that is recorded", async || {
            let now = api.locks("").await.as_of;
            (api.get(&format!("/api/v1/locks?at={now}")).await.status == 200).then_some(())
        })
        .await;

        // One after the other, so that those with the same of everything else are in the same order.
        let mut waiters = Vec::new();
        for (family, name, waiting, lease) in [
            (Family::RedisPy, "stock:4711", 0, None),
            (Family::Redisson, "invoice:2026-01", 3, Some(LEASE)),
            (Family::Redisson, "shipping:label", 1, Some(LEASE)),
            (Family::PythonRedisLock, "report:daily", 0, Some(LEASE)),
            (Family::RedisPy, "import:customers", 0, Some(LEASE)),
            (Family::RedisPy, "mail:digest", 0, Some(LEASE)),
            (Family::Redisson, "search:reindex", 0, Some(LEASE)),
        ] {
            let holder = family.client(&client, name, lease);
            assert!(holder.take().await);
            for _ in 0..waiting {
                let waiter = redis.client().await;
                waiter.subscribe(holder.signal()).await.unwrap();
                waiters.push(waiter);
            }
            let seen = |count: Option<u32>| waiting == 0 || count == Some(waiting);
            api.until_lock("the lock and who waits", &holder.key, |lock| seen(lock.waiters.count)).await;
        }
        released(&server, &Family::RedisPy.client(&client, "cache:warm", Some(LEASE))).await;
        until_some("who waited to be written down", async || {
            assert_eq!(api.get("/api/v1/stats").await.status, 200);
            let waited: Value = api.get("/api/v1/waited").await.json();
            (waited["locks"].as_array()?.len() == 2).then_some(())
        })
        .await;
        let held_at = api.locks("").await.as_of.to_string();
        let locks = json!([{ "source": "orders", "id": "lock:stock:4711" }]);
        let frozen =
            json!({ "title": "Orders stopped", "locks": locks, "from": "2026-01-01T00:00:00Z", "to": held_at });
        let answer = api.post("/api/v1/incidents", &frozen).await;
        assert!(answer.status < 300, "{answer:#?}");
        let path = data.path().to_str().unwrap().to_owned();
        Scene { server, held_at, data: path, _waiters: waiters, _redis: redis, _data: data }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{}", self.server.url().trim_end_matches('/'), path.replace("AT", &self.held_at))
    }
}

/// Has this lock be taken and released from Lockkeeper.
async fn released(server: &Server, holder: &LockClient) {
    assert!(holder.take().await);
    let api = server.api();
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    let preview = api.preview(&lock).await;
    let answer = api.try_release(&preview.ticket, &preview.confirm, "a worker hung").await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    api.until_story(&holder.key, &["forced"]).await;
}

async fn look_at_every_page(theme: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
    let album = Album::open(&folder, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures"));
    if album.is_idle() {
        println!("skipped: `cargo xtask test` compares them by themselves, `cargo xtask pictures` takes them anew");
        return;
    }
    let browser = Browser::with(&SAME_EVERYWHERE).await;
    let version = browser.run("return navigator.userAgent.match(/Chrome\\/\\d+/)[0]").await;
    let version = version.as_str().unwrap();
    assert!(
        album.is_drawn_by(version),
        "`docs/pictures` were drawn by another browser than {version}, or are not there: `cargo xtask pictures` has it draw them"
    );
    let scene = Scene::set().await;
    let mut differ = Vec::new();
    for screen in Screen::ALL.into_iter().filter(|screen| screen.theme == theme) {
        screen.put_on(&browser).await;
        for (name, path, words) in PAGES {
            let name = format!("{name}-{}-{}", screen.width, screen.theme);
            let mut compared = Compared::Same;
            for look in 0..LOOKS {
                browser.open(&scene.url(path)).await;
                browser.until_text(words).await;
                compared = album.compare(&name, &still(&browser, &[(&scene.data, "/var/lib/lockkeeper")]).await);
                // What was renewed is looked at once more: a picture that does not stay is none.
                if compared == Compared::Same {
                    break;
                }
                assert!(
                    !album.is_renewing() || look + 1 < LOOKS,
                    "{name} is another picture each time: something in it moves"
                );
            }
            if let Compared::Differs(said) = compared {
                differ.push(said);
            }
        }
    }
    let where_to = album.differences().display();
    assert!(
        differ.is_empty(),
        "{}\nWhat was expected, what is there and the difference: {where_to}\n\
         If this is meant: `cargo xtask pictures`",
        differ.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_pages_look_by_day_as_they_did() {
    look_at_every_page("light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_pages_look_by_night_as_they_did() {
    look_at_every_page("dark").await;
}
