use std::net::SocketAddr;
use std::sync::Arc;

use lockkeeper_model::LockId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{ApiError, Configured, Identify};
use crate::access::{Door, Person, Policy, Scope};
use crate::board::Board;
use crate::recorder::audit::Audit;
use crate::recorder::history::History;
use crate::recorder::notes::{Notes, NotesError};
use crate::release::{ReleaseDesk, Rules};
use crate::reload::LastRead;
use crate::warning::Warnings;
use crate::watched::Watched;

/// Browser tabs on the WebSocket at once: a large team on a bad day, with a bound on what each tab may cost together.
pub(super) const MAX_VIEWERS: usize = 256;

/// Programs on the event stream at once. Each may have some thousand events waiting for it.
pub(super) const MAX_EVENT_STREAMS: usize = 64;

/// Exports of the audit at once. They take turns at the file anyway.
pub(super) const MAX_EXPORTS: usize = 4;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Asks what is known.
    pub board: Board,
    /// Previews and releases.
    pub desk: Arc<ReleaseDesk>,
    /// Who did or was refused what.
    pub audit: Audit,
    /// What happened before.
    pub history: History,
    /// Answers warnings, and tells webhooks of them.
    pub warnings: Warnings,
    /// What people wrote about locks.
    pub notes: Notes,
    /// Whether tracing is switched on.
    pub trace_enabled: bool,
    /// Where the server listens: a `Host` that names it is its own.
    pub listen: SocketAddr,
    /// Ends every stream: they never finish by themselves.
    pub closing: CancellationToken,
    /// Who may see and do what.
    pub policy: Watched<Policy>,
    /// Finds out who asks.
    pub identify: Arc<dyn Identify>,
    /// Signs people in and out.
    pub door: Arc<Door>,
    /// The locks that have series of their own among the metrics.
    pub charted: Arc<[LockId]>,
    /// What the server was told, as far as it is shown.
    pub configured: Arc<Configured>,
    /// What came of reading the configuration last.
    pub reloads: watch::Receiver<LastRead>,
    viewers: Slots,
    event_streams: Slots,
    exports: Slots,
}

impl AppState {
    /// The state of a server that listens on `listen`, ends its streams with `closing`, and lets whoever reaches it do
    /// everything.
    ///
    /// # Errors
    /// When the system has no room for notes.
    pub fn new(
        board: Board,
        audit: Audit,
        release: Rules,
        trace_enabled: bool,
        listen: SocketAddr,
        closing: CancellationToken,
    ) -> Result<AppState, NotesError> {
        let door = Arc::new(Door::open());
        Ok(AppState {
            warnings: Warnings::idle(board.clone()),
            desk: Arc::new(ReleaseDesk::new(board.clone(), release, audit.clone())),
            board,
            audit,
            history: History::not_kept("nothing is written down"),
            notes: Notes::in_memory()?,
            trace_enabled,
            listen,
            closing,
            policy: Watched::fixed(Policy::default()),
            identify: door.clone(),
            door,
            charted: Arc::default(),
            configured: Arc::default(),
            reloads: watch::channel(LastRead::at_start()).1,
            viewers: Slots::new("viewers", MAX_VIEWERS),
            event_streams: Slots::new("event streams", MAX_EVENT_STREAMS),
            exports: Slots::new("exports", MAX_EXPORTS),
        })
    }

    /// The same server, which lets in whom this door lets in, and lets them do what the policy says.
    #[must_use]
    pub fn behind(self, door: Arc<Door>, policy: Watched<Policy>) -> AppState {
        AppState { identify: door.clone(), door, policy, ..self }
    }

    /// The same server, which remembers what this history has.
    #[must_use]
    pub fn remembering(self, history: History) -> AppState {
        AppState { history, ..self }
    }

    /// The same server, whose warnings are answered by this one.
    #[must_use]
    pub fn warning(self, warnings: Warnings) -> AppState {
        AppState { warnings, ..self }
    }

    /// The same server, which keeps these notes and shows this of what it was told.
    #[must_use]
    pub fn showing(self, configured: Configured, notes: Notes) -> AppState {
        AppState { configured: Arc::new(configured), notes, ..self }
    }

    /// The same server, which charts these locks one by one and says what came of reading its configuration.
    #[must_use]
    pub fn telling(self, charted: Arc<[LockId]>, reloads: watch::Receiver<LastRead>) -> AppState {
        AppState { charted, reloads, ..self }
    }

    /// What of everything this person may see and do, as roles are now.
    pub(super) fn scope_of(&self, person: &Person) -> Scope {
        let policy = self.policy.current();
        policy.scope(&policy.of_today(person))
    }

    /// Room for one more browser tab.
    pub(super) fn admit_viewer(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.viewers.take()
    }

    /// Room for one more event stream.
    pub(super) fn admit_event_stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.event_streams.take()
    }

    /// Room for one more export of the audit, or of locks.
    pub(super) fn admit_export(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.exports.take()
    }

    /// Waits until every stream has said goodbye and every release under way has its outcome. Both outlive the
    /// connection that asked for them, so the server's own end does not wait for them.
    pub(super) async fn settled(&self) {
        self.viewers.all_free().await;
        self.event_streams.all_free().await;
        self.desk.settled().await;
    }

    /// Browser tabs and event streams that are open.
    pub(super) fn open_streams(&self) -> [(&'static str, usize); 2] {
        [("stream", self.viewers.taken()), ("events", self.event_streams.taken())]
    }
}

/// A bounded number of something.
#[derive(Clone, Debug)]
struct Slots {
    what: &'static str,
    size: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    fn new(what: &'static str, size: usize) -> Slots {
        Slots { what, size, free: Arc::new(Semaphore::new(size)) }
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| ApiError::full(self.what, self.size))
    }

    async fn all_free(&self) {
        // An error would mean that the semaphore was closed, which nobody does.
        let _ = self.free.acquire_many(u32::try_from(self.size).unwrap_or(u32::MAX)).await;
    }

    fn taken(&self) -> usize {
        self.size - self.free.available_permits()
    }
}
