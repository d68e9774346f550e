//! Counting those who wait, where Redis knows: a client that waits for a Redisson lock listens on its unlock channel.
//!
//! Only channels that somebody listens on are named by Redis, so this costs what is waited for, not what is held.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;

use super::dialect;
use super::dirty::Dirty;
use super::listening::CHANNELS_AT_ONCE;
use super::trouble::refused_command;
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::{Hint, Report, WaitersSeen};

/// How often waiters are counted: the column that a person stares at in an incident should not be older than this.
const EVERY: Duration = Duration::from_secs(1);

/// Counts again and again, and has those looked at that are known to be locks only by being waited for. Ends only when the
/// connection is lost or the server ends.
pub(super) async fn run(shared: &Shared, client: &Client, dirty: &Dirty) -> Result<Error, BoardGone> {
    shared.memory.ears.forget_shards();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match count(shared, client, dirty).await {
            Ok(counts) => shared.report(Report::Waiting { counts, at: clock::now() }).await?,
            Err(error) => match refused_command(&error) {
                Some(command) => {
                    shared.status.missing(&command, "the number of clients that wait for Redisson locks is not known");
                    shared.report(Report::WaitingUnknown).await?;
                    return std::future::pending().await;
                }
                None => return Ok(error),
            },
        }
    }
}

async fn count(shared: &Shared, client: &Client, dirty: &Dirty) -> Result<Vec<(Bytes, WaitersSeen)>, Error> {
    let ears = &shared.memory.ears;
    let mut channels: Vec<Bytes> = Vec::new();
    for prefix in dialect::channels() {
        shared.pacer.count(1);
        channels.extend(ears.channels(client, prefix).await?);
    }
    shared.pacer.count(channels.len().div_ceil(CHANNELS_AT_ONCE) as u64);
    let mut counts: HashMap<Bytes, u32> = HashMap::new();
    let mut proven: HashSet<Bytes> = HashSet::new();
    for (channel, count) in ears.count(client, &channels).await? {
        if let Some(root) = dialect::root_of_channel(&channel).map(Bytes::from) {
            if count > 0 && dialect::is_proof(&channel) && shared.scope.has(&root) {
                proven.insert(root.clone());
            }
            let sum = counts.entry(root).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    for root in ears.proven(proven) {
        shared.scope.unlearn(&root);
        // A full queue means that a scan is due, which finds whatever there is to find.
        let _ = dirty.put(&root, None, Hint::None);
    }
    Ok(counts.into_iter().map(|(root, count)| (root, WaitersSeen { count })).collect())
}
