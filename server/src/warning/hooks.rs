//! Webhooks: whom to tell of what, one after the other, and what became of it.
//!
//! Each webhook has a queue of its own, so that one that is away holds up no other. What waits there for too long is not
//! news any more and is dropped; every message ends up in the log of deliveries. What waits when the server ends is sent
//! after the next start.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use lockkeeper_model::{Delivery, LockWarning, Severity, WarningRule, WarningState};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use url::Url;

use super::message::Message;
use crate::outbox::{Letter, Outbox};
use crate::webhook::{End, Pace, Sender, sign};
use crate::{clock, glob};

/// Messages that wait for one receiver.
const MAX_WAITING: usize = 1_024;

/// A message that waited for so long is dropped: it is not news any more, and what is open is on the screen.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// Deliveries that are remembered, of all webhooks together.
pub const MAX_DELIVERIES: usize = 1_000;

/// Names the delivery: the same with every attempt, so that a receiver can leave out what it has.
const DELIVERY: &str = "x-lockkeeper-delivery";

/// When this attempt was made, in seconds since 1970. A receiver refuses what is too old, so that a message that somebody
/// recorded cannot be sent again.
const TIMESTAMP: &str = "x-lockkeeper-timestamp";

/// Carries `v1=` and the hexadecimal HMAC-SHA-256 of the timestamp, a full stop and the body.
const SIGNATURE: &str = "x-lockkeeper-signature";

/// How a receiver reads messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lockkeeper's own, with everything that is known.
    Json,
    /// A message for a channel of Slack, by an incoming webhook.
    Slack,
    /// PagerDuty's Events API v2.
    PagerDuty,
}

impl Form {
    /// Every form.
    pub const ALL: [Form; 3] = [Form::Json, Form::Slack, Form::PagerDuty];

    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Slack => "slack",
            Form::PagerDuty => "pagerduty",
        }
    }
}

/// Of which warnings a webhook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Only of these rules; empty: of all.
    pub rules: Vec<WarningRule>,
    /// Only of at least this severity.
    pub severity: Severity,
    /// Only of sources whose names match one of these Redis globs; empty: of all.
    pub sources: Vec<String>,
}

impl Pick {
    /// `told_as`: the highest severity with which others were told of it.
    fn has(&self, warning: &LockWarning, told_as: Severity) -> bool {
        let is_source = |glob: &String| glob::matches(glob.as_bytes(), warning.source.as_bytes());
        (self.rules.is_empty() || self.rules.contains(&warning.rule))
            && told_as >= self.severity
            && (self.sources.is_empty() || self.sources.iter().any(is_source))
    }
}

/// Whom to tell. `Debug` shows neither the path, which is a password with many receivers, nor the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    /// What it is called in the log of deliveries.
    pub name: String,
    /// Where to.
    pub url: Url,
    /// Signs each message; for PagerDuty the routing key.
    pub secret: Option<Vec<u8>>,
    /// How it reads.
    pub form: Form,
    /// Of what.
    pub pick: Pick,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("name", &self.name)
            .field("host", &self.url.host_str())
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// A message that waits, and the name of the webhook that it is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Addressed {
    pub(super) webhook: String,
    pub(super) message: Message,
}

/// The file of messages that wait, within the data folder.
const OUTBOX_FILE: &str = "warnings-waiting.json";

/// What became of every message, the newest last, and those that still wait.
#[derive(Clone, Debug)]
pub(super) struct Log {
    deliveries: watch::Sender<Deliveries>,
    outbox: Outbox<Addressed>,
}

#[derive(Debug, Default)]
struct Deliveries {
    last: VecDeque<Delivery>,
    /// Those that were decided, by outcome, since the start.
    counts: [u64; OUTCOMES.len()],
}

/// How a delivery can end.
const OUTCOMES: [&str; 4] = ["delivered", "refused", "failed", "dropped"];

impl Log {
    /// One whose messages outlive the run, if there is a folder, and what an earlier one left.
    pub(super) fn open(dir: Option<&Path>) -> (Log, Vec<Letter<Addressed>>) {
        let (outbox, left) = match dir {
            Some(dir) => Outbox::open(dir, OUTBOX_FILE, MAX_AGE),
            None => (Outbox::in_memory(), Vec::new()),
        };
        (Log { deliveries: watch::Sender::default(), outbox }, left)
    }

    /// Writes down what still waits, for the next run.
    pub(super) fn keep(&self) {
        match self.outbox.keep() {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} messages to webhooks are sent after the next start"),
            Err(error) => tracing::warn!("what waits for webhooks is lost: {error}"),
        }
    }

    fn begin(&self, hook: &str, message: &Message) {
        self.deliveries.send_modify(|log| {
            if log.last.len() >= MAX_DELIVERIES {
                log.last.pop_front();
            }
            log.last.push_back(Delivery {
                id: message.id.clone(),
                at: message.at,
                webhook: hook.to_owned(),
                warning: (message.event != "test").then(|| message.warning.id.clone()),
                event: message.event.to_string(),
                outcome: "waiting".to_owned(),
                tries: 0,
                done_at: None,
                detail: None,
            });
        });
    }

    fn tried(&self, id: &str, tries: u32, says: &str) {
        self.deliveries.send_modify(|log| {
            if let Some(delivery) = log.find(id) {
                delivery.tries = tries;
                delivery.detail = Some(says.to_owned());
            }
        });
    }

    fn end(&self, id: &str, outcome: &'static str, tries: u32, detail: String) {
        self.outbox.done(id);
        self.deliveries.send_modify(|log| {
            if let Some(at) = OUTCOMES.iter().position(|known| *known == outcome) {
                log.counts[at] += 1;
            }
            if let Some(delivery) = log.find(id) {
                delivery.outcome = outcome.to_owned();
                delivery.tries = tries;
                delivery.done_at = Some(clock::now());
                delivery.detail = Some(detail);
            }
        });
    }

    /// Newest first.
    pub(super) fn list(&self) -> Vec<Delivery> {
        self.deliveries.borrow().list()
    }

    /// The same, once it is as it should be.
    #[cfg(test)]
    pub(super) async fn until(&self, passes: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut changes = self.deliveries.subscribe();
        let log = changes.wait_for(|log| passes(&log.list())).await;
        log.map(|log| log.list()).unwrap_or_default()
    }

    /// Those that were decided, by outcome, since the start.
    pub(super) fn counts(&self) -> [(&'static str, u64); OUTCOMES.len()] {
        let counts = self.deliveries.borrow().counts;
        std::array::from_fn(|at| (OUTCOMES[at], counts[at]))
    }
}

impl Deliveries {
    fn find(&mut self, id: &str) -> Option<&mut Delivery> {
        self.last.iter_mut().rev().find(|delivery| delivery.id == id)
    }

    fn list(&self) -> Vec<Delivery> {
        self.last.iter().rev().cloned().collect()
    }
}

/// A webhook and what waits for it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) hook: Hook,
    letters: mpsc::Sender<(Instant, Message)>,
    log: Log,
}

impl Running {
    /// Starts the task that delivers. It ends when what waits was dealt with and nobody can offer anything any more.
    /// Before anything else it delivers what an earlier run left.
    pub(super) fn start(
        hook: Hook,
        base: Option<Url>,
        log: Log,
        pace: Pace,
        left: Vec<Message>,
    ) -> Result<Running, String> {
        let sender = Sender::new(pace)?;
        let (letters, queue) = mpsc::channel(MAX_WAITING + left.len());
        tokio::spawn(deliver_all(hook.clone(), base, sender, queue, log.clone()));
        let running = Running { hook, letters, log };
        let now = Instant::now();
        for message in left {
            let age = clock::now().since(message.at).max(0).unsigned_abs();
            running.log.begin(&running.hook.name, &message);
            // Where this machine has not run for so long, it counts from now.
            running.hand_over(now.checked_sub(Duration::from_millis(age)).unwrap_or(now), message);
        }
        Ok(running)
    }

    /// Has the receiver told, if it wants to be, without waiting.
    pub(super) fn offer(&self, event: &'static str, warning: &LockWarning, told_as: Severity) {
        if self.hook.pick.has(warning, told_as) {
            self.send(event, warning.clone());
        }
    }

    /// Sends something that is no warning, to find out whether it arrives. Says under which name it is delivered.
    pub(super) fn test(&self) -> String {
        let now = clock::now();
        let warning = LockWarning {
            id: format!("test-{}", uuid::Uuid::new_v4().simple()),
            rule: WarningRule::ReleasedByForce,
            severity: Severity::Info,
            state: WarningState::Open,
            source: "lockkeeper".to_owned(),
            lock: None,
            about: "a test".to_owned(),
            since: now,
            opened_at: now,
            says: "Somebody tests whether warnings of Lockkeeper arrive here.".to_owned(),
            why: "Nothing is wrong.".to_owned(),
            todo: "Nothing.".to_owned(),
            times: 1,
            acknowledged: None,
            muted: None,
            resolved_at: None,
            resolved: None,
            stale: false,
        };
        let id = self.send("test", warning.clone());
        if self.hook.form == Form::PagerDuty {
            // Or the test would stay open there.
            self.send("resolved", warning);
        }
        id
    }

    fn send(&self, event: &'static str, warning: LockWarning) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let message = Message { id: id.clone(), at: clock::now(), event: event.into(), warning };
        self.log.begin(&self.hook.name, &message);
        let content = Addressed { webhook: self.hook.name.clone(), message: message.clone() };
        self.log.outbox.put(Letter { id: id.clone(), at: message.at, content });
        self.hand_over(Instant::now(), message);
        id
    }

    fn hand_over(&self, offered: Instant, message: Message) {
        let id = message.id.clone();
        if self.letters.try_send((offered, message)).is_err() {
            tracing::warn!(webhook = self.hook.name, "a webhook is too slow: a message was dropped");
            self.log.end(&id, "dropped", 0, format!("{MAX_WAITING} others were waiting for it"));
        }
    }
}

async fn deliver_all(
    hook: Hook,
    base: Option<Url>,
    sender: Sender,
    mut queue: mpsc::Receiver<(Instant, Message)>,
    log: Log,
) {
    while let Some((offered, message)) = queue.recv().await {
        let Some(left) = MAX_AGE.checked_sub(offered.elapsed()) else {
            log.end(&message.id, "dropped", 0, too_old());
            continue;
        };
        let key = hook.secret.as_deref().filter(|_| hook.form == Form::PagerDuty);
        let key = key.map(|key| String::from_utf8_lossy(key).into_owned());
        let body = message.body(hook.form, base.as_ref(), key.as_deref()).to_string();
        let headers = || headers(&hook, &message.id, &body);
        let tried = |tries: u32, says: &str| log.tried(&message.id, tries, says);
        match tokio::time::timeout(left, sender.deliver(&hook.url, &body, headers, tried)).await {
            Err(_) => log.end(&message.id, "dropped", 0, too_old()),
            Ok(sent) => {
                let outcome = match sent.end {
                    End::Taken => "delivered",
                    End::Refused => "refused",
                    End::GivenUp => "failed",
                };
                if sent.end != End::Taken {
                    tracing::warn!(
                        webhook = hook.name,
                        host = hook.url.host_str(),
                        tries = sent.tries,
                        "a webhook did not take a message: {}",
                        sent.says
                    );
                }
                log.end(&message.id, outcome, sent.tries, sent.says);
            }
        }
    }
}

fn too_old() -> String {
    format!("it could not be delivered within {} min", MAX_AGE.as_secs() / 60)
}

fn headers(hook: &Hook, id: &str, body: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![(DELIVERY, id.to_owned())];
    // PagerDuty's secret is in the body, and is no key to sign with.
    let secret = hook.secret.as_deref().filter(|_| hook.form != Form::PagerDuty);
    let timestamp = (clock::now().0 / 1_000).to_string();
    if let Some(signature) = secret.and_then(|secret| sign(secret, &[timestamp.as_bytes(), b".", body.as_bytes()])) {
        headers.push((SIGNATURE, format!("v1={signature}")));
        headers.push((TIMESTAMP, timestamp));
    }
    headers
}
