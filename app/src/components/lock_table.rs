use std::time::Duration;

use leptos::html;
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{PointerEvent, ResizeObserver};

use super::empty::Empty;
use super::lock_row::{Column, LockRow};
use super::selection::{SelectHead, Selecting};
use super::view_menu::Kept;
use crate::lang::t;
use crate::live::board::Stretch;
use crate::live::look::Look;
use crate::live::runway::Runway;
use crate::live::{Live, part_for};
use crate::nav::Nav;
use crate::ui::{When, flag, maybe, text};

/// Below this width a row is a card of several lines.
const CARDS_BELOW_PX: i64 = 680;
/// The height of a row; handed to the style sheet, so that both agree.
const ROW_PX: f64 = 58.0;
const COMPACT_PX: f64 = 36.0;
const CARD_PX: f64 = 116.0;
/// The height of the head; cards have none.
const HEAD_PX: f64 = 34.0;
/// Rows that are drawn beyond either edge, so that a fast wheel meets no blank.
const OVERSCAN: u64 = 8;
/// Nobody scrolls when nothing was scrolled for this long.
const SCROLL_REST: Duration = Duration::from_millis(200);

/// What the keyboard does to the table; offered as context by the page.
#[derive(Clone, Copy)]
pub(crate) struct TableKeys {
    /// The row that the keyboard points at, with its place.
    pub(crate) pointed: RwSignal<Option<(u64, u64)>>,
    /// The table is held still by a person.
    pub(crate) paused: RwSignal<bool>,
    /// The mouse is over the rows.
    pub(crate) hovered: RwSignal<bool>,
    /// The grid, to give the focus to.
    grid: NodeRef<html::Table>,
}

impl TableKeys {
    /// Nothing is pointed at, nothing is held.
    pub(crate) fn new() -> TableKeys {
        TableKeys {
            pointed: RwSignal::new(None),
            paused: RwSignal::new(false),
            hovered: RwSignal::new(false),
            grid: NodeRef::new(),
        }
    }

    /// Points at the row `by` rows further down.
    pub(crate) fn step(self, live: Live, by: i64) {
        let shown = live.shown.get_untracked();
        let places = shown.places();
        if places.is_empty() {
            return;
        }
        let here = self.pointed.get_untracked().map(|(id, place)| shown.place_of(id).unwrap_or(place));
        let next = match here {
            Some(place) => place.saturating_add_signed(by).clamp(places.start, places.end - 1),
            None => places.start,
        };
        if let Some(id) = shown.at(next) {
            self.pointed.set(Some((id, next)));
        }
    }

    /// Gives the focus back to the table.
    pub(crate) fn focus(self) {
        if let Some(grid) = self.grid.get_untracked() {
            let _ = grid.focus();
        }
    }
}

/// Every lock, one row each; only those in sight exist in the page.
#[component]
pub(crate) fn LockTable() -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let keys = expect_context::<TableKeys>();
    // A table of what was has nothing to choose.
    let selecting = use_context::<Selecting>().unwrap_or_else(|| {
        let none = Selecting::new();
        provide_context(none);
        none
    });
    let scroller = NodeRef::<html::Div>::new();
    let runway = RwSignal::new(Runway::default());
    let (width, height) = (RwSignal::new(0), RwSignal::new(0));
    let cards = Memo::new(move |_| width.get() < CARDS_BELOW_PX);
    let look = expect_context::<Kept>().look;
    let compact = Memo::new(move |_| look.with(|look| look.compact));
    let row_px = move || match (cards.get(), compact.get()) {
        (true, _) => CARD_PX,
        (false, true) => COMPACT_PX,
        (false, false) => ROW_PX,
    };
    let view_px = move || (height.get() as f64 - if cards.get() { 0.0 } else { HEAD_PX }).max(0.0);

    let length = Memo::new(move |_| {
        let known =
            live.counts.with(|counts| counts.map_or(0, |counts| counts.total)) + live.surplus.get().unsigned_abs();
        known.max(live.shown.with(|shown| shown.places().end)) as i64
    });
    // The rows in sight, whether they are known or not.
    let in_sight = Memo::new(move |_| -> Option<(u64, u64)> {
        let first = (runway.with(Runway::position) / row_px()).floor().max(0.0) as u64;
        let number = (view_px() / row_px()).ceil() as u64 + 1;
        Some((first, first + number))
    });
    let drawn = Memo::new(move |_| {
        let (first, end) = in_sight.get().unwrap_or_default();
        live.shown.with(|shown| {
            let places = shown.places();
            let start = first.saturating_sub(OVERSCAN).max(places.start);
            let end = (end + OVERSCAN).min(places.end);
            Stretch { offset: start, ids: (start..end).filter_map(|place| shown.at(place)).collect() }
        })
    });

    measure(scroller, width, height);
    Effect::new(move |_| {
        let (long, view) = (length.get() as f64 * row_px(), view_px());
        let mut next = runway.get_untracked();
        next.resize(long, view);
        runway.set(next);
    });
    ask_for_what_is_in_sight(live, nav, in_sight);

    // A new question begins at its top.
    Effect::new(move |before: Option<_>| {
        let question = nav.route.with(|route| route.question.clone());
        if before.is_some_and(|before| before != question) {
            scroll_to(scroller, runway, 0.0);
            keys.pointed.set(None);
        }
        question
    });
    Effect::new(move |_| {
        let Some((_, place)) = keys.pointed.get() else { return };
        let (row, view) = untrack(|| (row_px(), view_px()));
        let top = place as f64 * row;
        let position = runway.with_untracked(Runway::position);
        if top < position {
            scroll_to(scroller, runway, top);
        } else if top + row > position + view {
            scroll_to(scroller, runway, top + row - view);
        }
    });
    Effect::new(move |_| live.freeze(keys.paused.get() || keys.hovered.get()));

    let resting = StoredValue::new(None::<TimeoutHandle>);
    let on_scroll = move |_| {
        let Some(element) = scroller.get_untracked() else { return };
        let mut next = runway.get_untracked();
        let corrected = next.scroll(f64::from(element.scroll_top()));
        runway.set(next);
        if let Some(to) = corrected {
            element.set_scroll_top(to as i32);
        }
        if let Some(timer) = resting.get_value() {
            timer.clear();
        }
        let rest = move || {
            let mut next = runway.get_untracked();
            if let Some(to) = next.settle()
                && let Some(element) = scroller.get_untracked()
            {
                runway.set(next);
                element.set_scroll_top(to as i32);
            }
        };
        resting.set_value(set_timeout_with_handle(rest, SCROLL_REST).ok());
    };
    // A finger has no place of its own over the table: it must not hold the rows for ever.
    let hover = move |event: PointerEvent| {
        if event.pointer_type() == "mouse" {
            keys.hovered.set(true);
        }
    };
    let body_height = text(move || px(runway.with(Runway::element_height)));
    let body_padding =
        text(move || px((drawn.with(|drawn| drawn.offset) as f64 * row_px() + runway.with(Runway::shift)).max(0.0)));
    let skeleton_shift = text(move || px(runway.with(Runway::shift) % row_px()));
    let old = flag(move || live.link.get().is_old() && live.counts.with(Option::is_some));
    let active = maybe(move || {
        let (id, _) = keys.pointed.get()?;
        drawn.with(|drawn| drawn.ids.contains(&id)).then(|| format!("row-{id}"))
    });
    // Their widths are the style sheet's.
    let columns = text(move || {
        shown_columns(&look.get()).map(|column| format!("var(--w-{})", column.word())).collect::<Vec<_>>().join(" ")
    });
    let classes = text(move || {
        let hidden = |column: &Column| look.with(|look| !look.shows(column.word()));
        let hidden = Column::ALL.into_iter().filter(hidden).map(|column| format!(" hide-{}", column.word()));
        format!("locks{}", hidden.collect::<String>())
    });
    let row_count = text(move || live.counts.with(|counts| counts.map_or(-1, |_| length.get() + 1)).to_string());

    view! {
        <div
            class="scroller"
            class:cards=cards
            class:compact=flag(move || compact.get() && !cards.get())
            class:out-of-date=old
            style=("--row", text(move || px(row_px())))
            style=("--head", px(HEAD_PX))
            node_ref=scroller
            on:scroll=on_scroll
        >
            <table
                role="grid"
                class=classes
                style=("--columns", columns)
                aria-label=t!(locks)
                aria-rowcount=row_count
                aria-colcount=text(move || (shown_columns(&look.get()).count() + usize::from(selecting.on.get())).to_string())
                aria-busy=text(move || live.behind.get().to_string())
                aria-activedescendant=active
                tabindex="0"
                node_ref=keys.grid
            >
                <thead role="rowgroup">
                    <tr role="row" aria-rowindex="1">
                        <When holds=selecting.on>
                            <SelectHead />
                        </When>
                        {Column::ALL.into_iter().map(|column| view! { <Head column /> }).collect_view()}
                    </tr>
                </thead>
                <tbody
                    role="rowgroup"
                    style:height=body_height
                    style:padding-top=body_padding
                    style=("--skeleton", skeleton_shift)
                    on:pointerenter=hover
                    on:pointerleave=move |_| keys.hovered.set(false)
                >
                    <For each=move || drawn.get().ids key=|id| *id let(id)>
                        <LockRow
                            id
                            pointed=flag(move || keys.pointed.get().is_some_and(|(row, _)| row == id))
                            place=maybe(move || live.shown.with(|shown| shown.place_of(id)).map(|place| (place + 2).to_string()))
                        />
                    </For>
                </tbody>
            </table>
            <When holds=flag(move || length.get() == 0)>
                <Empty />
            </When>
        </div>
    }
}

fn shown_columns(look: &Look) -> impl Iterator<Item = Column> {
    Column::ALL.into_iter().filter(|column| look.shows(column.word()))
}

/// The head of a column; most order the table.
#[component]
fn Head(
    /// Which.
    column: Column,
) -> impl IntoView {
    let nav = expect_context::<Nav>();
    let question = move || nav.route.with(|route| (route.question.sort, route.question.order()));
    let sorted = move || {
        let (sort, order) = question();
        column.aria_sort(sort, order)
    };
    let press = move |_| {
        let Some(key) = column.sort() else { return };
        nav.ask(|question| {
            let turned = question.sort == key && question.order.is_none();
            question.order = turned.then(|| match key.natural_order() {
                lockkeeper_model::Order::Asc => lockkeeper_model::Order::Desc,
                lockkeeper_model::Order::Desc => lockkeeper_model::Order::Asc,
            });
            question.sort = key;
        });
    };
    view! {
        <th role="columnheader" class=column.class() aria-sort=sorted>
            {match column.sort() {
                Some(_) => {
                    view! {
                        <button type="button" class="head" tabindex="-1" title=column.explained() on:click=press>
                            {column.title()}
                        </button>
                    }
                        .into_any()
                }
                None => column.title().into_any(),
            }}
        </th>
    }
}

/// A length for a style. Whole pixels: text that lies between two of them is blurred.
fn px(length: f64) -> String {
    format!("{}px", length.round() as i64)
}

/// Keeps `width` and `height` at those of an element.
fn measure(element: NodeRef<html::Div>, width: RwSignal<i64>, height: RwSignal<i64>) {
    Effect::new(move |_| {
        let Some(element) = element.get() else { return };
        let measured = element.clone();
        let read = move || {
            for (known, now) in [(width, measured.client_width()), (height, measured.client_height())] {
                if known.try_get_untracked().is_some_and(|known| known != i64::from(now)) {
                    known.set(i64::from(now));
                }
            }
        };
        read();
        let changed = Closure::<dyn FnMut()>::new(read);
        if let Ok(observer) = ResizeObserver::new(changed.as_ref().unchecked_ref()) {
            observer.observe(&element);
            // Observed for as long as the page lives: there is one table.
            changed.forget();
        }
    });
}

/// Asks the server for what is in sight and a reserve around it.
fn ask_for_what_is_in_sight(live: Live, nav: Nav, in_sight: Memo<Option<(u64, u64)>>) {
    Effect::new(move |before: Option<(_, (u64, u32))>| {
        let question = nav.route.with(|route| route.question.clone());
        let (first, end) = in_sight.get().unwrap_or_default();
        let visible = u32::try_from(end - first).unwrap_or(u32::MAX);
        let same = before.filter(|(known, _)| *known == question).map(|(_, part)| part);
        let part = part_for(first, visible, same);
        live.want(question.clone(), part.0, part.1);
        (question, part)
    });
}

fn scroll_to(scroller: NodeRef<html::Div>, runway: RwSignal<Runway>, position: f64) {
    let Some(element) = scroller.get_untracked() else { return };
    let mut next = runway.get_untracked();
    let scrolled = next.go(position);
    runway.set(next);
    element.set_scroll_top(scrolled as i32);
}
