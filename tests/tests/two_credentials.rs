//! A source with two users: what watches can change nothing, and what releases can do what each release needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fred::interfaces::ClientLike as _;
use fred::types::config::Config;
use fred::types::{Builder, CustomCommand, Value};
use lockkeeper_model::{FeedKind, Outcome};
use lockkeeper_tests::{Family, HURRIED, RedisServer, Server, security_acl, store, until};

const LEASE: Duration = Duration::from_secs(60);

async fn connected(url: &str) -> fred::clients::Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn what_watches_cannot_write_and_what_releases_frees_every_familys_locks() {
    let redis = RedisServer::start().await;
    let server = Server::releasing_apart(&redis).await;
    let (api, admin) = (server.api(), redis.client().await);
    let source = api.until_live().await;
    assert_eq!((source.feed, source.missing_permissions.as_slice()), (Some(FeedKind::Tracking), [].as_slice()));

    let watcher = connected(&redis.url_as("lockkeeper-watch", "secret")).await;
    for family in Family::ALL {
        let holder = family.client(&admin, &format!("apart:{}", family.dialect()), Some(LEASE));
        assert!(holder.take().await);
        let lock = api.until_lock("the lock", &holder.key, |_| true).await;
        for script in ["return redis.call('DEL', KEYS[1])", "return redis.call('SET', KEYS[1], 'x')"] {
            let arguments = [script, "1", holder.key.as_str()];
            let refused = watcher
                .custom::<Value, _>(CustomCommand::new_static("EVAL", None::<u16>, false), arguments.to_vec())
                .await;
            assert!(refused.is_err(), "{refused:?}");
        }
        for (command, arguments) in [
            ("DEL", vec![holder.key.as_str()]),
            ("UNLINK", vec![holder.key.as_str()]),
            ("SET", vec![holder.key.as_str(), "x"]),
            ("PEXPIRE", vec![holder.key.as_str(), "1"]),
            ("FLUSHALL", vec![]),
            ("CONFIG", vec!["SET", "maxmemory", "1"]),
        ] {
            let refused =
                watcher.custom::<Value, _>(CustomCommand::new_static(command, None::<u16>, false), arguments).await;
            assert!(
                refused.as_ref().is_err_and(|error| error.details().starts_with("NOPERM")),
                "{command}: {refused:?}"
            );
        }
        let (status, answer) = api.release(&api.preview(&lock).await).await;
        assert_eq!((status, answer.results[0].outcome), (200, Outcome::Released), "{family:?}: {answer:#?}");
        assert!(!holder.renew().await);
    }
    // It is there for an attempt, and not left open.
    until(
        "the releasing user to be gone",
        async || store::<String>(&admin, "CLIENT", ["LIST"]).await,
        |list| !list.contains("user=lockkeeper-release") && list.contains("user=lockkeeper-watch"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_not_let_in_is_told_before_anybody_needs_it() {
    let redis = RedisServer::start().await;
    let admin = redis.client().await;
    let [watching, _] = security_acl();
    let _: String = store(&admin, "ACL", watching).await;
    let (url, wrong) = (redis.url_as("lockkeeper-watch", "secret"), redis.url_as("lockkeeper-release", "mistyped"));
    let config = format!("[[source]]\nurl = '{url}'\nrelease_url = '{wrong}'\n{HURRIED}");
    let server = Server::serve().arg("--allow-release").config(&config).start().await;
    server.ready().await;
    let api = server.api();
    let source =
        until("it to be told", async || api.source().await, |source| !source.missing_permissions.is_empty()).await;
    let [missing] = source.missing_permissions.as_slice() else { panic!("{source:#?}") };
    assert_eq!(missing.permission, "release_url");
    assert_eq!(
        missing.costs,
        "nothing can be released: the credential of `release_url` cannot be used: Redis refused the user name or the \
         password"
    );
    let holder = Family::RedisPy.client(&admin, "kept", Some(LEASE));
    assert!(holder.take().await);
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    let (status, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!((status, answer.results[0].outcome), (502, Outcome::Failed), "{answer:#?}");
    assert!(holder.release().await, "nothing was done");
    assert!(!server.said().contains("mistyped"));
}

/// Every command of every script of the server, so that one that is added is not forgotten.
#[test]
fn the_releasing_user_may_run_every_command_of_every_script() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src/source/redis");
    let mut commands = BTreeSet::new();
    let mut folders = vec![sources];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for call in text.split("redis.call('").skip(1).chain(text.split("redis.pcall('").skip(1)) {
                    commands.insert(call.split('\'').next().unwrap().to_ascii_lowercase());
                }
            }
        }
    }
    assert!(commands.len() > 20, "{commands:?}");
    let [watching, releasing] = security_acl();
    // Values and reports are read by whoever watches; sharded channels, which Redis before 7 does not know, are named apart.
    for apart in ["getrange", "xrange", "spublish"] {
        assert!(commands.remove(apart));
    }
    let lacking: Vec<_> =
        commands.iter().filter(|command| !releasing.contains(&format!("+{command}").as_str())).collect();
    assert!(lacking.is_empty(), "docs/security.md does not grant {lacking:?}");
    let writes = ["+del", "+unlink", "+set", "+hdel", "+zrem", "+srem", "+pexpire", "+lpush", "+publish", "+incr"];
    assert!(writes.iter().all(|write| !watching.contains(write)), "{watching:?}");
}
