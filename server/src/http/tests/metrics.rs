//! What is scraped: that it is right, that it is described, and that what is drawn and alerted on is there.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use lockkeeper_model::{Certainty, LockId, SourceState};
use regex::Regex;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{Rim, ask};
use crate::clock;
use crate::fake::Fake;
use crate::source::{Batch, DialectTraits, Form, Hint, Recognition, Report, Seen, Sight, SourceId, WaitersSeen};

static TRAITS: DialectTraits = DialectTraits { waiters_counted: true, ..DialectTraits::PLAIN };
static TOKEN: Recognition =
    Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &TRAITS };

const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../../../deploy/grafana/lockkeeper.json");
const ALERTS: &str = include_str!("../../../../deploy/prometheus/alerts.yml");

async fn tell(reports: &mpsc::Sender<Batch>, report: Report) {
    let (folded, told) = oneshot::channel();
    reports.send(Batch { source: SourceId(0), report, folded: Some(folded) }).await.unwrap();
    told.await.unwrap();
}

fn seen(key: &str, token: Option<&str>, after_ms: i64) -> Report {
    let at = clock::now().plus(after_ms);
    let seen = token.map_or(Seen::Gone, |token| Seen::Held(Form::exclusive(&TOKEN, token.as_bytes(), None)));
    let key = Bytes::copy_from_slice(key.as_bytes());
    Report::Sights {
        sights: vec![Sight { key, seen, asked_at: at, read_at: at, noticed_at: Some(at), hint: Hint::None }],
        scan: false,
    }
}

/// Two locks in one source, one of which was held before for two minutes; and everything known that can be known.
async fn scraped() -> String {
    let (fake, reports) = Fake::watched(&["orders"], None);
    let began_at = clock::now();
    tell(&reports, Report::ScanBegan { at: began_at }).await;
    tell(&reports, Report::ScanEnded { began_at }).await;
    tell(&reports, seen("lock:a", Some("alice"), 1)).await;
    tell(&reports, seen("lock:b", Some("bob"), 1)).await;
    tell(&reports, seen("lock:a", None, 120_001)).await;
    tell(&reports, seen("lock:a", Some("carol"), 120_002)).await;
    let counts = vec![("lock:b".into(), WaitersSeen { count: 3 })];
    tell(&reports, Report::Waiting { counts, at: clock::now() }).await;
    fake.set_status(0, |status| {
        status.state = SourceState::Live;
        status.coverage.complete = true;
        status.coverage.took_ms = Some(1_500);
        status.coverage.finished_at = Some(clock::now());
        status.lag_ms = Some(12);
        status.other_commands_per_second = Some(7);
    });
    let mut rim = Rim::around(fake);
    rim.state.charted = ["lock:b", "lock:free"].map(|id| LockId::parse(id).unwrap()).into();
    let response = rim.send(ask(Method::GET, "/metrics", Body::empty())).await;
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The labels of each series, by its name.
fn series(scraped: &str) -> BTreeMap<String, BTreeSet<String>> {
    let label = Regex::new(r#"([a-z_]+)=""#).unwrap();
    let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in scraped.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap().to_owned();
        let labels = label.captures_iter(line).map(|label| label[1].to_owned());
        series.entry(name).or_default().extend(labels);
    }
    series
}

#[tokio::test]
async fn what_is_there_and_what_happened_is_counted() {
    let scraped = scraped().await;
    for line in [
        "lockkeeper_locks{source=\"orders\"} 2",
        "lockkeeper_locks_by_dialect{source=\"orders\",dialect=\"token\",state=\"held\"} 2",
        "lockkeeper_locks_by_dialect{source=\"orders\",dialect=\"token\",state=\"unknown_holder\"} 0",
        "lockkeeper_held_age_seconds_bucket{source=\"orders\",le=\"+Inf\"} 2",
        "lockkeeper_waiters{source=\"orders\"} 3",
        "lockkeeper_transitions_total{source=\"orders\",kind=\"acquired\"} 3",
        "lockkeeper_transitions_total{source=\"orders\",kind=\"released\"} 1",
        "lockkeeper_transitions_total{source=\"orders\",kind=\"expired\"} 0",
        "lockkeeper_hold_duration_seconds_bucket{le=\"60.0\",source=\"orders\"} 0",
        "lockkeeper_hold_duration_seconds_bucket{le=\"300.0\",source=\"orders\"} 1",
        "lockkeeper_hold_duration_seconds_bucket{le=\"+Inf\",source=\"orders\"} 1",
        "lockkeeper_lag_seconds{source=\"orders\"} 0.012",
        "lockkeeper_lock_held{source=\"orders\",lock=\"lock:b\"} 1",
        "lockkeeper_lock_held{source=\"orders\",lock=\"lock:free\"} 0",
        "lockkeeper_lock_waiters{source=\"orders\",lock=\"lock:b\"} 3",
        "lockkeeper_warnings_open{source=\"orders\",rule=\"no-expiry\",severity=\"warning\"} 0",
        "lockkeeper_config_last_reload_successful 1",
    ] {
        assert!(scraped.lines().any(|known| known == line), "{line} in\n{scraped}");
    }
    // The clock goes on between two of the sights.
    let sum =
        scraped.lines().find_map(|line| line.strip_prefix("lockkeeper_hold_duration_seconds_sum{source=\"orders\"} "));
    assert!((120.0..121.0).contains(&sum.unwrap().parse::<f64>().unwrap()), "{sum:?}");
    assert!(!scraped.contains("lock=\"lock:a\""), "nobody asked for it");
    assert!(!scraped.contains("lock_age_seconds{source=\"orders\",lock=\"lock:free\"}"), "nobody holds it");
}

#[tokio::test]
async fn every_metric_is_described_and_nothing_else_is() {
    let described: BTreeSet<&str> = Regex::new("(?m)^\\| `(lockkeeper_[a-z_]+)")
        .unwrap()
        .captures_iter(DOCUMENT)
        .map(|row| row.extract::<1>().1[0])
        .collect();
    let series = series(&scraped().await);
    for name in series.keys() {
        let family = ["_sum", "_count", "_bucket"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(described.contains(family) || described.contains(name.as_str()), "docs/metrics.md lacks {name}");
    }
    // Only with webhooks, and only with a history.
    let elsewhere =
        ["lockkeeper_audit_webhook_total", "lockkeeper_webhook_deliveries_total", "lockkeeper_history_delay_seconds"];
    for name in described.iter().filter(|name| !elsewhere.contains(name)) {
        let is_there = series.contains_key(*name) || series.contains_key(&format!("{name}_count"));
        assert!(is_there, "docs/metrics.md describes {name}, which there is not");
    }
}

/// Fails unless everything that a query names is there.
fn check_query(query: &str, series: &BTreeMap<String, BTreeSet<String>>) {
    assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
    let name = Regex::new("lockkeeper_[a-z_]+").unwrap();
    let selector = Regex::new(r"\{([^}]*)\}").unwrap();
    let label = Regex::new(r#"([a-z_]+) *(?:=~|!~|!=|=) *""#).unwrap();
    let grouping = Regex::new(r"(?:by|without|on|ignoring) *\(([^)]*)\)").unwrap();
    let mut there: BTreeSet<String> = ["job", "instance"].map(str::to_owned).into();
    let mut names = 0;
    for found in name.find_iter(query) {
        let labels = series.get(found.as_str()).unwrap_or_else(|| panic!("{} of {query} is not there", found.as_str()));
        there.extend(labels.iter().cloned());
        names += 1;
    }
    assert!(names > 0, "{query} is about nothing");
    let selected = selector.captures_iter(query).flat_map(|found| {
        label.captures_iter(found.get(1).unwrap().as_str()).map(|label| label[1].to_owned()).collect::<Vec<_>>()
    });
    let grouped = grouping.captures_iter(query).flat_map(|found| {
        found[1].split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect::<Vec<_>>()
    });
    for label in selected.chain(grouped) {
        assert!(there.contains(&label), "no label `{label}` for {query}");
    }
}

/// Every `expr` in a dashboard, and every query of its variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(query)) = fields.get("expr").or_else(|| fields.get("definition")) {
                found.push(query.clone());
            }
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_panel_of_the_dashboard_draws_what_is_there() {
    let series = series(&scraped().await);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["type"] == "row" || panel["targets"][0]["expr"].is_string()));
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() >= panels.len(), "{found:?}");
    found.iter().for_each(|query| check_query(query, &series));
}

#[tokio::test]
async fn every_alert_is_about_what_is_there() {
    let series = series(&scraped().await);
    let lines = || ALERTS.lines().map(str::trim);
    let alerts = lines().filter(|line| line.starts_with("- alert: ")).count();
    let found: Vec<&str> = lines().filter_map(|line| line.strip_prefix("expr: ")).collect();
    assert!(alerts > 0 && found.len() == alerts, "each alert has its query in one line");
    found.iter().for_each(|query| check_query(query, &series));
}
