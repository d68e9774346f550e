use leptos::prelude::*;

use crate::lang::{count, t};
use crate::live::waits::{Drawing, Drawn, Node};
use crate::ui::{When, each, flag, maybe, text};

/// The size of a node and the room between two, in the units of the drawing.
const WIDTH: usize = 150;
const HEIGHT: usize = 26;
const ACROSS: usize = 200;
const DOWN: usize = 36;
const EDGE: usize = 4;

/// Characters of a name that fit into a node.
const MOST_CHARS: usize = 20;

/// Draws who waits for whom, from left to right. What it shows is told in words beside it.
#[component]
pub(crate) fn WaitDrawing(
    /// That.
    drawing: Memo<Drawing>,
) -> impl IntoView {
    let size = text(move || {
        drawing.with(|drawing| {
            let (columns, rows) = extent(drawing);
            format!("0 0 {} {}", columns * ACROSS - (ACROSS - WIDTH) + 2 * EDGE, rows * DOWN + 2 * EDGE)
        })
    });
    let width = text(move || {
        let columns = drawing.with(|drawing| extent(drawing).0);
        (columns * ACROSS - (ACROSS - WIDTH) + 2 * EDGE).to_string()
    });
    let lines = move |in_circle: bool| text(move || drawing.with(|drawing| lines(drawing, in_circle)));
    let node = move |at: usize| {
        let said = move |say: fn(&Drawn) -> String| {
            text(move || drawing.with(|drawing| drawing.nodes.get(at).map(say).unwrap_or_default()))
        };
        view! {
            <g class=said(class)>
                <rect x=said(|it| left(it).to_string()) y=said(|it| top(it).to_string()) width="150" height="26" rx=said(corner) />
                <text x=said(|it| (left(it) + 8).to_string()) y=said(|it| (top(it) + 17).to_string())>
                    {said(name)}
                </text>
            </g>
        }
    };
    let beyond = maybe(move || {
        let left_out = drawing.with(|drawing| drawing.left_out);
        (left_out > 0).then(|| t!(more_are_told_above_and, count(left_out as u64)))
    });
    view! {
        <When holds=flag(move || drawing.with(|drawing| !drawing.nodes.is_empty()))>
            <div class="waits" tabindex="0" role="group" aria-label=t!(the_same_as_a_drawing)>
                <svg viewBox=size width=width role="img" aria-label=t!(holders_to_the_left_what)>
                    <path class="line" d=lines(false) />
                    <path class="line circle" d=lines(true) />
                    {each(move || drawing.with(|drawing| drawing.nodes.len()), node)}
                </svg>
            </div>
            <small>{beyond}</small>
        </When>
    }
}

fn extent(drawing: &Drawing) -> (usize, usize) {
    let most = |of: fn(&Drawn) -> usize| drawing.nodes.iter().map(of).max().map_or(1, |most| most + 1);
    (most(|node| node.column), most(|node| node.row))
}

fn left(node: &Drawn) -> usize {
    EDGE + node.column * ACROSS
}

fn top(node: &Drawn) -> usize {
    EDGE + node.row * DOWN
}

/// People are round, things are not.
fn corner(node: &Drawn) -> String {
    if matches!(node.node, Node::Party(_)) { "13" } else { "3" }.to_owned()
}

fn class(node: &Drawn) -> String {
    let kind = if matches!(node.node, Node::Party(_)) { "party" } else { "lock" };
    if node.in_circle { format!("{kind} circle") } else { kind.to_owned() }
}

fn name(node: &Drawn) -> String {
    if node.name.chars().count() <= MOST_CHARS {
        return node.name.clone();
    }
    let end: String = node.name.chars().take(MOST_CHARS - 1).collect();
    format!("{end}…")
}

/// One path for all lines, from the right side of one to the left side of the other.
fn lines(drawing: &Drawing, in_circle: bool) -> String {
    let mut path = String::new();
    for (from, to, _) in drawing.lines.iter().filter(|line| line.2 == in_circle) {
        let (Some(from), Some(to)) = (drawing.nodes.get(*from), drawing.nodes.get(*to)) else { continue };
        let (x1, y1) = (left(from) + WIDTH, top(from) + HEIGHT / 2);
        let (x2, y2) = (left(to), top(to) + HEIGHT / 2);
        let bend = (ACROSS - WIDTH) / 2;
        // What leads back goes below both, so that it is not taken for a way forward.
        if x2 > x1 {
            path.push_str(&format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend));
        } else {
            let below = y1.max(y2) + DOWN / 2;
            path.push_str(&format!("M{x1} {y1}C{} {below} {} {below} {x2} {y2}", x1 + bend, x2.saturating_sub(bend)));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(node: Node, name: &str, column: usize, row: usize) -> Drawn {
        Drawn { node, name: name.to_owned(), column, row, in_circle: false }
    }

    #[test]
    fn lines_lead_from_side_to_side_and_back_ways_go_below() {
        let nodes = vec![drawn(Node::Party(0), "p", 0, 0), drawn(Node::Lock(0), "l", 1, 1)];
        let drawing = Drawing { nodes, lines: vec![(0, 1, false), (1, 0, true)], left_out: 0 };
        assert_eq!(lines(&drawing, false), "M154 17C179 17 179 53 204 53");
        assert_eq!(lines(&drawing, true), "M354 53C379 71 0 71 4 17");
        assert_eq!(extent(&drawing), (2, 2));
    }

    #[test]
    fn a_name_that_does_not_fit_is_cut_and_says_so() {
        assert_eq!(name(&drawn(Node::Lock(0), "stock:4711", 0, 0)), "stock:4711");
        assert_eq!(name(&drawn(Node::Lock(0), &"ä".repeat(21), 0, 0)), format!("{}…", "ä".repeat(19)));
    }
}
