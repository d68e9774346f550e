use std::collections::HashMap;
use std::time::Duration;

use leptos::prelude::*;
use lockkeeper_model::wire::{ClientFrame, DialectCount, FacetCount, PROTOCOL, STATUS_EVERY_MS, ServerFrame};
use lockkeeper_model::{Event, Lock, LockId, Severity, SourceState, SourceStatus};

use super::LinkState;
use super::asker::{Answers, Asker, Sight};
use super::backoff::Backoff;
use super::board::{Board, Counts, Delta, RowView, Stretch, Touched, Window};
use super::clock::ServerClock;
use super::decode::read_frame;
use super::rewind::Rewind;
use super::socket::Socket;

const STREAM: &str = "/api/v1/stream";
/// How often time passes on the page: the tenths of a second in a countdown stay believable, and forty rows of text cost
/// nothing.
const TICK: Duration = Duration::from_millis(250);
/// Silence for this long means that the server is lost.
const SILENCE_MS: f64 = 3.0 * STATUS_EVERY_MS as f64;

/// Notices that are kept until they are put away. Who has not read these reads the audit.
const MAX_NOTICES: usize = 3;

/// Somebody released in production without a second person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Notice {
    /// When, in the server's time.
    pub(crate) at: i64,
    /// Who.
    pub(crate) by: String,
    /// Why, in their words.
    pub(crate) reason: String,
    /// What, of all that is seen here.
    pub(crate) locks: Vec<(String, LockId)>,
}

/// Everything about the lock that is followed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Detail {
    /// The source.
    pub(crate) source: String,
    /// The lock.
    pub(crate) id: LockId,
    /// The lock; `None` if it is not held now.
    pub(crate) lock: Option<Lock>,
    /// Its transitions, newest first.
    pub(crate) events: Vec<Event>,
    /// Older ones were let go of.
    pub(crate) events_cut: bool,
}

/// The live state of the page. A handful of signals, cheap to copy; the frames are folded in the message callback.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    /// The connection.
    pub(crate) link: RwSignal<LinkState>,
    /// The server's version; `None` before the first word.
    pub(crate) version: RwSignal<Option<String>>,
    /// The server is of another version than when the page was loaded.
    pub(crate) outdated: RwSignal<bool>,
    /// Whether releasing is switched on.
    pub(crate) release_enabled: RwSignal<bool>,
    /// How many locks can be released in one request; 0: not more than one.
    pub(crate) bulk_locks: RwSignal<u32>,
    /// Whether this is the demo.
    pub(crate) demo: RwSignal<bool>,
    /// How well each source is watched.
    pub(crate) sources: RwSignal<Vec<SourceStatus>>,
    /// The server's time, which stands still while the link is lost; 0 before the first word.
    pub(crate) now: RwSignal<i64>,
    /// The server's time, which goes on whatever happens.
    pub(crate) running_now: RwSignal<i64>,
    /// The browser's monotonic clock, in milliseconds.
    pub(crate) clock: RwSignal<i64>,
    /// How many locks there are; `None` before the first answer.
    pub(crate) counts: RwSignal<Option<Counts>>,
    /// The rows on the screen.
    pub(crate) shown: RwSignal<Stretch>,
    /// By how many rows the list has grown above them: they stay where they are on the screen.
    pub(crate) carried: RwSignal<i64>,
    /// Ended rows among them.
    pub(crate) surplus: RwSignal<i64>,
    /// Changes that wait while the table is held still.
    pub(crate) pending: RwSignal<i64>,
    /// Another question was asked than the one that is on the screen.
    pub(crate) behind: RwSignal<bool>,
    /// The followed lock, once it was heard of.
    pub(crate) detail: RwSignal<Option<Detail>>,
    /// The dialects of all locks there are, to filter by.
    pub(crate) dialects: RwSignal<Vec<DialectCount>>,
    /// How many of the answers each further filter would leave.
    pub(crate) facets: RwSignal<Vec<FacetCount>>,
    /// What everybody is to know, the newest first.
    pub(crate) notices: RwSignal<Vec<Notice>>,
    /// How many warnings nobody has acknowledged or muted, and how bad the worst of them is.
    pub(crate) warnings: RwSignal<i64>,
    pub(crate) worst: RwSignal<Option<String>>,
    /// Why the server did not understand the last question.
    pub(crate) refused: RwSignal<Option<String>>,
    /// Why nothing is told of the lock that is followed.
    pub(crate) follow_refused: RwSignal<Option<String>>,
    /// The board of a moment of the past is shown instead of the one of now.
    pub(crate) rewind: Option<Rewind>,
    /// The sources that are down, each with the moment until which its rows were true.
    down: Memo<Vec<(String, i64)>>,
    core: StoredValue<Core, LocalStorage>,
}

/// What only the callbacks touch.
#[derive(Default)]
struct Core {
    socket: Option<Socket>,
    /// Which socket's callbacks count: those of an earlier one may still be queued.
    attempt: u32,
    run: Option<String>,
    /// The rows on the board belong to another run of the server, or to none.
    estranged: bool,
    /// Whether the server said hello on this connection: without it nothing else counts.
    greeted: bool,
    /// When this attempt began, and when anything was last heard, on the monotonic clock.
    began: f64,
    last_heard: f64,
    server_clock: ServerClock,
    backoff: Backoff,
    asker: Asker,
    answered_ask: Option<u32>,
    board: Board,
    /// See [`Live::carried`].
    carried: i64,
    rows: HashMap<u64, ArcRwSignal<RowView>>,
    followed: Option<(String, LockId)>,
}

impl Live {
    /// Connects, and keeps trying for as long as the page is open.
    pub(crate) fn start() -> Live {
        let live = Live::idle(None);
        live.connect();
        set_interval(move || live.tick(), TICK);
        live
    }

    /// Without a connection: nothing is known and nothing comes in.
    pub(super) fn idle(rewind: Option<Rewind>) -> Live {
        let sources = RwSignal::new(Vec::<SourceStatus>::new());
        Live {
            link: RwSignal::new(LinkState::Connecting),
            version: RwSignal::new(None),
            outdated: RwSignal::new(false),
            release_enabled: RwSignal::new(false),
            bulk_locks: RwSignal::new(0),
            demo: RwSignal::new(false),
            sources,
            now: RwSignal::new(0),
            running_now: RwSignal::new(0),
            clock: RwSignal::new(monotonic() as i64),
            counts: RwSignal::new(None),
            shown: RwSignal::new(Stretch::default()),
            carried: RwSignal::new(0),
            surplus: RwSignal::new(0),
            pending: RwSignal::new(0),
            behind: RwSignal::new(false),
            detail: RwSignal::new(None),
            dialects: RwSignal::new(Vec::new()),
            facets: RwSignal::new(Vec::new()),
            notices: RwSignal::new(Vec::new()),
            warnings: RwSignal::new(0),
            worst: RwSignal::new(None),
            refused: RwSignal::new(None),
            follow_refused: RwSignal::new(None),
            rewind,
            down: Memo::new(move |_| sources.with(|sources| down(sources))),
            core: StoredValue::new_local(Core::default()),
        }
    }

    /// Asks for what somebody looks at and a reserve around it, as soon as the question before is answered.
    pub(crate) fn look(self, sight: Sight) {
        if let Some(rewind) = self.rewind {
            return (rewind.look)(rewind, self, sight);
        }
        self.core.update_value(|core| core.asker.look(sight));
        self.ask();
    }

    /// Follows every detail of one lock, or none.
    pub(crate) fn follow(self, lock: Option<(String, LockId)>) {
        self.detail.set(None);
        self.follow_refused.set(None);
        if let Some(rewind) = self.rewind {
            return (rewind.follow)(rewind, self, lock);
        }
        self.core.update_value(|core| {
            core.followed = lock;
            core.send(&ClientFrame::Follow { lock: core.followed.clone() });
        });
    }

    /// Holds the order of the rows still, or lets it go on.
    pub(crate) fn freeze(self, frozen: bool) {
        let now = self.now.get_untracked();
        self.fold(|core| core.board.freeze(frozen, now));
    }

    /// The signal of a row on the screen.
    pub(crate) fn row(self, id: u64) -> Option<ArcRwSignal<RowView>> {
        self.core.with_value(|core| core.rows.get(&id).cloned())
    }

    /// The signal of the row of a lock, if that is on the screen.
    pub(crate) fn row_of(self, source: &str, id: &LockId) -> Option<ArcRwSignal<RowView>> {
        let is_it = |view: &RowView| view.row.source == source && view.row.id == *id;
        self.core.with_value(|core| core.rows.values().find(|row| row.with_untracked(is_it)).cloned())
    }

    /// The server's time to the millisecond, for what is not redrawn by the tick. Not followed.
    pub(crate) fn exact_now(self) -> i64 {
        self.core.with_value(|core| core.server_clock.at(monotonic())).unwrap_or_default()
    }

    /// The server's time; before its first word the reader's own clock, which is the next best. Not followed.
    pub(crate) fn time(self) -> i64 {
        match self.exact_now() {
            0 => js_sys::Date::now() as i64,
            now => now,
        }
    }

    /// Until when the rows of a source were true, if it is down.
    pub(crate) fn true_until(self, source: &str) -> Option<i64> {
        self.down.with(|down| down.iter().find(|(name, _)| name == source).map(|(_, until)| *until))
    }

    /// Tries to connect now.
    pub(crate) fn retry(self) {
        if matches!(self.link.get_untracked(), LinkState::Lost { retry_at: Some(_), .. }) {
            self.connect();
        }
    }

    fn connect(self) {
        let mut attempt = 0;
        self.core.update_value(|core| {
            core.attempt += 1;
            attempt = core.attempt;
            core.greeted = false;
            core.began = monotonic();
            core.last_heard = core.began;
        });
        let is_mine = move || self.core.with_value(|core| core.attempt == attempt);
        let socket = Socket::open(
            STREAM,
            move |text| {
                if is_mine() {
                    self.hear(&text);
                }
            },
            move || {
                if is_mine() {
                    self.lose();
                }
            },
        );
        if let LinkState::Lost { since, .. } = self.link.get_untracked() {
            self.link.set(LinkState::Lost { since, retry_at: None });
        }
        match socket {
            Ok(socket) => self.core.update_value(|core| core.socket = Some(socket)),
            Err(_) => self.lose(),
        }
    }

    /// The connection ended or fell silent.
    fn lose(self) {
        if self.link.get_untracked() == LinkState::Incompatible {
            return;
        }
        let at = monotonic();
        let mut wait = 0.0;
        let mut heard = at;
        self.core.update_value(|core| {
            core.socket = None;
            core.attempt += 1;
            wait = core.backoff.next(js_sys::Math::random());
            heard = core.last_heard;
        });
        let since = match self.link.get_untracked() {
            LinkState::Lost { since, .. } => since,
            LinkState::Connecting | LinkState::Live | LinkState::Past | LinkState::Incompatible => heard,
        };
        self.link.set(LinkState::Lost { since, retry_at: Some(at + wait) });
        wasm_bindgen_futures::spawn_local(async {
            if super::api::is_signed_out().await {
                // The server leads whoever it does not know to its page for signing in.
                let _ = window().location().reload();
            }
        });
    }

    fn tick(self) {
        let at = monotonic();
        self.clock.set(at as i64);
        let (greeted, began, heard) = self.core.with_value(|core| (core.greeted, core.began, core.last_heard));
        match self.link.get_untracked() {
            LinkState::Live | LinkState::Connecting | LinkState::Lost { retry_at: None, .. } => {
                if at - heard > SILENCE_MS || !greeted && at - began > SILENCE_MS {
                    self.lose();
                }
            }
            LinkState::Lost { retry_at: Some(retry_at), .. } => {
                if retry_at <= at {
                    self.connect();
                }
            }
            LinkState::Past | LinkState::Incompatible => {}
        }
        let Some(now) = self.core.with_value(|core| core.server_clock.at(at)) else { return };
        self.running_now.set(now);
        if self.link.get_untracked().is_live() {
            self.now.set(now);
            self.fold(|core| core.board.tick(now));
            self.ask();
        }
    }

    fn hear(self, text: &str) {
        let at = monotonic();
        self.core.update_value(|core| core.last_heard = at);
        match read_frame(text) {
            Ok(ServerFrame::Hello { protocol, .. }) if protocol != PROTOCOL => self.part(),
            Ok(frame) => self.take(frame, at),
            // The version fits and the form does not: whatever it is, this page cannot show it truthfully.
            Err(_) => self.part(),
        }
    }

    /// Server and page do not understand each other.
    fn part(self) {
        self.core.update_value(|core| {
            core.attempt += 1;
            core.socket = None;
        });
        self.link.set(LinkState::Incompatible);
    }

    fn take(self, frame: ServerFrame, at: f64) {
        match frame {
            ServerFrame::Hello { version, run, release_enabled, bulk_locks, demo, now, .. } => {
                self.hear_time(now, at);
                let known = self.version.get_untracked();
                self.outdated.update(|outdated| *outdated |= known.is_some_and(|known| known != version));
                self.version.set(Some(version));
                self.release_enabled.set(release_enabled);
                self.bulk_locks.set(bulk_locks);
                self.demo.set(demo);
                self.core.update_value(|core| {
                    core.greeted = true;
                    core.backoff.reset();
                    core.asker.forgotten();
                    core.answered_ask = None;
                    core.estranged |= core.run.as_ref() != Some(&run);
                    core.run = Some(run);
                    core.send(&ClientFrame::Follow { lock: core.followed.clone() });
                });
                self.ask();
            }
            ServerFrame::Sources { now, sources, dialects, open_warnings, worst_warning } => {
                self.hear_time(now, at);
                self.hear_warnings(open_warnings, worst_warning);
                self.sources.set(sources);
                if self.dialects.with_untracked(|known| *known != dialects) {
                    self.dialects.set(dialects);
                }
                // Where no rows are shown there is no answer to wait for.
                if self.core.with_value(|core| core.asker.wants_nothing()) {
                    self.link.set(LinkState::Live);
                }
            }
            ServerFrame::Window { ask, now, total, all, facets, offset, cut, rows, examined } => {
                self.hear_time(now, at);
                let answers = self.core.try_update_value(|core| core.asker.answered(ask));
                let Some(answers @ (Answers::NewQuestion | Answers::SameQuestion)) = answers else { return };
                self.counts.set(Some(Counts { total, all, facets, examined }));
                self.refused.set(None);
                self.fold(|core| {
                    let again = core.answered_ask.replace(ask) == Some(ask);
                    let afresh = answers == Answers::NewQuestion || std::mem::take(&mut core.estranged);
                    let slid = if afresh || again || cut { 0 } else { core.asker.slid(offset) };
                    core.board.window(now, Window { offset, rows, afresh, again, slid })
                });
                // Only now is what is on the screen as new as the connection.
                self.link.set(LinkState::Live);
                self.ask();
            }
            ServerFrame::Delta { ask, now, total, all, facets, offset, order, rows, ended } => {
                self.hear_time(now, at);
                if self.core.with_value(|core| core.answered_ask != Some(ask)) {
                    return;
                }
                self.counts.set(Some(Counts { total, all, facets, examined: None }));
                self.fold(|core| core.board.delta(now, Delta { offset, order, rows, ended }));
            }
            ServerFrame::Facets { ask, now, facets } => {
                self.hear_time(now, at);
                if self.core.with_value(|core| core.answered_ask == Some(ask)) {
                    self.facets.set(facets);
                }
            }
            ServerFrame::Detail { now, source, id, lock, events, events_cut } => {
                self.hear_time(now, at);
                let wanted = self.core.with_value(|core| {
                    core.followed.as_ref().is_some_and(|followed| followed.0 == source && followed.1 == id)
                });
                if wanted {
                    self.detail.set(Some(Detail { source, id, lock: lock.map(|lock| *lock), events, events_cut }));
                }
            }
            ServerFrame::Notice { at, by, reason, locks, .. } => {
                self.notices.update(|notices| {
                    notices.truncate(MAX_NOTICES - 1);
                    notices.insert(0, Notice { at, by, reason, locks });
                });
            }
            ServerFrame::Refused { detail } => {
                self.core.update_value(|core| core.asker.refused());
                // It may be this that was refused, and then no answer comes.
                if self.core.with_value(|core| core.followed.is_some()) && self.detail.with_untracked(Option::is_none) {
                    self.follow_refused.set(Some(detail.clone()));
                }
                self.refused.set(Some(detail));
                self.link.set(LinkState::Live);
            }
        }
    }

    fn hear_warnings(self, open: u64, worst: Option<Severity>) {
        let (open, worst) = (i64::try_from(open).unwrap_or(i64::MAX), worst.map(|worst| worst.word().to_owned()));
        if self.warnings.get_untracked() != open {
            self.warnings.set(open);
        }
        if self.worst.with_untracked(|known| *known != worst) {
            self.worst.set(worst);
        }
    }

    fn hear_time(self, now: i64, at: f64) {
        let now = self.core.try_update_value(|core| {
            core.server_clock.hear(now, at);
            core.server_clock.at(at)
        });
        if let Some(Some(now)) = now {
            // The first word starts the clock, so that nothing is ever drawn as of 1970.
            if self.now.get_untracked() == 0 {
                self.now.set(now);
                self.running_now.set(now);
            }
        }
    }

    fn ask(self) {
        let at = monotonic();
        let behind = self.core.try_update_value(|core| {
            if core.socket.is_some()
                && core.run.is_some()
                && let Some(frame) = core.asker.next(at, core.answered_ask.map(|ask| (ask, core.board.window_at())))
            {
                core.send(&frame);
            }
            core.asker.is_behind()
        });
        let behind = behind.unwrap_or(false);
        if self.behind.get_untracked() != behind {
            self.behind.set(behind);
        }
    }

    /// Shows these rows of a board on which nothing moves.
    pub(super) fn show(self, now: i64, window: Window) {
        self.fold(|core| core.board.window(now, window));
    }

    /// Runs one step of the fold and passes on what it touched, and nothing else.
    fn fold(self, step: impl FnOnce(&mut Core) -> Touched) {
        let mut news = Vec::new();
        let mut layout = None;
        let (mut surplus, mut pending, mut carried) = (0, 0, 0);
        self.core.update_value(|core| {
            let before = core.board.carried();
            let touched = step(core);
            let board = &core.board;
            let by = board.carried() - before;
            if by != 0 && core.asker.carry(by, &board.shown().places()) {
                core.carried += by;
            }
            (surplus, pending, carried) = (board.surplus() as i64, board.pending() as i64, core.carried);
            for id in touched.rows {
                let Some(view) = board.row(id) else { continue };
                match core.rows.get(&id) {
                    Some(signal) => news.push((signal.clone(), view.clone())),
                    None => drop(core.rows.insert(id, ArcRwSignal::new(view.clone()))),
                }
            }
            core.rows.retain(|id, _| board.row(*id).is_some());
            if touched.layout {
                layout = Some(board.shown().clone());
            }
        });
        for (signal, view) in news {
            signal.set(view);
        }
        if self.carried.get_untracked() != carried {
            self.carried.set(carried);
        }
        if let Some(shown) = layout {
            self.shown.set(shown);
        }
        if self.surplus.get_untracked() != surplus {
            self.surplus.set(surplus);
        }
        if self.pending.get_untracked() != pending {
            self.pending.set(pending);
        }
    }
}

impl Core {
    fn send(&self, frame: &ClientFrame) {
        if let (Some(socket), Ok(text)) = (&self.socket, serde_json::to_string(frame)) {
            socket.send(&text);
        }
    }
}

fn down(sources: &[SourceStatus]) -> Vec<(String, i64)> {
    let true_until = |source: &SourceStatus| source.confirmed_at.map_or(source.since, |at| at.min(source.since)).0;
    let down = sources.iter().filter(|source| source.state == SourceState::Down);
    down.map(|source| (source.name.clone(), true_until(source))).collect()
}

fn monotonic() -> f64 {
    window().performance().map_or(0.0, |performance| performance.now())
}
