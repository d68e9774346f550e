//! A question in plain words, so that somebody who typed it sees what was understood.

use lockkeeper_model::Question;
use lockkeeper_model::search::{Condition, Search, Side};
use lockkeeper_model::words::{count, duration, shown};

use super::route::STATES;

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
        parts.push(if term.excluded { format!("not {said}") } else { said });
    }
    if parts.is_empty() { "Every lock".to_owned() } else { format!("Locks {}", parts.join(", ")) }
}

fn part(condition: &Condition) -> String {
    let side = |side: &Side| if *side == Side::More { "more" } else { "less" };
    match condition {
        Condition::Text(text) => format!("with “{}” in the key or the token", shown(text)),
        Condition::Name(text) => format!("with “{}” in the key", shown(text)),
        Condition::Holder(text) => format!("held by “{}”", shown(text)),
        Condition::Source(name) => source(name),
        Condition::Dialect(name) => dialect(name),
        Condition::State(word) => state(word),
        Condition::Flag(known) => flag(known.word()),
        Condition::Held(than, ms) => format!("held for {} than {}", side(than), time(*ms)),
        Condition::Wait(than, ms) => format!("with a wait of {} than {}", side(than), time(*ms)),
        Condition::Left(than, ms) => format!("whose lease runs for {} than {}", side(than), time(*ms)),
        Condition::Waiters(number) => format!("that more than {} wait for", count(u64::from(*number))),
    }
}

fn source(name: &str) -> String {
    format!("of {}", shown(name))
}

fn dialect(name: &str) -> String {
    format!("stored by {}", shown(name))
}

fn state(word: &str) -> String {
    STATES.iter().find(|(known, _)| *known == word).map_or_else(String::new, |(_, said)| (*said).to_owned())
}

fn flag(word: &str) -> String {
    let known = lockkeeper_model::FLAG_FILTERS.into_iter().find(|known| known.word() == word);
    known.map_or_else(String::new, |known| format!("flagged “{}”", known.word().replace('-', " ")))
}

/// `5 m`, without seconds that nobody asked for.
fn time(ms: i64) -> String {
    let mut said = duration(ms);
    for nothing in [" 00 s", " 00 m", " 0 h", ".0"] {
        said = said.replace(nothing, "");
    }
    said
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
