use leptos::prelude::*;
use lockkeeper_model::{Event, Time, TransitionKind};

use crate::lang::{duration, t, without_tenths};
use crate::live::Live;
use crate::ui::hms;

/// The shortest stretch of time that is drawn.
const SHORTEST_MS: i64 = 60_000;
/// More beats than this are a solid line to the eye.
const MOST_BEATS: i64 = 60;
const WIDTH: f64 = 400.0;

/// A lock's recent past as a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Past {
    /// The left edge.
    from: i64,
    /// The right edge.
    to: i64,
    /// Stretches in which it was held; the beginning of one that was held from the first look on is not known.
    holds: Vec<Hold>,
    /// Renewals.
    beats: Vec<i64>,
    /// Where something was not seen.
    gaps: Vec<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    from: i64,
    to: i64,
    /// Its beginning was seen.
    seen: bool,
    /// It is held now.
    open: bool,
}

impl Past {
    /// Draws events, which are newest first.
    fn of(events: &[Event], held_now: bool, now: i64) -> Past {
        let mut past = Past { to: now, ..Past::default() };
        let mut open: Option<(i64, bool)> = None;
        let mut close = |open: &mut Option<(i64, bool)>, at: i64| {
            if let Some((from, seen)) = open.take() {
                past.holds.push(Hold { from, to: at, seen, open: false });
            }
        };
        let (mut beats, mut gaps) = (Vec::new(), Vec::new());
        for event in events.iter().rev() {
            let at = event.at.0;
            match event.transition {
                TransitionKind::FirstSeen => open = open.or(Some((at, false))),
                TransitionKind::Acquired | TransitionKind::HandedOver | TransitionKind::TakenOver => {
                    close(&mut open, at);
                    open = Some((at, true));
                }
                TransitionKind::Renewed => {
                    let first = event.first_at.map_or(at, |first| first.0);
                    let steps = i64::from(event.count.max(1)).min(MOST_BEATS);
                    let step = |n: i64| first + (at - first) * n / (steps - 1).max(1);
                    beats.extend((0..steps).map(step));
                    open = open.or(Some((first, false)));
                }
                TransitionKind::Gap => gaps.push(at),
                kind if kind.ends() => {
                    if open.is_none() {
                        open = Some((at - event.held_ms.unwrap_or_default(), false));
                    }
                    close(&mut open, at);
                }
                _ => {}
            }
        }
        // It is held, yet the last event is an end: whoever has it took it over in that moment.
        if held_now && open.is_none() {
            open = past.holds.last().map(|hold| (hold.to, true));
        }
        if let Some((from, seen)) = open.filter(|_| held_now) {
            past.holds.push(Hold { from, to: now, seen, open: true });
        }
        let oldest = past.holds.iter().map(|hold| hold.from).chain(gaps.iter().copied()).min().unwrap_or(now);
        let length = (now - oldest).max(SHORTEST_MS);
        past.from = now - length - length / 20;
        past.beats = beats;
        past.gaps = gaps;
        past
    }

    fn x(&self, at: i64) -> f64 {
        let share = (at - self.from) as f64 / (self.to - self.from).max(1) as f64;
        share.clamp(0.0, 1.0) * WIDTH
    }

    /// The picture in words.
    fn said(&self) -> String {
        let span = duration(self.to - self.from);
        let held = match self.holds.last() {
            Some(hold) if hold.open => {
                let from = hms(Time(hold.from));
                if hold.seen { t!(picture_held_since, from) } else { t!(picture_held_since_before, from) }
            }
            _ => t!(not_held_now).to_owned(),
        };
        t!(picture_said, span, self.holds.len(), self.beats.len(), self.gaps.len(), held)
    }
}

/// Draws when a lock was held, when it was renewed, and where nobody was looking.
#[component]
pub(crate) fn Picture() -> impl IntoView {
    let live = expect_context::<Live>();
    let second = Memo::new(move |_| live.now.get() / 1_000);
    let past = move || {
        let now = second.get() * 1_000;
        live.detail.with(|detail| {
            detail.as_ref().filter(|detail| !detail.events.is_empty()).map(|detail| {
                let newest = detail.events.first().map_or(now, |event| event.at.0);
                let held = detail.lock.as_ref().is_some_and(|lock| !lock.holders.is_empty());
                Past::of(&detail.events, held, now.max(newest))
            })
        })
    };
    move || past().map(drawing)
}

fn drawing(past: Past) -> impl IntoView {
    let holds = past.holds.iter().map(|hold| {
        let (from, to) = (past.x(hold.from), past.x(hold.to));
        let class = if hold.open { "held open" } else { "held" };
        view! { <rect class=class x=px(from) y="22" width=px((to - from).max(2.0)) height="14" rx="3" /> }
    });
    let beats = past.beats.iter().map(|at| {
        let x = past.x(*at);
        view! { <line class="beat" x1=px(x) x2=px(x) y1="40" y2="47" /> }
    });
    let gaps = past.gaps.iter().map(|at| {
        let x = past.x(*at);
        view! { <line class="gap" x1=px(x) x2=px(x) y1="18" y2="52" /> }
    });
    let taken = past.holds.last().filter(|hold| hold.open).map(|hold| {
        let x = past.x(hold.from);
        let anchor = if x > WIDTH * 0.6 { "end" } else { "start" };
        let at = hms(Time(hold.from));
        let said = if hold.seen { t!(taken, at) } else { t!(held_before, at) };
        view! { <text x=px(x) y="14" text-anchor=anchor>{said}</text> }
    });
    let ago = format!("−{}", without_tenths((past.to - past.from) / 1_000 * 1_000));
    view! {
        <svg class="picture" viewBox="0 0 400 70" role="img" aria-label=past.said()>
            <line class="axis" x1="0" x2="400" y1="52" y2="52" />
            {holds.collect_view()}
            {beats.collect_view()}
            {gaps.collect_view()}
            {taken}
            <text x="0" y="66">{ago}</text>
            <text x="400" y="66" text-anchor="end">{t!(now)}</text>
        </svg>
    }
}

fn px(x: f64) -> String {
    // Tenths, without the code that prints any float exactly.
    let tenths = (x * 10.0).round() as i64;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::event;

    #[test]
    fn holds_beats_and_gaps_lie_where_they_happened() {
        let events = [
            Event { count: 3, first_at: Some(Time(120_000)), ..event(TransitionKind::Renewed, 140_000) },
            event(TransitionKind::Acquired, 110_000),
            event(TransitionKind::Gap, 105_000),
            Event { held_ms: Some(900), ..event(TransitionKind::Released, 100_000) },
        ];
        let past = Past::of(&events, true, 150_000);
        assert_eq!(
            past.holds,
            [
                Hold { from: 99_100, to: 100_000, seen: false, open: false },
                Hold { from: 110_000, to: 150_000, seen: true, open: true },
            ]
        );
        assert_eq!(past.beats, [120_000, 130_000, 140_000]);
        assert_eq!(past.gaps, [105_000]);
        assert_eq!((past.x(150_000), past.x(past.from)), (400.0, 0.0));
    }

    #[test]
    fn a_lock_that_was_let_go_is_not_drawn_as_held() {
        let past = Past::of(&[event(TransitionKind::Acquired, 0)], false, 10_000);
        assert!(past.holds.is_empty());
        assert!(past.said().ends_with("not held now"));
    }
}
