//! A trace of a source with several nodes: they are sampled side by side, and what was seen of each is put together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use futures_util::future::join_all;
use lockkeeper_model::{MissingPermission, TraceEnd, TraceReport, TracedLock, TracedNode, words};
use tokio::sync::oneshot;

use super::{TraceRefusal, Traced};

/// Locks in one report: more than a person reads in an incident, and each is read twice in the store.
pub(super) const MAX_LOCKS: usize = 200;

/// What the nodes of a source are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nodes {
    /// Each has some of the locks.
    Parts,
    /// Each has all of them, and who wants one asks everywhere.
    Copies,
}

/// Waits for what every node saw; `None`: whoever asked has given up, and with the receivers the nodes learn it.
pub(super) async fn gather(
    source: &str,
    asked: Vec<(String, oneshot::Receiver<Traced>)>,
    nodes: Nodes,
    done: &mut oneshot::Sender<Traced>,
) -> Option<Traced> {
    let stopped = || TraceRefusal::Failed { because: "it stopped before it answered".to_owned() };
    let answers = asked.into_iter().map(async |(node, told)| (node, told.await.unwrap_or_else(|_| Err(stopped()))));
    tokio::select! {
        answers = join_all(answers) => Some(together(source, answers, nodes)),
        () = done.closed() => None,
    }
}

/// Puts together what was seen on each node.
fn together(source: &str, mut answers: Vec<(String, Traced)>, nodes: Nodes) -> Traced {
    if answers.len() == 1
        && let Some((_, only)) = answers.pop()
    {
        return only;
    }
    let reports: Vec<(&str, &TraceReport)> =
        answers.iter().filter_map(|(node, traced)| Some((node.as_str(), &**traced.as_ref().ok()?))).collect();
    let Some((_, first)) = reports.first() else {
        let refusals = answers.into_iter().filter_map(|(_, traced)| traced.err());
        let because = "no node of it is known".to_owned();
        return Err(refusals.into_iter().next().unwrap_or(TraceRefusal::Failed { because }));
    };
    let each = || reports.iter().map(|(_, report)| *report);
    let sum = |of: fn(&TraceReport) -> u64| each().map(of).fold(0, u64::saturating_add);
    let (mut locks, mut locks_not_counted) = (locks(&reports, nodes), sum(|report| report.locks_not_counted));
    locks.sort_by(|a, b| b.attempts.cmp(&a.attempts).then_with(|| a.id.as_str().cmp(b.id.as_str())));
    locks_not_counted += locks.len().saturating_sub(MAX_LOCKS) as u64;
    locks.truncate(MAX_LOCKS);
    let (ended, ended_because) = end(&answers, first);
    let (commands, bytes) = (sum(|report| report.commands), sum(|report| report.bytes));
    let largest_delay_ms = each().map(|report| report.largest_delay_ms).max().unwrap_or_default();
    let report = TraceReport {
        source: source.to_owned(),
        lock: first.lock.clone(),
        from: each().map(|report| report.from).min().unwrap_or(first.from),
        to: each().map(|report| report.to).max().unwrap_or(first.to),
        ended,
        ended_because,
        commands,
        bytes,
        unreadable: sum(|report| report.unreadable),
        cost: cost(commands, bytes, largest_delay_ms),
        largest_delay_ms,
        locks,
        locks_not_counted,
        already_blocked: each().map(|report| report.already_blocked).sum(),
        missing: missing(each()),
        nodes: answers.iter().map(|(node, traced)| of_node(node, traced)).collect(),
    };
    Ok(Arc::new(report))
}

/// What a sample cost, in a sentence.
pub(super) fn cost(commands: u64, bytes: u64, largest_delay_ms: i64) -> String {
    format!(
        "{} commands were sent once more, {}; the longest answer to others took {}",
        words::count(commands),
        words::bytes(bytes),
        words::duration(largest_delay_ms)
    )
}

/// What was seen of each lock, with where.
fn locks(reports: &[(&str, &TraceReport)], nodes: Nodes) -> Vec<TracedLock> {
    let seen = reports.iter().flat_map(|(node, report)| {
        report.locks.iter().map(|lock| TracedLock { node: Some((*node).to_owned()), ..lock.clone() })
    });
    if nodes == Nodes::Parts {
        return seen.collect();
    }
    // Each client is another address on each node, so adding up would count everybody several times: the node that saw
    // the most speaks for all.
    let mut by_id: HashMap<String, TracedLock> = HashMap::new();
    for lock in seen {
        match by_id.entry(lock.id.as_str().to_owned()) {
            Entry::Vacant(place) => {
                place.insert(lock);
            }
            Entry::Occupied(mut place) => {
                let known = place.get_mut();
                let weight = |lock: &TracedLock| (lock.attempts, lock.waiting, lock.deeds.len());
                let (mut most, other) =
                    if weight(&lock) > weight(known) { (lock, known.clone()) } else { (known.clone(), lock) };
                // What it did not see done was done all the same.
                let is_new = |deed: &lockkeeper_model::TracedDeed| {
                    most.deeds.iter().all(|seen| (seen.deed, &seen.token_b64) != (deed.deed, &deed.token_b64))
                };
                let further: Vec<_> = other.deeds.into_iter().filter(is_new).collect();
                most.deeds.extend(further);
                *known = most;
            }
        }
    }
    by_id.into_values().collect()
}

/// Why it ended: that of the first node on which it did so before its time.
fn end(answers: &[(String, Traced)], first: &TraceReport) -> (TraceEnd, String) {
    let early: Vec<(&str, TraceEnd, String)> = answers
        .iter()
        .filter_map(|(node, traced)| match traced {
            Ok(report) if report.ended == TraceEnd::Complete => None,
            Ok(report) => Some((node.as_str(), report.ended, report.ended_because.clone())),
            Err(refusal) => Some((node.as_str(), TraceEnd::Partial, refusal.to_string())),
        })
        .collect();
    match early.first() {
        None => (TraceEnd::Complete, first.ended_because.clone()),
        Some((_, ended, _)) => {
            let said: Vec<String> = early.iter().map(|(node, _, because)| format!("{node}: {because}")).collect();
            (*ended, said.join("; "))
        }
    }
}

fn of_node(node: &str, traced: &Traced) -> TracedNode {
    let node = node.to_owned();
    match traced {
        Ok(report) => TracedNode {
            node,
            ended: Some(report.ended),
            because: report.ended_because.clone(),
            commands: report.commands,
            bytes: report.bytes,
            largest_delay_ms: Some(report.largest_delay_ms),
        },
        Err(refusal) => TracedNode {
            node,
            ended: None,
            because: refusal.to_string(),
            commands: 0,
            bytes: 0,
            largest_delay_ms: None,
        },
    }
}

/// Each permission once: the nodes have the same credential.
fn missing<'a>(reports: impl Iterator<Item = &'a TraceReport>) -> Vec<MissingPermission> {
    let mut missing: Vec<MissingPermission> = Vec::new();
    for one in reports.flat_map(|report| &report.missing) {
        if missing.iter().all(|known| known.permission != one.permission) {
            missing.push(one.clone());
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Deed, LockId, Time, TracedDeed};

    use super::*;

    fn lock(key: &str, attempts: u64, deeds: &[(Deed, &str)]) -> TracedLock {
        let deed = |&(deed, token): &(Deed, &str)| TracedDeed {
            deed,
            address: "10.0.0.1:1".to_owned(),
            client: None,
            token: None,
            token_b64: Some(token.to_owned()),
            count: 1,
            last_at: Time(0),
            says: String::new(),
        };
        TracedLock {
            id: LockId::of_key(key.as_bytes()),
            node: None,
            attempts,
            taken: 0,
            refused: attempts,
            unclear: 0,
            attempts_per_second: 0.0,
            refusals_per_second: 0.0,
            waiting: 1,
            trying: Vec::new(),
            clients_not_counted: 0,
            deeds: deeds.iter().map(deed).collect(),
            attempts_not_counted: 0,
            says: String::new(),
        }
    }

    fn saw(node: &str, from: i64, ended: TraceEnd, locks: Vec<TracedLock>) -> (String, Traced) {
        let report = TraceReport {
            source: node.to_owned(),
            lock: None,
            from: Time(from),
            to: Time(from + 3_000),
            ended,
            ended_because: format!("{ended:?}"),
            commands: 100,
            bytes: 10_000,
            unreadable: 0,
            cost: String::new(),
            largest_delay_ms: from,
            locks,
            locks_not_counted: 1,
            already_blocked: Some(2),
            missing: vec![MissingPermission { permission: "CLIENT LIST".to_owned(), ..MissingPermission::default() }],
            nodes: Vec::new(),
        };
        (node.to_owned(), Ok(Arc::new(report)))
    }

    #[test]
    fn what_was_seen_on_parts_is_all_told_with_where_and_what_it_cost_together() {
        let answers = vec![
            saw("a:1", 10, TraceEnd::Complete, vec![lock("x", 3, &[])]),
            saw("b:1", 5, TraceEnd::Complete, vec![lock("y", 7, &[])]),
        ];
        let report = together("orders", answers, Nodes::Parts).unwrap();
        let seen: Vec<_> = report.locks.iter().map(|lock| (lock.id.as_str(), lock.node.as_deref().unwrap())).collect();
        assert_eq!(seen, [("y", "b:1"), ("x", "a:1")]);
        assert_eq!(
            (report.source.as_str(), report.ended, report.from, report.to),
            ("orders", TraceEnd::Complete, Time(5), Time(3_010))
        );
        assert_eq!((report.commands, report.bytes, report.largest_delay_ms), (200, 20_000, 10));
        assert_eq!(report.cost, "200 commands were sent once more, 19 KiB; the longest answer to others took 10 ms");
        assert_eq!((report.already_blocked, report.locks_not_counted, report.missing.len()), (Some(4), 2, 1));
        assert_eq!(report.nodes.len(), 2);
    }

    #[test]
    fn of_copies_the_one_that_saw_the_most_speaks_for_all() {
        let answers = vec![
            saw("a:1", 10, TraceEnd::Complete, vec![lock("x", 3, &[(Deed::Took, "t1"), (Deed::Renewed, "t1")])]),
            saw("b:1", 10, TraceEnd::Complete, vec![lock("x", 4, &[(Deed::Renewed, "t1")])]),
            saw("c:1", 10, TraceEnd::Complete, vec![lock("x", 2, &[(Deed::Took, "t1")])]),
        ];
        let report = together("quorum", answers, Nodes::Copies).unwrap();
        let [lock] = report.locks.as_slice() else { panic!("{report:#?}") };
        assert_eq!((lock.node.as_deref(), lock.attempts), (Some("b:1"), 4));
        let deeds: Vec<Deed> = lock.deeds.iter().map(|deed| deed.deed).collect();
        assert_eq!(deeds, [Deed::Renewed, Deed::Took]);
    }

    #[test]
    fn a_node_that_refuses_is_told_of_and_only_when_all_do_there_is_no_trace() {
        let busy = || Err(TraceRefusal::TooBusy { commands_per_second: 31_000, limit: 20_000 });
        let answers = vec![saw("a:1", 10, TraceEnd::Complete, Vec::new()), ("b:1".to_owned(), busy())];
        let report = together("orders", answers, Nodes::Parts).unwrap();
        assert_eq!(report.ended, TraceEnd::Partial);
        assert!(report.ended_because.starts_with("b:1: the store does 31000 commands"), "{}", report.ended_because);
        assert_eq!((report.nodes[1].ended, report.nodes[1].largest_delay_ms), (None, None));
        let late =
            vec![saw("a:1", 10, TraceEnd::Complete, Vec::new()), saw("b:1", 10, TraceEnd::FellBehind, Vec::new())];
        assert_eq!(together("orders", late, Nodes::Parts).unwrap().ended, TraceEnd::FellBehind);
        let all = vec![("a:1".to_owned(), busy()), ("b:1".to_owned(), busy())];
        assert_eq!(together("orders", all, Nodes::Parts), busy());
    }
}
