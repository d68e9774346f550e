use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

/// How long the button says that it worked.
const SAID_FOR: Duration = Duration::from_millis(1_500);

/// Copies a text and says whether that worked.
#[component]
pub(crate) fn CopyButton(
    /// What is copied.
    #[prop(into)]
    text: Signal<String>,
    /// What the button says.
    #[prop(default = "copy")]
    word: &'static str,
    /// What follows the word for somebody who does not see what it stands beside.
    what: &'static str,
) -> impl IntoView {
    let said = RwSignal::new(word);
    let copy = move |_| {
        spawn_local(async move {
            let promise = window().navigator().clipboard().write_text(&text.get_untracked());
            said.set(if JsFuture::from(promise).await.is_ok() { "copied" } else { "not allowed" });
            set_timeout(move || said.set(word), SAID_FOR);
        });
    };
    view! {
        <button type="button" class="link" on:click=copy>
            {said}
            <span class="unseen">" " {what}</span>
        </button>
    }
}
