//! The numbers that stand in the file for kinds and causes. A number is never given to anything else.

use lockkeeper_model::TransitionKind;

use crate::registry::Cause;

const KINDS: [(u8, TransitionKind); 13] = [
    (1, TransitionKind::FirstSeen),
    (2, TransitionKind::Acquired),
    (3, TransitionKind::Renewed),
    (4, TransitionKind::ReEntered),
    (5, TransitionKind::HandedOver),
    (6, TransitionKind::Released),
    (7, TransitionKind::Expired),
    (8, TransitionKind::Evicted),
    (9, TransitionKind::TakenOver),
    (10, TransitionKind::Forced),
    (11, TransitionKind::Lost),
    (12, TransitionKind::LeaseChanged),
    (13, TransitionKind::Gap),
];

const CAUSES: [(u8, Cause); 17] = [
    (1, Cause::Seen),
    (2, Cause::Deadline),
    (3, Cause::Announced),
    (4, Cause::BeforeDeadline),
    (5, Cause::NoDeadline),
    (6, Cause::BetweenLooks),
    (7, Cause::Release),
    (8, Cause::CameBack),
    (9, Cause::FoundByScan),
    (10, Cause::Unwatched),
    (11, Cause::MaybeNotCopied),
    (12, Cause::TakenAnew),
    (13, Cause::ExpiryRemoved),
    (14, Cause::ExpirySet),
    (15, Cause::RenewedOrTakenAnew),
    (16, Cause::ExpiryCut),
    (17, Cause::QuorumLost),
];

/// Kind and cause as one number; a cause that has none is told by the kind alone.
pub(super) fn number(kind: TransitionKind, cause: Cause) -> i64 {
    let cause = CAUSES.iter().find(|(_, known)| *known == cause).map_or(0, |(code, _)| *code);
    i64::from(number_of_kind(kind)) | i64::from(cause) << 8
}

/// The number of a kind alone.
pub(super) fn number_of_kind(kind: TransitionKind) -> u8 {
    KINDS.iter().find(|(_, known)| *known == kind).map_or(0, |(code, _)| *code)
}

/// What a number says. One of a later version is a transition of which nothing more is known.
pub(super) fn meaning(number: i64) -> (TransitionKind, Cause) {
    let (kind, cause) = (number & 0xff, number >> 8 & 0xff);
    let kind = KINDS.iter().find(|(code, _)| i64::from(*code) == kind).map_or(TransitionKind::Lost, |(_, kind)| *kind);
    let cause = CAUSES.iter().find(|(code, _)| i64::from(*code) == cause).map_or(Cause::Unwatched, |(_, cause)| *cause);
    (kind, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_cause_comes_back_from_its_number() {
        for (_, kind) in KINDS {
            for (_, cause) in CAUSES {
                assert_eq!(meaning(number(kind, cause)), (kind, cause));
            }
        }
    }
}
