//! What the README promises about permissions.

use std::time::Duration;

use lockkeeper_model::{FeedKind, Outcome};
use lockkeeper_tests::{Cluster, Family, RedisServer, Sentinels, Server, store};

const README: &str = include_str!("../../README.md");
const LEASE: Duration = Duration::from_secs(60);

/// The ACL rules of the README, in order.
fn rules() -> Vec<Vec<&'static str>> {
    README.lines().filter_map(|line| line.strip_prefix("ACL ")).map(|line| line.split(' ').collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_the_readme_may_do_all_that_is_needed_and_no_more_is_asked_for() {
    let rules = rules();
    let [watching, hearing, releasing, ..] = rules.as_slice() else { panic!("{rules:?}") };
    let redis = RedisServer::start().await;
    let admin = redis.client().await;
    let url = redis.url_as("lockkeeper", "secret");
    let _: String = store(&admin, "ACL", watching.iter().copied()).await;

    let _: String = store(&admin, "ACL", hearing.iter().copied()).await;

    let config = format!("[[source]]\nurl = \"{url}\"\nreports = \"lockkeeper:reports\"\n");
    let server = Server::serve().config(&config).arg("--allow-release").start().await;
    let api = server.api();
    let source = api.until_live().await;
    assert_eq!((source.feed, source.missing_permissions.as_slice()), (Some(FeedKind::Tracking), [].as_slice()));
    for family in Family::ALL {
        let holder = family.client(&admin, &format!("held:{}", family.dialect()), Some(LEASE));
        assert!(holder.take().await);
        let lock = api.until_lock("the lock", &holder.key, |_| true).await;
        let (_, answer) = api.release(&api.preview(&lock).await).await;
        assert_eq!(answer.results[0].outcome, Outcome::Failed, "{family:?} without the right to release: {answer:#?}");
    }
    let source = api.until_live().await;
    assert_eq!(source.missing_permissions, [], "watching asked for more");
    assert_eq!(source.reports.unwrap().problem, None, "reports cannot be read");

    let _: String = store(&admin, "ACL", releasing.iter().copied()).await;
    for lock in api.locks("").await.locks {
        let (_, answer) = api.release(&api.preview(&lock).await).await;
        assert_eq!(answer.results[0].outcome, Outcome::Released, "{answer:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_readme_may_watch_a_cluster_and_follow_its_keys() {
    let rules = rules();
    let [watching, _, releasing, cluster_too, _] = rules.as_slice() else { panic!("{rules:?}") };
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        for rules in [watching, releasing, cluster_too] {
            let _: String = store(&node.client().await, "ACL", rules.iter().copied()).await;
        }
    }
    let name = cluster.name_on(0, Family::RedisPy, "held").await;
    let holder = Family::RedisPy.client(&cluster.nodes[0].client().await, &name, Some(LEASE));
    assert!(holder.take().await);
    let url = cluster.url_as("lockkeeper:secret@");
    let server = Server::serve().redis(&url).arg("--allow-release").start().await;
    let api = server.api();
    let source = api.until_live().await;
    assert_eq!((source.feed, source.missing_permissions.as_slice()), (Some(FeedKind::Tracking), [].as_slice()));
    cluster
        .move_slot(&holder.key, 0, 1, async || {
            let lock = api.until_lock("the lock", &holder.key, |_| true).await;
            let (_, answer) = api.release(&api.preview(&lock).await).await;
            assert_eq!(answer.results[0].outcome, Outcome::Released, "{answer:#?}");
        })
        .await;
    assert_eq!(api.until_live().await.missing_permissions, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_readme_may_ask_the_sentinels() {
    let rules = rules();
    let [watching, _, _, _, asking] = rules.as_slice() else { panic!("{rules:?}") };
    let sentinels = Sentinels::start().await;
    for sentinel in sentinels.clients().await {
        let _: String = store(&sentinel, "ACL", asking.iter().copied()).await;
        let _: String = store(&sentinel, "ACL", ["SETUSER", "default", "-@all"]).await;
    }
    for server in &sentinels.servers {
        let _: String = store(&server.client().await, "ACL", watching.iter().copied()).await;
    }
    let url = sentinels.url().replace("://", "://lockkeeper:secret@");
    let user = "user = \"lockkeeper\", password = \"secret\"";
    let server =
        Server::serve().config(&format!("[[source]]\nurl = \"{url}\"\nsentinel = {{ {user} }}\n")).start().await;
    let source = server.api().until_live().await;
    assert_eq!((source.feed, source.missing_permissions.as_slice()), (Some(FeedKind::Tracking), [].as_slice()));
}
