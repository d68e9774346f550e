use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Lock, LockId, PreviewTarget, StoredEntry, Time};

use super::facts::{Sentence, Tone, holder_facts, lock_facts, sentence};
use super::history::History;
use super::picture::Picture;
use super::release::ReleaseDialog;
use super::{TableKeys, say};
use crate::live::Live;
use crate::nav::Nav;
use crate::ui::{CopyButton, Glyph, Icon, When, flag, maybe, text};

/// Everything known about one lock.
#[component]
pub(crate) fn Drawer(
    /// Its source.
    source: String,
    /// The lock.
    id: LockId,
    /// A person opened it just now: it takes the focus.
    take_focus: bool,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let keys = expect_context::<TableKeys>();
    let lock: Memo<Option<Lock>> =
        Memo::new(move |_| live.detail.with(|detail| detail.as_ref().and_then(|detail| detail.lock.clone())));
    let heard = Memo::new(move |_| live.detail.with(Option::is_some));
    // A lock keeps its name when it ends.
    let unnamed = shown(id.as_str());
    let name = Memo::new(move |before: Option<&String>| {
        let now = lock.with(|lock| lock.as_ref().map(|lock| shown(&lock.name)));
        now.or_else(|| before.cloned()).unwrap_or_else(|| unnamed.clone())
    });
    let from = {
        let source = shown(&source);
        move || {
            lock.with(|lock| match lock {
                Some(lock) => format!(
                    "{source} · {}, {}: {}",
                    shown(&lock.dialect.name),
                    lock.dialect.certainty.word(),
                    shown(&lock.dialect.because)
                ),
                None => source.clone(),
            })
        }
    };
    let link = text(move || {
        let origin = window().location().origin().unwrap_or_default();
        format!("{origin}{}", nav.route.with(|route| route.href()))
    });
    let heading = NodeRef::<html::H2>::new();
    Effect::new(move |_| {
        if take_focus && let Some(heading) = heading.get() {
            let _ = heading.focus();
        }
    });
    let close = move |_| {
        nav.open(None);
        keys.focus();
    };
    let releasing = RwSignal::new(None::<PreviewTarget>);
    let old = flag(move || !live.link.get().is_live());
    let holder_count = Memo::new(move |_| lock.with(|lock| lock.as_ref().map_or(0, |lock| lock.holders.len() as i64)));
    view! {
        <aside class="drawer" aria-label=name class:out-of-date=old>
            <header>
                <h2 tabindex="-1" node_ref=heading>
                    {name}
                </h2>
                <small>
                    {from} " · " <CopyButton text=link word="copy link" what="to this lock" />
                </small>
                <button type="button" class="plain icon-button close" aria-label="Close" on:click=close>
                    <Icon glyph=Glyph::Close />
                </button>
            </header>
            <div class="drawer-body">
                <When holds=flag(move || !heard.get())>
                    <p class="say calm">"Asking…"</p>
                </When>
                <When holds=heard>
                    <FirstSentence lock />
                    <Picture />
                    <For each=move || 0..holder_count.get() as usize key=|at| *at let(at)>
                        <HolderFacts lock at alone=Signal::derive(move || holder_count.get() == 1) releasing />
                    </For>
                    <Facts facts=Memo::new(move |_| {
                        lock.with(|lock| lock.as_ref().map(lock_facts)).unwrap_or_default()
                    }) />
                    <StoredForm lock />
                    <History />
                </When>
            </div>
            <When holds=flag(move || holder_count.get() == 1)>
                <footer>
                    <ReleaseButton lock at=0 releasing />
                </footer>
            </When>
            {move || {
                releasing.get().map(|target| view! { <ReleaseDialog target name=name.get_untracked() releasing /> })
            }}
        </aside>
    }
}

#[component]
fn FirstSentence(lock: Memo<Option<Lock>>) -> impl IntoView {
    let live = expect_context::<Live>();
    let sentence = move || -> Sentence {
        let now = Time(live.now.get());
        lock.with(|lock| {
            live.detail
                .with(|detail| sentence(lock.as_ref(), detail.as_ref().map_or(&[], |detail| &detail.events), now))
        })
    };
    let class = text(move || match sentence().tone {
        Tone::Calm => "say calm",
        Tone::Warn => "say warn",
        Tone::Bad => "say bad",
    });
    view! {
        <p class=class>
            <b>{text(move || sentence().first)}</b>
            " "
            {text(move || sentence().rest)}
        </p>
    }
}

/// Terms and what they are. A text that changes as time passes is changed in place, so that it can be selected.
#[component]
fn Facts(
    /// In order.
    facts: Memo<Vec<(&'static str, String)>>,
) -> impl IntoView {
    let places =
        move || facts.with(|facts| facts.iter().map(|(term, _)| *term).enumerate().collect::<Vec<(usize, &str)>>());
    view! {
        <dl class="facts">
            <For each=places key=|place| *place let((at, term))>
                <dt>{term}</dt>
                <dd>{maybe(move || facts.with(|facts| facts.get(at).map(|(_, text)| text.clone())))}</dd>
            </For>
        </dl>
    }
}

/// One hold: its token, to be copied, and what is known of it.
#[component]
fn HolderFacts(
    lock: Memo<Option<Lock>>,
    at: usize,
    #[prop(into)] alone: Signal<bool>,
    releasing: RwSignal<Option<PreviewTarget>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let holder = move || lock.with(|lock| lock.as_ref().and_then(|lock| lock.holders.get(at).cloned()));
    let token = maybe(move || holder().as_ref().map(say::token));
    let whole = text(move || holder().map(|holder| holder.token.unwrap_or(holder.token_b64)).unwrap_or_default());
    let facts = Memo::new(move |_| {
        let now = Time(live.now.get());
        holder().as_ref().map(|holder| holder_facts(holder, now)).unwrap_or_default()
    });
    view! {
        <When holds=flag(move || !alone.get())>
            <h3>{format!("Holder {}", at + 1)}</h3>
        </When>
        <dl class="facts token">
            <dt>"Token"</dt>
            <dd>
                <code>{token}</code>
                " "
                <CopyButton text=whole what="the token" />
            </dd>
        </dl>
        <Facts facts />
        <When holds=flag(move || !alone.get())>
            <div class="holder-release">
                <ReleaseButton lock at releasing />
            </div>
        </When>
    }
}

/// Opens the dialog, or says why it cannot be opened.
#[component]
fn ReleaseButton(lock: Memo<Option<Lock>>, at: usize, releasing: RwSignal<Option<PreviewTarget>>) -> impl IntoView {
    let live = expect_context::<Live>();
    let why_not = maybe(move || {
        if !live.link.get().is_live() {
            return Some("Not while the connection to Lockkeeper is lost.".to_owned());
        }
        if !live.release_enabled.get() {
            return Some("Releasing is switched off on this server: start it with --allow-release.".to_owned());
        }
        let source = lock.with(|lock| lock.as_ref().map(|lock| lock.source.clone()))?;
        let enabled = live.sources.with(|sources| {
            sources.iter().find(|known| known.name == source).is_none_or(|known| known.release_enabled)
        });
        (!enabled).then(|| format!("Releasing is switched off for {}.", shown(&source)))
    });
    let reason_id = format!("why-not-{at}");
    let described_by = reason_id.clone();
    let open = move |_| {
        releasing.set(lock.with_untracked(|lock| {
            let lock = lock.as_ref()?;
            let holder = lock.holders.get(at)?;
            let several = lock.holders.len() > 1;
            Some(PreviewTarget {
                source: lock.source.clone(),
                id: lock.id.clone(),
                generation: if several { holder.generation.clone() } else { lock.generation.clone() },
                holder: several.then(|| holder.token_b64.clone()),
            })
        }));
    };
    view! {
        <button
            type="button"
            class="danger"
            disabled=flag(move || why_not.with(Option::is_some))
            aria-describedby=maybe(move || why_not.with(Option::is_some).then(|| described_by.clone()))
            on:click=open
        >
            "Release…"
        </button>
        <small id=reason_id>{why_not}</small>
    }
}

/// How it lies in the store.
#[component]
fn StoredForm(lock: Memo<Option<Lock>>) -> impl IntoView {
    let stored = move || lock.with(|lock| lock.as_ref().and_then(|lock| lock.stored.clone()));
    let summary = maybe(move || stored().map(|stored| format!("As stored: {}", shown(&stored.kind))));
    let value = |entry: &StoredEntry| match &entry.value {
        Some(value) => shown(value),
        None => format!("b64:{} (not text)", shown(&entry.value_b64)),
    };
    view! {
        <When holds=flag(move || stored().is_some())>
            <details class="stored">
                <summary>{summary}</summary>
                <dl class="facts">
                    {move || {
                        stored()
                            .map(|stored| stored.entries)
                            .unwrap_or_default()
                            .iter()
                            .map(|entry| {
                                let field = entry.field.as_deref().map_or_else(|| "value".to_owned(), shown);
                                view! {
                                    <dt>
                                        <code>{field}</code>
                                    </dt>
                                    <dd>
                                        <code>{value(entry)}</code>
                                    </dd>
                                }
                            })
                            .collect_view()
                    }}
                </dl>
            </details>
        </When>
    }
}
