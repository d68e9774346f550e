//! Views with a name, the columns of the table, and the rows as a file.

use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;

use super::NavLink;
use super::lock_columns::Column;
use crate::lang::t;
use crate::live::look::{self, Look};
use crate::live::route::Route;
use crate::live::views::{self, BUILT_IN, LONGEST_NAME, View, route_of};
use crate::nav::Nav;
use crate::ui::{When, call, each, flag, keep, kept, text};

const MENU: &str = "view-menu";

/// What a person kept in this browser; offered as context by the app.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Their views.
    pub(crate) views: RwSignal<Vec<View>>,
    /// How they want the table.
    pub(crate) look: RwSignal<Look>,
}

impl Kept {
    /// Reads what was kept, and keeps what changes.
    pub(crate) fn start() -> Kept {
        let read = |name| kept(name).unwrap_or_default();
        let kept = Kept {
            views: RwSignal::new(views::read(&read(views::KEPT_AS))),
            look: RwSignal::new(Look::read(&read(look::KEPT_AS))),
        };
        Effect::new(move |_| keep(views::KEPT_AS, &kept.views.with(|kept| views::written(kept))));
        Effect::new(move |_| keep(look::KEPT_AS, &kept.look.with(Look::written)));
        kept
    }
}

/// The button and what it opens.
#[component]
pub(crate) fn ViewMenu() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let kept = expect_context::<Kept>();
    let menu = NodeRef::<html::Div>::new();
    let named = NodeRef::<html::Input>::new();
    let why_not = RwSignal::new("");
    let close = move |_| {
        if let Some(menu) = menu.get_untracked() {
            call(&menu, "hidePopover", &[]);
        }
    };
    let keep_this = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(field) = named.get_untracked() else { return };
        let kept =
            kept.views.try_update(|kept| nav.route.with_untracked(|route| views::keep(kept, &field.value(), route)));
        match kept {
            Some(Err(because)) => why_not.set(because),
            _ => {
                why_not.set(t!(kept_in_this_browser));
                field.set_value("");
            }
        }
    };
    let own = move |at: usize| {
        let name = text(move || kept.views.with(|kept| kept.get(at).map(|view| shown(&view.name)).unwrap_or_default()));
        let href = text(move || kept.views.with(|kept| kept.get(at).map(|view| view.href.clone()).unwrap_or_default()));
        let forget = move |_| {
            kept.views.update(|kept| {
                if at < kept.len() {
                    kept.remove(at);
                }
            });
        };
        view! {
            <li>
                {move || view! { <NavLink route=route_of(&href.get())>{name.get()}</NavLink> }}
                <button type="button" class="link" aria-label=text(move || t!(delete_the_view, name.get())) on:click=forget>
                    {t!(delete)}
                </button>
            </li>
        }
    };
    let file = move |format: &'static str| {
        text(move || {
            let question = nav.route.with(|route| route.question.clone());
            let address = Route { question, ..Route::default() }.href();
            let query = address.split_once('?').map_or(String::new(), |(_, query)| format!("&{query}"));
            format!("/api/v1/locks?format={format}{query}")
        })
    };
    view! {
        <button type="button" class="chip" popovertarget=MENU>
            {t!(view_in_view_menu)}
        </button>
        <div id=MENU popover="auto" class="menu" role="dialog" aria-label=t!(views_columns_and_export) node_ref=menu>
            <h2>{t!(views)}</h2>
            <ul on:click=close>
                {BUILT_IN
                    .into_iter()
                    .map(|(name, href)| view! { <li><NavLink route=route_of(href)>{name.said()}</NavLink></li> })
                    .collect_view()}
            </ul>
            <When holds=flag(move || kept.views.with(|kept| !kept.is_empty()))>
                <ul aria-label=t!(views_that_you_kept)>{each(move || kept.views.with(Vec::len), own)}</ul>
            </When>
            <form on:submit=keep_this>
                <input
                    type="text"
                    class="name"
                    aria-label=t!(name_of_this_view)
                    placeholder=t!(name_of_this_view_in_view_menu)
                    autocomplete="off"
                    maxlength=LONGEST_NAME.to_string()
                    node_ref=named
                />
                <button type="submit" class="plain">
                    {t!(keep)}
                </button>
            </form>
            <small role="status">{why_not}</small>
            <h2>{t!(columns)}</h2>
            <div class="choices">
                {Column::ALL
                    .into_iter()
                    .filter(|column| *column != Column::Lock)
                    .map(|column| {
                        let word = column.word();
                        choice(
                            column.title(),
                            flag(move || kept.look.with(|look| look.shows(word))),
                            move |on| kept.look.update(|look| look.show(word, on)),
                        )
                    })
                    .collect_view()}
            </div>
            <h2>{t!(rows)}</h2>
            {choice(
                t!(compact_one_line_each),
                flag(move || kept.look.with(|look| look.compact)),
                move |on| kept.look.update(|look| look.compact = on),
            )}
            <h2>{t!(take_away)}</h2>
            <p class="files">
                <a href=file("csv") download="">
                    "CSV"
                </a>
                <a href=file("jsonl") download="">
                    "JSON Lines"
                </a>
                <small>{t!(all_that_is_asked_for)}</small>
            </p>
        </div>
    }
}

fn choice(label: &'static str, on: Signal<bool>, turn: impl Fn(bool) + 'static) -> AnyView {
    view! {
        <label class="choice">
            <input type="checkbox" prop:checked=on on:change:target=move |event| turn(event.target().checked()) />
            {label}
        </label>
    }
    .into_any()
}
