//! A throw-away Redis with a small world in it: services that take, renew, hand over and wait for locks, as the real
//! libraries would. Nothing is painted; every lock has a process behind it, or had one.
//!
//! Some of the services use the reference client and report themselves, so that those who wait have names.
//!
//! The world runs for as long as it is left alone without growing: a fixed cast on fixed keys.

mod cast;
mod libraries;
pub(crate) mod playbill;
pub(crate) mod redis_process;
mod transfer;
pub(crate) mod worker;

use fred::error::Error as RedisError;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use redis_process::RedisProcess;
pub use redis_process::StartError;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The store does not run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store runs and the world could not be built in it.
    #[error("could not set the demo up in its own Redis: {0}")]
    SetUp(RedisError),
}

/// A running demo. Dropping it ends the world and its store.
#[derive(Debug)]
pub struct DemoRedis {
    /// Where the store is.
    pub url: Url,
    world: JoinHandle<()>,
    // After `world`: dropped last, it is what ends it.
    ends_with_us: DropGuard,
}

impl DemoRedis {
    /// Ends the demo and waits until its store is gone.
    pub async fn end(self) {
        drop(self.ends_with_us);
        // An error means that the world panicked; its store is gone all the same.
        let _ = self.world.await;
    }
}

/// Starts a throw-away `redis-server` on a free port of this machine, and the world in it. Both end with `stop`, with
/// the value that is returned, and with this process however that ends.
///
/// # Errors
/// When there is no `redis-server` to start, or it does not answer.
pub async fn start(stop: CancellationToken) -> Result<DemoRedis, DemoError> {
    let process = RedisProcess::start().await?;
    let url = process.url();
    let stop = stop.child_token();
    let cast = cast::assemble(process.port()).await.map_err(DemoError::SetUp)?;
    let workers = worker::spawn_all(cast, &stop);
    let ends_with_us = stop.clone().drop_guard();
    let world = tokio::spawn(async move {
        stop.cancelled().await;
        // The workers first, so that none of them sees its store die and complains.
        workers.close();
        workers.wait().await;
        process.end().await;
    });
    Ok(DemoRedis { url, world, ends_with_us })
}
