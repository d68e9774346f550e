//! `[[role]]`: what people are granted together.

use super::error::{ConfigError, Given, Place};
use super::file::Table;
use super::source::{SourceConfig, checked_name, checked_pattern};
use crate::access::{Grant, Policy, Right, Role};

/// The most roles: each that somebody has is compared with the name of every lock that changes.
const MAX_ROLES: usize = 256;

/// The most patterns in one list, for the same reason.
const MAX_PATTERNS: usize = 64;

/// The longest name of a group, in bytes. Some directories name groups by long paths.
const MAX_GROUP_BYTES: usize = 512;

const KEYS: &[&str] = &["name", "groups", "rights", "sources", "keys"];

/// One `[[role]]`, where it stands, and where its sources were named.
#[derive(Debug)]
pub(super) struct RoleTable {
    place: Place,
    role: Role,
    sources: Vec<Given<String>>,
}

impl RoleTable {
    /// The role's name.
    pub(super) fn name(&self) -> &str {
        &self.role.name
    }
}

/// Checks one more role, after those that stand before it in the file.
pub(super) fn role(mut table: Table<'_, '_>, before: &[RoleTable]) -> Result<RoleTable, ConfigError> {
    if before.len() == MAX_ROLES {
        let because = format!("there are more than {MAX_ROLES} roles");
        return Err(ConfigError::Unusable { place: table.place(), because });
    }
    let place = table.place();
    let given = table.required("name", "a name such as `\"oncall\"`")?;
    let name = checked_name(&given)?;
    if before.iter().any(|other| *other.role.name == *name) {
        return Err(wrong(given, "a name that no other role has; several roles may name the same group"));
    }
    let groups = table.strings("groups")?.unwrap_or_default();
    let groups = groups.into_iter().map(group).collect::<Result<_, _>>()?;
    let Some(rights) = table.strings("rights")? else {
        return Err(table.missing("rights", "a list such as `[\"view\", \"release\"]`"));
    };
    let rights = rights.into_iter().map(right).collect::<Result<Vec<Right>, _>>()?;
    let sources = patterns(&mut table, "sources")?;
    let keys = patterns(&mut table, "keys")?;
    table.finish(KEYS)?;
    let texts = |given: &[Given<String>]| given.iter().map(|given| given.value.clone()).collect::<Vec<_>>();
    let grant = Grant::new(rights, &texts(&sources), &texts(&keys));
    Ok(RoleTable { place, role: Role { name: name.into(), groups, grant }, sources })
}

/// The policy of these roles, each of whose sources there must be; a pattern may match none. `asks_who`: people are asked
/// who they are, without which roles would keep nobody from anything.
pub(super) fn policy(tables: Vec<RoleTable>, sources: &[SourceConfig], asks_who: bool) -> Result<Policy, ConfigError> {
    let is_known = |given: &Given<String>| {
        given.value.contains(['*', '?', '[', '\\']) || sources.iter().any(|source| source.name == given.value)
    };
    let first = tables.first().map(|table| table.place.clone());
    let mut roles = Vec::with_capacity(tables.len());
    for RoleTable { role, sources: named, .. } in tables {
        if let Some(unknown) = named.into_iter().find(|given| !is_known(given)) {
            let known: Vec<String> = sources.iter().map(|source| format!("`{}`", source.name)).collect();
            return Err(wrong(unknown, format!("a pattern, or one of the sources {}", known.join(", "))));
        }
        roles.push(role);
    }
    if let Some(place) = first.filter(|_| !asks_who) {
        let because = "without `[access]` nobody is asked who they are, and whoever reaches this server may do everything; \
                       say there how people sign in, for example `users_file = \"users.toml\"`";
        return Err(ConfigError::Unusable { place, because: because.to_owned() });
    }
    Ok(Policy::new(roles))
}

fn group(given: Given<String>) -> Result<String, ConfigError> {
    if given.value.is_empty() || given.value.len() > MAX_GROUP_BYTES {
        return Err(wrong(given, format!("the name of a group, of 1 to {MAX_GROUP_BYTES} bytes")));
    }
    Ok(given.value)
}

fn right(given: Given<String>) -> Result<Right, ConfigError> {
    Right::of_word(&given.value).ok_or_else(|| {
        let words: Vec<String> = Right::ALL.iter().map(|right| format!("`{right}`")).collect();
        wrong(given, format!("one of {}", words.join(", ")))
    })
}

/// Patterns of a list; none where it is left out, which is everything. An empty list would look like nothing and must
/// not mean everything.
fn patterns(table: &mut Table<'_, '_>, key: &str) -> Result<Vec<Given<String>>, ConfigError> {
    let place = table.place_of(key);
    let Some(patterns) = table.strings(key)? else { return Ok(Vec::new()) };
    if let Some(place) = place.filter(|_| patterns.is_empty() || patterns.len() > MAX_PATTERNS) {
        return Err(ConfigError::Value {
            place,
            value: match patterns.len() {
                0 => "an empty list".to_owned(),
                n => format!("{n} patterns"),
            },
            expected: format!("1 to {MAX_PATTERNS} patterns; without the key, there is no limit"),
        });
    }
    patterns.iter().try_for_each(|given| checked_pattern(given).map(drop))?;
    Ok(patterns)
}

fn wrong(given: Given<String>, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { place: given.place, value: given.value, expected: expected.into() }
}
