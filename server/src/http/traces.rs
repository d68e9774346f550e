use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lockkeeper_model::{TRACE_SECONDS, TraceReport, TraceRequest, words};

use super::caller::Caller;
use super::extract::{self, Query, known_source};
use super::{ApiError, AppState};
use crate::access::Right;
use crate::source::{TraceOrder, TraceRefusal};

/// Looks at every command of a source for some seconds: who tries for its locks in vain, and whose connection holds one.
/// The answer comes when that is over.
#[utoipa::path(
    post, path = "/api/v1/traces", tag = "tracing", operation_id = "runTrace",
    request_body = TraceRequest,
    responses(
        (status = 200, description = "what was seen; `ended` says whether all of the time", body = TraceReport),
        (status = 403, description = "tracing is switched off, or not for you, or the credential may not do it", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such source", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "another trace of this source is under way", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "`seconds` is out of range", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 503, description = "the store is too busy or too slow for it, or does not answer", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<TraceRequest>,
) -> Result<Json<TraceReport>, ApiError> {
    caller.needs(Right::Trace)?;
    if !state.trace_enabled {
        return Err(TraceRefusal::Off.into());
    }
    let source = known_source(&state, caller.scope.seen(), &request.source, StatusCode::NOT_FOUND)?;
    // It sees every command, whatever lock is asked about.
    caller.needs_all_of(Right::Trace, &source.name)?;
    if !TRACE_SECONDS.contains(&request.seconds) {
        let (least, most) = (TRACE_SECONDS.start(), TRACE_SECONDS.end());
        let detail = format!("`seconds` is {}, expected {least} to {most}", request.seconds);
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "trace-seconds", "No such length", detail));
    }
    let key = match &request.lock {
        Some(id) => {
            let key = id.key().map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?;
            Some(key.into())
        }
        None => None,
    };
    let order = TraceOrder { seconds: request.seconds, key };
    tokio::select! {
        traced = source.trace(order) => Ok(Json(Arc::unwrap_or_clone(traced?))),
        () = state.closing.cancelled() => Err(ApiError::closing()),
    }
}

/// What the last trace of a source saw. It says of itself when that was.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/trace", tag = "tracing", operation_id = "getLastTrace",
    params(("source" = String, Path, description = "the source's name")),
    responses(
        (status = 200, body = TraceReport),
        (status = 403, description = "it names locks that are not for you", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such source, or it was not traced since the server started", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn last(
    State(state): State<AppState>,
    caller: Caller,
    Path(source): Path<String>,
    query: Query,
) -> Result<Json<TraceReport>, ApiError> {
    let reach = caller.seen()?;
    query.finish(&[])?;
    let source = known_source(&state, reach, &source, StatusCode::NOT_FOUND)?;
    caller.needs_all_of(Right::View, &source.name)?;
    let last = source.last_trace.borrow().clone();
    match last {
        Some(report) => Ok(Json(Arc::unwrap_or_clone(report))),
        None => {
            let detail = format!("`{}` was not traced since the server started", words::shown(&source.name));
            Err(ApiError::not_found("not-traced", "Not traced", detail).hint("POST /api/v1/traces begins a trace"))
        }
    }
}

impl From<TraceRefusal> for ApiError {
    fn from(refusal: TraceRefusal) -> ApiError {
        let detail = refusal.to_string();
        let busy =
            |title: &str, detail: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-busy", title, detail);
        match refusal {
            TraceRefusal::Off => ApiError::new(StatusCode::FORBIDDEN, "tracing-off", "Tracing is switched off", detail)
                .hint("start the server with --allow-trace, or set `enabled = true` under `[trace]`"),
            TraceRefusal::Running => {
                ApiError::new(StatusCode::CONFLICT, "tracing", "Another trace is under way", detail)
                    .hint("wait some seconds; what it saw is at /api/v1/sources/{source}/trace then")
            }
            TraceRefusal::TooBusy { .. } => busy("The store is too busy", detail)
                .hint("try again when it does less, or raise `max_commands_per_second` under `[trace]`"),
            TraceRefusal::TooSlow { .. } => busy("The store is too slow", detail)
                .hint("a trace would make it slower; try again when it has recovered"),
            TraceRefusal::NotPermitted { command } => {
                let rule = command.to_ascii_lowercase().replace(' ', "|");
                ApiError::new(StatusCode::FORBIDDEN, "trace-not-permitted", "The credential may not do that", detail)
                    .hint(format!("grant it: ACL SETUSER <user> +{rule}; without it there are no traces"))
            }
            TraceRefusal::Failed { .. } => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "source-down", "The store could not be traced", detail)
            }
        }
    }
}
