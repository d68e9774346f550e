//! Many primaries. One node is asked each second for the whole picture, another one when that one is cut off or lost.

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use lockkeeper_model::SlotRange;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

use super::super::RedisConfig;
use super::super::connect::{self, Connection, For};
use super::super::endpoint::Address;
use super::super::session::{cluster_info, field};
use super::super::trouble::{Trouble, refused_command};
use super::{ASK_EVERY, SLOTS, Slots, View, in_time, show};

/// What one node says of the whole.
struct Picture {
    slots: Slots,
    /// Grows with every change of the topology; `None`: not permitted to say.
    epoch: Option<u64>,
    /// It can reach most of the primaries; `None`: not permitted to say.
    is_ok: Option<bool>,
}

pub(super) async fn watch(config: &RedisConfig, seeds: &[Address], views: &watch::Sender<View>, hurry: &Notify) {
    let mut asked: Option<(Address, Connection)> = None;
    let mut turn = 0;
    let mut newest_epoch = 0;
    // How many nodes in a row told an older story than was known, and how many told none.
    let (mut older, mut failed) = (0, 0);
    loop {
        let current = views.borrow().clone();
        let candidates = candidates(&current, seeds);
        let picture = match &asked {
            Some((address, connection)) => in_time(ask(&connection.client(), address)).await,
            None => match candidates.get(turn % candidates.len().max(1)) {
                None => return,
                Some(address) => match connect::connect(&config.node(address.clone()), For::Topology).await {
                    Ok(connection) => {
                        let picture = in_time(ask(&connection.client(), address)).await;
                        asked = Some((address.clone(), connection));
                        picture
                    }
                    Err(error) => Err(error),
                },
            },
        };
        let ask_another = match picture {
            // A node that was cut off knows less than is known; one after a reset of the whole cluster as well.
            Ok(picture) if picture.epoch.is_some_and(|epoch| epoch < newest_epoch) && older < candidates.len() => {
                failed = 0;
                older += 1;
                true
            }
            Ok(picture) => {
                (older, failed) = (0, 0);
                newest_epoch = picture.epoch.unwrap_or(newest_epoch);
                let trouble = (picture.is_ok == Some(false)).then(Trouble::cluster_down);
                // It may be the only one that is cut off.
                let ask_another = trouble.is_some();
                let primaries = picture.slots.owners();
                show(views, View { primaries, slots: Some(Arc::new(picture.slots)), trouble });
                ask_another
            }
            Err(error) => {
                let whom =
                    asked.as_ref().map(|(address, _)| address).or(candidates.get(turn % candidates.len().max(1)));
                let trouble = trouble(whom, &error);
                failed += 1;
                // One of many may go away without a word.
                if failed >= candidates.len() {
                    show(views, View { trouble: Some(trouble), ..current });
                }
                true
            }
        };
        if ask_another {
            asked = None;
            turn = turn.wrapping_add(1);
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = hurry.notified() => {}
            () = views.closed() => return,
        }
    }
}

/// Whom to ask: the primaries that are known, and those that were configured.
fn candidates(view: &View, seeds: &[Address]) -> Vec<Address> {
    let mut candidates = view.primaries.clone();
    candidates.extend(seeds.iter().filter(|seed| !view.primaries.contains(seed)).cloned());
    candidates
}

/// Says what the error of the node that was asked last means.
fn trouble(asked: Option<&Address>, error: &Error) -> Trouble {
    let node = asked.map(ToString::to_string).unwrap_or_default();
    if error.details().contains("cluster support disabled") {
        return Trouble::new(format!("{node} is no cluster"), "watch it by its own URL: redis://host:port");
    }
    match refused_command(error) {
        Some(command) => Trouble::new(
            format!("the primaries of the cluster cannot be found: {node}: the credential may not run `{command}`"),
            "grant it: ACL SETUSER <user> +cluster|slots +cluster|info",
        ),
        None => {
            let Trouble { problem, hint } = Trouble::of(error);
            Trouble { problem: format!("no node of the cluster says what there is: {node}: {problem}"), hint }
        }
    }
}

async fn ask(client: &Client, asked: &Address) -> Result<Picture, Error> {
    let cluster = CustomCommand::new_static("CLUSTER", ClusterHash::Random, false);
    let info: Option<String> = match cluster_info(client).await {
        Ok(info) => Some(info),
        Err(error) if refused_command(&error).is_some() => None,
        Err(error) => return Err(error),
    };
    let slots: Reply = client.custom(cluster, vec!["SLOTS"]).await?;
    Ok(Picture {
        slots: Slots::new(ranges(slots, asked).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "`CLUSTER SLOTS` was answered in a way that is not understood")
        })?),
        epoch: info.as_deref().and_then(|info| field(info, "cluster_current_epoch")?.parse().ok()),
        is_ok: info.as_deref().and_then(|info| field(info, "cluster_state")).map(|state| state == "ok"),
    })
}

/// `[[first, last, [host, port, …], replica…]…]`.
fn ranges(reply: Reply, asked: &Address) -> Option<Vec<(SlotRange, Address)>> {
    let number = |value: Option<&Reply>| value?.as_i64().and_then(|n| u16::try_from(n).ok()).filter(|&n| n < SLOTS);
    let mut ranges = Vec::new();
    for range in array(reply)? {
        let parts = array(range)?;
        let (first, last) = (number(parts.first())?, number(parts.get(1))?);
        let primary = array(parts.into_iter().nth(2)?)?;
        let host = primary.first().and_then(|host| host.clone().into_string()).unwrap_or_default();
        let port = primary.get(1)?.as_i64()?;
        ranges.push((SlotRange { first, last }, Address::redirected(&format!("{host}:{port}"), asked)?));
    }
    Some(ranges)
}

fn array(reply: Reply) -> Option<Vec<Reply>> {
    match reply {
        Reply::Array(items) => Some(items),
        Reply::Null => Some(Vec::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_range_is_the_first_of_its_nodes_and_a_missing_host_the_one_that_was_asked() {
        let node = |host: Reply, port: i64| Reply::Array(vec![host, port.into(), "id".into()]);
        let asked = Address::new("10.0.0.9", 1);
        let reply = Reply::Array(vec![
            Reply::Array(vec![0.into(), 100.into(), node("10.0.0.1".into(), 7000), node("10.0.0.2".into(), 7001)]),
            Reply::Array(vec![101.into(), 16_383.into(), node(Reply::Null, 7002)]),
        ]);
        let ranges = ranges(reply, &asked).unwrap();
        let shown: Vec<String> =
            ranges.iter().map(|(range, owner)| format!("{}-{} {owner}", range.first, range.last)).collect();
        assert_eq!(shown, ["0-100 10.0.0.1:7000", "101-16383 10.0.0.9:7002"]);
        assert!(super::ranges(Reply::Array(vec![]), &asked).unwrap().is_empty());
        assert_eq!(super::ranges("nonsense".into(), &asked), None);
    }
}
