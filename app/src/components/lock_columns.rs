use lockkeeper_model::{Order, SortKey};

use crate::lang::{Key, key, t};

/// What the order is that a page begins with, in a sentence.
pub(crate) const BLOCKED_EXPLAINED: Key<0> = key::the_time_that_everybody_who;

/// The columns of the table, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Lock,
    Holder,
    Alive,
    HeldFor,
    Lease,
    Waiting,
    Blocked,
}

impl Column {
    /// All of them.
    pub(crate) const ALL: [Column; 7] =
        [Column::Lock, Column::Holder, Column::Alive, Column::HeldFor, Column::Lease, Column::Waiting, Column::Blocked];

    /// What stands above it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Column::Lock => t!(lock),
            Column::Holder => t!(holder),
            Column::Alive => t!(alive),
            Column::HeldFor => t!(held_for),
            Column::Lease => t!(lease),
            Column::Waiting => t!(waiting),
            Column::Blocked => t!(blocked_5_min),
        }
    }

    /// What it is called where a person's choice is kept.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Column::Lock => "lock",
            Column::Holder => "holder",
            Column::Alive => "alive",
            Column::HeldFor => "held",
            Column::Lease => "lease",
            Column::Waiting => "waiting",
            Column::Blocked => "blocked",
        }
    }

    /// What its title does not say.
    pub(crate) fn explained(self) -> Option<&'static str> {
        (self == Column::Blocked).then(|| BLOCKED_EXPLAINED.said())
    }

    /// The class of its cells.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Column::Lock => "c-lock",
            Column::Holder => "c-holder",
            Column::Alive => "c-alive",
            Column::HeldFor => "c-held number",
            Column::Lease => "c-lease",
            Column::Waiting => "c-waiting number",
            Column::Blocked => "c-blocked number",
        }
    }

    /// What pressing its head orders by.
    pub(crate) fn sort(self) -> Option<SortKey> {
        match self {
            Column::Lock => Some(SortKey::Name),
            Column::Holder | Column::Alive => None,
            Column::HeldFor => Some(SortKey::HeldSince),
            Column::Lease => Some(SortKey::TimeLeft),
            Column::Waiting => Some(SortKey::Waiters),
            Column::Blocked => Some(SortKey::Blocked),
        }
    }

    /// What `aria-sort` says. A longer hold began earlier, so ages run against their moments.
    pub(crate) fn aria_sort(self, sort: SortKey, order: Order) -> Option<&'static str> {
        let rising = match order {
            Order::Asc => self != Column::HeldFor,
            Order::Desc => self == Column::HeldFor,
        };
        (self.sort() == Some(sort)).then_some(if rising { "ascending" } else { "descending" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_a_column_where_one_shows_them_and_ages_run_against_moments() {
        for key in SortKey::ALL {
            let elsewhere = matches!(key, SortKey::LastChange);
            assert_eq!(Column::ALL.iter().any(|c| c.sort() == Some(key)), !elsewhere, "{key:?}");
        }
        assert_eq!(Column::HeldFor.aria_sort(SortKey::HeldSince, Order::Asc), Some("descending"));
        assert_eq!(Column::Lock.aria_sort(SortKey::Name, Order::Asc), Some("ascending"));
        assert_eq!(Column::Lock.aria_sort(SortKey::Blocked, Order::Asc), None);
    }
}
