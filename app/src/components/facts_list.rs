use leptos::prelude::*;

use super::facts::Facts;
use crate::lang::{self, Key, key};
use crate::ui::{When, copies_named, each, flag, maybe, text};

/// Terms of which the server says in sentences what they are.
const TOLD_BY_THE_SERVER: [Key<0>; 8] =
    [key::because, key::problem, key::what_to_try, key::noted, key::wants_it, key::acted, key::not_seen, key::it_cost];

/// The language of what stands beside a term; `None` where it is that of the page.
fn language_of(term: &str) -> Option<String> {
    let is_told = TOLD_BY_THE_SERVER.iter().any(|told| told.said() == term);
    is_told.then(lang::of_the_server).flatten().map(str::to_owned)
}

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
            <dd lang=maybe(move || facts.with(|facts| facts.get(at).and_then(|(term, _)| language_of(term))))>
                {maybe(move || facts.with(|facts| facts.get(at).map(|(_, text)| text.clone())))}
                {copies_named(text(move || facts.with(|facts| facts.get(at).map_or("", |(term, _)| *term))))}
            </dd>
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
