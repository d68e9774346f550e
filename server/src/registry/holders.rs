//! Who holds how much: one entry for each party, by the rule of the wait-for graph.
//!
//! Holds are looked through in pieces, so that the board has time for everybody else in between. Those that can be linked
//! with others are one party; each of the rest stands for itself.

use std::collections::HashMap;
use std::str::FromStr;

use lockkeeper_model::{
    Bounds, Connection, Identity, Lease, LinkBasis, LockId, Mode, Time, Verdict, WaitersBasis, words,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Registry;
use super::graph::Key;
use super::record::{Hold, Record, Slot};
use super::show::{name, who};
use crate::access::Reach;
use crate::source::SourceId;

/// Slots in one piece: some milliseconds in which the board does nothing else.
const SLOTS_AT_ONCE: usize = 4_096;

/// Held locks that are looked through for one answer. In a larger store the answer says that it is not all.
const MAX_LOOKED_THROUGH: u64 = 200_000;

/// Parties that are told apart in one answer: some ten megabytes while it is made.
const MAX_PARTIES: usize = 50_000;

/// Locks that are listed of each of several holders; the rest are counted.
const LISTED_OF_EACH: usize = 20;

/// Locks that are listed where one holder is asked about.
const LISTED_OF_ONE: usize = 500;

/// What makes several holds those of one party, as a text that names it from one answer to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyId(Key);

/// No party is named like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names no holder")]
pub struct NoParty;

impl FromStr for PartyId {
    type Err = NoParty;

    fn from_str(text: &str) -> Result<PartyId, NoParty> {
        Key::parse(text).map(PartyId).ok_or(NoParty)
    }
}

/// Which holders.
#[derive(Clone, Debug)]
pub struct HoldersAsked {
    /// Only what is held in this source.
    pub source: Option<SourceId>,
    /// Other locks than these do not exist.
    pub reach: Reach,
    /// Only this one.
    pub holder: Option<PartyId>,
    /// The most holders in the answer.
    pub limit: usize,
}

/// Holders, those with most locks first, and of equally many the one that has held for longest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Holders {
    /// Those.
    pub holders: Vec<HeldBy>,
    /// Holders that are not here, because there are too many.
    pub more_holders: u64,
    /// Held locks that were looked through.
    pub looked_through: u64,
    /// Whether these were all; otherwise anybody may hold more than is told.
    pub complete: bool,
}

/// Somebody who holds locks.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HeldBy {
    /// Names it in `holder`; null where nothing in its token would be met in another lock, so that it stands for one hold.
    pub id: Option<String>,
    /// What to call it on a screen.
    pub name: String,
    /// Who it is, as far as known.
    pub identity: Identity,
    /// Why its holds are taken to be of one party; null where it stands for one hold.
    pub linked_by: Option<LinkBasis>,
    /// Its connection to the store, where one is known.
    pub connection: Option<Connection>,
    /// How many locks it has.
    pub locks: u64,
    /// How many are known to wait for one of them.
    pub waiters: u64,
    /// How many of `list` are held by somebody who is judged to be alive, quiet, gone, or neither.
    pub verdicts: Verdicts,
    /// Its locks, the longest held first.
    pub list: Vec<HeldLock>,
}

/// Holds by what is judged of their holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verdicts {
    /// Renewed or heard of in time.
    pub alive: u64,
    /// Overdue.
    pub quiet: u64,
    /// Its connection closed, for example.
    pub gone: u64,
    /// Nothing tells.
    pub unknown: u64,
}

/// One lock of a holder.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HeldLock {
    /// Its source.
    pub source: String,
    /// Its identity within the source.
    pub id: LockId,
    /// What a person calls it.
    pub name: String,
    /// How this holder holds it.
    pub mode: Mode,
    /// Since when.
    pub held_since: Bounds,
    /// When it goes free by itself if this holder does nothing more.
    pub lease: Lease,
    /// Whether the holder lives, by this hold.
    pub verdict: Verdict,
    /// What that rests on.
    pub evidence: Vec<String>,
    /// How many others hold it as well: it is theirs when this holder is gone.
    pub others: u64,
    /// How many wait for it; null where that is unknown.
    pub waiters: Option<u32>,
    /// How that number is known.
    pub waiters_basis: WaitersBasis,
}

/// A hold, to be found again.
#[derive(Clone, Copy, Debug)]
struct Place {
    since: i64,
    slot: Slot,
    generation: u64,
}

/// What was counted of one party so far.
#[derive(Debug, Default)]
struct Tally {
    locks: u64,
    waiters: u64,
    /// The lock that was counted last: one that a party holds twice is one lock.
    last: Option<Slot>,
    places: Vec<Place>,
}

impl Tally {
    fn add(&mut self, place: Place, record: &Record, room: usize) {
        if self.last.replace(place.slot) != Some(place.slot) {
            self.locks += 1;
            self.waiters += u64::from(record.waiting());
        }
        keep_oldest(&mut self.places, place, room);
    }

    fn oldest(&self) -> i64 {
        self.places.iter().map(|place| place.since).min().unwrap_or(i64::MAX)
    }
}

/// Keeps those that are held for longest, and now and then lets go of the others.
fn keep_oldest(places: &mut Vec<Place>, place: Place, room: usize) {
    places.push(place);
    if places.len() > 2 * room {
        places.sort_unstable_by_key(|place| place.since);
        places.truncate(room);
    }
}

/// An answer in the making.
#[derive(Debug)]
pub struct Looking {
    asked: HoldersAsked,
    next: Slot,
    looked_through: u64,
    parties: HashMap<Key, Tally>,
    alone: Vec<Place>,
    alone_count: u64,
    left_out: u64,
    complete: bool,
}

impl Looking {
    /// Begins.
    #[must_use]
    pub fn new(asked: HoldersAsked) -> Looking {
        Looking {
            asked,
            next: 0,
            looked_through: 0,
            parties: HashMap::new(),
            alone: Vec::new(),
            alone_count: 0,
            left_out: 0,
            complete: true,
        }
    }

    fn room(&self) -> usize {
        if self.asked.holder.is_some() { LISTED_OF_ONE } else { LISTED_OF_EACH }
    }

    fn add(&mut self, registry: &Registry, slot: Slot, record: &Record) {
        let room = self.room();
        for hold in &record.holds {
            let place = Place { since: hold.since, slot, generation: hold.generation };
            let key = Key::of(&registry.identity(record, hold).0);
            match (&self.asked.holder, key) {
                (Some(PartyId(wanted)), key) if key.as_ref() != Some(wanted) => {}
                (_, None) => {
                    self.alone_count += 1;
                    keep_oldest(&mut self.alone, place, self.asked.limit);
                }
                (_, Some(key)) => {
                    let is_full = self.parties.len() >= MAX_PARTIES;
                    match self.parties.get_mut(&key) {
                        Some(tally) => tally.add(place, record, room),
                        None if is_full => self.left_out += 1,
                        None => self.parties.entry(key).or_default().add(place, record, room),
                    }
                }
            }
        }
    }
}

impl Registry {
    /// Looks through one more piece of all that is held; the answer, once that was the last.
    #[must_use]
    pub fn look_for_holders(&self, looking: &mut Looking, now: Time) -> Option<Holders> {
        let (from, end) = (looking.next as usize, self.slots());
        let to = (from + SLOTS_AT_ONCE).min(end);
        for slot in from..to {
            let Some(record) = self.records.get(slot).filter(|record| !record.is_ended()) else { continue };
            let is_asked = looking.asked.source.is_none_or(|source| source == record.source)
                && looking.asked.reach.has(self.source_name(record.source), &record.key);
            if !is_asked {
                continue;
            }
            if looking.looked_through == MAX_LOOKED_THROUGH {
                looking.complete = false;
                return Some(self.holders_found(looking, now));
            }
            looking.looked_through += 1;
            looking.add(self, slot as Slot, record);
        }
        looking.next = to as Slot;
        (to >= end).then(|| self.holders_found(looking, now))
    }

    fn holders_found(&self, looking: &mut Looking, now: Time) -> Holders {
        let room = looking.room();
        let parties = std::mem::take(&mut looking.parties).into_iter().map(|(key, tally)| (Some(key), tally));
        let alone = std::mem::take(&mut looking.alone).into_iter().map(|place| {
            let waiters = self.record(place.slot).map_or(0, Record::waiting);
            let tally = Tally { locks: 1, waiters: waiters.into(), last: None, places: vec![place] };
            (None, tally)
        });
        let listed_alone = alone.len() as u64;
        let mut all: Vec<(Option<Key>, Tally)> = parties.chain(alone).collect();
        all.sort_by_key(|(_, tally)| (std::cmp::Reverse(tally.locks), tally.oldest()));
        let beyond = all.len().saturating_sub(looking.asked.limit) as u64;
        all.truncate(looking.asked.limit);
        Holders {
            holders: all.into_iter().filter_map(|(key, tally)| self.held_by(key, tally, room, now)).collect(),
            more_holders: beyond + looking.left_out + (looking.alone_count - listed_alone.min(looking.alone_count)),
            looked_through: looking.looked_through,
            complete: looking.complete,
        }
    }

    /// What is told of one; `None` where it let go of everything while others were looked for.
    fn held_by(&self, key: Option<Key>, mut tally: Tally, room: usize, now: Time) -> Option<HeldBy> {
        tally.places.sort_unstable_by_key(|place| place.since);
        tally.places.truncate(room);
        let found = |place: &Place| {
            let record = self.record(place.slot)?;
            let hold = record.holds.iter().find(|hold| hold.generation == place.generation)?;
            Some((record, hold))
        };
        let found: Vec<(&Record, &Hold)> = tally.places.iter().filter_map(found).collect();
        let first = found.first().map(|(record, hold)| self.holder(record, hold, now))?;
        let mut verdicts = Verdicts::default();
        let list: Vec<HeldLock> = found.into_iter().map(|(record, hold)| self.held_lock(record, hold, now)).collect();
        for lock in &list {
            match lock.verdict {
                Verdict::Alive => verdicts.alive += 1,
                Verdict::Quiet => verdicts.quiet += 1,
                Verdict::Gone => verdicts.gone += 1,
                Verdict::Unknown => verdicts.unknown += 1,
            }
        }
        let token = first.token.as_deref().or(Some(&first.token_b64)).filter(|token| !token.is_empty());
        let name = who(&first.identity).or_else(|| token.map(words::short_token));
        Some(HeldBy {
            id: key.as_ref().map(Key::id),
            name: name.map_or_else(|| "unknown".to_owned(), |name| words::shown(&name)),
            linked_by: key.as_ref().map(Key::basis),
            identity: first.identity,
            connection: first.connection,
            locks: tally.locks,
            waiters: tally.waiters,
            verdicts,
            list,
        })
    }

    fn held_lock(&self, record: &Record, hold: &Hold, now: Time) -> HeldLock {
        let holder = self.holder(record, hold, now);
        let (waiters, waiters_basis) = self.waiters_known(record);
        HeldLock {
            source: self.source_name(record.source).to_owned(),
            id: LockId::of_key(&record.key),
            name: name(record),
            mode: holder.mode,
            held_since: holder.held_since,
            lease: holder.lease,
            verdict: holder.verdict,
            evidence: holder.evidence,
            others: record.holds.len().saturating_sub(1) as u64,
            waiters,
            waiters_basis,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::*;
    use crate::access::{Grant, Person, Policy, Right, Role, Via};
    use crate::source::{DialectTraits, Form, Hint, Recognition, Report, Seen, Sight};
    use bytes::Bytes;
    use lockkeeper_model::Certainty;

    /// Tokens are `host/pid/anything`.
    fn of_token(token: &[u8]) -> Identity {
        let text = String::from_utf8_lossy(token);
        let mut parts = text.split('/');
        let (host, pid) = (parts.next(), parts.next().and_then(|pid| pid.parse().ok()));
        match pid {
            Some(pid) => Identity { host: host.map(str::to_owned), pid: Some(pid), ..Identity::NOBODY },
            None => Identity::NOBODY,
        }
    }

    static TRAITS: DialectTraits = DialectTraits { identity: of_token, ..DialectTraits::PLAIN };
    static SEEN: Recognition =
        Recognition { dialect: "token", certainty: Certainty::Certain, because: "test", traits: &TRAITS };

    fn take(world: &mut World, key: &str, token: &str, ttl_ms: Option<i64>) {
        world.now += 1_000;
        let at = Time(world.now);
        let seen = Seen::Held(Form::exclusive(&SEEN, token.as_bytes(), ttl_ms));
        let key = Bytes::from(key.to_owned());
        let sight = Sight { key, seen, asked_at: at, read_at: at, noticed_at: Some(at), hint: Hint::New };
        world.apply(Report::Sights { sights: vec![sight], scan: false });
    }

    fn found(world: &World, asked: HoldersAsked) -> Holders {
        let mut looking = Looking::new(asked);
        loop {
            if let Some(holders) = world.registry.look_for_holders(&mut looking, Time(world.now)) {
                return holders;
            }
        }
    }

    fn everybody() -> HoldersAsked {
        HoldersAsked { source: None, reach: Reach::ALL, holder: None, limit: 10 }
    }

    #[test]
    fn holds_are_one_holders_only_where_tokens_say_so() {
        let mut world = World::new();
        take(&mut world, "lock:a", "web-1/7/x", Some(30_000));
        take(&mut world, "lock:b", "web-1/7/y", None);
        take(&mut world, "lock:c", "web-2/7/z", None);
        take(&mut world, "lock:d", "random", None);
        let all = found(&world, everybody());
        let told: Vec<_> =
            all.holders.iter().map(|by| (by.name.as_str(), by.locks, by.linked_by, by.id.is_some())).collect();
        assert_eq!(told[0], ("web-1, pid 7", 2, Some(LinkBasis::Process), true));
        assert_eq!((told.len(), told[1].1, told[2]), (3, 1, ("random", 1, None, false)));
        assert_eq!((all.complete, all.looked_through, all.more_holders), (true, 4, 0));
        let list: Vec<_> = all.holders[0].list.iter().map(|lock| (lock.name.as_str(), lock.lease.expires_at)).collect();
        assert_eq!((list[0].0, list[1]), ("lock:a", ("lock:b", None)));
        assert!(list[0].1.is_some(), "what goes free by itself says when");

        // Asked about by its own name, it is that one and nobody else.
        let id: PartyId = all.holders[0].id.as_deref().unwrap().parse().unwrap();
        let one = found(&world, HoldersAsked { holder: Some(id), ..everybody() });
        assert_eq!((one.holders.len(), &one.holders[0]), (1, &all.holders[0]));
    }

    #[test]
    fn what_is_out_of_the_reach_adds_to_nobody() {
        let mut world = World::new();
        take(&mut world, "lock:a", "web-1/7/x", None);
        take(&mut world, "pay:b", "web-1/7/y", None);
        take(&mut world, "pay:c", "web-2/9/y", None);
        let grant = Grant::new([Right::View], &[], &["lock:*".to_owned()]);
        let policy = Policy::new(vec![Role { name: "r".into(), groups: Vec::new(), grant }]);
        let person = Person { via: Via::Password, roles: vec!["r".into()], ..Person::loopback() };
        let reach = policy.scope(&person).seen().clone();
        let part = found(&world, HoldersAsked { reach, ..everybody() });
        assert_eq!((part.holders.len(), part.holders[0].locks, part.looked_through), (1, 1, 1));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut world = World::new();
        for n in 0..5 {
            take(&mut world, &format!("lock:{n}"), &format!("token-{n}"), None);
        }
        let first = found(&world, HoldersAsked { limit: 2, ..everybody() });
        let names: Vec<_> = first.holders.iter().map(|by| by.name.as_str()).collect();
        assert_eq!((names, first.more_holders), (vec!["token-0", "token-1"], 3), "the longest held first");
    }

    #[test]
    fn the_name_of_a_party_survives_a_link() {
        for key in [
            Key::Client("a:b %".to_owned(), "7".to_owned()),
            Key::Thread("web-1".to_owned(), 7, "t:1/ä".to_owned()),
            Key::Process(String::new(), 0),
        ] {
            assert_eq!(Key::parse(&key.id()), Some(key));
        }
        for bad in ["", "process", "process:a", "process:a:x", "thread:a:1", "client:a:b:c", "other:a:1"] {
            assert_eq!(bad.parse::<PartyId>(), Err(NoParty), "{bad}");
        }
    }
}
