//! `lockkeeper sources`: how well each store is watched.

use clap::Args;
use lockkeeper_model::words::{count, duration, shown};
use lockkeeper_model::{SourceState, SourceStatus, Time};

use super::answers::SourcesAnswer;
use super::exit::{Exit, Trouble};
use super::link::{Link, ServerArguments};
use super::screen::{Look, Screen, Tone};
use super::table::{Cell, Column, table};
use super::words::{number_of, whole};

/// What to print of the sources.
#[derive(Debug, Args)]
pub struct SourcesArguments {
    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

impl SourcesArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let body = link.ask(&["sources"], &[]).await?;
        let answer: SourcesAnswer = link.read(&body)?;
        if self.json {
            screen.json(&body.body)?;
        } else {
            let now = link.coverage().await?.as_of;
            screen.say(&listing(&answer.sources, now, screen.look))?;
        }
        Ok(if answer.sources.is_empty() { Exit::NotFound } else { Exit::Done })
    }
}

fn listing(sources: &[SourceStatus], now: Time, look: Look) -> String {
    if sources.is_empty() {
        return "there is no source for you\n".to_owned();
    }
    let column = |title, rank| Column { title, rank };
    let columns = [
        column("SOURCE", 0),
        column("STATE", 0),
        column("KNOWN UNTIL", 1),
        column("SEEN", 2),
        column("LOCKS", 3),
        column("FEED", 5),
        column("OWN/S", 6),
        column("RELEASE", 4),
        column("ADDRESS", 7),
    ];
    let rows: Vec<Vec<Cell>> = sources.iter().map(|source| row(source, now)).collect();
    let mut out = table(&columns, &rows, look);
    out.push_str(&format!("\n{}, as of {now}\n", number_of(sources.len() as u64, "source", "sources")));
    for source in sources {
        for note in notes(source) {
            out.push_str(&look.wrapped(&format!("{}: {note}", shown(&source.name)), 2));
        }
    }
    out
}

fn row(source: &SourceStatus, now: Time) -> Vec<Cell> {
    let tone = match source.state {
        SourceState::Live => Tone::Good,
        SourceState::Scanning => Tone::Warn,
        SourceState::Degraded => Tone::Warn,
        SourceState::Down => Tone::Bad,
    };
    let coverage = &source.coverage;
    let seen = match coverage.total_keys {
        _ if coverage.complete => "all keys".to_owned(),
        Some(total) => format!("{} of {} keys", count(coverage.scanned_keys.min(total)), count(total)),
        None => format!("{} keys so far", count(coverage.scanned_keys)),
    };
    let known = source.confirmed_at.or(coverage.finished_at);
    let known = known.map_or_else(|| "unknown".to_owned(), |at| format!("{} ago", duration(now.since(at))));
    vec![
        shown(&source.name).into(),
        (format!("{} for {}", source.state.word(), duration(now.since(source.since))), tone).into(),
        known.into(),
        seen.into(),
        count(coverage.locks).into(),
        source.feed.map_or_else(|| "undecided".to_owned(), |feed| feed.word().to_owned()).into(),
        count(source.own_commands_per_second).into(),
        if source.release_enabled { "on" } else { "off" }.to_owned().into(),
        shown(&source.address).into(),
    ]
}

/// What is not as it should be.
fn notes(source: &SourceStatus) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(source.problem.as_deref().map(whole));
    notes.extend(source.hint.as_deref().map(|hint| format!("hint: {}", whole(hint))));
    for missing in &source.missing_permissions {
        let (permission, costs, fix) = (whole(&missing.permission), whole(&missing.costs), whole(&missing.fix));
        notes.push(format!("`{permission}` is not allowed: {costs}; {fix}"));
    }
    if let (Some(at), Some(gap)) = (source.last_gap_at, &source.last_gap) {
        let gaps = number_of(source.gaps, "gap", "gaps");
        notes.push(format!("{gaps} since the start, the last at {at}: {}", whole(gap)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::MissingPermission;
    use serde_json::json;

    use super::*;

    fn status() -> SourceStatus {
        serde_json::from_value(json!({
            "name": "orders", "kind": "redis", "topology": "standalone", "address": "10.0.0.1:6379",
            "server_version": null, "environment": null, "demo": false, "state": "live", "since": Time(0),
            "problem": null, "hint": null, "feed": "tracking", "feed_because": null, "patterns": [],
            "coverage": { "complete": true, "scanned_keys": 10, "total_keys": 10, "locks": 1_200,
                          "started_at": Time(0), "finished_at": Time(1_000), "took_ms": 1_000 },
            "confirmed_at": Time(60_800), "lag_ms": 2, "dirty": 0, "gaps": 0, "missed_events": 0, "last_gap_at": null,
            "last_gap": null, "own_commands_per_second": 9, "other_commands_per_second": null,
            "budget": { "commands_per_second": 50_000 }, "missing_permissions": [],
            "not_locks": { "count": 0, "sample": [] }, "release_enabled": false, "as_of": Time(61_000)
        }))
        .unwrap()
    }

    #[test]
    fn a_source_says_how_far_it_is_known_and_what_it_costs() {
        let said = listing(&[status()], Time(61_000), Look::PLAIN);
        let line = said.lines().nth(1).unwrap();
        for part in
            ["orders", "live for 1 m 01 s", "0.2 s ago", "all keys", "1,200", "tracking", "9", "off", "10.0.0.1:6379"]
        {
            assert!(line.contains(part), "{part}: {said}");
        }
        assert!(said.ends_with("1 source, as of 1970-01-01T00:01:01.000Z\n"), "{said}");
    }

    #[test]
    fn a_source_that_is_not_as_it_should_be_says_what_is_wrong_and_what_to_try() {
        let mut source = status();
        source.state = SourceState::Down;
        source.confirmed_at = None;
        source.coverage.finished_at = None;
        source.problem = Some("it does not answer".to_owned());
        source.hint = Some("look at it".to_owned());
        (source.gaps, source.last_gap_at, source.last_gap) = (2, Some(Time(0)), Some("link\u{7} lost".to_owned()));
        source.missing_permissions = vec![MissingPermission {
            permission: "MONITOR".to_owned(),
            costs: "no traces".to_owned(),
            fix: "grant it".to_owned(),
        }];
        let said = listing(&[source], Time(61_000), Look::PLAIN);
        for part in [
            "  unknown  ",
            "\norders: it does not answer\n",
            "\norders: hint: look at it\n",
            "\norders: `MONITOR` is not allowed: no traces; grant it\n",
            "\norders: 2 gaps since the start, the last at 1970-01-01T00:00:00.000Z: link\\u{7} lost\n",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
