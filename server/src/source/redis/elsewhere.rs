//! Keys of a cluster that are not, or not any more, where they were looked for.
//!
//! While slots move, a node answers `MOVED` or `ASK` with the address of another one. A key that is on neither for the
//! moment, or in a cluster that is down, is not gone: it is read again later, and until then nothing is confirmed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use tokio::sync::{Mutex, Notify};

use super::connect::{self, Connection, For};
use super::dialect::Raw;
use super::dirty::Dirty;
use super::endpoint::Address;
use super::read::Keys;
use super::trouble::{is_elsewhere, is_of_connection, refused_command};
use super::{Shared, feed};
use crate::source::Hint;

/// Other nodes to which a connection is kept; when there are more, all are made anew.
const MAX_CONNECTIONS: usize = 64;

/// How long a reading on another node may take, while others wait for theirs.
const READ_WITHIN: Duration = Duration::from_secs(2);

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

impl Elsewhere {
    pub(super) fn new(hurry: Arc<Notify>) -> Elsewhere {
        Elsewhere { connections: Mutex::default(), hurry }
    }

    /// Something was not where it should be.
    pub(super) fn look_at_topology(&self) {
        self.hurry.notify_one();
    }
}

/// The node of a cluster where keys are looked for first.
pub(crate) struct Here {
    shared: Shared,
    /// Where keys wait that could not be read anywhere.
    dirty: Arc<Dirty>,
    /// How many those were so far.
    unread: AtomicU64,
    /// Whether it runs scripts over keys of several slots, as far as known.
    crosses_slots: AtomicBool,
}

/// Keys by where they are.
type There = BTreeMap<Redirect, Vec<Bytes>>;

impl Here {
    pub(super) fn new(shared: Shared, dirty: Arc<Dirty>) -> Here {
        Here { shared, dirty, unread: AtomicU64::new(0), crosses_slots: AtomicBool::new(true) }
    }

    /// Whether it runs scripts over keys of several slots, as far as known.
    pub(super) fn crosses_slots(&self) -> bool {
        self.crosses_slots.load(Ordering::Relaxed)
    }

    /// It refused such a script.
    pub(super) fn cross_no_more(&self) {
        self.crosses_slots.store(false, Ordering::Relaxed);
    }

    /// How many keys could so far not be read anywhere, and wait again.
    pub(super) fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Reads keys that this node did not show wherever they are. What can be read nowhere waits to be read again. An
    /// error means that the connection to this node is lost.
    pub(super) async fn follow(&self, keys: &Keys, client: &Client, missing: Vec<Bytes>) -> Result<Vec<Raw>, Error> {
        let Some(elsewhere) = &self.shared.elsewhere else { return Ok(Vec::new()) };
        let mut raws = Vec::new();
        let (mut there, mut unread) = self.locate(client, &self.shared.endpoint.address, missing).await?;
        if !there.is_empty() {
            let mut connections = elsewhere.connections.lock().await;
            for _ in 0..MAX_HOPS {
                if there.is_empty() {
                    break;
                }
                elsewhere.look_at_topology();
                for (redirect, names) in std::mem::take(&mut there) {
                    let (address, is_asking) = match redirect {
                        Redirect::Moved(address) => (address, false),
                        Redirect::Ask(address) => (address, true),
                    };
                    let reading = self.read_at(&mut connections, keys, &address, is_asking, &names);
                    let silence = |_| Err(Error::new(ErrorKind::Timeout, "no answer"));
                    match tokio::time::timeout(READ_WITHIN, reading).await.unwrap_or_else(silence) {
                        Ok((some, further, not)) => {
                            raws.extend(some);
                            unread.extend(not);
                            for (redirect, names) in further {
                                there.entry(redirect).or_default().extend(names);
                            }
                        }
                        Err(error) => {
                            if let Some(command) = refused_command(&error) {
                                let costs = "a lock whose slot moves is not seen until it has moved";
                                self.shared.status.missing(&command, costs);
                            }
                            connections.remove(&address);
                            unread.extend(names);
                        }
                    }
                }
            }
        }
        unread.extend(there.into_values().flatten());
        self.wait_again(unread).await;
        Ok(raws)
    }

    async fn read_at(
        &self,
        connections: &mut HashMap<Address, Connection>,
        keys: &Keys,
        address: &Address,
        is_asking: bool,
        names: &[Bytes],
    ) -> Result<(Vec<Raw>, There, Vec<Bytes>), Error> {
        if !connections.contains_key(address) {
            if connections.len() >= MAX_CONNECTIONS {
                connections.clear();
            }
            let endpoint = self.shared.endpoint.at(address.clone());
            connections.insert(address.clone(), connect::connect(&endpoint, For::Values).await?);
        }
        let Some(client) = connections.get(address).map(Connection::client) else { return Ok(Default::default()) };
        let mut raws = Vec::new();
        if is_asking {
            // `ASKING` holds for one command, so each key is read by one script. Where scripts are not permitted, a key
            // cannot be read before its slot has moved.
            for name in names {
                self.shared.pacer.count(1);
                let _: Reply = client.custom(asking(), Vec::<Reply>::new()).await?;
                raws.extend(keys.by_script_each(&client, std::slice::from_ref(name)).await?);
            }
            let unread = without(names.to_vec(), &raws);
            return Ok((raws, There::new(), unread));
        }
        raws.extend(keys.one_by_one(&client, names).await?);
        let (further, unread) = self.locate(&client, address, without(names.to_vec(), &raws)).await?;
        Ok((raws, further, unread))
    }

    /// Asks the node at `asked` where keys are that it did not show. Those to which access is refused are left out.
    async fn locate(&self, client: &Client, asked: &Address, names: Vec<Bytes>) -> Result<(There, Vec<Bytes>), Error> {
        let (mut there, mut unread) = (There::new(), Vec::new());
        if names.is_empty() {
            return Ok((there, unread));
        }
        self.shared.pacer.count(names.len() as u64);
        let pipeline = client.pipeline();
        for name in &names {
            // In a pipeline these only queue; what can fail is reported by `try_all`.
            let _: () = pipeline.pttl(name.clone()).await?;
        }
        for (name, answer) in names.into_iter().zip(pipeline.try_all::<Reply>().await) {
            match answer {
                Err(error) => match Redirect::of(&error, asked) {
                    Some(redirect) => there.entry(redirect).or_default().push(name),
                    None if is_elsewhere(&error) => unread.push(name),
                    None if is_of_connection(&error) => return Err(error),
                    None => {}
                },
                // What may not be read has been said already.
                Ok(_) if self.shared.status.is_blind() => {}
                // It is here after all.
                Ok(_) => unread.push(name),
            }
        }
        Ok((there, unread))
    }

    async fn wait_again(&self, unread: Vec<Bytes>) {
        if unread.is_empty() {
            return;
        }
        self.shared.status.keys_unreadable(true);
        for name in &unread {
            if self.dirty.put(name, None, Hint::None).is_err() {
                // The end of the server shows elsewhere.
                let _ = feed::missed(&self.shared, 1, "more keys could not be read than can wait").await;
                break;
            }
        }
        self.unread.fetch_add(unread.len() as u64, Ordering::Relaxed);
    }
}

/// Those that were not read.
pub(super) fn without(names: Vec<Bytes>, raws: &[Raw]) -> Vec<Bytes> {
    if names.len() == raws.len() {
        return Vec::new();
    }
    let read: std::collections::HashSet<&Bytes> = raws.iter().map(|raw| &raw.key).collect();
    names.into_iter().filter(|name| !read.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
