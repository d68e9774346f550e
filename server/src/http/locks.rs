use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::search::{Condition, Search};
use lockkeeper_model::{
    DEFAULT_LIMIT, Event, Flag, GroupBy, Lock, MAX_LIMIT, Order, Question, Recording, SortKey, SourceState,
    SourceStatus, Time, words,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::{LockPath, Query, known_source};
use super::openapi::{FileFormat, StateFilter};
use super::{ApiError, AppState, audit, history, locks_file};
use crate::recorder::history::Filter;
use crate::view::Asked;

const PARAMETERS: &[&str] =
    &["q", "source", "dialect", "state", "flag", "group", "within", "sort", "order", "offset", "limit", "at", "format"];

const EVENTS_PARAMETERS: &[&str] = &["before", "from", "to", "limit"];

/// A page of locks, and how much it is worth.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LocksAnswer {
    /// When this was true.
    as_of: Time,
    /// Locks that are an answer, of which this is a page.
    total: u64,
    /// How much of the stores the answer rests on.
    coverage: AnswerCoverage,
    /// The page.
    locks: Vec<Lock>,
}

/// How much of the stores an answer rests on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnswerCoverage {
    /// Whether every source that was asked about was seen whole and still answers.
    complete: bool,
    /// Those sources, as they are watched now; empty for an answer about the past.
    sources: Vec<SourceCoverage>,
    /// How much was known at that moment. Only in an answer about the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    past: Option<PastCoverage>,
}

/// How much was known of a moment of the past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PastCoverage {
    /// When all that was held was last written down before that moment; from then on what happened was added.
    checkpoint_at: Time,
    /// Those sources that were asked about.
    sources: Vec<PastSource>,
}

/// How much was known of one store at a moment of the past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PastSource {
    /// Its name.
    source: String,
    /// Whether it had been seen whole since the last gap.
    complete: bool,
    /// When something was last missed that had not been made up for; null where nothing was.
    missed_at: Option<Time>,
}

/// How much of one store an answer rests on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceCoverage {
    /// Its name.
    source: String,
    /// Whether what is shown of it is what is.
    state: SourceState,
    /// Whether it was seen whole since the last gap, and still answers.
    complete: bool,
    /// Keys that the scan under way (or the last one) went past.
    scanned_keys: u64,
    /// Keys in the store when that scan began; null where the store does not say.
    total_keys: Option<u64>,
    /// When the last whole scan was finished.
    finished_at: Option<Time>,
    /// Why it is not live; null when it is.
    problem: Option<String>,
    /// When this was true.
    as_of: Time,
}

/// A lock's past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LockEventsAnswer {
    /// Transitions, newest first, with gaps where something may have been missed.
    events: Vec<Event>,
    /// There are older transitions that are not here: see `next_before`. Where that is null, they are not kept.
    cut: bool,
    /// `before` of the page that follows; null where there is none.
    next_before: Option<String>,
    /// Whether what happens is written down, and since when.
    recording: Recording,
}

/// Locks that are held now, or were at a moment of the past.
#[utoipa::path(
    get, path = "/api/v1/locks", tag = "watching", operation_id = "listLocks",
    params(
        ("q" = Option<String>, Query, description = "words that must each occur in the key or in a holder's token, and conditions such as `holder:worker-7 held>5m -flag:no-expiry`; docs/query.md has the whole language"),
        ("source" = Option<String>, Query, description = "only this source"),
        ("dialect" = Option<String>, Query, description = "only this dialect"),
        ("state" = inline(Option<StateFilter>), Query, description = "only in this state; `waiting`: somebody is known to wait"),
        ("flag" = Option<Flag>, Query, description = "only with this flag"),
        ("group" = Option<GroupBy>, Query, description = "what `within` is a group of"),
        ("within" = Option<String>, Query, description = "only the locks of this group, as `value` in `GET /api/v1/groups` names it"),
        ("sort" = Option<SortKey>, Query, description = "what to order by; default `blocked`"),
        ("order" = Option<Order>, Query, description = "which end comes first; default: the one that matters more"),
        ("offset" = Option<u64>, Query, description = "answers before the page; default 0"),
        ("limit" = Option<u32>, Query, description = "answers on the page, at most 1000; default 100"),
        ("at" = Option<Time>, Query, description = "as it was at this moment, as far as that was written down; not for a file"),
        ("format" = inline(Option<FileFormat>), Query, description = "`json`, or `csv` or `jsonl` for every answer as a file, at most 100,000 of them"),
    ),
    responses((status = 200, content((LocksAnswer = "application/json"), (String = "text/csv"), (String = "application/jsonl"))), (status = 404, description = "that moment was not recorded", body = lockkeeper_model::Problem, content_type = "application/problem+json"), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, ApiError> {
    let reach = caller.seen()?;
    let offset = query.take_number("offset", u64::from(u32::MAX))?;
    let limit = query.take_number("limit", u64::from(MAX_LIMIT))?;
    let is_page = offset.is_some() || limit.is_some();
    let (offset, limit) = (offset.unwrap_or(0), limit.map_or(DEFAULT_LIMIT, |limit| limit as u32));
    let question = question(&mut query)?;
    let at = query.take_time("at")?;
    let format = query.take("format").map_or(Ok(None), |word| audit::named_format(&word))?;
    query.finish(PARAMETERS)?;
    if let (Some(_), true) = (format, at.is_some() || is_page) {
        let detail = "`at`, `offset` and `limit` are of pages, and a file has everything as it is now";
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    if let Some(at) = at {
        let answer = past(&state, Asked { question, reach: reach.clone() }, at, offset, limit).await?;
        return Ok(answer.into_response());
    }
    for source in sources_named(&question) {
        known_source(&state, reach, &source, StatusCode::BAD_REQUEST)?;
    }
    if let Some(format) = format {
        return locks_file::export(&state, Asked { question, reach: reach.clone() }, format).await;
    }
    let only = question.source.clone();
    let listing = state.board.list(Asked { question, reach: reach.clone() }, offset, limit).await?;
    // After the list: a gap that came up meanwhile makes the answer say less than it could, never more.
    let coverage = coverage(state.board.statuses(reach).await?, only.as_deref());
    let answer = LocksAnswer { as_of: listing.as_of, total: listing.total, coverage, locks: listing.locks };
    Ok(Json(answer).into_response())
}

/// The same of a moment of the past. Its sources are those of then.
async fn past(
    state: &AppState,
    asked: Asked,
    at: Time,
    offset: u64,
    limit: u32,
) -> Result<Json<LocksAnswer>, ApiError> {
    let answer = state.history.then(at, move |then| {
        let (total, locks) = then.page(&asked, offset, limit);
        let is_asked = |name: &str| {
            asked.reach.touches(name) && asked.question.source.as_deref().is_none_or(|source| source == name)
        };
        let sources: Vec<PastSource> = then
            .sources
            .iter()
            .filter(|source| is_asked(&source.name))
            .map(|source| PastSource {
                source: source.name.clone(),
                complete: source.missed_at.is_none(),
                missed_at: source.missed_at,
            })
            .collect();
        let complete = sources.iter().all(|source| source.complete);
        let past = Some(PastCoverage { checkpoint_at: then.checkpoint_at, sources });
        let coverage = AnswerCoverage { complete, sources: Vec::new(), past };
        LocksAnswer { as_of: then.as_of, total, coverage, locks }
    });
    Ok(Json(answer.await?))
}

/// One lock that is held now.
#[utoipa::path(
    get, path = "/api/v1/locks/{source}/{id}", tag = "watching", operation_id = "getLock",
    params(
        ("source" = String, Path, description = "the source's name"),
        ("id" = String, Path, description = "the lock's id, as one segment: slashes are written as `%2F`"),
    ),
    responses(
        (status = 200, body = Lock),
        (status = 404, description = "not held now, or not a lock", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(state): State<AppState>, path: LockPath, query: Query) -> Result<Json<Lock>, ApiError> {
    query.finish(&[])?;
    let held = match path.is_hidden {
        true => None,
        false => state.board.lock(path.source.id, path.key.clone()).await?.held,
    };
    held.map(|held| Json(held.lock)).ok_or_else(|| not_held(&path))
}

/// What happened to one lock, held or not: what is in memory, and then what is written down.
#[utoipa::path(
    get, path = "/api/v1/locks/{source}/{id}/events", tag = "watching", operation_id = "listLockEvents",
    params(
        ("source" = String, Path, description = "the source's name"),
        ("id" = String, Path, description = "the lock's id, as one segment: slashes are written as `%2F`"),
        ("before" = Option<String>, Query, description = "only what was before the event of this id, as `next_before` of the page before says"),
        ("from" = Option<Time>, Query, description = "not from before this moment"),
        ("to" = Option<Time>, Query, description = "from before this moment"),
        ("limit" = Option<u32>, Query, description = "transitions on the page, 1 to 1000; default 100"),
    ),
    responses((status = 200, body = LockEventsAnswer), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    path: LockPath,
    mut query: Query,
) -> Result<Json<LockEventsAnswer>, ApiError> {
    let before = history::event_id("before", query.take("before"))?;
    let (from, to) = (query.take_time("from")?, query.take_time("to")?);
    let limit = history::limit(&mut query)?;
    query.finish(EVENTS_PARAMETERS)?;
    let recording = state.history.recording().await;
    if path.is_hidden {
        return Ok(Json(LockEventsAnswer { events: Vec::new(), cut: false, next_before: None, recording }));
    }
    let is_kept = state.history.is_kept();
    let is_of_now = before.is_none() && from.is_none() && to.is_none();
    let (mut events, mut cut) = (Vec::new(), false);
    if is_of_now || !is_kept {
        let found = state.board.lock(path.source.id, path.key.clone()).await?;
        (events, cut) = (found.events, found.events_cut);
        events.retain(|event| from.is_none_or(|from| event.at >= from) && to.is_none_or(|to| event.at < to));
    }
    let mut next_before = None;
    if is_kept {
        let filter = Filter {
            source: Some(path.source.name.to_string()),
            key: Some(path.key.to_vec()),
            from,
            to,
            ..Filter::of(caller.scope.seen().clone())
        };
        // Where those in memory end; what has no place among all events (that it was met held, a gap) is skipped.
        let oldest = events.iter().rev().map(|event| &event.id).find(|id| is_numbered(id));
        let before = before.or_else(|| oldest.cloned());
        let room = limit.saturating_sub(events.len());
        let page = state.history.older(filter, before.clone(), room.max(1), true).await?;
        let Some(page) = page else { return Err(history::unknown_event(before.as_deref().unwrap_or_default())) };
        let has_own = page.events.iter().any(|event| event.lock.is_some());
        // Gaps alone are no history of a lock: of a name that nobody used there is none.
        if (has_own || !events.is_empty()) && room > 0 {
            events.extend(page.events);
            next_before = page.next;
        } else if has_own {
            next_before = before;
        } else {
            next_before = page.next.filter(|_| !events.is_empty());
        }
        cut = next_before.is_some();
    }
    Ok(Json(LockEventsAnswer { events, cut, next_before, recording }))
}

/// Whether the event has a place among all events of a run.
fn is_numbered(id: &str) -> bool {
    !id.starts_with("first-") && !id.starts_with("gap-")
}

pub(super) fn question(query: &mut Query) -> Result<Question, ApiError> {
    let sort = one_of("sort", query.take("sort"), &SortKey::ALL.map(|key| (key.word(), key)))?;
    let order = one_of("order", query.take("order"), &[Order::Asc, Order::Desc].map(|order| (order.word(), order)))?;
    let group = one_of("group", query.take("group"), &GroupBy::ALL.map(|by| (by.word(), by)))?;
    let question = Question {
        q: query.take("q").unwrap_or_default(),
        source: query.take("source"),
        dialect: query.take("dialect"),
        state: query.take("state"),
        flag: query.take("flag"),
        group,
        within: query.take("within"),
        sort: sort.unwrap_or_default(),
        order,
    };
    question.check()?;
    Ok(question)
}

/// The sources that a question names, as a parameter or in its search.
pub(super) fn sources_named(question: &Question) -> Vec<String> {
    let terms = Search::parse(&question.q).unwrap_or_default().terms.into_iter();
    let in_search = terms.filter_map(|term| match term.condition {
        Condition::Source(name) => Some(name),
        _ => None,
    });
    question.source.clone().into_iter().chain(in_search).collect()
}

fn one_of<T: Copy>(name: &str, value: Option<String>, choices: &[(&str, T)]) -> Result<Option<T>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    match choices.iter().find(|(word, _)| *word == value) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let detail = format!("`{name}` is `{}`, expected one of {}", words::shown(&value), words.join(", "));
            Err(ApiError::bad_request("bad-parameter", detail))
        }
    }
}

pub(super) fn coverage(statuses: Vec<SourceStatus>, only: Option<&str>) -> AnswerCoverage {
    let sources: Vec<SourceCoverage> = statuses
        .into_iter()
        .filter(|status| only.is_none_or(|only| status.name == only))
        .map(|status| SourceCoverage {
            complete: status.coverage.complete && status.state != SourceState::Down,
            source: status.name,
            state: status.state,
            scanned_keys: status.coverage.scanned_keys,
            total_keys: status.coverage.total_keys,
            finished_at: status.coverage.finished_at,
            problem: status.problem,
            as_of: status.as_of,
        })
        .collect();
    AnswerCoverage { complete: sources.iter().all(|source| source.complete), sources, past: None }
}

/// Why there is no such lock, with what is known instead.
pub(super) fn not_held(path: &LockPath) -> ApiError {
    let status = path.source.status.borrow();
    let (id, source) = (words::shown(path.id.as_str()), &status.name);
    let known = status.not_locks.sample.iter().find(|(other, _)| *other == path.id);
    if let Some((_, because)) = known.filter(|_| !path.is_hidden) {
        let detail = format!("`{id}` of `{source}` is not a lock: {because}");
        return ApiError::not_found("not-a-lock", "Not a lock", detail);
    }
    let mut detail = format!("`{id}` of `{source}` is not held now");
    if status.state == SourceState::Down {
        detail.push_str(", as far as is known: the source does not answer");
    } else if !status.coverage.complete {
        detail.push_str(", as far as is known: the source was not seen whole yet");
    }
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    ApiError::not_found("not-held", "Not held now", detail).hint(format!(
        "what happened to it: /api/v1/locks/{}/{}/events",
        encode(source.as_str()),
        encode(path.id.as_str())
    ))
}
