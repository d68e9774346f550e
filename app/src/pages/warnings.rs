use std::time::Duration;

use leptos::prelude::*;
use lockkeeper_model::SourceState;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use crate::components::say::was_seen;
use crate::components::{MuteDialog, NavLink, WarningCard};
use crate::lang::{duration, t};
use crate::live::answers::Refusal;
use crate::live::route::{Page, Route};
use crate::live::warnings::{Warning, Warnings};
use crate::live::{Live, api};
use crate::nav::Nav;
use crate::ui::{When, each, flag, hms, maybe, skeleton, text};

/// How often it is looked again while the page is open, whether or not the number of open ones changed: who acknowledged
/// what changes no number that is told.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What somebody should know before customers notice; of everything, or of one lock.
#[component]
pub(crate) fn WarningsPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let about = Memo::new(move |_| nav.route.with(|route| route.lock.clone()));
    let known = RwSignal::new(None::<Result<Warnings, Refusal>>);
    let muting = RwSignal::new(None::<Warning>);
    let look = move || {
        let lock = about.get_untracked();
        spawn_local(async move {
            let answer = api::warnings(lock.clone()).await;
            // Another lock may have been chosen, or the page left, meanwhile.
            if about.try_get_untracked().as_ref() == Some(&lock) {
                let _ = known.try_set(Some(answer));
            }
        });
    };
    Effect::new(move |_| {
        about.track();
        known.set(None);
    });
    Effect::new(move |_| {
        about.track();
        live.warnings.track();
        live.worst.track();
        look();
    });
    if let Ok(looking) = set_interval_with_handle(look, LOOK_EVERY) {
        on_cleanup(move || looking.clear());
    }
    let of = move |wanted: bool, at: usize| {
        known.with(|known| match known {
            Some(Ok(known)) => known.list.iter().filter(|warning| warning.is_so() == wanted).nth(at).cloned(),
            _ => None,
        })
    };
    let number = move |wanted: bool| {
        known.with(|known| match known {
            Some(Ok(known)) => known.list.iter().filter(|warning| warning.is_so() == wanted).count(),
            _ => 0,
        })
    };
    let refused = maybe(move || {
        known.with(|known| match known {
            Some(Err(refusal)) => Some(match &refusal.hint {
                Some(hint) => t!(audit_try, shown(&refusal.detail), shown(hint)),
                None => shown(&refusal.detail),
            }),
            _ => None,
        })
    });
    let is_answered = move || known.with(|known| matches!(known, Some(Ok(_))));
    let title = text(move || match about.get() {
        Some((source, id)) => t!(warnings_of_in, shown(id.as_str()), shown(&source)),
        None => t!(warnings).to_owned(),
    });
    let rule = move |at: usize| {
        known.with(|known| match known {
            Some(Ok(known)) => known.rules.get(at).cloned().unwrap_or_default(),
            _ => Default::default(),
        })
    };
    let note = move |at: usize| {
        known.with(|known| match known {
            Some(Ok(known)) => known.notes.get(at).cloned().unwrap_or_default(),
            _ => String::new(),
        })
    };
    let parts = move |count: fn(&Warnings) -> usize| {
        move || known.with(|known| known.as_ref().and_then(|known| known.as_ref().ok()).map_or(0, count))
    };
    let as_of = maybe(move || {
        let at = known.with(|known| Some(known.as_ref()?.as_ref().ok()?.as_of))?;
        let old = live.running_now.get() - at.0;
        let late = if old > 15_000 { t!(ago_in_warnings, duration(old)) } else { String::new() };
        Some(t!(as_of_in_warnings, hms(at), late))
    });
    // What is not seen is not known to be well.
    let unseen = text(move || {
        let only = about.with(|about| about.as_ref().map(|(source, _)| source.clone()));
        live.sources.with(|sources| {
            let asked = sources.iter().filter(|source| only.as_ref().is_none_or(|only| *only == source.name));
            let unseen = asked.filter(|source| source.state == SourceState::Down || !was_seen(source));
            unseen.map(|source| shown(&source.name)).collect::<Vec<_>>().join(", ")
        })
    });
    let card = move |wanted: bool| {
        move |at: usize| {
            let warning = Signal::derive(move || of(wanted, at));
            view! { <WarningCard warning muting look /> }
        }
    };
    view! {
        <main class="warnings-page">
            <header>
                <h1>{title}</h1>
                <When holds=flag(move || about.with(Option::is_some))>
                    <NavLink route=Route { page: Page::Warnings, ..Route::default() }>{t!(of_every_lock)}</NavLink>
                </When>
                <span class="spread"></span>
                <small>{as_of}</small>
                <button type="button" class="plain" on:click=move |_| look()>
                    {t!(look_again)}
                </button>
            </header>
            <When holds=flag(move || refused.with(Option::is_some))>
                <p class="say bad" role="alert">
                    {refused}
                </p>
            </When>
            <When holds=flag(move || known.with(Option::is_none))>
                {skeleton("cards", t!(asking))}
            </When>
            <When holds=flag(move || is_answered() && number(true) == 0)>
                <p class=text(move || if unseen.with(String::is_empty) { "say good" } else { "say warn" })>
                    {text(move || match unseen.with(String::is_empty) {
                        true => t!(nothing_to_warn_of).to_owned(),
                        false => t!(nothing_is_said_of_what, unseen.get()),
                    })}
                </p>
            </When>
            <ul class="cards" aria-label=t!(now_heading)>
                {each(move || number(true), card(true))}
            </ul>
            {each(parts(|known| known.notes.len()), move |at| view! { <p class="note">{text(move || note(at))}</p> })}
            <When holds=flag(move || number(false) > 0)>
                <h2>{t!(over_within_the_last_day)}</h2>
            </When>
            <ul class="cards over" aria-label=t!(over_within_the_last_day)>
                {each(move || number(false), card(false))}
            </ul>
            <When holds=flag(is_answered)>
                <h2>{t!(what_is_looked_for)}</h2>
            </When>
            <dl class="rules">
                {each(
                    parts(|known| known.rules.len()),
                    move |at| {
                        view! {
                            <div>
                                <dt>{text(move || rule(at).0)}</dt>
                                <dd>{text(move || rule(at).1)}</dd>
                            </div>
                        }
                    },
                )}
            </dl>
            {move || muting.get().map(|warning| view! { <MuteDialog warning muting look /> })}
        </main>
    }
}
