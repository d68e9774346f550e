//! To the OpenID Connect provider and back.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::extract::Query;
use super::signing::{self, Origin};
use super::{AppState, sign_in};
use crate::access::{OidcError, Returned, Secret};

/// Where it begins.
pub(super) const BEGIN: &str = "/auth/login";

/// Where the provider sends people back to.
pub(crate) const CALLBACK: &str = "/auth/callback";

/// Sends the browser to the provider.
pub(super) async fn begin(State(state): State<AppState>, mut query: Query) -> Response {
    let next = query.take("next").unwrap_or_default();
    match state.door.begin_with_provider(sign_in::own_path(&next)).await {
        Ok((url, cookie)) => {
            let headers = [(LOCATION, url.to_string()), (SET_COOKIE, cookie), (CACHE_CONTROL, "no-store".to_owned())];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(error) => failed(&state, &next, &error),
    }
}

/// Takes the browser back from the provider.
pub(super) async fn finish(
    State(state): State<AppState>,
    headers: HeaderMap,
    extensions: Extensions,
    mut query: Query,
) -> Response {
    let returned = Returned {
        code: query.take("code").map(Secret::new),
        state: query.take("state"),
        error: query.take("error"),
        error_description: query.take("error_description"),
    };
    let from = Origin { headers: &headers, extensions: &extensions };
    match signing::finish_with_provider(&state, returned, from).await {
        Ok((key, next)) => {
            let cookies = [state.door.cookie(Some(&key)), state.door.under_way(None)];
            (AppendHeaders(cookies.map(|cookie| (SET_COOKIE, cookie))), sign_in::step(&next)).into_response()
        }
        Err(error) => failed(&state, "", &error),
    }
}

fn failed(state: &AppState, next: &str, error: &OidcError) -> Response {
    let status = match error {
        OidcError::NoProvider => StatusCode::NOT_FOUND,
        OidcError::Provider(_) | OidcError::Exchange(_) => StatusCode::BAD_GATEWAY,
        OidcError::Stray => StatusCode::BAD_REQUEST,
        OidcError::Refused(_) | OidcError::Token(_) | OidcError::Nameless(_) => StatusCode::FORBIDDEN,
    };
    sign_in::render(state, status, next, "", Some(&error.to_string()))
}
