use leptos::{html, prelude::*};
use lockkeeper_model::words::shown;
use lockkeeper_model::{Lock, LockId};
use wasm_bindgen_futures::spawn_local;

use super::sentence::whole;
use super::sheet::{Block, Cell, List, Sheet};
use crate::lang::t;
use crate::live::json::Value;
use crate::live::route::encode;
use crate::live::{api, poll};
use crate::ui::{When, day, flag, hms, maybe};

/// How often notes are asked for again, in seconds: people write them, slowly.
const EVERY_S: i64 = 10;

/// What people wrote on a lock, and where to write more.
#[component]
pub(crate) fn Notes(
    /// Its source.
    source: String,
    /// The lock.
    id: LockId,
    /// The same as it is now.
    lock: Memo<Option<Lock>>,
) -> impl IntoView {
    let path = format!("/api/v1/locks/{}/{}/notes", encode(&source), encode(id.as_str()));
    let notes = {
        let path = path.clone();
        poll(maybe(move || Some(path.clone())), EVERY_S)
    };
    let blocks = Memo::new(move |_| notes.answer.with(|answer| answer.as_ref().map(told).unwrap_or_default()));
    let may_write = flag(move || notes.answer.with(|answer| answer.as_ref().is_some_and(|it| it.holds("may_write"))));
    let field = NodeRef::<html::Input>::new();
    // The hold that was on the screen when somebody began to write: it is that one that they write about.
    let about = RwSignal::new(None::<String>);
    let seen_now = move || lock.with_untracked(|lock| lock.as_ref().map(|lock| lock.generation.clone()));
    let began = move |_| {
        if about.with_untracked(Option::is_none) {
            about.set(seen_now());
        }
    };
    // What somebody began to write stays before them when the lock goes, for a moment or for good.
    let may_begin = flag(move || lock.with(Option::is_some) || about.with(Option::is_some));
    let said = RwSignal::new(None::<String>);
    let write = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(field) = field.get_untracked() else { return };
        let (text, generation) = (field.value(), about.get_untracked());
        let Some(generation) = generation.filter(|_| !text.trim().is_empty()) else { return };
        let path = path.clone();
        spawn_local(async move {
            let written = api::write_note(path, &text, &generation).await;
            let words = match written {
                Ok(()) => {
                    field.set_value("");
                    let _ = about.try_set(None);
                    notes.again();
                    t!(written_down).to_owned()
                }
                Err(refusal) => {
                    // What they write next is about what they see now, if there is anything.
                    let now = seen_now();
                    let _ = about.try_update(|about| *about = now.or(about.take()));
                    let hint = refusal.hint.map(|hint| format!(" ({})", shown(&hint))).unwrap_or_default();
                    t!(not_written, shown(refusal.detail.trim_end_matches('.')), hint)
                }
            };
            // The page may have been left meanwhile.
            let _ = said.try_set(Some(words));
        });
    };
    view! {
        <h3>{t!(notes)}</h3>
        <Sheet blocks />
        <When holds=flag(move || may_write.get() && may_begin.get())>
            <form class="write-note" on:submit=write.clone()>
                <input
                    class="typed"
                    maxlength="500"
                    aria-label=t!(a_note_about_who_holds)
                    placeholder=t!(about_who_holds_it_now)
                    node_ref=field
                    on:input=began
                />
                <button class="plain">{t!(write)}</button>
            </form>
        </When>
        <p class="said" role="status">
            {maybe(move || said.get())}
        </p>
    }
}

fn told(answer: &Value) -> Vec<Block> {
    let note = |note: &Value| {
        let at = note.time("at").map(|at| format!("{} {}", day(at), hms(at))).unwrap_or_default();
        let about = match note.text("about") {
            "now" => t!(about_who_holds_it_now_in_notes),
            "earlier" => t!(about_an_earlier_hold),
            _ => t!(from_before_the_server_was),
        };
        let under = format!("{}, {at}, {about}", shown(note.text("author")));
        (
            0,
            Cell::of(whole(note.text("text")))
                .under(under)
                .look(if note.text("about") == "now" { "" } else { "past" })
                .copied_as(t!(note)),
        )
    };
    let lines: Vec<(usize, Cell)> = answer.items("notes").iter().map(note).collect();
    let mut blocks = Vec::new();
    if lines.is_empty() {
        blocks.push(Block::Say("calm", t!(nobody_wrote_anything_about_this).to_owned()));
    } else {
        blocks.push(Block::List(List { label: t!(notes).to_owned(), lines }));
    }
    if !answer.holds("lasting") {
        blocks.push(Block::Say("warn", t!(notes_are_kept_in_memory).to_owned()));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    #[test]
    fn a_note_says_by_whom_when_and_about_which_hold_it_is() {
        let answer = parse(
            r#"{"notes":[{"at":"1970-01-01T00:00:07.000Z","author":"ada","via":"password","text":"a\u202e","about":"now"},
            {"at":"1970-01-01T00:00:06.000Z","author":"bob","via":"oidc","text":"b","about":"unknown"}],
            "may_write":true,"lasting":true}"#,
        );
        let blocks = told(&answer.unwrap());
        let [Block::List(list)] = &blocks[..] else { panic!("{blocks:?}") };
        let first = &list.lines[0].1;
        assert_eq!((first.says.as_str(), first.look), ("a\\u{202e}", ""));
        assert_eq!(first.under, "ada, 1970-01-01 00:00:07, about who holds it now");
        assert!(list.lines[1].1.under.contains("is not known") && list.lines[1].1.look == "past");
        let none = told(&parse(r#"{"notes":[],"may_write":false,"lasting":false}"#).unwrap());
        assert!(matches!(&none[..], [Block::Say("calm", _), Block::Say("warn", said)] if said.contains("in memory")));
    }
}
