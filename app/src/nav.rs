//! The address bar as state: which page, what is searched, how it is ordered, which lock is open.

use leptos::{ev, prelude::*};
use lockkeeper_model::{LockId, Question};
use wasm_bindgen::JsValue;

use crate::live::route::Route;

/// Where the page is, and the ways to go elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Nav {
    /// What the address says.
    pub(crate) route: RwSignal<Route>,
}

impl Nav {
    /// Reads the address, and follows back and forward.
    pub(crate) fn start() -> Nav {
        let nav = Nav { route: RwSignal::new(here()) };
        let _listening = window_event_listener(ev::popstate, move |_| nav.route.set(here()));
        nav
    }

    /// Goes somewhere that "back" should come back from.
    pub(crate) fn go(self, route: Route) {
        if self.route.with_untracked(|now| *now == route) {
            return;
        }
        if let Ok(history) = window().history() {
            // Refused only when somebody clicks hundreds of times a minute; the page itself still follows.
            let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&route.href()));
        }
        self.route.set(route);
    }

    /// Changes the address in place: nobody wants to go back through every moment of a drag.
    pub(crate) fn replace(self, change: impl FnOnce(&mut Route)) {
        let mut route = self.route.get_untracked();
        change(&mut route);
        self.put(route);
    }

    /// Opens a lock, or closes the open one.
    pub(crate) fn open(self, lock: Option<(String, LockId)>) {
        self.go(self.route.with_untracked(|route| route.with_lock(lock)));
    }

    /// Changes the question.
    pub(crate) fn ask(self, change: impl FnOnce(&mut Question)) {
        let mut route = self.route.get_untracked();
        change(&mut route.question);
        self.go(route);
    }

    /// Changes the question in place: nobody wants to go back through the letters of a word.
    pub(crate) fn ask_in_place(self, change: impl FnOnce(&mut Question)) {
        self.replace(|route| change(&mut route.question));
    }

    fn put(self, route: Route) {
        if let Ok(history) = window().history() {
            let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&route.href()));
        }
        self.route.set(route);
    }
}

fn here() -> Route {
    let location = window().location();
    Route::parse(&location.pathname().unwrap_or_default(), &location.search().unwrap_or_default())
}
