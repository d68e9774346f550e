//! Releases while another server becomes the primary: on whichever of them, only what was previewed is removed.
//!
//! In each round locks of many dialects are held by `a`, copied to every replica, and previewed on one ticket. Then, at the
//! same time, a replica is promoted, the ticket is used, `a` lets go or renews or goes on, and on every server somebody of its
//! own tries for each lock without a pause; who has one there renews it without a pause. A hold that ends while its server
//! is a primary was taken by the release. What a former primary loses when it follows the new one is Redis's loss, which
//! nobody can prevent; it is counted. `LOCKKEEPER_FAILOVERS` says how many rounds there are, `LOCKKEEPER_SEED` repeats the
//! moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, Value};
use futures_util::future::join_all;
use lockkeeper_model::{Lock, Outcome, PreviewAnswer, ReleaseAnswer};
use lockkeeper_tests::{
    Api, Cluster, Contender, Dialect, HURRIED, PRIMARY, RedisServer, Sentinels, Server, Step, store, until,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Rounds without `LOCKKEEPER_FAILOVERS`: a promotion takes a second or two.
const ROUNDS: u64 = 3;

/// How long before and after a promotion takes effect a release may begin.
const AROUND: Duration = Duration::from_millis(300);

/// How long it takes until a promotion takes effect, about: sentinels look at the servers once a second.
const BY_SENTINELS: Duration = Duration::from_millis(900);
const BY_ORDER: Duration = Duration::from_millis(50);

/// How long a replica may take to have a copy, in milliseconds.
const COPY_MS: &str = "5000";

/// How long a server may take to answer that may be leaving.
const AN_ANSWER: Duration = Duration::from_secs(3);

/// Between two looks at a server that is no primary yet.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// The servers of which one is the primary of a lock.
type Group<'a> = Vec<&'a RedisServer>;

/// One lock, who has it, and who wants it on each of its servers.
struct Race {
    name: &'static str,
    group: usize,
    keys: Vec<String>,
    a: Contender,
    others: Vec<Contender>,
    step: Option<Step>,
    at: Duration,
}

/// How the races of one run ended.
#[derive(Debug, Default)]
struct Tally {
    released: usize,
    /// Released on a server that lost it again, with the release.
    undone: usize,
    nothing_done: usize,
    unknown: usize,
    /// Taken by somebody on a server that was not the primary for long.
    lost_with_their_primary: usize,
    kept: usize,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{variable}` is `{text}`, expected a whole number")))
}

async fn server_of(url: &str) -> Server {
    let server = Server::serve().redis(url).arg("--allow-release").config(HURRIED).start().await;
    server.ready().await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_by_sentinels_lets_nothing_else_be_removed_than_what_was_previewed() {
    let sentinels = Sentinels::start().await;
    let server = server_of(&sentinels.url()).await;
    let asked = sentinels.clients().await;
    let groups = [sentinels.servers.iter().collect::<Group<'_>>()];
    let promote = async |_: &[usize]| {
        let command = CustomCommand::new_static("SENTINEL", ClusterHash::Random, false);
        // One that is not done with the last failover refuses the next.
        until(
            "a failover to begin",
            async || asked[0].custom::<Value, _>(command.clone(), vec!["FAILOVER", PRIMARY]).await.is_ok(),
            |begun| *begun,
        )
        .await;
    };
    rounds(&server.api(), &groups, BY_SENTINELS, |_| true, async |_| 0, promote).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_in_a_cluster_lets_nothing_else_be_removed_than_what_was_previewed() {
    let cluster = Cluster::start().await;
    let server = server_of(&cluster.url()).await;
    let groups = [0, 1, 2].map(|i| vec![&cluster.nodes[i], &cluster.nodes[i + 3]]);
    let promote = async |primaries: &[usize]| {
        join_all(groups.iter().zip(primaries).map(|(group, primary)| take_over(group[1 - primary]))).await;
    };
    let owner = async |key: &str| cluster.owner(key.as_bytes()).await;
    // Of one key each: others are in one slot only if they are named so. The readers of DistributedLock stand beside a
    // writer's key, which would be in another slot, too.
    let is_of_one_key = |dialect: &Dialect| {
        let keys = dialect.keys("x");
        keys.len() == 1 && !keys[0].ends_with(".readers")
    };
    rounds(&server.api(), &groups, BY_ORDER, is_of_one_key, owner, promote).await;
}

/// Has a replica in a cluster take over, without waiting for what was not copied yet: it is to be lost. Without a vote, too:
/// a replica that was elected before counts the votes of then again for twice the node timeout (Redis 7.0, seen running),
/// and takes over with an epoch that is lower than its primary's, for a moment only.
async fn take_over(replica: &RedisServer) {
    let client = replica.client().await;
    let command = CustomCommand::new_static("CLUSTER", ClusterHash::Random, false);
    let ordered: Result<Value, _> = client.custom(command, vec!["FAILOVER", "TAKEOVER"]).await;
    // One whose primary was silent for too long may have been elected meanwhile.
    assert!(ordered.is_ok() || is_primary(&client).await, "{ordered:?}");
}

async fn rounds(
    api: &Api,
    groups: &[Group<'_>],
    takes: Duration,
    fits: impl Fn(&Dialect) -> bool,
    owner: impl AsyncFn(&str) -> usize,
    promote: impl AsyncFn(&[usize]),
) {
    let rounds = number("LOCKKEEPER_FAILOVERS").unwrap_or(ROUNDS);
    let seed = number("LOCKKEEPER_SEED").unwrap_or_else(rand::random);
    println!("failovers with LOCKKEEPER_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let mut raced = 0;
    // Whoever has a lock shows that by renewing it.
    let dialects: Vec<&'static Dialect> =
        Dialect::ALL.iter().filter(|dialect| dialect.steps.contains(&Step::Renew) && fits(dialect)).collect();
    for n in 0..rounds {
        let primaries = primaries(groups).await;
        let mut stores = Vec::new();
        for (group, primary) in groups.iter().zip(&primaries) {
            stores.push(group[*primary].client().await);
        }
        let mut round = Vec::new();
        for (place, dialect) in dialects.iter().enumerate() {
            let name = format!("f{n}x{place}x");
            let keys = dialect.keys(&name);
            let group = owner(&keys[0]).await;
            let client = || dialect.contender(&stores[group], &name);
            let step = [None, Some(Step::Leave), Some(Step::Renew)].choose(&mut rng).copied().flatten();
            let others = groups[group].iter().map(|_| client()).collect();
            let at = (takes + 2 * AROUND).mul_f64(rng.random_range(0.0..1.0));
            round.push(Race { name: dialect.name, group, keys, a: client(), others, step, at });
        }
        raced += round.len();
        let when = takes + AROUND.mul_f64(rng.random_range(0.0..2.0));
        run(api, groups, &primaries, &stores, &round, when, &promote, &mut tally).await;
    }
    println!("{raced} races in {rounds} failovers with LOCKKEEPER_SEED={seed}: {tally:?}");
    assert!(tally.released + tally.undone > 0 && tally.nothing_done > 0 && tally.kept > 0, "{tally:?}");
}

#[expect(clippy::too_many_arguments, reason = "a round is all of these at once")]
async fn run(
    api: &Api,
    groups: &[Group<'_>],
    primaries: &[usize],
    stores: &[Client],
    round: &[Race],
    when: Duration,
    promote: &impl AsyncFn(&[usize]),
    tally: &mut Tally,
) {
    for race in round {
        assert!(race.a.take().await, "{} could not be taken", race.name);
    }
    for (store_of, group) in stores.iter().zip(groups) {
        let all = (group.len() - 1).to_string();
        let copies: i64 = store(store_of, "WAIT", [&*all, COPY_MS]).await;
        assert_eq!(copies.to_string(), all, "copies");
    }
    let locks = held_by_a(api, round).await;
    let answer = api.try_preview(&locks.iter().collect::<Vec<_>>()).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let preview: PreviewAnswer = answer.json();

    let over = Arc::new(AtomicBool::new(false));
    let mut trying = Vec::new();
    for (group, servers) in groups.iter().enumerate() {
        for (place, server) in servers.iter().enumerate() {
            let theirs = round.iter().filter(|race| race.group == group);
            let wanting: Vec<(&'static str, Contender)> =
                theirs.map(|race| (race.name, race.others[place].clone())).collect();
            trying.push(tokio::spawn(insist(server.url(), wanting, over.clone())));
        }
    }
    let (release, _, moved) = tokio::join!(
        async {
            // Not to wait for anything: it is the moment that is drawn.
            tokio::time::sleep(when).await;
            api.release(&preview).await.1
        },
        async {
            // Not to wait for anything: the promotion comes in the middle of the moments that are drawn.
            tokio::time::sleep(AROUND).await;
            promote(primaries).await;
        },
        join_all(round.iter().map(make)),
    );
    let now = promoted(groups, primaries).await;
    over.store(true, Ordering::Relaxed);
    let mut held = Vec::new();
    for one in trying {
        held.push(one.await.unwrap());
    }
    check(groups, &now, round, &release, &moved, tally).await;

    let mut all = held.into_iter();
    for (group, servers) in groups.iter().enumerate() {
        for (place, server) in servers.iter().enumerate() {
            let taken = all.next().unwrap();
            let client = server.client().await;
            let theirs: Vec<&Race> = round.iter().filter(|race| race.group == group).collect();
            for (race, has_it) in theirs.iter().zip(taken) {
                if !has_it {
                } else if place == now[group] {
                    let is_there = race.others[place].on(&client).does(Step::Leave).await;
                    assert!(is_there, "{} {:?} was taken from a holder that nobody named", race.name, race.keys);
                    tally.kept += 1;
                } else {
                    tally.lost_with_their_primary += 1;
                }
            }
        }
    }
    for (group, place) in now.iter().enumerate() {
        let client = groups[group][*place].client().await;
        for race in round.iter().filter(|race| race.group == group) {
            let _: i64 = store(&client, "DEL", race.keys.clone()).await;
        }
    }
}

/// What was said of each lock is true of the primary that there is now.
async fn check(
    groups: &[Group<'_>],
    now: &[usize],
    round: &[Race],
    release: &ReleaseAnswer,
    moved: &[Option<bool>],
    tally: &mut Tally,
) {
    assert_eq!(release.results.len(), round.len());
    for ((race, result), moved) in round.iter().zip(&release.results).zip(moved) {
        let what = format!("{} {:?}, `a` did {:?}: {moved:?}, and {result:#?}", race.name, race.keys, race.step);
        let client = groups[race.group][now[race.group]].client().await;
        let has_it = race.a.on(&client).does(Step::Leave).await;
        match result.outcome {
            Outcome::Released if has_it => tally.undone += 1,
            Outcome::Released => tally.released += 1,
            Outcome::Unknown | Outcome::Partial => tally.unknown += 1,
            Outcome::ChangedHands | Outcome::Gone | Outcome::Refused | Outcome::Failed => {
                tally.nothing_done += 1;
                // Nothing was done: whoever did not let go has it, wherever it is now.
                assert!(has_it || race.step == Some(Step::Leave), "{what}");
            }
            _ => panic!("{what}"),
        }
    }
}

/// On one server, while it is a primary: whoever wants a lock tries for it, and whoever has it renews it, without a pause
/// until all is over. A hold that is gone while the server is still a primary was taken away. Returns who has one.
async fn insist(url: String, wanting: Vec<(&'static str, Contender)>, over: Arc<AtomicBool>) -> Vec<bool> {
    let mut has_it = vec![false; wanting.len()];
    let is_over = || over.load(Ordering::Relaxed);
    while !is_over() {
        // A server that changes its role closes its connections.
        let Some(client) = connect(&url).await.filter(|_| !is_over()) else { continue };
        if !is_primary(&client).await {
            // Not to wait for anything: it is the pace of the looks.
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let wanting: Vec<_> = wanting.iter().map(|(name, contender)| (*name, contender.on(&client))).collect();
        'primary: while !is_over() {
            for ((name, contender), has_it) in wanting.iter().zip(&mut has_it) {
                let was_his = *has_it;
                let Some(answer) = contender.tries(was_his.then_some(Step::Renew)).await else { break 'primary };
                *has_it = answer;
                let is_lost = was_his && !answer;
                assert!(!is_lost || !is_primary(&client).await, "{name} was taken from a holder that nobody named");
            }
            tokio::task::yield_now().await;
        }
    }
    has_it
}

async fn connect(url: &str) -> Option<Client> {
    let mut builder = fred::types::Builder::from_config(fred::types::config::Config::from_url(url).unwrap());
    builder.with_connection_config(|config| config.max_command_attempts = 1);
    builder.with_performance_config(|config| config.default_command_timeout = AN_ANSWER);
    let client = builder.build().unwrap();
    tokio::time::timeout(AN_ANSWER, client.init()).await.ok()?.ok()?;
    Some(client)
}

async fn is_primary(client: &Client) -> bool {
    let command = CustomCommand::new_static("ROLE", ClusterHash::Random, false);
    let role: Result<Vec<Value>, _> = client.custom::<_, Value>(command, vec![]).await;
    role.is_ok_and(|role| role.first().and_then(Value::as_str).as_deref() == Some("master"))
}

/// What `a` does at its moment, where its connection lasts that long.
async fn make(race: &Race) -> Option<bool> {
    // Not to wait for anything: it is the moment of the move that is drawn.
    tokio::time::sleep(race.at).await;
    race.a.tries(Some(race.step?)).await
}

/// Which server of each group is the primary, once all others are in step with it.
async fn primaries(groups: &[Group<'_>]) -> Vec<usize> {
    promoted(groups, &vec![usize::MAX; groups.len()]).await
}

/// The same, once it is another one than before.
async fn promoted(groups: &[Group<'_>], before: &[usize]) -> Vec<usize> {
    let mut now = Vec::new();
    for (group, before) in groups.iter().zip(before) {
        let place = until(
            "one new primary with all others in step",
            async || {
                let infos = join_all(group.iter().map(|server| server.info("replication"))).await;
                let infos: Vec<String> = infos.into_iter().map(Option::unwrap_or_default).collect();
                let primaries: Vec<usize> = (0..infos.len()).filter(|&at| infos[at].contains("role:master")).collect();
                let in_step = infos.iter().filter(|info| info.contains("master_link_status:up")).count();
                match primaries[..] {
                    [one] if one != *before && in_step + 1 == infos.len() => Some(one),
                    _ => None,
                }
            },
            Option::is_some,
        )
        .await;
        now.extend(place);
    }
    now
}

/// Waits until every lock is seen to be held by its `a`, whole; in the order of the round.
async fn held_by_a(api: &Api, round: &[Race]) -> Vec<Lock> {
    let of = |locks: &[Lock], race: &Race| -> Option<Lock> {
        let token = race.a.token_b64();
        let is_its = |lock: &&Lock| {
            lock.keys.iter().any(|key| race.keys.iter().any(|own| key.as_str() == own))
                && lock.holders.len() == 1
                && lock.holders[0].token_b64 == token
        };
        let lock = locks.iter().find(is_its)?;
        let may_span = matches!(race.name, "node-redlock" | "rueidislock");
        (!may_span || lock.keys.len() == race.keys.len()).then(|| lock.clone())
    };
    let locks = until(
        "the locks of a round",
        async || api.locks("limit=1000").await.locks,
        |locks| round.iter().all(|race| of(locks, race).is_some()),
    )
    .await;
    round.iter().filter_map(|race| of(&locks, race)).collect()
}
