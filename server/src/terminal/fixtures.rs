//! Locks and sources for the tests of words.

use lockkeeper_model::{
    Basis, Bounds, Certainty, DialectInfo, Event, Holder, Identity, Lease, LeaseKind, Lock, LockId, LockState, Mode,
    OnNode, Quorum, QuorumNode, Renewals, SourceState, Standing, Time, TransitionKind, Verdict, Waiters, WaitersBasis,
};

use super::answers::SourceCoverage;

/// A lock that was taken at 0 by a living holder, renewed for the last time at 60 s for 30 s.
pub(super) fn lock() -> Lock {
    let since = Bounds { not_before: Some(Time(0)), not_after: Some(Time(0)), basis: Basis::Observed };
    let lease = Lease { kind: LeaseKind::Ttl, expires_at: Some(Time(90_000)), ttl_ms: Some(30_000) };
    let id = LockId::of_key(b"lock:stock:4711");
    Lock {
        source: "orders".to_owned(),
        id: id.clone(),
        name: "stock:4711".to_owned(),
        keys: vec![id],
        mode: Mode::Exclusive,
        state: LockState::Held,
        dialect: DialectInfo {
            name: "redis-py".to_owned(),
            certainty: Certainty::Likely,
            because: "a UUID".to_owned(),
        },
        holders: vec![Holder {
            token: Some("0f8e41d2a2c911ef8b0a0242ac120003".to_owned()),
            token_b64: "MGY4ZQ==".to_owned(),
            mode: Mode::Exclusive,
            count: 1,
            identity: Identity { host: Some("worker-3".to_owned()), pid: Some(42), ..Identity::default() },
            held_since: since,
            lease,
            renewals: Renewals { count: 6, last_at: Some(Time(60_000)), period_ms: Some(10_000), missed: Some(0) },
            fencing_token: None,
            connection: None,
            verdict: Verdict::Alive,
            evidence: vec!["renewed 1.0 s ago, every 10.0 s".to_owned()],
            generation: "h1".to_owned(),
        }],
        permits: None,
        held_since: since,
        lease,
        generation: "g1".to_owned(),
        waiters: Waiters {
            count: Some(14),
            basis: WaitersBasis::Inferred,
            because: "subscribers of its channel".to_owned(),
            ordered: false,
            longest_wait_ms: Some(40_000),
            list: Vec::new(),
        },
        contention: None,
        quorum: None,
        flags: Vec::new(),
        flag_notes: Vec::new(),
        notes: Vec::new(),
        no_release: None,
        stored: None,
        as_of: Time(60_000),
    }
}

/// How that lock would stand on five masters: on three, on one not, and of one nobody knows.
pub(super) fn quorum() -> Quorum {
    let holds = QuorumNode {
        node: "127.0.0.1:7001".to_owned(),
        state: OnNode::Holds,
        token: Some("0f8e41d2a2c911ef8b0a0242ac120003".to_owned()),
        token_b64: Some("MGY4ZQ==".to_owned()),
        expires_at: Some(Time(90_000)),
        ttl_ms: Some(30_000),
        round_trip_ms: Some(2),
        read_at: Some(Time(60_000)),
        restarted_within_lease: false,
    };
    let without = QuorumNode { token: None, token_b64: None, expires_at: None, ttl_ms: None, ..holds.clone() };
    let absent = QuorumNode { state: OnNode::Absent, round_trip_ms: None, read_at: None, ..without.clone() };
    let unreachable = QuorumNode { state: OnNode::Unreachable, ..without };
    Quorum {
        standing: Standing::Owned,
        needed: 3,
        votes: 3,
        valid_for_ms: Some(29_000),
        valid_until: Some(Time(89_000)),
        says: "owned: its token stands on 3 of 5 masters, 3 are needed, guaranteed for another 29 s \
               (1 cannot be reached)"
            .to_owned(),
        nodes: vec![holds.clone(), absent, unreachable, holds.clone(), holds],
    }
}

/// Something that happened to that lock.
pub(super) fn event(transition: TransitionKind, at: i64) -> Event {
    Event {
        id: at.to_string(),
        at: Time(at),
        transition,
        source: "orders".to_owned(),
        lock: Some(LockId::of_key(b"lock:stock:4711")),
        holder: Some("0f8e41d2a2c911ef8b0a0242ac120003".to_owned()),
        holder_b64: Some("MGY4ZQ==".to_owned()),
        previous_holder: None,
        cause: None,
        evidence: None,
        held_ms: None,
        count: 1,
        first_at: None,
    }
}

/// A source that is live and was seen whole.
pub(super) fn source(name: &str) -> SourceCoverage {
    SourceCoverage {
        source: name.to_owned(),
        state: SourceState::Live,
        complete: true,
        scanned_keys: 100,
        total_keys: Some(100),
        problem: None,
    }
}
