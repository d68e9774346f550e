use leptos::prelude::*;
use lockkeeper_model::SourceStatus;
use wasm_bindgen_futures::spawn_local;

use super::sampled::read_trace;
use crate::components::facts::Facts;
use crate::components::facts_list::Section;
use crate::lang::{count, t};
use crate::live::{Live, api};
use crate::ui::{When, flag, text};

/// How long a person samples from here, in seconds: the rhythm of a poll shows, and they still look at it when it ends.
const SECONDS: u32 = 3;

/// Who tries for the lock: what it costs to find out, the way to do it, and what was seen. Only where the source allows it.
#[component]
pub(crate) fn Trace() -> impl IntoView {
    let live = expect_context::<Live>();
    // 0: none is under way.
    let began = RwSignal::new(0i64);
    let answer = RwSignal::new(None::<String>);
    let about = move |of: fn(&SourceStatus) -> Option<u64>| {
        live.detail.with(|detail| {
            let source = &detail.as_ref()?.source;
            live.sources.with(|sources| of(sources.iter().find(|known| known.name == *source)?))
        })
    };
    let start = move |_| {
        let lock = live.detail.with_untracked(|detail| detail.as_ref().map(|it| (it.source.clone(), it.id.clone())));
        let Some((source, id)) = lock.filter(|_| began.get_untracked() == 0) else { return };
        began.set(live.clock.get_untracked().max(1));
        answer.set(None);
        spawn_local(async move {
            let said = api::trace(source, id, SECONDS).await;
            // The drawer may have been closed meanwhile.
            let _ = answer.try_set(Some(said));
            let _ = began.try_set(0);
        });
    };
    let limit = move || about(|source| source.trace_limit);
    // What it costs, and then what was seen.
    let facts: Memo<Facts> = Memo::new(move |_| {
        let mut facts = Facts::new();
        if let Some(limit) = limit() {
            facts.push((t!(what_it_costs), cost(about(|source| source.other_commands_per_second), limit)));
            answer.with(|answer| facts.extend(answer.iter().flat_map(|answer| read_trace(answer))));
        }
        facts
    });
    // What came of it is said at once; what was seen is read by whoever wants to.
    let state = text(move || match facts.with(|facts| facts.get(1).map(|(term, text)| format!("{term}: {text}"))) {
        None if began.get() != 0 => t!(sampling_for_s, SECONDS),
        state => state.unwrap_or_default(),
    });
    let button = text(move || match began.get() {
        0 => t!(sample_for_s, SECONDS),
        began => t!(sampling_s_left, left(live.clock.get() - began)),
    });
    view! {
        <Section title=text(|| t!(trace)) facts />
        <When holds=flag(move || limit().is_some())>
            <button type="button" class="plain sample" on:click=start>
                {button}
            </button>
            <p class="say calm" role="status">
                {state}
            </p>
        </When>
    }
}

/// Seconds that are left of a sample. The answer takes a moment longer.
fn left(gone_ms: i64) -> i64 {
    (i64::from(SECONDS) - gone_ms / 1_000).max(0)
}

/// What a sample costs the store, before it is asked for.
fn cost(busy: Option<u64>, limit: u64) -> String {
    let now = busy.map(|busy| t!(now_a_second, count(busy))).unwrap_or_default();
    t!(monitor_shows_who_tries_for, now, count(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_costs_is_said_in_numbers_where_they_are_known() {
        let said = cost(Some(1_200), 20_000);
        assert!(said.contains("once more, now 1,200 a second, which") && said.contains("Above 20,000 a second"));
        assert!(cost(None, 20_000).contains("once more, which"));
        assert_eq!([0, 1_100, 2_900, 3_400].map(left), [3, 2, 1, 0]);
    }
}
