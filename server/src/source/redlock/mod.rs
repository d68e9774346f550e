//! A lock on several independent masters: the Redlock recipe. Each master is watched by a Redis source of its own, which
//! scans, has its feed and comes back by itself; what they show is put together here.
//!
//! - [`quorum`]: the judgement, pure: who owns a lock, given what is known of it on each master.
//! - [`table`]: what every master showed of every lock, and the one sight for the board that it makes.
//! - [`node`]: what is known of a master as a whole.
//! - [`merge`]: the task: takes reports in, tells the board, passes orders on.
//! - [`status`]: how well the whole is watched.
//! - [`release`]: freeing one token on every master.
//!
//! A master that does not answer has no vote. While a majority answers, owners are decided by it and the source is
//! `degraded`; with fewer nobody can say who owns anything, and it is `down`. Any two majorities meet, so that while one
//! is watched no owner can come or go unnoticed: only the loss of a watched majority is a gap.

mod merge;
mod node;
mod quorum;
mod release;
mod status;
mod table;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use quorum::{Judgement, Quorum, Reading, Vote, judge, majority};

use super::redis::{self, RedisConfig};
use super::{Batch, SourceHandle, SourceId};

/// Fewer masters than this cannot lose one and still have a majority.
pub const MIN_MASTERS: usize = 3;

/// More masters than this make every lock slower to take and none safer; the recipe's usual number is five.
pub const MAX_MASTERS: usize = 9;

/// Orders that may wait, as for a single store.
const WAITING_COMMANDS: usize = 256;

/// Reports of masters that may wait: enough that none waits for the next one, and so few that a busy board slows scans
/// rather than filling memory.
const WAITING_REPORTS: usize = 16;

/// How several masters are to be watched.
#[derive(Clone, Debug)]
pub struct RedlockConfig {
    /// Shown everywhere.
    pub name: String,
    /// The masters, each named by its address. From [`MIN_MASTERS`] to [`MAX_MASTERS`].
    pub masters: Vec<RedisConfig>,
}

/// Starts watching. Never fails: what is wrong is in the status.
pub fn spawn(
    id: SourceId,
    config: RedlockConfig,
    reports: mpsc::Sender<Batch>,
    stop: CancellationToken,
) -> SourceHandle {
    let (commands, orders) = mpsc::channel(WAITING_COMMANDS);
    let (from_masters, inner) = mpsc::channel(WAITING_REPORTS);
    let name: Arc<str> = config.name.as_str().into();
    let masters: Vec<SourceHandle> = config
        .masters
        .iter()
        .take(MAX_MASTERS)
        .zip(0..)
        .map(|(master, position)| redis::spawn(SourceId(position), master.clone(), from_masters.clone(), stop.clone()))
        .collect();
    let (traced, last_trace) = watch::channel(None);
    let about = status::About::new(&config);
    let (told, status) = watch::channel(about.beginning(&masters));
    let merge = merge::Merge::new(id, about, masters, reports, told, traced);
    tokio::spawn(merge.run(inner, orders, stop));
    SourceHandle { id, name, status, commands, locks: Arc::new(AtomicU64::new(0)), last_trace }
}
