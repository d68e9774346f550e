use leptos::prelude::*;
use lockkeeper_model::{Lock, Time};

use crate::lang::{duration, t};
use crate::live::Live;
use crate::ui::{When, flag, hms, text};

/// Leases that are remembered: at a renewal a second, the last minute.
const MOST_TEETH: usize = 64;

/// The drawing, in its own units.
const WIDTH: i64 = 400;
const HEIGHT: i64 = 60;

/// One lease as it was granted: from when, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tooth {
    from: i64,
    until: i64,
}

/// The leases of one hold that were seen since somebody looked. Nothing is drawn that was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Teeth {
    generation: String,
    seen: Vec<Tooth>,
}

impl Teeth {
    /// Takes note of the lease of the first holder as it is now.
    fn see(&mut self, lock: &Lock) {
        let Some(holder) = lock.holders.first() else { return };
        if self.generation != holder.generation {
            *self = Teeth { generation: holder.generation.clone(), seen: Vec::new() };
        }
        let granted = holder.renewals.last_at.or(holder.held_since.not_before.and(holder.held_since.not_after));
        let Some((from, until)) = granted.zip(holder.lease.expires_at) else { return };
        let tooth = Tooth { from: from.0, until: until.0 };
        match self.seen.last_mut() {
            // Two readings of one lease narrow it down; that is no renewal.
            Some(last) if last.from == tooth.from => *last = tooth,
            _ => self.seen.push(tooth),
        }
        if self.seen.len() > MOST_TEETH {
            self.seen.remove(0);
        }
    }

    /// The lease that was left, as one line that falls until it is pushed up again; and where now is. `None` where there is
    /// nothing to draw.
    fn drawn(&self, now: i64) -> Option<(String, String)> {
        let (first, last) = (self.seen.first()?, self.seen.last()?);
        let (from, to) = (first.from, last.until.max(now));
        let longest = self.seen.iter().map(|tooth| tooth.until - tooth.from).max()?.max(1);
        let span = (to - from).max(1);
        let x = |at: i64| (at - from) * WIDTH / span;
        let y = |left: i64| HEIGHT - left.max(0) * HEIGHT / longest;
        let mut line = String::new();
        for (at, tooth) in self.seen.iter().enumerate() {
            let end = self.seen.get(at + 1).map_or(tooth.until, |next| next.from.min(tooth.until));
            let word = if at == 0 { 'M' } else { 'L' };
            line.push_str(&format!(
                "{word}{} {}L{} {}",
                x(tooth.from),
                y(tooth.until - tooth.from),
                x(end),
                y(tooth.until - end)
            ));
        }
        let here = x(now.clamp(from, to));
        Some((line, format!("M{here} 0V{HEIGHT}")))
    }

    fn said(&self, period_ms: Option<i64>) -> String {
        let (Some(first), Some(last)) = (self.seen.first(), self.seen.last()) else { return String::new() };
        let renewed = match self.seen.len() - 1 {
            0 => t!(not_renewed_since_this_page).to_owned(),
            1 => t!(renewed_once_since, hms(Time(first.from))),
            times => t!(renewed_times_since, times, hms(Time(first.from))),
        };
        let rhythm = period_ms.map(|ms| t!(every, duration(ms))).unwrap_or_default();
        t!(a_lease_of_until, duration(last.until - last.from), hms(Time(last.until)), renewed, rhythm)
    }
}

/// The lease of the only holder with its renewals, as they come. The line falls as time passes and is pushed up by each.
#[component]
pub(crate) fn LeaseChart(
    /// The lock.
    lock: Memo<Option<Lock>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let teeth = RwSignal::new(Teeth::default());
    Effect::new(move |_| {
        lock.with(|lock| {
            if let Some(lock) = lock.as_ref().filter(|lock| lock.holders.len() == 1) {
                teeth.update(|teeth| teeth.see(lock));
            } else {
                teeth.set(Teeth::default());
            }
        });
    });
    let second = Memo::new(move |_| live.now.get() / 1_000);
    let drawn = Memo::new(move |_| teeth.with(|teeth| teeth.drawn(second.get() * 1_000)));
    let path = move |of: fn((String, String)) -> String| text(move || drawn.get().map(of).unwrap_or_default());
    let said = text(move || {
        let period = lock.with(|lock| lock.as_ref()?.holders.first()?.renewals.period_ms);
        teeth.with(|teeth| teeth.said(period))
    });
    view! {
        <When holds=flag(move || drawn.with(Option::is_some))>
            <h3>{t!(lease)}</h3>
            <svg class="lease-chart" viewBox="0 0 400 60" preserveAspectRatio="none" role="img" aria-label=said>
                <path class="left" d=path(|drawn| drawn.0) />
                <path class="now" d=path(|drawn| drawn.1) />
            </svg>
            <small>{said}</small>
        </When>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::lock;

    #[test]
    fn only_renewals_that_were_seen_are_drawn() {
        let mut lock = lock();
        let mut teeth = Teeth::default();
        teeth.see(&lock);
        teeth.see(&lock);
        assert_eq!(teeth.seen, [Tooth { from: 60_000, until: 90_000 }]);
        assert_eq!(teeth.drawn(75_000), Some(("M0 0L400 60".to_owned(), "M200 0V60".to_owned())));
        assert!(teeth.said(None).contains("not renewed since this page was opened"));
        (lock.holders[0].renewals.last_at, lock.holders[0].lease.expires_at) =
            (Some(Time(70_000)), Some(Time(100_000)));
        teeth.see(&lock);
        assert_eq!(teeth.drawn(70_000).unwrap().0, "M0 0L100 20L100 0L400 60");
        assert_eq!(
            teeth.said(Some(10_000)),
            "A lease of 30 s until 00:01:40; renewed once since 00:01:00, every 10.0 s."
        );
        // Another holder has leases of its own.
        lock.holders[0].generation = "h2".to_owned();
        teeth.see(&lock);
        assert_eq!(teeth.seen.len(), 1);
        assert_eq!(Teeth::default().drawn(0), None);
    }
}
