//! The one place where a node's status is changed.

use lockkeeper_model::{
    Budget, Coverage, LockId, MissingPermission, NotALock, ReportsRead, SourceState, SourceStatus, Time,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

use super::trouble::{Trouble, rule};
use super::{Address, RedisConfig};
use crate::clock;

/// Keys that are no locks are named up to this number; more are counted.
pub(super) const NAMED_NOT_LOCKS: usize = 20;

/// What stands for a credential among the permissions.
const RELEASE_URL: &str = "release_url";

/// What a source is taken for before anything was heard of it.
pub(super) fn unknown(config: &RedisConfig, address: String) -> SourceStatus {
    let now = clock::now();
    SourceStatus {
        name: config.name.clone(),
        kind: "redis".to_owned(),
        topology: Some(config.topology.word().to_owned()),
        address,
        server_version: None,
        environment: config.environment.clone(),
        demo: config.demo,
        state: SourceState::Down,
        since: now,
        problem: Some("not connected yet".to_owned()),
        hint: None,
        feed: None,
        feed_because: None,
        patterns: config.patterns.clone(),
        coverage: Coverage::default(),
        confirmed_at: None,
        lag_ms: None,
        dirty: 0,
        gaps: 0,
        missed_events: 0,
        last_gap_at: None,
        last_gap: None,
        own_commands_per_second: 0,
        other_commands_per_second: None,
        own_bytes_per_second: None,
        budget: Budget { commands_per_second: config.commands_per_second },
        missing_permissions: Vec::new(),
        not_locks: NotALock::default(),
        eviction: None,
        replicas: None,
        reports: config.reports.clone().map(|stream| ReportsRead { stream, ..ReportsRead::default() }),
        release_enabled: config.release_enabled,
        trace_limit: config.trace_limit,
        server_started_at: None,
        nodes: Vec::new(),
        as_of: now,
    }
}

/// Keeps what is known of how well a node is watched.
#[derive(Debug)]
pub(crate) struct Status {
    seen: watch::Sender<SourceStatus>,
    /// Told of every change.
    changed: Arc<Notify>,
    blind: AtomicBool,
    unreadable: Arc<Unreadable>,
}

/// Whether a node of a cluster can be read for the moment.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// There are keys that no node shows.
    keys: AtomicBool,
    /// The node takes the cluster to be down, and shows none.
    all: AtomicBool,
}

impl Unreadable {
    /// Whether there are keys that cannot be read.
    pub(super) fn any(&self) -> bool {
        self.keys.load(Ordering::Relaxed) || self.all.load(Ordering::Relaxed)
    }
}

impl Status {
    pub(super) fn new(
        config: &RedisConfig,
        address: &Address,
        changed: Arc<Notify>,
    ) -> (Status, watch::Receiver<SourceStatus>) {
        let (seen, receiver) = watch::channel(unknown(config, config.shown(address)));
        (Status { seen, changed, blind: AtomicBool::new(false), unreadable: Arc::default() }, receiver)
    }

    /// Changes the status.
    pub(crate) fn update(&self, change: impl FnOnce(&mut SourceStatus)) {
        self.seen.send_modify(|status| {
            change(status);
            status.as_of = clock::now();
        });
        self.changed.notify_one();
    }

    /// Goes into a state, if it is not in it.
    pub(crate) fn enter(&self, state: SourceState, trouble: Option<Trouble>) {
        self.update(|status| {
            if status.state != state {
                status.state = state;
                status.since = clock::now();
            }
            let (problem, hint) = trouble.map_or((None, None), |trouble| (Some(trouble.problem), trouble.hint));
            status.problem = problem;
            status.hint = hint;
        });
    }

    /// Changes may have been missed, until a whole scan has been done.
    pub(crate) fn gap(&self, at: Time, because: &str, missed: u64) {
        self.update(|status| {
            status.gaps += 1;
            status.missed_events += missed;
            status.last_gap_at = Some(at);
            status.last_gap = Some(because.to_owned());
            status.coverage.complete = false;
            status.confirmed_at = None;
            status.lag_ms = None;
            if status.state == SourceState::Live {
                status.state = SourceState::Scanning;
                status.since = at;
            }
        });
    }

    /// A whole scan that began at this moment has ended. Says whether everything is known now: it is not if something
    /// was missed since the scan began.
    pub(crate) fn completed(&self, began_at: Time) -> bool {
        let mut complete = false;
        self.update(|status| {
            complete = status.last_gap_at.is_none_or(|gap| gap < began_at);
            status.coverage.complete = complete;
        });
        complete
    }

    /// Every change before `at` is known, if everything else is.
    pub(crate) fn confirmed(&self, at: Time) {
        self.update(|status| {
            if status.coverage.complete {
                status.confirmed_at = Some(at);
            }
        });
    }

    /// Some keys cannot be read: what is shown of them is not known to be so.
    pub(crate) fn blinded(&self, trouble: Trouble) {
        self.blind.store(true, Ordering::Relaxed);
        self.enter(SourceState::Degraded, Some(trouble));
    }

    /// Whether some keys could not be read since the connection was made.
    pub(crate) fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed)
    }

    /// Whether it can be read for the moment.
    pub(super) fn unreadable(&self) -> Arc<Unreadable> {
        self.unreadable.clone()
    }

    /// Takes note of whether there are keys that no node of the cluster shows.
    pub(super) fn keys_unreadable(&self, unreadable: bool) {
        if self.unreadable.keys.swap(unreadable, Ordering::Relaxed) != unreadable {
            self.changed.notify_one();
        }
    }

    /// Takes note of whether the node shows no keys at all.
    pub(super) fn all_unreadable(&self, unreadable: bool) {
        if self.unreadable.all.swap(unreadable, Ordering::Relaxed) != unreadable {
            self.changed.notify_one();
        }
    }

    /// A new connection may read what the one before could not.
    pub(crate) fn sees_again(&self) {
        self.blind.store(false, Ordering::Relaxed);
    }

    /// A command was refused for lack of permission.
    pub(crate) fn missing(&self, permission: &str, costs: &str) {
        self.update(|status| {
            if status.missing_permissions.iter().any(|known| known.permission == permission) {
                return;
            }
            status.missing_permissions.push(MissingPermission {
                permission: permission.to_owned(),
                costs: costs.to_owned(),
                fix: format!("ACL SETUSER <user> {}", rule(permission)),
            });
        });
    }

    /// What the credential for releasing alone is not good for, if it is not.
    pub(super) fn release_credential(&self, costs: Option<String>) {
        self.update(|status| {
            status.missing_permissions.retain(|known| known.permission != RELEASE_URL);
            status.missing_permissions.extend(costs.map(|costs| MissingPermission {
                permission: RELEASE_URL.to_owned(),
                costs,
                fix: "see the user and the password in `release_url`, and the rules in docs/security.md".to_owned(),
            }));
        });
    }

    /// A key that matches a pattern is no lock.
    pub(crate) fn not_a_lock(&self, key: &[u8], because: String) {
        self.update(|status| {
            let id = LockId::of_key(key);
            let sample = &mut status.not_locks.sample;
            if let Some(known) = sample.iter_mut().find(|(known, _)| *known == id) {
                known.1 = because;
                return;
            }
            status.not_locks.count += 1;
            if sample.len() < NAMED_NOT_LOCKS {
                sample.push((id, because));
            }
        });
    }
}
