use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use super::NavLink;
use super::facts::Facts;
use super::facts_list::FactsList;
use super::sheet_file;
use crate::lang::t;
use crate::live::route::{Route, encode};
use crate::ui::{When, copies_shown, each, flag, maybe, text};

/// The hour of a cell that is drawn: a unit for each minute.
const STEPS: &str = "0 0 61 1";

/// A part of a page that consists of words: what a page says is decided in plain functions, and drawn here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A heading.
    Heading(String),
    /// A sentence, and how much it worries: `calm`, `good`, `warn` or `bad`.
    Say(&'static str, String),
    /// Terms and what they are.
    Facts(Facts),
    /// Rows and columns.
    Table(Table),
    /// Lines, one under the other or further in.
    List(List),
}

/// Rows and columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// What it shows, for whoever does not see what it stands under.
    pub(crate) label: String,
    /// The headings of its columns.
    pub(crate) heads: Vec<&'static str>,
    /// Its rows, of as many cells.
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// Lines, one under the other or further in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    /// What it shows.
    pub(crate) label: String,
    /// Each line, and how far in it stands.
    pub(crate) lines: Vec<(usize, Cell)>,
}

/// Something that is said, more of it in small, and where it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What it says.
    pub(crate) says: String,
    /// What stands under it.
    pub(crate) under: String,
    /// A class for how it looks; the words say the same.
    pub(crate) look: &'static str,
    /// Where it leads.
    pub(crate) to: Option<Route>,
    /// A minute each from left to right, the shapes of those of the first step first; the words say the same.
    pub(crate) drawn: Vec<String>,
    /// What it is, if it is something that is looked for elsewhere: it can be copied.
    pub(crate) copied_as: Option<&'static str>,
}

impl Cell {
    /// A text.
    pub(crate) fn of(says: impl Into<String>) -> Cell {
        Cell { says: says.into(), ..Cell::default() }
    }

    /// With this in small under it.
    pub(crate) fn under(self, under: impl Into<String>) -> Cell {
        Cell { under: under.into(), ..self }
    }

    /// That looks like this.
    pub(crate) fn look(self, look: &'static str) -> Cell {
        Cell { look, ..self }
    }

    /// With this drawn above it.
    pub(crate) fn drawn(self, drawn: Vec<String>) -> Cell {
        Cell { drawn, ..self }
    }

    /// That can be copied, being what this says.
    pub(crate) fn copied_as(self, what: &'static str) -> Cell {
        Cell { copied_as: Some(what), ..self }
    }

    /// That leads there.
    pub(crate) fn to(self, to: Option<Route>) -> Cell {
        Cell { to, ..self }
    }
}

/// Draws blocks. What changes is changed in place, so that it can be read and selected meanwhile.
#[component]
pub(crate) fn Sheet(
    /// In order.
    blocks: Memo<Vec<Block>>,
) -> impl IntoView {
    each(move || blocks.with(Vec::len), move |at| view! { <Piece blocks at /> })
}

#[component]
fn Piece(blocks: Memo<Vec<Block>>, at: usize) -> impl IntoView {
    let kind = Memo::new(move |_| blocks.with(|blocks| blocks.get(at).map_or(0, kind_of)));
    let said =
        move |say: fn(&Block) -> String| text(move || blocks.with(|all| all.get(at).map(say).unwrap_or_default()));
    move || match kind.get() {
        1 => view! { <h2>{said(words_of)}</h2> }.into_any(),
        2 => view! { <p class=said(|block| format!("say {}", tone_of(block)))>{said(words_of)}</p> }.into_any(),
        3 => {
            let facts = Memo::new(move |_| match blocks.with(|blocks| blocks.get(at).cloned()) {
                Some(Block::Facts(facts)) => facts,
                _ => Facts::new(),
            });
            view! { <FactsList facts /> }.into_any()
        }
        4 => table(blocks, at),
        5 => list(blocks, at),
        _ => ().into_any(),
    }
}

fn kind_of(block: &Block) -> i64 {
    match block {
        Block::Heading(_) => 1,
        Block::Say(..) => 2,
        Block::Facts(_) => 3,
        Block::Table(_) => 4,
        Block::List(_) => 5,
    }
}

fn tone_of(block: &Block) -> &'static str {
    if let Block::Say(tone, _) = block { tone } else { "" }
}

fn words_of(block: &Block) -> String {
    match block {
        Block::Heading(words) | Block::Say(_, words) => words.clone(),
        Block::Table(table) => table.label.clone(),
        Block::List(list) => list.label.clone(),
        Block::Facts(_) => String::new(),
    }
}

fn table(blocks: Memo<Vec<Block>>, at: usize) -> AnyView {
    // Compiled once, whatever is asked of it.
    fn with<T: Default>(blocks: &[Block], at: usize, read: impl FnOnce(&Table) -> T) -> T {
        if let Some(Block::Table(table)) = blocks.get(at) { read(table) } else { T::default() }
    }
    let label = text(move || blocks.with(|blocks| with(blocks, at, |table| table.label.clone())));
    let head = move |column: usize| {
        text(move || blocks.with(|all| with(all, at, |table| table.heads.get(column).copied().unwrap_or_default())))
    };
    let columns = move || blocks.with(|blocks| with(blocks, at, |table| table.heads.len()));
    let row = move |row: usize| {
        let cell = move |column: usize| {
            let cell = Memo::new(move |_| {
                blocks.with(|all| with(all, at, |table| table.rows.get(row).and_then(|row| row.get(column)).cloned()))
            });
            view! {
                <td role="cell" data-head=head(column) class=look_of(cell)>
                    {said_in(cell)}
                </td>
            }
        };
        view! { <tr role="row">{each(columns, cell)}</tr> }
    };
    // Written when it is asked for: what is on the screen then is what is taken away.
    let file = move |word: &'static str, kind: &'static str, write: fn(&Table) -> String| {
        let fill = move |event: leptos::ev::MouseEvent| {
            let text = blocks.with_untracked(|all| with(all, at, write));
            if let Some(link) = event.current_target().and_then(|link| link.dyn_into::<web_sys::Element>().ok()) {
                let _ = link.set_attribute("href", &format!("data:{kind};charset=utf-8,{}", encode(&text)));
            }
        };
        view! {
            <a href="#" download=format!("lockkeeper.{}", word.to_lowercase()) on:click=fill>
                {word}
                <span class="unseen">{text(move || t!(file_of, label.get()))}</span>
            </a>
        }
    };
    view! {
        <div class="sheet-scroll">
            <table class="sheet" role="table" aria-label=label>
                <thead role="rowgroup">
                    <tr role="row">
                        {each(columns, move |column| view! { <th scope="col" role="columnheader">{head(column)}</th> })}
                    </tr>
                </thead>
                <tbody role="rowgroup">{each(move || blocks.with(|all| with(all, at, |table| table.rows.len())), row)}</tbody>
            </table>
        </div>
        <p class="files">{file("CSV", "text/csv", sheet_file::csv)} {file("JSON", "application/json", sheet_file::json)}</p>
    }
    .into_any()
}

fn list(blocks: Memo<Vec<Block>>, at: usize) -> AnyView {
    fn of(blocks: &[Block], at: usize) -> &[(usize, Cell)] {
        if let Some(Block::List(list)) = blocks.get(at) { &list.lines } else { &[] }
    }
    let label = text(move || blocks.with(|blocks| blocks.get(at).map(words_of).unwrap_or_default()));
    let line = move |line: usize| {
        let cell = Memo::new(move |_| blocks.with(|blocks| of(blocks, at).get(line).map(|(_, cell)| cell.clone())));
        let look = look_of(cell);
        let depth = move || blocks.with(|blocks| of(blocks, at).get(line).map_or(0, |(depth, _)| *depth));
        view! {
            <li class=text(move || format!("in-{} {}", depth(), look.get()))>{said_in(cell)}</li>
        }
        .attr("aria-level", text(move || (depth() + 1).to_string()))
    };
    view! {
        <ol class="lines" aria-label=label>
            {each(move || blocks.with(|blocks| of(blocks, at).len()), line)}
        </ol>
    }
    .into_any()
}

fn look_of(cell: Memo<Option<Cell>>) -> Signal<String> {
    text(move || cell.with(|cell| cell.as_ref().map_or("", |cell| cell.look)))
}

fn said_in(cell: Memo<Option<Cell>>) -> AnyView {
    let says = maybe(move || cell.with(|cell| cell.as_ref().map(|cell| cell.says.clone())));
    let under =
        maybe(move || cell.with(|cell| cell.as_ref().map(|cell| cell.under.clone()).filter(|it| !it.is_empty())));
    let to = Memo::new(move |_| cell.with(|cell| cell.as_ref().and_then(|cell| cell.to.clone())));
    let words = move || match to.get() {
        Some(route) => view! { <NavLink route>{says}</NavLink> }.into_any(),
        None => view! { <span>{says}</span> }.into_any(),
    };
    let copied_as = Memo::new(move |_| cell.with(|cell| cell.as_ref().and_then(|cell| cell.copied_as)));
    let steps = move || cell.with(|cell| cell.as_ref().map_or(0, |cell| cell.drawn.len()));
    let shapes = move |step: usize| {
        let shapes = maybe(move || cell.with(|cell| cell.as_ref().and_then(|cell| cell.drawn.get(step).cloned())));
        view! { <path class=format!("step-{step}") d=shapes></path> }
    };
    view! {
        <When holds=flag(move || steps() > 0)>
            <svg class="heat" viewBox=STEPS preserveAspectRatio="none" aria-hidden="true">
                {each(steps, shapes)}
            </svg>
        </When>
        {words}
        {move || copied_as.get().map(copies_shown)}
        <small>{under}</small>
    }
    .into_any()
}
