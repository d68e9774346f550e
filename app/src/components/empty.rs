use leptos::prelude::*;
use lockkeeper_model::words::{count, shown};
use lockkeeper_model::{Question, SourceState, SourceStatus};

use super::say;
use crate::live::board::Counts;
use crate::live::{LinkState, Live};
use crate::nav::Nav;
use crate::ui::{When, flag, text};

/// Why the table is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Why {
    title: String,
    lines: Vec<String>,
    /// Something is filtered away that could be brought back.
    filtered: bool,
}

/// Says why there is nothing to see: nothing asked yet, nothing found and what was looked for, or nothing that fits.
#[component]
pub(crate) fn Empty() -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let why = move || {
        let link = live.link.get();
        let counts = live.counts.get();
        nav.route.with(|route| live.sources.with(|sources| why(link, counts, &route.question, sources)))
    };
    let clear = move |_| {
        nav.ask(|question| {
            *question = Question { sort: question.sort, order: question.order, ..Question::default() };
        });
    };
    view! {
        <div class="empty">
            <p class="empty-title">{text(move || why().title)}</p>
            {move || why().lines.into_iter().map(|line| view! { <p>{line}</p> }).collect_view()}
            <When holds=flag(move || why().filtered)>
                <button type="button" class="plain" on:click=clear>
                    "Clear the filters"
                </button>
            </When>
        </div>
    }
}

fn why(link: LinkState, counts: Option<Counts>, question: &Question, sources: &[SourceStatus]) -> Why {
    let plain = |title: &str, lines: Vec<String>| Why { title: title.to_owned(), lines, filtered: false };
    let Some(counts) = counts else {
        return match link {
            LinkState::Lost { .. } => plain("No connection yet", vec!["Nothing is known about any lock.".to_owned()]),
            _ => plain("Connecting…", Vec::new()),
        };
    };
    if let Some(examined) = counts.examined {
        let line = format!("Looked at {} of {} locks so far.", count(examined), count(counts.all));
        return plain("Searching…", vec![line]);
    }
    if counts.all > 0 && !question.is_unfiltered() {
        let asked =
            if question.q.is_empty() { "the filters".to_owned() } else { format!("“{}”", shown(&question.q)) };
        let mut lines = Vec::new();
        if sources.iter().any(|source| !source.coverage.complete) {
            lines.push("A scan is still under way: there may be more.".to_owned());
        }
        return Why {
            title: format!("None of the {} locks answers to {asked}", count(counts.all)),
            lines,
            filtered: true,
        };
    }
    let lines = sources.iter().map(looked_for).collect();
    let scanning = sources.iter().any(|source| source.state == SourceState::Scanning);
    let down = !sources.is_empty() && sources.iter().all(|source| source.state == SourceState::Down);
    let title = match (down, scanning) {
        (true, _) => "No source answers",
        (false, true) => "No lock found so far",
        (false, false) => "No locks are held",
    };
    plain(title, lines)
}

/// What was looked for in a source, and how far.
fn looked_for(source: &SourceStatus) -> String {
    let name = shown(&source.name);
    if source.state == SourceState::Down {
        return match &source.problem {
            Some(problem) => format!("{name}: {}", shown(problem)),
            None => format!("{name} does not answer."),
        };
    }
    let patterns = if source.patterns.is_empty() {
        "every form that the built-in catalogue knows".to_owned()
    } else {
        let patterns: Vec<String> = source.patterns.iter().map(|pattern| shown(pattern)).collect();
        format!("keys like {}", patterns.join(", "))
    };
    let mut line = format!("{name}: looked for {patterns}; {}", say::coverage(source));
    if source.coverage.complete {
        line = format!("{line} ({})", count(source.coverage.scanned_keys));
    }
    if source.not_locks.count > 0 {
        let example = source.not_locks.sample.first();
        let why = example.map(|(id, why)| format!(", for example {}: {}", shown(id.as_str()), shown(why)));
        line = format!("{line}; {} are no locks{}", count(source.not_locks.count), why.unwrap_or_default());
    }
    format!("{line}.")
}
