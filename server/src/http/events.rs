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
use crate::board::{Board, EventFilter, Subscription};
use crate::recorder::history::{Filter, History, Page};

const PARAMETERS: &[&str] = &["source", "lock", "last_event_id"];

/// A silent stream says that it lives this often: proxies and tunnels drop what is silent for half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest event id: ours are far shorter.
pub(super) const MAX_EVENT_ID_BYTES: usize = 128;

/// Events that are read from the file at once for a stream that resumes.
const REPLAYED_AT_ONCE: usize = 1_000;

/// Transitions as they come, as server-sent events: the id names the event, the event's name is the transition's word,
/// the data is the `Event` as JSON. The stream ends when the reader falls too far behind; with `Last-Event-ID` it
/// resumes, also after the server was started again, as far back as events are kept; where what was missed is not known
/// any more it begins with a `gap`.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "watching", operation_id = "followEvents",
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
    let filter = EventFilter { reach: reach.clone(), source, lock, lost_releases: false };
    let stream = replay(state.board.clone(), state.history.clone(), filter, after)
        .await?
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

/// Where a stream stands.
enum Stage {
    /// It reads what is written down, after this event.
    Past(String),
    /// It is at the end of that, and goes on with what the board remembers after this event, if there was one.
    Present(Option<String>),
    /// It hears of things as they happen.
    Live(Box<Events>),
    /// The board ended.
    Over,
}

type Events = ReceiverStream<Event>;

/// What happened after the event, from the file as far as that reaches and then from the board, and what happens.
/// What is read from the file is read page by page, as fast as it is taken.
async fn replay(
    board: Board,
    history: History,
    filter: EventFilter,
    after: Option<String>,
) -> Result<impl Stream<Item = Event> + Send + 'static, ApiError> {
    let written = Filter {
        source: filter.source.clone(),
        // An id that is none has no events; no lock is without a name.
        key: filter.lock.as_ref().map(|id| id.key().unwrap_or_default()),
        ..Filter::of(filter.reach.clone())
    };
    let first = match after {
        Some(after) if history.is_kept() => Stage::Past(after),
        after => {
            let Subscription { backlog, events } = board.subscribe(filter.clone(), after).await?;
            let live = Stage::Live(Box::new(ReceiverStream::new(events)));
            return Ok(stream::iter(backlog).chain(steps(board, history, filter, written, live)).boxed());
        }
    };
    Ok(steps(board, history, filter, written, first).boxed())
}

fn steps(
    board: Board,
    history: History,
    filter: EventFilter,
    written: Filter,
    first: Stage,
) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold(first, move |stage| {
        let (board, history, filter, written) = (board.clone(), history.clone(), filter.clone(), written.clone());
        async move {
            match stage {
                Stage::Past(after) => {
                    let page = history.newer(written, after.clone(), REPLAYED_AT_ONCE).await;
                    let next = match &page {
                        Ok(Some(Page { next: Some(next), .. })) => Stage::Past(next.clone()),
                        Ok(Some(Page { upto: Some(upto), .. })) => Stage::Present(Some(upto.clone())),
                        // The board says that it does not know that event, if it does not.
                        Ok(_) | Err(_) => Stage::Present(Some(after)),
                    };
                    let events = page.ok().flatten().unwrap_or_default().events;
                    Some((events, next))
                }
                Stage::Present(after) => Some(match board.subscribe(filter, after).await {
                    Ok(Subscription { backlog, events }) => {
                        (backlog, Stage::Live(Box::new(ReceiverStream::new(events))))
                    }
                    Err(_) => (Vec::new(), Stage::Over),
                }),
                Stage::Live(mut events) => events.next().await.map(|event| (vec![event], Stage::Live(events))),
                Stage::Over => None,
            }
        }
    })
    .flat_map(stream::iter)
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
