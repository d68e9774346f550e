//! The processes that are measured. Each ends when its handle is dropped, so that none outlives a failure.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::{SourceState, SourceStatus};

use crate::api::Api;
use crate::resp::Connection;

/// How long a process may take to answer at all, and several to find together.
pub(crate) const START: Duration = Duration::from_secs(20);

/// How long a whole listing may take before something is wrong.
const LISTING: Duration = Duration::from_secs(300);

/// How often a server that is being waited for is asked: often enough to matter little to what is measured, rarely
/// enough to cost it next to nothing.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// A child that is killed with its handle, and the folder that it worked in.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    dir: PathBuf,
}

impl Guarded {
    /// Starts a command in a fresh folder of its own.
    pub(crate) fn start(command: &mut Command) -> Result<Guarded> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let n = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("lockkeeper-bench-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("create `{}`", dir.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .current_dir(&dir)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start `{program}`: is it installed?"))?;
        Ok(Guarded { child, dir })
    }

    /// The folder that it works in.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fails if it ended by itself.
    pub(crate) fn must_run(&mut self, what: &str) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("look after {what}"))? {
            Some(status) => bail!("keep {what} running: it ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself; what is left in the folder for temporary files is of no use to anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

/// A throw-away Redis that keeps nothing.
#[derive(Debug)]
pub(crate) struct RedisServer {
    process: Guarded,
    pub(crate) port: u16,
}

impl RedisServer {
    pub(crate) fn start() -> Result<RedisServer> {
        RedisServer::with(&[])
    }

    /// The same with these options.
    pub(crate) fn with(options: &[&str]) -> Result<RedisServer> {
        let port = free_port()?;
        let mut process = Guarded::start(
            Command::new("redis-server")
                .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &port.to_string()])
                .args(options)
                .stdout(Stdio::null()),
        )?;
        let deadline = Instant::now() + START;
        while Connection::open(port).and_then(|mut redis| redis.ask(&[b"PING"]).map(drop)).is_err() {
            process.must_run("redis-server")?;
            if Instant::now() > deadline {
                bail!("wait for redis-server: it does not answer");
            }
            std::thread::sleep(POLL);
        }
        Ok(RedisServer { process, port })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }
}

/// A server that watches.
#[derive(Debug)]
pub(crate) struct Lockkeeper {
    process: Guarded,
    pub(crate) address: SocketAddr,
    /// Just before it was started.
    pub(crate) started: Instant,
}

impl Lockkeeper {
    /// Starts it on one source, which these arguments name. What it logs is added to `log`.
    pub(crate) fn start(binary: &Path, source: &[&str], log: &Path) -> Result<Lockkeeper> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let log =
            File::options().create(true).append(true).open(log).with_context(|| format!("open `{}`", log.display()))?;
        let mut command = Command::new(binary);
        // Settings of whoever runs this would make the numbers theirs.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LOCKKEEPER_") {
                command.env_remove(name);
            }
        }
        // In the folder that it works in: what earlier runs left would be read, and whoever runs this has their own.
        command.args(["serve", "--listen", &address.to_string(), "--data-dir", "data"]).args(source);
        let started = Instant::now();
        let process = Guarded::start(command.stdout(Stdio::null()).stderr(log))?;
        Ok(Lockkeeper { process, address, started })
    }

    /// Waits until it says that everything was seen, and then until it counts so many locks. Answers how long after
    /// the start each was.
    pub(crate) fn until_complete(&mut self, locks: u32) -> Result<Completed> {
        let (complete, _) = self.until(|status| status.coverage.complete)?;
        let (counted, status) =
            self.until(|status| status.coverage.complete && status.coverage.locks == u64::from(locks))?;
        Ok(Completed { complete, counted, status })
    }

    /// Waits until it is live.
    pub(crate) fn until_live(&mut self) -> Result<SourceStatus> {
        Ok(self.until(|status| status.coverage.complete && status.state == SourceState::Live)?.1)
    }

    fn until(&mut self, passes: impl Fn(&SourceStatus) -> bool) -> Result<(Duration, SourceStatus)> {
        let mut api: Option<Api> = None;
        loop {
            self.process.must_run("lockkeeper")?;
            if self.started.elapsed() > LISTING {
                bail!("wait for lockkeeper: it does not know everything after {} s", LISTING.as_secs());
            }
            match &mut api {
                None => api = Api::open(self.address).ok(),
                Some(api) => {
                    let status = api.source()?;
                    if passes(&status) {
                        return Ok((self.started.elapsed(), status));
                    }
                }
            }
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn api(&self) -> Result<Api> {
        Api::open(self.address)
    }
}

/// When everything was known, counted from the start of the process.
#[derive(Debug)]
pub(crate) struct Completed {
    /// It said so.
    pub(crate) complete: Duration,
    /// And counted all locks.
    pub(crate) counted: Duration,
    pub(crate) status: SourceStatus,
}

/// A process's memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's memory")?;
        let kib = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
                .with_context(|| format!("find `{name}` in a process's status"))
        };
        Ok(Memory { resident: kib("VmRSS:")? * 1024, peak: kib("VmHWM:")? * 1024 })
    }
}

/// Processor time that a process has used so far, by itself and in the kernel.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process's processor time")?;
    // The name in parentheses may hold anything; after it the 12th and 13th fields are user and system time.
    let (_, fields) = stat.rsplit_once(')').context("understand a process's processor time")?;
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    match (ticks.next().flatten(), ticks.next().flatten()) {
        (Some(user), Some(system)) => Ok(Duration::from_secs_f64((user + system) as f64 / ticks_per_second())),
        _ => bail!("understand a process's processor time"),
    }
}

fn ticks_per_second() -> f64 {
    static TICKS: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    *TICKS.get_or_init(|| {
        let output = Command::new("getconf").arg("CLK_TCK").output().ok();
        // On every Linux of the last decades it is this.
        output.and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok()).unwrap_or(100.0)
    })
}

/// How much of a core a process uses while something else happens.
#[derive(Debug)]
pub(crate) struct Load {
    pid: u32,
    used: Duration,
    began: Instant,
}

impl Load {
    pub(crate) fn begin(pid: u32) -> Result<Load> {
        Ok(Load { pid, used: processor_time(pid)?, began: Instant::now() })
    }

    /// Percent of a core since the beginning.
    pub(crate) fn percent(&self) -> Result<f64> {
        let used = processor_time(self.pid)?.saturating_sub(self.used);
        Ok(100.0 * used.as_secs_f64() / self.began.elapsed().as_secs_f64())
    }
}
