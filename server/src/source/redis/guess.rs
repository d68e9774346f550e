//! What type a key will turn out to have, guessed by the beginning of its name: programs name keys of one kind alike. A
//! wrong guess costs one command; a right one saves three, and an error in the store's statistics.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use super::dialect::{Raw, Value};

/// Beginnings that are remembered. Stores have tens; where there are more, they are learned anew.
const MAX_BEGINNINGS: usize = 1_024;

/// The longest beginning that is looked for, in bytes.
const MAX_BEGINNING_BYTES: usize = 64;

/// A string, or not known: strings cost least when they are read as what they are.
pub(super) const STRING: u8 = b's';

/// What was found under each beginning of a name, by its last reading.
#[derive(Debug, Default)]
pub(crate) struct Guess {
    types: Mutex<HashMap<Box<[u8]>, u8>>,
}

impl Guess {
    /// A letter for the type of each key, or nothing where all are taken for strings.
    pub(super) fn of<K: AsRef<[u8]>>(&self, keys: &[K]) -> String {
        let types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        if types.is_empty() {
            return String::new();
        }
        keys.iter().map(|key| char::from(types.get(beginning(key.as_ref())).copied().unwrap_or(STRING))).collect()
    }

    /// Learns from what was read.
    pub(super) fn learn(&self, raws: &[Raw]) {
        let mut types = None;
        for raw in raws {
            let letter = match raw.value {
                Value::Hash(_) => b'h',
                Value::ZSet(_) => b'z',
                Value::Set(_) => b't',
                Value::List { .. } => b'l',
                // A key that is not there says nothing, and one that was not read is best asked for its type.
                Value::Missing | Value::TooLarge { .. } | Value::Not(_) => continue,
                Value::String(_) => STRING,
            };
            let types = types.get_or_insert_with(|| self.types.lock().unwrap_or_else(PoisonError::into_inner));
            let beginning = beginning(&raw.key);
            match types.get_mut(beginning) {
                Some(known) => *known = letter,
                // What is not known is taken for a string.
                None if letter == STRING => {}
                None => {
                    if types.len() >= MAX_BEGINNINGS {
                        types.clear();
                    }
                    types.insert(beginning.into(), letter);
                }
            }
        }
    }
}

/// A name up to its first colon, or as much of it as is looked at.
fn beginning(key: &[u8]) -> &[u8] {
    let key = &key[..key.len().min(MAX_BEGINNING_BYTES)];
    memchr::memchr(b':', key).map_or(key, |at| &key[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_begin_alike_are_guessed_alike() {
        let guess = Guess::default();
        assert_eq!(guess.of(&["orders:1", "stock:1"]), "");
        guess.learn(&[
            Raw::hash("orders:1", &[("a", "1")], None),
            Raw::zset("permits:1", &[("a", 1.0)], None),
            Raw::string("stock:1", b"token", None),
            Raw::missing("queue:1"),
        ]);
        assert_eq!(guess.of(&["orders:2", "permits:2", "stock:2", "queue:2", "other"]), "hzsss");
    }

    #[test]
    fn what_was_read_last_counts() {
        let guess = Guess::default();
        guess.learn(&[Raw::hash("orders:1", &[("a", "1")], None)]);
        guess.learn(&[Raw::string("orders:2", b"token", None)]);
        assert_eq!(guess.of(&["orders:3"]), "s");
    }

    #[test]
    fn no_more_is_remembered_than_bounded() {
        let guess = Guess::default();
        for n in 0..3 * MAX_BEGINNINGS {
            guess.learn(&[Raw::hash(&format!("orders-{n}"), &[("a", "1")], None)]);
        }
        assert!(guess.types.lock().unwrap().len() <= MAX_BEGINNINGS);
    }
}
