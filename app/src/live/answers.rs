//! What the HTTP side says to a preview or a release, read tolerantly: an engineer needs the sentence, whatever its form.

use lockkeeper_model::{Problem, ReleaseAnswer};
use serde::de::DeserializeOwned;

use super::decode::read;
use crate::lang::t;

/// Why there is no preview, or nothing was released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What went wrong, in a sentence.
    pub(crate) detail: String,
    /// What to try.
    pub(crate) hint: Option<String>,
    /// Whether a new preview may help: the ticket ended or was used.
    pub(crate) ask_again: bool,
}

impl Refusal {
    /// The server was not reached.
    pub(crate) fn unreachable(sent: bool) -> Refusal {
        let detail = if sent { t!(the_request_was_sent_and) } else { t!(the_server_could_not_be) };
        Refusal { detail: detail.to_owned(), hint: None, ask_again: true }
    }

    /// Reads why from an answer that is no result.
    pub(super) fn read(status: u16, body: &str) -> Refusal {
        let ask_again = matches!(status, 409 | 410);
        match read::<Problem>(body) {
            Ok(problem) => Refusal { detail: problem.detail, hint: problem.hint, ask_again },
            Err(_) => Refusal { detail: t!(the_server_answered_with_status, status), hint: None, ask_again },
        }
    }
}

/// Reads an answer that has what was asked for only where it says so: a preview, an approval.
pub(crate) fn read_answer<T: DeserializeOwned>(status: u16, body: &str) -> Result<T, Refusal> {
    match read(body) {
        Ok(answer) if matches!(status, 200 | 201) => Ok(answer),
        _ => Err(Refusal::read(status, body)),
    }
}

/// Reads the answer to a release. Results count whatever the status: 409 carries them too.
pub(crate) fn read_release(status: u16, body: &str) -> Result<ReleaseAnswer, Refusal> {
    read(body).map_err(|_| Refusal::read(status, body))
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Outcome, PreviewAnswer};

    use super::*;

    #[test]
    fn results_are_read_from_a_conflict_too() {
        let body = r#"{"results":[{"source":"orders","id":"lock:1","outcome":"changed_hands","detail":"somebody else",
            "holder_now":null,"woken":null,"after":null}],"type":"/problems/x","title":"t","status":409,"detail":"d"}"#;
        assert_eq!(read_release(409, body).unwrap().results[0].outcome, Outcome::ChangedHands);
    }

    #[test]
    fn a_problem_says_its_detail_and_an_ended_ticket_may_be_asked_for_again() {
        let body =
            r#"{"type":"/problems/ticket","title":"Ticket","status":410,"detail":"the ticket has expired","hint":"h"}"#;
        let refusal = read_release(410, body).unwrap_err();
        assert_eq!((refusal.detail.as_str(), refusal.ask_again), ("the ticket has expired", true));
        let refusal = read_answer::<PreviewAnswer>(502, "<html>").unwrap_err();
        assert_eq!((refusal.detail.as_str(), refusal.ask_again), ("The server answered with status 502.", false));
    }
}
