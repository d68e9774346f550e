use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

use super::lock_table::LockTable;
use crate::lang::{count, t};
use crate::live::groups::{Group, Groups, kept_order};
use crate::live::poll;
use crate::nav::Nav;
use crate::ui::{When, flag, maybe, skeleton, text};

/// How often it is asked how the groups are, in seconds. The locks of the open one are told as they change.
const EVERY_S: i64 = 2;

/// The locks put together; the open group shows its locks.
#[component]
pub(crate) fn Grouped() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let polled = poll(maybe(move || nav.route.with(|route| route.groups_path())), EVERY_S);
    let open = Memo::new(move |_| nav.route.with(|route| route.question.within.clone()));
    let groups = Memo::new(move |_| {
        let by = nav.route.with(|route| route.question.group)?;
        polled.answer.with(|answer| answer.as_ref().map(|answer| Groups::read(answer, by)))
    });
    let order = Memo::new(move |before: Option<&Vec<String>>| {
        let before = before.map_or(&[][..], Vec::as_slice);
        groups.with(|groups| {
            let now = groups.as_ref().map_or(&[][..], |groups| groups.listed.as_slice());
            kept_order(before, now, open.with(Option::is_some))
        })
    });
    let beyond = maybe(move || {
        let (more, locks) = groups.with(|groups| groups.as_ref().map(|groups| groups.beyond))?;
        (more > 0).then(|| t!(more_groups_with_locks, count(more), count(locks)))
    });
    let none = flag(move || groups.with(|groups| groups.as_ref().is_some_and(|groups| groups.listed.is_empty())));
    let refused = maybe(move || {
        polled.refusal.with(|refusal| refusal.as_ref().map(|refusal| t!(not_as_of_now, shown(&refusal.detail))))
    });
    view! {
        <div class="groups" role="region" aria-label=t!(groups_of_locks) on:keydown=move_among>
            <When holds=flag(move || refused.with(Option::is_some))>
                <p class="say warn" role="status">{refused}</p>
            </When>
            <When holds=flag(move || groups.with(Option::is_none))>{skeleton("table", t!(asking))}</When>
            <When holds=none>
                <p class="say calm">{t!(no_lock_answers)}</p>
            </When>
            <ul>
                <For each=move || order.get() key=Clone::clone let(value)>
                    <OneGroup value groups open />
                </For>
            </ul>
            <p class="beyond">{beyond}</p>
        </div>
    }
}

/// One group: a button that says how it is, and its locks while it is open.
#[component]
fn OneGroup(value: String, groups: Memo<Option<Groups>>, open: Memo<Option<String>>) -> impl IntoView {
    let nav = expect_context::<Nav>();
    let value = StoredValue::new(value);
    let said = move |say: fn(&Group) -> String| {
        text(move || {
            groups.with(|groups| {
                let listed = groups.as_ref().map_or(&[][..], |groups| groups.listed.as_slice());
                value.with_value(|value| listed.iter().find(|group| group.value == *value).map(say)).unwrap_or_default()
            })
        })
    };
    let is_open = Memo::new(move |_| open.with(|open| value.with_value(|value| open.as_ref() == Some(value))));
    let toggle = move |_| {
        let next = (!is_open.get_untracked()).then(|| value.get_value());
        nav.ask(|question| question.within = next);
    };
    let name = said(|group| group.name.clone());
    view! {
        <li class="group">
            <button type="button" class="group-head" aria-expanded=text(move || is_open.get().to_string()) on:click=toggle>
                <b>{name}</b>
                <span class="group-size">{said(|group| group.size.clone())}</span>
                <span>{said(|group| group.waited.clone())}</span>
                <span class=said(|group| format!("group-worst {}", group.look))>
                    <span>{said(|group| group.worst.clone())}</span>
                </span>
            </button>
            <When holds=is_open>
                <div class="group-locks" style=("--locks", said(|group| group.locks.to_string()))>
                    <LockTable />
                </div>
            </When>
        </li>
    }
}

/// Arrows go from group to group, and open and close one, as in a tree.
fn move_among(event: KeyboardEvent) {
    let Some(head) = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok()) else { return };
    if !head.class_list().contains("group-head") {
        return;
    }
    let is_open = head.get_attribute("aria-expanded").as_deref() == Some("true");
    let group = head.parent_element();
    let other = match event.key().as_str() {
        "ArrowDown" => group.and_then(|group| group.next_element_sibling()),
        "ArrowUp" => group.and_then(|group| group.previous_element_sibling()),
        "ArrowRight" if !is_open => {
            head.click();
            None
        }
        "ArrowLeft" if is_open => {
            head.click();
            None
        }
        _ => return,
    };
    event.prevent_default();
    if let Some(head) =
        other.and_then(|group| group.first_element_child()).and_then(|head| head.dyn_into::<HtmlElement>().ok())
    {
        let _ = head.focus();
    }
}
