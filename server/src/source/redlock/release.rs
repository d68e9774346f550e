//! Freeing one token on every master: each compares and deletes by itself, and what came of it is counted.

use futures_util::future::join_all;
use lockkeeper_model::{NodeRelease, Outcome, Time, words};
use std::time::Duration;

use super::quorum::majority;
use super::table::Has;
use crate::clock;
use crate::source::{Act, ReleaseOrder, ReleaseReply, SourceHandle};

/// How long one master may take to answer. A person waits for the others' answers meanwhile, and a store that needs
/// longer is as good as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// One master at the moment of a release.
pub(super) struct Target {
    pub(super) handle: SourceHandle,
    pub(super) reachable: bool,
    pub(super) has: Has,
}

/// Runs the order on every master that answers, once on each.
pub(super) async fn run(targets: Vec<Target>, order: ReleaseOrder) -> ReleaseReply {
    if order.act != Act::Release {
        let because =
            "a lock on several masters can only be released: anything else could be done on some of them only";
        return ReleaseReply::Failed { because: because.to_owned() };
    }
    let ends: Vec<Option<Time>> = targets
        .iter()
        .filter_map(|target| match target.has {
            Has::It { gone_after } => Some(gone_after),
            Has::NotIt => None,
        })
        .collect();
    // Where it was not read it may end no later than where it was: then it was pushed out, or is another hold.
    let latest =
        ends.iter().copied().max_by_key(|end| end.map_or(i64::MAX, |at| at.0)).unwrap_or(order.expires_not_after);
    let replies = join_all(targets.iter().map(|target| {
        let expires_not_after = match target.has {
            Has::It { gone_after } => gone_after,
            Has::NotIt => latest,
        };
        // Each master has a counter of its own, and they differ.
        attempt(target, ReleaseOrder { expires_not_after, fencing: None, ..order.clone() })
    }))
    .await;
    let left = lapses(latest, clock::now());
    let nodes = targets.iter().zip(&replies).map(|(target, reply)| node(&target.handle.name, reply, &left)).collect();
    ReleaseReply::OnNodes { whole: Box::new(conclude(&replies)), nodes }
}

async fn attempt(target: &Target, order: ReleaseOrder) -> ReleaseReply {
    if !target.reachable {
        return ReleaseReply::Failed { because: "it cannot be reached".to_owned() };
    }
    tokio::time::timeout(ANSWER_WITHIN, target.handle.release(order))
        .await
        .unwrap_or_else(|_| ReleaseReply::Unknown { because: "it did not answer in time".to_owned() })
}

/// What the masters' answers come to. A lock is free of a token when fewer than a majority can still have it.
fn conclude(replies: &[ReleaseReply]) -> ReleaseReply {
    let (all, needed) = (replies.len(), majority(replies.len()));
    let count = |wanted: fn(&ReleaseReply) -> bool| replies.iter().filter(|reply| wanted(reply)).count();
    let released = count(|reply| matches!(reply, ReleaseReply::Released { .. }));
    let gone = count(|reply| matches!(reply, ReleaseReply::Gone));
    let changed = count(|reply| matches!(reply, ReleaseReply::ChangedHands));
    let refused = count(|reply| matches!(reply, ReleaseReply::Refused { .. }));
    let unknown = count(|reply| matches!(reply, ReleaseReply::Unknown { .. }));
    let without = released + gone + changed;
    let because = |of: &str| {
        replies.iter().find_map(|reply| match reply {
            ReleaseReply::Refused { because }
            | ReleaseReply::Failed { because }
            | ReleaseReply::Unknown { because } => Some(format!("{of}: {because}")),
            _ => None,
        })
    };
    match () {
        () if released > 0 && without >= needed => {
            let woken = replies.iter().filter_map(|reply| match reply {
                ReleaseReply::Released { woken } => *woken,
                _ => None,
            });
            ReleaseReply::Released { woken: woken.reduce(|one, other| one + other) }
        }
        () if released > 0 => ReleaseReply::Partial {
            because: format!(
                "freed on {released} of {all} masters, and {without} are known to be without it; {needed} are needed: it \
                 may still stand on a majority"
            ),
        },
        () if unknown > 0 => ReleaseReply::Unknown {
            because: because(&format!("{unknown} of {all} masters did not say what they did")).unwrap_or_default(),
        },
        () if refused > 0 => ReleaseReply::Refused {
            because: because(&format!("refused by {refused} of {all} masters")).unwrap_or_default(),
        },
        () if changed >= needed => ReleaseReply::ChangedHands,
        () if without >= needed => ReleaseReply::Gone,
        () => ReleaseReply::Failed {
            because: because(&format!("{} of {all} masters could not be tried", all - without)).unwrap_or_default(),
        },
    }
}

/// What becomes of a copy that is left where it was not freed.
fn lapses(latest: Option<Time>, now: Time) -> String {
    match latest {
        Some(at) => {
            format!("if it stands there, it lapses by itself in {} at most", words::duration(at.since(now).max(0)))
        }
        None => "if it stands there, it never lapses: release it again when the master answers".to_owned(),
    }
}

fn node(name: &str, reply: &ReleaseReply, left: &str) -> NodeRelease {
    let (outcome, detail) = match reply {
        ReleaseReply::Released { .. } => (Outcome::Released, "freed".to_owned()),
        ReleaseReply::Gone => (Outcome::Gone, "it was not there; nothing was done".to_owned()),
        ReleaseReply::ChangedHands => (Outcome::ChangedHands, "another token is there; nothing was done".to_owned()),
        ReleaseReply::Refused { because } => (Outcome::Refused, format!("{because}; nothing was done")),
        ReleaseReply::Failed { because } => (Outcome::Failed, format!("{because}; nothing was done; {left}")),
        ReleaseReply::Unknown { because } => (Outcome::Unknown, format!("{because}; it may have been freed; {left}")),
        // A single master answers none of these to a release.
        ReleaseReply::Partial { because } => (Outcome::Partial, because.clone()),
        ReleaseReply::Done { .. } => (Outcome::Unknown, "it did something else than to free it".to_owned()),
        ReleaseReply::OnNodes { whole, .. } => return node(name, whole, left),
    };
    NodeRelease { node: name.to_owned(), outcome, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RELEASED: ReleaseReply = ReleaseReply::Released { woken: None };

    fn failed() -> ReleaseReply {
        ReleaseReply::Failed { because: "it cannot be reached".to_owned() }
    }

    fn unknown() -> ReleaseReply {
        ReleaseReply::Unknown { because: "no answer".to_owned() }
    }

    #[test]
    fn a_majority_without_the_token_is_a_release_and_less_is_a_part_of_one() {
        use ReleaseReply::{ChangedHands, Gone};
        assert_eq!(conclude(&[RELEASED, RELEASED, RELEASED, RELEASED, RELEASED]), RELEASED);
        assert_eq!(conclude(&[RELEASED, RELEASED, RELEASED, RELEASED, failed()]), RELEASED);
        assert_eq!(conclude(&[RELEASED, Gone, ChangedHands, failed(), unknown()]), RELEASED);
        assert!(matches!(conclude(&[RELEASED, RELEASED, failed(), failed(), failed()]), ReleaseReply::Partial { .. }));
        assert!(matches!(
            conclude(&[RELEASED, RELEASED, unknown(), unknown(), failed()]),
            ReleaseReply::Partial { .. }
        ));
        assert_eq!(conclude(&[Gone, Gone, Gone, failed(), failed()]), Gone);
        assert_eq!(conclude(&[ChangedHands, ChangedHands, ChangedHands, Gone, Gone]), ChangedHands);
        assert!(matches!(conclude(&[Gone, failed(), failed(), failed(), failed()]), ReleaseReply::Failed { .. }));
        assert!(matches!(conclude(&[Gone, unknown(), failed(), failed(), failed()]), ReleaseReply::Unknown { .. }));
    }

    proptest! {
        #[test]
        fn nothing_is_said_to_be_released_that_a_majority_may_have(kinds in proptest::collection::vec(0u8..6, 3..=9)) {
            let refused = || ReleaseReply::Refused { because: "renewed".to_owned() };
            let replies: Vec<ReleaseReply> = kinds
                .iter()
                .map(|kind| match kind {
                    0 => RELEASED,
                    1 => ReleaseReply::Gone,
                    2 => ReleaseReply::ChangedHands,
                    3 => refused(),
                    4 => failed(),
                    _ => unknown(),
                })
                .collect();
            let without = kinds.iter().filter(|kind| **kind < 3).count();
            let whole = conclude(&replies);
            if matches!(whole, ReleaseReply::Released { .. } | ReleaseReply::Gone) {
                prop_assert!(without >= majority(replies.len()));
            }
            // Where something was freed nobody is told that nothing was done.
            if kinds.contains(&0) {
                let says_so = matches!(whole, ReleaseReply::Released { .. } | ReleaseReply::Partial { .. });
                prop_assert!(says_so);
            }
        }
    }
}
