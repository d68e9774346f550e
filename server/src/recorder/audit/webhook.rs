//! Tells another system of every entry, soon after it was written.
//!
//! Nothing waits for the receiver: entries queue up behind its back, a bounded number of them, and what does not get
//! through is counted. What waits when the server ends is sent after the next start. The file stays the truth; the numbers
//! of the entries tell the receiver what it missed, or has already.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockkeeper_model::AuditEntry;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::writer::Counts;
use crate::outbox::{Letter, Outbox};
use crate::webhook::{End, Pace, Sender, sign};

/// Entries that may wait for the receiver: two minutes of the busiest minute that hands can make.
const MAX_WAITING: usize = 1_024;

/// How long the end of the server waits for entries that were not delivered yet. Short, because it has a second for the audit as
/// a whole and what is left is sent after the next start.
pub(super) const LAST_WAIT: Duration = Duration::from_millis(500);

/// The file of entries that wait, within the data folder.
const OUTBOX_FILE: &str = "audit-waiting.json";

/// Entries that waited for longer are in the audit alone: whoever collects them has fetched them from there by then.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Carries `sha256=` and the hexadecimal HMAC-SHA-256 of the body.
const SIGNATURE: &str = "x-lockkeeper-signature";

/// Whom to tell. `Debug` shows neither the path, which is a password with many receivers, nor the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: Url,
    /// Signs each entry.
    pub secret: Option<Vec<u8>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// What waits for the receiver.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    letters: mpsc::Sender<Told>,
    waiting: Arc<AtomicU64>,
    outbox: Outbox<String>,
}

enum Told {
    Entry {
        seq: u64,
        body: String,
    },
    /// Everything before this was dealt with.
    Last(oneshot::Sender<()>),
}

impl Queue {
    pub(super) fn offer(&self, entry: &AuditEntry, counts: &Counts) {
        let Ok(body) = serde_json::to_string(entry) else { return };
        // Before it is sent: the task may be quicker than we are.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.outbox.put(Letter { id: entry.seq.to_string(), at: entry.at, content: body.clone() });
        self.hand_over(entry.seq, body, counts);
    }

    fn hand_over(&self, seq: u64, body: String, counts: &Counts) {
        if self.letters.try_send(Told::Entry { seq, body }).is_err() {
            self.outbox.done(&seq.to_string());
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            counts.undelivered.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(audit.seq = seq, "the audit's webhook is too slow: an entry was not delivered");
        }
    }

    /// Waits until everything was dealt with, for at most [`LAST_WAIT`], and writes down what was not, for the next run.
    pub(super) async fn close(&self, counts: &Counts) {
        let (done, told) = oneshot::channel();
        let all = async {
            if self.letters.send(Told::Last(done)).await.is_ok() {
                // An error means that the task is gone, and nothing is left to wait for.
                let _ = told.await;
            }
        };
        if tokio::time::timeout(LAST_WAIT, all).await.is_err() {
            let left = self.waiting.load(Ordering::Relaxed);
            counts.undelivered.fetch_add(left, Ordering::Relaxed);
            tracing::warn!(undelivered = left, "the server ends before its audit's webhook took everything");
            let outbox = self.outbox.clone();
            match tokio::task::spawn_blocking(move || outbox.keep()).await {
                Ok(Ok(count)) => tracing::info!("{count} entries are sent to the audit's webhook after the next start"),
                Ok(Err(error)) => tracing::warn!("what waits for the audit's webhook is lost to it: {error}"),
                // It panicked, which is in the log.
                Err(_) => {}
            }
        }
    }
}

/// Starts the task that delivers, first of all what an earlier run left in the folder. It ends when nobody can offer
/// anything any more.
///
/// # Errors
/// When TLS cannot be set up, with the reason.
pub(super) fn start(webhook: Webhook, counts: Arc<Counts>, dir: Option<&Path>) -> Result<Queue, String> {
    let sender = Sender::new(Pace::default())?;
    let (outbox, before) = match dir {
        Some(dir) => Outbox::open(dir, OUTBOX_FILE, MAX_AGE),
        None => (Outbox::in_memory(), Vec::new()),
    };
    let (letters, mut queue) = mpsc::channel(MAX_WAITING + before.len());
    let waiting = Arc::new(AtomicU64::new(before.len() as u64));
    let started = Queue { letters, waiting: Arc::clone(&waiting), outbox: outbox.clone() };
    for Letter { id, content, .. } in before {
        started.hand_over(id.parse().unwrap_or(0), content, &counts);
    }
    let left = waiting;
    tokio::spawn(async move {
        while let Some(letter) = queue.recv().await {
            match letter {
                Told::Entry { seq, body } => {
                    let sent = sender.deliver(&webhook.url, &body, || signed(&webhook, &body), |_, _| {}).await;
                    match sent.end {
                        End::Taken => counts.delivered.fetch_add(1, Ordering::Relaxed),
                        End::Refused | End::GivenUp => {
                            tracing::warn!(
                                audit.seq = seq,
                                host = webhook.url.host_str(),
                                tries = sent.tries,
                                "the audit's webhook did not take an entry: {}",
                                sent.says
                            );
                            counts.undelivered.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                    outbox.done(&seq.to_string());
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                Told::Last(done) => drop(done.send(())),
            }
        }
    });
    Ok(started)
}

fn signed(webhook: &Webhook, body: &str) -> Vec<(&'static str, String)> {
    let signature = webhook.secret.as_deref().and_then(|secret| sign(secret, &[body.as_bytes()]));
    signature.into_iter().map(|signature| (SIGNATURE, format!("sha256={signature}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_path_nor_secret_is_shown() {
        let url = Url::parse("https://user:hunter2@hooks.example/services/hunter2").unwrap();
        let webhook = Webhook { url, secret: Some(b"hunter2".to_vec()) };
        let shown = format!("{webhook:?}");
        assert!(shown.contains("hooks.example") && !shown.contains("hunter2"), "{shown}");
    }
}
