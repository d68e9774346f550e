use leptos::prelude::*;
use lockkeeper_model::words::shown;

use crate::lang::t;
use crate::live::{Live, Polled};
use crate::ui::{When, flag, hms, maybe, skeleton, text};

/// What a page is called, as of when it is, and why it is not newer.
#[component]
pub(crate) fn PageHead(
    /// What it is called.
    title: Signal<String>,
    /// What it shows.
    polled: Polled,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let as_of = maybe(move || {
        let at = polled.answer.with(|answer| answer.as_ref().and_then(|answer| answer.time("as_of")))?;
        Some(t!(as_of, hms(at)))
    });
    let held = flag(move || polled.is_held());
    let refused = maybe(move || {
        polled.refusal.with(|refusal| {
            let refusal = refusal.as_ref()?;
            let hint = refusal.hint.as_ref().map(|hint| t!(banner_try, shown(hint))).unwrap_or_default();
            let old = if polled.answer.with(Option::is_some) { t!(what_is_shown_is_of) } else { "" };
            Some(format!("{}{hint}{old}", shown(&refusal.detail)))
        })
    });
    // How much of the stores the answer rests on, where that is not everything.
    let part = maybe(move || {
        polled.answer.with(|answer| {
            let coverage = answer.as_ref()?.field("coverage");
            let missing: Vec<String> = coverage
                .items("sources")
                .iter()
                .filter(|source| !source.holds("complete"))
                .map(|source| format!("{} ({})", shown(source.text("source")), shown(source.text("state"))))
                .collect();
            (!missing.is_empty()).then(|| t!(not_all_of_it_was, missing.join(", ")))
        })
    });
    view! {
        <header class="page-head">
            <h1>{title}</h1>
            <span class="spread"></span>
            <small class:old=flag(move || held.get() || !live.link.get().is_live())>{as_of}</small>
            <button type="button" class="plain" aria-pressed=text(move || held.get().to_string()) on:click=move |_| polled.hold()>
                {t!(hold_still)}
            </button>
            <button type="button" class="plain" on:click=move |_| polled.again()>
                {t!(look_again)}
            </button>
        </header>
        <When holds=flag(move || refused.with(Option::is_some))>
            <p class="say bad" role="alert">
                {refused}
            </p>
        </When>
        <When holds=flag(move || part.with(Option::is_some))>
            <p class="say warn">{part}</p>
        </When>
        <When holds=flag(move || polled.answer.with(Option::is_none) && refused.with(Option::is_none))>
            {skeleton("table", t!(asking))}
        </When>
    }
}
