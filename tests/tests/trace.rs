//! A trace shows who tries in vain and whose connection holds, costs what it says, and ends by itself.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientInterface as _;
use lockkeeper_model::{
    ClientFacts, Deed, LockId, TraceEnd, TraceReport, TraceRequest, TracedLock, WaitersBasis, WaitsBy,
};
use lockkeeper_tests::{Answer, Api, Authority, Cluster, Family, LockClient, RedisServer, Server, store, until};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(60);

/// How often the clients here try: often enough to be seen many times in a second.
const POLL: Duration = Duration::from_millis(40);

async fn named(redis: &RedisServer, name: &str) -> Client {
    let client = redis.client().await;
    client.client_setname(name).await.unwrap();
    client
}

/// Does something again and again, as a program does. Ends with the value.
struct Again(JoinHandle<()>);

impl Again {
    fn and_again<F: Future<Output = ()> + Send>(mut act: impl FnMut() -> F + Send + 'static) -> Again {
        Again(tokio::spawn(async move {
            let mut tick = tokio::time::interval(POLL);
            loop {
                tick.tick().await;
                act().await;
            }
        }))
    }

    fn trying(lock: LockClient) -> Again {
        Again::and_again(move || {
            let lock = lock.clone();
            async move {
                lock.take().await;
            }
        })
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tracing(redis: &RedisServer) -> Server {
    let server = Server::serve().redis(&redis.url()).arg("--allow-trace").start().await;
    server.ready().await;
    server
}

async fn try_trace(api: &Api, source: &str, seconds: u32, lock: Option<&str>) -> Answer {
    let lock = lock.map(|key| LockId::of_key(key.as_bytes()));
    api.post("/api/v1/traces", &TraceRequest { source: source.to_owned(), seconds, lock }).await
}

/// Traces until one shows what is wanted: a machine under load may end one early, which the report then says.
async fn until_traced(
    what: &str,
    api: &Api,
    source: &str,
    lock: Option<&str>,
    passes: impl Fn(&TraceReport) -> bool,
) -> TraceReport {
    let trace = async || {
        let answer = try_trace(api, source, 1, lock).await;
        (answer.status == 200).then(|| answer.json::<TraceReport>())
    };
    until(what, trace, |report| report.as_ref().is_some_and(&passes)).await.unwrap()
}

fn of<'a>(report: &'a TraceReport, key: &str) -> Option<&'a TracedLock> {
    report.locks.iter().find(|lock| lock.id == LockId::of_key(key.as_bytes()))
}

fn name(client: &Option<ClientFacts>) -> &str {
    client.as_ref().and_then(|client| client.name.as_deref()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_try_in_vain_and_the_one_who_renews_are_named() {
    let redis = RedisServer::start().await;
    let server = tracing(&redis).await;
    let api = server.api();
    let holder = Family::RedisPy.client(&named(&redis, "the-holder").await, "stuck", Some(LEASE));
    assert!(holder.take().await);
    let _renewing = {
        let holder = holder.clone();
        Again::and_again(move || {
            let holder = holder.clone();
            async move {
                holder.renew().await;
            }
        })
    };
    let mut waiting = Vec::new();
    for n in 1..=3 {
        let client = named(&redis, &format!("waiter-{n}")).await;
        waiting.push(Again::trying(Family::RedisPy.client(&client, "stuck", Some(LEASE))));
    }

    let report = until_traced("three that wait and one that renews", &api, &redis.source(), None, |report| {
        report.ended == TraceEnd::Complete
            && of(report, "lock:stuck").is_some_and(|lock| lock.trying.len() == 3 && !lock.deeds.is_empty())
    })
    .await;
    let lock = of(&report, "lock:stuck").unwrap();
    let mut names: Vec<_> = lock.trying.iter().map(|one| name(&one.client)).collect();
    names.sort_unstable();
    assert_eq!(names, ["waiter-1", "waiter-2", "waiter-3"], "{report:#?}");
    assert!((lock.taken, lock.unclear) == (0, 0) && lock.refused == lock.attempts && lock.refused >= 6, "{lock:#?}");
    assert!(lock.refusals_per_second > 0.0 && lock.trying.iter().all(|one| one.waits_by == [WaitsBy::Polling]));
    assert!(lock.trying.iter().all(|one| one.rhythm_ms.is_some_and(|ms| ms > 1)), "{lock:#?}");
    let [deed] = lock.deeds.as_slice() else { panic!("{lock:#?}") };
    assert_eq!((deed.deed, name(&deed.client)), (Deed::Renewed, "the-holder"));
    assert_eq!(deed.token.as_ref(), Some(&holder.token));
    assert!(report.commands > 0 && report.bytes > 0 && report.unreadable == 0 && report.from < report.to);
    assert!(report.missing.is_empty(), "{report:#?}");

    // The board says the same, with the time.
    let shown = api.until_lock("the lock", "lock:stuck", |_| true).await;
    assert_eq!((shown.waiters.count, shown.waiters.basis), (Some(3), WaitersBasis::Sampled), "{shown:#?}");
    assert!(shown.waiters.list.iter().all(|one| one.identity.client_addr.is_some()), "{shown:#?}");
    let contention = shown.contention.unwrap();
    assert_eq!((contention.attempts_basis, contention.sampled_at), (Some(WaitersBasis::Sampled), Some(report.to)));
    assert!(contention.refusals_per_second.is_some_and(|refusals| refusals > 0), "{contention:#?}");
    let [holder_now] = shown.holders.as_slice() else { panic!("{shown:#?}") };
    assert_eq!(holder_now.identity.client_name.as_deref(), Some("the-holder"));
    let sampled = format!("sampled at {}: ", report.to);
    assert!(holder_now.evidence.iter().any(|line| line.starts_with(&sampled)), "{holder_now:#?}");

    let last = api.get(&format!("/api/v1/sources/{}/trace", redis.source())).await;
    assert_eq!((last.status, last.json::<TraceReport>().from), (200, report.from));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_connection_takes_and_releases_is_seen_in_every_family() {
    let redis = RedisServer::start().await;
    let server = tracing(&redis).await;
    let api = server.api();
    let client = named(&redis, "the-worker").await;
    for family in Family::ALL {
        let worker = family.client(&client, "handed", Some(LEASE));
        let _working = {
            let worker = worker.clone();
            Again::and_again(move || {
                let worker = worker.clone();
                async move {
                    assert!(worker.take().await && worker.renew().await && worker.release().await);
                }
            })
        };
        let report = until_traced("take, renewal and release", &api, &redis.source(), Some(&worker.key), |report| {
            let deeds = |lock: &TracedLock| {
                let mut deeds: Vec<_> = lock.deeds.iter().map(|deed| deed.deed).collect();
                deeds.sort_unstable();
                deeds
            };
            of(report, &worker.key).is_some_and(|lock| deeds(lock) == [Deed::Took, Deed::Renewed, Deed::Released])
        })
        .await;
        let lock = of(&report, &worker.key).unwrap();
        assert_eq!(report.locks.len(), 1);
        assert!(lock.deeds.iter().all(|deed| name(&deed.client) == "the-worker"), "{family:?}: {report:#?}");
        assert!(lock.deeds.iter().all(|deed| deed.token.as_ref() == Some(&worker.token)), "{family:?}: {report:#?}");
        assert_eq!((lock.refused, lock.taken + lock.unclear), (0, lock.attempts), "{family:?}: {report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_blocks_or_listens_is_seen_to() {
    let redis = RedisServer::start().await;
    let server = tracing(&redis).await;
    let api = server.api();
    let holder = Family::PythonRedisLock.client(&redis.client().await, "blocked", Some(LEASE));
    assert!(holder.take().await);
    let client = named(&redis, "blocking-waiter").await;
    let signal = holder.signal();
    let _blocking = Again::and_again(move || {
        let (client, signal) = (client.clone(), signal.clone());
        async move {
            let _: fred::types::Value = store(&client, "BLPOP", [signal.as_str(), "0.05"]).await;
        }
    });
    let report = until_traced("one that blocks", &api, &redis.source(), Some("lock:blocked"), |report| {
        of(report, "lock:blocked").is_some_and(|lock| !lock.trying.is_empty())
    })
    .await;
    let [waiter] = of(&report, "lock:blocked").unwrap().trying.as_slice() else { panic!("{report:#?}") };
    assert_eq!((name(&waiter.client), waiter.waits_by.as_slice()), ("blocking-waiter", [WaitsBy::Blocking].as_slice()));
    assert_eq!(waiter.attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_trace_and_there_is_one_at_a_time() {
    let redis = RedisServer::start().await;
    let server = tracing(&redis).await;
    let (api, client, source) = (server.api(), redis.client().await, redis.source());
    let tracing_now = async || {
        let clients: String = store(&client, "CLIENT", ["LIST"]).await;
        clients.lines().filter(|line| line.contains("cmd=monitor")).count()
    };
    let first = {
        let (api, source) = (api.clone(), source.clone());
        tokio::spawn(async move {
            // A store that answers late for a moment is not traced.
            while try_trace(&api, &source, 10, None).await.status == 503 {}
        })
    };
    until("a trace to run", &tracing_now, |&count| count == 1).await;
    let second = try_trace(&api, &source, 1, None).await;
    assert_eq!((second.status, second.problem().kind.as_str()), (409, "/problems/tracing"));
    // Whoever asked goes away: it ends long before its time.
    first.abort();
    until("the trace to be gone", &tracing_now, |&count| count == 0).await;
    let third =
        until("another to be let in", async || try_trace(&api, &source, 1, None).await, |one| one.status == 200).await;
    assert_eq!(third.json::<TraceReport>().source, source);
    until("nothing to be left", &tracing_now, |&count| count == 0).await;
    let clients: String = store(&client, "CLIENT", ["LIST"]).await;
    assert!(!clients.contains("lockkeeper-trace"), "{clients}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_where_it_is_off_and_where_the_store_is_busy() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let answer = try_trace(&server.api(), &redis.source(), 1, None).await;
    assert_eq!((answer.status, answer.problem().kind.as_str()), (403, "/problems/tracing-off"));

    let config = format!(
        "[[source]]\nname = \"busy\"\nurl = \"{}\"\n[trace]\nenabled = true\nmax_commands_per_second = 20\n",
        redis.url()
    );
    let server = Server::serve().config(&config).start().await;
    server.ready().await;
    let client = redis.client().await;
    let busy = async || {
        for _ in 0..500 {
            let _: fred::types::Value = store(&client, "GET", ["anything"]).await;
        }
        try_trace(&server.api(), "busy", 1, None).await
    };
    let is_left_alone = |answer: &Answer| answer.status == 503 && answer.problem().detail.contains("up to 20 only");
    let answer = until("a busy store to be left alone", busy, is_left_alone).await;
    assert_eq!(answer.problem().kind, "/problems/too-busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_may_not_says_which_command_and_what_it_costs() {
    let redis = RedisServer::start().await;
    let source = redis.source();
    let url = redis.watcher("-monitor").await;
    let server = Server::serve().redis(&url).arg("--allow-trace").start().await;
    server.ready().await;
    let ask = async || try_trace(&server.api(), &source, 1, None).await;
    let problem = until("the refusal", ask, |answer| answer.status == 403).await.problem();
    assert_eq!(problem.kind, "/problems/trace-not-permitted");
    assert!(problem.detail.contains("MONITOR") && problem.hint.unwrap().contains("+monitor"));
    drop(server);

    // Without names there are addresses.
    let url = redis.watcher("-client|list").await;
    let server = Server::serve().redis(&url).arg("--allow-trace").start().await;
    server.ready().await;
    let holder = Family::RedisPy.client(&redis.client().await, "nameless", Some(LEASE));
    assert!(holder.take().await);
    let _waiting = Again::trying(Family::RedisPy.client(&named(&redis, "waiter").await, "nameless", Some(LEASE)));
    let report = until_traced("one that tries", &server.api(), &source, Some(&holder.key), |report| {
        of(report, &holder.key).is_some_and(|lock| lock.refused > 0)
    })
    .await;
    let lock = of(&report, &holder.key).unwrap();
    assert!(lock.trying[0].client.is_none() && lock.trying[0].address.contains(':'), "{report:#?}");
    assert!(report.missing.iter().any(|missing| missing.permission == "CLIENT LIST"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_tls_is_traced_with_the_settings_of_its_source() {
    let authority = Authority::new();
    let (redis, port) = authority.redis().await;
    let holder = Family::RedisPy.client(&redis.client().await, "sealed", Some(LEASE));
    assert!(holder.take().await);
    let _waiting = Again::trying(Family::RedisPy.client(&named(&redis, "waiter").await, "sealed", Some(LEASE)));
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| authority.path(name));
    let config = format!(
        "[[source]]\nname = \"sealed\"\nurl = \"rediss://127.0.0.1:{port}\"\n\
         tls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\", server_name = \"redis.test\" }}\n\
         [trace]\nenabled = true\n"
    );
    let server = Server::serve().config(&config).start().await;
    let api = server.api();
    api.until_live().await;
    let report = until_traced("one that tries", &api, "sealed", Some(&holder.key), |report| {
        of(report, &holder.key).is_some_and(|lock| lock.refused > 0)
    })
    .await;
    assert_eq!(name(&of(&report, &holder.key).unwrap().trying[0].client), "waiter", "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_primary_of_a_cluster_is_sampled_and_one_lock_on_its_own_only() {
    let cluster = Cluster::start().await;
    let server = Server::serve().redis(&cluster.url()).arg("--allow-trace").start().await;
    let api = server.api();
    let source = api.until_live().await.name;
    let (mut keys, mut waiting) = (Vec::new(), Vec::new());
    for node in 0..3 {
        let name = cluster.name_on(node, Family::RedisPy, "split").await;
        let client = cluster.nodes[node].client().await;
        let holder = Family::RedisPy.client(&client, &name, Some(LEASE));
        assert!(holder.take().await);
        api.until_lock("the lock", &holder.key, |_| true).await;
        let waiter = named(&cluster.nodes[node], &format!("waiter-{node}")).await;
        waiting.push(Again::trying(Family::RedisPy.client(&waiter, &name, Some(LEASE))));
        keys.push(holder.key);
    }
    let report = until_traced("waiters on all primaries", &api, &source, None, |report| {
        keys.iter().all(|key| of(report, key).is_some_and(|lock| lock.refused > 0))
    })
    .await;
    assert_eq!(report.nodes.len(), 3, "{report:#?}");
    assert_eq!(report.commands, report.nodes.iter().map(|node| node.commands).sum::<u64>(), "{report:#?}");
    for (node, key) in keys.iter().enumerate() {
        let lock = of(&report, key).unwrap();
        assert_eq!(lock.node, Some(format!("127.0.0.1:{}", cluster.nodes[node].port())));
        assert_eq!(name(&lock.trying[0].client), format!("waiter-{node}"), "{report:#?}");
        assert_eq!(api.lock(key).await.unwrap().waiters.basis, WaitersBasis::Sampled);
    }
    let report = until_traced("the one that waits", &api, &source, Some(&keys[1]), |report| {
        of(report, &keys[1]).is_some_and(|lock| lock.refused > 0)
    })
    .await;
    assert_eq!((report.locks.len(), report.nodes.len()), (1, 0), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_of_a_quorum_are_sampled_side_by_side_and_a_client_counts_once() {
    let mut masters = Vec::new();
    for _ in 0..3 {
        masters.push(RedisServer::start().await);
    }
    // One refuses; the others are sampled all the same.
    let mut urls = vec![masters[0].watcher("-monitor").await];
    urls.extend(masters[1..].iter().map(RedisServer::url));
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    let config = format!(
        "[[source]]\nname = \"quorum\"\nkind = \"redlock\"\nurls = [{}]\n[trace]\nenabled = true\n",
        urls.join(", ")
    );
    let server = Server::serve().config(&config).start().await;
    let api = server.api();
    api.until_live().await;
    let first = Family::RedisPy.client(&masters[0].client().await, "split", Some(LEASE));
    let mut waiting = Vec::new();
    for master in &masters {
        let lease = LEASE.as_millis().to_string();
        let words = [first.key.as_str(), first.token.as_str(), "NX", "PX", lease.as_str()];
        let _: Option<String> = store(&master.client().await, "SET", words).await;
        waiting.push(Again::trying(Family::RedisPy.client(&named(master, "waiter").await, "split", Some(LEASE))));
    }
    api.until_lock("the lock", &first.key, |lock| lock.holders.len() == 1).await;
    let report = until_traced("the one that waits", &api, "quorum", None, |report| {
        of(report, &first.key).is_some_and(|lock| lock.refused > 0)
            && report.nodes.iter().filter(|node| node.ended == Some(TraceEnd::Complete)).count() == 2
    })
    .await;
    assert_eq!((report.source.as_str(), report.ended), ("quorum", TraceEnd::Partial), "{report:#?}");
    let refused = report.nodes.iter().find(|node| node.ended.is_none()).unwrap();
    assert_eq!(refused.node, masters[0].source());
    assert!(refused.because.contains("MONITOR") && report.ended_because.contains(&refused.node), "{report:#?}");
    let lock = of(&report, &first.key).unwrap();
    assert_eq!((lock.trying.len(), lock.waiting), (1, 1), "{report:#?}");
    let shown = api.lock(&first.key).await.unwrap();
    assert_eq!((shown.waiters.count, shown.waiters.basis), (Some(1), WaitersBasis::Sampled), "{shown:#?}");
    let last = api.get("/api/v1/sources/quorum/trace").await;
    assert_eq!((last.status, last.json::<TraceReport>().from), (200, report.from));
}
