//! Keys of a cluster that are not, or not any more, where they were looked for.
//!
//! While slots move, a node answers `MOVED` or `ASK` with the address of another one. A key that is on neither for the
//! moment, or in a cluster that is down, is not gone: it is read again later, and until then nothing is confirmed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use tokio::sync::{Mutex, Notify};

use super::Shared;
use super::connect::{self, Connection, For};
use super::endpoint::Address;
use super::pace::Purpose;
use super::read::{Reader, Wanted};
use super::trouble::is_elsewhere;
use crate::source::Sight;

/// Other nodes to which a connection is kept; when there are more, all are made anew.
const MAX_CONNECTIONS: usize = 64;

/// How often a key is followed from node to node before it is left for later: it moves once, or is about to.
pub(super) const MAX_HOPS: usize = 4;

/// Where a node says that a key is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Redirect {
    /// There, and so is the whole slot.
    Moved(Address),
    /// There, while its slot moves: each command must be preceded by `ASKING`.
    Ask(Address),
}

impl Redirect {
    /// What an answer of the node at `asked` means, if it is a redirection: `MOVED slot host:port`.
    pub(super) fn of(error: &Error, asked: &Address) -> Option<Redirect> {
        let mut words = error.details().split_whitespace();
        let word = words.next()?;
        let address = Address::redirected(words.nth(1)?, asked);
        match word {
            "MOVED" => address.map(Redirect::Moved),
            "ASK" => address.map(Redirect::Ask),
            _ => None,
        }
    }
}

/// `ASKING`: the next command on this connection may be about a slot that is being taken over.
pub(super) fn asking() -> CustomCommand {
    CustomCommand::new_static("ASKING", ClusterHash::Random, false)
}

/// Connections to the other nodes of a cluster, for what is there unexpectedly. One reading at a time.
pub(super) struct Elsewhere {
    connections: Mutex<HashMap<Address, Connection>>,
    /// Has the topology looked at at once.
    hurry: Arc<Notify>,
}

/// What was found, and what is to be read again later.
pub(super) struct Found {
    pub(super) sights: Vec<Sight>,
    pub(super) unread: Vec<Wanted>,
}

/// Reads keys on this node, and those that are elsewhere there. An error means that the connection to this node is lost.
pub(super) async fn read(
    shared: &Shared,
    reader: &Reader,
    client: &Client,
    wanted: Vec<Wanted>,
    purpose: Purpose,
) -> Result<Found, Error> {
    let Some(elsewhere) = &shared.elsewhere else {
        return Ok(Found { sights: reader.read(client, wanted, purpose).await?, unread: Vec::new() });
    };
    let mut found = Found { sights: reader.read(client, wanted.clone(), purpose).await?, unread: Vec::new() };
    let missing = without(wanted, &found.sights);
    if !missing.is_empty() {
        let (there, unread) = locate(shared, client, &shared.endpoint.address, missing).await?;
        found.unread = unread;
        elsewhere.follow(shared, reader, there, purpose, &mut found).await;
    }
    Ok(found)
}

impl Elsewhere {
    pub(super) fn new(hurry: Arc<Notify>) -> Elsewhere {
        Elsewhere { connections: Mutex::default(), hurry }
    }

    /// Something was not where it should be.
    pub(super) fn look_at_topology(&self) {
        self.hurry.notify_one();
    }

    async fn follow(
        &self,
        shared: &Shared,
        reader: &Reader,
        mut there: BTreeMap<Redirect, Vec<Wanted>>,
        purpose: Purpose,
        found: &mut Found,
    ) {
        let mut connections = self.connections.lock().await;
        for _ in 0..MAX_HOPS {
            if there.is_empty() {
                return;
            }
            self.look_at_topology();
            let mut further: BTreeMap<Redirect, Vec<Wanted>> = BTreeMap::new();
            for (redirect, keys) in std::mem::take(&mut there) {
                let (address, is_asking) = match redirect {
                    Redirect::Moved(address) => (address, false),
                    Redirect::Ask(address) => (address, true),
                };
                let again = keys.clone();
                match read_at(&mut connections, shared, reader, &address, is_asking, keys, purpose).await {
                    Ok((sights, moved, unread)) => {
                        found.sights.extend(sights);
                        found.unread.extend(unread);
                        for (redirect, keys) in moved {
                            further.entry(redirect).or_default().extend(keys);
                        }
                    }
                    Err(_) => {
                        connections.remove(&address);
                        found.unread.extend(again);
                    }
                }
            }
            there = further;
        }
        found.unread.extend(there.into_values().flatten());
    }
}

type Read = (Vec<Sight>, BTreeMap<Redirect, Vec<Wanted>>, Vec<Wanted>);

async fn read_at(
    connections: &mut HashMap<Address, Connection>,
    shared: &Shared,
    reader: &Reader,
    address: &Address,
    is_asking: bool,
    keys: Vec<Wanted>,
    purpose: Purpose,
) -> Result<Read, Error> {
    if !connections.contains_key(address) {
        if connections.len() >= MAX_CONNECTIONS {
            connections.clear();
        }
        let endpoint = shared.endpoint.at(address.clone());
        connections.insert(address.clone(), connect::connect(&endpoint, For::Values).await?);
    }
    let Some(client) = connections.get(address).map(Connection::client) else { return Ok(Read::default()) };
    let mut sights = Vec::new();
    if is_asking {
        // `ASKING` holds for one command, so each key is read by one script. What takes more than one command cannot be
        // read before its slot has moved.
        let reader = Reader { may_script: Arc::new(AtomicBool::new(true)), ..reader.clone() };
        for key in &keys {
            shared.pacer.count(1);
            let _: Reply = client.custom(asking(), Vec::<Reply>::new()).await?;
            sights.extend(reader.read(&client, vec![key.clone()], purpose).await?);
        }
        let unread = without(keys, &sights);
        return Ok((sights, BTreeMap::new(), unread));
    }
    sights.extend(reader.read(&client, keys.clone(), purpose).await?);
    let missing = without(keys, &sights);
    let (moved, unread) =
        if missing.is_empty() { Default::default() } else { locate(shared, &client, address, missing).await? };
    Ok((sights, moved, unread))
}

/// Asks a node where keys are that it did not show. Those to which access is refused are left out.
async fn locate(
    shared: &Shared,
    client: &Client,
    asked: &Address,
    keys: Vec<Wanted>,
) -> Result<(BTreeMap<Redirect, Vec<Wanted>>, Vec<Wanted>), Error> {
    shared.pacer.count(keys.len() as u64);
    let pipeline = client.pipeline();
    for one in &keys {
        // In a pipeline these only queue; what can fail is reported by `try_all`.
        let _: () = pipeline.pttl(one.key.clone()).await?;
    }
    let mut there: BTreeMap<Redirect, Vec<Wanted>> = BTreeMap::new();
    let mut unread = Vec::new();
    for (one, answer) in keys.into_iter().zip(pipeline.try_all::<Reply>().await) {
        match answer {
            Err(error) => match Redirect::of(&error, asked) {
                Some(redirect) => there.entry(redirect).or_default().push(one),
                None if is_elsewhere(&error) => unread.push(one),
                None if super::trouble::is_of_connection(&error) => return Err(error),
                None => {}
            },
            // What may not be read has been said already.
            Ok(_) if shared.status.is_blind() => {}
            // It is here after all.
            Ok(_) => unread.push(one),
        }
    }
    Ok((there, unread))
}

/// Those of which there is no sight.
fn without(wanted: Vec<Wanted>, sights: &[Sight]) -> Vec<Wanted> {
    if wanted.len() == sights.len() {
        return Vec::new();
    }
    let seen: HashSet<&Bytes> = sights.iter().map(|sight| &sight.key).collect();
    wanted.into_iter().filter(|one| !seen.contains(&one.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fred::error::ErrorKind;

    #[test]
    fn redirections_are_understood() {
        let asked = Address::new("10.0.0.1", 1);
        let of = |details: &'static str| Redirect::of(&Error::new(ErrorKind::Cluster, details), &asked);
        assert_eq!(of("MOVED 3999 10.0.0.2:7000"), Some(Redirect::Moved(Address::new("10.0.0.2", 7000))));
        assert_eq!(of("ASK 3999 :7001"), Some(Redirect::Ask(Address::new("10.0.0.1", 7001))));
        assert_eq!(of("CLUSTERDOWN Hash slot not served"), None);
        assert_eq!(of("MOVED"), None);
    }
}
