use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use lockkeeper_model::{
    AcknowledgeRequest, Delivery, LockId, LockWarning, MAX_NOTE_CHARS, MUTE_MS, Mute, MuteRequest, Severity, Time,
    WarningPage, WarningRule, WarningState, words,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::{self, Query, known_source};
use super::{ApiError, AppState};
use crate::access::{Reach, Right};
use crate::clock;
use crate::config::MAX_PATTERN_BYTES;
use crate::warning::{Filter, WarningAsk, WarningsError};

const PARAMETERS: &[&str] = &["state", "source", "lock", "rule", "severity", "offset", "limit"];

/// Warnings on a page unless told otherwise: more than a person reads.
const DEFAULT_LIMIT: u64 = 200;

/// Warnings on the largest page: about a megabyte.
const MAX_LIMIT: u64 = 1_000;

/// The shortest reason of a mute: enough for "dup", too much for a stray key.
const MIN_REASON_CHARS: usize = 3;

/// The mutes that are in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MutesAnswer {
    /// When this was true.
    as_of: Time,
    /// Those that end first, first.
    mutes: Vec<Mute>,
}

/// The last messages to webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveriesAnswer {
    /// When this was true.
    as_of: Time,
    /// The names of the webhooks.
    webhooks: Vec<String>,
    /// Newest first.
    deliveries: Vec<Delivery>,
}

/// `POST /api/v1/webhooks/test`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestRequest {
    /// Only this webhook.
    #[serde(default)]
    webhook: Option<String>,
}

/// What was sent to try webhooks out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestAnswer {
    /// The names of the deliveries.
    deliveries: Vec<String>,
}

/// What is so that somebody should know, and what was so within a day.
#[utoipa::path(
    get, path = "/api/v1/warnings", tag = "warning", operation_id = "listWarnings",
    params(
        ("state" = Option<String>, Query, description = "only these, separated by commas: open, acknowledged, muted, resolved"),
        ("source" = Option<String>, Query, description = "only of this source"),
        ("lock" = Option<String>, Query, description = "only of the lock with this id"),
        ("rule" = Option<WarningRule>, Query, description = "only of this rule"),
        ("severity" = Option<Severity>, Query, description = "only of at least this severity"),
        ("offset" = Option<u64>, Query, description = "warnings before the page"),
        ("limit" = Option<u32>, Query, description = "warnings on the page, up to 1000; default 200"),
    ),
    responses(
        (status = 200, body = WarningPage),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<WarningPage>, ApiError> {
    let reach = caller.seen()?.clone();
    let states = query.take("state").unwrap_or_default();
    let states = states.split(',').filter(|word| !word.is_empty());
    let states = states.map(|word| one_of("state", word, &WarningState::ALL, WarningState::word));
    let source = query.take("source");
    if let Some(source) = &source {
        known_source(&state, &reach, source, StatusCode::BAD_REQUEST)?;
    }
    let lock = query.take("lock").map(|id| LockId::parse(&id)).transpose();
    let rule =
        query.take("rule").map(|word| one_of("rule", &word, &WarningRule::ALL, WarningRule::word)).transpose()?;
    let severity = query.take("severity");
    let severity = severity.map(|word| one_of("severity", &word, &Severity::ALL, Severity::word)).transpose()?;
    let filter = Filter {
        states: states.collect::<Result<_, _>>()?,
        source,
        lock: lock.map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?,
        rule,
        severity,
    };
    let offset = query.take_number("offset", u64::from(u32::MAX))?.unwrap_or(0) as usize;
    let limit = query.take_number("limit", MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize;
    query.finish(PARAMETERS)?;
    let listed = state.board.warnings(|answer| WarningAsk::List { filter, reach, offset, limit, answer }).await?;
    Ok(Json(WarningPage {
        as_of: listed.as_of,
        total: listed.total,
        warnings: listed.warnings,
        not_listed: listed.not_listed,
        rules: listed.rules,
        not_kept: state.warnings.not_kept().map(|because| match caller.is_insider() {
            true => because,
            false => "they cannot be written down".to_owned(),
        }),
    }))
}

/// Says that one looks into a warning.
#[utoipa::path(
    post, path = "/api/v1/warnings/{id}/acknowledge", tag = "warning", operation_id = "acknowledgeWarning",
    params(("id" = String, Path, description = "its id")),
    request_body = AcknowledgeRequest,
    responses(
        (status = 200, description = "noted; as it is now", body = LockWarning),
        (status = 403, description = "it is not for you to write notes on its lock", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such warning", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "it is so no more", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the note is too long", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn acknowledge(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(request): extract::Json<AcknowledgeRequest>,
) -> Result<Json<LockWarning>, ApiError> {
    caller.needs(Right::Annotate)?;
    let note = request.note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if let Some(chars) = note.as_ref().map(|note| note.chars().count()).filter(|chars| *chars > MAX_NOTE_CHARS) {
        return Err(unusable("note", &format!("has {chars} characters, expected at most {MAX_NOTE_CHARS}")));
    }
    let reach = caller.scope.seen().clone();
    let (name, no_such) = (id.clone(), no_such("warning", &id));
    let found = state.board.warnings(|answer| WarningAsk::One { id: name, reach, answer }).await?;
    let (warning, key) = found.ok_or(no_such)?;
    may_note(&caller, &warning.source, key.as_ref())?;
    let resolved = || {
        let detail = format!("the warning `{}` is resolved", words::shown(&id));
        ApiError::new(StatusCode::CONFLICT, "warning-resolved", "It is so no more", detail)
    };
    if warning.state == WarningState::Resolved {
        return Err(resolved());
    }
    let by = caller.actor().name;
    let noted = state.warnings.acknowledge(warning.id, by, note).await?;
    noted.map(Json).ok_or_else(resolved)
}

/// What nobody is told of at the moment.
#[utoipa::path(
    get, path = "/api/v1/mutes", tag = "warning", operation_id = "listMutes",
    responses(
        (status = 200, body = MutesAnswer),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn mutes(
    State(state): State<AppState>,
    caller: Caller,
    query: Query,
) -> Result<Json<MutesAnswer>, ApiError> {
    let reach = caller.seen()?;
    query.finish(&[])?;
    let mut mutes = state.warnings.mutes().await?;
    mutes.retain(|mute| is_seen(mute, reach));
    mutes.sort_by_key(|mute| mute.until);
    Ok(Json(MutesAnswer { as_of: clock::now(), mutes }))
}

/// Has nobody told of something for a while.
#[utoipa::path(
    post, path = "/api/v1/mutes", tag = "warning", operation_id = "mute",
    request_body = MuteRequest,
    responses(
        (status = 201, description = "nobody is told of it from now on", body = Mute),
        (status = 403, description = "it is not for you to write notes on these locks", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "what, for how long or why cannot be used", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn mute(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<MuteRequest>,
) -> Result<(StatusCode, Json<Mute>), ApiError> {
    caller.needs(Right::Annotate)?;
    known_source(&state, caller.scope.seen(), &request.source, StatusCode::NOT_FOUND)?;
    let MuteRequest { source, lock, pattern, rule, for_ms, reason } = request;
    let reason = reason.trim().to_owned();
    let chars = reason.chars().count();
    if !(MIN_REASON_CHARS..=MAX_NOTE_CHARS).contains(&chars) {
        let detail = format!("has {chars} characters, expected {MIN_REASON_CHARS} to {MAX_NOTE_CHARS}");
        return Err(unusable("reason", &detail));
    }
    if !MUTE_MS.contains(&for_ms) {
        let (least, most) = (words::duration(*MUTE_MS.start()), words::duration(*MUTE_MS.end()));
        return Err(unusable("for_ms", &format!("is {for_ms}, expected milliseconds from {least} to {most}")));
    }
    match (&lock, &pattern) {
        (Some(lock), None) => {
            let key = lock.key().map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?;
            may_note(&caller, &source, Some(&Bytes::copy_from_slice(&key)))?;
        }
        (None, Some(pattern)) => {
            if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
                let detail = format!("has {} bytes, expected 1 to {MAX_PATTERN_BYTES}", pattern.len());
                return Err(unusable("pattern", &detail));
            }
            may_note(&caller, &source, None)?;
        }
        _ => return Err(unusable("lock", "or `pattern` is expected, and not both")),
    }
    let now = clock::now();
    let id = uuid::Uuid::new_v4().simple().to_string();
    let by = caller.actor().name;
    let mute = Mute { id, source, lock, pattern, rule, until: now.plus(for_ms), reason, by, at: now };
    state.warnings.mute(mute.clone()).await?;
    Ok((StatusCode::CREATED, Json(mute)))
}

/// Has people told again.
#[utoipa::path(
    delete, path = "/api/v1/mutes/{id}", tag = "warning", operation_id = "unmute",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 204, description = "people are told again"),
        (status = 403, description = "it is not for you to write notes on these locks", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such mute", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn unmute(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.needs(Right::Annotate)?;
    let mutes = state.warnings.mutes().await?;
    let found = mutes.into_iter().find(|mute| mute.id == id && is_seen(mute, caller.scope.seen()));
    let mute = found.ok_or_else(|| no_such("mute", &id))?;
    let key = mute.lock.as_ref().and_then(|lock| lock.key().ok()).map(|key| Bytes::copy_from_slice(&key));
    may_note(&caller, &mute.source, key.as_ref())?;
    let gone = state.warnings.unmute(id.clone()).await?;
    gone.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| no_such("mute", &id))
}

/// What became of the last messages to webhooks.
#[utoipa::path(
    get, path = "/api/v1/deliveries", tag = "warning", operation_id = "listDeliveries",
    responses(
        (status = 200, body = DeliveriesAnswer),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn deliveries(
    State(state): State<AppState>,
    caller: Caller,
    query: Query,
) -> Result<Json<DeliveriesAnswer>, ApiError> {
    caller.needs(Right::Admin)?;
    query.finish(&[])?;
    let (webhooks, deliveries) = (state.warnings.hook_names(), state.warnings.deliveries());
    Ok(Json(DeliveriesAnswer { as_of: clock::now(), webhooks, deliveries }))
}

/// Sends webhooks something that is no warning. What becomes of it is among the deliveries.
#[utoipa::path(
    post, path = "/api/v1/webhooks/test", tag = "warning", operation_id = "testWebhooks",
    request_body = TestRequest,
    responses(
        (status = 202, description = "it is being sent", body = TestAnswer),
        (status = 404, description = "there is no such webhook", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<TestRequest>,
) -> Result<(StatusCode, Json<TestAnswer>), ApiError> {
    caller.needs(Right::Admin)?;
    let deliveries = state.warnings.test(request.webhook.as_deref());
    if deliveries.is_empty() {
        let names = state.warnings.hook_names();
        let hint = match &names[..] {
            [] => "none is configured: `[[webhook]]` in lockkeeper.toml".to_owned(),
            names => format!("the webhooks are: {}", names.join(", ")),
        };
        let detail = match &request.webhook {
            Some(name) => format!("there is no webhook `{}`", words::shown(name)),
            None => "there is no webhook".to_owned(),
        };
        return Err(ApiError::not_found("no-such-webhook", "No such webhook", detail).hint(hint));
    }
    Ok((StatusCode::ACCEPTED, Json(TestAnswer { deliveries })))
}

/// Goes on only with somebody who may write notes on this lock, or, without one, on every lock of the source.
fn may_note(caller: &Caller, source: &str, key: Option<&Bytes>) -> Result<(), ApiError> {
    match key {
        Some(key) if caller.scope.may(Right::Annotate, source, key) => Ok(()),
        Some(_) => Err(ApiError::not_allowed(Right::Annotate, None)),
        None => caller.needs_all_of(Right::Annotate, source),
    }
}

/// Whether there is this mute for whoever has this reach. A pattern tells names of locks that they may not see.
fn is_seen(mute: &Mute, reach: &Reach) -> bool {
    match mute.lock.as_ref().map(LockId::key) {
        Some(key) => key.is_ok_and(|key| reach.has(&mute.source, &key)),
        None => reach.has_all_of(&mute.source),
    }
}

fn one_of<T: Copy>(name: &str, given: &str, all: &[T], word: fn(T) -> &'static str) -> Result<T, ApiError> {
    all.iter().copied().find(|one| word(*one) == given).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|one| word(*one)).collect();
        let detail = format!("`{name}` is `{}`, expected one of {}", words::shown(given), known.join(", "));
        ApiError::bad_request("bad-parameter", detail)
    })
}

fn unusable(name: &str, detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-note", "That cannot be noted", format!("`{name}` {detail}"))
}

fn no_such(what: &str, id: &str) -> ApiError {
    ApiError::not_found(
        &format!("no-such-{what}"),
        &format!("No such {what}"),
        format!("there is no {what} `{}`", words::shown(id)),
    )
}

impl From<WarningsError> for ApiError {
    fn from(error: WarningsError) -> ApiError {
        let detail = error.to_string();
        let unavailable = |kind: &str, title: &str| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail.clone()).retry_after(60)
        };
        match error {
            WarningsError::Closed(closed) => closed.into(),
            WarningsError::NotWritten(_) => unavailable("not-written", "It could not be written down")
                .hint("nothing was noted; see the server's log"),
            WarningsError::TooManyMutes(_) => {
                unavailable("too-many-mutes", "Too many mutes").hint("take some away first")
            }
        }
    }
}
