//! `[[format]]`: ways of storing locks that the operator teaches.

use lockkeeper_model::Mode;

use super::error::{ConfigError, Given, Place};
use super::file::Table;
use super::source::{MAX_NAME_CHARS, checked_pattern};
use crate::source::redis::{Decode, Format, Holder, Lease, MAX_SIGNAL_BYTES, Signal, Target, is_built_in};

/// The most formats: the name of every key is compared with the pattern of each.
const MAX_FORMATS: usize = 64;

/// The longest name of a field, in bytes.
const MAX_FIELD_BYTES: usize = 256;

/// The longest life of a list that is a signal, in milliseconds: those who wait take from it at once, and one that is
/// found a day later wakes somebody for nothing.
const MAX_SIGNAL_MS: u64 = 86_400_000;

const KEYS: &[&str] = &["name", "pattern", "type", "holder", "decode", "lease", "mode", "signal"];
const PUBLISH_KEYS: &[&str] = &["publish", "payload"];
const PUSH_KEYS: &[&str] = &["lpush", "value", "expire_ms"];

/// Checks one more format, after those that stand before it in the file.
pub(super) fn format(mut table: Table<'_, '_>, before: &[Format]) -> Result<Format, ConfigError> {
    if before.len() == MAX_FORMATS {
        let because = format!("there are more than {MAX_FORMATS} formats");
        return Err(ConfigError::Unusable { place: table.place(), because });
    }
    let name = checked_name(table.required("name", "a name that is shown as the dialect")?, before)?;
    let given = table.required("pattern", "a key pattern such as `\"billing:*:lock\"`")?;
    let pattern = checked_pattern(&given)?;
    if pattern.chars().all(|c| matches!(c, '*' | '?')) {
        return Err(wrong(given, "a pattern that does not name every key of every library"));
    }
    let kind = table.required("type", "`string`, `hash`, `zset` or `set`")?;
    let holder = holder(kind, table.required("holder", "where in the key the holder stands")?)?;
    let decode = match table.string("decode")? {
        None => None,
        Some(given) => Some(Decode::parse(&given.value).map_err(|expected| wrong(given, expected))?),
    };
    let lease = table.string("lease")?.map_or(Ok(Lease::Ttl), |given| lease(given, &holder))?;
    let mode = table.string("mode")?.map_or(Ok(Mode::Exclusive), |given| mode(given, &holder))?;
    let signal = match table.take("signal") {
        None => None,
        Some((place, value)) => {
            let expected = "a table such as `{ publish = \"unlock:{name}\", payload = \"1\" }`";
            Some(signal(table.nested(place, value, expected)?, &pattern)?)
        }
    };
    table.finish(KEYS)?;
    Ok(Format { name, pattern, holder, decode, lease, mode, signal })
}

fn checked_name(given: Given<String>, before: &[Format]) -> Result<String, ConfigError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match given.value.as_str() {
        name if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_word) => {
            Err(wrong(given, format!("1 to {MAX_NAME_CHARS} letters, digits, `-`, `_` and `.`")))
        }
        name if is_built_in(name) => Err(wrong(given, "a name that no built-in dialect has")),
        name if before.iter().any(|format| format.name == name) => Err(wrong(given, "a name that no other format has")),
        _ => Ok(given.value),
    }
}

fn holder(kind: Given<String>, holder: Given<String>) -> Result<Holder, ConfigError> {
    let field = |prefix: &str| {
        let field = holder.value.strip_prefix(prefix)?;
        (1..=MAX_FIELD_BYTES).contains(&field.len()).then(|| field.to_owned())
    };
    let (found, expected) = match kind.value.as_str() {
        "string" => (
            match holder.value.as_str() {
                "value" => Some(Holder::Value),
                _ => field("value.json:").map(Holder::JsonField),
            },
            "`value` or `value.json:<field>` in a string",
        ),
        "hash" => (
            match holder.value.as_str() {
                "field" => Some(Holder::Fields),
                _ => field("field:").map(Holder::Field),
            },
            "`field` or `field:<name>` in a hash",
        ),
        "zset" => ((holder.value == "member").then_some(Holder::ZSetMember), "`member` in a zset"),
        "set" => ((holder.value == "member").then_some(Holder::SetMember), "`member` in a set"),
        _ => return Err(wrong(kind, "`string`, `hash`, `zset` or `set`")),
    };
    found.ok_or_else(|| wrong(holder, expected))
}

fn lease(given: Given<String>, holder: &Holder) -> Result<Lease, ConfigError> {
    match given.value.as_str() {
        "ttl" => Ok(Lease::Ttl),
        "score_ms" if *holder == Holder::ZSetMember => Ok(Lease::Score { unit_ms: 1 }),
        "score_s" if *holder == Holder::ZSetMember => Ok(Lease::Score { unit_ms: 1_000 }),
        _ if *holder == Holder::ZSetMember => Err(wrong(given, "`ttl`, `score_ms` or `score_s`")),
        _ => Err(wrong(given, "`ttl`; only the members of a zset end at a score")),
    }
}

fn mode(given: Given<String>, holder: &Holder) -> Result<Mode, ConfigError> {
    match given.value.as_str() {
        "exclusive" => Ok(Mode::Exclusive),
        "shared" if holder.may_be_several() => Ok(Mode::Shared),
        "semaphore" if holder.may_be_several() => Ok(Mode::Semaphore),
        _ if holder.may_be_several() => Err(wrong(given, "`exclusive`, `shared` or `semaphore`")),
        _ => Err(wrong(given, "`exclusive`, because there is one place for a holder")),
    }
}

fn signal(mut table: Table<'_, '_>, pattern: &str) -> Result<Signal, ConfigError> {
    let target = |given: Given<String>| Target::parse(&given.value, pattern).map_err(|expected| wrong(given, expected));
    match (table.string("publish")?, table.string("lpush")?) {
        (Some(channel), None) => {
            let channel = target(channel)?;
            let payload = checked_text(table.required("payload", "the message, such as `\"1\"`")?)?;
            table.finish(PUBLISH_KEYS)?;
            Ok(Signal::Publish { channel, payload })
        }
        (None, Some(key)) => {
            let key = target(key)?;
            let value = checked_text(table.required("value", "the element, such as `\"1\"`")?)?;
            let Some(life) = table.whole_number("expire_ms")? else {
                return Err(table.missing("expire_ms", "how long the list lives if nobody takes it, in milliseconds"));
            };
            if life.value > MAX_SIGNAL_MS {
                let expected = format!("1 to {MAX_SIGNAL_MS} milliseconds");
                return Err(wrong(life.map(|ms| ms.to_string()), expected));
            }
            table.finish(PUSH_KEYS)?;
            Ok(Signal::Push { key, value, expire_ms: life.value })
        }
        (Some(_), Some(list)) => Err(ConfigError::Misplaced {
            place: list.place,
            because: "stands beside `publish`; a release gives one signal",
        }),
        (None, None) => {
            Err(table.missing("publish", "`publish` with `payload`, or `lpush` with `value` and `expire_ms`"))
        }
    }
}

fn checked_text(given: Given<String>) -> Result<String, ConfigError> {
    if given.value.len() > MAX_SIGNAL_BYTES {
        return Err(wrong(given, format!("at most {MAX_SIGNAL_BYTES} bytes")));
    }
    Ok(given.value)
}

fn wrong(given: Given<String>, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { place: given.place, value: given.value, expected: expected.into() }
}

impl Table<'_, '_> {
    pub(super) fn required(&mut self, key: &str, expected: &'static str) -> Result<Given<String>, ConfigError> {
        self.string(key)?.ok_or_else(|| self.missing(key, expected))
    }

    pub(super) fn missing(&self, name: &str, expected: &'static str) -> ConfigError {
        let place = match self.place() {
            Place::Key { file, line, column, key } => Place::Key { file, line, column, key: format!("{key}.{name}") },
            other => other,
        };
        ConfigError::Missing { place, expected }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file::File;

    fn formats(text: &str) -> Result<Vec<Format>, ConfigError> {
        File::parse(Path::new("lockkeeper.toml"), text).map(|file| file.formats)
    }

    /// A rule that is right, with the given lines in place of its own or beside them.
    fn complaint(lines: &[&str]) -> String {
        let mut all = vec!["[[format]]", "name = 'b'", "pattern = 'b:*'", "type = 'zset'", "holder = 'member'"];
        for line in lines {
            let key = |line: &str| line.split(" =").next().map(str::to_owned);
            match all.iter().position(|own| key(own) == key(line)) {
                Some(at) => all[at] = line,
                None => all.push(line),
            }
        }
        formats(&all.join("\n")).expect_err("the rule must be refused").to_string()
    }

    #[test]
    fn a_rule_is_understood() {
        let text = "[[format]]\nname = 'billing-lock'\npattern = 'billing:*:lock'\ntype = 'string'\n\
                    holder = 'value.json:owner'\ndecode = '{host}:{pid}:{_}'\n\
                    signal = { publish = 'unlock:{name}', payload = '1' }\n\
                    [[format]]\nname = 'slots'\npattern = 'slots:*'\ntype = 'zset'\nholder = 'member'\n\
                    lease = 'score_s'\nmode = 'semaphore'\n\
                    signal = { lpush = 'signal:{key}', value = '', expire_ms = 1_000 }";
        let target = |text: &str| Target::parse(text, "*").unwrap();
        assert_eq!(
            formats(text).unwrap(),
            [
                Format {
                    name: "billing-lock".to_owned(),
                    pattern: "billing:*:lock".to_owned(),
                    holder: Holder::JsonField("owner".to_owned()),
                    decode: Some(Decode::parse("{host}:{pid}:{_}").unwrap()),
                    lease: Lease::Ttl,
                    mode: Mode::Exclusive,
                    signal: Some(Signal::Publish { channel: target("unlock:{name}"), payload: "1".to_owned() }),
                },
                Format {
                    name: "slots".to_owned(),
                    pattern: "slots:*".to_owned(),
                    holder: Holder::ZSetMember,
                    decode: None,
                    lease: Lease::Score { unit_ms: 1_000 },
                    mode: Mode::Semaphore,
                    signal: Some(Signal::Push { key: target("signal:{key}"), value: String::new(), expire_ms: 1_000 }),
                },
            ]
        );
    }

    #[test]
    fn a_wrong_rule_is_explained() {
        let long = format!("pattern = '{}'", "x".repeat(513));
        for (lines, message) in [
            (
                &["nmae = 'x'"][..],
                "6:1: `format.nmae` is not a key here, expected one of name, pattern, type, holder, decode, lease, \
                 mode, signal",
            ),
            (&["name = 'redisson'"], "2:8: `format.name` is `redisson`, expected a name that no built-in dialect has"),
            (&["name = 'a b'"], "2:8: `format.name` is `a b`, expected 1 to 64 letters, digits, `-`, `_` and `.`"),
            (&["name = 7"], "2:8: `format.name` is an integer, expected a string"),
            (
                &["pattern = '**'"],
                "3:11: `format.pattern` is `**`, expected a pattern that does not name every key of every library",
            ),
            (
                &["pattern = ''"],
                "3:11: `format.pattern` is ``, expected a key pattern of 1 to 512 bytes, such as `lock:*`",
            ),
            (&["type = 'list'"], "4:8: `format.type` is `list`, expected `string`, `hash`, `zset` or `set`"),
            (&["holder = 'value'"], "5:10: `format.holder` is `value`, expected `member` in a zset"),
            (&["type = 'hash'"], "5:10: `format.holder` is `member`, expected `field` or `field:<name>` in a hash"),
            (
                &["type = 'string'", "holder = 'value.json:'"],
                "5:10: `format.holder` is `value.json:`, expected `value` or `value.json:<field>` in a string",
            ),
            (
                &["decode = '{host}{pid}'"],
                "6:10: `format.decode` is `{host}{pid}`, expected something between two placeholders, by which they can \
                 be told apart",
            ),
            (&["lease = 'score'"], "6:9: `format.lease` is `score`, expected `ttl`, `score_ms` or `score_s`"),
            (
                &["type = 'set'", "lease = 'score_s'"],
                "6:9: `format.lease` is `score_s`, expected `ttl`; only the members of a zset end at a score",
            ),
            (
                &["type = 'hash'", "holder = 'field:owner'", "mode = 'shared'"],
                "6:8: `format.mode` is `shared`, expected `exclusive`, because there is one place for a holder",
            ),
            (&["mode = 'fair'"], "6:8: `format.mode` is `fair`, expected `exclusive`, `shared` or `semaphore`"),
            (
                &["signal = { publish = 'a', payload = '1', lpush = 'b' }"],
                "6:50: `format.signal.lpush` stands beside `publish`; a release gives one signal",
            ),
            (
                &["signal = { publish = 'a', payload = '1', value = '1' }"],
                "6:42: `format.signal.value` is not a key here, expected one of publish, payload",
            ),
            (
                &["signal = { publish = 'a' }"],
                "6:10: `format.signal.payload` is missing, expected the message, such as `\"1\"`",
            ),
            (
                &["signal = { }"],
                "6:10: `format.signal.publish` is missing, expected `publish` with `payload`, or `lpush` with `value` \
                 and `expire_ms`",
            ),
            (
                &["signal = { lpush = 'a', value = '1' }"],
                "6:10: `format.signal.expire_ms` is missing, expected how long the list lives if nobody takes it, in \
                 milliseconds",
            ),
            (
                &["signal = { lpush = 'a', value = '1', expire_ms = 86400001 }"],
                "6:50: `format.signal.expire_ms` is `86400001`, expected 1 to 86400000 milliseconds",
            ),
            (
                &["pattern = 'b:?'", "signal = { publish = 'u:{name}', payload = '1' }"],
                "6:22: `format.signal.publish` is `u:{name}`, expected no `{name}`, because `b:?` has no `*` for it to \
                 stand for",
            ),
            (
                &["signal = { publish = 'u:{id}', payload = '1' }"],
                "6:22: `format.signal.publish` is `u:{id}`, expected no placeholder but `{name}` and `{key}`",
            ),
        ] {
            assert_eq!(complaint(lines), format!("lockkeeper.toml:{message}"), "{lines:?}");
        }
        assert!(complaint(&[&long]).ends_with("expected a key pattern of 1 to 512 bytes, such as `lock:*`"));
    }

    #[test]
    fn what_is_missing_or_there_twice_is_named() {
        let rule = "[[format]]\nname = 'b'\npattern = 'b:*'\ntype = 'set'\nholder = 'member'\n";
        for (text, message) in [
            (
                format!("{rule}{rule}"),
                "lockkeeper.toml:7:8: `format.name` is `b`, expected a name that no other format has",
            ),
            (
                "[[format]]\nname = 'b'".to_owned(),
                "lockkeeper.toml:1:1: `format.pattern` is missing, expected a key pattern such as `\"billing:*:lock\"`",
            ),
            (
                "format = 1".to_owned(),
                "lockkeeper.toml:1:10: `format` is an integer, expected tables, each begun by `[[format]]`",
            ),
        ] {
            assert_eq!(formats(&text).unwrap_err().to_string(), message);
        }
        let many: String = (0..=MAX_FORMATS).map(|n| rule.replace("'b'", &format!("'b{n}'"))).collect();
        assert!(formats(&many).unwrap_err().to_string().ends_with("there are more than 64 formats"));
    }
}
