use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::caller::{self, Caller};
use super::extract;
use super::signing::Origin;
use super::{ApiError, AppState};
use crate::access::users::UserError;
use crate::access::{PasswordError, Secret, SignInError};

/// A password and the one that is to take its place.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewPassword {
    /// The password so far.
    #[schema(value_type = String, format = Password)]
    old: Secret,
    /// The one from now on: 12 to 128 characters, and not easy to guess.
    #[schema(value_type = String, format = Password)]
    new: Secret,
}

/// Gives whoever asks another password. Every session of theirs ends; the browser that asks gets a new one.
#[utoipa::path(
    post, path = "/api/v1/session/password", tag = "access", operation_id = "changePassword",
    request_body = NewPassword,
    responses(
        (status = 204, description = "changed; the cookie is the new session"),
        (status = 401, description = "the old password is wrong", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 409, description = "you did not sign in with a password of this server, or somebody else changed yours meanwhile", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 422, description = "the new password cannot be used; `detail` says why", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 429, description = "too many attempts; `Retry-After` says when the next one may be made", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    extensions: Extensions,
    extract::Json(NewPassword { old, new }): extract::Json<NewPassword>,
) -> Result<Response, ApiError> {
    let from = Origin { headers: &headers, extensions: &extensions };
    let peer = caller::peer(&extensions);
    match state.door.change_password(&caller.person, old, new, &headers, peer).await {
        Ok(key) => {
            let detail = "changed their password; their other sessions ended";
            from.tell(&state, &caller.person, "password_changed", detail).await;
            Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, state.door.cookie(Some(&key)))]).into_response())
        }
        Err(error) => {
            if error == PasswordError::Old(SignInError::Wrong) {
                from.tell(&state, &caller.person, "password_not_changed", "the old password is wrong").await;
            }
            Err(error.into())
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> ApiError {
        let detail = error.to_string();
        let conflict =
            |detail| ApiError::new(StatusCode::CONFLICT, "not-changed", "The password was not changed", detail);
        match error {
            PasswordError::NotLocal => conflict(detail).hint("change it where you signed in"),
            // The session goes on, so nothing is said of signing in.
            PasswordError::Old(SignInError::Wrong) => {
                let detail = "the old password is wrong";
                ApiError::new(StatusCode::UNAUTHORIZED, "wrong-password", "The password was not changed", detail)
            }
            PasswordError::Old(error) => error.into(),
            PasswordError::Code => {
                let title = "The second factor was not set up";
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-code", title, detail)
            }
            PasswordError::New(UserError::Password(_)) => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-password", "The password cannot be used", detail)
            }
            PasswordError::New(UserError::Store(error)) => {
                // The path of the file is for whoever runs the server.
                tracing::error!("a password could not be changed: {error}");
                let detail = "the server could not write the file of users";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-changed", "The password was not changed", detail)
                    .hint("whoever runs this server changes it with `lockkeeper user passwd`, or lets the server write that file")
            }
            PasswordError::New(_) => conflict(detail).hint("sign in again"),
        }
    }
}
