use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{LockId, Time};

use crate::components::sheet::{Block, Cell, Sheet, Table};
use crate::components::{NavLink, PageHead};
use crate::lang::{self, count, duration, key, t};
use crate::live::json::Value;
use crate::live::route::{Page, Route, encode};
use crate::live::waits::linked_by;
use crate::live::{Live, poll};
use crate::nav::Nav;
use crate::ui::{When, flag, hms, maybe, text};

/// How often it is asked who holds how much, in seconds: the server looks through every lock for it.
const EVERY_S: i64 = 10;

/// Who holds how much; or of one holder, what, and what would go free without it.
#[component]
pub(crate) fn HoldersPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let live = expect_context::<Live>();
    let chosen = Memo::new(move |_| nav.route.with(|route| route.holder.clone()));
    let path = maybe(move || {
        let mut path = "/api/v1/holders?".to_owned();
        if let Some(source) = nav.route.with(|route| route.question.source.clone()) {
            path.push_str(&format!("source={}&", encode(&source)));
        }
        if let Some(holder) = chosen.get() {
            path.push_str(&format!("holder={}", encode(&holder)));
        }
        Some(path)
    });
    let polled = poll(path, EVERY_S);
    let second = Memo::new(move |_| live.now.get() / 1_000);
    let blocks = Memo::new(move |_| {
        let now = Time(second.get() * 1_000);
        let one = chosen.with(Option::is_some);
        polled.answer.with(|answer| match answer {
            Some(answer) if one => of_one(answer, now),
            Some(answer) => of_all(answer, now),
            None => Vec::new(),
        })
    });
    let title = text(move || {
        let name = polled.answer.with(|answer| {
            let holder = answer.as_ref()?.items("holders").first()?;
            Some(shown(holder.text("name")))
        });
        match (chosen.get(), name) {
            (Some(_), Some(name)) => name,
            (Some(_), None) => t!(holder).to_owned(),
            (None, _) => t!(holders_title).to_owned(),
        }
    });
    view! {
        <main class="page">
            <PageHead title polled />
            <When holds=flag(move || chosen.with(Option::is_some))>
                <p>
                    <NavLink route=Route { page: Page::Holders, ..Route::default() }>{t!(all_holders)}</NavLink>
                </p>
            </When>
            <Sheet blocks />
        </main>
    }
}

fn of_all(answer: &Value, now: Time) -> Vec<Block> {
    let holders = answer.items("holders");
    let mut blocks = reservations(answer);
    if holders.is_empty() {
        blocks.push(Block::Say("calm", t!(nobody_is_known_to_hold).to_owned()));
        return blocks;
    }
    let row = |holder: &Value| {
        let list = holder.items("list");
        let only = list.first().filter(|_| list.len() == 1).and_then(lock_page);
        let to = match holder.text("id") {
            "" => only,
            id => Some(Route { page: Page::Holders, holder: Some(id.to_owned()), ..Route::default() }),
        };
        let link = match holder.text("linked_by") {
            "" => t!(one_hold_nothing_in_its).to_owned(),
            word => linked_by(word),
        };
        let oldest = list.first().map(|lock| held(lock, now)).unwrap_or_default();
        let verdicts = verdicts(holder.field("verdicts"));
        let listed = list.len() as u64;
        let locks = holder.number("locks").unwrap_or_default();
        let judged = if listed < locks { t!(of_the_held_for_longest, listed) } else { String::new() };
        vec![
            Cell::of(shown(holder.text("name"))).under(link).to(to).copied_as(t!(holder)),
            Cell::of(count(locks)),
            Cell::of(waiting(holder)),
            Cell::of(oldest.0).under(oldest.1),
            Cell::of(verdicts.0).under(judged).look(verdicts.1),
            Cell::of(connection(holder.field("connection"), now)).copied_as(t!(connection)),
        ]
    };
    let heads = vec![t!(holder), t!(locks), t!(waiting), t!(longest_held), t!(alive_heading), t!(connection)];
    let label = t!(holders_those_with_most_locks).to_owned();
    blocks.push(Block::Table(Table { label, heads, rows: holders.iter().map(row).collect() }));
    blocks
}

fn of_one(answer: &Value, now: Time) -> Vec<Block> {
    let mut blocks = reservations(answer);
    let Some(holder) = answer.items("holders").first() else {
        blocks.push(Block::Say("calm", t!(this_holder_has_no_lock).to_owned()));
        return blocks;
    };
    let list = holder.items("list");
    let (all, listed) = (holder.number("locks").unwrap_or_default(), list.len() as u64);
    let (never, first, last) = ends(list);
    let mut freed = Vec::new();
    match (first, last) {
        (Some(first), Some(last)) if first != last => {
            freed.push(t!(its_leases_would_run_out, hms(first), hms(last)));
        }
        (Some(first), _) => freed.push(t!(its_lease_would_run_out, hms(first))),
        _ => {}
    }
    if never > 0 {
        freed.push(t!(would_never_go_free_by, count(never)));
    }
    blocks.push(Block::Facts(vec![
        (
            t!(locks),
            format!("{}{}", count(all), if listed < all { t!(of_which_are_listed, listed) } else { String::new() }),
        ),
        (t!(one_holder), linked_by(holder.text("linked_by"))),
        (t!(waiting), waiting(holder)),
        (t!(alive_heading), verdicts(holder.field("verdicts")).0),
        (t!(connection), connection(holder.field("connection"), now)),
        (t!(if_it_died), freed.join("; ")),
    ]));
    let row = |lock: &Value| {
        let held = held(lock, now);
        let evidence = lock.texts("evidence").map(shown).collect::<Vec<_>>().join("; ");
        let others = match lock.number("others").unwrap_or_default() {
            0 => String::new(),
            others => t!(others_hold_it_as_well, count(others)),
        };
        let waiting = match lock.number("waiters") {
            Some(waiters) => Cell::of(count(waiters)).under(lang::basis_named(lock.text("waiters_basis"))),
            None => Cell::of(t!(unknown)),
        };
        vec![
            Cell::of(shown(lock.text("name")))
                .under(shown(lock.text("source")))
                .to(lock_page(lock))
                .copied_as(t!(lock)),
            Cell::of(held.0).under(held.1),
            Cell::of(shown(lock.text("verdict"))).under(evidence).look(look(lock.text("verdict"))),
            waiting,
            Cell::of(end(lock, now)).under(others),
        ]
    };
    let heads = vec![t!(lock), t!(held_heading), t!(alive_heading), t!(waiting), t!(if_it_died)];
    let label = t!(its_locks_the_longest_held).to_owned();
    blocks.push(Block::Table(Table { label, heads, rows: list.iter().map(row).collect() }));
    blocks
}

/// What keeps the answer from being all that there is.
fn reservations(answer: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !answer.holds("complete") {
        let looked = count(answer.number("looked_through").unwrap_or_default());
        blocks.push(Block::Say("warn", t!(only_locks_were_looked_through, looked)));
    }
    match answer.number("more_holders").unwrap_or_default() {
        0 => {}
        more => blocks.push(Block::Say("warn", t!(more_holders_are_not_shown, count(more)))),
    }
    blocks
}

fn lock_page(lock: &Value) -> Option<Route> {
    let id = LockId::parse(lock.text("id")).ok()?;
    Some(Route { page: Page::Lock, lock: Some((lock.text("source").to_owned(), id)), ..Route::default() })
}

/// For how long it is held, never more exactly than it is known, and since when.
fn held(lock: &Value, now: Time) -> (String, String) {
    let since = lock.field("held_since");
    let Some(by) = since.time("not_after") else { return (t!(unknown).to_owned(), String::new()) };
    let (word, at_least) = match since.text("basis") {
        "first_seen" => (key::before_in_lock_row, "≥ "),
        _ => (key::since_in_lock_row, ""),
    };
    (format!("{at_least}{}", duration(now.since(by))), lang::fill(word, [&hms(by)]))
}

/// How many wait for a holder's locks; of those whose waiters are not known, nobody can say.
fn waiting(holder: &Value) -> String {
    let known = holder.number("waiters").unwrap_or_default();
    let list = holder.items("list");
    let is_unknown = |lock: &&Value| lock.number("waiters").is_none();
    match (list.iter().filter(is_unknown).count(), known) {
        (0, known) => count(known),
        (unknown, 0) if unknown == list.len() => t!(unknown).to_owned(),
        (_, known) => t!(at_least, count(known)),
    }
}

/// When a lock goes free if its holder does nothing more.
fn end(lock: &Value, now: Time) -> String {
    match lock.field("lease").time("expires_at") {
        None => t!(never_by_itself_no_expiry).to_owned(),
        Some(end) if end <= now => t!(its_lease_was_over_at, hms(end)),
        Some(end) => t!(free_at_in, hms(end), duration(end.since(now))),
    }
}

/// How many never go free by themselves, and when the first and the last of the others do.
fn ends(list: &[Value]) -> (u64, Option<Time>, Option<Time>) {
    let ends = || list.iter().filter_map(|lock| lock.field("lease").time("expires_at"));
    ((list.len() - ends().count()) as u64, ends().min(), ends().max())
}

/// What is judged of a holder, by its locks, and how that looks: as the worst of it.
fn verdicts(verdicts: &Value) -> (String, &'static str) {
    let words = ["gone", "quiet", "alive", "unknown"];
    let found = words.map(|word| (word, verdicts.number(word).unwrap_or_default()));
    let told: Vec<(&str, u64)> = found.into_iter().filter(|(_, number)| *number > 0).collect();
    let says = match &told[..] {
        [(word, _)] => lang::verdict_named(word).to_owned(),
        several => several
            .iter()
            .map(|(word, number)| t!(verdict_by_number, lang::verdict_named(word), number))
            .collect::<Vec<_>>()
            .join(", "),
    };
    (says, told.first().map_or("", |(word, _)| look(word)))
}

fn look(verdict: &str) -> &'static str {
    match verdict {
        "alive" => "is-alive",
        "quiet" => "is-quiet",
        "gone" => "is-gone",
        _ => "is-unknown",
    }
}

/// The connection that has the holder's name, where there is one.
fn connection(connection: &Value, now: Time) -> String {
    if *connection == Value::Null {
        return t!(unknown).to_owned();
    }
    let name = shown(connection.text("name"));
    let from = match connection.text("addr") {
        "" => String::new(),
        addr => t!(from_whom, shown(addr)),
    };
    match (connection.time("closed_at"), connection.time("spoke_at")) {
        (Some(closed), _) => t!(closed_at, name, from, hms(closed)),
        (None, Some(spoke)) => t!(spoke_ago, name, from, duration(now.since(spoke))),
        (None, None) => format!("{name}{from}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    const ANSWER: &str = r#"{"complete":true,"more_holders":3,"looked_through":4,"holders":[
        {"id":"process:web:7","name":"web, pid 7","linked_by":"process","locks":2,"waiters":5,
        "connection":{"name":"web:7","addr":"10.0.0.4:1","spoke_at":"1970-01-01T00:01:00.000Z","closed_at":null},
        "verdicts":{"alive":1,"quiet":0,"gone":0,"unknown":1},"list":[
        {"source":"s","id":"lock:a","name":"a","verdict":"alive","evidence":["renewed 1 s ago"],"others":0,"waiters":5,
        "waiters_basis":"exact","held_since":{"not_after":"1970-01-01T00:00:30.000Z","basis":"first_seen"},
        "lease":{"kind":"ttl","expires_at":"1970-01-01T00:01:40.000Z"}},
        {"source":"s","id":"lock:b","name":"b","verdict":"unknown","evidence":[],"others":2,"waiters":null,
        "waiters_basis":"unknown","held_since":{"not_after":"1970-01-01T00:00:50.000Z","basis":"observed"},
        "lease":{"kind":"none","expires_at":null}}]},
        {"id":null,"name":"0f8e","linked_by":null,"locks":1,"waiters":0,"connection":null,
        "verdicts":{"alive":0,"quiet":0,"gone":0,"unknown":1},"list":[{"source":"s","id":"lock:c","name":"c",
        "held_since":{"not_after":"1970-01-01T00:00:50.000Z","basis":"observed"},"lease":{"expires_at":null}}]}]}"#;

    fn said(rows: &[Vec<Cell>], row: usize) -> Vec<String> {
        rows[row].iter().map(|cell| format!("{}|{}", cell.says, cell.under)).collect()
    }

    #[test]
    fn each_holder_says_why_it_is_one_and_what_is_not_known_is_unknown() {
        let blocks = of_all(&parse(ANSWER).unwrap(), Time(61_000));
        let [Block::Say("warn", more), Block::Table(table)] = &blocks[..] else { panic!("{blocks:#?}") };
        assert!(more.starts_with("3 more holders"));
        assert_eq!(
            said(&table.rows, 0),
            [
                "web, pid 7|the same process; it may be two of its threads",
                "2|",
                "at least 5|",
                "≥ 31 s|before 00:00:30",
                "alive by 1, unknown by 1|",
                "web:7 from 10.0.0.4:1, spoke 1.0 s ago|",
            ]
        );
        let route = table.rows[0][0].to.as_ref().unwrap();
        assert_eq!(route.holder.as_deref(), Some("process:web:7"));
        assert_eq!(said(&table.rows, 1)[5], "unknown|");
        assert_eq!(table.rows[1][0].to.as_ref().unwrap().page, Page::Lock, "one hold leads to its lock");
    }

    #[test]
    fn what_would_go_free_without_a_holder_says_when_and_what_never_would() {
        let blocks = of_one(&parse(ANSWER).unwrap(), Time(61_000));
        let Some(Block::Table(table)) = blocks.last() else { panic!("{blocks:#?}") };
        assert_eq!(said(&table.rows, 0)[4], "free at 00:01:40, in 39 s|");
        assert_eq!(
            said(&table.rows, 1)[3..],
            ["unknown|".to_owned(), "never by itself: no expiry|2 others hold it as well".to_owned()]
        );
        let Some(Block::Facts(facts)) = blocks.get(1) else { panic!("{blocks:#?}") };
        let died = facts.iter().find(|(term, _)| *term == "If it died").unwrap();
        assert_eq!(
            died.1,
            "its lease would run out at 00:01:40; 1 would never go free by themselves: they have no expiry"
        );
        let gone = of_one(&parse(r#"{"complete":true,"holders":[]}"#).unwrap(), Time(0));
        assert!(matches!(&gone[..], [Block::Say("calm", said)] if said.contains("no lock now")));
    }
}
