//! Going somewhere by typing where, and the list of all keys.

use std::time::Duration;

use leptos::ev::KeyboardEvent;
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::{html, prelude::*};
use lockkeeper_model::LockId;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use super::shortcuts::Shortcut;
use super::view_menu::Kept;
use crate::lang::{self, Language, Wording, t};
use crate::live::api;
use crate::live::route::{Page, Route};
use crate::live::views::{BUILT_IN, route_of};
use crate::nav::Nav;
use crate::ui::{Listbox, maybe, move_by_key, option_id, text};

const PLACES: &str = "palette-places";

/// Locks are looked for when nobody has typed for this long.
const TYPING_REST: Duration = Duration::from_millis(150);

/// Every key of the page, with what it does.
fn keys() -> [(&'static str, &'static str); 11] {
    [
        ("/", t!(key_search)),
        (t!(keys_arrows), t!(key_point)),
        ("Enter", t!(key_open)),
        ("x", t!(key_select)),
        ("c", t!(key_copy)),
        ("p", t!(key_hold)),
        ("Esc", t!(key_close)),
        (t!(keys_ctrl_k), t!(key_palette)),
        (t!(keys_in_search), t!(key_take)),
        (t!(keys_in_boxes), t!(key_range)),
        ("?", t!(key_help)),
    ]
}

/// Somewhere to go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    said: String,
    note: String,
    leads: Leads,
}

/// What choosing it does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leads {
    To(Box<Route>),
    Speak(Language),
}

/// The dialog that a key opened.
#[component]
pub(crate) fn ShortcutDialog(
    /// Set to `None` to close.
    opened: RwSignal<Option<Shortcut>>,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move |_| {
        if let Some(dialog) = dialog.get()
            && !dialog.open()
        {
            let _ = dialog.show_modal();
        }
    });
    let close = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let closed = move |_| opened.set(None);
    match opened.get_untracked() {
        Some(Shortcut::Places) => view! {
            <dialog class="palette" aria-label=t!(go_to) node_ref=dialog on:close=closed>
                <Places dialog />
            </dialog>
        }
        .into_any(),
        Some(Shortcut::Keys) => view! {
            <dialog class="palette" aria-labelledby="keys-title" node_ref=dialog on:close=closed>
                <h2 id="keys-title">{t!(keys_title)}</h2>
                <dl class="keys">
                    {keys()
                        .into_iter()
                        .map(|(key, does)| {
                            view! {
                                <dt>
                                    <kbd>{key}</kbd>
                                </dt>
                                <dd>{does}</dd>
                            }
                        })
                        .collect_view()}
                </dl>
                <div class="acts">
                    <button type="button" class="plain" on:click=close>
                        {t!(close)}
                    </button>
                </div>
            </dialog>
        }
        .into_any(),
        None => ().into_any(),
    }
}

/// The box, and what it leads to.
#[component]
fn Places(dialog: NodeRef<html::Dialog>) -> impl IntoView {
    let typed = RwSignal::new(String::new());
    let nav = expect_context::<Nav>();
    let kept = expect_context::<Kept>();
    let wording = expect_context::<Wording>();
    let at = RwSignal::new(Some(0usize));
    let found = RwSignal::new(Vec::<(String, LockId, String)>::new());
    let resting = StoredValue::new(None::<TimeoutHandle>);
    let places = Memo::new(move |_| {
        let views = kept.views.with(|kept| {
            let own = kept.iter().map(|view| (view.name.clone(), view.href.clone()));
            BUILT_IN
                .map(|(name, href)| (name.said().to_owned(), href.to_owned()))
                .into_iter()
                .chain(own)
                .collect::<Vec<_>>()
        });
        typed.with(|typed| found.with(|found| leading(typed, views, found)))
    });
    let options = Signal::derive(move || {
        places.with(|places| places.iter().map(|place| (place.said.clone(), place.note.clone())).collect::<Vec<_>>())
    });
    let look = move |text: String| {
        if let Some(timer) = resting.get_value() {
            timer.clear();
        }
        let later = move || {
            spawn_local(async move {
                let locks = if text.trim().is_empty() { Vec::new() } else { api::find_locks(&text).await };
                // Something else may have been typed meanwhile, or the page left.
                if typed.try_with_untracked(|typed| *typed == text) == Some(true) {
                    found.set(locks);
                }
            });
        };
        resting.set_value(set_timeout_with_handle(later, TYPING_REST).ok());
    };
    let choose = Callback::new(move |place: usize| {
        let Some(leads) = places.with_untracked(|places| places.get(place).map(|place| place.leads.clone())) else {
            return;
        };
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
        match leads {
            Leads::To(route) => nav.go(*route),
            Leads::Speak(language) => wording.choose(Some(language)),
        }
    });
    let on_key = move |event: KeyboardEvent| {
        let length = places.with_untracked(Vec::len);
        match (event.key().as_str(), at.get_untracked()) {
            ("Enter", Some(place)) => choose.run(place),
            (key, _) if move_by_key(key, at, length) => {}
            _ => return,
        }
        event.prevent_default();
    };
    view! {
        <input
            type="text"
            class="typed"
            role="combobox"
            aria-label=t!(go_to_a_page_a)
            aria-autocomplete="list"
            aria-expanded="true"
            aria-controls=PLACES
            aria-activedescendant=maybe(move || at.get().map(|place| option_id(PLACES, place)))
            placeholder=t!(page_view_or_name_of)
            autocomplete="off"
            autocapitalize="off"
            spellcheck="false"
            prop:value=typed
            on:input:target=move |event| {
                let value = event.target().value();
                typed.set(value.clone());
                at.set(Some(0));
                // What was found for another text is nothing for this one.
                found.set(Vec::new());
                look(value);
            }
            on:keydown=on_key
        />
        <Listbox id=PLACES label=t!(places) options at choose />
        <small class="unseen" role="status">
            {text(move || match places.with(Vec::len) {
                0 => t!(nothing_is_called_that).to_owned(),
                1 => t!(one_place).to_owned(),
                n => t!(places_in_palette, n),
            })}
        </small>
    }
}

/// Where what was typed leads: pages and views of which it is a part, and locks that were found.
fn leading(typed: &str, views: Vec<(String, String)>, found: &[(String, LockId, String)]) -> Vec<Place> {
    let wanted = typed.trim().to_lowercase();
    let fits = |name: &str| name.to_lowercase().contains(&wanted);
    let pages = Page::ALL.iter().filter(|page| page.is_offered() && fits(page.name())).map(|page| Place {
        said: page.name().to_owned(),
        note: t!(page).to_owned(),
        leads: Leads::To(Box::new(Route { page: *page, ..Route::default() })),
    });
    let views = views.into_iter().filter(|(name, _)| fits(name)).map(|(name, href)| Place {
        said: shown(&name),
        note: t!(view).to_owned(),
        leads: Leads::To(Box::new(route_of(&href))),
    });
    let locks = found.iter().filter(|_| !wanted.is_empty()).map(|(source, id, name)| Place {
        said: shown(name),
        note: t!(lock_of, shown(source)),
        leads: Leads::To(Box::new(Route { lock: Some((source.clone(), id.clone())), ..Route::default() })),
    });
    let languages = Language::ALL.into_iter().filter(|language| {
        !wanted.is_empty() && *language != lang::spoken() && (fits(language.own_name()) || fits(t!(language)))
    });
    let languages = languages.map(|language| Place {
        said: language.own_name().to_owned(),
        note: t!(speak).to_owned(),
        leads: Leads::Speak(language),
    });
    pages.chain(views).chain(languages).chain(locks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_leads_to_pages_views_and_locks() {
        let views = || vec![("Waited for".to_owned(), "/?state=waiting".to_owned())];
        let found = [("orders".to_owned(), LockId::of_key(b"lock:audit"), "audit\u{202e}".to_owned())];
        let said = |typed: &str| -> Vec<String> {
            leading(typed, views(), &found).into_iter().map(|place| format!("{} {}", place.note, place.said)).collect()
        };
        assert_eq!(said("AUD"), ["page Audit", "lock of orders audit\\u{202e}"]);
        assert_eq!(said("waited"), ["view Waited for", "lock of orders audit\\u{202e}"]);
        let places = leading("waited", views(), &[]);
        assert!(matches!(&places[0].leads, Leads::To(route) if route.question.state.as_deref() == Some("waiting")));
        assert_eq!(said("deut")[0], "language Deutsch");
        assert!(said("").contains(&"page Locks".to_owned()) && !said("").iter().any(|place| place.contains("lock of")));
    }
}
