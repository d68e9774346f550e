//! What a warning has to know of a lock: since when something is so, by the judgement that its flags have.

use std::hash::BuildHasher as _;

use lockkeeper_model::{WaitersBasis, words};

use super::Registry;
use super::graph::Key;
use super::record::Record;
use super::show::{identity, name, who};

/// Since when somebody waits and gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Since when.
    pub since: i64,
    /// How those who wait are known; `Reported`: one of them says so for itself.
    pub basis: WaitersBasis,
}

impl Registry {
    /// Whether what is known of it is current, as far as something was missed since.
    #[must_use]
    pub fn is_current(&self, record: &Record) -> bool {
        !self.is_unseen_since_gap(record)
    }

    /// Since when somebody has been waiting for it and not got it; `None` where nobody is known to. One who says so is
    /// believed for itself. Others are not followed one by one: that a lock is waited for without a break says nothing of
    /// any of them as long as it changes hands, so that their time begins with the hold that keeps them out.
    #[must_use]
    pub fn unserved(&self, record: &Record) -> Option<Unserved> {
        let said = self.known(record.source).reported.waiting(&record.key).iter().map(|waiting| waiting.since).min();
        let said = said.map(|since| Unserved { since, basis: WaitersBasis::Reported });
        let newest = record.holds.iter().map(|hold| hold.since).max();
        let kept_out = record.waits_since().zip(newest);
        let kept_out =
            kept_out.map(|(waits, held)| Unserved { since: waits.max(held), basis: record.followed_basis() });
        said.into_iter().chain(kept_out).min_by_key(|unserved| unserved.since)
    }

    /// Since when the renewals of a holder that renewed regularly are overdue.
    #[must_use]
    pub fn quiet_since(record: &Record) -> Option<i64> {
        record.beat_due().filter(|_| record.is_quiet())
    }

    /// Since when it has had no expiry, while somebody holds it.
    #[must_use]
    pub fn endless_since(record: &Record) -> Option<i64> {
        let since = if record.expiry_lost { record.last_change } else { record.since() };
        record.no_expiry().then_some(since)
    }

    /// Tells its first holder from all others, by the rule of the wait-for graph; `None` where nothing says whether
    /// another lock has the same.
    #[must_use]
    pub fn party(&self, record: &Record) -> Option<u64> {
        let hold = record.holds.first().filter(|_| !record.names_nobody())?;
        match Key::of(&identity(record, hold)) {
            Some(key) => Some(self.hasher.hash_one((record.source.0, key))),
            None if record.recognition.traits.token_is_one_use => None,
            None => Some(self.hasher.hash_one((record.source.0, &*hold.token))),
        }
    }

    /// Its first holder in a few words, harmless to look at.
    #[must_use]
    pub fn first_holder(record: &Record) -> Option<String> {
        let hold = record.holds.first()?;
        let (text, b64) = lockkeeper_model::encode_token(&hold.token);
        let token = words::short_token(&text.unwrap_or(b64));
        Some(who(&identity(record, hold)).map_or(token, |who| words::shown(&who)))
    }

    /// What a person calls the lock, harmless to look at.
    #[must_use]
    pub fn shown_name(record: &Record) -> String {
        words::shown(&name(record))
    }
}
