use leptos::prelude::*;
use lockkeeper_model::Time;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use super::activity::ActivityStrip;
use crate::lang::t;
use crate::live::Live;
use crate::live::moment::{parse, utc};
use crate::live::past::Activity;
use crate::live::recall;
use crate::live::route::{Route, SPANS, Span};
use crate::nav::Nav;
use crate::ui::{When, flag, text};

/// Steps of the drawing under the scrubber.
const STEPS: u32 = 120;

/// Chooses a moment of the past: by hand, by keys, or exactly.
#[component]
pub(crate) fn Scrubber(
    /// The moment that is chosen.
    at: Memo<i64>,
    /// Tells the time.
    clock: Live,
) -> impl IntoView {
    let nav = expect_context::<Nav>();
    let span = Memo::new(move |_| nav.route.with(|route| route.span()));
    let window =
        Memo::new(move |before: Option<&(i64, i64)>| window_for(at.get(), span.get(), before.copied(), clock.time()));
    let activity = RwSignal::new(Activity::default());
    Effect::new(move |_| {
        let (from, to) = window.get();
        spawn_local(async move {
            // Why there is nothing is said where the board would be.
            let told = recall::activity(Time(from), Time(to), STEPS).await.unwrap_or_default();
            if window.try_get_untracked() == Some((from, to)) {
                activity.set(told);
            }
        });
    });
    let go = move |to: i64| nav.replace(|route| route.at = Some(Time(to.clamp(1, clock.time()))));
    let unclear = RwSignal::new(String::new());
    let write = move |said: String| match parse(&said, Time(at.get_untracked())) {
        Some(moment) => {
            unclear.set(String::new());
            nav.go(Route { at: Some(Time(moment.0.min(clock.time()))), ..nav.route.get_untracked() });
        }
        None => unclear.set(t!(is_no_moment_write_it, shown(&said))),
    };
    let turn = move |by: i64| {
        let (from, to) = window.get_untracked();
        go(at.get_untracked() + by * (to - from));
    };
    let edge = move |edge: fn((i64, i64)) -> i64| text(move || edge(window.get()).to_string());
    let written = text(move || utc(Time(at.get())));
    view! {
        <section class="scrubber" aria-label=t!(which_moment)>
            <div class="scrubber-row">
                <label>
                    {t!(moment_utc)}
                    <input
                        type="text"
                        class="moment"
                        autocomplete="off"
                        spellcheck="false"
                        prop:value=written
                        aria-invalid=text(move || unclear.with(|said| !said.is_empty()).to_string())
                        on:change:target=move |event| write(event.target().value())
                    />
                </label>
                <button type="button" class="chip" on:click=move |_| turn(-1)>{t!(earlier)}</button>
                <button type="button" class="chip" on:click=move |_| turn(1)>{t!(later)}</button>
                <SpanChoice />
            </div>
            <When holds=flag(move || unclear.with(|said| !said.is_empty()))>
                <p class="say bad" role="alert">{unclear}</p>
            </When>
            <input
                type="range"
                aria-label=t!(moment)
                aria-valuetext=text(move || t!(utc, utc(Time(at.get()))))
                min=edge(|(from, _)| from)
                max=edge(|(_, to)| to)
                step=text(move || span.get().step_ms.to_string())
                prop:value=text(move || at.get().to_string())
                on:input:target=move |event| {
                    if let Ok(to) = event.target().value().parse() {
                        go(to);
                    }
                }
            />
            <ActivityStrip activity window=window.into() />
        </section>
    }
}

/// How much time is shown, to be chosen; it stands in the address.
#[component]
pub(crate) fn SpanChoice() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let span = Memo::new(move |_| nav.route.with(|route| route.span()));
    let choose = move |span| nav.replace(|route| route.span = Some(span));
    spans(Some(t!(how_much_time_is_shown)), span.into(), choose)
}

/// The stretches of time, to be chosen from; named where no words beside them say what for.
pub(super) fn spans(
    name: Option<&'static str>,
    span: Signal<&'static Span>,
    choose: impl Fn(&'static Span) + 'static,
) -> impl IntoView {
    view! {
        <select class="chip" aria-label=name on:change:target=move |event| {
            let word = event.target().value();
            if let Some(chosen) = SPANS.iter().find(|span| span.word == word) {
                choose(chosen);
            }
        }>
            {SPANS
                .iter()
                .map(|known| {
                    view! {
                        <option value=known.word selected=flag(move || span.get() == known)>
                            {known.name.said()}
                        </option>
                    }
                })
                .collect_view()}
        </select>
    }
}

/// The stretch of time that is shown for a moment: the one before as long as the moment is in it, so that nothing jumps
/// under the hand.
fn window_for(at: i64, span: &Span, before: Option<(i64, i64)>, now: i64) -> (i64, i64) {
    if let Some((from, to)) = before
        && to - from == span.ms
        && (from..=to).contains(&at)
    {
        return (from, to);
    }
    let to = (at + span.ms / 2).min(now);
    // On a step, so that a moment that is chosen by hand is a round one.
    let to = to - to.rem_euclid(span.step_ms) + span.step_ms;
    (to - span.ms, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stretch_stays_while_the_moment_is_in_it_and_never_reaches_far_into_the_future() {
        let now = 1_767_235_633_250;
        let hour = &SPANS[0];
        let first = window_for(now - 60_000, hour, None, now);
        assert_eq!(first.1 - first.0, hour.ms);
        assert!(first.1 >= now && first.1 - now <= hour.step_ms);
        assert_eq!(window_for(first.0, hour, Some(first), now + 5_000), first);
        let earlier = window_for(first.0 - 1, hour, Some(first), now);
        assert!(earlier.0 < first.0 - 1 && first.0 - 1 < earlier.1);
        let day = window_for(now - 60_000, &SPANS[2], Some(first), now);
        assert_eq!(day.1 - day.0, SPANS[2].ms);
    }
}
