//! What one reading of one lock showed.

use bytes::Bytes;
use lockkeeper_model::{Flag, Identity, LockState, Mode, Standing, Time};
use smallvec::SmallVec;

use super::{Recognition, redlock};

/// What one reading of one lock showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The lock's id as bytes: its key, for nearly all.
    pub key: Bytes,
    /// What was there.
    pub seen: Seen,
    /// The reading was not done before this moment…
    pub asked_at: Time,
    /// …nor after this one.
    pub read_at: Time,
    /// The change that led to this reading was noticed at this moment; `None` for a scan.
    pub noticed_at: Option<Time>,
    /// What the store itself said of the change.
    pub hint: Hint,
}

/// What was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A lock.
    Held(Form),
    /// Nothing, or nothing that is a lock any more.
    Gone,
    /// What is there belongs to a lock that is shown under another id: it was never a lock by itself.
    PartOfAnother,
}

/// What the store itself said of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    #[default]
    None,
    /// The key was deleted on somebody's command.
    Deleted,
    /// The key's time ran out.
    Expired,
    /// The key was dropped to save memory.
    Evicted,
    /// The key did not exist before: an acquire, never a renewal.
    New,
    /// It was a part of another lock when it was read before: since when it is held is not known.
    WasPart,
}

/// A lock as its dialect understands what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Which library family, and how sure that is.
    pub recognition: &'static Recognition,
    /// How many may hold it together.
    pub mode: Mode,
    /// What is so of it as a whole.
    pub state: LockState,
    /// Who holds it, in the order of the store.
    pub holds: SmallVec<[Hold; 1]>,
    /// What only some forms have.
    pub extra: Option<Box<Extra>>,
}

impl Form {
    /// A lock with one holder and nothing else to say of it.
    #[must_use]
    pub fn exclusive(recognition: &'static Recognition, token: &[u8], ttl_ms: Option<i64>) -> Form {
        Form {
            recognition,
            mode: Mode::Exclusive,
            state: LockState::Held,
            holds: smallvec::smallvec![Hold::new(token, ttl_ms)],
            extra: None,
        }
    }

    /// Whether those it lists have it. Only on several masters can a token be there without being a holder's.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let quorum = self.extra.as_ref().and_then(|extra| extra.quorum.as_ref());
        quorum.map_or(Standing::Owned, |quorum| quorum.standing())
    }

    /// The rare parts, made if there were none.
    pub fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// What only some [`Form`]s have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// What people call it, where that is not its key without the family's prefix.
    pub name: Option<Box<str>>,
    /// The keys that hold it, where those are not just its id.
    pub keys: Vec<Bytes>,
    /// Keys that are there, belong to it and are no locks.
    pub companions: Vec<Bytes>,
    /// How many may hold a semaphore together, where that is recorded.
    pub permits: Option<u32>,
    /// Those who wait, where the store keeps them.
    pub queue: Option<Queue>,
    /// What its form shows to be dangerous.
    pub flags: SmallVec<[Flag; 2]>,
    /// What else its form says, one sentence each.
    pub notes: Vec<String>,
    /// How it lies in the store, where that does not follow from its holds.
    pub entries: Vec<Entry>,
    /// How it stands on several independent masters.
    pub quorum: Option<Box<redlock::Quorum>>,
}

/// Those who wait, as the store keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Whether they are served in this order.
    pub ordered: bool,
    /// How many there are; more than `waiters` where only the first were read.
    pub count: u32,
    /// The first of them.
    pub waiters: Vec<Queued>,
}

/// One who waits, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What names it; empty where nothing does.
    pub token: Box<[u8]>,
    /// When it may be dropped from the queue, in milliseconds of the epoch.
    pub expires_at_ms: Option<i64>,
    /// Whether it is proven to be away.
    pub abandoned: Option<bool>,
}

/// One value of a stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, where that is not the lock's id.
    pub key: Option<Bytes>,
    /// The field or member.
    pub field: Option<Bytes>,
    /// The value or score.
    pub value: Bytes,
}

/// One holder's part of a [`Form`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The token as stored. Boxed exactly: the registry keeps it as it comes.
    pub token: Box<[u8]>,
    /// The re-entry count, or the permits that it has; 1 where the library does not count.
    pub count: u32,
    /// What is left of the lease at the moment of the reading, in milliseconds; `None` without expiry.
    pub ttl_ms: Option<i64>,
    /// What only some holds have.
    pub extra: Option<Box<HoldExtra>>,
}

impl Hold {
    /// A hold that is entered once and has nothing else to say.
    #[must_use]
    pub fn new(token: &[u8], ttl_ms: Option<i64>) -> Hold {
        Hold { token: token.into(), count: 1, ttl_ms, extra: None }
    }
}

/// What only some [`Hold`]s have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldExtra {
    /// How it holds the lock, where that is not the lock's mode.
    pub mode: Option<Mode>,
    /// The number by which the resource can refuse a late holder.
    pub fencing: Option<Box<str>>,
    /// When it was taken, where the store keeps that beside the token.
    pub taken_at: Option<Time>,
    /// What the library wrote beside the token, in words.
    pub metadata: Option<Box<str>>,
    /// What is stored with the token and differs from one acquire to the next: with another of it, it is another hold.
    pub stamp: Option<Bytes>,
    /// The store keeps one expiry for all holders: a later end does not say that this one renewed.
    pub shares_lease: bool,
    /// The lease may end so many milliseconds earlier than `ttl_ms` says: it is known from several masters or several
    /// keys that differ.
    pub ends_early_ms: u32,
    /// What this is known from has not moved its end since it was told before: another end is another of theirs.
    pub same_end: bool,
    /// Who that is, where more than its token says it.
    pub identity: Option<Identity>,
}
