//! A thread with a runtime of its own for one connection.
//!
//! While others use the store, notices of changes come in tens of thousands of small messages a second, and being woken
//! for each costs the machine more than reading them. What runs here may put the whole thread to sleep: the kernel keeps
//! what arrives meanwhile, and one look takes all of it.

use std::io;

use fred::error::{Error, ErrorKind};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::{self, Connection, For};
use super::endpoint::Endpoint;

/// The thread. It ends, with all that runs on it, when this is dropped.
pub(super) struct OwnThread {
    runtime: Handle,
    _stop: DropGuard,
}

impl OwnThread {
    pub(super) fn start() -> io::Result<OwnThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::Builder::new().name("feed".to_owned()).spawn(move || runtime.block_on(stopped.cancelled()))?;
        Ok(OwnThread { runtime: handle, _stop: stop.drop_guard() })
    }

    /// Where to spawn what may put the thread to sleep.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A connection that is read on this thread.
    pub(super) async fn connect(&self, endpoint: &Endpoint, purpose: For) -> Result<Connection, Error> {
        let endpoint = endpoint.clone();
        let connecting = self.runtime.spawn(async move { connect::connect(&endpoint, purpose).await });
        connecting.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Unknown, error.to_string())))
    }
}
