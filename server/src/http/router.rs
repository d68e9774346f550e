use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use lockkeeper_model::words;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use super::extract::MAX_BODY_BYTES;
use super::{
    ApiError, AppState, account, app, approvals, audit, caller, contention, events, graph, groups, guard, health,
    history, holders, incidents, locks, metrics, notes, oidc, openapi, password, releases, session, sessions, settings,
    sign_in, sources, stream, traces, warnings,
};

/// How long an answer may take. The board answers in milliseconds and the longest release in some ten seconds; what
/// takes longer is stuck, and a person should be told so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What tells one request from all others, in the log, in traces and in the answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from whoever asks: a proxy's are as long as a UUID or a trace context.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// Every path of the public contract.
pub(super) fn api() -> [(&'static str, MethodRouter<AppState>); 39] {
    [
        // What is known
        ("/api/v1/sources", get(sources::list)),
        ("/api/v1/locks", get(locks::list)),
        ("/api/v1/locks/{source}/{id}", get(locks::show)),
        ("/api/v1/locks/{source}/{id}/events", get(locks::events)),
        ("/api/v1/locks/{source}/{id}/notes", get(notes::list).post(notes::write)),
        ("/api/v1/graph", get(graph::show)),
        ("/api/v1/contention", get(contention::show)),
        ("/api/v1/groups", get(groups::list)),
        ("/api/v1/holders", get(holders::list)),
        // What happens
        ("/api/v1/events", get(events::follow)),
        ("/api/v1/stream", get(stream::open)),
        // What happened
        ("/api/v1/history", get(history::list)),
        ("/api/v1/stats", get(history::stats)),
        ("/api/v1/activity", get(history::activity)),
        ("/api/v1/waited", get(history::waited)),
        ("/api/v1/incidents", get(incidents::list).post(incidents::freeze)),
        ("/api/v1/incidents/{id}", get(incidents::show)),
        // What can be done about it
        ("/api/v1/releases/preview", post(releases::preview)),
        ("/api/v1/releases", post(releases::execute)),
        ("/api/v1/approvals", get(approvals::list).post(approvals::ask)),
        ("/api/v1/approvals/{id}", get(approvals::show).post(approvals::decide)),
        // What was done and refused
        ("/api/v1/audit", get(audit::list)),
        // What somebody should know
        ("/api/v1/warnings", get(warnings::list)),
        ("/api/v1/warnings/{id}/acknowledge", post(warnings::acknowledge)),
        ("/api/v1/mutes", get(warnings::mutes).post(warnings::mute)),
        ("/api/v1/mutes/{id}", delete(warnings::unmute)),
        ("/api/v1/deliveries", get(warnings::deliveries)),
        ("/api/v1/webhooks/test", post(warnings::test)),
        // What only a trace shows
        ("/api/v1/traces", post(traces::run)),
        ("/api/v1/sources/{source}/trace", get(traces::last)),
        // Who asks
        (session::PATH, get(session::show).post(session::begin).delete(session::end)),
        ("/api/v1/session/password", post(password::change)),
        ("/api/v1/sessions", get(sessions::list).delete(sessions::end_all)),
        ("/api/v1/sessions/{id}", delete(sessions::end)),
        ("/api/v1/settings", get(settings::show)),
        // How the server is doing
        (openapi::PATH, get(openapi::show)),
        ("/healthz", get(health::live)),
        ("/readyz", get(health::ready)),
        ("/metrics", get(metrics::scrape)),
    ]
}

/// The whole server as one service.
pub fn router(state: AppState) -> Router {
    let mut contract = Router::new();
    for (path, methods) in api() {
        contract = contract.route(path, methods);
    }
    let dashboard = Router::new()
        .route("/", get(app::page))
        .route("/audit", get(app::page))
        .route("/warnings", get(app::page))
        .route("/history", get(app::page))
        .route("/incidents", get(app::page))
        .route("/incidents/{id}", get(app::page))
        .route("/lock", get(app::page))
        .route("/contention", get(app::page))
        .route("/holders", get(app::page))
        .route("/sources", get(app::page))
        .route("/settings", get(app::page))
        .route("/index.html", get(app::page))
        .route(sign_in::PATH, get(sign_in::page).post(sign_in::submit))
        .route(sign_in::OUT, post(sign_in::out))
        .route(account::PATH, get(account::page))
        .route(account::PASSWORD, post(account::change_password))
        .route(account::SESSIONS, post(account::end_sessions))
        .route(account::SECOND_FACTOR, post(account::change_second_factor))
        .route(oidc::BEGIN, get(oidc::begin))
        .route(oidc::CALLBACK, get(oidc::finish))
        .route("/{*path}", get(app::asset))
        .layer(CompressionLayer::new());
    // Every piece of the app in every state, for whoever works on it.
    #[cfg(debug_assertions)]
    let dashboard = dashboard.route("/gallery", get(app::page));

    contract
        .merge(dashboard)
        .fallback(async |uri: Uri| no_such_path(uri.path()))
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(broken))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(state.clone(), caller::identify))
        .layer(from_fn_with_state(state.clone(), guard::admit))
        .layer(from_fn_with_state(state.clone(), guard::harden))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(map_request(plain_request_id))
        .with_state(state)
}

/// 404, with the most likely mistake pointed out.
pub(super) fn no_such_path(path: &str) -> ApiError {
    let error = app::unknown(path);
    if path.starts_with("/api/v1/locks/") {
        error.hint("a slash in a source's name or a lock's id is written as `%2F`")
    } else if path.starts_with("/api/") {
        error.hint("what there is: /api/v1/openapi.json")
    } else {
        error
    }
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-such-method",
        "The method is not allowed here",
        format!("`{}` cannot be used on `{}`", words::shown(method.as_str()), words::shown(uri.path())),
    )
    .hint("what there is: /api/v1/openapi.json")
}

/// Ends answers that take too long. Streams have answered once they have begun, so this does not end them.
async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "slow",
            "The answer took too long",
            format!("there was no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        )
        .into_response()
    })
}

pub(super) fn broken(panic: Box<dyn Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("nothing");
    tracing::error!(panic = said, "a request handler panicked: {said}");
    ApiError::internal().into_response()
}

/// Takes away an id that somebody chose and that is no id: it stands in every log line of the request.
async fn plain_request_id(mut request: Request) -> Request {
    let is_plain = |id: &HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    if !request.headers().get(REQUEST_ID).is_some_and(is_plain) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// The path and never the query: people paste tokens into search fields. An answer of 503 is no failure to log: a
/// source that is down says so itself, once, and not at every probe.
fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    tracing::info_span!(
        "request",
        request.id = id,
        http.method = request.method().as_str(),
        http.path = request.uri().path()
    )
}
