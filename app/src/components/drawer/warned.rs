use leptos::prelude::*;
use lockkeeper_model::LockId;
use wasm_bindgen_futures::spawn_local;

use crate::components::NavLink;
use crate::lang::t;
use crate::live::route::{Page, Route};
use crate::live::{Live, api};
use crate::ui::{When, flag, maybe};

/// The worst that is to be told of the lock now, with a way to the rest; nothing where there is nothing.
#[component]
pub(crate) fn Warned(
    /// The lock's source.
    source: String,
    /// The lock.
    id: LockId,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let says = RwSignal::new(None::<String>);
    let lock = (source, id);
    let route = Route { page: Page::Warnings, lock: Some(lock.clone()), ..Route::default() };
    Effect::new(move |_| {
        live.warnings.track();
        let lock = lock.clone();
        spawn_local(async move {
            let Ok(known) = api::warnings(Some(lock)).await else { return };
            let mut now = known.list.into_iter().filter(|warning| warning.is_so());
            let worst = now.next().map(|worst| {
                let more = now.count();
                let more = if more == 0 { String::new() } else { t!(and_more_in_warned, more) };
                format!("{} ({}): {}{more}", worst.rule, worst.state, worst.says)
            });
            let _ = says.try_set(worst);
        });
    });
    view! {
        <When holds=flag(move || says.with(Option::is_some))>
            <p class="say warn warned">
                <b>{t!(warning)}</b>
                {maybe(move || says.get())}
                " "
                <NavLink route=route.clone()>{t!(why_and_what_to_do)}</NavLink>
            </p>
        </When>
    }
}
