//! The fold as data: what happens in a store and what is told of it, and what is concluded.

use std::collections::BTreeMap;

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode, Time};
use proptest::prelude::*;
use smallvec::smallvec;

use super::{Changes, Registry, Whose};
use crate::access::{Grant, Person, Policy, Reach, Right, Role, Via};
use crate::source::{
    Among, Copied, DialectTraits, Form, Hint, Hold, HoldExtra, Recognition, Report, Seen, Sight, SourceId, Surroundings,
};

const SOURCE: SourceId = SourceId(0);

static TRAITS: DialectTraits = DialectTraits { strip_prefix: "lock:", waiters_counted: true, ..DialectTraits::PLAIN };

static SEEN: Recognition =
    Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &TRAITS };

static REUSED_TRAITS: DialectTraits = DialectTraits { token_is_one_use: false, ..TRAITS };

static REUSED: Recognition = Recognition { traits: &REUSED_TRAITS, ..SEEN };

/// The token of a family that uses it again.
const THREAD: &str = "thread";

/// Tokens that name nobody.
const NOBODY: [&str; 1] = ["1"];

/// A store with a clock, and a registry that is told of it.
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) store: BTreeMap<String, (String, u32, Option<i64>)>,
    pub(crate) registry: Registry,
    pub(crate) changes: Changes,
    pub(crate) events: Vec<String>,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            now: 1_000_000,
            store: BTreeMap::new(),
            registry: Registry::new(["s".to_owned()], 7),
            changes: Changes::default(),
            events: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, key: &str, token: &str, ttl_ms: Option<i64>) {
        self.store.insert(key.to_owned(), (token.to_owned(), 1, ttl_ms.map(|ttl| self.now + ttl)));
    }

    pub(crate) fn wait(&mut self, ms: i64) {
        self.now += ms;
        let now = self.now;
        self.store.retain(|_, (_, _, expires)| expires.is_none_or(|at| at > now));
    }

    pub(crate) fn sight(&self, key: &str, hint: Hint) -> Sight {
        let seen = self.store.get(key).map_or(Seen::Gone, |(token, count, expires)| {
            let ttl_ms = expires.map(|at| at - self.now);
            let nobody = NOBODY.contains(&token.as_str());
            Seen::Held(Form {
                recognition: if token == THREAD { &REUSED } else { &SEEN },
                mode: Mode::Exclusive,
                state: if nobody { LockState::UnknownHolder } else { LockState::Held },
                holds: smallvec![Hold { count: *count, ..Hold::new(token.as_bytes(), ttl_ms) }],
                extra: None,
            })
        });
        Sight {
            key: Bytes::from(key.to_owned()),
            seen,
            asked_at: Time(self.now),
            read_at: Time(self.now),
            noticed_at: Some(Time(self.now)),
            hint,
        }
    }

    pub(crate) fn notice(&mut self, key: &str, hint: Hint) {
        let sights = vec![self.sight(key, hint)];
        self.apply(Report::Sights { sights, scan: false });
        let at = Time(self.now);
        self.apply(Report::Confirmed { at });
    }

    pub(crate) fn scan(&mut self) {
        let began_at = Time(self.now);
        self.apply(Report::ScanBegan { at: began_at });
        self.now += 1;
        let sights: Vec<Sight> =
            self.store.keys().map(|key| Sight { noticed_at: None, ..self.sight(key, Hint::None) }).collect();
        self.apply(Report::Sights { sights, scan: true });
        self.apply(Report::ScanEnded { began_at });
        self.look();
    }

    /// Reads again what is in doubt.
    pub(crate) fn look(&mut self) {
        for (_, key) in std::mem::take(&mut self.changes.look) {
            let key = String::from_utf8(key.to_vec()).unwrap();
            let sights = vec![Sight { noticed_at: None, ..self.sight(&key, Hint::None) }];
            self.apply(Report::Sights { sights, scan: false });
        }
    }

    pub(crate) fn apply(&mut self, report: Report) {
        self.registry.apply(SOURCE, report, &mut self.changes);
        for logged in self.changes.events.drain(..) {
            let event = self.registry.event(&logged);
            let lock = event.lock.as_ref().map_or("*", |id| id.as_str());
            let previous = event.previous_holder.map(|token| format!(" after {token}")).unwrap_or_default();
            self.events.push(format!(
                "{} {lock} {}{previous} ({})",
                event.transition.word(),
                event.holder.unwrap_or_default(),
                event.cause.unwrap_or_default()
            ));
        }
    }

    /// Another server takes over, which has all that was done until so long ago.
    fn fail_over(&mut self, ms: i64) {
        let (at, copied) = (Time(self.now), Copied::Until(Time(self.now - ms)));
        self.apply(Report::Gap { at, because: "failover".to_owned() });
        self.apply(Report::FailedOver { at, copied, among: Among::all() });
    }

    fn tick(&mut self) {
        self.registry.tick(Time(self.now), &mut self.changes);
        self.look();
    }

    pub(crate) fn held(&self) -> Vec<(String, String)> {
        let mut held: Vec<(String, String)> = (0..self.registry.slots())
            .filter_map(|slot| self.registry.record(slot as u32))
            .filter(|record| !record.is_ended())
            .map(|record| (text(&record.key), text(&record.holds[0].token)))
            .collect();
        held.sort();
        held
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Plays a story and compares what was concluded. Words: `take K T ms|ever`, `renew K ms`, `enter K`, `del K`, `wait
/// ms`; `notice K`, `notice K new|deleted|expired|evicted`, `scan`, `gap`, `failover ms` (to a server that has all that was
/// done until so long ago), `tick`, `releasing K T`, `released K yes|no`, `putting K T`, `putting K`.
#[track_caller]
fn check(story: &str, expected: &[&str]) {
    let mut world = World::new();
    tell(&mut world, story);
    assert_eq!(world.events, expected, "{story}");
}

fn tell(world: &mut World, story: &str) {
    for step in story.split(';') {
        let words: Vec<&str> = step.split_whitespace().collect();
        let ttl = |text: &str| (text != "ever").then(|| text.parse::<i64>().unwrap());
        match words.as_slice() {
            ["take", key, token, life] => world.take(key, token, ttl(life)),
            ["renew", key, life] => {
                let at = ttl(life).map(|ttl| world.now + ttl);
                world.store.get_mut(*key).unwrap().2 = at;
            }
            ["enter", key] => world.store.get_mut(*key).unwrap().1 += 1,
            ["del", key] => drop(world.store.remove(*key)),
            ["wait", ms] => world.wait(ms.parse().unwrap()),
            ["notice", key] => world.notice(key, Hint::None),
            ["notice", key, "new"] => world.notice(key, Hint::New),
            ["notice", key, "deleted"] => world.notice(key, Hint::Deleted),
            ["notice", key, "expired"] => world.notice(key, Hint::Expired),
            ["notice", key, "evicted"] => world.notice(key, Hint::Evicted),
            ["scan"] => world.scan(),
            ["gap"] => world.apply(Report::Gap { at: Time(world.now), because: "link lost".to_owned() }),
            ["failover", ms] => world.fail_over(ms.parse().unwrap()),
            ["tick"] => world.tick(),
            ["releasing", key, token] => {
                world.registry.releasing(SOURCE, key.as_bytes(), token.as_bytes(), 7, Time(world.now));
            }
            ["released", key, freed] => {
                let freed = *freed == "yes";
                world.registry.released(SOURCE, key.as_bytes(), freed, Time(world.now), &mut world.changes);
                world.look();
            }
            ["putting", key, token] => {
                world.registry.putting_back(SOURCE, key.as_bytes(), Some(token.as_bytes()));
            }
            ["putting", key] => world.registry.putting_back(SOURCE, key.as_bytes(), None),
            other => panic!("unknown step {other:?}"),
        }
    }
}

#[test]
fn a_lock_that_was_there_at_the_first_look_is_not_said_to_be_acquired() {
    check("take a w1 5000; scan", &[]);
}

#[test]
fn a_life_in_full_view() {
    check(
        "scan; take a w1 5000; notice a; wait 2000; renew a 5000; notice a; wait 1000; del a; notice a",
        &["acquired a w1 (seen)", "renewed a w1 (seen)", "released a w1 (deleted)"],
    );
}

#[test]
fn a_hand_over_between_two_looks_names_both() {
    check(
        "scan; take a w1 5000; notice a; wait 10; take a w2 5000; notice a",
        &["acquired a w1 (seen)", "handed_over a w2 after w1 (between_looks)"],
    );
}

#[test]
fn a_lease_that_ran_out_before_the_next_holder_is_an_expiry_and_no_hand_over() {
    check(
        "scan; take a w1 100; notice a; wait 500; take a w2 5000; notice a",
        &["acquired a w1 (seen)", "expired a w1 (deadline)", "acquired a w2 after w1 (between_looks)"],
    );
}

#[test]
fn a_lapsed_lease_is_looked_at_without_being_told() {
    check("scan; take a w1 100; notice a; wait 103; tick", &["acquired a w1 (seen)", "expired a w1 (deadline)"]);
}

#[test]
fn expiry_while_disconnected_is_found_by_the_rescan() {
    check(
        "scan; take a w1 5000; notice a; gap; wait 9000; scan",
        &["acquired a w1 (seen)", "gap *  (gap)", "expired a w1 (deadline)"],
    );
}

#[test]
fn an_end_that_nobody_saw_is_not_said_to_be_a_release() {
    check(
        "scan; take a w1 ever; notice a; gap; del a; wait 9000; scan",
        &["acquired a w1 (seen)", "gap *  (gap)", "lost a w1 (unwatched)"],
    );
}

#[test]
fn what_the_store_announces_is_believed() {
    check(
        "scan; take a w1 9000; notice a new; wait 5; del a; notice a deleted; take b w1 9000; notice b; del b; notice b evicted",
        &["acquired a w1 (seen)", "released a w1 (deleted)", "acquired b w1 (seen)", "evicted b w1 (memory)"],
    );
}

#[test]
fn the_same_token_under_a_new_key_is_another_hold() {
    check(
        "scan; take a w1 9000; notice a new; wait 50; take a w1 9000; notice a new",
        &["acquired a w1 (seen)", "released a w1 (taken_anew)", "acquired a w1 after w1 (between_looks)"],
    );
}

#[test]
fn late_news_of_an_acquire_that_was_seen_is_no_other_acquire() {
    check(
        "scan; take a w1 9000; notice a new; wait 50; take a w2 9000; notice a deleted; wait 40; notice a new",
        &["acquired a w1 (seen)", "handed_over a w2 after w1 (between_looks)"],
    );
    check(
        "scan; take a w1 9000; notice a new; wait 8; del a; take a w1 9000; notice a new",
        &["acquired a w1 (seen)", "released a w1 (taken_anew)", "acquired a w1 after w1 (between_looks)"],
    );
    check(
        "scan; take a w1 9000; notice a new; wait 1100; notice a new",
        &["acquired a w1 (seen)", "released a w1 (taken_anew)", "acquired a w1 after w1 (between_looks)"],
    );
    // Of those who cannot be told apart the next may be another one.
    check(
        "scan; take a 1 9000; notice a new; wait 8; del a; take a 1 9000; notice a new",
        &["acquired a 1 (seen)", "released a 1 (taken_anew)", "acquired a 1 after 1 (between_looks)"],
    );
    check(
        "scan; take a w1 ever; notice a new; wait 50; take a w1 ever; notice a new",
        &["acquired a w1 (seen)", "released a w1 (taken_anew)", "acquired a w1 after w1 (between_looks)"],
    );
}

#[test]
fn re_entry_and_lost_expiry_are_told() {
    check(
        "scan; take a w1 9000; notice a; enter a; notice a; renew a ever; notice a",
        &["acquired a w1 (seen)", "re_entered a w1 (seen)", "lease_changed a w1 (expiry_removed)"],
    );
}

#[test]
fn an_end_after_a_release_from_here_is_attributed_and_a_returning_token_is_named() {
    check(
        "scan; take a w1 9000; notice a; wait 5; releasing a w1; del a; notice a; released a yes; wait 50; take a w1 9000; notice a",
        &["acquired a w1 (seen)", "forced a w1 (release)", "acquired a w1 after w1 (came_back)"],
    );
}

#[test]
fn a_token_that_was_given_back_did_not_come_back() {
    check(
        "scan; take a w1 9000; notice a; wait 5; releasing a w1; del a; notice a; released a yes; wait 50; putting a w1; take a w1 9000; notice a",
        &["acquired a w1 (seen)", "forced a w1 (release)", "acquired a w1 after w1 (put_back)"],
    );
    check(
        "scan; take a w1 9000; notice a; wait 5; releasing a w1; del a; notice a; released a yes; putting a w1; putting a; wait 50; take a w1 9000; notice a",
        &["acquired a w1 (seen)", "forced a w1 (release)", "acquired a w1 after w1 (came_back)"],
    );
}

#[test]
fn what_else_a_holder_has_is_counted_within_the_reach() {
    let mut world = World::new();
    for (key, token) in [("a", "w1"), ("b", "w1"), ("c", "w2"), ("d", "1"), ("e", "w1")] {
        world.take(key, token, None);
    }
    world.scan();
    let others = |key: &'static str, token: &'static str, reach: &Reach| {
        let (key, token) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(token.as_bytes()));
        let whose = Whose { source: SOURCE, key, token, identity: lockkeeper_model::Identity::NOBODY };
        let found = world.registry.others(&[whose], reach).remove(0);
        let mut names: Vec<String> = found.list.iter().map(|id| id.as_str().to_owned()).collect();
        names.sort();
        (found.count, found.complete, names)
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(others("a", "w1", &Reach::ALL), (2, true, names(&["b", "e"])));
    assert_eq!(others("c", "w2", &Reach::ALL), (0, true, names(&[])));
    assert_eq!(others("x", "1", &Reach::ALL), (0, true, names(&[])), "equal values that name nobody");
    let part = Policy::new(vec![Role {
        name: "part".into(),
        groups: Vec::new(),
        grant: Grant::new([Right::View], &[], &["b".to_owned()]),
    }]);
    let viewer = Person {
        name: "alice".into(),
        via: Via::Password,
        roles: vec!["part".into()],
        membership: crate::access::Membership::Named,
        only: None,
        session: None,
    };
    assert_eq!(others("a", "w1", part.scope(&viewer).seen()), (1, true, names(&["b"])));
}

#[test]
fn a_release_from_here_is_attributed_even_when_another_took_the_lock_before_it_was_looked_at() {
    check(
        "scan; take a w1 9000; notice a; wait 5; releasing a w1; del a; take a w2 9000; notice a; released a yes",
        &["acquired a w1 (seen)", "forced a w1 (release)", "acquired a w2 after w1 (between_looks)"],
    );
}

#[test]
fn a_release_that_freed_nothing_is_not_credited_with_an_end_that_came_beside_it() {
    check(
        "scan; take a w1 9000; notice a; releasing a w1; del a; notice a; released a no",
        &["acquired a w1 (seen)", "released a w1 (deleted)"],
    );
}

#[test]
fn a_token_that_is_back_before_anybody_looked_is_no_renewal() {
    check(
        "scan; take a w1 9000; notice a; wait 5; releasing a w1; take a w1 9500; released a yes; \
         wait 100; del a; notice a",
        &[
            "acquired a w1 (seen)",
            "forced a w1 (release)",
            "acquired a w1 after w1 (came_back)",
            "released a w1 (deleted)",
        ],
    );
}

#[test]
fn a_value_that_names_nobody_is_not_said_to_be_renewed_and_its_generation_does_not_outlive_it() {
    let mut world = World::new();
    world.scan();
    world.take("a", "1", Some(9_000));
    world.notice("a", Hint::None);
    let slot = world.registry.find(SOURCE, b"a").unwrap();
    let before = world.registry.record(slot).unwrap().generation();
    world.wait(500);
    world.take("a", "1", Some(9_000));
    world.notice("a", Hint::None);
    assert_eq!(world.events, ["acquired a 1 (seen)", "lease_changed a 1 (renewed_or_taken_anew)"]);
    let record = world.registry.record(slot).unwrap();
    assert_ne!(record.generation(), before);
    assert_eq!((record.holds[0].renewals, record.holds[0].not_before()), (0, Some(1_000_000)));
}

#[test]
fn a_gap_in_the_middle_of_a_scan_is_not_closed_by_its_end() {
    let mut world = World::new();
    world.take("a", "w1", None);
    let began_at = Time(world.now);
    world.apply(Report::ScanBegan { at: began_at });
    let sights = vec![world.sight("a", Hint::None)];
    world.apply(Report::Sights { sights, scan: true });
    world.now += 5;
    world.apply(Report::Gap { at: Time(world.now), because: "missed".to_owned() });
    world.store.remove("a");
    world.now += 5;
    world.apply(Report::ScanEnded { began_at });
    let slot = world.registry.find(SOURCE, b"a").unwrap();
    let lock =
        world.registry.lock(world.registry.record(slot).unwrap(), Time(world.now), Surroundings::default(), false);
    assert!(lock.flags.contains(&Flag::Stale), "{:?}", lock.flags);
    world.scan();
    assert_eq!(world.events, ["gap *  (gap)", "lost a w1 (unwatched)"]);
}

#[test]
fn what_other_rules_decide_otherwise_is_not_shown_and_not_said_to_have_been_let_go() {
    let mut world = World::new();
    world.take("a", "A", None);
    world.take("b", "B", None);
    world.scan();
    world.apply(Report::Gap { at: Time(world.now), because: "other rules".to_owned() });
    world.now += 1;
    world.apply(Report::Withdrawn { at: Time(world.now), among: Among::those(|id| id == b"b") });
    assert_eq!(world.held(), [("a".to_owned(), "A".to_owned())]);
    world.now += 1;
    world.scan();
    assert_eq!(world.held().len(), 2);
    assert_eq!(world.events, ["gap *  (gap)", "lost b B (no_longer_watched)"]);
    // It is watched again: what was before is not what is.
    let slot = world.registry.find(SOURCE, b"b").unwrap();
    let (story, _) = world.registry.timeline(world.registry.record(slot).unwrap());
    let words: Vec<&str> = story.iter().map(|event| event.transition.word()).collect();
    assert_eq!(words[0], "first_seen", "{words:?}");
    assert!(words.contains(&"lost"), "{words:?}");
}

/// The locks that are marked after a failover, and what is said of that.
fn marked(world: &World) -> Vec<(String, String)> {
    let records = (0..world.registry.slots()).filter_map(|slot| world.registry.record(slot as u32));
    let mut marked: Vec<(String, String)> = records
        .filter(|record| world.registry.has_flag(record, Flag::FailedOver))
        .map(|record| {
            let notes = world.registry.flag_notes(record, &[Flag::FailedOver]);
            (text(&record.key), notes[0].what.clone())
        })
        .collect();
    marked.sort();
    marked
}

/// `a` is taken, `b` is taken, `b` is renewed, `c` is taken and let go of, each a second after the one before; then another
/// server takes over.
fn failed_over(copied: impl Fn(i64) -> Copied) -> World {
    let mut world = World::new();
    world.scan();
    let began = world.now;
    for (key, renewed, released) in [("a", false, false), ("b", false, false), ("b", true, false), ("c", false, true)] {
        world.wait(1_000);
        if renewed {
            world.store.get_mut(key).unwrap().2 = Some(world.now + 60_000);
        } else {
            world.take(key, "w", Some(60_000));
        }
        world.notice(key, Hint::None);
        if released {
            world.store.remove(key);
            world.notice(key, Hint::Deleted);
        }
    }
    world.wait(20_000);
    let at = Time(world.now);
    world.apply(Report::Gap { at, because: "failover".to_owned() });
    world.apply(Report::FailedOver { at, copied: copied(began), among: Among::all() });
    world
}

#[test]
fn after_a_failover_exactly_those_are_marked_that_were_touched_when_nothing_is_known_to_be_copied_any_more() {
    let keys = |world: &World| marked(world).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(&failed_over(|began| Copied::Until(Time(began + 2_500)))), ["b"], "it was renewed after that");
    assert_eq!(keys(&failed_over(|began| Copied::Until(Time(began + 1_500)))), ["b"]);
    assert_eq!(keys(&failed_over(|began| Copied::Until(Time(began + 900)))), ["a", "b"]);
    assert!(keys(&failed_over(|began| Copied::Until(Time(began + 3_500)))).is_empty());
    assert_eq!(keys(&failed_over(|began| Copied::NotUntil(Time(began)))), ["a", "b"]);
    assert!(keys(&failed_over(|_| Copied::Unknown { because: "of this".to_owned() })).is_empty(), "long before");
}

#[test]
fn a_mark_says_what_it_rests_on() {
    let world = failed_over(|_| Copied::Until(Time(1_001_500)));
    let said = &marked(&world)[0].1;
    assert!(said.contains("after 1970-01-01T00:16:41.500Z") && said.contains("known to have been copied"), "{said}");
    let mut world = World::new();
    world.scan();
    world.take("a", "w", None);
    world.notice("a", Hint::None);
    let copied = Copied::Unknown { because: "the credential may not run `INFO`".to_owned() };
    world.apply(Report::FailedOver { at: Time(world.now + 9_000), copied, among: Among::all() });
    let said = &marked(&world)[0].1;
    assert!(said.contains("s before a failover") && said.contains("may not run `INFO`"), "{said}");
}

#[test]
fn what_stands_on_the_new_server_because_its_end_or_the_next_holder_was_not_copied_is_marked() {
    let mut world = failed_over(|began| Copied::Until(Time(began + 2_500)));
    world.wait(1);
    world.take("b", "former", Some(60_000));
    world.take("c", "w", Some(60_000));
    world.scan();
    assert_eq!(marked(&world).len(), 2, "{:?}", marked(&world));
    // The next ones are sure of what they have.
    for key in ["b", "c"] {
        world.take(key, "next", Some(60_000));
        world.notice(key, Hint::None);
    }
    assert_eq!(marked(&world), []);
}

/// `a` is taken for a minute and released from here a second later, and half a second after that another server takes over.
fn released_before_a_failover(token: &str, copied_until_ms_ago: i64) -> String {
    format!(
        "scan; take a {token} 60000; notice a; wait 1000; releasing a {token}; del a; released a yes; wait 500; \
         failover {copied_until_ms_ago}; wait 1"
    )
}

#[test]
fn a_release_that_the_new_server_has_not_heard_of_is_told_as_lost_and_not_as_taken_again() {
    let told =
        ["acquired a w1 (seen)", "forced a w1 (release)", "gap *  (gap)", "acquired a w1 after w1 (release_lost)"];
    check(&format!("{}; take a w1 58499; scan", released_before_a_failover("w1", 900)), &told);
    // Renewed before it was read: a token that is used once proves it all the same.
    check(&format!("{}; take a w1 60000; scan", released_before_a_failover("w1", 900)), &told);
    check(
        &format!("{}; take a thread 58499; scan", released_before_a_failover(THREAD, 900)),
        &told.map(|one| one.replace("w1", THREAD)).each_ref().map(String::as_str),
    );
}

#[test]
fn what_may_have_been_taken_again_after_a_failover_is_not_said_to_be_either() {
    for (token, left, copied) in [(THREAD, 60_000, 900), ("w1", 58_499, 100)] {
        let mut world = World::new();
        tell(&mut world, &format!("{}; take a {token} {left}; scan", released_before_a_failover(token, copied)));
        let has = |flag| world.registry.has_flag(world.registry.record(0).unwrap(), flag);
        assert!(!has(Flag::ReleaseLost), "{token}");
        // Of what the new server had heard of, it can only be that.
        assert_eq!(has(Flag::CameBack), copied == 100, "{token}");
        assert!(!world.events.iter().any(|event| event.contains("release_lost")), "{:?}", world.events);
    }
}

#[test]
fn a_hold_whose_release_was_lost_goes_on_as_it_was_known() {
    let mut world = World::new();
    tell(&mut world, &format!("{}; take a w1 58499; scan", released_before_a_failover("w1", 900)));
    let record = world.registry.record(0).unwrap();
    let flags = [Flag::ReleaseLost, Flag::FailedOver, Flag::CameBack].map(|flag| world.registry.has_flag(record, flag));
    assert_eq!(flags, [true, true, false]);
    assert_eq!(record.holds[0].since, 1_000_001, "it was taken then");
    let note = &world.registry.flag_notes(record, &[Flag::ReleaseLost])[0].what;
    assert!(note.contains("before it had told its replicas; the lock is held again by the former holder"), "{note}");
    tell(&mut world, "wait 1; del a; notice a; wait 1; take a w2 9000; notice a");
    let record = world.registry.record(0).unwrap();
    assert!(!world.registry.has_flag(record, Flag::ReleaseLost), "the next one has nothing to do with it");
}

#[test]
fn whoever_took_it_after_a_release_that_was_lost_lost_it() {
    check(
        "scan; take a w1 60000; notice a; releasing a w1; del a; released a yes; take a w2 60000; notice a; wait 500; \
         failover 900; take a w1 59500; scan",
        &[
            "acquired a w1 (seen)",
            "forced a w1 (release)",
            "acquired a w2 after w1 (seen)",
            "gap *  (gap)",
            "lost a w2 (maybe_not_copied)",
            "acquired a w1 after w2 (release_lost)",
        ],
    );
}

#[test]
fn a_release_that_was_answered_and_lost_before_anybody_looked_is_told_with_both() {
    check(
        "scan; take a w1 60000; notice a; wait 500; releasing a w1; failover 900; wait 1; released a yes",
        &["acquired a w1 (seen)", "gap *  (gap)", "forced a w1 (release)", "acquired a w1 after w1 (release_lost)"],
    );
}

#[test]
fn a_lock_that_the_new_server_does_not_have_is_lost_and_its_story_says_why() {
    let mut world = failed_over(|began| Copied::Until(Time(began + 2_500)));
    world.events.clear();
    world.wait(1);
    world.store.clear();
    world.scan();
    assert_eq!(world.events, ["lost a w (unwatched)", "lost b w (maybe_not_copied)"]);
}

#[test]
fn deadlines_of_locks_that_are_gone_do_not_pile_up() {
    let mut world = World::new();
    world.scan();
    for i in 0..5_000 {
        world.take("a", &format!("w{i}"), Some(86_400_000));
        world.notice("a", Hint::None);
        world.wait(1);
        world.store.remove("a");
        world.notice("a", Hint::None);
        world.registry.forget_ended(Time(world.now));
    }
    assert!(world.registry.deadlines.len() <= 2 + super::SPARE_DEADLINES, "{}", world.registry.deadlines.len());
}

#[test]
fn the_timeline_of_a_lock_that_was_met_begins_with_that_whatever_comes_after() {
    let mut world = World::new();
    world.take("a", "w1", Some(9_000));
    world.scan();
    let timeline = |world: &World| -> Vec<&'static str> {
        let slot = world.registry.find(SOURCE, b"a").unwrap();
        let (events, _) = world.registry.timeline(world.registry.record(slot).unwrap());
        events.iter().map(|event| event.transition.word()).collect()
    };
    assert_eq!(timeline(&world), ["first_seen"]);
    world.wait(50);
    world.take("a", "w2", Some(9_000));
    world.notice("a", Hint::None);
    world.wait(50);
    world.store.remove("a");
    world.notice("a", Hint::None);
    assert_eq!(timeline(&world), ["released", "handed_over", "first_seen"]);
}

#[test]
fn a_lock_that_ends_a_little_later_than_it_was_read_before_is_the_same_hold_with_the_later_end() {
    let mut world = World::new();
    world.take("a", "A", Some(60_000));
    world.notice("a", Hint::New);
    let end = |world: &World| {
        let slot = world.registry.find(SOURCE, b"a").unwrap();
        Registry::release_orders(world.registry.record(slot).unwrap())[0].expires_not_after.unwrap()
    };
    let before = end(&world);
    // Its key moved to another node.
    world.wait(1_000);
    world.take("a", "A", Some(59_010));
    world.notice("a", Hint::None);
    assert_eq!(end(&world), before.plus(10));
    // A second key is known by now, which ends later.
    let mut sight = world.sight("a", Hint::None);
    let Seen::Held(form) = &mut sight.seen else { panic!("{sight:?}") };
    form.holds[0].ttl_ms = Some(59_050);
    form.holds[0].extra = Some(Box::new(HoldExtra { ends_early_ms: 40, ..HoldExtra::default() }));
    world.apply(Report::Sights { sights: vec![sight], scan: false });
    assert_eq!(end(&world), before.plus(50));
    assert_eq!(world.events, ["acquired a A (seen)"]);
}

#[test]
fn a_reading_that_was_slow_hides_no_acquire_that_came_meanwhile() {
    let mut world = World::new();
    world.take("a", THREAD, Some(30_000));
    world.notice("a", Hint::New);
    let end = world.now + 30_000;
    world.wait(50);
    let mut sight = world.sight("a", Hint::None);
    world.wait(400);
    sight.read_at = Time(world.now);
    world.apply(Report::Sights { sights: vec![sight], scan: false });
    let slot = world.registry.find(SOURCE, b"a").unwrap();
    let order = &Registry::release_orders(world.registry.record(slot).unwrap())[0];
    // It was taken again 200 ms after the first time, with the same token.
    assert!(order.expires_not_after.unwrap().0 < end + 200, "{order:?}");
}

#[test]
fn since_when_a_part_of_another_lock_is_held_is_not_known() {
    let mut world = World::new();
    world.scan();
    world.wait(1_000);
    world.take("b", "A", None);
    world.notice("b", Hint::WasPart);
    assert!(world.events.is_empty(), "{:?}", world.events);
    let slot = world.registry.find(SOURCE, b"b").unwrap();
    let (events, _) = world.registry.timeline(world.registry.record(slot).unwrap());
    assert_eq!(events.iter().map(|event| event.transition.word()).collect::<Vec<_>>(), ["first_seen"]);
}

#[test]
fn clocks_that_drift_apart_are_no_renewal() {
    let mut world = World::new();
    world.scan();
    world.take("a", "w1", Some(3_600_000));
    world.notice("a", Hint::None);
    for _ in 0..100 {
        world.wait(30_000);
        // The store's clock runs slow by 0.02 %.
        *world.store.get_mut("a").unwrap().2.as_mut().unwrap() += 6;
        world.notice("a", Hint::None);
    }
    assert_eq!(world.events, ["acquired a w1 (seen)"]);
}

#[test]
fn a_page_of_a_scan_that_was_overtaken_does_not_bring_a_lock_back() {
    let mut world = World::new();
    world.apply(Report::ScanBegan { at: Time(world.now) });
    world.take("a", "w1", Some(9_000));
    let page = Sight { noticed_at: None, ..world.sight("a", Hint::None) };
    world.now += 2;
    world.store.remove("a");
    world.notice("a", Hint::None);
    let late = Sight { read_at: Time(world.now + 40), ..page };
    world.apply(Report::Sights { sights: vec![late], scan: true });
    assert_eq!(world.held(), []);
}

#[test]
fn the_rhythm_is_learned_and_a_double_beat_does_not_disturb_it() {
    let mut world = World::new();
    world.scan();
    world.take("a", "w1", Some(30_000));
    world.notice("a", Hint::None);
    for pause in [10_000, 10_000, 200, 9_800, 10_000] {
        world.wait(pause);
        world.take("a", "w1", Some(30_000));
        world.notice("a", Hint::None);
    }
    let slot = world.registry.find(SOURCE, b"a").unwrap();
    let hold = &world.registry.record(slot).unwrap().holds[0];
    assert_eq!(hold.renewals, 5);
    assert!((9_500..=10_100).contains(&hold.period_ms), "{}", hold.period_ms);
}

#[test]
fn waiters_are_unknown_until_counted_and_zero_only_then() {
    let mut world = World::new();
    world.scan();
    world.take("a", "w1", Some(30_000));
    world.notice("a", Hint::None);
    let count = |world: &World| {
        let slot = world.registry.find(SOURCE, b"a").unwrap();
        world.registry.waiters_known(world.registry.record(slot).unwrap()).0
    };
    assert_eq!(count(&world), None);
    world.apply(Report::Waiting { counts: Vec::new(), at: Time(world.now) });
    assert_eq!(count(&world), Some(0));
    let three = crate::source::WaitersSeen { count: 3 };
    world.apply(Report::Waiting { counts: vec![(Bytes::from_static(b"a"), three)], at: Time(world.now) });
    assert_eq!(count(&world), Some(3));
    world.apply(Report::WaitingUnknown);
    assert_eq!(count(&world), None);
}

/// One step of a random story.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Take(u8, u8, Option<u16>),
    Renew(u8, u16),
    Delete(u8),
    Wait(u16),
    Notice(u8),
    Scan,
    Gap,
    Tick,
    Waiting(u8, u8),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..12, 0u8..5, proptest::option::weighted(0.8, 1u16..4_000)).prop_map(|(k, t, l)| Step::Take(k, t, l)),
        4 => (0u8..12, 1u16..4_000).prop_map(|(k, l)| Step::Renew(k, l)),
        3 => (0u8..12).prop_map(Step::Delete),
        4 => (0u16..3_000).prop_map(Step::Wait),
        12 => (0u8..12).prop_map(Step::Notice),
        2 => Just(Step::Scan),
        1 => Just(Step::Gap),
        2 => Just(Step::Tick),
        1 => (0u8..12, 0u8..4).prop_map(|(k, n)| Step::Waiting(k, n)),
    ];
    proptest::collection::vec(step, 1..80)
}

pub(crate) fn play(world: &mut World, step: &Step) {
    let name = |key: &u8| format!("lock:{key}");
    match step {
        Step::Take(key, token, life) => world.take(&name(key), &format!("w{token}"), life.map(i64::from)),
        Step::Renew(key, life) => {
            let at = world.now + i64::from(*life);
            if let Some(lock) = world.store.get_mut(&name(key)) {
                lock.2 = Some(at);
            }
        }
        Step::Delete(key) => drop(world.store.remove(&name(key))),
        Step::Wait(ms) => world.wait(i64::from(*ms)),
        Step::Notice(key) => world.notice(&name(key), Hint::None),
        Step::Scan => world.scan(),
        Step::Gap => world.apply(Report::Gap { at: Time(world.now), because: "test".to_owned() }),
        Step::Tick => world.tick(),
        Step::Waiting(key, count) => {
            let seen = crate::source::WaitersSeen { count: u32::from(*count) };
            world.apply(Report::Waiting { counts: vec![(name(key).into(), seen)], at: Time(world.now) });
        }
    }
}

proptest! {
    #[test]
    fn after_a_whole_scan_exactly_what_is_in_the_store_is_held(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            play(&mut world, step);
        }
        world.wait(1);
        world.scan();
        let stored: Vec<(String, String)> =
            world.store.iter().map(|(key, (token, ..))| (key.clone(), token.clone())).collect();
        prop_assert_eq!(world.held(), stored);
        prop_assert_eq!(world.registry.locks_of(SOURCE), world.store.len() as u64);
    }

    #[test]
    fn the_same_sight_twice_changes_nothing(steps in steps(), key in 0u8..12) {
        let mut world = World::new();
        for step in &steps {
            play(&mut world, step);
        }
        let sight = world.sight(&format!("lock:{key}"), Hint::None);
        world.apply(Report::Sights { sights: vec![sight.clone()], scan: false });
        let (held, events) = (world.held(), world.events.len());
        world.changes.clear();
        world.apply(Report::Sights { sights: vec![sight], scan: false });
        prop_assert_eq!(&world.changes.dirty, &Vec::<u32>::new());
        prop_assert_eq!((world.held(), world.events.len()), (held, events));
    }

    #[test]
    fn a_generation_never_returns_to_another_hold(steps in steps()) {
        let mut world = World::new();
        let mut holders: BTreeMap<u64, (String, String)> = BTreeMap::new();
        for step in &steps {
            play(&mut world, step);
            for slot in 0..world.registry.slots() {
                let Some(record) = world.registry.record(slot as u32) else { continue };
                for hold in &record.holds {
                    let who = (text(&record.key), text(&hold.token));
                    let known = holders.entry(hold.generation).or_insert_with(|| who.clone());
                    prop_assert_eq!(&*known, &who);
                }
            }
        }
    }
}

/// A lock of several holders, read at `world.now`.
fn see_several(world: &mut World, holds: Vec<Hold>) {
    let form = Form {
        recognition: &SEEN,
        mode: Mode::Semaphore,
        state: LockState::Held,
        holds: holds.into_iter().collect(),
        extra: None,
    };
    let at = Time(world.now);
    let key = Bytes::from_static(b"pool");
    let sight =
        Sight { key, seen: Seen::Held(form), asked_at: at, read_at: at, noticed_at: Some(at), hint: Hint::None };
    world.apply(Report::Sights { sights: vec![sight], scan: false });
    world.apply(Report::Confirmed { at });
}

fn with(token: &str, ttl_ms: i64, extra: HoldExtra) -> Hold {
    Hold { extra: Some(Box::new(extra)), ..Hold::new(token.as_bytes(), Some(ttl_ms)) }
}

#[test]
fn of_several_holders_each_ends_and_begins_for_itself() {
    let mut world = World::new();
    world.scan();
    let hold = |token: &str, ttl_ms| Hold::new(token.as_bytes(), Some(ttl_ms));
    see_several(&mut world, vec![hold("a", 500), hold("b", 9_000), hold("c", 9_000)]);
    world.events.clear();
    world.wait(1_000);
    see_several(&mut world, vec![hold("c", 8_000), hold("d", 9_000)]);
    assert_eq!(world.events, ["expired pool a (deadline)", "released pool b (deleted)", "acquired pool d (seen)"]);
}

#[test]
fn an_expiry_that_all_holders_share_is_no_holders_renewal() {
    let mut world = World::new();
    world.scan();
    let hold = |token: &str, ttl_ms| with(token, ttl_ms, HoldExtra { shares_lease: true, ..HoldExtra::default() });
    see_several(&mut world, vec![hold("a", 5_000), hold("b", 5_000)]);
    world.events.clear();
    world.wait(1_000);
    see_several(&mut world, vec![hold("a", 9_000), hold("b", 9_000)]);
    assert!(world.events.is_empty(), "{:?}", world.events);
    // It counts as the end all the same: nobody is said to be over time.
    world.wait(5_000);
    see_several(&mut world, vec![hold("a", 4_000)]);
    assert_eq!(world.events, ["released pool b (deleted)"]);
}

#[test]
fn another_stamp_beside_the_same_token_is_another_hold() {
    let mut world = World::new();
    world.scan();
    let stamped = |stamp: &'static str| {
        let stamp = Some(Bytes::from_static(stamp.as_bytes()));
        with("a", 9_000, HoldExtra { stamp, taken_at: Some(Time(1)), ..HoldExtra::default() })
    };
    see_several(&mut world, vec![stamped("1")]);
    let generation = |world: &World| {
        let slot = world.registry.find(SOURCE, b"pool").unwrap();
        world.registry.record(slot).unwrap().generation()
    };
    let before = generation(&world);
    see_several(&mut world, vec![stamped("1")]);
    assert_eq!(generation(&world), before);
    world.events.clear();
    see_several(&mut world, vec![stamped("2")]);
    assert_ne!(generation(&world), before);
    assert_eq!(world.events, ["released pool a (taken_anew)", "acquired pool a after a (between_looks)"]);
}
