use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Coverage, SourceState, SourceStatus, Time};

use super::coverage::coverage_of_all;
use super::say;
use super::source_facts::{SourceFacts, state_class, warnings};
use crate::lang::{count, t};
use crate::live::Live;
use crate::ui::{flag, hms, maybe, text};

/// Confirmed within this long counts as now: the server says so once a second.
const NOW_MS: i64 = 3_000;

/// The conscience of the page: each source, how it is watched, what is missing, how much was seen, as of when, at what
/// cost.
#[component]
pub(crate) fn Strip() -> impl IntoView {
    let live = expect_context::<Live>();
    let names =
        move || live.sources.with(|sources| sources.iter().map(|source| source.name.clone()).collect::<Vec<_>>());
    let locks = text(move || {
        let all = match live.counts.get() {
            Some(counts) => counts.all,
            // A page without a table asks for no rows; how many there are is told all the same.
            None => live.dialects.with(|dialects| dialects.iter().map(|dialect| dialect.locks).sum()),
        };
        // What was not looked at is not empty.
        let is_known = live.sources.with(|sources| !sources.is_empty() && sources.iter().all(say::was_seen));
        if all == 0 && !is_known { t!(no_answer_yet).to_owned() } else { t!(locks_in_selection, count(all)) }
    });
    let coverage = text(move || {
        live.sources.with(|sources| {
            let all: Vec<&Coverage> = sources.iter().map(|source| &source.coverage).collect();
            coverage_of_all(&all, live.now.get())
        })
    });
    let as_of = text(move || {
        let confirmed = live.sources.with(|sources| say::confirmed_at(sources));
        let link_live = live.link.get().is_live()
            && live.sources.with(|sources| sources.iter().all(|source| source.state != SourceState::Down));
        match confirmed {
            None => t!(not_confirmed_yet).to_owned(),
            Some(at) if link_live && live.now.get() - at < NOW_MS => t!(as_of_now).to_owned(),
            Some(at) => t!(as_of, hms(Time(at))),
        }
    });
    let cost = text(move || {
        let own: u64 = live.sources.with(|sources| sources.iter().map(|source| source.own_commands_per_second).sum());
        t!(cmd_s, count(own))
    });
    let old = flag(move || !live.link.get().is_live());
    view! {
        <section class="strip" aria-label=t!(sources) class:out-of-date=old>
            <For each=move || names() key=Clone::clone let(name)>
                <Source name />
            </For>
            <span class="spread"></span>
            <span class="strip-sums">
                {locks} " · " {coverage} " · " <b>{as_of}</b>
            </span>
            <span title=t!(commands_that_watching_costs_the)>{cost}</span>
        </section>
    }
}

/// One source: a word that opens everything known about it.
#[component]
fn Source(
    /// Its name.
    name: String,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let source = {
        let name = name.clone();
        move || live.sources.with(|sources| sources.iter().find(|source| source.name == name).cloned())
    };
    let about = |say: fn(&SourceStatus) -> Option<String>| {
        let source = source.clone();
        maybe(move || source().as_ref().and_then(say))
    };
    let class = about(|source| Some(state_class(source.state).to_owned()));
    let state = about(|source| Some(say::source_state(source)));
    let warnings = about(warnings);
    view! {
        <details class=class name="source">
            <summary>
                <i class="dot"></i>
                <b>{shown(&name)}</b>
                " "
                <span class="source-state">{state}</span>
                " "
                <span class="source-warning">{warnings}</span>
            </summary>
            <div class="source-facts">
                <SourceFacts name=name.clone() />
            </div>
        </details>
    }
}
