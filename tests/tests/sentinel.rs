//! A primary that moves is followed, and what happened while it moved is not taken for known.

use std::time::Duration;

use lockkeeper_model::words::RELEASE_LOST;
use lockkeeper_model::{AuditKind, AuditPage, Flag, Lock, Outcome, SourceState, SourceStatus};
use lockkeeper_tests::{Family, HURRIED, PRIMARY, Sentinels, Server, lockkeeper, store, until};

const LEASE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_and_locks_are_seen_and_freed_on_the_new_primary() {
    let mut sentinels = Sentinels::start().await;
    let server = Server::serve().redis(&sentinels.url()).arg("--allow-release").start().await;
    let api = server.api();
    let source = api.until_live().await;
    assert_eq!((source.name.as_str(), source.topology.as_deref()), (PRIMARY, Some("sentinel")));
    let port = sentinels.servers[0].port();
    assert_eq!(source.address, format!("127.0.0.1:{port}"));
    let client = sentinels.servers[0].client().await;
    let holder = Family::RedisPy.client(&client, "kept", Some(LEASE));
    assert!(holder.take().await);
    api.until_lock("the lock", &holder.key, |_| true).await;
    let _: i64 = store(&client, "WAIT", ["2", "0"]).await;

    sentinels.servers[0].kill();
    api.until_source("the loss", |source| source.state == SourceState::Down).await;
    let primary = sentinels.another_primary(port).await;
    let address = format!("127.0.0.1:{}", primary.port());
    let source = api
        .until_source("the new primary", |source| source.state == SourceState::Live && source.address == address)
        .await;
    let failover = format!("failover from 127.0.0.1:{port} to {address}");
    assert_eq!(source.last_gap.as_deref(), Some(failover.as_str()), "{source:#?}");
    assert!(source.coverage.complete, "{source:#?}");

    let lock = api.until_lock("the lock that was kept", &holder.key, |lock| !lock.flags.contains(&Flag::Stale)).await;
    assert_eq!(lock.holders[0].token.as_ref(), Some(&holder.token));
    let (_, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released, "{answer:#?}");
    // Changes on it are heard.
    let next = Family::RedisPy.client(&primary.client().await, "next", Some(LEASE));
    assert!(next.take().await);
    api.until_lock("a new lock", &next.key, |_| true).await;
    let story = api.events(&next.key).await;
    assert!(story.iter().any(|event| event.transition.word() == "acquired"), "{story:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_what_was_not_copied_is_marked_or_said_to_be_lost_and_nothing_else() {
    let mut sentinels = Sentinels::start().await;
    let server = Server::serve().redis(&sentinels.url()).start().await;
    let api = server.api();
    api.until_live().await;
    let port = sentinels.servers[0].port();
    let client = sentinels.servers[0].client().await;
    let take = async |name| {
        let holder = Family::RedisPy.client(&client, name, Some(LEASE));
        assert!(holder.take().await);
        api.until_lock("the lock", &holder.key, |_| true).await;
        holder
    };
    // How far the primary is is asked before its keys are counted, and so it was asked since a lock was there when the
    // second count with it is known.
    let mut taken = Vec::new();
    for name in ["copied", "renewed", "released", "one", "another"] {
        taken.push(take(name).await);
        let keys = Some(taken.len() as u64);
        api.until_source("the count", |source| source.coverage.total_keys == keys).await;
    }
    let [copied, renewed, released, ..] = taken.as_slice() else { unreachable!() };
    let _: i64 = store(&client, "WAIT", ["2", "0"]).await;
    sentinels.servers[0].keep_replicas_off().await;
    // To a later end than its acquire: one that ends a few milliseconds later is taken for the same.
    let later = (2 * LEASE).as_millis().to_string();
    assert_eq!(store::<i64>(&client, "PEXPIRE", [&*renewed.key, &*later]).await, 1);
    api.until_lock("the renewal", &renewed.key, |lock| lock.holders[0].renewals.count == 1).await;
    assert!(released.release().await);
    api.until_story(&released.key, &["acquired", "released"]).await;
    let late = take("late").await;

    sentinels.servers[0].kill();
    let primary = sentinels.another_primary(port).await;
    let address = format!("127.0.0.1:{}", primary.port());
    api.until_source("the new primary", |source| source.state == SourceState::Live && source.address == address).await;
    api.until_story(&late.key, &["lost"]).await;
    let lost = api.events(&late.key).await;
    assert_eq!(lost[0].cause.as_deref(), Some("maybe_not_copied"), "{lost:#?}");
    for (holder, is_marked) in [(copied, false), (renewed, true), (released, true)] {
        let lock = api.until_lock("what there is now", &holder.key, |lock| !lock.flags.contains(&Flag::Stale)).await;
        assert_eq!(lock.flags.contains(&Flag::FailedOver), is_marked, "{lock:#?}");
        let is_told = lock.flag_notes.iter().any(|note| note.what.contains("known to have been copied"));
        assert_eq!(is_told, is_marked, "{lock:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_its_primary_lost_is_said_to_be_everywhere_and_is_no_coming_back() {
    let mut sentinels = Sentinels::start().await;
    let server = Server::serve().redis(&sentinels.url()).arg("--allow-release").config(HURRIED).start().await;
    let api = server.api();
    api.until_live().await;
    let port = sentinels.servers[0].port();
    let client = sentinels.servers[0].client().await;
    let holder = Family::RedisPy.client(&client, "stuck", Some(LEASE));
    assert!(holder.take().await);
    let lock = api.until_lock("the lock", &holder.key, |_| true).await;
    let _: i64 = store(&client, "WAIT", ["2", "0"]).await;
    sentinels.servers[0].keep_replicas_off().await;
    let (_, answer) = api.release(&api.preview(&lock).await).await;
    assert_eq!(answer.results[0].outcome, Outcome::Released, "{answer:#?}");

    sentinels.servers[0].kill();
    sentinels.another_primary(port).await;
    let is_told = |lock: &Lock| lock.flags.contains(&Flag::ReleaseLost);
    let again = api.until_lock("the lock that is held again", &holder.key, is_told).await;
    assert_eq!(again.holders[0].token.as_ref(), Some(&holder.token));
    assert!(!again.flags.contains(&Flag::CameBack), "{again:#?}");
    assert_eq!(again.holders[0].held_since, lock.holders[0].held_since, "it is the same hold");

    let events = api.events(&holder.key).await;
    let told = events.iter().find(|event| event.cause.as_deref() == Some("release_lost")).unwrap();
    assert!(told.evidence.as_ref().is_some_and(|said| said.contains(RELEASE_LOST)), "{told:#?}");
    assert!(!events.iter().any(|event| event.cause.as_deref() == Some("came_back")), "{events:#?}");

    let page: AuditPage = until(
        "the audit to have it",
        async || api.get("/api/v1/audit").await,
        |answer| answer.body.contains("\"release_lost\""),
    )
    .await
    .json();
    let entry = page.entries.iter().find(|entry| entry.seen.as_deref() == Some("release_lost")).unwrap();
    let intention = page.entries.iter().find(|entry| entry.kind == AuditKind::Intention).unwrap();
    assert_eq!((entry.kind, entry.attempt), (AuditKind::FollowUp, Some(intention.seq)), "{page:#?}");
    assert_eq!(entry.detail, RELEASE_LOST);

    let why = lockkeeper(&["why", &holder.key, "--server", &server.url()], "").await;
    let said = String::from_utf8(why.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(RELEASE_LOST), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_primary_may_not_be_asked_how_far_it_is_what_was_touched_shortly_before_is_marked() {
    let mut sentinels = Sentinels::start().await;
    for server in &sentinels.servers {
        server.watcher("-info").await;
    }
    let config = format!("[[source]]\nurl = \"{}\"\n", sentinels.url().replace("://", "://watcher:secret@"));
    let server = Server::serve().config(&config).start().await;
    let api = server.api();
    api.until_live().await;
    let port = sentinels.servers[0].port();
    let client = sentinels.servers[0].client().await;
    let holder = Family::RedisPy.client(&client, "kept", Some(LEASE));
    assert!(holder.take().await);
    api.until_lock("the lock", &holder.key, |_| true).await;
    let _: i64 = store(&client, "WAIT", ["2", "0"]).await;
    sentinels.servers[0].kill();
    sentinels.another_primary(port).await;
    api.until_lock("the mark", &holder.key, |lock| lock.flags.contains(&Flag::FailedOver)).await;
    assert!(server.said().contains("may not run `INFO`"), "{}", server.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_with_a_password_are_asked_with_one_and_without_them_a_failover_is_not_promised() {
    let mut sentinels = Sentinels::start().await;
    for sentinel in sentinels.clients().await {
        let rules = "SETUSER asker on >hush &+switch-master -@all +sentinel|get-master-addr-by-name +subscribe";
        let _: String = store(&sentinel, "ACL", rules.split(' ')).await;
        let _: String = store(&sentinel, "ACL", ["SETUSER", "default", "-@all", "+ping"]).await;
    }
    let source = format!("[[source]]\nurl = \"{}\"\n", sentinels.url());
    let refused = Server::serve().config(&source).start().await;
    let said = refused
        .api()
        .until_source("the refusal", |source| source.problem.as_deref() != Some("not connected yet"))
        .await;
    assert_eq!(said.state, SourceState::Down, "{said:#?}");

    let config = format!("{source}sentinel = {{ user = \"asker\", password = \"hush\" }}\n");
    let server = Server::serve().config(&config).start().await;
    let api = server.api();
    api.until_live().await;
    sentinels.kill_sentinels();
    let warns = |source: &SourceStatus| {
        let said = source.problem.as_ref().is_some_and(|problem| problem.contains("failover is not noticed"));
        source.state == SourceState::Degraded && said
    };
    api.until_source("a warning", warns).await;
    // What the primary says is still heard.
    let holder = Family::RedisPy.client(&sentinels.servers[0].client().await, "heard", Some(LEASE));
    assert!(holder.take().await);
    api.until_lock("the lock", &holder.key, |_| true).await;
    assert!(!server.said().contains("hush"), "{}", server.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_the_sentinels_do_not_know_is_named() {
    let sentinels = Sentinels::start().await;
    let url = sentinels.url().replace(PRIMARY, "nobody");
    let server = Server::serve().redis(&url).start().await;
    let source = server
        .api()
        .until_source("the complaint", |source| {
            source.problem.as_ref().is_some_and(|problem| problem.contains("do not know a primary named `nobody`"))
        })
        .await;
    assert_eq!(source.state, SourceState::Down);
}
