//! The language of the search box and of `q`: words, and conditions on what is known of a lock. `docs/query.md` explains
//! it to people.
//!
//! A word is a condition only where it begins with a known field and its operator, since keys are full of colons:
//! `lock:stock` is text, `flag:no-expiry` is not.

use std::fmt;
use std::ops::Range;

use crate::{FLAG_FILTERS, Flag, words};

/// The words that `state` can be asked for.
pub const STATE_FILTERS: [&str; 5] = ["held", "waiting", "waiting_only", "no_quorum", "unknown_holder"];

/// The longest time in a condition, in milliseconds: a year. No lock is meant to be held as long, and no sum of it with a
/// moment overflows.
const MAX_TIME_MS: i64 = 365 * 86_400_000;

/// What a condition can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The key.
    Name,
    /// Who has it: the token, or who that is as far as known.
    Holder,
    /// The source.
    Source,
    /// The library family.
    Dialect,
    /// The state of the lock as a whole.
    State,
    /// What is dangerous about it.
    Flag,
    /// For how long it has been held.
    Held,
    /// For how long somebody has been waiting without a break.
    Wait,
    /// How long its lease still runs.
    Left,
    /// How many wait.
    Waiters,
}

impl Field {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Field; 10] = [
        Field::Holder,
        Field::Held,
        Field::Wait,
        Field::Waiters,
        Field::Left,
        Field::Flag,
        Field::State,
        Field::Source,
        Field::Dialect,
        Field::Name,
    ];

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Field::Name => "name",
            Field::Holder => "holder",
            Field::Source => "source",
            Field::Dialect => "dialect",
            Field::State => "state",
            Field::Flag => "flag",
            Field::Held => "held",
            Field::Wait => "wait",
            Field::Left => "left",
            Field::Waiters => "waiters",
        }
    }

    /// What can stand between it and a value.
    #[must_use]
    pub fn operators(self) -> &'static [char] {
        match self {
            Field::Held | Field::Wait | Field::Left => &['>', '<'],
            // How many wait is often not known, and unknown is not few.
            Field::Waiters => &['>'],
            _ => &[':'],
        }
    }
}

/// On which side of a value something has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// `>`
    More,
    /// `<`
    Less,
}

/// What has to be so of a lock. Where it is not known whether it is, it is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key or a holder's token contains this; A to Z count as a to z.
    Text(String),
    /// The key contains this.
    Name(String),
    /// A holder's token contains this, or what is known of who that is.
    Holder(String),
    /// It is of this source.
    Source(String),
    /// It is of this dialect.
    Dialect(String),
    /// It is in this state, one of [`STATE_FILTERS`].
    State(&'static str),
    /// It has this flag, one of [`FLAG_FILTERS`].
    Flag(Flag),
    /// It has been held for more or less than so many milliseconds.
    Held(Side, i64),
    /// Somebody has been waiting for it for more or less than so many milliseconds.
    Wait(Side, i64),
    /// Its lease runs for more or less than so many milliseconds. One without expiry runs for more than any.
    Left(Side, i64),
    /// More than so many wait for it.
    Waiters(u32),
}

impl Condition {
    /// Whether it can become so, or cease to be, only because time passes.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        matches!(self, Condition::Held(..) | Condition::Wait(..) | Condition::Left(..))
    }
}

/// A condition, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// It must not be so.
    pub excluded: bool,
    /// What.
    pub condition: Condition,
}

/// What was asked for: all of it must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The terms, in order.
    pub terms: Vec<Term>,
}

/// A word that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchError {
    /// The word.
    pub word: String,
    /// What it may be.
    pub expected: String,
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not understood, expected {}", words::shown(&self.word), self.expected)
    }
}

impl std::error::Error for SearchError {}

/// A word of a search as it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// From where to where, its minus and its quotes included.
    pub span: Range<usize>,
    /// It begins with a minus.
    pub excluded: bool,
    /// The field and the operator, where it begins with them.
    pub field: Option<(Field, char)>,
    /// What it says, without quotes.
    pub value: String,
    /// The value is in quotes, and whether they are closed.
    pub quotes: Option<bool>,
}

/// Takes a text apart into its words.
#[must_use]
pub fn words_of(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(skipped) = text[at..].find(|c: char| !c.is_whitespace()) {
        at += skipped;
        let start = at;
        let rest = &text[at..];
        // A minus alone is text.
        let excluded = rest.len() > 1 && rest.starts_with('-') && !rest[1..].starts_with(char::is_whitespace);
        at += usize::from(excluded);
        let field = field_of(&text[at..]);
        if let Some((field, _)) = field {
            at += field.word().len() + 1;
        }
        let (value, length, quotes) = match text[at..].strip_prefix('"') {
            Some(quoted) => {
                let (value, length, closed) = unquoted(quoted);
                (value, length + 1, Some(closed))
            }
            None => {
                let length = text[at..].find(char::is_whitespace).unwrap_or(text.len() - at);
                (text[at..at + length].to_owned(), length, None)
            }
        };
        at += length;
        words.push(Word { span: start..at, excluded, field, value, quotes });
    }
    words
}

/// The field and the operator that a word begins with.
fn field_of(word: &str) -> Option<(Field, char)> {
    let end = word.find([':', '>', '<'])?;
    let operator = word[end..].chars().next()?;
    let field = Field::ALL.into_iter().find(|field| field.word().eq_ignore_ascii_case(&word[..end]))?;
    // `held:7` may well be a key.
    field.operators().contains(&operator).then_some((field, operator))
}

/// What stands before the closing quote, how long that is with it, and whether there is one. A backslash takes a quote or
/// a backslash as it is.
fn unquoted(text: &str) -> (String, usize, bool) {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => return (value, at + 1, true),
            ('\\', Some(&(_, next @ ('"' | '\\')))) => {
                value.push(next);
                chars.next();
            }
            _ => value.push(c),
        }
    }
    (value, text.len(), false)
}

impl Search {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// Names the first word that is not understood, and what it may be.
    pub fn parse(text: &str) -> Result<Search, SearchError> {
        let mut terms = Vec::new();
        for word in words_of(text) {
            let expected = |expected: String| SearchError {
                word: text[word.span.clone()].chars().take(words::MAX_SHOWN_CHARS).collect(),
                expected,
            };
            if word.quotes == Some(false) {
                return Err(expected("a `\"` at its end".to_owned()));
            }
            if word.value.is_empty() {
                return Err(expected(match word.field {
                    Some((field, operator)) => format!("a value behind it: {}", example(field, operator)),
                    None => "something between the quotes".to_owned(),
                }));
            }
            let condition = condition(&word).map_err(expected)?;
            terms.push(Term { excluded: word.excluded, condition });
        }
        Ok(Search { terms })
    }

    /// Whether anything in it can become so, or cease to be, only because time passes.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.terms.iter().any(|term| term.condition.is_timed())
    }
}

/// What a word asks for, or what it may be.
fn condition(word: &Word) -> Result<Condition, String> {
    let value = word.value.clone();
    let Some((field, operator)) = word.field else {
        return Ok(Condition::Text(value));
    };
    let side = if operator == '>' { Side::More } else { Side::Less };
    let expected = || example(field, operator);
    let time = || milliseconds(&value).ok_or_else(expected);
    Ok(match field {
        Field::Name => Condition::Name(value),
        Field::Holder => Condition::Holder(value),
        Field::Source => Condition::Source(value),
        Field::Dialect => Condition::Dialect(value),
        Field::State => {
            let known = STATE_FILTERS.into_iter().find(|known| known.eq_ignore_ascii_case(&value));
            Condition::State(known.ok_or_else(expected)?)
        }
        Field::Flag => {
            let known = FLAG_FILTERS.into_iter().find(|known| known.word().eq_ignore_ascii_case(&value));
            Condition::Flag(known.ok_or_else(expected)?)
        }
        Field::Held => Condition::Held(side, time()?),
        Field::Wait => Condition::Wait(side, time()?),
        Field::Left => Condition::Left(side, time()?),
        Field::Waiters => Condition::Waiters(value.parse().map_err(|_| expected())?),
    })
}

/// What may stand behind a field and its operator.
fn example(field: Field, operator: char) -> String {
    let word = field.word();
    match field {
        Field::Held | Field::Wait | Field::Left => {
            format!("a time, such as `{word}{operator}30s`, `{word}{operator}5m` or `{word}{operator}1h30m`")
        }
        Field::Waiters => "a whole number, such as `waiters>3`".to_owned(),
        Field::State => format!("one of {}", STATE_FILTERS.join(", ")),
        Field::Flag => format!("one of {}", FLAG_FILTERS.map(Flag::word).join(", ")),
        Field::Name => "a part of a key, such as `name:stock`".to_owned(),
        Field::Holder => "a part of a token or of a client's name, such as `holder:worker-7`".to_owned(),
        Field::Source => "the name of a source, such as `source:orders`".to_owned(),
        Field::Dialect => "the name of a dialect, such as `dialect:redis-py`".to_owned(),
    }
}

/// The units of times, with their milliseconds.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `90s`, `1h30m`: whole numbers, each with its unit.
fn milliseconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = UNITS.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(&rest[..letters]))?.1;
        rest = &rest[letters..];
        sum = sum.checked_add(number.checked_mul(unit)?).filter(|sum| *sum <= MAX_TIME_MS)?;
    }
    (!text.is_empty()).then_some(sum)
}

impl fmt::Display for Search {
    /// The text that asks for the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Term { excluded, condition }) in self.terms.iter().enumerate() {
            f.write_str(if at > 0 { " " } else { "" })?;
            f.write_str(if *excluded { "-" } else { "" })?;
            match condition {
                Condition::Text(text) if field_of(text).is_some() || text.starts_with('-') => quote(f, text)?,
                Condition::Text(text) => value(f, text)?,
                Condition::Name(text) => field(f, Field::Name, text)?,
                Condition::Holder(text) => field(f, Field::Holder, text)?,
                Condition::Source(text) => field(f, Field::Source, text)?,
                Condition::Dialect(text) => field(f, Field::Dialect, text)?,
                Condition::State(word) => field(f, Field::State, word)?,
                Condition::Flag(flag) => field(f, Field::Flag, flag.word())?,
                Condition::Held(side, ms) => time(f, Field::Held, *side, *ms)?,
                Condition::Wait(side, ms) => time(f, Field::Wait, *side, *ms)?,
                Condition::Left(side, ms) => time(f, Field::Left, *side, *ms)?,
                Condition::Waiters(number) => write!(f, "waiters>{number}")?,
            }
        }
        Ok(())
    }
}

fn field(f: &mut fmt::Formatter<'_>, field: Field, text: &str) -> fmt::Result {
    write!(f, "{}:", field.word())?;
    value(f, text)
}

fn value(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.contains(char::is_whitespace) || text.starts_with('"') { quote(f, text) } else { f.write_str(text) }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn time(f: &mut fmt::Formatter<'_>, field: Field, side: Side, ms: i64) -> fmt::Result {
    let operator = if side == Side::More { '>' } else { '<' };
    write!(f, "{}{operator}", field.word())?;
    let mut left = ms;
    for (unit, length) in UNITS {
        if left >= length {
            write!(f, "{}{unit}", left / length)?;
            left %= length;
        }
    }
    if ms == 0 { f.write_str("0s") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conditions(text: &str) -> Vec<Condition> {
        Search::parse(text).unwrap().terms.into_iter().map(|term| term.condition).collect()
    }

    #[test]
    fn words_are_conditions_only_where_they_begin_with_a_field_and_its_operator() {
        use Condition::*;
        assert_eq!(
            conditions(
                r#"holder:worker-7 held>5m wait>30s flag:no-expiry source:orders dialect:redis-py state:waiting"#
            ),
            [
                Holder("worker-7".to_owned()),
                Held(Side::More, 300_000),
                Wait(Side::More, 30_000),
                Flag(crate::Flag::NoExpiry),
                Source("orders".to_owned()),
                Dialect("redis-py".to_owned()),
                State("waiting"),
            ]
        );
        let text = |text: &str| Text(text.to_owned());
        assert_eq!(
            conditions("lock:stock:4711 held:7 a>b stock &co - \"quoted  text\" \"flag:x\" wai\"t"),
            ["lock:stock:4711", "held:7", "a>b", "stock", "&co", "-", "quoted  text", "flag:x", "wai\"t"].map(text)
        );
        assert_eq!(conditions("HOLDER:\"a \\\"b\\\" \\\\c\""), [Holder("a \"b\" \\c".to_owned())]);
        assert_eq!(conditions("left<1H30m waiters>3"), [Left(Side::Less, 5_400_000), Waiters(3)]);
        assert_eq!(conditions(" \t "), []);
    }

    #[test]
    fn a_minus_turns_a_term_round() {
        let search = Search::parse("-flag:no-expiry -stock -\"a b\" stock-7").unwrap();
        assert_eq!(search.terms.iter().map(|term| term.excluded).collect::<Vec<_>>(), [true, true, true, false]);
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_it_may_be() {
        for (text, word, expected) in [
            ("stock held>5x", "held>5x", "a time, such as `held>30s`, `held>5m` or `held>1h30m`"),
            ("wait<5", "wait<5", "a time, such as `wait<30s`"),
            ("held>999999999999d", "held>999999999999d", "a time"),
            ("flag:nope", "flag:nope", "one of no-expiry, expiry-lost"),
            ("state:stuck", "state:stuck", "one of held, waiting"),
            ("-holder:", "-holder:", "a value behind it: a part of a token"),
            ("waiters>-1", "waiters>-1", "a whole number"),
            ("a \"b c", "\"b c", "a `\"` at its end"),
            ("\"\"", "\"\"", "something between the quotes"),
        ] {
            let error = Search::parse(text).unwrap_err();
            assert_eq!(error.word, word);
            assert!(error.expected.starts_with(expected), "{error}");
        }
        let said = Search::parse("flag:\u{202e}\u{7}").unwrap_err().to_string();
        assert!(said.starts_with("`flag:\\u{202e}\\u{7}` is not understood"), "{said}");
    }

    #[test]
    fn only_what_speaks_of_time_changes_as_time_passes() {
        assert!(Search::parse("stock held>5m").unwrap().is_timed());
        assert!(Search::parse("-left<5m").unwrap().is_timed());
        assert!(!Search::parse("stock waiters>3 state:held").unwrap().is_timed());
    }

    proptest! {
        #[test]
        fn whatever_is_understood_asks_for_the_same_when_it_is_written_anew(
            text in r#"([ \-"\\:<>a-c]|holder:|held>|5m|flag:no-expiry|name:|ü|\PC){0,40}"#,
        ) {
            match Search::parse(&text) {
                Ok(search) => prop_assert_eq!(Search::parse(&search.to_string()), Ok(search)),
                Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
            }
            // The words and the space between them are the whole text.
            let mut end = 0;
            for word in words_of(&text) {
                prop_assert!(text[end..word.span.start].chars().all(char::is_whitespace));
                end = word.span.end;
            }
            prop_assert!(text[end..].chars().all(char::is_whitespace));
        }
    }
}
