//! Releases of every dialect against whatever its clients do at the same moment: what is freed is exactly what was
//! previewed, and whoever comes next keeps what they have.
//!
//! Each race is one lock of one dialect: `a` holds it and is previewed, `b` wants it and tries again and again. While the
//! release of all of them is under way on one ticket, each `a` lets go, renews, enters again, falls silent until its lease
//! is over, or goes on. Where everybody stores the same, it is when the lease ends that tells `b` from `a`; of the one form
//! that has no lease either, `b` comes when all is over. `LOCKKEEPER_RACES` says how many races there are, `LOCKKEEPER_ARENAS`
//! on how many Redis servers at a time, `LOCKKEEPER_SEED` repeats the moves of a run; `cargo xtask races` sets them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fred::clients::Client;
use futures_util::future::join_all;
use lockkeeper_model::{Lock, Outcome, PreviewAnswer, ReleaseAnswer};
use lockkeeper_tests::{Api, Contender, Dialect, RedisServer, Server, Step, ToldBy, store, until};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Races without `LOCKKEEPER_RACES`: every dialect often enough to meet every move, in about half a minute.
const RACES: usize = 1_400;

/// Connections that the clients share, so that their commands really run against each other.
const CONNECTIONS: usize = 6;

/// Redis servers without `LOCKKEEPER_ARENAS`, each watched by a server of its own.
const ARENAS: usize = 1;

/// Rounds that run side by side on one Redis, each on a ticket of its own: a release is followed for a moment by looking
/// on, in which others can be raced for.
const LANES: usize = 4;

/// How often a long run says how far it is.
const SAYS_SO: usize = 100;

/// Between two tries of whoever wants a lock: about what one takes. Without it hundreds who try would take all the time of
/// a small machine from the server that they are to be raced against.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// Over how long moves are spread before anybody knows how long a release takes, and at most.
const FIRST_SPREAD: Duration = Duration::from_millis(20);
const LONGEST_SPREAD: Duration = Duration::from_millis(200);

/// One lock, who has it and who wants it.
struct Race {
    dialect: &'static Dialect,
    name: String,
    a: Contender,
    b: Contender,
    /// What `a` does meanwhile, and when; `None`: it goes on.
    step: Option<Step>,
    at: f64,
}

/// How the races of one run ended.
#[derive(Debug, Default)]
struct Tally {
    released: usize,
    changed_hands: usize,
    gone: usize,
    refused: usize,
    failed: usize,
}

impl Tally {
    fn and(self, other: Tally) -> Tally {
        Tally {
            released: self.released + other.released,
            changed_hands: self.changed_hands + other.changed_hands,
            gone: self.gone + other.gone,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{variable}` is `{text}`, expected a whole number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_every_dialect_exactly_what_was_previewed_is_freed_whatever_happens_meanwhile() {
    let whole = |number: u64| usize::try_from(number).unwrap();
    let races = number("LOCKKEEPER_RACES").map_or(RACES, whole);
    let arenas = number("LOCKKEEPER_ARENAS").map_or(ARENAS, whole).max(1);
    let seed = number("LOCKKEEPER_SEED").unwrap_or_else(rand::random);
    println!("races with LOCKKEEPER_SEED={seed}");
    let began = Instant::now();
    let at_once = arenas * LANES * Dialect::ALL.len();
    let run = Run { rounds: races.div_ceil(at_once), at_once, seed, done: AtomicUsize::new(0) };
    let tallies = join_all((0..arenas).map(|arena| in_arena(arena, &run))).await;
    let tally = tallies.into_iter().fold(Tally::default(), Tally::and);
    let raced = run.at_once * run.rounds;
    println!(
        "{raced} races of {} dialects on {arenas} servers with LOCKKEEPER_SEED={seed}: {tally:?}, 0 wrong, in {:?}",
        Dialect::ALL.len(),
        began.elapsed()
    );
    // They must have met in every way, or nothing was shown.
    let often = raced / 50;
    assert!(tally.released > often && tally.changed_hands > often, "{tally:?}");
    assert!(tally.refused > 0, "{tally:?}");
    assert_eq!(tally.released + tally.changed_hands + tally.gone + tally.refused + tally.failed, raced);
}

/// What all lanes of a run have in common. Nothing of a race is kept but how it ended.
struct Run {
    rounds: usize,
    at_once: usize,
    seed: u64,
    /// Rounds that are over, of all lanes.
    done: AtomicUsize,
}

impl Run {
    /// Takes note that a round of a lane is over, and says from time to time how far all are.
    fn is_over(&self) {
        let lanes = self.at_once / Dialect::ALL.len();
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.rounds * lanes;
        if done * SAYS_SO / all > (done - 1) * SAYS_SO / all {
            println!("{} of {} races", done * Dialect::ALL.len(), all * Dialect::ALL.len());
        }
    }
}

/// One Redis, the server that watches it, and its lanes.
async fn in_arena(arena: usize, run: &Run) -> Tally {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let api = server.api();
    let stores = join_all((0..CONNECTIONS).map(|_| redis.client())).await;
    let lanes = (arena * LANES)..((arena + 1) * LANES);
    let tallies = join_all(lanes.map(|lane| rounds_of(lane, run, &api, &stores))).await;
    tallies.into_iter().fold(Tally::default(), Tally::and)
}

/// One lane: every dialect is raced for once in each round.
async fn rounds_of(lane: usize, of: &Run, api: &Api, stores: &[Client]) -> Tally {
    let mut rng = StdRng::seed_from_u64(of.seed.wrapping_add(lane as u64));
    let mut tally = Tally::default();
    // Moves are spread over about as long as a release takes, so that they fall before, into and after it.
    let mut spread = FIRST_SPREAD;
    for n in 0..of.rounds {
        let names = format!("r{lane}x{n}x");
        let store_of = |place: usize| &stores[(lane + place) % stores.len()];
        let round: Vec<Race> = Dialect::ALL
            .iter()
            .enumerate()
            .map(|(place, dialect)| {
                let name = format!("{names}{place}x");
                draw(dialect, &name, [store_of(place), store_of(place + 1)], &mut rng)
            })
            .collect();
        // No longer than the attempts themselves: what comes after them is looking on.
        spread = run(api, &names, &round, spread, &mut tally).await.min(LONGEST_SPREAD);
        let keys: Vec<String> = round.iter().flat_map(|race| race.dialect.keys(&race.name)).collect();
        let _: i64 = store(&stores[0], "DEL", keys).await;
        of.is_over();
    }
    tally
}

/// A race with a move that the dialect knows.
fn draw(dialect: &'static Dialect, name: &str, [one, other]: [&Client; 2], rng: &mut StdRng) -> Race {
    let step = match rng.random_range(0..10) {
        0..4 => Some(Step::Leave),
        4..8 => dialect.steps.choose(rng).copied(),
        _ => None,
    };
    let (a, b) = (dialect.contender(one, name), dialect.contender(other, name).later());
    Race { dialect, name: name.to_owned(), a, b, step, at: rng.random_range(0.0..1.2) }
}

/// Every lock is raced for once; all names begin with `names`. Returns how long the release took.
async fn run(api: &Api, names: &str, round: &[Race], spread: Duration, tally: &mut Tally) -> Duration {
    for race in round {
        assert!(race.a.take().await, "{} could not be taken", race.dialect.name);
        assert!(race.dialect.is_shared || !race.b.take().await, "{} was taken twice", race.dialect.name);
    }
    let locks = held_by_a(api, names, round).await;
    // On a machine that is busy enough the store is not read in time; then nothing was previewed, and it is tried again.
    let answer = until(
        "a preview of all of them",
        async || api.try_preview(&locks.iter().collect::<Vec<_>>()).await,
        |answer| answer.status != 503,
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let preview: PreviewAnswer = answer.json();

    // Where nothing tells one hold from the next, whoever looks cannot help taking the next for this one, and says so.
    let is_told = |race: &&Race| race.dialect.told_by != ToldBy::Nothing;
    let waiting: Vec<_> =
        round.iter().filter(is_told).map(|race| tokio::spawn(try_until_taken(race.b.clone()))).collect();
    let began = Instant::now();
    let ((release, took), moved) = tokio::join!(
        async {
            let answer: ReleaseAnswer = api.release(&preview).await.1;
            (answer, began.elapsed())
        },
        join_all(round.iter().map(|race| make(race, spread))),
    );
    assert_eq!(release.results.len(), round.len());
    for ((race, result), was_ours) in round.iter().zip(&release.results).zip(moved) {
        let what = format!("{} {}, `a` did {:?}: {was_ours}, and {result:#?}", race.dialect.name, race.name, race.step);
        let (count, freed) = match result.outcome {
            Outcome::Released => (&mut tally.released, true),
            Outcome::ChangedHands => (&mut tally.changed_hands, false),
            Outcome::Gone => (&mut tally.gone, false),
            Outcome::Refused => (&mut tally.refused, false),
            // It could not be read again in time, and nothing was tried.
            Outcome::Failed => (&mut tally.failed, false),
            _ => panic!("{what}"),
        };
        *count += 1;
        match race.step {
            Some(Step::Leave) => assert_ne!(freed, was_ours, "{what}"),
            // Between falling silent and the end of the lease the hold is still what was previewed.
            Some(Step::Lapse) => assert!(freed || was_ours, "{what}"),
            // The attempt looks once more before it compares. What was renewed before that is still the hold that was
            // previewed; what is renewed after it is not freed.
            Some(Step::Renew) => {
                assert!(freed || was_ours, "{what}");
                assert_ne!(freed, race.a.does(Step::Leave).await, "{what}");
            }
            // What was entered again is another hold than was previewed, and is kept.
            Some(Step::Again) => {
                assert_ne!(freed, was_ours, "{what}");
                assert_eq!(race.a.does(Step::Leave).await, was_ours, "{what}");
            }
            None => assert_ne!(freed, race.a.does(Step::Leave).await, "{what}"),
        }
    }
    for one in waiting {
        one.await.unwrap();
    }
    for race in round {
        assert!(is_told(&race) || race.b.take().await, "{} {} was not let go", race.dialect.name, race.name);
        assert!(
            race.b.does(Step::Leave).await,
            "{} {} was taken from a holder that nobody named",
            race.dialect.name,
            race.name
        );
    }
    took
}

/// Waits until every lock is seen to be held by its `a`, whole; in the order of the round.
async fn held_by_a(api: &Api, names: &str, round: &[Race]) -> Vec<Lock> {
    let of = |locks: &[Lock], race: &Race| -> Option<Lock> {
        let token = race.a.token_b64();
        let is_its = |lock: &&Lock| {
            lock.id.as_str().contains(&race.name) && lock.holders.len() == 1 && lock.holders[0].token_b64 == token
        };
        let lock = locks.iter().find(is_its)?;
        let may_span = matches!(race.dialect.name, "node-redlock" | "rueidislock");
        (!may_span || lock.keys.len() == race.dialect.keys(&race.name).len()).then(|| lock.clone())
    };
    let all = |locks: &Vec<Lock>| {
        round.iter().filter(|race| of(locks, race).is_none()).map(|race| race.dialect.name).collect::<Vec<_>>()
    };
    let own = format!("q=name:{names}&limit=1000");
    let locks =
        until("the locks of a round", async || api.locks(&own).await.locks, |locks| all(locks).is_empty()).await;
    for race in round {
        let lock = of(&locks, race).unwrap();
        assert_eq!(lock.dialect.name, race.dialect.name, "{lock:#?}");
    }
    round.iter().filter_map(|race| of(&locks, race)).collect()
}

async fn try_until_taken(b: Contender) {
    while !b.take().await {
        // Not to wait for anything: it is the pace of the tries.
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// What `a` does at its moment, and whether the lock was still its own.
async fn make(race: &Race, spread: Duration) -> bool {
    // Not to wait for anything: it is the moment of the move that is drawn.
    tokio::time::sleep(spread.mul_f64(race.at)).await;
    match race.step {
        Some(step) => race.a.does(step).await,
        None => true,
    }
}
