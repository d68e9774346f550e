//! The demo's own `redis-server`.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

/// A new Redis answers within milliseconds; one that needs longer than this is not coming.
const MUST_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at whether it answers.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Somebody else may take a free port between our look and Redis's start; more than once is not chance.
const ATTEMPTS: u32 = 3;
/// The world needs less than a megabyte. Whatever goes wrong, the machine does not notice.
const MAX_MEMORY: &str = "64mb";

/// Runs Redis and ends it as soon as nobody holds the other end of its standard input, which the system lets go of
/// however our process ends. `<&-` would hand Redis our descriptor otherwise.
const KEEPER: &str = r#"redis-server "$@" </dev/null & read -r _; kill "$!"; wait"#;

/// Why the store does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is not installed.
    #[error(
        "could not find `redis-server`, which plays the demo's store; install it (Debian: `apt-get install redis-server`)"
    )]
    NotInstalled,
    /// The system refused.
    #[error("could not start `redis-server`: {0}")]
    Io(#[from] std::io::Error),
    /// It does not answer.
    #[error("`redis-server` was started and did not answer within {} s", MUST_ANSWER_WITHIN.as_secs())]
    Silent,
}

/// A `redis-server` that ends with this value.
#[derive(Debug)]
pub(crate) struct RedisProcess {
    keeper: Child,
    port: u16,
}

impl RedisProcess {
    /// Starts one that keeps nothing and is reached from this machine only.
    pub(crate) async fn start() -> Result<RedisProcess, StartError> {
        let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().await;
        match version {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(StartError::NotInstalled),
            other => other?,
        };
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let process = RedisProcess { keeper: spawn(port)?, port };
            if process.answers().await {
                return Ok(process);
            }
            process.end().await;
        }
        Err(StartError::Silent)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> Url {
        let mut url = Url::parse("redis://127.0.0.1").unwrap_or_else(|_| unreachable!("a literal URL"));
        // Fails only for URLs without a host.
        let _ = url.set_port(Some(self.port));
        url
    }

    /// Ends it and waits for that.
    pub(crate) async fn end(mut self) {
        drop(self.keeper.stdin.take());
        // The keeper does nothing but wait, so an error leaves nothing to do.
        let _ = self.keeper.wait().await;
    }

    /// Whether it is there before long.
    async fn answers(&self) -> bool {
        let deadline = Instant::now() + MUST_ANSWER_WITHIN;
        while Instant::now() < deadline {
            if matches!(timeout(MUST_ANSWER_WITHIN, ping(self.port)).await, Ok(Ok(true))) {
                return true;
            }
            sleep(LOOK_EVERY).await;
        }
        false
    }
}

fn spawn(port: u16) -> std::io::Result<Child> {
    let port = port.to_string();
    // The name of a file that is never written, and never found: Redis would read one at its start.
    let dump = format!("lockkeeper-demo-{}-{port}.rdb", std::process::id());
    Command::new("sh")
        .args(["-c", KEEPER, "lockkeeper-demo"])
        .args(["--port", &port, "--bind", "127.0.0.1", "--protected-mode", "yes"])
        .args(["--save", "", "--appendonly", "no", "--dbfilename", &dump, "--dir"])
        .arg(std::env::temp_dir())
        .args(["--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C is for us: Redis ends after the server has said goodbye.
        .process_group(0)
        .spawn()
}

async fn ping(port: u16) -> std::io::Result<bool> {
    const PONG: &[u8] = b"+PONG\r\n";
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; PONG.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == PONG)
}

fn free_port() -> std::io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}
