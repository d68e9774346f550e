use leptos::ev::KeyboardEvent;
use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

use crate::parts::{Parts, Piece};

/// What a key opens on every page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// Somewhere to go, by typing where.
    Places,
    /// The list of all keys.
    Keys,
}

/// The keys that open a dialog on every page, and that dialog.
#[component]
pub(crate) fn Shortcuts() -> impl IntoView {
    let parts = expect_context::<Parts>();
    let opened = RwSignal::new(None::<Shortcut>);
    let listening = window_event_listener(ev::keydown, move |event| {
        let with_control = (event.ctrl_key() || event.meta_key()) && !event.alt_key();
        let shortcut = match event.key().as_str() {
            "k" | "K" if with_control => Shortcut::Places,
            "?" if !with_control && !is_typing(&event) => Shortcut::Keys,
            _ => return,
        };
        if document().query_selector("dialog[open]").ok().flatten().is_none() {
            opened.set(Some(shortcut));
        }
        event.prevent_default();
    });
    on_cleanup(move || listening.remove());
    move || opened.get().map(|_| parts.draw(Piece::Shortcut(opened)))
}

/// Whether a key is a letter of a text.
fn is_typing(event: &KeyboardEvent) -> bool {
    event
        .target()
        .and_then(|target| target.dyn_into::<HtmlElement>().ok())
        .is_some_and(|at| matches!(at.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT") || at.is_content_editable())
}
