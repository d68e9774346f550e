//! Taking along what is read: a button beside a value, and one listener for all of them.

use std::time::Duration;

use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Element, Event};

use super::utc::{follow_times, in_utc};
use crate::lang::t;

/// How long the button says that it worked.
const SAID_FOR: Duration = Duration::from_millis(1_500);

/// A region is there for so long before it speaks: what is said by one that has just come is not always heard.
const HEARD_AFTER: Duration = Duration::from_millis(100);

/// What a button copies; where it is empty, what stands before the button, or else around it.
const COPIES: &str = "data-copy";

/// What a button says in a bubble beside it.
const SAYS: &str = "data-said";

/// A button that copies the value beside it, small and quiet until somebody points at the value or comes by with the keyboard.
/// `what` it is, for whoever does not see that; `whole` is all of it, where what is on the screen is only its beginning.
pub(crate) fn copies(what: &'static str, whole: Signal<String>) -> AnyView {
    button(Signal::stored(t!(copy_the, what)), whole)
}

/// The same where what is on the screen is all of it.
pub(crate) fn copies_shown(what: &'static str) -> AnyView {
    copies(what, Signal::stored(String::new()))
}

/// The same of a value whose name changes.
pub(crate) fn copies_named(what: Signal<String>) -> AnyView {
    button(super::text(move || t!(copy_the, what.get())), Signal::stored(String::new()))
}

fn button(label: Signal<String>, whole: Signal<String>) -> AnyView {
    view! { <button type="button" class="copy" aria-label=label data-copy=whole></button> }.into_any()
}

/// Copies what the row that is pointed at is called by its store.
pub(crate) fn copy_pointed() {
    if let Ok(Some(button)) = document().query_selector(".pointed [data-copy]") {
        copy(button);
    }
}

/// Copies a text that need not be on the screen.
#[component]
pub(crate) fn CopyButton(
    /// What is copied.
    #[prop(into)]
    text: Signal<String>,
    /// What the button says.
    word: &'static str,
    /// What follows the word for somebody who does not see what it stands beside.
    what: &'static str,
) -> impl IntoView {
    view! {
        <button type="button" class="link" data-copy=text>
            {word}
            <span class="unseen">" " {what}</span>
        </button>
    }
}

/// Has every such button work, and every time tell itself in UTC to whoever points at it. Called once.
pub(crate) fn follow_copies() {
    let clicks = window_event_listener(leptos::ev::click, |event| {
        if let Some(button) = button_of(&event) {
            copy(button);
        }
    });
    let focus = window_event_listener(leptos::ev::focusin, |event| {
        if let Some(button) = button_of(&event) {
            // A reader with a keyboard points at nothing: the button says what pointing would.
            let text = text_of(&button);
            match in_utc(&text) {
                Some(utc) => drop(button.set_attribute("aria-description", &utc)),
                None => drop(button.remove_attribute("aria-description")),
            }
        }
    });
    follow_times();
    on_cleanup(move || {
        clicks.remove();
        focus.remove();
    });
}

/// The button that copies, if that is what something happened to: a row that opens by a click leaves it alone.
pub(crate) fn button_of(event: &Event) -> Option<Element> {
    let at: Element = event.target()?.dyn_into().ok()?;
    at.closest("[data-copy]").ok().flatten()
}

fn copy(button: Element) {
    spawn_local(async move {
        let promise = window().navigator().clipboard().write_text(&text_of(&button));
        let worked = JsFuture::from(promise).await.is_ok();
        let said = if worked { t!(copied) } else { t!(not_allowed) };
        let _ = button.set_attribute(SAYS, said);
        let aloud = aloud(&button);
        set_timeout(
            move || {
                if let Some(aloud) = aloud {
                    aloud.set_text_content(Some(said));
                    // Emptied, so that the same is heard when it is said again.
                    set_timeout(move || aloud.set_text_content(None), SAID_FOR);
                }
                set_timeout(move || drop(button.remove_attribute(SAYS)), SAID_FOR);
            },
            HEARD_AFTER,
        );
    });
}

fn text_of(button: &Element) -> String {
    let whole = button.get_attribute(COPIES).unwrap_or_default();
    if !whole.is_empty() {
        return whole;
    }
    let beside = button.previous_element_sibling().or_else(|| button.parent_element());
    beside.and_then(|beside| beside.text_content()).unwrap_or_default().trim().to_owned()
}

/// Where something is said to whoever listens. While a dialog is open nothing outside of it is heard.
fn aloud(near: &Element) -> Option<Element> {
    let place = near.closest("dialog").ok().flatten().or_else(|| document().body().map(Into::into))?;
    if let Some(known) = place.query_selector(":scope > .unseen[role=status]").ok().flatten() {
        return Some(known);
    }
    let aloud = document().create_element("p").ok()?;
    let _ = aloud.set_attribute("role", "status");
    aloud.set_class_name("unseen");
    place.append_child(&aloud).ok()?;
    Some(aloud)
}
