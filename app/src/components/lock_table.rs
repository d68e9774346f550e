use std::time::Duration;

use leptos::ev::MouseEvent;
use leptos::html;
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{PointerEvent, ResizeObserver};

use super::empty::Empty;
use super::lock_columns::Column;
use super::lock_row::{Reads, Rows, element_id, row_at};
use super::selection::{SelectHead, Selecting};
use super::view_menu::Kept;
use crate::lang::t;
use crate::live::board::Stretch;
use crate::live::look::Look;
use crate::live::runway::Runway;
use crate::live::{Live, Sight};
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
/// A thumb that was thrown and has not moved for two frames has arrived.
const ARRIVED: Duration = Duration::from_millis(35);
/// Past more than this much of a screen between two frames nothing is in sight for long enough to be read, and by the time that an
/// answer came there would be others. Who slows down to it is less than a screen from where they come to rest.
const HURTLING_VIEWS: f64 = 0.5;

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

/// How fast the rows go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Slowly enough to be read.
    Reading,
    /// Not for much longer: what comes into sight is drawn, without a reserve and with nothing in it that moves.
    Landing,
    /// So fast that nothing is asked for.
    Hurtling,
}

impl Pace {
    /// After so many pixels since the frame before.
    fn after(self, moved: f64, row: f64, view: f64) -> Pace {
        match self {
            _ if moved > view * HURTLING_VIEWS => Pace::Hurtling,
            _ if moved < row => Pace::Reading,
            Pace::Hurtling => Pace::Landing,
            slower => slower,
        }
    }
}

/// The rows that are drawn.
#[derive(Clone, Debug, PartialEq)]
struct Drawn {
    stretch: Stretch,
    /// Something of what is in sight is known: else they wait where they are, unseen.
    in_sight: bool,
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
    // With how far the list had grown above what was seen then.
    let runway = RwSignal::new((Runway::default(), live.carried.get_untracked()));
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
        // The end of a list that became shorter has no rows beyond it.
        let shown = live.shown.with(|shown| if shown.ids.is_empty() { 0 } else { shown.places().end });
        known.max(shown) as i64
    });
    let at = Memo::new(move |_| {
        let (mut at, carried) = runway.get();
        at.carry((live.carried.get() - carried) as f64 * row_px(), row_px());
        at.resize(length.get() as f64 * row_px(), view_px());
        at
    });
    let put = move |next: Runway| runway.set((next, live.carried.get_untracked()));
    // What is seen first comes first: its reserve, and what moves in it, when it is there.
    let pace = RwSignal::new(Pace::Landing);
    // The rows in sight, whether they are known or not.
    let in_sight = Memo::new(move |_| -> Option<(u64, u64)> {
        let first = (at.with(Runway::position) / row_px()).floor().max(0.0) as u64;
        let number = (view_px() / row_px()).ceil() as u64 + 1;
        Some((first, first + number))
    });
    let drawn = Memo::new(move |before: Option<&Drawn>| {
        let (first, end) = in_sight.get().unwrap_or_default();
        let reserve = if pace.get() == Pace::Reading { OVERSCAN } else { 0 };
        live.shown.with(|shown| {
            let known = shown.places();
            let in_sight = known.is_empty() || first < known.end && known.start < end;
            match before {
                // Nobody sees them: they are drawn anew when there is something to be seen again.
                Some(before) if !in_sight => Drawn { in_sight, stretch: before.stretch.clone() },
                _ => Drawn { in_sight, stretch: shown.nearest(first.saturating_sub(reserve)..end + reserve) },
            }
        })
    });

    measure(scroller, width, height);
    ask_for_what_is_in_sight(live, nav, in_sight, pace);

    let scroll_to = move |position: f64| {
        let Some(element) = scroller.get_untracked() else { return };
        let mut next = at.get_untracked();
        let scrolled = next.go(position);
        put(next);
        element.set_scroll_top(scrolled as i32);
    };
    // A new question begins at its top.
    Effect::new(move |before: Option<_>| {
        let question = nav.route.with(|route| route.question.clone());
        if before.is_some_and(|before| before != question) {
            // Even to where it is would have the page laid out for it.
            if at.with_untracked(Runway::position) > 0.0 {
                scroll_to(0.0);
            }
            keys.pointed.set(None);
        }
        question
    });
    Effect::new(move |_| {
        let Some((_, place)) = keys.pointed.get() else { return };
        let (row, view) = untrack(|| (row_px(), view_px()));
        let top = place as f64 * row;
        let position = at.with_untracked(Runway::position);
        if top < position {
            scroll_to(top);
        } else if top + row > position + view {
            scroll_to(top + row - view);
        }
    });
    Effect::new(move |_| live.freeze(keys.paused.get() || keys.hovered.get()));

    let resting = StoredValue::new([const { None::<TimeoutHandle> }; 2]);
    let go_at = move |now: Pace| {
        if pace.try_get_untracked().is_some_and(|known| known != now) {
            pace.set(now);
        }
    };
    let on_scroll = move |_| {
        let Some(element) = scroller.get_untracked() else { return };
        let before = at.get_untracked();
        let mut next = before;
        let corrected = next.scroll(f64::from(element.scroll_top()));
        put(next);
        let moved = (next.position() - before.position()).abs();
        let (row, view) = untrack(|| (row_px(), view_px()));
        go_at(pace.get_untracked().after(moved, row, view));
        if let Some(to) = corrected {
            element.set_scroll_top(to as i32);
        }
        for timer in resting.get_value().into_iter().flatten() {
            timer.clear();
        }
        let arrive = move || {
            if pace.try_get_untracked() == Some(Pace::Hurtling) {
                go_at(Pace::Landing);
            }
        };
        let rest = move || {
            // The table may have been left meanwhile.
            let Some(mut next) = at.try_get_untracked() else { return };
            let Some(element) = scroller.get_untracked() else { return };
            // Somebody has scrolled since, which is told with the next frame, and then they rest again.
            if (f64::from(element.scroll_top()) - next.scrolled()).abs() >= 1.0 {
                return;
            }
            go_at(Pace::Reading);
            if let Some(to) = next.settle() {
                put(next);
                element.set_scroll_top(to as i32);
            }
        };
        resting.set_value([
            set_timeout_with_handle(arrive, ARRIVED).ok(),
            set_timeout_with_handle(rest, SCROLL_REST).ok(),
        ]);
    };
    let body = NodeRef::<html::Tbody>::new();
    let rows = StoredValue::new_local(None::<Rows>);
    let begun = StoredValue::new(false);
    let reads = Reads { live, nav, keys, selecting };
    let owner = Owner::current().unwrap_or_default();
    Effect::new(move |before: Option<_>| {
        let (drawn, sight, moves) = (drawn.get(), in_sight.get(), pace.get() == Pace::Reading);
        let looks = Some((sight, moves));
        let body = body.get()?;
        if !drawn.in_sight {
            rows.update_value(|rows| rows.iter_mut().for_each(Rows::lose_sight));
            return looks;
        }
        let (first, end) = sight.unwrap_or_default();
        let [first, end] = [first, end].map(|place| place.saturating_sub(drawn.stretch.offset) as usize);
        let stays = before == Some(looks);
        let has_more = rows.try_update_value(|rows| {
            if rows.is_none() {
                *rows = Rows::new(reads, body.into(), owner.clone());
            }
            rows.as_mut().is_some_and(|rows| rows.show(&drawn.stretch.ids, first..end, stays, moves))
        });
        if has_more == Some(true) {
            go_on_in_the_next_frame(rows);
        }
        if !drawn.stretch.ids.is_empty() && !begun.get_value() {
            begun.set_value(true);
            set_timeout(move || go_at(Pace::Reading), SCROLL_REST);
        }
        looks
    });
    let press = move |event: MouseEvent| {
        let Some(id) = row_at(&event) else { return };
        if !reads.pick(&event, id) {
            reads.open(&event, id);
        }
    };
    // A finger has no place of its own over the table: it must not hold the rows for ever.
    let hover = move |event: PointerEvent| {
        if event.pointer_type() == "mouse" {
            keys.hovered.set(true);
        }
    };
    let body_height = text(move || px(at.with(Runway::element_height)));
    let body_padding =
        text(
            move || px((drawn.with(|drawn| drawn.stretch.offset) as f64 * row_px() + at.with(Runway::shift)).max(0.0)),
        );
    let is_long = flag(move || at.with(Runway::element_height) > view_px());
    let old = flag(move || live.link.get().is_old() && live.counts.with(Option::is_some));
    let active = maybe(move || {
        let (id, _) = keys.pointed.get()?;
        drawn.with(|drawn| drawn.in_sight && drawn.stretch.ids.contains(&id)).then(|| element_id(id))
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
            class="locks-frame"
            class:long=is_long
            style=("--row", text(move || px(row_px())))
            style=("--head", px(HEAD_PX))
        >
            <div class="paper" class:cards=cards aria-hidden="true"></div>
            <div
                class="scroller"
                class:cards=cards
                class:compact=flag(move || compact.get() && !cards.get())
                class:out-of-date=old
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
                        class:elsewhere=flag(move || drawn.with(|drawn| !drawn.in_sight))
                        on:pointerenter=hover
                        on:pointerleave=move |_| keys.hovered.set(false)
                        on:click=press
                        node_ref=body
                    ></tbody>
                </table>
                <When holds=flag(move || length.get() == 0)>
                    <Empty />
                </When>
            </div>
        </div>
    }
}

/// Writes the rows that wait for it, some in each frame.
fn go_on_in_the_next_frame(rows: StoredValue<Option<Rows>, LocalStorage>) {
    request_animation_frame(move || {
        // The table may have been left meanwhile.
        let has_more = rows.try_update_value(|rows| rows.as_mut().is_some_and(Rows::go_on));
        if has_more == Some(true) {
            go_on_in_the_next_frame(rows);
        }
    });
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
fn ask_for_what_is_in_sight(live: Live, nav: Nav, in_sight: Memo<Option<(u64, u64)>>, pace: RwSignal<Pace>) {
    Effect::new(move |_| {
        let question = nav.route.with(|route| route.question.clone());
        let pace = pace.get();
        if pace == Pace::Hurtling {
            return;
        }
        let (first, end) = in_sight.get().unwrap_or_default();
        let rows = u32::try_from(end - first).unwrap_or(u32::MAX);
        live.look(Sight { question, first, rows });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_told_from_how_far_it_goes_between_two_frames() {
        let after = |pace: Pace, moved| pace.after(moved, 58.0, 560.0);
        for pace in [Pace::Reading, Pace::Landing, Pace::Hurtling] {
            assert_eq!(after(pace, 281.0), Pace::Hurtling);
            assert_eq!(after(pace, 57.0), Pace::Reading);
        }
        assert_eq!(after(Pace::Hurtling, 280.0), Pace::Landing, "somebody slows down");
        assert_eq!(after(Pace::Landing, 58.0), Pace::Landing);
        assert_eq!(after(Pace::Reading, 280.0), Pace::Reading, "a wheel");
    }
}
