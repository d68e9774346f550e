use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

use crate::components::{Drawer, LockTable, Selecting, SelectionBar, TableKeys, Toolbar, Typed};
use crate::lang::t;
use crate::live::Live;
use crate::nav::Nav;
use crate::parts::{Parts, Piece};
use crate::ui::copy_pointed;

/// Every lock, and the one that is open.
#[component]
pub(crate) fn LocksPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let parts = expect_context::<Parts>();
    let keys = TableKeys::new();
    provide_context(keys);
    provide_context(Selecting::new());
    provide_context(Typed(RwSignal::new(nav.route.with_untracked(|route| route.question.q.clone()))));
    let search = NodeRef::<html::Input>::new();
    let grouped = Memo::new(move |_| nav.route.with(|route| route.question.group.is_some()));
    let open = Memo::new(move |_| nav.route.with(|route| route.lock.clone()));
    Effect::new(move |_| live.follow(open.get()));
    on_cleanup(move || live.follow(None));
    // A lock that was open from the start came with the address: nobody asked to have the focus moved.
    let from_address = StoredValue::new(true);
    listen_to_keys(live, nav, keys, search);
    view! {
        <div class="stage" class:with-drawer=move || open.with(Option::is_some)>
            <main>
                <h1 class="unseen">{t!(locks)}</h1>
                <Toolbar search />
                {move || match grouped.get() {
                    true => parts.draw(Piece::Groups),
                    false => view! { <LockTable /> }.into_any(),
                }}
                <SelectionBar />
            </main>
            {move || {
                let take_focus = from_address.try_update_value(|first| !std::mem::take(first)).unwrap_or_default();
                open.get().map(|(source, id)| view! { <Drawer source id take_focus /> })
            }}
        </div>
    }
}

/// `/` searches, arrows choose, Enter opens, Escape closes, `p` holds still. While somebody types, keys are letters.
pub(super) fn listen_to_keys(live: Live, nav: Nav, keys: TableKeys, search: NodeRef<html::Input>) {
    // Where nothing can be chosen there is nothing to choose with.
    let selecting = use_context::<Selecting>();
    let listening = window_event_listener(ev::keydown, move |event| {
        if event.default_prevented() || event.ctrl_key() || event.meta_key() || event.alt_key() || dialog_is_open() {
            return;
        }
        let at = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok());
        let tag = at.as_ref().map(|at| at.tag_name()).unwrap_or_default();
        let typing = matches!(tag.as_str(), "INPUT" | "TEXTAREA" | "SELECT")
            || at.as_ref().is_some_and(HtmlElement::is_content_editable);
        // A button or link that has the focus keeps its own keys.
        let pressing = matches!(tag.as_str(), "BUTTON" | "A" | "SUMMARY");
        match event.key().as_str() {
            "Escape" if typing => {
                if let Some(at) = at {
                    let _ = at.blur();
                }
                keys.focus();
            }
            "Escape" => {
                if nav.route.with_untracked(|route| route.lock.is_some()) {
                    nav.open(None);
                    keys.focus();
                } else if let Some(selecting) = selecting {
                    selecting.end();
                }
            }
            _ if typing => return,
            "/" => {
                if let Some(search) = search.get_untracked() {
                    let _ = search.focus();
                    search.select();
                }
            }
            "x" | "X" => {
                let (Some((id, _)), Some(selecting)) = (keys.pointed.get_untracked(), selecting) else { return };
                selecting.choose(live, id, event.shift_key());
            }
            "c" => copy_pointed(),
            "p" => keys.paused.update(|paused| *paused = !*paused),
            "ArrowDown" | "j" => keys.step(live, 1),
            "ArrowUp" | "k" => keys.step(live, -1),
            "Enter" if !pressing => {
                let Some((id, _)) = keys.pointed.get_untracked() else { return };
                let Some(row) = live.row(id) else { return };
                nav.open(Some(row.with_untracked(|view| (view.row.source.clone(), view.row.id.clone()))));
            }
            _ => return,
        }
        event.prevent_default();
    });
    on_cleanup(move || listening.remove());
}

fn dialog_is_open() -> bool {
    document().query_selector("dialog[open]").ok().flatten().is_some()
}
