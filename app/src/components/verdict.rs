use lockkeeper_model::Verdict;

use super::say::Look;

/// The one table from judgement to look: a class that brings shape and colour. The word is always beside it.
pub(crate) fn verdict_class(look: Look) -> &'static str {
    match look {
        Look::Verdict(Verdict::Alive) => "verdict alive",
        Look::Verdict(Verdict::Quiet) => "verdict quiet",
        Look::Verdict(Verdict::Gone) => "verdict gone",
        Look::Verdict(Verdict::Unknown) => "verdict unknown",
        Look::State => "verdict state",
        Look::Over => "verdict over",
    }
}
