//! `[metrics]` and `[telemetry]`.

use ::url::Url;
use lockkeeper_model::LockId;

use super::error::{ConfigError, Given};
use super::file::Table;

const METRICS_KEYS: &[&str] = &["locks"];
const TELEMETRY_KEYS: &[&str] = &["otlp"];

/// The most locks with series of their own: each has three in every source, for as long as somebody keeps the metrics.
const MAX_CHARTED: usize = 64;

/// The longest id of such a lock: it is a label of every sample.
const MAX_ID_BYTES: usize = 256;

/// The locks that are to have series of their own.
pub(super) fn metrics(table: &mut Table<'_, '_>) -> Result<Vec<LockId>, ConfigError> {
    let Some((place, value)) = table.take("metrics") else { return Ok(Vec::new()) };
    let mut keys = table.nested(place, value, "a table begun by `[metrics]`")?;
    let at = keys.place_of("locks");
    let locks = keys.strings("locks")?.unwrap_or_default();
    keys.finish(METRICS_KEYS)?;
    if let Some(place) = at.filter(|_| locks.len() > MAX_CHARTED) {
        return Err(ConfigError::Value {
            place,
            value: format!("{} locks", locks.len()),
            expected: format!("at most {MAX_CHARTED}: each is a series in every source"),
        });
    }
    let mut ids: Vec<LockId> = Vec::with_capacity(locks.len());
    for given in locks {
        let id = checked_id(given)?;
        // Named twice, it would be the same series twice.
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn checked_id(given: Given<String>) -> Result<LockId, ConfigError> {
    let id = LockId::parse(&given.value).ok().filter(|_| (1..=MAX_ID_BYTES).contains(&given.value.len()));
    id.ok_or_else(|| ConfigError::Value {
        place: given.place,
        value: given.value,
        expected: format!("the id of a lock as the API writes it, of 1 to {MAX_ID_BYTES} bytes"),
    })
}

/// Where traces are to be sent.
pub(super) fn telemetry(table: &mut Table<'_, '_>) -> Result<Option<Url>, ConfigError> {
    let Some((place, value)) = table.take("telemetry") else { return Ok(None) };
    let mut keys = table.nested(place, value, "a table begun by `[telemetry]`")?;
    let otlp = keys.string("otlp")?;
    keys.finish(TELEMETRY_KEYS)?;
    otlp.map(checked_url).transpose()
}

fn checked_url(given: Given<String>) -> Result<Url, ConfigError> {
    let url = Url::parse(given.value.trim()).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.ok_or_else(|| ConfigError::Url {
        place: given.place,
        because:
            "is not the address of an OpenTelemetry collector, expected one such as `http://127.0.0.1:4318`, without \
                  credentials and without `/v1/traces`"
                .to_owned(),
    })
}
