//! Who waits for whom, as the server tells it: read, told as a tree, and laid out in layers.

use std::collections::VecDeque;

use lockkeeper_model::LockId;
use lockkeeper_model::words::shown;

use super::json::Value;
use crate::lang::{self, count, t};

/// Lines of the tree: some screens full. The rest is counted.
const MAX_LINES: usize = 400;

/// How far the tree goes in: more would leave no room for words on a phone.
const MAX_DEPTH: usize = 12;

/// Parties and locks that are drawn: more cannot be told apart in a drawing. The tree has them all.
const MAX_DRAWN: usize = 48;

/// Those who have or want locks, and the locks between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    parties: Vec<Party>,
    locks: Vec<Wanted>,
    /// Circles, each as a sentence, in the server's words as they came, and as the nodes in it.
    pub(crate) circles: Vec<(String, Vec<Node>)>,
    /// Those whom the others wait for in the end, and how many that is.
    heads: Vec<(usize, u64)>,
    /// What the answer had no room for: locks, parties, circles.
    pub(crate) left_out: [u64; 3],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Party {
    name: String,
    linked_by: String,
    holds: Vec<usize>,
    /// Locks, and how it is known that it waits for them.
    waits: Vec<(usize, String)>,
}

/// A lock that somebody waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    source: String,
    id: Option<LockId>,
    waiters: u64,
    basis: String,
    nameless: u64,
    held_by: Vec<usize>,
    wanted_by: Vec<(usize, String)>,
}

/// A place in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Somebody.
    Party(usize),
    /// A lock.
    Lock(usize),
}

/// A line of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// How far in.
    pub(crate) depth: usize,
    /// What it says.
    pub(crate) says: String,
    /// How that is known.
    pub(crate) basis: String,
    /// The lock that it is about.
    pub(crate) lock: Option<(String, LockId)>,
}

/// A node in the drawing, by its column and its place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// Which.
    pub(crate) node: Node,
    /// What it is called.
    pub(crate) name: String,
    /// Columns from the left: who is not waiting stands at 0.
    pub(crate) column: usize,
    /// Places from the top.
    pub(crate) row: usize,
    /// Whether it is part of a circle.
    pub(crate) in_circle: bool,
}

/// The drawing: nodes, and lines from who keeps others waiting to those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawing {
    /// The nodes.
    pub(crate) nodes: Vec<Drawn>,
    /// Lines between two of them by their positions, and whether they are part of a circle.
    pub(crate) lines: Vec<(usize, usize, bool)>,
    /// Nodes that are not drawn.
    pub(crate) left_out: usize,
}

impl Waits {
    /// Reads an answer. What is not understood of it is left out.
    pub(crate) fn read(answer: &Value) -> Waits {
        let mut waits = Waits::default();
        for party in answer.items("parties") {
            let linked_by = party.texts("linked_by").map(linked_by).collect::<Vec<_>>().join("; ");
            waits.parties.push(Party { name: shown(party.text("name")), linked_by, ..Party::default() });
        }
        for lock in answer.items("locks") {
            waits.locks.push(Wanted {
                name: shown(lock.text("name")),
                source: lock.text("source").to_owned(),
                id: LockId::parse(lock.text("id")).ok(),
                waiters: lock.number("waiters").unwrap_or_default(),
                basis: lang::basis_named(lock.text("basis")),
                nameless: lock.number("nameless").unwrap_or_default(),
                ..Wanted::default()
            });
        }
        for edge in answer.items("edges") {
            let (from, to) = (waits.node(edge.text("from")), waits.node(edge.text("to")));
            let basis = || lang::basis_named(edge.text("basis"));
            match (from, to) {
                (Some(Node::Party(party)), Some(Node::Lock(lock))) => {
                    waits.parties[party].waits.push((lock, basis()));
                    waits.locks[lock].wanted_by.push((party, basis()));
                }
                (Some(Node::Lock(lock)), Some(Node::Party(party))) => {
                    waits.parties[party].holds.push(lock);
                    waits.locks[lock].held_by.push(party);
                }
                _ => {}
            }
        }
        for cycle in answer.items("cycles") {
            let nodes = cycle.texts("nodes").filter_map(|name| waits.node(name));
            let linked = linked_by(cycle.text("linked_by"));
            let linked = if linked.is_empty() { String::new() } else { t!(linked, linked) };
            let (says, nodes) = (format!("{}{linked}.", cycle.text("says")), nodes.collect());
            waits.circles.push((says, nodes));
        }
        for head in answer.items("head_blockers") {
            if let Some(Node::Party(party)) = waits.node(head.text("party")) {
                waits.heads.push((party, head.number("behind").unwrap_or_default()));
            }
        }
        waits.left_out = ["more_locks", "more_parties", "more_cycles"].map(|name| answer.number(name).unwrap_or(0));
        waits
    }

    /// The place that the answer calls `party-7` or `lock-7`.
    fn node(&self, name: &str) -> Option<Node> {
        let (kind, at) = name.split_once('-')?;
        let at: usize = at.parse().ok()?;
        match kind {
            "party" if at < self.parties.len() => Some(Node::Party(at)),
            "lock" if at < self.locks.len() => Some(Node::Lock(at)),
            _ => None,
        }
    }

    /// Whether anybody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// The graph as a tree: who keeps most others waiting first, under them what they have, under that who waits.
    pub(crate) fn tree(&self) -> Vec<Line> {
        let mut telling = Telling { waits: self, lines: Vec::new(), told: vec![false; self.parties.len()] };
        let mut told_locks = vec![false; self.locks.len()];
        for &(party, behind) in &self.heads {
            let says = t!(keeps_waiting, self.parties[party].name, count(behind));
            telling.party(party, 0, says, String::new());
        }
        for (_, nodes) in &self.circles {
            if let Some(Node::Party(party)) = nodes.first().copied()
                && !telling.told[party]
            {
                let says = t!(waits_in_a_circle, self.parties[party].name);
                telling.party(party, 0, says, String::new());
            }
        }
        for party in 0..self.parties.len() {
            if telling.told[party] {
                self.parties[party].holds.iter().for_each(|lock| told_locks[*lock] = true);
            }
        }
        for lock in (0..self.locks.len()).filter(|lock| !told_locks[*lock]) {
            telling.lock(lock, 0);
        }
        telling.lines
    }

    /// The graph in columns: whoever waits for nothing to the left, what is held by them next, who waits for that next.
    pub(crate) fn drawing(&self) -> Drawing {
        let parties = self.parties.len();
        let place = |node: Node| match node {
            Node::Party(at) => at,
            Node::Lock(at) => parties + at,
        };
        let mut column: Vec<Option<usize>> = vec![None; parties + self.locks.len()];
        let mut order = Vec::new();
        let firsts = self.heads.iter().map(|(party, _)| Node::Party(*party));
        let circles = self.circles.iter().filter_map(|(_, nodes)| nodes.first().copied());
        let others = (0..self.locks.len()).map(Node::Lock);
        for first in firsts.chain(circles).chain(others) {
            if column[place(first)].is_some() {
                continue;
            }
            // A lock that nobody is known to hold stands where other locks do.
            column[place(first)] = Some(usize::from(matches!(first, Node::Lock(_))));
            let mut next = VecDeque::from([first]);
            while let Some(node) = next.pop_front() {
                order.push(node);
                let here = column[place(node)].unwrap_or(0);
                for behind in self.behind(node) {
                    if column[place(behind)].is_none() {
                        column[place(behind)] = Some(here + 1);
                        next.push_back(behind);
                    }
                }
            }
        }
        let left_out = order.len().saturating_sub(MAX_DRAWN);
        order.truncate(MAX_DRAWN);
        let mut rows: Vec<usize> = Vec::new();
        let mut at = vec![None; column.len()];
        let mut drawing = Drawing { left_out, ..Drawing::default() };
        for node in &order {
            let column = column[place(*node)].unwrap_or(0);
            rows.resize(rows.len().max(column + 1), 0);
            let name = match node {
                Node::Party(at) => self.parties[*at].name.clone(),
                Node::Lock(at) => self.locks[*at].name.clone(),
            };
            let in_circle = self.circles.iter().any(|(_, nodes)| nodes.contains(node));
            at[place(*node)] = Some(drawing.nodes.len());
            drawing.nodes.push(Drawn { node: *node, name, column, row: rows[column], in_circle });
            rows[column] += 1;
        }
        for (from, node) in order.iter().enumerate() {
            for behind in self.behind(*node) {
                let Some(to) = at[place(behind)] else { continue };
                let in_circle = self.circles.iter().any(|(_, nodes)| nodes.contains(node) && nodes.contains(&behind));
                drawing.lines.push((from, to, in_circle));
            }
        }
        drawing
    }

    /// What cannot go on without this: the locks that somebody has, those who wait for a lock.
    fn behind(&self, node: Node) -> Vec<Node> {
        match node {
            Node::Party(at) => self.parties[at].holds.iter().map(|lock| Node::Lock(*lock)).collect(),
            Node::Lock(at) => self.locks[at].wanted_by.iter().map(|(party, _)| Node::Party(*party)).collect(),
        }
    }
}

/// A tree in the making.
struct Telling<'a> {
    waits: &'a Waits,
    lines: Vec<Line>,
    told: Vec<bool>,
}

impl Telling<'_> {
    fn line(&mut self, line: Line) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }

    fn party(&mut self, party: usize, depth: usize, says: String, basis: String) {
        let known = &self.waits.parties[party];
        let again = std::mem::replace(&mut self.told[party], true);
        let goes_on = !known.holds.is_empty();
        let mut bases = vec![basis, known.linked_by.clone()];
        bases.retain(|basis| !basis.is_empty());
        let says = match (again && goes_on, depth >= MAX_DEPTH && goes_on) {
            (true, _) => t!(what_it_holds_is_told, says),
            (false, true) => t!(and_holds_what_others_wait, says),
            (false, false) => says,
        };
        self.line(Line { depth, says, basis: bases.join("; "), lock: None });
        if again || depth >= MAX_DEPTH {
            return;
        }
        for lock in known.holds.clone() {
            self.lock(lock, depth + 1);
        }
    }

    fn lock(&mut self, lock: usize, depth: usize) {
        let known = &self.waits.locks[lock];
        let waiters = count(known.waiters);
        let says = match known.held_by.len() {
            0 => t!(nobody_holds, known.name, waiters),
            1 => t!(one_holds, known.name, waiters),
            several => t!(several_hold, known.name, waiters, several - 1),
        };
        let place = known.id.clone().map(|id| (known.source.clone(), id));
        self.line(Line { depth, says, basis: known.basis.clone(), lock: place });
        for (party, basis) in known.wanted_by.clone() {
            let says = t!(waits_for_it, self.waits.parties[party].name);
            self.party(party, depth + 1, says, basis);
        }
        let nameless = self.waits.locks[lock].nameless;
        if nameless > 0 {
            let says = t!(who_cannot_be_told_apart, count(nameless));
            let basis = self.waits.locks[lock].basis.clone();
            self.line(Line { depth: depth + 1, says, basis, lock: None });
        }
    }
}

/// Why several places are taken to be of one party, in words.
pub(crate) fn linked_by(word: &str) -> String {
    match word {
        "" => "",
        "token" => t!(its_tokens_name_one_client),
        "thread" => t!(the_same_thread_of_the),
        "process" => t!(the_same_process_it_may),
        other => return shown(other),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    const CHAIN: &str = r#"{"parties":[{"id":"party-0","name":"web-1","linked_by":[]},
        {"id":"party-1","name":"web-2\u202e","linked_by":["process"]}],
        "locks":[{"node":"lock-0","source":"s","id":"lock:a","name":"a","waiters":3,"basis":"inferred","nameless":2},
        {"node":"lock-1","source":"s","id":"lock:b","name":"b","waiters":1,"basis":"exact","nameless":1}],
        "edges":[{"from":"lock-0","to":"party-0","kind":"held_by","basis":"exact"},
        {"from":"party-1","to":"lock-0","kind":"waits","basis":"reported"},
        {"from":"lock-1","to":"party-1","kind":"held_by","basis":"exact"}],
        "cycles":[],"head_blockers":[{"party":"party-0","behind":4}],"more_locks":0,"more_parties":5,"more_cycles":0}"#;

    const CIRCLE: &str = r#"{"parties":[{"id":"party-0","name":"t1","linked_by":["thread"]},
        {"id":"party-1","name":"t2","linked_by":["thread"]}],
        "locks":[{"node":"lock-0","source":"s","id":"a","name":"a","waiters":1,"basis":"reported","nameless":0},
        {"node":"lock-1","source":"s","id":"b","name":"b","waiters":1,"basis":"reported","nameless":0}],
        "edges":[{"from":"lock-0","to":"party-0","kind":"held_by","basis":"exact"},
        {"from":"lock-1","to":"party-1","kind":"held_by","basis":"exact"},
        {"from":"party-0","to":"lock-1","kind":"waits","basis":"reported"},
        {"from":"party-1","to":"lock-0","kind":"waits","basis":"reported"}],
        "cycles":[{"nodes":["party-0","lock-1","party-1","lock-0"],"says":"t1 waits for b held by t2","linked_by":"thread"}],
        "head_blockers":[]}"#;

    fn told(text: &str) -> Vec<String> {
        let lines = Waits::read(&parse(text).unwrap()).tree();
        lines.iter().map(|line| format!("{}{} ({})", "  ".repeat(line.depth), line.says, line.basis)).collect()
    }

    #[test]
    fn who_keeps_most_waiting_comes_first_and_every_line_says_how_it_is_known() {
        assert_eq!(
            told(CHAIN),
            [
                "web-1 keeps 4 waiting ()",
                "  holds a, for which 3 wait (inferred)",
                "    web-2\\u{202e} waits for it (reported; the same process; it may be two of its threads)",
                "      holds b, for which 1 waits (exact)",
                "        1 who cannot be told apart (exact)",
                "    2 who cannot be told apart (inferred)",
            ]
        );
        let waits = Waits::read(&parse(CHAIN).unwrap());
        assert_eq!((waits.left_out, waits.is_empty()), ([0, 5, 0], false));
    }

    #[test]
    fn a_circle_is_told_once_around_and_drawn_as_one() {
        let lines = told(CIRCLE);
        assert_eq!(lines[0], "t1 waits in a circle (the same thread of the same process)");
        assert!(lines.last().unwrap().contains("t1 waits for it: what it holds is told above"), "{lines:#?}");
        let waits = Waits::read(&parse(CIRCLE).unwrap());
        assert!(waits.circles[0].0.starts_with("t1 waits for b held by t2 (linked: "), "{}", waits.circles[0].0);
        let drawing = waits.drawing();
        assert_eq!(drawing.nodes.len(), 4);
        assert!(drawing.nodes.iter().all(|node| node.in_circle) && drawing.lines.iter().all(|line| line.2));
    }

    #[test]
    fn columns_go_from_who_holds_to_who_waits() {
        let drawing = Waits::read(&parse(CHAIN).unwrap()).drawing();
        let columns: Vec<(&str, usize)> = drawing.nodes.iter().map(|node| (node.name.as_str(), node.column)).collect();
        assert_eq!(columns, [("web-1", 0), ("a", 1), ("web-2\\u{202e}", 2), ("b", 3)]);
        assert_eq!(drawing.lines, [(0, 1, false), (1, 2, false), (2, 3, false)]);
    }

    #[test]
    fn a_large_graph_is_bounded_and_says_what_is_left_out() {
        let party = |n: usize| format!(r#"{{"id":"party-{n}","name":"p{n}","linked_by":[]}}"#);
        let edge = |n: usize| {
            let held = if n == 0 { r#"{"from":"lock-0","to":"party-0"}"#.to_owned() } else { String::new() };
            if n == 0 { held } else { format!(r#"{{"from":"party-{n}","to":"lock-0","basis":"exact"}}"#) }
        };
        let list = |of: &dyn Fn(usize) -> String| (0..900).map(of).collect::<Vec<_>>().join(",");
        let text = format!(
            r#"{{"parties":[{}],"locks":[{{"node":"lock-0","source":"s","id":"a","name":"a","waiters":899}}],
            "edges":[{}],"head_blockers":[{{"party":"party-0","behind":899}}]}}"#,
            list(&party),
            list(&edge)
        );
        let waits = Waits::read(&parse(&text).unwrap());
        assert_eq!(waits.tree().len(), MAX_LINES);
        let drawing = waits.drawing();
        assert_eq!((drawing.nodes.len(), drawing.left_out), (MAX_DRAWN, 901 - MAX_DRAWN));
        assert_eq!(Waits::read(&Value::Null), Waits::default());
    }
}
