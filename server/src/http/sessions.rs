use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::SET_COOKIE;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use lockkeeper_model::{Time, words};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::caller::Caller;
use super::extract::Query;
use super::signing::Origin;
use super::{ApiError, AppState};
use crate::access::{Listed, Right, SessionId};
use crate::clock;

/// The parameters there are.
const PARAMETERS: &[&str] = &["all"];

/// Sessions, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    sessions: Vec<ListedSession>,
}

/// A browser in which somebody is signed in.
#[derive(Debug, Serialize, ToSchema)]
struct ListedSession {
    /// Names it, to end it.
    id: String,
    /// Whose it is.
    name: String,
    /// How they signed in: `password` or `oidc`.
    via: &'static str,
    /// The network address from which they did.
    address: String,
    /// When they did.
    began_at: Time,
    /// When it was used last.
    used_at: Time,
    /// When it ends unless it is used again.
    ends_at: Time,
    /// Whether it is the one that asks.
    current: bool,
}

/// How many sessions ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedOut {
    /// That many.
    ended: usize,
}

/// Where somebody is signed in: when, from where, until when.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "access", operation_id = "listSessions",
    params(("all" = Option<bool>, Query, description = "`true`: everybody's, for which `admin` is needed; otherwise one's own")),
    responses(
        (status = 200, body = SessionList),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<SessionList>, ApiError> {
    let of_all = match query.take("all").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let detail = format!("`all` is `{}`, expected `true` or `false`", words::shown(other));
            return Err(ApiError::bad_request("bad-parameter", detail));
        }
    };
    query.finish(PARAMETERS)?;
    if of_all {
        caller.needs(Right::Admin)?;
    }
    let own = caller.person.session;
    let sessions = state.door.sessions((!of_all).then_some(&caller.person));
    Ok(Json(SessionList { sessions: sessions.into_iter().map(|session| shown(session, own)).collect() }))
}

/// Signs out everywhere: ends every session of whoever asks.
#[utoipa::path(
    delete, path = "/api/v1/sessions", tag = "access", operation_id = "endSessions",
    responses(
        (status = 200, description = "the sessions have ended, and with them every stream", body = SignedOut),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end_all(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let ended = state.door.sign_out_everywhere(&caller.person);
    let from = Origin { headers: &headers, extensions: &extensions };
    from.tell(&state, &caller.person, "signed_out", &format!("signed out everywhere, sessions ended: {ended}")).await;
    ([(SET_COOKIE, state.door.cookie(None))], Json(SignedOut { ended })).into_response()
}

/// Ends one session, and every stream that was opened in it: one's own, or for `admin` anybody's.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "access", operation_id = "endSession",
    params(("id" = String, Path, description = "the session's `id`")),
    responses(
        (status = 204, description = "it has ended"),
        (status = 404, description = "there is none for you, or not any more", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<StatusCode, ApiError> {
    let of = (!caller.scope.may_anywhere(Right::Admin)).then_some(&caller.person);
    let ended = id.parse::<SessionId>().ok().and_then(|id| state.door.end_session(id, of));
    let Some(whose) = ended else {
        let detail = format!("there is no session `{}`, or not any more", words::shown(&id));
        return Err(ApiError::not_found("no-session", "No such session", detail)
            .hint("GET /api/v1/sessions lists those that you have"));
    };
    let from = Origin { headers: &headers, extensions: &extensions };
    let detail = format!("ended a session of {}", words::shown(&whose.name));
    from.tell(&state, &caller.person, "session_ended", &detail).await;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(session: Listed, own: Option<SessionId>) -> ListedSession {
    let now = clock::now();
    let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    ListedSession {
        id: session.id.to_string(),
        name: words::shown(&session.person.name),
        via: session.person.via.word(),
        address: session.from.to_string(),
        began_at: now.plus(-ms(session.age)),
        used_at: now.plus(-ms(session.unused)),
        ends_at: now.plus(ms(session.ends_at.saturating_duration_since(Instant::now()))),
        current: own == Some(session.id),
    }
}
