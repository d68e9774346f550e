//! Rows chosen one by one or in a range, and the bar that says what can be done with them.

use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, PreviewRequest};

use super::release::ReleaseDialog;
use crate::lang::{count, t};
use crate::live::Live;
use crate::live::board::{Condition, RowView};
use crate::live::selection::Selection;
use crate::ui::{When, flag, text};

/// What is chosen on the page; offered as context by it.
#[derive(Clone, Copy)]
pub(crate) struct Selecting {
    /// Whether rows can be chosen now.
    pub(crate) on: RwSignal<bool>,
    /// Those that were.
    pub(crate) selection: RwSignal<Selection>,
    /// What is asked for; the dialog is open while it is something.
    releasing: RwSignal<Option<PreviewRequest>>,
}

impl Selecting {
    /// Nothing is chosen.
    pub(crate) fn new() -> Selecting {
        Selecting {
            on: RwSignal::new(false),
            selection: RwSignal::new(Selection::default()),
            releasing: RwSignal::new(None),
        }
    }

    /// Chooses the row or lets go of it; with `reach`, everything from the row that was chosen last up to it as well.
    pub(crate) fn choose(self, live: Live, id: u64, reach: bool) {
        let most = most(live);
        if most == 0 {
            return;
        }
        self.on.set(true);
        let anchor = self.selection.with_untracked(Selection::anchor);
        let shown = live.shown.get_untracked();
        let place = |id| shown.place_of(id);
        if let (true, Some(from), Some(to)) = (reach, anchor.and_then(place), place(id)) {
            self.choose_places(live, from.min(to)..from.max(to) + 1);
        } else if let Some(row) = live.row(id) {
            self.selection.update(|selection| row.with_untracked(|view| selection.toggle(&view.row, most)));
        }
    }

    /// Chooses the rows at these places of the list, as far as they are there and room is left.
    fn choose_places(self, live: Live, places: std::ops::Range<u64>) {
        let shown = live.shown.get_untracked();
        let most = most(live);
        self.selection.update(|selection| {
            for row in places.filter_map(|place| live.row(shown.at(place)?)) {
                row.with_untracked(|view| {
                    if can_be_chosen(view) {
                        selection.add(&view.row, most);
                    }
                });
            }
        });
    }

    /// Lets go of everything, and shows no boxes any more.
    pub(crate) fn end(self) {
        self.selection.update(Selection::clear);
        self.on.set(false);
    }
}

/// How many can be chosen; 0 where whoever looks may not release several.
fn most(live: Live) -> usize {
    live.bulk_locks.get_untracked() as usize
}

/// A row that ended is nothing to be released.
pub(crate) fn can_be_chosen(view: &RowView) -> bool {
    view.condition == Condition::Live
}

/// Shows and hides the boxes.
#[component]
pub(crate) fn SelectButton() -> impl IntoView {
    let live = expect_context::<Live>();
    let selecting = expect_context::<Selecting>();
    let turn = move |_| if selecting.on.get_untracked() { selecting.end() } else { selecting.on.set(true) };
    view! {
        <When holds=flag(move || live.bulk_locks.get() > 0)>
            <button
                type="button"
                class="chip"
                aria-keyshortcuts="x"
                aria-pressed=text(move || selecting.on.get().to_string())
                on:click=turn
            >
                {t!(select)}
            </button>
        </When>
    }
}

/// The box that chooses every row that is loaded, up to what can be released at once.
#[component]
pub(crate) fn SelectHead() -> impl IntoView {
    let live = expect_context::<Live>();
    let selecting = expect_context::<Selecting>();
    let all = Memo::new(move |_| {
        let ids = live.shown.with(|shown| shown.ids.clone());
        selecting.selection.with(|selection| !ids.is_empty() && ids.iter().all(|id| selection.has(*id)))
    });
    let press = move |_| {
        if all.get_untracked() {
            selecting.selection.update(Selection::clear);
        } else {
            selecting.choose_places(live, live.shown.with_untracked(|shown| shown.places()));
        }
    };
    view! {
        <th role="columnheader" class="c-select">
            <label class="pick">
                <input type="checkbox" aria-label=t!(select_the_rows_that_are) prop:checked=all on:change=press />
            </label>
        </th>
    }
}

/// How many are chosen, and what can be done with them.
#[component]
pub(crate) fn SelectionBar() -> impl IntoView {
    let live = expect_context::<Live>();
    let selecting = expect_context::<Selecting>();
    let number = Memo::new(move |_| selecting.selection.with(|selection| selection.chosen().len()));
    let said = text(move || {
        let most = live.bulk_locks.get() as usize;
        match number.get() {
            0 => t!(choose_up_to_locks_with, most),
            n if n >= most => t!(selected_which_is_as_many, count(n as u64)),
            n => t!(selected, count(n as u64)),
        }
    });
    let moved = text(move || {
        live.shown.track();
        let moved = selecting.selection.with(|selection| {
            let is_other = |chosen: &&crate::live::selection::Chosen| {
                live.row(chosen.row).is_some_and(|row| {
                    row.with(|view| !can_be_chosen(view) || view.row.generation != chosen.target.generation)
                })
            };
            selection.chosen().iter().filter(is_other).count()
        });
        match moved {
            0 => String::new(),
            1 => t!(one_of_them_changed_since).to_owned(),
            n => t!(of_them_changed_since, count(n as u64)),
        }
    });
    let release = move |_| {
        let locks: Vec<_> = selecting
            .selection
            .with_untracked(|selection| selection.chosen().iter().map(|chosen| chosen.target.clone()).collect());
        let leave_out = locks.len() > 1;
        selecting.releasing.set(Some(PreviewRequest { locks, action: Action::Release, hold_ms: None, leave_out }));
    };
    let done = Callback::new(move |()| selecting.selection.update(Selection::clear));
    view! {
        <When holds=selecting.on>
            <section class="selection" aria-label=t!(selected_locks)>
                <span role="status">
                    <b>{said}</b>
                    " "
                    <small>{moved}</small>
                </span>
                <span class="spread"></span>
                <button
                    type="button"
                    class="danger"
                    disabled=flag(move || number.get() == 0 || !live.link.get().is_live())
                    on:click=release
                >
                    {t!(release)}
                </button>
                <button type="button" class="plain" on:click=move |_| selecting.end()>
                    {t!(clear)}
                </button>
            </section>
        </When>
        {move || {
            selecting.releasing.get().map(|request| {
                let name = match &request.locks[..] {
                    [only] => shown(only.id.as_str()),
                    several => t!(locks_in_selection, several.len()),
                };
                view! { <ReleaseDialog request name releasing=selecting.releasing done /> }
            })
        }}
    }
}
