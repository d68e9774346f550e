//! The description is enough to write a program against: a client is generated from what a running server says of
//! itself, compiled strictly, and used.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use lockkeeper_tests::{Family, RedisServer, Server};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const LEASE: Duration = Duration::from_secs(600);

/// What is done with the client.
const PROGRAM: &str = include_str!("generated_client.ts");

/// Which parts of a client are generated.
const PLUGINS: [&str; 3] = ["@hey-api/typescript", "@hey-api/sdk", "@hey-api/client-fetch"];

/// Compiled for the node that runs it, with every check that finds a loose type.
const STRICTLY: &str = "--strict --noUncheckedIndexedAccess --target es2022 --lib es2023,dom,dom.iterable \
                        --module commonjs --moduleResolution node10 --types node --outDir built use.ts";

/// A compiler beside everything else that is tested takes its time.
const AT_MOST: Duration = Duration::from_secs(240);

async fn node(dir: &Path, script: &str, args: &[&str]) -> Output {
    let mut command = Command::new("node");
    command.arg(script).args(args).current_dir(dir).kill_on_drop(true);
    timeout(AT_MOST, command.output()).await.unwrap().unwrap()
}

fn assert_done(what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_lists_looks_previews_releases_and_reads_what_was_done() {
    let Some(generator) = std::env::var_os("LOCKKEEPER_CLIENT_GENERATOR") else {
        println!(
            "skipped: `LOCKKEEPER_CLIENT_GENERATOR` does not name the folder of npm's openapi-ts; `cargo xtask test` sets it"
        );
        return;
    };
    let redis = RedisServer::start().await;
    let store = redis.client().await;
    let server = Server::releasing(&redis).await;
    let mut clients = Vec::new();
    for n in 1..=3 {
        let client = Family::RedisPy.client(&store, &format!("stock:{n}"), Some(LEASE));
        assert!(client.take().await);
        clients.push(client);
    }
    server.api().until_story("lock:stock:3", &["acquired"]).await;

    let dir = TempDir::new().unwrap();
    let description = server.api().get("/api/v1/openapi.json").await;
    std::fs::write(dir.path().join("openapi.json"), description.body).unwrap();
    std::fs::write(dir.path().join("use.ts"), PROGRAM).unwrap();
    // Modules are looked for beside the program.
    std::os::unix::fs::symlink(Path::new(&generator).join("node_modules"), dir.path().join("node_modules")).unwrap();

    let mut args = vec!["-i", "openapi.json", "-o", "client", "--silent", "--no-log-file"];
    PLUGINS.iter().for_each(|plugin| args.extend(["-p", plugin]));
    let made = node(dir.path(), "node_modules/@hey-api/openapi-ts/bin/run.js", &args).await;
    assert_done("the client could not be generated", &made);
    let flags: Vec<&str> = STRICTLY.split_whitespace().collect();
    let compiled = node(dir.path(), "node_modules/typescript/bin/tsc", &flags).await;
    assert_done("what is written against the client does not compile", &compiled);
    let base = server.url();
    let used = node(dir.path(), "built/use.js", &[base.trim_end_matches('/'), &redis.source(), "lock:stock:1"]).await;
    assert_done("the client could not be used", &used);
    assert!(server.api().lock("lock:stock:1").await.is_none());
    assert!(server.api().lock("lock:stock:2").await.is_some());
}
