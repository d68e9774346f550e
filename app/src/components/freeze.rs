use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, Time};
use wasm_bindgen_futures::spawn_local;

use crate::lang::t;
use crate::live::route::{Page, Route, SPANS};
use crate::live::{Live, recall};
use crate::nav::Nav;
use crate::ui::{When, flag, maybe};

/// Keeps what is known of a lock for a review: how it was held, what happened, who waited, what people did.
#[component]
pub(crate) fn Freeze(
    /// The lock, with its source.
    lock: StoredValue<(String, LockId)>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let title = RwSignal::new(String::new());
    let refused = RwSignal::new(None::<String>);
    let asking = RwSignal::new(false);
    // Where nothing is written down there is nothing to keep, and no field to wonder at.
    let is_offered = RwSignal::new(false);
    spawn_local(async move {
        // Whoever asked may have left the page.
        let _ = is_offered.try_set(recall::incidents().await.is_ok());
    });
    let freeze = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if asking.get_untracked() {
            return;
        }
        asking.set(true);
        let to = if live.rewind.is_some() { live.now.get_untracked() } else { live.time() };
        let (source, id) = lock.get_value();
        spawn_local(async move {
            let name = title.get_untracked();
            match recall::freeze(&name, &source, &id, Time(to - SPANS[0].ms), Time(to)).await {
                Ok(packet) => {
                    nav.go(Route { page: Page::Incidents, incident: Some(packet.id), ..Route::default() });
                }
                Err(refusal) => drop(refused.try_set(Some(shown(&refusal.detail)))),
            }
            let _ = asking.try_set(false);
        });
    };
    view! {
        <When holds=is_offered>
            <form class="freeze" on:submit=freeze>
                <label>
                    {t!(freeze_its_last_hour_as)}
                    <input type="text" required maxlength="200" autocomplete="off" bind:value=title />
                </label>
                <button type="submit" class="plain" disabled=asking>{t!(freeze)}</button>
            </form>
        </When>
        <When holds=flag(move || refused.with(Option::is_some))>
            <p class="say bad" role="alert">{maybe(move || refused.get())}</p>
        </When>
    }
}
