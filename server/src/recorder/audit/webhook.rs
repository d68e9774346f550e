//! Tells another system of every entry, soon after it was written.
//!
//! Nothing waits for the receiver: entries queue up behind its back, a bounded number of them, and what does not get
//! through is counted. The file stays the truth; the numbers of the entries tell the receiver what it missed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use lockkeeper_model::AuditEntry;
use sha2::Sha256;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::writer::Counts;

/// Entries that may wait for the receiver: two minutes of the busiest minute that hands can make.
const MAX_WAITING: usize = 1_024;

/// How long the receiver may take for one entry.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How often one entry is sent at most. With the waits between, a receiver may be away for some two minutes.
const MAX_TRIES: u32 = 8;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long the end of the server waits for entries that were not delivered yet.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(2);

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
    letters: mpsc::Sender<Letter>,
    waiting: Arc<AtomicU64>,
}

enum Letter {
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
        if self.letters.try_send(Letter::Entry { seq: entry.seq, body }).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            counts.undelivered.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(audit.seq = entry.seq, "the audit's webhook is too slow: an entry was not delivered");
        }
    }

    /// Waits until everything was dealt with, for at most [`LAST_WAIT`].
    pub(super) async fn close(&self, counts: &Counts) {
        let (done, told) = oneshot::channel();
        let all = async {
            if self.letters.send(Letter::Last(done)).await.is_ok() {
                // An error means that the task is gone, and nothing is left to wait for.
                let _ = told.await;
            }
        };
        if tokio::time::timeout(LAST_WAIT, all).await.is_err() {
            let left = self.waiting.load(Ordering::Relaxed);
            counts.undelivered.fetch_add(left, Ordering::Relaxed);
            tracing::warn!(undelivered = left, "the server ends before its audit's webhook took everything");
        }
    }
}

/// Starts the task that delivers. It ends when nobody can offer anything any more.
///
/// # Errors
/// When TLS cannot be set up, with the reason.
pub(super) fn start(webhook: Webhook, counts: Arc<Counts>) -> Result<Queue, String> {
    let tls = crate::tls::TlsFiles::default().load().map_err(|error| error.to_string())?;
    let http = reqwest::Client::builder()
        .use_preconfigured_tls(tls)
        .timeout(ANSWER_TIMEOUT)
        // Who is told is configured, not chosen by whoever answers there.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("lockkeeper/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())?;
    let (letters, mut queue) = mpsc::channel(MAX_WAITING);
    let waiting = Arc::new(AtomicU64::new(0));
    let left = Arc::clone(&waiting);
    tokio::spawn(async move {
        while let Some(letter) = queue.recv().await {
            match letter {
                Letter::Entry { seq, body } => {
                    match deliver(&http, &webhook, &body).await {
                        Ok(()) => counts.delivered.fetch_add(1, Ordering::Relaxed),
                        Err(because) => {
                            tracing::warn!(
                                audit.seq = seq,
                                host = webhook.url.host_str(),
                                "the audit's webhook did not take an entry: {because}"
                            );
                            counts.undelivered.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                Letter::Last(done) => drop(done.send(())),
            }
        }
    });
    Ok(Queue { letters, waiting })
}

/// Sends one entry until it is taken, or cannot be.
async fn deliver(http: &reqwest::Client, webhook: &Webhook, body: &str) -> Result<(), String> {
    let mut wait = FIRST_WAIT;
    let mut tries = 1;
    loop {
        let because = match send(http, webhook, body).await {
            Ok(status) if status.is_success() => return Ok(()),
            // Asked again it would say the same.
            Ok(status) if !may_pass(status) => return Err(format!("it answered {status}")),
            Ok(status) => format!("it answered {status}"),
            Err(error) => words_of(error),
        };
        if tries == MAX_TRIES {
            return Err(format!("{because}, {tries} times"));
        }
        tokio::time::sleep(wait).await;
        (tries, wait) = (tries + 1, (wait * 2).min(LONGEST_WAIT));
    }
}

async fn send(http: &reqwest::Client, webhook: &Webhook, body: &str) -> Result<reqwest::StatusCode, reqwest::Error> {
    let mut request = http.post(webhook.url.clone()).header("content-type", "application/json").body(body.to_owned());
    if let Some(signature) = webhook.secret.as_deref().and_then(|secret| sign(secret, body)) {
        request = request.header(SIGNATURE, signature);
    }
    Ok(request.send().await?.status())
}

/// `None` is impossible: an HMAC takes keys of every length.
fn sign(secret: &[u8], body: &str) -> Option<String> {
    let mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(secret).ok()?.chain_update(body).finalize();
    Some(mac.into_bytes().iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}")))
}

fn may_pass(status: reqwest::StatusCode) -> bool {
    use reqwest::StatusCode;

    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The error with its causes, without the URL, whose path may be a password.
fn words_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_other_programs_compute() {
        // RFC 4231, test case 2.
        assert_eq!(
            sign(b"Jefe", "what do ya want for nothing?").unwrap(),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn neither_path_nor_secret_is_shown() {
        let url = Url::parse("https://user:hunter2@hooks.example/services/hunter2").unwrap();
        let webhook = Webhook { url, secret: Some(b"hunter2".to_vec()) };
        let shown = format!("{webhook:?}");
        assert!(shown.contains("hooks.example") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        use reqwest::StatusCode;
        for (status, again) in [
            (StatusCode::BAD_GATEWAY, true),
            (StatusCode::TOO_MANY_REQUESTS, true),
            (StatusCode::NOT_FOUND, false),
            (StatusCode::MOVED_PERMANENTLY, false),
        ] {
            assert_eq!(may_pass(status), again, "{status}");
        }
    }
}
