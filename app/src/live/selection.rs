//! The rows that were chosen to do something with, each as it was when it was chosen. Plain data, no browser.

use lockkeeper_model::PreviewTarget;
use lockkeeper_model::wire::Row;

/// A row that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The row.
    pub(crate) row: u64,
    /// The lock, with its generation at that moment: whoever has it later was not meant.
    pub(crate) target: PreviewTarget,
}

/// The rows that were chosen, in the order in which they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    chosen: Vec<Chosen>,
    /// From where a range goes.
    anchor: Option<u64>,
}

impl Selection {
    /// What was chosen.
    pub(crate) fn chosen(&self) -> &[Chosen] {
        &self.chosen
    }

    /// Whether a row was chosen.
    pub(crate) fn has(&self, row: u64) -> bool {
        self.chosen.iter().any(|chosen| chosen.row == row)
    }

    /// The row from which a range goes.
    pub(crate) fn anchor(&self) -> Option<u64> {
        self.anchor
    }

    /// Chooses a row or lets go of it, unless `most` were chosen already.
    pub(crate) fn toggle(&mut self, row: &Row, most: usize) {
        self.anchor = Some(row.row);
        if self.has(row.row) {
            self.chosen.retain(|chosen| chosen.row != row.row);
        } else {
            self.add(row, most);
        }
    }

    /// Chooses a row as well, unless `most` were chosen already. One that was chosen before stays as it was then.
    pub(crate) fn add(&mut self, row: &Row, most: usize) {
        if self.chosen.len() < most && !self.has(row.row) {
            let (source, id, generation) = (row.source.clone(), row.id.clone(), row.generation.clone());
            self.chosen.push(Chosen { row: row.row, target: PreviewTarget { source, id, generation, holder: None } });
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        *self = Selection::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::row;

    #[test]
    fn a_row_stays_as_it_was_when_it_was_chosen() {
        let mut selection = Selection::default();
        selection.toggle(&row(1), 100);
        let next_holder = Row { generation: "g2".to_owned(), ..row(1) };
        selection.add(&next_holder, 100);
        assert_eq!(selection.chosen()[0].target.generation, "g1");
        // Chosen anew, it is what it is then.
        selection.toggle(&next_holder, 100);
        assert!(!selection.has(1));
        selection.toggle(&next_holder, 100);
        assert_eq!(selection.chosen()[0].target.generation, "g2");
    }

    #[test]
    fn no_more_are_chosen_than_can_be_released_at_once() {
        let mut selection = Selection::default();
        for id in 0..5 {
            selection.add(&row(id), 3);
        }
        selection.toggle(&row(9), 3);
        assert_eq!(selection.chosen().iter().map(|chosen| chosen.row).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(selection.anchor(), Some(9));
        selection.clear();
        assert_eq!(selection, Selection::default());
    }
}
