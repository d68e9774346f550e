//! A sorted sequence of slots that is cheap to change and to look into at any position.
//!
//! Chunks of a few hundred slots each: an insertion searches the chunks, then one chunk, and moves at most a chunk's
//! worth of memory; a window skips whole chunks by their length. At a million slots that is about twenty comparisons
//! and a few microseconds, and four to eight bytes a slot. The order itself is the caller's: every call that searches
//! takes the comparison, which must say of each slot what it said when the slot was inserted.

use std::cmp::Ordering;

use crate::registry::Slot;

/// A chunk that grows to this length is split. The square root of a million: searching chunks and moving memory within
/// one then cost about the same.
const MAX_CHUNK: usize = 1_024;

/// Chunks are filled this far when many slots are put in order at once, so that the next insertions find room.
const FILLED_CHUNK: usize = 640;

/// Sorted slots.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    /// None is empty.
    chunks: Vec<Vec<Slot>>,
    len: usize,
}

impl Ordered {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a slot that is not in it.
    pub(crate) fn insert(&mut self, slot: Slot, cmp: impl Fn(Slot, Slot) -> Ordering) {
        self.len += 1;
        let at = self.chunk_of(slot, &cmp).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![slot]);
            return;
        };
        let position = chunk.partition_point(|&other| cmp(other, slot) == Ordering::Less);
        chunk.insert(position, slot);
        if chunk.len() >= MAX_CHUNK {
            let upper = chunk.split_off(MAX_CHUNK / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    /// Takes a slot out. Says whether it was there.
    pub(crate) fn remove(&mut self, slot: Slot, cmp: impl Fn(Slot, Slot) -> Ordering) -> bool {
        let at = self.chunk_of(slot, &cmp);
        let Some(chunk) = self.chunks.get_mut(at) else { return false };
        let position = chunk.partition_point(|&other| cmp(other, slot) == Ordering::Less);
        if chunk.get(position) != Some(&slot) {
            return false;
        }
        chunk.remove(position);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        true
    }

    /// Adds many slots that are sorted and not in it: one pass over everything.
    pub(crate) fn merge(&mut self, sorted: Vec<Slot>, cmp: impl Fn(Slot, Slot) -> Ordering) {
        let mut all = Vec::with_capacity(self.len + sorted.len());
        let mut new = sorted.into_iter().peekable();
        for old in self.chunks.drain(..).flatten() {
            while let Some(&first) = new.peek() {
                if cmp(first, old) != Ordering::Less {
                    break;
                }
                all.push(first);
                new.next();
            }
            all.push(old);
        }
        all.extend(new);
        self.len = all.len();
        self.chunks = all.chunks(FILLED_CHUNK).map(<[Slot]>::to_vec).collect();
    }

    /// How many slots are before this one; `None` if it is not in it.
    pub(crate) fn place_of(&self, slot: Slot, cmp: impl Fn(Slot, Slot) -> Ordering) -> Option<usize> {
        let at = self.chunk_of(slot, &cmp);
        let chunk = self.chunks.get(at)?;
        let position = chunk.partition_point(|&other| cmp(other, slot) == Ordering::Less);
        let before: usize = self.chunks[..at].iter().map(Vec::len).sum();
        (chunk.get(position) == Some(&slot)).then_some(before + position)
    }

    /// The slots from `offset` on.
    pub(crate) fn window(&self, offset: usize, limit: usize) -> impl Iterator<Item = Slot> + '_ {
        let mut skip = offset;
        let mut first = self.chunks.len();
        for (i, chunk) in self.chunks.iter().enumerate() {
            if skip < chunk.len() {
                first = i;
                break;
            }
            skip -= chunk.len();
        }
        self.chunks[first..].iter().flatten().copied().skip(skip).take(limit)
    }

    /// The first chunk whose last slot is not before `slot`.
    fn chunk_of(&self, slot: Slot, cmp: &impl Fn(Slot, Slot) -> Ordering) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|&last| cmp(last, slot) == Ordering::Less))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_sorted_vector(
            start in proptest::collection::btree_set(0u32..5_000, 0..3_000),
            steps in proptest::collection::vec((0u32..5_000, any::<bool>()), 0..600),
        ) {
            let mut model: Vec<u32> = start.into_iter().collect();
            let mut ordered = Ordered::default();
            ordered.merge(model.clone(), |a, b| a.cmp(&b));
            for (slot, add) in steps {
                match (model.binary_search(&slot), add) {
                    (Err(at), true) => { model.insert(at, slot); ordered.insert(slot, |a, b| a.cmp(&b)); }
                    (Ok(at), false) => { model.remove(at); prop_assert!(ordered.remove(slot, |a, b| a.cmp(&b))); }
                    (Err(_), false) => prop_assert!(!ordered.remove(slot, |a, b| a.cmp(&b))),
                    (Ok(_), true) => {}
                }
                prop_assert_eq!(ordered.len(), model.len());
            }
            for slot in [0, 1, 700, 2_999, 4_999] {
                prop_assert_eq!(ordered.place_of(slot, |a, b| a.cmp(&b)), model.binary_search(&slot).ok());
            }
            for offset in [0, 1, 700, 2_999, 6_000] {
                let window: Vec<u32> = ordered.window(offset, 60).collect();
                let expected: Vec<u32> = model.iter().copied().skip(offset).take(60).collect();
                prop_assert_eq!(window, expected);
            }
        }
    }
}
