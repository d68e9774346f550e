use std::fmt::Write as _;

use leptos::prelude::*;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Event, Time};

use crate::lang::{count, duration, t};
use crate::live::moment::utc;
use crate::live::past::Activity;
use crate::ui::{When, each, flag, text};

/// The drawing's own measures; it is stretched to the width that there is.
const WIDTH: i64 = 1_000;
const HEIGHT: i64 = 40;

/// The narrowest mark of a gap, so that a short one is seen.
const LEAST_GAP: i64 = 3;

/// Gaps that are told of in words. The others are in the drawing, and in the timelines of locks.
const MOST_SAID: usize = 3;

/// How much happened in a stretch of time, as shapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Drawing {
    /// How much happened in each step.
    bars: String,
    /// Where that is not known.
    unknown: String,
    /// Where something was missed.
    gaps: String,
}

impl Drawing {
    fn of(activity: &Activity, from: i64, to: i64) -> Drawing {
        let mut drawing = Drawing::default();
        // Before the first answer there is no step.
        if activity.step_ms < 1 {
            return drawing;
        }
        let x = |at: i64| ((at - from) * WIDTH / (to - from).max(1)).clamp(0, WIDTH);
        let most = activity.counts.iter().flatten().copied().max().unwrap_or_default().max(1);
        let mut starts = (activity.from..).step_by(usize::try_from(activity.step_ms).unwrap_or(1).max(1));
        for known in &activity.counts {
            let Some(start) = starts.next() else { break };
            let (left, right) = (x(start), x(start + activity.step_ms));
            let (shapes, height) = match known {
                None => (&mut drawing.unknown, HEIGHT),
                Some(0) => continue,
                // What is there at all is seen.
                Some(n) => (&mut drawing.bars, (HEIGHT as u64 * n / most).max(2).cast_signed()),
            };
            rectangle(shapes, left, right - left, height);
        }
        for gap in &activity.gaps {
            let begin = x(gap.first_at.unwrap_or(gap.at).0);
            rectangle(&mut drawing.gaps, begin, (x(gap.at.0) - begin).max(LEAST_GAP), HEIGHT);
        }
        drawing
    }
}

/// Adds a rectangle that stands on the ground.
fn rectangle(path: &mut String, left: i64, width: i64, height: i64) {
    // Writing into a string cannot fail.
    let _ = write!(path, "M{left} {HEIGHT}v-{height}h{width}v{height}z");
}

/// The same in words.
fn said(activity: &Activity) -> String {
    let known = || activity.counts.iter().flatten();
    let step = duration(activity.step_ms);
    let mut said =
        match activity.counts.iter().zip(0..).filter_map(|(n, at)| n.map(|n| (n, at))).max_by_key(|(n, _)| *n) {
            Some((most @ 1.., place)) => t!(
                transitions_the_most_in_the,
                count(known().sum()),
                count(most),
                step,
                &utc(Time(activity.from + place * activity.step_ms))[11..]
            ),
            Some(_) => t!(nothing_happened).to_owned(),
            None => String::new(),
        };
    if activity.counts.contains(&None) {
        said.push_str(t!(how_much_happened_is_not));
    }
    said
}

fn gap_said(gap: &Event) -> String {
    let why = gap.evidence.as_deref().filter(|why| !why.is_empty()).unwrap_or(t!(something_was_not_seen));
    let from = match gap.first_at.filter(|first| *first < gap.at) {
        Some(first) => t!(to, utc(first), &utc(gap.at)[11..]),
        None => utc(gap.at),
    };
    format!(
        "{from}, {}: {}",
        if gap.source == "*" { t!(every_source).to_owned() } else { shown(&gap.source) },
        shown(why)
    )
}

/// How much happened in a stretch of time, and what was missed in it.
#[component]
pub(crate) fn ActivityStrip(
    /// That.
    activity: RwSignal<Activity>,
    /// The stretch.
    window: Signal<(i64, i64)>,
) -> impl IntoView {
    let drawing = Memo::new(move |_| {
        let (from, to) = window.get();
        activity.with(|activity| Drawing::of(activity, from, to))
    });
    let part = move |part: fn(&Drawing) -> &String| text(move || drawing.with(|drawing| part(drawing).clone()));
    let gaps = move || activity.with(|activity| activity.gaps.len());
    let gap = move |at: usize| {
        // The newest first.
        let said = text(move || {
            activity.with(|activity| activity.gaps.iter().rev().nth(at).map(gap_said)).unwrap_or_default()
        });
        view! { <li>{said}</li> }
    };
    let others = move || {
        let told = gaps().min(MOST_SAID) as u64;
        activity.with(|activity| activity.gaps.len() as u64 + activity.more_gaps - told)
    };
    view! {
        <svg class="activity" viewBox=format!("0 0 {WIDTH} {HEIGHT}") preserveAspectRatio="none" aria-hidden="true">
            <pattern id="missed" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect width="3" height="6"></rect>
            </pattern>
            <pattern id="unknown" width="14" height="14" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect width="2" height="14"></rect>
            </pattern>
            <path class="not-known" d=part(|drawing| &drawing.unknown)></path>
            <path class="bars" d=part(|drawing| &drawing.bars)></path>
            <path class="missed" d=part(|drawing| &drawing.gaps)></path>
        </svg>
        <p class="activity-said">{text(move || activity.with(said))}</p>
        <When holds=flag(move || gaps() > 0)>
            <ul class="gaps" aria-label=t!(what_was_missed_hatched_narrow)>
                {each(move || gaps().min(MOST_SAID), gap)}
                <When holds=flag(move || others() > 0)>
                    <li>{text(move || t!(and_earlier, count(others())))}</li>
                </When>
            </ul>
        </When>
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::TransitionKind;

    use super::*;
    use crate::fixtures::event;

    fn activity() -> Activity {
        let gap = Event { first_at: Some(Time(60_000)), source: "*".to_owned(), ..event(TransitionKind::Gap, 90_000) };
        Activity {
            from: 0,
            step_ms: 60_000,
            counts: vec![None, Some(0), Some(8), Some(4)],
            gaps: vec![gap, event(TransitionKind::Gap, 200_000)],
            more_gaps: 0,
            kept_from: None,
        }
    }

    #[test]
    fn bars_stand_where_something_happened_and_gaps_where_something_was_missed() {
        let drawing = Drawing::of(&activity(), 0, 240_000);
        assert_eq!(drawing.unknown, "M0 40v-40h250v40z");
        assert_eq!(drawing.bars, "M500 40v-40h250v40zM750 40v-20h250v20z");
        assert_eq!(drawing.gaps, "M250 40v-40h125v40zM833 40v-40h3v40z");
        assert_eq!(Drawing::of(&Activity::default(), 0, 240_000), Drawing::default(), "before the first answer");
    }

    #[test]
    fn the_words_say_what_the_drawing_shows() {
        assert_eq!(
            said(&activity()),
            "12 transitions; the most, 8, in the 1 m 00 s from 00:02:00 on. How much happened is not known where it is hatched wide."
        );
        assert!(gap_said(&activity().gaps[0]).starts_with("1970-01-01 00:01:00 to 00:01:30, every source: "));
        assert_eq!(said(&Activity { counts: vec![Some(0)], ..activity() }), "Nothing happened.");
    }
}
