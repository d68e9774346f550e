//! `lockkeeper incident`: what is known of some locks in some time, frozen for the review.

use clap::{Args, Subcommand};
use lockkeeper_model::words::{duration, shown};
use lockkeeper_model::{IncidentLock, IncidentRequest, Time};
use serde::Deserialize;

use super::exit::{Exit, Trouble};
use super::find::{Named, find, place_named};
use super::link::{ANSWER_TIMEOUT, Link, ServerArguments};
use super::screen::{Look, Screen};
use super::span;
use super::table::{Cell, Column, table};
use super::words::{number_of, whole};

/// How far a packet reaches back unless told otherwise, in milliseconds: who freezes one has been at it for a while.
const DEFAULT_LAST_MS: i64 = 3_600_000;

/// What to do about incidents.
#[derive(Debug, Args)]
pub struct IncidentArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Freezes what is known of some locks: how they were held, what happened, who waited, and what people did.
    Freeze(FreezeArguments),
    /// Prints a packet, as Markdown unless JSON is asked for.
    Show(ShowArguments),
    /// Lists what was frozen, newest first.
    List(ListArguments),
}

#[derive(Debug, Args)]
struct FreezeArguments {
    /// The locks: ids, or the ends of names where no other lock has the same. They need not be held now.
    #[arg(required = true)]
    locks: Vec<String>,

    /// What to call it.
    #[arg(long)]
    title: String,

    /// Only look for the locks in this source.
    #[arg(long)]
    source: Option<String>,

    /// How far to look back, for example 30m or 2h; without it an hour.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, conflicts_with = "from")]
    last: Option<i64>,

    /// From this moment on, for example 2026-01-01T02:40:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,

    /// Up to this moment; without it up to now.
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,

    /// Prints the packet as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// Its id.
    id: String,

    /// Prints it as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Prints the server's answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArguments,
}

/// As much of a packet as a list tells.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    title: String,
    by: String,
    at: Time,
    from: Time,
    to: Time,
    locks: Vec<IncidentLock>,
}

/// `GET /api/v1/incidents`.
#[derive(Debug, Deserialize)]
struct IncidentsAnswer {
    incidents: Vec<Listed>,
}

/// What is said of a packet that was just frozen.
#[derive(Debug, Deserialize)]
struct Frozen {
    id: String,
    missing: Vec<String>,
}

impl IncidentArguments {
    /// Which server is asked, and as whom.
    pub(super) fn server(&self) -> &ServerArguments {
        match &self.what {
            What::Freeze(given) => &given.server,
            What::Show(given) => &given.server,
            What::List(given) => &given.server,
        }
    }

    pub(super) async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        match &self.what {
            What::Freeze(given) => given.run(link, screen).await,
            What::Show(given) => given.run(link, screen).await,
            What::List(given) => given.run(link, screen).await,
        }
    }
}

impl FreezeArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let now = link.coverage().await?.as_of;
        let mut locks = Vec::with_capacity(self.locks.len());
        for text in &self.locks {
            locks.push(meant(link, text, self.source.as_deref()).await?);
        }
        let to = self.to.unwrap_or(now);
        let from = self.from.unwrap_or_else(|| to.plus(-self.last.unwrap_or(DEFAULT_LAST_MS)));
        let request = IncidentRequest { title: self.title.clone(), locks, from, to };
        let answer = link.granted(link.post(&["incidents"], &request, ANSWER_TIMEOUT).await?)?;
        if self.json {
            screen.json(&answer.body)?;
            return Ok(Exit::Done);
        }
        let frozen: Frozen = link.read(&answer)?;
        screen.say(&format!("frozen as {}\n", shown(&frozen.id)))?;
        for missing in &frozen.missing {
            screen.say(&screen.look.wrapped(&format!("not in it: {}", whole(missing)), 2))?;
        }
        screen.say(&format!("to read it: lockkeeper incident show {}\n", shown(&frozen.id)))?;
        Ok(Exit::Done)
    }
}

/// A lock that is held, or one that nobody holds any more, by its id.
async fn meant(link: &Link, text: &str, source: Option<&str>) -> Result<IncidentLock, Trouble> {
    match find(link, text, source).await? {
        Named::Held(found) => Ok(IncidentLock { source: found.lock.source, id: found.lock.id }),
        Named::NotHeld { places, said } => match place_named(text, places) {
            Some((source, id)) => Ok(IncidentLock { source, id }),
            None => Err(said.hint("name its source as well: `--source`")),
        },
    }
}

impl ShowArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        if self.json {
            let answer = link.ask(&["incidents", &self.id], &[]).await?;
            screen.json(&answer.body)?;
            return Ok(Exit::Done);
        }
        let answer = link.ask(&["incidents", &format!("{}.md", self.id)], &[]).await?;
        screen.say(&harmless(&answer.body))?;
        Ok(Exit::Done)
    }
}

impl ListArguments {
    async fn run(&self, link: &Link, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let answer = link.ask(&["incidents"], &[]).await?;
        let IncidentsAnswer { incidents } = link.read(&answer)?;
        if self.json {
            screen.json(&answer.body)?;
        } else {
            screen.say(&listing(&incidents, screen.look))?;
        }
        Ok(if incidents.is_empty() { Exit::NotFound } else { Exit::Done })
    }
}

/// Text that a terminal does not obey, line by line.
fn harmless(text: &str) -> String {
    text.lines().map(|line| whole(line) + "\n").collect()
}

fn listing(incidents: &[Listed], look: Look) -> String {
    if incidents.is_empty() {
        return "nothing was frozen that is for you to see\n".to_owned();
    }
    let column = |title, rank| Column { title, rank };
    let columns = [
        column("ID", 0),
        column("FROZEN", 2),
        column("BY", 3),
        column("OVER", 4),
        column("LOCKS", 1),
        column("TITLE", 0),
    ];
    let row = |one: &Listed| -> Vec<Cell> {
        let first = one.locks.first().map_or_else(String::new, |lock| shown(lock.id.as_str()));
        let more = one.locks.len().saturating_sub(1);
        let locks = if more == 0 { first } else { format!("{first} and {more} more") };
        vec![
            shown(&one.id).into(),
            one.at.to_string().into(),
            shown(&one.by).into(),
            duration(one.to.since(one.from)).into(),
            locks.into(),
            shown(&one.title).into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = incidents.iter().map(row).collect();
    format!("{}\n{}\n", table(&columns, &rows, look), number_of(incidents.len() as u64, "incident", "incidents"))
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::LockId;

    use super::*;

    #[test]
    fn a_list_names_each_by_its_id_title_and_locks() {
        let lock = |id: &[u8]| IncidentLock { source: "orders".to_owned(), id: LockId::of_key(id) };
        let one = Listed {
            id: "i1".to_owned(),
            title: "stuck \u{202e}".to_owned(),
            by: "ada".to_owned(),
            at: Time(0),
            from: Time(0),
            to: Time(120_000),
            locks: vec![lock(b"lock:a"), lock(b"lock:b")],
        };
        let said = listing(&[one], Look::PLAIN);
        assert!(said.contains("2 m 00 s  lock:a and 1 more  stuck \\u{202e}\n\n1 incident\n"), "{said}");
    }

    #[test]
    fn a_packet_is_harmless_to_look_at() {
        assert_eq!(harmless("# a\n\x1b[1mb\n"), "# a\n\\u{1b}[1mb\n");
    }
}
