//! How much happened in each minute, of each source: as bytes beside a segment, so that nobody has to count its rows.

use std::collections::BTreeMap;

use super::postings::{put, take};

/// What a minute has, in milliseconds.
pub(super) const MINUTE_MS: i64 = 60_000;

/// How many transitions by source and minute of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Minutes(BTreeMap<(i64, i64), u64>);

impl Minutes {
    /// One more of that source, at that moment.
    pub(super) fn add(&mut self, source: i64, at: i64) {
        *self.0.entry((source, at.div_euclid(MINUTE_MS))).or_default() += 1;
    }

    /// As triples, of which source and minute are told by what they are more than in the one before.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before = (0, 0);
        for (&(source, minute), &count) in &self.0 {
            if source != before.0 {
                before.1 = 0;
            }
            // A source has a number from one on, and a minute is of this era: neither is negative.
            put(&mut out, (source - before.0).max(0).cast_unsigned());
            put(&mut out, (minute - before.1).max(0).cast_unsigned());
            put(&mut out, count);
            before = (source, minute);
        }
        out
    }
}

/// Every source, minute and count in what [`Minutes::to_bytes`] wrote.
pub(super) fn each(mut bytes: &[u8], mut look: impl FnMut(i64, i64, u64)) {
    let (mut source, mut minute) = (0_i64, 0_i64);
    let mut next = || {
        let further = i64::try_from(take(&mut bytes)?).ok()?;
        if further > 0 {
            (source, minute) = (source.checked_add(further)?, 0);
        }
        minute = minute.checked_add(i64::try_from(take(&mut bytes)?).ok()?)?;
        Some((source, minute, take(&mut bytes)?))
    };
    while let Some((source, minute, count)) = next() {
        look(source, minute, count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_counted_comes_back(seen in proptest::collection::vec((1_i64..4, 0_i64..10_000_000), 0..200)) {
            let mut minutes = Minutes::default();
            seen.iter().for_each(|&(source, at)| minutes.add(source, at));
            let mut again = Minutes::default();
            each(&minutes.to_bytes(), |source, minute, count| assert_eq!(again.0.insert((source, minute), count), None));
            prop_assert_eq!(again, minutes);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            each(&bytes, |_, _, _| {});
        }
    }
}
