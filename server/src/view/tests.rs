//! A viewer that applies what it is told must see what a viewer that asks anew sees.

use bytes::Bytes;
use lockkeeper_model::wire::{Facets, Row, ServerFrame};
use lockkeeper_model::{GroupBy, Order, Question, SortKey, Time};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::answer::EXAMINED_PER_STEP;
use super::{Asked, Counted, KEEP_UNWATCHED_MS, MAX_UNWATCHED, Part, Views, once};
use crate::access::tests::{scope_of, somebody};
use crate::access::{Grant, Person, Policy, Reach, Right, Role, Via};
use crate::registry::tests::{Step, World, play, steps};
use crate::source::{Hint, SourceId, Surroundings};

fn part(offset: u64, limit: u32) -> Part {
    Part { offset, limit, seen: None }
}

/// What a viewer's screen shows.
#[derive(Debug, Default)]
struct Screen {
    offset: u64,
    rows: Vec<Row>,
    total: u64,
    all: u64,
    facets: Facets,
}

impl Screen {
    fn read(&mut self, frames: &mut mpsc::Receiver<Bytes>) {
        while let Ok(frame) = frames.try_recv() {
            match serde_json::from_slice(&frame).unwrap() {
                ServerFrame::Window { offset, rows, total, all, facets, .. } => {
                    *self = Screen { offset, rows, total, all, facets };
                }
                ServerFrame::Delta { offset, order, rows, total, all, facets, .. } => {
                    self.offset = offset.unwrap_or(self.offset);
                    (self.all, self.facets) = (all, facets);
                    let mut all = std::mem::take(&mut self.rows);
                    for row in rows {
                        match all.iter_mut().find(|known| known.row == row.row) {
                            Some(known) => *known = row,
                            None => all.push(row),
                        }
                    }
                    self.rows = match order {
                        Some(order) => order
                            .into_iter()
                            .map(|id| all.iter().find(|row| row.row == id).cloned().expect("an ordered row was told"))
                            .collect(),
                        None => all,
                    };
                    self.total = total;
                }
                _ => {}
            }
        }
    }
}

/// What of its rows does not depend on when each was last told.
fn shown(screen: &Screen) -> Vec<String> {
    let one =
        |row: &Row| format!("{} {:?} {:?} {:?} {}", row.id, row.token, row.expires_at, row.waiters, row.generation);
    screen.rows.iter().map(one).collect()
}

fn note(world: &mut World, views: &mut Views) {
    views.grow_older(&world.registry, Time(world.now));
    for slot in std::mem::take(&mut world.changes.dirty) {
        views.change(&world.registry, slot);
    }
}

/// A board of so many locks, all held by one.
fn many(locks: usize) -> (World, Views) {
    let (mut world, mut views) = (World::new(), Views::default());
    for n in 0..locks {
        world.take(&format!("lock:{n:06}"), "w1", None);
    }
    world.scan();
    note(&mut world, &mut views);
    (world, views)
}

fn question() -> impl Strategy<Value = Question> {
    (
        proptest::sample::select(
            &[
                "",
                "w1",
                "LOCK:1",
                "lock w2",
                "nothing",
                "-w1",
                "name:lock -holder:w2",
                "held>1s",
                "held<2s lock",
                "-held>1s w1",
                "left<5s",
                "-left>3s",
                "wait>1s",
                "waiters>1",
                "flag:no-expiry held>3s",
            ][..],
        ),
        proptest::option::weighted(0.2, Just("no-expiry".to_owned())),
        proptest::option::weighted(0.2, Just("waiting".to_owned())),
        proptest::sample::select(&SortKey::ALL[..]),
        proptest::option::of(proptest::sample::select(&[Order::Asc, Order::Desc][..])),
    )
        .prop_map(|(q, flag, state, sort, order)| Question {
            q: q.to_owned(),
            flag,
            state,
            sort,
            order,
            ..Question::default()
        })
}

proptest! {
    #[test]
    fn snapshot_and_deltas_are_the_later_snapshot(
        before in steps(), steps in steps(), question in question(), offset in 0u64..4, limit in 1u32..9, slow in any::<bool>(),
    ) {
        let (mut world, mut views) = (World::new(), Views::default());
        for step in &before {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        let (tx, mut frames) = mpsc::channel(2);
        let mut screen = Screen::default();
        views.connect(1, Reach::ALL, tx);
        views.ask(&world.registry, 1, 5, &question, part(offset, limit), Time(world.now));
        for step in &steps {
            play(&mut world, step);
            note(&mut world, &mut views);
            views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
            // A slow viewer lets frames pile up until some are dropped.
            if !slow {
                screen.read(&mut frames);
            }
        }
        screen.read(&mut frames);
        views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
        screen.read(&mut frames);

        let (tx, mut fresh_frames) = mpsc::channel(2);
        let mut fresh = Screen::default();
        views.connect(2, Reach::ALL, tx);
        views.ask(&world.registry, 2, 9, &question, part(screen.offset, limit), Time(world.now));
        views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
        fresh.read(&mut fresh_frames);
        prop_assert!(offset > 0 || screen.offset == 0, "the top of the list stays the top");
        prop_assert_eq!(shown(&screen), shown(&fresh));
        prop_assert_eq!(screen.total, fresh.total);
    }

    #[test]
    fn groups_that_follow_every_change_are_those_that_are_counted_afresh(
        before in steps(), steps in steps(), question in question(), by in proptest::sample::select(&GroupBy::ALL[..]),
    ) {
        let (mut world, mut views) = (World::new(), Views::default());
        let asked = Asked { question: Question { group: Some(by), ..question }, reach: Reach::ALL };
        for step in &before {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        views.groups(&world.registry, &asked, 100, Time(world.now));
        for step in &steps {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        let mut fresh = Views::default();
        fresh.grow_older(&world.registry, Time(world.now));
        for slot in 0..world.registry.slots() {
            fresh.change(&world.registry, u32::try_from(slot).unwrap());
        }
        // How long somebody was blocked goes on between two changes, and with it the order.
        let sums = |views: &mut Views| {
            let (total, locks, groups) = views.groups(&world.registry, &asked, 100, Time(world.now));
            let mut sums: Vec<_> =
                groups.into_iter().map(|group| (group.value, group.locks, group.waiters, group.worst, group.worst_locks)).collect();
            sums.sort();
            (total, locks, sums)
        };
        let followed = sums(&mut views);
        prop_assert_eq!(&followed, &sums(&mut fresh));
        let (total, locks, groups) = followed;
        prop_assert_eq!(total, groups.len() as u64);
        prop_assert_eq!(locks, groups.iter().map(|group| group.1).sum::<u64>(), "each lock is in one group");
        for (value, locks, ..) in groups {
            let within = Question { within: Some(value), ..asked.question.clone() };
            let of_group = Asked { question: within, reach: Reach::ALL };
            prop_assert_eq!(views.page(&world.registry, &of_group, 0, 10, Time(world.now)).0, locks);
        }
    }

    #[test]
    fn a_part_is_what_is_left_of_the_whole_without_the_rest(
        before in steps(), steps in steps(), question in question(), (roles, only) in somebody(),
    ) {
        let (mut world, mut views) = (World::new(), Views::default());
        for step in &before {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        let scope = scope_of(&roles, only.as_deref());
        let connect = |views: &mut Views, world: &World, viewer: u64, reach: &Reach, question: &Question| {
            let (tx, frames) = mpsc::channel(200);
            views.connect(viewer, reach.clone(), tx);
            views.ask(&world.registry, viewer, 1, question, part(0, 100), Time(world.now));
            frames
        };
        let mut frames = connect(&mut views, &world, 1, scope.seen(), &question);
        for step in &steps {
            play(&mut world, step);
            note(&mut world, &mut views);
            views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
        }
        let mut frames_of_all = connect(&mut views, &world, 2, &Reach::ALL, &question);
        let mut frames_of_held = connect(&mut views, &world, 3, &Reach::ALL, &Question::default());
        views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
        let [mut part, mut whole, mut held] = [(); 3].map(|()| Screen::default());
        part.read(&mut frames);
        whole.read(&mut frames_of_all);
        held.read(&mut frames_of_held);

        for screen in [&mut whole, &mut held] {
            screen.rows.retain(|row| scope.may(Right::View, &row.source, &row.id.key().unwrap()));
        }
        prop_assert_eq!(shown(&part), shown(&whole));
        prop_assert_eq!((part.total, part.all), (whole.rows.len() as u64, held.rows.len() as u64));
        let no_expiry = held.rows.iter().filter(|row| row.expires_at.is_none()).count() as u64;
        let waiting = held.rows.iter().filter(|row| row.waiters.is_some_and(|waiters| waiters > 0)).count() as u64;
        prop_assert_eq!(part.facets, Facets { waiting, no_expiry });

        let now = Time(world.now);
        let asked = Asked { question, reach: scope.seen().clone() };
        let (total, slots) = views.page(&world.registry, &asked, 0, 100, now);
        prop_assert_eq!((total, slots.len()), (part.total, part.rows.len()));
        prop_assert_eq!(views.by_source(&world.registry, scope.seen(), 1, now), [part.all]);
        let by_dialect = views.dialects(&world.registry, scope.seen(), now);
        prop_assert_eq!(by_dialect.iter().map(|dialect| dialect.locks).sum::<u64>(), part.all);
    }

    #[test]
    fn what_is_found_within_a_wider_answer_is_what_is_found_anew(
        (before, after) in (steps(), steps()),
        wider in question(),
        more in proptest::sample::select(&["", "w1", "lock:1", "name:lock", "-holder:w2", "held>1s", "waiters>2"][..]),
    ) {
        let (mut world, mut views) = (World::new(), Views::default());
        let narrower = Question { q: format!("{} {more}", wider.q), sort: SortKey::Name, order: None, ..wider.clone() };
        let [wider, narrower] = [wider, narrower].map(|question| Asked { question, reach: Reach::ALL });
        for step in &before {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        views.page(&world.registry, &wider, 0, 100, Time(world.now));
        for step in &after {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        let now = Time(world.now);
        let within = views.page(&world.registry, &narrower, 0, 100, now);
        prop_assert_eq!(within, once(&world.registry, &narrower, 0, 100, now));
    }

    #[test]
    fn an_answer_kept_up_to_date_is_the_answer_computed_anew(steps in steps(), question in question()) {
        let (mut world, mut views) = (World::new(), Views::default());
        let asked = Asked { question, reach: Reach::ALL };
        views.page(&world.registry, &asked, 0, 100, Time(0));
        for step in &steps {
            play(&mut world, step);
            note(&mut world, &mut views);
        }
        let kept = views.page(&world.registry, &asked, 0, 100, Time(world.now));
        let mut anew = Views::default();
        for slot in 0..world.registry.slots() {
            anew.change(&world.registry, slot as u32);
        }
        prop_assert_eq!(&kept, &anew.page(&world.registry, &asked, 0, 100, Time(world.now)));
        for (offset, limit) in [(0, 100), (1, 2), (3, 1), (0, 0), (9, 1)] {
            let expected = kept.1.iter().copied().skip(offset as usize).take(limit as usize).collect::<Vec<_>>();
            prop_assert_eq!(once(&world.registry, &asked, offset, limit, Time(world.now)), (kept.0, expected));
        }
        let facets = |views: &Views| {
            let answer = views.answers.values().next().unwrap();
            answer.shown.told(views.dialects.0.iter().copied(), world.registry.source_names())
        };
        prop_assert_eq!(facets(&views), facets(&anew));
        let now = Time(world.now);
        let by_dialect = views.dialects(&world.registry, &Reach::ALL, now).iter().map(|dialect| dialect.locks).sum::<u64>();
        prop_assert_eq!(by_dialect, world.held().len() as u64);
        prop_assert_eq!(views.by_source(&world.registry, &Reach::ALL, 1, now), [by_dialect]);
        for views in [&mut views, &mut anew] {
            views.grow_older(&world.registry, now);
        }
        // How often beats were missed is of the past, which is not counted anew.
        let [kept, anew] = [&views, &anew].map(|views| Counted { missed_beats: 0, ..views.counted(SourceId(0)) });
        prop_assert_eq!(&kept, &anew);
        prop_assert_eq!(kept.locks.iter().map(|(_, _, locks)| locks).sum::<u64>(), by_dialect);
    }
}

#[test]
fn a_lock_comes_in_when_it_is_old_enough_and_goes_when_it_is_too_old() {
    let (mut world, mut views) = (World::new(), Views::default());
    world.scan();
    play(&mut world, &Step::Take(1, 1, None));
    play(&mut world, &Step::Notice(1));
    note(&mut world, &mut views);
    let ask = |q: &str| Asked { question: Question { q: q.to_owned(), ..Question::default() }, reach: Reach::ALL };
    let (old, young) = (ask("held>5m"), ask("held<5m"));
    let total = |views: &mut Views, asked, now| views.page(&world.registry, asked, 0, 100, now).0;
    let taken = Time(world.now);
    assert_eq!((total(&mut views, &old, taken), total(&mut views, &young, taken)), (0, 1));
    assert!(!views.grow_older(&world.registry, taken.plus(298_000)), "nothing to tell anybody yet");
    // Nothing is asked and nothing happens: time alone lets it in and out.
    assert!(views.grow_older(&world.registry, taken.plus(302_000)));
    let later = taken.plus(302_000);
    assert_eq!((total(&mut views, &old, later), total(&mut views, &young, later)), (1, 0));
    assert!(!views.grow_older(&world.registry, taken.plus(3_600_000)));
}

#[test]
fn what_is_hidden_moves_nothing_and_those_who_see_the_same_share() {
    let (mut world, mut views) = (World::new(), Views::default());
    world.scan();
    let change = |world: &mut World, views: &mut Views, key: u8, token: u8| {
        play(world, &Step::Take(key, token, None));
        play(world, &Step::Notice(key));
        note(world, views);
        views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
    };
    change(&mut world, &mut views, 1, 1);
    change(&mut world, &mut views, 2, 1);
    let mut all = Vec::new();
    for viewer in 0..100 {
        // The same in other words and another order.
        let twice = [&["lock:1*", "x"][..], &["x", "lock:1*", "x"]][viewer as usize % 2];
        let (tx, frames) = mpsc::channel(4);
        views.connect(viewer, reach_of(twice), tx);
        views.ask(&world.registry, viewer, 1, &Question::default(), part(0, 10), Time(world.now));
        views.follow(&world.registry, viewer, Some((SourceId(0), "lock:2".into())));
        all.push(frames);
    }
    views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
    assert_eq!((views.answers.len(), views.tallies.len()), (1, 2), "one answer, and the tally of all beside theirs");
    let mut heard =
        || -> usize { all.iter_mut().map(|frames| std::iter::from_fn(|| frames.try_recv().ok()).count()).sum() };
    assert_eq!(heard(), 200, "a window and a followed lock that is not there");
    change(&mut world, &mut views, 2, 2);
    change(&mut world, &mut views, 3, 1);
    assert_eq!(heard(), 0);
    change(&mut world, &mut views, 1, 2);
    assert_eq!(heard(), 100);

    for viewer in 0..100 {
        views.leave(viewer);
    }
    views.forget_unused(Time(world.now).plus(KEEP_UNWATCHED_MS));
    assert_eq!((views.answers.len(), views.tallies.len()), (0, 1));
}

#[test]
fn what_somebody_waits_for_is_made_however_many_others_are() {
    let (world, mut views) = many(EXAMINED_PER_STEP + 1);
    let asked = |n: usize| {
        // Of the same length: none is a part of another.
        let question = Question { q: format!("lock:{n:02}"), ..Question::default() };
        Asked { question, reach: Reach::ALL }
    };
    let mut now = Time(world.now);
    let are_ready = |views: &mut Views, now: Time| {
        (0..2 * MAX_UNWATCHED).filter(|n| views.is_ready(&world.registry, &asked(*n), now)).count()
    };
    assert_eq!(are_ready(&mut views, now), 0, "there is more than one step to do");
    now = now.plus(1_000);
    views.forget_unused(now);
    views.examine(&world.registry);
    assert_eq!(are_ready(&mut views, now), 2 * MAX_UNWATCHED);
    views.forget_unused(now);
    assert_eq!(views.answers.len(), MAX_UNWATCHED, "what was answered is kept as far as there is room");
}

#[test]
fn a_question_that_was_typed_over_holds_nobody_up() {
    let (world, mut views) = many(3 * EXAMINED_PER_STEP + 1);
    let now = Time(world.now);
    let question = |q: &str| Question { q: q.to_owned(), ..Question::default() };
    let (tx, mut frames) = mpsc::channel(64);
    views.connect(1, Reach::ALL, tx);
    for (ask, q) in ["l", "lo", "loc"].into_iter().enumerate() {
        views.ask(&world.registry, 1, u32::try_from(ask).unwrap(), &question(q), part(0, 10), now);
    }
    let examined = |views: &Views, q: &str| {
        let answer = views.answers.values().find(|answer| answer.asked.question.q == q).unwrap();
        answer.examined()
    };
    while views.has_unexamined() {
        views.examine(&world.registry);
    }
    assert_eq!(examined(&views, "loc"), None);
    assert_eq!(examined(&views, "l"), Some(2 * EXAMINED_PER_STEP as u64), "once when it was asked, and once more");
    // Asked again it goes on from where it was.
    views.ask(&world.registry, 1, 9, &question("l"), part(0, 10), now);
    while views.has_unexamined() {
        views.examine(&world.registry);
    }
    views.flush(&world.registry, now, &|_| Surroundings::default());
    let mut screen = Screen::default();
    screen.read(&mut frames);
    assert_eq!(screen.total, 3 * EXAMINED_PER_STEP as u64 + 1);
}

#[test]
fn how_far_a_first_answer_is_is_told_some_times_a_second_and_its_end_at_once() {
    let (world, mut views) = many(4 * EXAMINED_PER_STEP);
    let (tx, mut frames) = mpsc::channel(64);
    views.connect(1, Reach::ALL, tx);
    let question = Question { q: "w1".to_owned(), ..Question::default() };
    let asked_at = Time(world.now);
    views.ask(&world.registry, 1, 1, &question, part(0, 10), asked_at);
    // One step of the answer, and what is told of it so long after the question.
    let mut told_after = |ms: i64, steps: u32| {
        (0..steps).for_each(|_| views.examine(&world.registry));
        views.flush(&world.registry, asked_at.plus(ms), &|_| Surroundings::default());
        let mut told = Vec::new();
        while let Ok(frame) = frames.try_recv() {
            let ServerFrame::Window { total, examined, .. } = serde_json::from_slice(&frame).unwrap() else { continue };
            told.push((total / EXAMINED_PER_STEP as u64, examined.is_some()));
        }
        told
    };
    assert_eq!(told_after(0, 0), [(1, true)]);
    assert_eq!(told_after(33, 1), []);
    assert_eq!(told_after(249, 0), []);
    assert_eq!(told_after(250, 0), [(2, true)]);
    assert_eq!(told_after(283, 3), [(4, false)], "all of it");
}

#[test]
fn what_is_put_in_order_after_all_was_looked_at_is_told_when_it_is() {
    let (world, mut views) = many(3 * EXAMINED_PER_STEP);
    let (tx, mut frames) = mpsc::channel(64);
    views.connect(1, Reach::ALL, tx);
    // The first of them are those that are looked at last.
    let question = Question { sort: SortKey::Name, order: Some(Order::Desc), ..Question::default() };
    let asked_at = Time(world.now);
    views.ask(&world.registry, 1, 1, &question, part(0, 3), asked_at);
    let mut screen = Screen::default();
    for after_ms in [0, 40, 80, 120, 2_000] {
        views.flush(&world.registry, asked_at.plus(after_ms), &|_| Surroundings::default());
        screen.read(&mut frames);
        views.examine(&world.registry);
    }
    let names: Vec<&str> = screen.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["014999", "014998", "014997"]);
}

#[test]
fn whoever_types_on_has_only_those_looked_at_that_were_found_before() {
    let locks = 3 * EXAMINED_PER_STEP;
    let (mut world, mut views) = many(locks);
    let now = Time(world.now);
    let asked = |q: &str| Asked { question: Question { q: q.to_owned(), ..Question::default() }, reach: Reach::ALL };
    assert!(!views.is_ready(&world.registry, &asked("lock:007"), now));
    while !views.is_ready(&world.registry, &asked("lock:007"), now) {
        views.examine(&world.registry);
    }
    assert!(views.is_ready(&world.registry, &asked("lock:0077"), now), "found among those");
    assert!(views.is_ready(&world.registry, &asked("lock:0077 w1"), now), "and among those");

    // What comes while a wider answer is half made is found as well.
    assert!(!views.is_ready(&world.registry, &asked("w1"), now));
    assert!(!views.is_ready(&world.registry, &asked("w1 lock"), now));
    for (key, holder) in [("lock:000000", "w9"), (&format!("lock:{:06}", locks - 1), "w9"), ("lock:late", "w1")] {
        world.take(key, holder, None);
    }
    world.scan();
    note(&mut world, &mut views);
    while !views.is_ready(&world.registry, &asked("w1 lock"), now) {
        views.examine(&world.registry);
    }
    let found = views.page(&world.registry, &asked("w1 lock"), 0, 1_000, now);
    assert_eq!(found, once(&world.registry, &asked("w1 lock"), 0, 1_000, now));
    assert_eq!(found.0, locks as u64 - 1);
}

fn reach_of(keys: &[&str]) -> Reach {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let role = Role { name: "r".into(), groups: Vec::new(), grant: Grant::new([Right::View], &[], &keys) };
    let person = Person { via: Via::Password, roles: vec!["r".into()], ..Person::loopback() };
    Policy::new(vec![role]).scope(&person).seen().clone()
}

#[test]
fn an_ended_row_is_told_with_how_it_ended() {
    let (mut world, mut views) = (World::new(), Views::default());
    world.scan();
    play(&mut world, &Step::Take(1, 1, None));
    play(&mut world, &Step::Notice(1));
    note(&mut world, &mut views);
    let (tx, mut frames) = mpsc::channel(4);
    views.connect(1, Reach::ALL, tx);
    views.ask(&world.registry, 1, 1, &Question::default(), part(0, 10), Time(world.now));
    views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
    frames.try_recv().unwrap();
    world.wait(840);
    play(&mut world, &Step::Delete(1));
    play(&mut world, &Step::Notice(1));
    note(&mut world, &mut views);
    views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
    let ServerFrame::Delta { ended, total, .. } = serde_json::from_slice(&frames.try_recv().unwrap()).unwrap() else {
        panic!("not a delta");
    };
    assert_eq!((total, ended.len(), ended[0].held_ms), (0, 1, Some(840)));
    assert_eq!(ended[0].transition.word(), "released");
}

/// `lock:100` to `lock:159`, and the question for them by name.
fn sixty_by_name() -> (World, Views, Question) {
    let (mut world, mut views) = (World::new(), Views::default());
    for n in 100..160 {
        world.take(&format!("lock:{n}"), "w1", None);
    }
    world.scan();
    note(&mut world, &mut views);
    (world, views, Question { sort: SortKey::Name, ..Question::default() })
}

#[test]
fn whoever_looks_further_down_keeps_their_rows_while_others_come_and_go_above() {
    let (mut world, mut views, question) = sixty_by_name();
    let (tx, mut frames) = mpsc::channel(16);
    let (tx_top, mut top_frames) = mpsc::channel(16);
    views.connect(1, Reach::ALL, tx);
    views.connect(2, Reach::ALL, tx_top);
    views.ask(&world.registry, 1, 1, &question, part(30, 9), Time(world.now));
    views.ask(&world.registry, 2, 1, &question, part(0, 3), Time(world.now));
    let (mut screen, mut top) = (Screen::default(), Screen::default());
    let mut look = |views: &mut Views, world: &mut World| {
        note(world, views);
        views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
        screen.read(&mut frames);
        top.read(&mut top_frames);
        let names = |screen: &Screen| screen.rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>();
        (screen.offset, names(&screen), names(&top))
    };
    let lock = |n: usize| format!("lock:{n}");
    let (_, before, _) = look(&mut views, &mut world);
    assert_eq!(before, (130..139).map(lock).collect::<Vec<_>>());
    for n in 0..20 {
        world.take(&format!("lock:0{n}"), "w2", None);
        world.notice(&format!("lock:0{n}"), Hint::None);
    }
    let (offset, after, top_after) = look(&mut views, &mut world);
    assert_eq!((offset, &after), (50, &before));
    assert_eq!(top_after, ["lock:00", "lock:01", "lock:010"], "at the top what comes is seen");
    // One in the middle of what is seen goes: those above it stay, those below it move up.
    world.store.remove("lock:135");
    world.notice("lock:135", Hint::None);
    let (offset, after, _) = look(&mut views, &mut world);
    assert_eq!(offset, 50);
    assert_eq!(after, [130, 131, 132, 133, 134, 136, 137, 138, 139].map(lock));
}

#[test]
fn whoever_asks_for_the_rows_beside_theirs_gets_them_though_others_came_above_unseen() {
    let (mut world, mut views, question) = sixty_by_name();
    let (tx, mut frames) = mpsc::channel(16);
    views.connect(1, Reach::ALL, tx);
    let mut screen = Screen::default();
    let mut ask = |views: &mut Views, world: &mut World, ask: u32, offset: u64, seen: Option<(u32, u64)>| {
        let now = Time(world.now);
        views.ask(&world.registry, 1, ask, &question, Part { offset, limit: 9, seen }, now);
        views.flush_viewer(&world.registry, 1, now, &|_| Surroundings::default());
        screen.read(&mut frames);
        (screen.offset, screen.rows[0].id.to_string())
    };
    let come = |views: &mut Views, world: &mut World, more: &[u32]| {
        for n in more {
            world.take(&format!("lock:0{n}"), "w2", None);
            world.notice(&format!("lock:0{n}"), Hint::None);
        }
        note(world, views);
    };
    assert_eq!(ask(&mut views, &mut world, 1, 30, None), (30, "lock:130".to_owned()));
    come(&mut views, &mut world, &[1, 2, 3, 4, 5]);
    assert_eq!(ask(&mut views, &mut world, 2, 39, Some((1, 30))), (44, "lock:139".to_owned()));
    // What it was told meanwhile, it does not know yet.
    come(&mut views, &mut world, &[6, 7]);
    views.flush(&world.registry, Time(world.now), &|_| Surroundings::default());
    come(&mut views, &mut world, &[8]);
    assert_eq!(ask(&mut views, &mut world, 3, 35, Some((2, 44))), (38, "lock:130".to_owned()));
    // Counted by a window that was answered before the last: where those rows are now nobody knows.
    assert_eq!(ask(&mut views, &mut world, 4, 20, Some((2, 44))), (20, "lock:112".to_owned()));
}

#[test]
fn the_end_of_a_list_is_told_from_rows_that_slid() {
    let (world, mut views, question) = sixty_by_name();
    let (tx, mut frames) = mpsc::channel(16);
    views.connect(1, Reach::ALL, tx);
    let mut told = |ask: u32, offset: u64| {
        let now = Time(world.now);
        views.ask(&world.registry, 1, ask, &question, part(offset, 9), now);
        views.flush_viewer(&world.registry, 1, now, &|_| Surroundings::default());
        std::iter::from_fn(|| frames.try_recv().ok())
            .find_map(|frame| match serde_json::from_slice(&frame).unwrap() {
                ServerFrame::Window { offset, cut, .. } => Some((offset, cut)),
                _ => None,
            })
            .unwrap()
    };
    assert_eq!(told(1, 30), (30, false));
    assert_eq!(told(2, 51), (51, false), "there are as many rows as were asked for");
    assert_eq!(told(3, 55), (55, false), "there are some");
    assert_eq!(told(4, 60), (51, true));
    assert_eq!(told(5, 0), (0, false));
}
