use leptos::prelude::*;
use lockkeeper_model::LockId;
use lockkeeper_model::words::shown;

use crate::components::sheet::{Block, Cell, List, Sheet, Table};
use crate::components::{PageHead, SpanChoice, WaitDrawing, whole as sentence};
use crate::lang::{self, Key, count, duration, key, t, without_tenths};
use crate::live::answers::Refusal;
use crate::live::heat::{Heat, SHADE_COUNT, STEPS, Waited, shade};
use crate::live::json::Value;
use crate::live::poll;
use crate::live::route::{Page, Route, encode};
use crate::live::waits::Waits;
use crate::nav::Nav;
use crate::ui::{day, hms, maybe, text};

/// How often it is asked who waits for whom, and where time is lost, in seconds: queues grow within seconds, and the
/// answer is put together anew each time.
const GRAPH_EVERY_S: i64 = 3;
const MINUTES_EVERY_S: i64 = 10;

/// …and what was written down, whose newest step is a minute or more.
const WRITTEN_EVERY_S: i64 = 30;

/// The headings of the last minutes, newest first.
const MINUTES: [Key<0>; 5] =
    [key::this_minute, key::one_min_ago, key::two_min_ago, key::three_min_ago, key::four_min_ago];

/// Locks of which is drawn when they were waited for: those that were waited for longest.
const MOST_DRAWN: usize = 12;

const DAY_MS: u64 = 86_400_000;

/// Who waits for whom, who is at the head of it all, and where time was lost.
#[component]
pub(crate) fn ContentionPage() -> impl IntoView {
    let nav = expect_context::<Nav>();
    let path = move |what: &'static str, more: fn(&Route) -> String| {
        maybe(move || {
            nav.route.with(|route| {
                let source = route.question.source.as_ref();
                let only = source.map(|source| format!("&source={}", encode(source))).unwrap_or_default();
                Some(format!("/api/v1/{what}?{}{only}", more(route)))
            })
        })
    };
    let graph = poll(path("graph", |_| String::new()), GRAPH_EVERY_S);
    let lost = poll(path("contention", |_| String::new()), MINUTES_EVERY_S);
    let waits = Memo::new(move |_| graph.answer.with(|answer| answer.as_ref().map(Waits::read)));
    let told = Memo::new(move |_| waits.with(|waits| waits.as_ref().map(tell).unwrap_or_default()));
    let drawing = Memo::new(move |_| waits.with(|waits| waits.as_ref().map(Waits::drawing).unwrap_or_default()));
    let written = poll(
        path("waited", |route| format!("steps={STEPS}&limit={MOST_DRAWN}&over_s={}", route.span().ms / 1_000)),
        WRITTEN_EVERY_S,
    );
    let heat = Memo::new(move |_| {
        let refusal = written.refusal.get();
        written.answer.with(|answer| heat(answer.as_ref(), refusal.as_ref()))
    });
    let minutes = Memo::new(move |_| lost.answer.with(|answer| answer.as_ref().map(minutes).unwrap_or_default()));
    view! {
        <main class="page">
            <PageHead title=text(|| t!(contention)) polled=graph />
            <Sheet blocks=told />
            <WaitDrawing drawing />
            <Sheet blocks=minutes />
            <section class="heat-head">
                <h2>{t!(when_was_waited_for_what)}</h2>
                <SpanChoice />
            </section>
            <Sheet blocks=heat />
        </main>
    }
}

fn tell(waits: &Waits) -> Vec<Block> {
    if waits.is_empty() {
        return vec![Block::Say("calm", t!(nobody_is_known_to_wait).to_owned())];
    }
    let mut blocks: Vec<Block> =
        waits.circles.iter().map(|(says, _)| Block::Say("bad", t!(they_wait_for_each_other, sentence(says)))).collect();
    let lines = waits.tree().into_iter().map(|line| {
        let to = line.lock.map(|lock| Route { page: Page::Lock, lock: Some(lock), ..Route::default() });
        (line.depth, Cell::of(line.says).under(line.basis).to(to))
    });
    blocks.push(Block::Heading(t!(who_waits_for_whom).to_owned()));
    let label = t!(who_keeps_most_others_waiting).to_owned();
    blocks.push(Block::List(List { label, lines: lines.collect() }));
    let [locks, parties, circles] = waits.left_out;
    for (number, what) in [(locks, t!(contended_locks)), (parties, t!(holders_and_waiters)), (circles, t!(circles))] {
        if number > 0 {
            blocks.push(Block::Say("warn", t!(more_are_not_shown_there, count(number), what)));
        }
    }
    blocks
}

/// Time lost to waiting, lock by lock and minute by minute.
fn minutes(answer: &Value) -> Vec<Block> {
    let number = |name: &str| answer.number(name).unwrap_or_default();
    let over = duration(number("over_ms") as i64);
    let mut blocks = vec![Block::Heading(t!(time_lost_in_the_last, over))];
    blocks.push(Block::Say("calm", t!(all_who_waited_added_up_as, whole(number("blocked_ms")))));
    let locks = answer.items("locks");
    let row = |lock: &Value| {
        let place = LockId::parse(lock.text("id")).ok().map(|id| (lock.text("source").to_owned(), id));
        let to = place.map(|lock| Route { page: Page::Lock, lock: Some(lock), ..Route::default() });
        let mut row = vec![
            Cell::of(shown(lock.text("name"))).under(shown(lock.text("source"))).to(to).copied_as(t!(lock)),
            Cell::of(whole(lock.number("blocked_ms").unwrap_or_default())).under(lang::basis_named(lock.text("basis"))),
        ];
        row.extend(
            of_minutes(lock)
                .map(|ms| Cell::of(if ms == 0 { "–".to_owned() } else { whole(ms) }).look(LOOKS[shade(ms)])),
        );
        row
    };
    if !locks.is_empty() {
        let heads = [t!(lock), t!(together)].into_iter().chain(MINUTES.map(Key::said)).collect();
        let label = t!(time_lost_to_waiting_by).to_owned();
        blocks.push(Block::Table(Table { label, heads, rows: locks.iter().map(row).collect() }));
    }
    for (number, what) in
        [(number("more_locks"), t!(more_locks_lost_time_and)), (number("uncounted"), t!(locks_were_handed_over_or))]
    {
        if number > 0 {
            blocks.push(Block::Say("warn", format!("{} {what}", count(number))));
        }
    }
    blocks
}

fn of_minutes(lock: &Value) -> impl Iterator<Item = u64> {
    let minutes = lock.items("minutes");
    (0..MINUTES.len()).map(move |at| match minutes.get(at) {
        Some(Value::Unsigned(ms)) => *ms,
        _ => 0,
    })
}

/// How each step looks; the words beside it say how much it is.
const LOOKS: [&str; SHADE_COUNT] = ["", "heat-1", "heat-2", "heat-3", "heat-4"];

/// When was waited for the locks that were waited for longest, as it was written down.
fn heat(answer: Option<&Value>, refusal: Option<&Refusal>) -> Vec<Block> {
    let mut blocks: Vec<Block> =
        refusal.map(|refusal| Block::Say("warn", shown(&refusal.detail))).into_iter().collect();
    // What was true before a refusal may not be so any more.
    let Some(heat) = answer.filter(|_| blocks.is_empty()).map(Heat::read) else { return blocks };
    if heat.locks.is_empty() {
        return vec![Block::Say("calm", t!(nobody_is_known_to_have_waited).to_owned())];
    }
    let row = |lock: &Waited| {
        let place = lock.id.clone().map(|id| (lock.source.clone(), id));
        let to = place.map(|lock| Route { page: Page::Lock, lock: Some(lock), ..Route::default() });
        vec![
            Cell::of(lock.name.as_str()).under(shown(&lock.source)).to(to).copied_as(t!(lock)),
            Cell::of(heat_said(&heat, lock)).drawn(drawn(&heat, lock)),
        ]
    };
    blocks.push(Block::Say("calm", t!(how_waiting_is_drawn).to_owned()));
    blocks.push(Block::Table(Table {
        label: t!(when_was_waited_for_what).to_owned(),
        heads: vec![t!(lock), t!(until_now)],
        rows: heat.locks.iter().map(row).collect(),
    }));
    if heat.more > 0 {
        blocks.push(Block::Say("warn", t!(more_locks_are_not_drawn, count(heat.more))));
    }
    blocks
}

/// What is drawn of a lock, in words: how much in how many of the steps that are known, and when it was most.
fn heat_said(heat: &Heat, lock: &Waited) -> String {
    let known: Vec<(usize, u64)> = lock.steps.iter().enumerate().filter_map(|(at, ms)| Some((at, (*ms)?))).collect();
    let waited = known.iter().filter(|(_, ms)| *ms > 0).count() as u64;
    // Of several with the most, the newest.
    let most = known.iter().max_by_key(|(_, ms)| *ms).copied().unwrap_or_default();
    let began = heat.began(most.0);
    let is_long = heat.step_ms * STEPS as u64 > 2 * DAY_MS;
    let began = if is_long { format!("{} {}", day(began), hms(began)) } else { hms(began) };
    t!(
        waited_in_steps_of_known,
        whole(lock.together),
        count(waited),
        count(known.len() as u64),
        duration(heat.step_ms as i64),
        whole(most.1),
        began
    )
}

/// The steps of each shade as shapes, the newest to the right. One that is not known has none, and the ground is seen.
fn drawn(heat: &Heat, lock: &Waited) -> Vec<String> {
    let mut shades = vec![String::new(); SHADE_COUNT];
    let room = STEPS.saturating_sub(lock.steps.len());
    for (at, ms) in lock.steps.iter().enumerate() {
        if let Some(ms) = ms {
            shades[heat.shade(*ms)].push_str(&format!("M{} 0h1v1h-1z", room + at));
        }
    }
    shades
}

/// Whole seconds: it is added up once a second.
fn whole(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    without_tenths(if ms < 1_000 { ms } else { ms / 1_000 * 1_000 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    #[test]
    fn lost_time_is_in_words_and_in_steps_of_the_most() {
        let answer = parse(
            r#"{"over_ms":300000,"blocked_ms":12400,"more_locks":0,"uncounted":2,"locks":[{"source":"s","id":"lock:a",
            "name":"a","blocked_ms":12400,"minutes":[0,10000,2400,0,0],"basis":"inferred","waiters":1}]}"#,
        );
        let blocks = minutes(&answer.unwrap());
        let [Block::Heading(_), Block::Say("calm", sum), Block::Table(table), Block::Say("warn", uncounted)] =
            &blocks[..]
        else {
            panic!("{blocks:#?}")
        };
        assert!(sum.starts_with("12 s, all who waited"), "{sum}");
        let row: Vec<(&str, &str)> = table.rows[0].iter().map(|cell| (cell.says.as_str(), cell.look)).collect();
        assert_eq!(row[2..5], [("–", ""), ("10 s", "heat-1"), ("2 s", "heat-1")]);
        assert_eq!((table.heads.len(), row.len()), (7, 7));
        assert!(uncounted.contains("unknown"));
    }

    #[test]
    fn a_time_is_drawn_as_far_as_it_is_known_and_told_in_words() {
        let answer = parse(
            r#"{"from":"1970-01-01T02:00:00.000Z","step_ms":60000,"more_locks":2,"locks":[{"source":"s","id":"lock:a",
            "name":"a","waited_ms":417000,"steps":[12000,null,400000,0,5000]}]}"#,
        );
        let blocks = heat(answer.as_ref(), None);
        let [Block::Say(..), Block::Table(table), Block::Say("warn", more)] = &blocks[..] else {
            panic!("{blocks:#?}")
        };
        assert_eq!(
            table.rows[0][1].says,
            "6 m 57 s, in 3 of the 4 steps of 1 m 00 s that are known; most, 6 m 40 s, from 02:02:00 on"
        );
        assert_eq!(table.rows[0][1].drawn, ["M59 0h1v1h-1z", "M60 0h1v1h-1z", "M56 0h1v1h-1z", "", "M58 0h1v1h-1z"]);
        assert!(more.starts_with("2 more locks"), "{more}");
        let nobody = heat(parse(r#"{"locks":[]}"#).as_ref(), None);
        assert!(
            matches!(&nobody[..], [Block::Say("calm", said)] if said.starts_with("Nobody is known")),
            "{nobody:#?}"
        );
        let refusal = Refusal { detail: "nothing is written down".to_owned(), hint: None, ask_again: false };
        assert_eq!(heat(answer.as_ref(), Some(&refusal)), [Block::Say("warn", refusal.detail.clone())]);
    }

    #[test]
    fn without_waiters_it_says_that_none_are_known() {
        let blocks = tell(&Waits::default());
        assert_eq!(blocks, [Block::Say("calm", "Nobody is known to wait for a lock.".to_owned())]);
    }
}
