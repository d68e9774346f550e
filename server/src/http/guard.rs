//! What a stranger may do at all.
//!
//! The server listens on this machine only, so the stranger is a page in somebody's browser. Three defences, each
//! enough alone against a forged release: the `Host` must be ours (a name that a foreign page made point here is not),
//! what a page asks of the API must come from our own page, and what may change something must be JSON, which a
//! foreign page cannot send unasked. Programs send none of the headers that tell pages apart and are let through.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERRER_POLICY, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::words;

use super::extract::unsupported_media_type;
use super::{ApiError, AppState};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request through or says why not.
pub(super) async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match check(&request, state.listen) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Puts on every answer what keeps browsers from using it in a way that we did not mean.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    // The page brings a wider one.
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if is_api {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn check(request: &Request, listen: SocketAddr) -> Result<(), ApiError> {
    let host = own_host(request, listen)?;
    check_encoding(request)?;
    let headers = request.headers();
    let is_unsafe = !request.method().is_safe();
    // A link to the API in somebody's notes is fine; an image that holds an event stream open is not.
    let is_visit = headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
    let is_use_of_api = request.uri().path().starts_with("/api/") && !is_visit;
    if is_unsafe || is_use_of_api || headers.contains_key(UPGRADE) {
        check_origin(headers, &host)?;
    }
    if is_unsafe && !is_json(headers) {
        return Err(unsupported_media_type());
    }
    Ok(())
}

/// The `Host`, if it names this machine.
fn own_host(request: &Request, listen: SocketAddr) -> Result<Authority, ApiError> {
    let refused = |host: &str| {
        ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "foreign-host",
            "The request is meant for another host",
            format!("`Host` is `{}`, which is not this server", words::shown(host)),
        )
        .hint(format!("use http://{listen}/ or http://localhost:{}/", listen.port()))
    };
    let named = match request.headers().get(HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        // HTTP/2 has it in the request line.
        None => request.uri().authority().cloned(),
    };
    let host = named.ok_or_else(|| refused(""))?;
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let is_own = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address == listen.ip());
    if is_own { Ok(host) } else { Err(refused(host.as_str())) }
}

/// A `%` that begins no escape would be taken as itself further down, so that two URLs would name one lock.
fn check_encoding(request: &Request) -> Result<(), ApiError> {
    let text = request.uri().path_and_query().map_or("", |both| both.as_str());
    let broken = text
        .match_indices('%')
        .find(|(at, _)| !text.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())));
    match broken {
        None => Ok(()),
        Some((at, _)) => {
            let rest: String = text[at..].chars().take(3).collect();
            let detail = format!("`{}` in the URL is not a percent-encoding", words::shown(&rest));
            Err(ApiError::bad_request("bad-encoding", detail).hint("write a percent sign as `%25`"))
        }
    }
}

fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), ApiError> {
    let foreign = |header: &str, value: &HeaderValue| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        ApiError::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            "The request comes from another site",
            format!("`{header}` is `{}`, which is not `{host}`", words::shown(&value)),
        )
    };
    if let Some(origin) = headers.get(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str()));
        if !own {
            return Err(foreign("Origin", origin));
        }
    }
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && site != "same-origin"
        && site != "none"
    {
        return Err(foreign("Sec-Fetch-Site", site));
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
