//! One warning that is so: how far it is, and how it is named.

use bytes::Bytes;
use lockkeeper_model::{LockWarning, Severity, WarningRule, WarningState};
use sha2::{Digest as _, Sha256};

use crate::registry::Record;
use crate::warning::judge;

pub(super) type Id = u128;

/// In [`Open::carried`]: this run has not seen yet whether it is still so.
pub(super) const NOT_SEEN_YET: i64 = i64::MAX;

/// One that is so.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) warning: LockWarning,
    pub(super) key: Option<Bytes>,
    pub(super) clear_ms: i64,
    /// It is away, since when, and how that came about.
    pub(super) away: Option<(i64, String)>,
    /// When that has lasted for long enough.
    pub(super) over_at: i64,
    /// The highest severity with which others were told that it opened.
    pub(super) told_as: Option<Severity>,
    /// It was open when an earlier run ended, and since when this run has seen it: it lasted long enough before that.
    pub(super) carried: Option<i64>,
}

impl Open {
    pub(super) fn of(warning: LockWarning, key: Option<Bytes>, clear_ms: i64) -> Open {
        Open { warning, key, clear_ms, away: None, over_at: i64::MAX, told_as: None, carried: None }
    }

    /// Whether others are to be told that it opened, once it is known to be so now: they were not, or it matters more now.
    pub(super) fn is_untold(&self) -> bool {
        self.warning.muted.is_none() && self.told_as < Some(self.warning.severity)
    }

    /// Whether it is known to be so now.
    pub(super) fn is_so_now(&self) -> bool {
        self.away.is_none() && !self.warning.stale && self.carried != Some(NOT_SEEN_YET)
    }

    pub(super) fn settle(&mut self) {
        self.warning.state = match (&self.warning.muted, &self.warning.acknowledged) {
            (Some(_), _) => WarningState::Muted,
            (None, Some(_)) => WarningState::Acknowledged,
            (None, None) => WarningState::Open,
        };
    }
}

/// Names a warning about a lock: about this hold of it, where the rule is about one.
pub(super) fn id_of_lock(rule: WarningRule, source: &str, record: &Record) -> Id {
    let token = record.holds.iter().min_by_key(|hold| hold.since).filter(|_| judge::is_of_hold(rule));
    id_of(rule, source, &record.key, token.map_or(&[][..], |hold| &hold.token))
}

/// The same in every run. A token is a secret, which the hash does not tell.
pub(super) fn id_of(rule: WarningRule, source: &str, key: &[u8], subject: &[u8]) -> Id {
    let mut hash = Sha256::new();
    for part in [rule.word().as_bytes(), source.as_bytes(), key, subject] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest[..16].iter().fold(0, |id, byte| id << 8 | Id::from(*byte))
}
