//! What was frozen of incidents, as plain types.

use lockkeeper_model::{Event, LockId, Time};

use super::answers::Refusal;
use super::json::Value;
use super::past::{Stats, answer, events, moment};
use crate::lang::{self, t};

/// A packet, or in a list its head.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Packet {
    /// Names it.
    pub(crate) id: String,
    /// What it is called.
    pub(crate) title: String,
    /// Who froze it.
    pub(crate) by: String,
    /// When; `None` where that cannot be read, like the two that follow.
    pub(crate) at: Option<Time>,
    /// From this moment on…
    pub(crate) from: Option<Time>,
    /// …up to this one.
    pub(crate) to: Option<Time>,
    /// The locks.
    pub(crate) locks: Vec<Frozen>,
    /// Who waited for what at the moment of freezing, one sentence each.
    pub(crate) waits: Vec<String>,
    /// That moment.
    pub(crate) waits_at: Option<Time>,
    /// What was done from here: when, and in words.
    pub(crate) done: Vec<(Time, String)>,
    /// What is missing in it, one sentence each.
    pub(crate) missing: Vec<String>,
}

/// One lock of a packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frozen {
    /// Its source.
    pub(crate) source: String,
    /// The lock; `None` where its id cannot be read.
    pub(crate) id: Option<LockId>,
    /// Tokens of those who had it at the beginning; `None`: not known to be held.
    pub(crate) held_by: Option<Vec<String>>,
    /// What happened, newest first.
    pub(crate) events: Vec<Event>,
    /// The same added up; `None` where that was not done.
    pub(crate) stats: Option<Stats>,
}

/// Reads the list.
pub(super) fn read_list(status: u16, body: &str) -> Result<Vec<Packet>, Refusal> {
    answer(status, body).map(|value| value.items("incidents").iter().map(packet).collect())
}

/// Reads one packet.
pub(super) fn read_packet(status: u16, body: &str) -> Result<Packet, Refusal> {
    answer(status, body).map(|value| packet(&value))
}

fn packet(value: &Value) -> Packet {
    let text = |name: &str| value.text(name).to_owned();
    let graph = value.field("graph");
    let called = |node: &str| {
        let party = graph.items("parties").iter().find(|party| party.text("id") == node);
        let lock = graph.items("locks").iter().find(|lock| lock.text("node") == node);
        party.or(lock).map_or(node, |found| found.text("name")).to_owned()
    };
    let edge = |edge: &Value| {
        let (from, to) = (called(edge.text("from")), called(edge.text("to")));
        match edge.text("kind") {
            "held_by" => t!(is_held_by, from, to),
            _ => t!(waits_for, from, to),
        }
    };
    let entry = |entry: &Value| {
        let kind = lang::action_named(entry.text("kind"));
        let outcome = match entry.text("outcome") {
            "" => String::new(),
            word => format!(": {}", lang::outcome_named(word)),
        };
        let (who, lock, detail) = (entry.field("actor").text("name"), entry.text("lock"), entry.text("detail"));
        let mut said = t!(done_from_here, who, kind, lock, outcome, detail);
        // Why somebody did it is what a review asks first.
        let reason = entry.text("reason");
        if !reason.is_empty() {
            said.push_str(" · ");
            said.push_str(&t!(reason, reason));
        }
        Some((moment(entry, "at")?, said))
    };
    let sentence = |sentence: &Value| match sentence {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    Packet {
        id: text("id"),
        title: text("title"),
        by: text("by"),
        at: moment(value, "at"),
        from: moment(value, "from"),
        to: moment(value, "to"),
        locks: value.items("locks").iter().map(frozen).collect(),
        waits: graph.items("edges").iter().map(edge).collect(),
        waits_at: moment(value, "graph_as_of"),
        done: value.items("audit").iter().rev().filter_map(entry).collect(),
        missing: value.items("missing").iter().filter_map(sentence).collect(),
    }
}

fn frozen(value: &Value) -> Frozen {
    let first = value.field("at_first");
    let token = |holder: &Value| match holder.text("token") {
        "" => format!("b64:{}", holder.text("token_b64")),
        token => token.to_owned(),
    };
    let stats = value.field("stats");
    Frozen {
        source: value.text("source").to_owned(),
        id: LockId::parse(value.text("id")).ok(),
        held_by: (*first != Value::Null).then(|| first.items("holders").iter().map(token).collect()),
        events: events(value, "events"),
        stats: (*stats != Value::Null).then(|| Stats::of(stats)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_with_what_is_not_known_left_unknown() {
        let body = r#"{"id":"7f","title":"stuck","by":"ada","at":"1970-01-01T00:01:00.000Z","from":"1970-01-01T00:00:00.000Z",
            "to":"1970-01-01T00:00:50.000Z","locks":[{"source":"orders","id":"lock:1","at_first":null,"events":[],"stats":null},
            {"source":"orders","id":"lock:2","at_first":{"holders":[{"token":"w1","token_b64":"dzE="},{"token":null,
            "token_b64":"/w=="}]},"events":[],"stats":{"taken":2,"held":{"count":1}}}],
            "graph":{"parties":[{"id":"p1","name":"worker-7"}],"locks":[{"node":"l1","name":"stock"}],
            "edges":[{"from":"p1","to":"l1","kind":"waits"},{"from":"l1","to":"p9","kind":"held_by"}]},
            "graph_as_of":"1970-01-01T00:01:00.000Z","audit":[{"at":"1970-01-01T00:00:20.000Z","actor":{"name":"ada"},
            "kind":"release_attempted","lock":"lock:1","outcome":"released","detail":"freed","reason":"INC-7"}],"missing":["much"]}"#;
        let packet = read_packet(200, body).unwrap();
        assert_eq!((packet.title.as_str(), packet.by.as_str(), packet.to), ("stuck", "ada", Some(Time(50_000))));
        assert_eq!(packet.locks[0].held_by, None);
        assert_eq!(packet.locks[1].held_by, Some(vec!["w1".to_owned(), "b64:/w==".to_owned()]));
        assert_eq!((packet.locks[0].stats.is_some(), packet.locks[1].stats.is_some()), (false, true));
        assert_eq!(packet.waits, ["worker-7 waits for stock", "stock is held by p9"]);
        assert_eq!(
            packet.done,
            [(Time(20_000), "ada · release attempted of lock:1: released. freed · Reason: INC-7".to_owned())]
        );
        assert_eq!(packet.missing, ["much"]);
        assert_eq!(read_list(200, &format!(r#"{{"incidents":[{body}]}}"#)).unwrap(), [packet]);
    }
}
