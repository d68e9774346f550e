//! `lockkeeper trace`: looks at every command of a source for some seconds.

use std::time::Duration;

use clap::Args;
use lockkeeper_model::words::{count, shown};
use lockkeeper_model::{LockId, TRACE_SECONDS, TraceReport, TraceRequest, TracedLock};

use super::exit::{Exit, Trouble};
use super::find::{Named, find, place_named};
use super::link::{ANSWER_TIMEOUT, Link, ServerArguments};
use super::screen::{Look, Screen};
use super::words::{number_of, sentence, whole};

/// Seconds unless told otherwise: what the dashboard's button takes.
const DEFAULT_SECONDS: u32 = 3;

/// Locks, and clients of each, that are told: those with the most attempts come first.
const MOST_LISTED: usize = 20;

/// What to look at.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// The source.
    source: String,

    /// Only this lock: its id, or the end of its name where no other lock has the same.
    lock: Option<String>,

    /// For how long. It costs the store up to half of its throughput meanwhile.
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEFAULT_SECONDS,
        value_parser = clap::value_parser!(u32).range(i64::from(*TRACE_SECONDS.start())..=i64::from(*TRACE_SECONDS.end())),
    )]
    seconds: u32,

    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

impl TraceArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let lock = match &self.lock {
            Some(text) => Some(meant(link, text, &self.source).await?),
            None => None,
        };
        let request = TraceRequest { source: self.source.clone(), seconds: self.seconds, lock };
        let within = ANSWER_TIMEOUT + Duration::from_secs(u64::from(self.seconds));
        let answer = link.granted(link.post(&["traces"], &request, within).await?)?;
        let report: TraceReport = link.read(&answer)?;
        if self.json {
            screen.json(&answer.body)?;
        } else {
            screen.say(&said(&report, screen.look))?;
        }
        Ok(if report.locks.iter().all(is_silent) { Exit::NotFound } else { Exit::Done })
    }
}

/// Nobody wanted it and nobody did anything to it. A lock that was asked about is told of even then.
fn is_silent(lock: &TracedLock) -> bool {
    lock.attempts == 0 && lock.trying.is_empty() && lock.deeds.is_empty()
}

/// A lock that nobody holds may be tried for as well, by its id.
async fn meant(link: &Link, text: &str, source: &str) -> Result<LockId, Trouble> {
    match find(link, text, Some(source)).await? {
        Named::Held(found) => Ok(found.lock.id),
        Named::NotHeld { places, said } => place_named(text, places).map(|(_, id)| id).ok_or(said),
    }
}

fn said(report: &TraceReport, look: Look) -> String {
    let mut out = look.wrapped(&format!("{}: sampled from {} to {}", shown(&report.source), report.from, report.to), 2);
    let commands = number_of(report.commands, "command was seen", "commands were seen");
    out.push_str(&look.wrapped(&format!("{} {commands}.", sentence(&report.ended_because)), 2));
    for lock in report.locks.iter().take(MOST_LISTED) {
        out.push_str(&of_lock(lock, look));
    }
    let more = report.locks.len().saturating_sub(MOST_LISTED) as u64 + report.locks_not_counted;
    if more > 0 {
        out.push_str(&format!("and {} more, at least\n", number_of(more, "lock", "locks")));
    }
    if report.locks.is_empty() {
        let which = report.lock.as_ref().map_or_else(|| "a lock".to_owned(), |lock| shown(lock.as_str()));
        out.push_str(&look.wrapped(&format!("Nobody spoke of {which} in that time."), 2));
    }
    out.push('\n');
    let mut facts = vec![("It cost", whole(&report.cost))];
    facts
        .push(("Blocked before", report.already_blocked.map_or_else(|| "unknown".to_owned(), |n| count(u64::from(n)))));
    facts.extend(report.missing.iter().map(|missing| ("Not seen", whole(&missing.costs))));
    facts.extend(report.nodes.iter().map(|node| ("Node", format!("{}: {}", shown(&node.node), whole(&node.because)))));
    out + &look.facts(&facts)
}

fn of_lock(lock: &TracedLock, look: Look) -> String {
    let mut out = look.heading(&shown(lock.id.as_str()));
    let mut facts = vec![("Attempts", whole(&lock.says))];
    facts.extend(lock.trying.iter().take(MOST_LISTED).map(|client| ("Wants it", whole(&client.says))));
    let more = lock.trying.len().saturating_sub(MOST_LISTED) as u64 + lock.clients_not_counted;
    if more > 0 {
        facts.push(("", format!("and {} more", number_of(more, "client", "clients"))));
    }
    facts.extend(lock.deeds.iter().take(MOST_LISTED).map(|deed| ("Acted", whole(&deed.says))));
    out.push_str(&look.facts(&facts));
    out
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Time, TraceEnd};

    use super::*;

    fn report(locks: Vec<TracedLock>) -> TraceReport {
        TraceReport {
            source: "orders".to_owned(),
            lock: None,
            from: Time(0),
            to: Time(3_000),
            ended: TraceEnd::Complete,
            ended_because: "its 3 s were over".to_owned(),
            commands: 1_200,
            bytes: 9,
            unreadable: 0,
            cost: "c".to_owned(),
            largest_delay_ms: 1,
            locks,
            locks_not_counted: 0,
            already_blocked: None,
            missing: Vec::new(),
            nodes: Vec::new(),
        }
    }

    fn traced() -> TracedLock {
        TracedLock {
            id: LockId::of_key(b"lock:\x1b[1m"),
            node: None,
            attempts: 2,
            taken: 0,
            refused: 2,
            unclear: 0,
            attempts_per_second: 1.0,
            refusals_per_second: 1.0,
            says: "tried for 2 times".to_owned(),
            waiting: 1,
            trying: Vec::new(),
            clients_not_counted: 3,
            deeds: Vec::new(),
            attempts_not_counted: 0,
        }
    }

    #[test]
    fn a_sample_says_when_it_was_what_it_saw_and_what_it_cost() {
        let said = said(&report(vec![traced()]), Look::PLAIN);
        for part in [
            "orders: sampled from 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:03.000Z\n",
            "Its 3 s were over. 1,200 commands were seen.\n",
            "\nlock:\\u{1b}[1m\n  Attempts  tried for 2 times\n            and 3 clients more\n",
            "  It cost         c\n  Blocked before  unknown\n",
        ] {
            assert!(said.contains(part), "{part}\n---\n{said}");
        }
    }

    #[test]
    fn a_lock_of_which_nobody_spoke_is_silent() {
        assert!(!is_silent(&traced()));
        assert!(is_silent(&TracedLock { attempts: 0, ..traced() }));
    }

    #[test]
    fn nothing_that_was_seen_is_said_to_be_nothing_that_was_seen() {
        assert!(said(&report(Vec::new()), Look::PLAIN).contains("Nobody spoke of a lock in that time.\n"));
    }
}
