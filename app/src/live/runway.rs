/// The tallest element that every browser still lays out exactly.
const TALLEST_PX: f64 = 8_000_000.0;
/// This much at either end is never scaled, so that the first and the last rows are reached pixel by pixel.
const EXACT_PX: f64 = 1_000_000.0;
/// A jump beyond this came from the scrollbar's thumb or Home and End; less is a wheel, a finger or a key.
const LEAP_PX: f64 = 5_000.0;

/// Scrolls a list that is taller than an element may be.
///
/// The list has `height` pixels, the element at most [`TALLEST_PX`] of them. A wheel moves the list by exactly as many
/// pixels as the element; only a leap of the thumb is scaled. And a list that grows above what somebody reads does not move it.
/// So the two positions drift apart, by `shift`, and are brought together again when somebody has scrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Runway {
    height: f64,
    view: f64,
    scrolled: f64,
    position: f64,
}

impl Runway {
    /// The height that the element must have.
    pub(crate) fn element_height(&self) -> f64 {
        self.height.min(TALLEST_PX)
    }

    /// How far the element is scrolled, as far as that was told.
    pub(crate) fn scrolled(&self) -> f64 {
        self.scrolled
    }

    /// The position within the list of the first visible pixel.
    pub(crate) fn position(&self) -> f64 {
        self.position
    }

    /// What to add to a position within the list to find its place in the element.
    pub(crate) fn shift(&self) -> f64 {
        self.scrolled - self.position
    }

    /// The list grew by so many pixels above what is seen, which stays where it is on the screen. [`Runway::resize`] follows. Who
    /// sees something of the first row, of this height, is at the top of the list and stays there.
    pub(crate) fn carry(&mut self, by: f64, row: f64) {
        if self.position >= row {
            self.position += by;
        }
    }

    /// The list has another height or is seen through another opening.
    pub(crate) fn resize(&mut self, height: f64, view: f64) {
        self.height = height;
        self.view = view;
        self.position = at_most(self.furthest(), self.position);
        // As the browser does with an element that became shorter.
        self.scrolled = at_most(self.element_furthest(), self.scrolled);
    }

    /// The element was scrolled to `scrolled`. Returns where it should be put instead, if it ran out of room.
    pub(crate) fn scroll(&mut self, scrolled: f64) -> Option<f64> {
        let by = scrolled - self.scrolled;
        self.scrolled = scrolled;
        self.position = if by.abs() > LEAP_PX { self.position_at(scrolled) } else { self.position + by };
        self.position = at_most(self.furthest(), self.position);
        let stuck_above = scrolled <= 0.0 && self.position > 0.0;
        let stuck_below = scrolled >= self.element_furthest() && self.position < self.furthest();
        if stuck_above || stuck_below { self.settle() } else { None }
    }

    /// Goes to a position of the list. Returns where to put the element.
    pub(crate) fn go(&mut self, position: f64) -> f64 {
        let position = at_most(self.furthest(), position);
        let moved = self.scrolled + (position - self.position);
        let near = (position - self.position).abs() <= LEAP_PX && (0.0..=self.element_furthest()).contains(&moved);
        self.position = position;
        self.scrolled = if near { moved } else { self.scrolled_at(position) };
        self.scrolled
    }

    /// Nobody scrolls: brings element and list together. Returns where to put the element, if it must move.
    pub(crate) fn settle(&mut self) -> Option<f64> {
        let ideal = self.scrolled_at(self.position).round();
        if (ideal - self.scrolled).abs() < 1.0 {
            return None;
        }
        self.scrolled = ideal;
        Some(ideal)
    }

    fn furthest(&self) -> f64 {
        (self.height - self.view).max(0.0)
    }

    fn element_furthest(&self) -> f64 {
        (self.element_height() - self.view).max(0.0)
    }

    /// How many pixels of the list one pixel of the element stands for, between the exact ends.
    fn scale(&self) -> f64 {
        (self.furthest() - 2.0 * EXACT_PX) / (self.element_furthest() - 2.0 * EXACT_PX)
    }

    fn position_at(&self, scrolled: f64) -> f64 {
        if self.height <= TALLEST_PX || scrolled <= EXACT_PX {
            scrolled
        } else if scrolled >= self.element_furthest() - EXACT_PX {
            self.furthest() - (self.element_furthest() - scrolled)
        } else {
            EXACT_PX + (scrolled - EXACT_PX) * self.scale()
        }
    }

    fn scrolled_at(&self, position: f64) -> f64 {
        if self.height <= TALLEST_PX || position <= EXACT_PX {
            position
        } else if position >= self.furthest() - EXACT_PX {
            self.element_furthest() - (self.furthest() - position)
        } else {
            EXACT_PX + (position - EXACT_PX) / self.scale()
        }
    }
}

/// A place between the top and `furthest`. What clamps floats brings the code that prints any float, for its panic.
fn at_most(furthest: f64, position: f64) -> f64 {
    position.min(furthest).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: f64 = 800.0;
    const MILLION: f64 = 58.0 * 1_000_000.0;

    fn runway(height: f64) -> Runway {
        let mut runway = Runway::default();
        runway.resize(height, VIEW);
        runway
    }

    #[test]
    fn a_list_that_fits_is_scrolled_as_it_is() {
        let mut short = runway(58_000.0);
        assert_eq!(short.scroll(40_000.0), None);
        assert_eq!((short.position(), short.shift(), short.element_height()), (40_000.0, 0.0, 58_000.0));
    }

    #[test]
    fn the_element_stays_bounded_and_both_ends_are_reached() {
        let mut tall = runway(MILLION);
        assert_eq!(tall.element_height(), TALLEST_PX);
        tall.scroll(TALLEST_PX - VIEW);
        assert_eq!(tall.position(), MILLION - VIEW);
        tall.scroll(0.0);
        assert_eq!(tall.position(), 0.0);
    }

    #[test]
    fn a_wheel_moves_by_pixels_wherever_the_thumb_was_put() {
        let mut tall = runway(MILLION);
        tall.scroll(4_000_000.0);
        let before = tall.position();
        assert!((before / MILLION - 0.5).abs() < 0.01, "{before}");
        tall.scroll(4_000_120.0);
        assert_eq!(tall.position() - before, 120.0);
    }

    #[test]
    fn every_row_can_be_gone_to_and_stays_put_when_the_two_are_brought_together() {
        let mut tall = runway(MILLION);
        for row in [0u32, 1, 17_000, 499_999, 500_000, 999_986] {
            let target = f64::from(row) * 58.0;
            let scrolled = tall.go(target);
            assert!((0.0..=TALLEST_PX - VIEW).contains(&scrolled), "{row}: {scrolled}");
            assert_eq!(tall.position(), target);
            tall.settle();
            assert_eq!(tall.position(), target);
        }
    }

    #[test]
    fn wheeling_from_the_middle_to_the_top_never_gets_stuck() {
        let mut tall = runway(MILLION);
        tall.go(3_000_000.0);
        let mut scrolled = tall.settle().unwrap_or(tall.scrolled);
        let mut steps = 0;
        while tall.position() > 0.0 {
            scrolled = (scrolled - 1_000.0).max(0.0);
            scrolled = tall.scroll(scrolled).unwrap_or(scrolled);
            steps += 1;
            assert!(steps <= 3_010, "stuck at {}", tall.position());
        }
    }

    #[test]
    fn what_is_read_stays_where_it_is_while_the_list_grows_above_it() {
        for height in [58_000.0, MILLION] {
            let mut list = runway(height);
            let scrolled = list.go(20_000.0);
            list.carry(580.0, 58.0);
            list.resize(height + 580.0, VIEW);
            assert_eq!((list.position(), list.scrolled), (20_580.0, scrolled));
            assert_eq!(list.scroll(scrolled + 120.0), None);
            assert_eq!(list.position(), 20_700.0);
            assert_eq!(list.settle(), Some(20_700.0));
            // At its end a list that became shorter by what went above shows the same rows.
            list.go(height);
            let end = list.position();
            list.carry(-580.0, 58.0);
            list.resize(height, VIEW);
            assert_eq!(list.position(), end - 580.0);
            list.go(57.0);
            list.carry(580.0, 58.0);
            assert_eq!(list.position(), 57.0, "what is seen is the top of the list");
        }
    }

    #[test]
    fn a_shrinking_list_keeps_the_position_within_it() {
        let mut tall = runway(MILLION);
        tall.go(MILLION);
        tall.resize(5_800.0, VIEW);
        assert_eq!((tall.position(), tall.shift()), (5_000.0, 0.0));
    }
}
