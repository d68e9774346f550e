use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lockkeeper_model::{
    Activity, Event, LockId, LockStats, MAX_TEXT_BYTES, Recording, Time, TransitionKind, WaitedSteps, words,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::events::MAX_EVENT_ID_BYTES;
use super::extract::Query;
use super::{ApiError, AppState};
use crate::clock;
use crate::recorder::history::{Filter, HistoryError, Span, Unavailable};

const PARAMETERS: &[&str] = &["source", "lock", "pattern", "holder", "transition", "from", "to", "limit", "cursor"];

const STATS_PARAMETERS: &[&str] = &["source", "lock", "pattern", "from", "to"];

const ACTIVITY_PARAMETERS: &[&str] = &["source", "from", "to", "over_s", "steps"];

const WAITED_PARAMETERS: &[&str] = &["source", "from", "to", "over_s", "steps", "limit"];

/// The time that is told of unless told otherwise, up to its end: an incident and what led to it.
const DEFAULT_SPAN_MS: i64 = 60 * 60 * 1_000;

/// The longest time that is asked for by its length, in seconds: ten years, longer than anything is kept.
const MAX_OVER_S: u64 = 315_576_000;

/// Steps unless told otherwise: a minute each in an hour.
const DEFAULT_STEPS: u32 = 60;

/// The most steps: a screen has no room for more.
const MAX_STEPS: u64 = 500;

/// Transitions on a page unless told otherwise.
const DEFAULT_LIMIT: usize = 100;

/// Transitions on the largest page: about half a megabyte.
const MAX_LIMIT: u64 = 1_000;

/// Locks whose waiting is told step by step unless told otherwise: as many as are told apart in one picture.
const DEFAULT_WAITED: usize = 20;

/// The most of them: with the most steps about half a megabyte.
const MAX_WAITED: u64 = 200;

/// The longest token that is looked for, in bytes: longer than any that a library makes.
const MAX_HOLDER_BYTES: usize = 1_024;

/// What happened, of all locks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryAnswer {
    /// Transitions, newest first, with gaps where something may have been missed.
    events: Vec<Event>,
    /// `cursor` of the page that follows; null where there is none. A page can be short, or empty, and have one.
    next_cursor: Option<String>,
    /// Whether what happens is written down, and since when.
    recording: Recording,
}

/// What went on, added up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatsAnswer {
    /// From this moment on; null: from the beginning of what is kept.
    from: Option<Time>,
    /// Up to this moment; null: up to now.
    to: Option<Time>,
    /// That.
    stats: LockStats,
    /// Whether what happens is written down, and since when.
    recording: Recording,
}

/// How much happened when.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActivityAnswer {
    /// That.
    #[serde(flatten)]
    activity: Activity,
    /// Whether what happens is written down, and since when.
    recording: Recording,
}

/// How long was waited for which lock when.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitedAnswer {
    /// That.
    #[serde(flatten)]
    waited: WaitedSteps,
    /// Whether what happens is written down, and since when.
    recording: Recording,
}

/// What was written down of what happened, newest first.
#[utoipa::path(
    get, path = "/api/v1/history", tag = "remembering", operation_id = "listHistory",
    params(
        ("source" = Option<String>, Query, description = "only of this source; one that is not watched any more, too"),
        ("lock" = Option<String>, Query, description = "only of the lock with this id"),
        ("pattern" = Option<String>, Query, description = "only of locks whose key matches this Redis glob"),
        ("holder" = Option<String>, Query, description = "only of the holder with this token, or who took over from it"),
        ("transition" = Option<TransitionKind>, Query, description = "only of this kind"),
        ("from" = Option<Time>, Query, description = "not from before this moment"),
        ("to" = Option<Time>, Query, description = "from before this moment"),
        ("limit" = Option<u32>, Query, description = "transitions on the page, 1 to 1000; default 100"),
        ("cursor" = Option<String>, Query, description = "where to go on, as `next_cursor` of the page before says"),
    ),
    responses(
        (status = 200, body = HistoryAnswer),
        (status = 503, description = "nothing is written down, or it cannot be read", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<HistoryAnswer>, ApiError> {
    let mut filter = filter(&caller, &mut query)?;
    filter.holder = query.take("holder").map(|holder| checked("holder", holder, MAX_HOLDER_BYTES)).transpose()?;
    filter.kind = query.take("transition").map(|word| kind(&word)).transpose()?;
    let limit = limit(&mut query)?;
    let cursor = event_id("cursor", query.take("cursor"))?;
    query.finish(PARAMETERS)?;
    let page = state.history.older(filter, cursor.clone(), limit, false).await?;
    let page = page.ok_or_else(|| unknown_event(cursor.as_deref().unwrap_or_default()))?;
    let recording = state.history.recording().await;
    Ok(Json(HistoryAnswer { events: page.events, next_cursor: page.next, recording }))
}

/// What went on at a lock, or at all that match a pattern: how long holds lasted, how often they were renewed, handed
/// over and lost.
#[utoipa::path(
    get, path = "/api/v1/stats", tag = "remembering", operation_id = "getStats",
    params(
        ("source" = Option<String>, Query, description = "only of this source"),
        ("lock" = Option<String>, Query, description = "only of the lock with this id"),
        ("pattern" = Option<String>, Query, description = "only of locks whose key matches this Redis glob"),
        ("from" = Option<Time>, Query, description = "not from before this moment"),
        ("to" = Option<Time>, Query, description = "from before this moment"),
    ),
    responses(
        (status = 200, body = StatsAnswer),
        (status = 422, description = "that is too much to add up at once", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 503, description = "nothing is written down, or it cannot be read", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stats(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<StatsAnswer>, ApiError> {
    let filter = filter(&caller, &mut query)?;
    query.finish(STATS_PARAMETERS)?;
    let (from, to) = (filter.from, filter.to);
    state.board.tell_waits().await?;
    let stats = state.history.stats(filter).await?.ok_or_else(|| {
        let detail = "more locks did something in that time than are added up at once";
        too_much(detail, "narrow it by `from` and `to`, or ask about one lock")
    })?;
    let recording = state.history.recording().await;
    Ok(Json(StatsAnswer { from, to, stats, recording }))
}

/// How much happened when, and the gaps in it.
#[utoipa::path(
    get, path = "/api/v1/activity", tag = "remembering", operation_id = "getActivity",
    params(
        ("source" = Option<String>, Query, description = "only of this source"),
        ("from" = Option<Time>, Query, description = "not from before this moment; default: an hour before `to`"),
        ("to" = Option<Time>, Query, description = "from before this moment; default: now"),
        ("over_s" = Option<u64>, Query, description = "in place of `from`: so many seconds up to `to`"),
        ("steps" = Option<u32>, Query, description = "steps of that time at most, 1 to 500; default 60. A step is a minute or several"),
    ),
    responses(
        (status = 200, body = ActivityAnswer),
        (status = 503, description = "nothing is written down, or it cannot be read", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn activity(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<ActivityAnswer>, ApiError> {
    let span = span(&caller, &mut query)?;
    query.finish(ACTIVITY_PARAMETERS)?;
    let activity = state.history.activity(span).await?;
    let recording = state.history.recording().await;
    Ok(Json(ActivityAnswer { activity, recording }))
}

/// How long was waited for which lock when, as far as those who wait can be seen.
#[utoipa::path(
    get, path = "/api/v1/waited", tag = "remembering", operation_id = "getWaited",
    params(
        ("source" = Option<String>, Query, description = "only of this source"),
        ("from" = Option<Time>, Query, description = "not from before this moment; default: an hour before `to`"),
        ("to" = Option<Time>, Query, description = "from before this moment; default: now"),
        ("over_s" = Option<u64>, Query, description = "in place of `from`: so many seconds up to `to`"),
        ("steps" = Option<u32>, Query, description = "steps of that time at most, 1 to 500; default 60. A step is a minute or several"),
        ("limit" = Option<u32>, Query, description = "locks, 1 to 200; default 20"),
    ),
    responses(
        (status = 200, body = WaitedAnswer),
        (status = 422, description = "that is too much to add up at once", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 503, description = "nothing is written down, or it cannot be read", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn waited(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<WaitedAnswer>, ApiError> {
    let limit = query.take_number("limit", MAX_WAITED)?;
    let span = span(&caller, &mut query)?;
    query.finish(WAITED_PARAMETERS)?;
    if limit == Some(0) {
        let detail = format!("`limit` is `0`, expected a whole number from 1 to {MAX_WAITED}");
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    // What is of the minute that is not over is not asked for: each time it is, it is written in one more part.
    let most = limit.map_or(DEFAULT_WAITED, |limit| limit as usize);
    let waited = state.history.waited(span, most).await?.ok_or_else(|| {
        let detail = "more was waited for in that time than is added up at once";
        too_much(detail, "narrow it by `from` and `to`")
    })?;
    let recording = state.history.recording().await;
    Ok(Json(WaitedAnswer { waited, recording }))
}

fn too_much(detail: &str, hint: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too-much", "Too much to add up", detail).hint(hint)
}

/// The time that is told of step by step, and of what.
fn span(caller: &Caller, query: &mut Query) -> Result<Span, ApiError> {
    let reach = caller.seen()?.clone();
    let source = query.take("source");
    let (from, to) = (query.take_time("from")?, query.take_time("to")?);
    let over = query.take_number("over_s", MAX_OVER_S)?;
    let steps = query.take_number("steps", MAX_STEPS)?;
    if from.is_some() && over.is_some() {
        let detail = "`from` says when the time begins and `over_s` how long it is: give one of the two";
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    if steps == Some(0) {
        let detail = format!("`steps` is `0`, expected a whole number from 1 to {MAX_STEPS}");
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    let now = clock::now();
    let to = to.map_or(now, |to| to.min(now));
    let over_ms = over.map_or(DEFAULT_SPAN_MS, |over| over.cast_signed() * 1_000);
    let from = from.unwrap_or_else(|| to.plus(-over_ms));
    if from >= to {
        let detail = format!("`from` is {from}, expected a moment before `to` and before now, {to}");
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    let steps = steps.and_then(|steps| u32::try_from(steps).ok()).unwrap_or(DEFAULT_STEPS);
    Ok(Span { reach, source, from, to, steps })
}

/// What both have in common. A source that is not watched any more may be asked about; one out of scope has no history,
/// like one that never was.
fn filter(caller: &Caller, query: &mut Query) -> Result<Filter, ApiError> {
    let reach = caller.seen()?;
    let lock = query.take("lock").map(|id| {
        let id = LockId::parse(&id).map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?;
        id.key().map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))
    });
    let pattern = query.take("pattern").map(|text| checked("pattern", text, MAX_TEXT_BYTES)).transpose()?;
    let filter = Filter {
        source: query.take("source"),
        key: lock.transpose()?,
        pattern: pattern.map(|pattern| String::from_utf8_lossy(&pattern).into_owned()),
        from: query.take_time("from")?,
        to: query.take_time("to")?,
        ..Filter::of(reach.clone())
    };
    if filter.key.is_some() && filter.pattern.is_some() {
        let detail = "`lock` names one lock and `pattern` many: give one of the two";
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    Ok(filter)
}

fn checked(name: &str, text: String, most: usize) -> Result<Vec<u8>, ApiError> {
    if text.len() > most {
        let detail = format!("`{name}` has {} bytes, expected at most {most}", text.len());
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    Ok(text.into_bytes())
}

fn kind(word: &str) -> Result<TransitionKind, ApiError> {
    TransitionKind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
        let words: Vec<&str> = TransitionKind::ALL.into_iter().map(TransitionKind::word).collect();
        let detail = format!("`transition` is `{}`, expected one of {}", words::shown(word), words.join(", "));
        ApiError::bad_request("bad-parameter", detail)
    })
}

/// How many transitions on a page.
pub(super) fn limit(query: &mut Query) -> Result<usize, ApiError> {
    match query.take_number("limit", MAX_LIMIT)? {
        Some(0) => {
            let detail = format!("`limit` is `0`, expected a whole number from 1 to {MAX_LIMIT}");
            Err(ApiError::bad_request("bad-parameter", detail))
        }
        limit => Ok(limit.map_or(DEFAULT_LIMIT, |limit| limit as usize)),
    }
}

/// An event's id as a parameter.
pub(super) fn event_id(name: &str, id: Option<String>) -> Result<Option<String>, ApiError> {
    id.map(|id| checked(name, id.clone(), MAX_EVENT_ID_BYTES).map(|_| id)).transpose()
}

/// An event that is not kept, or never was.
pub(super) fn unknown_event(id: &str) -> ApiError {
    let detail = format!("there is no event `{}`, or it is not kept any more", words::shown(id));
    ApiError::bad_request("unknown-event", detail).hint("begin again without it")
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-history", "There is no history", error.to_string())
            .hint("give the server a folder that it may write with `--data-dir`")
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> ApiError {
        let detail = unavailable.to_string();
        match unavailable {
            Unavailable::Future(_) => ApiError::bad_request("bad-parameter", format!("`at`: {detail}")),
            Unavailable::NotRecorded(_) => ApiError::not_found("not-recorded", "Not recorded", detail)
                .hint("transitions before and after may be there: see /api/v1/history"),
            Unavailable::Unreadable(error) => error.into(),
        }
    }
}
