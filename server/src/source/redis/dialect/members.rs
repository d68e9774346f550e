//! What families have in common that keep several holders: raw entries, members whose time is over, and what is foreign.

use bytes::Bytes;
use lockkeeper_model::{Flag, words};

use super::{Raw, Value};
use crate::source::{Entry, Extra};

/// Members that a note names; it counts the rest.
const NAMED: usize = 3;

/// What is left until a moment of the epoch, in milliseconds; `None` once it has passed.
pub(super) fn left_until(end_ms: f64, now_ms: i64) -> Option<i64> {
    // A float that is too large for an integer becomes the largest one, and NaN becomes 0.
    Some((end_ms.ceil() as i64).saturating_sub(now_ms)).filter(|&left| left > 0)
}

/// How a key lies in the store; nothing for one that is not there. The lock's own key is not named.
pub(super) fn entries(raw: &Raw, id: &[u8]) -> Vec<Entry> {
    let key = (*raw.key != *id).then(|| raw.key.clone());
    let entry = |field: Option<&Bytes>, value: Bytes| Entry { key: key.clone(), field: field.cloned(), value };
    match &raw.value {
        Value::String(value) => vec![entry(None, value.clone())],
        Value::Hash(fields) => fields.iter().map(|(field, value)| entry(Some(field), value.clone())).collect(),
        Value::List { items, .. } => items.iter().map(|item| entry(None, item.clone())).collect(),
        Value::Set(members) => members.iter().map(|member| entry(Some(member), Bytes::new())).collect(),
        Value::ZSet(members) => {
            members.iter().map(|(member, score)| entry(Some(member), score.to_string().into())).collect()
        }
        Value::Missing | Value::TooLarge { .. } | Value::Not(_) => Vec::new(),
    }
}

/// Says that members are listed whose time is over.
pub(super) fn note_dead(extra: &mut Extra, dead: &[&[u8]]) {
    if !dead.is_empty() {
        extra.flags.push(Flag::DeadMember);
        extra.notes.push(format!("still listed though their time is over: {}", named(dead)));
    }
}

/// Says that something is stored that no known version of the library writes.
pub(super) fn note_foreign(extra: &mut Extra, foreign: &[&[u8]]) {
    extra.flags.push(Flag::Unrecognised);
    extra.notes.push(format!("not written by any known version of its library: {}", named(foreign)));
}

/// The first of them, fit for a sentence, and how many there are besides.
pub(super) fn named(tokens: &[&[u8]]) -> String {
    let mut said: Vec<String> = tokens
        .iter()
        .take(NAMED)
        .map(|token| format!("`{}`", words::short_token(&String::from_utf8_lossy(token))))
        .collect();
    if tokens.len() > NAMED {
        said.push(format!("{} more", tokens.len() - NAMED));
    }
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_has_passed_leaves_nothing() {
        assert_eq!(left_until(1_000.4, 1_000), Some(1));
        assert_eq!((left_until(1_000.0, 1_000), left_until(f64::NAN, 1_000)), (None, None));
        assert_eq!(left_until(f64::INFINITY, 0), Some(i64::MAX));
    }

    #[test]
    fn many_dead_members_are_counted_and_few_are_named() {
        let mut extra = Extra::default();
        note_dead(&mut extra, &[b"a", b"b\n", b"c", b"d", b"e"]);
        assert_eq!(extra.notes, ["still listed though their time is over: `a`, `b\\u{a}`, `c`, 2 more"]);
    }
}
