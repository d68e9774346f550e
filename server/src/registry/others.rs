//! What else a holder has: before a release, so that nobody takes one lock from a client and wonders at the others.

use bytes::Bytes;
use lockkeeper_model::{Identity, LockId, OtherLocks};

use super::Registry;
use super::graph::Key;
use super::record::{Hold, Record};
use super::show::identity;
use crate::access::Reach;
use crate::source::SourceId;

/// Locks that are looked through for one preview: a hundred thousand take some ten milliseconds, in which nothing else
/// happens on the board. In a larger store the answer says that it may not be all.
const MAX_LOOKED_THROUGH: usize = 100_000;

/// Locks of one holder that are listed, as they are found; the rest are counted.
const MAX_LISTED: usize = 20;

/// A holder whose other locks are asked for.
#[derive(Clone, Debug)]
pub struct Whose {
    /// In which source.
    pub source: SourceId,
    /// The lock that is known already.
    pub key: Bytes,
    /// The exact token.
    pub token: Bytes,
    /// Who that is.
    pub identity: Identity,
}

impl Registry {
    /// For each of these holders the other locks in its source and in the reach that are held with its token, or by the
    /// same party as far as tokens say: by the rule of the wait-for graph.
    #[must_use]
    pub fn others(&self, holders: &[Whose], reach: &Reach) -> Vec<OtherLocks> {
        let keys: Vec<Option<Key>> = holders.iter().map(|holder| Key::of(&holder.identity)).collect();
        let mut found = vec![OtherLocks { complete: true, ..OtherLocks::default() }; holders.len()];
        let mut looked_through = 0;
        for (_, record) in &self.records {
            if record.is_ended() || !holders.iter().any(|holder| holder.source == record.source) {
                continue;
            }
            looked_through += 1;
            if looked_through > MAX_LOOKED_THROUGH {
                found.iter_mut().for_each(|others| others.complete = false);
                break;
            }
            if !reach.has(self.source_name(record.source), &record.key) {
                continue;
            }
            for ((holder, key), others) in holders.iter().zip(&keys).zip(&mut found) {
                if record.source != holder.source || *record.key == *holder.key || !has(record, holder, key.as_ref()) {
                    continue;
                }
                others.count += 1;
                if others.list.len() < MAX_LISTED {
                    others.list.push(LockId::of_key(&record.key));
                }
            }
        }
        found
    }
}

/// Whether a lock is held by this holder.
fn has(record: &Record, holder: &Whose, key: Option<&Key>) -> bool {
    // Equal values that name nobody say nothing.
    if record.names_nobody() {
        return false;
    }
    let is_party = |hold: &Hold| key.is_some() && Key::of(&identity(record, hold)).as_ref() == key;
    record.holds.iter().any(|hold| *hold.token == *holder.token || is_party(hold))
}
