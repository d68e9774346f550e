//! What the server was told: flags over environment over `lockkeeper.toml` over defaults, parsed once and checked
//! before any port is bound or any store is spoken to.

mod access;
mod audit;
mod cli;
mod data_dir;
mod error;
mod file;
mod format;
mod history;
mod link;
mod listen;
mod operating;
mod release;
mod role;
mod source;
#[cfg(test)]
mod tests;
mod url;
mod warning;
mod webhook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::url::Url;
pub use cli::{Command, CommandLine, LogFormat, Settings, command_line, without_urls};
pub use data_dir::default_data_dir;
pub use error::{ConfigError, Given, Place};
use file::File;
pub use link::{Link, PLACES};
use lockkeeper_model::LockId;
pub use source::{DEFAULT_COMMANDS_PER_SECOND, DEFAULT_RECONCILE_MS, MAX_NAME_CHARS, MAX_PATTERN_BYTES, SourceConfig};
pub use url::StoreUrl;

use crate::access::Policy;
use crate::recorder::audit::Webhook;
use crate::recorder::db::Target;
use crate::recorder::history::Limits;
use crate::release::Rules;
use crate::source::redis::Format;
use crate::tls::Identity;
use crate::warning::{self as warnings, Hook};

/// The file that is read without being named, if it is in the working directory.
pub const DEFAULT_FILE: &str = "lockkeeper.toml";

/// Where the dashboard is served unless told otherwise: this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";

/// The source that is watched when none is named.
pub const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379";

/// The busiest source that is traced unless told otherwise: a trace can halve what a Redis gets done, and at a fifth of
/// the hundred thousand commands a second that one core does there is room for that.
pub const DEFAULT_TRACE_MAX_COMMANDS_PER_SECOND: u64 = 20_000;

/// How to serve. `Debug` never shows a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Flag `--listen`, variable `LOCKKEEPER_LISTEN`, key `listen`. Default: [`DEFAULT_LISTEN`].
    pub listen: SocketAddr,
    /// Flag `--allow-release`, variable `LOCKKEEPER_ALLOW_RELEASE`, key `release.enabled`. Default: off; on in the
    /// demo, whose locks are invented. The other keys of `[release]` say what is asked of whoever releases.
    pub release: Rules,
    /// Flag `--allow-trace`, variable `LOCKKEEPER_ALLOW_TRACE`, key `trace.enabled`. Default: off.
    pub trace_enabled: bool,
    /// Key `trace.max_commands_per_second`: no trace begins, or goes on, on a source that is busier than this.
    /// Default: [`DEFAULT_TRACE_MAX_COMMANDS_PER_SECOND`].
    pub trace_max_commands_per_second: u64,
    /// Flag `--data-dir`, variable `LOCKKEEPER_DATA_DIR`, key `data_dir`: where the audit and the history are
    /// kept. Default:
    /// [`default_data_dir`]; the demo keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Flag `--store`, variable `LOCKKEEPER_STORE`, key `store`: the PostgreSQL in which the audit, the history and notes are
    /// kept instead, and which several servers may share. Default: none.
    pub store: Option<Target>,
    /// Keys `audit.webhook` and `audit.webhook_secret_file`: whom to tell of every entry of the audit. Default: nobody.
    pub audit_webhook: Option<Webhook>,
    /// Keys `history.keep_days` and `history.max_mb`: how much of what happened is kept in the data folder. Default: 30 days
    /// and 2,048 MB, whichever is less.
    pub history: Limits,
    /// Flag `--log-format`, variable `LOCKKEEPER_LOG_FORMAT`, key `log_format`. Default: text.
    pub log_format: LogFormat,
    /// Key `[[source]]`, or the flags `--redis` and `--pattern`. Never empty, except for the demo, which brings its own.
    pub sources: Vec<SourceConfig>,
    /// Key `[[format]]`: ways of storing locks beyond the built-in ones. Default: none.
    pub formats: Vec<Format>,
    /// Key `[[link]]`: where else there is something to read about a lock. Default: none.
    pub links: Vec<Link>,
    /// Key `[[role]]`: who may see and do what. Default: no roles, so that whoever is known may do nothing. Means nothing
    /// to whoever reaches a server that asks nobody who they are.
    pub policy: Policy,
    /// Key `[access]`: who may come. Default: everybody on this machine.
    pub access: crate::access::Settings,
    /// Key `[tls]`: the certificate to serve with. Default: none, and no TLS.
    pub tls: Option<Identity>,
    /// Key `metrics.locks`: locks that have series of their own among the metrics, in whichever source they are. Default:
    /// none.
    pub charted: Vec<LockId>,
    /// Key `[[warning]]`: how rules of warnings are applied where the defaults do not fit. Default: the defaults.
    pub warnings: warnings::Rules,
    /// Key `[[webhook]]`: whom to tell of warnings. Default: nobody.
    pub webhooks: Vec<Hook>,
    /// Key `telemetry.otlp`: where traces of requests are sent, without `/v1/traces`. Default: nowhere.
    pub otlp: Option<Url>,
}

/// The files of users and of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFiles {
    /// Key `access.users_file`.
    pub users: Option<PathBuf>,
    /// Key `access.tokens_file`.
    pub tokens: Option<PathBuf>,
    /// The names of the roles.
    pub roles: Vec<String>,
}

impl AccessFiles {
    /// What the configuration says of them; nothing where there is none.
    ///
    /// # Errors
    /// Names the file, the line and the key; the value; and what is expected.
    pub fn read(config: Option<&Path>) -> Result<AccessFiles, ConfigError> {
        let Some(file) = read_file(config)? else { return Ok(AccessFiles::default()) };
        let roles = file.roles.iter().map(|role| role.name().to_owned()).collect();
        let Some(access) = file.access else { return Ok(AccessFiles { roles, ..AccessFiles::default() }) };
        let path = |given: Option<Given<PathBuf>>| given.map(|given| given.value);
        Ok(AccessFiles { users: path(access.users_file), tokens: path(access.tokens_file), roles })
    }
}

/// The file that is named, or the one that is read without being named.
fn read_file(named: Option<&Path>) -> Result<Option<File>, ConfigError> {
    match named {
        Some(named) => File::read(named).map(Some),
        None if Path::new(DEFAULT_FILE).exists() => File::read(Path::new(DEFAULT_FILE)).map(Some),
        None => Ok(None),
    }
}

impl Config {
    /// The busiest source that may be traced, in commands a second; `None`: tracing is switched off.
    #[must_use]
    pub fn trace_limit(&self) -> Option<u64> {
        self.trace_enabled.then_some(self.trace_max_commands_per_second)
    }

    /// What `lockkeeper serve` is to do; reads the file that applies.
    ///
    /// # Errors
    /// Names the file, the line and the key, or the flag or variable; the value; and what is expected.
    pub fn for_serve(settings: Settings, log_format: Option<Given<LogFormat>>) -> Result<Config, ConfigError> {
        let file = read_file(settings.config.as_ref().map(|named| named.value.as_path()))?;
        Config::merge(settings, file.unwrap_or_default(), log_format)
    }

    /// What `lockkeeper demo` is to do. It reads no file: a demo looks the same everywhere.
    ///
    /// # Errors
    /// Names the flag or variable, the value, and what is expected.
    pub fn for_demo(settings: Settings, log_format: Option<Given<LogFormat>>) -> Result<Config, ConfigError> {
        Ok(Config {
            listen: listen::resolve(settings.listen, false)?,
            release: Rules::with_releasing(settings.allow_release.is_none_or(|allow| allow.value)),
            trace_enabled: settings.allow_trace.is_none_or(|allow| allow.value),
            trace_max_commands_per_second: DEFAULT_TRACE_MAX_COMMANDS_PER_SECOND,
            data_dir: None,
            store: None,
            audit_webhook: None,
            history: Limits::default(),
            log_format: log_format.map_or(LogFormat::Text, |format| format.value),
            sources: Vec::new(),
            formats: Vec::new(),
            links: Vec::new(),
            access: crate::access::Settings::default(),
            tls: None,
            charted: Vec::new(),
            warnings: warnings::Rules::default(),
            webhooks: Vec::new(),
            otlp: None,
            policy: Policy::default(),
        })
    }

    fn merge(settings: Settings, file: File, log_format: Option<Given<LogFormat>>) -> Result<Config, ConfigError> {
        let sources = if settings.redis.is_empty() && !file.sources.is_empty() {
            if let Some(pattern) = settings.patterns.into_iter().next() {
                return Err(ConfigError::PatternsWithoutSource { place: pattern.place, file: file.path });
            }
            source::from_tables(file.sources)?
        } else {
            let mut urls = settings.redis;
            if urls.is_empty() {
                urls.push(Given::new(DEFAULT_REDIS.to_owned(), Place::Default("--redis")));
            }
            let urls = urls.iter().map(StoreUrl::parse).collect::<Result<Vec<_>, _>>()?;
            let patterns = settings.patterns.iter().map(source::checked_pattern).collect::<Result<Vec<_>, _>>()?;
            source::from_urls(urls, &patterns)
        };
        let policy = role::policy(file.roles, &sources, file.access.is_some())?;
        let warnings = warning::rules(file.warnings, &sources)?;
        let tls = access::identity(file.tls)?;
        let access = access::settings(file.access, &policy, tls.is_some())?;
        Ok(Config {
            listen: listen::resolve(settings.listen.or(file.listen), access.is_configured())?,
            release: release::rules(file.release, settings.allow_release, access.knows_people())?,
            trace_enabled: settings.allow_trace.or(file.trace_enabled).is_some_and(|allow| allow.value),
            trace_max_commands_per_second: file
                .trace_max_commands_per_second
                .map_or(DEFAULT_TRACE_MAX_COMMANDS_PER_SECOND, |given| given.value),
            data_dir: settings.data_dir.or(file.data_dir).map(checked_dir).transpose()?,
            store: settings.store.or(file.store).map(checked_store).transpose()?,
            audit_webhook: file.audit_webhook,
            history: file.history,
            log_format: log_format.or(file.log_format).map_or(LogFormat::Text, |format| format.value),
            sources,
            formats: file.formats,
            links: file.links,
            access,
            tls,
            charted: file.charted,
            warnings,
            webhooks: file.webhooks,
            otlp: file.otlp,
            policy,
        })
    }
}

fn checked_store(given: Given<String>) -> Result<Target, ConfigError> {
    Target::parse(&given.value).map_err(|because| ConfigError::Url { place: given.place, because: because.to_string() })
}

fn checked_dir(given: Given<PathBuf>) -> Result<PathBuf, ConfigError> {
    if given.value.exists() && !given.value.is_dir() {
        return Err(ConfigError::Value {
            place: given.place,
            value: given.value.display().to_string(),
            expected: "a folder".to_owned(),
        });
    }
    Ok(given.value)
}
