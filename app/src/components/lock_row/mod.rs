//! The rows of the table of locks. What one says is made in [`face`] from plain data; [`paint`] writes what differs into an
//! element that is used again for another lock when the first one goes out of sight. The table is scrolled past a million locks
//! while thousands of them change each second: docs/decisions/0018 says what rows of components cost.

mod face;
mod paint;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use leptos::ev::MouseEvent;
use leptos::prelude::*;
use lockkeeper_model::wire::Row;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, HtmlInputElement, Node};

use self::face::{Around, Face, Picking};
use self::paint::Painter;
use super::lock_table::TableKeys;
use super::selection::{Selecting, can_be_chosen};
use crate::live::board::{Condition, RowView};
use crate::live::slots::Slots;
use crate::live::{LinkState, Live};
use crate::nav::Nav;
use crate::ui::button_of;

/// Rows that are written within one frame: about as many as a machine whose processor has other things to do writes, lays out and
/// draws before the next. A screenful at once is some frames that nobody sees.
const ROWS_PER_FRAME: usize = 4;

/// Frames that pass until some more are written of what nobody misses: rows out of sight, and that in those in sight something
/// begins to move. What the ones before are drawn with is over by then.
const FRAMES_APART: u32 = 3;

/// Marks a row that does not say yet what it is to show: the lines of the paper stand in its place.
const COVERED: &str = "data-covered";

/// What the id of a row's element begins with; the number of its lock follows.
const ID: &str = "row-";

/// The id of the element that shows a row.
pub(crate) fn element_id(id: u64) -> String {
    format!("{ID}{id}")
}

/// The row in which something happened.
pub(crate) fn row_at(event: &Event) -> Option<u64> {
    let at: Element = event.target()?.dyn_into().ok()?;
    let row = at.closest("[role=row]").ok()??;
    row.id().strip_prefix(ID)?.parse().ok()
}

/// What every row reads.
#[derive(Clone, Copy)]
pub(crate) struct Reads {
    pub(crate) live: Live,
    pub(crate) nav: Nav,
    pub(crate) keys: TableKeys,
    pub(crate) selecting: Selecting,
}

/// The rows that are drawn.
pub(crate) struct Rows {
    reads: Reads,
    body: Node,
    /// Under which everything that a row follows is kept.
    owner: Owner,
    markup: Element,
    slots: Slots,
    drawn: HashMap<u32, Drawn>,
    /// Elements that were needed and may be again, beside the page.
    spare: Vec<Drawn>,
    /// Elements that are to show something else, in the order in which they come to it.
    waiting: VecDeque<Waiting>,
    /// A frame was asked for in which some of them may.
    frame_asked: bool,
    /// Frames since some of them did.
    frames_passed: u32,
    /// What is drawn may be old.
    unseen: bool,
}

/// What an element shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shows {
    /// The number of the row.
    id: u64,
    /// What moves by itself does.
    moves: bool,
}

/// An element that is to show something else.
struct Waiting {
    element: u32,
    shows: Shows,
    /// It is in sight, and what it is to show is seen nowhere yet.
    is_missed: bool,
}

/// One element, and what it shows.
struct Drawn {
    element: Element,
    /// `None` while it is not needed, or waits for what it is to show.
    shows: ArcRwSignal<Option<Shows>>,
    _paints: RenderEffect<()>,
}

impl Rows {
    /// No rows yet, in the body of a table. `owner` lives as long as the table.
    pub(crate) fn new(reads: Reads, body: Node, owner: Owner) -> Option<Rows> {
        let markup = paint::markup()?;
        Some(Rows {
            reads,
            body,
            owner,
            markup,
            slots: Slots::default(),
            drawn: HashMap::new(),
            spare: Vec::new(),
            waiting: VecDeque::new(),
            frame_asked: false,
            frames_passed: 0,
            unseen: false,
        })
    }

    /// Shows these rows, in this order. While somebody scrolls, few are written in one frame, those that are `seen` first; what
    /// changes where somebody `stays` is written at once. Nothing in them moves by itself unless it `moves`. Says whether
    /// [`Rows::go_on`] is to be called in the next frame.
    pub(crate) fn show(&mut self, ids: &[u64], seen: Range<usize>, stays: bool, moves: bool) -> bool {
        let afresh = std::mem::take(&mut self.unseen);
        let slots = self.slots.show(ids);
        let focused = document().active_element();
        let has_focus = |drawn: &Drawn| drawn.element.contains(focused.as_deref());
        let mut lost = false;
        for element in &slots.dropped {
            if let Some(drawn) = self.drawn.remove(element) {
                lost |= has_focus(&drawn);
                drawn.element.remove();
                drawn.shows.set(None);
                self.spare.push(drawn);
            }
        }
        let (mut first, mut later) = (VecDeque::new(), VecDeque::new());
        let mut next: Option<Node> = None;
        for (at, slot) in slots.shown.iter().enumerate().rev() {
            if !self.drawn.contains_key(&slot.element) {
                let Some(drawn) = self.spare.pop().or_else(|| self.draw()) else { continue };
                self.drawn.insert(slot.element, drawn);
            }
            let Some(drawn) = self.drawn.get(&slot.element) else { continue };
            let (shown, to_show) = (drawn.shows.get_untracked(), Shows { id: slot.id, moves });
            let is_other = shown.is_none_or(|shown| shown.id != slot.id);
            if is_other || afresh {
                // A key that is pressed now was meant for the lock that stood here before.
                lost |= is_other && has_focus(drawn);
                let _ = drawn.element.set_attribute(COVERED, "");
                // Nothing that becomes of the lock that stood here may uncover it.
                drawn.shows.set(None);
            }
            if shown != Some(to_show) || afresh {
                let waits = !stays || afresh || self.waiting.iter().any(|waiting| waiting.element == slot.element);
                let is_shown = !afresh && shown.is_some_and(|shown| shown.id == slot.id);
                let is_missed = seen.contains(&at) && !is_shown;
                let waiting = Waiting { element: slot.element, shows: to_show, is_missed };
                match (waits, is_missed) {
                    (false, _) => drawn.shows.set(Some(to_show)),
                    (true, true) => first.push_front(waiting),
                    (true, false) => later.push_front(waiting),
                }
            }
            if !slots.still.contains(&slot.element) {
                let _ = self.body.insert_before(&drawn.element, next.as_ref());
            }
            next = Some(drawn.element.clone().into());
        }
        if lost {
            self.reads.keys.focus();
        }
        let missed = first.len();
        first.append(&mut later);
        self.waiting = first;
        // Few are written at once: whoever turns a wheel sees no gap.
        if self.waiting.len() <= ROWS_PER_FRAME || (1..=ROWS_PER_FRAME).contains(&missed) {
            self.write_some();
        }
        !self.waiting.is_empty() && !std::mem::replace(&mut self.frame_asked, true)
    }

    /// Goes on with what is to be shown. Says whether to call it again in the next frame.
    pub(crate) fn go_on(&mut self) -> bool {
        self.frames_passed += 1;
        let is_missed = self.waiting.front().is_some_and(|waiting| waiting.is_missed);
        if is_missed || self.frames_passed >= FRAMES_APART {
            self.write_some();
        }
        self.frame_asked = !self.waiting.is_empty();
        self.frame_asked
    }

    fn write_some(&mut self) {
        self.frames_passed = 0;
        for Waiting { element, shows, .. } in self.waiting.drain(..self.waiting.len().min(ROWS_PER_FRAME)) {
            if let Some(drawn) = self.drawn.get(&element) {
                drawn.shows.set(Some(shows));
            }
        }
    }

    /// Nothing of what is drawn is in sight, or kept up to date.
    pub(crate) fn lose_sight(&mut self) {
        self.unseen = true;
        self.waiting.clear();
    }

    fn draw(&self) -> Option<Drawn> {
        let (element, mut painter) = Painter::new(&self.markup)?;
        let (reads, shows) = (self.reads, ArcRwSignal::new(None::<Shows>));
        let (shown, row) = (shows.clone(), element.clone());
        let paints = self.owner.with(|| {
            RenderEffect::new(move |_| {
                let Some(shows) = shown.get() else { return };
                let Some(view) = reads.live.row(shows.id) else { return };
                view.with(|view| painter.paint(Face::of(view, &reads.around(view, shows)), reads.live.exact_now()));
                let _ = row.remove_attribute(COVERED);
            })
        });
        Some(Drawn { element, shows, _paints: paints })
    }
}

impl Reads {
    /// Chooses the row whose box was pressed; `false` if something else was. Nothing else happens in the cell of a box.
    pub(crate) fn pick(self, event: &MouseEvent, id: u64) -> bool {
        let Some(at) = event.target().and_then(|at| at.dyn_into::<Element>().ok()) else { return false };
        if let Some(input) = at.dyn_ref::<HtmlInputElement>() {
            self.selecting.choose(self.live, id, event.shift_key());
            // The browser has turned the box already, which is too much where no more can be chosen.
            input.set_checked(self.selecting.selection.with_untracked(|selection| selection.has(id)));
        }
        at.closest(".c-select").ok().flatten().is_some()
    }

    /// Opens the lock of a row that was pressed, unless the press meant something else.
    pub(crate) fn open(self, event: &MouseEvent, id: u64) {
        // A click with a modifier wants a new tab, and a drag over text wants that text.
        let selecting = window().get_selection().ok().flatten().is_some_and(|selection| !selection.is_collapsed());
        let copying = button_of(event).is_some();
        if event.ctrl_key() || event.meta_key() || event.shift_key() || event.button() != 0 || selecting || copying {
            return;
        }
        let Some(view) = self.live.row(id) else { return };
        event.prevent_default();
        self.nav.open(Some(view.with_untracked(|view| (view.row.source.clone(), view.row.id.clone()))));
    }

    fn around(self, view: &RowView, shows: Shows) -> Around {
        let (live, row) = (self.live, &view.row);
        let link = live.link.get();
        let stopped_at = match view.condition {
            _ if !link.is_live() => Some(live.now.get()),
            Condition::Left(at) => Some(at),
            Condition::Live | Condition::Ended(_) => live.true_until(&row.source),
        };
        let at = stopped_at.unwrap_or_else(|| live.now.get());
        let old = stopped_at.is_some() && link != LinkState::Past;
        Around {
            at,
            stopped_at,
            moves: shows.moves,
            running: if old { live.running_now.get() } else { at },
            old,
            place: live.shown.with(|shown| shown.place_of(row.row)),
            href: self.nav.route.with(|route| route.with_lock(Some((row.source.clone(), row.id.clone()))).href()),
            selected: self.nav.route.with(|route| route.lock.as_ref().is_some_and(|lock| is_row(lock, row))),
            pointed: self.keys.pointed.get().is_some_and(|(id, _)| id == row.row),
            picking: self.selecting.on.get().then(|| self.picking(view)),
        }
    }

    fn picking(self, view: &RowView) -> Picking {
        let picked = self.selecting.selection.with(|selection| selection.has(view.row.row));
        Picking { picked, barred: !picked && !can_be_chosen(view) }
    }
}

fn is_row((source, id): &(String, lockkeeper_model::LockId), row: &Row) -> bool {
    row.source == *source && row.id == *id
}
