//! What is said of each action: a release is about a holder and its lock, an eviction about a waiter and its place.

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
            Action::ReleaseAndHold => Words {
                title: "Release and hold",
                button: "Release and hold",
                under_way: "Putting you in the holder's place…",
                not_confirmed: "Nothing was confirmed as released or held.",
                whom: "Held by",
                whom_after: "The old holder",
            },
            Action::ExtendHold => Words {
                title: "Hold on to",
                button: "Hold on",
                under_way: "Extending the hold…",
                not_confirmed: "Nothing was confirmed as extended.",
                whom: "Held by",
                whom_after: "The operator",
            },
            Action::PutBack => Words {
                title: "Put back",
                button: "Put back",
                under_way: "Giving it back…",
                not_confirmed: "Nothing was confirmed as put back.",
                whom: "Was held by",
                whom_after: "The former holder",
            },
            Action::RaiseFence => Words {
                title: "Raise the fence of",
                button: "Raise the fence",
                under_way: "Raising the fence…",
                not_confirmed: "Nothing was confirmed as raised.",
                whom: "Held by",
                whom_after: "The holder",
            },
        }
    }
}

/// What a result is called.
pub(super) fn outcome(action: Action, outcome: Outcome) -> &'static str {
    match (action, outcome) {
        (_, Outcome::Unknown) => "It was sent and no answer came: look at the lock again.",
        (_, Outcome::Signalled) => "Accepted, and not finished yet.",
        (Action::EvictWaiter, outcome) => match outcome {
            Outcome::ChangedHands => "Nobody was evicted: the queue or the lock had moved on.",
            Outcome::Gone => "Nobody was evicted: the queue was empty already.",
            Outcome::Partial => "Taken out of the queue on some of its masters only.",
            Outcome::Refused => "Nobody was evicted: it was refused.",
            Outcome::Failed => "Nobody was evicted: it could not be tried.",
            Outcome::WouldRelease => "It would be taken out of the queue: nothing was done.",
            _ => "Taken out of the queue.",
        },
        (_, Outcome::WouldRelease) => "It would be done: nothing was.",
        (_, Outcome::Released) => "Released.",
        (_, Outcome::Held) => "Released and kept closed: you hold it now.",
        (_, Outcome::Extended) => "Held on to.",
        (_, Outcome::PutBack) => "Put back: the former holder has it again.",
        (_, Outcome::Raised) => "The fence is raised.",
        (_, Outcome::Partial) => "Released on some of its masters only: it may still be held.",
        (Action::PutBack, Outcome::ChangedHands) => "Nothing was put back: somebody has it already.",
        (_, Outcome::ChangedHands) => "Nothing was done: it had changed hands.",
        (_, Outcome::Gone) => "Nothing was done: it was free already.",
        (_, Outcome::Refused) => "Nothing was done: it was refused.",
        (_, Outcome::Failed) => "Nothing was done: it could not be tried.",
    }
}

/// What became of one of several locks, in a word or two.
pub(super) fn in_a_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => "released",
        Outcome::WouldRelease => "would be released",
        Outcome::Held => "released and held",
        Outcome::Extended => "extended",
        Outcome::PutBack => "put back",
        Outcome::Raised => "raised",
        Outcome::ChangedHands => "changed hands",
        Outcome::Gone => "gone",
        Outcome::Partial => "released in part",
        Outcome::Signalled => "not finished",
        Outcome::Refused => "refused",
        Outcome::Failed => "not tried",
        Outcome::Unknown => "without an answer",
    }
}

/// What happened on one of several masters, in a word or two.
pub(super) fn on_node(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => "freed",
        Outcome::WouldRelease => "as previewed",
        Outcome::Held => "freed and kept closed",
        Outcome::Extended => "extended",
        Outcome::PutBack => "put back",
        Outcome::Raised => "raised",
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
