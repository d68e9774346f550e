//! Real texts of a contract, bent: what strangers send looks more like the truth than noise does, and gets further into
//! a parser.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// What parsers stumble over: quotes, brackets, escapes, signs of numbers, bytes that are no UTF-8, ends of lines.
const EDGES: [&[u8]; 22] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\u0000",
    b"\\",
    b"-",
    b"1e999",
    b"9223372036854775808",
    b"null",
    b"true",
    b"\0",
    b"\xff",
    b"\xf0\x9f",
    b"\r\n",
    b"\x1b",
    b"=",
    b"%",
    b"b64:",
];

/// Texts grow up to this by being doubled, in bytes: enough to be longer than what they are made of.
const LONGEST: usize = 4_096;

/// Bends texts, the same way every time, so that a failure can be looked into.
pub(crate) struct Bender {
    rng: StdRng,
}

impl Bender {
    pub(crate) fn new() -> Bender {
        Bender { rng: StdRng::seed_from_u64(7) }
    }

    /// One of these with one to four things changed about it, or bytes of any kind.
    pub(crate) fn bend(&mut self, real: &[&[u8]]) -> Vec<u8> {
        let rng = &mut self.rng;
        if rng.random_ratio(1, 16) {
            let mut bytes = vec![0; rng.random_range(0..200)];
            rng.fill(&mut bytes[..]);
            return bytes;
        }
        let one = |rng: &mut StdRng| real.choose(rng).copied().unwrap_or_default();
        let mut bytes = one(rng).to_vec();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..=bytes.len());
            match rng.random_range(0..8) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = rng.random(),
                2 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
                3 if bytes.len() < LONGEST => bytes.extend_from_within(at..),
                4 if at < bytes.len() => drop(bytes.remove(at)),
                // The head of one and the tail of another.
                5 => {
                    let other = one(rng);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
                }
                _ => {
                    let edge = EDGES.choose(rng).copied().unwrap_or_default();
                    bytes.splice(at..at, edge.iter().copied());
                }
            }
        }
        bytes
    }

    /// The same as text; what is no UTF-8 is replaced, as it is before a parser of text sees it.
    pub(crate) fn bend_text(&mut self, real: &[&str]) -> String {
        let real: Vec<&[u8]> = real.iter().map(|text| text.as_bytes()).collect();
        String::from_utf8_lossy(&self.bend(&real)).into_owned()
    }
}
