use leptos::prelude::*;
use lockkeeper_model::words::{count, shown};
use lockkeeper_model::{Coverage, Question, SourceState, SourceStatus};

use super::coverage::{coverage, coverage_of_all};
use crate::live::board::Counts;
use crate::live::{LinkState, Live};
use crate::nav::Nav;
use crate::ui::{When, flag, skeleton, text};

/// What is said while the first answer is on its way.
const CONNECTING: &str = "Connecting…";

/// What is said where there is no source, or none that this person may see.
const NO_SOURCE: &str = "No source to look at";
const NO_SOURCE_MEANS: [&str; 2] = [
    "No store is watched that you may see.",
    "Whoever runs Lockkeeper names stores with --redis or in lockkeeper.toml, and says in [[role]] who sees them.",
];

/// Why the table is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Why {
    title: String,
    lines: Vec<String>,
    /// Something is filtered away that could be brought back.
    filtered: bool,
    /// Nothing is known yet, and will be in a moment.
    asking: bool,
}

/// Says why there is nothing to see: nothing asked yet, nothing found and what was looked for, or nothing that fits.
#[component]
pub(crate) fn Empty() -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let why = move || {
        let link = live.link.get();
        let counts = live.counts.get();
        let now = live.now.get();
        nav.route.with(|route| live.sources.with(|sources| why(link, counts, &route.question, sources, now)))
    };
    let asking = Memo::new(move |_| why().asking);
    let clear = move |_| {
        nav.ask(|question| {
            *question =
                Question { sort: question.sort, order: question.order, group: question.group, ..Question::default() };
        });
    };
    view! {
        <When holds=asking>{skeleton("locks", CONNECTING)}</When>
        <div class="empty" class:unseen=asking>
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

fn why(link: LinkState, counts: Option<Counts>, question: &Question, sources: &[SourceStatus], now: i64) -> Why {
    let plain =
        |title: &str, lines: Vec<String>| Why { title: title.to_owned(), lines, filtered: false, asking: false };
    let Some(counts) = counts else {
        return match link {
            LinkState::Lost { .. } => plain("No connection yet", vec!["Nothing is known about any lock.".to_owned()]),
            _ => Why { title: String::new(), lines: Vec::new(), filtered: false, asking: true },
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
            let all: Vec<&Coverage> = sources.iter().map(|source| &source.coverage).collect();
            lines.push(format!("There may be more: {}.", coverage_of_all(&all, now)));
        }
        return Why {
            title: format!("None of the {} locks answers to {asked}", count(counts.all)),
            lines,
            filtered: true,
            asking: false,
        };
    }
    if sources.is_empty() {
        return plain(NO_SOURCE, NO_SOURCE_MEANS.map(str::to_owned).to_vec());
    }
    let lines = sources.iter().flat_map(|source| std::iter::once(looked_for(source, now)).chain(not_permitted(source)));
    let lines = lines.collect();
    let scanning = sources.iter().any(|source| source.state == SourceState::Scanning);
    let down = !sources.is_empty() && sources.iter().all(|source| source.state == SourceState::Down);
    let title = match (down, scanning) {
        (true, _) => "No source answers",
        (false, true) => "No lock found so far",
        (false, false) => "No locks are held",
    };
    plain(title, lines)
}

/// What a source does not let us do, and the line that would change that.
fn not_permitted(source: &SourceStatus) -> impl Iterator<Item = String> {
    source.missing_permissions.iter().map(|missing| {
        let (name, what) = (shown(&source.name), shown(&missing.permission));
        format!("{name} does not permit {what}: {}. To grant it: {}", shown(&missing.costs), shown(&missing.fix))
    })
}

/// What was looked for in a source, and how far.
fn looked_for(source: &SourceStatus, now: i64) -> String {
    let name = shown(&source.name);
    if source.state == SourceState::Down {
        return match &source.problem {
            Some(problem) => {
                let hint = source.hint.as_ref().map(|hint| format!(". Try: {}", shown(hint))).unwrap_or_default();
                format!("{name}: {}{hint}", shown(problem))
            }
            None => format!("{name} does not answer."),
        };
    }
    let patterns = if source.patterns.is_empty() {
        "every form that the built-in catalogue knows".to_owned()
    } else {
        let patterns: Vec<String> = source.patterns.iter().map(|pattern| shown(pattern)).collect();
        format!("keys like {}", patterns.join(", "))
    };
    let mut line = format!("{name}: looked for {patterns}; {}", coverage(&source.coverage, now));
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
