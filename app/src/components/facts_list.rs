use leptos::prelude::*;

use super::facts::Facts;
use crate::ui::{When, each, flag, maybe};

/// Terms and what they are. A text that changes as time passes is changed in place, so that it can be selected.
#[component]
pub(crate) fn FactsList(
    /// In order.
    facts: Memo<Facts>,
) -> impl IntoView {
    let count = move || facts.with(Vec::len);
    let pair = move |at: usize| {
        view! {
            <dt>{maybe(move || facts.with(|facts| facts.get(at).map(|(term, _)| (*term).to_owned())))}</dt>
            <dd>{maybe(move || facts.with(|facts| facts.get(at).map(|(_, text)| text.clone())))}</dd>
        }
    };
    view! { <dl class="facts">{each(count, pair)}</dl> }
}

/// Facts under a heading, and nothing at all where there are none.
#[component]
pub(crate) fn Section(
    /// The heading.
    title: Signal<String>,
    /// In order.
    facts: Memo<Facts>,
) -> impl IntoView {
    view! {
        <When holds=flag(move || !facts.with(Vec::is_empty))>
            <h3>{title}</h3>
            <FactsList facts />
        </When>
    }
}
