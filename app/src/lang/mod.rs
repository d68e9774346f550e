//! What the app says, in the language of whoever reads it.
//!
//! The words stand in `app/text/`, a file for each language. English is part of the app and names the keys: the build
//! makes a constant of each. Another language has the same keys in the same order and is fetched by whoever asks for
//! it; until it is there, and where it is not to be had, English is shown.

mod choice;
mod numbers;
mod terms;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt::{Display, Write as _};

pub(crate) use choice::Wording;
pub(crate) use numbers::{count, duration, shortest, without_tenths};
pub(crate) use terms::{
    action, action_named, basis_named, certainty, evidence, feed, flag, group_named, outcome_named, severity_named,
    source_state, verdict, verdict_named, warning_state_named,
};

/// The key of every text.
#[expect(non_upper_case_globals, reason = "a key is written in the code as it is in the files")]
pub(crate) mod key {
    use super::Key;
    include!(concat!(env!("OUT_DIR"), "/keys.rs"));
}

/// The English texts, a line each, in the order of their keys.
const ENGLISH: &str = include_str!(concat!(env!("OUT_DIR"), "/english.txt"));

/// Names a text that is filled with so many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key<const PLACES: usize>(u16);

impl Key<0> {
    /// The text.
    pub(crate) fn said(self) -> &'static str {
        template(self.0)
    }
}

/// A language that the app speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// The one that is always there.
    English,
    /// Fetched when it is wanted.
    German,
}

impl Language {
    /// Every language, in the order in which they are offered.
    pub(crate) const ALL: [Language; 2] = [Language::English, Language::German];

    /// Its tag (BCP 47), as browsers and documents use it.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    /// What it calls itself: whoever looks for it may read no other.
    pub(crate) fn own_name(self) -> &'static str {
        match self {
            Language::English => "English",
            Language::German => "Deutsch",
        }
    }

    /// Which of the forms of a plural goes with a number, as it is written: one, or anything else.
    fn form(self, number: &str) -> usize {
        match self {
            Language::English | Language::German => usize::from(number != "1"),
        }
    }
}

/// The texts of a language, in the order of the keys.
type Texts = &'static [&'static str];

thread_local! {
    static SPOKEN: Cell<(Language, Texts)> = const { Cell::new((Language::English, &[])) };
}

/// What is spoken.
pub(crate) fn spoken() -> Language {
    SPOKEN.get().0
}

/// The language of the sentences that the server makes, for the `lang` of an element that shows one alone; `None` where it
/// is that of the page.
pub(crate) fn of_the_server() -> Option<&'static str> {
    (spoken() != Language::English).then(|| Language::English.tag())
}

/// Speaks a language from now on: what is on the screen has to be drawn anew. The words of English are left empty.
///
/// A file with another number of texts than English belongs to another version of the app and is refused.
fn speak(language: Language, words: &str) -> bool {
    let texts: Texts = match language {
        Language::English => english(),
        // Kept for as long as the page is open: a language is changed a few times at most.
        _ => read(String::leak(words.to_owned())).leak(),
    };
    let is_whole = texts.len() == english().len();
    if is_whole {
        SPOKEN.set((language, texts));
    }
    is_whole
}

fn english() -> Texts {
    thread_local! {
        static TEXTS: Texts = ENGLISH.split('\n').collect::<Vec<_>>().leak();
    }
    TEXTS.with(|texts| *texts)
}

/// The texts of a file: what stands between the quotes of each line that has a key.
fn read(file: &str) -> Vec<&str> {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.get(line.find('"')? + 1..line.rfind('"')?)).collect()
}

fn template(key: u16) -> &'static str {
    let (_, texts) = SPOKEN.get();
    let texts = if texts.is_empty() { english() } else { texts };
    texts.get(usize::from(key)).copied().unwrap_or_default()
}

/// Fills a text; what is filled in is not read as one.
pub(crate) fn fill<const PLACES: usize>(key: Key<PLACES>, with: [&dyn Display; PLACES]) -> String {
    filled(template(key.0), &with)
}

/// `{0}` is the first value, `{1:lock|locks}` the form that goes with the second.
fn filled(template: &str, with: &[&dyn Display]) -> String {
    let mut said = String::new();
    let mut rest = template;
    while let Some((before, from)) = rest.split_once('{') {
        let (place, after) = from.split_once('}').unwrap_or((from, ""));
        let (number, forms) = place.split_once(':').unwrap_or((place, ""));
        said.push_str(before);
        if let Some(value) = number.parse().ok().and_then(|number: usize| with.get(number)) {
            let start = said.len();
            // Writing into a string cannot fail.
            let _ = write!(said, "{value}");
            if !forms.is_empty() {
                let form = forms.split('|').nth(spoken().form(&said[start..])).unwrap_or_default();
                said.truncate(start);
                said.push_str(form);
            }
        }
        rest = after;
    }
    said.push_str(rest);
    said
}

/// What is said under a key: a `&'static str`, or a `String` filled with values.
macro_rules! t {
    ($key:ident) => {
        $crate::lang::key::$key.said()
    };
    ($key:ident, $($value:expr),+ $(,)?) => {
        $crate::lang::fill($crate::lang::key::$key, [$(&$value),+])
    };
}
pub(crate) use t;
