//! One warning on a card, and what can be said to it.

mod mute;

use leptos::prelude::*;
use lockkeeper_model::Time;
use lockkeeper_model::words::shown;
pub(crate) use mute::MuteDialog;
use wasm_bindgen_futures::spawn_local;

use crate::components::NavLink;
use crate::lang::{self, duration, t};
use crate::live::route::Route;
use crate::live::warnings::Warning;
use crate::live::{Live, api};
use crate::nav::Nav;
use crate::ui::{When, copies, copies_shown, day, each, flag, hms, maybe, text};

/// One warning: how bad, what, why, what to do, and who looks into it.
#[component]
pub(crate) fn WarningCard(
    /// Which; `None` while it goes.
    warning: Signal<Option<Warning>>,
    /// Set to mute it.
    muting: RwSignal<Option<Warning>>,
    /// Looks again at what there is.
    look: impl Fn() + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let refused = RwSignal::new(None::<String>);
    let part = move |part: fn(&Warning) -> String| {
        text(move || warning.with(|warning| warning.as_ref().map(part)).unwrap_or_default())
    };
    let is = move |state: &'static str| {
        flag(move || warning.with(|warning| warning.as_ref().is_some_and(|warning| warning.state == state)))
    };
    let is_so = flag(move || warning.with(|warning| warning.as_ref().is_some_and(Warning::is_so)));
    let is_meant = maybe(move || {
        let meant = nav.route.with(|route| route.warning.clone())?;
        warning.with(|warning| warning.as_ref().is_some_and(|warning| warning.id == meant)).then(|| "true".to_owned())
    });
    let class = text(move || {
        warning.with(|warning| match warning {
            Some(warning) if warning.state == "open" => format!("card {}", warning.severity),
            _ => "card".to_owned(),
        })
    });
    let lasted = text(move || {
        let now = live.running_now.get();
        warning.with(|warning| warning.as_ref().map(|warning| lasted(warning, now))).unwrap_or_default()
    });
    let told = move |answer: Result<(), String>| {
        refused.set(answer.err());
        look();
    };
    let acknowledge = move |_| {
        let Some(id) = warning.with_untracked(|warning| warning.as_ref().map(|warning| warning.id.clone())) else {
            return;
        };
        spawn_local(async move { told(api::acknowledge(&id).await) });
    };
    let unmute = move |_| {
        let Some(id) = warning.with_untracked(|warning| warning.as_ref()?.mute.clone()) else { return };
        spawn_local(async move { told(api::unmute(&id).await) });
    };
    let name = move || {
        warning.with(|warning| {
            let warning = warning.as_ref()?;
            let lock = warning.lock.clone().map(|id| (warning.source.clone(), id));
            let (about, source) = (warning.about.clone(), shown(&warning.source));
            Some(match lock {
                Some(lock) => {
                    let route = Route { lock: Some(lock), ..Route::default() };
                    view! { <NavLink route>{about}</NavLink> {t!(mod_in)} {source} }.into_any()
                }
                None => view! { {about} }.into_any(),
            })
        })
    };
    let notes = move || warning.with(|warning| warning.as_ref().map_or(0, |warning| warning.notes.len()));
    let note = move |at: usize| {
        text(move || {
            warning
                .with(|warning| warning.as_ref().and_then(|warning| warning.notes.get(at).cloned()))
                .unwrap_or_default()
        })
    };
    view! {
        <li class=class aria-current=is_meant>
            <div class="head">
                <i class="tag">{part(|warning| lang::severity_named(&warning.severity))}</i>
                <b class="name">{name} {copies(t!(the_key), part(|warning| warning.key()))}</b>
                <span class="rule">{part(|warning| warning.rule.clone())}</span>
                <span class="spread"></span>
                <span class="state">{part(|warning| lang::warning_state_named(&warning.state))}</span>
                <small class="lasted">{lasted} {copies_shown(t!(time))}</small>
            </div>
            <p lang=lang::of_the_server()>{part(|warning| warning.says.clone())}</p>
            <When holds=is_so>
                <p>
                    <span class="lead">{t!(why_it_matters)}</span>
                    <span lang=lang::of_the_server()>{part(|warning| warning.why.clone())}</span>
                </p>
                <p>
                    <span class="lead">{t!(what_to_do)}</span>
                    <span lang=lang::of_the_server()>{part(|warning| warning.todo.clone())}</span>
                </p>
            </When>
            {each(notes, move |at| view! { <p class="note">{note(at)}</p> })}
            <p class="say bad" role="alert" hidden=flag(move || refused.with(Option::is_none))>
                {maybe(move || refused.get())}
            </p>
            <When holds=is_so>
                <div class="acts">
                    <When holds=is("open")>
                        <button type="button" class="plain" on:click=acknowledge>
                            {t!(i_look_into_it)}
                            <span class="unseen">{part(|warning| t!(rule_of_after_colon, warning.rule, warning.about))}</span>
                        </button>
                    </When>
                    <When holds=flag(move || !is("muted").get())>
                        <button type="button" class="plain" on:click=move |_| muting.set(warning.get_untracked())>
                            {t!(mute)}
                            <span class="unseen">{part(|warning| t!(rule_of, warning.rule, warning.about))}</span>
                        </button>
                    </When>
                    <When holds=is("muted")>
                        <button type="button" class="plain" on:click=unmute>
                            {t!(tell_people_again)}
                            <span class="unseen">{part(|warning| t!(of_this_lock, warning.about))}</span>
                        </button>
                    </When>
                </div>
            </When>
        </li>
    }
}

/// For how long it is so, or was, and since when.
fn lasted(warning: &Warning, now: i64) -> String {
    let at = |at: Time| format!("{} {}", day(at), hms(at));
    match warning.until {
        Some(until) => t!(until_for, at(until), duration(until.since(warning.since))),
        None => t!(for_since, duration(Time(now).since(warning.since)), at(warning.since)),
    }
}
