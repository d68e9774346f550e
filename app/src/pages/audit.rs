use leptos::prelude::*;
use lockkeeper_model::Time;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use crate::components::{Attempted, NavLink};
use crate::lang::{count, t};
use crate::live::answers::Refusal;
use crate::live::audit::AuditPage as Entries;
use crate::live::route::{Page, Route};
use crate::live::{Live, api};
use crate::nav::Nav;
use crate::ui::{When, copies_shown, each, flag, hms, maybe, skeleton, text};

/// Who released what, when and why, and who was refused; of everything, or of one lock.
#[component]
pub(crate) fn AuditPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let about = Memo::new(move |_| nav.route.with(|route| route.lock.clone()));
    let entries = RwSignal::new(None::<Result<Entries, Refusal>>);
    let as_of = RwSignal::new(0i64);
    let asking = RwSignal::new(false);
    let ask = move |before: Option<u64>| {
        if asking.get_untracked() && before.is_some() {
            return;
        }
        asking.set(true);
        let lock = about.get_untracked();
        spawn_local(async move {
            let answer = api::audit(lock.clone(), before).await;
            // Another lock may have been chosen, or the page left, meanwhile.
            if about.try_get_untracked().as_ref() != Some(&lock) {
                return;
            }
            entries.update(|known| match (known.as_mut(), answer, before) {
                (Some(Ok(known)), Ok(older), Some(_)) => known.append(older),
                (_, answer, _) => *known = Some(answer),
            });
            if before.is_none() {
                as_of.set(match live.exact_now() {
                    // The answer was quicker than the stream's first word: the reader's own clock is the next best.
                    0 => js_sys::Date::now() as i64,
                    now => now,
                });
            }
            asking.set(false);
        });
    };
    Effect::new(move |_| {
        about.track();
        entries.set(None);
        ask(None);
    });
    let count_of = move || {
        entries.with(|entries| match entries {
            Some(Ok(entries)) => entries.attempts.len(),
            _ => 0,
        })
    };
    let refused = maybe(move || {
        entries.with(|entries| match entries {
            Some(Err(refusal)) => Some(match &refusal.hint {
                Some(hint) => t!(audit_try, shown(&refusal.detail), shown(hint)),
                None => shown(&refusal.detail),
            }),
            _ => None,
        })
    });
    let chain = maybe(move || {
        entries.with(|entries| {
            let Some(Ok(Entries { chain: Some((length @ 1.., head)), .. })) = entries else { return None };
            let head = head.get(..12).unwrap_or(head);
            Some(t!(entries_each_sealed_by_the, count(*length), head))
        })
    });
    let older = Memo::new(move |_| {
        entries.with(|entries| match entries {
            Some(Ok(entries)) => entries.next_before.map(|before| before as i64),
            _ => None,
        })
    });
    let nothing = flag(move || entries.with(|entries| matches!(entries, Some(Ok(page)) if page.attempts.is_empty())));
    let title = text(move || match about.get() {
        Some((source, id)) => t!(audit_of_in, shown(id.as_str()), shown(&source)),
        None => t!(audit).to_owned(),
    });
    view! {
        <main class="audit-page">
            <header>
                <h1>{title}</h1>
                <When holds=flag(move || about.with(Option::is_some))>
                    <NavLink route=Route { page: Page::Audit, ..Route::default() }>{t!(of_every_lock)}</NavLink>
                </When>
                <span class="spread"></span>
                <small role="status">
                    {maybe(move || Some(as_of.get()).filter(|at| *at > 0).map(|at| t!(as_of, hms(Time(at)))))}
                </small>
                <button type="button" class="plain" on:click=move |_| ask(None)>
                    {t!(look_again)}
                </button>
                <a class="plain" href="/api/v1/audit?format=csv" download="">
                    "CSV"
                </a>
                <a class="plain" href="/api/v1/audit?format=jsonl" download="">
                    "JSON Lines"
                </a>
            </header>
            <p class="chain">
                {chain}
                <When holds=flag(move || chain.with(Option::is_some))>{copies_shown(t!(head_of_the_chain))}</When>
            </p>
            <When holds=flag(move || refused.with(Option::is_some))>
                <p class="say bad" role="alert">
                    {refused}
                </p>
            </When>
            <When holds=flag(move || entries.with(Option::is_none))>
                {skeleton("cards", t!(asking))}
            </When>
            <When holds=nothing>
                <p class="say calm">{t!(nothing_was_released_tried_or)}</p>
            </When>
            <ol class="attempts">
                {each(
                    count_of,
                    move |at| {
                        let attempt = Signal::derive(move || {
                            entries
                                .with(|entries| match entries {
                                    Some(Ok(entries)) => entries.attempts.get(at).cloned(),
                                    _ => None,
                                })
                        });
                        view! { <Attempted attempt /> }
                    },
                )}
            </ol>
            <When holds=flag(move || older.get().is_some())>
                <button type="button" class="plain" on:click=move |_| ask(older.get_untracked().map(|before| before as u64))>
                    {t!(older_entries)}
                </button>
            </When>
        </main>
    }
}
