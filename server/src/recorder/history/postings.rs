//! Where in a segment a name occurs, and what is small enough to be added up there: both as bytes.

/// Appends a number, seven bits a byte, the low ones first.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front; `None` where there is none, or none that fits.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (&byte, rest) = bytes.split_first()?;
    *bytes = rest;
    // Nearly all numbers are small, and many millions of them are taken.
    if byte & 0x80 == 0 { Some(u64::from(byte)) } else { take_rest(u64::from(byte & 0x7f), bytes) }
}

fn take_rest(first: u64, bytes: &mut &[u8]) -> Option<u64> {
    let mut value = first;
    for shift in (7..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Rows of a segment in growing order, as distances.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    last: i64,
}

impl Rows {
    /// A row twice, as one that names the same token in two places, counts once.
    pub(super) fn push(&mut self, first: i64, row: i64) {
        let from = if self.bytes.is_empty() { first } else { self.last };
        if !self.bytes.is_empty() && row <= self.last {
            return;
        }
        put(&mut self.bytes, u64::try_from(row - from).unwrap_or(0));
        self.last = row;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The rows again, of a segment that begins with `first`.
pub(super) fn rows(first: i64, mut bytes: &[u8]) -> Vec<i64> {
    let mut row = first;
    let mut rows = Vec::new();
    while let Some(distance) = take(&mut bytes) {
        row = row.saturating_add(i64::try_from(distance).unwrap_or(i64::MAX));
        rows.push(row);
    }
    rows
}

/// By what a name is looked up in a segment: FNV-1a, 32 bits. Names that share it are told apart by themselves.
pub(super) fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_rows_come_back(first in 0_i64..1_000_000, mut wanted in proptest::collection::btree_set(0_i64..5_000_000, 0..200)) {
            wanted = wanted.into_iter().map(|row| row + first).collect();
            let mut kept = Rows::default();
            for &row in &wanted {
                kept.push(first, row);
                kept.push(first, row);
            }
            prop_assert_eq!(rows(first, kept.bytes()), wanted.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = rows(0, &bytes);
        }
    }
}
