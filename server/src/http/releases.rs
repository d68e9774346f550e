use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lockkeeper_model::{Outcome, PreviewAnswer, PreviewRequest, ReleaseAnswer, ReleaseRequest};

use super::caller::Caller;
use super::extract;
use super::{ApiError, AppState};

/// What a release would do, and a ticket for it. Nothing is changed by asking.
#[utoipa::path(
    post, path = "/api/v1/releases/preview", tag = "releasing", operation_id = "previewRelease",
    request_body = PreviewRequest,
    responses(
        (status = 200, body = PreviewAnswer),
        (status = 403, description = "releasing is switched off, or not for you", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "it changed hands (`holder_now` says who has it) or is free", body = super::error::ProblemWithHolder, content_type = "application/problem+json"),
        (status = 503, description = "the store does not answer", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn preview(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<PreviewRequest>,
) -> Result<Json<PreviewAnswer>, ApiError> {
    Ok(Json(state.desk.preview(&caller.actor(), &request, &caller.scope).await?))
}

/// Carries out what was previewed: one attempt, compared with what was previewed in the step that frees.
#[utoipa::path(
    post, path = "/api/v1/releases", tag = "releasing", operation_id = "release",
    request_body = ReleaseRequest,
    responses(
        (status = 200, description = "something was tried in the store and not turned down, or would be in a dry run", body = ReleaseAnswer),
        (status = 403, description = "releasing is switched off, not for you, or takes another person's approval first", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "nothing was released, or would be in a dry run: it changed hands, was free, the store refused, or it could not be written into the audit", body = ReleaseAnswer),
        (status = 410, description = "the ticket expired, was used, or is not of this run of the server", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the confirmation, the reason, or the dry run of several locks is missing or wrong; the ticket is still good", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 429, description = "you try too often, or the lock was released a moment ago; `Retry-After` says when to try again", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 502, description = "nothing was released: it could not be tried", body = ReleaseAnswer),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn execute(
    State(state): State<AppState>,
    caller: Caller,
    extract::Json(request): extract::Json<ReleaseRequest>,
) -> Result<Response, ApiError> {
    let answer = state.desk.execute(&caller.actor(), &request, &caller.scope, caller.signed_in).await?;
    Ok((status(&answer), Json(answer)).into_response())
}

/// The best that happened to any of the locks decides; the body tells them apart.
fn status(answer: &ReleaseAnswer) -> StatusCode {
    let any = |wanted: &[Outcome]| answer.results.iter().any(|result| wanted.contains(&result.outcome));
    if any(&[
        Outcome::WouldRelease,
        Outcome::Released,
        Outcome::Held,
        Outcome::Extended,
        Outcome::PutBack,
        Outcome::Raised,
        Outcome::Partial,
        Outcome::Signalled,
        Outcome::Unknown,
    ]) {
        StatusCode::OK
    } else if any(&[Outcome::Failed]) {
        StatusCode::BAD_GATEWAY
    } else {
        StatusCode::CONFLICT
    }
}
