//! Starts and stops watching the nodes of a source as its topology changes, and passes each order to the node whose it
//! is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use lockkeeper_model::{SourceState, Time, TraceReport};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::assemble::Memory;
use super::elsewhere::Elsewhere;
use super::endpoint::Address;
use super::pace::Pacer;
use super::publish::{Publisher, Scene, Watched};
use super::replication::{self, Offsets};
use super::scope::Scope;
use super::status::Status;
use super::topology::{self, Topology, View, slot_of};
use super::trace::Tracer;
use super::whole::{NodeId, Whole};
use super::{BoardGone, Format, RedisConfig, Shared, WAITING_COMMANDS, link};
use crate::clock;
use crate::source::traces::{self, Nodes};
use crate::source::{Among, Command, ReleaseReply, Rules, TraceOrder, Traced};

/// Watches until `stop`.
pub(super) async fn run(
    config: Arc<RedisConfig>,
    whole: Arc<Whole>,
    locks: Arc<AtomicU64>,
    publisher: Publisher,
    traced: watch::Sender<Option<Arc<TraceReport>>>,
    mut orders: mpsc::Receiver<Command>,
    stop: CancellationToken,
) {
    let stop = stop.child_token();
    // Whatever ends this ends all that it started.
    let _stopping = stop.clone().drop_guard();
    let (views, mut seen) = watch::channel(View::default());
    let hurry = Arc::new(Notify::new());
    let (scene, shown) = watch::channel(Scene::default());
    let mut supervisor = Supervisor {
        changed: publisher.changed.clone(),
        elsewhere: config.topology.is_cluster().then(|| Arc::new(Elsewhere::new(hurry.clone()))),
        memory: Arc::default(),
        nodes: BTreeMap::new(),
        next_node: 0,
        has_begun: false,
        scene,
        config: config.clone(),
        whole: whole.clone(),
        locks,
        traced,
        stop: stop.clone(),
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(topology::watch(config.clone(), views, hurry)));
    tokio::spawn(stop.clone().run_until_cancelled_owned(publisher.run(config, whole, shown)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = seen.changed() => {
                let view = seen.borrow_and_update().clone();
                if changed.is_err() || supervisor.adopt(view).await.is_err() {
                    return;
                }
            }
            order = orders.recv() => match order {
                Some(Command::Follow(rules)) => {
                    if supervisor.follow(rules).await.is_err() {
                        return;
                    }
                }
                Some(order) => supervisor.pass_on(order),
                None => return,
            },
        }
    }
}

/// A node that is watched.
struct Node {
    id: NodeId,
    orders: mpsc::Sender<Command>,
    watched: Watched,
    offsets: Arc<Offsets>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A node that another one takes over from.
struct Lost {
    /// When it stopped answering, or the change was noticed.
    at: Time,
    offsets: Arc<Offsets>,
    keys: Among,
}

struct Supervisor {
    config: Arc<RedisConfig>,
    whole: Arc<Whole>,
    locks: Arc<AtomicU64>,
    /// What the last trace saw.
    traced: watch::Sender<Option<Arc<TraceReport>>>,
    memory: Arc<Memory>,
    elsewhere: Option<Arc<Elsewhere>>,
    nodes: BTreeMap<Address, Node>,
    next_node: u64,
    /// Nodes were known before.
    has_begun: bool,
    scene: watch::Sender<Scene>,
    changed: Arc<Notify>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Watches what is there now, and nothing else.
    async fn adopt(&mut self, view: View) -> Result<(), BoardGone> {
        let former: Vec<Address> =
            self.nodes.keys().filter(|address| !view.primaries.contains(address)).cloned().collect();
        let new: Vec<Address> =
            view.primaries.iter().filter(|address| !self.nodes.contains_key(address)).cloned().collect();
        if self.has_begun && !(former.is_empty() && new.is_empty()) {
            let because = because(&self.config.topology, &former, &new);
            tracing::warn!(source.name = %self.config.name, "source `{}`: {because}", self.config.name);
            let at = clock::now();
            self.scene.send_modify(|scene| scene.past.gap(at, &because));
            let lost: Vec<Lost> = former.iter().filter_map(|address| self.lost(address, at)).collect();
            self.leave(&former, &because).await?;
            if !lost.is_empty() && !new.is_empty() {
                self.failed_over(lost, &new).await?;
            }
        }
        for address in new {
            self.has_begun = true;
            self.start(address).await;
        }
        let nodes = self.nodes.values().map(|node| node.watched.clone()).collect();
        self.scene.send_modify(|scene| {
            scene.view = view;
            scene.nodes = nodes;
        });
        self.changed.notify_one();
        Ok(())
    }

    /// Stops watching nodes. What they knew is unknown from now on.
    async fn leave(&mut self, former: &[Address], because: &str) -> Result<(), BoardGone> {
        for address in former {
            let Some(node) = self.nodes.remove(address) else { continue };
            node.stop.cancel();
            // A task that panicked has stopped, too.
            let _ = node.task.await;
            let status = node.watched.status.borrow().clone();
            self.scene.send_modify(|scene| scene.past.keep(&status));
            self.whole.forget(node.id).await;
        }
        self.whole.gap(because).await
    }

    /// Watches the same nodes by other rules. What those may decide otherwise is not shown until it is found by them; of
    /// the rest it is not known what happens while the connections are made anew.
    async fn follow(&mut self, rules: Rules) -> Result<(), BoardGone> {
        let Rules { patterns, formats, stopped, go } = rules;
        let because = "the configuration was read anew";
        let at = clock::now();
        self.scene.send_modify(|scene| scene.past.gap(at, because));
        let addresses: Vec<Address> = self.nodes.keys().cloned().collect();
        self.leave(&addresses, because).await?;
        // An error means that nobody waits for it.
        let _ = stopped.send(());
        tokio::select! {
            () = go.cancelled() => {}
            () = self.stop.cancelled() => return Err(BoardGone),
        }
        self.whole.withdrawn(decided_otherwise(&self.config, &patterns, formats, &self.memory)).await?;
        self.config = Arc::new(RedisConfig { patterns, ..RedisConfig::clone(&self.config) });
        self.memory = Arc::default();
        for address in addresses {
            self.start(address).await;
        }
        let nodes = self.nodes.values().map(|node| node.watched.clone()).collect();
        self.scene.send_modify(|scene| scene.nodes = nodes);
        self.changed.notify_one();
        Ok(())
    }

    /// What is known of a node that others take over from, which was noticed at `now`.
    fn lost(&self, address: &Address, now: Time) -> Option<Lost> {
        let node = self.nodes.get(address)?;
        let status = node.watched.status.borrow();
        let at = if status.state == SourceState::Down { status.since } else { now };
        Some(Lost { at, offsets: node.offsets.clone(), keys: self.keys_of(address) })
    }

    /// Tells how much of each lost primary those that took over have, before anything is read from them.
    async fn failed_over(&self, lost: Vec<Lost>, new: &[Address]) -> Result<(), BoardGone> {
        let mut asking = JoinSet::new();
        for address in new {
            let endpoint = self.config.node(address.clone());
            asking.spawn(async move { replication::ask(&endpoint).await });
        }
        let mut said = Vec::with_capacity(new.len());
        while let Some(asked) = asking.join_next().await {
            said.extend(asked);
        }
        for Lost { at, offsets, keys } in lost {
            let copied = replication::copied(&offsets, &said);
            tracing::warn!(source.name = %self.config.name, "source `{}`: {copied}", self.config.name);
            self.whole.failed_over(at, copied, keys).await?;
        }
        Ok(())
    }

    /// The locks that are on this node.
    fn keys_of(&self, node: &Address) -> Among {
        let Some(slots) = self.scene.borrow().view.slots.clone() else { return Among::all() };
        let (memory, node) = (self.memory.clone(), node.clone());
        Among::those(move |id| slots.owner(slot_of(&memory.root_of(id))) == Some(&node))
    }

    async fn start(&mut self, address: Address) {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let (status, seen) = Status::new(&self.config, &address, self.changed.clone());
        let unreadable = status.unreadable();
        let offsets = Arc::<Offsets>::default();
        let shared = Shared {
            node: id,
            endpoint: Arc::new(self.config.node(address.clone())),
            config: self.config.clone(),
            whole: self.whole.clone(),
            status: Arc::new(status),
            pacer: Arc::new(Pacer::new(self.config.commands_per_second)),
            scope: Arc::new(Scope::new(self.config.patterns.clone(), self.config.reports.clone())),
            memory: self.memory.clone(),
            elsewhere: self.elsewhere.clone(),
            locks: self.locks.clone(),
            tracer: Arc::new(Tracer::new()),
            offsets: offsets.clone(),
        };
        self.whole.add(id).await;
        let (orders, waiting) = mpsc::channel(WAITING_COMMANDS);
        let stop = self.stop.child_token();
        let task = tokio::spawn(link::run(shared, waiting, stop.clone()));
        let watched = Watched { id, address: address.clone(), status: seen, unreadable };
        self.nodes.insert(address, Node { id, orders, watched, offsets, stop, task });
    }

    /// Passes an order to the node whose keys it is about.
    fn pass_on(&self, order: Command) {
        match order {
            Command::Release { order, done } => match self.owner(&order.key) {
                Some(node) => give(node, Command::Release { order, done }),
                None => {
                    let because = match self.config.topology {
                        Topology::Cluster { .. } => "no primary of the cluster serves the slot of its key",
                        _ => "there is no connection to the store",
                    };
                    // Whoever ordered it may have given up.
                    let _ = done.send(ReleaseReply::Failed { because: because.to_owned() });
                }
            },
            Command::Trace { order, done } => self.trace(order, done),
            Command::Look { keys, done } => self.look(keys, done),
            // Done before orders are passed on.
            Command::Follow(_) => {}
            Command::Together { keys } => {
                self.memory.together(&keys);
                self.look(keys, None);
            }
        }
    }

    /// Has every node sampled that may be asked for the keys in question.
    fn trace(&self, order: TraceOrder, mut done: oneshot::Sender<Traced>) {
        let nodes: Vec<&Node> = match &order.key {
            Some(key) => self.owner(key).into_iter().collect(),
            None => self.nodes.values().collect(),
        };
        if nodes.is_empty() {
            link::refuse(Command::Trace { order, done });
            return;
        }
        let ask = |node: &Node| {
            let (done, told) = oneshot::channel();
            give(node, Command::Trace { order: order.clone(), done });
            (node.watched.address.to_string(), told)
        };
        let asked: Vec<_> = nodes.into_iter().map(ask).collect();
        let (source, last) = (self.config.name.clone(), self.traced.clone());
        tokio::spawn(async move {
            let Some(traced) = traces::gather(&source, asked, Nodes::Parts, &mut done).await else { return };
            if let Ok(report) = &traced {
                last.send_replace(Some(Arc::clone(report)));
            }
            // Whoever ordered it may have given up.
            let _ = done.send(traced);
        });
    }

    fn look(&self, keys: Vec<Bytes>, done: Option<oneshot::Sender<()>>) {
        if self.elsewhere.is_none() {
            // One node has all keys.
            if let Some(node) = self.nodes.values().next() {
                give(node, Command::Look { keys, done });
            }
            return;
        }
        let mut of_nodes: BTreeMap<NodeId, (&Node, Vec<Bytes>)> = BTreeMap::new();
        let mut have_owners = true;
        for key in keys {
            match self.owner(&key) {
                Some(node) => of_nodes.entry(node.id).or_insert((node, Vec::new())).1.push(key),
                None => have_owners = false,
            }
        }
        let mut awaited = Vec::new();
        for (node, keys) in of_nodes.into_values() {
            let told = done.as_ref().map(|_| {
                let (told, hears) = oneshot::channel();
                awaited.push(hears);
                told
            });
            give(node, Command::Look { keys, done: told });
        }
        // Whoever waits learns by `done` being dropped that something could not be read.
        if let Some(done) = done.filter(|_| have_owners) {
            tokio::spawn(async move {
                for hears in awaited {
                    if hears.await.is_err() {
                        return;
                    }
                }
                let _ = done.send(());
            });
        }
    }

    fn owner(&self, key: &[u8]) -> Option<&Node> {
        let scene = self.scene.borrow();
        self.nodes.get(scene.view.owner(&self.memory.root_of(key))?)
    }
}

/// Gives a node an order. One that is so busy connecting that it takes no more will be scanned next.
fn give(node: &Node, order: Command) {
    if let Err(refused) = node.orders.try_send(order) {
        link::refuse(refused.into_inner());
    }
}

/// The locks that may be none, or other ones, by these rules.
fn decided_otherwise(before: &RedisConfig, patterns: &[String], formats: Arc<[Format]>, memory: &Arc<Memory>) -> Among {
    // Where an operator's pattern names a key, it is taken for a lock on less evidence.
    if before.patterns.is_empty() != patterns.is_empty() {
        return Among::all();
    }
    let (scope, memory) = (Scope::new(patterns.to_vec(), before.reports.clone()), Arc::clone(memory));
    Among::those(move |id| {
        let root = memory.root_of(id);
        !scope.has(&root) || formats.iter().any(|format| format.is_about(&root))
    })
}

/// What changed, in words.
fn because(topology: &Topology, former: &[Address], new: &[Address]) -> String {
    let named = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (topology, former, new) {
        (Topology::Sentinel { .. }, [from], [to]) => format!("failover from {from} to {to}"),
        (_, former, []) => format!("no primary any more: {}", named(former)),
        (_, [], new) => format!("new primary: {}", named(new)),
        (_, former, new) => format!("no primary any more: {}; new primary: {}", named(former), named(new)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_is_told_with_both_addresses() {
        let (a, b) = (vec![Address::new("a", 1)], vec![Address::new("b", 2)]);
        let sentinel = Topology::Sentinel { sentinels: Vec::new(), primary: String::new() };
        assert_eq!(because(&sentinel, &a, &b), "failover from a:1 to b:2");
        let cluster = Topology::Cluster { seeds: Vec::new() };
        assert_eq!(because(&cluster, &a, &b), "no primary any more: a:1; new primary: b:2");
        assert_eq!(because(&cluster, &[], &[a, b].concat()), "new primary: a:1, b:2");
    }
}
