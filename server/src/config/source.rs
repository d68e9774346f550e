use std::collections::HashSet;

use lockkeeper_model::FeedKind;

use super::error::{ConfigError, Given, Place};
use super::file::SourceTable;
use super::url::StoreUrl;
use crate::source::redis::RedisConfig;

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

/// One source to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Shown everywhere; key `name`. Default: derived from the URL, without credentials.
    pub name: String,
    /// Key `url`, flag `--redis`, variable `LOCKKEEPER_REDIS`.
    pub url: StoreUrl,
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
}

impl SourceConfig {
    /// A source with nothing but a URL.
    pub(super) fn of_url(url: StoreUrl, patterns: Vec<String>) -> SourceConfig {
        SourceConfig {
            name: url.derived_name(),
            url,
            patterns,
            environment: None,
            commands_per_second: DEFAULT_COMMANDS_PER_SECOND,
            feed: None,
            reconcile_ms: DEFAULT_RECONCILE_MS,
        }
    }

    /// The demo's source.
    ///
    /// # Errors
    /// When the URL is not that of a Redis.
    pub fn for_demo(url: &url::Url) -> Result<SourceConfig, ConfigError> {
        let url = StoreUrl::parse(&Given::new(url.to_string(), Place::Default("demo")))?;
        Ok(SourceConfig { name: "demo".to_owned(), ..SourceConfig::of_url(url, Vec::new()) })
    }

    /// As the source wants it.
    #[must_use]
    pub fn to_redis(&self, release_enabled: bool, trace_limit: Option<u64>, demo: bool) -> RedisConfig {
        RedisConfig {
            name: self.name.clone(),
            url: self.url.expose().clone(),
            patterns: self.patterns.clone(),
            environment: self.environment.clone(),
            commands_per_second: self.commands_per_second,
            feed: self.feed,
            reconcile_ms: self.reconcile_ms,
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
    match table.kind {
        None => {}
        Some(kind) if kind.value == "redis" => {}
        Some(kind) if kind.value == "redlock" => {
            return Err(ConfigError::NotYet { place: kind.place, what: "a Redlock quorum (`kind = \"redlock\"`)" });
        }
        Some(kind) => {
            return Err(ConfigError::Value { place: kind.place, value: kind.value, expected: "`redis`".to_owned() });
        }
    }
    if let Some(place) = table.urls {
        return Err(ConfigError::NotYet { place, what: "several URLs for one source (`urls`)" });
    }
    let Some(url) = table.url else {
        let place = match table.place {
            Place::Key { file, line, column, key } => Place::Key { file, line, column, key: format!("{key}.url") },
            other => other,
        };
        return Err(ConfigError::Missing { place, expected: "`url = \"redis://…\"`" });
    };
    let patterns = table.patterns.iter().map(checked_pattern).collect::<Result<_, _>>()?;
    let defaults = SourceConfig::of_url(StoreUrl::parse(&url)?, patterns);
    Ok(SourceConfig {
        environment: table.environment.map(|environment| environment.value),
        commands_per_second: table.commands_per_second.map_or(defaults.commands_per_second, |given| given.value),
        feed: table.feed.map(feed).transpose()?.flatten(),
        reconcile_ms: table.reconcile_ms.map_or(defaults.reconcile_ms, |given| given.value),
        ..defaults
    })
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

fn checked_name(given: &Given<String>) -> Result<String, ConfigError> {
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
