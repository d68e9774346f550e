//! Several independent masters: what breaks on one is said with its name, and the others decide.

use lockkeeper_model::{OnNode, SourceState, SourceStatus, Standing};
use lockkeeper_tests::{
    Impostor, LOADS_SLOWLY, Masters, Oddities, Proxy, RedisServer, free_port, quorum, store, until,
};

use super::{OLD, degraded_because, down_because};

/// The master that breaks.
const BROKEN: usize = 2;

fn urls(servers: &[RedisServer]) -> Vec<String> {
    servers.iter().map(RedisServer::url).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_no_master_for_us_has_no_vote_and_is_named() {
    let (impostor, old) = (Impostor::start().await, RedisServer::with(&OLD).await);
    let closed = RedisServer::with(&["--requirepass", "right"]).await;
    let at = |user_info: &str, port: u16| format!("redis://{user_info}127.0.0.1:{port}");
    let masters = Masters::start().await;
    let holder = masters.holder("held");
    masters.take(&holder, 0..5).await;
    for (url, words) in [
        (at("", free_port()), "the connection failed: connection refused"),
        (at(":wr0ng@", closed.port()), "Redis refused the user name or the password"),
        (at("", closed.port()), "Redis wants a password and none is configured"),
        (at("", impostor.port()), "does not speak the protocol of Redis"),
        (at("", old.port()), "this Redis is too old"),
    ] {
        let mut urls = urls(&masters.servers);
        urls[BROKEN] = url;
        let server = Masters::watched(&urls, "").await;
        let api = server.api();
        let address = urls[BROKEN].rsplit(['@', '/']).next().unwrap();
        let source = degraded_because(&api, words).await;
        assert!(source.problem.unwrap().contains(&format!("{address} (")), "{address}");
        assert_eq!(source.nodes[BROKEN].state, SourceState::Down);
        let says = |lock: &lockkeeper_model::Lock| {
            let quorum = quorum(lock);
            (quorum.standing, quorum.votes, quorum.nodes[BROKEN].state) == (Standing::Owned, 4, OnNode::Unreachable)
        };
        api.until_lock("the votes of the others", &holder.key, says).await;
        assert!(!server.said().contains("wr0ng"), "{}", server.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_master_does_not_permit_is_named_with_it_and_the_others_decide() {
    let masters = Masters::start().await;
    let holder = masters.holder("held");
    masters.take(&holder, 0..5).await;
    for (rules, named) in [("-scan", "SCAN"), ("-client -config", "CONFIG GET"), ("-getrange -get -eval", "GETRANGE")] {
        let mut urls = urls(&masters.servers);
        urls[BROKEN] = masters.servers[BROKEN].watcher(rules).await;
        let server = Masters::watched(&urls, "").await;
        let api = server.api();
        let is_named = |source: &SourceStatus| source.missing_permissions.iter().any(|one| one.permission == named);
        let source = api.until_source(named, is_named).await;
        let on = format!("(on {})", masters.address(BROKEN));
        assert!(source.missing_permissions.iter().all(|missing| missing.costs.ends_with(&on)), "{source:#?}");
        degraded_because(&api, &masters.address(BROKEN)).await;
        let owned = |lock: &lockkeeper_model::Lock| quorum(lock).standing == Standing::Owned;
        api.until_lock("the owner", &holder.key, owned).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_restarts_and_loads_has_no_vote_until_it_has_finished() {
    let mut masters = Masters::with(&LOADS_SLOWLY).await;
    let holder = masters.holder("held");
    masters.take(&holder, 0..5).await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    masters.servers[BROKEN].save_much("filler").await;
    masters.servers[BROKEN].spawn_again();
    let named = format!("{} (Redis is loading its data set)", masters.address(BROKEN));
    degraded_because(&masters.api, &named).await;
    masters.until_votes(&holder.key, Standing::Owned, 4).await;
    masters.api.until_live().await;
    masters.until_votes(&holder.key, Standing::Owned, 5).await;
    assert_eq!(masters.api.story(&holder.key).await, ["acquired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_that_are_cut_off_are_seen_and_healed_after() {
    let (mut proxies, mut through) = (Vec::new(), Vec::new());
    let masters = Masters::start().await;
    for server in &masters.servers {
        let proxy = Proxy::to(server.port()).await;
        through.push(format!("redis://127.0.0.1:{}", proxy.port()));
        proxies.push(proxy);
    }
    let server = Masters::watched(&through, "").await;
    let api = server.api();
    api.until_live().await;
    let holder = masters.holder("handed");
    masters.take(&holder, 0..5).await;
    let votes = async |token: &str, votes: u32| {
        let has = |lock: &lockkeeper_model::Lock| {
            quorum(lock).votes == votes && lock.holders[0].token.as_deref() == Some(token) && lock.flags.is_empty()
        };
        api.until_lock("the votes", &holder.key, has).await
    };
    votes(&holder.token, 5).await;

    // One: the others see a hand-over, and it is read when it answers again.
    proxies[BROKEN].cut();
    degraded_because(&api, &format!("127.0.0.1:{} (the connection failed", proxies[BROKEN].port())).await;
    let next = masters.holder("handed");
    for i in 0..5 {
        masters.delete(i, &holder.key).await;
    }
    masters.take(&next, 0..5).await;
    votes(&next.token, 4).await;
    proxies[BROKEN].restore();
    api.until_live().await;
    votes(&next.token, 5).await;
    assert!(!api.story(&next.key).await.contains(&"gap"), "a majority was watched all the time");

    // Most: nobody can say who owns anything, and what happened meanwhile is not known.
    for proxy in &proxies[..3] {
        proxy.cut();
    }
    down_because(&api, "only 2 of 5 masters answer").await;
    let last = masters.holder("handed");
    for i in 0..5 {
        masters.delete(i, &next.key).await;
    }
    masters.take(&last, 0..5).await;
    for proxy in &proxies[..3] {
        proxy.restore();
    }
    let source = api.until_live().await;
    assert!(source.gaps >= 1, "{source:#?}");
    votes(&last.token, 5).await;
    assert!(api.story(&last.key).await.contains(&"gap"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_come_back_unharmed() {
    let masters = Masters::start().await;
    Oddities::write(async |_| masters.clients.clone()).await;
    let server = Masters::watched(&urls(&masters.servers), "patterns = [\"*\"]\n").await;
    Oddities::are_shown(&server.api()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_lock_on_a_majority_is_none() {
    let masters = Masters::start().await;
    let holder = masters.holder("odd");
    masters.take(&holder, [0, 1]).await;
    for i in 2..5 {
        let _: i64 = store(&masters.clients[i], "SADD", [&*holder.key, "a"]).await;
    }
    let lock = masters.until_votes(&holder.key, Standing::Nobody, 2).await;
    assert!(quorum(&lock).nodes[2..].iter().all(|node| node.token.is_none()), "{lock:#?}");
    for i in 0..2 {
        masters.delete(i, &holder.key).await;
    }
    until("it to be gone", async || masters.api.lock(&holder.key).await, Option::is_none).await;
}
