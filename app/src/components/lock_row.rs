use leptos::ev::MouseEvent;
use leptos::prelude::*;
use lockkeeper_model::wire::Row;
use lockkeeper_model::words::shown;
use lockkeeper_model::{Basis, Order, SortKey, Time};

use super::say::{self, Judgement};
use super::selection::{SelectCell, Selecting};
use super::verdict::{VerdictMark, verdict_class};
use crate::lang::{Key, duration, key, t};
use crate::live::board::{Condition, RowView};
use crate::live::{LinkState, Live};
use crate::nav::Nav;
use crate::ui::{Drain, DrainBar, When, button_of, copies_in_row, each, flag, hms, text};

/// What the order is that a page begins with, in a sentence.
pub(crate) const BLOCKED_EXPLAINED: Key<0> = key::the_time_that_everybody_who;

/// The columns of the table, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Lock,
    Holder,
    Alive,
    HeldFor,
    Lease,
    Waiting,
    Blocked,
}

impl Column {
    /// All of them.
    pub(crate) const ALL: [Column; 7] =
        [Column::Lock, Column::Holder, Column::Alive, Column::HeldFor, Column::Lease, Column::Waiting, Column::Blocked];

    /// What stands above it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Column::Lock => t!(lock),
            Column::Holder => t!(holder),
            Column::Alive => t!(alive),
            Column::HeldFor => t!(held_for),
            Column::Lease => t!(lease),
            Column::Waiting => t!(waiting),
            Column::Blocked => t!(blocked_5_min),
        }
    }

    /// What it is called where a person's choice is kept.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Column::Lock => "lock",
            Column::Holder => "holder",
            Column::Alive => "alive",
            Column::HeldFor => "held",
            Column::Lease => "lease",
            Column::Waiting => "waiting",
            Column::Blocked => "blocked",
        }
    }

    /// What its title does not say.
    pub(crate) fn explained(self) -> Option<&'static str> {
        (self == Column::Blocked).then(|| BLOCKED_EXPLAINED.said())
    }

    /// The class of its cells.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Column::Lock => "c-lock",
            Column::Holder => "c-holder",
            Column::Alive => "c-alive",
            Column::HeldFor => "c-held number",
            Column::Lease => "c-lease",
            Column::Waiting => "c-waiting number",
            Column::Blocked => "c-blocked number",
        }
    }

    /// What pressing its head orders by.
    pub(crate) fn sort(self) -> Option<SortKey> {
        match self {
            Column::Lock => Some(SortKey::Name),
            Column::Holder | Column::Alive => None,
            Column::HeldFor => Some(SortKey::HeldSince),
            Column::Lease => Some(SortKey::TimeLeft),
            Column::Waiting => Some(SortKey::Waiters),
            Column::Blocked => Some(SortKey::Blocked),
        }
    }

    /// What `aria-sort` says. A longer hold began earlier, so ages run against their moments.
    pub(crate) fn aria_sort(self, sort: SortKey, order: Order) -> Option<&'static str> {
        let rising = match order {
            Order::Asc => self != Column::HeldFor,
            Order::Desc => self == Column::HeldFor,
        };
        (self.sort() == Some(sort)).then_some(if rising { "ascending" } else { "descending" })
    }
}

/// What a row's cells read.
#[derive(Clone, Copy)]
struct Cells {
    live: Live,
    view: RwSignal<RowView>,
    /// The time that its cells speak of; it stands still for a row that is old.
    at: Memo<i64>,
    /// That time where it stands still.
    stopped: Memo<Option<i64>>,
    /// It is not kept up to date, though nobody said that it ended.
    old: Memo<bool>,
    ended: Memo<bool>,
}

/// One lock in the table. Every cell reads signals, so that an update touches only what changed.
#[component]
pub(crate) fn LockRow(
    /// The row.
    id: u64,
    /// Whether the keyboard points at it.
    #[prop(into)]
    pointed: Signal<bool>,
    /// Its place in the whole list.
    #[prop(into)]
    place: Signal<Option<String>>,
) -> impl IntoView {
    let live = expect_context::<Live>();
    let nav = expect_context::<Nav>();
    let selecting = expect_context::<Selecting>();
    let view: RwSignal<RowView> = live.row(id)?.into();
    let stopped = Memo::new(move |_| {
        if !live.link.get().is_live() {
            return Some(live.now.get());
        }
        let left = view.with(|view| match view.condition {
            Condition::Left(at) => Some(at),
            Condition::Live | Condition::Ended(_) => None,
        });
        left.or_else(|| view.with(|view| live.true_until(&view.row.source)))
    });
    let cells = Cells {
        live,
        view,
        at: Memo::new(move |_| stopped.get().unwrap_or_else(|| live.now.get())),
        stopped,
        old: Memo::new(move |_| stopped.get().is_some() && live.link.get() != LinkState::Past),
        ended: Memo::new(move |_| view.with(|view| matches!(view.condition, Condition::Ended(_)))),
    };
    let target = move || view.with(|view| (view.row.source.clone(), view.row.id.clone()));
    let selected = Memo::new(move |_| {
        nav.route.with(|route| {
            route
                .lock
                .as_ref()
                .is_some_and(|(source, lock)| view.with(|view| view.row.source == *source && view.row.id == *lock))
        })
    });
    let open = move |event: MouseEvent| {
        // A click with a modifier wants a new tab, and a drag over text wants that text.
        let selecting = window().get_selection().ok().flatten().is_some_and(|selection| !selection.is_collapsed());
        let copying = button_of(&event).is_some();
        if event.ctrl_key() || event.meta_key() || event.shift_key() || event.button() != 0 || selecting || copying {
            return;
        }
        event.prevent_default();
        nav.open(Some(target()));
    };
    let aria_selected = text(move || if selected.get() || pointed.get() { "true" } else { "false" });
    Some(view! {
        <tr
            role="row"
            id=format!("row-{id}")
            aria-rowindex=place
            aria-selected=aria_selected
            class:selected=selected
            class:pointed=pointed
            class:ended=cells.ended
            class:old=cells.old
            on:click=open
        >
            <When holds=selecting.on>
                <SelectCell id view />
            </When>
            {Column::ALL
                .into_iter()
                .map(|column| {
                    view! {
                        <td role="gridcell" class=column.class()>
                            {cell(column, cells)}
                        </td>
                    }
                })
                .collect_view()}
        </tr>
    })
}

fn cell(column: Column, cells: Cells) -> AnyView {
    match column {
        Column::Lock => lock_cell(cells).into_any(),
        Column::Holder => holder_cell(cells).into_any(),
        Column::Alive => alive_cell(cells).into_any(),
        Column::HeldFor => held_cell(cells).into_any(),
        Column::Lease => lease_cell(cells).into_any(),
        Column::Waiting => waiting_cell(cells).into_any(),
        Column::Blocked => blocked_cell(cells).into_any(),
    }
}

impl Cells {
    /// A text that is made from the row alone.
    fn text(self, say: impl Fn(&Row) -> String + Send + Sync + 'static) -> Signal<String> {
        text(move || self.view.with(|view| say(&view.row)))
    }

    /// A text that changes as time passes.
    fn timed(self, say: impl Fn(&Row, i64) -> String + Send + Sync + 'static) -> Signal<String> {
        text(move || {
            let at = self.at.get();
            self.view.with(|view| say(&view.row, at))
        })
    }
}

fn lock_cell(cells: Cells) -> impl IntoView {
    let nav = expect_context::<Nav>();
    let name = cells.text(|row| shown(&row.name));
    let id = cells.text(|row| shown(row.id.as_str()));
    let from = cells.text(|row| format!("{} · {}", shown(&row.source), say::family(row)));
    let flags = cells.text(|row| row.flags.iter().map(|flag| say::flag_name(*flag)).collect::<Vec<_>>().join(", "));
    let tag = move |at: usize| {
        let said = cells.text(move |row| say::tags(&row.flags).into_iter().nth(at).unwrap_or_default());
        view! { <i class="tag">{said}</i> }
    };
    let href = text(move || {
        let lock = cells.view.with(|view| (view.row.source.clone(), view.row.id.clone()));
        nav.route.with(|route| route.with_lock(Some(lock)).href())
    });
    view! {
        <a class="name" href=href title=id tabindex="-1">
            {name}
        </a>
        {copies_in_row(t!(the_key), cells.text(|row| row.id.as_str().to_owned()))}
        <small class="from" title=flags>
            <span>{from}</span>
            {each(move || cells.view.with(|view| say::tags(&view.row.flags).len()), tag)}
        </small>
    }
}

fn holder_cell(cells: Cells) -> impl IntoView {
    let token = cells.text(|row| say::holder(row).0);
    let who = cells.text(|row| say::holder(row).1);
    let whole = cells.text(|row| shown(row.token.as_deref().unwrap_or_default()));
    view! {
        <code title=whole>{token}</code>
        {copies_in_row(t!(the_token), cells.text(|row| row.token.clone().or_else(|| row.token_b64.clone()).unwrap_or_default()))}
        <small title=who>{who}</small>
    }
}

fn alive_cell(cells: Cells) -> impl IntoView {
    let judgement = move || -> Judgement {
        let at = cells.at.get();
        let old = cells.old.get();
        let now = if old { cells.live.running_now.get() } else { at };
        cells.view.with(|view| say::judgement(view, at, now, old))
    };
    // Of a holder that renews: since its last beat, until the next. The style sheet moves it; each beat begins it anew by
    // another of two names for the same motion.
    let beat = Memo::new(move |_| {
        cells.view.with(|view| {
            let is_live = view.condition == Condition::Live;
            Some((view.row.renewed_at?, view.row.period_ms?, view.row.renewals)).filter(|_| is_live)
        })
    });
    let beat_class = text(move || match beat.get() {
        Some((.., renewals)) if renewals % 2 == 0 => "beat even",
        Some(_) => "beat odd",
        None => "",
    });
    let period = text(move || format!("{}ms", beat.get().map_or(0, |(_, period, _)| period)));
    let passed = text(move || {
        let passed = beat.get().map_or(0, |(at, period, _)| (cells.live.exact_now() - at).clamp(0, period));
        format!("-{passed}ms")
    });
    view! {
        <VerdictMark
            class=text(move || verdict_class(judgement().look))
            word=text(move || judgement().word)
            evidence=text(move || judgement().evidence)
        />
        <i class=beat_class style=("--period", period) style=("--passed", passed) aria-hidden="true"></i>
    }
}

fn held_cell(cells: Cells) -> impl IntoView {
    let held = text(move || {
        let at = cells.at.get();
        cells.view.with(|view| match &view.condition {
            Condition::Ended(ended) => ended.held_ms.map_or_else(String::new, duration),
            Condition::Live | Condition::Left(_) if view.row.holders == 0 => "–".to_owned(),
            Condition::Live | Condition::Left(_) => say::held_for(&say::bounds(&view.row), Time(at)),
        })
    });
    let since = cells.text(|row| {
        let moment = hms(Time(row.since_not_after));
        let at_the_latest = if row.since_basis == Basis::FirstSeen { t!(since_before) } else { t!(since) };
        t!(in_utc, at_the_latest, moment, Time(row.since_not_after), say::basis(row.since_basis))
    });
    let small = cells.text(|row| match row.since_basis {
        _ if row.holders == 0 => String::new(),
        Basis::FirstSeen => t!(before_in_lock_row, hms(Time(row.since_not_after))),
        _ => t!(since_in_lock_row, hms(Time(row.since_not_after))),
    });
    view! {
        <span title=since data-label=t!(held_on_a_card)>{held}</span>
        <small>{small}</small>
    }
}

/// Below this share of its length a lease is drawn as running short.
const SHORT: f64 = 0.2;
/// What a bar shows in the moment between losing its lease and leaving the page.
const OVER: Drain = Drain { ends_at: 0, length_ms: 1 };

fn lease_cell(cells: Cells) -> impl IntoView {
    let drain = move || {
        cells.view.with(|view| {
            let row = &view.row;
            Some(Drain { ends_at: row.expires_at?, length_ms: row.lease_ms.filter(|length| *length > 0)? })
        })
    };
    let measured = Memo::new(move |_| drain().is_some());
    // Memos, because a bar starts anew when one of them changes, not whenever something else about the row does.
    let ends_at = Memo::new(move |_| drain().unwrap_or(OVER).ends_at);
    let length_ms = Memo::new(move |_| drain().unwrap_or(OVER).length_ms);
    let endless = flag(move || cells.view.with(|view| view.row.expires_at.is_none()));
    let short = flag(move || {
        let at = cells.at.get();
        drain().is_some_and(|drain| drain.share_left(at) < SHORT)
    });
    let stopped_at = cells.stopped;
    let left = cells.timed(|row, at| say::lease(row.expires_at, row.lease_ms, at));
    let ends = cells.text(|row| row.expires_at.map(|at| t!(ends_in_utc, hms(Time(at)), Time(at))).unwrap_or_default());
    view! {
            <When holds=flag(move || !cells.ended.get() && cells.view.with(|view| view.row.holders > 0))>
                <div class="lease" class:endless=endless class:short=short>
                    <When holds=measured>
    <DrainBar ends_at length_ms stopped_at now=move || cells.live.exact_now() />
                    </When>
                    <When holds=flag(move || !measured.get())>
                        <div class="drain" aria-hidden="true"></div>
                    </When>
                </div>
                <small title=ends>{left}</small>
            </When>
        }
}

fn waiting_cell(cells: Cells) -> impl IntoView {
    let words = move |row: &Row, at| say::waiting(row.waiters, row.waiters_basis, row.waiting_since, at);
    let number = cells.timed(move |row, at| words(row, at).0);
    let how = cells.timed(move |row, at| words(row, at).1);
    let some = Memo::new(move |_| cells.view.with(|view| view.row.waiters.is_some_and(|waiters| waiters > 0)));
    view! {
        <When holds=flag(move || !cells.ended.get())>
            <span class="count" class:some=some data-label=t!(waiting_on_a_card)>
                {number}
            </span>
            <small title=how>{how}</small>
        </When>
    }
}

fn blocked_cell(cells: Cells) -> impl IntoView {
    let said = |row: &Row| say::blocked(row.blocked_ms, row.waiters_basis);
    let bars = cells.text(|row| spark(&row.blocked_by_minute));
    let time = cells.text(move |row| said(row).0);
    let how = cells.text(move |row| said(row).1);
    let some = Memo::new(move |_| cells.view.with(|view| view.row.blocked_ms.is_some_and(|ms| ms > 0)));
    view! {
        <When holds=flag(move || !cells.ended.get())>
            <span class="count" class:some=some>
                {time}
            </span>
            <small>
                <svg class="spark" viewBox="0 0 34 12" aria-hidden="true" focusable="false">
                    <path d=bars />
                </svg>
                {how}
            </small>
        </When>
    }
}

/// A bar for each minute, the highest as high as there is room: its course, beside the number that says how much.
fn spark(minutes: &[i64]) -> String {
    let most = minutes.iter().copied().max().unwrap_or(0).max(1);
    let bar = |(at, ms): (usize, &i64)| {
        // Something is never drawn as nothing.
        let high = if *ms > 0 { (ms.saturating_mul(11) / most).max(0) + 1 } else { 0 };
        format!("M{} 12v-{high}h5v{high}z", at * 7)
    };
    minutes.iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_never_drawn_as_nothing() {
        assert_eq!(spark(&[0, 1, 1_000_000]), "M0 12v-0h5v0zM7 12v-1h5v1zM14 12v-12h5v12z");
        assert_eq!(spark(&[]), "");
    }

    #[test]
    fn orders_have_a_column_where_one_shows_them_and_ages_run_against_moments() {
        for key in SortKey::ALL {
            let elsewhere = matches!(key, SortKey::LastChange);
            assert_eq!(Column::ALL.iter().any(|c| c.sort() == Some(key)), !elsewhere, "{key:?}");
        }
        assert_eq!(Column::HeldFor.aria_sort(SortKey::HeldSince, Order::Asc), Some("descending"));
        assert_eq!(Column::Lock.aria_sort(SortKey::Name, Order::Asc), Some("ascending"));
        assert_eq!(Column::Lock.aria_sort(SortKey::Blocked, Order::Asc), None);
    }
}
