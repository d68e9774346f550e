//! The thread that owns the file, or the connection. Whatever is to be written or read passes through here, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockkeeper_model::{Actor, AuditEntry, AuditKind, Time, words};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::entry::Deed;
use super::store::{AuditError, Store};
use super::webhook::Queue;
use crate::clock;

/// Asks that may wait for the disk. Releases are bounded to fewer; what is more are refusals, whose senders then wait.
const WAITING_ASKS: usize = 64;

/// Refusals that are written one by one within [`FLOOD_WINDOW`]. Nobody mistypes so often: beyond this, somebody tries to
/// fill the disk, after which nothing could be released.
pub(super) const MAX_REFUSALS: u64 = 600;

/// Sign-ins, sign-outs and failed ones that are written one by one within [`FLOOD_WINDOW`]: on a bad morning a whole
/// organisation signs in. Counted apart, so that a guesser does not keep refused releases from being written.
pub(super) const MAX_ACCESSES: u64 = 600;
const FLOOD_WINDOW: Duration = Duration::from_secs(60);

/// Ends of attempts that wait for a disk that has no room. More attempts than this cannot end without being written: none
/// begins that cannot be written.
const MAX_OWED: usize = 1_024;

/// What the thread does.
pub(super) enum Ask {
    /// Write these.
    Append {
        drafts: Vec<AuditEntry>,
        urgency: Urgency,
        /// The request that this is about, so that the log lines of the entries can be found by its id.
        span: Span,
        done: oneshot::Sender<Result<Vec<AuditEntry>, AuditError>>,
    },
    /// Look something up.
    Read(Box<dyn FnOnce(&Store) + Send>),
    /// Take over what servers that ended left open; the answer is what is to be looked into, each with its outcome.
    TakeOver(oneshot::Sender<Result<Vec<(AuditEntry, String)>, AuditError>>),
}

/// What becomes of something that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The asker is told, and does nothing.
    Before,
    /// It happened: it is written as soon as that is possible.
    After,
    /// Nothing happened: it is counted.
    Refusal,
    /// Nothing happened to a lock: it is counted.
    Access,
}

/// What became of entries, since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) intentions: AtomicU64,
    pub(super) completions: AtomicU64,
    pub(super) follow_ups: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) dry_runs: AtomicU64,
    pub(super) approvals: AtomicU64,
    pub(super) accesses: AtomicU64,
    pub(super) notes: AtomicU64,
    pub(super) not_written: AtomicU64,
    pub(super) left_out: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) undelivered: AtomicU64,
}

impl Counts {
    fn of(&self, kind: AuditKind) -> &AtomicU64 {
        match kind {
            AuditKind::Intention => &self.intentions,
            AuditKind::Completion => &self.completions,
            AuditKind::FollowUp => &self.follow_ups,
            AuditKind::Refusal => &self.refusals,
            AuditKind::DryRun => &self.dry_runs,
            AuditKind::Approval => &self.approvals,
            AuditKind::Access => &self.accesses,
            AuditKind::Note => &self.notes,
        }
    }
}

/// Starts the thread. It ends when nobody can ask it any more.
pub(super) fn start(store: Store, counts: Arc<Counts>, hook: Option<Queue>) -> Result<mpsc::Sender<Ask>, AuditError> {
    let (asks, mut asked) = mpsc::channel(WAITING_ASKS);
    let mut writer =
        Writer { store, counts, hook, owed: VecDeque::new(), refusals: REFUSALS.flood(), accesses: ACCESSES.flood() };
    let work = move || {
        while let Some(ask) = asked.blocking_recv() {
            writer.answer(ask);
        }
    };
    match std::thread::Builder::new().name("audit".to_owned()).spawn(work) {
        Ok(_) => Ok(asks),
        Err(error) => Err(AuditError(format!("the thread that writes it could not be started: {error}"))),
    }
}

struct Writer {
    store: Store,
    counts: Arc<Counts>,
    hook: Option<Queue>,
    owed: VecDeque<AuditEntry>,
    refusals: Flood,
    accesses: Flood,
}

impl Writer {
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Read(look) => {
                self.store.revive();
                look(&self.store);
            }
            Ask::TakeOver(done) => {
                let taken = self.store.take_over().map(|taken| {
                    taken.closed.iter().for_each(|entry| self.publish(entry));
                    taken.left
                });
                // Whoever asked has left: then this server is ending, and another takes it over again.
                let _ = done.send(taken);
            }
            Ask::Append { drafts, urgency: urgency @ (Urgency::Refusal | Urgency::Access), span, done } => {
                let _about = span.entered();
                let count = drafts.len() as u64;
                let flood = if urgency == Urgency::Refusal { &mut self.refusals } else { &mut self.accesses };
                if !flood.admits(count) {
                    self.counts.left_out.fetch_add(count, Ordering::Relaxed);
                    // Nobody is told: what was answered is what its asker gets.
                    let _ = done.send(Ok(Vec::new()));
                    return;
                }
                let _ = done.send(self.append(drafts));
            }
            Ask::Append { drafts, urgency, span, done } => {
                let _about = span.entered();
                let written = self.append(drafts.clone());
                if written.is_err() && urgency == Urgency::After {
                    let room = MAX_OWED.saturating_sub(self.owed.len());
                    self.owed.extend(drafts.into_iter().take(room));
                }
                let _ = done.send(written);
            }
        }
    }

    /// Writes these, after what is owed.
    fn append(&mut self, drafts: Vec<AuditEntry>) -> Result<Vec<AuditEntry>, AuditError> {
        let owed = self.owed.len();
        let mut all: Vec<AuditEntry> = self.owed.iter().cloned().collect();
        all.extend(self.refusals.report().into_iter().chain(self.accesses.report()));
        let own = all.len();
        all.extend(drafts);
        if all.is_empty() {
            return Ok(all);
        }
        match self.store.append(&all) {
            Ok(mut written) => {
                self.owed.drain(..owed);
                self.refusals.was_reported();
                self.accesses.was_reported();
                for entry in &written {
                    self.publish(entry);
                }
                written.drain(..own);
                Ok(written)
            }
            Err(error) => {
                self.counts.not_written.fetch_add((all.len() - own) as u64, Ordering::Relaxed);
                for draft in &all[own..] {
                    tracing::error!(
                        target: "audit",
                        actor = draft.actor.name, audit.kind = draft.kind.word(), source = draft.source,
                        lock.id = draft.lock, outcome = draft.outcome, detail = draft.detail,
                        "an entry of the audit could not be written: {error}",
                    );
                }
                Err(error)
            }
        }
    }

    /// Tells the log and the webhook of what is on the disk.
    fn publish(&self, entry: &AuditEntry) {
        self.counts.of(entry.kind).fetch_add(1, Ordering::Relaxed);
        log(entry);
        if let Some(hook) = &self.hook {
            hook.offer(entry, &self.counts);
        }
    }
}

/// One line of the log for an entry. Names and reasons are fields, which the log escapes.
pub(super) fn log(entry: &AuditEntry) {
    tracing::info!(
        target: "audit",
        actor = entry.actor.name, actor.via = entry.actor.via, actor.address = entry.actor.address,
        audit.seq = entry.seq, audit.kind = entry.kind.word(), audit.attempt = entry.attempt, audit.hash = entry.hash,
        action = entry.action, source = entry.source, lock.id = entry.lock, lock.generation = entry.generation,
        lock.token = entry.token, lock.token_sha256 = entry.token_sha256, ticket = entry.ticket,
        reason = entry.reason, outcome = entry.outcome, seen = entry.seen,
        "{}", words::shown(&entry.detail),
    );
}

/// What may come in a flood.
#[derive(Clone, Copy)]
struct Kind {
    kind: AuditKind,
    what: &'static str,
    most: u64,
    outcome: &'static str,
}

const REFUSALS: Kind =
    Kind { kind: AuditKind::Refusal, what: "refused requests", most: MAX_REFUSALS, outcome: "refused" };
const ACCESSES: Kind = Kind {
    kind: AuditKind::Access,
    what: "sign-ins, sign-outs and failed ones",
    most: MAX_ACCESSES,
    outcome: "left_out",
};

impl Kind {
    fn flood(self) -> Flood {
        Flood { of: self, window_began: Instant::now(), written: 0, left_out: 0, since: clock::now() }
    }
}

/// Keeps what strangers can cause from filling the disk, and remembers how much was left out for that.
struct Flood {
    of: Kind,
    window_began: Instant,
    written: u64,
    left_out: u64,
    since: Time,
}

impl Flood {
    fn admits(&mut self, count: u64) -> bool {
        if self.window_began.elapsed() >= FLOOD_WINDOW {
            (self.window_began, self.written) = (Instant::now(), 0);
        }
        if self.written + count > self.of.most {
            if self.left_out == 0 {
                self.since = clock::now();
            }
            self.left_out += count;
            return false;
        }
        self.written += count;
        true
    }

    fn report(&self) -> Option<AuditEntry> {
        if self.left_out == 0 {
            return None;
        }
        let detail = format!(
            "{} {} since {} were not written one by one: more than {} came within a minute",
            words::count(self.left_out),
            self.of.what,
            self.since,
            self.of.most
        );
        let mut entry = Deed::by(&Actor::server()).entry(self.of.kind, None, &detail);
        entry.outcome = Some(self.of.outcome.to_owned());
        Some(entry)
    }

    fn was_reported(&mut self) {
        self.left_out = 0;
    }
}
