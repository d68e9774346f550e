use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::Builder;
use fred::types::config::Config;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{free_port, store, until};

/// Somebody else may take a free port first; three times in a row is not chance.
const ATTEMPTS: usize = 3;

/// Options for one that takes its time to load what it saved: a millisecond for each key, during which it answers again
/// and again that it loads.
pub const LOADS_SLOWLY: [&str; 4] = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];

/// Keys that make loading take some seconds with [`LOADS_SLOWLY`], and look like no lock.
const FILLERS: &str = "\
for n = 1, 4000 do redis.call('rpush', '{' .. KEYS[1] .. '}' .. n, string.rep('x', 100)) end
return 1";

/// A real `redis-server` of a test's own. Ends with the value.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Child>,
    port: u16,
    password: Option<String>,
    options: Vec<String>,
    dir: TempDir,
}

impl RedisServer {
    /// One with default settings, which keeps nothing on disk.
    pub async fn start() -> RedisServer {
        RedisServer::with(&[]).await
    }

    /// One with these options, for example `["--notify-keyspace-events", "KEAn"]`.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn with(options: &[&str]) -> RedisServer {
        let password = options.windows(2).find(|pair| pair[0] == "--requirepass").map(|pair| pair[1].to_owned());
        for _ in 0..ATTEMPTS {
            let mut server = RedisServer {
                process: None,
                port: free_port(),
                password: password.clone(),
                options: options.iter().map(|&option| option.to_owned()).collect(),
                dir: TempDir::new().unwrap(),
            };
            server.spawn();
            if server.comes_up().await {
                return server;
            }
        }
        panic!("redis-server {options:?} does not run");
    }

    /// Its port on this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, with the password where it has one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Its URL for another user.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// The name under which the dashboard shows it when it is given by [`Self::url`].
    #[must_use]
    pub fn source(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds the user `watcher` with the password `secret`, every right, and these rules on top, and returns the URL
    /// for it.
    pub async fn watcher(&self, rules: &str) -> String {
        let user = ["SETUSER", "watcher", "on", ">secret", "~*", "&*", "+@all"];
        let _: String = store(&self.client().await, "ACL", user.into_iter().chain(rules.split_whitespace())).await;
        format!("redis://watcher:secret@127.0.0.1:{}", self.port)
    }

    /// A new connection with all rights. Its commands fail rather than wait when the server is gone.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn client(&self) -> Client {
        let mut builder = Builder::from_config(Config::from_url(&self.url()).unwrap());
        builder.with_performance_config(|config| config.default_command_timeout = Duration::from_secs(20));
        let client = builder.build().unwrap();
        client.init().await.expect("a connection to the test's Redis");
        client
    }

    /// Cuts its replicas off and keeps them off: what is written from now on is not copied.
    ///
    /// # Panics
    /// When a replica is still there after all.
    pub async fn keep_replicas_off(&self) {
        let client = self.client().await;
        let _: String = store(&client, "ACL", ["SETUSER", "default", "-psync", "-sync"]).await;
        let _: i64 = store(&client, "CLIENT", ["KILL", "TYPE", "replica"]).await;
        until(
            "the replicas to be gone",
            async || self.info("replication").await.unwrap_or_default(),
            |info| info.contains("connected_slaves:0"),
        )
        .await;
    }

    /// What it says of a section of `INFO`; `None` while it does not. On a connection of its own: a server that changes
    /// its role closes those that it has.
    pub async fn info(&self, section: &str) -> Option<String> {
        let asking = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.write_all(format!("INFO {section}\r\n").as_bytes()).await.ok()?;
            let mut said = Vec::new();
            let mut part = [0; 4_096];
            // The last line of every section of it is an empty one.
            while !said.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut part).await.ok().filter(|&n| n > 0)?;
                said.extend_from_slice(&part[..n]);
            }
            String::from_utf8(said).ok()
        };
        tokio::time::timeout(Duration::from_secs(1), asking).await.ok()?
    }

    /// Saves what it has and a lot more, which is in the same slot as `beside`.
    pub async fn save_much(&self, beside: &str) {
        let client = self.client().await;
        let _: i64 = store(&client, "EVAL", [FILLERS, "1", beside]).await;
        let _: String = store(&client, "SAVE", Vec::<String>::new()).await;
    }

    /// Stops it as a machine that hangs does: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Whether it was not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port, empty unless it saved.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn start_again(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.comes_up().await, "redis-server does not run again");
    }

    /// Starts it again without waiting until it answers, for one that takes long to load.
    pub fn spawn_again(&mut self) {
        self.kill();
        self.spawn();
    }

    fn spawn(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            // Tests freeze and reconnect; the default would make them wait for a full second of Redis's own clock.
            .args(["--hz", "50", "--dir"])
            .arg(self.dir.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server; `cargo xtask setup` installs it");
        self.process = Some(process);
    }

    async fn comes_up(&mut self) -> bool {
        let port = self.port;
        let process = self.process.as_mut().unwrap();
        until(
            "redis-server to answer or to end",
            async || {
                if process.try_wait().unwrap().is_some() { Some(false) } else { answers(port).await.ok() }
            },
            Option::is_some,
        )
        .await
        .unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("a running redis-server").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill");
        assert!(status.success(), "kill {signal} {pid}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether what listens there answers as Redis does; even `-NOAUTH` and `-LOADING` are answers.
async fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut first = [0];
    stream.read_exact(&mut first).await?;
    Ok(matches!(first[0], b'+' | b'-'))
}
