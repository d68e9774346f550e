//! Lines of `MONITOR` folded into what was done to each lock, in the order in which the store did it. Bounded in every
//! direction; what is left out is counted.
//!
//! The store runs one command after the other and tells of each in that order: the commands that follow a script's own
//! are those of the script, until somebody else's comes.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::command::{Act, Lease, Said, understand};
use super::line::{By, parse};
pub(super) use crate::source::traces::MAX_LOCKS;
use lockkeeper_model::Deed;

/// Steps that are kept of one lock, and of all of them: ten seconds of twenty thousand attempts a second. Some fifteen
/// megabytes.
const MAX_STEPS_PER_LOCK: usize = 50_000;
const MAX_STEPS: usize = 200_000;

/// Addresses that are told apart, and tokens: a client that connects anew for every attempt makes one of each.
const MAX_ADDRESSES: usize = 20_000;
const MAX_TOKENS: usize = 100_000;

/// Locks beyond [`MAX_LOCKS`] that are counted.
const MAX_UNCOUNTED: usize = 10_000;

/// Commands of one script that are looked at. A lock's script runs some ten.
const MAX_SCRIPT_ACTS: usize = 64;

/// Arguments of one script that may be tokens.
const MAX_SCRIPT_ARGS: usize = 8;

/// Names an address.
pub(super) type Who = u32;

/// Names a token.
pub(super) type Token = u32;

/// Something that was done to a lock, or asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// On the store's clock, in microseconds.
    pub(super) at_us: i64,
    pub(super) who: Who,
    pub(super) what: What,
}

/// What it was. The store does not tell what it answered; where a script went on, that tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A token was written if nothing was there.
    Try { token: Token, lease: Lease },
    /// A script looked, and went no further.
    Refused,
    /// A token was written over what was there.
    Write { token: Token, lease: Lease, if_there: bool },
    /// The key was deleted, if it was there.
    Delete,
    /// Its expiry was pushed out, if it was there.
    Extend(Lease),
    /// A script looked and went on.
    Done {
        deed: Deed,
        /// The holder's token or field, where the commands name it.
        token: Option<Token>,
        /// Those that the script was given: it may have compared with one of them.
        args: Box<[Token]>,
        lease: Lease,
    },
    /// Somebody looked at it.
    Look,
    /// Somebody blocks on its signal list.
    Block,
    /// Somebody listens on its channel.
    Listen,
    /// Our own reading of that number was done here.
    Reading(u32),
    /// What is there is not known any more.
    Blur,
}

/// What is known of one lock.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) key: Vec<u8>,
    pub(super) steps: Vec<Step>,
    /// Steps that found no room.
    pub(super) not_counted: u64,
}

/// Folds lines.
pub(super) struct Fold<K> {
    database: u32,
    only: Option<Vec<u8>>,
    /// Whether a key may be a lock.
    may_be_lock: K,
    /// Begins the last argument of our own readings; their number follows.
    mark: Vec<u8>,
    pub(super) commands: u64,
    pub(super) unreadable: u64,
    pub(super) locks: Vec<Spoken>,
    by_key: HashMap<Vec<u8>, usize>,
    uncounted: HashSet<Vec<u8>>,
    steps: usize,
    pub(super) addresses: Names<String>,
    pub(super) tokens: Names<Vec<u8>>,
    script: Option<Script>,
    /// Locks that were met since the last look.
    met: Vec<usize>,
    /// On the store's clock.
    pub(super) last_at_us: Option<i64>,
    pub(super) last_reading: Option<u32>,
}

/// The script that runs.
struct Script {
    who: Option<Who>,
    at_us: i64,
    args: Vec<Vec<u8>>,
    acts: Vec<(Vec<u8>, Act)>,
}

impl<K: Fn(&[u8]) -> bool> Fold<K> {
    pub(super) fn new(database: u32, only: Option<Vec<u8>>, mark: Vec<u8>, may_be_lock: K) -> Fold<K> {
        let mut fold = Fold {
            database,
            only: only.clone(),
            may_be_lock,
            mark,
            commands: 0,
            unreadable: 0,
            locks: Vec::new(),
            by_key: HashMap::new(),
            uncounted: HashSet::new(),
            steps: 0,
            addresses: Names::new(MAX_ADDRESSES),
            tokens: Names::new(MAX_TOKENS),
            script: None,
            met: Vec::new(),
            last_at_us: None,
            last_reading: None,
        };
        if let Some(key) = only {
            fold.lock(&key, true);
        }
        fold
    }

    /// Takes in the next line.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.commands += 1;
        let Some(line) = parse(line) else {
            self.unreadable += 1;
            // What followed it may be of another script.
            self.end_script();
            return;
        };
        self.last_at_us = Some(line.at_us);
        let address = match line.by {
            By::Script => None,
            By::Client(address) => {
                self.end_script();
                Some(address)
            }
        };
        if line.database != self.database && !matches!(understand(&line), Some(Said::BlurAll)) {
            return;
        }
        let Some(said) = understand(&line) else { return };
        match (said, address) {
            (Said::BlurAll, _) => self.blur_all(line.at_us),
            (Said::Script { args }, Some(address)) => {
                if let Some(number) = args.last().and_then(|arg| own_reading(arg, &self.mark)) {
                    if let Some(key) = line.words.get(3).and_then(Option::as_deref) {
                        self.last_reading = Some(number);
                        self.step(key, true, line.at_us, Some(0), What::Reading(number));
                    }
                    return;
                }
                let who = self.addresses.id(address);
                self.script = Some(Script { who, at_us: line.at_us, args, acts: Vec::new() });
            }
            (Said::Script { .. }, None) => {}
            (Said::Of(acts), None) => {
                if let Some(script) = &mut self.script {
                    let room = MAX_SCRIPT_ACTS.saturating_sub(script.acts.len());
                    script.acts.extend(acts.into_iter().filter(|(_, act)| *act != Act::Nothing).take(room));
                }
            }
            (Said::Of(acts), Some(address)) => {
                for (key, act) in acts {
                    self.act(&key, act, line.at_us, address);
                }
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.end_script();
    }

    /// Locks that were met since the last time, which should be read.
    pub(super) fn met(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.met.drain(..).map(|at| (at, self.locks[at].key.clone())).collect()
    }

    /// How many locks found no room, at least.
    pub(super) fn uncounted(&self) -> u64 {
        self.uncounted.len() as u64
    }

    /// A command of a client's own.
    fn act(&mut self, key: &[u8], act: Act, at_us: i64, address: &str) {
        let (what, makes_known) = match act {
            Act::Nothing => return,
            Act::Try { token, lease } => match self.tokens.id(token.as_slice()) {
                Some(token) => (What::Try { token, lease }, true),
                None => (What::Blur, false),
            },
            Act::Write { token, lease, if_there } => match self.tokens.id(token.as_slice()) {
                Some(token) => (What::Write { token, lease, if_there }, false),
                None => (What::Blur, false),
            },
            Act::Get | Act::Exists | Act::Member { .. } | Act::Count => (What::Look, false),
            Act::Extend(lease) => (What::Extend(lease), false),
            Act::Field { field, up: true } => {
                let token = self.tokens.id(field.as_slice());
                (What::Done { deed: Deed::TookOrRenewed, token, args: Box::default(), lease: Lease::Unknown }, false)
            }
            Act::Add => {
                let done =
                    What::Done { deed: Deed::TookOrRenewed, token: None, args: Box::default(), lease: Lease::Unknown };
                (done, false)
            }
            // Whether anything was removed, and whether that was all, is not known.
            Act::Field { up: false, .. } | Act::Remove | Act::Blur => (What::Blur, false),
            Act::Delete => (What::Delete, false),
            Act::Block => (What::Block, true),
            Act::Listen => (What::Listen, true),
        };
        if !makes_known && !self.by_key.contains_key(key) {
            return;
        }
        let who = self.addresses.id(address);
        self.step(key, makes_known, at_us, who, what);
    }

    fn end_script(&mut self) {
        let Some(script) = self.script.take() else { return };
        let mut keys: Vec<&[u8]> = script.acts.iter().map(|(key, _)| key.as_slice()).collect();
        keys.sort_unstable();
        keys.dedup();
        let args: Box<[Token]> =
            script.args.iter().take(MAX_SCRIPT_ARGS).filter_map(|arg| self.tokens.id(arg.as_slice())).collect();
        for key in keys {
            let acts: Vec<&Act> = script.acts.iter().filter(|(of, _)| of == key).map(|(_, act)| act).collect();
            let Some((what, makes_known)) = self.of_script(&acts, &args) else { continue };
            self.step(key, makes_known, script.at_us, script.who, what);
        }
    }

    /// What the commands of one script, put together, did to one key; and whether only a lock is treated so.
    fn of_script(&mut self, acts: &[&Act], args: &[Token]) -> Option<(What, bool)> {
        let has = |wanted: fn(&Act) -> bool| acts.iter().any(|act| wanted(act));
        let got = has(|act| matches!(act, Act::Get));
        let asked = has(|act| matches!(act, Act::Exists));
        let counted = has(|act| matches!(act, Act::Count));
        let member = acts.iter().find_map(|act| match act {
            Act::Member { field } => Some(field.as_slice()),
            _ => None,
        });
        let lease = acts.iter().rev().find_map(|act| match act {
            Act::Extend(lease) => Some(*lease),
            _ => None,
        });
        let args: Box<[Token]> = args.into();
        let compares = got || member.is_some();
        if has(|act| matches!(act, Act::Blur)) {
            return Some((What::Blur, false));
        }
        let written = acts.iter().find_map(|act| match act {
            Act::Try { token, lease } => Some((token, *lease, true, false)),
            Act::Write { token, lease, if_there } => Some((token, *lease, false, *if_there)),
            _ => None,
        });
        if has(|act| matches!(act, Act::Delete | Act::Remove)) {
            if written.is_some() {
                return Some((What::Blur, false));
            }
            let field = acts.iter().find_map(|act| match act {
                Act::Field { field, .. } => Some(field.as_slice()),
                _ => None,
            });
            let token = member.or(field).and_then(|field| self.tokens.id(field));
            let compares = compares || field.is_some();
            let what = if compares {
                What::Done { deed: Deed::Released, token, args, lease: Lease::Unknown }
            } else {
                What::Delete
            };
            return Some((what, compares));
        }
        if let Some((token, granted, if_absent, if_there)) = written {
            let Some(token) = self.tokens.id(token.as_slice()) else { return Some((What::Blur, false)) };
            let lease = lease.unwrap_or(granted);
            let done = |deed| What::Done { deed, token: Some(token), args, lease };
            return Some(match (if_absent, asked, got) {
                (true, ..) => (What::Try { token, lease }, true),
                (false, true, false) => (done(Deed::Took), true),
                (false, _, true) => (done(Deed::TookOrRenewed), true),
                (false, false, false) => (What::Write { token, lease, if_there }, false),
            });
        }
        let field = acts.iter().find_map(|act| match act {
            Act::Field { field, up: true } => Some(field.as_slice()),
            _ => None,
        });
        let added = has(|act| matches!(act, Act::Add));
        if field.is_some() || added {
            // Who is in it already is looked for only if somebody is.
            let deed = match (member.is_some(), asked || counted) {
                (true, _) => Deed::Renewed,
                (false, true) => Deed::Took,
                (false, false) => Deed::TookOrRenewed,
            };
            let token = field.or(member).and_then(|field| self.tokens.id(field));
            return Some((
                What::Done { deed, token, args, lease: Lease::Unknown },
                asked || counted || member.is_some(),
            ));
        }
        if let Some(lease) = lease {
            let token = member.and_then(|field| self.tokens.id(field));
            return Some(if compares {
                (What::Done { deed: Deed::Renewed, token, args, lease }, true)
            } else {
                (What::Extend(lease), false)
            });
        }
        match () {
            // A hold that was entered twice was left once.
            () if has(|act| matches!(act, Act::Field { .. })) => None,
            () if asked || counted => Some((What::Refused, true)),
            () if compares => Some((What::Look, false)),
            () => None,
        }
    }

    fn blur_all(&mut self, at_us: i64) {
        for lock in &mut self.locks {
            if self.steps < MAX_STEPS && lock.steps.len() < MAX_STEPS_PER_LOCK {
                lock.steps.push(Step { at_us, who: 0, what: What::Blur });
                self.steps += 1;
            }
        }
    }

    fn step(&mut self, key: &[u8], makes_known: bool, at_us: i64, who: Option<Who>, what: What) {
        let Some(at) = self.lock(key, makes_known) else { return };
        let lock = &mut self.locks[at];
        match who {
            Some(who) if self.steps < MAX_STEPS && lock.steps.len() < MAX_STEPS_PER_LOCK => {
                lock.steps.push(Step { at_us, who, what });
                self.steps += 1;
            }
            _ => lock.not_counted += 1,
        }
    }

    fn lock(&mut self, key: &[u8], makes_known: bool) -> Option<usize> {
        if let Some(&at) = self.by_key.get(key) {
            return Some(at);
        }
        if !makes_known || self.only.as_ref().is_some_and(|only| only != key) {
            return None;
        }
        if self.only.is_none() && !(self.may_be_lock)(key) {
            return None;
        }
        if self.locks.len() >= MAX_LOCKS {
            if self.uncounted.len() < MAX_UNCOUNTED && !self.uncounted.contains(key) {
                self.uncounted.insert(key.to_vec());
            }
            return None;
        }
        let at = self.locks.len();
        self.locks.push(Spoken { key: key.to_vec(), steps: Vec::new(), not_counted: 0 });
        self.by_key.insert(key.to_vec(), at);
        self.met.push(at);
        Some(at)
    }
}

/// The number of our own reading.
fn own_reading(arg: &[u8], mark: &[u8]) -> Option<u32> {
    std::str::from_utf8(arg.strip_prefix(mark)?).ok()?.parse().ok()
}

/// Numbers for things that come again and again.
#[derive(Debug)]
pub(super) struct Names<T> {
    ids: HashMap<T, u32>,
    all: Vec<T>,
    most: usize,
}

impl<T: Clone + Eq + Hash> Names<T> {
    fn new(most: usize) -> Names<T> {
        Names { ids: HashMap::new(), all: Vec::new(), most }
    }

    /// Its number; `None` when there are too many.
    pub(super) fn id<Q: Hash + Eq + ToOwned<Owned = T> + ?Sized>(&mut self, thing: &Q) -> Option<u32>
    where
        T: std::borrow::Borrow<Q>,
    {
        if let Some(&id) = self.ids.get(thing) {
            return Some(id);
        }
        let id = u32::try_from(self.all.len()).ok().filter(|_| self.all.len() < self.most)?;
        self.ids.insert(thing.to_owned(), id);
        self.all.push(thing.to_owned());
        Some(id)
    }

    /// What has this number.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.all.get(id as usize)
    }
}
