use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use super::error::{Given, Place};
use crate::manage::{TokenCommand, UserCommand};
use crate::recorder::audit::command::AuditArguments;
use crate::terminal::TerminalCommand;

/// Shows who holds every distributed lock in Redis, live, and releases a stuck one safely.
#[derive(Debug, Parser)]
#[command(name = "lockkeeper", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: CommandArguments,

    /// How log lines are written to standard error. What is logged is chosen by `LOCKKEEPER_LOG`, for example
    /// `info` (the default), `debug` or `info,lockkeeper::source=debug`.
    #[arg(long, global = true, value_enum, env = "LOCKKEEPER_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum CommandArguments {
    /// Watches the given sources and serves the dashboard.
    Serve(ServeArguments),
    /// Starts a throw-away Redis with busy locks, and the dashboard on it. Releasing is on unless switched off.
    Demo(DemoArguments),
    #[command(flatten)]
    Terminal(Box<TerminalCommand>),
    /// Reads who released what, when and why, and checks that nobody changed it.
    Audit(AuditArguments),
    /// Adds, removes and lists local users, who sign in with a password.
    #[command(subcommand)]
    User(UserCommand),
    /// Makes, revokes and lists API tokens, which programs send as `Authorization: Bearer …`.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// The configuration file; without it, `lockkeeper.toml` in the working directory if there is one.
    #[arg(long, value_name = "FILE", env = "LOCKKEEPER_CONFIG")]
    config: Option<PathBuf>,

    /// A Redis to watch: `redis://[[user]:password@]host[:port][/db]`, `redis-sentinel://…host,host/primary[/db]` or
    /// `redis-cluster://…host,host`, and `rediss…://` for TLS; give it again for a second one. In the
    /// environment, spaces separate several. Replaces the file's sources. Without any source:
    /// redis://127.0.0.1:6379.
    #[arg(long, value_name = "URL", env = "LOCKKEEPER_REDIS", hide_env_values = true)]
    redis: Vec<String>,

    /// Keys that are locks, as Redis globs; without any, the built-in catalogue of lock libraries decides. Applies to
    /// the sources given by `--redis`. In the environment, spaces separate several.
    #[arg(long, value_name = "GLOB", env = "LOCKKEEPER_PATTERN")]
    pattern: Vec<String>,

    /// Where the audit is kept: who released what, when and why. Without it `$STATE_DIRECTORY`,
    /// `$XDG_STATE_HOME/lockkeeper` or `~/.local/state/lockkeeper`. Made where it is missing.
    #[arg(long, value_name = "DIR", env = "LOCKKEEPER_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// A PostgreSQL in which the audit, the history and notes are kept instead, and which several servers may share:
    /// `postgres://[user[:password]@]host[:port]/database[?sslmode=verify-full]`.
    #[arg(long, value_name = "URL", env = "LOCKKEEPER_STORE", hide_env_values = true)]
    store: Option<String>,

    #[command(flatten)]
    rim: RimArguments,
}

#[derive(Debug, Args)]
struct DemoArguments {
    #[command(flatten)]
    rim: RimArguments,
}

/// What both ways of serving share.
#[derive(Debug, Args)]
struct RimArguments {
    /// Where the dashboard is served [default: 127.0.0.1:7420].
    #[arg(long, value_name = "ADDRESS", env = "LOCKKEEPER_LISTEN")]
    listen: Option<String>,

    /// Lets people release locks.
    #[arg(
        long,
        value_name = "BOOL",
        env = "LOCKKEEPER_ALLOW_RELEASE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
    )]
    allow_release: Option<bool>,

    /// Lets people look at every command of a source for up to ten seconds, to see who tries for a lock in vain and
    /// whose connection holds one. While that lasts it costs the store up to half of its throughput.
    #[arg(
        long,
        value_name = "BOOL",
        env = "LOCKKEEPER_ALLOW_TRACE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
    )]
    allow_trace: Option<bool>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line and the environment ask for, before the file is known.
#[derive(Debug)]
pub struct CommandLine {
    /// What to do.
    pub command: Command,
    /// How log lines are written.
    pub log_format: Option<Given<LogFormat>>,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Watch what is configured.
    Serve(Settings),
    /// Watch a throw-away Redis.
    Demo(Settings),
    /// Ask a running server.
    Terminal(Box<TerminalCommand>),
    /// Read the audit.
    Audit(AuditArguments),
    /// Change or list local users.
    User(UserCommand),
    /// Change or list API tokens.
    Token(TokenCommand),
}

/// Settings that were given, each with the place; the rest is left to the file and to the defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--config`
    pub config: Option<Given<PathBuf>>,
    /// `--redis`
    pub redis: Vec<Given<String>>,
    /// `--pattern`
    pub patterns: Vec<Given<String>>,
    /// `--listen`
    pub listen: Option<Given<String>>,
    /// `--allow-release`
    pub allow_release: Option<Given<bool>>,
    /// `--allow-trace`
    pub allow_trace: Option<Given<bool>>,
    /// `--data-dir`
    pub data_dir: Option<Given<PathBuf>>,
    /// `--store`
    pub store: Option<Given<String>>,
}

impl CommandLine {
    /// Reads the arguments, and the environment where they are silent.
    ///
    /// # Errors
    /// Also for `--help` and `--version`: [`clap::Error::exit`] does what is right for each.
    pub fn read<I, T>(arguments: I) -> Result<CommandLine, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let matches = Arguments::command().try_get_matches_from(arguments)?;
        let arguments = Arguments::from_arg_matches(&matches)?;
        let Some((_, given)) = matches.subcommand() else {
            // clap has refused a missing subcommand already.
            return Err(Arguments::command().error(clap::error::ErrorKind::MissingSubcommand, "a command is needed"));
        };
        let log_format = arguments.log_format.map(|format| {
            let from = if matches.value_source("log_format").is_some() { &matches } else { given };
            Given::new(format, place(from, "log_format", "--log-format", "LOCKKEEPER_LOG_FORMAT"))
        });
        let command = match arguments.command {
            CommandArguments::Serve(serve) => Command::Serve(serve.settings(given)),
            CommandArguments::Demo(demo) => {
                let mut settings = Settings::default();
                demo.rim.fill(&mut settings, given);
                Command::Demo(settings)
            }
            CommandArguments::Terminal(command) => Command::Terminal(command),
            CommandArguments::Audit(audit) => Command::Audit(audit),
            CommandArguments::User(command) => Command::User(command),
            CommandArguments::Token(command) => Command::Token(command),
        };
        Ok(CommandLine { command, log_format })
    }
}

impl ServeArguments {
    fn settings(self, given: &ArgMatches) -> Settings {
        let mut settings = Settings {
            config: self.config.map(|file| Given::new(file, place(given, "config", "--config", "LOCKKEEPER_CONFIG"))),
            redis: several(self.redis, place(given, "redis", "--redis", "LOCKKEEPER_REDIS")),
            patterns: several(self.pattern, place(given, "pattern", "--pattern", "LOCKKEEPER_PATTERN")),
            data_dir: self
                .data_dir
                .map(|dir| Given::new(dir, place(given, "data_dir", "--data-dir", "LOCKKEEPER_DATA_DIR"))),
            store: self
                .store
                .filter(|store| !store.trim().is_empty())
                .map(|store| Given::new(store, place(given, "store", "--store", "LOCKKEEPER_STORE"))),
            ..Settings::default()
        };
        self.rim.fill(&mut settings, given);
        settings
    }
}

impl RimArguments {
    fn fill(self, settings: &mut Settings, given: &ArgMatches) {
        settings.listen =
            self.listen.map(|listen| Given::new(listen, place(given, "listen", "--listen", "LOCKKEEPER_LISTEN")));
        settings.allow_release = self.allow_release.map(|allow| {
            Given::new(allow, place(given, "allow_release", "--allow-release", "LOCKKEEPER_ALLOW_RELEASE"))
        });
        settings.allow_trace = self
            .allow_trace
            .map(|allow| Given::new(allow, place(given, "allow_trace", "--allow-trace", "LOCKKEEPER_ALLOW_TRACE")));
    }
}

fn place(given: &ArgMatches, id: &str, flag: &'static str, variable: &'static str) -> Place {
    match given.value_source(id) {
        Some(ValueSource::EnvVariable) => Place::Variable(variable),
        _ => Place::Flag(flag),
    }
}

/// A flag is repeated; a variable cannot be, so spaces separate its values. An empty variable is an unset one.
fn several(values: Vec<String>, place: Place) -> Vec<Given<String>> {
    match place {
        Place::Variable(_) => values
            .iter()
            .flat_map(|value| value.split_whitespace())
            .map(|value| Given::new(value.to_owned(), place.clone()))
            .collect(),
        _ => values.into_iter().map(|value| Given::new(value, place.clone())).collect(),
    }
}

/// The whole command line, for what tells of it.
#[must_use]
pub fn command_line() -> clap::Command {
    Arguments::command()
}

/// A complaint of the command line's parser without what follows `://` on its lines: it quotes what it does not
/// understand, which may be a URL with a password in the wrong place.
#[must_use]
pub fn without_urls(complaint: &str) -> String {
    let mut out = String::new();
    for line in complaint.lines() {
        match line.split_once("://") {
            Some((before, _)) => out.push_str(&format!("{before}://…\n")),
            None => out.push_str(&format!("{line}\n")),
        }
    }
    out
}
