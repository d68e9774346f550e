//! A throw-away cluster: three primaries with a replica each.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::{RedisServer, START, free_port};
use crate::resp::{Connection, Reply};

const NODES: usize = 6;

/// Of every cluster.
const SLOTS: u16 = 16_384;

/// How often nodes are asked whether they have found together.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The nodes end with it.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
    /// The ports of the primaries.
    pub(crate) primaries: Vec<u16>,
    /// For each slot, which of the primaries has it.
    owners: Vec<usize>,
}

impl Cluster {
    pub(crate) fn start() -> Result<Cluster> {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            // The default is far above the port, where none may be left.
            let bus = free_port()?.to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            // A machine that is halted for a moment must not look like one that failed.
            nodes.push(RedisServer::with(&[&options[..], &["--cluster-replica-no-failover", "yes"]].concat())?);
        }
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)))
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .context("start `redis-cli`: is it installed?")?;
        if !output.status.success() {
            bail!("create a cluster: {}", String::from_utf8_lossy(&output.stdout).trim());
        }
        let deadline = Instant::now() + START;
        for node in &nodes {
            while !is_ready(node.port)? {
                if Instant::now() > deadline {
                    bail!("wait for the cluster: node {} is not ready", node.port);
                }
                std::thread::sleep(ASK_EVERY);
            }
        }
        let (primaries, owners) = layout(&text(nodes[0].port, &[b"CLUSTER", b"NODES"])?)?;
        Ok(Cluster { nodes, primaries, owners })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[0].port, self.nodes[NODES - 1].port)
    }

    /// Which of the primaries has a key, which must be without braces: only the part in them would count.
    pub(crate) fn owner(&self, key: &[u8]) -> usize {
        self.owners[usize::from(crc16::State::<crc16::XMODEM>::calculate(key) % SLOTS)]
    }
}

/// Whether a node sees all slots served and, if it is a replica, has what its primary has.
fn is_ready(port: u16) -> Result<bool> {
    let serves = text(port, &[b"CLUSTER", b"INFO"])?.contains("cluster_state:ok");
    let replication = text(port, &[b"INFO", b"replication"])?;
    let follows = replication.contains("role:master") || replication.contains("master_link_status:up");
    Ok(serves && follows)
}

fn text(port: u16, words: &[&[u8]]) -> Result<String> {
    match Connection::open(port)?.ask(words)? {
        Reply::Bulk(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        other => bail!("understand a cluster's node: {other:?}"),
    }
}

/// The primaries and which of them has each slot, from what `CLUSTER NODES` says: a line for each node, with its address
/// in the second field, its role in the third, and its slots from the ninth on.
fn layout(nodes: &str) -> Result<(Vec<u16>, Vec<usize>)> {
    let (mut primaries, mut owners) = (Vec::new(), vec![None; usize::from(SLOTS)]);
    for line in nodes.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, address, role, _, _, _, _, _, slots @ ..] = &fields[..] else { continue };
        if !role.contains("master") {
            continue;
        }
        let port = address.split([':', '@']).nth(1).and_then(|port| port.parse().ok());
        for range in slots {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse()?, last.parse()?);
            owners.get_mut(first..=last).context("understand a range of slots")?.fill(Some(primaries.len()));
        }
        primaries.push(port.with_context(|| format!("find a port in `{address}`"))?);
    }
    let owners: Option<Vec<usize>> = owners.into_iter().collect();
    Ok((primaries, owners.context("find who has each slot")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_the_primary_that_says_so() {
        let (primaries, owners) = layout(
            "a1 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-8000 16383\n\
             b2 127.0.0.1:7002@17002 slave a1 0 1 1 connected\n\
             c3 127.0.0.1:7003@17003 master - 0 1 3 connected 8001-16382\n",
        )
        .unwrap();
        assert_eq!(primaries, [7001, 7003]);
        assert_eq!([0, 8_000, 8_001, 16_382, 16_383].map(|slot| owners[slot]), [0, 0, 1, 1, 0]);
        assert!(layout("a1 127.0.0.1:7001@17001 master - 0 0 1 connected 0-100\n").is_err());
    }
}
