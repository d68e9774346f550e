use axum::Json;
use axum::extract::State;
use lockkeeper_model::{Recording, SourceStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::Query;
use super::{ApiError, AppState};

/// Every source.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourcesAnswer {
    /// In the order of the configuration.
    sources: Vec<SourceStatus>,
    /// Whether what happens is written down, and since when.
    recording: Recording,
}

/// How well each source is watched.
#[utoipa::path(
    get, path = "/api/v1/sources", tag = "watching", operation_id = "listSources",
    responses((status = 200, body = SourcesAnswer), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Query,
) -> Result<Json<SourcesAnswer>, ApiError> {
    let reach = caller.seen()?;
    query.finish(&[])?;
    let sources = state.board.statuses(reach).await?;
    Ok(Json(SourcesAnswer { sources, recording: state.history.recording().await }))
}
