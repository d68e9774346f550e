//! A throw-away Redis with busy locks.

use tokio_util::sync::CancellationToken;
use url::Url;

/// A running demo store. Dropping it ends it.
#[derive(Debug)]
pub struct DemoRedis {
    /// Where it is.
    pub url: Url,
}

impl DemoRedis {
    /// Ends the demo and waits until its store is gone.
    pub async fn end(self) {}
}

/// Starts the store and the clients that play with its locks.
///
/// # Errors
/// When there is no `redis-server` to start.
pub async fn start(_stop: CancellationToken) -> anyhow::Result<DemoRedis> {
    anyhow::bail!("the demo is not part of this build")
}
