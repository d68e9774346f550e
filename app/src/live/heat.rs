//! How long people waited for which lock, minute by minute, as far as this page was told: the server speaks of the last five
//! minutes, and what it said before is kept for an hour while the page is open.

use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, Time};

use super::json::Value;

/// Minutes that are kept.
pub(crate) const MINUTES: usize = 60;

const MINUTE_MS: i64 = 60_000;

/// Locks that are kept in mind: more than the server names at once, and little enough to go through each time.
const MOST_LOCKS: usize = 200;

/// Up to so many milliseconds of a minute, of all who waited together, is the first step, and so on; more is the last one.
/// A minute of sixty seconds is one who waited all the time, or several for a part of it.
const STEPS: [u64; 3] = [10_000, 60_000, 300_000];

/// How many steps there are: none waited, up to each of [`STEPS`], and more.
pub(crate) const STEP_COUNT: usize = STEPS.len() + 2;

/// Which step so much time is; the first is none at all.
pub(crate) fn step(ms: u64) -> usize {
    if ms == 0 { 0 } else { 1 + STEPS.iter().take_while(|upto| ms > **upto).count() }
}

/// What was told so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heat {
    /// The minute of the first place, since the epoch.
    newest: i64,
    /// Minutes in which everything was told as they passed, newest first: a lock that was not named had nobody waiting.
    whole: [bool; MINUTES],
    locks: Vec<Waited>,
}

/// How long was waited for one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    /// Its source.
    pub(crate) source: String,
    /// Names it; `None`: it has no page.
    pub(crate) id: Option<LockId>,
    /// What a person calls it.
    pub(crate) name: String,
    /// Milliseconds by the minute, newest first.
    minutes: [u64; MINUTES],
}

impl Default for Heat {
    fn default() -> Heat {
        Heat { newest: 0, whole: [false; MINUTES], locks: Vec::new() }
    }
}

impl Heat {
    /// Takes up an answer. One that is older than what is known is left alone.
    pub(crate) fn hear(&mut self, answer: &Value) {
        let Some(as_of) = answer.time("as_of") else { return };
        let minute = as_of.0.div_euclid(MINUTE_MS);
        let Ok(passed) = usize::try_from(minute - self.newest) else { return };
        self.newest = minute;
        let passed = passed.min(MINUTES);
        shift(&mut self.whole, passed);
        self.locks.iter_mut().for_each(|lock| shift(&mut lock.minutes, passed));
        self.locks.retain(|lock| lock.minutes.iter().any(|ms| *ms > 0));
        for said in answer.items("locks") {
            let (source, name) = (said.text("source").to_owned(), shown(said.text("name")));
            // One that is not understood is named all the same, and leads nowhere.
            let id = LockId::parse(said.text("id")).ok();
            let known = self.locks.iter().position(|lock| lock.source == source && lock.id == id && lock.name == name);
            let at = known.unwrap_or_else(|| {
                self.locks.push(Waited { source, id, name, minutes: [0; MINUTES] });
                self.locks.len() - 1
            });
            for (known, told) in self.locks[at].minutes.iter_mut().zip(said.items("minutes")) {
                *known = if let Value::Unsigned(ms) = told { *ms } else { 0 };
            }
        }
        self.locks.sort_by_key(|lock| std::cmp::Reverse(lock.together()));
        self.locks.truncate(MOST_LOCKS);
        // Of the minutes before it is not known whether the server saw them: it may have come up just now.
        let sources = answer.field("coverage").items("sources");
        self.whole[0] = answer.number("more_locks") == Some(0) && sources.iter().all(|source| source.holds("complete"));
    }

    /// The locks that were waited for, the longest first.
    pub(crate) fn locks(&self) -> &[Waited] {
        &self.locks
    }

    /// How long was waited for a lock in a minute, the newest being the first; `None`: that is not known.
    pub(crate) fn told(&self, lock: &Waited, at: usize) -> Option<u64> {
        let ms = lock.minutes.get(at).copied().filter(|ms| *ms > 0);
        ms.or_else(|| self.whole.get(at)?.then_some(0))
    }

    /// When a minute began.
    pub(crate) fn began(&self, at: usize) -> Time {
        Time((self.newest - at as i64) * MINUTE_MS)
    }
}

impl Waited {
    /// All of it together, in milliseconds.
    pub(crate) fn together(&self) -> u64 {
        self.minutes.iter().sum()
    }
}

/// Makes room for so many newer ones.
fn shift<T: Copy + Default>(minutes: &mut [T; MINUTES], passed: usize) {
    minutes.rotate_right(passed % MINUTES);
    minutes[..passed].fill(T::default());
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    fn answer(as_of: i64, locks: &[(&str, [u64; 5])], more: u64, complete: bool) -> Value {
        let lock = |(name, minutes): &(&str, [u64; 5])| {
            format!(r#"{{"source":"s","id":"lock:{name}","name":"{name}","minutes":{minutes:?}}}"#)
        };
        let locks: Vec<String> = locks.iter().map(lock).collect();
        let text = format!(
            r#"{{"as_of":"{}","locks":[{}],"more_locks":{more},"coverage":{{"sources":[{{"source":"s","complete":{complete}}}]}}}}"#,
            Time(as_of),
            locks.join(",")
        );
        parse(&text).unwrap()
    }

    fn told(heat: &Heat, name: &str) -> Vec<Option<u64>> {
        let lock = heat.locks().iter().find(|lock| lock.name == name).unwrap();
        (0..7).map(|at| heat.told(lock, at)).collect()
    }

    #[test]
    fn what_was_told_is_kept_and_what_was_not_is_unknown() {
        let mut heat = Heat::default();
        heat.hear(&answer(600_000, &[("a", [7, 0, 9, 0, 0])], 0, true));
        assert_eq!(told(&heat, "a"), [Some(7), None, Some(9), None, None, None, None]);
        heat.hear(&answer(670_000, &[("a", [0, 8, 0, 9, 0]), ("b", [50_000, 0, 0, 0, 0])], 0, true));
        assert_eq!(told(&heat, "a"), [Some(0), Some(8), None, Some(9), None, None, None]);
        assert_eq!(told(&heat, "b"), [Some(50_000), Some(0), None, None, None, None, None]);
        assert_eq!((heat.locks()[0].name.as_str(), heat.began(1)), ("b", Time(600_000)));
        // A minute of which something was left out, or not seen, tells nothing of those that it does not name.
        heat.hear(&answer(720_000, &[("b", [1, 60_000, 0, 0, 0])], 1, true));
        assert_eq!(told(&heat, "a")[..3], [None, Some(0), Some(8)]);
        heat.hear(&answer(780_000, &[], 0, false));
        assert_eq!(told(&heat, "a")[..2], [None, None]);
        // An answer that was overtaken changes nothing.
        let before = heat.clone();
        heat.hear(&answer(600_000, &[("c", [1; 5])], 0, true));
        assert_eq!(heat, before);
    }

    #[test]
    fn an_hour_later_nothing_is_left_and_no_more_is_kept_than_there_is_room_for() {
        let mut heat = Heat::default();
        heat.hear(&answer(600_000, &[("a", [7; 5])], 0, true));
        heat.hear(&answer(600_000 + 61 * 60_000, &[], 0, true));
        assert!(heat.locks().is_empty());
        let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        let locks: Vec<(&str, [u64; 5])> = names.iter().zip(1..).map(|(name, ms)| (name.as_str(), [ms; 5])).collect();
        heat.hear(&answer(600_000 + 62 * 60_000, &locks, 0, true));
        assert_eq!((heat.locks().len(), heat.locks()[0].name.as_str()), (MOST_LOCKS, "299"));
    }

    #[test]
    fn steps_are_those_of_one_who_waits_and_of_five() {
        assert_eq!([0, 1, 10_000, 10_001, 60_000, 60_001, 300_000, 300_001].map(step), [0, 1, 1, 2, 2, 3, 3, 4]);
        assert_eq!(STEP_COUNT, 5);
    }
}
