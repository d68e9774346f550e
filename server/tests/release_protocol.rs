//! The protocol of a release as a small model, and every order of its steps: tickets, two attempts with one ticket, the
//! comparisons, the audit, a holder that renews, lets go and comes back with the same token, another who takes the lock, and
//! a server that ends anywhere and starts anew. What must never happen is looked for in every state that can be reached.
//!
//! The model has one guard for each thing that the server does against a wrong release. Without any one of them the search
//! must find the harm that it is there against: a search that cannot fail shows nothing.

use std::collections::{HashMap, VecDeque};

/// Acquires that are told apart: the former holder's, the next one's, and one more of either.
const MOST_ACQUIRES: u8 = 4;
/// Renewals that are told apart.
const MOST_RENEWALS: u8 = 2;
/// Ends of the server.
const MOST_CRASHES: u8 = 1;
/// More states than the model has: a search that grows beyond this has a mistake.
const MOST_STATES: usize = 3_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Former,
    Next,
}

/// A hold as it stands in the store. The token is the owner's, who may use it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hold {
    owner: Owner,
    acquire: u8,
    /// Grows with every renewal and every acquire: the end of the lease.
    lease: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ticket {
    bound: Hold,
    run: u8,
    is_expired: bool,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Attempt {
    Idle,
    Accepted,
    Intended,
    /// Looked at again: what is sent compares the token and allows no later lease than this.
    Ordered(Hold),
    Sent,
    Over,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Written {
    intentions: u8,
    ends: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    store: Option<Hold>,
    acquires: u8,
    leases: u8,
    renewals: u8,
    ticket: Option<Ticket>,
    is_spent: bool,
    attempts: [Attempt; 2],
    audit: Written,
    is_up: bool,
    run: u8,
    crashes: u8,
    /// What the release took away, if it did: each with the intentions that were written by then.
    freed: Vec<(Hold, u8)>,
}

/// What the server does against a wrong release.
#[derive(Clone, Copy, Debug)]
struct Guards {
    spends: bool,
    voids_at_restart: bool,
    intends_first: bool,
    looks_again: bool,
    script_compares_token: bool,
    script_compares_lease: bool,
    closes_at_start: bool,
}

const ALL: Guards = Guards {
    spends: true,
    voids_at_restart: true,
    intends_first: true,
    looks_again: true,
    script_compares_token: true,
    script_compares_lease: true,
    closes_at_start: true,
};

fn begin() -> State {
    State {
        store: Some(Hold { owner: Owner::Former, acquire: 0, lease: 0 }),
        acquires: 1,
        leases: 1,
        renewals: 0,
        ticket: None,
        is_spent: false,
        attempts: [Attempt::Idle; 2],
        audit: Written::default(),
        is_up: true,
        run: 0,
        crashes: 0,
        freed: Vec::new(),
    }
}

/// Every state that one step leads to.
fn steps(state: &State, guards: Guards) -> Vec<State> {
    let mut found = Vec::new();
    let mut step = |change: &dyn Fn(&mut State)| {
        let mut next = state.clone();
        change(&mut next);
        found.push(next);
    };

    // The world goes on by itself.
    match state.store {
        Some(hold) => {
            step(&|next| next.store = None);
            if state.renewals < MOST_RENEWALS {
                step(&|next| {
                    next.store = Some(Hold { lease: state.leases, ..hold });
                    next.leases += 1;
                    next.renewals += 1;
                });
            }
        }
        None if state.acquires < MOST_ACQUIRES => {
            for owner in [Owner::Former, Owner::Next] {
                step(&|next| {
                    next.store = Some(Hold { owner, acquire: state.acquires, lease: state.leases });
                    next.acquires += 1;
                    next.leases += 1;
                });
            }
        }
        None => {}
    }

    if !state.is_up {
        step(&|next| {
            next.is_up = true;
            next.run += 1;
            if guards.closes_at_start {
                next.audit.ends = next.audit.intentions;
            }
        });
        return found;
    }
    if state.crashes < MOST_CRASHES {
        step(&|next| {
            next.is_up = false;
            next.crashes += 1;
            for attempt in &mut next.attempts {
                // What was not begun can still be begun with the same ticket, as far as the client is concerned.
                *attempt = if *attempt == Attempt::Idle { Attempt::Idle } else { Attempt::Over };
            }
            // It is kept in memory alone.
            next.is_spent = false;
        });
    }
    if let (None, Some(bound)) = (state.ticket, state.store) {
        step(&|next| next.ticket = Some(Ticket { bound, run: state.run, is_expired: false }));
    }
    let Some(ticket) = state.ticket else { return found };
    if !ticket.is_expired {
        step(&|next| next.ticket = Some(Ticket { is_expired: true, ..ticket }));
    }
    for place in 0..state.attempts.len() {
        let to = |next: &mut State, attempt| next.attempts[place] = attempt;
        match state.attempts[place] {
            Attempt::Idle => {
                let is_known = ticket.run == state.run || !guards.voids_at_restart;
                let is_unspent = !state.is_spent || !guards.spends;
                if !ticket.is_expired && is_known && is_unspent {
                    step(&|next| {
                        next.is_spent = true;
                        to(next, Attempt::Accepted);
                    });
                }
            }
            Attempt::Accepted => {
                step(&|next| {
                    if guards.intends_first {
                        next.audit.intentions += 1;
                    }
                    to(next, Attempt::Intended);
                });
            }
            Attempt::Intended => step(&|next| match (state.store, guards.looks_again) {
                (Some(hold), true) if hold.acquire == ticket.bound.acquire => to(next, Attempt::Ordered(hold)),
                (_, true) => {
                    next.audit.ends = next.audit.intentions;
                    to(next, Attempt::Over);
                }
                (hold, false) => to(next, Attempt::Ordered(hold.unwrap_or(ticket.bound))),
            }),
            Attempt::Ordered(order) => step(&|next| {
                if let Some(hold) = state.store {
                    let same_token = hold.owner == order.owner || !guards.script_compares_token;
                    let same_lease = hold.lease <= order.lease || !guards.script_compares_lease;
                    if same_token && same_lease {
                        next.store = None;
                        next.freed.push((hold, state.audit.intentions));
                    }
                }
                to(next, Attempt::Sent);
            }),
            Attempt::Sent => step(&|next| {
                if !guards.intends_first {
                    next.audit.intentions += 1;
                }
                next.audit.ends = next.audit.intentions;
                to(next, Attempt::Over);
            }),
            Attempt::Over => {}
        }
    }
    found
}

/// What is wrong in a state, if anything is.
fn wrong(state: &State) -> Option<&'static str> {
    let bound = state.ticket.map(|ticket| ticket.bound);
    if state.freed.iter().any(|(hold, _)| bound.map(|bound| bound.acquire) != Some(hold.acquire)) {
        return Some("another hold was freed than the one that was previewed");
    }
    if state.freed.iter().any(|(_, intentions)| *intentions == 0) {
        return Some("something was freed that was not written down before");
    }
    if state.ticket.is_some_and(|ticket| ticket.run != state.run)
        && state.attempts.iter().any(|attempt| !matches!(attempt, Attempt::Idle | Attempt::Over))
    {
        return Some("a ticket outlived the run of the server that gave it out");
    }
    if state.attempts.iter().filter(|attempt| **attempt != Attempt::Idle).count() > 1 && state.crashes == 0 {
        return Some("one ticket was good for two attempts");
    }
    let is_quiet = state.attempts.iter().all(|attempt| matches!(attempt, Attempt::Idle | Attempt::Over));
    if state.is_up && is_quiet && state.audit.ends < state.audit.intentions {
        return Some("an attempt stands in the audit without an end");
    }
    None
}

/// Goes through every state; the number of them, or the first wrong one with the way there.
fn search(guards: Guards) -> Result<usize, (&'static str, Vec<State>)> {
    let mut before: HashMap<State, Option<State>> = HashMap::from([(begin(), None)]);
    let mut waiting = VecDeque::from([begin()]);
    while let Some(state) = waiting.pop_front() {
        if let Some(harm) = wrong(&state) {
            let mut way = vec![state];
            while let Some(Some(earlier)) = way.last().and_then(|at| before.get(at)) {
                way.push(earlier.clone());
            }
            way.reverse();
            return Err((harm, way));
        }
        for next in steps(&state, guards) {
            if !before.contains_key(&next) {
                assert!(before.len() < MOST_STATES, "the model has no end");
                before.insert(next.clone(), Some(state.clone()));
                waiting.push_back(next);
            }
        }
    }
    Ok(before.len())
}

#[test]
fn in_no_order_of_the_steps_is_anything_else_freed_than_what_was_previewed_and_written_down() {
    let states = search(ALL).unwrap_or_else(|(harm, way)| panic!("{harm}: {way:#?}"));
    assert!(states > 10_000, "a search of {states} states has missed most of them");
}

#[test]
fn without_any_one_of_the_guards_the_search_finds_the_harm() {
    let other_hold = "another hold was freed than the one that was previewed";
    let cases = [
        (Guards { spends: false, ..ALL }, "one ticket was good for two attempts"),
        (Guards { voids_at_restart: false, ..ALL }, "a ticket outlived the run of the server that gave it out"),
        (Guards { intends_first: false, ..ALL }, "something was freed that was not written down before"),
        (Guards { looks_again: false, ..ALL }, other_hold),
        (Guards { script_compares_token: false, script_compares_lease: false, ..ALL }, other_hold),
        (Guards { script_compares_lease: false, ..ALL }, other_hold),
        (Guards { closes_at_start: false, ..ALL }, "an attempt stands in the audit without an end"),
    ];
    for (guards, harm) in cases {
        let found = search(guards).map_err(|(harm, _)| harm);
        assert_eq!(found, Err(harm), "{guards:?}");
    }
}
