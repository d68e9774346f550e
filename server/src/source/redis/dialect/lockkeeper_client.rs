//! `lockkeeper-client`, the reference client: a string with 40 hex digits, and a counter beside it from which every
//! holder has its fencing token.
//!
//! Other programs write 40 hex digits, too; the counter, which the client makes in the step that takes the lock, tells
//! them apart. It is read for values of that form only, so no other lock costs a second reading.
//!
//! Source: `client/src/quorum.rs` of this repository.

use lockkeeper_client::fence_key;
use lockkeeper_model::Certainty;

use super::shape::is_lower_hex;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, HoldExtra, Recognition, ReleaseOrder};

pub(super) struct LockkeeperClient;

const NAME: &str = "lockkeeper-client";

/// 20 random bytes in hex.
const TOKEN_CHARS: usize = 40;

/// What the name of a counter ends with.
const FENCE: &[u8] = b":fence";

/// The client refuses counters of 2^53 and more, which have up to 16 digits.
const MAX_FENCE_DIGITS: usize = 16;

static TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "lock:",
    told_because: "The store does not tell it. Its next renewal, after a third of its lease at most, finds out and tells \
                   the program, which may be in the middle of something.",
    release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out \
              since. The fencing counter stays, so that the next holder's token is higher.",
    raise_fence: Some("The client counts on from there: whoever takes the lock next has a higher number still."),
    waiters_because: "those who wait for it poll, which leaves no trace in Redis; they report themselves where they \
                      were told to",
    ..DialectTraits::COMPARING
};

static SEEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "40 hex digits, with the client's fencing counter beside them",
    traits: &TRAITS,
};

impl Dialect for LockkeeperClient {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        lock_of_fence(key).map(<[u8]>::to_vec)
    }

    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        lock_of_fence(key).is_some()
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        match &root.value {
            Value::String(value) if is_lower_hex(value, TOKEN_CHARS) => vec![fence_key(&root.key)],
            _ => Vec::new(),
        }
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&SEEN]
    }

    fn fence_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        Some(fence_key(key))
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string().filter(|token| is_lower_hex(token, TOKEN_CHARS)) else { return none() };
        let Some(counter) = stored.beside(&fence_key(stored.key())) else { return none() };
        let Some(count) = count(counter) else { return none() };
        let mut form = Form::exclusive(&SEEN, token, stored.ttl_ms());
        form.holds[0].extra = Some(Box::new(HoldExtra { fencing: Some(count.into()), ..HoldExtra::default() }));
        form.extra_mut().companions.push(counter.key.clone());
        whole(form)
    }

    /// The counter is not compared: a token is used once, so that no later acquire has it, and a counter can be lifted
    /// to that of another master while the lock stays with its holder.
    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

/// The number that a counter has: digits, without expiry.
fn count(counter: &Raw) -> Option<&str> {
    let Value::String(value) = &counter.value else { return None };
    let digits = std::str::from_utf8(value).ok()?;
    let is_count = (1..=MAX_FENCE_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_count && counter.ttl_ms.is_none()).then_some(digits)
}

/// The lock whose counter has this name. Of `{a}:fence`, which is the counter of `a` and of `{a}`, it is `a`: a change of
/// the other is seen at its own key.
fn lock_of_fence(key: &[u8]) -> Option<&[u8]> {
    let name = key.strip_suffix(FENCE)?;
    let inner = name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}"));
    [inner, Some(name)].into_iter().flatten().find(|lock| !lock.is_empty() && fence_key(lock) == key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &[u8] = b"906d85dadd81e4936a6412af9d4c34ae0102abcd";

    fn fence_of(key: &str) -> String {
        String::from_utf8(fence_key(key.as_bytes())).unwrap()
    }

    fn seen(value: &[u8], beside: &[Raw]) -> Option<Option<Box<str>>> {
        let root = Raw::string("lock:a", value, Some(9_000));
        let stored = Stored { root: &root, beside, configured: true, now_ms: 0 };
        let found = LockkeeperClient.recognise(&stored);
        let hold = &found.first()?.form.holds[0];
        Some(hold.extra.as_ref().and_then(|extra| extra.fencing.clone()))
    }

    #[test]
    fn the_counter_beside_it_makes_it_the_clients_and_is_its_fencing_token() {
        let fence = Raw::string("{lock:a}:fence", b"33", None);
        assert_eq!(seen(TOKEN, std::slice::from_ref(&fence)), Some(Some("33".into())));
        assert_eq!(seen(TOKEN, &[]), None);
        assert_eq!(seen(b"worker-7", &[fence]), None);
        assert_eq!(seen(TOKEN, &[Raw::string("{lock:a}:fence", b"33", Some(5))]), None);
        assert_eq!(seen(TOKEN, &[Raw::string("{lock:a}:fence", b"-1", None)]), None);
    }

    #[test]
    fn only_values_of_its_form_are_worth_a_second_reading() {
        let beside = |value: &[u8]| LockkeeperClient.beside(&Raw::string("lock:a", value, None));
        assert_eq!(beside(TOKEN), [b"{lock:a}:fence"]);
        assert!(beside(b"906d85dadd81e4936a6412af9d4c34ae").is_empty());
    }

    #[test]
    fn a_counter_leads_to_its_lock_and_other_names_to_none() {
        assert_eq!(lock_of_fence(b"lock:garden:fence"), None);
        assert_eq!(lock_of_fence(b"{}:fence"), None);
        assert_eq!(lock_of_fence(fence_of("{a}").as_bytes()), Some(&b"a"[..]));
    }

    proptest! {
        #[test]
        fn every_lock_is_found_by_its_counter(key in "[a-z:{}]{1,8}") {
            let fence = fence_of(&key);
            prop_assert!(LockkeeperClient.is_never_a_lock(fence.as_bytes()));
            let lock = lock_of_fence(fence.as_bytes()).unwrap();
            prop_assert_eq!(fence_key(lock), fence.as_bytes());
            let itself_or_in_braces = lock == key.as_bytes() || key.as_bytes() == [b"{", lock, b"}"].concat();
            prop_assert!(itself_or_in_braces);
        }
    }
}
