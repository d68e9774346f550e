use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Event, TransitionKind};

use super::facts::event_said;
use crate::live::Live;
use crate::ui::{Moment, When, flag};

/// What happened to the lock, newest first, with what was not seen.
#[component]
pub(crate) fn History() -> impl IntoView {
    let live = expect_context::<Live>();
    let events =
        move || live.detail.with(|detail| detail.as_ref().map(|detail| detail.events.clone()).unwrap_or_default());
    let cut = Memo::new(move |_| live.detail.with(|detail| detail.as_ref().is_some_and(|detail| detail.events_cut)));
    view! {
        <h3>"Timeline"</h3>
        <ol class="timeline">
            <For each=move || events() key=|event| (event.id.clone(), event.at.0, event.count) let(event)>
                <Line event />
            </For>
            <When holds=cut>
                <li class="gap">"Older events were let go of to bound memory."</li>
            </When>
            <When holds=flag(move || events().is_empty())>
                <li class="gap">"Nothing was seen yet."</li>
            </When>
        </ol>
    }
}

#[component]
fn Line(event: Event) -> impl IntoView {
    let why =
        [&event.cause, &event.evidence].into_iter().flatten().map(|text| shown(text)).collect::<Vec<_>>().join(": ");
    let class = if event.transition == TransitionKind::Gap { "gap" } else { "" };
    view! {
        <li class=class>
            <Moment at=event.at />
            <span>
                {event_said(&event)}
                {(!why.is_empty()).then(|| view! { <small>{why}</small> })}
            </span>
        </li>
    }
}
