//! What Prometheus scrapes; each family is described in `docs/metrics.md`.
//!
//! - [`family`]: one family and its samples. [`sources`]: of the sources. [`server`]: of the server itself.

mod family;
mod server;
mod sources;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::caller::Caller;
use super::{ApiError, AppState};
use crate::access::Right;
use crate::clock;
use crate::warning::WarningAsk;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What Prometheus scrapes. The numbers are those that the screens show, read at the moment of the scrape: of sources of
/// which the scraper may see every lock, and of the server for whoever may see all or looks after it.
#[utoipa::path(
    get, path = "/metrics", tag = "operating", operation_id = "getMetrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn scrape(State(state): State<AppState>, caller: Caller) -> Result<Response, ApiError> {
    let scope = &caller.scope;
    if !scope.may_anywhere(Right::Admin) {
        caller.needs(Right::View)?;
    }
    let numbers = state.board.numbers(state.charted.clone()).await?;
    let counts = state.board.warnings(|answer| WarningAsk::Counts { answer }).await?;
    let whole = state.board.sources().iter().zip(numbers).filter(|(source, _)| scope.seen().has_all_of(&source.name));
    let whole = whole.map(|(source, numbers)| (source.status_now(), numbers)).collect::<Vec<_>>();

    let mut registry = Registry::with_prefix("lockkeeper");
    sources::describe(&mut registry, &whole, clock::now());
    sources::warnings(&mut registry, &whole, &counts);
    if caller.is_insider() {
        server::describe(&mut registry, &state);
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| ApiError::internal())?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
