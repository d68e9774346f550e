//! Who released what, when and why, and who was refused: written before the attempt, in a file that tells of every change.
//!
//! ```text
//! attempt:  intention (on the disk) ──▶ the store ──▶ completion ──▶ follow-up
//! refusal:  one entry
//! ```
//!
//! [`entry`] says what is written and how it is chained, [`store`] keeps it, in a [`file`] or, for several servers,
//! [`shared`]; [`writer`] is its thread, [`verify`] checks it, [`webhook`] tells others, [`command`] is `lockkeeper audit`.
//! What is not here: whether somebody may release.

pub mod command;
mod entry;
mod export;
mod file;
mod shared;
#[cfg(test)]
mod shared_tests;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod webhook;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockkeeper_model::{Actor, AuditChain, AuditEntry, AuditKind, AuditPage, Outcome};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

pub use entry::{Deed, GENESIS, is_cut, outcome_word, token_sha256};
pub use export::Format;
pub(crate) use export::cell;
pub use file::FILE;
pub use store::{AuditError, Filter, Found, Part, Store, Stored};
pub use verify::{MAX_FINDINGS, Verdict, verify};
pub use webhook::Webhook;
use writer::{Ask, Counts, Urgency};

use super::db::{Target, aside};
use super::folder::{Locked, create_private, lock, make_private};

/// Locked by the server that writes the audit: of two, each would take the other's attempts for interrupted ones.
const LOCK_FILE: &str = "audit.lock";

/// How long an intention may take to get on the disk. After that what was previewed is too old to be acted upon.
const MAX_WRITE: Duration = Duration::from_secs(5);

/// Between two tries to write what happened and could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Interrupted attempts that are closed in one step, and those that are looked into after one start. A start after which
/// more than this are open is not one that a person will ever see; the rest waits for the next.
const BATCH: usize = 1_024;

/// Where everything is written down. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Result<Kept, AuditError>,
    counts: Arc<Counts>,
    hook: Option<webhook::Queue>,
    /// Whether somebody is trying again already.
    is_retrying: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    writer: mpsc::Sender<Ask>,
    /// Of its own, so that somebody's export does not hold up a release.
    reader: mpsc::Sender<Ask>,
    /// Entries of earlier runs.
    inherited: u64,
    /// Whether other servers write it, too.
    is_shared: bool,
    /// Locked as long as this lives.
    _lock: Option<Locked>,
}

/// Something that was decided or looked at, as against tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub deed: Deed,
    /// What came of it, in a word.
    pub outcome: &'static str,
    /// The same in a sentence.
    pub detail: String,
}

/// An attempt of an earlier moment of which nobody saw what came after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Its intention.
    pub intention: AuditEntry,
    /// What is known to have come of it.
    pub outcome: String,
}

impl Audit {
    /// The audit in this folder; both are made where they are missing. Attempts that an earlier run did not survive are
    /// closed as what they are: attempted, outcome unknown. Needs a Tokio runtime if there is a webhook.
    ///
    /// # Errors
    /// Names the folder and what is wrong with it.
    pub fn open(dir: &Path, webhook: Option<Webhook>) -> Result<Audit, AuditError> {
        let unusable = |because: String| AuditError(format!("`{}` cannot be used: {because}", dir.display()));
        create_private(dir).map_err(|error| unusable(error.to_string()))?;
        let lock = lock(dir, LOCK_FILE, "another Lockkeeper keeps its audit there").map_err(&unusable)?;
        let path = dir.join(FILE);
        make_private(&path).map_err(|error| unusable(error.to_string()))?;
        let opened = |error: AuditError| unusable(error.0);
        let mut store = Store::open(&path).map_err(opened)?;
        let reading = Store::read(dir).map_err(opened)?;
        let mut interrupted = Vec::new();
        loop {
            let closed = store.close_interrupted(BATCH).map_err(opened)?;
            if closed.is_empty() {
                break;
            }
            interrupted.extend(closed);
        }
        let inherited = store.chain().map_err(opened)?.length;
        let (counts, hook) = telling(webhook, Some(dir)).map_err(unusable)?;
        for entry in &interrupted {
            counts.completions.fetch_add(1, Ordering::Relaxed);
            writer::log(entry);
            if let Some(hook) = &hook {
                hook.offer(entry, &counts);
            }
        }
        let writer = writer::start(store, Arc::clone(&counts), hook.clone())?;
        let reader = writer::start(reading, Arc::clone(&counts), None)?;
        let kept = Ok(Kept { writer, reader, inherited, is_shared: false, _lock: Some(lock) });
        Ok(Audit(Arc::new(Inner { kept, counts, hook, is_retrying: AtomicBool::new(false) })))
    }

    /// The audit in PostgreSQL, which several servers write; its tables are made where they are missing. Where PostgreSQL
    /// cannot be reached, nothing can be written until it can. Needs a Tokio runtime if there is a webhook; what waits for it
    /// when the server ends is kept in the folder.
    ///
    /// # Errors
    /// Names the database and what is wrong with it.
    pub fn share(target: &Target, webhook: Option<Webhook>, dir: Option<&Path>) -> Result<Audit, AuditError> {
        let (counts, hook) = telling(webhook, dir).map_err(AuditError)?;
        let store = aside(|| Store::share(target))?;
        let writer = writer::start(store, Arc::clone(&counts), hook.clone())?;
        let reader = writer::start(Store::look_at_shared(target), Arc::clone(&counts), None)?;
        let kept = Ok(Kept { writer, reader, inherited: 0, is_shared: true, _lock: None });
        Ok(Audit(Arc::new(Inner { kept, counts, hook, is_retrying: AtomicBool::new(false) })))
    }

    /// One that ends with the process.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub fn in_memory() -> Result<Audit, AuditError> {
        Audit::of(Store::in_memory()?)
    }

    fn of(store: Store) -> Result<Audit, AuditError> {
        let counts = Arc::new(Counts::default());
        let writer = writer::start(store, Arc::clone(&counts), None)?;
        let kept = Ok(Kept { reader: writer.clone(), writer, inherited: 0, is_shared: false, _lock: None });
        Ok(Audit(Arc::new(Inner { kept, counts, hook: None, is_retrying: AtomicBool::new(false) })))
    }

    /// None: nothing can be released, and refusals are only logged.
    #[must_use]
    pub fn not_kept(because: &str) -> Audit {
        let because = AuditError(format!("no audit is kept: {because}"));
        Audit(Arc::new(Inner {
            kept: Err(because),
            counts: Arc::default(),
            hook: None,
            is_retrying: AtomicBool::new(false),
        }))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.kept.is_ok()
    }

    /// Writes down that this is about to be tried. When it returns, that is on the disk.
    ///
    /// # Errors
    /// When it could not be written, or not in time. Then nothing may be tried.
    pub async fn intend(&self, deed: Deed) -> Result<Attempt, AuditError> {
        let began = Instant::now();
        let detail = "attempted, outcome unknown unless a completion follows";
        let mut draft = deed.entry(AuditKind::Intention, None, detail);
        draft.outcome = Some("attempted".to_owned());
        let written = self.append(vec![draft], Urgency::Before).await?;
        let Some(seq) = written.first().map(|entry| entry.seq) else {
            return Err(AuditError("the intention was not written".to_owned()));
        };
        let attempt = Attempt { audit: self.clone(), deed, seq, has_ended: AtomicBool::new(false) };
        let took = began.elapsed();
        if took > MAX_WRITE {
            let because = format!("writing the audit took {} s, which is too long", took.as_secs());
            attempt.ended(Outcome::Refused, &format!("{because}; nothing was tried")).await;
            return Err(AuditError(because));
        }
        Ok(attempt)
    }

    /// Writes down that somebody was turned away, once for each thing that they asked for. A refusal stands whether it can
    /// be written or not.
    pub async fn refused(&self, deeds: Vec<Deed>, outcome: &str, because: &str) {
        let drafts: Vec<AuditEntry> = deeds
            .iter()
            .map(|deed| {
                let mut draft = deed.entry(AuditKind::Refusal, None, because);
                draft.outcome = Some(outcome.to_owned());
                draft
            })
            .collect();
        if self.is_kept() {
            // What cannot be written is counted and logged where that is noticed.
            let _ = self.append(drafts, Urgency::Refusal).await;
        } else {
            drafts.iter().for_each(writer::log);
        }
    }

    /// Writes down what was decided or looked at. When it returns, that is on the disk.
    ///
    /// # Errors
    /// When it could not be written. Then nothing may follow from it.
    pub async fn note(&self, kind: AuditKind, notes: Vec<Note>) -> Result<(), AuditError> {
        let drafts = notes.into_iter().map(|Note { deed, outcome, detail }| {
            let mut draft = deed.entry(kind, None, &detail);
            draft.outcome = Some(outcome.to_owned());
            draft
        });
        self.append(drafts.collect(), Urgency::Before).await.map(drop)
    }

    /// Writes down that somebody signed in or out, or could not. That stands whether it can be written or not: whoever could
    /// fill the disk could otherwise keep everybody out.
    pub async fn accessed(&self, actor: &Actor, outcome: &str, detail: &str) {
        let mut draft = Deed::by(actor).entry(AuditKind::Access, None, detail);
        draft.outcome = Some(outcome.to_owned());
        if self.is_kept() {
            // What cannot be written is counted and logged where that is noticed.
            let _ = self.append(vec![draft], Urgency::Access).await;
        } else {
            writer::log(&draft);
        }
    }

    /// Whether other servers write it, too: then attempts of those that ended are to be taken over again and again.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.kept.as_ref().is_ok_and(|kept| kept.is_shared)
    }

    /// Closes attempts of servers that ended since, as what they are: attempted, outcome unknown. Returns those that
    /// somebody should look into, which is for this server to do: no other is told of them.
    ///
    /// # Errors
    /// When the audit cannot be written.
    pub async fn take_over(&self) -> Result<Vec<Unresolved>, AuditError> {
        let (done, taken) = oneshot::channel();
        self.kept()?.writer.send(Ask::TakeOver(done)).await.map_err(|_| gone())?;
        let left = answer(taken).await??;
        Ok(left.into_iter().map(|(intention, outcome)| Unresolved { intention, outcome }).collect())
    }

    /// Attempts of earlier runs that may have done something and of which nobody saw what came after; the first of them.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn unresolved(&self) -> Result<Vec<Unresolved>, AuditError> {
        let inherited = self.kept()?.inherited;
        let found = self.read(move |store| store.without_follow_up(inherited, BATCH)).await?;
        Ok(found.into_iter().map(|(intention, outcome)| Unresolved { intention, outcome }).collect())
    }

    /// Writes down what was seen after an attempt of an earlier moment; `seen` is null where it cannot be found out.
    pub async fn resolved(&self, of: &Unresolved, seen: Option<&str>, detail: &str) {
        let seq = of.intention.seq;
        self.follow_up(&Deed::of(of.intention.clone()), seq, seen, detail).await;
    }

    /// A page, newest first.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn page(&self, filter: Filter, before: Option<u64>, limit: usize) -> Result<AuditPage, AuditError> {
        self.read(move |store| {
            // One more than the page has, to know whether there is another.
            let Found { mut entries, more_after } = store.entries(&filter, Part::Before(before), limit + 1)?;
            let has_more = entries.len() > limit;
            entries.truncate(limit);
            let next_before = if has_more { entries.last().map(|entry| entry.seq) } else { more_after };
            Ok(AuditPage { entries, next_before, chain: Some(store.chain()?) })
        })
        .await
    }

    /// Entries after the first number, up to and with the second, oldest first.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn run(&self, filter: Filter, after: u64, upto: u64, limit: usize) -> Result<Found, AuditError> {
        self.read(move |store| store.entries(&filter, Part::Between(after, upto), limit)).await
    }

    /// Where it ends.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn chain(&self) -> Result<AuditChain, AuditError> {
        self.read(Store::chain).await
    }

    /// Entries written since the start, by kind.
    pub fn written(&self) -> [(AuditKind, u64); 8] {
        let counts = &self.0.counts;
        [
            (AuditKind::Intention, &counts.intentions),
            (AuditKind::Completion, &counts.completions),
            (AuditKind::FollowUp, &counts.follow_ups),
            (AuditKind::Refusal, &counts.refusals),
            (AuditKind::DryRun, &counts.dry_runs),
            (AuditKind::Approval, &counts.approvals),
            (AuditKind::Access, &counts.accesses),
            (AuditKind::Note, &counts.notes),
        ]
        .map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
    }

    /// Entries that could not be written when they should have been, since the start.
    #[must_use]
    pub fn not_written(&self) -> u64 {
        self.0.counts.not_written.load(Ordering::Relaxed)
    }

    /// Refusals and sign-ins that were counted rather than written, because too many came at once.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.counts.left_out.load(Ordering::Relaxed)
    }

    /// Entries that the webhook took and did not take; `None` where there is none.
    #[must_use]
    pub fn webhook(&self) -> Option<[(&'static str, u64); 2]> {
        let counts = &self.0.counts;
        self.0.hook.as_ref().map(|_| {
            [("delivered", &counts.delivered), ("undelivered", &counts.undelivered)]
                .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
        })
    }

    /// Writes what is still to be written and gives the webhook a moment. To be called when nothing is asked any more.
    pub async fn close(&self) {
        if let Ok(kept) = self.kept() {
            // What cannot be written was counted and logged; what cannot be merged is merged at the next start.
            let _ = self.append(Vec::new(), Urgency::After).await;
            let _ = self.look(&kept.writer, Store::merge).await;
        }
        if let Some(hook) = &self.0.hook {
            hook.close(&self.0.counts).await;
        }
    }

    async fn follow_up(&self, deed: &Deed, attempt: u64, seen: Option<&str>, detail: &str) {
        let mut draft = deed.entry(AuditKind::FollowUp, Some(attempt), detail);
        draft.seen = seen.map(str::to_owned);
        self.append_after(draft).await;
    }

    /// Writes down what happened, now or as soon as that is possible. False: not yet.
    async fn append_after(&self, draft: AuditEntry) -> bool {
        let is_written = self.append(vec![draft], Urgency::After).await.is_ok();
        if !is_written && !self.0.is_retrying.swap(true, Ordering::Relaxed) {
            let audit = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(RETRY).await;
                    let Some(audit) = audit.upgrade().map(Audit) else { return };
                    // Before trying: what fails from now on is owed to a task of its own, or to this one.
                    audit.0.is_retrying.store(false, Ordering::Relaxed);
                    // What is owed is written before anything else, even before nothing.
                    let is_paid = audit.append(Vec::new(), Urgency::After).await.is_ok();
                    if is_paid || audit.0.is_retrying.swap(true, Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        is_written
    }

    async fn append(&self, drafts: Vec<AuditEntry>, urgency: Urgency) -> Result<Vec<AuditEntry>, AuditError> {
        let (done, written) = oneshot::channel();
        let ask = Ask::Append { drafts, urgency, span: Span::current(), done };
        self.kept()?.writer.send(ask).await.map_err(|_| gone())?;
        answer(written).await?
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        self.look(&self.kept()?.reader, look).await
    }

    async fn look<T: Send + 'static>(
        &self,
        at: &mpsc::Sender<Ask>,
        look: impl FnOnce(&Store) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let (done, found) = oneshot::channel();
        // Whoever asked may have left.
        let look = Box::new(move |store: &Store| drop(done.send(look(store))));
        at.send(Ask::Read(look)).await.map_err(|_| gone())?;
        answer(found).await?
    }

    fn kept(&self) -> Result<&Kept, AuditError> {
        self.0.kept.as_ref().map_err(Clone::clone)
    }
}

/// An attempt that is written down and not yet at its end.
#[derive(Debug)]
pub struct Attempt {
    audit: Audit,
    deed: Deed,
    seq: u64,
    has_ended: AtomicBool,
}

impl Attempt {
    /// The number of its intention.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Writes down what came of it. Only the first call counts: the outcome does not change by watching what comes after.
    /// False: it is not on the disk yet; it will be written as soon as that is possible.
    pub async fn ended(&self, outcome: Outcome, detail: &str) -> bool {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return true;
        }
        let mut draft = self.deed.entry(AuditKind::Completion, Some(self.seq), detail);
        draft.outcome = Some(outcome_word(outcome).to_owned());
        self.audit.append_after(draft).await
    }

    /// Writes down what was seen of the lock afterwards.
    pub async fn followed(&self, seen: &str, detail: &str) {
        self.audit.follow_up(&self.deed, self.seq, Some(seen), detail).await;
    }

    /// The same as an attempt that somebody is to look into.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn unresolved(&self, outcome: Outcome) -> Result<Option<Unresolved>, AuditError> {
        let seq = self.seq;
        let found = self.audit.run(Filter::default(), seq.saturating_sub(1), seq, 1).await?;
        Ok(found
            .entries
            .into_iter()
            .next()
            .map(|intention| Unresolved { intention, outcome: outcome_word(outcome).to_owned() }))
    }
}

/// What the thread says.
async fn answer<T>(said: oneshot::Receiver<T>) -> Result<T, AuditError> {
    #[cfg(test)]
    let said = crate::clock::standing(said);
    said.await.map_err(|_| gone())
}

fn gone() -> AuditError {
    AuditError("the thread that writes the audit ended".to_owned())
}

fn telling(webhook: Option<Webhook>, dir: Option<&Path>) -> Result<(Arc<Counts>, Option<webhook::Queue>), String> {
    let counts = Arc::new(Counts::default());
    let hook = webhook.map(|webhook| webhook::start(webhook, Arc::clone(&counts), dir)).transpose();
    hook.map(|hook| (counts, hook)).map_err(|because| format!("the webhook cannot be used: {because}"))
}
