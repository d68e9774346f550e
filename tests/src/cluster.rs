use std::time::Duration;

use fred::clients::Client;
use fred::types::Value;

use crate::{Authority, Family, LockClient, RedisServer, free_port, store, until};

/// How long a node must be silent before it counts as gone, in milliseconds.
const NODE_TIMEOUT_MS: &str = "4000";

/// Slots of every cluster.
const SLOTS: u16 = 16_384;

/// Three primaries with a replica each. They end with the value.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes: node `i` and node `i + 3` belong together, and the first three are the primaries at first.
    pub nodes: Vec<RedisServer>,
    /// At which ports of this machine the nodes say that they are.
    pub ports: Vec<u16>,
    is_tls: bool,
}

impl Cluster {
    /// Starts one, and waits until all of it is in step.
    pub async fn start() -> Cluster {
        Cluster::with(&[]).await
    }

    /// The same with these options for each node.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn with(options: &[&str]) -> Cluster {
        Cluster::of(options, None).await
    }

    /// The same with all nodes speaking TLS to each other and to whoever is signed by this authority.
    pub async fn over_tls(authority: &Authority) -> Cluster {
        Cluster::of(&["--tls-cluster", "yes"], Some(authority)).await
    }

    async fn of(options: &[&str], authority: Option<&Authority>) -> Cluster {
        let (mut nodes, mut ports, mut buses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..6 {
            // The default is far above the port, where none may be left.
            let bus = free_port().to_string();
            let cluster =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT_MS, "--cluster-port", &bus];
            let quick = ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"];
            let tls_port = authority.map(|_| free_port());
            let tls = authority.zip(tls_port).map(|(authority, port)| authority.options(port)).unwrap_or_default();
            let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
            let node = RedisServer::with(&[&cluster, &quick[..], options, &tls].concat()).await;
            ports.push(tls_port.unwrap_or(node.port()));
            nodes.push(node);
            buses.push(bus);
        }
        let cluster = Cluster { nodes, ports, is_tls: authority.is_some() };
        let mut clients = Vec::new();
        for node in &cluster.nodes {
            clients.push(node.client().await);
        }
        for (i, client) in clients.iter().enumerate() {
            let _: String = store(client, "CLUSTER", ["SET-CONFIG-EPOCH", &(i + 1).to_string()]).await;
            let port = cluster.ports[0].to_string();
            if i > 0 {
                let _: String = store(client, "CLUSTER", ["MEET", "127.0.0.1", &port, &buses[0]]).await;
            }
            if let Some((first, last)) = (i < 3).then(|| range(i)) {
                let _: String =
                    store(client, "CLUSTER", ["ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
            }
        }
        until_info(&clients, "cluster_known_nodes:6").await;
        for i in 3..6 {
            let id = node_id(&clients[i - 3]).await;
            until(
                "a replica to know its primary",
                async || cluster.nodes_known(&clients[i]).await,
                |known| known.contains(&id),
            )
            .await;
            let _: String = store(&clients[i], "CLUSTER", ["REPLICATE", &id]).await;
        }
        until_info(&clients, "cluster_state:ok").await;
        for replica in &cluster.nodes[3..] {
            until(
                "a replica to be in step",
                async || replica.info("replication").await.unwrap_or_default(),
                |info| info.contains("master_link_status:up"),
            )
            .await;
        }
        for client in &clients {
            until(
                "all to see three primaries with a replica each",
                async || {
                    let known = cluster.nodes_known(client).await;
                    (known.matches("master").count(), known.matches("slave").count())
                },
                |seen| *seen == (3, 3),
            )
            .await;
        }
        cluster
    }

    /// The URL of the whole, named by its first and its last node.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as("")
    }

    /// The same for `user:password@`.
    #[must_use]
    pub fn url_as(&self, user_info: &str) -> String {
        let scheme = if self.is_tls { "rediss-cluster" } else { "redis-cluster" };
        format!("{scheme}://{user_info}127.0.0.1:{},127.0.0.1:{}", self.ports[0], self.ports[5])
    }

    /// A name with this beginning for a lock of this family in a slot of primary `i` of the beginning.
    ///
    /// # Panics
    /// When there is none among the first thousand.
    pub async fn name_on(&self, i: usize, family: Family, beginning: &str) -> String {
        let client = self.running().client().await;
        let (first, last) = range(i);
        for n in 0..1_000 {
            let name = format!("{beginning}-{n}");
            let slot: u16 = store(&client, "CLUSTER", ["KEYSLOT", &family.key(&name)]).await;
            if (first..=last).contains(&slot) {
                return name;
            }
        }
        panic!("no name for primary {i}")
    }

    /// The primary of the beginning to which a key belongs.
    ///
    /// # Panics
    /// When there is none.
    pub async fn owner(&self, key: &[u8]) -> usize {
        let client = self.running().client().await;
        let slot: u16 = store(&client, "CLUSTER", [b"KEYSLOT", key]).await;
        (0..3).find(|&i| (range(i).0..=range(i).1).contains(&slot)).expect("an owner of every slot")
    }

    /// A lock of this family on primary `i` of the beginning, taken there.
    ///
    /// # Panics
    /// When it is taken already.
    pub async fn take(&self, i: usize, family: Family, name: &str, lease: Duration) -> LockClient {
        let name = self.name_on(i, family, name).await;
        let holder = family.client(&self.nodes[i].client().await, &name, Some(lease));
        assert!(holder.take().await);
        holder
    }

    /// Takes the slot of a key from one node to another, as `redis-cli --cluster reshard` does. `between` is run while
    /// the slot is on its way and its keys are moved already.
    pub async fn move_slot(&self, key: &str, from: usize, to: usize, between: impl AsyncFnOnce()) {
        let (source, target) = (self.nodes[from].client().await, self.nodes[to].client().await);
        let (source_id, target_id) = (node_id(&source).await, node_id(&target).await);
        let slot: u16 = store(&source, "CLUSTER", ["KEYSLOT", key]).await;
        let slot = slot.to_string();
        let _: String = store(&target, "CLUSTER", ["SETSLOT", &slot, "IMPORTING", &source_id]).await;
        let _: String = store(&source, "CLUSTER", ["SETSLOT", &slot, "MIGRATING", &target_id]).await;
        let port = self.ports[to].to_string();
        let keys: Vec<String> = store(&source, "CLUSTER", ["GETKEYSINSLOT", &slot, "1000"]).await;
        for key in keys {
            let _: String = store(&source, "MIGRATE", ["127.0.0.1", &port, &key, "0", "5000"]).await;
        }
        between().await;
        for client in [&target, &source] {
            let _: String = store(client, "CLUSTER", ["SETSLOT", &slot, "NODE", &target_id]).await;
        }
    }

    /// Waits until node `i` is a primary.
    pub async fn until_primary(&self, i: usize) {
        until(
            "the replica to take over",
            async || self.nodes[i].info("replication").await.unwrap_or_default(),
            |info| info.contains("role:master"),
        )
        .await;
    }

    fn running(&self) -> &RedisServer {
        // The last ones are the least likely to be what a test breaks.
        self.nodes.iter().rev().find(|node| node.is_running()).expect("a running node")
    }

    async fn nodes_known(&self, client: &Client) -> String {
        store(client, "CLUSTER", ["NODES"]).await
    }
}

/// The slots of primary `i`, from first to last.
#[must_use]
pub fn range(i: usize) -> (u16, u16) {
    let third = SLOTS / 3;
    let first = third * u16::try_from(i).unwrap();
    (first, if i == 2 { SLOTS - 1 } else { first + third - 1 })
}

async fn node_id(client: &Client) -> String {
    store(client, "CLUSTER", ["MYID"]).await
}

async fn until_info(clients: &[Client], words: &str) {
    for client in clients {
        until(
            &format!("`{words}`"),
            async || {
                let info: Value = store(client, "CLUSTER", ["INFO"]).await;
                info.into_string().unwrap_or_default()
            },
            |info| info.contains(words),
        )
        .await;
    }
}
