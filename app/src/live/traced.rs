//! What a trace of one lock says: the server's own sentences, under terms.

use lockkeeper_model::Time;

use super::json::{Value, parse};

/// Clients and deeds beyond this number say nothing to a person that the sum does not say.
const MOST_LISTED: usize = 50;

/// When the sample ended, and terms with what is said of each.
pub(crate) type Sampled = (Option<Time>, Vec<(&'static str, String)>);

/// Reads the answer to a trace.
///
/// # Errors
/// Why there was none, in sentences.
pub(crate) fn read_trace(body: &str) -> Result<Sampled, String> {
    let answer = parse(body).unwrap_or(Value::Null);
    let Some(lock) = answer.items("locks").first() else {
        let detail = answer.text("detail");
        let said = if detail.is_empty() { "no answer came that could be read" } else { detail };
        return Err(match answer.text("hint") {
            "" => format!("There was no trace: {said}."),
            hint => format!("There was no trace: {said}. What to try: {hint}."),
        });
    };
    let mut said = vec![("Ended", answer.text("ended_because").to_owned()), ("Attempts", lock.text("says").to_owned())];
    for (term, items) in [("Wants it", lock.items("trying")), ("Acted", lock.items("deeds"))] {
        said.extend(items.iter().take(MOST_LISTED).map(|item| (term, item.text("says").to_owned())));
    }
    said.push(("Cost", answer.text("cost").to_owned()));
    said.extend(answer.items("missing").iter().map(|missing| ("Not seen", missing.text("costs").to_owned())));
    Ok((answer.text("to").parse().ok(), said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stands_under_its_terms() {
        let body = r#"{"to":"1970-01-01T00:00:03.000Z","ended_because":"its 3 s were over","cost":"c","bytes":1.5,
            "locks":[{"says":"tried for 2 times","trying":[{"says":"a tried"},{"says":"b tried"}],"deeds":[{"says":"d"}]}],
            "missing":[{"permission":"p","costs":"names","fix":"f"}]}"#;
        let (to, said) = read_trace(body).unwrap();
        let said: Vec<(&str, &str)> = said.iter().map(|(term, text)| (*term, text.as_str())).collect();
        assert_eq!(to, Some(Time(3_000)));
        let trying = [("Wants it", "a tried"), ("Wants it", "b tried"), ("Acted", "d"), ("Cost", "c")];
        assert_eq!(said[0], ("Ended", "its 3 s were over"));
        assert_eq!(
            (said[1], &said[2..6], said[6]),
            (("Attempts", "tried for 2 times"), &trying[..], ("Not seen", "names"))
        );
    }

    #[test]
    fn a_refusal_says_why_and_what_to_try_and_no_answer_is_said_to_be_none() {
        let busy = r#"{"type":"/problems/too-busy","title":"t","status":503,"detail":"it is busy","hint":"wait"}"#;
        assert_eq!(read_trace(busy).unwrap_err(), "There was no trace: it is busy. What to try: wait.");
        for unreadable in ["", "<html>", r#"{"locks":[]}"#] {
            assert_eq!(read_trace(unreadable).unwrap_err(), "There was no trace: no answer came that could be read.");
        }
    }
}
