use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use crate::lang::{Key, key, t};
use crate::live::api;
use crate::live::warnings::Warning;
use crate::ui::{flag, maybe};

/// For how long something can be muted here, in words and in milliseconds: an incident, a shift, a day, a week.
const SPANS: [(Key<0>, i64); 4] = [
    (key::one_hour, 3_600_000),
    (key::eight_hours, 28_800_000),
    (key::one_day, 86_400_000),
    (key::seven_days, 604_800_000),
];

/// Asks for how long and why nobody should be told of a warning.
#[component]
pub(crate) fn MuteDialog(
    /// Which.
    warning: Warning,
    /// Set to `None` to close.
    muting: RwSignal<Option<Warning>>,
    /// Looks again at what there is.
    look: impl Fn() + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    let reason = RwSignal::new(String::new());
    let span = RwSignal::new(0i64);
    let every_rule = RwSignal::new(false);
    let sending = RwSignal::new(false);
    let refused = RwSignal::new(None::<String>);
    Effect::new(move |_| {
        if let Some(dialog) = dialog.get()
            && !dialog.open()
        {
            let _ = dialog.show_modal();
        }
    });
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let about = t!(warning_in_source, warning.rule, warning.about, shown(&warning.source));
    let has_lock = warning.lock.is_some();
    let warning = StoredValue::new(warning);
    let mute = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if sending.get_untracked() {
            return;
        }
        sending.set(true);
        let (reason, every_rule) = (reason.get_untracked(), every_rule.get_untracked());
        let (_, ms) = SPANS[(span.get_untracked() as usize).min(SPANS.len() - 1)];
        spawn_local(async move {
            let answer = api::mute(&warning.get_value(), every_rule, ms, &reason).await;
            let _ = sending.try_set(false);
            match answer {
                Ok(()) => close(),
                Err(because) => {
                    let _ = refused.try_set(Some(because));
                }
            }
            look();
        });
    };
    let is_ready = move || reason.with(|reason| reason.trim().chars().count() >= 3) && !sending.get();
    view! {
        <dialog class="release" aria-labelledby="mute-title" node_ref=dialog on:close=move |_| muting.set(None)>
            <form on:submit=mute>
                <h2 id="mute-title">{t!(mute_this)}</h2>
                <p>
                    <b>{about}</b>
                </p>
                <p>{t!(nobody_is_told_of_it)}</p>
                <label class="field" for="mute-span">
                    {t!(for_how_long)}
                </label>
                <select id="mute-span" class="typed" on:change:target=move |event| span.set(event.target().selected_index().into())>
                    {SPANS.into_iter().map(|(name, _)| view! { <option>{name.said()}</option> }).collect_view()}
                </select>
                <label class="field" for="mute-why">
                    {t!(why)}
                </label>
                <input
                    id="mute-why"
                    class="typed"
                    type="text"
                    autocomplete="off"
                    on:input:target=move |event| reason.set(event.target().value())
                />
                <label class="tick" hidden=!has_lock>
                    <input type="checkbox" on:change:target=move |event| every_rule.set(event.target().checked()) />
                    {t!(every_other_warning_of_this)}
                </label>
                <p class="say bad" role="alert" hidden=flag(move || refused.with(Option::is_none))>
                    {maybe(move || refused.get())}
                </p>
                <div class="acts">
                    <button type="submit" class="danger" disabled=flag(move || !is_ready())>
                        {t!(mute_it)}
                    </button>
                    <span class="spread"></span>
                    <button type="button" class="plain" on:click=move |_| close()>
                        {t!(cancel)}
                    </button>
                </div>
            </form>
        </dialog>
    }
}
