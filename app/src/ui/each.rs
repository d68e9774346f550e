use std::sync::Arc;

use leptos::prelude::*;

/// Draws something for each of the places `0..count`. What is drawn reads for itself what its place holds.
///
/// A list that is keyed by its values is compiled anew for every type of value; this one is compiled once.
pub(crate) fn each<V: IntoView + 'static>(
    count: impl Fn() -> usize + Send + Sync + 'static,
    draw: impl Fn(usize) -> V + Send + Sync + 'static,
) -> AnyView {
    places(Signal::derive(move || count() as i64), Arc::new(move |at| draw(at).into_any()))
}

fn places(count: Signal<i64>, draw: Arc<dyn Fn(usize) -> AnyView + Send + Sync>) -> AnyView {
    let count = Memo::new(move |_| count.get());
    view! {
        <For each=move || 0..count.get() as usize key=|at| *at let(at)>
            {draw(at)}
        </For>
    }
    .into_any()
}
