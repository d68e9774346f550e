use leptos::prelude::*;
use lockkeeper_model::words::count;
use lockkeeper_model::{SourceStatus, TraceRequest};
use wasm_bindgen_futures::spawn_local;

use crate::components::facts::Facts;
use crate::components::facts_list::FactsList;
use crate::components::sentence::whole;
use crate::live::traced::read_trace;
use crate::live::{Live, api};
use crate::ui::{When, flag, hms, text};

/// How long a person samples from here, in seconds: the rhythm of a poll shows, and they still look at it when it ends.
const SECONDS: u32 = 3;
const LENGTH_MS: i64 = SECONDS as i64 * 1_000;

/// Who tries for the lock: what it costs to find out, the way to do it, and what was seen. Only where the source allows it.
#[component]
pub(crate) fn Trace() -> impl IntoView {
    let live = expect_context::<Live>();
    // 0: none is under way.
    let began = RwSignal::new(0i64);
    let answer = RwSignal::new(None::<String>);
    let is_running = move || began.get() != 0;
    let about = move |of: fn(&SourceStatus) -> Option<u64>| {
        live.detail.with(|detail| {
            let source = &detail.as_ref()?.source;
            live.sources.with(|sources| of(sources.iter().find(|known| known.name == *source)?))
        })
    };
    let limit = move || about(|source| source.trace_limit);
    let busy = move || about(|source| source.other_commands_per_second);
    let start = move |_| {
        let lock = live.detail.with_untracked(|detail| detail.as_ref().map(|it| (it.source.clone(), it.id.clone())));
        let Some((source, id)) = lock.filter(|_| began.get_untracked() == 0) else { return };
        began.set(live.clock.get_untracked().max(1));
        answer.set(None);
        spawn_local(async move {
            let said = api::trace(&TraceRequest { source, seconds: SECONDS, lock: Some(id) }).await;
            // The drawer may have been closed meanwhile.
            let _ = answer.try_set(Some(said));
            let _ = began.try_set(0);
        });
    };
    let said = move || answer.with(|answer| answer.as_deref().map(read_trace));
    let facts: Memo<Facts> = Memo::new(move |_| {
        let facts = said().and_then(Result::ok).map(|(_, facts)| facts).unwrap_or_default();
        facts.into_iter().map(|(term, text)| (term, whole(&text))).collect()
    });
    let state = text(move || match said() {
        _ if is_running() => format!("Sampling for {SECONDS} s…"),
        None => String::new(),
        Some(Ok((at, _))) => format!("Sampled at {}.", at.map_or_else(String::new, hms)),
        Some(Err(because)) => whole(&because),
    });
    let class = text(move || match said() {
        Some(Err(_)) => "say bad",
        _ => "say calm",
    });
    view! {
        <When holds=flag(move || limit().is_some())>
            <section class="trace" aria-label="Trace">
                <h3>"Trace"</h3>
                <p id="trace-cost">{text(move || cost(busy(), limit()))}</p>
                <meter
                    max=text(move || limit().unwrap_or_default().to_string())
                    value=text(move || busy().unwrap_or_default().to_string())
                    aria-label="Commands a second, of those up to which it is traced"
                ></meter>
                <button type="button" class="plain" aria-describedby="trace-cost" on:click=start>
                    {text(move || if is_running() { "Sampling…".to_owned() } else { format!("Sample for {SECONDS} s") })}
                </button>
                <When holds=flag(is_running)>
                    <progress
                        max=LENGTH_MS.to_string()
                        value=text(move || (live.clock.get() - began.get()).clamp(0, LENGTH_MS).to_string())
                        aria-label="Time sampled"
                    ></progress>
                </When>
                <div role="status">
                    <p class=class>{state}</p>
                </div>
                <FactsList facts />
            </section>
        </When>
    }
}

/// What a sample costs the store, before it is asked for.
fn cost(busy: Option<u64>, limit: Option<u64>) -> String {
    let now = busy.map(|busy| format!(", now some {} a second", count(busy))).unwrap_or_default();
    format!(
        "Shows who tries for it and whose connection has it. For that, MONITOR makes the store send every command of \
         everybody once more{now}. It is refused above {} a second, and ends as soon as others feel it.",
        count(limit.unwrap_or_default())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_costs_is_said_in_numbers_where_they_are_known() {
        let said = cost(Some(1_200), Some(20_000));
        assert!(
            said.contains("once more, now some 1,200 a second.") && said.contains("above 20,000 a second"),
            "{said}"
        );
        assert!(cost(None, Some(20_000)).contains("once more. It"));
    }
}
