//! Which library family stored a lock, how sure that is, and what holds for every lock of that family.

use lockkeeper_model::{Certainty, Identity, Time, Told};

/// A judgement about a stored form: which family, how sure, why. One static per way of recognising.
#[derive(Debug, PartialEq, Eq)]
pub struct Recognition {
    /// The dialect's name.
    pub dialect: &'static str,
    /// How sure.
    pub certainty: Certainty,
    /// Why.
    pub because: &'static str,
    /// How this family lets go and waits.
    pub traits: &'static DialectTraits,
}

/// What holds for every lock of one family.
#[derive(Debug)]
pub struct DialectTraits {
    /// The store's word for the type of the key.
    pub stored_as: &'static str,
    /// Turns a key into what a person calls the lock.
    pub strip_prefix: &'static str,
    /// Whether a former holder learns of a release.
    pub told: Told,
    /// How it learns of it, or why not.
    pub told_because: &'static str,
    /// What a release does beyond deleting, for example how waiters are woken.
    pub release: &'static str,
    /// Why a release is not offered; `None` where it is.
    pub no_release: Option<&'static str>,
    /// What taking a dead waiter out of the queue of a free lock does; `None` where that is not offered.
    pub evict_waiter: Option<&'static str>,
    /// Why an operator cannot be put in a holder's place for a while; `None` where its clients take a token that is not
    /// theirs for somebody else's, and leave it alone.
    pub no_hold: Option<&'static str>,
    /// Why a hold that was released cannot be put back; `None` where what is compared is all that there is to put back.
    pub no_put_back: Option<&'static str>,
    /// Where its fencing counter is and what counting it up means for whoever takes the lock next; `None` where it keeps
    /// none, or none that may be counted up from outside.
    pub raise_fence: Option<&'static str>,
    /// How the library's own unlock can free another's lock; `None` where it compares.
    pub unsafe_unlock: Option<&'static str>,
    /// How the library takes the lock again after a release; `None` where it does not.
    pub comes_back: Option<&'static str>,
    /// A token names one acquisition and never another: where false, equal tokens do not prove the same hold.
    pub token_is_one_use: bool,
    /// One lock may be several keys with one token, whose names do not tell.
    pub may_span_keys: bool,
    /// Whether [`Report::Waiting`] counts those who wait.
    pub waiters_counted: bool,
    /// Whether the store keeps a list of all who wait, which is read with the lock.
    pub waiters_listed: bool,
    /// What that number counts, or why there is none.
    pub waiters_because: &'static str,
    /// Why renewals cannot be expected; `None` where the library may renew.
    pub never_renews: Option<&'static str>,
    /// What is left of the lease at least, in milliseconds, while its renewals work; `None` where that is not fixed.
    pub renewal_keeps_ms: Option<i64>,
    /// What a token says of its holder.
    pub identity: fn(token: &[u8]) -> Identity,
    /// When the lock was taken, if its token says it, on its holder's clock.
    pub taken_at: fn(token: &[u8]) -> Option<Time>,
}

impl DialectTraits {
    /// A string with a token under its bare name, freed by comparing and deleting, whose waiters poll. Families begin
    /// with this and say what is different.
    pub const PLAIN: DialectTraits = DialectTraits {
        stored_as: "string",
        strip_prefix: "",
        told: Told::AtRenewal,
        told_because: "The store does not tell it. A library that renews or unlocks by comparing finds out then; until \
                       then it goes on as if it had the lock.",
        release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out \
                  since.",
        no_release: None,
        evict_waiter: None,
        no_hold: Some("it is not known that its library leaves a token alone that is not its own"),
        no_put_back: Some(
            "what is compared in a lock of this family is not all that would have to be put back: others may share it, or \
             it is counted elsewhere as well",
        ),
        raise_fence: None,
        unsafe_unlock: None,
        comes_back: None,
        token_is_one_use: true,
        may_span_keys: false,
        waiters_counted: false,
        waiters_listed: false,
        waiters_because: "those who wait for it poll, which leaves no trace in Redis",
        never_renews: None,
        renewal_keeps_ms: None,
        identity: |_| Identity::NOBODY,
        taken_at: |_| None,
    };

    /// The same of a library that compares before it renews and before it lets go, and reads nothing else into a token.
    pub const COMPARING: DialectTraits = DialectTraits { no_hold: None, no_put_back: None, ..DialectTraits::PLAIN };

    /// Why no operator can hold a lock whose library deletes it whoever has it.
    pub const HOLD_IS_DELETED: &'static str = "its library does not compare when it lets go: the former holder would end \
                                               the operator's hold with its own, and nobody would be told";
}

impl PartialEq for DialectTraits {
    /// There is one static per family.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for DialectTraits {}
