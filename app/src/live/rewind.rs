//! The board of a moment of the past behind the same face as the one of now: the table and the drawer ask it, and answers
//! come from what was written down.

use leptos::prelude::*;
use lockkeeper_model::{Lock, LockId, Time};
use wasm_bindgen_futures::spawn_local;

use super::answers::Refusal;
use super::asker::{Sight, Want};
use super::board::{Counts, Window};
use super::past::{Board, Timeline, row_of};
use super::session::Detail;
use super::{LinkState, Live, recall};

/// Which moment is asked for, and what is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Rewind {
    /// The moment.
    at: RwSignal<i64>,
    /// What is told of the moment that is on the screen, or why nothing is; `None` before the first answer. Its locks are
    /// in the table.
    pub(crate) told: RwSignal<Option<Result<Board, Refusal>>>,
    /// Another moment was asked for than the one that is on the screen.
    pub(crate) behind: RwSignal<bool>,
    wanted: StoredValue<Option<Want>>,
    locks: StoredValue<Vec<Lock>>,
    followed: StoredValue<Option<(String, LockId)>>,
    /// What the rows on the screen answer.
    shown: StoredValue<Option<(i64, Want)>>,
    asking: StoredValue<bool>,
    /// What [`Live`] hands on to it, known by address alone: so the code of the past comes with its page.
    pub(super) look: fn(Rewind, Live, Sight),
    pub(super) follow: fn(Rewind, Live, Option<(String, LockId)>),
}

impl Rewind {
    /// A board that shows nothing until [`Rewind::go`] says of when.
    pub(crate) fn start() -> Live {
        let rewind = Rewind {
            at: RwSignal::new(0),
            told: RwSignal::new(None),
            behind: RwSignal::new(false),
            wanted: StoredValue::new(None),
            locks: StoredValue::new(Vec::new()),
            followed: StoredValue::new(None),
            shown: StoredValue::new(None),
            asking: StoredValue::new(false),
            look: Rewind::take_sight,
            follow: Rewind::take_followed,
        };
        let live = Live::idle(Some(rewind));
        live.link.set(LinkState::Past);
        live
    }

    /// Shows this moment as soon as it is known.
    pub(crate) fn go(self, live: Live, at: i64) {
        if self.at.get_untracked() != at {
            self.at.set(at);
            self.ask(live);
        }
    }

    fn take_sight(self, live: Live, sight: Sight) {
        self.wanted.update_value(|wanted| *wanted = Some(Want::in_sight(sight, wanted.as_ref())));
        self.ask(live);
    }

    fn take_followed(self, live: Live, lock: Option<(String, LockId)>) {
        self.followed.set_value(lock);
        self.detail(live);
    }

    /// One question at a time: whoever drags through an hour wants the moment where they stop.
    fn ask(self, live: Live) {
        let wanted = move || {
            let at = self.at.try_get_untracked().filter(|at| *at > 0)?;
            self.wanted.try_get_value().flatten().map(|want| (at, want))
        };
        let Some(mut asked) = wanted() else { return };
        // The table says what it wants whenever it is scrolled.
        if self.shown.with_value(|shown| shown.as_ref() == Some(&asked)) {
            return self.behind.set(false);
        }
        self.behind.set(true);
        if self.asking.get_value() {
            return;
        }
        self.asking.set_value(true);
        spawn_local(async move {
            loop {
                let (at, want) = asked.clone();
                let answer = recall::board(Time(at), &want.question, want.offset, want.limit).await;
                // The page may have been left meanwhile.
                let Some(next) = wanted() else { return };
                if next == asked {
                    self.show(live, at, want, answer);
                    break;
                }
                asked = next;
            }
            self.asking.set_value(false);
        });
    }

    fn show(self, live: Live, at: i64, want: Want, answer: Result<Board, Refusal>) {
        self.behind.set(false);
        live.now.set(at);
        live.running_now.set(at);
        let mut board = match answer {
            Ok(board) => board,
            Err(refusal) => {
                self.shown.set_value(None);
                live.counts.set(None);
                live.show(at, Window { offset: 0, rows: Vec::new(), afresh: true, again: false, slid: 0 });
                return self.told.set(Some(Err(refusal)));
            }
        };
        let locks = std::mem::take(&mut board.locks);
        let rows = (want.offset..).zip(&locks).map(|(place, lock)| row_of(lock, place)).collect();
        let total = board.total;
        live.counts.set(Some(Counts { total, all: total, ..Counts::default() }));
        let (is_other_moment, afresh) = self.shown.with_value(|shown| match shown {
            None => (true, true),
            Some((before, known)) => (*before != at, *before != at || known.question != want.question),
        });
        let offset = want.offset;
        self.shown.set_value(Some((at, want)));
        self.locks.set_value(locks);
        live.show(at, Window { offset, rows, afresh, again: false, slid: 0 });
        self.told.set(Some(Ok(board)));
        if is_other_moment {
            // What is known of the open lock is of the moment before.
            live.detail.set(None);
            self.detail(live);
        }
    }

    /// Finds out what was known of the open lock.
    fn detail(self, live: Live) {
        let at = self.at.get_untracked();
        // Until the moment is on the screen; then it is asked for again.
        let is_shown = self.shown.with_value(|shown| shown.as_ref().is_some_and(|(shown, _)| *shown == at));
        let Some((source, id)) = self.followed.get_value().filter(|_| is_shown) else { return };
        let is_it = |lock: &&Lock| lock.source == source && lock.id == id;
        let on_page = self.locks.with_value(|locks| locks.iter().find(is_it).cloned());
        spawn_local(async move {
            let lock = match on_page {
                Some(lock) => Some(lock),
                None => recall::lock(Time(at), &source, &id).await,
            };
            let answer = recall::timeline(&source, &id, Some(Time(at + 1)), None).await;
            let Timeline { events, next } = answer.unwrap_or_default();
            let still = self.followed.try_get_value().flatten();
            if still.as_ref() == Some(&(source.clone(), id.clone())) && self.at.get_untracked() == at {
                live.detail.set(Some(Detail { source, id, lock, events, events_cut: next.is_some() }));
            }
        });
    }
}
