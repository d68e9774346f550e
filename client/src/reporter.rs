//! Saying what happens, without ever being in the way: `docs/reporting.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::masters::Masters;
use crate::options::Reports;
use crate::random;
use crate::report::{self, Identity, Kind, Report};

/// Reports that may wait to be sent. What does not fit is dropped and counted: a lock matters more than word of it.
const QUEUE: usize = 1024;

/// Bytes of randomness in the id of an attempt: enough that no two ever meet.
const ATTEMPT_BYTES: usize = 16;

/// Hands reports to the task that sends them. Does nothing where no stream was named.
#[derive(Clone)]
pub(crate) struct Reporter {
    queue: Option<mpsc::Sender<(Instant, Report)>>,
    unsent: Arc<AtomicU64>,
    identity: Identity,
}

impl Reporter {
    pub(crate) fn start(
        runtime: &Handle,
        masters: Arc<Masters>,
        reports: Option<Reports>,
        name: Option<&str>,
    ) -> Reporter {
        let unsent = Arc::new(AtomicU64::new(0));
        let queue = reports.map(|reports| {
            let (sender, queue) = mpsc::channel(QUEUE);
            runtime.spawn(send(masters, reports, queue, Arc::clone(&unsent)));
            sender
        });
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let identity = Identity {
            host: cut(&host, report::MAX_HOST_BYTES),
            pid: Some(std::process::id()),
            thread: None,
            name: name.and_then(|name| cut(name, report::MAX_NAME_BYTES)),
        };
        Reporter { queue, unsent, identity }
    }

    /// Reports that were not sent since the start: the store did not take them, or there were too many.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    fn report(&self, report: Report) {
        if let Some(queue) = &self.queue
            && queue.try_send((Instant::now(), report)).is_err()
        {
            self.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Ends when the last [`Reporter`] is gone and everything has been sent or was too old for it: the entry's id is taken for
/// the time of the report, so a late one would show what is long over.
async fn send(
    masters: Arc<Masters>,
    reports: Reports,
    mut queue: mpsc::Receiver<(Instant, Report)>,
    unsent: Arc<AtomicU64>,
) {
    while let Some((said, report)) = queue.recv().await {
        let sent = match report.fields() {
            Ok(fields) if said.elapsed() < report::WAITING_EVERY => masters.add(&reports, fields).await,
            _ => false,
        };
        if !sent {
            unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One attempt to get one lock, as it is told to the world. Whatever way it ends, the end is told.
pub(crate) struct Attempt {
    reporter: Reporter,
    lock: Vec<u8>,
    id: String,
    thread: Option<String>,
    began: Instant,
    said_waiting: Option<Instant>,
}

impl Attempt {
    pub(crate) fn begin(reporter: &Reporter, lock: &[u8]) -> Attempt {
        Attempt {
            reporter: reporter.clone(),
            lock: lock.to_vec(),
            id: random::hex::<ATTEMPT_BYTES>(),
            thread: tokio::task::try_id().and_then(|id| cut(&format!("task {id}"), report::MAX_THREAD_BYTES)),
            began: Instant::now(),
            said_waiting: None,
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// It waits; said again only when it is time to.
    pub(crate) fn waits(&mut self) {
        let now = Instant::now();
        if self.said_waiting.is_none_or(|said| now - said >= report::WAITING_EVERY) {
            self.said_waiting = Some(now);
            self.say(Kind::Waiting, None);
        }
    }

    /// It was told no and does not wait.
    pub(crate) fn refused(self) {
        self.say(Kind::Refused, None);
    }

    /// It has the lock. What is returned tells of the release.
    pub(crate) fn acquired(mut self, token: &str) -> Held {
        self.said_waiting = None;
        self.say(Kind::Acquired, Some(token));
        Held { attempt: self, token: token.to_owned() }
    }

    fn say(&self, kind: Kind, token: Option<&str>) {
        let waited = (kind != Kind::Released).then(|| self.began.elapsed().min(report::MAX_WAITED).as_millis());
        self.reporter.report(Report {
            kind,
            lock: self.lock.clone(),
            token: token.map(|token| token.as_bytes().to_vec()),
            attempt: self.id.clone(),
            waited_ms: waited.and_then(|waited| u64::try_from(waited).ok()),
            identity: Identity { thread: self.thread.clone(), ..self.reporter.identity.clone() },
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.said_waiting.is_some() {
            self.say(Kind::GaveUp, None);
        }
    }
}

/// An attempt that succeeded.
pub(crate) struct Held {
    attempt: Attempt,
    token: String,
}

impl Held {
    pub(crate) fn released(self) {
        self.attempt.say(Kind::Released, Some(&self.token));
    }
}

/// The beginning of a text that fits; nothing where nothing is left.
fn cut(text: &str, most: usize) -> Option<String> {
    let end = text.floor_char_boundary(most);
    Some(text[..end].to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reporter() -> (Reporter, mpsc::Receiver<(Instant, Report)>) {
        let (sender, queue) = mpsc::channel(4);
        (Reporter { queue: Some(sender), unsent: Arc::default(), identity: Identity::default() }, queue)
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_says_so_again_when_it_is_time_and_takes_its_leave() {
        let (reporter, mut queue) = reporter();
        let mut next = || queue.try_recv().ok().map(|(_, report)| (report.kind, report.waited_ms));
        let mut attempt = Attempt::begin(&reporter, b"lock:a");
        for at_ms in [0, 4_999, 5_000, 7_000, 10_000] {
            tokio::time::sleep_until(attempt.began() + Duration::from_millis(at_ms)).await;
            attempt.waits();
        }
        assert_eq!(next(), Some((Kind::Waiting, Some(0))));
        assert_eq!(next(), Some((Kind::Waiting, Some(5_000))));
        assert_eq!(next(), Some((Kind::Waiting, Some(10_000))));
        drop(attempt);
        assert_eq!(next(), Some((Kind::GaveUp, Some(10_000))));
        assert_eq!(next(), None);
    }

    #[tokio::test]
    async fn a_full_queue_drops_reports_and_counts_them() {
        let (reporter, _queue) = reporter();
        for _ in 0..6 {
            Attempt::begin(&reporter, b"lock:a").refused();
        }
        assert_eq!(reporter.unsent(), 2);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("größe", 4).as_deref(), Some("gr\u{f6}"));
        assert_eq!(cut("größe", 3).as_deref(), Some("gr"));
        assert_eq!(cut("", 4), None);
    }
}
