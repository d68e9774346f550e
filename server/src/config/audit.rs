//! `[audit]`.

use super::error::ConfigError;
use super::file::Table;
use super::webhook::{checked_url, read_secret};
use crate::recorder::audit::Webhook;

const KEYS: &[&str] = &["webhook", "webhook_secret_file"];

/// What the table says, read and checked.
pub(super) fn audit(mut table: Table<'_, '_>) -> Result<Option<Webhook>, ConfigError> {
    let url = table.string("webhook")?;
    let secret = table.string("webhook_secret_file")?;
    table.finish(KEYS)?;
    let secret = match (&url, secret) {
        (None, Some(secret)) => {
            return Err(ConfigError::Misplaced { place: secret.place, because: "means nothing without `webhook`" });
        }
        (_, secret) => secret.as_ref().map(read_secret).transpose()?,
    };
    let leaks = "who released what would be readable on the way";
    url.map(|url| Ok(Webhook { url: checked_url(url, leaks)?, secret })).transpose()
}
