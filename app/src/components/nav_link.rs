use leptos::{ev, prelude::*};

use crate::live::route::Route;
use crate::nav::Nav;

/// A link within the app: followed without loading the page anew, and all that a link is besides.
#[component]
pub(crate) fn NavLink(
    /// Where to.
    route: Route,
    /// `page` for the page that one is on.
    #[prop(into, default = Signal::stored(None))]
    current: Signal<Option<String>>,
    children: Children,
) -> impl IntoView {
    let nav = expect_context::<Nav>();
    let href = route.href();
    let follow = move |event: ev::MouseEvent| {
        // With a key held down, or another button, the browser opens it elsewhere.
        if event.button() == 0 && !event.ctrl_key() && !event.meta_key() && !event.shift_key() && !event.alt_key() {
            event.prevent_default();
            nav.go(route.clone());
        }
    };
    view! {
        <a href=href aria-current=current on:click=follow>
            {children()}
        </a>
    }
}
