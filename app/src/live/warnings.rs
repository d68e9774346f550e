//! What somebody should know, as the server says it.

use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, Time};

use super::answers::Refusal;
use super::json::{Value, parse};
use crate::lang::{self, count, key, t};

/// What is so, and what was so within a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warnings {
    /// When this was true.
    pub(crate) as_of: Time,
    /// The worst first, and what is over last.
    pub(crate) list: Vec<Warning>,
    /// What is looked for: each rule, and when it warns.
    pub(crate) rules: Vec<(String, String)>,
    /// What is missing in this, in sentences.
    pub(crate) notes: Vec<String>,
}

/// One thing that somebody should know. Every text is harmless to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// Names it.
    pub(crate) id: String,
    /// What was looked for.
    pub(crate) rule: String,
    /// `info`, `warning` or `critical`.
    pub(crate) severity: String,
    /// `open`, `acknowledged`, `muted` or `resolved`.
    pub(crate) state: String,
    /// The source, as it is called there.
    pub(crate) source: String,
    /// The lock; `None`: it is about none alone.
    pub(crate) lock: Option<LockId>,
    /// What a person calls it.
    pub(crate) about: String,
    /// Since when.
    pub(crate) since: Time,
    /// When it was over.
    pub(crate) until: Option<Time>,
    /// What is so.
    pub(crate) says: String,
    /// Why it matters.
    pub(crate) why: String,
    /// What to do.
    pub(crate) todo: String,
    /// Who looks into it, until when it is muted, how it was over, whether it is old: a sentence each.
    pub(crate) notes: Vec<String>,
    /// The mute because of which nobody is told.
    pub(crate) mute: Option<String>,
}

impl Warnings {
    /// Reads an answer.
    pub(super) fn read(status: u16, body: &str) -> Result<Warnings, Refusal> {
        let value = parse(body).filter(|_| status == 200).ok_or_else(|| Refusal::read(status, body))?;
        let list: Vec<Warning> = value.items("warnings").iter().filter_map(Warning::of).collect();
        let rule = |rule: &Value| {
            let mut says = shown(rule.text("says"));
            for (said, name) in [(key::rule_in_source, "source"), (key::rule_for_pattern, "pattern")] {
                let only = rule.text(name);
                if !only.is_empty() {
                    says.push_str(&lang::fill(said, [&shown(only)]));
                }
            }
            (shown(rule.text("rule")), says)
        };
        let mut notes = Vec::new();
        let left_out = value.number("total").unwrap_or(0).saturating_sub(list.len() as u64);
        if left_out > 0 {
            notes.push(t!(more_are_not_listed_here, count(left_out)));
        }
        if let Some(not_listed @ 1..) = value.number("not_listed") {
            let count = count(not_listed);
            notes.push(t!(locks_more_have_something_to, count));
        }
        let not_kept = value.text("not_kept");
        if !not_kept.is_empty() {
            notes.push(t!(what_is_noted_here_does, shown(not_kept)));
        }
        Ok(Warnings {
            as_of: value.text("as_of").parse().unwrap_or(Time(0)),
            list,
            rules: value.items("rules").iter().map(rule).collect(),
            notes,
        })
    }
}

impl Warning {
    /// The lock as its store knows it; what it is about where that is no lock.
    pub(crate) fn key(&self) -> String {
        self.lock.as_ref().map_or_else(|| self.about.clone(), |id| id.as_str().to_owned())
    }

    fn of(value: &Value) -> Option<Warning> {
        let text = |name: &str| shown(value.text(name));
        let (noted, muted) = (value.field("acknowledged"), value.field("muted"));
        let mut notes = Vec::new();
        if *value.field("stale") == Value::Bool(true) {
            notes.push(t!(its_source_cannot_be_reached).to_owned());
        }
        if *noted != Value::Null {
            let note = noted.text("note");
            let note = if note.is_empty() { ".".to_owned() } else { format!(": “{}”", shown(note)) };
            notes.push(t!(looks_into_it, shown(noted.text("by")), note));
        }
        if *muted != Value::Null {
            let (by, until, reason) =
                (shown(muted.text("by")), shown(muted.text("until")), shown(muted.text("reason")));
            notes.push(t!(muted_by_until, by, until, reason));
        }
        let how = text("resolved");
        if !how.is_empty() {
            notes.push(how);
        }
        if let Some(times @ 2..) = value.number("times") {
            notes.push(t!(this_is_the_time, times));
        }
        Some(Warning {
            id: value.text("id").to_owned(),
            rule: text("rule"),
            severity: text("severity"),
            state: text("state"),
            source: value.text("source").to_owned(),
            lock: LockId::parse(value.text("lock")).ok().filter(|_| !value.text("lock").is_empty()),
            about: text("about"),
            since: value.text("since").parse().ok()?,
            until: value.text("resolved_at").parse().ok(),
            says: text("says"),
            why: text("why"),
            todo: text("todo"),
            notes,
            mute: Some(muted.text("id").to_owned()).filter(|id| !id.is_empty()),
        })
    }

    /// Whether it is so now.
    pub(crate) fn is_so(&self) -> bool {
        self.state != "resolved"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"as_of":"2026-01-01T02:51:00.000Z","total":3,"not_listed":0,"warnings":[
        {"id":"ab","rule":"no-expiry","severity":"warning","state":"muted","source":"orders","lock":"lock:a","about":"a\u001b",
         "since":"2026-01-01T02:40:00.000Z","opened_at":"2026-01-01T02:50:00.000Z","says":"It has none.","why":"w","todo":"t",
         "times":2,"acknowledged":{"by":"ada","at":"2026-01-01T02:50:30.000Z","note":null},
         "muted":{"id":"m1","until":"2026-01-01T03:00:00.000Z","by":"bob","reason":"known"},"stale":true},
        {"id":"cd","rule":"evictable","severity":"info","state":"resolved","source":"orders","lock":null,"about":"orders",
         "since":"2026-01-01T02:40:00.000Z","opened_at":"2026-01-01T02:50:00.000Z","says":"s","why":"w","todo":"t","times":1,
         "resolved_at":"2026-01-01T02:50:40.000Z","resolved":"The store keeps its keys now.","stale":false}],
        "rules":[{"rule":"held-long","source":"orders","pattern":null,"severity":"warning","says":"held for 1 h"}],
        "not_kept":"a demo"}"#;

    #[test]
    fn a_warning_comes_with_who_looks_into_it_and_what_became_of_it() {
        let read = Warnings::read(200, ANSWER).unwrap();
        let [muted, over] = &read.list[..] else { panic!("{read:?}") };
        assert_eq!((muted.about.as_str(), muted.mute.as_deref(), muted.is_so()), ("a\\u{1b}", Some("m1"), true));
        assert_eq!(
            muted.notes,
            [
                "Its source cannot be reached: this is the last that is known.",
                "ada looks into it.",
                "Muted by bob until 2026-01-01T03:00:00.000Z: “known”",
                "This is the 2. time."
            ]
        );
        assert_eq!((over.lock.is_none(), over.until.is_some(), over.is_so()), (true, true, false));
        assert_eq!(over.notes, ["The store keeps its keys now."]);
        assert_eq!(read.rules, [("held-long".to_owned(), "held for 1 h, in orders".to_owned())]);
        assert_eq!(read.notes.len(), 2, "one is not on the page, and nothing is kept");
    }

    #[test]
    fn a_refusal_is_told() {
        let body = r#"{"type":"t","title":"t","status":403,"detail":"`view` is needed","hint":"h"}"#;
        assert_eq!(Warnings::read(403, body).unwrap_err().detail, "`view` is needed");
    }
}
