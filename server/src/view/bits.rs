//! A set of slots.

use std::ops::Range;

use crate::registry::Slot;

/// One bit a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn get(&self, slot: Slot) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, slot: Slot, on: bool) {
        let at = slot as usize / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            if on { *word |= 1 << (slot % 64) } else { *word &= !(1 << (slot % 64)) }
        }
    }

    /// Puts all of these in.
    pub(super) fn set_all(&mut self, mut slots: Range<usize>) {
        self.0.resize(self.0.len().max(slots.end.div_ceil(64)), 0);
        while slots.start < slots.end {
            let (word, first) = (slots.start / 64, slots.start % 64);
            let number = (64 - first).min(slots.len());
            if let Some(word) = self.0.get_mut(word) {
                *word |= (u64::MAX >> (64 - number)) << first;
            }
            slots.start += number;
        }
    }

    /// The first one from here on.
    pub(super) fn next_from(&self, slot: usize) -> Option<usize> {
        let first = self.0.get(slot / 64)? & (u64::MAX << (slot % 64));
        let rest = self.0.iter().skip(slot / 64 + 1).copied();
        let (words, word) = std::iter::once(first).chain(rest).enumerate().find(|(_, word)| *word != 0)?;
        Some((slot / 64 + words) * 64 + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(
            single in proptest::collection::btree_set(0u32..500, 0..60),
            from in 0usize..500,
            len in 0usize..200,
        ) {
            let mut bits = Bits::default();
            let mut model: std::collections::BTreeSet<u32> = single.iter().copied().collect();
            single.iter().for_each(|slot| bits.set(*slot, true));
            bits.set_all(from..from + len);
            model.extend((from..from + len).map(|slot| slot as u32));
            for slot in 0..800_u32 {
                prop_assert_eq!(bits.get(slot), model.contains(&slot));
                let next = model.range(slot..).next().map(|next| *next as usize);
                prop_assert_eq!(bits.next_from(slot as usize), next);
            }
        }
    }
}
