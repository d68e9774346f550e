//! A store behind TLS is watched like any other, and what is wrong with a certificate is said in a sentence.

use std::time::Duration;

use lockkeeper_model::SourceState;
use lockkeeper_tests::{Authority, Family, Server};

const LEASE: Duration = Duration::from_secs(60);

fn config(port: u16, tls: &str) -> String {
    format!("[[source]]\nurl = \"rediss://127.0.0.1:{port}\"\ntls = {{ {tls} }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_wants_a_certificate_is_watched_with_one() {
    let authority = Authority::new();
    let (redis, port) = authority.redis().await;
    let holder = Family::RedisPy.client(&redis.client().await, "sealed", Some(LEASE));
    assert!(holder.take().await);
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| authority.path(name));
    // The name is checked, so that one which the certificate does not bear would be refused.
    let tls = format!("ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\", server_name = \"redis.test\"");
    let server = Server::serve().config(&config(port, &tls)).arg("--allow-release").start().await;
    let api = server.api();
    api.until_live().await;
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    let (status, _) = api.release(&api.preview(&lock).await).await;
    assert_eq!(status, 200);
    assert!(!holder.release().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_certificate_is_said() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (redis, port) = authority.redis().await;
    let ca = format!("ca = \"{}\"", authority.path("ca.pem"));
    let of = |who: &Authority| format!("cert = \"{}\", key = \"{}\"", who.path("client.pem"), who.path("client.key"));
    for (port, tls, words) in [
        (port, format!("ca = \"{}\", {}", stranger.path("ca.pem"), of(&authority)), "not signed by an authority"),
        (port, ca.clone(), "wants a certificate"),
        (port, format!("{ca}, {}", of(&stranger)), "refused to speak TLS"),
        (port, format!("{ca}, {}, server_name = \"other.test\"", of(&authority)), "for another name"),
        (redis.port(), ca.clone(), "does not speak TLS"),
    ] {
        let server = Server::serve().config(&config(port, &tls)).start().await;
        let said = server
            .api()
            .until_source(words, |source| source.problem.as_ref().is_some_and(|problem| problem.contains(words)))
            .await;
        assert_eq!(said.state, SourceState::Down, "{said:#?}");
        assert!(said.hint.is_some(), "{said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named_before_anything_starts() {
    let authority = Authority::new();
    let [ca, key, other] = ["ca.pem", "client.key", "server.pem"].map(|name| authority.path(name));
    for (tls, named) in [
        ("ca = \"/nowhere/ca.pem\"".to_owned(), "`/nowhere/ca.pem` cannot be read"),
        (format!("ca = \"{key}\""), "holds no certificate"),
        (format!("cert = \"{ca}\""), "`key` is missing"),
        (format!("cert = \"{ca}\", key = \"{ca}\""), "holds no private key"),
        (format!("cert = \"{other}\", key = \"{key}\""), "do not go together"),
        (format!("certificate = \"{ca}\""), "is not a key here"),
    ] {
        let output = Server::serve().config(&config(1, &tls)).run().await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("lockkeeper.toml:3:") && said.contains(named), "{tls}: {said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
    }
    let plain = format!("[[source]]\nurl = \"redis://127.0.0.1:1\"\ntls = {{ ca = \"{ca}\" }}\n");
    let said = String::from_utf8(Server::serve().config(&plain).run().await.stderr).unwrap();
    assert!(said.contains("does not ask for TLS"), "{said}");
}
