use leptos::prelude::*;
use lockkeeper_model::words::{short_token, shown};
use lockkeeper_model::{Event, TransitionKind};

use crate::lang::{self, count, duration, t};
use crate::live::Live;
use crate::ui::{Moment, When, day, flag, hms};

/// What happened to the lock, newest first, with what was not seen.
#[component]
pub(crate) fn History() -> impl IntoView {
    let live = expect_context::<Live>();
    let events =
        move || live.detail.with(|detail| detail.as_ref().map(|detail| detail.events.clone()).unwrap_or_default());
    let cut = Memo::new(move |_| live.detail.with(|detail| detail.as_ref().is_some_and(|detail| detail.events_cut)));
    view! {
        <h3>{t!(timeline)}</h3>
        <Lines events=Signal::derive(events) />
        <When holds=cut>
            <p class="timeline-cut">{t!(older_events_were_let_go)}</p>
        </When>
        <When holds=flag(move || events().is_empty())>
            <p class="timeline-cut">{t!(nothing_was_seen_yet)}</p>
        </When>
    }
}

/// What happened to a lock, newest first.
#[component]
pub(crate) fn Lines(
    /// That.
    events: Signal<Vec<Event>>,
    /// It goes back further than a day: each line has its date.
    #[prop(default = false)]
    dated: bool,
) -> impl IntoView {
    view! {
        <ol class="timeline">
            <For each=move || events.get() key=|event| (event.id.clone(), event.at.0, event.count) let(event)>
                <Line event dated />
            </For>
        </ol>
    }
}

#[component]
fn Line(event: Event, dated: bool) -> impl IntoView {
    let why =
        [&event.cause, &event.evidence].into_iter().flatten().map(|text| shown(text)).collect::<Vec<_>>().join(": ");
    let class = if event.transition == TransitionKind::Gap { "gap" } else { "" };
    view! {
        <li class=class>
            <Moment at=event.at />
            <span>
                {dated.then(|| view! { <small class="date">{day(event.at)}</small> })}
                {event_said(&event)}
                {(!why.is_empty()).then(|| view! { <small lang=lang::of_the_server()>{why}</small> })}
            </span>
        </li>
    }
}

/// One line of a lock's history.
fn event_said(event: &Event) -> String {
    let name = |token: &Option<String>, b64: &Option<String>| match (token, b64) {
        (Some(token), _) => short_token(token),
        (None, Some(b64)) => format!("b64:{}", short_token(b64)),
        (None, None) => t!(somebody).to_owned(),
    };
    let holder = name(&event.holder, &event.holder_b64);
    let from = event.previous_holder.as_ref().map(|token| t!(from_whom, name(&Some(token.clone()), &None)));
    let from = from.unwrap_or_default();
    let after = event.held_ms.map(|held| t!(after_so_long, duration(held))).unwrap_or_default();
    match event.transition {
        TransitionKind::FirstSeen => t!(already_held_by_at_the, holder),
        TransitionKind::Acquired => t!(taken_by, holder),
        TransitionKind::Renewed => match (event.count, event.first_at) {
            (0 | 1, _) | (_, None) => t!(renewed_by, holder),
            (n, Some(first)) => t!(renewed_times_since, count(u64::from(n)), hms(first)),
        },
        TransitionKind::ReEntered => t!(entered_once_more_or_left, holder),
        TransitionKind::HandedOver => t!(handed_over_to, holder, from, after),
        TransitionKind::TakenOver => t!(taken_over_by_which_had, holder, from),
        TransitionKind::Released => t!(released_by, holder, after),
        TransitionKind::Expired => t!(expired, after),
        TransitionKind::Evicted => t!(evicted_by_the_store, after),
        TransitionKind::Forced => t!(released_from_here, after),
        TransitionKind::Lost if event.cause.as_deref() == Some("no_longer_watched") => t!(not_watched_any_more, after),
        TransitionKind::Lost => t!(ended_while_nobody_was_looking, after),
        TransitionKind::LeaseChanged => t!(its_lease_was_changed).to_owned(),
        TransitionKind::Gap => t!(something_was_not_seen_here).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::Time;

    use super::*;
    use crate::fixtures::event;

    #[test]
    fn renewals_are_one_line() {
        let renewed = Event { count: 27, first_at: Some(Time(0)), ..event(TransitionKind::Renewed, 270_000) };
        assert_eq!(event_said(&renewed), "renewed 27 times since 00:00:00");
    }
}
