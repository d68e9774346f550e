//! The fold: frames in, what the table shows out. Plain data, no browser.
//!
//! A window has some hundred rows, so that lists are searched from end to end: it is quick, and less to download.

use std::collections::HashMap;

use lockkeeper_model::wire::{Ended, Facets, Row};

use super::slots::longest_rising;

/// How long an ended row stays, struck out: long enough to be read, short enough not to be taken for a lock.
pub(crate) const GHOST_MS: i64 = 5_000;
/// How many ended rows stay at once: a store that frees thousands a second must not push the held ones off the screen.
const MOST_GHOSTS: usize = 8;

/// A row and what is to be thought of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowView {
    /// The row as last heard of.
    pub(crate) row: Row,
    /// Whether it is still so.
    pub(crate) condition: Condition,
}

/// Whether a row on the screen is still what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is kept up to date.
    Live,
    /// Its hold ended.
    Ended(Ended),
    /// It moved out of the part that is asked for while the table was held still: nothing newer is known since then.
    Left(i64),
}

/// A stretch of the list: the rows from `offset` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Rows before it.
    pub(crate) offset: u64,
    /// The rows, in order.
    pub(crate) ids: Vec<u64>,
}

impl Stretch {
    /// The place of a row in the whole list.
    pub(crate) fn place_of(&self, id: u64) -> Option<u64> {
        self.ids.iter().position(|known| *known == id).map(|at| self.offset + at as u64)
    }

    /// The row at a place of the whole list.
    pub(crate) fn at(&self, place: u64) -> Option<u64> {
        self.ids.get(usize::try_from(place.checked_sub(self.offset)?).ok()?).copied()
    }

    /// As many of its rows as these places are, those that are nearest to them: the places themselves as far as it covers them.
    pub(crate) fn nearest(&self, places: std::ops::Range<u64>) -> Stretch {
        let there = self.places();
        let number = places.end.saturating_sub(places.start);
        let start = places.start.min(there.end.saturating_sub(number)).max(there.start);
        let end = start.saturating_add(number).min(there.end);
        Stretch { offset: start, ids: (start..end).filter_map(|place| self.at(place)).collect() }
    }

    /// The places it covers.
    pub(crate) fn places(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.ids.len() as u64
    }
}

/// How many locks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// That are an answer.
    pub(crate) total: u64,
    /// At all.
    pub(crate) all: u64,
    /// That each filter would leave.
    pub(crate) facets: Facets,
    /// The question is still being answered: this many were looked at.
    pub(crate) examined: Option<u64>,
}

/// A window of the list as a frame carries it.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Rows before it.
    pub(crate) offset: u64,
    /// The rows, in order.
    pub(crate) rows: Vec<Row>,
    /// Nothing on the screen belongs to its question.
    pub(crate) afresh: bool,
    /// It is the part that is on the screen, told as a whole once more.
    pub(crate) again: bool,
    /// So many rows further down than where it was asked for, because they came above it meanwhile.
    pub(crate) slid: i64,
}

/// What changed in a window, as a frame carries it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    /// Rows before the window, if that changed: they came and went above it.
    pub(crate) offset: Option<u64>,
    /// The window's rows in order, if that changed.
    pub(crate) order: Option<Vec<u64>>,
    /// Rows that are new or changed.
    pub(crate) rows: Vec<Row>,
    /// Rows that ended.
    pub(crate) ended: Vec<Ended>,
}

/// What a step of the fold touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Rows whose content changed.
    pub(crate) rows: Vec<u64>,
    /// Whether other rows are shown, or in another order.
    pub(crate) layout: bool,
}

/// An ended row that is still on the screen.
#[derive(Clone, Copy, Debug)]
struct Ghost {
    id: u64,
    place: u64,
    until: i64,
}

/// What the table shows, and what it would show if it were not held still.
#[derive(Debug, Default)]
pub(crate) struct Board {
    window: Stretch,
    shown: Stretch,
    rows: HashMap<u64, RowView>,
    ghosts: Vec<Ghost>,
    frozen: bool,
    carried: i64,
}

impl Board {
    /// The rows on the screen, in order.
    pub(crate) fn shown(&self) -> &Stretch {
        &self.shown
    }

    /// By how many rows the list has grown above what is on the screen, altogether: it stays where it is for whoever reads it.
    pub(crate) fn carried(&self) -> i64 {
        self.carried
    }

    /// A row that is shown.
    pub(crate) fn row(&self, id: u64) -> Option<&RowView> {
        self.rows.get(&id)
    }

    /// Rows before the window.
    pub(crate) fn window_at(&self) -> u64 {
        self.window.offset
    }

    /// How many rows longer the list on the screen is than the list of answers.
    pub(crate) fn surplus(&self) -> u64 {
        self.ghosts.len() as u64
    }

    /// Takes a whole window.
    pub(crate) fn window(&mut self, now: i64, window: Window) -> Touched {
        let ids: Vec<u64> = window.rows.iter().map(|row| row.row).collect();
        let before = self.shown.clone();
        if window.afresh {
            self.rows.clear();
            self.ghosts.clear();
            self.shown = Stretch::default();
        } else if window.again {
            self.carry(window.offset);
        } else {
            self.go_with(window.slid);
        }
        self.window = Stretch { offset: window.offset, ids };
        let mut touched = Vec::new();
        self.take(window.rows, &mut touched);
        let touched = self.settle(now, touched);
        Touched { layout: before != self.shown, ..touched }
    }

    /// Takes what changed.
    pub(crate) fn delta(&mut self, now: i64, delta: Delta) -> Touched {
        let mut touched = Vec::new();
        let before = self.shown.offset;
        if let Some(offset) = delta.offset {
            self.carry(offset);
        }
        let carried = self.shown.offset != before;
        self.take(delta.rows, &mut touched);
        if let Some(mut order) = delta.order {
            order.retain(|id| self.rows.contains_key(id));
            self.window.ids = order;
        }
        let present = self.window.ids.clone();
        for ended in delta.ended {
            let (id, at) = (ended.row, ended.at);
            // A lock that ended and was taken again within one frame is held.
            if present.contains(&id) {
                continue;
            }
            let Some(view) = self.rows.get_mut(&id) else { continue };
            view.condition = Condition::Ended(ended);
            touched.push(id);
            if let Some(place) = self.shown.place_of(id) {
                self.ghosts.retain(|ghost| ghost.id != id);
                // From the top down, as they are put back among the others.
                let before = self.ghosts.iter().take_while(|ghost| ghost.place < place).count();
                self.ghosts.insert(before, Ghost { id, place, until: at.max(now - GHOST_MS) + GHOST_MS });
            }
        }
        let touched = self.settle(now, touched);
        Touched { layout: touched.layout || carried, ..touched }
    }

    /// As many rows are before the window by now. What is shown goes with it.
    fn carry(&mut self, offset: u64) {
        let by = offset.cast_signed() - self.window.offset.cast_signed();
        self.window.offset = offset;
        self.go_with(by);
    }

    /// What is shown lies so many rows further down.
    fn go_with(&mut self, by: i64) {
        self.shown.offset = self.shown.offset.saturating_add_signed(by);
        for ghost in &mut self.ghosts {
            ghost.place = ghost.place.saturating_add_signed(by);
        }
        self.carried += by;
    }

    /// Lets ended rows go when their time is over.
    pub(crate) fn tick(&mut self, now: i64) -> Touched {
        if self.frozen || !self.ghosts.iter().any(|ghost| ghost.until <= now) {
            return Touched::default();
        }
        self.settle(now, Vec::new())
    }

    /// Holds the order of the rows still, or lets it go on.
    pub(crate) fn freeze(&mut self, frozen: bool, now: i64) -> Touched {
        if self.frozen == frozen {
            return Touched::default();
        }
        self.frozen = frozen;
        self.settle(now, Vec::new())
    }

    /// How many rows came, went or moved while the table is held still.
    pub(crate) fn pending(&self) -> usize {
        if !self.frozen {
            return 0;
        }
        let still: Vec<u64> =
            self.shown.ids.iter().copied().filter(|id| self.is(*id, |c| *c == Condition::Live)).collect();
        let gone = self.shown.ids.len() - still.len();
        let place = |id: &u64| self.window.ids.iter().position(|known| known == id);
        let kept: Vec<usize> = still.iter().filter_map(place).collect();
        // Rows beyond the end of what is shown are no news to somebody who looks at the shown ones.
        let came = self.window.ids.len().min(self.shown.ids.len()).saturating_sub(kept.len() + gone);
        gone + came + kept.len() - longest_rising(&kept).len()
    }

    fn is(&self, id: u64, condition: impl Fn(&Condition) -> bool) -> bool {
        self.rows.get(&id).is_some_and(|view| condition(&view.condition))
    }

    fn take(&mut self, rows: Vec<Row>, touched: &mut Vec<u64>) {
        for row in rows {
            let id = row.row;
            let view = RowView { row, condition: Condition::Live };
            if self.rows.get(&id) != Some(&view) {
                touched.push(id);
                self.rows.insert(id, view);
            }
        }
    }

    /// Decides anew what is shown and forgets what nobody sees.
    fn settle(&mut self, now: i64, mut touched: Vec<u64>) -> Touched {
        let present = self.window.ids.clone();
        self.ghosts.retain(|ghost| !present.contains(&ghost.id) && (self.frozen || ghost.until > now));
        while !self.frozen && self.ghosts.len() > MOST_GHOSTS {
            let Some(oldest) = self.ghosts.iter().map(|ghost| ghost.until).min() else { break };
            let Some(at) = self.ghosts.iter().position(|ghost| ghost.until == oldest) else { break };
            self.ghosts.remove(at);
        }
        let shown = if self.frozen { self.shown_frozen() } else { self.shown_live() };
        for id in &shown.ids {
            if let Some(view) = self.rows.get_mut(id)
                && view.condition == Condition::Live
                && !present.contains(id)
            {
                view.condition = Condition::Left(now);
                touched.push(*id);
            }
        }
        let layout = shown != self.shown;
        self.shown = shown;
        let needed = |id: &u64| self.shown.ids.contains(id) || self.window.ids.contains(id);
        self.rows.retain(|id, _| needed(id));
        self.ghosts.retain(|ghost| needed(&ghost.id));
        touched.retain(needed);
        Touched { rows: touched, layout }
    }

    /// The window with the ended rows where they were.
    fn shown_live(&self) -> Stretch {
        let mut shown = self.window.clone();
        for ghost in &self.ghosts {
            let at = ghost.place.checked_sub(shown.offset).and_then(|at| usize::try_from(at).ok());
            if let Some(at) = at.filter(|at| *at <= shown.ids.len()) {
                shown.ids.insert(at, ghost.id);
            }
        }
        shown
    }

    /// What is shown stays where it is; only places that were not shown yet are filled from the window.
    fn shown_frozen(&self) -> Stretch {
        let (old, new) = (self.shown.places(), self.window.places());
        let (start, end) = (old.start.max(new.start), old.end.min(new.end));
        if start >= end {
            // Scrolled to somewhere else, or nothing was shown: there is nothing to hold still.
            let moved_away =
                !self.window.ids.is_empty() && (self.shown.ids.is_empty() || self.shown.offset != new.start);
            return if moved_away { self.window.clone() } else { self.shown.clone() };
        }
        let same_part = self.shown.offset == self.window.offset;
        let kept_range = if same_part { old } else { start..end };
        let kept: Vec<u64> = kept_range.clone().filter_map(|place| self.shown.at(place)).collect();
        let fill = |places: std::ops::Range<u64>| {
            places.filter_map(|place| self.window.at(place)).filter(|id| !kept.contains(id)).collect::<Vec<u64>>()
        };
        let before = fill(new.start..kept_range.start.max(new.start));
        let after = fill(kept_range.end..new.end.max(kept_range.end));
        Stretch {
            offset: kept_range.start - before.len() as u64,
            ids: before.into_iter().chain(kept).chain(after).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::TransitionKind;

    use super::*;
    use crate::fixtures::row;

    fn rows(ids: impl IntoIterator<Item = u64>) -> Vec<Row> {
        ids.into_iter().map(row).collect()
    }

    fn board(ids: impl IntoIterator<Item = u64>) -> Board {
        let mut board = Board::default();
        board.window(0, Window { offset: 0, rows: rows(ids), afresh: true, again: false, slid: 0 });
        board
    }

    fn order(ids: &[u64]) -> Delta {
        Delta { order: Some(ids.to_vec()), ..Delta::default() }
    }

    fn ends(ids: &[u64], ended: u64, at: i64) -> Delta {
        Delta {
            ended: vec![Ended { row: ended, transition: TransitionKind::Released, at, held_ms: Some(840) }],
            ..order(ids)
        }
    }

    #[test]
    fn as_many_rows_are_drawn_wherever_somebody_has_scrolled_to() {
        let stretch = Stretch { offset: 100, ids: (0..60).collect() };
        let nearest = |places| stretch.nearest(places).places();
        assert_eq!(nearest(110..140), 110..140);
        assert_eq!(nearest(150..180), 130..160);
        assert_eq!(nearest(90..120), 100..130);
        assert_eq!(nearest(900_000..900_030), 130..160);
        assert_eq!(nearest(0..30), 100..130);
        assert_eq!(nearest(0..500), 100..160);
        assert_eq!(stretch.nearest(130..132).ids, [30, 31]);
        assert_eq!(Stretch::default().nearest(7..30).places(), 0..0);
    }

    #[test]
    fn a_delta_that_changes_one_row_touches_that_row_only() {
        let mut board = board(1..=5);
        let changed = Row { renewals: 7, ..row(3) };
        let touched = board.delta(10, Delta { rows: vec![changed.clone()], ..Delta::default() });
        assert_eq!(touched, Touched { rows: vec![3], layout: false });
        assert_eq!(board.row(3).unwrap().row, changed);
        let again = board.delta(20, Delta { rows: vec![changed], ..Delta::default() });
        assert_eq!(again, Touched::default());
    }

    #[test]
    fn an_ended_row_stays_where_it_was_for_its_time_and_then_goes() {
        let mut board = board(1..=4);
        board.delta(1_000, ends(&[1, 3, 4], 2, 1_000));
        assert_eq!(board.shown().ids, [1, 2, 3, 4]);
        assert!(matches!(board.row(2).unwrap().condition, Condition::Ended(_)));
        assert_eq!(board.surplus(), 1);
        assert_eq!(board.tick(5_999), Touched::default());
        assert!(board.tick(6_000).layout);
        assert_eq!(board.shown().ids, [1, 3, 4]);
        assert!(board.row(2).is_none());
    }

    #[test]
    fn a_lock_that_is_taken_again_is_struck_out_no_longer() {
        let mut board = board(1..=3);
        board.delta(1_000, ends(&[1, 3], 2, 1_000));
        board.delta(1_500, Delta { rows: rows([2]), ..order(&[1, 3, 2]) });
        assert_eq!(board.shown().ids, [1, 3, 2]);
        assert_eq!(board.row(2).unwrap().condition, Condition::Live);
        let same_frame = Delta { rows: rows([3]), ..ends(&[1, 3, 2], 3, 2_000) };
        board.delta(2_000, same_frame);
        assert_eq!(board.row(3).unwrap().condition, Condition::Live);
    }

    #[test]
    fn ended_rows_are_bounded_in_number() {
        let mut board = board(1..=40);
        for id in 1..=30 {
            board.delta(100, ends(&(id + 1..=40).collect::<Vec<_>>(), id, 100));
        }
        assert_eq!(board.surplus(), MOST_GHOSTS as u64);
        assert_eq!(board.shown().ids.len(), 10 + MOST_GHOSTS);
    }

    #[test]
    fn while_held_still_nothing_moves_and_the_changes_are_counted() {
        let mut board = board(1..=4);
        board.freeze(true, 0);
        assert_eq!(board.pending(), 0);
        board.delta(10, Delta { rows: rows([9]), ..order(&[9, 1, 2, 3, 4]) });
        assert_eq!(board.shown().ids, [1, 2, 3, 4]);
        board.delta(20, ends(&[9, 3, 1, 4], 2, 20));
        assert_eq!(board.shown().ids, [1, 2, 3, 4]);
        assert!(matches!(board.row(2).unwrap().condition, Condition::Ended(_)));
        assert!(board.pending() >= 2, "{}", board.pending());
        assert!(board.freeze(false, 30).layout);
        assert_eq!(board.shown().ids, [9, 2, 3, 1, 4]);
        assert_eq!(board.pending(), 0);
    }

    #[test]
    fn cells_go_on_while_held_still() {
        let mut board = board(1..=4);
        board.freeze(true, 0);
        let changed = Row { renewals: 7, ..row(3) };
        assert_eq!(board.delta(10, Delta { rows: vec![changed], ..Delta::default() }).rows, [3]);
    }

    #[test]
    fn a_row_that_drifts_out_of_the_window_says_that_it_is_old() {
        let mut board = board(1..=4);
        board.freeze(true, 0);
        board.delta(50, Delta { rows: rows([8, 9]), ..order(&[8, 9, 1, 2]) });
        assert_eq!(board.row(4).unwrap().condition, Condition::Left(50));
        board.delta(90, Delta { rows: rows([4]), ..order(&[4, 8, 9, 1]) });
        assert_eq!(board.row(4).unwrap().condition, Condition::Live);
        board.freeze(false, 100);
        assert_eq!(board.shown().ids, [4, 8, 9, 1]);
        assert!(board.row(2).is_none());
    }

    #[test]
    fn scrolling_while_held_still_keeps_what_is_in_sight_and_adds_the_rest() {
        let mut board = board(0..20);
        board.freeze(true, 0);
        let mut moved = rows([5, 4, 6, 7]);
        moved.extend(rows(8..30));
        board.window(10, Window { offset: 4, rows: moved, afresh: false, again: false, slid: 0 });
        assert_eq!(board.shown().offset, 4);
        assert_eq!(board.shown().ids, (4..30).collect::<Vec<_>>());
        board.window(20, Window { offset: 500, rows: rows(500..510), afresh: false, again: false, slid: 0 });
        assert_eq!(board.shown().places(), 500..510);
    }

    #[test]
    fn what_comes_and_goes_above_moves_nothing_on_the_screen() {
        let mut board = Board::default();
        board.window(0, Window { offset: 50, rows: rows(1..=4), afresh: true, again: false, slid: 0 });
        board.delta(10, ends(&[1, 3, 4], 2, 10));
        let touched = board.delta(20, Delta { offset: Some(53), ..Delta::default() });
        assert_eq!(touched, Touched { rows: vec![], layout: true });
        assert_eq!((board.shown().offset, &board.shown().ids[..]), (53, &[1, 2, 3, 4][..]));
        assert_eq!(board.carried(), 3);
        board.freeze(true, 30);
        board.delta(40, Delta { offset: Some(51), ..order(&[9, 1, 3, 4]) });
        assert_eq!((board.shown().offset, &board.shown().ids[..4]), (51, &[1, 2, 3, 4][..]));
        // Who did not keep up is told the whole part again, wherever it is by then.
        let again = Window { offset: 60, rows: rows([9, 1, 3, 4]), afresh: false, again: true, slid: 0 };
        board.window(50, again);
        assert_eq!((board.shown().offset, board.carried()), (60, 10));
        // Another part is somewhere else.
        board.window(60, Window { offset: 500, rows: rows(1..=4), afresh: false, again: false, slid: 0 });
        assert_eq!((board.shown().offset, board.carried()), (500, 10));
        board.window(70, Window { offset: 520, rows: rows(1..=4), afresh: false, again: false, slid: -30 });
        assert_eq!((board.shown().offset, board.carried()), (520, -20), "it was asked for at 550");
    }

    #[test]
    fn a_new_question_replaces_everything_even_while_held_still() {
        let mut board = board(1..=4);
        board.freeze(true, 0);
        board.window(10, Window { offset: 0, rows: rows([7]), afresh: true, again: false, slid: 0 });
        assert_eq!(board.shown().ids, [7]);
        let touched = board.window(20, Window { offset: 0, rows: Vec::new(), afresh: true, again: false, slid: 0 });
        assert!(board.shown().ids.is_empty());
        assert!(touched.layout);
    }

    #[test]
    fn a_window_sent_again_without_a_row_does_not_leave_that_row_behind() {
        let mut board = board(1..=4);
        board.window(10, Window { offset: 0, rows: rows([1, 2, 4]), afresh: false, again: false, slid: 0 });
        assert_eq!(board.shown().ids, [1, 2, 4]);
        assert!(board.row(3).is_none());
    }
}
