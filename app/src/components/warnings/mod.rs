//! One warning on a card, and what can be said to it.

mod mute;

use leptos::prelude::*;
use lockkeeper_model::Time;
use lockkeeper_model::words::{duration, shown};
pub(crate) use mute::MuteDialog;
use wasm_bindgen_futures::spawn_local;

use crate::components::NavLink;
use crate::live::route::Route;
use crate::live::warnings::Warning;
use crate::live::{Live, api};
use crate::nav::Nav;
use crate::ui::{When, day, each, flag, hms, maybe, text};

/// What a card says.
mod words {
    pub(super) const WHY: &str = "Why it matters: ";
    pub(super) const TODO: &str = "What to do: ";
    pub(super) const ACKNOWLEDGE: &str = "I look into it";
    pub(super) const MUTE: &str = "Mute…";
    pub(super) const UNMUTE: &str = "Tell people again";
}

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
                    view! { <NavLink route>{about}</NavLink> " in " {source} }.into_any()
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
                <i class="tag">{part(|warning| warning.severity.clone())}</i>
                <b class="name">{name}</b>
                <span class="rule">{part(|warning| warning.rule.clone())}</span>
                <span class="spread"></span>
                <span class="state">{part(|warning| warning.state.clone())}</span>
                <small class="lasted">{lasted}</small>
            </div>
            <p>{part(|warning| warning.says.clone())}</p>
            <When holds=is_so>
                <p>
                    <span class="lead">{words::WHY}</span>
                    {part(|warning| warning.why.clone())}
                </p>
                <p>
                    <span class="lead">{words::TODO}</span>
                    {part(|warning| warning.todo.clone())}
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
                            {words::ACKNOWLEDGE}
                            <span class="unseen">{part(|warning| format!(": {} of {}", warning.rule, warning.about))}</span>
                        </button>
                    </When>
                    <When holds=flag(move || !is("muted").get())>
                        <button type="button" class="plain" on:click=move |_| muting.set(warning.get_untracked())>
                            {words::MUTE}
                            <span class="unseen">{part(|warning| format!(" {} of {}", warning.rule, warning.about))}</span>
                        </button>
                    </When>
                    <When holds=is("muted")>
                        <button type="button" class="plain" on:click=unmute>
                            {words::UNMUTE}
                            <span class="unseen">{part(|warning| format!(" of {}", warning.about))}</span>
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
        Some(until) => format!("until {}, for {}", at(until), duration(until.since(warning.since))),
        None => format!("for {}, since {}", duration(Time(now).since(warning.since)), at(warning.since)),
    }
}
