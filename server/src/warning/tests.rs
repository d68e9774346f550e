//! Warnings as stories: what happens in a store and how long it lasts, and what opens and is over.

mod healthy_day;
mod receivers;
mod restarts;
mod stories;

use std::collections::BTreeMap;

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode, Time};
use smallvec::smallvec;

use super::rules::{Override, Rules, Setting};
use super::store::{Kept, Remembered};
use super::watch::{Condition, Watch};
use crate::registry::{Changes, Registry};
use crate::source::{
    DialectTraits, Extra, Form, Hint, Hold, Queue, Queued, Recognition, Report, Seen, Sight, SourceId, WaitersSeen,
};

const SOURCE: SourceId = SourceId(0);

const CURRENT: Condition = Condition { current: true, evicts: false };

/// A token may stand in several locks, so that one who has many of them can be told.
static TRAITS: DialectTraits =
    DialectTraits { strip_prefix: "lock:", waiters_counted: true, token_is_one_use: false, ..DialectTraits::PLAIN };

static SEEN: Recognition =
    Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &TRAITS };

/// A store with a clock, and everybody who is told of it.
struct Story {
    now: i64,
    store: BTreeMap<String, (String, Option<i64>)>,
    registry: Registry,
    changes: Changes,
    watch: Watch,
    condition: Condition,
    /// What opened and what is over.
    said: Vec<String>,
    /// What was written down.
    kept: BTreeMap<String, Kept>,
}

impl Story {
    fn new(rules: Vec<Override>) -> Story {
        Story::remembering(rules, Remembered::default())
    }

    /// One that begins after an earlier run, with everything seen.
    fn remembering(rules: Vec<Override>, remembered: Remembered) -> Story {
        let now = 1_000_000_000;
        let mut story = Story {
            now,
            store: BTreeMap::new(),
            registry: Registry::new(["s".to_owned()], 7),
            changes: Changes::default(),
            watch: Watch::new(["s".to_owned()], Rules::new(rules), remembered, Time(now)),
            condition: CURRENT,
            said: Vec::new(),
            kept: BTreeMap::new(),
        };
        let began_at = Time(now);
        story.apply(Report::ScanBegan { at: began_at });
        story.apply(Report::ScanEnded { began_at });
        story.apply(Report::Confirmed { at: began_at });
        story
    }

    fn take(&mut self, key: &str, token: &str, ttl_ms: Option<i64>) {
        self.store.insert(key.to_owned(), (token.to_owned(), ttl_ms.map(|ttl| self.now + ttl)));
        self.notice(key, Hint::New);
    }

    fn renew(&mut self, key: &str, ttl_ms: Option<i64>) {
        let now = self.now;
        if let Some((_, deadline)) = self.store.get_mut(key) {
            *deadline = ttl_ms.map(|ttl| now + ttl);
        }
        self.notice(key, Hint::None);
    }

    fn let_go(&mut self, key: &str) {
        self.store.remove(key);
        self.notice(key, Hint::Deleted);
    }

    fn notice(&mut self, key: &str, hint: Hint) {
        let seen = self.store.get(key).map_or(Seen::Gone, |(token, deadline)| {
            let ttl_ms = deadline.map(|at| at - self.now);
            Seen::Held(form(smallvec![Hold::new(token.as_bytes(), ttl_ms)], LockState::Held, None))
        });
        self.see(key, seen, hint);
    }

    fn see(&mut self, key: &str, seen: Seen, hint: Hint) {
        let (asked_at, noticed_at) = (Time(self.now), Some(Time(self.now)));
        let sight = Sight { key: Bytes::from(key.to_owned()), seen, asked_at, read_at: asked_at, noticed_at, hint };
        self.apply(Report::Sights { sights: vec![sight], scan: false });
    }

    /// So many wait for a lock, as they are counted.
    fn waiters(&mut self, key: &str, count: u32) {
        let counts = vec![(Bytes::from(key.to_owned()), WaitersSeen { count })];
        self.apply(Report::Waiting { counts, at: Time(self.now) });
    }

    fn apply(&mut self, report: Report) {
        self.registry.apply(SOURCE, report, &mut self.changes);
        self.take_note();
    }

    /// As the board's task does.
    fn take_note(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        for &slot in &changes.dirty {
            self.watch.change(&self.registry, slot, Time(self.now));
        }
        for event in &changes.events {
            self.watch.happened(&self.registry, event, Time(self.now));
        }
        let looks = std::mem::take(&mut changes.look);
        changes.clear();
        self.changes = changes;
        for (_, key) in looks {
            let key = String::from_utf8(key.to_vec()).unwrap();
            self.notice(&key, Hint::None);
        }
    }

    /// Time passes, and nothing but that.
    fn wait(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.now < end {
            let next = self.registry.next_deadline().into_iter().chain(self.watch.next_moment()).map(|at| at.0).min();
            // Conditions are looked at now and then, whatever happens.
            self.now = next.unwrap_or(end).clamp(self.now + 1, end).min(self.now + 1_000);
            let now = self.now;
            self.store.retain(|_, (_, deadline)| deadline.is_none_or(|at| at > now));
            self.tick();
        }
    }

    fn tick(&mut self) {
        let now = Time(self.now);
        self.registry.tick(now, &mut self.changes);
        self.take_note();
        self.watch.conditions(&self.registry, &[self.condition], now);
        self.watch.tick(&self.registry, now);
        for told in self.watch.take_told() {
            let kept = Kept { warning: told.warning.clone(), told_as: told.told_as };
            self.kept.insert(told.warning.id.clone(), kept);
            let Some(event) = told.event else { continue };
            self.said.push(format!("{event} {} {}", told.warning.rule.word(), told.warning.about));
        }
    }

    /// What the next run finds written down.
    fn remembered(&self) -> Remembered {
        Remembered { warnings: self.kept.values().cloned().collect(), mutes: self.watch.mutes().to_vec() }
    }

    /// What was said since the last time.
    fn said(&mut self) -> Vec<String> {
        self.tick();
        std::mem::take(&mut self.said)
    }
}

fn form(holds: smallvec::SmallVec<[Hold; 1]>, state: LockState, extra: Option<Extra>) -> Form {
    Form { recognition: &SEEN, mode: Mode::Exclusive, state, holds, extra: extra.map(Box::new) }
}

/// A queue in which one stands, before a lock that nobody holds.
fn queue() -> Form {
    let waiter = Queued { token: b"w1"[..].into(), expires_at_ms: None, abandoned: None };
    let queue = Queue { ordered: true, count: 1, waiters: vec![waiter] };
    let extra = Extra { queue: Some(queue), flags: smallvec![Flag::QueueWithoutHolder], ..Extra::default() };
    form(smallvec![], LockState::WaitingOnly, Some(extra))
}

/// The default of a rule with this changed about it.
fn only(rule: lockkeeper_model::WarningRule, change: impl FnOnce(&mut Setting)) -> Override {
    let mut setting = Setting::default_of(rule);
    change(&mut setting);
    Override { rule, source: None, pattern: None, setting: Some(setting) }
}
