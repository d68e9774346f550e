use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use crate::live::api;
use crate::live::warnings::Warning;
use crate::ui::{flag, maybe};

/// For how long something can be muted here, in words and in milliseconds: an incident, a shift, a day, a week.
const SPANS: [(&str, i64); 4] =
    [("1 hour", 3_600_000), ("8 hours", 28_800_000), ("1 day", 86_400_000), ("7 days", 604_800_000)];

/// What the dialog says.
mod words {
    pub(super) const TITLE: &str = "Mute this?";
    pub(super) const WHAT: &str =
        "Nobody is told of it until then. It stays on this page, and others see who muted it and why.";
    pub(super) const SPAN: &str = "For how long";
    pub(super) const WHY: &str = "Why";
    pub(super) const EVERY_RULE: &str = "every other warning of this lock as well";
    pub(super) const MUTE: &str = "Mute it";
    pub(super) const CANCEL: &str = "Cancel";
}

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
    let about = format!("{}: {} in {}", warning.rule, warning.about, shown(&warning.source));
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
                <h2 id="mute-title">{words::TITLE}</h2>
                <p>
                    <b>{about}</b>
                </p>
                <p>{words::WHAT}</p>
                <label class="field" for="mute-span">
                    {words::SPAN}
                </label>
                <select id="mute-span" class="typed" on:change:target=move |event| span.set(event.target().selected_index().into())>
                    {SPANS.into_iter().map(|(words, _)| view! { <option>{words}</option> }).collect_view()}
                </select>
                <label class="field" for="mute-why">
                    {words::WHY}
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
                    {words::EVERY_RULE}
                </label>
                <p class="say bad" role="alert" hidden=flag(move || refused.with(Option::is_none))>
                    {maybe(move || refused.get())}
                </p>
                <div class="acts">
                    <button type="submit" class="danger" disabled=flag(move || !is_ready())>
                        {words::MUTE}
                    </button>
                    <span class="spread"></span>
                    <button type="button" class="plain" on:click=move |_| close()>
                        {words::CANCEL}
                    </button>
                </div>
            </form>
        </dialog>
    }
}
