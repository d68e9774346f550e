use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::answers::Refusal;
use super::json::Value;
use super::{Live, api};

/// An answer that is asked for again and again for as long as somebody looks at it.
#[derive(Clone, Copy)]
pub(crate) struct Polled {
    /// The last answer; `None` before the first, and when another question was asked.
    pub(crate) answer: RwSignal<Option<Value>>,
    /// Why the last attempt brought none; the answer before it is still shown, as of when it was true.
    pub(crate) refusal: RwSignal<Option<Refusal>>,
    again: RwSignal<i64>,
    held: RwSignal<bool>,
}

impl Polled {
    /// Asks once more, now.
    pub(crate) fn again(self) {
        self.again.update(|times| *times += 1);
    }

    /// Holds the answer still, or lets it go on.
    pub(crate) fn hold(self) {
        self.held.update(|held| *held = !*held);
    }

    /// Whether it is held still.
    pub(crate) fn is_held(self) -> bool {
        self.held.get()
    }
}

/// Asks for what is at `path`, now and every so many seconds; `None`: nothing is asked. One question is on its way at most.
pub(crate) fn poll(path: Signal<Option<String>>, every_s: i64) -> Polled {
    let live = expect_context::<Live>();
    let polled = Polled {
        answer: RwSignal::new(None),
        refusal: RwSignal::new(None),
        again: RwSignal::new(0),
        held: RwSignal::new(false),
    };
    let path = Memo::new(move |_| path.get());
    let turn = Memo::new(move |before: Option<&i64>| match before {
        Some(before) if polled.held.get() => *before,
        _ => live.clock.get() / (every_s * 1_000),
    });
    // What is on its way; a question of before does not keep the next from being asked.
    let asking = StoredValue::new(None::<String>);
    Effect::new(move |before: Option<Option<String>>| {
        let path = path.get();
        let _ = (turn.get(), polled.again.get());
        if before.as_ref().is_some_and(|before| *before != path) {
            polled.answer.set(None);
            polled.refusal.set(None);
        }
        if let Some(path) = path.clone().filter(|path| asking.with_value(|asking| asking.as_ref() != Some(path))) {
            asking.set_value(Some(path.clone()));
            spawn_local(async move {
                let answer = api::ask(path.clone()).await;
                // Another question may have been asked, or the page left, meanwhile.
                if asking.try_get_value().flatten().as_ref() != Some(&path) {
                    return;
                }
                asking.set_value(None);
                match answer {
                    Ok(answer) => {
                        polled.answer.set(Some(answer));
                        polled.refusal.set(None);
                    }
                    Err(refusal) => polled.refusal.set(Some(refusal)),
                }
            });
        }
        path
    });
    polled
}
