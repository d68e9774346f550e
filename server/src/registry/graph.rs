//! Who waits for whom: parties that have or want locks, and the locks between them.
//!
//! Two places are taken to be of one party only where something says so, and every such link says what that is. A thread
//! can wait for one thing only, so that a circle of threads is a deadlock; processes have many threads, so that a circle
//! of processes may be one.

use std::collections::{HashMap, HashSet, VecDeque};

use lockkeeper_model::{
    ContendedLock, Cycle, Edge, EdgeKind, HeadBlocker, Identity, LinkBasis, LockId, Mode, Party, WaitGraph, Waiter,
    WaitersBasis, words,
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::show::{name, who};
use super::{Registry, Slot};
use crate::access::Reach;
use crate::source::SourceId;

/// Locks in one graph, those with most blocked time first: more than a person looks at, few enough to be followed
/// between two frames.
const MAX_LOCKS: usize = 500;

/// Parties in one graph.
const MAX_PARTIES: usize = 1_000;

/// Cycles in one graph, the first found.
const MAX_CYCLES: usize = 50;

/// A lock that somebody waits for.
#[derive(Clone, Debug)]
pub struct Contended {
    /// As it is shown, without its name in the graph and its nameless waiters.
    pub lock: ContendedLock,
    /// Who has it.
    pub holders: Vec<Place>,
    /// Those of its waiters who can be told apart.
    pub waiters: Vec<Place>,
}

/// One place at which somebody stands: as a holder or as a waiter of one lock.
#[derive(Clone, Debug)]
pub struct Place {
    /// Who that is, as far as known.
    pub identity: Identity,
    /// What names it in the store.
    pub token: Option<String>,
    /// How it is known to stand there.
    pub basis: WaitersBasis,
}

/// What makes two places those of one party.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Client(String, String),
    Thread(String, u32, String),
    Process(String, u32),
}

impl Key {
    /// The most particular thing that is known; places of which not the same is known are never linked.
    pub(super) fn of(identity: &Identity) -> Option<Key> {
        match (&identity.instance, &identity.thread, &identity.host, identity.pid) {
            // The thread is counted by the instance here, not by the process.
            (Some(instance), Some(thread), ..) => Some(Key::Client(instance.clone(), thread.clone())),
            (None, Some(thread), Some(host), Some(pid)) => Some(Key::Thread(host.clone(), pid, thread.clone())),
            (None, None, Some(host), Some(pid)) => Some(Key::Process(host.clone(), pid)),
            _ => None,
        }
    }

    /// A text that names it from one answer to the next.
    pub(super) fn id(&self) -> String {
        let text = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        match self {
            Key::Client(instance, thread) => format!("client:{}:{}", text(instance), text(thread)),
            Key::Thread(host, pid, thread) => format!("thread:{}:{pid}:{}", text(host), text(thread)),
            Key::Process(host, pid) => format!("process:{}:{pid}", text(host)),
        }
    }

    /// Reads what [`Key::id`] made.
    pub(super) fn parse(id: &str) -> Option<Key> {
        let text = |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        match id.split(':').collect::<Vec<_>>()[..] {
            ["client", instance, thread] => Some(Key::Client(text(instance)?, text(thread)?)),
            ["thread", host, pid, thread] => Some(Key::Thread(text(host)?, pid.parse().ok()?, text(thread)?)),
            ["process", host, pid] => Some(Key::Process(text(host)?, pid.parse().ok()?)),
            _ => None,
        }
    }

    /// Why places with this in common are those of one party.
    pub(super) fn basis(&self) -> LinkBasis {
        match self {
            Key::Client(..) => LinkBasis::Token,
            Key::Thread(..) => LinkBasis::Thread,
            Key::Process(..) => LinkBasis::Process,
        }
    }
}

/// A party while the graph is built.
struct Node {
    identity: Identity,
    name: String,
    link: Option<LinkBasis>,
    places: usize,
    /// Positions of locks.
    holds: Vec<usize>,
    waits: Vec<usize>,
}

/// Parties and locks by their positions.
#[derive(Default)]
struct Builder {
    parties: Vec<Node>,
    by_key: HashMap<Key, usize>,
    left_out: u64,
}

impl Builder {
    /// The party that stands at a place; `None` when there is no room for another.
    fn party(&mut self, place: Place, nameless: impl FnOnce() -> String) -> Option<usize> {
        let key = Key::of(&place.identity);
        if let Some(&known) = key.as_ref().and_then(|key| self.by_key.get(key)) {
            self.parties[known].places += 1;
            return Some(known);
        }
        if self.parties.len() >= MAX_PARTIES {
            self.left_out += 1;
            return None;
        }
        let name = who(&place.identity).or_else(|| place.token.as_deref().map(words::short_token));
        self.parties.push(Node {
            name: name.map_or_else(nameless, |name| words::shown(&name)),
            link: key.as_ref().map(Key::basis),
            identity: place.identity,
            places: 1,
            holds: Vec::new(),
            waits: Vec::new(),
        });
        let new = self.parties.len() - 1;
        if let Some(key) = key {
            self.by_key.insert(key, new);
        }
        Some(new)
    }
}

/// The graph of these locks, the first of them where there are too many.
#[must_use]
pub fn build(contended: Vec<Contended>) -> WaitGraph {
    let mut graph = WaitGraph { more_locks: contended.len().saturating_sub(MAX_LOCKS) as u64, ..WaitGraph::default() };
    let mut builder = Builder::default();
    let mut holders: Vec<Vec<usize>> = Vec::new();
    for (at, Contended { mut lock, holders: having, waiters: wanting }) in
        contended.into_iter().take(MAX_LOCKS).enumerate()
    {
        let named = u32::try_from(wanting.len()).unwrap_or(u32::MAX);
        lock.node = format!("lock-{at}");
        lock.waiters = lock.waiters.max(named);
        lock.nameless = lock.waiters - named;
        let mut edge = |party: usize, kind, basis| {
            let (party, lock) = (format!("party-{party}"), lock.node.clone());
            let (from, to) = if kind == EdgeKind::Waits { (party, lock) } else { (lock, party) };
            graph.edges.push(Edge { from, to, kind, basis });
        };
        let mut of_lock = Vec::new();
        for place in having {
            let basis = place.basis;
            let Some(party) = builder.party(place, || format!("a holder of {}", words::shown(&lock.name))) else {
                continue;
            };
            if !of_lock.contains(&party) {
                of_lock.push(party);
                builder.parties[party].holds.push(at);
                edge(party, EdgeKind::HeldBy, basis);
            }
        }
        for place in wanting {
            let basis = place.basis;
            let Some(party) = builder.party(place, || format!("a waiter for {}", words::shown(&lock.name))) else {
                continue;
            };
            if builder.parties[party].waits.last() != Some(&at) {
                builder.parties[party].waits.push(at);
                edge(party, EdgeKind::Waits, basis);
            }
        }
        holders.push(of_lock);
        graph.locks.push(lock);
    }
    graph.more_parties = builder.left_out;
    let parties = builder.parties;
    let blocks = blockers(&graph.locks, &holders, &parties);
    for cycle in cycles(&blocks) {
        if graph.cycles.len() == MAX_CYCLES {
            graph.more_cycles += 1;
        } else {
            graph.cycles.push(told(&cycle, &graph.locks, &parties));
        }
    }
    graph.head_blockers = head_blockers(&graph.locks, &parties);
    graph.parties = parties
        .into_iter()
        .enumerate()
        .map(|(at, node)| Party {
            id: format!("party-{at}"),
            name: node.name,
            identity: node.identity,
            linked_by: node.link.filter(|_| node.places > 1).into_iter().collect(),
        })
        .collect();
    graph
}

/// For each party those that it cannot go on without, each with the lock between them.
fn blockers(locks: &[ContendedLock], holders: &[Vec<usize>], parties: &[Node]) -> Vec<Vec<(usize, usize)>> {
    let of = |at: usize, party: &Node| -> Vec<(usize, usize)> {
        let waits = party.waits.iter().filter(|&&lock| {
            // Whichever of the holders of a semaphore lets go first lets the next in.
            locks[lock].mode != Mode::Semaphore || holders[lock].len() == 1
        });
        waits
            .flat_map(|&lock| holders[lock].iter().map(move |&holder| (lock, holder)))
            // One thread of a process waits for another of it, as they do.
            .filter(|&(_, holder)| holder != at || party.link != Some(LinkBasis::Process))
            .collect()
    };
    parties.iter().enumerate().map(|(at, party)| of(at, party)).collect()
}

/// Circles in which parties wait for each other, as pairs of a party and the lock that it waits for: for every party that
/// is in any circle, a shortest one.
fn cycles(blocks: &[Vec<(usize, usize)>]) -> Vec<Vec<(usize, usize)>> {
    let mut found: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut covered = vec![false; blocks.len()];
    let candidates = in_doubt(blocks);
    for start in 0..blocks.len() {
        if !candidates[start] || covered[start] {
            continue;
        }
        // Where each party was reached from, and by which lock.
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; blocks.len()];
        let mut next = VecDeque::from([start]);
        while reached[start].is_none()
            && let Some(party) = next.pop_front()
        {
            for &(lock, holder) in blocks[party].iter().filter(|(_, holder)| candidates[*holder]) {
                if reached[holder].is_none() {
                    reached[holder] = Some((party, lock));
                    next.push_back(holder);
                }
            }
        }
        let mut cycle = Vec::new();
        let mut at = start;
        while let Some((from, lock)) = reached[at].filter(|_| reached[start].is_some()) {
            cycle.push((from, lock));
            covered[from] = true;
            at = from;
            if at == start {
                break;
            }
        }
        if !cycle.is_empty() {
            cycle.reverse();
            found.push(cycle);
        }
    }
    found
}

/// Parties that may be in a circle: what is left when those that wait for nobody are taken away, again and again.
fn in_doubt(blocks: &[Vec<(usize, usize)>]) -> Vec<bool> {
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); blocks.len()];
    let mut waits_for: Vec<usize> = blocks.iter().map(Vec::len).collect();
    for (party, blockers) in blocks.iter().enumerate() {
        for &(_, blocker) in blockers {
            behind[blocker].push(party);
        }
    }
    let mut left = vec![true; blocks.len()];
    let mut free: Vec<usize> = (0..blocks.len()).filter(|&party| waits_for[party] == 0).collect();
    while let Some(party) = free.pop() {
        left[party] = false;
        for &waiting in &behind[party] {
            waits_for[waiting] -= 1;
            if waits_for[waiting] == 0 {
                free.push(waiting);
            }
        }
    }
    left
}

fn told(cycle: &[(usize, usize)], locks: &[ContendedLock], parties: &[Node]) -> Cycle {
    let name = |party: usize| parties[party].name.as_str();
    let lock = |lock: usize| words::shown(&locks[lock].name);
    let linked_by = cycle.iter().filter_map(|&(party, _)| parties[party].link).max();
    let mut says = match cycle {
        [(party, wanted)] => format!("{} waits for {}, which it holds itself", name(*party), lock(*wanted)),
        _ => {
            let holder = |i: usize| name(cycle[(i + 1) % cycle.len()].0);
            let parts: Vec<String> =
                (0..cycle.len()).map(|i| format!("waits for {} held by {}", lock(cycle[i].1), holder(i))).collect();
            format!("{} {}", name(cycle[0].0), parts.join(", who "))
        }
    };
    if linked_by == Some(LinkBasis::Process) {
        says.push_str("; of some only the process is known, so that another thread of it may let go");
    }
    let nodes = cycle.iter().flat_map(|(party, lock)| [format!("party-{party}"), format!("lock-{lock}")]).collect();
    Cycle { nodes, says, linked_by }
}

/// Those who hold what others wait for and wait for nothing themselves, most behind first.
fn head_blockers(locks: &[ContendedLock], parties: &[Node]) -> Vec<HeadBlocker> {
    let mut waiting_for: Vec<Vec<usize>> = vec![Vec::new(); locks.len()];
    for (at, party) in parties.iter().enumerate() {
        for &lock in &party.waits {
            waiting_for[lock].push(at);
        }
    }
    let heads = parties.iter().enumerate().filter(|(_, party)| party.waits.is_empty() && !party.holds.is_empty());
    let mut heads: Vec<(u64, usize)> = heads
        .map(|(at, party)| {
            let mut seen: HashSet<usize> = party.holds.iter().copied().collect();
            let mut next: Vec<usize> = party.holds.clone();
            let mut behind = 0;
            while let Some(lock) = next.pop() {
                behind += u64::from(locks[lock].waiters);
                let held = waiting_for[lock].iter().flat_map(|&waiting| &parties[waiting].holds);
                next.extend(held.copied().filter(|lock| seen.insert(*lock)));
            }
            (behind, at)
        })
        .collect();
    heads.sort_by_key(|&(behind, at)| (std::cmp::Reverse(behind), at));
    heads.into_iter().map(|(behind, at)| HeadBlocker { party: format!("party-{at}"), behind }).collect()
}

impl Registry {
    /// Who waits for whom, in one source or in all, as if there were no other locks than those of the reach.
    #[must_use]
    pub fn wait_graph(&self, source: Option<SourceId>, reach: &Reach) -> WaitGraph {
        let known = self.sources.iter().enumerate();
        let known = known.filter(|(at, _)| source.is_none_or(|source| usize::from(source.0) == *at));
        let mut slots: Vec<(u64, u32, Slot)> = known
            .flat_map(|(at, known)| known.contended.iter().map(move |&slot| (at, slot)))
            .filter_map(|(at, slot)| {
                let record = self.record(slot)?;
                let is_waited_for = !record.is_ended()
                    && record.waiting() > 0
                    && usize::from(record.source.0) == at
                    && reach.has(self.source_name(record.source), &record.key);
                let blocked = record.contention().map_or(0, super::contention::Contention::blocked_ms);
                is_waited_for.then_some((blocked, record.waiting(), slot))
            })
            .collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        let more = slots.len().saturating_sub(MAX_LOCKS) as u64;
        slots.truncate(MAX_LOCKS);
        let contended = slots.into_iter().filter_map(|(_, _, slot)| self.contended(slot)).collect();
        WaitGraph { more_locks: more, ..build(contended) }
    }

    fn contended(&self, slot: Slot) -> Option<Contended> {
        let record = self.record(slot)?;
        let waiters = self.waiters(record);
        let lock = ContendedLock {
            node: String::new(),
            source: self.source_name(record.source).to_owned(),
            id: LockId::of_key(&record.key),
            name: name(record),
            mode: record.mode,
            waiters: waiters.count.unwrap_or(0),
            basis: waiters.basis,
            nameless: 0,
        };
        let holders = record
            .holds
            .iter()
            .map(|hold| Place {
                identity: self.identity(record, hold).0,
                token: Some(String::from_utf8_lossy(&hold.token).into_owned()),
                basis: WaitersBasis::Exact,
            })
            .collect();
        let is_queued = record.queue().map_or(0, |queue| queue.waiters.len());
        let wanting = waiters.list.into_iter().enumerate().map(|(at, waiter)| {
            let Waiter { token, identity, reported, .. } = waiter;
            let basis = match reported {
                _ if at < is_queued => WaitersBasis::Exact,
                Some(_) => WaitersBasis::Reported,
                None => WaitersBasis::Sampled,
            };
            Place { identity, token, basis }
        });
        Some(Contended { lock, holders, waiters: wanting.collect() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn thread(n: usize) -> Place {
        let identity = Identity {
            host: Some("web-1".to_owned()),
            pid: Some(7),
            thread: Some(format!("t{n}")),
            ..Identity::default()
        };
        Place { identity, token: None, basis: WaitersBasis::Reported }
    }

    fn process(pid: u32) -> Place {
        let identity = Identity { host: Some("web-1".to_owned()), pid: Some(pid), ..Identity::default() };
        Place { identity, token: None, basis: WaitersBasis::Reported }
    }

    fn lock(name: &str, holders: Vec<Place>, waiters: Vec<Place>) -> Contended {
        let lock = ContendedLock {
            node: String::new(),
            source: "s".to_owned(),
            id: LockId::of_key(name.as_bytes()),
            name: name.to_owned(),
            mode: Mode::Exclusive,
            waiters: 0,
            basis: WaitersBasis::Reported,
            nameless: 0,
        };
        Contended { lock, holders, waiters }
    }

    #[test]
    fn two_that_wait_for_each_other_are_a_cycle_and_a_third_is_not_in_it() {
        let x = lock("x", vec![thread(1)], vec![thread(2), thread(3)]);
        let y = lock("y", vec![thread(2)], vec![thread(1)]);
        let graph = build(vec![x, y]);
        let [cycle] = graph.cycles.as_slice() else { panic!("{graph:#?}") };
        assert_eq!(
            cycle.says,
            "web-1, pid 7, thread t1 waits for y held by web-1, pid 7, thread t2, who waits for x held by web-1, pid 7, \
             thread t1"
        );
        assert_eq!(cycle.linked_by, Some(LinkBasis::Thread));
        assert!(graph.head_blockers.is_empty(), "{graph:#?}");
    }

    #[test]
    fn the_head_has_everybody_behind_it_who_waits_for_one_of_those_it_holds_up() {
        let mut x = lock("x", vec![thread(1)], vec![thread(2)]);
        x.lock.waiters = 5;
        let y = lock("y", vec![thread(2)], vec![thread(3), thread(4)]);
        let z = lock("z", vec![thread(9)], vec![thread(8)]);
        let graph = build(vec![z, y, x]);
        let heads: Vec<(&str, u64)> = graph
            .head_blockers
            .iter()
            .map(|head| {
                let party = graph.parties.iter().find(|party| party.id == head.party).unwrap();
                (party.identity.thread.as_deref().unwrap(), head.behind)
            })
            .collect();
        assert_eq!(heads, [("t1", 7), ("t9", 1)]);
        assert_eq!((graph.locks[2].waiters, graph.locks[2].nameless), (5, 4));
    }

    #[test]
    fn nothing_is_linked_of_which_not_the_same_is_known() {
        let nobody = || Place { identity: Identity::NOBODY, token: Some("1".to_owned()), basis: WaitersBasis::Exact };
        let x = lock("x", vec![nobody()], vec![nobody(), process(7)]);
        let y = lock("y", vec![thread(1)], vec![nobody()]);
        let graph = build(vec![x, y]);
        assert_eq!(graph.parties.len(), 5);
        assert!(graph.cycles.is_empty() && graph.parties.iter().all(|party| party.linked_by.is_empty()));
    }

    #[test]
    fn threads_of_one_process_that_wait_for_each_other_are_no_cycle_and_two_processes_may_be_one() {
        assert!(build(vec![lock("x", vec![process(7)], vec![process(7)])]).cycles.is_empty());
        assert_eq!(build(vec![lock("x", vec![thread(1)], vec![thread(1)])]).cycles.len(), 1);
        let graph =
            build(vec![lock("x", vec![process(7)], vec![process(8)]), lock("y", vec![process(8)], vec![process(7)])]);
        assert_eq!(graph.cycles[0].linked_by, Some(LinkBasis::Process));
        assert!(graph.cycles[0].says.ends_with("may let go"));
    }

    #[test]
    fn any_holder_of_a_semaphore_can_let_the_next_in() {
        let mut x = lock("x", vec![thread(1), thread(3)], vec![thread(2)]);
        x.lock.mode = Mode::Semaphore;
        let graph = build(vec![x, lock("y", vec![thread(2)], vec![thread(1)])]);
        assert!(graph.cycles.is_empty());
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let many = MAX_LOCKS + 20;
        let graph = build(
            (0..many)
                .map(|n| lock(&n.to_string(), vec![thread(3 * n)], vec![thread(3 * n + 1), thread(3 * n + 2)]))
                .collect(),
        );
        assert_eq!((graph.locks.len(), graph.more_locks), (MAX_LOCKS, 20));
        assert_eq!((graph.parties.len(), graph.more_parties), (MAX_PARTIES, 500));
    }

    /// Which threads can reach themselves, by trying every step.
    fn in_any_cycle(held: &[Vec<usize>], wanted: &[Vec<usize>], threads: usize) -> Vec<bool> {
        let mut reach = vec![vec![false; threads]; threads];
        for (holders, waiters) in held.iter().zip(wanted) {
            for &waiter in waiters {
                for &holder in holders {
                    reach[waiter][holder] = true;
                }
            }
        }
        for via in 0..threads {
            for from in 0..threads {
                for to in 0..threads {
                    reach[from][to] |= reach[from][via] && reach[via][to];
                }
            }
        }
        (0..threads).map(|thread| reach[thread][thread]).collect()
    }

    proptest! {
        #[test]
        fn every_cycle_is_one_and_nobody_who_is_in_one_is_missed(
            locks in vec((vec(0usize..7, 0..3), vec(0usize..7, 0..4)), 0..8)
        ) {
            let (held, wanted): (Vec<_>, Vec<_>) = locks.into_iter().unzip();
            let graph = build(
                held.iter()
                    .zip(&wanted)
                    .enumerate()
                    .map(|(n, (holders, waiters))| {
                        let places = |all: &[usize]| all.iter().map(|&n| thread(n)).collect();
                        lock(&n.to_string(), places(holders), places(waiters))
                    })
                    .collect(),
            );
            let edges: HashSet<(&str, &str)> =
                graph.edges.iter().map(|edge| (edge.from.as_str(), edge.to.as_str())).collect();
            let mut named = HashSet::new();
            for cycle in &graph.cycles {
                let nodes: Vec<&str> = cycle.nodes.iter().map(String::as_str).collect();
                prop_assert!(nodes.len() >= 2 && nodes.len().is_multiple_of(2));
                prop_assert_eq!(nodes.iter().collect::<HashSet<_>>().len(), nodes.len(), "twice at one place");
                for (i, &node) in nodes.iter().enumerate() {
                    let next = nodes[(i + 1) % nodes.len()];
                    prop_assert!(edges.contains(&(node, next)), "{} does not lead to {}", node, next);
                }
                named.extend(nodes.iter().filter(|node| node.starts_with("party")).copied());
            }
            for (n, is_in_one) in in_any_cycle(&held, &wanted, 7).into_iter().enumerate() {
                let name = format!("t{n}");
                let party = graph.parties.iter().find(|party| party.identity.thread.as_deref() == Some(&name));
                let is_named = party.is_some_and(|party| named.contains(party.id.as_str()));
                prop_assert_eq!(is_named, is_in_one, "{}", name);
            }
        }
    }
}
