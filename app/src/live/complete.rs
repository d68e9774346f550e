//! What the word that is being typed could become.

use std::ops::Range;

use lockkeeper_model::search::{Field, STATE_FILTERS, words_of};
use lockkeeper_model::wire::FacetCount;
use lockkeeper_model::words::shown;
use lockkeeper_model::{FLAG_FILTERS, Flag};

use crate::lang::{count, t};

/// As many as are read at a glance.
const MOST_OFFERS: usize = 8;

/// Times that are worth a look, in the order in which they are offered.
const TIMES: [&str; 4] = ["30s", "5m", "30m", "2h"];

/// Something that the word could become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// What it is replaced by.
    pub(crate) text: String,
    /// What is shown beside it.
    pub(crate) note: String,
}

/// Names that a condition can be about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The sources.
    pub(crate) sources: Vec<String>,
    /// The dialects that there are locks of.
    pub(crate) dialects: Vec<String>,
}

/// Which part of the text would be replaced, and by what.
pub(crate) fn offers(text: &str, caret: usize, names: &Names, facets: &[FacetCount]) -> (Range<usize>, Vec<Offer>) {
    let here = words_of(text).into_iter().find(|word| word.span.start < caret && caret <= word.span.end);
    let Some(word) = here else { return (caret..caret, Vec::new()) };
    let minus = if word.excluded { "-" } else { "" };
    let typed = word.value.to_ascii_lowercase();
    let mut offers = Vec::new();
    match word.field {
        None if word.quotes.is_none() => {
            for field in Field::ALL {
                // Beyond the field itself it is text: keys are full of colons.
                if !typed.is_empty() && field.word().starts_with(&typed) {
                    for operator in field.operators() {
                        let note = meaning(field, *operator).to_owned();
                        offers.push(Offer { text: format!("{minus}{}{operator}", field.word()), note });
                    }
                }
            }
        }
        None => {}
        Some((field, operator)) => {
            let values: Vec<String> = match field {
                Field::Source => names.sources.clone(),
                Field::Dialect => names.dialects.clone(),
                Field::State => STATE_FILTERS.map(str::to_owned).to_vec(),
                Field::Flag => FLAG_FILTERS.map(|flag: Flag| flag.word().to_owned()).to_vec(),
                Field::Held | Field::Wait | Field::Left => TIMES.map(str::to_owned).to_vec(),
                Field::Name | Field::Holder | Field::Waiters => Vec::new(),
            };
            for value in values {
                if value.to_ascii_lowercase().contains(&typed) && value != word.value {
                    let known = facets.iter().find(|facet| facet.field == field.word() && facet.value == value);
                    let note = known.map_or_else(String::new, |facet| t!(shown, count(facet.locks)));
                    let quoted =
                        if value.contains(char::is_whitespace) { format!("\"{value}\"") } else { value.clone() };
                    offers.push(Offer { text: format!("{minus}{}{operator}{quoted}", field.word()), note });
                }
            }
        }
    }
    offers.truncate(MOST_OFFERS);
    (word.span, offers)
}

/// An offer as it is shown.
pub(crate) fn said(offer: &Offer) -> String {
    shown(&offer.text)
}

fn meaning(field: Field, operator: char) -> &'static str {
    match (field, operator) {
        (Field::Name, _) => t!(a_part_of_the_key),
        (Field::Holder, _) => t!(a_part_of_the_token),
        (Field::Source, _) => t!(the_source),
        (Field::Dialect, _) => t!(the_library_family),
        (Field::State, _) => t!(the_state_of_the_lock),
        (Field::Flag, _) => t!(what_is_dangerous_about_it),
        (Field::Held, '>') => t!(held_for_longer_than),
        (Field::Held, _) => t!(held_for_less_than),
        (Field::Wait, '>') => t!(waited_for_longer_than),
        (Field::Wait, _) => t!(waited_for_less_than),
        (Field::Left, '>') => t!(its_lease_runs_for_longer),
        (Field::Left, _) => t!(its_lease_runs_for_less),
        (Field::Waiters, _) => t!(more_wait_than),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let names = Names { sources: vec!["orders".to_owned(), "two words".to_owned()], dialects: Vec::new() };
        let facets = [FacetCount { field: "state".to_owned(), value: "held".to_owned(), locks: 1_200 }];
        let (_, offers) = offers(text, text.len(), &names, &facets);
        offers.into_iter().map(|offer| format!("{} {}", offer.text, offer.note).trim().to_owned()).collect()
    }

    #[test]
    fn a_word_becomes_a_field_and_then_a_value_of_it() {
        assert_eq!(texts("stock ho"), ["holder: a part of the token, or who it is"]);
        assert_eq!(texts("-hel"), ["-held> held for longer than", "-held< held for less than"]);
        assert_eq!(texts("held>"), ["held>30s", "held>5m", "held>30m", "held>2h"]);
        assert_eq!(texts("state:h"), ["state:held 1,200 shown", "state:unknown_holder"]);
        assert_eq!(texts("source:"), ["source:orders", "source:\"two words\""]);
        assert_eq!(texts("flag:no-e"), ["flag:no-expiry"]);
    }

    #[test]
    fn nothing_is_offered_for_what_is_whole_or_is_text() {
        for text in ["", "stock ", "lock:", "\"ho", "state:held", "holder:worker"] {
            assert_eq!(texts(text), [""; 0], "{text}");
        }
        let (span, _) = offers("a state:h b", 9, &Names::default(), &[]);
        assert_eq!(span, 2..9);
    }
}
