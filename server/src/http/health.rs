use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lockkeeper_model::{RecordingState, SourceState, SourceStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::{ApiError, AppState};
use crate::source::SourceHandle;

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

/// Whether what is shown can be relied on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Every source was seen whole once and none is down.
    ready: bool,
    /// What is missing, by source; of those sources that whoever asks may see.
    missing: Vec<Missing>,
    /// Whether what happens is written down. Watching goes on without, so this makes nothing unready.
    recording: RecordingState,
    /// Why not, for whoever may see everything or looks after the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording_because: Option<String>,
    /// Why the configuration could not be used when it was last read, so that the former one is in force. Only for
    /// whoever sees everything or looks after the server; null when there is nothing to say.
    #[schema(required)]
    configuration: Option<String>,
}

/// What a source lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Missing {
    /// Its name.
    source: String,
    /// Its state.
    state: SourceState,
    /// What is missing, in a sentence.
    because: String,
}

/// Liveness: answers as long as the process does.
#[utoipa::path(
    get, path = "/healthz", tag = "operating", operation_id = "getLiveness",
    responses((status = 200, body = Health))
)]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Readiness: the first scan of every source is done and none is down, or what is missing.
#[utoipa::path(
    get, path = "/readyz", tag = "operating", operation_id = "getReadiness",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn ready(
    State(state): State<AppState>,
    caller: Result<Caller, ApiError>,
) -> (StatusCode, Json<Readiness>) {
    let sources = state.board.sources().iter().map(SourceHandle::status_now);
    let mut missing: Vec<Missing> = sources.filter_map(missing).collect();
    let ready = missing.is_empty();
    // Whoever asks is often a program without a name, which wants to know no more than that.
    missing.retain(|missing| caller.as_ref().is_ok_and(|caller| caller.scope.seen().touches(&missing.source)));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_insider = caller.as_ref().is_ok_and(Caller::is_insider);
    let (recording, because) = state.history.state();
    let recording_because = because.filter(|_| is_insider);
    let configuration = state.reloads.borrow().problem.clone().filter(|_| is_insider);
    (status, Json(Readiness { ready, missing, recording, recording_because, configuration }))
}

fn missing(status: SourceStatus) -> Option<Missing> {
    let because = if status.state == SourceState::Down {
        status.problem.unwrap_or_else(|| "it does not answer".to_owned())
    } else if status.coverage.finished_at.is_none() {
        let of = status.coverage.total_keys.map(|total| format!(" of {total}")).unwrap_or_default();
        format!("the first scan is under way: {}{of} keys", status.coverage.scanned_keys)
    } else {
        return None;
    };
    Some(Missing { source: status.name, state: status.state, because })
}
