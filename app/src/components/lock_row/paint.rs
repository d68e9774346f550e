use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement, HtmlInputElement, Node};

use super::face::{Beat, Face, Ink, Place};
use crate::ui::Bar;

/// A row, with nothing said yet. Roles are written out, because boxes other than table boxes lose them.
const MARKUP: &str = "<tr role=row data-covered>\
    <td role=gridcell class=c-select><label class=pick><input type=checkbox></label></td>\
    <td role=gridcell class=c-lock><a class=name tabindex=-1></a><button type=button class=copy tabindex=-1></button>\
    <small class=from><span></span><i class=tag></i><i class=tag></i></small></td>\
    <td role=gridcell class=c-holder><code></code><button type=button class=copy tabindex=-1></button><small></small></td>\
    <td role=gridcell class=c-alive><span></span><small></small><i aria-hidden=true></i></td>\
    <td role=gridcell class='c-held number'><span></span><small></small></td>\
    <td role=gridcell class=c-lease><div><div class=drain aria-hidden=true><i></i></div></div><small></small></td>\
    <td role=gridcell class='c-waiting number'><span class=count></span><small></small></td>\
    <td role=gridcell class='c-blocked number'><span class=count></span><small><svg class=spark viewBox='0 0 34 12' \
    aria-hidden=true focusable=false><path></path></svg><span class=how></span></small></td></tr>";

/// The row that is copied for each one that is drawn.
pub(super) fn markup() -> Option<Element> {
    let body = document().create_element("tbody").ok()?;
    // Fixed markup of our own: what a store says is only ever written as text.
    body.set_inner_html(MARKUP);
    body.first_element_child()
}

/// The nodes of a row, and what was written into them last.
pub(super) struct Painter {
    nodes: Vec<Node>,
    painted: Face,
    row: Element,
    /// The cell of the box, which is in the row while rows are being chosen.
    choice: Element,
    bar: Bar,
    beat: HtmlElement,
}

impl Painter {
    /// A copy of the markup, and what paints it.
    pub(super) fn new(markup: &Element) -> Option<(Element, Painter)> {
        let row: Element = markup.clone_node_with_deep(true).ok()?.dyn_into().ok()?;
        let find = |selector: &str| row.query_selector(selector).ok().flatten();
        let nodes = Place::ALL.iter().map(|(_, selector, ink)| {
            let element = if selector.is_empty() { row.clone() } else { find(selector)? };
            match ink {
                Ink::Text => element.append_child(&document().create_text_node("")).ok(),
                Ink::Attribute(_) | Ink::Tick => Some(element.into()),
            }
        });
        let painter = Painter {
            nodes: nodes.collect::<Option<_>>()?,
            painted: Face::blank(),
            row: row.clone(),
            choice: find(".c-select")?,
            bar: Bar::new(find(".drain i")?.dyn_into().ok()?),
            beat: find(".c-alive i")?.dyn_into().ok()?,
        };
        painter.choice.remove();
        Some((row, painter))
    }

    /// Writes what differs from what is there. What moves begins where it is at `now`.
    pub(super) fn paint(&mut self, face: Face, now: i64) {
        let texts = face.texts().iter().zip(self.painted.texts());
        for (((text, painted), node), (_, _, ink)) in texts.zip(&self.nodes).zip(Place::ALL) {
            if text != painted {
                write(node, *ink, text.as_deref());
            }
        }
        if face.has_box != self.painted.has_box {
            self.choice.remove();
            if face.has_box {
                let _ = self.row.insert_before(&self.choice, self.row.first_child().as_ref());
            }
        }
        if face.drain != self.painted.drain {
            match face.drain {
                Some(draining) => self.bar.run(draining.drain, draining.stopped_at, now),
                None => self.bar.empty(),
            }
        }
        if face.beat != self.painted.beat {
            self.beat(face.beat, now);
        }
        self.painted = face;
    }

    /// From the last beat of a holder that renews until its next. The style sheet moves it; each beat begins it anew by another of
    /// two names for the same motion.
    fn beat(&self, beat: Option<Beat>, now: i64) {
        let Some(Beat { at, period_ms, renewals }) = beat else { return self.beat.set_class_name("") };
        let style = HtmlElement::style(&self.beat);
        let passed = now.saturating_sub(at).clamp(0, period_ms.max(0));
        let _ = style.set_property("--period", &format!("{period_ms}ms"));
        let _ = style.set_property("--passed", &format!("-{passed}ms"));
        self.beat.set_class_name(if renewals % 2 == 0 { "beat even" } else { "beat odd" });
    }
}

fn write(node: &Node, ink: Ink, text: Option<&str>) {
    match ink {
        Ink::Text => node.set_node_value(Some(text.unwrap_or_default())),
        Ink::Attribute(name) => {
            let Some(element) = node.dyn_ref::<Element>() else { return };
            let _ = match text {
                Some(text) => element.set_attribute(name, text),
                None => element.remove_attribute(name),
            };
        }
        Ink::Tick => {
            if let Some(input) = node.dyn_ref::<HtmlInputElement>() {
                input.set_checked(text.is_some());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lock_columns::Column;
    use super::*;

    #[test]
    fn the_cells_stand_in_the_order_of_their_columns() {
        let class = |column: Column| {
            let class = column.class();
            let quoted = if class.contains(' ') { format!("'{class}'") } else { class.to_owned() };
            MARKUP.find(&format!("<td role=gridcell class={quoted}>")).unwrap()
        };
        assert!(Column::ALL.map(class).is_sorted());
        assert_eq!(MARKUP.matches("<td ").count(), Column::ALL.len() + 1);
    }
}
