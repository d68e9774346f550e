//! Rows for tests.

#[cfg(test)]
use lockkeeper_model::wire::Row;
use lockkeeper_model::{
    Basis, Bounds, Certainty, DialectInfo, Event, Holder, Identity, Lease, LeaseKind, Lock, LockId, LockState, Mode,
    OnNode, Quorum, QuorumNode, Renewals, Standing, Time, TransitionKind, Verdict, Waiter, Waiters, WaitersBasis,
};

/// A lock that was taken at 0 for 30 s and is renewed by nobody.
#[cfg(test)]
pub(crate) fn row(id: u64) -> Row {
    Row {
        row: id,
        source: "orders".to_owned(),
        id: LockId::of_key(format!("lock:{id}").as_bytes()),
        name: id.to_string(),
        dialect: "redis-py".to_owned(),
        certainty: Certainty::Likely,
        mode: Mode::Exclusive,
        state: LockState::Held,
        holders: 1,
        permits: None,
        token: Some("0f8e41d2a2c911ef8b0a0242ac120003".to_owned()),
        token_b64: None,
        who: None,
        count: 1,
        since_not_before: Some(0),
        since_not_after: 0,
        since_basis: Basis::Observed,
        expires_at: Some(30_000),
        lease_ms: Some(30_000),
        renewals: 0,
        renewed_at: None,
        period_ms: None,
        connection: None,
        waiters: None,
        waiters_basis: WaitersBasis::Unknown,
        waiting_since: None,
        blocked_ms: None,
        blocked_by_minute: Vec::new(),
        flags: Vec::new(),
        generation: "g1".to_owned(),
        as_of: 0,
    }
}

/// A lock that was taken at 0 by a living holder, renewed for the last time at 60 s for 30 s.
pub(crate) fn lock() -> Lock {
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
            evidence: Vec::new(),
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
pub(crate) fn quorum() -> Quorum {
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

/// That lock when nobody has it and a waiter is at the head of its queue.
pub(crate) fn stuck() -> Lock {
    let mut lock = lock();
    let head = Waiter {
        token: Some("b:7".to_owned()),
        token_b64: Some("Yjo3".to_owned()),
        identity: Identity::default(),
        expires_at: Some(Time(90_000)),
        abandoned: Some(true),
        reported: None,
    };
    lock.holders.clear();
    lock.state = LockState::WaitingOnly;
    lock.waiters.ordered = true;
    lock.waiters.list = vec![head];
    lock
}

/// Something that happened to that lock.
pub(crate) fn event(transition: TransitionKind, at: i64) -> Event {
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
