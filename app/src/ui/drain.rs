use js_sys::{Array, Function, Object, Reflect};
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::HtmlElement;

/// A span of time that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// When it is over.
    pub(crate) ends_at: i64,
    /// How long it is as a whole, in milliseconds.
    pub(crate) length_ms: i64,
}

impl Drain {
    /// The share that is left at `now`, between 0 and 1.
    pub(crate) fn share_left(self, now: i64) -> f64 {
        let left = self.ends_at.saturating_sub(now) as f64;
        (left / self.length_ms.max(1) as f64).clamp(0.0, 1.0)
    }
}

/// What moves a bar. The browser's compositor does; nothing is drawn anew as time passes.
pub(crate) struct Bar {
    fill: HtmlElement,
    running: Option<JsValue>,
}

impl Bar {
    /// Of a bar whose filled part is this element.
    pub(crate) fn new(fill: HtmlElement) -> Bar {
        Bar { fill, running: None }
    }

    /// Drains from where it is at `now`, or stands still where it was at `stopped_at`.
    pub(crate) fn run(&mut self, drain: Drain, stopped_at: Option<i64>, now: i64) {
        self.stop();
        let now = stopped_at.unwrap_or(now);
        let from = format!("scaleX({})", per_mille(drain.share_left(now)));
        let left = drain.ends_at.saturating_sub(now);
        let _ = HtmlElement::style(&self.fill).set_property("transform", &from);
        if stopped_at.is_some() || left <= 0 {
            return;
        }
        let frames = [from.as_str(), EMPTY].map(|transform| {
            let frame = Object::new();
            let _ = Reflect::set(&frame, &"transform".into(), &transform.into());
            frame
        });
        let options = Object::new();
        let _ = Reflect::set(&options, &"duration".into(), &(left as f64).into());
        let _ = Reflect::set(&options, &"fill".into(), &"forwards".into());
        let _ = Reflect::set(&options, &"easing".into(), &STEPS.into());
        self.running = call(&self.fill, "animate", &[Array::from_iter(frames).into(), options.into()]);
    }

    /// There is nothing to drain.
    pub(crate) fn empty(&mut self) {
        self.stop();
        let _ = HtmlElement::style(&self.fill).set_property("transform", EMPTY);
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            call(&running, "cancel", &[]);
        }
    }
}

impl Drop for Bar {
    /// What still moves keeps its element, and all that was around it, for as long as the lease lasts.
    fn drop(&mut self) {
        self.stop();
    }
}

const EMPTY: &str = "scaleX(0)";

/// Eighths of the pixels of the longest bar: more often than sixty times a second while it drains in a quarter of a minute, and
/// not more often than is seen while it takes an hour. What moves by less is drawn anew in each frame all the same.
const STEPS: &str = "steps(1040)";

/// A bar that drains smoothly.
#[component]
pub(crate) fn DrainBar(
    /// When it is over.
    #[prop(into)]
    ends_at: Signal<i64>,
    /// How long it is as a whole, in milliseconds.
    #[prop(into)]
    length_ms: Signal<i64>,
    /// The time to stand still at; `None` lets it run.
    #[prop(into)]
    stopped_at: Signal<Option<i64>>,
    /// Tells the time, exactly and without being followed.
    now: impl Fn() -> i64 + 'static,
) -> impl IntoView {
    let fill = NodeRef::<html::I>::new();
    let bar = StoredValue::new_local(None::<Bar>);
    Effect::new(move |_| {
        let Some(fill) = fill.get() else { return };
        let drain = Drain { ends_at: ends_at.get(), length_ms: length_ms.get() };
        let stopped_at = stopped_at.get();
        bar.update_value(|bar| bar.get_or_insert_with(|| Bar::new(fill)).run(drain, stopped_at, now()));
    });
    view! {
        <div class="drain" aria-hidden="true">
            <i node_ref=fill></i>
        </div>
    }
}

/// A share between 0 and 1 as a number for a style, without the code that prints any float exactly.
fn per_mille(share: f64) -> String {
    let whole = (share * 1_000.0).round() as i64;
    format!("{}.{:03}", whole / 1_000, whole % 1_000)
}

/// Calls a method that the bindings do not offer in their stable part: the Web Animations API.
pub(crate) fn call(target: &JsValue, method: &str, arguments: &[JsValue]) -> Option<JsValue> {
    let function: Function = Reflect::get(target, &method.into()).ok()?.dyn_into().ok()?;
    function.apply(target, &Array::from_iter(arguments)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_printed_as_styles_want_them() {
        assert_eq!([0.0, 0.0804, 0.5, 1.0].map(per_mille), ["0.000", "0.080", "0.500", "1.000"]);
    }

    #[test]
    fn the_share_is_bounded_whatever_the_clocks_say() {
        let drain = Drain { ends_at: 30_000, length_ms: 30_000 };
        assert_eq!([0, 15_000, 30_000, 99_000, -99_000].map(|now| drain.share_left(now)), [1.0, 0.5, 0.0, 0.0, 1.0]);
        assert_eq!(Drain { ends_at: 5, length_ms: 0 }.share_left(0), 1.0);
    }
}
