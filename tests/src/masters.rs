use std::time::Duration;

use fred::clients::Client;
use lockkeeper_model::{Flag, Lock, Quorum, SourceState, SourceStatus, Standing};

use crate::{Api, Family, LockClient, RedisServer, Server, store};

/// The lease of a lock on [`Masters`]: longer than any test takes.
pub const LEASE: Duration = Duration::from_secs(60);

/// Five independent masters and a dashboard that watches them. They end with the value.
#[derive(Debug)]
pub struct Masters {
    /// The masters.
    pub servers: Vec<RedisServer>,
    /// A connection to each.
    pub clients: Vec<Client>,
    /// The dashboard.
    pub server: Server,
    /// To ask it.
    pub api: Api,
}

impl Masters {
    /// Starts them, and waits until all are watched.
    pub async fn start() -> Masters {
        Masters::with(&[]).await
    }

    /// The same with these options for each master.
    pub async fn with(options: &[&str]) -> Masters {
        let masters = Masters::as_seen(options, |servers| servers.iter().map(RedisServer::url).collect()).await;
        masters.server.ready().await;
        masters.api.until_live().await;
        masters
    }

    /// The same with these URLs for the dashboard, whatever it sees of them.
    pub async fn as_seen(options: &[&str], urls: impl FnOnce(&[RedisServer]) -> Vec<String>) -> Masters {
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let server = RedisServer::with(options).await;
            clients.push(server.client().await);
            servers.push(server);
        }
        let server = Masters::watched(&urls(&servers), "").await;
        let api = server.api();
        Masters { servers, clients, server, api }
    }

    /// A dashboard on these masters, with these lines in the configuration of the source.
    pub async fn watched(urls: &[String], lines: &str) -> Server {
        let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
        let urls = urls.join(", ");
        let config = format!("[[source]]\nname = \"quorum\"\nkind = \"redlock\"\nurls = [{urls}]\n{lines}");
        Server::serve().config(&config).arg("--allow-release").start().await
    }

    /// A client of the recipe, with one token for all masters.
    #[must_use]
    pub fn holder(&self, name: &str) -> LockClient {
        Family::RedisPy.client(&self.clients[0], name, Some(LEASE))
    }

    /// Puts the token on these masters, as a client does that takes the lock there.
    pub async fn take(&self, holder: &LockClient, on: impl IntoIterator<Item = usize>) {
        for master in on {
            self.set(master, &holder.key, &holder.token, LEASE).await;
        }
    }

    /// Has one master keep this token for so long.
    pub async fn set(&self, master: usize, key: &str, token: &str, lease: Duration) {
        let lease = lease.as_millis().to_string();
        let _: Option<String> = store(&self.clients[master], "SET", [key, token, "NX", "PX", &*lease]).await;
    }

    /// What stands on one master.
    pub async fn get(&self, master: usize, key: &str) -> Option<String> {
        store(&self.clients[master], "GET", [key]).await
    }

    /// Takes it away on one master.
    pub async fn delete(&self, master: usize, key: &str) {
        let _: i64 = store(&self.clients[master], "DEL", [key]).await;
    }

    /// What the dashboard calls a master.
    #[must_use]
    pub fn address(&self, master: usize) -> String {
        self.servers[master].source()
    }

    /// The lock, once so many masters are seen to have its first holder's token, and the board has taken note of whether
    /// the source can be relied on.
    pub async fn until_votes(&self, key: &str, standing: Standing, votes: u32) -> Lock {
        let passes = |lock: &Lock| {
            let quorum = quorum(lock);
            let is_stale = lock.flags.contains(&Flag::Stale);
            quorum.standing == standing && quorum.votes == votes && is_stale == (standing == Standing::Undecided)
        };
        self.api.until_lock(&format!("{key} {standing:?} with {votes}"), key, passes).await
    }

    /// Waits until these masters are said not to answer.
    pub async fn until_down(&self, masters: &[usize]) -> SourceStatus {
        let down = |source: &SourceStatus| masters.iter().all(|&i| source.nodes[i].state == SourceState::Down);
        self.api.until_source("the masters to be down", down).await
    }
}

/// How a lock stands on its masters.
///
/// # Panics
/// When it is on a single store.
#[must_use]
pub fn quorum(lock: &Lock) -> &Quorum {
    lock.quorum.as_ref().unwrap()
}
