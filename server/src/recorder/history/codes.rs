//! The numbers that stand in the file for kinds and causes. A number is never given to anything else.

use lockkeeper_model::TransitionKind;

use crate::registry::Cause;

/// Both directions of a table. A variant without a number does not compile, nor does a number that stands twice.
macro_rules! numbers {
    ($of:ident, $to:ident, $from:ident, $all:ident: $($variant:ident = $number:literal,)+) => {
        pub(super) const fn $to(one: $of) -> u8 {
            match one {
                $($of::$variant => $number,)+
            }
        }

        #[deny(unreachable_patterns)]
        const fn $from(number: u8) -> Option<$of> {
            match number {
                $($number => Some($of::$variant),)+
                _ => None,
            }
        }

        #[cfg(test)]
        const $all: &[$of] = &[$($of::$variant,)+];
    };
}

numbers! { TransitionKind, number_of_kind, kind_of, KINDS:
    FirstSeen = 1,
    Acquired = 2,
    Renewed = 3,
    ReEntered = 4,
    HandedOver = 5,
    Released = 6,
    Expired = 7,
    Evicted = 8,
    TakenOver = 9,
    Forced = 10,
    Lost = 11,
    LeaseChanged = 12,
    Gap = 13,
}

numbers! { Cause, number_of_cause, cause_of, CAUSES:
    Seen = 1,
    Deadline = 2,
    Announced = 3,
    BeforeDeadline = 4,
    NoDeadline = 5,
    BetweenLooks = 6,
    Release = 7,
    CameBack = 8,
    FoundByScan = 9,
    Unwatched = 10,
    MaybeNotCopied = 11,
    TakenAnew = 12,
    ExpiryRemoved = 13,
    ExpirySet = 14,
    RenewedOrTakenAnew = 15,
    ExpiryCut = 16,
    QuorumLost = 17,
    PutBack = 18,
    ReleaseLost = 19,
    NoLongerWatched = 20,
}

/// Kind and cause as one number.
pub(super) fn number(kind: TransitionKind, cause: Cause) -> i64 {
    i64::from(number_of_kind(kind)) | i64::from(number_of_cause(cause)) << 8
}

/// What a number says. One of a later version is a transition of which nothing more is known.
pub(super) fn meaning(number: i64) -> (TransitionKind, Cause) {
    let [kind, cause, ..] = number.to_le_bytes();
    (kind_of(kind).unwrap_or(TransitionKind::Lost), cause_of(cause).unwrap_or(Cause::Unwatched))
}

/// The kind, if it is counted among what went on at a lock: neither a gap is, nor that a lock is not watched any more.
pub(super) fn counted(number: i64) -> Option<TransitionKind> {
    let (kind, cause) = meaning(number);
    (kind != TransitionKind::Gap && cause != Cause::NoLongerWatched).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_cause_comes_back_from_its_number() {
        assert_eq!(KINDS, TransitionKind::ALL);
        for &kind in KINDS {
            for &cause in CAUSES {
                assert_eq!(meaning(number(kind, cause)), (kind, cause));
            }
        }
    }
}
