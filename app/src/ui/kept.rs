use leptos::prelude::window;

/// What was kept in this browser under a name; `None` where nothing was, or nothing can be.
pub(crate) fn kept(name: &str) -> Option<String> {
    window().local_storage().ok().flatten()?.get_item(name).ok().flatten()
}

/// Keeps something in this browser. Where nothing can be kept it lasts as long as the page.
pub(crate) fn keep(name: &str, what: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(name, what);
    }
}
