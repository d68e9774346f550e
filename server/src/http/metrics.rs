use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lockkeeper_model::{RecordingState, SourceState, SourceStatus, Time};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::caller::Caller;
use super::{ApiError, AppState};
use crate::access::Right;
use crate::clock;
use crate::recorder::audit::Audit;
use crate::recorder::history::History;
use crate::source::SourceHandle;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// What Prometheus scrapes. The numbers are those that the screens show, read at the moment of the scrape: of sources of
/// which the scraper may see every lock, and of the server for whoever may see all or looks after it.
#[utoipa::path(
    get, path = "/metrics", tag = "operating",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn scrape(State(state): State<AppState>, caller: Caller) -> Result<Response, ApiError> {
    let scope = &caller.scope;
    if !scope.may_anywhere(Right::Admin) {
        caller.needs(Right::View)?;
    }
    let mut registry = Registry::with_prefix("lockkeeper");
    let whole = state.board.sources().iter().filter(|source| scope.seen().has_all_of(&source.name));
    let statuses: Vec<SourceStatus> = whole.map(SourceHandle::status_now).collect();
    sources(&mut registry, &statuses, clock::now());
    if scope.sees_all() || scope.may_anywhere(Right::Admin) {
        rim(&mut registry, &state);
        audit(&mut registry, &state.audit);
        history(&mut registry, &state.history);
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| ApiError::internal())?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

fn sources(registry: &mut Registry, statuses: &[SourceStatus], now: Time) {
    let mut gauge = |name, help, read: &dyn Fn(&SourceStatus) -> Option<i64>| {
        let family = Family::<Labels, Gauge>::default();
        for status in statuses {
            // What is unknown is absent: a 0 would be a claim.
            if let Some(value) = read(status) {
                family.get_or_create(&vec![("source", status.name.clone())]).set(value);
            }
        }
        registry.register(name, help, family);
    };
    gauge("locks", "Locks that are held now", &|status| Some(signed(status.coverage.locks)));
    gauge("coverage_complete", "Whether the source was seen whole since the last gap", &|status| {
        Some(i64::from(status.coverage.complete))
    });
    gauge("dirty_keys", "Changed keys that wait to be read", &|status| Some(signed(status.dirty)));
    gauge("lag_milliseconds", "How far behind the store's changes the board is at most", &|status| status.lag_ms);
    gauge("own_commands_per_second", "What watching costs the store", &|status| {
        Some(signed(status.own_commands_per_second))
    });
    gauge("other_commands_per_second", "What everybody else asks of the store", &|status| {
        status.other_commands_per_second.map(signed)
    });
    gauge("scan_duration_milliseconds", "How long the last whole scan took", &|status| status.coverage.took_ms);
    gauge("scan_age_milliseconds", "How long ago the last whole scan was finished", &|status| {
        status.coverage.finished_at.map(|at| now.since(at))
    });
    gauge("missing_permissions", "What the store's credential may not do", &|status| {
        i64::try_from(status.missing_permissions.len()).ok()
    });

    let states = Family::<Labels, Gauge>::default();
    for status in statuses {
        for state in [SourceState::Live, SourceState::Scanning, SourceState::Degraded, SourceState::Down] {
            states
                .get_or_create(&vec![("source", status.name.clone()), ("state", state.word().to_owned())])
                .set(i64::from(status.state == state));
        }
    }
    registry.register("source_state", "1 for the state that the source is in", states);

    let mut counter = |name, help, read: &dyn Fn(&SourceStatus) -> u64| {
        let family = Family::<Labels, Counter>::default();
        for status in statuses {
            family.get_or_create(&vec![("source", status.name.clone())]).inc_by(read(status));
        }
        registry.register(name, help, family);
    };
    counter("gaps", "Times that the link was lost or notices were missed", &|status| status.gaps);
    counter("missed_events", "Notices known or feared to have been missed", &|status| status.missed_events);
}

fn rim(registry: &mut Registry, state: &AppState) {
    let streams = Family::<Labels, Gauge>::default();
    for (kind, open) in state.open_streams() {
        streams.get_or_create(&vec![("kind", kind.to_owned())]).set(i64::try_from(open).unwrap_or(i64::MAX));
    }
    registry.register("viewers", "Open browser tabs (stream) and event streams (events)", streams);

    let releases = Family::<Labels, Counter>::default();
    for (outcome, count) in state.desk.outcomes() {
        releases.get_or_create(&vec![("outcome", outcome.to_owned())]).inc_by(count);
    }
    registry.register("releases", "Locks that a release was carried out for, by outcome", releases);
}

fn audit(registry: &mut Registry, audit: &Audit) {
    let entries = Family::<Labels, Counter>::default();
    for (kind, count) in audit.written() {
        entries.get_or_create(&vec![("kind", kind.word().to_owned())]).inc_by(count);
    }
    registry.register("audit_entries", "Entries written into the audit, by kind", entries);
    let mut counter = |name, help, count: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    };
    counter("audit_write_failures", "Entries that could not be written into the audit", audit.not_written());
    counter("audit_left_out", "Refusals that were counted rather than written, too many at once", audit.left_out());
    let kept = Gauge::<i64>::default();
    kept.set(i64::from(audit.is_kept()));
    registry.register("audit_kept", "Whether there is an audit", kept);
    if let Some(results) = audit.webhook() {
        let webhook = Family::<Labels, Counter>::default();
        for (result, count) in results {
            webhook.get_or_create(&vec![("result", result.to_owned())]).inc_by(count);
        }
        registry.register("audit_webhook", "Entries offered to the audit's webhook, by what became of them", webhook);
    }
}

fn history(registry: &mut Registry, history: &History) {
    let numbers = history.numbers();
    let mut counter = |name, help, count: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    };
    counter("history_transitions", "Transitions and gaps written into the history", numbers.written);
    counter("history_write_failures", "Transitions that could not be written into the history", numbers.not_written);
    counter("history_missed", "Transitions that came faster than the history took them", numbers.missed);
    let mut gauge = |name, help, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let is_recording = history.state().0 == RecordingState::Recording;
    gauge("history_recording", "Whether what happens is written down", i64::from(is_recording));
    gauge("history_bytes", "What the history takes on the disk", signed(numbers.bytes));
    gauge("history_waiting", "Transitions that wait to be written", signed(numbers.waiting));
    gauge("history_delay_milliseconds", "How long the last transition took to be written", signed(numbers.delay_ms));
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
