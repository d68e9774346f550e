use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::Builder;
use fred::types::config::Config;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Somebody else may take a free port first; three times in a row is not chance.
const ATTEMPTS: usize = 3;

/// Far beyond what anything takes that works.
const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// A real `redis-server` of a test's own. Ends with the value.
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> RedisServer {
        RedisServer::with(&[]).await
    }

    /// One with these options, for example `["--cluster-enabled", "yes"]`.
    pub(crate) async fn with(options: &[&str]) -> RedisServer {
        for _ in 0..ATTEMPTS {
            let mut server = RedisServer::spawn(options);
            let ended = until_some("redis-server to answer or to end", async || {
                let ended = server.process.try_wait().unwrap().is_some();
                if ended || answers(server.port).await.is_ok() { Some(ended) } else { None }
            })
            .await;
            if !ended {
                return server;
            }
        }
        panic!("redis-server does not run");
    }

    pub(crate) async fn start_many(count: usize) -> Vec<RedisServer> {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(RedisServer::start().await);
        }
        servers
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A plain connection, for looking from outside.
    pub(crate) async fn client(&self) -> Client {
        let client = Builder::from_config(Config::from_url(&self.url()).unwrap()).build().unwrap();
        client.init().await.expect("a connection to the test's Redis");
        client
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Stops it as a machine that hangs does: connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success(), "kill {signal} {pid}");
    }

    fn spawn(options: &[&str]) -> RedisServer {
        let dir = TempDir::new().unwrap();
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap().port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(dir.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server; `cargo xtask setup` installs it");
        RedisServer { process, port, _dir: dir }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn answers(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    stream.read_exact(&mut [0]).await?;
    Ok(())
}

/// Looks until there is something to see, and returns it.
pub(crate) async fn until_some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        sleep(LOOK_EVERY).await;
    }
}
