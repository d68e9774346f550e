//! The reference client itself, `lockkeeper-client`: it renews by itself, hands out fencing tokens and reports.

use std::time::Duration;

use fred::error::{Error, ErrorKind};
use lockkeeper_client::{Guard, LockClient as Locks, Options, Reports, Settings};

use super::LockClient;

/// Entries in the stream of reports: some minutes of what this cast says.
const KEPT_REPORTS: u64 = 1_000;

/// One lock of one process.
pub(in crate::demo) struct Lockkeeper {
    locks: Locks,
    key: String,
    lease: Duration,
    guard: Option<Guard>,
}

/// A process that calls itself `name`, takes locks with the reference client and reports it.
pub(in crate::demo) async fn reporting(port: u16, name: &str) -> Result<Locks, Error> {
    let reports = Reports { max_entries: KEPT_REPORTS, ..Reports::default() };
    let settings = Settings::default().named(name).reporting(reports);
    Locks::new([format!("redis://127.0.0.1:{port}")], settings).await.map_err(|error| failed(&error))
}

/// The other libraries speak of errors in their client's words.
pub(in crate::demo) fn failed(error: &lockkeeper_client::Error) -> Error {
    Error::new(ErrorKind::Unknown, error.to_string())
}

impl Lockkeeper {
    pub(in crate::demo) fn new(locks: Locks, key: &str, lease: Duration) -> Lockkeeper {
        Lockkeeper { locks, key: key.to_owned(), lease, guard: None }
    }
}

impl LockClient for Lockkeeper {
    async fn acquire(&mut self) -> Result<(), Error> {
        let options = Options::lease(self.lease);
        self.guard = Some(self.locks.acquire(&self.key, options).await.map_err(|error| failed(&error))?);
        Ok(())
    }

    /// The client renews by itself; the program only asks whether that still works.
    async fn renew(&mut self) -> Result<bool, Error> {
        Ok(self.guard.as_ref().is_some_and(|guard| !guard.is_lost()))
    }

    async fn release(&mut self) -> Result<bool, Error> {
        let Some(guard) = self.guard.take() else { return Ok(false) };
        match guard.release().await {
            Ok(()) => Ok(true),
            Err(lockkeeper_client::Error::NotHeld { .. }) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }

    fn renews_every(&self) -> Option<Duration> {
        Some(self.lease / 3)
    }
}
