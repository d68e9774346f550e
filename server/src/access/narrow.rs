//! What is said of a source to somebody who sees a part of its locks.

use lockkeeper_model::{NotALock, SourceStatus};

use super::rights::Reach;

impl Reach {
    /// The status as whoever has this reach may see it; `None` where the source does not exist for them. `locks` is how
    /// many of its locks are in the reach.
    ///
    /// How the store and the watching of it are doing stays, since it bears on every lock that they see. What names
    /// keys, or counts them as locks, goes.
    #[must_use]
    pub fn narrow(&self, status: SourceStatus, locks: u64) -> Option<SourceStatus> {
        if self.has_all_of(&status.name) {
            return Some(status);
        }
        if !self.touches(&status.name) {
            return None;
        }
        let mut status = status;
        status.coverage.locks = locks;
        for node in &mut status.nodes {
            // Of one master alone it was not counted; every lock of a quorum is meant to be on each.
            node.coverage.locks = node.coverage.locks.min(locks);
            node.hint = None;
        }
        // Both can name the patterns that the feed was narrowed to, in the store's words or ours.
        (status.feed_because, status.hint) = (None, None);
        // A trace sees every command, whatever its key.
        status.trace_limit = None;
        if !status.patterns.is_empty() {
            status.patterns.retain(|pattern| self.has(&status.name, pattern.as_bytes()));
            if status.patterns.is_empty() {
                // None would mean that the catalogue decides.
                status.patterns = self.key_patterns(&status.name);
            }
        }
        let mut sample = status.not_locks.sample;
        sample.retain(|(id, _)| id.key().is_ok_and(|key| self.has(&status.name, &key)));
        status.not_locks = NotALock { count: sample.len() as u64, sample };
        if let Some(reports) = &mut status.reports {
            reports.last_fault = None;
        }
        Some(status)
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::LockId;

    use super::*;
    use crate::access::{Grant, Person, Policy, Right, Role, Via};
    use crate::fake;

    fn reach(sources: &[&str], keys: &[&str]) -> Reach {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let grant = Grant::new([Right::View], &texts(sources), &texts(keys));
        let policy = Policy::new(vec![Role { name: "r".into(), groups: Vec::new(), grant }]);
        let person = Person { via: Via::Password, roles: vec!["r".into()], ..Person::loopback() };
        policy.scope(&person).seen().clone()
    }

    #[test]
    fn what_is_seen_whole_is_told_whole_and_what_is_not_seen_is_not_told_of() {
        let status = fake::status("orders");
        assert_eq!(reach(&["ord*"], &["*"]).narrow(status.clone(), 0), Some(status.clone()));
        assert_eq!(reach(&["billing"], &[]).narrow(status, 2), None);
    }

    #[test]
    fn of_what_is_seen_in_part_nothing_names_or_counts_the_rest() {
        let mut status = fake::status("orders");
        status.patterns = vec!["lock:*".to_owned(), "payroll".to_owned()];
        status.feed_because = Some("client tracking of `lock:`, `payroll`".to_owned());
        status.hint = Some("NOPERM this user may not use the channel `__keyspace@0__:payroll`".to_owned());
        let why = || "it is a list".to_owned();
        status.not_locks.count = 9;
        status.not_locks.sample = vec![(LockId::of_key(b"payroll:x"), why()), (LockId::of_key(b"lock:x"), why())];
        let narrowed = reach(&["orders"], &["lock:*"]).narrow(status.clone(), 1).unwrap();
        assert!(!format!("{narrowed:?}").contains("payroll"), "{narrowed:?}");
        assert_eq!((narrowed.coverage.locks, narrowed.not_locks.count), (1, 1));
        assert_eq!(narrowed.patterns, ["lock:*"]);
        let narrowed = reach(&["orders"], &["stock:*"]).narrow(status, 0).unwrap();
        assert_eq!(narrowed.patterns, ["stock:*"], "an empty list would mean the catalogue");
    }
}
