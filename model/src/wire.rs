//! The frames of the app's WebSocket, `GET /api/v1/stream`: JSON text, one frame a message.
//!
//! The server speaks first with [`ServerFrame::Hello`]. The viewer states its question with [`ClientFrame::Ask`] and
//! gets a [`ServerFrame::Window`], then [`ServerFrame::Delta`]s against it. A viewer that reads too slowly is never
//! sent a delta with something left out: it gets a new `Window` when it has caught up. Times here are milliseconds on
//! the server's clock; `now` in every frame anchors them.

use serde::{Deserialize, Serialize};

use crate::{
    Basis, Certainty, Connection, Event, Evidence, Flag, Lock, LockId, LockState, Mode, Question, Renewals, Severity,
    Signs, SourceStatus, Time, TransitionKind, Verdict, WaitersBasis,
};

/// The version of these frames. A viewer that meets another one asks for a reload.
pub const PROTOCOL: u32 = 2;

/// The largest message that a viewer may send, in bytes: a question with the longest texts fits several times.
pub const MAX_CLIENT_FRAME_BYTES: usize = 8 * 1024;

/// What a viewer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Replaces this viewer's question.
    Ask {
        /// Chosen by the viewer and repeated in every answer, so that a late answer to an old question is recognised.
        ask: u32,
        /// Which locks, in which order.
        question: Question,
        /// Rows before the window.
        offset: u64,
        /// Rows in the window.
        limit: u32,
        /// The window of the same question that this viewer has: its number, and how many rows were before it when the viewer was
        /// last told. `offset` is counted as of then; what has come and gone above that window since is counted in by the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<(u32, u64)>,
    },
    /// Replaces the lock whose every detail this viewer follows; `None` follows none.
    Follow {
        /// The source and the lock.
        lock: Option<(String, LockId)>,
    },
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame.
    Hello {
        /// See [`PROTOCOL`].
        protocol: u32,
        /// The server's version.
        version: String,
        /// Names this run of the server: another one has forgotten all questions.
        run: String,
        /// Whether releasing is switched on, and this viewer may release anything.
        release_enabled: bool,
        /// How many locks this viewer may release in one request; 0: not more than one.
        #[serde(default)]
        bulk_locks: u32,
        /// Whether this is the demo.
        demo: bool,
        /// The server's clock.
        now: i64,
    },
    /// How well each source is watched, and what is to be warned of: after `Hello`, on every change, and at least every
    /// [`STATUS_EVERY_MS`] as a sign of life.
    Sources {
        /// The server's clock.
        now: i64,
        /// Every source.
        sources: Vec<SourceStatus>,
        /// The dialects of all locks there are, whether in a window or not.
        #[serde(default)]
        dialects: Vec<DialectCount>,
        /// How many warnings there are for this viewer that nobody has acknowledged or muted.
        #[serde(default)]
        open_warnings: u64,
        /// The worst of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worst_warning: Option<Severity>,
    },
    /// A whole window.
    Window {
        /// The question that this answers.
        ask: u32,
        /// The server's clock.
        now: i64,
        /// Locks that are an answer.
        total: u64,
        /// Locks there are.
        all: u64,
        /// How many answers each filter would have.
        facets: Facets,
        /// Rows before the window: as many as were asked for, or as many as there are by now before the rows that were meant.
        offset: u64,
        /// There are no rows any more where it was asked for, and this is the end of the list.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
        /// The rows, in order.
        rows: Vec<Row>,
        /// The question is still being answered for the first time: this many of `all` were looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        examined: Option<u64>,
    },
    /// How many of the answers each further filter would leave: after a whole window, and every second while that
    /// changes.
    Facets {
        /// The question that this is about.
        ask: u32,
        /// The server's clock.
        now: i64,
        /// The filters that would leave any.
        facets: Vec<FacetCount>,
    },
    /// What changed in the window since the frame before.
    Delta {
        /// The question that this answers.
        ask: u32,
        /// The server's clock.
        now: i64,
        /// Locks that are an answer.
        total: u64,
        /// Locks there are.
        all: u64,
        /// How many answers each filter would have.
        facets: Facets,
        /// Rows before the window, if that changed. A window that was asked for further down stays with its rows: those that
        /// come and go above them change how far down it is, and nothing else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// The window's rows in order, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<Vec<u64>>,
        /// Rows that are new in the window or changed.
        rows: Vec<Row>,
        /// Rows that were in the window and ended.
        ended: Vec<Ended>,
    },
    /// Everything about the followed lock, on every change of it.
    Detail {
        /// The server's clock.
        now: i64,
        /// The source.
        source: String,
        /// The lock.
        id: LockId,
        /// The lock; `None` if it is not held now.
        lock: Option<Box<Lock>>,
        /// Its transitions, newest first.
        events: Vec<Event>,
        /// Older transitions were let go of to bound memory.
        events_cut: bool,
    },
    /// Something that everybody should know who sees one of these locks. Nobody who sees one misses it, however slowly
    /// they read.
    Notice {
        /// When it was.
        at: i64,
        /// A stable word: `break_glass`.
        code: String,
        /// Who did it.
        by: String,
        /// Why, in their words.
        reason: String,
        /// Those of the locks that this viewer sees.
        locks: Vec<(String, LockId)>,
    },
    /// A frame of the viewer's was not understood.
    Refused {
        /// Why, naming the thing and its value.
        detail: String,
    },
}

/// A viewer hears of the sources at least this often, in milliseconds. Silence for three times as long means that the
/// server is lost.
pub const STATUS_EVERY_MS: i64 = 1_000;

/// How many locks each filter would leave, over all locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facets {
    /// With somebody known to wait.
    pub waiting: u64,
    /// Without expiry.
    pub no_expiry: u64,
}

/// How many answers to a question a further filter would leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetCount {
    /// What it is about, as in a search: `state`, `flag`, `dialect` or `source`.
    pub field: String,
    /// The value.
    pub value: String,
    /// So many.
    pub locks: u64,
}

/// How many of all locks are in one dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialectCount {
    /// The dialect's name.
    pub name: String,
    /// Locks there are in it.
    pub locks: u64,
}

/// A lock as the table shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Names the row within one run of the server; a lock keeps it from take to take.
    pub row: u64,
    /// The source.
    pub source: String,
    /// The lock.
    pub id: LockId,
    /// What a person calls it.
    pub name: String,
    /// The library family.
    pub dialect: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// How many may hold it together.
    pub mode: Mode,
    /// What is known of it as a whole.
    pub state: LockState,
    /// How many hold it.
    pub holders: u32,
    /// How many may hold a semaphore together; `None` where that is not a semaphore or not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permits: Option<u32>,
    /// The first holder's token as text; `None` where it is not UTF-8.
    pub token: Option<String>,
    /// The first holder's token in standard base64, where `token` is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_b64: Option<String>,
    /// Who the first holder is, in words, as far as its token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The first holder's re-entry count.
    pub count: u32,
    /// The earliest hold was not taken before this moment; `None`: unknown.
    pub since_not_before: Option<i64>,
    /// The earliest hold was not taken after this moment.
    pub since_not_after: i64,
    /// How those two are known.
    pub since_basis: Basis,
    /// The lease's end; `None`: no expiry.
    pub expires_at: Option<i64>,
    /// The lease's length when it was last granted, for the bar; `None`: unknown.
    pub lease_ms: Option<i64>,
    /// Renewals seen of the first holder.
    pub renewals: u32,
    /// The last of them.
    pub renewed_at: Option<i64>,
    /// Their rhythm.
    pub period_ms: Option<i64>,
    /// The first holder's connection, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// Waiters; `None`: unknown.
    pub waiters: Option<u32>,
    /// How that is known.
    pub waiters_basis: WaitersBasis,
    /// Since when somebody has been waiting without a break.
    pub waiting_since: Option<i64>,
    /// The time that all who waited in the last minutes have waited together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_ms: Option<i64>,
    /// The same minute by minute, the oldest first, up to the last one in which anybody was seen waiting; empty where there is
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by_minute: Vec<i64>,
    /// What is dangerous.
    pub flags: Vec<Flag>,
    /// The lock's generation.
    pub generation: String,
    /// When it was last read.
    pub as_of: i64,
}

impl Row {
    /// The verdict on the first holder and its evidence at `now`, which a viewer asks again as time passes.
    #[must_use]
    pub fn judge(&self, now: Time) -> (Verdict, Vec<Evidence>) {
        crate::judge(
            &Signs {
                renewals: Renewals {
                    count: self.renewals,
                    last_at: self.renewed_at.map(Time),
                    period_ms: self.period_ms,
                    missed: None,
                },
                lease_ms: self.lease_ms,
                expires_at: self.expires_at.map(Time),
                watched_since: Some(Time(self.since_not_after)),
                connection: self.connection.clone(),
            },
            now,
        )
    }
}

/// A row that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The row.
    pub row: u64,
    /// How.
    pub transition: TransitionKind,
    /// When.
    pub at: i64,
    /// How long its holder had it, at least.
    pub held_ms: Option<i64>,
}
