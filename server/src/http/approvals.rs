use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lockkeeper_model::{Approval, ApprovalRequest, Approvals, DecisionRequest, ShownApproval};

use super::caller::Caller;
use super::extract;
use super::{ApiError, AppState};
use crate::access::Right;

/// Asks another person to approve what was previewed. The ticket is not used up; what is approved is bound to exactly its
/// holds, and good for ten minutes and one attempt with a later ticket for the same.
#[utoipa::path(
    post, path = "/api/v1/approvals", tag = "releasing", operation_id = "askApproval",
    request_body = ApprovalRequest,
    responses(
        (status = 201, description = "asked, now or before", body = Approval),
        (status = 403, description = "releasing is switched off, not for you, or you are not signed in", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "nobody else is needed for it", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 410, description = "the ticket expired, was used, or is not of this run of the server", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the reason is missing or wrong", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ask(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<ApprovalRequest>,
) -> Result<(StatusCode, Json<Approval>), ApiError> {
    let approval = state.desk.ask_approval(&caller.actor(), &request, &caller.scope).await?;
    Ok((StatusCode::CREATED, Json(approval)))
}

/// The approvals that you asked for or may decide, the newest first.
#[utoipa::path(
    get, path = "/api/v1/approvals", tag = "releasing", operation_id = "listApprovals",
    responses(
        (status = 200, body = Approvals),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<Approvals>, ApiError> {
    caller.needs(Right::View)?;
    Ok(Json(state.desk.approvals(&caller.actor(), &caller.scope)))
}

/// One of them, with the preview made afresh.
#[utoipa::path(
    get, path = "/api/v1/approvals/{id}", tag = "releasing", operation_id = "getApproval",
    params(("id" = String, Path, description = "the approval's `id`")),
    responses(
        (status = 200, body = ShownApproval),
        (status = 404, description = "there is none for you, or not any more", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "a lock of it changed hands (`holder_now` says who has it) or is free", body = super::error::ProblemWithHolder, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ShownApproval>, ApiError> {
    caller.needs(Right::View)?;
    Ok(Json(state.desk.approval(&caller.actor(), &id, &caller.scope).await?))
}

/// Approves or denies what another person asked for.
#[utoipa::path(
    post, path = "/api/v1/approvals/{id}", tag = "releasing", operation_id = "decideApproval",
    params(("id" = String, Path, description = "the approval's `id`")),
    request_body = DecisionRequest,
    responses(
        (status = 200, body = Approval),
        (status = 403, description = "you lack the right, asked for it yourself, or are not signed in", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none for you, or not any more", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "somebody has decided it", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the reason is missing or wrong", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn decide(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(request): extract::Json<DecisionRequest>,
) -> Result<Json<Approval>, ApiError> {
    caller.needs(Right::View)?;
    Ok(Json(state.desk.decide(&caller.actor(), &id, &request, &caller.scope).await?))
}
