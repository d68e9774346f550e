//! What was frozen of an incident: locks, what happened to them, who waited for whom, and what people did.

use std::fmt::Write as _;

use lockkeeper_model::{
    AuditEntry, ContentionStats, Event, IncidentLock, Lock, LockId, LockStats, Time, WaitGraph, words,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{History, HistoryError, gone, shared, store};
use crate::clock;

/// Packets that are kept. They are small and written by people; beyond this somebody should clean up.
const MAX_PACKETS: i64 = 1_000;

/// Everything that was frozen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Packet {
    /// Names it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Who froze it.
    pub by: String,
    /// When.
    pub at: Time,
    /// From this moment on.
    pub from: Time,
    /// Up to this moment.
    pub to: Time,
    /// The locks, in the order in which they were asked for.
    pub locks: Vec<FrozenLock>,
    /// Who waited for these locks and who had them, at the moment of freezing.
    pub graph: WaitGraph,
    /// That moment.
    pub graph_as_of: Time,
    /// What was done to these locks from here in that time, newest first.
    pub audit: Vec<AuditEntry>,
    /// What is missing in it, one sentence each; none: it is whole.
    pub missing: Vec<String>,
}

/// One lock of a packet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FrozenLock {
    /// Its source.
    pub source: String,
    /// Its id.
    pub id: LockId,
    /// How it was at the beginning; null where it was not held, or that is not recorded.
    pub at_first: Option<Box<Lock>>,
    /// What happened, newest first, with gaps.
    pub events: Vec<Event>,
    /// The same added up.
    pub stats: Option<LockStats>,
}

/// A packet in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Listed {
    /// Names it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Who froze it.
    pub by: String,
    /// When.
    pub at: Time,
    /// From this moment on.
    pub from: Time,
    /// Up to this moment.
    pub to: Time,
    /// The locks.
    pub locks: Vec<IncidentLock>,
}

impl From<Packet> for Listed {
    fn from(packet: Packet) -> Listed {
        let Packet { id, title, by, at, from, to, locks, .. } = packet;
        Listed { id, title, by, at, from, to, locks: locks.iter().map(FrozenLock::which).collect() }
    }
}

impl History {
    /// Keeps a packet for good.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn freeze(&self, packet: &Packet) -> Result<(), HistoryError> {
        let text = serde_json::to_string(packet).map_err(|error| HistoryError(error.to_string()))?;
        let id = packet.id.clone();
        let count = self
            .ask(|reader| Ok(reader.connection().number("SELECT count(*) FROM incidents", &[])?.unwrap_or(0)))
            .await?;
        if MAX_PACKETS <= count {
            return Err(HistoryError(format!("there are {MAX_PACKETS} incidents already, and no room for more")));
        }
        match self.shared_target()? {
            None => self.with_store(move |store| store.keep_incident(&id, clock::now(), &text)).await?,
            // Whoever writes the rest of the history.
            Some(target) => {
                let work = move || {
                    let connection = shared::open_to_write(&target)?;
                    store::keep_incident(&connection, &id, clock::now(), &text)
                };
                tokio::task::spawn_blocking(work).await.map_err(|_| gone())?
            }
        }
    }

    /// All packets, newest first.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn frozen(&self) -> Result<Vec<Packet>, HistoryError> {
        self.ask(|reader| {
            let sql = "SELECT packet FROM incidents ORDER BY at DESC, id";
            let texts: Vec<String> = reader.connection().all(sql, &[], |row| row.get::<String>(0))?;
            texts.iter().map(|text| parse(text)).collect()
        })
        .await
    }

    /// The packet of that id.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn packet(&self, id: String) -> Result<Option<Packet>, HistoryError> {
        self.ask(move |reader| {
            let sql = "SELECT packet FROM incidents WHERE id = $1";
            let found = reader.connection().one(sql, &[id.as_str().into()], |row| row.get::<String>(0));
            let text: Option<String> = found?;
            text.map(|text| parse(&text)).transpose()
        })
        .await
    }
}

fn parse(text: &str) -> Result<Packet, HistoryError> {
    serde_json::from_str(text).map_err(|error| HistoryError(format!("an incident cannot be read: {error}")))
}

impl Packet {
    /// The same for people, as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let Packet { title, by, at, from, to, .. } = self;
        // Writing into a string cannot fail.
        let _ = writeln!(out, "# {}\n\n{from} to {to}; frozen by {} at {at}.\n", text(title), text(by));
        for sentence in &self.missing {
            let _ = writeln!(out, "- Missing: {}", text(sentence));
        }
        for lock in &self.locks {
            let FrozenLock { source, id, .. } = lock;
            let _ = writeln!(out, "\n## {} of {}\n", text(id.as_str()), text(source));
            let _ = writeln!(out, "{}\n", first_words(lock));
            if let Some(LockStats { taken, handed_over, lapsed, forced, renewed, held, contention, .. }) = &lock.stats {
                let longest = held.p99_ms.map_or_else(|| "unknown".to_owned(), words::duration);
                let _ = writeln!(
                    out,
                    "Taken {taken} times, handed over {handed_over}, lapsed {lapsed}, released from here {forced}, renewed \
                     {renewed}; 99 of 100 holds lasted at most {longest}.\n"
                );
                if let Some(contention) = contention {
                    let _ = writeln!(out, "{}\n", waiting_words(contention));
                }
            }
            if lock.events.is_empty() {
                let _ = writeln!(out, "Nothing is recorded of it in this time.");
                continue;
            }
            let _ = writeln!(out, "| When | What | Holder | Why |\n|---|---|---|---|");
            for event in lock.events.iter().rev() {
                let holder = event.holder.as_deref().or(event.holder_b64.as_deref()).unwrap_or_default();
                let why = event.evidence.as_deref().or(event.cause.as_deref()).unwrap_or_default();
                let times = if event.count > 1 { format!(" × {}", event.count) } else { String::new() };
                let what = event.transition.word();
                let _ = writeln!(out, "| {} | {what}{times} | {} | {} |", event.at, text(holder), text(why));
            }
        }
        if !self.graph.edges.is_empty() {
            let _ = writeln!(out, "\n## Who waited for whom at {}\n", self.graph_as_of);
            for edge in &self.graph.edges {
                let _ = writeln!(out, "- {} → {}", self.called(&edge.from), self.called(&edge.to));
            }
        }
        if !self.audit.is_empty() {
            let _ = writeln!(out, "\n## What was done from here\n");
            for entry in self.audit.iter().rev() {
                let lock = entry.lock.as_deref().unwrap_or_default();
                let outcome = entry.outcome.as_deref().or(entry.seen.as_deref()).unwrap_or_default();
                let reason = entry.reason.as_deref().map(|reason| format!("; reason: {}", text(reason)));
                let _ = writeln!(
                    out,
                    "- {}: {} {} of {} ({}): {}{}",
                    entry.at,
                    text(&entry.actor.name),
                    entry.kind.word(),
                    text(lock),
                    text(outcome),
                    text(&entry.detail),
                    reason.unwrap_or_default()
                );
            }
        }
        out
    }

    /// What a node of the graph is called.
    fn called(&self, node: &str) -> String {
        let party = self.graph.parties.iter().find(|party| party.id == node).map(|party| &party.name);
        let lock = self.graph.locks.iter().find(|lock| lock.node == node).map(|lock| &lock.name);
        text(party.or(lock).map_or(node, String::as_str))
    }
}

impl FrozenLock {
    /// Which it is.
    #[must_use]
    pub fn which(&self) -> IncidentLock {
        IncidentLock { source: self.source.clone(), id: self.id.clone() }
    }
}

fn first_words(lock: &FrozenLock) -> String {
    match &lock.at_first {
        Some(then) => {
            let holders: Vec<String> =
                then.holders.iter().map(|holder| text(holder.token.as_deref().unwrap_or(&holder.token_b64))).collect();
            format!("Held at the beginning by {}.", holders.join(", "))
        }
        None => "Not known to be held at the beginning.".to_owned(),
    }
}

fn waiting_words(contention: &ContentionStats) -> String {
    let Some(waited) = contention.waited_ms else {
        let because = contention.because.as_deref().unwrap_or("nobody could be counted");
        return format!("Who waited is not known: {because}.");
    };
    let missing = contention.to.since(contention.from) - contention.known_ms;
    let least = if missing > 0 {
        format!(" At least, since for {} of that time it is not known.", words::duration(missing))
    } else {
        String::new()
    };
    let (from, to) = (contention.from, contention.to);
    match &contention.most {
        Some(most) => format!(
            "From {from} to {to} all who waited for it waited {} together, at most {} at once, at {}.{least}",
            words::duration(waited),
            most.count,
            most.at
        ),
        None => format!("From {from} to {to} nobody was seen to wait for it.{least}"),
    }
}

/// A stranger's text in Markdown: visible, in one piece, and nothing but text.
fn text(text: &str) -> String {
    let shown = words::shown(text);
    let mut out = String::with_capacity(shown.len());
    for c in shown.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '(' | ')' | '#' | '+' | '!' | '|' | '~' | '&'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
