use prometheus_client::registry::Registry;

use super::super::AppState;
use super::family::{Value, add};
use crate::recorder::audit::Audit;

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
    audit(registry, &state.audit);
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
