use lockkeeper_model::words::shown;
use lockkeeper_model::{Basis, Time};

use super::super::say;
use super::super::verdict::verdict_class;
use crate::lang::{duration, t};
use crate::live::board::{Condition, RowView};
use crate::ui::{Drain, hms};

/// Below this share of its length a lease is drawn as running short.
const SHORT: f64 = 0.2;

/// How a text is put into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// It is what the element says.
    Text,
    /// It is an attribute, which is absent where there is no text.
    Attribute(&'static str),
    /// It says by being there whether a box is ticked.
    Tick,
}

/// Declares the places of a row: each with where it is in the markup and how it is written.
macro_rules! places {
    ($($(#[doc = $doc:literal])* $place:ident = $selector:literal, $ink:expr;)*) => {
        /// Where something stands in a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Place {
            $($(#[doc = $doc])* $place,)*
        }

        impl Place {
            /// All of them, in the order in which a [`Face`] has their texts.
            pub(super) const ALL: &[(Place, &str, Ink)] = &[$((Place::$place, $selector, $ink),)*];
        }
    };
}

use Ink::{Attribute, Text, Tick};

places! {
    Id = "", Attribute("id");
    Index = "", Attribute("aria-rowindex");
    Chosen = "", Attribute("aria-selected");
    Looks = "", Attribute("class");
    PickLabel = "input", Attribute("aria-label");
    PickBarred = "input", Attribute("disabled");
    Picked = "input", Tick;
    Name = ".name", Text;
    Opens = ".name", Attribute("href");
    NameWhole = ".name", Attribute("title");
    CopyKey = ".c-lock .copy", Attribute("data-copy");
    CopyKeyLabel = ".c-lock .copy", Attribute("aria-label");
    From = ".from span", Text;
    Flags = ".from", Attribute("title");
    Tag = ".tag", Text;
    MoreTags = ".tag + .tag", Text;
    Token = "code", Text;
    TokenWhole = "code", Attribute("title");
    CopyToken = ".c-holder .copy", Attribute("data-copy");
    CopyTokenLabel = ".c-holder .copy", Attribute("aria-label");
    Who = ".c-holder small", Text;
    WhoWhole = ".c-holder small", Attribute("title");
    Verdict = ".c-alive span", Text;
    VerdictLooks = ".c-alive span", Attribute("class");
    Evidence = ".c-alive small", Text;
    EvidenceWhole = ".c-alive small", Attribute("title");
    Held = ".c-held span", Text;
    HeldLabel = ".c-held span", Attribute("data-label");
    Since = ".c-held span", Attribute("title");
    SinceBriefly = ".c-held small", Text;
    LeaseLooks = ".c-lease div", Attribute("class");
    NoLease = ".c-lease div", Attribute("hidden");
    Left = ".c-lease small", Text;
    Ends = ".c-lease small", Attribute("title");
    Waiters = ".c-waiting span", Text;
    WaitersLooks = ".c-waiting span", Attribute("class");
    WaitersLabel = ".c-waiting span", Attribute("data-label");
    WaitersHow = ".c-waiting small", Text;
    WaitersHowWhole = ".c-waiting small", Attribute("title");
    Blocked = ".c-blocked .count", Text;
    BlockedLooks = ".c-blocked .count", Attribute("class");
    BlockedHow = ".c-blocked .how", Text;
    NoSpark = ".spark", Attribute("hidden");
    Spark = ".spark path", Attribute("d");
}

/// What a row says and looks like, as plain texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Face {
    texts: [Option<String>; Place::ALL.len()],
    /// It has a box to be chosen by.
    pub(super) has_box: bool,
    /// What moves under the lease.
    pub(super) drain: Option<Draining>,
    /// What moves beside the verdict.
    pub(super) beat: Option<Beat>,
}

/// A lease that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draining {
    pub(super) drain: Drain,
    /// It stands still at this moment.
    pub(super) stopped_at: Option<i64>,
}

/// The rhythm of a holder that renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    /// The last renewal.
    pub(super) at: i64,
    pub(super) period_ms: i64,
    /// How many there were: each begins the motion anew.
    pub(super) renewals: u32,
}

/// What is known around a row when it is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// The moment of which the row speaks.
    pub(super) at: i64,
    /// That moment, where it stands still.
    pub(super) stopped_at: Option<i64>,
    /// What moves by itself does: each such thing is a layer for the browser to put together.
    pub(super) moves: bool,
    /// The time of now, whatever the row speaks of.
    pub(super) running: i64,
    /// It is not kept up to date, though nobody said that it ended.
    pub(super) old: bool,
    /// Its place in the whole list, from 0.
    pub(super) place: Option<u64>,
    /// Where its lock is shown.
    pub(super) href: String,
    /// Its lock is the one that is open.
    pub(super) selected: bool,
    /// The keyboard points at it.
    pub(super) pointed: bool,
    /// Rows are being chosen: whether this one is, and whether another may be.
    pub(super) picking: Option<Picking>,
}

/// Whether a row is chosen while rows are being chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picking {
    pub(super) picked: bool,
    pub(super) barred: bool,
}

impl Face {
    /// What nothing was written on yet.
    pub(super) fn blank() -> Face {
        Face { texts: [const { None }; Place::ALL.len()], has_box: false, drain: None, beat: None }
    }

    /// What is said of a row.
    pub(super) fn of(view: &RowView, around: &Around) -> Face {
        let mut face = Face::blank();
        face.say_itself(view, around);
        face.say_lock(view, around);
        face.say_holder(view);
        face.say_alive(view, around);
        face.say_held(view, around);
        // Of a hold that is over nothing is counted any more.
        if !matches!(view.condition, Condition::Ended(_)) {
            face.say_waiting(view, around);
            face.say_blocked(view);
        }
        face.say_lease(view, around);
        face
    }

    /// The texts, in the order of [`Place::ALL`].
    pub(super) fn texts(&self) -> &[Option<String>] {
        &self.texts
    }

    #[cfg(test)]
    fn said(&self, place: Place) -> Option<&str> {
        self.texts[place as usize].as_deref()
    }

    fn say(&mut self, place: Place, text: impl Into<String>) {
        if let Some(known) = self.texts.get_mut(place as usize) {
            *known = Some(text.into());
        }
    }

    fn say_if(&mut self, holds: bool, place: Place) {
        if holds {
            self.say(place, "");
        }
    }

    fn say_itself(&mut self, view: &RowView, around: &Around) {
        self.say(Place::Id, format!("row-{}", view.row.row));
        if let Some(place) = around.place {
            // Counted from 1, and the head is the first.
            self.say(Place::Index, (place + 2).to_string());
        }
        self.say(Place::Chosen, if around.selected || around.pointed { "true" } else { "false" });
        let looks = [
            (around.selected, "selected"),
            (around.pointed, "pointed"),
            (matches!(view.condition, Condition::Ended(_)), "ended"),
            (around.old, "old"),
        ];
        self.say(Place::Looks, words(looks));
        self.has_box = around.picking.is_some();
        self.say(Place::PickLabel, t!(select_in_selection, shown(&view.row.name)));
        if let Some(Picking { picked, barred }) = around.picking {
            self.say_if(picked, Place::Picked);
            self.say_if(barred, Place::PickBarred);
        }
    }

    fn say_lock(&mut self, view: &RowView, around: &Around) {
        let row = &view.row;
        self.say(Place::Name, shown(&row.name));
        self.say(Place::Opens, around.href.clone());
        self.say(Place::NameWhole, shown(row.id.as_str()));
        self.say(Place::CopyKey, row.id.as_str());
        self.say(Place::CopyKeyLabel, t!(copy_the, t!(the_key)));
        self.say(Place::From, format!("{} · {}", shown(&row.source), say::family(row)));
        self.say(Place::Flags, row.flags.iter().map(|flag| say::flag_name(*flag)).collect::<Vec<_>>().join(", "));
        let mut tags = say::tags(&row.flags).into_iter();
        self.say(Place::Tag, tags.next().unwrap_or_default());
        self.say(Place::MoreTags, tags.next().unwrap_or_default());
    }

    fn say_holder(&mut self, view: &RowView) {
        let row = &view.row;
        let (token, who) = say::holder(row);
        self.say(Place::Token, token);
        self.say(Place::TokenWhole, shown(row.token.as_deref().unwrap_or_default()));
        self.say(Place::CopyToken, row.token.clone().or_else(|| row.token_b64.clone()).unwrap_or_default());
        self.say(Place::CopyTokenLabel, t!(copy_the, t!(the_token)));
        self.say(Place::WhoWhole, who.clone());
        self.say(Place::Who, who);
    }

    fn say_alive(&mut self, view: &RowView, around: &Around) {
        let now = if around.old { around.running } else { around.at };
        let judgement = say::judgement(view, around.at, now, around.old);
        self.say(Place::Verdict, judgement.word);
        self.say(Place::VerdictLooks, verdict_class(judgement.look));
        self.say(Place::EvidenceWhole, judgement.evidence.clone());
        self.say(Place::Evidence, judgement.evidence);
        let row = &view.row;
        self.beat =
            row.renewed_at.zip(row.period_ms).map(|(at, period_ms)| Beat { at, period_ms, renewals: row.renewals });
        self.beat = self.beat.filter(|_| view.condition == Condition::Live && around.moves);
    }

    fn say_held(&mut self, view: &RowView, around: &Around) {
        let row = &view.row;
        let held = match &view.condition {
            Condition::Ended(ended) => ended.held_ms.map_or_else(String::new, duration),
            Condition::Live | Condition::Left(_) if row.holders == 0 => "–".to_owned(),
            Condition::Live | Condition::Left(_) => say::held_for(&say::bounds(row), Time(around.at)),
        };
        self.say(Place::Held, held);
        self.say(Place::HeldLabel, t!(held_on_a_card));
        let since = Time(row.since_not_after);
        let face = hms(since);
        let at_the_latest = if row.since_basis == Basis::FirstSeen { t!(since_before) } else { t!(since) };
        self.say(Place::Since, t!(in_utc, at_the_latest, face, since, say::basis(row.since_basis)));
        let briefly = match row.since_basis {
            _ if row.holders == 0 => String::new(),
            Basis::FirstSeen => t!(before_in_lock_row, face),
            _ => t!(since_in_lock_row, face),
        };
        self.say(Place::SinceBriefly, briefly);
    }

    fn say_lease(&mut self, view: &RowView, around: &Around) {
        let row = &view.row;
        if matches!(view.condition, Condition::Ended(_)) || row.holders == 0 {
            return self.say(Place::NoLease, "");
        }
        let drain = row
            .expires_at
            .zip(row.lease_ms.filter(|length| *length > 0))
            .map(|(ends_at, length_ms)| Drain { ends_at, length_ms });
        let stopped_at = around.stopped_at.or((!around.moves).then_some(around.at));
        self.drain = drain.map(|drain| Draining { drain, stopped_at });
        let short = drain.is_some_and(|drain| drain.share_left(around.at) < SHORT);
        let looks = [(true, "lease"), (row.expires_at.is_none(), "endless"), (short, "short")];
        self.say(Place::LeaseLooks, words(looks));
        self.say(Place::Left, say::lease(row.expires_at, row.lease_ms, around.at));
        if let Some(at) = row.expires_at.map(Time) {
            self.say(Place::Ends, t!(ends_in_utc, hms(at), at));
        }
    }

    fn say_waiting(&mut self, view: &RowView, around: &Around) {
        let row = &view.row;
        let (number, how) = say::waiting(row.waiters, row.waiters_basis, row.waiting_since, around.at);
        self.say(Place::Waiters, number);
        self.say(Place::WaitersLooks, count_looks(row.waiters.is_some_and(|waiters| waiters > 0)));
        self.say(Place::WaitersLabel, t!(waiting_on_a_card));
        self.say(Place::WaitersHowWhole, how.clone());
        self.say(Place::WaitersHow, how);
    }

    fn say_blocked(&mut self, view: &RowView) {
        let row = &view.row;
        let (time, how) = say::blocked(row.blocked_ms, row.waiters_basis);
        self.say(Place::Blocked, time);
        self.say(Place::BlockedLooks, count_looks(row.blocked_ms.is_some_and(|ms| ms > 0)));
        self.say(Place::BlockedHow, how);
        self.say_if(row.blocked_by_minute.is_empty(), Place::NoSpark);
        self.say(Place::Spark, spark(&row.blocked_by_minute));
    }
}

fn words<const N: usize>(which: [(bool, &str); N]) -> String {
    which.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn count_looks(some: bool) -> &'static str {
    if some { "count some" } else { "count" }
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
    use lockkeeper_model::TransitionKind;
    use lockkeeper_model::wire::{Ended, Row};

    use super::*;
    use crate::fixtures::row;

    fn face(row: Row, condition: Condition, around: Around) -> Face {
        Face::of(&RowView { row, condition }, &around)
    }

    #[test]
    fn something_is_never_drawn_as_nothing() {
        assert_eq!(spark(&[0, 1, 1_000_000]), "M0 12v-0h5v0zM7 12v-1h5v1zM14 12v-12h5v12z");
        assert_eq!(spark(&[]), "");
    }

    #[test]
    fn every_text_stands_where_its_place_is() {
        for (at, (place, ..)) in Place::ALL.iter().enumerate() {
            assert_eq!(*place as usize, at, "{place:?}");
        }
    }

    #[test]
    fn a_hold_that_is_over_has_no_lease_and_counts_nothing() {
        let ended = Ended { row: 1, transition: TransitionKind::Released, at: 900, held_ms: Some(840) };
        let face = face(row(1), Condition::Ended(ended), Around { at: 1_000, ..Around::default() });
        assert_eq!(face.said(Place::Looks), Some("ended"));
        assert_eq!(face.said(Place::NoLease), Some(""));
        assert_eq!([Place::Left, Place::Waiters, Place::WaitersLabel, Place::Blocked].map(|p| face.said(p)), [None; 4]);
        assert_eq!((face.drain, face.beat), (None, None));
    }

    #[test]
    fn what_is_old_says_so_and_its_lease_stands_still() {
        let around = Around { at: 4_000, stopped_at: Some(4_000), running: 9_000, old: true, ..Around::default() };
        let face = face(row(1), Condition::Live, around);
        assert_eq!(face.said(Place::Looks), Some("old"));
        assert_eq!(face.drain.map(|draining| draining.stopped_at), Some(Some(4_000)));
        assert_eq!(face.said(Place::Evidence), Some(say::as_of(4_000, 9_000).as_str()));
    }

    #[test]
    fn nothing_moves_in_a_row_that_flies_past() {
        let beating = || Row { renewed_at: Some(500), period_ms: Some(10_000), renewals: 3, ..row(1) };
        let moving = face(beating(), Condition::Live, Around { at: 700, moves: true, ..Around::default() });
        assert_eq!(moving.beat, Some(Beat { at: 500, period_ms: 10_000, renewals: 3 }));
        assert_eq!(moving.drain.map(|draining| draining.stopped_at), Some(None));
        let flying = face(beating(), Condition::Live, Around { at: 700, ..Around::default() });
        assert_eq!((flying.beat, flying.drain.map(|draining| draining.stopped_at)), (None, Some(Some(700))));
        assert_eq!(flying.said(Place::Looks), Some(""), "it is not old");
    }

    #[test]
    fn a_lease_runs_short_in_its_last_fifth_and_one_without_end_does_not_drain() {
        let looks = |row: Row, at| {
            let face = face(row, Condition::Live, Around { at, ..Around::default() });
            (face.said(Place::LeaseLooks).map(str::to_owned), face.drain.is_some())
        };
        assert_eq!(looks(row(1), 23_000), (Some("lease".to_owned()), true));
        assert_eq!(looks(row(1), 25_000), (Some("lease short".to_owned()), true));
        assert_eq!(looks(Row { expires_at: None, ..row(1) }, 0), (Some("lease endless".to_owned()), false));
    }

    #[test]
    fn a_box_is_there_only_while_rows_are_chosen() {
        let picking = |picking| face(row(1), Condition::Live, Around { picking, ..Around::default() });
        assert!(!picking(None).has_box);
        let face = picking(Some(Picking { picked: true, barred: false }));
        assert!(face.has_box);
        assert_eq!([Place::Picked, Place::PickBarred].map(|p| face.said(p)), [Some(""), None]);
    }
}
