use leptos::prelude::*;
use lockkeeper_model::words::{count, duration, shown};
use lockkeeper_model::{MissingPermission, SourceState, SourceStatus, Time};

use super::facts::Facts;
use super::facts_list::FactsList;
use super::say;
use super::sentence::capital;
use crate::live::Live;
use crate::ui::{CopyButton, each, flag, hms, maybe, text};

/// Confirmed within this long counts as now: the server says so once a second.
const NOW_MS: i64 = 3_000;

/// The conscience of the page: each source, how it is watched, what is missing, how much was seen, as of when, at what
/// cost.
#[component]
pub(crate) fn Strip() -> impl IntoView {
    let live = expect_context::<Live>();
    let names =
        move || live.sources.with(|sources| sources.iter().map(|source| source.name.clone()).collect::<Vec<_>>());
    let locks = text(move || match live.counts.get() {
        Some(counts) => format!("{} locks", count(counts.all)),
        None => "no answer yet".to_owned(),
    });
    let coverage = text(move || live.sources.with(|sources| say::coverage_of_all(sources)));
    let as_of = text(move || {
        let confirmed = live.sources.with(|sources| say::confirmed_at(sources));
        let link_live = live.link.get().is_live()
            && live.sources.with(|sources| sources.iter().all(|source| source.state != SourceState::Down));
        match confirmed {
            None => "not confirmed yet".to_owned(),
            Some(at) if link_live && live.now.get() - at < NOW_MS => "as of now".to_owned(),
            Some(at) => format!("as of {}", hms(Time(at))),
        }
    });
    let cost = text(move || {
        let own: u64 = live.sources.with(|sources| sources.iter().map(|source| source.own_commands_per_second).sum());
        format!("{} cmd/s", count(own))
    });
    let old = flag(move || !live.link.get().is_live());
    view! {
        <section class="strip" aria-label="Sources" class:out-of-date=old>
            <For each=move || names() key=Clone::clone let(name)>
                <Source name />
            </For>
            <span class="spread"></span>
            <span class="strip-sums">
                {locks} " · " {coverage} " · " <b>{as_of}</b>
            </span>
            <span title="Commands that watching costs the stores each second">{cost}</span>
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
    let facts = {
        let source = source.clone();
        Memo::new(move |_| source().map(|source| facts(&source, live.running_now.get())).unwrap_or_default())
    };
    let missing = {
        let source = source.clone();
        move || source().map(|source| source.missing_permissions).unwrap_or_default()
    };
    let how_many = missing.clone();
    let one_missing = move |at: usize| {
        let part = |part: fn(&MissingPermission) -> String| {
            let missing = missing.clone();
            text(move || missing().get(at).map(part).unwrap_or_default())
        };
        view! {
            <div class="missing">
                <p>
                    <b>"Not permitted: " {part(|missing| shown(&missing.permission))}</b>
                    ". "
                    {part(|missing| capital(&missing.costs))}
                </p>
                <p>
                    "To grant it: "
                    <code>{part(|missing| shown(&missing.fix))}</code>
                    " "
                    <CopyButton text=part(|missing| missing.fix.clone()) what="the line that grants it" />
                </p>
            </div>
        }
    };
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
                {each(move || how_many().len(), one_missing)}
                <FactsList facts />
            </div>
        </details>
    }
}

/// What is so of every lock of a source, said once, beside its name.
fn warnings(source: &SourceStatus) -> Option<String> {
    let mut warnings = Vec::new();
    let missing = source.missing_permissions.len();
    if missing > 0 {
        warnings.push(format!("{missing} permission{} missing", if missing == 1 { "" } else { "s" }));
    }
    if source.eviction.is_some() {
        warnings.push("may evict locks".to_owned());
    }
    if let Some(replicas) = source.replicas.filter(|replicas| *replicas > 0) {
        warnings.push(format!("{replicas} replica{}", if replicas == 1 { "" } else { "s" }));
    }
    (!warnings.is_empty()).then(|| warnings.join(", "))
}

fn state_class(state: SourceState) -> &'static str {
    match state {
        SourceState::Live => "source live",
        SourceState::Scanning => "source scanning",
        SourceState::Degraded => "source degraded",
        SourceState::Down => "source down",
    }
}

fn facts(source: &SourceStatus, now: i64) -> Facts {
    let mut facts: Facts = Vec::new();
    let mut add = |term, text: Option<String>| {
        if let Some(text) = text {
            facts.push((term, text));
        }
    };
    add(
        "State",
        Some(format!("{} for {}", source.state.word(), duration(Time(now).since(source.since) / 1_000 * 1_000))),
    );
    add("Problem", source.problem.as_deref().map(shown));
    add("What to try", source.hint.as_deref().map(shown));
    let version = source.server_version.as_deref().map(shown).unwrap_or_default();
    let place = format!("{} {version} at {}", shown(&source.kind), shown(&source.address));
    add("Store", Some(place.replace("  ", " ")));
    add("Layout", source.topology.as_deref().map(shown));
    add(
        "Eviction",
        source.eviction.as_deref().map(|policy| {
            let which = if policy.starts_with("volatile") { "a lock that has an expiry" } else { "any lock" };
            format!("{}: when its memory is full, the store may drop {which} although it is held", shown(policy))
        }),
    );
    add(
        "Replicas",
        source.replicas.map(|replicas| match replicas {
            0 => "none".to_owned(),
            n => format!("{n}, which copy with a delay: a failover can lose a lock that was just taken"),
        }),
    );
    add("Environment", source.environment.as_deref().map(shown));
    add(
        "Changes",
        source.feed.map(|feed| match &source.feed_because {
            Some(because) => format!("by {}: {}", feed.word(), shown(because)),
            None => format!("by {}", feed.word()),
        }),
    );
    add(
        "Patterns",
        Some(match source.patterns.as_slice() {
            [] => "the built-in catalogue".to_owned(),
            patterns => patterns.iter().map(|pattern| shown(pattern)).collect::<Vec<_>>().join(", "),
        }),
    );
    let coverage = &source.coverage;
    let last_scan = match (coverage.finished_at, coverage.took_ms) {
        (Some(at), Some(took)) => format!("; last whole scan {}, took {}", hms(at), duration(took)),
        _ => String::new(),
    };
    add("Seen", Some(format!("{}, {} locks{last_scan}", say::coverage(source), count(coverage.locks))));
    add(
        "Behind",
        source.lag_ms.map(|lag| format!("at most {}, {} changed keys to read", duration(lag), count(source.dirty))),
    );
    add(
        "Gaps",
        Some(match (source.gaps, &source.last_gap) {
            (0, _) => "none since the start".to_owned(),
            (gaps, last) => {
                let what = last.as_deref().map(|gap| format!(", last: {}", shown(gap))).unwrap_or_default();
                let when = source.last_gap_at.map(|at| format!(" at {}", hms(at))).unwrap_or_default();
                format!(
                    "{}, {} notices missed{what}{when}; each was followed by a rescan",
                    count(gaps),
                    count(source.missed_events)
                )
            }
        }),
    );
    let others = source.other_commands_per_second.map(|n| format!(", everybody else {}", count(n))).unwrap_or_default();
    add(
        "Cost",
        Some(format!(
            "{} commands a second of at most {}{others}",
            count(source.own_commands_per_second),
            count(source.budget.commands_per_second)
        )),
    );
    add(
        "No locks",
        (source.not_locks.count > 0).then(|| {
            let sample =
                source.not_locks.sample.iter().map(|(id, why)| format!("{}: {}", shown(id.as_str()), shown(why)));
            let sample = sample.collect::<Vec<_>>().join("; ");
            format!("{} keys fit the pattern and are no locks, for example {sample}", count(source.not_locks.count))
        }),
    );
    facts.push(("Release", if source.release_enabled { "switched on" } else { "switched off" }.to_owned()));
    facts
}
