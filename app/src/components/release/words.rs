//! What is said of each action: a release is about a holder and its lock, an eviction about a waiter and its place.

use lockkeeper_model::{Action, Outcome};

use crate::lang::{Key, key, t};

/// The words of one action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// The question, with the name of the lock.
    pub(super) title: Key<1>,
    /// On the button.
    pub(super) button: &'static str,
    /// While it is being done.
    pub(super) under_way: &'static str,
    /// Where nobody answered that it was done.
    pub(super) not_confirmed: &'static str,
    /// Whom it is done to.
    pub(super) whom: &'static str,
    /// The same, afterwards.
    pub(super) whom_after: &'static str,
}

impl Words {
    /// The words of this action.
    pub(super) fn of(action: Action) -> Words {
        match action {
            Action::Release => Words {
                title: key::release_title,
                button: t!(release_button),
                under_way: t!(releasing),
                not_confirmed: t!(nothing_was_confirmed_as_released),
                whom: t!(held_by),
                whom_after: t!(the_old_holder),
            },
            Action::EvictWaiter => Words {
                title: key::evict_title,
                button: t!(evict_in_words),
                under_way: t!(taking_it_out_of_the),
                not_confirmed: t!(nothing_was_confirmed_as_taken),
                whom: t!(first_in_line),
                whom_after: t!(the_waiter),
            },
            Action::ReleaseAndHold => Words {
                title: key::release_and_hold_title,
                button: t!(release_and_hold_button),
                under_way: t!(putting_you_in_the_holders),
                not_confirmed: t!(nothing_was_confirmed_as_released_or),
                whom: t!(held_by),
                whom_after: t!(the_old_holder),
            },
            Action::ExtendHold => Words {
                title: key::extend_title,
                button: t!(hold_on_in_words),
                under_way: t!(extending_the_hold),
                not_confirmed: t!(nothing_was_confirmed_as_extended),
                whom: t!(held_by),
                whom_after: t!(the_operator),
            },
            Action::PutBack => Words {
                title: key::put_back_title,
                button: t!(put_back_button),
                under_way: t!(giving_it_back),
                not_confirmed: t!(nothing_was_confirmed_as_put),
                whom: t!(was_held_by),
                whom_after: t!(the_former_holder),
            },
            Action::RaiseFence => Words {
                title: key::raise_title,
                button: t!(raise_the_fence_in_words),
                under_way: t!(raising_the_fence),
                not_confirmed: t!(nothing_was_confirmed_as_raised),
                whom: t!(held_by),
                whom_after: t!(the_holder),
            },
        }
    }
}

/// What a result is called.
pub(super) fn outcome(action: Action, outcome: Outcome) -> &'static str {
    match (action, outcome) {
        (_, Outcome::Unknown) => t!(it_was_sent_and_no),
        (_, Outcome::Signalled) => t!(accepted_and_not_finished_yet),
        (Action::EvictWaiter, outcome) => match outcome {
            Outcome::ChangedHands => t!(nobody_was_evicted_the_queue),
            Outcome::Gone => t!(nobody_was_evicted_the_queue_was),
            Outcome::Partial => t!(taken_out_of_the_queue),
            Outcome::Refused => t!(nobody_was_evicted_it_was),
            Outcome::Failed => t!(nobody_was_evicted_it_could),
            Outcome::WouldRelease => t!(it_would_be_taken_out),
            _ => t!(taken_out_of_the_queue_in_words),
        },
        (_, Outcome::WouldRelease) => t!(it_would_be_done_nothing),
        (_, Outcome::Released) => t!(released_done),
        (_, Outcome::Held) => t!(released_and_kept_closed_you),
        (_, Outcome::Extended) => t!(held_on_to),
        (_, Outcome::PutBack) => t!(put_back_the_former_holder),
        (_, Outcome::Raised) => t!(the_fence_is_raised),
        (_, Outcome::Partial) => t!(released_on_some_of_its),
        (Action::PutBack, Outcome::ChangedHands) => t!(nothing_was_put_back_somebody),
        (_, Outcome::ChangedHands) => t!(nothing_was_done_it_had),
        (_, Outcome::Gone) => t!(nothing_was_done_it_was),
        (_, Outcome::Refused) => t!(nothing_was_done_it_was_refused),
        (_, Outcome::Failed) => t!(nothing_was_done_it_could),
    }
}

/// What became of one of several locks, in a word or two.
pub(super) fn in_a_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => t!(released),
        Outcome::WouldRelease => t!(would_be_released),
        Outcome::Held => t!(released_and_held),
        Outcome::Extended => t!(extended),
        Outcome::PutBack => t!(put_back_in_words),
        Outcome::Raised => t!(raised),
        Outcome::ChangedHands => t!(changed_hands),
        Outcome::Gone => t!(outcome_gone),
        Outcome::Partial => t!(released_in_part),
        Outcome::Signalled => t!(not_finished),
        Outcome::Refused => t!(refused),
        Outcome::Failed => t!(not_tried),
        Outcome::Unknown => t!(without_an_answer),
    }
}

/// What happened on one of several masters, in a word or two.
pub(super) fn on_node(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => t!(freed),
        Outcome::WouldRelease => t!(as_previewed),
        Outcome::Held => t!(freed_and_kept_closed),
        Outcome::Extended => t!(extended),
        Outcome::PutBack => t!(put_back_in_words),
        Outcome::Raised => t!(raised),
        Outcome::ChangedHands => t!(other_token),
        Outcome::Gone => t!(had_nothing),
        Outcome::Partial => t!(freed_in_part),
        Outcome::Signalled => t!(not_finished),
        Outcome::Refused => t!(refused),
        Outcome::Failed => t!(not_tried),
        Outcome::Unknown => t!(no_answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_never_said_to_release_anything() {
        use Outcome::*;
        for result in [Released, Held, ChangedHands, Gone, Partial, Signalled, Refused, Failed, Unknown] {
            let said = outcome(Action::EvictWaiter, result);
            assert!(!said.to_lowercase().contains("release"), "{said}");
        }
    }

    #[test]
    fn what_was_not_done_is_never_said_to_have_been() {
        use Outcome::*;
        for action in Action::ALL {
            for result in [ChangedHands, Gone, Refused, Failed] {
                let said = outcome(action, result);
                assert!(said.starts_with("Nothing was") || said.starts_with("Nobody was"), "{said}");
            }
        }
    }
}
