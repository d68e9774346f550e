//! The whole of the recorder without a board: what is left on the tape is what is read back.

use lockkeeper_model::{
    Certainty, ContentionStats, LockState, Mode, Question, RecordingState, Time, TransitionKind, WaitedLock,
    WaitersBasis,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::store::{Line, Store};
use super::writer::Note;
use super::{Filter, History, Limits, Page, schema};
use crate::access::{Grant, Person, Policy, Reach, Right, Role, Via};
use crate::clock;
use crate::recorder::db::aside;
use crate::recorder::db::testing::PostgresServer;
use crate::registry::past::{HeldThen, Piece};
use crate::registry::waits::{Followed, LockWaited, Waited, Waits};
use crate::registry::{Cause, Entry, Hold, LoggedEvent, Stood};
use crate::source::{DialectTraits, Recognition, SourceId};
use crate::view::Asked;

static TOKEN: Recognition =
    Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &DialectTraits::PLAIN };

/// What happened, told as `Story` tells it.
fn happened(seq: u64, at: i64, kind: TransitionKind, key: &str, token: &str) -> LoggedEvent {
    let held_ms = kind.ends().then_some(1_000);
    LoggedEvent {
        source: SourceId(0),
        key: Some(key.to_owned().into()),
        entry: Entry {
            seq,
            at: Time(at),
            first_at: Time(at),
            count: 1,
            kind,
            token: token.as_bytes().into(),
            previous: None,
            cause: Cause::Seen,
            held_ms,
            audit: None,
        },
        because: None,
        after: Some(Stood {
            recognition: &TOKEN,
            mode: Mode::Exclusive,
            state: LockState::Held,
            count: u32::from(!kind.ends()),
            expires: at + 30_000,
        }),
    }
}

fn gap(seq: u64, at: i64) -> LoggedEvent {
    let mut gap = happened(seq, at, TransitionKind::Gap, "", "");
    (gap.key, gap.after, gap.because) = (None, None, Some("link lost".to_owned()));
    gap.entry.cause = Cause::Unwatched;
    gap
}

fn writes(history: &History) -> bool {
    let (tell, told) = std::sync::mpsc::channel();
    let ask = Note::Do(Box::new(move |store| tell.send(store.is_ok()).unwrap()));
    history.0.kept.as_ref().unwrap().notes.send(ask).unwrap();
    told.recv().unwrap()
}

/// The same story wherever a history is kept.
macro_rules! in_both {
    ($($story:ident,)+) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Scene::new()).await;
            })+
        }

        mod in_postgres {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Scene::of(super::Place::Shared(super::PostgresServer::start()), "aaaa")).await;
            })+
        }
    };
}

in_both! {
    what_happened_is_read_back_across_restarts_under_the_same_names,
    a_filter_finds_what_it_names_and_a_scope_hides_the_rest,
    what_finds_no_room_is_a_gap_with_its_count,
    how_much_happened_is_the_same_when_it_is_counted_and_when_it_was_summed_up,
    a_moment_is_rebuilt_and_added_up,
    who_waited_is_added_up_over_whole_minutes_and_what_nobody_knows_is_not_0,
    how_long_was_waited_is_told_step_by_step_with_what_nobody_knows,
    a_time_that_was_told_of_is_not_told_of_again,
}

/// Locks are taken and let go of, with a checkpoint and forgotten names in between.
async fn a_moment_is_rebuilt_and_added_up(mut scene: Scene) {
    let story: Vec<LoggedEvent> = (1..=300)
        .map(|seq| {
            let kind = if seq % 2 == 1 { TransitionKind::Acquired } else { TransitionKind::Released };
            happened(
                seq,
                10_000 + seq as i64,
                kind,
                &format!("k{}", (seq - 1) / 2 % 3),
                &format!("w{}", (seq - 1) / 2 % 2),
            )
        })
        .collect();
    scene.tape.leave(&story[..101]);
    let piece = piece(101, 10_101, &story[..101]);
    scene
        .history
        .with_store(move |store| {
            store.prepare_checkpoint(5);
            store.begin_checkpoint(piece.seq, piece.at);
            store.add_to_checkpoint(&piece).unwrap();
            assert!(store.end_checkpoint(piece.seq, piece.at, &[(SourceId(0), None), (SourceId(1), None)]).unwrap());
        })
        .await
        .unwrap();
    scene.tape.leave(&story[101..200]);
    scene.history.with_store(Store::forget_names).await.unwrap();
    scene.tape.leave(&story[200..]);
    for run in ["bbbb", "cccc"] {
        for at in [10_101, 10_150, 10_151, 10_233, 10_299] {
            assert_eq!(scene.held_at(at).await, held_by(&story, at), "{at}");
        }
        let filter = Filter { pattern: Some("k*".into()), ..Filter::of(Reach::ALL) };
        let stats = scene.history.stats(filter.clone()).await.unwrap().unwrap();
        assert_eq!((stats.locks, stats.taken, stats.released), (3, 150, 150));
        let part = Filter { key: Some("k1".into()), from: Some(Time(10_003)), to: Some(Time(10_050)), ..filter };
        assert_eq!(scene.history.stats(part).await.unwrap().unwrap().taken, 8);
        let times = scene.history.hold_times(3).await.unwrap();
        assert_eq!(times.iter().map(|times| times.held.count()).sum::<u64>(), 150);
        scene = scene.again(run);
    }
}

/// Where a history is kept.
enum Place {
    File(TempDir),
    Shared(PostgresServer),
}

/// A history in a place of its own, with a run that has begun.
struct Scene {
    place: Place,
    history: History,
    tape: super::Tape,
}

impl Scene {
    fn new() -> Scene {
        Scene::of(Place::File(TempDir::new().unwrap()), "aaaa")
    }

    fn of(place: Place, run: &str) -> Scene {
        let limits = Limits::of(1_000_000, super::DEFAULT_MAX_MB);
        let history = match &place {
            // The thread of the one before writes what it was told, and then lets go of the file.
            Place::File(dir) => {
                std::iter::repeat_with(|| History::open(dir.path(), limits)).find_map(Result::ok).unwrap()
            }
            Place::Shared(server) => History::share(&server.target(), limits).unwrap(),
        };
        let tape = history.tape().unwrap();
        tape.begin(run.to_owned(), vec!["orders".to_owned(), "vault".to_owned()], clock::now());
        // PostgreSQL has to notice first that the one before is gone.
        while !writes(&history) {
            std::thread::yield_now();
        }
        Scene { place, history, tape }
    }

    /// Ends as a crash does, and begins again.
    fn again(self, run: &str) -> Scene {
        let Scene { place, history, tape } = self;
        drop((history, tape));
        // The thread of the one before may still give a sign of life: then there was no time in which nobody watched.
        if let Place::Shared(server) = &place {
            aside(|| {
                let connection = server.target().connect("").unwrap();
                let locks = || connection.number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", &[]);
                while locks().unwrap() != Some(0) {
                    std::thread::yield_now();
                }
            });
        }
        Scene::of(place, run)
    }

    async fn older(&self, filter: Filter, before: Option<&str>, limit: usize) -> Page {
        self.history.older(filter, before.map(str::to_owned), limit, true).await.unwrap().unwrap()
    }

    async fn all_of(&self, key: &str) -> Vec<String> {
        let filter = Filter { key: Some(key.into()), source: Some("orders".into()), ..Filter::of(Reach::ALL) };
        let page = self.older(filter, None, 100).await;
        page.events.iter().map(|event| format!("{} {}", event.id, event.transition.word())).collect()
    }

    async fn held_at(&self, at: i64) -> Vec<String> {
        let asked = Asked { question: Question::default(), reach: Reach::ALL };
        let page = self.history.then(Time(at), move |then| then.page(&asked, 0, 1_000).1).await.unwrap();
        let mut held: Vec<String> = page
            .iter()
            .map(|lock| format!("{} {}", lock.id, lock.holders[0].token.clone().unwrap_or_default()))
            .collect();
        held.sort();
        held
    }
}

async fn what_happened_is_read_back_across_restarts_under_the_same_names(mut scene: Scene) {
    scene.tape.leave(&[
        happened(1, 10_000, TransitionKind::Acquired, "a", "w1"),
        happened(2, 11_000, TransitionKind::Renewed, "a", "w1"),
        happened(3, 12_000, TransitionKind::Renewed, "a", "w1"),
        happened(4, 12_500, TransitionKind::Acquired, "b", "w2"),
        gap(5, 12_700),
        happened(6, 13_000, TransitionKind::Released, "a", "w1"),
    ]);
    let before = scene.all_of("a").await;
    assert_eq!(before, ["aaaa-6 released", "aaaa-5 gap", "aaaa-3 renewed", "aaaa-1 acquired"]);

    let mut scene = scene.again("bbbb");
    scene.tape.leave(&[happened(1, 20_000, TransitionKind::Acquired, "a", "w3")]);
    let after = scene.all_of("a").await;
    assert_eq!(after[..2], ["bbbb-1 acquired", "bbbb-0 gap"]);
    assert_eq!(after[2..], before);

    let filter = Filter { key: Some("a".into()), ..Filter::of(Reach::ALL) };
    let page = scene.older(filter.clone(), Some("aaaa-5"), 1).await;
    assert_eq!((page.events[0].count, page.events[0].first_at), (2, Some(Time(11_000))));
    assert_eq!(page.next.as_deref(), Some("aaaa-2"), "both renewals are in the one line");
    let newer = scene.history.newer(filter, "aaaa-6".to_owned(), 10).await.unwrap().unwrap();
    assert_eq!(newer.events.iter().map(|event| &*event.id).collect::<Vec<_>>(), ["bbbb-0", "bbbb-1"]);
    assert_eq!(newer.events[0].cause.as_deref(), Some("not_running"));
    assert_eq!(newer.events[0].source, "*");
}

async fn a_filter_finds_what_it_names_and_a_scope_hides_the_rest(mut scene: Scene) {
    scene.tape.leave(&[
        happened(1, 10_000, TransitionKind::Acquired, "lock:a", "w1"),
        happened(2, 10_001, TransitionKind::Acquired, "lock:b", "w2"),
        happened(3, 10_002, TransitionKind::Released, "lock:b", "w2"),
        happened(4, 10_003, TransitionKind::Acquired, "job:c", "w1"),
    ]);
    let all = Filter::of(Reach::ALL);
    let cases = [
        (Filter { pattern: Some("lock:*".into()), ..all.clone() }, vec!["aaaa-3", "aaaa-2", "aaaa-1"]),
        (Filter { holder: Some(b"w1".to_vec()), ..all.clone() }, vec!["aaaa-4", "aaaa-1"]),
        (Filter { kind: Some(TransitionKind::Released), ..all.clone() }, vec!["aaaa-3"]),
        (Filter { source: Some("vault".into()), ..all.clone() }, vec![]),
        (Filter { from: Some(Time(10_001)), to: Some(Time(10_003)), ..all.clone() }, vec!["aaaa-3", "aaaa-2"]),
        (Filter { holder: Some(b"w1".to_vec()), key: Some("job:c".into()), ..all.clone() }, vec!["aaaa-4"]),
    ];
    // Once while they are the newest, and once when they are a segment.
    for run in ["bbbb", "cccc"] {
        for (filter, expected) in &cases {
            let page = scene.older(filter.clone(), None, 10).await;
            let own = page.events.iter().filter(|event| event.transition != TransitionKind::Gap);
            assert_eq!(own.map(|event| &*event.id).collect::<Vec<_>>(), *expected, "{filter:?}");
        }
        scene = scene.again(run);
        scene.history.flush().await;
    }
    assert!(scene.history.older(all, Some("dddd-1".to_owned()), 10, true).await.unwrap().is_none());
}

async fn what_finds_no_room_is_a_gap_with_its_count(mut scene: Scene) {
    let flood: Vec<LoggedEvent> =
        (1..=300_000).map(|seq| happened(seq, 10_000, TransitionKind::Renewed, "a", "w1")).collect();
    scene.tape.leave(&flood);
    scene.tape.leave(&[happened(300_001, 10_500, TransitionKind::Released, "a", "w1")]);
    let page = scene.older(Filter { key: Some("a".into()), ..Filter::of(Reach::ALL) }, None, 10).await;
    assert_eq!(page.events[0].id, "aaaa-300001");
    assert_eq!((&*page.events[1].id, page.events[1].count), ("aaaa-300000", 300_000));
    assert_eq!(page.events[1].cause.as_deref(), Some("not_recorded"));
    assert_eq!(scene.history.numbers().missed, 300_000);
}

#[tokio::test]
async fn a_full_disk_is_said_and_counted_and_is_a_gap_when_there_is_room_again() {
    let mut scene = Scene::new();
    scene.tape.leave(&[happened(1, 10_000, TransitionKind::Acquired, "a", "w1")]);
    scene.history.flush().await;
    let set_room = |pages: i64| {
        let history = scene.history.clone();
        async move {
            history
                .with_store(move |store| {
                    store.sqlite().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
                })
                .await
                .unwrap();
        }
    };
    set_room(1).await;
    let wide = "x".repeat(100_000);
    scene.tape.leave(&[happened(2, 10_001, TransitionKind::Acquired, &wide, "w2")]);
    scene.tape.leave(&[happened(3, 10_002, TransitionKind::Released, "a", "w1")]);
    scene.history.flush().await;
    let (state, because) = scene.history.state();
    assert_eq!(state, RecordingState::Failing);
    assert_eq!(because.as_deref(), Some("there is no room left for the history"));
    assert_eq!(scene.history.numbers().not_written, 2);

    set_room(1 << 20).await;
    let mut seq = 3;
    while scene.history.state().0 != RecordingState::Recording {
        seq += 1;
        scene.tape.leave(&[happened(seq, 10_003, TransitionKind::Acquired, "a", "w3")]);
        scene.history.flush().await;
        tokio::task::yield_now().await;
    }
    let page = scene.older(Filter { key: Some("a".into()), ..Filter::of(Reach::ALL) }, None, 10).await;
    assert_eq!(page.events.first().unwrap().id, format!("aaaa-{seq}"));
    // The disk may have had room again for some of the last ones before that was noticed here.
    let written = page.events.iter().position(|event| event.transition == TransitionKind::Gap).unwrap();
    let count = u64::from(page.events[written].count);
    assert_eq!(count, seq - 1 - written as u64, "all but the first and those that were written after the gap");
    assert_eq!(page.events[written + 1].id, "aaaa-1");
}

/// What holds when `story` was told, by the plainest reading.
fn held_by(story: &[LoggedEvent], at: i64) -> Vec<String> {
    let mut held = std::collections::BTreeMap::new();
    for told in story.iter().filter(|told| told.entry.at.0 <= at) {
        let key = String::from_utf8(told.key.clone().unwrap().to_vec()).unwrap();
        let token = String::from_utf8(told.entry.token.to_vec()).unwrap();
        match told.entry.kind {
            TransitionKind::Acquired => drop(held.insert(key, token)),
            kind if kind.ends() => drop(held.remove(&key)),
            _ => {}
        }
    }
    held.into_iter().map(|(key, token)| format!("{key} {token}")).collect()
}

fn piece(seq: u64, at: i64, story: &[LoggedEvent]) -> Piece {
    let held = held_by(story, i64::MAX);
    let held = held.iter().map(|one| {
        let (key, token) = one.split_once(' ').unwrap();
        HeldThen {
            source: SourceId(0),
            key: key.to_owned().into(),
            recognition: &TOKEN,
            mode: Mode::Exclusive,
            state: LockState::Held,
            hold: Hold {
                token: token.as_bytes().into(),
                count: 1,
                basis: lockkeeper_model::Basis::Observed,
                since: at,
                since_before_ms: 0,
                expires: i64::MAX,
                expires_before_ms: 0,
                lease_ms: 0,
                renewals: 0,
                renewed_at: 0,
                period_ms: 0,
                generation: 0,
                extra: None,
            },
        }
    });
    Piece { seq, at: Time(at), held: held.collect(), next: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Locks are taken and let go at random, a checkpoint is written somewhere in between, names are forgotten, and the
    /// server restarts.
    #[test]
    fn the_board_of_any_moment_is_what_had_happened_by_then(
        steps in proptest::collection::vec((0_usize..5, 0_i64..3), 1..60), cut in 0_usize..60, ask in 0_usize..61,
        forgets in proptest::collection::vec(0_usize..60, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut held = [false; 5];
            let mut at = 10_000;
            let story: Vec<LoggedEvent> = steps.iter().enumerate().map(|(n, &(lock, pause))| {
                at += pause;
                held[lock] = !held[lock];
                let kind = if held[lock] { TransitionKind::Acquired } else { TransitionKind::Released };
                // The same token may come again.
                let token = format!("w{}", if held[lock] { n % 3 } else { 0 });
                let mut told = happened(n as u64 + 1, at, kind, &format!("k{lock}"), &token);
                if !held[lock] {
                    told.entry.token = told.entry.token.clone();
                }
                told
            }).collect();
            // An end names the token that had it.
            let mut owner = std::collections::HashMap::new();
            let story: Vec<LoggedEvent> = story.into_iter().map(|mut told| {
                let key = told.key.clone().unwrap();
                if told.entry.kind == TransitionKind::Acquired {
                    owner.insert(key, told.entry.token.clone());
                } else {
                    told.entry.token = owner[&key].clone();
                }
                told
            }).collect();
            let cut = cut.min(story.len());
            let mut scene = Scene::new();
            scene.tape.leave(&story[..cut]);
            let middle = story[..cut].last().map_or(9_999, |told| told.entry.at.0);
            // Some of what follows is in the file before the checkpoint is.
            let piece = piece(cut as u64, middle, &story[..cut]);
            let later = cut + (story.len() - cut) / 2;
            scene.tape.leave(&story[cut..later]);
            scene.history.with_store(move |store| {
                store.prepare_checkpoint(5);
                store.begin_checkpoint(piece.seq, piece.at);
                store.add_to_checkpoint(&piece).unwrap();
                let whole = [(SourceId(0), None), (SourceId(1), None)];
                assert!(store.end_checkpoint(piece.seq, piece.at, &whole).unwrap());
            }).await.unwrap();
            // Names are numbered anew, maybe several times, while locks are held.
            let mut forgets: Vec<usize> = forgets.into_iter().map(|at| at.clamp(later, story.len())).collect();
            forgets.sort_unstable();
            let mut from = later;
            for upto in forgets {
                scene.tape.leave(&story[from..upto]);
                from = upto;
                scene.history.with_store(Store::forget_names).await.unwrap();
            }
            scene.tape.leave(&story[from..]);
            // When they are a segment, and when they are not.
            for run in ["bbbb", "cccc"] {
                let at = story.get(ask.max(cut).min(story.len() - 1)).unwrap().entry.at.0.max(middle);
                prop_assert_eq!(scene.held_at(at).await, held_by(&story, at));
                scene = scene.again(run);
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_sums_of_segments_and_rows_are_the_same(count in 1_u64..400, cut in 0_u64..400) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut scene = Scene::new();
            let story: Vec<LoggedEvent> = (1..=count).map(|seq| {
                let kind = if seq % 2 == 1 { TransitionKind::Acquired } else { TransitionKind::Expired };
                happened(seq, 10_000 + seq as i64, kind, &format!("k{}", seq / 2 % 3), "w")
            }).collect();
            let cut = cut.min(count) as usize;
            scene.tape.leave(&story[..cut]);
            scene.history.flush().await;
            let mut scene = scene.again("bbbb");
            let renamed: Vec<LoggedEvent> = story[cut..].to_vec();
            scene.tape.leave(&renamed);
            let filter = Filter { pattern: Some("k*".into()), ..Filter::of(Reach::ALL) };
            let stats = scene.history.stats(filter.clone()).await.unwrap().unwrap();
            prop_assert_eq!((stats.taken, stats.lapsed), (count.div_ceil(2), count / 2));
            prop_assert_eq!(stats.held.count, count / 2);
            let times = scene.history.hold_times(3).await.unwrap();
            prop_assert_eq!(times.iter().map(|times| times.held.count()).sum::<u64>(), count / 2);
            let some = Filter { from: Some(Time(10_003)), to: Some(Time(10_008)), ..filter };
            let expected = story.iter().filter(|told| (10_003..10_008).contains(&told.entry.at.0));
            let taken = expected.filter(|told| told.entry.kind == TransitionKind::Acquired).count() as u64;
            prop_assert_eq!(scene.history.stats(some).await.unwrap().unwrap().taken, taken);
            Ok(())
        })?;
    }
}

async fn how_much_happened_is_the_same_when_it_is_counted_and_when_it_was_summed_up(mut scene: Scene) {
    const MINUTE: i64 = 60_000;
    let mut other = happened(4, 3 * MINUTE, TransitionKind::Acquired, "c", "w3");
    other.source = SourceId(1);
    scene.tape.leave(&[
        happened(1, MINUTE + 1, TransitionKind::Acquired, "a", "w1"),
        happened(2, MINUTE + 2, TransitionKind::Renewed, "a", "w1"),
        gap(3, 2 * MINUTE),
        other,
        happened(5, 4 * MINUTE - 1, TransitionKind::Released, "a", "w1"),
    ]);
    let span = |source: Option<&str>| super::Span {
        reach: Reach::ALL,
        source: source.map(str::to_owned),
        from: Time(MINUTE),
        to: Time(5 * MINUTE),
        steps: 10,
    };
    for run in ["bbbb", "cccc"] {
        let all = scene.history.activity(span(None)).await.unwrap();
        assert_eq!((all.from, all.step_ms), (Time(MINUTE), MINUTE));
        assert_eq!(all.counts, [Some(2), Some(0), Some(2), Some(0)]);
        assert_eq!(all.gaps.iter().map(|gap| &*gap.id).collect::<Vec<_>>(), ["aaaa-3"]);
        let one = scene.history.activity(span(Some("vault"))).await.unwrap();
        assert_eq!((one.counts, one.gaps.len()), (vec![Some(0), Some(0), Some(1), Some(0)], 0));
        let coarse = scene.history.activity(super::Span { steps: 2, ..span(None) }).await.unwrap();
        assert_eq!((coarse.step_ms, coarse.counts), (2 * MINUTE, vec![Some(2), Some(2)]));
        scene = scene.again(run);
        scene.history.flush().await;
    }
    // A part of a source is not counted in what was summed up, and is not told as the whole.
    let grant = Grant::new([Right::View], &["orders".to_owned()], &["a".to_owned()]);
    let policy = Policy::new(vec![Role { name: "some".into(), groups: Vec::new(), grant }]);
    let person = Person { via: Via::Oidc, roles: vec!["some".into()], ..Person::loopback() };
    let reach = policy.scope(&person).seen().clone();
    let part = scene.history.activity(super::Span { reach, ..span(None) }).await.unwrap();
    assert_eq!(part.counts, [None, Some(0), None, Some(0)]);
    assert_eq!(part.gaps.len(), 1);
}

static LISTED: Recognition =
    Recognition { dialect: "listed", traits: &DialectTraits { waiters_listed: true, ..DialectTraits::PLAIN }, ..TOKEN };

static COUNTED: Recognition = Recognition {
    dialect: "counted",
    traits: &DialectTraits { waiters_counted: true, ..DialectTraits::PLAIN },
    ..TOKEN
};

const MINUTE: i64 = 60_000;

fn of_family(mut told: LoggedEvent, recognition: &'static Recognition) -> LoggedEvent {
    told.after = told.after.map(|stood| Stood { recognition, ..stood });
    told
}

/// So many waited for a lock in the first seconds of a minute.
fn waited(key: &str, recognition: &'static Recognition, minute: i64, waiters: u32, seconds: u32) -> LockWaited {
    let waited = Waited {
        minute,
        waited_ms: u64::from(waiters * seconds) * 1_000,
        seconds: (1 << seconds) - 1,
        most: waiters,
        most_at: minute * MINUTE,
        basis: WaitersBasis::Exact,
    };
    LockWaited { key: key.to_owned().into(), recognition, mode: Mode::Exclusive, state: LockState::Held, waited }
}

/// What is told of the first source, in which those who wait were followed in these minutes.
fn waits(locks: Vec<LockWaited>, minutes: std::ops::Range<i64>, counted: bool) -> Vec<Waits> {
    let followed = vec![Followed { from: minutes.start * MINUTE, to: minutes.end * MINUTE, counted }];
    vec![Waits { source: SourceId(0), since: Time(minutes.start * MINUTE), locks, followed }]
}

async fn contention(scene: &Scene, filter: Filter, minutes: std::ops::Range<i64>) -> ContentionStats {
    let (from, to) = (Some(Time(minutes.start * MINUTE)), Some(Time(minutes.end * MINUTE)));
    scene.history.stats(Filter { from, to, ..filter }).await.unwrap().unwrap().contention.unwrap()
}

async fn who_waited_is_added_up_over_whole_minutes_and_what_nobody_knows_is_not_0(mut scene: Scene) {
    let families = [("a", &LISTED), ("b", &LISTED), ("c", &COUNTED), ("poll", &TOKEN)];
    let taken: Vec<LoggedEvent> = (1..)
        .zip(families)
        .map(|(seq, (key, family))| {
            of_family(happened(seq, 10 * MINUTE + 1, TransitionKind::Acquired, key, "w"), family)
        })
        .collect();
    scene.tape.leave(&taken);
    let first = vec![waited("a", &LISTED, 10, 2, 30), waited("b", &LISTED, 10, 5, 10), waited("a", &LISTED, 11, 3, 20)];
    scene.tape.leave_waits(waits(first, 10..12, false));
    // It goes on, and a part of a minute comes later.
    scene.tape.leave_waits(waits(vec![waited("a", &LISTED, 11, 1, 5), waited("c", &COUNTED, 12, 1, 6)], 12..13, true));
    let of = |key: &str| Filter { key: Some(key.into()), ..Filter::of(Reach::ALL) };
    for run in ["bbbb", "cccc"] {
        let a = contention(&scene, of("a"), 10..14).await;
        assert_eq!((a.from, a.to, a.known_ms), (Time(10 * MINUTE), Time(14 * MINUTE), 3 * MINUTE));
        assert_eq!((a.waited_ms, a.contended_ms), (Some(60_000 + 60_000 + 5_000), Some(50_000)));
        assert_eq!(a.share, Some(50.0 / 180.0));
        let most = a.most.unwrap();
        assert_eq!((most.count, most.at, &*most.source, most.id.as_str()), (3, Time(11 * MINUTE), "orders", "a"));
        assert_eq!((a.basis, a.unseen_locks, a.because), (WaitersBasis::Exact, 0, None));
        // The edges of a time are whole minutes.
        let part = Filter { from: Some(Time(11 * MINUTE + 30_000)), to: Some(Time(11 * MINUTE + 40_000)), ..of("a") };
        let part = scene.history.stats(part).await.unwrap().unwrap().contention.unwrap();
        assert_eq!((part.from, part.waited_ms, part.known_ms), (Time(11 * MINUTE), Some(65_000), MINUTE));
        assert_eq!(part.to, Time(12 * MINUTE));

        // Of several locks a second counts once; where one is only counted, only that time is known.
        let some = Filter { pattern: Some("?".into()), ..Filter::of(Reach::ALL) };
        let some = contention(&scene, some, 10..13).await;
        assert_eq!((some.waited_ms, some.contended_ms), (Some(125_000 + 50_000 + 6_000), Some(56_000)));
        assert_eq!((some.known_ms, some.unseen_locks), (MINUTE, 0));
        assert_eq!(some.share, Some(0.1), "of the minute that is known");
        assert_eq!(some.most.unwrap().count, 5);
        let all = contention(&scene, Filter::of(Reach::ALL), 10..13).await;
        assert_eq!((all.waited_ms, all.unseen_locks), (some.waited_ms, 1));

        // Nobody waited, which is known; and nobody can know.
        let c = contention(&scene, of("c"), 10..12).await;
        assert_eq!((c.waited_ms, c.share, c.basis), (None, None, WaitersBasis::Unknown), "nobody counted them then");
        let idle = contention(&scene, of("b"), 12..13).await;
        assert_eq!((idle.waited_ms, idle.share, idle.basis), (Some(0), Some(0.0), WaitersBasis::Exact));
        let poll = contention(&scene, of("poll"), 10..13).await;
        assert_eq!((poll.waited_ms, poll.contended_ms, poll.share), (None, None, None));
        assert_eq!((poll.known_ms, poll.unseen_locks, poll.basis), (0, 1, WaitersBasis::Unknown));
        assert_eq!(poll.because.as_deref(), Some("those who wait for these locks leave no trace in the store"));
        let none = contention(&scene, of("none"), 10..13).await;
        assert_eq!((none.waited_ms, none.unseen_locks), (None, 0));
        let later = contention(&scene, of("a"), 20..30).await;
        assert_eq!((later.waited_ms, later.known_ms), (None, 0), "nothing was followed then");

        // Who may not see a lock does not learn that somebody waited for it.
        let grant = Grant::new([Right::View], &["orders".to_owned()], &["b".to_owned()]);
        let policy = Policy::new(vec![Role { name: "some".into(), groups: Vec::new(), grant }]);
        let person = Person { via: Via::Oidc, roles: vec!["some".into()], ..Person::loopback() };
        let seen = contention(&scene, Filter::of(policy.scope(&person).seen().clone()), 10..13).await;
        assert_eq!((seen.waited_ms, seen.contended_ms, seen.unseen_locks), (Some(50_000), Some(10_000), 0));
        scene = scene.again(run);
    }
}

async fn how_long_was_waited_is_told_step_by_step_with_what_nobody_knows(mut scene: Scene) {
    let first = vec![
        waited("lock:a", &LISTED, 10, 2, 30),
        waited("lock:b", &LISTED, 10, 5, 10),
        waited("lock:a", &LISTED, 11, 3, 20),
        waited("c", &COUNTED, 11, 1, 1),
    ];
    scene.tape.leave_waits(waits(first, 10..12, false));
    // It goes on, a part of a minute comes later, and then nobody watched for a minute.
    scene.tape.leave_waits(waits(vec![waited("lock:a", &LISTED, 11, 1, 5)], 12..13, true));
    scene.tape.leave_waits(waits(vec![waited("lock:a", &LISTED, 14, 1, 6)], 14..15, true));
    let span = |minutes: std::ops::Range<i64>, steps: u32| super::Span {
        reach: Reach::ALL,
        source: None,
        from: Time(minutes.start * MINUTE),
        to: Time(minutes.end * MINUTE),
        steps,
    };
    let told = async |scene: &Scene, span: super::Span, most: usize| {
        let told = scene.history.waited(span, most).await.unwrap().unwrap();
        let lock = |lock: &WaitedLock| (lock.name.clone(), lock.waited_ms, lock.steps.clone());
        (told.step_ms, told.locks.iter().map(lock).collect::<Vec<_>>(), told.more_locks)
    };
    for run in ["bbbb", "cccc"] {
        let (step, locks, more) = told(&scene, span(9..15, 60), 2).await;
        assert_eq!((step, more), (MINUTE, 1));
        let a = vec![None, Some(60_000), Some(65_000), Some(0), None, Some(6_000)];
        assert_eq!(locks[0], ("lock:a".to_owned(), 131_000, a));
        assert_eq!(locks[1].2, [None, Some(50_000), Some(0), Some(0), None, Some(0)]);
        // In steps of three minutes: what is known of a part is the least that it was.
        let (step, locks, _) = told(&scene, span(9..15, 2), 20).await;
        assert_eq!((step, locks[0].2.clone()), (3 * MINUTE, vec![Some(125_000), Some(6_000)]));
        assert_eq!((locks[1].2.clone(), locks[2].2.clone()), (vec![Some(50_000), None], vec![Some(1_000), None]));
        // Up to a moment, whatever is left of the step.
        let (step, locks, _) = told(&scene, span(10..13, 2), 20).await;
        assert_eq!((step, locks[0].1, locks[0].2.clone()), (2 * MINUTE, 125_000, vec![Some(125_000), Some(0)]));
        assert_eq!(told(&scene, span(10..11, 60), 20).await.1.len(), 2, "nobody waited for the third then");
        // Nobody counted before.
        let (_, locks, _) = told(&scene, span(10..13, 60), 20).await;
        assert_eq!(locks[2].2, [None, Some(1_000), Some(0)]);
        let elsewhere = super::Span { source: Some("elsewhere".to_owned()), ..span(9..15, 60) };
        assert!(told(&scene, elsewhere, 20).await.1.is_empty());
        let grant = Grant::new([Right::View], &["orders".to_owned()], &["lock:b".to_owned()]);
        let policy = Policy::new(vec![Role { name: "some".into(), groups: Vec::new(), grant }]);
        let person = Person { via: Via::Oidc, roles: vec!["some".into()], ..Person::loopback() };
        let seen = super::Span { reach: policy.scope(&person).seen().clone(), ..span(9..15, 60) };
        let (_, locks, more) = told(&scene, seen, 1).await;
        assert_eq!((locks.len(), locks[0].1, more), (1, 50_000, 0), "who may not see a lock learns nothing of it");
        scene = scene.again(run);
    }
}

async fn a_time_that_was_told_of_is_not_told_of_again(mut scene: Scene) {
    scene.tape.leave(&[of_family(happened(1, 10 * MINUTE, TransitionKind::Acquired, "a", "w"), &LISTED)]);
    scene.tape.leave_waits(waits(vec![waited("a", &LISTED, 11, 1, 10)], 10..12, false));
    scene.history.flush().await;
    // Another server, or another run, that had seen some of it as well.
    let mut scene = scene.again("bbbb");
    scene.tape.leave_waits(waits(vec![waited("a", &LISTED, 11, 1, 10)], 11..13, false));
    scene.tape.leave_waits(waits(vec![waited("a", &LISTED, 13, 1, 10)], 13..14, false));
    let filter = Filter { key: Some("a".into()), ..Filter::of(Reach::ALL) };
    let told = contention(&scene, filter, 10..14).await;
    assert_eq!((told.waited_ms, told.known_ms), (Some(20_000), 3 * MINUTE), "the minute between is not known");
    scene.tape.leave(&[of_family(happened(1, 14 * MINUTE, TransitionKind::Released, "a", "w"), &LISTED)]);
    assert_eq!(scene.all_of("a").await[0], "bbbb-1 released");
}

#[tokio::test]
async fn a_file_from_before_who_waited_was_written_down_is_read_and_goes_on() {
    let mut scene = Scene::new();
    scene.tape.leave(&[of_family(happened(1, 10 * MINUTE, TransitionKind::Acquired, "a", "w"), &LISTED)]);
    let drop_tables = "DROP TABLE waits; DROP TABLE followed; DROP TABLE seen";
    scene.history.with_store(|store| store.sqlite().execute_batch(drop_tables).unwrap()).await.unwrap();
    let scene = scene.again("bbbb");
    let filter = Filter { key: Some("a".into()), ..Filter::of(Reach::ALL) };
    let told = contention(&scene, filter.clone(), 10..12).await;
    assert_eq!((told.waited_ms, told.known_ms, told.share), (None, 0, None));
    scene.tape.leave_waits(waits(vec![waited("a", &LISTED, 12, 1, 10)], 12..13, false));
    let told = contention(&scene, filter, 10..13).await;
    assert_eq!((told.waited_ms, told.known_ms), (Some(10_000), MINUTE));
}

#[test]
fn who_waited_is_cut_off_with_the_rest_and_what_is_left_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(schema::FILE);
    let limits = Limits { keep_ms: i64::MAX, max_bytes: 4_000_000 };
    let mut store = Store::open(&path, limits).unwrap();
    store.begin("aaaa".to_owned(), vec!["orders".to_owned()], Time(0));
    let mut seq = 0;
    for minute in 0..60 {
        let lines: Vec<Line> = (0..1_000)
            .map(|n| {
                seq += 1;
                let key = format!("k{}", seq % 50);
                let told =
                    happened(seq, minute * MINUTE + n * 60, TransitionKind::Acquired, &key, &format!("t-{seq:030}"));
                Line::Event(of_family(told, &LISTED))
            })
            .collect();
        store.append(&lines).unwrap();
        if minute % 7 == 3 {
            store.forget_names();
        }
        let locks = (0..50).map(|n| waited(&format!("k{n}"), &LISTED, minute, 1, 5)).collect();
        store.keep_waits(&waits(locks, minute..minute + 1, true)).unwrap();
        while store.trim(Time((minute + 1) * MINUTE)).unwrap() {}
    }
    let number = |store: &Store, sql: &str| store.sqlite().query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    let oldest = number(&store, "SELECT min(at) FROM transitions") / MINUTE;
    assert!(oldest > 5, "something was cut off");
    assert!(number(&store, "SELECT min(minute) FROM waits") >= oldest - 1);
    assert!(
        number(&store, "SELECT count(*) FROM followed WHERE began < 60000") == 0,
        "nothing is said of what is gone"
    );
    let unnamed = "SELECT count(*) FROM waits WHERE first_name < (SELECT min(id) FROM locks)";
    assert_eq!(number(&store, unnamed), 0, "what is left lost none of its names");

    // Of locks to which nothing happens any more, it goes by its age.
    store.keep_waits(&waits(vec![waited("k1", &LISTED, 100, 1, 5)], 100..101, true)).unwrap();
    drop(store);
    let mut store = Store::open(&path, Limits { keep_ms: MINUTE, ..limits }).unwrap();
    while store.trim(Time(100 * MINUTE)).unwrap() {}
    assert_eq!(number(&store, "SELECT count(*) FROM waits"), 1);
    while store.trim(Time(300 * MINUTE)).unwrap() {}
    assert_eq!(number(&store, "SELECT (SELECT count(*) FROM waits) + (SELECT count(*) FROM followed)"), 0);
}

#[test]
fn what_is_too_much_is_cut_off_from_its_beginning_and_the_rest_stays_readable() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(schema::FILE);
    let limits = Limits { keep_ms: i64::MAX, max_bytes: 4_000_000 };
    let mut store = Store::open(&path, limits).unwrap();
    store.begin("aaaa".to_owned(), vec!["orders".to_owned()], Time(0));
    let mut seq = 0;
    for _ in 0..60 {
        let lines: Vec<Line> = (0..1_000)
            .map(|_| {
                seq += 1;
                let token = format!("token-{seq:030}");
                Line::Event(happened(seq, seq as i64, TransitionKind::Acquired, &format!("k{}", seq % 50), &token))
            })
            .collect();
        store.append(&lines).unwrap();
        while store.trim(Time(seq as i64)).unwrap() {}
    }
    assert!(store.used_bytes().unwrap() <= limits.max_bytes, "{}", store.used_bytes().unwrap());
    let number = |sql: &str| store.sqlite().query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    assert!(number("SELECT min(row) FROM transitions") > 10_000);
    assert!(number("SELECT count(*) FROM transitions") > 10_000, "and not more than that");
    let dangling = "SELECT count(*) FROM transitions t WHERE NOT EXISTS (SELECT 1 FROM locks WHERE id = t.lock)
                    OR NOT EXISTS (SELECT 1 FROM tokens WHERE id = t.holder)";
    assert_eq!(number(dangling), 0, "what is left lost none of its names");

    let limits = Limits { keep_ms: 1_000, ..limits };
    drop(store);
    let mut store = Store::open(&path, limits).unwrap();
    while store.trim(Time(seq as i64 + 10_000)).unwrap() {}
    let left: i64 = store.sqlite().query_row("SELECT count(*) FROM transitions", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "all of it was too old");
}

#[test]
fn a_file_of_another_kind_or_a_later_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(schema::FILE), "not a database, but long enough to look like one".repeat(99))
        .unwrap();
    let error = History::open(dir.path(), Limits::default()).unwrap_err().to_string();
    assert!(error.ends_with("the history's file is not an SQLite file"), "{error}");

    let dir = TempDir::new().unwrap();
    let store = Store::open(&dir.path().join(schema::FILE), Limits::default()).unwrap();
    store.sqlite().pragma_update(None, "user_version", 3).unwrap();
    drop(store);
    let error = History::open(dir.path(), Limits::default()).unwrap_err().to_string();
    assert!(error.contains("has version 3, and this Lockkeeper knows version 2"), "{error}");
}
