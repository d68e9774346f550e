//! What every master showed of every lock, and the one sight for the board that it makes. No IO and no clock.
//!
//! A token that several masters have is kept once. Which families make sense on a quorum: those of the recipe, one string
//! with one token. For every other the tokens of the whole form must be equal, in their order, to count as agreement, and
//! its shortest lease stands for all of its holds.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use lockkeeper_model::{Flag, LockState, Standing, Time};
use slab::Slab;
use smallvec::SmallVec;

use super::node::Node;
use super::quorum::{self, Judgement, NEVER, Quorum, Reading, Seen as Shows, Vote, judge};
use crate::source::{Form, Hint, HoldExtra, Seen, Sight};

/// A decision against an owner waits up to this long, in milliseconds, for masters that have not confirmed yet that they
/// have nothing new: taking and letting go are several steps, one on each master, and in the middle of them no majority
/// agrees. Two heartbeats of a feed.
pub(super) const SETTLE_MS: i64 = 500;

/// Two readings of one deadline may differ by this much in milliseconds, and by this share of the time between them,
/// without having been pushed out.
const JITTER_MS: i64 = 15;
const JITTER_DIVISOR: i64 = 1_000;

/// Who renews does so on one master after the other, in milliseconds: what a majority guarantees may move some time after the
/// first end did, and with a master that had nothing before.
const RENEWS_WITHIN_MS: i64 = 1_000;

/// Names a lock while it is in the table.
pub(super) type Slot = usize;

/// Every lock of every master.
#[derive(Debug)]
pub(super) struct Table {
    names: Arc<[Box<str>]>,
    entries: Slab<Entry>,
    by_key: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

/// One lock. A hundred thousand of them must fit into some tens of megabytes.
#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    /// The forms that were read, one for each token: nearly always one.
    forms: SmallVec<[Form; 1]>,
    /// What each master showed.
    reads: Box<[Read]>,
    news: News,
    /// What the board was told last; `None`: the board does not know it.
    told: Option<Told>,
    /// When the same token was last read to end at another moment than before, on any master.
    end_moved_at: Option<i64>,
    /// Since when a decision against an owner waits for the other masters.
    unsettled_since: Option<i64>,
    /// It waits to be told.
    queued: bool,
    /// The board may know it although it was told of its end: while a release is being tried it takes note of none.
    expected: bool,
}

/// What the board was told of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    standing: Standing,
    /// Two bits for each master: token, nothing, unreachable, unread.
    votes: u32,
}

/// What was noticed since the board was told.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    noticed_at: Option<Time>,
    ended: Hint,
    /// One bit for each master that announced the key as new.
    new_on: u16,
    /// Something else than a scan led here.
    noticed: bool,
    /// On some master it was a part of another lock before.
    was_part: bool,
    /// On some master the same token ends at another moment than before.
    end_moved: bool,
}

/// The last reading of one master.
#[derive(Clone, Copy, Debug)]
struct Read {
    what: What,
    took_ms: u32,
    lease_ms: u32,
    /// [`NEVER`] without expiry.
    ttl_ms: i64,
    /// The first of its keys may end so much earlier.
    early_ms: u32,
    /// 0: it was never read.
    read_at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Never,
    Nothing,
    PartOfAnother,
    Token(u8),
}

impl Read {
    const NEVER: Read = Read { what: What::Never, took_ms: 0, lease_ms: 0, ttl_ms: NEVER, early_ms: 0, read_at: 0 };

    fn asked_at(&self) -> i64 {
        self.read_at - i64::from(self.took_ms)
    }

    fn reading(&self, token: u8) -> Reading {
        Reading {
            token,
            asked_at: self.asked_at(),
            read_at: self.read_at,
            ttl_ms: (self.ttl_ms != NEVER).then_some(self.ttl_ms),
            early_ms: i64::from(self.early_ms),
            lease_ms: i64::from(self.lease_ms),
        }
    }

    /// Whether the lease of the same token ends where the reading before had it end.
    fn ends_like(&self, before: &Read) -> bool {
        if self.ttl_ms == NEVER || before.ttl_ms == NEVER {
            return self.ttl_ms == before.ttl_ms;
        }
        let jitter = JITTER_MS + (self.read_at - before.read_at).max(0) / JITTER_DIVISOR;
        let first_end = |read: &Read| read.ttl_ms - i64::from(read.early_ms);
        let (min, max) = (self.asked_at() + first_end(self), self.read_at + first_end(self));
        min <= before.read_at + first_end(before) + jitter && max + jitter >= before.asked_at() + first_end(before)
    }
}

/// What folding one master's sight in came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    /// The lock that the board may have to be told of.
    pub(super) dirty: Option<Slot>,
    /// Two readings overlap, which does not say which was first: that master must be read again.
    pub(super) in_doubt: bool,
}

/// What there is to tell the board of a lock.
#[derive(Debug)]
pub(super) enum Tell {
    /// This.
    Sight {
        sight: Sight,
        /// It was met by a scan and was not known.
        scan: bool,
    },
    /// Nothing yet: other masters may be about to change it. `new`: it did not wait before.
    Wait { new: bool },
    /// Nothing.
    Nothing,
}

/// What a master has of one lock, for a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// The token, gone by itself after this moment; `None` without expiry.
    It { gone_after: Option<Time> },
    /// Not the token, or it was not read.
    NotIt,
}

impl Table {
    pub(super) fn new(names: Arc<[Box<str>]>) -> Table {
        Table { names, entries: Slab::new(), by_key: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        self.by_key.find(hash, |&slot| self.entries.get(slot).is_some_and(|entry| *entry.key == *key)).copied()
    }

    /// One past the largest slot that was ever used.
    pub(super) fn slots(&self) -> Slot {
        self.entries.iter().next_back().map_or(0, |(slot, _)| slot + 1)
    }

    /// Takes in what one master showed.
    pub(super) fn fold(&mut self, node: usize, known: &Node, sight: Sight, scan: bool) -> Folded {
        // What is gone is remembered as gone while a page of a scan may still come that was read before.
        let remember = known.scan_began.is_some();
        let found = self.find(&sight.key);
        let slot = match (&sight.seen, found) {
            (_, Some(slot)) => slot,
            (Seen::Held(_), None) => self.insert(&sight.key),
            (Seen::Gone | Seen::PartOfAnother, None) if remember && !scan => self.insert(&sight.key),
            (Seen::Gone | Seen::PartOfAnother, None) => return Folded::default(),
        };
        let entry = &mut self.entries[slot];
        let before = entry.reads[node];
        let overlaps = sight.asked_at.0 < before.read_at;
        if before.what != What::Never && (sight.read_at.0 < before.asked_at() || (overlaps && scan)) {
            // What is known is newer; or it was read because it changed, which a page of a scan was not.
            return Folded::default();
        }
        let (what, ttl_ms, early_ms) = match sight.seen {
            Seen::Held(form) => {
                let ttl = form.holds.iter().filter_map(|hold| hold.ttl_ms).min().unwrap_or(NEVER);
                let early = form.holds.iter().filter_map(|hold| Some(hold.extra.as_ref()?.ends_early_ms)).max();
                (What::Token(entry.token_of(form)), ttl, early.unwrap_or(0))
            }
            Seen::Gone => (What::Nothing, NEVER, 0),
            Seen::PartOfAnother => (What::PartOfAnother, NEVER, 0),
        };
        let took_ms = u32::try_from(sight.read_at.since(sight.asked_at).max(0)).unwrap_or(u32::MAX);
        let mut read = Read { what, took_ms, lease_ms: 0, ttl_ms, early_ms, read_at: sight.read_at.0 };
        let same = before.what == what && read.ends_like(&before);
        if ttl_ms != NEVER {
            let left = u32::try_from(ttl_ms.max(0)).unwrap_or(u32::MAX);
            read.lease_ms = if same { before.lease_ms.max(left) } else { left };
        }
        let end_moved = before.what == what && !same;
        if end_moved {
            entry.end_moved_at = Some(read.read_at);
        } else if matches!(what, What::Token(_)) && entry.reads.iter().all(|read| read.what != what) {
            // Another holder's.
            entry.end_moved_at = None;
        }
        entry.reads[node] = read;
        entry.drop_unused_forms();
        let news = &mut entry.news;
        news.noticed_at = match (news.noticed_at, sight.noticed_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        match sight.hint {
            Hint::None => {}
            Hint::New => news.new_on |= 1 << node,
            Hint::WasPart => news.was_part = true,
            ended => news.ended = ended,
        }
        news.noticed |= !scan;
        news.end_moved |= end_moved;
        let quiet = scan
            && match entry.told.map(|told| told.standing) {
                // A vote more for what is decided: the round over all locks tells when the scan is done.
                Some(Standing::Owned) if !known.complete => true,
                // Without a feed that confirms it, the board has to be told that it was read again.
                Some(_) => same && known.confirmed_at.is_some(),
                None => false,
            };
        let first = !quiet && !std::mem::replace(&mut entry.queued, true);
        Folded { dirty: first.then_some(slot), in_doubt: overlaps && !same && before.what != What::Never }
    }

    /// What the board is to be told of a lock now. `hurry`: even if it may change in a moment. `swept`: nothing was read,
    /// only what is known of the masters changed.
    pub(super) fn tell(&mut self, slot: Slot, nodes: &[Node], now: Time, hurry: bool, swept: bool) -> Tell {
        let Some(entry) = self.entries.get_mut(slot) else { return Tell::Nothing };
        entry.queued = false;
        let votes = entry.votes(nodes);
        let judgement = judge(&votes);
        let nothing = judgement.tokens.is_empty();
        let told = Told { standing: judgement.standing, votes: fingerprint(&votes) };
        let still_nothing = nothing && entry.told.is_none() && !(entry.expected && entry.news.noticed);
        if still_nothing || (swept && entry.told == Some(told)) {
            return Tell::Nothing;
        }
        let flips = entry.told.is_none_or(|before| before.standing != judgement.standing);
        if flips && !nothing && judgement.standing != Standing::Owned && !hurry && !entry.is_settled(nodes) {
            let new = entry.unsettled_since.is_none();
            let since = *entry.unsettled_since.get_or_insert(now.0);
            if now.0 - since < SETTLE_MS {
                return Tell::Wait { new };
            }
        }
        entry.unsettled_since = None;
        let scan = entry.told.is_none() && !entry.news.noticed;
        let news = std::mem::take(&mut entry.news);
        let newest = entry.reads.iter().max_by_key(|read| read.read_at).copied().unwrap_or(Read::NEVER);
        let seen = if !nothing {
            Seen::Held(entry.form(&self.names, nodes, &votes, &judgement, newest.read_at, news.end_moved))
        } else if entry.reads.iter().any(|read| read.what == What::PartOfAnother) {
            Seen::PartOfAnother
        } else {
            Seen::Gone
        };
        let was_known = entry.told.is_some();
        let announced = usize::from(news.new_on.count_ones() as u16) >= quorum::majority(nodes.len());
        let hint = match (nothing, announced) {
            (true, _) => news.ended,
            (false, true) => Hint::New,
            (false, false) if !was_known && news.new_on != 0 => Hint::New,
            (false, false) if !was_known && news.was_part => Hint::WasPart,
            (false, false) => Hint::None,
        };
        entry.told = (!nothing).then_some(told);
        entry.expected = true;
        let sight = Sight {
            key: bytes::Bytes::copy_from_slice(&entry.key),
            seen,
            asked_at: Time(newest.asked_at()),
            read_at: Time(newest.read_at),
            noticed_at: news.noticed_at,
            hint,
        };
        Tell::Sight { sight, scan }
    }

    /// The board asks for this lock: what is read of it must be told, even if it is nothing. Answers its slot if it was
    /// not in the table.
    pub(super) fn expect(&mut self, key: &[u8]) -> Option<Slot> {
        if let Some(slot) = self.find(key) {
            self.entries[slot].expected = true;
            return None;
        }
        let slot = self.insert(key);
        self.entries[slot].expected = true;
        Some(slot)
    }

    /// Since when a decision against an owner waits for the other masters.
    pub(super) fn unsettled_since(&self, slot: Slot) -> Option<Time> {
        self.entries.get(slot)?.unsettled_since.map(Time)
    }

    /// Nothing stands anywhere, and the board does not know it.
    pub(super) fn is_over(&self, slot: Slot) -> bool {
        self.entries.get(slot).is_some_and(|entry| {
            entry.told.is_none() && !entry.reads.iter().any(|read| matches!(read.what, What::Token(_)))
        })
    }

    /// Forgets a lock.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.entries.try_remove(slot) else { return };
        let hash = self.hasher.hash_one(&*entry.key);
        if let Ok(found) = self.by_key.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
    }

    /// Locks that a scan of this master did not meet although they were there before it began.
    pub(super) fn unmet(&self, node: usize, began_at: Time) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(move |(_, entry)| {
            let read = entry.reads.get(node)?;
            (matches!(read.what, What::Token(_)) && read.read_at < began_at.0).then_some(&*entry.key)
        })
    }

    /// When a lock whose guaranteed time is over really ends by itself, if that is still to come: until then there is
    /// nothing new to read.
    pub(super) fn lapses_at(&self, key: &[u8], nodes: &[Node], now: Time) -> Option<Time> {
        let entry = &self.entries[self.find(key)?];
        let votes = entry.votes(nodes);
        let judgement = judge(&votes);
        let over = judgement.standing == Standing::Owned && judgement.until <= now.0;
        if !over || judgement.gone_after == NEVER {
            return None;
        }
        // Masters whose copies end a moment later are waited for, so that the end is one and not several.
        let last = votes.iter().filter_map(|vote| match vote {
            Vote::Stands(reading) => Some(reading.gone_after()),
            _ => None,
        });
        let last = last.filter(|&at| at <= judgement.gone_after + SETTLE_MS).max().unwrap_or(judgement.gone_after);
        (last > now.0).then_some(Time(last))
    }

    /// What each master has of this token, and the latest moment at which any copy of it is gone.
    pub(super) fn has(&self, key: &[u8], token: &[u8]) -> Option<Vec<Has>> {
        let entry = &self.entries[self.find(key)?];
        let has = entry.reads.iter().map(|read| match read.what {
            What::Token(number) if entry.forms[usize::from(number)].holds.iter().any(|hold| *hold.token == *token) => {
                let gone_after = read.reading(number).gone_after();
                Has::It { gone_after: (gone_after != NEVER).then_some(Time(gone_after)) }
            }
            _ => Has::NotIt,
        });
        Some(has.collect())
    }

    fn insert(&mut self, key: &[u8]) -> Slot {
        let hash = self.hasher.hash_one(key);
        let slot = self.entries.insert(Entry {
            key: key.into(),
            forms: SmallVec::new(),
            reads: vec![Read::NEVER; self.names.len()].into(),
            news: News::default(),
            told: None,
            end_moved_at: None,
            unsettled_since: None,
            queued: false,
            expected: false,
        });
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.by_key
            .insert_unique(hash, slot, |&slot| entries.get(slot).map_or(0, |entry| hasher.hash_one(&*entry.key)));
        slot
    }
}

impl Entry {
    /// The number of a form's token. The newest form of it is kept: what is beside the token may have changed.
    fn token_of(&mut self, form: Form) -> u8 {
        let same = |known: &Form| {
            known.holds.len() == form.holds.len()
                && known.holds.iter().zip(&form.holds).all(|(one, other)| one.token == other.token)
        };
        match self.forms.iter().position(same) {
            Some(place) => {
                self.forms[place] = form;
                place as u8
            }
            None => {
                self.forms.push(form);
                (self.forms.len() - 1) as u8
            }
        }
    }

    fn drop_unused_forms(&mut self) {
        let mut place = 0;
        while place < self.forms.len() {
            if self.reads.iter().any(|read| read.what == What::Token(place as u8)) {
                place += 1;
                continue;
            }
            self.forms.remove(place);
            for read in &mut self.reads {
                if let What::Token(token) = &mut read.what
                    && usize::from(*token) > place
                {
                    *token -= 1;
                }
            }
        }
    }

    fn votes(&self, nodes: &[Node]) -> SmallVec<[Vote; 5]> {
        self.reads
            .iter()
            .zip(nodes)
            .map(|(read, node)| {
                let current = read.what != What::Never && read.read_at >= node.gap_at;
                match read.what {
                    _ if !node.reachable => Vote::Unreachable,
                    What::Token(token) if current => Vote::Stands(read.reading(token)),
                    What::Token(_) => Vote::Unread,
                    _ if node.complete || current => Vote::Absent,
                    _ => Vote::Unread,
                }
            })
            .collect()
    }

    /// Every master that answers is known to have had nothing newer when the newest was read.
    fn is_settled(&self, nodes: &[Node]) -> bool {
        let newest = self.reads.iter().map(|read| read.read_at).max().unwrap_or(0);
        self.reads.iter().zip(nodes).all(|(read, node)| {
            !node.reachable || read.read_at >= newest || node.confirmed_at.is_some_and(|at| at.0 >= newest)
        })
    }

    /// The form for the board: the owner's, or all that stand.
    fn form(
        &self,
        names: &Arc<[Box<str>]>,
        nodes: &[Node],
        votes: &[Vote],
        judgement: &Judgement,
        read_at: i64,
        end_moved: bool,
    ) -> Form {
        let first = judgement.tokens.first().map_or(0, |&(token, _)| usize::from(token));
        let mut form = self.forms[first].clone();
        let readings = |token: u8| {
            votes.iter().filter_map(move |vote| match vote {
                Vote::Stands(reading) if reading.token == token => Some(reading),
                _ => None,
            })
        };
        if judgement.standing == Standing::Owned {
            for hold in &mut form.holds {
                hold.ttl_ms = (judgement.until != NEVER).then(|| judgement.until - read_at);
                let early = u32::try_from(judgement.spread_ms).unwrap_or(u32::MAX);
                let extra = hold.extra.get_or_insert_with(Box::<HoldExtra>::default);
                extra.ends_early_ms = early;
                // One more master that is heard of, or one less, decides when a majority ends: nobody has renewed.
                let moved_lately = self.end_moved_at.is_some_and(|at| read_at - at <= RENEWS_WITHIN_MS);
                extra.same_end = !end_moved && !moved_lately;
            }
        } else {
            form.state = LockState::NoQuorum;
            form.holds.clear();
            for &(token, _) in &judgement.tokens {
                let last = readings(token).map(Reading::gone_after).max().unwrap_or(NEVER);
                for hold in &self.forms[usize::from(token)].holds {
                    let mut hold = hold.clone();
                    hold.ttl_ms = (last != NEVER).then(|| last - 1 - read_at);
                    form.holds.push(hold);
                }
            }
        }
        let lease = votes
            .iter()
            .filter_map(|vote| match vote {
                Vote::Stands(reading) => Some(reading.ttl_ms.map(|ttl| reading.lease_ms.max(ttl))),
                _ => None,
            })
            .max_by_key(|lease| lease.unwrap_or(NEVER))
            .flatten();
        let first_read =
            self.reads.iter().filter(|read| matches!(read.what, What::Token(_))).map(|read| read.read_at).min();
        let since = lease.map_or(first_read.unwrap_or(NEVER), |lease| read_at - lease);
        let shown = self
            .reads
            .iter()
            .zip(votes)
            .zip(nodes)
            .map(|((read, vote), node)| quorum::Node {
                vote: match vote {
                    Vote::Stands(reading) => Shows::Stands { token: reading.token, gone_after: reading.gone_after() },
                    Vote::Absent => Shows::Absent,
                    Vote::Unreachable => Shows::Unreachable,
                    Vote::Unread => Shows::Unread,
                },
                read_at: read.read_at,
                took_ms: read.took_ms,
                restarted_within_lease: node.started_at.is_some_and(|at| at.0 > since),
            })
            .collect();
        let tokens = self.forms.iter().map(|form| form.holds.first().map_or(&[][..], |hold| &hold.token));
        let quorum = Quorum::new(names.clone(), judgement, shown, tokens);
        let extra = form.extra_mut();
        extra.quorum = Some(Box::new(quorum));
        if judgement.standing == Standing::Nobody && !extra.flags.contains(&Flag::HalfLock) {
            extra.flags.push(Flag::HalfLock);
        }
        form
    }
}

fn fingerprint(votes: &[Vote]) -> u32 {
    votes.iter().fold(0, |all, vote| {
        all << 2
            | match vote {
                Vote::Stands(_) => 0,
                Vote::Absent => 1,
                Vote::Unreachable => 2,
                Vote::Unread => 3,
            }
    })
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::Certainty;
    use proptest::prelude::*;

    use super::*;
    use crate::source::{DialectTraits, Recognition};

    static STRING: Recognition = Recognition {
        dialect: "string",
        certainty: Certainty::Certain,
        because: "a test",
        traits: &DialectTraits::PLAIN,
    };

    const NODES: usize = 5;
    const TTL: i64 = 10_000;

    struct World {
        table: Table,
        nodes: [Node; NODES],
    }

    impl World {
        /// Five masters that were seen whole.
        fn new() -> World {
            let names: Arc<[Box<str>]> = (1..=NODES).map(|n| format!("r{n}").into()).collect();
            let seen = Node { reachable: true, complete: true, confirmed_at: Some(Time(0)), ..Node::UNKNOWN };
            World { table: Table::new(names), nodes: [seen; NODES] }
        }

        fn shows(&mut self, node: usize, at: i64, seen: Seen) -> Folded {
            self.shows_as(node, at, seen, false)
        }

        fn shows_as(&mut self, node: usize, at: i64, seen: Seen, scan: bool) -> Folded {
            let key = bytes::Bytes::from_static(b"k");
            let (asked_at, read_at) = (Time(at), Time(at + 2));
            let sight = Sight { key, seen, asked_at, read_at, noticed_at: None, hint: Hint::None };
            self.table.fold(node, &self.nodes[node], sight, scan)
        }

        fn tell(&mut self, now: i64) -> Tell {
            let Some(slot) = self.table.find(b"k") else { return Tell::Nothing };
            self.table.tell(slot, &self.nodes, Time(now), false, false)
        }

        /// What the board is told, which must be something.
        #[track_caller]
        fn told(&mut self, now: i64) -> Sight {
            match self.tell(now) {
                Tell::Sight { sight, .. } => sight,
                other => panic!("{other:?}"),
            }
        }

        fn confirm(&mut self, at: i64) {
            for node in &mut self.nodes {
                node.confirmed_at = Some(Time(at));
            }
        }
    }

    fn held(token: &str, ttl_ms: i64) -> Seen {
        Seen::Held(Form::exclusive(&STRING, token.as_bytes(), Some(ttl_ms)))
    }

    fn form(sight: &Sight) -> &Form {
        match &sight.seen {
            Seen::Held(form) => form,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lock_is_told_of_when_a_majority_has_it_and_when_it_is_nowhere() {
        let mut world = World::new();
        for node in 0..2 {
            world.shows(node, 1_000, held("a", TTL));
            assert!(matches!(world.tell(1_003), Tell::Wait { .. }), "an acquire is under way");
        }
        world.shows(2, 1_000, held("a", TTL));
        let sight = world.told(1_003);
        assert_eq!((form(&sight).state, form(&sight).standing()), (LockState::Held, Standing::Owned));
        let lasts = sight.read_at.0 + form(&sight).holds[0].ttl_ms.unwrap();
        assert_eq!(lasts, 1_000 + TTL - TTL / 100 - 2);
        for node in 0..2 {
            world.shows(node, 2_000, Seen::Gone);
            assert!(matches!(world.tell(2_003), Tell::Wait { .. }), "a release is under way");
        }
        world.shows(2, 2_000, Seen::Gone);
        assert_eq!(world.told(2_003).seen, Seen::Gone);
        let slot = world.table.find(b"k").unwrap();
        assert!(world.table.is_over(slot));
        world.table.remove(slot);
        assert_eq!((world.table.find(b"k"), world.table.slots()), (None, 0));
    }

    #[test]
    fn a_master_that_is_heard_of_later_has_renewed_nothing() {
        let mut world = World::new();
        let same_end = |sight: &Sight| form(sight).holds[0].extra.as_ref().unwrap().same_end;
        // An acquire that was held up between the masters.
        for node in 0..3 {
            world.shows(node, 1_000, held("a", TTL + 100 * node as i64));
        }
        let first = world.told(1_003);
        world.shows(3, 1_010, held("a", TTL + 290));
        let later = world.told(1_013);
        let until = |sight: &Sight| sight.read_at.0 + form(sight).holds[0].ttl_ms.unwrap();
        assert!(until(&later) > until(&first) + 50 && same_end(&later), "{first:#?} {later:#?}");
        world.shows(0, 3_000, held("a", TTL));
        assert!(!same_end(&world.told(3_003)));
        // The master that decides had nothing until now.
        world.shows(4, 3_100, held("a", TTL));
        assert!(!same_end(&world.told(3_103)));
    }

    #[test]
    fn what_stands_on_a_minority_is_told_when_the_others_confirm_or_the_time_is_over() {
        let mut world = World::new();
        world.shows(0, 1_000, held("a", TTL));
        assert!(matches!(world.tell(1_003), Tell::Wait { new: true }));
        assert!(matches!(world.tell(1_100), Tell::Wait { new: false }));
        world.confirm(1_002);
        let sight = world.told(1_101);
        assert_eq!((form(&sight).state, form(&sight).standing()), (LockState::NoQuorum, Standing::Nobody));
        assert_eq!(form(&sight).extra.as_ref().unwrap().flags[..], [Flag::HalfLock]);

        let mut world = World::new();
        world.shows(0, 1_000, held("a", TTL));
        assert!(matches!(world.tell(1_003), Tell::Wait { .. }));
        assert_eq!(form(&world.told(1_003 + SETTLE_MS)).standing(), Standing::Nobody);
    }

    #[test]
    fn what_was_read_before_changes_were_missed_has_no_vote() {
        let mut world = World::new();
        for node in 0..4 {
            world.shows(node, 1_000, held("a", TTL));
        }
        assert_eq!(form(&world.told(1_003)).standing(), Standing::Owned);
        for node in 0..2 {
            world.nodes[node].missed(Time(1_500));
        }
        let slot = world.table.find(b"k").unwrap();
        let Tell::Sight { sight, .. } = world.table.tell(slot, &world.nodes, Time(1_501), true, true) else { panic!() };
        assert_eq!(form(&sight).standing(), Standing::Undecided);
        // Nothing changed since: the round over all locks has nothing to tell.
        assert!(matches!(world.table.tell(slot, &world.nodes, Time(1_502), true, true), Tell::Nothing));
        world.shows(0, 1_600, held("a", TTL - 600));
        assert_eq!(form(&world.told(1_603)).standing(), Standing::Owned);
    }

    #[test]
    fn a_page_that_was_read_before_the_end_does_not_bring_a_lock_back() {
        let mut world = World::new();
        world.nodes[0].scan_began = Some(Time(500));
        world.shows(0, 1_000, Seen::Gone);
        assert_eq!(world.shows_as(0, 900, held("a", TTL), true), Folded::default());
        assert!(matches!(world.tell(1_003), Tell::Nothing));
    }

    #[test]
    fn the_board_is_told_of_an_end_again_where_it_asks() {
        let mut world = World::new();
        assert!(world.table.expect(b"k").is_some());
        world.shows(1, 1_000, Seen::Gone);
        assert_eq!(world.told(1_003).seen, Seen::Gone);
        world.shows(1, 2_000, Seen::Gone);
        assert_eq!(world.told(2_003).seen, Seen::Gone);
    }

    #[test]
    fn reading_an_untouched_lease_again_does_not_push_it_out() {
        let mut world = World::new();
        for node in 0..NODES {
            world.shows(node, 1_000, held("a", TTL));
        }
        let lasts = |sight: &Sight| sight.read_at.0 + form(sight).holds[0].ttl_ms.unwrap();
        let first = lasts(&world.told(1_003));
        for node in 0..NODES {
            world.shows(node, 6_000, held("a", TTL - 5_000));
        }
        assert_eq!(lasts(&world.told(6_003)), first, "the drift is that of the lease, not of what is left");
    }

    proptest! {
        #[test]
        fn whatever_is_read_the_owner_is_on_a_majority_and_forms_are_as_many_as_tokens(
            steps in proptest::collection::vec((0..NODES, 0u8..4, 1i64..40), 1..60)
        ) {
            let mut world = World::new();
            let mut now = 1_000;
            let mut there = [0u8; NODES];
            for (node, token, pause) in steps {
                now += pause;
                // 0 is nothing.
                let seen = if token == 0 { Seen::Gone } else { held(&token.to_string(), TTL) };
                there[node] = token;
                world.shows(node, now, seen);
                now += 3;
                if let Tell::Sight { sight, .. } = world.tell(now) {
                    let votes = |token: u8| there.iter().filter(|&&other| other == token).count();
                    match &sight.seen {
                        Seen::Held(form) => {
                            let tokens: Vec<u8> = form.holds.iter().map(|hold| hold.token[0] - b'0').collect();
                            if form.standing() == Standing::Owned {
                                prop_assert!(tokens.len() == 1 && votes(tokens[0]) >= quorum::majority(NODES));
                            } else {
                                let mut stand: Vec<u8> = there.iter().copied().filter(|&token| token != 0).collect();
                                stand.sort_unstable();
                                stand.dedup();
                                prop_assert!(stand.iter().all(|token| tokens.contains(token)) && stand.len() == tokens.len());
                            }
                        }
                        _ => prop_assert!(there.iter().all(|&token| token == 0)),
                    }
                }
            }
        }
    }
}
