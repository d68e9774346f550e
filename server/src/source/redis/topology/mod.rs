//! Which servers there are now, and which keys are whose.
//!
//! - one server: a fixed address.
//! - [`sentinel`]: one primary that can move; the sentinels are asked where it is.
//! - [`cluster`]: many primaries, each with some of the slots; one of them is asked for all.
//! - [`slots`]: which slot a key is in, and whose it is.

mod cluster;
mod sentinel;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use tokio::sync::{Notify, watch};

use super::RedisConfig;
use super::endpoint::Address;
use super::trouble::Trouble;
pub(super) use slots::{SLOTS, Slots, slot_of};

/// How often it is asked whether anything moved: a failover is then followed within a second of being decided, and the
/// question costs less than a heartbeat.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Who is asked answers in microseconds; one that takes this long is gone, and another one is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How a store is made up, and where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone(Address),
    /// A primary that sentinels watch over.
    Sentinel {
        /// Where to ask.
        sentinels: Vec<Address>,
        /// What they call it.
        primary: String,
    },
    /// A cluster.
    Cluster {
        /// Some of its nodes, to ask for the others.
        seeds: Vec<Address>,
    },
}

impl Topology {
    /// The word on the screen and on the wire.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Topology::Standalone(_) => "standalone",
            Topology::Sentinel { .. } => "sentinel",
            Topology::Cluster { .. } => "cluster",
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Topology::Cluster { .. })
    }
}

/// What is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The primaries, in order. Empty: not known yet.
    pub(super) primaries: Vec<Address>,
    /// Whose the slots of a cluster are.
    pub(super) slots: Option<Arc<Slots>>,
    /// What is wrong with the topology itself, as against one of its servers.
    pub(super) trouble: Option<Trouble>,
}

impl View {
    /// Whose a key is.
    pub(super) fn owner(&self, key: &[u8]) -> Option<&Address> {
        match &self.slots {
            Some(slots) => slots.owner(slot_of(key)),
            None => self.primaries.first(),
        }
    }
}

/// Keeps the view up to date until it is dropped. `hurry` has it look at once.
pub(super) async fn watch(config: Arc<RedisConfig>, views: watch::Sender<View>, hurry: Arc<Notify>) {
    match &config.topology {
        Topology::Standalone(address) => {
            views.send_modify(|view| view.primaries = vec![address.clone()]);
            views.closed().await;
        }
        Topology::Sentinel { sentinels, primary } => sentinel::watch(&config, sentinels, primary, &views).await,
        Topology::Cluster { seeds } => cluster::watch(&config, seeds, &views, &hurry).await,
    }
}

/// What was asked, or that no answer came in time.
pub(super) async fn in_time<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let silence = |_| Err(Error::new(ErrorKind::Timeout, "no answer"));
    tokio::time::timeout(ANSWER_WITHIN, asking).await.unwrap_or_else(silence)
}

/// Publishes a view if it is another one.
fn show(views: &watch::Sender<View>, new: View) {
    views.send_if_modified(|view| {
        let differs = *view != new;
        if differs {
            *view = new;
        }
        differs
    });
}
