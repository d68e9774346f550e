//! Finding what exists: pages of names, and readings of them, side by side on connections of their own.

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, ServerInterface};
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use lockkeeper_model::Time;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::assemble::{Reader, Wanted};
use super::dialect;
use super::pace::Purpose;
use super::trouble::refused_command;
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::Report;

/// `COUNT` of one page: about a millisecond of the server's time, so that others wait no longer than that; and more when
/// there is nobody who could wait, because between two pages the server waits for us.
const PAGE: u32 = 1_000;
const PAGE_ALONE: u32 = 5_000;

/// Keys read by one script: about a millisecond of the server's time at most.
const READ_AT_ONCE: usize = 300;

/// Readings under way at once. The server's part of a reading takes about as long as ours, and either stands still while
/// all of them are with the other: with four, a fifth of the time is lost, with twelve a thirteenth. Whoever comes between
/// waits for ten milliseconds at most, and while the budget holds there is hardly more than one.
const READINGS: usize = 12;

/// Batches of names that may wait to be read: two pages, so that a page that comes late keeps no reading waiting.
const WAITING_BATCHES: usize = 32;

/// How a scan ended.
pub(super) enum Scanned {
    /// Everything was seen that was there all the time since it began.
    Complete {
        /// When that was.
        began_at: Time,
    },
    /// The credential may not scan.
    Refused,
    BoardGone,
}

/// Scans once. `names` is the connection for pages, `values` are those for readings.
pub(super) async fn run(shared: &Shared, names: &Client, values: &[Client], reader: &Reader) -> Result<Scanned, Error> {
    let began_at = clock::now();
    if shared.report(Report::ScanBegan { at: began_at }).await.is_err() {
        return Ok(Scanned::BoardGone);
    }
    shared.scope.scan_begins();
    let total_keys = match names.dbsize::<u64>().await {
        Ok(keys) => Some(keys),
        Err(error) => match refused_command(&error) {
            Some(command) => {
                shared.status.missing(&command, "how far a scan has come cannot be said");
                None
            }
            None => return Err(error),
        },
    };
    shared.status.update(|status| {
        status.coverage.scanned_keys = 0;
        status.coverage.total_keys = total_keys;
        status.coverage.started_at = Some(began_at);
        status.not_locks.count = 0;
        status.not_locks.sample.clear();
    });

    let (batches, waiting) = mpsc::channel::<Vec<Wanted>>(WAITING_BATCHES);
    let waiting = Arc::new(Mutex::new(waiting));
    let mut readers = JoinSet::new();
    for i in 0..READINGS {
        let (shared, reader, waiting) = (shared.clone(), reader.clone(), waiting.clone());
        let client = values[i % values.len()].clone();
        readers.spawn(async move {
            loop {
                let batch = waiting.lock().await.recv().await;
                let Some(batch) = batch else { return Ok(()) };
                let sights = reader.read(&client, batch, Purpose::Scan).await.map_err(Some)?;
                shared.report(Report::Sights { sights, scan: true }).await.map_err(|BoardGone| None)?;
            }
        });
    }
    // Only the readers hold it now: when all of them have failed, the walk ends as well.
    drop(waiting);
    reader.company.clear();
    let scanned = pages(shared, names, reader, batches).await;
    if let Err(error) = scanned {
        return match refused_command(&error) {
            Some(command) => {
                shared.status.missing(&command, "locks that existed before are seen only when they change");
                Ok(Scanned::Refused)
            }
            None => Err(error),
        };
    }
    while let Some(ended) = readers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(None)) => return Ok(Scanned::BoardGone),
            Ok(Err(Some(error))) => return Err(error),
            Err(panicked) => return Err(Error::new(ErrorKind::Unknown, panicked.to_string())),
        }
    }
    if shared.report_and_wait(Report::ScanEnded { began_at }).await.is_err() {
        return Ok(Scanned::BoardGone);
    }
    finished(shared, began_at);
    Ok(Scanned::Complete { began_at })
}

fn finished(shared: &Shared, began_at: Time) {
    let now = clock::now();
    shared.status.update(|status| {
        status.coverage.finished_at = Some(now);
        status.coverage.took_ms = Some(now.since(began_at));
    });
}

/// Names that were found, until there are enough of them to be read together. They are copied out of their pages: readings
/// run on several cores, which would contend for the count of who has a part of a page, and a name that is remembered would
/// keep all of its page in memory.
#[derive(Default)]
struct Batch {
    names: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, name: &[u8]) {
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ends.len() == READ_AT_ONCE
    }

    /// What was found, leaving nothing.
    fn take(&mut self) -> Vec<Wanted> {
        let (bytes, again) = (self.names.len(), self.ends.len());
        let names = Bytes::from(std::mem::replace(&mut self.names, Vec::with_capacity(bytes)));
        let ends = std::mem::replace(&mut self.ends, Vec::with_capacity(again));
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| Wanted::of(names.slice(start..end))).collect()
    }
}

/// One page of names, and where the next one begins.
struct Page {
    names: Vec<Reply>,
    next: Bytes,
}

/// Walks the names, and passes them on in batches. The next page is on its way while the names of one are looked at.
async fn pages(
    shared: &Shared,
    client: &Client,
    reader: &Reader,
    batches: mpsc::Sender<Vec<Wanted>>,
) -> Result<(), Error> {
    let narrowing = shared.scope.narrowing();
    let first = Bytes::from_static(b"0");
    let mut batch = Batch::default();
    let mut page = one_page(shared, client, narrowing.as_deref(), first.clone()).await?;
    loop {
        let is_last = page.next == first;
        let coming = async {
            if is_last { Ok(None) } else { one_page(shared, client, narrowing.as_deref(), page.next).await.map(Some) }
        };
        let sorting = sort(shared, reader, page.names, &mut batch, &batches);
        let (coming, sorted) = tokio::join!(coming, sorting);
        if sorted.is_err() {
            // The readers ended: what they report is the trouble.
            return Ok(());
        }
        match coming? {
            Some(next) => page = next,
            None => break,
        }
    }
    for key in reader.company.left().into_iter().filter(|key| shared.wants(key)) {
        batch.push(&key);
        if batch.is_full() && batches.send(batch.take()).await.is_err() {
            // As above.
            return Ok(());
        }
    }
    if !batch.is_empty() && batches.send(batch.take()).await.is_err() {
        // As above.
        return Ok(());
    }
    reader.company.clear();
    shared.status.update(|status| {
        status.coverage.scanned_keys = status.coverage.total_keys.unwrap_or(status.coverage.scanned_keys);
    });
    Ok(())
}

/// Asks for the page that begins at `cursor`.
async fn one_page(shared: &Shared, client: &Client, narrowing: Option<&str>, cursor: Bytes) -> Result<Page, Error> {
    shared.pacer.take(1, Purpose::Scan).await;
    let size = if shared.pacer.is_crowded() { PAGE } else { PAGE_ALONE };
    let mut arguments: Vec<Reply> = vec![Reply::Bytes(cursor), "COUNT".into(), size.into()];
    if let Some(narrowing) = narrowing {
        arguments.extend(["MATCH".into(), narrowing.into()]);
    }
    let scan = CustomCommand::new_static("SCAN", ClusterHash::Random, false);
    let reply: Reply = client.custom(scan, arguments).await?;
    shared.pacer.answered(1);
    let Reply::Array(mut parts) = reply else { return Err(odd()) };
    let (Some(names), Some(next)) = (parts.pop(), parts.pop().and_then(Reply::into_bytes)) else {
        return Err(odd());
    };
    let names = match names {
        Reply::Array(names) => names,
        Reply::Null => Vec::new(),
        // A page with one name may come as that name alone.
        one => vec![one],
    };
    shared.status.update(|status| status.coverage.scanned_keys += u64::from(size));
    Ok(Page { names, next })
}

/// Puts the names of one page that are to be read into batches, and passes on those that are full. An error means that
/// nobody reads any more.
async fn sort(
    shared: &Shared,
    reader: &Reader,
    names: Vec<Reply>,
    batch: &mut Batch,
    batches: &mpsc::Sender<Vec<Wanted>>,
) -> Result<(), mpsc::error::SendError<Vec<Wanted>>> {
    for name in names {
        let Some(key) = name.into_bytes() else { continue };
        // It is read beside its lock, if that is met.
        let waits = dialect::root_of(&key).is_some_and(|root| reader.company.leave(root.into(), &key));
        if !waits && shared.wants(&key) {
            batch.push(&key);
            if batch.is_full() {
                batches.send(batch.take()).await?;
            }
        }
    }
    Ok(())
}

fn odd() -> Error {
    Error::new(ErrorKind::Protocol, "SCAN was answered in a way that is not understood")
}
