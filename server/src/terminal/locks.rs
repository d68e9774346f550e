//! `lockkeeper locks`: the table of the dashboard.

use clap::Args;
use clap::builder::PossibleValuesParser;
use lockkeeper_model::search::STATE_FILTERS;
use lockkeeper_model::words::{count, duration, shown};
use lockkeeper_model::{FLAG_FILTERS, Flag, Lock, MAX_LIMIT, Order, SortKey, SourceState, Time};

use super::answers::{Coverage, LocksAnswer, SourceCoverage};
use super::exit::{Exit, Trouble};
use super::link::{Link, ServerArguments};
use super::screen::{Look, Screen, Tone};
use super::table::{Cell, Column, table};
use super::words;

/// Sources that are live are named one by one up to this number.
const MOST_LIVE_NAMED: usize = 5;

/// Which locks to list.
#[derive(Debug, Args)]
pub struct LocksArguments {
    /// Only locks that answer to these words and conditions: `holder:worker-7 held>5m -flag:no-expiry stock`.
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,

    /// Only of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only those that this library family stored, `redis-py` for example.
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,

    /// Only in this state; `waiting` are those that somebody is known to wait for.
    #[arg(long, value_parser = PossibleValuesParser::new(STATE_FILTERS))]
    state: Option<String>,

    /// Only with this flag, `no-expiry` for example.
    #[arg(long, value_parser = PossibleValuesParser::new(FLAG_FILTERS.map(Flag::word)), hide_possible_values = true)]
    flag: Option<String>,

    /// What to order by [default: blocked].
    #[arg(long, value_name = "KEY", value_parser = PossibleValuesParser::new(SortKey::ALL.map(SortKey::word)))]
    sort: Option<String>,

    /// Which end comes first [default: the one that matters more].
    #[arg(long, value_parser = PossibleValuesParser::new([Order::Asc, Order::Desc].map(Order::word)))]
    order: Option<String>,

    /// How many at most [default: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    limit: Option<u32>,

    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArguments,
}

impl LocksArguments {
    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let limit = self.limit.map(|limit| limit.to_string());
        let query: Vec<(&str, &str)> = [
            ("q", &self.q),
            ("source", &self.source),
            ("dialect", &self.dialect),
            ("state", &self.state),
            ("flag", &self.flag),
            ("sort", &self.sort),
            ("order", &self.order),
            ("limit", &limit),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
        .collect();
        let body = link.ask(&["locks"], &query).await?;
        let answer: LocksAnswer = link.read(&body)?;
        if self.json {
            screen.json(&body.body)?;
        } else {
            screen.say(&listing(&answer, screen.look))?;
        }
        Ok(if answer.total == 0 { Exit::NotFound } else { Exit::Done })
    }
}

/// The table, and what it is worth.
fn listing(answer: &LocksAnswer, look: Look) -> String {
    let mut out = String::new();
    if !answer.locks.is_empty() {
        let several = answer.coverage.sources.len() > 1;
        let rows: Vec<Vec<Cell>> =
            answer.locks.iter().map(|lock| row(lock, answer.coverage.of(&lock.source), answer.as_of)).collect();
        out.push_str(&table(&columns(several), &rows, look));
        out.push('\n');
    }
    out.push_str(&look.wrapped(&summary(answer), 0));
    out.push_str(&coverage(&answer.coverage, look));
    out
}

fn columns(several_sources: bool) -> [Column; 10] {
    let column = |title, rank| Column { title, rank };
    [
        column("LOCK", 0),
        // Of one source it says nothing.
        column("SOURCE", if several_sources { 4 } else { 9 }),
        column("HELD BY", 2),
        column("ALIVE?", 0),
        column("HELD FOR", 3),
        column("LEASE LEFT", 3),
        column("WAITING", 1),
        column("BLOCKED", 6),
        column("FLAGS", 5),
        column("LIBRARY", 7),
    ]
}

fn row(lock: &Lock, source: Option<&SourceCoverage>, now: Time) -> Vec<Cell> {
    let is_old = words::is_old(lock, source);
    let at = if is_old { lock.as_of } else { now };
    let is_held = !lock.holders.is_empty();
    let if_held = |text: String| if is_held { text } else { "–".to_owned() };
    let (alive, tone) = words::alive(lock, is_old);
    let alive = match is_old {
        true => format!("{alive}, {} ago", duration(now.since(lock.as_of))),
        false => alive,
    };
    let is_endless = is_held && lock.lease.kind == lockkeeper_model::LeaseKind::None;
    let flags: Vec<&str> = lock.flags.iter().map(|flag| flag.word()).collect();
    let lease_tone = if is_endless { Tone::Warn } else { Tone::Plain };
    vec![
        shown(&lock.name).into(),
        shown(&lock.source).into(),
        words::holders(lock).into(),
        (alive, tone).into(),
        if_held(words::held_for(&lock.held_since, at)).into(),
        (if_held(words::left(&lock.lease, at)), lease_tone).into(),
        words::waiting(&lock.waiters).into(),
        words::blocked(lock).into(),
        flags.join(" ").into(),
        shown(&lock.dialect.name).into(),
    ]
}

fn summary(answer: &LocksAnswer) -> String {
    let here = answer.locks.len() as u64;
    let what = match answer.total {
        0 if answer.coverage.complete => "no lock fits".to_owned(),
        0 => "no lock that fits was seen so far".to_owned(),
        total if here < total => format!("{} of {} locks (`--limit` shows more)", count(here), count(total)),
        total => words::number_of(total, "lock", "locks"),
    };
    format!("{what}, as of {}", answer.as_of)
}

/// How much of the stores an answer rests on: a line for each source that is not as it should be, and the others by name.
pub(super) fn coverage(coverage: &Coverage, look: Look) -> String {
    let is_well = |source: &&SourceCoverage| source.complete && source.state == SourceState::Live;
    let well: Vec<&SourceCoverage> = coverage.sources.iter().filter(is_well).collect();
    let mut out = String::new();
    match well.as_slice() {
        [] => {}
        few if few.len() <= MOST_LIVE_NAMED => {
            let names: Vec<String> = few.iter().map(|source| shown(&source.source)).collect();
            out.push_str(&look.wrapped(&format!("{}: live, all keys seen", names.join(", ")), 2));
        }
        many => out.push_str(&look.wrapped(&format!("{} sources: live, all keys seen", many.len()), 2)),
    }
    for source in coverage.sources.iter().filter(|source| !is_well(source)) {
        let tone = if source.state == SourceState::Down { Tone::Bad } else { Tone::Warn };
        let line = look.wrapped(&words::source_line(source), 2);
        out.push_str(&look.paint(line.trim_end(), tone));
        out.push('\n');
    }
    if coverage.sources.is_empty() {
        out.push_str("there is no source for you\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{lock, source};
    use super::*;

    const NOW: Time = Time(61_000);

    fn answer(locks: Vec<Lock>) -> LocksAnswer {
        let coverage = Coverage { complete: true, sources: vec![source("orders")] };
        LocksAnswer { as_of: NOW, total: locks.len() as u64, coverage, locks }
    }

    #[test]
    fn a_lock_is_a_line_with_all_that_matters_and_the_answer_says_what_it_is_worth() {
        let said = listing(&answer(vec![lock()]), Look::PLAIN);
        let lines: Vec<&str> = said.lines().collect();
        let heads: Vec<&str> = lines[0].split("  ").filter(|head| !head.is_empty()).map(str::trim).collect();
        assert_eq!(
            heads,
            ["LOCK", "SOURCE", "HELD BY", "ALIVE?", "HELD FOR", "LEASE LEFT", "WAITING", "BLOCKED", "LIBRARY"]
        );
        let cells: Vec<&str> = lines[1].split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
        assert_eq!(
            cells,
            [
                "stock:4711",
                "orders",
                "0f8e41…0003 (worker-3, process 42)",
                "alive",
                "1 m 01 s",
                "29 s",
                "14 inferred",
                "unknown",
                "redis-py"
            ]
        );
        assert_eq!(lines[3..], ["1 lock, as of 1970-01-01T00:01:01.000Z", "orders: live, all keys seen"]);
    }

    #[test]
    fn on_a_narrow_terminal_the_lock_and_its_verdict_stay() {
        let look = Look { width: Some(40), colours: false };
        let said = listing(&answer(vec![lock()]), look);
        assert!(said.starts_with("LOCK") && said.contains("ALIVE?") && !said.contains("LIBRARY"), "{said}");
        assert!(said.lines().all(|line| textwrap::core::display_width(line) <= 40), "{said}");
    }

    #[test]
    fn what_is_old_was_so_and_says_how_old_it_is() {
        let mut answer = answer(vec![lock()]);
        answer.coverage.sources[0].state = SourceState::Down;
        answer.coverage.sources[0].problem = Some("it does not answer".to_owned());
        let said = listing(&answer, Look::PLAIN);
        assert!(said.contains("was alive, 1.0 s ago"), "{said}");
        assert!(
            said.ends_with(
                "orders: down, all keys seen; what is shown of it is the last that is known; it does not answer\n"
            ),
            "{said}"
        );
    }

    #[test]
    fn an_empty_answer_says_whether_everything_was_seen() {
        let mut nothing = answer(Vec::new());
        assert!(listing(&nothing, Look::PLAIN).starts_with("no lock fits, as of "));
        nothing.coverage.complete = false;
        nothing.coverage.sources[0] =
            SourceCoverage { complete: false, state: SourceState::Scanning, scanned_keys: 12, ..source("orders") };
        let said = listing(&nothing, Look::PLAIN);
        assert!(said.starts_with("no lock that fits was seen so far, as of "), "{said}");
        assert!(said.ends_with("\norders: scanning, 12 % of 100 keys seen\n"), "{said}");
    }

    #[test]
    fn a_page_says_that_there_is_more() {
        let mut page = answer(vec![lock()]);
        page.total = 1_200;
        assert!(summary(&page).starts_with("1 of 1,200 locks (`--limit` shows more)"), "{}", summary(&page));
    }

    #[test]
    fn a_lock_that_nobody_has_has_no_age_and_no_lease() {
        let mut free = lock();
        free.holders.clear();
        free.state = lockkeeper_model::LockState::WaitingOnly;
        let cells: Vec<String> = row(&free, None, NOW).into_iter().map(|cell| cell.text).collect();
        assert_eq!(cells[2..6], ["nobody", "not held", "–", "–"]);
    }
}
