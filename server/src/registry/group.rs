//! What locks are put together by, for whoever looks at many.

use std::borrow::Cow;

use lockkeeper_model::{GroupBy, MAX_TEXT_BYTES, NO_GROUP};

use super::graph::Key;
use super::show::{name, who};
use super::{Record, Registry};

/// What ends a prefix, in all of the libraries' own examples.
const SEPARATORS: [char; 3] = [':', '/', '.'];

impl Registry {
    /// The group that a lock is in. Two locks are in the same if and only if this is the same.
    pub fn group(&self, record: &Record, by: GroupBy) -> Cow<'static, str> {
        match by {
            GroupBy::Dialect => record.recognition.dialect.into(),
            GroupBy::Prefix => prefix(&name(record)).map_or(NO_GROUP.into(), |prefix| prefix.to_owned().into()),
            GroupBy::Holder => record
                .holds
                .first()
                .and_then(|hold| Key::of(&self.identity(record, hold).0))
                .map(|key| key.id())
                // What could not be asked for again is no group.
                .filter(|id| id.len() <= MAX_TEXT_BYTES)
                .map_or(NO_GROUP.into(), Cow::from),
        }
    }

    /// What the group of a lock is called on a screen; `None`: as in [`Registry::group`].
    pub fn group_name(&self, record: &Record, by: GroupBy) -> Option<String> {
        let hold = record.holds.first().filter(|_| by == GroupBy::Holder)?;
        who(&self.identity(record, hold).0)
    }
}

/// A name up to and with its first separator, so that no prefix is [`NO_GROUP`].
fn prefix(name: &str) -> Option<&str> {
    let at = name.find(SEPARATORS)?;
    name.get(..=at).filter(|prefix| prefix.len() <= MAX_TEXT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_with_the_first_separator() {
        assert_eq!(prefix("stock:4711:a"), Some("stock:"));
        assert_eq!(prefix("jobs/nightly.run"), Some("jobs/"));
        assert_eq!(prefix(":odd"), Some(":"));
        assert_eq!(prefix("leader"), None);
        assert_eq!(prefix(&format!("{}:", "x".repeat(MAX_TEXT_BYTES))), None);
    }
}
