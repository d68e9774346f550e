use std::process::{Child, Command, Stdio};

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::Value;
use fred::types::config::Config;
use fred::types::{Builder, ClusterHash, CustomCommand};
use tempfile::TempDir;

use crate::{Authority, RedisServer, free_port, until, until_some};

/// How long a primary must be silent before it counts as gone, in milliseconds.
const DOWN_AFTER_MS: u32 = 3_000;

/// How the sentinels call the primary.
pub const PRIMARY: &str = "main";

/// A primary, two replicas and three sentinels. They end with the value.
#[derive(Debug)]
pub struct Sentinels {
    /// The servers: the first is the primary at first.
    pub servers: Vec<RedisServer>,
    /// At which ports of this machine the sentinels say that the servers are.
    pub ports: Vec<u16>,
    sentinels: Vec<Sentinel>,
    is_tls: bool,
}

#[derive(Debug)]
struct Sentinel {
    process: Child,
    /// Where the test asks it.
    plain_port: u16,
    /// Where others do.
    port: u16,
    _dir: TempDir,
}

impl Sentinels {
    /// Starts them and waits until they know each other.
    pub async fn start() -> Sentinels {
        Sentinels::with("", &[]).await
    }

    /// The same with these lines in the configuration of each sentinel, and these options for each server.
    pub async fn with(lines: &str, options: &[&str]) -> Sentinels {
        Sentinels::of(lines, options, None).await
    }

    /// The same with all of them speaking TLS to each other and to whoever is signed by this authority.
    pub async fn over_tls(authority: &Authority) -> Sentinels {
        Sentinels::of("", &[], Some(authority)).await
    }

    async fn of(lines: &str, options: &[&str], authority: Option<&Authority>) -> Sentinels {
        let (mut servers, mut ports) = (Vec::new(), Vec::<u16>::new());
        for _ in 0..3 {
            let mut all: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            all.extend(["--repl-diskless-sync-delay", "0"].map(str::to_owned));
            if let Some(primary) = ports.first() {
                all.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), primary.to_string()]);
            }
            let tls_port = authority.map(|authority| {
                let port = free_port();
                all.extend(authority.options(port));
                port
            });
            let server = RedisServer::with(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
            ports.push(tls_port.unwrap_or(server.port()));
            servers.push(server);
        }
        for replica in &servers[1..] {
            until(
                "a replica to be in step",
                async || replica.info("replication").await.unwrap_or_default(),
                |info| info.contains("master_link_status:up"),
            )
            .await;
        }
        let sentinels = (0..3).map(|_| Sentinel::start(ports[0], lines, authority)).collect();
        let all = Sentinels { servers, ports, sentinels, is_tls: authority.is_some() };
        for sentinel in &all.sentinels {
            until(
                "the sentinels to know each other",
                async || sentinel.knows().await,
                |known| known.contains("num-other-sentinels 2") && known.contains("num-slaves 2"),
            )
            .await;
        }
        all
    }

    /// The URL of all of them.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(&self.sentinel_ports())
    }

    /// The same with these ports instead of theirs.
    #[must_use]
    pub fn url_through(&self, ports: &[u16]) -> String {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let scheme = if self.is_tls { "rediss-sentinel" } else { "redis-sentinel" };
        format!("{scheme}://{}/{PRIMARY}", hosts.join(","))
    }

    /// The ports of the sentinels.
    #[must_use]
    pub fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    /// Waits until a server other than the one at `port` is the primary, and says which.
    pub async fn another_primary(&self, port: u16) -> &RedisServer {
        until_some("another primary", async || {
            for server in self.servers.iter().filter(|server| server.is_running() && server.port() != port) {
                if server.info("replication").await.is_some_and(|info| info.contains("role:master")) {
                    return Some(server);
                }
            }
            None
        })
        .await
    }

    /// A connection to each sentinel, with all rights.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for sentinel in &self.sentinels {
            clients.push(sentinel.client().await.expect("a connection to a sentinel"));
        }
        clients
    }

    /// Ends all sentinels at once.
    pub fn kill_sentinels(&mut self) {
        self.sentinels.iter_mut().for_each(Sentinel::kill);
    }
}

impl Sentinel {
    fn start(primary: u16, lines: &str, authority: Option<&Authority>) -> Sentinel {
        let dir = TempDir::new().unwrap();
        let plain_port = free_port();
        let file = dir.path().join("sentinel.conf");
        let (mut port, mut tls) = (plain_port, String::new());
        if let Some(authority) = authority {
            port = free_port();
            let options = authority.options(port);
            let lines = options.chunks(2).map(|option| format!("{}\n", option.join(" ").trim_start_matches("--")));
            tls = lines.collect();
        }
        let config = format!(
            "port {plain_port}\n{tls}bind 127.0.0.1\ndir {}\nsentinel monitor {PRIMARY} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {PRIMARY} {DOWN_AFTER_MS}\nsentinel failover-timeout {PRIMARY} 5000\n\
             {lines}\n",
            dir.path().display()
        );
        std::fs::write(&file, config).unwrap();
        let process = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server; `cargo xtask setup` installs it");
        Sentinel { process, plain_port, port, _dir: dir }
    }

    async fn client(&self) -> Option<Client> {
        let mut builder = Builder::from_config(Config {
            fail_fast: true,
            ..Config::from_url(&format!("redis://127.0.0.1:{}", self.plain_port)).ok()?
        });
        builder.with_connection_config(|config| config.max_command_attempts = 1);
        let client = builder.build().ok()?;
        client.init().await.ok()?;
        Some(client)
    }

    /// What it knows of the primary, in words and numbers.
    async fn knows(&self) -> String {
        let Some(client) = self.client().await else { return String::new() };
        let command = CustomCommand::new_static("SENTINEL", ClusterHash::Random, false);
        match client.custom::<Value, _>(command, vec!["MASTER", PRIMARY]).await {
            Ok(Value::Map(map)) => map
                .iter()
                .map(|(key, value)| {
                    format!("{} {}", key.as_str().unwrap_or_default(), value.as_string().unwrap_or_default())
                })
                .collect::<Vec<_>>()
                .join("\n"),
            Ok(Value::Array(parts)) => parts.into_iter().filter_map(Value::into_string).collect::<Vec<_>>().join(" "),
            other => format!("{other:?}"),
        }
    }

    fn kill(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}
