use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Coverage, Question, SourceState, SourceStatus};

use super::coverage::{coverage, coverage_of_all};
use crate::lang::{count, t};
use crate::live::board::Counts;
use crate::live::{LinkState, Live};
use crate::nav::Nav;
use crate::ui::{When, flag, skeleton, text};

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
        <When holds=asking>{skeleton("locks", t!(connecting))}</When>
        <div class="empty" class:unseen=asking>
            <p class="empty-title">{text(move || why().title)}</p>
            {move || why().lines.into_iter().map(|line| view! { <p>{line}</p> }).collect_view()}
            <When holds=flag(move || why().filtered)>
                <button type="button" class="plain" on:click=clear>
                    {t!(clear_the_filters)}
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
            LinkState::Lost { .. } => plain(t!(no_connection_yet), vec![t!(nothing_is_known_about_any).to_owned()]),
            _ => Why { title: String::new(), lines: Vec::new(), filtered: false, asking: true },
        };
    };
    if let Some(examined) = counts.examined {
        let line = t!(looked_at_of_locks_so, count(examined), count(counts.all));
        return plain(t!(searching), vec![line]);
    }
    if counts.all > 0 && !question.is_unfiltered() {
        let asked =
            if question.q.is_empty() { t!(the_filters).to_owned() } else { format!("“{}”", shown(&question.q)) };
        let mut lines = Vec::new();
        if sources.iter().any(|source| !source.coverage.complete) {
            let all: Vec<&Coverage> = sources.iter().map(|source| &source.coverage).collect();
            lines.push(t!(there_may_be_more, coverage_of_all(&all, now)));
        }
        return Why {
            title: t!(none_of_the_locks_answers, count(counts.all), asked),
            lines,
            filtered: true,
            asking: false,
        };
    }
    if sources.is_empty() {
        let lines = [t!(no_store_is_watched), t!(who_names_stores)];
        return plain(t!(no_source_to_look_at), lines.map(str::to_owned).to_vec());
    }
    let lines = sources.iter().flat_map(|source| std::iter::once(looked_for(source, now)).chain(not_permitted(source)));
    let lines = lines.collect();
    let scanning = sources.iter().any(|source| source.state == SourceState::Scanning);
    let down = !sources.is_empty() && sources.iter().all(|source| source.state == SourceState::Down);
    let title = match (down, scanning) {
        (true, _) => t!(no_source_answers),
        (false, true) => t!(no_lock_found_so_far),
        (false, false) => t!(no_locks_are_held),
    };
    plain(title, lines)
}

/// What a source does not let us do, and the line that would change that.
fn not_permitted(source: &SourceStatus) -> impl Iterator<Item = String> {
    source.missing_permissions.iter().map(|missing| {
        let (name, what) = (shown(&source.name), shown(&missing.permission));
        t!(source_does_not_permit, name, what, shown(&missing.costs), shown(&missing.fix))
    })
}

/// What was looked for in a source, and how far.
fn looked_for(source: &SourceStatus, now: i64) -> String {
    let name = shown(&source.name);
    if source.state == SourceState::Down {
        return match &source.problem {
            Some(problem) => {
                let hint = source.hint.as_ref().map(|hint| t!(try_hint, shown(hint))).unwrap_or_default();
                format!("{name}: {}{hint}", shown(problem))
            }
            None => t!(does_not_answer, name),
        };
    }
    let patterns = if source.patterns.is_empty() {
        t!(every_form_that_the_built).to_owned()
    } else {
        let patterns: Vec<String> = source.patterns.iter().map(|pattern| shown(pattern)).collect();
        t!(keys_like, patterns.join(", "))
    };
    let mut line = t!(looked_for, name, patterns, coverage(&source.coverage, now));
    if source.coverage.complete {
        line = format!("{line} ({})", count(source.coverage.scanned_keys));
    }
    if source.not_locks.count > 0 {
        let example = source.not_locks.sample.first();
        let why = example.map(|(id, why)| t!(for_example, shown(id.as_str()), shown(why)));
        line = t!(are_no_locks, line, count(source.not_locks.count), why.unwrap_or_default());
    }
    format!("{line}.")
}
