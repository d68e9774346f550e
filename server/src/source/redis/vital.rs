//! The vital signs of a store: how busy it is, and whether its keys vanished without a word.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{MetricsInterface, ServerInterface};
use lockkeeper_model::{FeedKind, Traffic};

use super::dirty::Dirty;
use super::feed::{self, Broken};
use super::pace::Own;
use super::session::{cluster_info, field, info};
use super::trouble::refused_command;
use super::{Shared, replication};
use crate::clock;
use crate::source::Hint;

/// How often the store is asked how busy it is; more often while the budget holds changes back, which must end soon
/// after others have gone.
const VITAL_SIGNS: Duration = Duration::from_millis(500);
const VITAL_SIGNS_HELD_BACK: Duration = Duration::from_millis(100);

/// Fewer keys than known locks for this long mean that the store was cleared.
const VANISHED_FOR: Duration = Duration::from_millis(500);

/// Learns how busy the store is, and notices when its keys vanish without a word: clearing a whole database is
/// announced by no notice that reaches us. `all` are the connections that are open for watching.
pub(super) async fn run(shared: &Shared, client: &Client, all: &[Client], kind: FeedKind, dirty: &Dirty) -> Broken {
    let mut last: Option<Sample> = None;
    let mut suspicious_since = None;
    let mut cleared_before: Option<u64> = None;
    let mut may_size = true;
    loop {
        for key in shared.scope.due(clock::now()) {
            // A full queue means that a scan is due, which finds whatever there is to find.
            let _ = dirty.put(&key, None, Hint::None);
        }
        if let Err(error) = replication::sample(shared, client).await {
            return Broken::Error(error);
        }
        let held_back = shared.pacer.is_crowded() && dirty.len() > 0;
        tokio::time::sleep(if held_back { VITAL_SIGNS_HELD_BACK } else { VITAL_SIGNS }).await;
        shared.pacer.count(1);
        let before = shared.pacer.own();
        let processed = match info(client, "stats").await {
            Ok(stats) => field(&stats, "total_commands_processed").and_then(|all| all.parse().ok()),
            Err(error) if refused_command(&error).is_some() => None,
            Err(error) => return Broken::Error(error),
        };
        let after = shared.pacer.own();
        shared.pacer.count(1);
        let cleared = match info(client, "commandstats").await {
            Ok(stats) => times_cleared(&stats),
            Err(error) if refused_command(&error).is_some() => 0,
            Err(error) => return Broken::Error(error),
        };
        if shared.elsewhere.is_some() {
            shared.pacer.count(1);
            match cluster_info(client).await {
                Ok(info) => {
                    shared.status.all_unreadable(field(&info, "cluster_state").is_some_and(|state| state != "ok"))
                }
                Err(error) => match refused_command(&error) {
                    Some(command) => shared.status.missing(&command, "a cluster that is down is noticed only at a key"),
                    None => return Broken::Error(error),
                },
            }
        }
        let was_cleared = cleared_before.replace(cleared).is_some_and(|before| cleared > before);
        if was_cleared {
            let because = "`FLUSHALL`, `FLUSHDB` or `SWAPDB` was run";
            if feed::missed(shared, 0, because).await.is_err() {
                return Broken::BoardGone;
            }
        }
        let own = Own { answered: before.answered, sent: after.sent };
        let (at, noticed) = (tokio::time::Instant::now(), dirty.noticed_so_far());
        let now = Sample { at, own, all: processed, noticed, traffic: traffic(all) };
        let Load { own, noticed, others, others_at_least, traffic } = load(last.as_ref(), &now);
        if last.replace(now).is_some() {
            shared.pacer.learn(others_at_least);
            shared.pacer.learn_changes(noticed, dirty.len());
        }

        let mut vanished = false;
        if may_size {
            shared.pacer.count(1);
            match client.dbsize::<u64>().await {
                Ok(keys) => {
                    let known = shared.locks.load(Ordering::Relaxed).saturating_sub(shared.memory.sharing());
                    // Without a feed every lock that ended is still known until the next scan.
                    vanished = kind != FeedKind::Polling
                        && shared
                            .whole
                            .keys(shared.node, keys)
                            .await
                            .is_some_and(|all| all + (dirty.len() as u64) < known);
                    shared.status.update(|status| {
                        if status.coverage.complete {
                            status.coverage.total_keys = Some(keys);
                            status.coverage.scanned_keys = keys;
                        }
                    });
                }
                Err(error) if refused_command(&error).is_some() => may_size = false,
                Err(error) => return Broken::Error(error),
            }
        }
        shared.status.update(|status| {
            status.own_commands_per_second = own as u64;
            status.own_bytes_per_second = traffic;
            status.other_commands_per_second = others.map(|others| others as u64);
        });
        // For a while: at one moment it can be a burst of releases that is being read just now.
        let since = vanished.then(|| *suspicious_since.get_or_insert(now.at));
        if since.is_some_and(|since| now.at.duration_since(since) >= VANISHED_FOR) {
            let because = "the store has fewer keys than known locks: it may have been cleared";
            if feed::missed(shared, 0, because).await.is_err() {
                return Broken::BoardGone;
            }
            suspicious_since = None;
        } else if !vanished {
            suspicious_since = None;
        }
    }
}

/// The store's counter of commands, and ours, at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: tokio::time::Instant,
    own: Own,
    all: Option<u64>,
    /// Changes that were noticed so far.
    noticed: u64,
    /// Bytes so far.
    traffic: Traffic,
}

/// What went through these connections since they were made.
fn traffic(connections: &[Client]) -> Traffic {
    let whole = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    connections.iter().fold(Traffic::default(), |sum, client| Traffic {
        sent: sum.sent + whole(client.read_req_size_metrics().sum),
        received: sum.received + whole(client.read_res_size_metrics().sum),
    })
}

/// Commands a second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Load {
    own: f64,
    /// Changes, of all that is watched.
    noticed: f64,
    others: Option<f64>,
    others_at_least: Option<f64>,
    /// Bytes a second.
    traffic: Option<Traffic>,
}

/// What happened between two samples. How many of our commands the store had processed at each is known up to those
/// under way, so others are known by bounds.
fn load(last: Option<&Sample>, now: &Sample) -> Load {
    let Some(last) = last else {
        return Load { own: 0.0, noticed: 0.0, others: None, others_at_least: None, traffic: None };
    };
    let seconds = now.at.duration_since(last.at).as_secs_f64().max(0.001);
    let all = now.all.zip(last.all).map(|(now, last)| now.saturating_sub(last) as f64 / seconds);
    let own = now.own.answered.saturating_sub(last.own.answered) as f64 / seconds;
    let noticed = now.noticed.saturating_sub(last.noticed) as f64 / seconds;
    let own_at_most = now.own.sent.saturating_sub(last.own.answered) as f64 / seconds;
    let a_second = |before: u64, after: u64| (after.saturating_sub(before) as f64 / seconds) as u64;
    Load {
        own,
        noticed,
        others: all.map(|all| (all - own).max(0.0)),
        others_at_least: all.map(|all| (all - own_at_most).max(0.0)),
        traffic: Some(Traffic {
            sent: a_second(last.traffic.sent, now.traffic.sent),
            received: a_second(last.traffic.received, now.traffic.received),
        }),
    }
}

/// How often a whole database was cleared or exchanged since the store began to count.
fn times_cleared(stats: &str) -> u64 {
    ["cmdstat_flushall", "cmdstat_flushdb", "cmdstat_swapdb"]
        .into_iter()
        .filter_map(|name| field(stats, name)?.strip_prefix("calls=")?.split(',').next()?.parse::<u64>().ok())
        .sum()
}
