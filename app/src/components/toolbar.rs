use leptos::html;
use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{FLAG_FILTERS, Flag, GroupBy, Order, SortKey};

use super::TableKeys;
use super::lock_columns::BLOCKED_EXPLAINED;
use super::search::{Search, Understanding};
use super::selection::SelectButton;
use super::view_menu::ViewMenu;
use crate::lang::{self, count, t};
use crate::live::Live;
use crate::live::route::STATES;
use crate::nav::Nav;
use crate::ui::{Glyph, Icon, When, each, flag, maybe, text};

/// Search, filters, order, pause.
#[component]
pub(crate) fn Toolbar(
    /// The search box, so that a key can give it the focus.
    search: NodeRef<html::Input>,
) -> impl IntoView {
    view! {
        <section class="tools" aria-label=t!(search_and_filters)>
            <Search field=search />
            <Filters />
            <span class="spread"></span>
            <div class="tools-end">
                <GroupChoice />
                <OrderChoice />
                <ViewMenu />
                <SelectButton />
                <Pause />
            </div>
        </section>
        <Understanding />
    }
}

#[component]
fn Filters() -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let waiting = Memo::new(move |_| nav.route.with(|route| route.question.state.as_deref() == Some("waiting")));
    let endless =
        Memo::new(move |_| nav.route.with(|route| route.question.flag.as_deref() == Some(Flag::NoExpiry.word())));
    let facet = move |pick: fn(&lockkeeper_model::wire::Facets) -> u64| {
        let is_known = live.sources.with(|sources| sources.iter().any(super::say::was_seen));
        live.counts.with(|counts| counts.filter(|_| is_known).map(|counts| count(pick(&counts.facets))))
    };
    let sources = Signal::derive(move || {
        let mut names: Vec<String> =
            live.sources.with(|sources| sources.iter().map(|source| source.name.clone()).collect());
        names.extend(nav.route.with(|route| route.question.source.clone()));
        counted(live, "source", options(names))
    });
    let dialects = Signal::derive(move || {
        let mut names: Vec<String> =
            live.dialects.with(|dialects| dialects.iter().map(|dialect| dialect.name.clone()).collect());
        names.extend(nav.route.with(|route| route.question.dialect.clone()));
        counted(live, "dialect", options(names))
    });
    let flags = Signal::derive(move || {
        let flags = FLAG_FILTERS.map(|flag| (flag.word().to_owned(), super::say::flag_name(flag)));
        counted(live, "flag", flags.to_vec())
    });
    let states = Signal::derive(move || {
        counted(live, "state", STATES.map(|(word, name)| (word.to_owned(), name.said().to_owned())).to_vec())
    });
    view! {
        <div class="chips">
            <Chip
                on=waiting
                toggle=move |on| nav.ask(|question| question.state = on.then(|| "waiting".to_owned()))
            >
                {t!(waiting_in_toolbar)}
                <b>{maybe(move || facet(|facets| facets.waiting))}</b>
            </Chip>
            <Chip
                on=endless
                toggle=move |on| nav.ask(|question| question.flag = on.then(|| Flag::NoExpiry.word().to_owned()))
            >
                {t!(no_expiry_in_toolbar)}
                <b>{maybe(move || facet(|facets| facets.no_expiry))}</b>
            </Chip>
            <When holds=flag(move || sources.with(|sources| sources.len() > 1))>
                <Choice
                    label=t!(source)
                    any=t!(any_source)
                    options=sources
                    chosen=Signal::derive(move || nav.route.with(|route| route.question.source.clone()))
                    choose=move |value| nav.ask(|question| question.source = value)
                />
            </When>
            <Choice
                label=t!(dialect)
                any=t!(any_dialect)
                options=dialects
                chosen=Signal::derive(move || nav.route.with(|route| route.question.dialect.clone()))
                choose=move |value| nav.ask(|question| question.dialect = value)
            />
            <Choice
                label=t!(flag)
                any=t!(any_flag)
                options=flags
                chosen=Signal::derive(move || nav.route.with(|route| route.question.flag.clone()))
                choose=move |value| nav.ask(|question| question.flag = value)
            />
            <Choice
                label=t!(state)
                any=t!(any_state)
                options=states
                chosen=Signal::derive(move || nav.route.with(|route| route.question.state.clone()))
                choose=move |value| nav.ask(|question| question.state = value)
            />
        </div>
    }
}

/// Options with how many of the locks that are shown each would leave.
fn counted(live: Live, field: &str, mut options: Vec<(String, String)>) -> Vec<(String, String)> {
    live.facets.with(|facets| {
        // Before they are told, nothing is known to be none.
        if facets.is_empty() {
            return;
        }
        for (value, said) in &mut options {
            let known = facets.iter().find(|facet| facet.field == field && facet.value == *value);
            *said = format!("{said} ({})", count(known.map_or(0, |facet| facet.locks)));
        }
    });
    options
}

fn options(names: Vec<String>) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for name in names {
        // In order, each once; a handful, so that going through them is quick.
        let before = options.iter().take_while(|(known, _)| *known < name).count();
        if options.get(before).is_none_or(|(known, _)| *known != name) {
            options.insert(before, (name.clone(), shown(&name)));
        }
    }
    options
}

/// A filter that is on or off.
#[component]
fn Chip(#[prop(into)] on: Signal<bool>, toggle: impl Fn(bool) + 'static, children: Children) -> impl IntoView {
    view! {
        <button
            type="button"
            class="chip"
            aria-pressed=text(move || on.get().to_string())
            on:click=move |_| toggle(!on.get_untracked())
        >
            {children()}
        </button>
    }
}

/// A filter with several values.
#[component]
fn Choice(
    label: &'static str,
    any: &'static str,
    #[prop(into)] options: Signal<Vec<(String, String)>>,
    #[prop(into)] chosen: Signal<Option<String>>,
    choose: impl Fn(Option<String>) + 'static,
) -> impl IntoView {
    let option = move |at: usize| {
        let value = maybe(move || options.with(|options| options.get(at).map(|(value, _)| value.clone())));
        let said = maybe(move || options.with(|options| options.get(at).map(|(_, said)| said.clone())));
        let selected = flag(move || value.with(|value| value.is_some() && chosen.with(|chosen| chosen == value)));
        view! {
            <option value=value selected=selected>
                {said}
            </option>
        }
    };
    view! {
        <select
            class="chip"
            class:on=flag(move || chosen.with(Option::is_some))
            aria-label=label
            on:change:target=move |event| choose(Some(event.target().value()).filter(|value| !value.is_empty()))
        >
            <option value="" selected=flag(move || chosen.with(Option::is_none))>
                {any}
            </option>
            // What an option says may change; the option stays, so that an open list does not close.
            {each(move || options.with(Vec::len), option)}
        </select>
    }
}

#[component]
fn GroupChoice() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let options = GroupBy::ALL.map(|by| (by.word().to_owned(), lang::group_named(by).to_owned())).to_vec();
    let choose = move |value: Option<String>| {
        nav.ask(|question| {
            question.group = value.and_then(|value| GroupBy::ALL.into_iter().find(|by| by.word() == value));
            question.within = None;
        });
    };
    view! {
        <Choice
            label=t!(group)
            any=t!(no_groups)
            options=Signal::stored(options)
            chosen=Signal::derive(move || nav.route.with(|route| route.question.group.map(|by| by.word().to_owned())))
            choose
        />
    }
}

fn sort_said(key: SortKey) -> &'static str {
    match key {
        SortKey::Blocked => t!(blocked_time),
        SortKey::Waiters => t!(waiters),
        SortKey::HeldSince => t!(held_for_in_toolbar),
        SortKey::TimeLeft => t!(time_left),
        SortKey::Name => t!(name),
        SortKey::LastChange => t!(last_change),
    }
}

/// What comes first, in words: an arrow alone leaves open what it points at.
fn end_said(key: SortKey, order: Order) -> &'static str {
    match (key, order) {
        (SortKey::Blocked | SortKey::Waiters, Order::Desc) => t!(most_first),
        (SortKey::Blocked | SortKey::Waiters, Order::Asc) => t!(fewest_first),
        (SortKey::HeldSince, Order::Asc) => t!(longest_first),
        (SortKey::HeldSince, Order::Desc) => t!(newest_first),
        (SortKey::TimeLeft, Order::Asc) => t!(soonest_first),
        (SortKey::TimeLeft, Order::Desc) => t!(latest_first),
        (SortKey::Name, Order::Asc) => t!(a_first),
        (SortKey::Name, Order::Desc) => t!(z_first),
        (SortKey::LastChange, Order::Desc) => t!(newest_first),
        (SortKey::LastChange, Order::Asc) => t!(oldest_first),
    }
}

#[component]
fn OrderChoice() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let sort = move || nav.route.with(|route| route.question.sort);
    let order = move || nav.route.with(|route| route.question.order());
    let explained = maybe(move || (sort() == SortKey::Blocked).then(|| BLOCKED_EXPLAINED.said().to_owned()));
    let choose = move |word: String| {
        let Some(key) = SortKey::ALL.into_iter().find(|key| key.word() == word) else { return };
        nav.ask(|question| {
            question.sort = key;
            question.order = None;
        });
    };
    let turn = move |_| {
        nav.ask(|question| {
            let turned = match question.order() {
                Order::Asc => Order::Desc,
                Order::Desc => Order::Asc,
            };
            question.order = (turned != question.sort.natural_order()).then_some(turned);
        });
    };
    view! {
        <span class="joined">
            <select class="chip" aria-label=t!(order_by) title=explained on:change:target=move |event| choose(event.target().value())>
                {SortKey::ALL
                    .into_iter()
                    .map(|key| {
                        view! {
                            <option value=key.word() selected=flag(move || sort() == key)>
                                {t!(ordered_by, sort_said(key))}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
            <button type="button" class="chip" title=t!(turn_the_order_round) on:click=turn>
                {text(move || end_said(sort(), order()))}
            </button>
        </span>
    }
}

#[component]
fn Pause() -> impl IntoView {
    let live = expect_context::<Live>();
    let keys = expect_context::<TableKeys>();
    let said = text(move || {
        let waiting = match live.pending.get() {
            0 => String::new(),
            1 => t!(one_change_waiting).to_owned(),
            n => t!(changes_waiting, count(n.unsigned_abs())),
        };
        match (keys.paused.get(), keys.hovered.get(), waiting.is_empty()) {
            (true, _, true) => t!(paused).to_owned(),
            (true, _, false) => t!(paused_in_toolbar, waiting),
            (false, true, false) => t!(held_still_under_the_pointer, waiting),
            (false, _, _) => String::new(),
        }
    });
    view! {
        <span class="held-still">
            {said}
        </span>
        <button
            type="button"
            class="chip pause"
            aria-keyshortcuts="p"
            aria-pressed=text(move || keys.paused.get().to_string())
            on:click=move |_| keys.paused.update(|paused| *paused = !*paused)
        >
            {move || {
                let (glyph, word) = if keys.paused.get() { (Glyph::Play, t!(resume)) } else { (Glyph::Pause, t!(pause)) };
                view! {
                    <Icon glyph />
                    <span>{word}</span>
                }
            }}
            <b>
                {maybe(move || {
                    Some(live.pending.get()).filter(|n| *n > 0 && keys.paused.get()).map(|n| format!(" {}", count(n.unsigned_abs())))
                })}
            </b>
        </button>
    }
}
