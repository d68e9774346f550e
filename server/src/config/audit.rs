//! `[audit]`.

use std::net::IpAddr;
use std::path::PathBuf;

use ::url::Url;

use super::error::{ConfigError, Given};
use super::file::Table;
use crate::recorder::audit::Webhook;

const KEYS: &[&str] = &["webhook", "webhook_secret_file"];

/// The shortest secret, in bytes: what can be guessed signs nothing.
const MIN_SECRET_BYTES: usize = 16;

/// The longest: beyond that somebody named the wrong file.
const MAX_SECRET_BYTES: u64 = 4 * 1024;

/// What the table says, read and checked.
pub(super) fn audit(mut table: Table<'_, '_>) -> Result<Option<Webhook>, ConfigError> {
    let url = table.string("webhook")?;
    let secret = table.string("webhook_secret_file")?;
    table.finish(KEYS)?;
    let secret = match (&url, secret) {
        (None, Some(secret)) => {
            return Err(ConfigError::Misplaced { place: secret.place, because: "means nothing without `webhook`" });
        }
        (_, secret) => secret.map(read_secret).transpose()?,
    };
    url.map(|url| Ok(Webhook { url: checked(url)?, secret })).transpose()
}

/// Who released what goes over the wire in the clear only where the wire does not leave the machine.
fn checked(given: Given<String>) -> Result<Url, ConfigError> {
    let unusable = |because: String| ConfigError::Url { place: given.place.clone(), because };
    // The path may be a password, so nothing of the value is repeated.
    let url = Url::parse(given.value.trim()).map_err(|error| unusable(format!("is not a URL ({error})")))?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        "http" => Err(unusable(
            "begins with `http://`, expected `https://`: who released what would be readable on the way".to_owned(),
        )),
        _ => Err(unusable("is no `https://` URL".to_owned())),
    }
}

fn read_secret(given: Given<String>) -> Result<Vec<u8>, ConfigError> {
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
    let secret = secret.trim_ascii().to_vec();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(unusable(format!("has {} bytes, expected at least {MIN_SECRET_BYTES}", secret.len())));
    }
    Ok(secret)
}
