//! What a restart changes of warnings: nothing, where the same hold is still there.

use lockkeeper_model::{WarningRule, WarningState};

use super::stories::{MINUTE, NOTHING, by, mute, one, open, shown};
use super::*;
use crate::recorder::history::{Durations, HoldTimes};
use crate::warning::watch::{KEEP_RESOLVED_MS, MAX_RESOLVED};
use crate::warning::{Kept, MIN_HOLDS, Store};

#[test]
fn what_was_open_goes_on_after_a_restart_and_what_ended_meanwhile_is_over() {
    let mut before = Story::new(Vec::new());
    before.take("lock:a", "t1", None);
    before.take("lock:b", "t2", None);
    before.wait(10 * MINUTE);
    before.watch.acknowledge(&open(&before).id, by("ada"));
    before.tick();
    let warnings = shown(&before);
    let kept: Vec<Kept> = before.kept.values().cloned().collect();
    let dir = tempfile::TempDir::new().unwrap();
    let muted = mute(&before, "lock:x", 60 * MINUTE);
    {
        let mut store = Store::open(dir.path()).unwrap();
        assert!(Store::open(dir.path()).is_err(), "two servers must not share them");
        store.keep(&kept, Time(before.now)).unwrap();
        store.mute(&muted).unwrap();
    }
    let remembered = Store::open(dir.path()).unwrap().remembered(Time(before.now)).unwrap();
    assert_eq!((remembered.warnings.len(), &remembered.mutes), (2, &vec![muted]));

    let mut after = Story::remembering(Vec::new(), remembered);
    after.condition.current = false;
    // Only one of them is still held.
    after.take("lock:a", "t1", None);
    after.condition.current = true;
    after.wait(MINUTE);
    assert_eq!(after.said(), ["resolved no-expiry b"], "the other goes on, and is not told again");
    let goes_on = open(&after);
    assert_eq!((goes_on.about.as_str(), goes_on.opened_at), ("a", warnings[0].opened_at));
    assert_eq!(
        goes_on.acknowledged.is_some(),
        warnings.iter().any(|one| one.id == goes_on.id && one.acknowledged.is_some())
    );
    after.take("lock:a", "somebody else", Some(MINUTE));
    after.wait(10_000);
    assert_eq!(after.said(), ["resolved no-expiry a"]);
}

/// The same locks and time in another run, of which everything was seen.
fn again(before: &Story, away_ms: i64) -> Story {
    let mut after = Story::remembering(Vec::new(), Remembered::default());
    after.now = before.now + away_ms;
    after.watch = Watch::new(["s".to_owned()], Rules::default(), before.remembered(), Time(after.now));
    after.store = before.store.clone();
    for key in before.store.keys() {
        after.notice(key, Hint::None);
    }
    after
}

#[test]
fn one_that_was_told_and_then_muted_is_said_to_be_over_by_the_next_run() {
    let mut before = Story::new(Vec::new());
    before.take("lock:a", "t1", None);
    before.wait(10 * MINUTE);
    assert_eq!(before.said(), ["opened no-expiry a"]);
    before.watch.mute(mute(&before, "lock:*", 60 * MINUTE), Time(before.now));
    before.tick();
    let mut after = again(&before, 0);
    after.wait(1_000);
    assert_eq!(open(&after).state, WarningState::Muted);
    after.let_go("lock:a");
    after.wait(6_000);
    assert_eq!(after.said(), ["resolved no-expiry a"]);
}

#[test]
fn a_mute_that_ended_meanwhile_is_over_and_what_is_still_so_is_told() {
    let mut before = Story::new(Vec::new());
    before.watch.mute(mute(&before, "lock:*", 20 * MINUTE), Time(before.now));
    before.take("lock:a", "t1", None);
    before.take("lock:b", "t2", None);
    before.wait(11 * MINUTE);
    assert_eq!(before.said(), NOTHING);
    before.store.remove("lock:b");
    let mut after = again(&before, 60 * MINUTE);
    after.wait(10_000);
    assert_eq!(after.said(), ["opened no-expiry a"], "the other is over, and nobody was told of it");
    assert_eq!(open(&after).state, WarningState::Open);
}

#[test]
fn a_rule_that_was_switched_off_meanwhile_says_nothing_of_the_lock() {
    let mut before = Story::new(Vec::new());
    before.take("lock:a", "t1", None);
    before.wait(10 * MINUTE);
    before.tick();
    let off = Override { rule: WarningRule::NoExpiry, source: None, pattern: None, setting: None };
    let mut after = Story::remembering(vec![off], before.remembered());
    assert_eq!(after.said(), ["resolved no-expiry a"]);
    assert_eq!(one(&after).resolved.as_deref(), Some("Its rule is switched off."));
}

#[test]
fn what_is_compared_with_earlier_runs_waits_for_what_they_know() {
    let mut held = Durations::default();
    (0..MIN_HOLDS).for_each(|_| held.add(40_000));
    let learned = |key: &'static str| HoldTimes {
        source: "s".to_owned(),
        key: Bytes::from_static(key.as_bytes()),
        held: held.clone(),
        renewed: false,
    };
    let mut before = Story::new(Vec::new());
    before.watch.learn(&before.registry, vec![learned("lock:a")], Time(before.now));
    before.take("lock:a", "t1", Some(600 * MINUTE));
    before.take("lock:b", "t2", Some(600 * MINUTE));
    before.wait(10 * MINUTE);
    assert_eq!(before.said(), ["opened held-unusually a"]);

    let mut after = again(&before, MINUTE);
    after.wait(10 * MINUTE);
    assert_eq!(after.said(), NOTHING, "nothing is known yet that it could be compared with");
    let both = vec![learned("lock:a"), learned("lock:b")];
    after.watch.learn(&after.registry, both, Time(after.now));
    assert_eq!(after.said(), ["opened held-unusually b"], "the first goes on");

    let mut empty = again(&before, MINUTE);
    empty.watch.learn(&empty.registry, Vec::new(), Time(empty.now));
    empty.wait(10_000);
    assert_eq!(empty.said(), ["resolved held-unusually a"]);
    assert_eq!(one(&empty).resolved.as_deref(), Some("How long its holds last is not known any more."));
}

#[test]
fn of_very_many_that_were_resolved_the_last_are_kept_with_all_that_are_open() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.take("lock:b", "t2", None);
    story.wait(10 * MINUTE);
    story.let_go("lock:a");
    story.wait(6_000);
    let (open, ended): (Vec<Kept>, Vec<Kept>) =
        story.kept.values().cloned().partition(|kept| kept.warning.state == WarningState::Open);
    assert_eq!((open.len(), ended.len()), (1, 1));
    let resolved = |n: usize| {
        let mut kept = ended[0].clone();
        kept.warning.id = format!("{n:032x}");
        // Many at one moment, as when a rule is switched off.
        kept.warning.resolved_at = Some(Time(story.now + n as i64 / 1_000));
        kept
    };
    let dir = tempfile::TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let now = Time(story.now + 10_000);
    store.keep(&open, now).unwrap();
    let all: Vec<Kept> = (0..MAX_RESOLVED + 500).map(resolved).collect();
    for some in all.chunks(256) {
        store.keep(some, now).unwrap();
    }
    let known = store.remembered(now).unwrap().warnings;
    assert_eq!((known.len(), &known[..1]), (MAX_RESOLVED + 1, &open[..]));
    let moments = |kept: &[Kept]| kept.iter().map(|kept| kept.warning.resolved_at).collect::<Vec<_>>();
    assert_eq!(moments(&known[1..]), moments(&all[500..]), "the oldest first");
    let later = Time(now.0 + KEEP_RESOLVED_MS);
    assert_eq!(store.remembered(later).unwrap().warnings, open);
}

#[test]
fn an_acknowledgement_brings_nothing_back_that_was_resolved_meanwhile() {
    let mut story = Story::new(Vec::new());
    story.take("lock:a", "t1", None);
    story.wait(10 * MINUTE);
    story.tick();
    let open = story.kept.values().next().unwrap().clone();
    story.let_go("lock:a");
    story.wait(6_000);
    let resolved = story.kept.values().next().unwrap().clone();
    let dir = tempfile::TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let now = Time(story.now);
    store.keep(std::slice::from_ref(&open), now).unwrap();
    store.acknowledge(&open.warning.id, &by("ada")).unwrap();
    assert_eq!(store.remembered(now).unwrap().warnings[0].warning.acknowledged, Some(by("ada")));
    store.keep(std::slice::from_ref(&resolved), now).unwrap();
    store.acknowledge(&open.warning.id, &by("bob")).unwrap();
    assert_eq!(store.remembered(now).unwrap().warnings, [resolved]);
}
