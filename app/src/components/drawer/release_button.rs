use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Lock, PreviewTarget};

use crate::live::Live;
use crate::ui::{flag, maybe};

/// Opens the dialog, or says why it cannot be opened.
#[component]
pub(crate) fn ReleaseButton(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// The holder's place among all.
    at: usize,
    /// Set to open the dialog.
    releasing: RwSignal<Option<PreviewTarget>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let why_not = maybe(move || {
        if !live.link.get().is_live() {
            return Some("Not while the connection to Lockkeeper is lost.".to_owned());
        }
        if !live.release_enabled.get() {
            return Some("Releasing is switched off on this server: start it with --allow-release.".to_owned());
        }
        let source = lock.with(|lock| lock.as_ref().map(|lock| lock.source.clone()))?;
        let enabled = live.sources.with(|sources| {
            sources.iter().find(|known| known.name == source).is_none_or(|known| known.release_enabled)
        });
        (!enabled).then(|| format!("Releasing is switched off for {}.", shown(&source)))
    });
    let reason_id = format!("why-not-{at}");
    let described_by = {
        let reason_id = reason_id.clone();
        maybe(move || why_not.with(Option::is_some).then(|| reason_id.clone()))
    };
    let open = move |_| {
        releasing.set(lock.with_untracked(|lock| {
            let lock = lock.as_ref()?;
            let holder = lock.holders.get(at)?;
            let several = lock.holders.len() > 1;
            Some(PreviewTarget {
                source: lock.source.clone(),
                id: lock.id.clone(),
                generation: if several { holder.generation.clone() } else { lock.generation.clone() },
                holder: several.then(|| holder.token_b64.clone()),
            })
        }));
    };
    view! {
    <button
                type="button"
                class="danger"
                disabled=flag(move || why_not.with(Option::is_some))
                aria-describedby=described_by
                on:click=open
            >
                "Release…"
            </button>
            <small id=reason_id>{why_not}</small>
                }
}
