//! A hold that was freed from here and is there again: its client took it again, or the store lost the release.
//!
//! A primary answers before its replicas have what it did. If one of them takes over before it had the release, the lock
//! is there as it was, and nobody took it. That is only said where nothing else can be so.

use std::sync::Arc;

use lockkeeper_model::Time;

use super::hold::{stamp, update};
use super::record::{Failover, Hold, NEVER};
use crate::source::{self, DialectTraits, Sight};

/// The hold of a lock that was freed from here last.
#[derive(Clone, Debug)]
pub(super) struct Forced {
    /// The attempt's number in the audit.
    pub(super) audit: u64,
    /// When the store had said so.
    pub(super) at: i64,
    /// The hold as it was; `None`: it was not known any more.
    pub(super) hold: Option<Hold>,
    /// Another server took over since, and is not known to have heard of it.
    pub(super) failover: Option<Arc<Failover>>,
}

impl Forced {
    /// Whether this is the hold that was freed, because the store lost the release: the same to the byte, on a server that
    /// may not have heard of it. A token that is used once proves it; of another one it is the end of its lease that does,
    /// which whoever takes the lock again does not meet.
    pub(super) fn is_lost(&self, seen: &source::Hold, sight: &Sight, traits: &'static DialectTraits) -> bool {
        let (Some(failover), Some(hold)) = (&self.failover, &self.hold) else { return false };
        if hold.token != seen.token || self.at < failover.unsure_since() || stamp(&hold.extra) != stamp(&seen.extra) {
            return false;
        }
        let has_same_end = || {
            let change = update(&mut hold.clone(), seen, sight, sight.read_at, Time(self.at));
            hold.expires != NEVER && change.is_none()
        };
        traits.token_is_one_use || has_same_end()
    }

    /// The hold goes on as it was known, under the generation of what was met.
    pub(super) fn goes_on(&self, met: Hold) -> Hold {
        let Some(hold) = &self.hold else { return met };
        let Hold { expires, expires_before_ms, generation, count, extra, .. } = met;
        Hold { expires, expires_before_ms, generation, count, extra, ..hold.clone() }
    }
}
