use axum::Json;
use axum::extract::State;
use lockkeeper_model::{Time, words};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::Query;
use super::locks::{AnswerCoverage, coverage};
use super::{ApiError, AppState};
use crate::clock;
use crate::registry::holders::{Holders, HoldersAsked, PartyId};

const PARAMETERS: &[&str] = &["source", "holder", "limit"];

/// Holders on a page unless told otherwise.
const DEFAULT_LIMIT: usize = 100;

/// Holders on the largest page: each with twenty locks, some megabytes.
const MAX_LIMIT: u64 = 500;

/// The longest name of a holder, in bytes: host, process and thread at their longest, percent-encoded.
const MAX_HOLDER_BYTES: usize = 4_096;

/// Who holds how much.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldersAnswer {
    /// When it began to be looked for; it is true of a moment at or after this.
    as_of: Time,
    /// How much of the stores the answer rests on.
    coverage: AnswerCoverage,
    #[serde(flatten)]
    holders: Holders,
}

/// Who holds how much: one entry for each party, by the rules of the graph, and what goes free when if it does nothing more.
#[utoipa::path(
    get, path = "/api/v1/holders", tag = "watching", operation_id = "listHolders",
    params(
        ("source" = Option<String>, Query, description = "only what is held in this source"),
        ("holder" = Option<String>, Query, description = "only the holder with this `id`, with up to 500 of its locks"),
        ("limit" = Option<u32>, Query, description = "holders in the answer, 1 to 500; default 100"),
    ),
    responses((status = 200, body = HoldersAnswer), (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"))
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<HoldersAnswer>, ApiError> {
    let reach = caller.seen()?;
    let source = query.take_source(&state, reach)?;
    let holder = query.take("holder").map(party).transpose()?;
    let limit = query.take_number("limit", MAX_LIMIT)?;
    if limit == Some(0) {
        let detail = format!("`limit` is `0`, expected a whole number from 1 to {MAX_LIMIT}");
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    query.finish(PARAMETERS)?;
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| limit as usize);
    let as_of = clock::now();
    let asked = HoldersAsked { source: source.map(|source| source.id), reach: reach.clone(), holder, limit };
    let holders = state.board.holders(asked).await?;
    // Afterwards: a gap that came up meanwhile makes the answer say less than it could, never more.
    let coverage = coverage(state.board.statuses(reach).await?, source.map(|source| &*source.name));
    Ok(Json(HoldersAnswer { as_of, coverage, holders }))
}

fn party(text: String) -> Result<PartyId, ApiError> {
    if text.len() > MAX_HOLDER_BYTES {
        let detail = format!("`holder` has {} bytes, expected at most {MAX_HOLDER_BYTES}", text.len());
        return Err(ApiError::bad_request("bad-parameter", detail));
    }
    text.parse().map_err(|error| {
        let detail = format!("`holder` is `{}`: {error}", words::shown(&text));
        ApiError::bad_request("bad-parameter", detail).hint("take the `id` of a holder in an answer without `holder`")
    })
}
