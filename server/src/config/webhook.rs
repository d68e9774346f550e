//! `[[webhook]]`: whom to tell of warnings; and what every webhook has: an address and a secret that are not shown.

use std::net::IpAddr;
use std::path::PathBuf;

use ::url::Url;
use lockkeeper_model::{Severity, WarningRule};

use super::error::{ConfigError, Given};
use super::file::Table;
use super::source::{checked_name, checked_pattern};
use super::warning::one_of;
use crate::warning::{Form, Hook, Pick};

const KEYS: &[&str] =
    &["name", "form", "url", "url_file", "url_env", "secret_file", "secret_env", "rules", "severity", "sources"];

/// Webhooks at most: each has a queue of its own.
const MAX_WEBHOOKS: usize = 16;

/// Patterns for sources of one webhook.
const MAX_PATTERNS: usize = 64;

/// The shortest secret, in bytes: what can be guessed signs nothing.
const MIN_SECRET_BYTES: usize = 16;

/// The longest secret or address: beyond that somebody named the wrong file.
const MAX_SECRET_BYTES: u64 = 4 * 1024;

/// Where PagerDuty takes events. <https://developer.pagerduty.com/docs/send-alert-event>
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// Checks one more table, after those that stand before it in the file.
pub(super) fn webhook(mut table: Table<'_, '_>, before: &[Hook]) -> Result<Hook, ConfigError> {
    if before.len() == MAX_WEBHOOKS {
        let because = format!("there are more than {MAX_WEBHOOKS} webhooks");
        return Err(ConfigError::Unusable { place: table.place(), because });
    }
    let name = table.required("name", "a name such as `\"on-call\"`")?;
    checked_name(&name)?;
    if before.iter().any(|other| other.name == name.value) {
        let expected = "a name that no other webhook has".to_owned();
        return Err(ConfigError::Value { place: name.place, value: name.value, expected });
    }
    let form = table.string("form")?.map_or(Ok(Form::Json), |given| one_of(given, &Form::ALL, Form::word))?;
    let leaks = "what is wrong with which lock would be readable on the way";
    let url = match address(&mut table)? {
        Some(given) => checked_url(given, leaks)?,
        None if form == Form::PagerDuty => Url::parse(PAGERDUTY)
            .map_err(|error| ConfigError::Unusable { place: table.place(), because: error.to_string() })?,
        None => return Err(table.missing("url", "an address such as `\"https://hooks.example.org/…\"`")),
    };
    let secret = secret(&mut table)?;
    if form == Form::PagerDuty && secret.is_none() {
        return Err(table.missing("secret_file", "a file with the routing key of the service at PagerDuty"));
    }
    let rules = table.strings("rules")?.unwrap_or_default();
    let rules =
        rules.into_iter().map(|given| one_of(given, &WarningRule::ALL, WarningRule::word)).collect::<Result<_, _>>()?;
    let severity = table.string("severity")?;
    let severity = severity.map_or(Ok(Severity::Info), |given| one_of(given, &Severity::ALL, Severity::word))?;
    let place = table.place_of("sources").unwrap_or_else(|| table.place());
    let sources = table.strings("sources")?.unwrap_or_default();
    if sources.len() > MAX_PATTERNS {
        let because = format!("it has {} patterns, expected at most {MAX_PATTERNS}", sources.len());
        return Err(ConfigError::Unusable { place, because });
    }
    let sources = sources.iter().map(checked_pattern).collect::<Result<_, _>>()?;
    table.finish(KEYS)?;
    Ok(Hook { name: name.value, url, secret, form, pick: Pick { rules, severity, sources } })
}

/// The address, which is a password with many receivers and can be kept out of the file like one.
fn address(table: &mut Table<'_, '_>) -> Result<Option<Given<String>>, ConfigError> {
    if let Some(given) = table.string("url")? {
        return Ok(Some(given));
    }
    let Some(given) = kept_elsewhere(table, "url_file", "url_env")? else { return Ok(None) };
    let place = given.place.clone();
    let text = String::from_utf8(given.value).map_err(|_| ConfigError::Unusable {
        place: place.clone(),
        because: "what it names is not UTF-8".to_owned(),
    })?;
    Ok(Some(Given::new(text, place)))
}

/// The secret from its file or its environment variable.
fn secret(table: &mut Table<'_, '_>) -> Result<Option<Vec<u8>>, ConfigError> {
    let secret = kept_elsewhere(table, "secret_file", "secret_env")?;
    secret.map(|secret| long_enough(secret, "what it names")).transpose()
}

/// What a file or an environment variable has.
fn kept_elsewhere(table: &mut Table<'_, '_>, file: &str, env: &str) -> Result<Option<Given<Vec<u8>>>, ConfigError> {
    if let Some(given) = table.string(file)? {
        let place = given.place.clone();
        return Ok(Some(Given::new(read_small(&given)?, place)));
    }
    let Some(given) = table.string(env)? else { return Ok(None) };
    match std::env::var(&given.value) {
        Ok(value) => Ok(Some(Given::new(value.trim().as_bytes().to_vec(), given.place))),
        Err(_) => Err(ConfigError::Unusable {
            because: format!("the environment has no variable `{}`", lockkeeper_model::words::shown(&given.value)),
            place: given.place,
        }),
    }
}

/// The secret of the file that is named.
pub(super) fn read_secret(given: &Given<String>) -> Result<Vec<u8>, ConfigError> {
    let place = given.place.clone();
    long_enough(Given::new(read_small(given)?, place), &format!("`{}`", given.value))
}

fn long_enough(secret: Given<Vec<u8>>, what: &str) -> Result<Vec<u8>, ConfigError> {
    if secret.value.len() < MIN_SECRET_BYTES {
        let because = format!("{what} has {} bytes, expected at least {MIN_SECRET_BYTES}", secret.value.len());
        return Err(ConfigError::Unusable { place: secret.place, because });
    }
    Ok(secret.value)
}

fn read_small(given: &Given<String>) -> Result<Vec<u8>, ConfigError> {
    let file = PathBuf::from(&given.value);
    let unusable = |because: String| ConfigError::Unusable {
        place: given.place.clone(),
        because: format!("`{}` {because}", file.display()),
    };
    let metadata = std::fs::metadata(&file).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if !metadata.is_file() || metadata.len() > MAX_SECRET_BYTES {
        return Err(unusable(format!("is not a file of at most {MAX_SECRET_BYTES} bytes")));
    }
    let secret = std::fs::read(&file).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    // Editors end files with a line break, which is nobody's secret.
    Ok(secret.trim_ascii().to_vec())
}

/// What is told goes over the wire in the clear only where the wire does not leave the machine; `leaks` says what would be
/// read otherwise.
pub(super) fn checked_url(given: Given<String>, leaks: &str) -> Result<Url, ConfigError> {
    let unusable = |because: String| ConfigError::Url { place: given.place.clone(), because };
    // The path may be a password, so nothing of the value is repeated.
    let url = Url::parse(given.value.trim()).map_err(|error| unusable(format!("is not a URL ({error})")))?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        "http" => Err(unusable(format!("begins with `http://`, expected `https://`: {leaks}"))),
        _ => Err(unusable("is no `https://` URL".to_owned())),
    }
}
