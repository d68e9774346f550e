//! For each rule: it opens, it stays, it is over; and what holds for all of them.

use std::sync::Arc;

use lockkeeper_model::{
    Acknowledgement, LockId, Mute, Severity, TraceEnd, TraceReport, TracedClient, TracedLock, WaitsBy, WarningRule,
    WarningState,
};

use super::*;
use crate::access::Reach;
use crate::warning::{Limit, MIN_HOLDS};

pub(super) const MINUTE: i64 = 60_000;
pub(super) const NOTHING: [&str; 0] = [];

#[test]
fn a_lock_that_is_held_for_too_long() {
    let mut story = Story::new(vec![only(WarningRule::HeldLong, |setting| setting.for_ms = 30 * MINUTE)]);
    story.take("lock:a", "t1", Some(60 * MINUTE));
    story.wait(30 * MINUTE - 1);
    assert_eq!(story.said(), NOTHING);
    story.wait(1);
    assert_eq!(story.said(), ["opened held-long a"]);
    story.wait(10 * MINUTE);
    assert_eq!(story.said(), NOTHING, "it stays and is not told again");
    story.let_go("lock:a");
    assert_eq!(story.said(), NOTHING, "it may come back");
    story.wait(5_000);
    assert_eq!(story.said(), ["resolved held-long a"]);
    let warning = one(&story);
    assert_eq!((warning.state, warning.resolved.as_deref()), (WarningState::Resolved, Some("It was let go.")));
}

#[test]
fn a_leader_may_keep_its_lock_for_ever_unless_somebody_sets_a_time() {
    let mut story = Story::new(Vec::new());
    let mut strict = Story::new(vec![only(WarningRule::HeldLong, |setting| {
        (setting.for_ms, setting.limit) = (30 * MINUTE, Limit::Renewed(true));
    })]);
    for story in [&mut story, &mut strict] {
        story.take("lock:leader", "t1", Some(MINUTE));
        for _ in 0..26 * 60 * 3 {
            story.wait(20_000);
            story.renew("lock:leader", Some(MINUTE));
        }
    }
    assert_eq!(story.said(), NOTHING);
    assert_eq!(strict.said(), ["opened held-long leader"]);
}

#[test]
fn a_hold_that_is_longer_than_usual_needs_something_to_compare_with() {
    let mut story = Story::new(Vec::new());
    let work = |story: &mut Story, name: &str, ms: i64| {
        story.take("lock:a", name, Some(3 * 3_600_000));
        story.wait(ms);
        story.let_go("lock:a");
        story.wait(1_000);
    };
    work(&mut story, "long", 2 * 3_600_000);
    assert_eq!(story.said(), NOTHING, "nothing is known yet");
    let mut story = Story::new(Vec::new());
    for hold in 0..MIN_HOLDS {
        work(&mut story, &format!("t{hold}"), 40_000);
    }
    assert_eq!(story.said(), NOTHING);
    work(&mut story, "slow", 110_000);
    assert_eq!(story.said(), NOTHING, "less than three times as long");
    work(&mut story, "stuck", 10 * MINUTE);
    story.wait(10_000);
    assert_eq!(story.said(), ["opened held-unusually a", "resolved held-unusually a"]);
    assert!(one(&story).says.contains("99 % of its 31 last holds were over after "), "{:?}", one(&story));
}

#[test]
fn waiting_counts_from_the_hold_that_keeps_others_out() {
    let mut story = Story::new(Vec::new());
    // A queue that moves is not stuck, however long there is one.
    for turn in 0..10 {
        story.take("lock:a", &format!("t{turn}"), Some(10 * MINUTE));
        for _ in 0..8 {
            story.waiters("lock:a", 3);
            story.wait(30_000);
        }
    }
    assert_eq!(story.said(), NOTHING);
    for _ in 0..3 {
        story.waiters("lock:a", 3);
        story.wait(30_000);
    }
    assert_eq!(story.said(), ["opened waiting-long a"]);
    assert!(one(&story).says.starts_with("3 wait (inferred), and nobody else has got it since "), "{:?}", one(&story));
    story.take("lock:a", "next", Some(10 * MINUTE));
    story.wait(31_000);
    assert_eq!(story.said(), ["resolved waiting-long a"]);
}

#[test]
fn a_lock_without_expiry_is_told_after_a_while_and_when_it_has_one() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.wait(10 * MINUTE);
    assert_eq!(story.said(), ["opened no-expiry a"]);
    story.renew("lock:a", Some(60 * MINUTE));
    story.wait(6_000);
    assert_eq!(story.said(), ["resolved no-expiry a"]);
    assert_eq!(one(&story).resolved.as_deref(), Some("It has an expiry now."));
}

#[test]
fn renewals_that_stop_are_told_while_the_lock_is_still_held() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", Some(2 * MINUTE));
    for _ in 0..5 {
        story.wait(10_000);
        story.renew("lock:a", Some(2 * MINUTE));
    }
    story.wait(24_000);
    assert_eq!(story.said(), NOTHING, "a beat may be late");
    story.wait(2_000);
    assert_eq!(story.said(), ["opened renewal-stopped a"]);
    story.renew("lock:a", Some(2 * MINUTE));
    story.wait(5_000);
    assert_eq!(story.said(), NOTHING, "one beat more may be the last");
    story.wait(6_000);
    assert_eq!(story.said(), ["resolved renewal-stopped a"]);
}

#[test]
fn a_lease_below_what_holds_usually_take() {
    let mut story = Story::new(Vec::new());
    for hold in 0..MIN_HOLDS {
        story.take("lock:a", &format!("t{hold}"), Some(MINUTE));
        story.wait(40_000);
        story.let_go("lock:a");
    }
    assert_eq!(story.said(), NOTHING);
    story.take("lock:a", "after the deployment", Some(10_000));
    assert_eq!(story.said(), ["opened lease-below-usual a"]);
    story.let_go("lock:a");
    story.wait(5 * MINUTE);
    story.take("lock:a", "again", Some(10_000));
    story.let_go("lock:a");
    assert_eq!(story.said(), NOTHING, "it is still so between two holds");
    story.wait(11 * MINUTE);
    assert_eq!(story.said(), ["resolved lease-below-usual a"]);
}

#[test]
fn leases_that_run_out_under_their_holders() {
    let mut story = Story::new(Vec::new());
    for hold in 0..3 {
        story.take("lock:a", &format!("t{hold}"), Some(1_000));
        story.wait(1_010);
    }
    story.take("lock:a", "t4", Some(MINUTE));
    assert_eq!(story.said(), ["opened lapsed a"]);
    story.wait(30_000);
    story.let_go("lock:a");
    story.wait(11 * MINUTE);
    assert_eq!(story.said(), ["resolved lapsed a"]);
}

#[test]
fn one_that_takes_locks_and_does_not_let_go() {
    let mut story = Story::new(vec![only(WarningRule::ManyLocks, |setting| setting.limit = Limit::Locks(20))]);
    for n in 0..21 {
        story.take(&format!("lock:{n}"), "greedy", Some(60 * MINUTE));
    }
    story.wait(59_000);
    assert_eq!(story.said(), NOTHING);
    story.wait(2_000);
    assert_eq!(story.said(), ["opened many-locks greedy"]);
    assert!(one(&story).says.starts_with("`greedy` has had more than 20 locks since "), "{:?}", one(&story));
    story.let_go("lock:0");
    story.let_go("lock:1");
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), NOTHING, "one fewer than the limit is not over");
    story.let_go("lock:2");
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), ["resolved many-locks greedy"]);
}

#[test]
fn a_queue_before_a_lock_that_nobody_holds() {
    let mut story = Story::new(Vec::new());
    story.see("lock:a", Seen::Held(queue()), Hint::None);
    let stands = |story: &mut Story, seconds: i64| {
        for _ in 0..seconds {
            story.now += 1_000;
            story.see("lock:a", Seen::Held(queue()), Hint::None);
            story.tick();
        }
    };
    stands(&mut story, 29);
    assert_eq!(story.said(), NOTHING);
    stands(&mut story, 2);
    assert_eq!(story.said(), ["opened queue-without-holder a"]);
    story.take("lock:a", "w1", Some(MINUTE));
    story.wait(11_000);
    assert_eq!(story.said(), ["resolved queue-without-holder a"]);
}

#[test]
fn a_storm_of_attempts_that_a_trace_showed() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", Some(60 * MINUTE));
    story.wait(5_000);
    let report = traced(story.now, 3_000);
    story.apply(Report::Traced(Arc::new(report)));
    assert_eq!(story.said(), ["opened poll-storm a"]);
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), NOTHING);
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), ["resolved poll-storm a"]);
}

#[test]
fn a_store_that_drops_keys() {
    let mut story = Story::new(Vec::new());
    story.condition.evicts = true;
    story.wait(50_000);
    assert_eq!(story.said(), NOTHING);
    story.wait(20_000);
    assert_eq!(story.said(), ["opened evictable s"]);
    story.condition.evicts = false;
    story.wait(30_000);
    story.condition.evicts = true;
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), NOTHING, "what comes and goes is told once");
    story.condition.evicts = false;
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), ["resolved evictable s"]);
}

#[test]
fn a_release_from_here_is_told_for_a_while() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", Some(60 * MINUTE));
    story.wait(5_000);
    story.registry.releasing(SOURCE, b"lock:a", b"t1", 17, Time(story.now));
    story.store.clear();
    story.registry.released(SOURCE, b"lock:a", true, Time(story.now), &mut story.changes);
    story.take_note();
    assert_eq!(story.said(), ["opened released-by-force a"]);
    assert!(one(&story).says.ends_with(" after 5.0 s; it is entry 17 of the audit."), "{:?}", one(&story));
    story.wait(14 * MINUTE);
    assert_eq!(story.said(), NOTHING);
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), ["resolved released-by-force a"]);
}

#[test]
fn nothing_is_said_of_a_source_that_cannot_be_seen() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.take("lock:b", "t2", None);
    story.wait(9 * MINUTE);
    story.condition.current = false;
    story.wait(5 * MINUTE);
    assert_eq!(story.said(), NOTHING, "nobody knows whether they are still held");
    story.store.remove("lock:b");
    story.notice("lock:b", Hint::Deleted);
    story.condition.current = true;
    story.wait(1_000);
    assert_eq!(story.said(), ["opened no-expiry a"]);
    story.condition.current = false;
    story.wait(1_000);
    assert!(one(&story).stale, "what is shown is old");
}

#[test]
fn what_comes_and_goes_is_told_once() {
    let mut story = Story::new(vec![only(WarningRule::HeldLong, |setting| setting.for_ms = 0)]);
    for _ in 0..20 {
        story.take("lock:a", "t1", Some(MINUTE));
        story.wait(2_000);
        story.let_go("lock:a");
        story.wait(2_000);
    }
    assert_eq!(story.said(), ["opened held-long a"]);
    story.wait(MINUTE);
    assert_eq!(story.said(), ["resolved held-long a"]);
    story.take("lock:a", "t1", Some(MINUTE));
    assert_eq!(story.said(), ["opened held-long a"]);
    assert_eq!((one(&story).times, shown(&story).len()), (2, 1), "the same once more, not another");
}

#[test]
fn a_mute_silences_until_it_ends_and_what_is_still_so_is_told_then() {
    let mut story = Story::new(Vec::new());
    let mute = mute(&story, "lock:a", 30 * MINUTE);
    assert!(story.watch.mute(mute.clone(), Time(story.now)));
    story.take("lock:a", "t1", None);
    story.take("lock:b", "t2", None);
    story.wait(20 * MINUTE);
    assert_eq!(story.said(), ["opened no-expiry b"]);
    assert_eq!(story.watch.to_look_at(&Reach::ALL).0, 1);
    story.let_go("lock:b");
    story.wait(9 * MINUTE);
    assert_eq!(story.said(), ["resolved no-expiry b"]);
    story.wait(2 * MINUTE);
    assert_eq!(story.said(), ["opened no-expiry a"]);
    assert!(story.watch.mutes().is_empty());

    assert!(story.watch.mute(Mute { until: Time(story.now + 30 * MINUTE), ..mute }, Time(story.now)));
    let acknowledged = story.watch.acknowledge(&open(&story).id, by("ada")).unwrap();
    assert_eq!(acknowledged.state, WarningState::Muted);
    assert_eq!(story.said(), ["acknowledged no-expiry a"]);
    story.watch.unmute("m", Time(story.now)).unwrap();
    assert_eq!(open(&story).state, WarningState::Acknowledged);
    assert_eq!(story.said(), NOTHING, "whoever was told once is not told again");
}

#[test]
fn one_that_was_muted_all_the_time_is_not_said_to_be_over() {
    let mut story = Story::new(Vec::new());
    let mute = mute(&story, "lock:*", 60 * MINUTE);
    story.watch.mute(mute, Time(story.now));
    story.take("lock:a", "t1", None);
    story.wait(20 * MINUTE);
    story.let_go("lock:a");
    story.wait(MINUTE);
    assert_eq!(story.said(), NOTHING);
    assert_eq!(one(&story).state, WarningState::Resolved);
}

#[test]
fn other_rules_count_at_once() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.wait(11 * MINUTE);
    assert_eq!(story.said(), ["opened no-expiry a"]);
    let off = Override { rule: WarningRule::NoExpiry, source: None, pattern: Some("lock:*".to_owned()), setting: None };
    let long = only(WarningRule::HeldLong, |setting| (setting.for_ms, setting.limit) = (MINUTE, Limit::Renewed(true)));
    story.watch.follow(&story.registry, Rules::new(vec![off, long]), Time(story.now));
    assert_eq!(story.said(), ["resolved no-expiry a", "opened held-long a"]);
    story.watch.follow(&story.registry, Rules::default(), Time(story.now));
    story.wait(MINUTE);
    assert_eq!(story.said(), ["opened no-expiry a", "resolved held-long a"]);
}

#[test]
fn how_it_is_over_says_what_is_so_and_no_more() {
    let strict = || only(WarningRule::HeldLong, |setting| setting.for_ms = 30 * MINUTE);
    let mut story = Story::new(vec![strict()]);
    story.take("lock:a", "t1", Some(60 * MINUTE));
    story.wait(31 * MINUTE);
    story.renew("lock:a", Some(60 * MINUTE));
    story.wait(6_000);
    assert_eq!(story.said(), ["opened held-long a", "resolved held-long a"]);
    assert_eq!(one(&story).resolved.as_deref(), Some("Its holder renews it."));

    let mut story = Story::new(vec![strict()]);
    story.take("lock:a", "t1", Some(60 * MINUTE));
    story.wait(31 * MINUTE);
    story.watch.follow(&story.registry, Rules::default(), Time(story.now));
    story.wait(6_000);
    assert_eq!(story.said(), ["opened held-long a", "resolved held-long a"]);
    let how = one(&story).resolved;
    assert_eq!(how.as_deref(), Some("It has not lasted for long enough by the rules and what is known now."));
}

#[test]
fn what_was_held_already_at_the_first_look_is_held_for_at_least_so_long() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.store.insert("lock:met".to_owned(), ("t2".to_owned(), None));
    let gap = Report::Gap { at: Time(story.now), because: "the link was lost".to_owned() };
    story.apply(gap);
    story.notice("lock:met", Hint::None);
    story.wait(10 * MINUTE);
    let says = shown(&story).into_iter().map(|warning| warning.says).collect::<Vec<_>>();
    assert!(says[0].contains(" has had it since "), "{says:?}");
    assert!(says[1].contains(" has had it at least since "), "{says:?}");
}

#[test]
fn a_lock_that_went_while_nobody_could_see_and_is_forgotten_is_over() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.wait(10 * MINUTE);
    assert_eq!(story.said(), ["opened no-expiry a"]);
    story.condition.current = false;
    story.tick();
    story.let_go("lock:a");
    story.wait(20 * MINUTE);
    story.registry.forget_ended(Time(story.now));
    story.condition.current = true;
    story.wait(6_000);
    assert_eq!(story.said(), ["resolved no-expiry a"]);
    assert_eq!(one(&story).resolved.as_deref(), Some("It ended while nobody was looking."));
}

#[test]
fn nobody_is_told_of_what_is_away_when_its_mute_ends() {
    let mut story = Story::new(Vec::new());
    let mute = mute(&story, "lock:a", 20 * MINUTE);
    story.watch.mute(mute, Time(story.now));
    story.take("lock:a", "t1", None);
    story.wait(20 * MINUTE - 2_000);
    story.let_go("lock:a");
    story.wait(MINUTE);
    assert_eq!(story.said(), NOTHING);
    assert_eq!(one(&story).state, WarningState::Resolved);
}

#[test]
fn nobody_is_counted_in_a_source_that_cannot_be_seen() {
    let mut story = Story::new(vec![only(WarningRule::ManyLocks, |setting| setting.limit = Limit::Locks(2))]);
    for n in 0..3 {
        story.take(&format!("lock:{n}"), "greedy", Some(60 * MINUTE));
    }
    story.condition.current = false;
    story.wait(5 * MINUTE);
    assert_eq!(story.said(), NOTHING, "what was seen last is old");
    story.condition.current = true;
    story.wait(1_000);
    assert_eq!(story.said(), ["opened many-locks greedy"]);
}

#[test]
fn what_matters_more_by_other_rules_is_told_again() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.wait(10 * MINUTE);
    assert_eq!(story.said(), ["opened no-expiry a"]);
    let graver = only(WarningRule::NoExpiry, |setting| setting.severity = Severity::Critical);
    story.watch.follow(&story.registry, Rules::new(vec![graver]), Time(story.now));
    assert_eq!(story.said(), ["opened no-expiry a"], "somebody may want to be told of nothing less");
    story.watch.follow(&story.registry, Rules::default(), Time(story.now));
    assert_eq!((story.said(), open(&story).severity), (Vec::new(), Severity::Warning));
    story.let_go("lock:a");
    story.wait(6_000);
    assert_eq!(story.said(), ["resolved no-expiry a"]);
    let kept = story.kept.values().next().unwrap();
    assert_eq!(kept.told_as, Some(Severity::Critical), "whoever was told so is told that it is over");
}

#[test]
fn a_million_quiet_locks_are_looked_at_when_their_time_comes_and_not_before() {
    let mut story = Story::new(Vec::new());
    for n in 0..2_000 {
        story.take(&format!("lock:{n}"), &format!("t{n}"), None);
        story.renew(&format!("lock:{n}"), None);
    }
    let first = story.watch.next_moment().unwrap();
    assert_eq!(first.0, story.now + 10 * MINUTE, "nothing is due before the first could be told");
    story.wait(10 * MINUTE);
    assert_eq!(story.said().len(), 2_000);
}

pub(super) fn shown(story: &Story) -> Vec<lockkeeper_model::LockWarning> {
    let mut all: Vec<_> = story.watch.seen(&Reach::ALL).map(|(warning, _)| warning.clone()).collect();
    all.sort_by(|a, b| a.about.cmp(&b.about));
    all
}

pub(super) fn one(story: &Story) -> lockkeeper_model::LockWarning {
    let all = shown(story);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap()
}

/// The first that is not over.
pub(super) fn open(story: &Story) -> lockkeeper_model::LockWarning {
    shown(story).into_iter().find(|warning| warning.state != WarningState::Resolved).unwrap()
}

pub(super) fn by(name: &str) -> Acknowledgement {
    Acknowledgement { by: name.to_owned(), at: Time(0), note: None }
}

pub(super) fn mute(story: &Story, pattern: &str, ms: i64) -> Mute {
    Mute {
        id: "m".to_owned(),
        source: "s".to_owned(),
        lock: None,
        pattern: Some(pattern.to_owned()),
        rule: None,
        until: Time(story.now + ms),
        reason: "a test".to_owned(),
        by: "ada".to_owned(),
        at: Time(story.now),
    }
}

/// A sample of three seconds in which one client was refused so many times.
fn traced(now: i64, refused: u64) -> TraceReport {
    let client = TracedClient {
        address: "10.0.0.4:1".to_owned(),
        client: None,
        waiting: true,
        waits_by: vec![WaitsBy::Polling],
        attempts: refused,
        taken: 0,
        refused,
        unclear: 0,
        looks: 0,
        rhythm_ms: Some(1),
        first_at: Time(now - 3_000),
        last_at: Time(now),
        says: String::new(),
    };
    let lock = TracedLock {
        id: LockId::of_key(b"lock:a"),
        node: None,
        attempts: refused,
        taken: 0,
        refused,
        unclear: 0,
        attempts_per_second: 0.0,
        refusals_per_second: 0.0,
        says: String::new(),
        waiting: 1,
        trying: vec![client],
        clients_not_counted: 0,
        deeds: Vec::new(),
        attempts_not_counted: 0,
    };
    TraceReport {
        source: "s".to_owned(),
        lock: None,
        from: Time(now - 3_000),
        to: Time(now),
        ended: TraceEnd::Complete,
        ended_because: String::new(),
        commands: 100,
        bytes: 10_000,
        unreadable: 0,
        cost: String::new(),
        largest_delay_ms: 1,
        locks: vec![lock],
        locks_not_counted: 0,
        already_blocked: None,
        missing: Vec::new(),
        nodes: Vec::new(),
    }
}
