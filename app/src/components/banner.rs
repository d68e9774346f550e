use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{SourceState, SourceStatus, Time};

use super::say;
use crate::lang::{Wording, t};
use crate::live::{LinkState, Live, Notice};
use crate::ui::{When, flag, hms, maybe, text};

/// What a banner says of a source that is not live.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Trouble {
    source: String,
    down: bool,
    text: String,
    hint: Option<String>,
}

/// What makes the page less than live, in full sentences.
///
/// A banner's alert does not count seconds: a screen reader would say it anew each time. What counts stands beside it.
#[component]
pub(crate) fn Banners() -> impl IntoView {
    let live = expect_context::<Live>();
    let troubles = move || live.sources.with(|sources| sources.iter().filter_map(trouble).collect::<Vec<_>>());
    let refused = maybe(move || live.refused.get().map(|detail| t!(the_server_did_not_understand, shown(&detail))));
    view! {
        <section class="banners" aria-label=t!(problems)>
            <LinkBanner />
            <VersionBanner />
            <WordsBanner />
            <For each=move || troubles() key=Clone::clone let(trouble)>
                <SourceBanner trouble />
            </For>
            <For each=move || live.notices.get() key=Clone::clone let(notice)>
                <NoticeBanner notice />
            </For>
            <When holds=flag(move || live.refused.with(Option::is_some))>
                <div class="banner warn">
                    <p role="status">{refused}</p>
                </div>
            </When>
        </section>
    }
}

#[component]
fn LinkBanner() -> impl IntoView {
    let live = expect_context::<Live>();
    let said = Memo::new(move |_| match live.link.get() {
        LinkState::Lost { .. } => Some(match live.now.get_untracked() {
            0 => t!(lockkeeper_cannot_be_reached).to_owned(),
            now => t!(connection_to_lockkeeper_lost_showing, hms(Time(now))),
        }),
        LinkState::Incompatible => Some(t!(this_page_and_the_server).to_owned()),
        LinkState::Connecting | LinkState::Live | LinkState::Past => None,
    });
    let waiting = Memo::new(move |_| matches!(live.link.get(), LinkState::Lost { retry_at: Some(_), .. }));
    let incompatible = Memo::new(move |_| live.link.get() == LinkState::Incompatible);
    let counting = text(move || live.link.get().count(live.clock.get()));
    view! {
        <When holds=flag(move || said.get().is_some())>
            <div class="banner bad">
                <p role="alert">{said}</p>
                <span class="counting">{counting}</span>
                <When holds=waiting>
                    <button type="button" class="plain" on:click=move |_| live.retry()>
                        {t!(try_now)}
                    </button>
                </When>
                <When holds=incompatible>
                    <button type="button" class="plain" on:click=reload>
                        {t!(reload_to_update)}
                    </button>
                </When>
            </div>
        </When>
    }
}

/// The server was replaced by another version while the page was open: what is new there is not here.
#[component]
fn VersionBanner() -> impl IntoView {
    let live = expect_context::<Live>();
    let said = maybe(move || {
        let version = live.version.get().filter(|_| live.outdated.get())?;
        Some(t!(the_server_was_updated_to, shown(&version)))
    });
    view! {
        <When holds=live.outdated>
            <div class="banner warn">
                <p role="status">{said}</p>
                <button type="button" class="plain" on:click=reload>
                    {t!(reload_to_update)}
                </button>
            </div>
        </When>
    }
}

/// Says over everything that the page has come to its end, and why to whoever looks into the console. Nothing else of the app is
/// relied on: whatever it was may have hit anything.
pub(crate) fn say_stopped(why: &str) {
    leptos::logging::error!("{why}");
    let Ok(said) = document().create_element("a") else { return };
    let _ = said.set_attribute("class", "banner bad stopped");
    let _ = said.set_attribute("role", "alert");
    let _ = said.set_attribute("href", "");
    said.set_text_content(Some(t!(this_page_has_stopped)));
    if let Some(body) = document().body() {
        let _ = body.prepend_with_node_1(&said);
    }
}

/// The words of the language that is wanted did not come: what is read is another.
#[component]
fn WordsBanner() -> impl IntoView {
    let wording = expect_context::<Wording>();
    let said = maybe(move || wording.failed.get().map(|wanted| t!(could_not_be_loaded, wanted.own_name())));
    view! {
        <When holds=flag(move || wording.failed.get().is_some())>
            <div class="banner warn">
                <p role="status">{said}</p>
                <button type="button" class="plain" on:click=move |_| wording.follow()>
                    {t!(try_now)}
                </button>
            </div>
        </When>
    }
}

pub(crate) fn reload(_: leptos::ev::MouseEvent) {
    let _ = window().location().reload();
}

#[component]
fn SourceBanner(trouble: Trouble) -> impl IntoView {
    let live = expect_context::<Live>();
    let name = trouble.source.clone();
    let counting = maybe(move || {
        // Of a store that never answered there is nothing to be old.
        let was_seen = live.sources.with(|all| all.iter().any(|source| source.name == name && say::was_seen(source)));
        let until = live.true_until(&name).filter(|_| was_seen)?;
        Some(t!(its_locks_are_shown, say::as_of(until, live.running_now.get())))
    });
    view! {
        <div class=if trouble.down { "banner bad" } else { "banner warn" }>
            <p role=if trouble.down { "alert" } else { "status" }>
                <b>{shown(&trouble.source)}</b>
                " "
                {trouble.text}
                {trouble.hint.map(|hint| view! { <span class="hint">{t!(banner_try, hint.trim_end_matches('.'))}</span> })}
            </p>
            <span class="counting">{counting}</span>
        </div>
    }
}

/// Somebody went without the second person. Everybody is told until they put it away.
#[component]
fn NoticeBanner(notice: Notice) -> impl IntoView {
    let live = expect_context::<Live>();
    let text = notice_said(&notice);
    let put_away = move |_| live.notices.update(|notices| notices.retain(|known| *known != notice));
    view! {
        <div class="banner bad">
            <p role="alert">{text}</p>
            <button type="button" class="plain" on:click=put_away>
                {t!(i_have_read_this)}
            </button>
        </div>
    }
}

fn notice_said(notice: &Notice) -> String {
    let locks: Vec<String> = notice.locks.iter().map(|(_, id)| shown(id.as_str())).collect();
    let (at, by, locks) = (hms(Time(notice.at)), shown(&notice.by), locks.join(", "));
    t!(broke_the_glass_and_acted, at, by, locks, shown(&notice.reason))
}

fn trouble(source: &SourceStatus) -> Option<Trouble> {
    let problem = source.problem.as_deref().map(shown);
    let text = match (source.state, problem) {
        (SourceState::Down, None) => t!(is_down_silently).to_owned(),
        (SourceState::Down, Some(problem)) => t!(is_down_because, problem),
        (SourceState::Degraded, None) => t!(is_degraded).to_owned(),
        (SourceState::Degraded, Some(problem)) => t!(is_degraded_because, problem),
        (SourceState::Live | SourceState::Scanning, _) => return None,
    };
    Some(Trouble {
        source: source.name.clone(),
        down: source.state == SourceState::Down,
        text: text.replace("..", "."),
        hint: source.hint.as_deref().map(shown),
    })
}
