use axum::Json;
use axum::extract::State;
use lockkeeper_model::{Time, WaitGraph};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::Query;
use super::locks::{AnswerCoverage, coverage};
use super::{ApiError, AppState};

/// Who waits for whom, and how much that is worth.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GraphAnswer {
    /// When this was true.
    as_of: Time,
    /// How much of the stores the answer rests on.
    coverage: AnswerCoverage,
    #[serde(flatten)]
    graph: WaitGraph,
}

/// Who waits for whom: contended locks, who has them and who waits, the circles among them, and who is at the head.
#[utoipa::path(
    get, path = "/api/v1/graph", tag = "watching", operation_id = "getGraph",
    params(("source" = Option<String>, Query, description = "only this source")),
    responses((status = 200, body = GraphAnswer), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<GraphAnswer>, ApiError> {
    let reach = caller.seen()?;
    let source = query.take_source(&state, reach)?;
    query.finish(&["source"])?;
    let waits = state.board.graph(source.map(|source| source.id), reach.clone()).await?;
    // After the graph: a gap that came up meanwhile makes the answer say less than it could, never more.
    let coverage = coverage(state.board.statuses(reach).await?, source.map(|source| &*source.name));
    Ok(Json(GraphAnswer { as_of: waits.as_of, coverage, graph: waits.graph }))
}
