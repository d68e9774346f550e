//! The token by which an operator holds a lock through Lockkeeper: `lockkeeper-hold:<family>:<person>:<32 hex digits>`.
//!
//! It stands where the library keeps its holder, so that clients take it for somebody else's and wait. It names the
//! family, because what stands there does not show it any more and who waits has to be woken as that family does it. The
//! digits are random, so that no two holds are alike; the person is for whoever looks into the store, and proves nothing.

use lockkeeper_model::Identity;

/// What every such token begins with.
const PREFIX: &str = "lockkeeper-hold:";

/// The longest name of a person in it, in characters: an address of mail fits, and the whole stays shorter than the
/// longest token that a library writes by itself.
const MAX_PERSON_CHARS: usize = 40;

/// Whoever has no name that could stand in a token.
const NAMELESS: &str = "somebody";

/// 128 random bits in hexadecimal.
const RANDOM_DIGITS: usize = 32;

/// What a token of an operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorHold<'a> {
    /// The family in whose lock it stands.
    pub dialect: &'a str,
    /// Who holds it, as far as that can stand in a token.
    pub person: &'a str,
}

/// A token that was never used, for a lock of this family.
#[must_use]
pub fn token(dialect: &str, person: &str) -> String {
    let person: String = person.chars().map(|c| if is_plain(c) { c } else { '_' }).take(MAX_PERSON_CHARS).collect();
    let person = if person.is_empty() { NAMELESS } else { &person };
    format!("{PREFIX}{dialect}:{person}:{:032x}", rand::random::<u128>())
}

impl OperatorHold<'_> {
    /// What a token says, if it is one that [`token`] may have made.
    #[must_use]
    pub fn of(token: &[u8]) -> Option<OperatorHold<'_>> {
        let rest = std::str::from_utf8(token.strip_prefix(PREFIX.as_bytes())?).ok()?;
        let (rest, random) = rest.rsplit_once(':')?;
        let (dialect, person) = rest.split_once(':')?;
        let is_random = random.len() == RANDOM_DIGITS && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_person = (1..=MAX_PERSON_CHARS).contains(&person.len()) && person.chars().all(is_plain);
        (is_random && is_person && !dialect.is_empty()).then_some(OperatorHold { dialect, person })
    }

    /// The same for the screen, as far as a store can be believed.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "an operator, `{}`, holds it through Lockkeeper: nobody gets in until it is opened or lapses by itself",
            self.person
        )
    }
}

/// What the token of an operator says of its holder.
#[must_use]
pub fn identity(token: &[u8]) -> Identity {
    Identity { operator: OperatorHold::of(token).map(|hold| hold.person.to_owned()), ..Identity::NOBODY }
}

/// Characters that look like themselves everywhere and separate nothing.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_says_who_and_in_whose_lock_and_no_two_are_alike() {
        let held = token("python-redis-lock", "alice@example.org");
        let hold = OperatorHold::of(held.as_bytes()).unwrap();
        assert_eq!((hold.dialect, hold.person), ("python-redis-lock", "alice@example.org"));
        assert_ne!(token("redis-py", "alice"), token("redis-py", "alice"));
        assert_eq!(identity(held.as_bytes()).operator.as_deref(), Some("alice@example.org"));
    }

    #[test]
    fn what_is_nearly_one_is_none() {
        let good = "lockkeeper-hold:redis-py:alice:0123456789abcdef0123456789abcdef";
        assert!(OperatorHold::of(good.as_bytes()).is_some());
        for bad in [
            "lockkeeper-hold:redis-py:alice:0123456789ABCDEF0123456789abcdef",
            "lockkeeper-hold:redis-py:alice:0123456789abcdef",
            "lockkeeper-hold:redis-py::0123456789abcdef0123456789abcdef",
            "lockkeeper-hold::alice:0123456789abcdef0123456789abcdef",
            "lockkeeper-hold:redis-py:a\u{202e}b:0123456789abcdef0123456789abcdef",
            "lockkeeper-hold:redis-py:a:b:0123456789abcdef0123456789abcdef",
            "lockkeeper-hold:alice:0123456789abcdef0123456789abcdef",
            " lockkeeper-hold:redis-py:alice:0123456789abcdef0123456789abcdef",
            "",
        ] {
            assert_eq!(OperatorHold::of(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_person_is_called_their_hold_is_recognised_and_shown_harmless(person in ".{0,100}") {
            let held = token("redisson", &person);
            prop_assert!(held.len() < 128 && lockkeeper_model::words::shown(&held) == held);
            prop_assert_eq!(OperatorHold::of(held.as_bytes()).unwrap().dialect, "redisson");
        }

        #[test]
        fn no_bytes_make_it_panic(token in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = OperatorHold::of(&[PREFIX.as_bytes(), &token].concat());
        }
    }
}
