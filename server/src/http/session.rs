use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use lockkeeper_model::Time;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::caller::{self, Caller};
use super::extract;
use super::{ApiError, AppState};
use crate::access::{Person, Right, Scope, Secret, SignInError, Tenure};
use crate::clock;

/// Where sessions begin and end.
pub(super) const PATH: &str = "/api/v1/session";

/// A name and a password.
#[derive(Deserialize, ToSchema)]
pub(super) struct SignIn {
    /// The name of a local user.
    name: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// Who somebody is, and what they may do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionAnswer {
    /// `none`: nothing says who may come, so only this machine is served and everybody on it may do everything.
    /// `required`: people show who they are.
    access: &'static str,
    /// What they are called.
    name: String,
    /// How it is known who they are: `loopback`, `password`, `token`, `proxy` or `oidc`.
    via: &'static str,
    /// The names of their roles.
    roles: Vec<String>,
    /// The rights that they have on anything at all.
    rights: Vec<&'static str>,
    /// When that ends unless it is used again; `null` where it does not end by itself.
    #[schema(required)]
    ends_at: Option<Time>,
}

/// How many sessions ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedOut {
    /// That many.
    ended: usize,
}

/// Who asks, and what they may do.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "access",
    responses(
        (status = 200, body = SessionAnswer),
        (status = 401, description = "nothing says who asks", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Extension(tenure): Extension<Tenure>,
) -> Json<SessionAnswer> {
    Json(answer(&state, &caller.person, &caller.scope, tenure.ends_at()))
}

/// Signs in with a name and a password. The session is a cookie that scripts cannot read.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "access",
    request_body = SignIn,
    responses(
        (status = 200, description = "signed in; the cookie is the session", body = SessionAnswer),
        (status = 401, description = "the name or the password is wrong", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 429, description = "too many attempts; `Retry-After` says when the next one may be made", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(state): State<AppState>,
    headers: HeaderMap,
    extensions: Extensions,
    extract::Json(SignIn { name, password }): extract::Json<SignIn>,
) -> Result<Response, ApiError> {
    let peer = caller::peer(&extensions);
    let (key, person) = state.door.sign_in(&name, password, &headers, peer).await?;
    let scope = state.scope_of(&person);
    let body = Json(answer(&state, &person, &scope, Some(state.door.unused_until())));
    Ok(([(SET_COOKIE, state.door.cookie(Some(&key)))], body).into_response())
}

/// Signs out.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "access",
    responses(
        (status = 204, description = "the session has ended, and with it every stream that was opened in it"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(State(state): State<AppState>, headers: HeaderMap) -> Response {
    state.door.sign_out(&headers);
    (StatusCode::NO_CONTENT, [(SET_COOKIE, state.door.cookie(None))]).into_response()
}

/// Signs out everywhere: ends every session of whoever asks.
#[utoipa::path(
    delete, path = "/api/v1/sessions", tag = "access",
    responses(
        (status = 200, description = "the sessions have ended, and with them every stream", body = SignedOut),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end_all(State(state): State<AppState>, caller: Caller) -> Response {
    let ended = state.door.sign_out_everywhere(&caller.person);
    ([(SET_COOKIE, state.door.cookie(None))], Json(SignedOut { ended })).into_response()
}

pub(super) fn answer(state: &AppState, person: &Person, scope: &Scope, ends_at: Option<Instant>) -> SessionAnswer {
    let left = |end: Instant| i64::try_from(end.saturating_duration_since(Instant::now()).as_millis());
    SessionAnswer {
        access: if state.door.is_open() { "none" } else { "required" },
        name: person.name.to_string(),
        via: person.via.word(),
        roles: person.roles.iter().map(ToString::to_string).collect(),
        rights: Right::ALL.into_iter().filter(|right| scope.may_anywhere(*right)).map(Right::word).collect(),
        ends_at: ends_at.and_then(|end| left(end).ok()).map(|ms| clock::now().plus(ms)),
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> ApiError {
        let detail = error.to_string();
        match error {
            SignInError::NoUsers => ApiError::new(StatusCode::NOT_FOUND, "no-passwords", "No passwords here", detail)
                .hint("local users are kept in the file that `access.users_file` names"),
            SignInError::Wrong => ApiError::new(StatusCode::UNAUTHORIZED, "wrong-password", "Not signed in", detail),
            SignInError::Wait(wait) => {
                let seconds = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "slow-down", "Too many attempts", detail)
                    .retry_after(seconds)
            }
            SignInError::Busy => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many sign-ins", detail).retry_after(1)
            }
        }
    }
}
