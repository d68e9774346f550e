//! What a trace of one lock says: the server's own sentences, under terms.

use lockkeeper_model::Time;

use crate::components::facts::Facts;
use crate::components::sentence::whole;
use crate::lang::t;
use crate::live::json::{Value, parse};
use crate::ui::hms;

/// Clients and deeds beyond this number say nothing to a person that the sum does not say.
const MOST_LISTED: usize = 50;

/// Reads the answer to a trace: when it was or why there was none, and then what was seen, term by term.
pub(super) fn read_trace(body: &str) -> Facts {
    let answer = parse(body).unwrap_or(Value::Null);
    let say = |of: &Value, name| whole(of.text(name));
    let Some(lock) = answer.items("locks").first() else {
        return vec![match (answer.text("detail"), answer.text("hint")) {
            ("", _) => (t!(no_trace), t!(no_answer_came_that_could).to_owned()),
            (_, "") => (t!(no_trace), say(&answer, "detail")),
            _ => (t!(no_trace), t!(what_to_try_in_sampled, say(&answer, "detail"), say(&answer, "hint"))),
        }];
    };
    let at = answer.text("to").parse::<Time>().map_or_else(|_| String::new(), hms);
    let mut said =
        vec![(t!(sampled_heading), t!(until, at, say(&answer, "ended_because"))), (t!(attempts), say(lock, "says"))];
    for (term, items, part) in [
        (t!(wants_it), lock.items("trying"), "says"),
        (t!(acted), lock.items("deeds"), "says"),
        (t!(not_seen), answer.items("missing"), "costs"),
    ] {
        for item in items.iter().take(MOST_LISTED) {
            said.push((term, say(item, part)));
        }
    }
    said.push((t!(it_cost), say(&answer, "cost")));
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stands_under_its_terms() {
        let body = r#"{"to":"1970-01-01T00:00:03.000Z","ended_because":"its 3 s were over","cost":"c","bytes":1.5,
            "locks":[{"says":"tried for 2 times","trying":[{"says":"a\u202e"},{"says":"b"}],"deeds":[{"says":"d"}]}],
            "missing":[{"permission":"p","costs":"names","fix":"f"}]}"#;
        let said = read_trace(body);
        let said: Vec<(&str, &str)> = said.iter().map(|(term, text)| (*term, text.as_str())).collect();
        let expected = [
            ("Sampled", "until 00:00:03; its 3 s were over"),
            ("Attempts", "tried for 2 times"),
            ("Wants it", "a\\u{202e}"),
            ("Wants it", "b"),
            ("Acted", "d"),
            ("Not seen", "names"),
            ("It cost", "c"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_refusal_says_why_and_what_to_try_and_no_answer_is_said_to_be_none() {
        let busy = r#"{"type":"/problems/too-busy","title":"t","status":503,"detail":"it is busy","hint":"wait"}"#;
        assert_eq!(read_trace(busy), [("No trace", "it is busy. What to try: wait".to_owned())]);
        for unreadable in ["", "<html>", r#"{"locks":[]}"#] {
            assert_eq!(read_trace(unreadable), [("No trace", "no answer came that could be read".to_owned())]);
        }
    }
}
