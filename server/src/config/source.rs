use std::collections::HashSet;

use lockkeeper_client::report::DEFAULT_STREAM;
use lockkeeper_model::FeedKind;

use super::error::{ConfigError, Given, Place};
use super::file::{SentinelTable, SourceTable, TlsTable};
use super::url::StoreUrl;
use crate::source::redis::{Credentials, RedisConfig, TlsFiles, Topology};
use crate::source::redlock::{MAX_MASTERS, MIN_MASTERS, RedlockConfig};

/// Commands a second that watching does not pass while anybody else uses the store: about half of what a small Redis
/// does, so that a scan of a million keys takes a minute at worst and nobody notices it.
pub const DEFAULT_COMMANDS_PER_SECOND: u64 = 50_000;

/// How often everything is scanned again while a feed is live: a missed notice heals within five minutes, and a
/// million keys cost a scan of a few seconds in that time.
pub const DEFAULT_RECONCILE_MS: i64 = 300_000;

/// The longest key pattern: Redis matches it against every key, and no sensible key is longer.
pub const MAX_PATTERN_BYTES: usize = 512;

/// The longest name of a source: it stands in every row.
pub const MAX_NAME_CHARS: usize = 64;

/// The longest key of the stream with clients' reports: the longest to which the reference client writes.
const MAX_STREAM_BYTES: usize = 1_024;

/// One source to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Shown everywhere; key `name`. Default: derived from the URL, without credentials.
    pub name: String,
    /// Key `url`, flag `--redis`, variable `LOCKKEEPER_REDIS`; of several masters the first.
    pub url: StoreUrl,
    /// Key `urls`, with `kind = "redlock"`: every one of several independent masters. Default: none, it is one store.
    pub masters: Vec<StoreUrl>,
    /// Key `release_url`, or `release_urls` beside `urls`: a credential for each server that is used for releasing alone.
    /// Default: none, the one that watches releases as well.
    pub release_credentials: Vec<Credentials>,
    /// Key `tls`. Default: for `rediss…://` the authorities that the system trusts, and no certificate of our own.
    pub tls: Option<TlsFiles>,
    /// Key `sentinel`. Default: the sentinels want no password.
    pub sentinel_credentials: Credentials,
    /// Key `patterns`, flag `--pattern`, variable `LOCKKEEPER_PATTERN`. Default: none, the built-in catalogue decides.
    pub patterns: Vec<String>,
    /// Key `environment`; `production` asks for more before a release. Default: none.
    pub environment: Option<String>,
    /// Key `budget.commands_per_second`. Default: [`DEFAULT_COMMANDS_PER_SECOND`].
    pub commands_per_second: u64,
    /// Key `feed`. Default: chosen automatically.
    pub feed: Option<FeedKind>,
    /// Key `reconcile`. Default: [`DEFAULT_RECONCILE_MS`].
    pub reconcile_ms: i64,
    /// Key `reports`: the stream in which clients report themselves. Default: none is read.
    pub reports: Option<String>,
}

impl SourceConfig {
    /// A source with nothing but a URL.
    pub(super) fn of_url(url: StoreUrl, patterns: Vec<String>) -> SourceConfig {
        SourceConfig {
            name: url.derived_name(),
            tls: url.is_tls().then(TlsFiles::default),
            sentinel_credentials: Credentials::default(),
            url,
            masters: Vec::new(),
            release_credentials: Vec::new(),
            patterns,
            environment: None,
            commands_per_second: DEFAULT_COMMANDS_PER_SECOND,
            feed: None,
            reconcile_ms: DEFAULT_RECONCILE_MS,
            reports: None,
        }
    }

    /// The demo's source.
    ///
    /// # Errors
    /// When the URL is not that of a Redis.
    pub fn for_demo(url: &url::Url) -> Result<SourceConfig, ConfigError> {
        let url = StoreUrl::parse(&Given::new(url.to_string(), Place::Default("demo")))?;
        let reports = Some(DEFAULT_STREAM.to_owned());
        Ok(SourceConfig { name: "demo".to_owned(), reports, ..SourceConfig::of_url(url, Vec::new()) })
    }

    /// As the source of several masters wants it; `None` for one store.
    #[must_use]
    pub fn to_redlock(&self, release_enabled: bool, trace_limit: Option<u64>, demo: bool) -> Option<RedlockConfig> {
        let master = |(place, url): (usize, &StoreUrl)| {
            let tls = self.tls.clone().filter(|_| url.is_tls()).or_else(|| url.is_tls().then(TlsFiles::default));
            let release_credentials = self.release_credentials.get(place).cloned().into_iter().collect();
            let one =
                SourceConfig { name: url.derived_name(), url: url.clone(), tls, release_credentials, ..self.clone() };
            one.to_redis(release_enabled, trace_limit, demo)
        };
        let masters: Vec<RedisConfig> = self.masters.iter().enumerate().map(master).collect();
        (!masters.is_empty()).then(|| RedlockConfig { name: self.name.clone(), masters })
    }

    /// As the source wants it.
    #[must_use]
    pub fn to_redis(&self, release_enabled: bool, trace_limit: Option<u64>, demo: bool) -> RedisConfig {
        RedisConfig {
            name: self.name.clone(),
            topology: self.url.topology().clone(),
            credentials: self.url.credentials().clone(),
            release_credentials: self.release_credentials.first().cloned(),
            sentinel_credentials: self.sentinel_credentials.clone(),
            tls: self.tls.clone(),
            database: self.url.database(),
            patterns: self.patterns.clone(),
            environment: self.environment.clone(),
            commands_per_second: self.commands_per_second,
            feed: self.feed,
            reconcile_ms: self.reconcile_ms,
            reports: self.reports.clone(),
            release_enabled,
            trace_limit,
            demo,
        }
    }
}

/// The file's sources.
pub(super) fn from_tables(tables: Vec<SourceTable>) -> Result<Vec<SourceConfig>, ConfigError> {
    let mut named = HashSet::new();
    let mut sources = Vec::new();
    let mut unnamed = Vec::new();
    for table in tables {
        let name = table.name.as_ref().map(checked_name).transpose()?;
        if let Some(given) = &table.name
            && !named.insert(given.value.clone())
        {
            return Err(ConfigError::Value {
                place: given.place.clone(),
                value: given.value.clone(),
                expected: "a name that no other source has".to_owned(),
            });
        }
        unnamed.push(name.is_none());
        let mut source = from_table(table)?;
        if let Some(name) = name {
            source.name = name;
        }
        sources.push(source);
    }
    make_unique(&mut sources, &unnamed, named);
    Ok(sources)
}

/// Sources without a file.
pub(super) fn from_urls(urls: Vec<StoreUrl>, patterns: &[String]) -> Vec<SourceConfig> {
    let mut sources: Vec<_> = urls.into_iter().map(|url| SourceConfig::of_url(url, patterns.to_vec())).collect();
    let unnamed = vec![true; sources.len()];
    make_unique(&mut sources, &unnamed, HashSet::new());
    sources
}

/// Checks a key pattern.
pub(super) fn checked_pattern(given: &Given<String>) -> Result<String, ConfigError> {
    if given.value.is_empty() || given.value.len() > MAX_PATTERN_BYTES {
        return Err(ConfigError::Value {
            place: given.place.clone(),
            value: given.value.clone(),
            expected: format!("a key pattern of 1 to {MAX_PATTERN_BYTES} bytes, such as `lock:*`"),
        });
    }
    Ok(given.value.clone())
}

fn from_table(table: SourceTable) -> Result<SourceConfig, ConfigError> {
    let is_redlock = match table.kind {
        None => false,
        Some(kind) if kind.value == "redis" => false,
        Some(kind) if kind.value == "redlock" => true,
        Some(kind) => {
            let expected = "`redis` or `redlock`".to_owned();
            return Err(ConfigError::Value { place: kind.place, value: kind.value, expected });
        }
    };
    let missing = |name: &str, expected| {
        let place = match table.place.clone() {
            Place::Key { file, line, column, key } => Place::Key { file, line, column, key: format!("{key}.{name}") },
            other => other,
        };
        ConfigError::Missing { place, expected }
    };
    let (url, masters) = match (is_redlock, table.url, table.urls) {
        (false, Some(url), None) => (StoreUrl::parse(&url)?, Vec::new()),
        (false, None, None) => return Err(missing("url", "`url = \"redis://…\"`")),
        (false, _, Some(urls)) => {
            return Err(ConfigError::Misplaced { place: urls.place, because: "belongs to `kind = \"redlock\"`" });
        }
        (true, Some(url), _) => {
            let because = "belongs to `kind = \"redis\"`; a Redlock quorum has `urls`";
            return Err(ConfigError::Misplaced { place: url.place, because });
        }
        (true, None, None) => return Err(missing("urls", "`urls = [\"redis://…\", …]`")),
        (true, None, Some(urls)) => {
            let masters = masters(urls)?;
            let Some(first) = masters.first() else { return Err(missing("urls", "`urls = [\"redis://…\", …]`")) };
            (first.clone(), masters)
        }
    };
    let release_credentials = release_credentials(table.release_url, table.release_urls, &url, &masters)?;
    let patterns = table.patterns.iter().map(checked_pattern).collect::<Result<_, _>>()?;
    let defaults = SourceConfig::of_url(url, patterns);
    Ok(SourceConfig {
        name: quorum_name(&masters).unwrap_or(defaults.name),
        tls: table.tls.map(|tls| tls_files(tls, &defaults.url, &masters)).transpose()?.or(defaults.tls),
        masters,
        release_credentials,
        sentinel_credentials: table
            .sentinel
            .map(|sentinel| sentinel_credentials(sentinel, &defaults.url))
            .transpose()?
            .unwrap_or_default(),
        environment: table.environment.map(|environment| environment.value),
        commands_per_second: table.commands_per_second.map_or(defaults.commands_per_second, |given| given.value),
        feed: table.feed.map(feed).transpose()?.flatten(),
        reconcile_ms: table.reconcile_ms.map_or(defaults.reconcile_ms, |given| given.value),
        reports: table.reports.map(checked_stream).transpose()?,
        ..defaults
    })
}

/// The masters of a quorum: enough of them, and each once, because one that is named twice would have two votes.
fn masters(urls: Given<Vec<Given<String>>>) -> Result<Vec<StoreUrl>, ConfigError> {
    if !(MIN_MASTERS..=MAX_MASTERS).contains(&urls.value.len()) {
        return Err(ConfigError::Value {
            place: urls.place,
            value: match urls.value.len() {
                1 => "1 URL".to_owned(),
                n => format!("{n} URLs"),
            },
            expected: format!("{MIN_MASTERS} to {MAX_MASTERS} independent masters"),
        });
    }
    let mut masters: Vec<StoreUrl> = Vec::with_capacity(urls.value.len());
    for given in &urls.value {
        let url = StoreUrl::parse(given)?;
        if !matches!(url.topology(), Topology::Standalone(_)) {
            return Err(ConfigError::Value {
                place: given.place.clone(),
                value: url.to_string(),
                expected: "one independent server, `redis://…` or `rediss://…`".to_owned(),
            });
        }
        if masters.iter().any(|known| known.to_string() == url.to_string()) {
            return Err(ConfigError::Value {
                place: given.place.clone(),
                value: url.derived_name(),
                expected: "a master that is not named before: each has one vote".to_owned(),
            });
        }
        masters.push(url);
    }
    Ok(masters)
}

/// The credentials for releasing alone, one for each server, in the order of their URLs.
fn release_credentials(
    release_url: Option<Given<String>>,
    release_urls: Option<Given<Vec<Given<String>>>>,
    url: &StoreUrl,
    masters: &[StoreUrl],
) -> Result<Vec<Credentials>, ConfigError> {
    let is_redlock = !masters.is_empty();
    match (release_url, release_urls) {
        (Some(given), _) if is_redlock => {
            let because = "belongs to `kind = \"redis\"`; a Redlock quorum has `release_urls`";
            Err(ConfigError::Misplaced { place: given.place, because })
        }
        (_, Some(given)) if !is_redlock => {
            Err(ConfigError::Misplaced { place: given.place, because: "belongs to `kind = \"redlock\"`" })
        }
        (_, Some(given)) if given.value.len() != masters.len() => Err(ConfigError::Value {
            place: given.place,
            value: match given.value.len() {
                1 => "1 URL".to_owned(),
                n => format!("{n} URLs"),
            },
            expected: format!("one for each of the {} in `urls`, in the same order", masters.len()),
        }),
        (_, Some(given)) => {
            given.value.iter().zip(masters).map(|(given, master)| release_credential(given, master)).collect()
        }
        (Some(given), None) => Ok(vec![release_credential(&given, url)?]),
        (None, None) => Ok(Vec::new()),
    }
}

fn with_database(url: &StoreUrl) -> String {
    match url.database() {
        0 => url.to_string(),
        database => format!("{url}/{database}"),
    }
}

/// What is watched and what is released have to be the same, or a comparison would be made with another store.
fn release_credential(given: &Given<String>, url: &StoreUrl) -> Result<Credentials, ConfigError> {
    let releasing = StoreUrl::parse(given)?;
    if !releasing.is_same_store(url) {
        return Err(ConfigError::Value {
            place: given.place.clone(),
            value: with_database(&releasing),
            expected: format!(
                "`{}` with another user and password: it must lead to the store that is watched",
                with_database(url)
            ),
        });
    }
    Ok(releasing.credentials().clone())
}

/// The name of a quorum where none was given: the first master's, and how many more there are.
fn quorum_name(masters: &[StoreUrl]) -> Option<String> {
    let (first, rest) = masters.split_first()?;
    Some(format!("{} and {} more", first.derived_name(), rest.len()))
}

/// Checks the files by reading them: they are read again for each connection, so that a renewed certificate is taken
/// without a restart.
fn tls_files(table: TlsTable, url: &StoreUrl, masters: &[StoreUrl]) -> Result<TlsFiles, ConfigError> {
    if !url.is_tls() && !masters.iter().any(StoreUrl::is_tls) {
        return Err(ConfigError::Unusable {
            place: table.place,
            because: format!("`{url}` does not ask for TLS, as `rediss://` and `rediss-…://` do"),
        });
    }
    let identity = match (&table.cert, &table.key) {
        (Some(cert), Some(key)) => Some((cert.value.clone(), key.value.clone())),
        (None, None) => None,
        (Some(given), None) => {
            return Err(ConfigError::Unusable { place: given.place.clone(), because: "`key` is missing".to_owned() });
        }
        (None, Some(given)) => {
            return Err(ConfigError::Unusable { place: given.place.clone(), because: "`cert` is missing".to_owned() });
        }
    };
    let ca = table.ca.as_ref().map(|ca| ca.value.clone());
    let server_name = table.server_name.map(|name| name.value);
    let files = TlsFiles { ca, identity, server_name };
    files.load().map_err(|because| ConfigError::Unusable { place: table.place, because: because.to_string() })?;
    Ok(files)
}

fn sentinel_credentials(table: SentinelTable, url: &StoreUrl) -> Result<Credentials, ConfigError> {
    match url.topology() {
        Topology::Sentinel { .. } => Ok(table.credentials),
        _ => Err(ConfigError::Unusable {
            place: table.place,
            because: format!("`{url}` has no sentinels, as `redis-sentinel://` has"),
        }),
    }
}

fn feed(given: Given<String>) -> Result<Option<FeedKind>, ConfigError> {
    if given.value == "automatic" {
        return Ok(None);
    }
    [FeedKind::Tracking, FeedKind::Notifications, FeedKind::Polling]
        .into_iter()
        .find(|kind| kind.word() == given.value)
        .map(Some)
        .ok_or_else(|| ConfigError::Value {
            place: given.place,
            value: given.value,
            expected: "one of `automatic`, `tracking`, `notifications`, `polling`".to_owned(),
        })
}

fn checked_stream(given: Given<String>) -> Result<String, ConfigError> {
    if given.value.is_empty() || given.value.len() > MAX_STREAM_BYTES {
        return Err(ConfigError::Value {
            place: given.place,
            value: given.value,
            expected: format!("the key of a stream, of 1 to {MAX_STREAM_BYTES} bytes, such as `{DEFAULT_STREAM}`"),
        });
    }
    Ok(given.value)
}

pub(super) fn checked_name(given: &Given<String>) -> Result<String, ConfigError> {
    let name = &given.value;
    if name.trim() != name
        || name.is_empty()
        || name.chars().count() > MAX_NAME_CHARS
        || lockkeeper_model::words::shown(name) != *name
    {
        return Err(ConfigError::Value {
            place: given.place.clone(),
            value: name.clone(),
            expected: format!("1 to {MAX_NAME_CHARS} visible characters without a space at either end"),
        });
    }
    Ok(name.clone())
}

/// Numbers derived names that are taken already: `localhost:6379`, `localhost:6379 (2)`.
fn make_unique(sources: &mut [SourceConfig], derived: &[bool], mut taken: HashSet<String>) {
    for (source, _) in sources.iter_mut().zip(derived).filter(|(_, derived)| **derived) {
        let base = source.name.clone();
        let mut number = 2;
        while !taken.insert(source.name.clone()) {
            source.name = format!("{base} ({number})");
            number += 1;
        }
    }
}
