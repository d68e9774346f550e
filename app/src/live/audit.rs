//! The audit as people read it: one line for each attempt, put together from the entries that tell of it.

use lockkeeper_model::{LockId, Time};

use super::answers::Refusal;
use super::json::{Value, parse};

/// Some of the audit, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditPage {
    /// The attempts and refusals.
    pub(crate) attempts: Vec<Attempt>,
    /// From where to ask for older entries; `None` where there are none.
    pub(crate) next_before: Option<u64>,
    /// How many entries there are in all, and the hash of the newest; `None` for whoever is told of a part.
    pub(crate) chain: Option<(u64, String)>,
}

/// Something that was tried, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The number of the entry that began it.
    pub(crate) number: u64,
    /// When it began.
    pub(crate) at: Time,
    /// Who asked.
    pub(crate) who: String,
    /// How it is known who that was.
    pub(crate) via: String,
    /// What for; empty where that was not said.
    pub(crate) action: String,
    /// The source, and the lock; `None` for a refusal of something that names none.
    pub(crate) lock: Option<(String, LockId)>,
    /// What came of it; `attempted` where that is not known.
    pub(crate) outcome: String,
    /// Why, in the words of who asked.
    pub(crate) reason: String,
    /// What is told of it, in sentences, the oldest first.
    pub(crate) told: Vec<String>,
}

impl AuditPage {
    /// Reads an answer.
    pub(super) fn read(status: u16, body: &str) -> Result<AuditPage, Refusal> {
        let value = parse(body).filter(|_| status == 200).ok_or_else(|| Refusal::read(status, body))?;
        let mut page = AuditPage { next_before: value.number("next_before"), ..AuditPage::default() };
        page.add(value.items("entries"));
        let chain = value.field("chain");
        page.chain = chain.number("length").map(|length| (length, chain.text("head").to_owned()));
        Ok(page)
    }

    /// Puts a page of older entries behind this one. An attempt may begin on the older and end on the newer.
    pub(crate) fn append(&mut self, older: AuditPage) {
        for attempt in older.attempts {
            match self.attempts.iter_mut().rev().find(|known| known.number == attempt.number) {
                Some(known) => known.join(attempt),
                None => self.attempts.push(attempt),
            }
        }
        self.next_before = older.next_before;
    }

    fn add(&mut self, entries: &[Value]) {
        for entry in entries {
            let Some(attempt) = Attempt::of(entry) else { continue };
            match self.attempts.iter_mut().rev().find(|known| known.number == attempt.number) {
                Some(known) => known.join(attempt),
                None => self.attempts.push(attempt),
            }
        }
    }
}

impl Attempt {
    /// What one entry tells.
    fn of(entry: &Value) -> Option<Attempt> {
        let seq = entry.number("seq")?;
        let text = |name: &str| entry.text(name).to_owned();
        let actor = entry.field("actor");
        let lock = LockId::parse(entry.text("lock")).ok().filter(|_| !entry.text("lock").is_empty());
        Some(Attempt {
            number: entry.number("attempt").unwrap_or(seq),
            at: entry.text("at").parse().ok()?,
            who: actor.text("name").to_owned(),
            via: actor.text("via").to_owned(),
            action: text("action"),
            lock: lock.map(|id| (text("source"), id)),
            outcome: text("outcome"),
            reason: text("reason"),
            told: Some(text("detail")).filter(|detail| !detail.is_empty()).into_iter().collect(),
        })
    }

    /// Adds what an older entry tells of the same attempt. What came of it is in the newer, how it began in the older.
    fn join(&mut self, older: Attempt) {
        let outcome = if self.outcome.is_empty() { older.outcome } else { std::mem::take(&mut self.outcome) };
        let told = older.told.into_iter().chain(std::mem::take(&mut self.told)).collect();
        let reason = if older.reason.is_empty() { std::mem::take(&mut self.reason) } else { older.reason };
        *self = Attempt { outcome, told, reason, ..older };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, attempt: &str, outcome: &str, detail: &str) -> String {
        format!(
            r#"{{"seq":{seq},"at":"2026-01-01T02:50:0{seq}.000Z","kind":"x","attempt":{attempt},"actor":{{"name":"ada",
            "via":"password","address":null}},"action":"release","source":"orders","lock":"lock:1","outcome":{outcome},
            "reason":"INC-7","detail":"{detail}"}}"#
        )
    }

    fn page(entries: &[String], next: &str) -> AuditPage {
        let body =
            format!(r#"{{"entries":[{}],"next_before":{next},"chain":{{"length":9,"head":"ab"}}}}"#, entries.join(","));
        AuditPage::read(200, &body).unwrap()
    }

    #[test]
    fn the_entries_of_an_attempt_are_one_line_with_its_outcome_and_its_beginning() {
        let (begin, end) = (entry(3, "null", r#""attempted""#, "tried"), entry(5, "3", r#""released""#, "freed"));
        let after = entry(6, "3", "null", "nobody took it");
        let whole = page(&[after.clone(), end.clone(), entry(4, "null", r#""mistyped""#, "no"), begin.clone()], "null");
        let [release, refusal] = &whole.attempts[..] else { panic!("{whole:?}") };
        assert_eq!((release.number, release.outcome.as_str()), (3, "released"));
        assert_eq!(release.at.to_string(), "2026-01-01T02:50:03.000Z");
        assert_eq!(release.told, ["tried", "freed", "nobody took it"]);
        assert_eq!((refusal.outcome.as_str(), refusal.who.as_str()), ("mistyped", "ada"));
        assert_eq!(whole.chain, Some((9, "ab".to_owned())));

        // The same when the attempt lies across two pages.
        let mut first = page(&[after, end, entry(4, "null", r#""mistyped""#, "no")], "4");
        assert_eq!(first.next_before, Some(4));
        first.append(page(&[begin], "null"));
        assert_eq!((first.attempts, first.next_before), (whole.attempts, None));
    }

    #[test]
    fn an_attempt_without_an_end_stays_unknown_and_a_problem_is_told() {
        let page = page(&[entry(3, "null", r#""attempted""#, "")], "null");
        assert_eq!((page.attempts[0].outcome.as_str(), page.attempts[0].told.len()), ("attempted", 0));
        let body = r#"{"type":"t","title":"t","status":503,"detail":"no audit is kept","hint":"h"}"#;
        assert_eq!(AuditPage::read(503, body).unwrap_err().detail, "no audit is kept");
    }
}
