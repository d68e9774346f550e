use leptos::prelude::*;
use lockkeeper_model::words::shown;
use wasm_bindgen_futures::spawn_local;

use crate::components::{Added, Lines, NavLink};
use crate::lang::t;
use crate::live::answers::Refusal;
use crate::live::incidents::{Frozen, Packet};
use crate::live::moment::utc;
use crate::live::recall;
use crate::live::route::{Page, Route};
use crate::nav::Nav;
use crate::ui::{CopyButton, When, copies_shown, flag, maybe, skeleton, text};

/// What was frozen of incidents, and one packet where one is open.
#[component]
pub(crate) fn IncidentsPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let open = Memo::new(move |_| nav.route.with(|route| route.incident.clone()));
    let packets = RwSignal::new(None::<Result<Vec<Packet>, Refusal>>);
    let markdown = RwSignal::new(String::new());
    Effect::new(move |_| {
        let wanted = open.get();
        packets.set(None);
        markdown.set(String::new());
        spawn_local(async move {
            let (answer, text) = match &wanted {
                None => (recall::incidents().await, String::new()),
                Some(id) => {
                    let packet = recall::incident(id).await.map(|packet| vec![packet]);
                    (packet, recall::incident_markdown(id).await)
                }
            };
            // Another one may have been opened, or the page left, meanwhile.
            if open.try_get_untracked() == Some(wanted) {
                packets.set(Some(answer));
                markdown.set(text);
            }
        });
    });
    let refused = maybe(move || {
        packets.with(|packets| match packets {
            Some(Err(refusal)) => Some(match &refusal.hint {
                Some(hint) => t!(audit_try, shown(&refusal.detail), shown(hint)),
                None => shown(&refusal.detail),
            }),
            _ => None,
        })
    });
    let count = move || packets.with(|packets| packets.as_ref().and_then(|known| known.as_ref().ok()).map(Vec::len));
    let is_open = flag(move || open.with(Option::is_some));
    let title = text(move || {
        let first = packets.with(|packets| packets.as_ref()?.as_ref().ok()?.first().map(|packet| shown(&packet.title)));
        first.filter(|_| is_open.get()).unwrap_or_else(|| t!(incidents).to_owned())
    });
    let link = text(move || {
        let origin = window().location().origin().unwrap_or_default();
        format!("{origin}{}", nav.route.with(|route| route.href()))
    });
    view! {
        <main class="incidents-page">
            <header>
                <h1>{title}</h1>
                <When holds=is_open>
                    <NavLink route=Route { page: Page::Incidents, ..Route::default() }>{t!(all_incidents)}</NavLink>
                </When>
                <span class="spread"></span>
                <When holds=flag(move || markdown.with(|text| !text.is_empty()))>
                    <CopyButton text=link word=t!(copy_link) what=t!(to_this_incident) />
                    <CopyButton text=markdown word=t!(copy_as_markdown) what=t!(this_incident) />
                </When>
                {move || {
                    open.get().map(|id| view! { <a class="plain" href=recall::incident_path(&id) download="">"JSON"</a> })
                }}
            </header>
            <When holds=flag(move || refused.with(Option::is_some))>
                <p class="say bad" role="alert">{refused}</p>
            </When>
            <When holds=flag(move || packets.with(Option::is_none))>
                {skeleton("table", t!(asking))}
            </When>
            <When holds=flag(move || count() == Some(0))>
                <p class="say calm">
                    {t!(nothing_was_frozen_yet_open)}
                </p>
            </When>
            {move || {
                packets
                    .with(|packets| {
                        let packets = packets.as_ref()?.as_ref().ok()?;
                        Some(match open.get().and(packets.first()) {
                            Some(packet) => whole(packet).into_any(),
                            None => list(packets).into_any(),
                        })
                    })
            }}
        </main>
    }
}

fn list(packets: &[Packet]) -> impl IntoView + use<> {
    let line = |packet: &Packet| -> AnyView {
        let route = Route { page: Page::Incidents, incident: Some(packet.id.clone()), ..Route::default() };
        let (title, names, head) = (shown(&packet.title), names(packet), head(packet));
        view! {
            <li>
                <NavLink route>{title}</NavLink>
                <span>{names}</span>
                <small>{head}</small>
            </li>
        }
        .into_any()
    };
    view! { <ol class="incidents">{packets.iter().map(line).collect_view()}</ol> }
}

fn whole(packet: &Packet) -> impl IntoView + use<> {
    let sentences = |sentences: Vec<String>| sentences.into_iter().map(|said| view! { <li>{said}</li> }).collect_view();
    let missing: Vec<String> = packet.missing.iter().map(|said| t!(missing, shown(said))).collect();
    let waits: Vec<String> = packet.waits.iter().map(|said| shown(said)).collect();
    let done: Vec<String> = packet.done.iter().map(|(at, said)| t!(said_at_utc, utc(*at), shown(said))).collect();
    let waits_at = packet.waits_at.map_or_else(String::new, |at| t!(at_utc, utc(at)));
    view! {
        <p class="incident-head">{head(packet)} {copies_shown(t!(time))}</p>
        {(!missing.is_empty()).then(|| view! { <ul class="say warn">{sentences(missing)}</ul> })}
        {packet.locks.iter().map(lock).collect_view()}
        <h2>{t!(who_waited_for_whom, waits_at)}</h2>
        <ul>{sentences(some(waits, t!(nobody_waited_for_any_of)))}</ul>
        <h2>{t!(what_was_done_from_here)}</h2>
        <ul>{sentences(some(done, t!(nothing)))}</ul>
    }
}

fn lock(frozen: &Frozen) -> impl IntoView + use<> {
    let stats = Signal::stored(frozen.stats.clone());
    let events = Signal::stored(frozen.events.clone());
    let link = frozen.id.clone().map(|id| {
        let name = shown(id.as_str());
        let route = Route { lock: Some((frozen.source.clone(), id)), ..Route::default() };
        view! { <NavLink route>{name}</NavLink> }
    });
    let held_by = match &frozen.held_by {
        None => t!(not_known_to_be_held).to_owned(),
        Some(tokens) => {
            let tokens: Vec<String> = tokens.iter().map(|token| shown(token)).collect();
            t!(held_at_the_beginning_by, tokens.join(", "))
        }
    };
    view! {
        <section class="frozen">
            <h2>{link} {copies_shown(t!(the_key))} <small>{t!(in_source_of_incident, shown(&frozen.source))}</small></h2>
            <p>{held_by} {copies_shown(t!(holder))}</p>
            <Added stats age=Signal::stored(None) />
            <Lines events dated=true />
            {frozen.events.is_empty().then_some(t!(nothing_is_recorded_of_it_in))}
        </section>
    }
}

/// The time that it is about, and who froze it when.
fn head(packet: &Packet) -> String {
    let moment = |at: Option<lockkeeper_model::Time>| at.map_or_else(|| t!(unknown).to_owned(), utc);
    t!(to_utc_frozen_by_at, moment(packet.from), moment(packet.to), shown(&packet.by), moment(packet.at))
}

fn names(packet: &Packet) -> String {
    let name = |lock: &Frozen| lock.id.as_ref().map_or_else(|| t!(unknown).to_owned(), |id| shown(id.as_str()));
    packet.locks.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// These, or that there is none.
fn some(sentences: Vec<String>, none: &str) -> Vec<String> {
    if sentences.is_empty() { vec![none.to_owned()] } else { sentences }
}
