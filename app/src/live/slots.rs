//! Which drawn row shows which lock. Plain data, no browser.

/// A row on the screen: the element that shows a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Which element.
    pub(crate) element: u32,
    /// The row that it shows.
    pub(crate) id: u64,
}

/// A row is dear to make and cheap to write anew: whoever scrolls sees the same few elements with ever other locks.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    shown: Vec<Slot>,
    made: u32,
}

/// What is to be done to the elements so that they show what they should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// What each element shows from now on, from the top down.
    pub(crate) shown: Vec<Slot>,
    /// Elements that showed something and are not needed any more.
    pub(crate) dropped: Vec<u32>,
    /// Elements that stay where they are among each other; every other one is put before the one that follows it.
    pub(crate) still: Vec<u32>,
}

impl Slots {
    /// Shows these rows in this order. A row keeps its element; a row that comes takes over the element of one that went.
    pub(crate) fn show(&mut self, ids: &[u64]) -> Moves {
        let mut free = self.shown.iter().filter(|slot| !ids.contains(&slot.id)).map(|slot| slot.element);
        let mut made = self.made;
        let shown: Vec<Slot> = ids
            .iter()
            .map(|id| {
                let kept = self.shown.iter().find(|slot| slot.id == *id).map(|slot| slot.element);
                let element = kept.or_else(|| free.next()).unwrap_or_else(|| {
                    made = made.wrapping_add(1);
                    made
                });
                Slot { element, id: *id }
            })
            .collect();
        let dropped = free.collect();
        let place = |slot: &Slot| self.shown.iter().position(|known| known.element == slot.element);
        let (elements, places): (Vec<u32>, Vec<usize>) =
            shown.iter().filter_map(|slot| Some((slot.element, place(slot)?))).unzip();
        let still = longest_rising(&places).into_iter().filter_map(|at| elements.get(at).copied()).collect();
        self.made = made;
        self.shown.clone_from(&shown);
        Moves { shown, dropped, still }
    }
}

/// Where the longest rising subsequence is: the most things that kept their order among each other.
pub(super) fn longest_rising(places: &[usize]) -> Vec<usize> {
    // The index at which the lowest end of a rising run of each length stands, and what stands before each one.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(places.len());
    for (at, place) in places.iter().enumerate() {
        let length = ends.partition_point(|end| places.get(*end) < Some(place));
        before.push(length.checked_sub(1).and_then(|shorter| ends.get(shorter).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut run: Vec<usize> =
        std::iter::successors(ends.last().copied(), |at| before.get(*at).copied().flatten()).collect();
    run.reverse();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(moves: &Moves) -> Vec<u32> {
        moves.shown.iter().map(|slot| slot.element).collect()
    }

    #[test]
    fn whoever_flies_past_everything_sees_the_same_elements_in_their_places() {
        let mut slots = Slots::default();
        assert_eq!(elements(&slots.show(&[1, 2, 3])), [1, 2, 3]);
        let moves = slots.show(&[70, 71, 72]);
        assert_eq!(elements(&moves), [1, 2, 3]);
        assert_eq!(moves.still, [1, 2, 3]);
        assert!(moves.dropped.is_empty());
    }

    #[test]
    fn scrolling_by_a_row_moves_one_element_up_or_down() {
        let mut slots = Slots::default();
        slots.show(&[1, 2, 3, 4]);
        let down = slots.show(&[2, 3, 4, 5]);
        assert_eq!(elements(&down), [2, 3, 4, 1]);
        assert_eq!(down.still, [2, 3, 4]);
        let up = slots.show(&[1, 2, 3, 4]);
        assert_eq!(elements(&up), [1, 2, 3, 4]);
        assert_eq!(up.still, [2, 3, 4]);
    }

    #[test]
    fn a_row_that_goes_elsewhere_takes_its_element_along() {
        let mut slots = Slots::default();
        slots.show(&[1, 2, 3, 4]);
        let moves = slots.show(&[4, 1, 2, 3]);
        assert_eq!(elements(&moves), [4, 1, 2, 3]);
        assert_eq!(moves.still, [1, 2, 3]);
    }

    #[test]
    fn what_is_not_needed_is_dropped_and_what_is_missing_is_made() {
        let mut slots = Slots::default();
        slots.show(&[1, 2, 3]);
        let fewer = slots.show(&[3]);
        assert_eq!((elements(&fewer), fewer.dropped), (vec![3], vec![1, 2]));
        let more = slots.show(&[9, 3, 8]);
        assert_eq!((elements(&more), more.still), (vec![4, 3, 5], vec![3]));
        assert_eq!(slots.show(&[]).dropped, [4, 3, 5]);
    }

    #[test]
    fn the_longest_rising_run_is_found_wherever_it_lies() {
        assert_eq!(longest_rising(&[]), Vec::<usize>::new());
        assert_eq!(longest_rising(&[3, 0, 1, 9, 2, 4]), [1, 2, 4, 5]);
        assert_eq!(longest_rising(&[5, 4, 3]).len(), 1);
    }
}
