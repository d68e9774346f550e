//! A lock client for Redis, and the convention by which any lock client may say what it does.
//!
//! ```no_run
//! use std::time::Duration;
//! use lockkeeper_client::{LockClient, Options, Settings};
//!
//! # async fn example() -> Result<(), lockkeeper_client::Error> {
//! let locks = LockClient::new(["redis://127.0.0.1:6379"], Settings::default().named("billing-worker")).await?;
//! let guard = locks.acquire("lock:stock:4711", Options::lease(Duration::from_secs(10))).await?;
//! tokio::select! {
//!     () = write_stock(guard.fencing_token()) => guard.release().await?,
//!     why = guard.lost() => eprintln!("stopped in the middle: {why}"),
//! }
//! # Ok(())
//! # }
//! # async fn write_stock(fence: u64) {}
//! ```
//!
//! How a lock is stored:
//!
//! | | |
//! |---|---|
//! | lock | the given key, a string; `SET key token NX PX lease` |
//! | token | 40 hex digits: 20 bytes of a generator that the operating system seeds, new for every single try, so that an answer that comes late can never touch a later try. Text, so that it can be read and typed wherever it shows up; 40, so that nobody takes it for a UUID |
//! | fencing counter | `{<key>}:fence`, or `<key>:fence` where the key has a hash tag of its own, so that both live in one cluster slot; a whole number without expiry, counted up in the script that takes the lock. **Never delete it**: a counter that starts again lets a late holder through |
//! | release, renewal | scripts that compare the token first |
//! | waiting | polls with jittered, growing pauses; says so as `docs/reporting.md` describes |
//!
//! A credential for it needs `+eval +exists +incr +set +get +pexpire +del` on lock and counter, for example
//! `~lock:* ~{lock:*`, and what `docs/reporting.md` says for the stream.
//!
//! With several URLs a lock is a Redlock: a majority of independent masters has to grant it. With one URL the majority
//! is that one; the rest is the same.
//!
//! Without the feature `client`, which is on by default, only [`report`] is left.

pub mod report;

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod guard;
#[cfg(feature = "client")]
mod masters;
#[cfg(feature = "client")]
mod options;
#[cfg(feature = "client")]
mod quorum;
#[cfg(feature = "client")]
mod random;
#[cfg(feature = "client")]
mod renewal;
#[cfg(feature = "client")]
mod reporter;

#[cfg(feature = "client")]
pub use client::LockClient;
#[cfg(feature = "client")]
pub use error::Error;
#[cfg(feature = "client")]
pub use guard::Guard;
#[cfg(feature = "client")]
pub use options::{Options, Reports, Settings};
#[cfg(feature = "client")]
pub use quorum::fence_key;
#[cfg(feature = "client")]
pub use renewal::Loss;
