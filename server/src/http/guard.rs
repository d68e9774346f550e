//! What a stranger may do at all.
//!
//! Who asks is decided elsewhere; here the stranger is a page in somebody's browser, which asks in that person's name. Three defences, each
//! enough alone against a forged release: the `Host` must be ours (a name that a foreign page made point here is not),
//! what a page asks of the API must come from our own page, and what may change something must be JSON, which a
//! foreign page cannot send unasked. Programs send none of the headers that tell pages apart and are let through.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use lockkeeper_model::words;
use url::Url;

use super::extract::unsupported_media_type;
use super::{ApiError, AppState, account, sign_in};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// For how long a browser is to come over TLS alone, in seconds: the year that OWASP ASVS 5.0, 3.4.1 asks for, with the
/// names below ours that it asks for at level 2.
const TLS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Lets a request through or says why not.
pub(super) async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match check(&request, &state) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Puts on every answer what keeps browsers from using it in a way that we did not mean.
pub(super) async fn harden(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with that a browser sends our own forms with `Origin: null`.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    // The page brings a wider one.
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'"));
    if state.door.is_secure() {
        headers.insert(STRICT_TRANSPORT_SECURITY, TLS_ALONE);
    }
    if is_api {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn check(request: &Request, state: &AppState) -> Result<(), ApiError> {
    let host = own_host(request, state.listen, state.door.url())?;
    check_encoding(request)?;
    let headers = request.headers();
    let is_unsafe = !request.method().is_safe();
    // A link to the API in somebody's notes is fine; an image that holds an event stream open is not.
    let is_visit = headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
    let is_use_of_api = request.uri().path().starts_with("/api/") && !is_visit;
    if is_unsafe || is_use_of_api || headers.contains_key(UPGRADE) {
        check_origin(headers, &host)?;
    }
    if is_unsafe && is_form(request) {
        // What a foreign page can send unasked needs a browser's word for where it comes from.
        return if headers.contains_key(ORIGIN) { Ok(()) } else { Err(no_origin()) };
    }
    // Whatever has a body and is no such form must be JSON; what has none cannot be sent by a foreign page unasked.
    if is_unsafe && request.method() != Method::DELETE && !is_json(headers) {
        return Err(unsupported_media_type());
    }
    Ok(())
}

/// The `Host`, if it names this machine.
fn own_host(request: &Request, listen: SocketAddr, url: Option<&Url>) -> Result<Authority, ApiError> {
    let refused = |host: &str| {
        ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "foreign-host",
            "The request is meant for another host",
            format!("`Host` is `{}`, which is not this server", words::shown(host)),
        )
        .hint(match url {
            Some(url) => format!("use {url}"),
            None if listen.ip().is_loopback() => {
                format!("use http://{listen}/ or http://localhost:{}/", listen.port())
            }
            None => "say under which name it is reached: `url = \"https://…\"` under `[access]`".to_owned(),
        })
    };
    let named = match request.headers().get(HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        // The request line may have it.
        None => request.uri().authority().cloned(),
    };
    let host = named.ok_or_else(|| refused(""))?;
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let is_own = name.eq_ignore_ascii_case("localhost")
        || url.and_then(Url::host_str).is_some_and(|own| own.eq_ignore_ascii_case(host.host()))
        // A name can be made to point here by a foreign page; an address cannot.
        || name.parse::<IpAddr>().is_ok_and(|address| {
            address.is_loopback() || address == listen.ip() || listen.ip().is_unspecified()
        });
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

fn is_form(request: &Request) -> bool {
    let path = request.uri().path();
    (path == sign_in::PATH || path == sign_in::OUT || path.starts_with(account::FORMS))
        && essence(request.headers()).is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

fn no_origin() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "no-origin",
        "The request does not say where it comes from",
        "a form must come with an `Origin`, as every browser sends it",
    )
    .hint("programs sign in with JSON: POST /api/v1/session")
}

fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn essence(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim())
}
