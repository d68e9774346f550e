//! The one task that owns what is known: it folds what sources report into the registry and keeps the views of it.
//!
//! Everybody else holds a [`Board`], a cheap handle that asks by message. The task itself is in [`task`].

mod meter;
mod task;

pub use meter::{HOLD_BOUNDS_S, LockNumbers, Numbers, Times};
pub use task::{BoardOptions, spawn};

use std::sync::Arc;

use bytes::Bytes;
use lockkeeper_model::wire::ClientFrame;
use lockkeeper_model::{Connection, Event, Holder, Identity, Lock, LockId, OtherLocks, SourceStatus, Time, WaitGraph};
use tokio::sync::{mpsc, oneshot};

use crate::access::{Reach, Scope};
use crate::registry::Slot;
pub use crate::registry::Whose;
use crate::registry::holders::{Holders, HoldersAsked, Looking};
use crate::registry::minutes::LostTime;
use crate::registry::past::Piece;
use crate::source::{DialectTraits, ReleaseOrder, SourceHandle, SourceId};
use crate::view::{Asked, Group};
use crate::warning::WarningAsk;

/// Frames that may wait for one viewer. A viewer that lets more pile up gets a whole window once it has read these.
pub const VIEWER_FRAMES: usize = 4;

/// Events that may wait for one subscriber; one that lets more pile up is told of a gap.
pub const SUBSCRIBER_EVENTS: usize = 4_096;

/// Asks the board by message. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    asks: mpsc::Sender<Ask>,
    sources: Arc<[SourceHandle]>,
}

/// The board ended: the server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is shutting down")]
pub struct BoardClosed;

/// A question to the board, with the way to answer it.
#[derive(Debug)]
pub enum Ask {
    /// A page of locks.
    List { asked: Asked, offset: u64, limit: u32, answer: oneshot::Sender<Listing> },
    /// Groups of locks.
    Groups { asked: Asked, limit: u32, answer: oneshot::Sender<Grouping> },
    /// Every lock that is an answer, by its row.
    Rows { asked: Asked, limit: u32, answer: oneshot::Sender<ListedRows> },
    /// Those of these rows that are still there.
    OfRows { rows: Vec<u64>, answer: oneshot::Sender<Vec<Lock>> },
    /// One lock and its transitions.
    Lock { source: SourceId, key: Bytes, answer: oneshot::Sender<Found> },
    /// Who waits for whom.
    Graph { source: Option<SourceId>, reach: Reach, answer: oneshot::Sender<Waits> },
    /// One more step of looking for holders, and the answer after the last.
    Holders { looking: Box<Looking>, answer: oneshot::Sender<(Box<Looking>, Option<Holders>)> },
    /// Where time was lost to waiting.
    LostTime { source: Option<SourceId>, reach: Reach, answer: oneshot::Sender<(Time, LostTime)> },
    /// Leaves what is known of those who waited to be written down.
    TellWaits { answer: oneshot::Sender<()> },
    /// How many locks of a reach each source has.
    Count { reach: Reach, answer: oneshot::Sender<Vec<u64>> },
    /// A piece of all that is held.
    Piece { from: Slot, answer: oneshot::Sender<Piece> },
    /// What is charted: of each source, and of these locks in each.
    Numbers { locks: Arc<[LockId]>, answer: oneshot::Sender<Vec<Numbers>> },
    /// Transitions as they come.
    Subscribe { filter: EventFilter, after: Option<String>, answer: oneshot::Sender<Subscription> },
    /// A new viewer.
    Connect { scope: Scope, answer: oneshot::Sender<Viewer> },
    /// A viewer's frame.
    Viewer { viewer: u64, frame: ClientFrame },
    /// A viewer left.
    Leave { viewer: u64 },
    /// A release of this hold is being tried: until its outcome is known, its end is not concluded.
    Releasing { source: SourceId, key: Bytes, token: Bytes, audit: u64 },
    /// This hold, which was released, is about to be given back; `None`: it was not.
    PuttingBack { source: SourceId, key: Bytes, token: Option<Bytes> },
    /// The fencing counter of this hold was raised.
    Raised { source: SourceId, key: Bytes, token: Bytes, value: String },
    /// What else these holders have.
    Others { holders: Vec<Whose>, reach: Reach, answer: oneshot::Sender<Vec<OtherLocks>> },
    /// The connection of one who held a lock.
    Connection { holder: Box<FormerHolder>, answer: oneshot::Sender<Option<Connection>> },
    /// The attempt ended: whether it freed the hold, so that the end can be attributed.
    Released { source: SourceId, key: Bytes, freed: bool },
    /// A release is carried out without the second person that is needed.
    Announce { what: BreakGlass },
    /// Something about warnings.
    Warnings(Box<WarningAsk>),
}

/// A release that is carried out without the second person that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// Who does it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// The locks, by their sources' names.
    pub locks: Vec<(String, LockId)>,
}

/// A page of locks.
#[derive(Clone, Debug)]
pub struct Listing {
    /// When this was true.
    pub as_of: Time,
    /// Locks that are an answer.
    pub total: u64,
    /// The page.
    pub locks: Vec<Lock>,
}

/// Locks put together.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// When this was true.
    pub as_of: Time,
    /// Groups that there are.
    pub total: u64,
    /// Locks in all of them.
    pub locks: u64,
    /// The first of them.
    pub groups: Vec<Group>,
}

/// All the locks that were an answer at one moment.
#[derive(Clone, Debug)]
pub struct ListedRows {
    /// How many there were.
    pub total: u64,
    /// Their rows, in order, up to the limit.
    pub rows: Vec<u64>,
}

/// Who waits for whom.
#[derive(Clone, Debug)]
pub struct Waits {
    /// When this was true.
    pub as_of: Time,
    /// That.
    pub graph: WaitGraph,
}

/// What is known of one key.
#[derive(Clone, Debug)]
pub struct Found {
    /// When this was true.
    pub as_of: Time,
    /// The lock, if it is held now, with all that a release must compare.
    pub held: Option<Box<Held>>,
    /// Its transitions, newest first.
    pub events: Vec<Event>,
    /// Older transitions were let go of to bound memory.
    pub events_cut: bool,
}

/// A held lock with all that a release must compare.
#[derive(Clone, Debug)]
pub struct Held {
    /// As the contract shows it, with its stored form.
    pub lock: Lock,
    /// What holds for its family.
    pub traits: &'static DialectTraits,
    /// For each holder, in the order of `lock.holders`, the order that would free exactly it.
    pub orders: Vec<ReleaseOrder>,
    /// The waiter that keeps everybody from a lock that nobody holds, in the form of a holder, and the order that would
    /// take it out of the queue; `None` where that is not offered.
    pub eviction: Option<(Holder, ReleaseOrder)>,
}

/// Somebody who held a lock, and may do so no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerHolder {
    /// In which source.
    pub source: SourceId,
    /// The exact token.
    pub token: Bytes,
    /// Who that was, as far as the token says.
    pub identity: Identity,
    /// Since when at the latest.
    pub since: Time,
}

/// Which transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// Other locks than these do not exist.
    pub reach: Reach,
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this lock.
    pub lock: Option<LockId>,
    /// Only those that tell of a release that the store lost.
    pub lost_releases: bool,
}

/// Transitions as they come.
#[derive(Debug)]
pub struct Subscription {
    /// Those after the one that was named, oldest first. Begins with a gap event where they do not reach back that far.
    pub backlog: Vec<Event>,
    /// Those from now on. Closed when the subscriber fell too far behind or the server ends.
    pub events: mpsc::Receiver<Event>,
}

/// A viewer's end of the board. Dropping it leaves.
#[derive(Debug)]
pub struct Viewer {
    id: u64,
    /// Encoded [`lockkeeper_model::wire::ServerFrame`]s. Closed when the server ends.
    pub frames: mpsc::Receiver<Bytes>,
    asks: mpsc::Sender<Ask>,
}

impl Viewer {
    /// The viewer's end; `id` is what its asks carry.
    #[must_use]
    pub fn new(id: u64, frames: mpsc::Receiver<Bytes>, asks: mpsc::Sender<Ask>) -> Viewer {
        Viewer { id, frames, asks }
    }

    /// Passes a frame of the viewer on.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn say(&self, frame: ClientFrame) -> Result<(), BoardClosed> {
        self.asks.send(Ask::Viewer { viewer: self.id, frame }).await.map_err(|_| BoardClosed)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // When the queue is full the board finds out at the next frame that nobody receives.
        let _ = self.asks.try_send(Ask::Leave { viewer: self.id });
    }
}

impl Board {
    /// A handle on whoever receives `asks`.
    #[must_use]
    pub fn new(asks: mpsc::Sender<Ask>, sources: Vec<SourceHandle>) -> Board {
        Board { asks, sources: sources.into() }
    }

    /// The sources, in the order of the configuration.
    #[must_use]
    pub fn sources(&self) -> &[SourceHandle] {
        &self.sources
    }

    /// Whether its task has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.asks.is_closed()
    }

    /// The source of that name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceHandle> {
        self.sources.iter().find(|source| &*source.name == name)
    }

    /// The sources that there are for whoever has this reach.
    pub fn sources_for<'a>(&'a self, reach: &'a Reach) -> impl Iterator<Item = &'a SourceHandle> {
        self.sources.iter().filter(|source| reach.touches(&source.name))
    }

    /// The source of that name, if there is one for whoever has this reach.
    #[must_use]
    pub fn source_for(&self, name: &str, reach: &Reach) -> Option<&SourceHandle> {
        self.source(name).filter(|source| reach.touches(&source.name))
    }

    /// How well each source is watched, now, as whoever has this reach may see it.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn statuses(&self, reach: &Reach) -> Result<Vec<SourceStatus>, BoardClosed> {
        let sees_whole = |source: &&SourceHandle| reach.has_all_of(&source.name) || !reach.touches(&source.name);
        // What of a source is hidden must not be counted, and only the board can tell.
        let locks = match self.sources.iter().all(|source| sees_whole(&source)) {
            true => Vec::new(),
            false => self.ask(|answer| Ask::Count { reach: reach.clone(), answer }).await?,
        };
        let locks = locks.into_iter().chain(std::iter::repeat(0));
        let sources = self.sources.iter().zip(locks);
        Ok(sources.filter_map(|(source, locks)| reach.narrow(source.status_now(), locks)).collect())
    }

    /// A page of locks.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn list(&self, asked: Asked, offset: u64, limit: u32) -> Result<Listing, BoardClosed> {
        self.ask(|answer| Ask::List { asked, offset, limit, answer }).await
    }

    /// The first groups of the answer to a question that asks for groups.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn groups(&self, asked: Asked, limit: u32) -> Result<Grouping, BoardClosed> {
        self.ask(|answer| Ask::Groups { asked, limit, answer }).await
    }

    /// The rows of all answers to a question, up to `limit`.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn rows(&self, asked: Asked, limit: u32) -> Result<ListedRows, BoardClosed> {
        self.ask(|answer| Ask::Rows { asked, limit, answer }).await
    }

    /// The locks of these rows that are still there. Whether the asker may see them is for the caller to decide.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn of_rows(&self, rows: Vec<u64>) -> Result<Vec<Lock>, BoardClosed> {
        self.ask(|answer| Ask::OfRows { rows, answer }).await
    }

    /// What is known of one key. Whether the asker may see it is for the caller to decide.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn lock(&self, source: SourceId, key: Bytes) -> Result<Found, BoardClosed> {
        self.ask(|answer| Ask::Lock { source, key, answer }).await
    }

    /// Who waits for whom, in one source or in all, as if there were no other locks than those of the reach.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn graph(&self, source: Option<SourceId>, reach: Reach) -> Result<Waits, BoardClosed> {
        self.ask(|answer| Ask::Graph { source, reach, answer }).await
    }

    /// Who holds how much. The board looks through what there is in steps, so that the answer is of the time that they
    /// took together.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn holders(&self, asked: HoldersAsked) -> Result<Holders, BoardClosed> {
        let mut looking = Box::new(Looking::new(asked));
        loop {
            let (went_on, found) = self.ask(|answer| Ask::Holders { looking, answer }).await?;
            match found {
                Some(holders) => return Ok(holders),
                None => looking = went_on,
            }
        }
    }

    /// Where time was lost to waiting in the last minutes, and when that was so; in one source or in all, as if there
    /// were no other locks than those of the reach.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn lost_time(&self, source: Option<SourceId>, reach: Reach) -> Result<(Time, LostTime), BoardClosed> {
        self.ask(|answer| Ask::LostTime { source, reach, answer }).await
    }

    /// Has all that is known by now of those who waited written down, which otherwise is done when a minute has passed.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn tell_waits(&self) -> Result<(), BoardClosed> {
        self.ask(|answer| Ask::TellWaits { answer }).await
    }

    /// A piece of all that is held, in whatever source; the first begins with slot 0.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn piece(&self, from: Slot) -> Result<Piece, BoardClosed> {
        self.ask(|answer| Ask::Piece { from, answer }).await
    }

    /// What is charted, in the order of the sources: of each as a whole, and of these locks in it.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn numbers(&self, locks: Arc<[LockId]>) -> Result<Vec<Numbers>, BoardClosed> {
        self.ask(|answer| Ask::Numbers { locks, answer }).await
    }

    /// Transitions from now on, and those after the event `after`.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn subscribe(&self, filter: EventFilter, after: Option<String>) -> Result<Subscription, BoardClosed> {
        self.ask(|answer| Ask::Subscribe { filter, after, answer }).await
    }

    /// A new viewer, for whom there is only what is in the scope. Its first frame is `Hello`.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn connect(&self, scope: Scope) -> Result<Viewer, BoardClosed> {
        self.ask(|answer| Ask::Connect { scope, answer }).await
    }

    /// Announces that a release of this hold is about to be tried, as the attempt `audit` of the audit. Until [`Board::released`] says what came of it, an
    /// end of this hold is not concluded: it would be anybody's guess whose it was.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn releasing(&self, source: SourceId, key: Bytes, token: Bytes, audit: u64) -> Result<(), BoardClosed> {
        self.asks.send(Ask::Releasing { source, key, token, audit }).await.map_err(|_| BoardClosed)
    }

    /// Announces that a hold that was released is about to be given back to the holder with this token, or that it was
    /// not: that it has the lock again will not mean that its client took it again.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn putting_back(&self, source: SourceId, key: Bytes, token: Option<Bytes>) -> Result<(), BoardClosed> {
        self.asks.send(Ask::PuttingBack { source, key, token }).await.map_err(|_| BoardClosed)
    }

    /// Says that the fencing counter of the hold with this token was raised to this value.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn raised(&self, source: SourceId, key: Bytes, token: Bytes, value: String) -> Result<(), BoardClosed> {
        self.asks.send(Ask::Raised { source, key, token, value }).await.map_err(|_| BoardClosed)
    }

    /// The other locks of each of these holders, as if there were no other locks than those of the reach.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn others(&self, holders: Vec<Whose>, reach: Reach) -> Result<Vec<OtherLocks>, BoardClosed> {
        self.ask(|answer| Ask::Others { holders, reach, answer }).await
    }

    /// The connection of a former holder to the store, where one is known.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn connection(&self, holder: FormerHolder) -> Result<Option<Connection>, BoardClosed> {
        self.ask(|answer| Ask::Connection { holder: Box::new(holder), answer }).await
    }

    /// Says whether the attempt freed the hold. The lock is then read again.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn released(&self, source: SourceId, key: Bytes, freed: bool) -> Result<(), BoardClosed> {
        self.asks.send(Ask::Released { source, key, freed }).await.map_err(|_| BoardClosed)
    }

    /// Tells every viewer who sees one of the locks.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn announce(&self, what: BreakGlass) -> Result<(), BoardClosed> {
        self.asks.send(Ask::Announce { what }).await.map_err(|_| BoardClosed)
    }

    pub(crate) async fn tell(&self, ask: Ask) -> Result<(), BoardClosed> {
        self.asks.send(ask).await.map_err(|_| BoardClosed)
    }

    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, BoardClosed> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| BoardClosed)?;
        answered.await.map_err(|_| BoardClosed)
    }
}
