use leptos::prelude::*;
use lockkeeper_model::{
    Action, Flag, FlagNote, Lock, LockState, PreviewRequest, Stored, StoredEntry, TransitionKind, Verdict,
};

use crate::components::sheet::{Block, Cell, List, Sheet, Table};
use crate::components::{Acts, Background, Judgement, LeaseChart, NavLink, WaitDrawing, followed};
use crate::fixtures::{event, lock, quorum, stuck};
use crate::live::json::parse;
use crate::live::route::{Page, Route};
use crate::live::waits::Waits;
use crate::live::{Detail, Live};
use crate::nav::Nav;
use crate::ui::{CopyButton, Glyph, Icon, each, text};

/// States of a lock, by the words that choose them in the address.
const STATES: [&str; 7] = ["held", "several", "stuck", "quorum", "gone", "warned", "free"];

/// Two threads that wait for each other.
const CIRCLE: &str = r#"{"parties":[{"id":"party-0","name":"web-1, thread 1","linked_by":["thread"]},
    {"id":"party-1","name":"web-1, thread 2","linked_by":["thread"]}],
    "locks":[{"node":"lock-0","source":"s","id":"a","name":"stock:4711","waiters":1,"basis":"reported","nameless":0},
    {"node":"lock-1","source":"s","id":"b","name":"stock:4712","waiters":3,"basis":"reported","nameless":2}],
    "edges":[{"from":"lock-0","to":"party-0","kind":"held_by","basis":"exact"},
    {"from":"lock-1","to":"party-1","kind":"held_by","basis":"exact"},
    {"from":"party-0","to":"lock-1","kind":"waits","basis":"reported"},
    {"from":"party-1","to":"lock-0","kind":"waits","basis":"reported"}],"cycles":[{"nodes":["party-0","lock-1","party-1",
    "lock-0"],"says":"web-1, thread 1 waits for stock:4712","linked_by":"thread"}],"head_blockers":[]}"#;

/// Every piece in every state, for whoever works on them. Nothing of it is true, and nothing of it is in a release.
#[component]
pub(crate) fn GalleryPage() -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let state = Memo::new(move |_| {
        let wanted = nav.route.with(|route| route.question.q.clone());
        STATES.into_iter().find(|state| *state == wanted).unwrap_or(STATES[0])
    });
    Effect::new(move |_| {
        let lock = in_state(state.get());
        let events = [(TransitionKind::Renewed, 60_000), (TransitionKind::Gap, 20_000), (TransitionKind::Acquired, 0)];
        let events = events.map(|(kind, at)| event(kind, at)).into();
        let id = crate::fixtures::lock().id;
        live.detail.set(Some(Detail { source: "orders".to_owned(), id, lock, events, events_cut: true }));
    });
    on_cleanup(move || live.detail.set(None));
    let (shown, releasing) = (followed(), RwSignal::new(None::<PreviewRequest>));
    let place = StoredValue::new(("orders".to_owned(), lock().id));
    let blocks = Memo::new(|_| blocks());
    let drawing = Memo::new(|_| parse(CIRCLE).map(|answer| Waits::read(&answer).drawing()).unwrap_or_default());
    let choice = move |at: usize| {
        let mut route = Route { page: Page::Gallery, ..Route::default() };
        route.question.q = STATES[at].to_owned();
        view! {
            <NavLink route>{STATES[at]}</NavLink>
            " "
        }
    };
    view! {
        <main class="page">
            <h1>"Gallery"</h1>
            <h2>"Controls"</h2>
            <p>
                <button type="button" class="plain">"Plain"</button>
                " "
                <button type="button" class="plain" aria-pressed="true">"Pressed"</button>
                " "
                <button type="button" class="danger">"Release…"</button>
                " "
                <button type="button" class="danger" disabled>"Release…"</button>
                " "
                <button type="button" class="chip" aria-pressed="true">"Chip"</button>
                " "
                <CopyButton text=text(|| "copied") word="copy" what="nothing" />
                " "
                <kbd>"/"</kbd>
                " "
                <i class="tag">"tag"</i>
                " "
                <span class="badge production">"production"</span>
                " "
                <Icon glyph=Glyph::Gate />
            </p>
            <h2>"Words"</h2>
            <Sheet blocks />
            <h2>"Waits"</h2>
            <WaitDrawing drawing />
            <h2>"A lock: " {text(move || state.get())}</h2>
            <p>{each(|| STATES.len(), choice)}</p>
            <div class="account">
                <Judgement lock=shown releasing />
                <LeaseChart lock=shown />
                <Background lock=shown place whole=true />
            </div>
            <Acts lock=shown releasing />
        </main>
    }
}

fn in_state(state: &str) -> Option<Lock> {
    let mut lock = lock();
    match state {
        "several" => {
            let mut other = lock.holders[0].clone();
            (other.verdict, other.renewals.last_at, other.generation) = (Verdict::Quiet, None, "h2".to_owned());
            lock.holders.push(other);
        }
        "stuck" => return Some(stuck()),
        "quorum" => lock.quorum = Some(quorum()),
        "gone" => {
            (lock.holders[0].verdict, lock.lease.expires_at, lock.holders[0].lease.expires_at) =
                (Verdict::Gone, None, None);
            lock.no_release = Some("it is a test".to_owned());
        }
        "warned" => {
            lock.state = LockState::UnknownHolder;
            lock.flags = Flag::ALL.into();
            let note = |flag| FlagNote {
                flag,
                what: "What is so.".into(),
                why: "Why it matters.".into(),
                todo: "This.".into(),
            };
            lock.flag_notes = lock.flags.iter().copied().map(note).collect();
            let entry = StoredEntry {
                key: None,
                field: Some("a".into()),
                value: Some("text".into()),
                value_b64: "dGV4dA==".into(),
            };
            lock.stored = Some(Stored { kind: "hash".to_owned(), entries: vec![entry], companions: Vec::new() });
        }
        "free" => return None,
        _ => {}
    }
    Some(lock)
}

fn blocks() -> Vec<Block> {
    let tones = ["calm", "good", "warn", "bad"];
    let mut blocks: Vec<Block> = tones.map(|tone| Block::Say(tone, format!("A sentence that is {tone}."))).into();
    let looks = ["is-alive", "is-quiet", "is-gone", "is-unknown", "heat-1", "heat-2", "heat-3", "heat-4"];
    let row =
        |look: &'static str| vec![Cell::of(look).look(look), Cell::of(Action::Release.word()).under("more of it")];
    blocks.push(Block::Facts(vec![("Term", "what it is".to_owned()), ("Other", "x".repeat(300))]));
    blocks.push(Block::Table(Table {
        label: "Looks".to_owned(),
        heads: vec!["Look", "Other"],
        rows: looks.map(row).into(),
    }));
    let lines = (0..12).map(|depth| (depth, Cell::of(format!("so far in: {depth}")).under("basis"))).collect();
    blocks.push(Block::List(List { label: "Lines".to_owned(), lines }));
    blocks
}
