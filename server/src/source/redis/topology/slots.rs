//! Slots of a cluster.

use lockkeeper_model::SlotRange;

use super::Address;

/// How many slots every cluster has.
pub(in super::super) const SLOTS: u16 = 16_384;

/// The slot of a key: CRC16 of the key, or of the part in its first braces unless that is empty.
///
/// Source: the Redis Cluster specification, "Hash tags".
pub(in super::super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, a bit at a time: keys are short, and this is asked for rarely.
fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x1021;
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(
            crc ^ (u16::from(byte) << 8),
            |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL }
            },
        )
    })
}

/// Whose each slot is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Slots {
    /// Ranges in order that do not overlap.
    ranges: Vec<(SlotRange, Address)>,
}

impl Slots {
    /// From ranges in any order. Of two that overlap the first has the slots.
    pub(super) fn new(mut ranges: Vec<(SlotRange, Address)>) -> Slots {
        ranges.sort_by_key(|(range, _)| range.first);
        ranges.dedup_by(|next, before| next.0.first <= before.0.last);
        Slots { ranges }
    }

    /// Whose a slot is.
    pub(in super::super) fn owner(&self, slot: u16) -> Option<&Address> {
        let after = self.ranges.partition_point(|(range, _)| range.first <= slot);
        let (range, owner) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(owner)
    }

    /// All who own slots, each once.
    pub(super) fn owners(&self) -> Vec<Address> {
        let mut owners: Vec<Address> = self.ranges.iter().map(|(_, owner)| owner.clone()).collect();
        owners.sort();
        owners.dedup();
        owners
    }

    /// The slots that are nobody's, or of somebody who does not count.
    pub(in super::super) fn uncovered(&self, counts: impl Fn(&Address) -> bool) -> Vec<SlotRange> {
        let mut uncovered: Vec<SlotRange> = Vec::new();
        let mut next = 0;
        for (range, _) in self.ranges.iter().filter(|(_, owner)| counts(owner)) {
            if range.first > next {
                uncovered.push(SlotRange { first: next, last: range.first - 1 });
            }
            next = range.last + 1;
        }
        if next < SLOTS {
            uncovered.push(SlotRange { first: next, last: SLOTS - 1 });
        }
        uncovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_that_redis_says() {
        // `CLUSTER KEYSLOT`, and the examples of the specification.
        for (key, slot) in [("123456789", 12_739), ("foo", 12_182), ("foo{}{bar}", 8_363), ("", 0)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn slots_are_owned_or_uncovered() {
        let (a, b) = (Address::new("a", 1), Address::new("b", 1));
        let range = |first, last| SlotRange { first, last };
        let slots =
            Slots::new(vec![(range(10_000, 16_383), b.clone()), (range(1, 5), a.clone()), (range(6, 9), b.clone())]);
        assert_eq!(slots.owner(0), None);
        assert_eq!((slots.owner(1), slots.owner(5), slots.owner(6)), (Some(&a), Some(&a), Some(&b)));
        assert_eq!((slots.owner(10), slots.owner(16_383)), (None, Some(&b)));
        assert_eq!(slots.owners(), [a.clone(), b]);
        assert_eq!(slots.uncovered(|_| true), [range(0, 0), range(10, 9_999)]);
        assert_eq!(slots.uncovered(|owner| *owner == a), [range(0, 0), range(6, 16_383)]);
        assert_eq!(Slots::default().uncovered(|_| true), [range(0, 16_383)]);
    }
}
