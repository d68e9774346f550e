//! What is said of a release and of an eviction, which is about a waiter and its place, not about a holder and its lock.

use lockkeeper_model::{Action, Outcome};

/// The words of one action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// Before the name of the lock.
    pub(super) title: &'static str,
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
                title: "Release",
                button: "Release",
                under_way: "Releasing…",
                not_confirmed: "Nothing was confirmed as released.",
                whom: "Held by",
                whom_after: "The old holder",
            },
            Action::EvictWaiter => Words {
                title: "Evict the first waiter of",
                button: "Evict",
                under_way: "Taking it out of the queue…",
                not_confirmed: "Nothing was confirmed as taken out of the queue.",
                whom: "First in line",
                whom_after: "The waiter",
            },
        }
    }
}

/// What a result is called.
pub(super) fn outcome(action: Action, outcome: Outcome) -> &'static str {
    match (action, outcome) {
        (_, Outcome::Unknown) => "It was sent and no answer came: look at the lock again.",
        (_, Outcome::Signalled) => "Accepted, and not finished yet.",
        (Action::Release, outcome) => match outcome {
            Outcome::Released => "Released.",
            Outcome::Held => "Released and kept closed.",
            Outcome::ChangedHands => "Nothing was released: it had changed hands.",
            Outcome::Gone => "Nothing was released: it was free already.",
            Outcome::Partial => "Released on some of its masters only: it may still be held.",
            Outcome::Refused => "Nothing was released: it was refused.",
            _ => "Nothing was released: it could not be tried.",
        },
        (Action::EvictWaiter, outcome) => match outcome {
            Outcome::Released | Outcome::Held => "Taken out of the queue.",
            Outcome::ChangedHands => "Nobody was evicted: the queue or the lock had moved on.",
            Outcome::Gone => "Nobody was evicted: the queue was empty already.",
            Outcome::Partial => "Taken out of the queue on some of its masters only.",
            Outcome::Refused => "Nobody was evicted: it was refused.",
            _ => "Nobody was evicted: it could not be tried.",
        },
    }
}

/// What happened on one of several masters, in a word or two.
pub(super) fn on_node(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => "freed",
        Outcome::Held => "freed and kept closed",
        Outcome::ChangedHands => "other token",
        Outcome::Gone => "had nothing",
        Outcome::Partial => "freed in part",
        Outcome::Signalled => "not finished",
        Outcome::Refused => "refused",
        Outcome::Failed => "not tried",
        Outcome::Unknown => "no answer",
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
}
