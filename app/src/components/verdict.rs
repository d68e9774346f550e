use leptos::prelude::*;
use lockkeeper_model::Verdict;

/// The one table from verdict to look: a class that brings shape and colour. The word is always beside it.
pub(crate) fn verdict_class(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Alive) => "verdict alive",
        Some(Verdict::Quiet) => "verdict quiet",
        Some(Verdict::Gone) => "verdict gone",
        Some(Verdict::Unknown) => "verdict unknown",
        None => "verdict over",
    }
}

/// A verdict: shape, word, and the evidence under it.
#[component]
pub(crate) fn VerdictMark(
    /// Shape and colour, from [`verdict_class`].
    class: Signal<String>,
    /// The word.
    word: Signal<String>,
    /// What it rests on.
    evidence: Signal<String>,
) -> impl IntoView {
    view! {
        <span class=class>{word}</span>
        <small title=evidence>{evidence}</small>
    }
}
