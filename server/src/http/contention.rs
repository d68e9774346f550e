use axum::Json;
use axum::extract::State;
use lockkeeper_model::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::Query;
use super::locks::{AnswerCoverage, coverage};
use super::{ApiError, AppState};
use crate::registry::minutes::LostTime;

/// Where time was lost to waiting.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContentionAnswer {
    /// When this was true.
    as_of: Time,
    /// How much of the stores the answer rests on.
    coverage: AnswerCoverage,
    #[serde(flatten)]
    lost: LostTime,
}

/// Where time was lost to waiting in the last minutes, lock by lock and minute by minute.
#[utoipa::path(
    get, path = "/api/v1/contention", tag = "watching", operation_id = "getContention",
    params(("source" = Option<String>, Query, description = "only this source")),
    responses((status = 200, body = ContentionAnswer), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<ContentionAnswer>, ApiError> {
    let reach = caller.seen()?;
    let source = query.take_source(&state, reach)?;
    query.finish(&["source"])?;
    let (as_of, lost) = state.board.lost_time(source.map(|source| source.id), reach.clone()).await?;
    // Afterwards: a gap that came up meanwhile makes the answer say less than it could, never more.
    let coverage = coverage(state.board.statuses(reach).await?, source.map(|source| &*source.name));
    Ok(Json(ContentionAnswer { as_of, coverage, lost }))
}
