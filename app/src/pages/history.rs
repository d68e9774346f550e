use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::Time;
use lockkeeper_model::words::shown;

use super::locks::listen_to_keys;
use crate::components::{Drawer, LockTable, NavLink, Scrubber, TableKeys};
use crate::lang::{count, duration, t};
use crate::live::moment::utc;
use crate::live::route::{Route, cut};
use crate::live::{Live, Rewind};
use crate::nav::Nav;
use crate::ui::{When, each, flag, maybe, text};

/// Which moment is shown to whoever asks for none: there should be something behind it.
const LITTLE_AGO_MS: i64 = 60_000;

/// The board of a moment of the past, in the table and the drawer of now.
#[component]
pub(crate) fn HistoryPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let now = expect_context::<Live>();
    let past = Rewind::start();
    provide_context(past);
    let keys = TableKeys::new();
    provide_context(keys);
    let search = NodeRef::<html::Input>::new();
    let opened_at = now.time() - LITTLE_AGO_MS;
    let at = Memo::new(move |_| nav.route.with(|route| route.at).map_or(opened_at, |at| at.0));
    let rewind = past.rewind?;
    Effect::new(move |_| rewind.go(past, at.get()));
    let open = Memo::new(move |_| nav.route.with(|route| route.lock.clone()));
    Effect::new(move |_| past.follow(open.get()));
    let from_address = StoredValue::new(true);
    listen_to_keys(past, nav, keys, search);
    let told = rewind.told;
    let refused = maybe(move || {
        told.with(|told| match told {
            Some(Err(refusal)) => Some(match &refusal.hint {
                Some(hint) => t!(history_try, shown(&refusal.detail), shown(hint)),
                None => shown(&refusal.detail),
            }),
            _ => None,
        })
    });
    // Of a moment of which nothing is known, no lock is.
    let opened = Memo::new(move |_| open.with(Option::is_some) && refused.with(Option::is_none));
    // The moment that is on the screen, not the one that is asked for.
    let as_of = text(move || match told.with(|told| matches!(told, Some(Ok(_)))) {
        true => t!(the_board_as_of_utc, utc(Time(past.now.get()))),
        false => t!(the_board_of_the_past).to_owned(),
    });
    let ago = text(move || {
        let clock = now.running_now.get().max(at.get());
        // To the minute: a clock that runs would draw the eye from the past.
        match (clock - at.get()) / 60_000 {
            0 => t!(less_than_a_minute_ago).to_owned(),
            minutes => t!(ago, duration(minutes * 60_000)),
        }
    });
    let missed = move || {
        told.with(|told| told.as_ref().and_then(|told| told.as_ref().ok()).map_or(0, |board| board.missed.len()))
    };
    let missed_line = move |place: usize| {
        let said = maybe(move || {
            told.with(|told| {
                let (source, since) = told.as_ref()?.as_ref().ok()?.missed.get(place)?.clone();
                let since = since.map_or_else(String::new, |at| t!(since_utc, utc(at)));
                Some(t!(of_something_was_missed_what, shown(&source), since))
            })
        });
        view! { <p class="say warn">{said}</p> }
    };
    let back = Route { question: nav.route.with_untracked(|route| route.question.clone()), ..Route::default() };
    Some(view! {
        <div class="stage past" class:with-drawer=opened class:nothing=flag(move || refused.with(Option::is_some))>
            <main>
                <h1 class="unseen">{t!(history)}</h1>
                <header class="past-banner">
                    <b role="status">{as_of}</b>
                    <span>{ago}</span>
                    <span class="behind">{maybe(move || rewind.behind.get().then(|| t!(asking).to_owned()))}</span>
                    <span class="spread"></span>
                    <NavLink route=back>{t!(back_to_live)}</NavLink>
                </header>
                <Scrubber at clock=now />
                <When holds=flag(move || refused.with(Option::is_some))>
                    <p class="say bad" role="alert">{refused}</p>
                </When>
                {each(missed, missed_line)}
                <div class="past-tools">
                    <input
                        type="search"
                        class="past-search"
                        aria-label=t!(search_the_locks_of_that)
                        placeholder=t!(search)
                        node_ref=search
                        prop:value=text(move || nav.route.with(|route| route.question.q.clone()))
                        on:input:target=move |event| nav.ask_in_place(|question| question.q = cut(&event.target().value()))
                    />
                    <span role="status">
                        {maybe(move || past.counts.get().map(|counts| t!(held, count(counts.total))))}
                    </span>
                    <small>{t!(who_waited_is_not_written)}</small>
                </div>
                <LockTable />
            </main>
            {move || {
                let take_focus = from_address.try_update_value(|first| !std::mem::take(first)).unwrap_or_default();
                open.get().filter(|_| opened.get()).map(|(source, id)| view! { <Drawer source id take_focus /> })
            }}
        </div>
    })
}
