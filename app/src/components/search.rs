//! The search box: what is typed, what it could become, and what was understood.

use leptos::ev::KeyboardEvent;
use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::MAX_TEXT_BYTES;
use lockkeeper_model::search::Search as Understood;

use crate::lang::t;
use crate::live::Live;
use crate::live::complete::{Names, offers, said};
use crate::live::phrase::phrase;
use crate::live::route::cut;
use crate::nav::Nav;
use crate::ui::{Glyph, Icon, Listbox, flag, maybe, move_by_key, option_id, text};

const OFFERS: &str = "search-offers";
const UNDERSTOOD: &str = "search-understood";

/// The box, with what the word in it could become.
#[component]
pub(crate) fn Search(field: NodeRef<html::Input>) -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let asked = Memo::new(move |_| nav.route.with(|route| route.question.q.clone()));
    let typed = expect_context::<Typed>();
    let at = RwSignal::new(None::<usize>);
    let is_open = RwSignal::new(false);
    let caret = RwSignal::new(0usize);
    // Back and forward change the box; what is being typed does not come back to it.
    Effect::new(move |_| {
        let asked = asked.get();
        if let Some(field) = field.get()
            && cut(&field.value()) != asked
        {
            field.set_value(&asked);
            typed.0.set(asked);
        }
    });
    // With each letter, however fast they come: one question is on its way at most, and then the latest.
    let ask = move |text: String| {
        // What is not understood is not asked: the rows of the question before stay.
        if typed.error(&text).is_none() {
            nav.ask_in_place(|question| question.q = cut(&text));
        }
        typed.0.set(text);
    };
    let offered = Memo::new(move |_| {
        if !is_open.get() {
            return (0..0, Vec::new());
        }
        let names = Names {
            sources: live.sources.with(|sources| sources.iter().map(|source| source.name.clone()).collect()),
            dialects: live.dialects.with(|dialects| dialects.iter().map(|dialect| dialect.name.clone()).collect()),
        };
        typed.0.with(|typed| live.facets.with(|facets| offers(typed, caret.get(), &names, facets)))
    });
    let options = Signal::derive(move || {
        offered.with(|(_, offers)| offers.iter().map(|offer| (said(offer), offer.note.clone())).collect::<Vec<_>>())
    });
    let number = move || offered.with_untracked(|(_, offers)| offers.len());
    let choose = Callback::new(move |place: usize| {
        let Some(field) = field.get_untracked() else { return };
        let (span, chosen) = offered.with_untracked(|(span, offers)| (span.clone(), offers.get(place).cloned()));
        let Some(chosen) = chosen else { return };
        let mut value = field.value();
        // A field waits for its value; a value is a whole word.
        let is_whole = !chosen.text.ends_with([':', '>', '<']);
        let space = if is_whole && span.end == value.len() { " " } else { "" };
        value.replace_range(span.clone(), &format!("{}{space}", chosen.text));
        let end = span.start + chosen.text.len() + space.len();
        field.set_value(&value);
        let utf16 = value[..end].encode_utf16().count() as u32;
        let _ = field.set_selection_range(utf16, utf16);
        caret.set(end);
        at.set(None);
        is_open.set(!is_whole);
        ask(value);
    });
    let on_input = move |field: web_sys::HtmlInputElement| {
        let value = field.value();
        let before = field.selection_start().ok().flatten().unwrap_or(u32::MAX) as usize;
        caret.set(byte_of(&value, before));
        at.set(None);
        is_open.set(true);
        ask(value);
    };
    let on_key = move |event: KeyboardEvent| {
        let key = event.key();
        match (key.as_str(), at.get_untracked()) {
            ("Enter", Some(place)) if number() > 0 => choose.run(place),
            ("Tab", Some(place)) if number() > 0 => choose.run(place),
            ("Escape", _) if is_open.get_untracked() && number() > 0 => is_open.set(false),
            (key, _) if number() > 0 && move_by_key(key, at, number()) => {}
            _ => return,
        }
        event.prevent_default();
    };
    let is_shown = flag(move || options.with(|options| !options.is_empty()));
    view! {
        <div class="search">
            <Icon glyph=Glyph::Search />
            <input
                type="search"
                role="combobox"
                aria-label=t!(search_locks)
                aria-autocomplete="list"
                aria-controls=OFFERS
                aria-expanded=text(move || is_shown.get().to_string())
                aria-activedescendant=maybe(move || at.get().map(|place| option_id(OFFERS, place)))
                aria-describedby=UNDERSTOOD
                aria-invalid=text(move || typed.0.with(|text| typed.error(text).is_some()).to_string())
                placeholder=t!(name_holder_worker_7_held)
                autocomplete="off"
                autocapitalize="off"
                spellcheck="false"
                enterkeyhint="search"
                maxlength=MAX_TEXT_BYTES.to_string()
                node_ref=field
                on:input:target=move |event| on_input(event.target())
                on:keydown=on_key
                on:blur=move |_| is_open.set(false)
            />
            <kbd aria-hidden="true">"/"</kbd>
            <Listbox id=OFFERS label=t!(what_it_could_become) options at choose />
        </div>
    }
}

/// What stands in the box; offered as context by the page.
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) RwSignal<String>);

impl Typed {
    /// What is not understood of a text.
    fn error(self, text: &str) -> Option<String> {
        Understood::parse(&cut(text)).err().map(|error| error.to_string())
    }
}

/// What is shown, in plain words; or why what is typed is not.
#[component]
pub(crate) fn Understanding() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let typed = expect_context::<Typed>();
    let error = Memo::new(move |_| {
        let refused = || live.refused.get().map(|detail| lockkeeper_model::words::shown(&detail));
        typed.0.with(|text| typed.error(text)).or_else(refused)
    });
    let said = text(move || match error.get() {
        Some(error) => t!(below_is_still_what_was, error),
        None => nav.route.with(|route| phrase(&route.question)),
    });
    view! {
        <p id=UNDERSTOOD class="understood" class:bad=flag(move || error.with(Option::is_some)) role="status">
            {said}
        </p>
    }
}

/// The byte at which the character begins that this many UTF-16 units are before, as browsers count.
fn byte_of(text: &str, units: usize) -> usize {
    let mut counted = 0;
    for (at, c) in text.char_indices() {
        if counted >= units {
            return at;
        }
        counted += c.len_utf16();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_found_in_bytes() {
        assert_eq!([0, 1, 2, 4, 5, 99].map(|units| byte_of("aä\u{1f512}b", units)), [0, 1, 3, 7, 8, 8]);
    }
}
