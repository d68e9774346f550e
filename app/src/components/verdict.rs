use leptos::prelude::*;
use lockkeeper_model::Verdict;

use super::say::Judgement;
use crate::ui::text;

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
    /// What is judged.
    #[prop(into)]
    judgement: Signal<Judgement>,
) -> impl IntoView {
    let evidence = text(move || judgement.with(|judgement| judgement.evidence.clone()));
    view! {
        <span class=text(move || judgement.with(|judgement| verdict_class(judgement.verdict)))>
            {text(move || judgement.with(|judgement| judgement.word))}
        </span>
        <small title=evidence>{evidence}</small>
    }
}
