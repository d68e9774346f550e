//! Releases against holders who hand over at the same moment, ten thousand times, and not one of them hurts anybody.
//!
//! Each race is one lock: `a` holds it and is previewed, `b` waits for it and tries without a pause. While the release
//! is under way, `a` may let go, renew, or go on. A wrong release would be one that took the lock from `b`, or from `a`
//! without saying so, so at the end each of them is asked whether what it had was still its own.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockkeeper_model::{Lock, Outcome, PreviewAnswer, ReleaseAnswer};
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
