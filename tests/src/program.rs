use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::server::{binary, collect};
use crate::{DEADLINE, until};

/// `lockkeeper` with some arguments, to be completed and run. It has none of the variables of whoever runs the tests.
#[derive(Debug)]
pub struct Program {
    command: Command,
    dir: TempDir,
}

/// A program that goes on. Ends with the value.
#[derive(Debug)]
pub struct Running {
    process: Child,
    printed: Arc<Mutex<Vec<String>>>,
    said: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

/// What a program that ended left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it returned.
    pub code: Option<i32>,
    /// What it printed on standard output.
    pub out: String,
    /// What it said on standard error.
    pub err: String,
}

impl Program {
    /// `lockkeeper` with these arguments.
    #[must_use]
    pub fn new(args: &[&str]) -> Program {
        Program::of(binary(), args)
    }

    /// The same on a terminal of its own, where it can ask.
    ///
    /// # Panics
    /// Never: the binary's path is text.
    #[must_use]
    pub fn on_a_terminal(args: &[&str]) -> Program {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let binary = binary().to_str().unwrap().to_owned();
        let line: Vec<String> = std::iter::once(&*binary).chain(args.iter().copied()).map(quoted).collect();
        Program::of("script", &["--quiet", "--return", "--command", &line.join(" "), "/dev/null"])
    }

    fn of(program: impl AsRef<OsStr>, args: &[&str]) -> Program {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOCKKEEPER_")) {
            command.env_remove(name);
        }
        command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", dir.path());
        command.current_dir(dir.path()).args(args).kill_on_drop(true);
        Program { command, dir }
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Program {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run(self) -> Left {
        self.run_with("").await
    }

    /// Runs it to its end; `stdin` is what it reads.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run_with(mut self, stdin: &str) -> Left {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self.command.spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        // A program that reads nothing may be gone by now.
        let _ = input.write_all(stdin.as_bytes()).await;
        drop(input);
        let ended = timeout(DEADLINE, process.wait_with_output()).await.expect("the program to end by itself").unwrap();
        Left::from(&ended)
    }

    /// Runs it to its end while nobody reads what it prints.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn run_unread(mut self) -> Left {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self.command.spawn().unwrap();
        drop(process.stdout.take());
        let ended = timeout(DEADLINE, process.wait_with_output()).await.expect("the program to end by itself").unwrap();
        Left::from(&ended)
    }

    /// Starts it and lets it go on.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self.command.spawn().unwrap();
        let (printed, said) = (Arc::default(), Arc::default());
        collect(process.stdout.take().unwrap(), Arc::clone(&printed));
        collect(process.stderr.take().unwrap(), Arc::clone(&said));
        Running { process, printed, said, _dir: self.dir }
    }
}

impl Running {
    /// Waits until what it printed on standard output passes, and returns the lines.
    ///
    /// # Panics
    /// When it never does.
    pub async fn until_printed(&self, what: &str, passes: impl Fn(&[String]) -> bool) -> Vec<String> {
        until(what, async || self.printed.lock().unwrap().clone(), |lines| passes(lines)).await
    }

    /// Waits until it says this on standard error.
    ///
    /// # Panics
    /// When it never does.
    pub async fn until_said(&self, words: &str) {
        let says = |lines: &Vec<String>| lines.iter().any(|line| line.contains(words));
        until(words, async || self.said.lock().unwrap().clone(), says).await;
    }

    /// Waits until it ends by itself, and returns what it returned.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&mut self) -> Option<i32> {
        timeout(DEADLINE, self.process.wait()).await.expect("the program to end by itself").unwrap().code()
    }
}

impl From<&Output> for Left {
    fn from(output: &Output) -> Left {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Left { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}
