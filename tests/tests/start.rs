//! What stands in the way of starting is said in a sentence, with what to try, before anything else happens.

use lockkeeper_tests::{RedisServer, Server};
use tokio::net::TcpListener;

/// What it said to standard error, and how it ended.
async fn refused(builder: lockkeeper_tests::ServerBuilder) -> (Option<i32>, String) {
    let output = builder.run().await;
    assert!(!output.status.success());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_another_one_to_try() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_, said) = refused(Server::serve().arg("--listen").arg(&address)).await;
    assert!(said.contains(&format!("`{address}`")) && said.contains("in use") && said.contains("--listen"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_is_named_by_its_place_and_never_shows_a_password() {
    for (what, builder) in [
        ("--redis", Server::serve().redis("http://:s3cret@127.0.0.1:6379")),
        ("LOCKKEEPER_REDIS", Server::serve().env("LOCKKEEPER_REDIS", "nonsense:s3cret@host")),
        ("--listen", Server::serve().arg("--listen").arg("somewhere")),
        ("lockkeeper.toml", Server::serve().config("listen = 7420\npassword = \"s3cret\"\n")),
        ("budget", Server::serve().config("[[source]]\nurl = \"redis://:s3cret@h\"\nbudget = { commands = 1 }\n")),
    ] {
        let (code, said) = refused(builder).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(what), "{what}: {said}");
        assert!(!said.contains("s3cret") || what == "lockkeeper.toml", "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_source_of_any_topology_is_named_by_line_and_key() {
    let three = "\"redis://a\", \"redis://b\", \"redis://c\"";
    for (source, line, key, what) in [
        ("url = \"redis://:s3cret@h/orders\"".to_owned(), 2, "source.url", "a database that is not a number"),
        (
            "url = \"redis://h\"\nsentinel = { password = \"s3cret\" }".to_owned(),
            3,
            "source.sentinel",
            "has no sentinels",
        ),
        ("url = \"redis-sentinel://:s3cret@h\"".to_owned(), 2, "source.url", "does not name the primary"),
        ("url = \"redis-cluster://:s3cret@h/1\"".to_owned(), 2, "source.url", "a cluster has only one"),
        ("url = \"redis-cluster://h\"\ntls = {}".to_owned(), 3, "source.tls", "does not ask for TLS"),
        (
            "kind = \"redlock\"\nurls = [\"redis://:s3cret@a\", \"redis://b\"]".to_owned(),
            3,
            "source.urls",
            "independent masters",
        ),
        ("kind = \"redlock\"\nurl = \"redis://:s3cret@a\"".to_owned(), 3, "source.url", "has `urls`"),
        (format!("kind = \"redlock\"\nurls = [{three},\n\"redis://b\"]"), 4, "source.urls", "each has one vote"),
        (
            format!("kind = \"redlock\"\nurls = [\"redis-cluster://:s3cret@d\",\n{three}]"),
            3,
            "source.urls",
            "one independent server",
        ),
        (format!("kind = \"redlock\"\nurls = [{three}]\ntls = {{}}"), 4, "source.tls", "does not ask for TLS"),
        ("kind = \"quorum\"".to_owned(), 2, "source.kind", "`redis` or `redlock`"),
    ] {
        let (code, said) = refused(Server::serve().config(&format!("[[source]]\n{source}\n"))).await;
        assert_eq!(code, Some(2), "{said}");
        let (place, key) = (format!("lockkeeper.toml:{line}:"), format!("`{key}"));
        assert!(said.contains(&place) && said.contains(&key) && said.contains(what), "{source}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_can_reach_is_refused() {
    let (_, said) = refused(Server::serve().arg("--listen").arg("0.0.0.0:0")).await;
    assert!(said.contains("0.0.0.0"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let (file, environment, flag) = tokio::join!(RedisServer::start(), RedisServer::start(), RedisServer::start());
    let config = format!("[[source]]\nurl = \"{}\"\n", file.url());
    let server = Server::serve().config(&config).start().await;
    assert_eq!(server.api().source().await.name, file.source());
    let server = Server::serve().config(&config).env("LOCKKEEPER_REDIS", &environment.url()).start().await;
    assert_eq!(server.api().source().await.name, environment.source());
    let server =
        Server::serve().config(&config).env("LOCKKEEPER_REDIS", &environment.url()).redis(&flag.url()).start().await;
    assert_eq!(server.api().source().await.name, flag.source());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_asked_to_even_while_viewers_watch() {
    let redis = RedisServer::start().await;
    let mut server = Server::watching(&redis).await;
    let mut viewer = lockkeeper_tests::Viewer::connect(&server).await;
    viewer.frame().await;
    let events = server.api().request(reqwest::Method::GET, "/api/v1/events").send().await.unwrap();
    assert!(server.stop().await.success());
    assert_eq!(viewer.close_code().await, Some(1001));
    drop(events);
}
