use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Event, LockId, Time};
use wasm_bindgen_futures::spawn_local;

use super::facts::Facts;
use super::facts_list::FactsList;
use super::freeze::Freeze;
use super::history::Lines;
use super::scrubber::spans;
use crate::lang::{count, duration, t};
use crate::live::answers::Refusal;
use crate::live::past::{Stats, Timeline};
use crate::live::route::SPANS;
use crate::live::{Live, recall};
use crate::ui::{When, each, flag, maybe, text};

/// The histogram's own measures; it is stretched to the width that there is.
const BIN_WIDTH: i64 = 20;
const HEIGHT: i64 = 60;

/// What was written down of a lock: how long it is usually held, and what happened before what is in memory. It is asked
/// for when somebody looks.
#[component]
pub(crate) fn LockPast(
    /// Its source.
    source: String,
    /// The lock.
    id: LockId,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let lock = StoredValue::new((source, id));
    let is_open = RwSignal::new(false);
    let span = RwSignal::new(&SPANS[2]);
    let stats = RwSignal::new(None::<Result<Stats, Refusal>>);
    let events = RwSignal::new(Vec::<Event>::new());
    let next = RwSignal::new(None::<String>);
    // The moment that is looked back at, and else now.
    let to = move || if live.rewind.is_some() { live.now.get_untracked() } else { live.time() };
    Effect::new(move |_| {
        let chosen = span.get();
        if !is_open.get() {
            return;
        }
        let (to, (source, id)) = (to(), lock.get_value());
        stats.set(None);
        spawn_local(async move {
            let added = recall::stats(&source, &id, Time(to - chosen.ms), Time(to + 1)).await;
            let older = recall::timeline(&source, &id, Some(Time(to + 1)), None).await.unwrap_or_default();
            // Another stretch of time may have been chosen, or the drawer closed, meanwhile.
            if span.try_get_untracked() == Some(chosen) {
                stats.set(Some(added));
                events.set(older.events);
                next.set(older.next);
            }
        });
    });
    let older = move |_| {
        let (cursor, (source, id)) = (next.get_untracked(), lock.get_value());
        spawn_local(async move {
            let Timeline { events: more, next: after } =
                recall::timeline(&source, &id, None, cursor.clone()).await.unwrap_or_default();
            if next.try_get_untracked() == Some(cursor) {
                events.update(|events| events.extend(more));
                next.set(after);
            }
        });
    };
    let refused = maybe(move || {
        stats.with(|stats| match stats {
            Some(Err(refusal)) => Some(shown(&refusal.detail)),
            _ => None,
        })
    });
    let age = move || {
        let now = live.now.get();
        live.detail.with(|detail| {
            let since = detail.as_ref()?.lock.as_ref()?.held_since.not_after?;
            Some(now - since.0).filter(|age| *age >= 0)
        })
    };
    view! {
        <details class="lock-past" on:toggle:target=move |event| is_open.set(event.target().open())>
            <summary>{t!(what_was_written_down_of)}</summary>
            <When holds=is_open>
                <label>
                    {t!(over_the_last)}
                    {spans(None, span.into(), move |chosen| span.set(chosen))}
                </label>
                <When holds=flag(move || refused.with(Option::is_some))>
                    <p class="say warn" role="status">{refused}</p>
                </When>
                <Added
                    stats=Signal::derive(move || stats.get().and_then(Result::ok))
                    age=Signal::derive(age)
                />
                <Lines events=events.into() dated=true />
                <When holds=flag(move || next.with(Option::is_some))>
                    <button type="button" class="plain" on:click=older>{t!(older)}</button>
                </When>
            </When>
        </details>
        <Freeze lock />
    }
}

/// What went on at a lock, added up: counts, and how long holds lasted.
#[component]
pub(crate) fn Added(
    /// That; `None`: not known.
    stats: Signal<Option<Stats>>,
    /// For how long it has been held now, to be marked among the others; `None`: it is not, or that is not known.
    age: Signal<Option<i64>>,
) -> impl IntoView {
    let facts = Memo::new(move |_| stats.with(|stats| stats.as_ref().map(facts).unwrap_or_default()));
    let bins =
        Memo::new(move |_| stats.with(|stats| stats.as_ref().map(|stats| bins(&stats.steps)).unwrap_or_default()));
    let place = Memo::new(move |_| age.get().and_then(|age| bins.with(|bins| place_of(bins, age))));
    let bar = move |at: usize| {
        let height = move || bins.with(|bins| height(bins, at));
        view! {
            <rect
                x=(at as i64 * BIN_WIDTH + 1).to_string()
                width=(BIN_WIDTH - 2).to_string()
                y=text(move || (HEIGHT - height()).to_string())
                height=text(move || height().to_string())
            ></rect>
        }
    };
    let view_box = text(move || format!("0 0 {} {HEIGHT}", bins.with(|bins| bins.len().max(1) as i64 * BIN_WIDTH)));
    let mark = maybe(move || place.get().map(|place| format!("M{} 0v{HEIGHT}", place * BIN_WIDTH + BIN_WIDTH / 2)));
    let end = move |is_last: bool| {
        let bin = move |bins: &Vec<(i64, u64)>| if is_last { bins.last() } else { bins.first() }.copied();
        maybe(move || bins.with(bin).map(|(upto, _)| duration(upto)))
    };
    let marked = maybe(move || {
        let age = age.get()?;
        Some(match place.get() {
            Some(_) => t!(held_for_now, duration(age)),
            None => t!(held_for_now_which_is, duration(age)),
        })
    });
    view! {
        <FactsList facts />
        <When holds=flag(move || bins.with(|bins| !bins.is_empty()))>
            <figure class="holds" aria-label=t!(how_long_holds_lasted)>
                <svg viewBox=view_box preserveAspectRatio="none" aria-hidden="true">
                    {each(move || bins.with(Vec::len), bar)}
                    <path class="now" d=mark></path>
                </svg>
                <figcaption>
                    <span>{t!(up_to)} {end(false)}</span>
                    <b>{marked}</b>
                    <span>{t!(up_to)} {end(true)}</span>
                </figcaption>
            </figure>
        </When>
    }
}

fn facts(stats: &Stats) -> Facts {
    let happened: Vec<String> =
        stats.counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what} {}", count(*n))).collect();
    let mut facts = vec![(
        t!(how_often),
        if happened.is_empty() { t!(nothing_is_recorded_of_it).to_owned() } else { happened.join(", ") },
    )];
    if stats.holds > 0 {
        facts.push((t!(holds_that_ended), count(stats.holds)));
    }
    for (term, quantile) in [t!(half_held_at_most), t!(quantile_95), t!(quantile_99)].into_iter().zip(stats.quantiles) {
        facts.extend(quantile.map(|ms| (term, duration(ms))));
    }
    facts.push((t!(waited_together), stats.waited.map_or_else(|| t!(unknown).to_owned(), duration)));
    facts
}

/// Steps put together to doublings of time, from the shortest to the longest that occurs: the longest that falls into
/// each, and how many do.
fn bins(steps: &[(i64, u64)]) -> Vec<(i64, u64)> {
    let doubling = |ms: i64| ms.max(1).ilog2();
    let (Some((first, _)), Some((last, _))) = (steps.first(), steps.last()) else { return Vec::new() };
    let of = |bin: u32| steps.iter().filter(|(ms, _)| doubling(*ms) == bin).map(|(_, n)| n).sum();
    (doubling(*first)..=doubling(*last)).map(|bin| ((2_i64 << bin) - 1, of(bin))).collect()
}

/// The bin into which so many milliseconds fall.
fn place_of(bins: &[(i64, u64)], ms: i64) -> Option<i64> {
    bins.iter().position(|(upto, _)| ms <= *upto).map(|place| place as i64)
}

/// How high a bar is: one that counts anything is seen.
fn height(bins: &[(i64, u64)], at: usize) -> i64 {
    let most = bins.iter().map(|(_, n)| *n).max().unwrap_or_default().max(1);
    match bins.get(at) {
        Some((_, 0)) | None => 0,
        Some((_, n)) => (HEIGHT.cast_unsigned() * n / most).max(2).cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_put_together_to_doublings_and_the_present_has_its_place() {
        let bins = bins(&[(0, 3), (9, 1), (10, 2), (71, 6)]);
        assert_eq!(bins, [(1, 3), (3, 0), (7, 0), (15, 3), (31, 0), (63, 0), (127, 6)]);
        assert_eq!([0, 12, 127, 128].map(|ms| place_of(&bins, ms)), [Some(0), Some(3), Some(6), None]);
        assert_eq!([0, 1, 6, 9].map(|at| height(&bins, at)), [30, 0, 60, 0]);
        assert!(super::bins(&[]).is_empty());
    }

    #[test]
    fn what_never_happened_is_not_listed_and_nothing_at_all_is_said() {
        let stats = Stats {
            counts: vec![("taken", 3), ("lapsed", 0)],
            holds: 2,
            quantiles: [Some(80), None, None],
            steps: Vec::new(),
            waited: Some(90_000),
        };
        let said: Vec<String> = facts(&stats).into_iter().map(|(term, text)| format!("{term}: {text}")).collect();
        assert_eq!(
            said,
            ["Times: taken 3", "Holds that ended: 2", "Half held at most: 80 ms", "Waited, all together: 1 m 30 s"]
        );
        let nothing: Vec<String> = facts(&Stats::default()).into_iter().map(|(_, text)| text).collect();
        assert_eq!(nothing, ["nothing is recorded of it in this time", "unknown"]);
    }
}
