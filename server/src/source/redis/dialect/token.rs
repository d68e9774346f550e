//! One string key whose value is the holder's token: `SET key token NX PX lease`.
//!
//! Speaks for what no other family recognises: tokens of known shapes whose library cannot be told, and values that
//! somebody chose. All are freed by comparing the value and deleting the key. Their waiters poll and leave no trace.

use lockkeeper_model::{Certainty, LockState};

use super::shape::{could_be_chosen, has_lock_like_name, is_token_shaped, names_nobody};
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct Token;

const TOKEN: &str = "token";

/// Why no operator's token is put in the place of a value that somebody chose.
pub(super) const CHOSEN_VALUE: &str = "its value was chosen by whoever takes the lock, so that programs may read more \
                                       into it than whose it is: an operator's token there could be taken for an address, \
                                       a time or a job";

const TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "lock:",
    told_because: "The store does not tell it. A library that renews or unlocks by comparing finds out then; until then \
                   it goes on as if it had the lock, and some take the lock again.",
    no_hold: Some(CHOSEN_VALUE),
    token_is_one_use: false,
    ..DialectTraits::COMPARING
};

static CONFIGURED: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Configured,
    because: "a string under a configured pattern; no known library writes a value of this form",
    traits: &TRAITS,
};

static SHAPED: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Ambiguous,
    because: "a string whose value has the form of a token that several libraries write",
    traits: &DialectTraits { no_hold: None, ..TRAITS },
};

static NAMED: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Ambiguous,
    because: "a short string under a name that says lock; the value was chosen by the caller",
    traits: &TRAITS,
};

static NOBODY: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Ambiguous,
    because: "a string under a name that says lock, whose value names nobody",
    traits: &TRAITS,
};

impl Dialect for Token {
    fn names(&self) -> &'static [&'static str] {
        &[TOKEN]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&SHAPED]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string() else { return none() };
        let no_owner = names_nobody(token);
        let shaped = !no_owner && is_token_shaped(token);
        // The name is looked at last: most strings of most stores are told apart by their value alone.
        let may_be_one = no_owner || shaped || could_be_chosen(token);
        let recognition = match () {
            () if !(stored.configured || may_be_one && has_lock_like_name(stored.key())) => return none(),
            () if no_owner => &NOBODY,
            () if shaped => &SHAPED,
            () if stored.configured => &CONFIGURED,
            () => &NAMED,
        };
        let form = Form::exclusive(recognition, token, stored.ttl_ms());
        whole(if no_owner { Form { state: LockState::UnknownHolder, ..form } } else { form })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    fn seen(key: &str, value: &[u8], configured: bool) -> Option<&'static str> {
        let root = Raw::string(key, value, Some(1));
        let stored = Stored { root: &root, beside: &[], configured, now_ms: 1_767_235_900_120 };
        Token.recognise(&stored).first().map(|found| found.form.recognition.because)
    }

    #[test]
    fn a_bare_key_needs_more_than_its_value() {
        let random = b"0f8e41d2a2c941ef8b0a0242ac120003";
        assert_eq!(seen("anything", random, false), None);
        assert_eq!(seen("order-lock", random, false), Some(SHAPED.because));
        assert_eq!(seen("session:1", b"worker-7", false), None);
        assert_eq!(seen("lock:a", b"worker-7", false), Some(NAMED.because));
        assert_eq!(seen("lock:settings", br#"{"a": 1}"#, false), None);
    }

    #[test]
    fn an_operator_is_taken_at_their_word() {
        assert_eq!(seen("session:1", br#"{"a": 1}"#, true), Some(CONFIGURED.because));
        assert_eq!(seen("job", b"1", true), Some(NOBODY.because));
    }
}
