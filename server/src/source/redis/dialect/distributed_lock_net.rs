//! DistributedLock.Redis for .NET: a string under its bare name whose value is `<host>_<pid>_<32 hex digits>`.
//!
//! Source: madelson/DistributedLock 1.1.1, `src/DistributedLock.Redis/`, read.

use lockkeeper_model::{Certainty, Identity, words};

use super::shape::host_and_process;
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct DistributedLockNet;

const NAME: &str = "distributedlock-net";

static LOCK: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a host, a process id and 32 hex digits, which only DistributedLock.Redis for .NET writes",
    traits: &DialectTraits {
        told_because: "The store does not tell it. Its next renewal, every 9 s by default, fails, which cancels the handle's \
                       token; until then it goes on as if it had the lock.",
        identity,
        ..DialectTraits::PLAIN
    },
};

impl Dialect for DistributedLockNet {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        match stored.string() {
            // A `.writer` is half of a lock for readers and writers.
            Some(token) if host_and_process(token).is_some() && !stored.key().ends_with(b".writer") => {
                whole(Form::exclusive(&LOCK, token, stored.ttl_ms()))
            }
            _ => none(),
        }
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

fn identity(token: &[u8]) -> Identity {
    match host_and_process(token) {
        Some((host, pid)) => Identity { host: Some(words::shown(host)), pid: Some(pid), ..Identity::NOBODY },
        None => Identity::NOBODY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    #[test]
    fn the_value_proves_itself_under_any_name_but_a_writers() {
        let token = b"worker-7_4242_112665c4636d9023dc9679b0a616ed66";
        let seen = |key: &str, value: &[u8]| {
            let root = Raw::string(key, value, Some(9));
            let stored = Stored { root: &root, beside: &[], configured: false, now_ms: 0 };
            !DistributedLockNet.recognise(&stored).is_empty()
        };
        assert!(seen("stock", token));
        assert!(!seen("stock.writer", token));
        assert!(!seen("stock", b"4242_112665c4636d9023dc9679b0a616ed66"));
        let identity = identity(token);
        assert_eq!((identity.host.as_deref(), identity.pid), (Some("worker-7"), Some(4_242)));
    }
}
