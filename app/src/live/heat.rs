//! How long was waited for which lock, step by step, as the server wrote it down.

use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, Time};

use super::json::Value;

/// Steps at most: an hour that does not begin with a minute has a part of one more.
pub(crate) const STEPS: usize = 61;

const MINUTE_MS: u64 = 60_000;

/// Up to so many milliseconds in a minute, of all who waited together, is the first shade, and so on; more is the last one.
/// A minute of sixty seconds is one who waited all the time, or several for a part of it.
const SHADES: [u64; 3] = [10_000, 60_000, 300_000];

/// How many shades there are: none waited, up to each of [`SHADES`], and more.
pub(crate) const SHADE_COUNT: usize = SHADES.len() + 2;

/// Which shade so much time in a minute is; the first is none at all.
pub(crate) fn shade(ms: u64) -> usize {
    if ms == 0 { 0 } else { 1 + SHADES.iter().take_while(|upto| ms > **upto).count() }
}

/// What was told of a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heat {
    /// When the first step began.
    from: i64,
    /// How long each of them is, in milliseconds.
    pub(crate) step_ms: u64,
    /// The longest waited for first.
    pub(crate) locks: Vec<Waited>,
    /// How many more were waited for.
    pub(crate) more: u64,
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
    /// All of it together, in milliseconds.
    pub(crate) together: u64,
    /// Milliseconds in each step; `None`: it is not known whether anybody waited.
    pub(crate) steps: Vec<Option<u64>>,
}

impl Heat {
    /// Reads an answer.
    pub(crate) fn read(answer: &Value) -> Heat {
        let waited = |lock: &Value| Waited {
            source: lock.text("source").to_owned(),
            // One that is not understood is named all the same, and leads nowhere.
            id: LockId::parse(lock.text("id")).ok(),
            name: shown(lock.text("name")),
            together: lock.number("waited_ms").unwrap_or_default(),
            steps: lock
                .items("steps")
                .iter()
                .map(|ms| if let Value::Unsigned(ms) = ms { Some(*ms) } else { None })
                .collect(),
        };
        Heat {
            from: answer.time("from").map_or(0, |from| from.0),
            step_ms: answer.number("step_ms").unwrap_or_default(),
            locks: answer.items("locks").iter().map(waited).collect(),
            more: answer.number("more_locks").unwrap_or_default(),
        }
    }

    /// When a step began.
    pub(crate) fn began(&self, step: usize) -> Time {
        Time(self.from + step as i64 * self.step_ms as i64)
    }

    /// Which shade so much time in a step is: that of its minutes, if it was the same in each.
    pub(crate) fn shade(&self, ms: u64) -> usize {
        // However little: somebody waited.
        shade((ms / (self.step_ms / MINUTE_MS).max(1)).max(ms.min(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn time_has_a_shade_by_how_much_of_a_minute_it_is_and_none_at_all_has_its_own() {
        assert_eq!([0, 1, 10_000, 10_001, 60_000, 300_000, 300_001].map(shade), [0, 1, 1, 2, 2, 3, 4]);
        let of_six_minutes = Heat { step_ms: 6 * MINUTE_MS, ..Heat::default() };
        assert_eq!([0, 1, 60_000, 60_006].map(|ms| of_six_minutes.shade(ms)), [0, 1, 1, 2]);
    }

    #[test]
    fn what_is_not_known_is_told_from_what_is_nothing_and_a_strange_lock_is_named() {
        let answer = r#"{"from":"1970-01-01T02:00:00.000Z","to":"1970-01-01T03:00:00.000Z","step_ms":60000,"more_locks":3,
            "locks":[{"source":"s","id":"lock:a","name":"a","waited_ms":7,"basis":"exact","steps":[null,7,0]},
            {"source":"s","id":"b64:!","name":"<b>","waited_ms":1,"basis":"exact","steps":[]}]}"#;
        let heat = Heat::read(&parse(answer).unwrap());
        assert_eq!(heat.locks[0].steps, [None, Some(7), Some(0)]);
        assert_eq!((heat.locks[1].id.as_ref(), heat.locks[1].name.as_str(), heat.more), (None, "<b>", 3));
        assert_eq!(heat.began(2).to_string(), "1970-01-01T02:02:00.000Z");
    }
}
