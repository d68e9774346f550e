use leptos::prelude::*;

/// What stands where an answer will, so that nothing jumps when it comes: quiet lines, and words for whoever does not see them.
/// `shape` is a class of the style sheet: `as-table`, `as-facts`, `as-cards` or `as-locks` without the first word.
pub(crate) fn skeleton(shape: &'static str, words: &'static str) -> AnyView {
    view! {
        <p class="unseen" role="status">
            {words}
        </p>
        <div class=format!("skeleton as-{shape}") aria-busy="true"></div>
    }
    .into_any()
}
