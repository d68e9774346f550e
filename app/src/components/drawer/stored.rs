use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Lock, StoredEntry};

use crate::components::facts::Facts;
use crate::components::facts_list::FactsList;
use crate::lang::t;
use crate::ui::{When, flag, maybe};

/// How it lies in the store: every key, every field.
#[component]
pub(crate) fn StoredForm(
    /// The lock.
    lock: Memo<Option<Lock>>,
    /// With the bytes of every value, and open.
    whole: bool,
) -> impl IntoView {
    let stored = move || lock.with(|lock| lock.as_ref().and_then(|lock| lock.stored.clone()));
    let summary = maybe(move || stored().map(|stored| t!(as_stored, shown(&stored.kind))));
    let facts: Memo<Facts> = Memo::new(move |_| {
        stored().map(|stored| stored.entries.iter().flat_map(|entry| lines(entry, whole)).collect()).unwrap_or_default()
    });
    view! {
        <When holds=flag(move || stored().is_some())>
            <details class="stored" open=whole>
                <summary>{summary}</summary>
                <FactsList facts />
            </details>
        </When>
    }
}

/// One value: under which key, in which field, and what it is; with its bytes where those are wanted.
fn lines(entry: &StoredEntry, whole: bool) -> Facts {
    let value = match &entry.value {
        Some(value) if value.is_empty() => t!(empty).to_owned(),
        Some(value) => shown(value),
        None => t!(b64_not_text, shown(&entry.value_b64)),
    };
    let mut lines: Facts = Vec::new();
    lines.extend(entry.key.as_deref().map(|key| (t!(key_of_entry), shown(key))));
    lines.extend(entry.field.as_deref().map(|field| (t!(field), shown(field))));
    lines.push((t!(value), value));
    if whole && entry.value.is_some() {
        lines.push(("base64", shown(&entry.value_b64)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such_under_their_key_and_field() {
        let entry = StoredEntry {
            key: Some("redisson_lock_queue:{a}".to_owned()),
            field: Some("b64:/w==".to_owned()),
            value: None,
            value_b64: "/wA=".to_owned(),
        };
        assert_eq!(
            lines(&entry, true),
            [
                ("key", "redisson_lock_queue:{a}".to_owned()),
                ("field", "b64:/w==".to_owned()),
                ("value", "b64:/wA= (not text)".to_owned()),
            ]
        );
        let plain = StoredEntry { key: None, field: None, value: Some(String::new()), value_b64: String::new() };
        assert_eq!(lines(&plain, false), [("value", "(empty)".to_owned())]);
        let text = StoredEntry { value: Some("ab".to_owned()), value_b64: "YWI=".to_owned(), ..plain };
        assert_eq!(lines(&text, true), [("value", "ab".to_owned()), ("base64", "YWI=".to_owned())]);
    }
}
