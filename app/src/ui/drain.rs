use js_sys::{Array, Function, Object, Reflect};
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::{JsCast as _, JsValue};

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

/// A bar that drains smoothly. The browser's compositor moves it; nothing is drawn anew as time passes.
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
    let running = StoredValue::new_local(None::<JsValue>);
    let stop = move || {
        if let Some(animation) = running.try_update_value(Option::take).flatten() {
            call(&animation, "cancel", &[]);
        }
    };
    // What still moves keeps its element, and all that was around it, for as long as the lease lasts.
    on_cleanup(stop);
    Effect::new(move |_| {
        let Some(fill) = fill.get() else { return };
        let drain = Drain { ends_at: ends_at.get(), length_ms: length_ms.get() };
        let stopped_at = stopped_at.get();
        stop();
        let now = stopped_at.unwrap_or_else(&now);
        let from = format!("scaleX({})", per_mille(drain.share_left(now)));
        let left = drain.ends_at - now;
        let _ = web_sys::HtmlElement::style(&fill).set_property("transform", &from);
        if stopped_at.is_some() || left <= 0 {
            return;
        }
        let frames = [from.as_str(), "scaleX(0)"].map(|transform| {
            let frame = Object::new();
            let _ = Reflect::set(&frame, &"transform".into(), &transform.into());
            frame
        });
        let options = Object::new();
        let _ = Reflect::set(&options, &"duration".into(), &(left as f64).into());
        let _ = Reflect::set(&options, &"fill".into(), &"forwards".into());
        let animation = call(&fill, "animate", &[Array::from_iter(frames).into(), options.into()]);
        running.set_value(animation);
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
