//! `[[warning]]`: how a rule is applied where the default does not fit.

use lockkeeper_model::{Severity, WarningRule, words};

use super::error::{ConfigError, Given};
use super::file::Table;
use super::source::{SourceConfig, checked_pattern};
use crate::warning::{Limit, MAX_OVERRIDES, Override, Rules, Setting};

const KEYS: &[&str] =
    &["rule", "source", "pattern", "enabled", "severity", "for", "clear", "times", "locks", "count_renewed"];

/// Three times is the default; beyond a thousand nothing would ever be unusual.
const TIMES: std::ops::RangeInclusive<u64> = 1..=1_000;

/// One `[[warning]]`, and where its source was named.
#[derive(Debug)]
pub(super) struct WarningTable {
    what: Override,
    source: Option<Given<String>>,
}

/// Checks one more table, after so many others.
pub(super) fn warning(mut table: Table<'_, '_>, before: usize) -> Result<WarningTable, ConfigError> {
    if before == MAX_OVERRIDES {
        let because = format!("there are more than {MAX_OVERRIDES} of them");
        return Err(ConfigError::Unusable { place: table.place(), because });
    }
    let given = table.required("rule", "the name of a rule, such as `\"held-long\"`")?;
    let rule = one_of(given, &WarningRule::ALL, WarningRule::word)?;
    let source = table.string("source")?;
    if let Some(source) = &source {
        checked_pattern(source)?;
    }
    let pattern = table.string("pattern")?;
    if let Some(pattern) = &pattern {
        checked_pattern(pattern)?;
        if matches!(rule, WarningRule::ManyLocks | WarningRule::Evictable) {
            let because = "means nothing here: this rule is about a source or a holder, not about one lock";
            return Err(ConfigError::Misplaced { place: pattern.place.clone(), because });
        }
    }
    let is_enabled = table.boolean("enabled")?.is_none_or(|given| given.value);
    let default = Setting::default_of(rule);
    let severity = table.string("severity")?.map(|given| one_of(given, &Severity::ALL, Severity::word)).transpose()?;
    let for_ms = table.duration_from_ms("for", 0)?;
    let clear_ms = table.duration_from_ms("clear", 0)?;
    let limit = limit(&mut table, rule, default.limit, for_ms.is_some())?;
    table.finish(KEYS)?;
    let setting = Setting {
        severity: severity.unwrap_or(default.severity),
        for_ms: for_ms.map_or(default.for_ms, |given| given.value),
        clear_ms: clear_ms.map_or(default.clear_ms, |given| given.value),
        limit,
    };
    let text = |given: &Given<String>| given.value.clone();
    let what = Override {
        rule,
        source: source.as_ref().map(text),
        pattern: pattern.as_ref().map(text),
        setting: is_enabled.then_some(setting),
    };
    Ok(WarningTable { what, source })
}

/// The rules, each of whose sources there must be; a pattern may match none.
pub(super) fn rules(tables: Vec<WarningTable>, sources: &[SourceConfig]) -> Result<Rules, ConfigError> {
    let mut overrides = Vec::with_capacity(tables.len());
    for WarningTable { what, source } in tables {
        let is_known = |given: &Given<String>| {
            given.value.contains(['*', '?', '[', '\\']) || sources.iter().any(|source| source.name == given.value)
        };
        if let Some(unknown) = source.filter(|given| !is_known(given)) {
            let known: Vec<String> = sources.iter().map(|source| format!("`{}`", words::shown(&source.name))).collect();
            let expected = format!("a pattern, or one of the sources {}", known.join(", "));
            return Err(ConfigError::Value { place: unknown.place, value: unknown.value, expected });
        }
        overrides.push(what);
    }
    Ok(Rules::new(overrides))
}

/// What only some rules have.
fn limit(table: &mut Table<'_, '_>, rule: WarningRule, default: Limit, has_time: bool) -> Result<Limit, ConfigError> {
    let times = table.whole_number("times")?;
    let locks = table.whole_number("locks")?;
    let renewed = table.boolean("count_renewed")?;
    let misplaced = |place, because| Err(ConfigError::Misplaced { place, because });
    match default {
        Limit::Times(_) => {}
        _ => {
            if let Some(given) = times {
                return misplaced(given.place, "belongs to the rule `held-unusually`");
            }
        }
    }
    match default {
        Limit::Locks(_) => {}
        _ => {
            if let Some(given) = locks {
                return misplaced(given.place, "belongs to the rule `many-locks`");
            }
        }
    }
    if let Some(given) = renewed.as_ref().filter(|_| rule != WarningRule::HeldLong) {
        return misplaced(given.place.clone(), "belongs to the rule `held-long`");
    }
    Ok(match default {
        Limit::Times(default) => Limit::Times(within(times, TIMES)?.unwrap_or(default)),
        Limit::Locks(default) => Limit::Locks(within(locks, 1..=u64::from(u32::MAX))?.unwrap_or(default)),
        // Whoever names a time means every holder.
        Limit::Renewed(default) => Limit::Renewed(renewed.map_or(default || has_time, |given| given.value)),
        Limit::None => Limit::None,
    })
}

fn within(given: Option<Given<u64>>, range: std::ops::RangeInclusive<u64>) -> Result<Option<u32>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    match u32::try_from(given.value) {
        Ok(value) if range.contains(&given.value) => Ok(Some(value)),
        _ => Err(ConfigError::Value {
            place: given.place,
            value: given.value.to_string(),
            expected: format!("a whole number from {} to {}", range.start(), range.end()),
        }),
    }
}

/// The one that is written like this.
pub(super) fn one_of<T: Copy>(given: Given<String>, all: &[T], word: fn(T) -> &'static str) -> Result<T, ConfigError> {
    all.iter().copied().find(|one| word(*one) == given.value).ok_or_else(|| {
        let words: Vec<String> = all.iter().map(|one| format!("`{}`", word(*one))).collect();
        ConfigError::Value { place: given.place, value: given.value, expected: format!("one of {}", words.join(", ")) }
    })
}
