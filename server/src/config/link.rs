//! `[[link]]`: where else there is something to read about a lock or its holder.

use url::Url;

use super::error::{ConfigError, Given};
use super::file::Table;

/// The most links: each is one more on every lock's page.
const MAX_LINKS: usize = 16;

/// The longest name, in characters: what fits on a button.
const MAX_NAME_CHARS: usize = 40;

/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1_024;

/// What may stand in braces. What is not known of a lock leaves out the links that need it.
pub const PLACES: [&str; 5] = ["source", "lock", "holder", "host", "pid"];

const KEYS: &[&str] = &["name", "template"];

/// A link to another tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it is called on the screen.
    pub name: String,
    /// An address with [`PLACES`] in braces, each of which is replaced by its percent-encoded value.
    pub template: String,
}

/// Checks one more link, after those that stand before it in the file.
pub(super) fn link(mut table: Table<'_, '_>, before: &[Link]) -> Result<Link, ConfigError> {
    if before.len() == MAX_LINKS {
        let because = format!("there are more than {MAX_LINKS} links");
        return Err(ConfigError::Unusable { place: table.place(), because });
    }
    let name = table.required("name", "what it is called on the screen, such as `\"logs\"`")?;
    let chars = name.value.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&chars) || name.value.trim() != name.value {
        return Err(wrong(name, format!("1 to {MAX_NAME_CHARS} characters without spaces around them")));
    }
    if before.iter().any(|link| link.name == name.value) {
        return Err(wrong(name, "a name that no other link has".to_owned()));
    }
    let given = table.required("template", "an address such as `\"https://logs.example.org/?q={host}\"`")?;
    table.finish(KEYS)?;
    let template = checked(given)?;
    Ok(Link { name: name.value, template })
}

fn checked(given: Given<String>) -> Result<String, ConfigError> {
    let unusable = |given: Given<String>, because: String| {
        Err(ConfigError::Url { place: given.place, because: format!("cannot be used: {because}") })
    };
    if given.value.len() > MAX_TEMPLATE_BYTES {
        return unusable(given, format!("it is longer than {MAX_TEMPLATE_BYTES} bytes"));
    }
    // The scheme and the host are the operator's: a value may not choose where a link leads.
    let (scheme, rest) = given.value.split_once("://").unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return unusable(given, "it does not begin with `https://` or `http://`".to_owned());
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains(['{', '}']) {
        return unusable(given, "what stands in braces may not be part of the host".to_owned());
    }
    let mut filled = given.value.clone();
    for place in PLACES {
        filled = filled.replace(&format!("{{{place}}}"), "x");
    }
    if filled.contains(['{', '}']) {
        let places: Vec<String> = PLACES.iter().map(|place| format!("{{{place}}}")).collect();
        return unusable(given, format!("what stands in braces may be {}", places.join(", ")));
    }
    match Url::parse(&filled) {
        Ok(url) if url.has_host() && url.username().is_empty() && url.password().is_none() => Ok(given.value),
        Ok(_) => unusable(given, "it names no host, or has credentials, which everybody would see".to_owned()),
        Err(error) => unusable(given, error.to_string()),
    }
}

fn wrong(given: Given<String>, expected: String) -> ConfigError {
    ConfigError::Value { place: given.place, value: given.value, expected }
}
