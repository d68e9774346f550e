//! What is told of the past, as plain types: the board of a moment, how much happened when, and what went on at a lock.

use lockkeeper_model::wire::Row;
use lockkeeper_model::{Event, Holder, Lease, Lock, Time};

use super::answers::Refusal;
use super::decode::read_value;
use super::json::{Value, parse};
use crate::lang::{Key, key, t};

/// A page of the board of a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Board {
    /// The moment.
    pub(crate) as_of: Option<Time>,
    /// How many locks were held.
    pub(crate) total: u64,
    /// Those of the page, of which nothing can be released.
    pub(crate) locks: Vec<Lock>,
    /// When all that was held was last written down before.
    pub(crate) checkpoint_at: Option<Time>,
    /// Sources of which something had been missed that was not made up for, and when that was.
    pub(crate) missed: Vec<(String, Option<Time>)>,
}

impl Board {
    /// Reads an answer.
    pub(super) fn read(status: u16, body: &str) -> Result<Board, Refusal> {
        let value = answer(status, body)?;
        let past = value.field("coverage").field("past");
        let missed = past.items("sources").iter().filter(|source| *source.field("complete") == Value::Bool(false));
        let mut locks = Vec::new();
        for lock in value.items("locks") {
            // One that cannot be read is a mistake of this page, and a table without it would be a lie.
            let lock: Lock = read_value(lock).map_err(|_| Refusal::read(0, ""))?;
            locks.push(Lock { no_release: Some(t!(this_is_the_past).to_owned()), ..lock });
        }
        Ok(Board {
            as_of: moment(&value, "as_of"),
            total: value.number("total").unwrap_or_default(),
            locks,
            checkpoint_at: moment(past, "checkpoint_at"),
            missed: missed.map(|source| (source.text("source").to_owned(), moment(source, "missed_at"))).collect(),
        })
    }
}

/// The lock as the table has it, under this number.
pub(super) fn row_of(lock: &Lock, row: u64) -> Row {
    let first = lock.holders.first();
    let token = first.and_then(|holder| holder.token.clone());
    let since = lock.held_since.not_after.map_or(lock.as_of.0, |at| at.0);
    Row {
        row,
        source: lock.source.clone(),
        id: lock.id.clone(),
        name: lock.name.clone(),
        dialect: lock.dialect.name.clone(),
        certainty: lock.dialect.certainty,
        mode: lock.mode,
        state: lock.state,
        holders: u32::try_from(lock.holders.len()).unwrap_or(u32::MAX),
        permits: lock.permits,
        token_b64: first.filter(|_| token.is_none()).map(|holder| holder.token_b64.clone()),
        token,
        who: first.and_then(|holder| crate::components::say::identity(&holder.identity)),
        count: first.map_or(0, |holder| holder.count),
        since_not_before: lock.held_since.not_before.map(|at| at.0),
        since_not_after: since,
        since_basis: lock.held_since.basis,
        expires_at: lock.lease.expires_at.map(|at| at.0),
        lease_ms: first.and_then(|holder| lease_ms(holder, &lock.lease)),
        renewals: first.map_or(0, |holder| holder.renewals.count),
        renewed_at: first.and_then(|holder| holder.renewals.last_at).map(|at| at.0),
        period_ms: first.and_then(|holder| holder.renewals.period_ms),
        connection: first.and_then(|holder| holder.connection.clone()),
        waiters: lock.waiters.count,
        waiters_basis: lock.waiters.basis,
        waiting_since: None,
        blocked_ms: None,
        blocked_by_minute: Vec::new(),
        flags: lock.flags.clone(),
        generation: lock.generation.clone(),
        as_of: lock.as_of.0,
    }
}

/// How long the lease was when it was granted, where that was seen.
fn lease_ms(holder: &Holder, lease: &Lease) -> Option<i64> {
    let granted = holder.renewals.last_at.or(holder.held_since.not_before.and(holder.held_since.not_after))?;
    Some(lease.expires_at?.since(granted)).filter(|ms| *ms > 0)
}

/// How much happened when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Where the first step begins.
    pub(crate) from: i64,
    /// How long a step is, in milliseconds.
    pub(crate) step_ms: i64,
    /// Transitions in each step; `None`: not known.
    pub(crate) counts: Vec<Option<u64>>,
    /// What was missed, oldest first.
    pub(crate) gaps: Vec<Event>,
    /// Older gaps that are not among them.
    pub(crate) more_gaps: u64,
    /// The oldest moment of which something is kept.
    pub(crate) kept_from: Option<i64>,
}

impl Activity {
    /// Reads an answer.
    pub(super) fn read(status: u16, body: &str) -> Result<Activity, Refusal> {
        let value = answer(status, body)?;
        let count = |count: &Value| match count {
            Value::Unsigned(count) => Some(*count),
            _ => None,
        };
        Ok(Activity {
            from: moment(&value, "from").map_or(0, |at| at.0),
            step_ms: value.number("step_ms").map_or(60_000, u64::cast_signed).max(1),
            counts: value.items("counts").iter().map(count).collect(),
            gaps: events(&value, "gaps"),
            more_gaps: value.number("more_gaps").unwrap_or_default(),
            kept_from: moment(value.field("recording"), "from").map(|at| at.0),
        })
    }
}

/// What went on at a lock in some time, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// What is counted, and how often that was.
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// How many holds ended.
    pub(crate) holds: u64,
    /// What half, 95 and 99 of 100 holds did not exceed, in milliseconds.
    pub(crate) quantiles: [Option<i64>; 3],
    /// How many holds took at most so many milliseconds, and longer than the step before.
    pub(crate) steps: Vec<(i64, u64)>,
    /// How long all who waited have waited together, in milliseconds; `None`: nobody knows.
    pub(crate) waited: Option<i64>,
}

/// What is counted, under the name that it has in the contract.
const COUNTED: [(&str, Key<0>); 8] = [
    ("taken", key::counted_taken),
    ("released", key::released),
    ("lapsed", key::counted_lapsed),
    ("renewed", key::counted_renewed),
    ("handed_over", key::handed_over),
    ("evicted", key::evicted),
    ("forced", key::forced),
    ("lost", key::counted_unwatched),
];

impl Stats {
    /// Reads what is said of a lock.
    pub(super) fn of(value: &Value) -> Stats {
        let held = value.field("held");
        let ms = |value: &Value, name: &str| value.number(name).and_then(|ms| i64::try_from(ms).ok());
        let step = |step: &Value| Some((ms(step, "up_to_ms")?, step.number("count")?));
        Stats {
            counts: COUNTED.iter().filter_map(|(name, said)| Some((said.said(), value.number(name)?))).collect(),
            holds: held.number("count").unwrap_or_default(),
            quantiles: ["p50_ms", "p95_ms", "p99_ms"].map(|name| ms(held, name)),
            steps: held.items("histogram").iter().filter_map(step).collect(),
            waited: ms(value.field("contention"), "waited_ms"),
        }
    }

    pub(super) fn read(status: u16, body: &str) -> Result<Stats, Refusal> {
        answer(status, body).map(|value| Stats::of(value.field("stats")))
    }
}

/// Some transitions, newest first, and where the older ones begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timeline {
    pub(crate) events: Vec<Event>,
    pub(crate) next: Option<String>,
}

impl Timeline {
    pub(super) fn read(status: u16, body: &str) -> Result<Timeline, Refusal> {
        let value = answer(status, body)?;
        let next = Some(value.text("next_cursor")).filter(|next| !next.is_empty()).map(str::to_owned);
        Ok(Timeline { events: events(&value, "events"), next })
    }
}

/// The body of an answer that is one.
pub(super) fn answer(status: u16, body: &str) -> Result<Value, Refusal> {
    parse(body).filter(|_| matches!(status, 200 | 201)).ok_or_else(|| Refusal::read(status, body))
}

pub(super) fn moment(value: &Value, name: &str) -> Option<Time> {
    value.text(name).parse().ok()
}

/// Events in an object. One that cannot be read is left out: the others are true without it.
pub(super) fn events(value: &Value, name: &str) -> Vec<Event> {
    value.items(name).iter().filter_map(|event| read_value(event).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{event, lock};

    #[test]
    fn a_board_of_the_past_is_read_and_offers_no_release() {
        let lock = serde_json::to_string(&lock()).unwrap();
        let body = format!(
            r#"{{"as_of":"1970-01-01T00:01:10.000Z","total":7,"locks":[{lock}],"coverage":{{"complete":false,"sources":[],
            "past":{{"checkpoint_at":"1970-01-01T00:01:00.000Z","sources":[
            {{"source":"a","complete":true,"missed_at":null}},
            {{"source":"b","complete":false,"missed_at":"1970-01-01T00:01:05.000Z"}}]}}}}}}"#
        );
        let board = Board::read(200, &body).unwrap();
        assert_eq!((board.as_of, board.total, board.checkpoint_at), (Some(Time(70_000)), 7, Some(Time(60_000))));
        assert_eq!(board.missed, [("b".to_owned(), Some(Time(65_000)))]);
        assert!(board.locks[0].no_release.is_some());
        let row = row_of(&board.locks[0], 3);
        assert_eq!(
            (row.row, row.name.as_str(), row.expires_at, row.lease_ms),
            (3, "stock:4711", Some(90_000), Some(30_000))
        );
        assert_eq!((row.renewed_at, row.holders), (Some(60_000), 1));

        let refused = r#"{"type":"t","title":"t","status":404,"detail":"was not recorded","hint":null}"#;
        assert_eq!(Board::read(404, refused).unwrap_err().detail, "was not recorded");
    }

    #[test]
    fn what_was_not_counted_is_not_taken_for_nothing() {
        let gap = serde_json::to_string(&event(lockkeeper_model::TransitionKind::Gap, 90_000)).unwrap();
        let body = format!(
            r#"{{"from":"1970-01-01T00:01:00.000Z","to":"1970-01-01T00:04:00.000Z","step_ms":60000,"counts":[null,0,5],
            "gaps":[{gap}],"more_gaps":2,"recording":{{"state":"recording","because":null,"from":"1970-01-01T00:00:30.000Z"}}}}"#
        );
        let activity = Activity::read(200, &body).unwrap();
        assert_eq!(activity.counts, [None, Some(0), Some(5)]);
        assert_eq!((activity.from, activity.step_ms, activity.more_gaps), (60_000, 60_000, 2));
        assert_eq!((activity.gaps.len(), activity.kept_from), (1, Some(30_000)));
    }

    #[test]
    fn statistics_keep_what_is_unknown() {
        let body = r#"{"stats":{"locks":1,"taken":3,"lapsed":1,"held":{"count":2,"p50_ms":80,"p95_ms":null,"p99_ms":900,
            "histogram":[{"up_to_ms":80,"count":1},{"up_to_ms":900,"count":1}]},"contention":{"waited_ms":null}}}"#;
        let stats = Stats::read(200, body).unwrap();
        assert_eq!(stats.counts, [("taken", 3), ("lapsed", 1)]);
        assert_eq!(stats.quantiles, [Some(80), None, Some(900)]);
        assert_eq!((stats.holds, stats.steps), (2, vec![(80, 1), (900, 1)]));
        assert_eq!(stats.waited, None);
        let waited = r#"{"stats":{"contention":{"waited_ms":0}}}"#;
        assert_eq!(Stats::read(200, waited).unwrap().waited, Some(0));
    }
}
