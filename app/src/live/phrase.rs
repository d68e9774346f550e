//! A question in plain words, so that somebody who typed it sees what was understood.

use lockkeeper_model::Question;
use lockkeeper_model::search::{Condition, Search, Side};
use lockkeeper_model::words::shown;

use super::route::STATES;
use crate::lang::{self, Key, count, key, shortest, t};

/// What is shown, in a sentence without a full stop.
pub(crate) fn phrase(question: &Question) -> String {
    let mut parts: Vec<String> = Vec::new();
    let filters = [
        question.state.as_deref().map(state),
        question.flag.as_deref().map(flag),
        question.source.as_deref().map(source),
        question.dialect.as_deref().map(dialect),
    ];
    parts.extend(filters.into_iter().flatten());
    for term in Search::parse(&question.q).unwrap_or_default().terms {
        let said = part(&term.condition);
        parts.push(if term.excluded { t!(not, said) } else { said });
    }
    if parts.is_empty() { t!(every_lock).to_owned() } else { t!(locks_in_phrase, parts.join(", ")) }
}

fn part(condition: &Condition) -> String {
    match condition {
        Condition::Text(text) => t!(with_in_the_key_or, shown(text)),
        Condition::Name(text) => t!(with_in_the_key, shown(text)),
        Condition::Holder(text) => t!(held_by_in_phrase, shown(text)),
        Condition::Source(name) => source(name),
        Condition::Dialect(name) => dialect(name),
        Condition::State(word) => state(word),
        Condition::Flag(known) => flag(known.word()),
        Condition::Held(than, ms) => sided(*than, *ms, key::held_for_more, key::held_for_less),
        Condition::Wait(than, ms) => sided(*than, *ms, key::with_a_wait_of_more, key::with_a_wait_of_less),
        Condition::Left(than, ms) => sided(*than, *ms, key::lease_runs_for_more, key::lease_runs_for_less),
        Condition::Waiters(number) => t!(that_more_than_wait_for, count(u64::from(*number))),
    }
}

fn source(name: &str) -> String {
    t!(phrase_of_source, shown(name))
}

fn dialect(name: &str) -> String {
    t!(stored_by, shown(name))
}

fn state(word: &str) -> String {
    STATES.iter().find(|(known, _)| *known == word).map_or_else(String::new, |(_, name)| name.said().to_owned())
}

fn flag(word: &str) -> String {
    let known = lockkeeper_model::FLAG_FILTERS.into_iter().find(|known| known.word() == word);
    known.map_or_else(String::new, |known| t!(flagged, lang::flag(known)))
}

/// More or less than a time, without seconds that nobody asked for.
fn sided(side: Side, ms: i64, more: Key<1>, less: Key<1>) -> String {
    lang::fill(if side == Side::More { more } else { less }, [&shortest(ms)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_said_as_it_was_understood() {
        let said = |q: &str| phrase(&Question { q: q.to_owned(), ..Question::default() });
        assert_eq!(said(""), "Every lock");
        assert_eq!(said("holder:worker-7 held>5m"), "Locks held by “worker-7”, held for more than 5 m");
        assert_eq!(
            said("wait>30s -left<2h -dialect:redis-py"),
            "Locks with a wait of more than 30 s, not whose lease runs for less than 2 h, not stored by redis-py"
        );
        assert_eq!(said("flag:no-expiry state:waiting"), "Locks flagged “no expiry”, waited for");
        let chosen = Question { source: Some("a\u{202e}".to_owned()), ..Question::default() };
        assert_eq!(phrase(&chosen), "Locks of a\\u{202e}");
        assert_eq!(
            ["5s", "1500ms", "1d"].map(|t| said(&format!("held>{t}"))).join("; "),
            "Locks held for more than 5 s; Locks held for more than 1.5 s; Locks held for more than 1 d"
        );
    }
}
