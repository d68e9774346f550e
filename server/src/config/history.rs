//! `[history]`.

use super::error::{ConfigError, Given};
use super::file::Table;
use crate::recorder::history::{DEFAULT_KEEP_DAYS, DEFAULT_MAX_MB, LEAST_MAX_MB, Limits};

const KEYS: &[&str] = &["keep_days", "max_mb"];

/// What the table says, read and checked.
pub(super) fn history(mut table: Table<'_, '_>) -> Result<Limits, ConfigError> {
    let keep_days = table.whole_number("keep_days")?;
    let max_mb = table.whole_number("max_mb")?;
    table.finish(KEYS)?;
    if let Some(Given { value, place }) = max_mb.clone().filter(|given| given.value < LEAST_MAX_MB) {
        let expected = format!("a whole number from {LEAST_MAX_MB} up");
        return Err(ConfigError::Value { place, value: value.to_string(), expected });
    }
    let or = |given: Option<Given<u64>>, default| given.map_or(default, |given| given.value);
    Ok(Limits::of(or(keep_days, DEFAULT_KEEP_DAYS), or(max_mb, DEFAULT_MAX_MB)))
}
