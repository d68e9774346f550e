use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::lang::t;

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
    let said = RwSignal::new(None::<String>);
    let copy = move |_| {
        spawn_local(async move {
            let promise = window().navigator().clipboard().write_text(&text.get_untracked());
            let worked = JsFuture::from(promise).await.is_ok();
            said.set(Some(if worked { t!(copied) } else { t!(not_allowed) }.to_owned()));
            set_timeout(move || said.set(None), SAID_FOR);
        });
    };
    view! {
        <button type="button" class="link" on:click=copy>
            {super::text(move || said.get().unwrap_or_else(|| word.to_owned()))}
            <span class="unseen">" " {what}</span>
        </button>
    }
}
