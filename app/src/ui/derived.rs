//! What follows other signals, in three types only.
//!
//! A bare closure in a view is a type of its own, and everything that draws it is compiled anew for it. As these few
//! types, all texts share one, which keeps the download small.

use leptos::prelude::*;

/// A text.
pub(crate) fn text<S: Into<String>>(say: impl Fn() -> S + Send + Sync + 'static) -> Signal<String> {
    Signal::derive(move || say().into())
}

/// A text, or nothing at all: an attribute that may be absent.
pub(crate) fn maybe(say: impl Fn() -> Option<String> + Send + Sync + 'static) -> Signal<Option<String>> {
    Signal::derive(say)
}

/// Something that holds or does not.
pub(crate) fn flag(holds: impl Fn() -> bool + Send + Sync + 'static) -> Signal<bool> {
    Signal::derive(holds)
}
