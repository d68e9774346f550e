//! The audit as files that other programs read.

use lockkeeper_model::AuditEntry;

/// A form to take the audit away in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For spreadsheets.
    Csv,
    /// One JSON object a line; complete, so that the chain can be checked from it.
    Jsonl,
}

const COLUMNS: [&str; 20] = [
    "seq",
    "at",
    "kind",
    "attempt",
    "actor",
    "via",
    "address",
    "action",
    "source",
    "lock",
    "generation",
    "token",
    "token_sha256",
    "ticket",
    "reason",
    "outcome",
    "seen",
    "detail",
    "previous",
    "hash",
];

impl Format {
    /// The `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Jsonl => "application/jsonl; charset=utf-8",
        }
    }

    /// Its name on command lines and in URLs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
        }
    }

    /// What a file of it is called.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Format::Csv => "lockkeeper-audit.csv",
            Format::Jsonl => "lockkeeper-audit.jsonl",
        }
    }

    /// What stands before the first entry.
    #[must_use]
    pub fn header(self) -> String {
        match self {
            Format::Csv => COLUMNS.join(",") + "\r\n",
            Format::Jsonl => String::new(),
        }
    }

    /// One entry, with the end of its line.
    #[must_use]
    pub fn line(self, entry: &AuditEntry) -> String {
        match self {
            Format::Csv => csv(entry),
            // Numbers, texts and nothing else: this cannot fail.
            Format::Jsonl => serde_json::to_string(entry).unwrap_or_default() + "\n",
        }
    }
}

fn csv(entry: &AuditEntry) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.as_deref().map(cell).unwrap_or_default();
    let cells: [String; COLUMNS.len()] = [
        number(Some(entry.seq)),
        entry.at.to_string(),
        entry.kind.word().to_owned(),
        number(entry.attempt),
        cell(&entry.actor.name),
        cell(&entry.actor.via),
        text(&entry.actor.address),
        text(&entry.action),
        text(&entry.source),
        text(&entry.lock),
        text(&entry.generation),
        text(&entry.token),
        text(&entry.token_sha256),
        text(&entry.ticket),
        text(&entry.reason),
        text(&entry.outcome),
        text(&entry.seen),
        cell(&entry.detail),
        cell(&entry.previous),
        cell(&entry.hash),
    ];
    cells.join(",") + "\r\n"
}

/// A cell as RFC 4180 has it. A spreadsheet takes what begins with one of these characters for a formula and computes
/// it on the desk of whoever opens the file, so an apostrophe goes before it, as OWASP advises.
pub(crate) fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if is_formula || text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Actor, AuditKind};

    use super::super::entry::{Deed, GENESIS, hash, seal};
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_never_formulas() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(\"http://evil\")", "\"'=HYPERLINK(\"\"http://evil\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("a=1", "a=1"),
        ] {
            assert_eq!(cell(text), written, "{text:?}");
        }
    }

    #[test]
    fn a_line_of_json_is_enough_to_check_its_hash() {
        let deed = Deed::by(&Actor::anonymous(Some("127.0.0.1".to_owned()))).reason("=cmd|' /C calc'!A0");
        let sealed = seal(deed.entry(AuditKind::Refusal, None, "no"), 1, GENESIS).unwrap();
        let line = Format::Jsonl.line(&sealed.entry);
        let (body, rest) = line.trim_end().rsplit_once(",\"hash\":\"").unwrap();
        assert_eq!(hash(format!("{body}}}").as_bytes()), rest.trim_end_matches("\"}"));
    }

    #[test]
    fn every_line_of_csv_has_every_column() {
        let deed = Deed::by(&Actor::server()).reason("plain");
        let sealed = seal(deed.entry(AuditKind::Refusal, None, "no"), 1, GENESIS).unwrap();
        let (header, line) = (Format::Csv.header(), Format::Csv.line(&sealed.entry));
        assert_eq!(header.matches(',').count(), line.matches(',').count());
        assert!(line.starts_with("1,2") && line.ends_with(&format!("{}\r\n", sealed.entry.hash)), "{line}");
    }
}
