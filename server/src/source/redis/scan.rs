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

/// Keys read in one pipeline.
const READ_AT_ONCE: usize = 500;

/// Pipelines under way at once: enough that the server always finds the next one waiting.
const PIPELINES: usize = 4;

/// Batches of names that may wait to be read.
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
    for i in 0..PIPELINES {
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

/// Walks the names, and passes them on in batches.
async fn pages(
    shared: &Shared,
    client: &Client,
    reader: &Reader,
    batches: mpsc::Sender<Vec<Wanted>>,
) -> Result<(), Error> {
    let narrowing = shared.scope.narrowing();
    let mut cursor = Bytes::from_static(b"0");
    let mut batch = Vec::with_capacity(READ_AT_ONCE);
    loop {
        shared.pacer.take(1, Purpose::Scan).await;
        let page = if shared.pacer.is_crowded() { PAGE } else { PAGE_ALONE };
        let mut arguments: Vec<Reply> = vec![Reply::Bytes(cursor), "COUNT".into(), page.into()];
        if let Some(narrowing) = &narrowing {
            arguments.extend(["MATCH".into(), narrowing.as_str().into()]);
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
        shared.status.update(|status| status.coverage.scanned_keys += u64::from(page));
        for name in names {
            let Some(key) = name.into_bytes() else { continue };
            // It is read beside its lock, if that is met.
            let waits = dialect::root_of(&key).is_some_and(|root| reader.company.leave(root.into(), &key));
            if !waits && shared.wants(&key) {
                batch.push(Wanted::of(key));
                if batch.len() == READ_AT_ONCE {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(READ_AT_ONCE));
                    if batches.send(full).await.is_err() {
                        // The readers ended: what they report is the trouble.
                        return Ok(());
                    }
                }
            }
        }
        if next.as_ref() == b"0" {
            break;
        }
        cursor = next;
    }
    batch.extend(reader.company.left().into_iter().filter(|key| shared.wants(key)).map(Wanted::of));
    while !batch.is_empty() {
        let rest = batch.split_off(batch.len().min(READ_AT_ONCE));
        // As above.
        if batches.send(std::mem::replace(&mut batch, rest)).await.is_err() {
            return Ok(());
        }
    }
    reader.company.clear();
    shared.status.update(|status| {
        status.coverage.scanned_keys = status.coverage.total_keys.unwrap_or(status.coverage.scanned_keys);
    });
    Ok(())
}

fn odd() -> Error {
    Error::new(ErrorKind::Protocol, "SCAN was answered in a way that is not understood")
}
