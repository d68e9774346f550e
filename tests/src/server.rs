use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{Api, DEADLINE, RedisServer, store, until, until_some};

/// The `lockkeeper` binary, running. Ends with the value; what it said is shown when the test fails.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: String,
    scheme: &'static str,
    said: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
}

/// Tests release the same lock again at once, and more often than hands can.
pub const HURRIED: &str = "[release]\ncool_down = 0\nattempts_per_minute = 1000000\n";

/// The rules of `docs/security.md`: for the user that watches and for the one that releases.
///
/// # Panics
/// When there are not two.
#[must_use]
pub fn security_acl() -> [Vec<&'static str>; 2] {
    let lines = include_str!("../../docs/security.md").lines();
    let rules: Vec<Vec<&str>> =
        lines.filter_map(|line| line.strip_prefix("ACL ")).map(|line| line.split(' ').collect()).collect();
    rules.try_into().expect("two users")
}

/// How a [`Server`] is to be started.
#[derive(Debug)]
pub struct ServerBuilder {
    command: Command,
    dir: TempDir,
}

impl Server {
    /// One that watches this store and has seen it whole.
    pub async fn watching(redis: &RedisServer) -> Server {
        let server = Server::serve().redis(&redis.url()).start().await;
        server.ready().await;
        server
    }

    /// One that watches this store, has seen it whole and lets people release.
    pub async fn releasing(redis: &RedisServer) -> Server {
        let server = Server::serve().redis(&redis.url()).arg("--allow-release").config(HURRIED).start().await;
        server.ready().await;
        server
    }

    /// One that watches as a user who can change nothing and releases as another, both as `docs/security.md` has them.
    ///
    /// # Panics
    /// When the users cannot be made.
    pub async fn releasing_apart(redis: &RedisServer) -> Server {
        let admin = redis.client().await;
        for rules in security_acl() {
            let _: String = store(&admin, "ACL", rules).await;
        }
        let url = |user: &str| redis.url_as(user, "secret");
        let (watching, releasing) = (url("lockkeeper-watch"), url("lockkeeper-release"));
        let source = format!("[[source]]\nurl = '{watching}'\nrelease_url = '{releasing}'\n{HURRIED}");
        let server = Server::serve().arg("--allow-release").config(&source).start().await;
        server.ready().await;
        server
    }

    /// `lockkeeper serve`, to be completed.
    #[must_use]
    pub fn serve() -> ServerBuilder {
        ServerBuilder::new("serve")
    }

    /// `lockkeeper demo`, to be completed.
    #[must_use]
    pub fn demo() -> ServerBuilder {
        ServerBuilder::new("demo")
    }

    /// `lockkeeper audit`, to be completed.
    #[must_use]
    pub fn audit() -> ServerBuilder {
        ServerBuilder::new("audit")
    }

    /// Waits until every source was seen whole.
    pub async fn ready(&self) {
        let api = self.api();
        until("the server to be ready", async || api.get("/readyz").await, |answer| answer.status == 200).await;
    }

    /// Asks it.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.address)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The dashboard.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    /// Everything it wrote so far.
    ///
    /// # Panics
    /// Never while nobody else did.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id().expect("a running server")
    }

    /// Changes its configuration file and asks it to read that again.
    ///
    /// # Panics
    /// When it cannot be written, or nobody can be asked.
    pub async fn reconfigure(&self, toml: &str) {
        std::fs::write(self.dir.path().join("lockkeeper.toml"), toml).unwrap();
        self.signal("-HUP").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }

    /// Asks it to stop, as Ctrl-C does, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("-INT").await;
        timeout(DEADLINE, self.process.wait()).await.expect("the server to end when asked to").unwrap()
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server said:\n{}\n---", self.said());
        }
    }
}

impl ServerBuilder {
    fn new(subcommand: &str) -> ServerBuilder {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOCKKEEPER_")) {
            command.env_remove(name);
        }
        // In a folder of its own: a `lockkeeper.toml` in the working directory would be read.
        // What it keeps goes there too, unless it is told otherwise.
        command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", dir.path());
        command.current_dir(dir.path()).arg(subcommand).stdin(Stdio::null()).kill_on_drop(true);
        ServerBuilder { command, dir }
    }

    /// A store to watch.
    #[must_use]
    pub fn redis(self, url: &str) -> ServerBuilder {
        self.arg("--redis").arg(url)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> ServerBuilder {
        self.command.arg(arg);
        self
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> ServerBuilder {
        self.command.env(name, value);
        self
    }

    /// The text of its configuration file.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn config(self, toml: &str) -> ServerBuilder {
        std::fs::write(self.dir.path().join("lockkeeper.toml"), toml).unwrap();
        self
    }

    /// Starts it on a free port and waits until it serves, whatever the state of its sources.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(self) -> Server {
        self.arg("--listen").arg("127.0.0.1:0").start_where_it_is_told().await
    }

    /// As [`Self::start`], with `--listen` left to the caller.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn start_where_it_is_told(mut self) -> Server {
        let mut process = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the lockkeeper binary; `cargo xtask test` builds it");
        let said = Arc::default();
        collect(process.stdout.take().unwrap(), Arc::clone(&said));
        collect(process.stderr.take().unwrap(), Arc::clone(&said));
        let mut server = Server { process, address: String::new(), scheme: "http", said, dir: self.dir };
        (server.scheme, server.address) = until_some("the server to say where it serves", async || {
            if let Some(status) = server.process.try_wait().unwrap() {
                panic!("the server ended with {status} before it served");
            }
            announced(&server.said())
        })
        .await;
        server
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run(mut self) -> Output {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        timeout(DEADLINE, self.command.output()).await.expect("the server to end by itself").unwrap()
    }
}

/// The address in ``… on http://127.0.0.1:7420/``.
fn announced(said: &str) -> Option<(&'static str, String)> {
    let line = said.lines().find(|line| line.starts_with("Lockkeeper "))?;
    let (before, rest) = line.split_once("://")?;
    let scheme = if before.ends_with("https") { "https" } else { "http" };
    Some((scheme, rest.trim_end_matches('/').to_owned()))
}

/// Runs `lockkeeper` with these arguments to its end; `stdin` is what it reads.
///
/// # Panics
/// When it does not end.
pub async fn lockkeeper(args: &[&str], stdin: &str) -> Output {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(binary());
    command.current_dir(dir.path()).args(args).stdin(Stdio::piped()).kill_on_drop(true);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    // A program that reads nothing may be gone by now.
    let _ = input.write_all(stdin.as_bytes()).await;
    drop(input);
    timeout(DEADLINE, process.wait_with_output()).await.expect("the program to end by itself").unwrap()
}

fn collect(from: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<Vec<String>>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            into.lock().unwrap().push(line);
        }
    });
}

/// The binary under test: the one that `cargo xtask test` built, or whichever was built last.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("LOCKKEEPER_BIN") {
        return named.into();
    }
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    let mut built: Vec<_> = ["debug", "release"]
        .iter()
        .map(|profile| target.join(profile).join("lockkeeper"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    built.sort();
    built.pop().expect("a lockkeeper binary; `cargo build` makes one").1
}
