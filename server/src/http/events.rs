use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use lockkeeper_model::{Event, LockId};
use tokio_stream::wrappers::ReceiverStream;

use super::caller::Caller;
use super::extract::{Query, known_source};
use super::{ApiError, AppState};
use crate::access::Tenure;
use crate::board::{EventFilter, Subscription};

const PARAMETERS: &[&str] = &["source", "lock", "last_event_id"];

/// A silent stream says that it lives this often: proxies and tunnels drop what is silent for half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest event id: ours are far shorter.
const MAX_EVENT_ID_BYTES: usize = 128;

/// Transitions as they come, as server-sent events: the id names the event, the event's name is the transition's word,
/// the data is the `Event` as JSON. The stream ends when the reader falls too far behind; with `Last-Event-ID` it
/// resumes, and begins with a `gap` where what was missed is not known any more.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "watching",
    params(
        ("source" = Option<String>, Query, description = "only of this source"),
        ("lock" = Option<String>, Query, description = "only of the lock with this id"),
        ("last_event_id" = Option<String>, Query, description = "resume after this event; the header `Last-Event-ID` wins"),
        ("Last-Event-ID" = Option<String>, Header, description = "resume after this event"),
    ),
    responses(
        (status = 200, body = Event, content_type = "text/event-stream"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn follow(
    State(state): State<AppState>,
    caller: Caller,
    Extension(tenure): Extension<Tenure>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<impl IntoResponse, ApiError> {
    let reach = caller.seen()?;
    let source = query.take("source");
    if let Some(source) = &source {
        known_source(&state, reach, source, StatusCode::BAD_REQUEST)?;
    }
    let lock = query
        .take("lock")
        .map(|id| LockId::parse(&id))
        .transpose()
        .map_err(|error| ApiError::bad_request("bad-lock-id", error.to_string()))?;
    let after = last_event_id(&headers, query.take("last_event_id"))?;
    query.finish(PARAMETERS)?;

    let slot = state.admit_event_stream()?;
    let outdated = caller.outdated(&state);
    let filter = EventFilter { reach: reach.clone(), source, lock };
    let Subscription { backlog, events } = state.board.subscribe(filter, after).await?;
    let stream = stream::iter(backlog)
        .chain(ReceiverStream::new(events))
        .map(move |event| {
            // Held by the stream, and so given back when the reader goes.
            let _ = &slot;
            to_sse(&event)
        })
        .take_until(async move {
            tokio::select! {
                () = state.closing.cancelled() => {}
                () = tenure.over() => {}
                // A reader resumes by itself, with what it may see now.
                () = outdated => {}
            }
        });
    Ok(boxed(stream))
}

fn boxed(
    stream: impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("alive"))
}

fn to_sse(event: &Event) -> Result<sse::Event, Infallible> {
    let out = sse::Event::default().event(event.transition.word());
    // JSON has no raw line breaks, and neither have the board's ids; an id that had one would panic further down.
    let out = if event.id.contains(['\n', '\r', '\0']) { out } else { out.id(&event.id) };
    Ok(out.data(serde_json::to_string(event).unwrap_or_default()))
}

/// The header is what a browser adds when it reconnects, so it is newer than the URL.
fn last_event_id(headers: &HeaderMap, parameter: Option<String>) -> Result<Option<String>, ApiError> {
    let header = headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let id = header.filter(|id| !id.is_empty()).or(parameter);
    match id {
        Some(id) if id.len() > MAX_EVENT_ID_BYTES => {
            let detail = format!("`Last-Event-ID` has {} bytes, expected at most {MAX_EVENT_ID_BYTES}", id.len());
            Err(ApiError::bad_request("bad-parameter", detail))
        }
        id => Ok(id),
    }
}
