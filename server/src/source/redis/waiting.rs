//! Counting those who wait, where Redis knows: a client that waits for a Redisson lock listens on its unlock channel.
//!
//! Only channels that somebody listens on are named by Redis, so this costs what is waited for, not what is held.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Value as Reply};

use super::dialect;
use super::trouble::refused_command;
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::{Report, WaitersSeen};

/// How often waiters are counted: the column that a person stares at in an incident should not be older than this.
const EVERY: Duration = Duration::from_secs(1);

/// Channels in one question.
const CHANNELS_AT_ONCE: usize = 500;

/// Counts again and again. Ends only when the connection is lost or the server ends.
pub(super) async fn run(shared: &Shared, client: &Client) -> Result<Error, BoardGone> {
    // Until the store says that it does not know them.
    let mut may_shard = shared.elsewhere.is_some();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match count(shared, client, &mut may_shard).await {
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

async fn count(shared: &Shared, client: &Client, may_shard: &mut bool) -> Result<Vec<(Bytes, WaitersSeen)>, Error> {
    let mut counts = count_kind(shared, client, "CHANNELS", "NUMSUB").await?;
    if *may_shard {
        // Channels that belong to a slot, since Redis 7.
        match count_kind(shared, client, "SHARDCHANNELS", "SHARDNUMSUB").await {
            Ok(more) => counts.extend(more),
            Err(error) if error.details().to_ascii_lowercase().contains("unknown") => *may_shard = false,
            Err(error) => return Err(error),
        }
    }
    Ok(counts)
}

/// Counts those who listen on channels of one kind.
async fn count_kind(
    shared: &Shared,
    client: &Client,
    named: &'static str,
    listeners: &'static str,
) -> Result<Vec<(Bytes, WaitersSeen)>, Error> {
    let mut channels: Vec<Bytes> = Vec::new();
    for prefix in dialect::channels() {
        shared.pacer.count(1);
        let pubsub = CustomCommand::new_static("PUBSUB", ClusterHash::Random, false);
        match client.custom::<Reply, _>(pubsub, vec![named.to_owned(), format!("{prefix}*")]).await? {
            Reply::Array(some) => channels.extend(some.into_iter().filter_map(Reply::into_bytes)),
            other => channels.extend(other.into_bytes()),
        }
    }
    let mut counts = Vec::new();
    for some in channels.chunks(CHANNELS_AT_ONCE) {
        shared.pacer.count(1);
        let numsub = CustomCommand::new_static("PUBSUB", ClusterHash::Random, false);
        let mut arguments: Vec<Reply> = vec![listeners.into()];
        arguments.extend(some.iter().map(|channel| Reply::Bytes(channel.clone())));
        let reply: Reply = client.custom(numsub, arguments).await?;
        let mut parts: Vec<Reply> = match reply {
            Reply::Array(parts) => parts,
            Reply::Map(map) => {
                map.inner().into_iter().flat_map(|(channel, n)| [Reply::Bytes(channel.into_bytes()), n]).collect()
            }
            _ => Vec::new(),
        };
        for pair in parts.chunks_exact_mut(2) {
            let count = pair[1].as_i64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            if let Some(channel) = pair[0].take().into_bytes()
                && let Some(root) = dialect::root_of_channel(&channel)
            {
                counts.push((Bytes::from(root), WaitersSeen { count }));
            }
        }
    }
    Ok(counts)
}
