use leptos::prelude::*;
use lockkeeper_model::DEFAULT_HOLD_MS;

use crate::lang::{shortest, t};

/// What is offered, in milliseconds: what it takes to look at something, to stop it, and to clean up after it.
const OFFERED: [i64; 4] = [60_000, DEFAULT_HOLD_MS, 900_000, 3_600_000];

/// For how long an operator is to hold the lock. The ticket is bound to it: another time is another preview.
#[component]
pub(super) fn HoldTime(
    /// Told what was chosen, in milliseconds.
    hold_for: Callback<i64>,
) -> impl IntoView {
    view! {
        <label class="field">
            {t!(hold_it_for)}
            <select
                class="chip"
                on:change:target=move |event| {
                    if let Ok(ms) = event.target().value().parse() {
                        hold_for.run(ms);
                    }
                }
            >
                {OFFERED
                    .map(|ms| view! { <option value=ms.to_string() selected=ms == DEFAULT_HOLD_MS>{said(ms)}</option> })
                    .collect_view()}
            </select>
        </label>
        <small>{t!(then_it_opens_by_itself)}</small>
    }
}

/// `5 m`, without seconds that nobody asked for.
fn said(ms: i64) -> String {
    shortest(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_times_are_said_roundly() {
        assert_eq!(OFFERED.map(said), ["1 m", "5 m", "15 m", "1 h"]);
    }
}
