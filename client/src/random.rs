//! Unguessable names.

use std::fmt::Write as _;

/// So many random bytes, as twice as many hex digits. The generator is seeded by the operating system.
pub(crate) fn hex<const BYTES: usize>() -> String {
    let mut bytes = [0u8; BYTES];
    rand::fill(&mut bytes[..]);
    bytes.iter().fold(String::with_capacity(2 * BYTES), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
