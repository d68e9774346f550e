use lockkeeper_model::RecordingState;
use prometheus_client::registry::Registry;

use super::super::AppState;
use super::family::{Value, add};
use crate::recorder::audit::Audit;
use crate::recorder::history::History;

/// Adds what is counted of the server itself.
pub(super) fn describe(registry: &mut Registry, state: &AppState) {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    add(registry, "build_info", "1, with the server's version", [(version, Value::Whole(1))]);
    let open = state.open_streams();
    let open = open.map(|(kind, open)| (vec![("kind", kind.to_owned())], Value::now(open as u64)));
    add(registry, "viewers", "Open browser tabs (stream) and event streams (events)", open);
    let releases = state.desk.outcomes().map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count));
    let releases = releases.map(|(labels, count)| (labels, Value::Count(count)));
    add(registry, "releases", "Locks that a release was carried out for, by outcome", releases);
    if let Some(results) = state.warnings.delivered() {
        let results = results.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], Value::Count(count)));
        add(registry, "webhook_deliveries", "Messages about warnings to webhooks, by what became of them", results);
    }
    audit(registry, &state.audit);
    history(registry, &state.history);
    let last = state.reloads.borrow();
    let mut one = |name, help, value| add(registry, name, help, [(Vec::new(), value)]);
    one(
        "config_last_reload_successful",
        "Whether the configuration was usable when it was last read",
        Value::Whole(i64::from(last.problem.is_none())),
    );
    one(
        "config_last_reload_success_timestamp_seconds",
        "When the configuration that is in force was read",
        Value::seconds(last.read_at.0),
    );
}

fn audit(registry: &mut Registry, audit: &Audit) {
    let entries = audit.written().map(|(kind, count)| (vec![("kind", kind.word().to_owned())], Value::Count(count)));
    add(registry, "audit_entries", "Entries written into the audit, by kind", entries);
    let mut one = |name, help, value| add(registry, name, help, [(Vec::new(), value)]);
    one("audit_write_failures", "Entries that could not be written into the audit", Value::Count(audit.not_written()));
    one(
        "audit_left_out",
        "Refusals that were counted rather than written, too many at once",
        Value::Count(audit.left_out()),
    );
    one("audit_kept", "Whether there is an audit", Value::Whole(i64::from(audit.is_kept())));
    if let Some(results) = audit.webhook() {
        let results = results.map(|(result, count)| (vec![("result", result.to_owned())], Value::Count(count)));
        add(registry, "audit_webhook", "Entries offered to the audit's webhook, by what became of them", results);
    }
}

fn history(registry: &mut Registry, history: &History) {
    let numbers = history.numbers();
    let mut one = |name, help, value| add(registry, name, help, [(Vec::new(), value)]);
    let is_recording = history.state().0 == RecordingState::Recording;
    one("history_recording", "Whether what happens is written down", Value::Whole(i64::from(is_recording)));
    one("history_transitions", "Transitions and gaps written into the history", Value::Count(numbers.written));
    one(
        "history_write_failures",
        "Transitions that could not be written into the history",
        Value::Count(numbers.not_written),
    );
    one("history_missed", "Transitions that came faster than the history took them", Value::Count(numbers.missed));
    one("history_waiting", "Transitions that wait to be written", Value::now(numbers.waiting));
    one("history_bytes", "What the history takes on the disk", Value::now(numbers.bytes));
    if numbers.written > 0 {
        let delay = i64::try_from(numbers.delay_ms).unwrap_or(i64::MAX);
        one("history_delay_seconds", "How long the last transition took to be written", Value::seconds(delay));
    }
}
