//! A real PostgreSQL of a test's own. Knows nothing but the standard library and `tempfile`, because the server's own tests
//! use it, too.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Somebody else may take a free port first; three times in a row is not chance.
const ATTEMPTS: usize = 3;

/// Where Debian has what is not on the `PATH`, a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A real PostgreSQL, without syncing to the disk: no test takes away its power. Ends with the value.
#[derive(Debug)]
pub struct PostgresServer {
    dir: TempDir,
    port: u16,
}

impl PostgresServer {
    /// One that trusts whoever comes, with an empty database `lockkeeper`.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn start() -> PostgresServer {
        let dir = TempDir::new().unwrap();
        if let Some((user, group)) = other_user() {
            std::os::unix::fs::chown(dir.path(), Some(user), Some(group)).unwrap();
        }
        let mut server = PostgresServer { dir, port: 0 };
        let arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
        let made = command("initdb").args(arguments).arg(server.data()).output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let runs = (0..ATTEMPTS).any(|_| {
            server.port = free_port();
            server.try_start()
        });
        assert!(runs, "PostgreSQL does not run: {}", server.log());
        server.sql("postgres", "CREATE DATABASE lockkeeper");
        server
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/lockkeeper", self.port)
    }

    /// Ends it as an administrator does: connections are cut, everything is written.
    pub fn stop(&self) {
        self.end("fast");
    }

    /// Runs it again, on the same port.
    ///
    /// # Panics
    /// When it does not run.
    pub fn start_again(&self) {
        assert!(self.try_start(), "PostgreSQL does not run: {}", self.log());
    }

    /// What statements print, in this database: columns separated by `|`.
    ///
    /// # Panics
    /// When they fail.
    pub fn ask(&self, sql: &str) -> String {
        self.sql("lockkeeper", sql)
    }

    /// Whether a statement fails.
    #[must_use]
    pub fn refuses(&self, sql: &str) -> bool {
        !self.run("lockkeeper", sql).status.success()
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let said = self.run(database, sql);
        assert!(said.status.success(), "{sql}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    fn run(&self, database: &str, sql: &str) -> Output {
        command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-p"])
            .args([&self.port.to_string(), "-d", database, "-c", sql])
            .output()
            .expect("psql runs")
    }

    fn try_start(&self) -> bool {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60",
            self.port,
            self.dir.path().display()
        );
        let arguments = ["--wait", "--silent", "-t", "60", "-o", &options, "-D"];
        let mut start = command("pg_ctl");
        start.args(["start", "-l"]).arg(self.dir.path().join("log")).args(arguments).arg(self.data());
        start.status().expect("pg_ctl runs").success()
    }

    fn end(&self, mode: &str) {
        let arguments = ["stop", "--wait", "--silent", "-t", "60", "-m", mode, "-D"];
        // What does not run any more need not be ended.
        let _ = command("pg_ctl").args(arguments).arg(self.data()).output();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.end("immediate");
    }
}

/// One of PostgreSQL's programs, as a user that it runs as.
fn command(program: &str) -> Command {
    let mut command = Command::new(find(program));
    // Whoever it runs as may not be allowed to see the folder of the test.
    command.current_dir("/");
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// The newest one.
fn find(program: &str) -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let found = versions.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let path = version.path().join("bin").join(program);
        path.is_file().then_some((number, path))
    });
    found.max().map_or_else(|| program.into(), |(_, path)| path)
}

/// PostgreSQL refuses to run as root: user and group of somebody else, if we are.
fn other_user() -> Option<(u32, u32)> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    is_root.then(|| account("postgres").or_else(|| account("nobody")).expect("a user other than root"))
}

fn account(name: &str) -> Option<(u32, u32)> {
    let accounts = std::fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
