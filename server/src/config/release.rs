//! `[release]`: what is asked of whoever releases.

use std::num::NonZeroU32;
use std::time::Duration;

use super::error::{ConfigError, Given};
use super::file::Table;
use crate::release::{MAX_LOCKS, ReasonPattern, Rules};

const KEYS: &[&str] = &["enabled", "max_locks", "attempts_per_minute", "cool_down", "reason_pattern", "two_persons"];

/// What the table says, checked as far as it goes by itself.
#[derive(Debug, Default)]
pub(super) struct ReleaseTable {
    enabled: Option<Given<bool>>,
    rules: Rules,
    two_persons: Option<Given<bool>>,
}

pub(super) fn release(mut table: Table<'_, '_>) -> Result<ReleaseTable, ConfigError> {
    let enabled = table.boolean("enabled")?;
    let mut rules = Rules::default();
    if let Some(given) = table.whole_number("max_locks")? {
        rules.max_locks = max_locks(given)?;
    }
    if let Some(given) = table.whole_number("attempts_per_minute")? {
        rules.attempts_per_minute = attempts(given)?;
        rules.limits_everywhere = true;
    }
    if let Some(given) = table.duration_from_ms("cool_down", 0)? {
        rules.cool_down = Duration::from_millis(given.value.unsigned_abs());
        rules.limits_everywhere = true;
    }
    if let Some(given) = table.string("reason_pattern")? {
        rules.reason_pattern = Some(reason_pattern(given)?);
    }
    let two_persons = table.boolean("two_persons")?;
    table.finish(KEYS)?;
    Ok(ReleaseTable { enabled, rules, two_persons })
}

/// The rules; a flag or variable says before the table whether anything is released at all. Where nobody can show who they
/// are, nobody can tell two people apart.
pub(super) fn rules(table: ReleaseTable, allow: Option<Given<bool>>, knows_people: bool) -> Result<Rules, ConfigError> {
    let enabled = allow.or(table.enabled).is_some_and(|allow| allow.value);
    let two_persons = match table.two_persons {
        Some(given) if given.value && !knows_people => {
            return Err(ConfigError::Unusable {
                place: given.place,
                because:
                    "nobody can sign in here, so two people cannot be told apart; say under `[access]` how people do, \
                          for example `users_file = \"users.toml\"`"
                        .to_owned(),
            });
        }
        given => given.is_some_and(|given| given.value),
    };
    Ok(Rules { enabled, two_persons, ..table.rules })
}

fn max_locks(given: Given<u64>) -> Result<usize, ConfigError> {
    usize::try_from(given.value)
        .ok()
        .filter(|max| *max <= MAX_LOCKS)
        .ok_or_else(|| wrong(given, format!("1 to {MAX_LOCKS}, which is as many as one ticket can carry")))
}

fn attempts(given: Given<u64>) -> Result<NonZeroU32, ConfigError> {
    u32::try_from(given.value)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or_else(|| wrong(given, format!("a whole number from 1 to {}", u32::MAX)))
}

fn reason_pattern(given: Given<String>) -> Result<ReasonPattern, ConfigError> {
    ReasonPattern::parse(&given.value).map_err(|because| {
        wrong(given, format!("a regular expression that reasons are to contain, such as `INC-\\d+` ({because})"))
    })
}

fn wrong<T: ToString>(given: Given<T>, expected: String) -> ConfigError {
    ConfigError::Value { place: given.place, value: given.value.to_string(), expected }
}
