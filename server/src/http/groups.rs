use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lockkeeper_model::{GroupBy, Time};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::{Query, known_source};
use super::locks::{AnswerCoverage, coverage, question, sources_named};
use super::{ApiError, AppState};
use crate::view::{Asked, Group};

const PARAMETERS: &[&str] = &["group", "q", "source", "dialect", "state", "flag", "limit"];

/// Groups in an answer unless told otherwise.
const DEFAULT_LIMIT: u32 = 200;

/// Groups in the largest answer: more than a person looks through.
const MAX_LIMIT: u32 = 1_000;

/// Locks put together.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupsAnswer {
    /// When this was true.
    as_of: Time,
    /// What they are put together by.
    group: GroupBy,
    /// Groups that there are, of which these are the first.
    total: u64,
    /// Locks in all of them.
    locks: u64,
    /// How much of the stores the answer rests on.
    coverage: AnswerCoverage,
    /// Those for which most time was lost to waiting first; then what is waited for most, then the largest.
    groups: Vec<Group>,
}

/// Locks that are held now, put together by holder, prefix or dialect.
#[utoipa::path(
    get, path = "/api/v1/groups", tag = "watching",
    params(
        ("group" = GroupBy, Query, description = "what to put them together by; the locks of one group: `GET /api/v1/locks` with the same parameters and `within`"),
        ("q" = Option<String>, Query, description = "only locks that answer to this, as in `GET /api/v1/locks`"),
        ("source" = Option<String>, Query, description = "only this source"),
        ("dialect" = Option<String>, Query, description = "only this dialect"),
        ("state" = Option<String>, Query, description = "`held`, `waiting`, `waiting_only`, `no_quorum` or `unknown_holder`"),
        ("flag" = Option<String>, Query, description = "only with this flag, `no-expiry` for example"),
        ("limit" = Option<u32>, Query, description = "groups in the answer, at most 1000; default 200"),
    ),
    responses((status = 200, body = GroupsAnswer), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<GroupsAnswer>, ApiError> {
    let reach = caller.seen()?;
    let limit = query.take_number("limit", u64::from(MAX_LIMIT))?.map_or(DEFAULT_LIMIT, |limit| limit as u32);
    let question = question(&mut query)?;
    query.finish(PARAMETERS)?;
    let (Some(group), None) = (question.group, &question.within) else {
        let words = GroupBy::ALL.map(GroupBy::word).join(", ");
        let detail = format!("`group` is missing, expected one of {words}; `within` is for `/api/v1/locks`");
        return Err(ApiError::bad_request("bad-parameter", detail));
    };
    for source in sources_named(&question) {
        known_source(&state, reach, &source, StatusCode::BAD_REQUEST)?;
    }
    let only = question.source.clone();
    let found = state.board.groups(Asked { question, reach: reach.clone() }, limit).await?;
    // Afterwards: a gap that came up meanwhile makes the answer say less than it could, never more.
    let coverage = coverage(state.board.statuses(reach).await?, only.as_deref());
    Ok(Json(GroupsAnswer {
        as_of: found.as_of,
        group,
        total: found.total,
        locks: found.locks,
        coverage,
        groups: found.groups,
    }))
}
