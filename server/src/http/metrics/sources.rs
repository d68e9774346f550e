use lockkeeper_model::{SourceState, SourceStatus, Time};
use prometheus_client::registry::Registry;

use super::family::{Labels, Value, add};
use crate::board::Numbers;
use crate::view::AGE_BOUNDS_S;
use crate::warning::Count;

type Source = (SourceStatus, Numbers);

/// Adds what is counted of these sources.
pub(super) fn describe(registry: &mut Registry, sources: &[Source], now: Time) {
    locks(registry, sources);
    happened(registry, sources);
    watching(registry, sources, now);
    named_locks(registry, sources);
}

/// One sample a source, where there is a value.
fn each(
    registry: &mut Registry,
    sources: &[Source],
    name: &'static str,
    help: &'static str,
    read: impl Fn(&Source) -> Option<Value>,
) {
    let samples = sources.iter().filter_map(|source| Some((of(source), read(source)?)));
    add(registry, name, help, samples);
}

/// Several samples a source, told apart by more labels.
fn several(
    registry: &mut Registry,
    sources: &[Source],
    name: &'static str,
    help: &'static str,
    read: impl Fn(&Source) -> Vec<(Labels, Value)>,
) {
    let samples = sources.iter().flat_map(|source| {
        read(source).into_iter().map(|(labels, value)| ([of(source), labels].concat(), value)).collect::<Vec<_>>()
    });
    add(registry, name, help, samples);
}

fn of((status, _): &Source) -> Labels {
    vec![("source", status.name.clone())]
}

fn locks(registry: &mut Registry, sources: &[Source]) {
    each(registry, sources, "locks", "Locks that are known now, held or waited for", |(status, _)| {
        Some(Value::now(status.coverage.locks))
    });
    several(
        registry,
        sources,
        "locks_by_dialect",
        "Locks by the family that stored them and by state",
        |(_, numbers)| {
            let kinds = numbers.counted.locks.iter();
            kinds
                .map(|(dialect, state, count)| {
                    (vec![("dialect", (*dialect).to_owned()), ("state", state.word().to_owned())], Value::now(*count))
                })
                .collect()
        },
    );
    // A histogram of what is so now; Prometheus's own histograms only ever grow, so that this is gauges of that form.
    several(
        registry,
        sources,
        "held_age_seconds_bucket",
        "Locks that are held now, by for how long at least",
        |(_, numbers)| {
            let counted = &numbers.counted;
            let bounds = AGE_BOUNDS_S.iter().map(|bound| format!("{bound}.0")).chain(["+Inf".to_owned()]);
            let counts = counted.younger.into_iter().chain([counted.held]);
            bounds.zip(counts).map(|(bound, count)| (vec![("le", bound)], Value::now(count))).collect()
        },
    );
    each(registry, sources, "oldest_hold_seconds", "For how long the oldest lock has been held", |(_, numbers)| {
        numbers.counted.oldest_s.map(|seconds| Value::Real(seconds as f64))
    });
    each(registry, sources, "waiters", "Those who are known to wait for a lock", |(_, numbers)| {
        Some(Value::now(numbers.counted.waiters))
    });
    each(registry, sources, "quiet_locks", "Locks whose regular renewals have stopped", |(_, numbers)| {
        Some(Value::now(numbers.counted.quiet))
    });
}

fn happened(registry: &mut Registry, sources: &[Source]) {
    each(registry, sources, "missed_beats", "Times that regular renewals of a lock stopped", |(_, numbers)| {
        Some(Value::Count(numbers.counted.missed_beats))
    });
    several(registry, sources, "transitions", "What happened to locks, by kind", |(_, numbers)| {
        let kinds = numbers.transitions.iter();
        kinds.map(|(kind, count)| (vec![("kind", kind.word().to_owned())], Value::Count(*count))).collect()
    });
    each(registry, sources, "hold_duration_seconds", "For how long holds lasted that ended", |(_, numbers)| {
        Some(Value::Times(numbers.hold_times.clone()))
    });
}

fn watching(registry: &mut Registry, sources: &[Source], now: Time) {
    several(registry, sources, "source_state", "1 for the state that the source is in", |(status, _)| {
        let states = [SourceState::Live, SourceState::Scanning, SourceState::Degraded, SourceState::Down];
        states
            .map(|state| (vec![("state", state.word().to_owned())], Value::Whole(i64::from(status.state == state))))
            .into()
    });
    let mut each = |name, help, read: &dyn Fn(&SourceStatus) -> Option<Value>| {
        each(registry, sources, name, help, |(status, _)| read(status));
    };
    each("coverage_complete", "Whether the source was seen whole since the last gap", &|status| {
        Some(Value::Whole(i64::from(status.coverage.complete)))
    });
    each("dirty_keys", "Changed keys that wait to be read", &|status| Some(Value::now(status.dirty)));
    each("lag_seconds", "How far behind the store's changes the board is at most", &|status| {
        status.lag_ms.map(Value::seconds)
    });
    each("gaps", "Times that the link was lost or notices were missed", &|status| Some(Value::Count(status.gaps)));
    each("missed_events", "Notices known or feared to have been missed", &|status| {
        Some(Value::Count(status.missed_events))
    });
    each("scan_duration_seconds", "How long the last whole scan took", &|status| {
        status.coverage.took_ms.map(Value::seconds)
    });
    each("scan_age_seconds", "How long ago the last whole scan was finished", &|status| {
        status.coverage.finished_at.map(|at| Value::seconds(now.since(at)))
    });
    each("own_commands_per_second", "What watching costs the store", &|status| {
        Some(Value::now(status.own_commands_per_second))
    });
    each("own_sent_bytes_per_second", "Bytes that watching sends to the store", &|status| {
        status.own_bytes_per_second.map(|traffic| Value::now(traffic.sent))
    });
    each("own_received_bytes_per_second", "Bytes that watching gets from the store", &|status| {
        status.own_bytes_per_second.map(|traffic| Value::now(traffic.received))
    });
    each("other_commands_per_second", "What everybody else asks of the store", &|status| {
        status.other_commands_per_second.map(Value::now)
    });
    each("budget_commands_per_second", "What watching may cost the store while others use it", &|status| {
        Some(Value::now(status.budget.commands_per_second))
    });
    each("missing_permissions", "What the store's credential may not do", &|status| {
        Some(Value::now(status.missing_permissions.len() as u64))
    });
}

/// Adds how many warnings there are.
pub(super) fn warnings(registry: &mut Registry, sources: &[Source], counts: &[Count]) {
    let mut kind = |name, help, read: fn(&Count) -> u64| {
        several(registry, sources, name, help, |(status, _)| {
            let here = counts.iter().filter(|count| count.source == status.name);
            let labels = |count: &Count| {
                vec![("rule", count.rule.word().to_owned()), ("severity", count.severity.word().to_owned())]
            };
            here.map(|count| (labels(count), Value::now(read(count)))).collect()
        });
    };
    kind("warnings", "Warnings that are not resolved, whoever looks into them", |count| count.all);
    kind("warnings_open", "Warnings that nobody has acknowledged or muted", |count| count.open);
}

/// The locks that the operator named, in sources that were seen whole: elsewhere nobody can say that one is free.
fn named_locks(registry: &mut Registry, sources: &[Source]) {
    let is_whole = |(status, _): &&Source| status.coverage.complete && status.state != SourceState::Down;
    let whole: Vec<Source> = sources.iter().filter(is_whole).cloned().collect();
    let mut each = |name, help, read: &dyn Fn(&crate::board::LockNumbers) -> Option<Value>| {
        several(registry, &whole, name, help, |(_, numbers)| {
            let locks = numbers.locks.iter();
            locks
                .filter_map(|lock| {
                    Some((vec![("lock", lockkeeper_model::words::shown(lock.id.as_str()))], read(lock)?))
                })
                .collect()
        });
    };
    each("lock_held", "Whether somebody holds the lock", &|lock| Some(Value::Whole(i64::from(lock.held))));
    each("lock_age_seconds", "For how long it has been held at least", &|lock| lock.held_ms.map(Value::seconds));
    each("lock_waiters", "Those who are known to wait for it", &|lock| Some(Value::now(u64::from(lock.waiters))));
}
