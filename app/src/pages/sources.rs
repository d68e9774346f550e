use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, SourceStatus, Time};

use crate::components::sheet::{Block, Cell, Sheet, Table};
use crate::components::{NavLink, SourceFacts, state_class, warnings};
use crate::lang::{self, count, t};
use crate::live::json::Value;
use crate::live::route::{Page, Route, encode};
use crate::live::{Live, poll};
use crate::ui::{When, each, flag, hms, maybe, skeleton, text};

/// How often it is asked which locks stand without a quorum, in seconds.
const EVERY_S: i64 = 5;

/// Locks without a quorum that are listed of one source.
const MOST_LISTED: u64 = 50;

/// How each store is watched: its state, what is missing, what it costs, and of what it consists.
#[component]
pub(crate) fn SourcesPage() -> impl IntoView {
    let live = expect_context::<Live>();
    let source = move |at: usize| {
        let name = Memo::new(move |_| live.sources.with(|sources| sources.get(at).map(|source| source.name.clone())));
        move || name.get().map(|name| view! { <OneSource name /> })
    };
    view! {
        <main class="page" class:out-of-date=flag(move || !live.link.get().is_live())>
            <header class="page-head">
                <h1>{t!(sources)}</h1>
            </header>
            <When holds=flag(move || live.sources.with(Vec::is_empty))>
                {skeleton("cards", t!(asking))}
            </When>
            {each(move || live.sources.with(Vec::len), source)}
        </main>
    }
}

#[component]
fn OneSource(name: String) -> impl IntoView {
    let live = expect_context::<Live>();
    let about = |say: fn(&SourceStatus) -> Option<String>| {
        let name = name.clone();
        maybe(move || live.sources.with(|sources| sources.iter().find(|source| source.name == name).and_then(say)))
    };
    let class = about(|source| Some(format!("source-card {}", state_class(source.state))));
    let state = about(|source| Some(lang::source_state(source.state).to_owned()));
    let warnings = about(warnings);
    let is_quorum = about(|source| (source.kind == "redlock").then(String::new));
    let of_source = |page: Page| {
        let mut route = Route { page, ..Route::default() };
        route.question.source = Some(name.clone());
        route
    };
    let (locks, contention, holders) = (of_source(Page::Locks), of_source(Page::Contention), of_source(Page::Holders));
    let quorum = StoredValue::new(name.clone());
    view! {
        <section class=class aria-label=shown(&name)>
            <h2>
                <i class="dot"></i>
                {shown(&name)}
            </h2>
            <p>
                <span class="source-state">{state}</span>
                " "
                <span class="source-warning">{warnings}</span>
            </p>
            <p class="ways">
                <NavLink route=locks>{t!(its_locks)}</NavLink>
                <NavLink route=contention>{t!(its_contention)}</NavLink>
                <NavLink route=holders>{t!(its_holders)}</NavLink>
            </p>
            <SourceFacts name=name.clone() />
            <When holds=flag(move || is_quorum.with(Option::is_some))>
                <WithoutQuorum source=quorum.get_value() />
            </When>
        </section>
    }
}

/// The locks of a quorum that nobody owns: begun and not won, or what is left on a minority of the masters.
#[component]
fn WithoutQuorum(source: String) -> impl IntoView {
    let live = expect_context::<Live>();
    let path = format!("/api/v1/locks?state=no_quorum&source={}&limit={MOST_LISTED}", encode(&source));
    let polled = poll(maybe(move || Some(path.clone())), EVERY_S);
    let second = Memo::new(move |_| live.now.get() / 1_000);
    let blocks = Memo::new(move |_| {
        let now = Time(second.get() * 1_000);
        polled.answer.with(|answer| answer.as_ref().map(|answer| without_quorum(answer, now)).unwrap_or_default())
    });
    let refused = text(move || polled.refusal.with(|it| it.as_ref().map(|it| shown(&it.detail)).unwrap_or_default()));
    view! {
        <h3>{t!(without_a_quorum)}</h3>
        <When holds=flag(move || !refused.with(String::is_empty))>
            <p class="say bad">{refused}</p>
        </When>
        <Sheet blocks />
    }
}

fn without_quorum(answer: &Value, now: Time) -> Vec<Block> {
    let locks = answer.items("locks");
    let as_of = answer.time("as_of").map(|at| t!(as_of_in_sources, hms(at))).unwrap_or_default();
    if locks.is_empty() {
        return vec![Block::Say("calm", t!(no_lock_stands_on_too, as_of))];
    }
    let row = |lock: &Value| {
        // One that is not understood is named all the same, and leads nowhere.
        let id = LockId::parse(lock.text("id")).ok();
        let to = id.map(|id| (lock.text("source").to_owned(), id));
        let to = to.map(|lock| Route { page: Page::Lock, lock: Some(lock), ..Route::default() });
        let quorum = lock.field("quorum");
        let nodes = quorum.items("nodes");
        let votes = quorum.number("votes").unwrap_or_default();
        let standing = match quorum.text("standing") {
            "undecided" => t!(undecided_too_few_masters_were),
            _ => t!(nobody_owns_it_whatever_the),
        };
        let left: Vec<String> = nodes.iter().filter_map(|node| leftover(node, now)).collect();
        vec![
            Cell::of(shown(lock.text("name"))).to(to).copied_as(t!(lock)),
            Cell::of(t!(of_needed, votes, nodes.len(), quorum.number("needed").unwrap_or_default())).under(standing),
            Cell::of(left.join("; ")),
        ]
    };
    let mut blocks = vec![Block::Table(Table {
        label: t!(locks_that_stand_on_too).to_owned(),
        heads: vec![t!(lock), t!(votes), t!(what_is_left_on_masters)],
        rows: locks.iter().map(row).collect(),
    })];
    let beyond = answer.number("total").unwrap_or_default().saturating_sub(locks.len() as u64);
    if beyond > 0 {
        blocks.push(Block::Say("warn", t!(more_are_not_listed_here_in_sources, count(beyond), as_of)));
    }
    blocks
}

/// What a master still has of a lock, and for how long.
fn leftover(node: &Value, now: Time) -> Option<String> {
    let name = shown(node.text("node"));
    let state = node.text("state");
    if matches!(state, "unreachable" | "unread") {
        let state = if state == "unread" { t!(unread) } else { t!(unreachable) };
        return Some(t!(unknown_in_sources, name, state));
    }
    if !matches!(state, "holds" | "other") {
        return None;
    }
    Some(match node.time("expires_at") {
        Some(end) if end <= now => t!(over_not_confirmed_in_sources, name),
        Some(end) => t!(until_in_sources, name, hms(end)),
        None => t!(no_expiry_in_sources, name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    #[test]
    fn what_is_left_of_a_lock_without_a_quorum_is_told_by_the_master() {
        let answer = parse(
            r#"{"as_of":"1970-01-01T00:00:07.000Z","total":3,"locks":[{"source":"q","id":"lock:a","name":"a","quorum":{
            "standing":"undecided","needed":2,"votes":1,"nodes":[
            {"node":"m1","state":"holds","expires_at":"1970-01-01T00:01:00.000Z"},
            {"node":"m2","state":"unreachable","expires_at":null},{"node":"m3","state":"absent","expires_at":null}]}}]}"#,
        );
        let blocks = without_quorum(&answer.unwrap(), Time(8_000));
        let [Block::Table(table), Block::Say("warn", more)] = &blocks[..] else { panic!("{blocks:#?}") };
        let said: Vec<&str> = table.rows[0].iter().map(|cell| cell.says.as_str()).collect();
        assert_eq!(said, ["a", "1 of 3, 2 needed", "m1: until 00:01:00; m2: unknown, unreachable"]);
        assert!(more.starts_with("2 more are not listed here"));
    }

    #[test]
    fn none_is_said_as_of_when() {
        let none = without_quorum(&parse(r#"{"as_of":"1970-01-01T00:00:07.000Z","locks":[]}"#).unwrap(), Time(0));
        assert_eq!(none, [Block::Say("calm", "No lock stands on too few of its masters (as of 00:00:07).".to_owned())]);
    }
}
