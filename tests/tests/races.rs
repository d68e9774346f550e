//! Releases against holders who hand over at the same moment, ten thousand times, and not one of them hurts anybody.
//!
//! Each race is one lock: `a` holds it and is previewed, `b` waits for it and tries without a pause. While the release
//! is under way, `a` may let go, renew, or go on. A wrong release would be one that took the lock from `b`, or from `a`
//! without saying so, so at the end each of them is asked whether what it had was still its own.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockkeeper_model::{Action, Lock, Outcome, PreviewAnswer, PreviewRequest, PreviewTarget, ReleaseAnswer};
use lockkeeper_tests::{Api, Family, LockClient, RedisServer, Server, until};
use rand::Rng as _;

const RACES: usize = 10_000;

/// Races that run side by side, on one ticket: as many as one ticket may carry make the run quick, fewer make each
/// attempt come sooner after its preview.
const AT_ONCE: usize = 50;

/// Connections that the clients share, so that their commands really run against each other.
const CONNECTIONS: usize = 6;

const LEASE: Duration = Duration::from_secs(60);

/// What `a` does while the release is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    LetsGo,
    Renews,
    GoesOn,
}

#[derive(Debug, Default)]
struct Tally {
    released: usize,
    changed_hands: usize,
    gone: usize,
    refused: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_releases_against_hand_overs_free_nobody_elses_lock() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let api = server.api();
    let stores = join_all((0..CONNECTIONS).map(|_| redis.client())).await;
    let mut tally = Tally::default();
    // Moves are spread over about as long as a release takes, so that they fall before, into and after it.
    let mut spread = Duration::from_millis(20);
    let mut raced = 0;
    while raced < RACES {
        let pairs: Vec<(LockClient, LockClient)> = (0..AT_ONCE)
            .map(|n| {
                let family = Family::ALL[n % Family::ALL.len()];
                let name = format!("race:{n:02}");
                let client = |store: usize| family.client(&stores[store % CONNECTIONS], &name, Some(LEASE));
                (client(n), client(n + 1))
            })
            .collect();
        spread = round(&api, pairs, spread, &mut tally).await;
        raced += AT_ONCE;
    }
    println!("{raced} races: {tally:?}");
    // They must have met in every way, or nothing was shown.
    let often = RACES / 50;
    assert!(tally.released > often && tally.changed_hands > often, "{tally:?}");
    let counted = tally.released + tally.changed_hands + tally.gone + tally.refused;
    assert_eq!(counted, raced);
}

/// Every pair races once. Returns how long the release took.
async fn round(api: &Api, pairs: Vec<(LockClient, LockClient)>, spread: Duration, tally: &mut Tally) -> Duration {
    for taken in join_all(pairs.iter().map(|(a, _)| a.take())).await {
        assert!(taken);
    }
    let locks = held_by(api, &pairs).await;
    let answer = api.try_preview(&locks.iter().collect::<Vec<_>>()).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let preview: PreviewAnswer = answer.json();
    api.dry_run(&preview).await;

    let waiting: Vec<_> = pairs.iter().map(|(_, b)| tokio::spawn(take_without_pause(b.clone()))).collect();
    let moves = pairs.iter().map(|(a, _)| {
        let (choice, delay) = {
            let mut rng = rand::rng();
            let choice = match rng.random_range(0..10) {
                0..6 => Move::LetsGo,
                6..8 => Move::Renews,
                _ => Move::GoesOn,
            };
            (choice, spread.mul_f64(rng.random_range(0.0..1.2)))
        };
        make(a, choice, delay)
    });
    let began = Instant::now();
    let ((release, took), moved) = tokio::join!(
        async {
            let answer: ReleaseAnswer = api.release(&preview).await.1;
            (answer, began.elapsed())
        },
        join_all(moves),
    );

    for (((a, b), result), (choice, was_ours)) in pairs.iter().zip(&release.results).zip(moved) {
        let freed = match result.outcome {
            Outcome::Released => {
                tally.released += 1;
                true
            }
            Outcome::ChangedHands => {
                tally.changed_hands += 1;
                false
            }
            Outcome::Gone => {
                tally.gone += 1;
                false
            }
            Outcome::Refused => {
                tally.refused += 1;
                false
            }
            other => panic!("{other:?}: {result:#?}"),
        };
        let kept = match choice {
            Move::LetsGo => was_ours,
            // It goes on, and lets go now.
            Move::Renews | Move::GoesOn => a.release().await,
        };
        assert_ne!(freed, kept, "`a` of {} was told {choice:?}, and the release {result:#?}", b.key);
    }
    for one in waiting {
        one.await.unwrap();
    }
    for (_, b) in &pairs {
        assert!(b.release().await, "the lock {} was taken from a holder that nobody named", b.key);
    }
    took
}

/// Waits until every lock is seen to be held by its `a`.
async fn held_by(api: &Api, pairs: &[(LockClient, LockClient)]) -> Vec<Lock> {
    let all_held = |locks: &Vec<Lock>| {
        locks.len() == pairs.len()
            && pairs.iter().all(|(a, _)| {
                locks.iter().any(|lock| lock.id.as_str() == a.key && lock.holders[0].token.as_ref() == Some(&a.token))
            })
    };
    let mut locks = until("the locks of a round", async || api.locks("limit=1000").await.locks, all_held).await;
    // In the order of the pairs.
    locks.sort_by_key(|lock| pairs.iter().position(|(a, _)| a.key == lock.id.as_str()));
    locks
}

async fn take_without_pause(b: LockClient) {
    while !b.take().await {
        tokio::task::yield_now().await;
    }
}

/// What `a` does, and for letting go whether the lock was still its own.
async fn make(a: &LockClient, choice: Move, delay: Duration) -> (Move, bool) {
    // Not to wait for anything: it is the moment of the move that is drawn.
    tokio::time::sleep(delay).await;
    let was_ours = match choice {
        Move::LetsGo => a.release().await,
        Move::Renews => a.renew().await,
        Move::GoesOn => true,
    };
    (choice, was_ours)
}

/// Holds that race against hand-overs: fewer than releases, which share the comparison with them.
const HOLD_RACES: usize = 1_000;

/// Put backs that race: each waits for a release to be answered first.
const PUT_BACK_RACES: usize = 300;

/// Asks to do something with these locks, on one ticket.
async fn preview(api: &Api, locks: &[Lock], action: Action) -> PreviewAnswer {
    let locks = locks
        .iter()
        .map(|lock| PreviewTarget {
            source: lock.source.clone(),
            id: lock.id.clone(),
            generation: lock.holders[0].generation.clone(),
            holder: None,
        })
        .collect();
    let answer =
        api.post("/api/v1/releases/preview", &PreviewRequest { locks, action, hold_ms: None, leave_out: false }).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.json()
}

/// A lock of each family in turn, and the clients that want each.
fn pairs(stores: &[fred::clients::Client]) -> Vec<(LockClient, LockClient)> {
    let client = |n: usize, store: usize| {
        Family::ALL[n % Family::ALL.len()].client(&stores[store % stores.len()], &format!("race:{n:02}"), Some(LEASE))
    };
    (0..AT_ONCE).map(|n| (client(n, n), client(n, n + 1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_against_a_hand_over_never_takes_the_next_holders_place() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let api = server.api();
    let stores = join_all((0..CONNECTIONS).map(|_| redis.client())).await;
    let (mut held, mut left) = (0, 0);
    let mut spread = Duration::from_millis(20);
    for _ in 0..HOLD_RACES / AT_ONCE {
        let pairs = pairs(&stores);
        assert!(join_all(pairs.iter().map(|(a, _)| a.take())).await.into_iter().all(|taken| taken));
        let ticket = preview(&api, &held_by(&api, &pairs).await, Action::ReleaseAndHold).await;
        let waiting: Vec<_> = pairs.iter().map(|(_, b)| tokio::spawn(take_without_pause(b.clone()))).collect();
        let moves = pairs.iter().map(|(a, _)| {
            let at = spread.mul_f64(rand::rng().random_range(0.0..1.2));
            make(a, Move::LetsGo, at)
        });
        let began = Instant::now();
        let ((answer, took), moved) = tokio::join!(
            async {
                let answer: ReleaseAnswer = api.release(&ticket).await.1;
                (answer, began.elapsed())
            },
            join_all(moves),
        );
        spread = took;
        for (((a, b), result), (_, was_ours)) in pairs.iter().zip(&answer.results).zip(moved) {
            let is_held = result.outcome == Outcome::Held;
            assert_ne!(is_held, was_ours, "`a` of {} let go: {was_ours}, and {result:#?}", a.key);
            if !is_held {
                left += 1;
                continue;
            }
            held += 1;
            assert!(!b.release().await, "{}: `b` got in beside the operator", b.key);
            let operator = result.holder_now.as_ref().unwrap().token.clone().unwrap();
            open(&stores[0], &a.key, &operator).await;
        }
        for one in waiting {
            one.await.unwrap();
        }
        for (_, b) in &pairs {
            assert!(b.release().await, "the lock {} was taken from a holder that nobody named", b.key);
        }
    }
    println!("{held} held, {left} left alone");
    assert!(held > HOLD_RACES / 50 && left > HOLD_RACES / 50, "they must have met in every way: {held}, {left}");
}

/// Ends an operator's hold, if exactly that has the lock.
async fn open(store: &fred::clients::Client, key: &str, token: &str) {
    let script = "local has = redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 \
                  or redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1]) == ARGV[1] \
                  if has then redis.call('DEL', KEYS[1]) end return has";
    let opened: Option<i64> = lockkeeper_tests::store(store, "EVAL", [script, "1", key, token]).await;
    assert_eq!(opened, Some(1), "the operator lost {key}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_put_back_and_the_next_holder_exactly_one_gets_the_lock() {
    let redis = RedisServer::start().await;
    let server = Server::releasing(&redis).await;
    let api = server.api();
    let stores = join_all((0..CONNECTIONS).map(|_| redis.client())).await;
    let (mut back, mut taken) = (0, 0);
    let mut spread = Duration::from_millis(20);
    for _ in 0..PUT_BACK_RACES / AT_ONCE {
        let pairs = pairs(&stores);
        assert!(join_all(pairs.iter().map(|(a, _)| a.take())).await.into_iter().all(|taken| taken));
        let locks = held_by(&api, &pairs).await;
        let answer: ReleaseAnswer = api.release(&preview(&api, &locks, Action::Release).await).await.1;
        assert!(answer.results.iter().all(|result| result.outcome == Outcome::Released), "{answer:#?}");
        let ticket = preview(&api, &locks, Action::PutBack).await;
        let tries = pairs.iter().map(|(_, b)| {
            let at = spread.mul_f64(rand::rng().random_range(0.0..1.2));
            async move {
                // Not to wait for anything: it is the moment of the try that is drawn.
                tokio::time::sleep(at).await;
                b.take().await
            }
        });
        let began = Instant::now();
        let ((answer, took), tried) = tokio::join!(
            async {
                let answer: ReleaseAnswer = api.release(&ticket).await.1;
                (answer, began.elapsed())
            },
            join_all(tries),
        );
        spread = took;
        for (((a, b), result), got) in pairs.iter().zip(&answer.results).zip(tried) {
            let is_back = result.outcome == Outcome::PutBack;
            assert_ne!(is_back, got, "{}: {result:#?}", a.key);
            assert_eq!((a.release().await, b.release().await), (is_back, got), "{}", a.key);
            if is_back { back += 1 } else { taken += 1 }
        }
    }
    println!("{back} put back, {taken} taken");
    assert!(
        back > PUT_BACK_RACES / 50 && taken > PUT_BACK_RACES / 50,
        "they must have met in every way: {back}, {taken}"
    );
}
