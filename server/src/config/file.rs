//! `lockkeeper.toml`, read by hand rather than through serde: every value keeps its line and column, and no message
//! of a parser that repeats the offending value can carry a password to the screen.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ::url::Url;
use lockkeeper_model::LockId;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::{self, AccessTable};
use super::audit;
use super::cli::LogFormat;
use super::error::{ConfigError, Given, Place};
use super::format;
use super::history;
use super::link::{self, Link};
use super::operating;
use super::release::{self, ReleaseTable};
use super::role::{self, RoleTable};
use super::warning::{self, WarningTable};
use super::webhook;
use crate::recorder::audit::Webhook;
use crate::recorder::history::Limits;
use crate::source::redis::{Credentials, Format};
use crate::warning::Hook;

const KEYS: &[&str] = &[
    "listen",
    "data_dir",
    "store",
    "log_format",
    "source",
    "format",
    "link",
    "access",
    "role",
    "tls",
    "release",
    "trace",
    "audit",
    "history",
    "metrics",
    "telemetry",
    "warning",
    "webhook",
];
const SOURCE_KEYS: &[&str] = &[
    "name",
    "kind",
    "url",
    "urls",
    "release_url",
    "release_urls",
    "tls",
    "sentinel",
    "patterns",
    "environment",
    "budget",
    "feed",
    "reconcile",
    "reports",
];
const TLS_KEYS: &[&str] = &["ca", "cert", "key", "server_name"];
const SENTINEL_KEYS: &[&str] = &["user", "password"];
const BUDGET_KEYS: &[&str] = &["commands_per_second"];
const TRACE_KEYS: &[&str] = &["enabled", "max_commands_per_second"];

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) listen: Option<Given<String>>,
    pub(super) data_dir: Option<Given<PathBuf>>,
    pub(super) store: Option<Given<String>>,
    pub(super) log_format: Option<Given<LogFormat>>,
    pub(super) release: ReleaseTable,
    pub(super) trace_enabled: Option<Given<bool>>,
    pub(super) trace_max_commands_per_second: Option<Given<u64>>,
    pub(super) audit_webhook: Option<Webhook>,
    pub(super) history: Limits,
    pub(super) sources: Vec<SourceTable>,
    pub(super) formats: Vec<Format>,
    pub(super) links: Vec<Link>,
    pub(super) access: Option<AccessTable>,
    pub(super) tls: Option<TlsTable>,
    pub(super) roles: Vec<RoleTable>,
    pub(super) charted: Vec<LockId>,
    pub(super) otlp: Option<Url>,
    pub(super) warnings: Vec<WarningTable>,
    pub(super) webhooks: Vec<Hook>,
}

/// One `[[source]]`.
#[derive(Debug)]
pub(super) struct SourceTable {
    /// Where the table begins.
    pub(super) place: Place,
    pub(super) name: Option<Given<String>>,
    pub(super) kind: Option<Given<String>>,
    pub(super) url: Option<Given<String>>,
    pub(super) urls: Option<Given<Vec<Given<String>>>>,
    pub(super) release_url: Option<Given<String>>,
    pub(super) release_urls: Option<Given<Vec<Given<String>>>>,
    pub(super) tls: Option<TlsTable>,
    pub(super) sentinel: Option<SentinelTable>,
    pub(super) patterns: Vec<Given<String>>,
    pub(super) environment: Option<Given<String>>,
    pub(super) commands_per_second: Option<Given<u64>>,
    pub(super) feed: Option<Given<String>>,
    pub(super) reconcile_ms: Option<Given<i64>>,
    pub(super) reports: Option<Given<String>>,
}

/// `tls = { … }` of a source.
#[derive(Debug)]
pub(super) struct TlsTable {
    pub(super) place: Place,
    pub(super) ca: Option<Given<PathBuf>>,
    pub(super) cert: Option<Given<PathBuf>>,
    pub(super) key: Option<Given<PathBuf>>,
    pub(super) server_name: Option<Given<String>>,
}

/// `sentinel = { … }` of a source: what the sentinels want to be told, as against the store.
#[derive(Debug)]
pub(super) struct SentinelTable {
    pub(super) place: Place,
    pub(super) credentials: Credentials,
}

impl File {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { file: path.to_owned(), because: error.to_string() })?;
        File::parse(path, &text)
    }

    /// Reads the text of the file; `path` is for messages.
    pub(super) fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
        let document = Document { path, text };
        let root = DeTable::parse(text).map_err(|error| document.syntax(&error))?;
        let mut table = Table::new(&document, "", 0..0, root.into_inner());

        let mut sources = Vec::new();
        for (place, value) in table.list("source", "tables, each begun by `[[source]]`")? {
            sources.push(source(table.nested(place, value, "a table begun by `[[source]]`")?)?);
        }
        let mut formats = Vec::new();
        for (place, value) in table.list("format", "tables, each begun by `[[format]]`")? {
            let taught = format::format(table.nested(place, value, "a table begun by `[[format]]`")?, &formats)?;
            formats.push(taught);
        }
        let mut links = Vec::new();
        for (place, value) in table.list("link", "tables, each begun by `[[link]]`")? {
            let one = link::link(table.nested(place, value, "a table begun by `[[link]]`")?, &links)?;
            links.push(one);
        }
        let mut roles = Vec::new();
        for (place, value) in table.list("role", "tables, each begun by `[[role]]`")? {
            let one = role::role(table.nested(place, value, "a table begun by `[[role]]`")?, &roles)?;
            roles.push(one);
        }
        let mut warnings = Vec::new();
        for (place, value) in table.list("warning", "tables, each begun by `[[warning]]`")? {
            let nested = table.nested(place, value, "a table begun by `[[warning]]`")?;
            warnings.push(warning::warning(nested, warnings.len())?);
        }
        let mut webhooks = Vec::new();
        for (place, value) in table.list("webhook", "tables, each begun by `[[webhook]]`")? {
            let nested = table.nested(place, value, "a table begun by `[[webhook]]`")?;
            webhooks.push(webhook::webhook(nested, &webhooks)?);
        }
        let mut release = ReleaseTable::default();
        if let Some((place, value)) = table.take("release") {
            release = release::release(table.nested(place, value, "a table begun by `[release]`")?)?;
        }
        let (mut trace_enabled, mut trace_max_commands_per_second) = (None, None);
        if let Some((place, value)) = table.take("trace") {
            let mut trace = table.nested(place, value, "a table begun by `[trace]`")?;
            trace_enabled = trace.boolean("enabled")?;
            trace_max_commands_per_second = trace.whole_number("max_commands_per_second")?;
            trace.finish(TRACE_KEYS)?;
        }
        let mut audit_webhook = None;
        if let Some((place, value)) = table.take("audit") {
            audit_webhook = audit::audit(table.nested(place, value, "a table begun by `[audit]`")?)?;
        }
        let mut history = Limits::default();
        if let Some((place, value)) = table.take("history") {
            history = history::history(table.nested(place, value, "a table begun by `[history]`")?)?;
        }
        let access = access::access(&mut table)?;
        let tls = access::tls(&mut table)?;
        let charted = operating::metrics(&mut table)?;
        let otlp = operating::telemetry(&mut table)?;
        let file = File {
            path: path.to_owned(),
            listen: table.string("listen")?,
            data_dir: table.string("data_dir")?.map(|dir| dir.map(PathBuf::from)),
            store: table.string("store")?,
            log_format: table.string("log_format")?.map(log_format).transpose()?,
            release,
            trace_enabled,
            trace_max_commands_per_second,
            audit_webhook,
            history,
            sources,
            formats,
            links,
            access,
            tls,
            roles,
            charted,
            otlp,
            warnings,
            webhooks,
        };
        table.finish(KEYS)?;
        Ok(file)
    }
}

fn source(mut table: Table<'_, '_>) -> Result<SourceTable, ConfigError> {
    let mut commands_per_second = None;
    if let Some((place, value)) = table.take("budget") {
        let mut budget = table.nested(place, value, "a table such as `{ commands_per_second = 50000 }`")?;
        commands_per_second = budget.whole_number("commands_per_second")?;
        budget.finish(BUDGET_KEYS)?;
    }
    let mut tls = None;
    if let Some((place, value)) = table.take("tls") {
        let mut keys = table.nested(place.clone(), value, "a table such as `{ ca = \"ca.pem\" }`")?;
        let path = |given: Option<Given<String>>| given.map(|given| given.map(PathBuf::from));
        tls = Some(TlsTable {
            place,
            ca: path(keys.string("ca")?),
            cert: path(keys.string("cert")?),
            key: path(keys.string("key")?),
            server_name: keys.string("server_name")?,
        });
        keys.finish(TLS_KEYS)?;
    }
    let mut sentinel = None;
    if let Some((place, value)) = table.take("sentinel") {
        let mut keys = table.nested(place.clone(), value, "a table such as `{ password = \"…\" }`")?;
        let user = keys.string("user")?.map(|given| given.value);
        let password = keys.string("password")?.map(|given| given.value);
        sentinel = Some(SentinelTable { place, credentials: Credentials { user, password } });
        keys.finish(SENTINEL_KEYS)?;
    }
    let mut patterns = Vec::new();
    for (place, value) in table.list("patterns", "a list of strings")? {
        patterns.push(table.as_string(place, value)?);
    }
    let (urls_at, release_urls_at) = (table.place_of("urls"), table.place_of("release_urls"));
    let (urls, release_urls) = (table.strings("urls")?, table.strings("release_urls")?);
    let source = SourceTable {
        place: table.place(),
        name: table.string("name")?,
        kind: table.string("kind")?,
        url: table.string("url")?,
        urls: urls.zip(urls_at).map(|(urls, place)| Given::new(urls, place)),
        release_url: table.string("release_url")?,
        release_urls: release_urls.zip(release_urls_at).map(|(urls, place)| Given::new(urls, place)),
        tls,
        sentinel,
        patterns,
        environment: table.string("environment")?,
        commands_per_second,
        feed: table.string("feed")?,
        reconcile_ms: table.duration_ms("reconcile")?,
        reports: table.string("reports")?,
    };
    table.finish(SOURCE_KEYS)?;
    Ok(source)
}

fn log_format(given: Given<String>) -> Result<Given<LogFormat>, ConfigError> {
    let format = match given.value.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => {
            return Err(ConfigError::Value {
                place: given.place,
                value: given.value,
                expected: "`text` or `json`".to_owned(),
            });
        }
    };
    Ok(given.map(|_| format))
}

/// The text, to turn offsets into lines.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_begins = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_begins..].chars().count() + 1)
    }

    fn place(&self, offset: usize, key: String) -> Place {
        let (line, column) = self.line_and_column(offset);
        Place::Key { file: self.path.to_owned(), line, column, key }
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let (line, column) = self.line_and_column(error.span().map_or(0, |span| span.start));
        // The parser's `Display` would quote the line, which may be the one with the password.
        ConfigError::Syntax {
            file: self.path.to_owned(),
            line,
            column,
            message: error.message().lines().collect::<Vec<_>>().join(", "),
        }
    }
}

/// A table whose keys are taken out one by one; what is left over is unknown.
pub(super) struct Table<'a, 'i> {
    document: &'a Document<'a>,
    /// The names of the tables around it, with the dot that follows.
    prefix: String,
    begins: Range<usize>,
    entries: Vec<(Spanned<std::borrow::Cow<'i, str>>, Spanned<DeValue<'i>>)>,
}

impl<'a, 'i> Table<'a, 'i> {
    fn new(document: &'a Document<'a>, prefix: &str, begins: Range<usize>, table: DeTable<'i>) -> Table<'a, 'i> {
        Table { document, prefix: prefix.to_owned(), begins, entries: table.into_iter().collect() }
    }

    pub(super) fn place(&self) -> Place {
        self.document.place(self.begins.start, self.prefix.trim_end_matches('.').to_owned())
    }

    pub(super) fn take(&mut self, key: &str) -> Option<(Place, Spanned<DeValue<'i>>)> {
        let index = self.entries.iter().position(|(name, _)| name.get_ref() == key)?;
        let (_, value) = self.entries.swap_remove(index);
        Some((self.document.place(value.span().start, format!("{}{key}", self.prefix)), value))
    }

    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.document.place(value.span().start, format!("{}{key}", self.prefix)))
    }

    pub(super) fn nested(
        &self,
        place: Place,
        value: Spanned<DeValue<'i>>,
        expected: &str,
    ) -> Result<Table<'a, 'i>, ConfigError> {
        let begins = value.span();
        match value.into_inner() {
            DeValue::Table(table) => {
                let key = match &place {
                    Place::Key { key, .. } => format!("{key}."),
                    _ => String::new(),
                };
                Ok(Table::new(self.document, &key, begins, table))
            }
            other => Err(mistyped(place, &other, expected)),
        }
    }

    pub(super) fn list(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Vec<(Place, Spanned<DeValue<'i>>)>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(Vec::new()) };
        match value.into_inner() {
            DeValue::Array(array) => Ok(array
                .into_iter()
                .map(|item| (self.document.place(item.span().start, format!("{}{key}", self.prefix)), item))
                .collect()),
            other => Err(mistyped(place, &other, expected)),
        }
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<Given<String>>, ConfigError> {
        self.take(key).map(|(place, value)| self.as_string(place, value)).transpose()
    }

    /// A list of strings; `None` where it is left out.
    pub(super) fn strings(&mut self, key: &str) -> Result<Option<Vec<Given<String>>>, ConfigError> {
        if self.place_of(key).is_none() {
            return Ok(None);
        }
        let items = self.list(key, "a list of strings")?;
        items.into_iter().map(|(place, value)| self.as_string(place, value)).collect::<Result<_, _>>().map(Some)
    }

    #[expect(clippy::unused_self, reason = "reads like its neighbours")]
    pub(super) fn as_string(&self, place: Place, value: Spanned<DeValue<'i>>) -> Result<Given<String>, ConfigError> {
        match value.into_inner() {
            DeValue::String(text) => Ok(Given::new(text.into_owned(), place)),
            other => Err(mistyped(place, &other, "a string")),
        }
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<Given<bool>>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        match value.into_inner() {
            DeValue::Boolean(value) => Ok(Some(Given::new(value, place))),
            other => Err(mistyped(place, &other, "`true` or `false`")),
        }
    }

    pub(super) fn whole_number(&mut self, key: &str) -> Result<Option<Given<u64>>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        match value.into_inner() {
            DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) if value > 0 => Ok(Some(Given::new(value, place))),
                _ => Err(ConfigError::Value {
                    place,
                    value: number.to_string(),
                    expected: "a whole number above 0".to_owned(),
                }),
            },
            other => Err(mistyped(place, &other, "a whole number above 0")),
        }
    }

    /// `"90s"`, `"5m"`, `"1h"`, or a whole number of seconds.
    pub(super) fn duration_ms(&mut self, key: &str) -> Result<Option<Given<i64>>, ConfigError> {
        self.duration_from_ms(key, 1)
    }

    /// As [`Self::duration_ms`], of at least so many seconds.
    pub(super) fn duration_from_ms(&mut self, key: &str, least_s: i64) -> Result<Option<Given<i64>>, ConfigError> {
        const DAY_S: i64 = 24 * 60 * 60;
        let expected =
            format!("seconds, or a duration such as `\"90s\"`, `\"5m\"` or `\"1h\"`, from {least_s} s to 24 h");
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        let (text, seconds) = match value.into_inner() {
            DeValue::Integer(number) => (number.to_string(), i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::String(text) => {
                let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
                let unit = match text[digits.len()..].trim() {
                    "s" => Some(1),
                    "m" => Some(60),
                    "h" => Some(60 * 60),
                    _ => None,
                };
                let number = digits.trim().parse::<i64>().ok();
                (text.to_string(), number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)))
            }
            other => return Err(mistyped(place, &other, &expected)),
        };
        match seconds {
            Some(seconds) if (least_s..=DAY_S).contains(&seconds) => Ok(Some(Given::new(seconds * 1_000, place))),
            _ => Err(ConfigError::Value { place, value: text, expected }),
        }
    }

    /// Refuses what was not taken, the first in the file first.
    pub(super) fn finish(self, known: &[&str]) -> Result<(), ConfigError> {
        let Some((key, _)) = self.entries.iter().min_by_key(|(key, _)| key.span().start) else { return Ok(()) };
        let place = self.document.place(key.span().start, format!("{}{}", self.prefix, key.get_ref()));
        Err(ConfigError::UnknownKey { place, expected: known.join(", ") })
    }
}

fn mistyped(place: Place, value: &DeValue<'_>, expected: &str) -> ConfigError {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    ConfigError::Type { place, found, expected: expected.to_owned() }
}
