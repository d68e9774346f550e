use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use lockkeeper_model::Time;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract;
use super::signing::{self, Origin, Typed};
use super::{ApiError, AppState};
use crate::access::{Person, Right, Scope, Secret, SignInError, Tenure};
use crate::clock;

/// Where sessions begin and end.
pub(super) const PATH: &str = "/api/v1/session";

/// A name, a password and perhaps a code.
#[derive(Deserialize, ToSchema)]
pub(super) struct SignIn {
    /// The name of a local user.
    name: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// The code of the authenticator app, for whoever has a second factor.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
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

/// Who asks, and what they may do.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "access", operation_id = "getSession",
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

/// Signs in with a name, a password and, with a second factor, a code. The session is a cookie that scripts cannot read.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "access", operation_id = "signIn",
    request_body = SignIn,
    responses(
        (status = 200, description = "signed in; the cookie is the session", body = SessionAnswer),
        (status = 401, description = "the name, the password or the code is wrong", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = 429, description = "too many attempts; `Retry-After` says when the next one may be made", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin(
    State(state): State<AppState>,
    headers: HeaderMap,
    extensions: Extensions,
    extract::Json(SignIn { name, password, code }): extract::Json<SignIn>,
) -> Result<Response, ApiError> {
    let typed = Typed { name, password, code: code.unwrap_or_else(|| Secret::new("")) };
    let from = Origin { headers: &headers, extensions: &extensions };
    let (key, person) = signing::sign_in(&state, typed, from).await?;
    let scope = state.scope_of(&person);
    let body = Json(answer(&state, &person, &scope, Some(state.door.unused_until())));
    Ok(([(SET_COOKIE, state.door.cookie(Some(&key)))], body).into_response())
}

/// Signs out.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "access", operation_id = "signOut",
    responses(
        (status = 204, description = "the session has ended, and with it every stream that was opened in it"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(State(state): State<AppState>, headers: HeaderMap, extensions: Extensions) -> Response {
    signing::sign_out(&state, Origin { headers: &headers, extensions: &extensions }).await;
    (StatusCode::NO_CONTENT, [(SET_COOKIE, state.door.cookie(None))]).into_response()
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
