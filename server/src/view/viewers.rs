//! Who looks at which window, and what each was last told.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use lockkeeper_model::wire::{Ended, Facets, Row, ServerFrame};
use lockkeeper_model::{LockId, Question, Time};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::answer::Answer;
use super::keys::Keys;
use super::{AnswerId, Asked, Views};
use crate::access::Reach;
use crate::registry::{Registry, Slot};
use crate::source::{SourceId, Surroundings};

/// The least time between two frames of one window, in milliseconds: thirty a second, which is as fast as a person
/// sees rows change.
pub const FRAME_MS: i64 = 33;

/// The least time between two frames that tell how far a first answer is, in milliseconds: its rows change their order until it is
/// complete, and a count that grows four times a second is seen to grow.
const PROGRESS_MS: i64 = 250;

/// Whether a source does not answer.
pub type Around<'a> = &'a dyn Fn(SourceId) -> Surroundings;

/// Notices that may wait for one viewer; the oldest goes first. There is one for each break-glass, which hands make.
const MAX_OWED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Viewers {
    viewers: HashMap<u64, Viewer>,
    windows: HashMap<Place, Window>,
}

/// One window of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    answer: AnswerId,
    /// The first row, as it was asked for.
    offset: u64,
    limit: u32,
    /// Whose alone it is. The top of the list is the same for all; further down each looks at rows that stay in their place
    /// while others come and go above them, and how many did depends on when somebody asked.
    alone: Option<u64>,
}

#[derive(Debug)]
struct Viewer {
    frames: mpsc::Sender<Bytes>,
    /// Which locks there are for this viewer.
    reach: Reach,
    ask: u32,
    place: Option<Place>,
    /// It must be told the whole window: it has just asked, or did not keep up.
    needs_window: bool,
    /// When it was last told how far the answer is; `None` since it asked.
    progress_at: Option<Time>,
    /// The answer whose facets it was told, and as it was then.
    facets: Option<(AnswerId, u64)>,
    follow: Option<Followed>,
    /// Notices that there was no room for yet.
    owed: VecDeque<Bytes>,
}

#[derive(Debug)]
struct Followed {
    source: SourceId,
    key: Bytes,
    /// It is out of the viewer's reach: as if it had never been.
    is_hidden: bool,
    /// The slot and its version when it was last told; `None`: never told.
    told: Option<Option<(Slot, u32)>>,
}

/// Which part of an answer a viewer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Rows before it.
    pub offset: u64,
    /// Rows in it.
    pub limit: u32,
    /// The viewer's window of the same question by its number, and where that begins as far as the viewer knows, who counts
    /// `offset` accordingly.
    pub seen: Option<(u32, u64)>,
}

/// What all viewers of one window were last told.
#[derive(Debug, Default)]
struct Window {
    viewers: Vec<u64>,
    /// Rows before it. Somebody who reads in the middle of a list keeps what they read; how far down that is changes.
    offset: u64,
    /// The list became shorter than that once, and this was its end.
    cut: bool,
    rows: Vec<Shown>,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    slot: Slot,
    version: u32,
    row: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    epoch: u64,
    total: u64,
    all: u64,
    facets: Facets,
    examined: Option<u64>,
}

impl Viewers {
    /// Whether there is a viewer with this reach.
    pub(super) fn have(&self, reach: &Reach) -> bool {
        self.viewers.values().any(|viewer| viewer.reach == *reach)
    }
}

impl Views {
    /// A new viewer, for whom there are only the locks of this reach.
    pub fn connect(&mut self, viewer: u64, reach: Reach, frames: mpsc::Sender<Bytes>) {
        let new = Viewer {
            frames,
            reach,
            ask: 0,
            place: None,
            needs_window: false,
            progress_at: None,
            facets: None,
            follow: None,
            owed: VecDeque::new(),
        };
        self.viewers.viewers.insert(viewer, new);
    }

    /// A viewer left.
    pub fn leave(&mut self, viewer: u64) {
        self.detach(viewer);
        self.viewers.viewers.remove(&viewer);
    }

    /// How many viewers there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.viewers.len()
    }

    /// A viewer states its question. The question and the limit must have been checked.
    pub fn ask(&mut self, registry: &Registry, viewer: u64, ask: u32, question: &Question, part: Part, now: Time) {
        let Some(who) = self.viewers.viewers.get(&viewer) else { return };
        let asked = Asked { question: question.clone(), reach: who.reach.clone() };
        let answer = self.answer_to(registry, &asked, now);
        let slid = part.seen.map_or(0, |seen| self.slid(registry, viewer, answer, seen, now));
        let offset = part.offset.saturating_add_signed(slid);
        let place = Place { answer, offset, limit: part.limit, alone: (offset > 0).then_some(viewer) };
        self.detach(viewer);
        if let Some(answer) = self.answers.get_mut(&answer) {
            answer.watched += 1;
        }
        let begun = || Window { offset, ..Window::default() };
        self.viewers.windows.entry(place).or_insert_with(begun).viewers.push(viewer);
        if let Some(viewer) = self.viewers.viewers.get_mut(&viewer) {
            viewer.ask = ask;
            viewer.place = Some(place);
            viewer.needs_window = true;
            viewer.progress_at = None;
            // Answered anew, because the question has another number.
            viewer.facets = None;
        }
    }

    /// By how many rows what this viewer looks at is further down than it knows: it may not have been told yet, or what it was told
    /// is on its way.
    fn slid(&mut self, registry: &Registry, viewer: u64, answer: AnswerId, (ask, at): (u32, u64), now: Time) -> i64 {
        let viewer = self.viewers.viewers.get(&viewer).filter(|viewer| viewer.ask == ask);
        let place = viewer.and_then(|viewer| viewer.place);
        // Of another question nothing stays, and the top of the list stays the top.
        let Some(place) = place.filter(|place| place.answer == answer && place.alone.is_some()) else { return 0 };
        let (Some(window), Some(answer)) = (self.viewers.windows.get(&place), self.answers.get_mut(&answer)) else {
            return 0;
        };
        answer.settle(registry, &self.keys, now, false);
        let begins = kept_still(&window.rows, |shown| place_of_same(answer, registry, &self.keys, shown));
        begins.unwrap_or(window.offset).cast_signed().saturating_sub(at.cast_signed())
    }

    /// A viewer names the lock that it follows.
    pub fn follow(&mut self, registry: &Registry, viewer: u64, lock: Option<(SourceId, Bytes)>) {
        if let Some(Viewer { follow, reach, .. }) = self.viewers.viewers.get_mut(&viewer) {
            *follow = lock.map(|(source, key)| {
                let is_hidden = !reach.has(registry.source_name(source), &key);
                Followed { source, key, is_hidden, told: None }
            });
        }
    }

    /// Sends one encoded frame to one viewer. One that does not keep up misses it.
    pub fn tell(&mut self, viewer: u64, frame: &ServerFrame) {
        let Some(to) = self.viewers.viewers.get(&viewer) else { return };
        if let Err(TrySendError::Closed(_)) = to.frames.try_send(encode(frame)) {
            self.leave(viewer);
        }
    }

    /// What viewers can see, each reach once.
    #[must_use]
    pub fn reaches(&self) -> Vec<Reach> {
        let mut reaches: Vec<Reach> = Vec::new();
        for viewer in self.viewers.viewers.values() {
            if !reaches.contains(&viewer.reach) {
                reaches.push(viewer.reach.clone());
            }
        }
        reaches
    }

    /// The reach of one viewer.
    #[must_use]
    pub fn reach(&self, viewer: u64) -> Option<&Reach> {
        self.viewers.viewers.get(&viewer).map(|viewer| &viewer.reach)
    }

    /// Sends one encoded frame to everybody with this reach who keeps up.
    pub fn tell_all(&mut self, reach: &Reach, frame: &ServerFrame) {
        let encoded = encode(frame);
        let gone: Vec<u64> = self
            .viewers
            .viewers
            .iter()
            .filter(|(_, viewer)| viewer.reach == *reach)
            .filter(|(_, viewer)| matches!(viewer.frames.try_send(encoded.clone()), Err(TrySendError::Closed(_))))
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            self.leave(id);
        }
    }

    /// Sends one encoded frame to everybody with this reach, as soon as there is room.
    pub fn announce(&mut self, reach: &Reach, frame: &ServerFrame) {
        let encoded = encode(frame);
        for viewer in self.viewers.viewers.values_mut().filter(|viewer| viewer.reach == *reach) {
            if viewer.owed.len() == MAX_OWED {
                viewer.owed.pop_front();
            }
            viewer.owed.push_back(encoded.clone());
        }
    }

    /// Sends what is owed. Says whether somebody still waits.
    fn flush_owed(&mut self) -> bool {
        for viewer in self.viewers.viewers.values_mut() {
            while let Some(frame) = viewer.owed.pop_front() {
                if let Err(refused) = viewer.frames.try_send(frame) {
                    // Whoever left is found out when its window is sent.
                    if let TrySendError::Full(frame) = refused {
                        viewer.owed.push_front(frame);
                    }
                    break;
                }
            }
        }
        self.viewers.viewers.values().any(|viewer| !viewer.owed.is_empty())
    }

    /// Everything shown may look different now, although no lock changed: a source was lost or came back.
    pub fn repaint(&mut self) {
        for viewer in self.viewers.viewers.values_mut() {
            viewer.needs_window = viewer.place.is_some();
            if let Some(followed) = &mut viewer.follow {
                followed.told = None;
            }
        }
    }

    /// Tells every viewer what changed in its window since it was last told. Says whether somebody still waits: for
    /// room in its queue, or for very many new answers to be put in order.
    pub fn flush(&mut self, registry: &Registry, now: Time, around: Around<'_>) -> bool {
        let mut waiting = self.flush_owed();
        let places: Vec<Place> = self.viewers.windows.keys().copied().collect();
        for place in places {
            waiting |= self.flush_window(registry, place, now, around);
        }
        waiting |= self.flush_followed(registry, now, around);
        waiting
    }

    /// Answers one viewer at once.
    pub fn flush_viewer(&mut self, registry: &Registry, viewer: u64, now: Time, around: Around<'_>) {
        if let Some(place) = self.viewers.viewers.get(&viewer).and_then(|viewer| viewer.place) {
            self.flush_window(registry, place, now, around);
            self.tell_facets(registry, now);
        }
        self.flush_followed(registry, now, around);
    }

    /// Tells every viewer whose answer is another one by now what further filters would leave. To be called every second
    /// or so: nobody reads twenty numbers faster. Who has no room for it is told the next time.
    pub fn tell_facets(&mut self, registry: &Registry, now: Time) {
        let mut encoded: HashMap<AnswerId, Bytes> = HashMap::new();
        for viewer in self.viewers.viewers.values_mut() {
            let Some(Place { answer: id, .. }) = viewer.place else { continue };
            let Some(answer) = self.answers.get(&id) else { continue };
            let told = Some((id, answer.epoch));
            if viewer.needs_window || viewer.facets == told {
                continue;
            }
            let frame = encoded.entry(id).or_insert_with(|| {
                let facets = answer.shown.told(self.dialects.0.iter().copied(), registry.source_names());
                encode(&ServerFrame::Facets { ask: 0, now: now.0, facets })
            });
            if viewer.frames.try_send(addressed(frame, viewer.ask)).is_ok() {
                viewer.facets = told;
            }
        }
    }

    fn flush_window(&mut self, registry: &Registry, place: Place, now: Time, around: Around<'_>) -> bool {
        let Some(answer) = self.answers.get_mut(&place.answer) else { return false };
        answer.settle(registry, &self.keys, now, false);
        let tally = self.tallies.iter().find(|tally| *tally.reach() == answer.asked.reach);
        let (all, facets) = tally.map_or_else(Default::default, |tally| (tally.all, tally.facets));
        let told = Told {
            epoch: answer.epoch,
            total: answer.total(),
            all,
            facets,
            // How many others were looked at is nobody's business.
            examined: answer.examined().map(|examined| examined.min(all)),
        };
        let Some(window) = self.viewers.windows.get_mut(&place) else { return false };
        let row = |shown: &Shown| {
            registry.record(shown.slot).map(|record| registry.row(shown.slot, record, now, around(record.source)))
        };
        let unsettled = answer.unsettled();
        let mut delta = None;
        if window.told != Some(told) || unsettled {
            let version = |slot: Slot| self.keys.get(slot as usize).map_or(0, |keys| keys.version);
            let kept = place
                .alone
                .and_then(|_| kept_still(&window.rows, |shown| place_of_same(answer, registry, &self.keys, shown)));
            let mut offset = kept.unwrap_or(window.offset);
            if offset > 0 && offset >= told.total {
                // Beyond the end there is its end.
                offset = told.total.saturating_sub(u64::from(place.limit));
                window.cut = true;
            }
            let moved = (offset != window.offset).then_some(offset);
            window.offset = offset;
            let rows: Vec<Shown> = answer
                .window(window.offset, place.limit)
                .filter_map(|slot| {
                    let version = version(slot);
                    registry.record(slot).map(|record| Shown { slot, version, row: record.row(slot) })
                })
                .collect();
            let first = window.told.is_none();
            let before = std::mem::replace(&mut window.rows, rows);
            window.told = Some(told);
            if !first {
                delta = Some((moved, changes(registry, &before, &window.rows, row).unwrap_or_default()));
            }
        }
        let delta = delta.map(|(offset, (order, rows, ended))| {
            encode(&ServerFrame::Delta {
                ask: 0,
                now: now.0,
                total: told.total,
                all: told.all,
                facets: told.facets,
                offset,
                order,
                rows,
                ended,
            })
        });
        let mut whole: Option<Bytes> = None;
        let mut waiting = unsettled;
        let mut gone = Vec::new();
        for &id in &window.viewers {
            let Some(viewer) = self.viewers.viewers.get_mut(&id) else { continue };
            let is_in_the_making = told.examined.is_some();
            if is_in_the_making && viewer.progress_at.is_some_and(|at| now.since(at) < PROGRESS_MS) {
                waiting = true;
                continue;
            }
            let frame = if viewer.needs_window {
                whole.get_or_insert_with(|| {
                    encode(&ServerFrame::Window {
                        ask: 0,
                        now: now.0,
                        total: told.total,
                        all: told.all,
                        facets: told.facets,
                        offset: window.offset,
                        cut: window.cut,
                        rows: window.rows.iter().filter_map(row).collect(),
                        examined: told.examined,
                    })
                })
            } else {
                match &delta {
                    Some(delta) => delta,
                    None => continue,
                }
            };
            match viewer.frames.try_send(addressed(frame, viewer.ask)) {
                // A first answer in progress is told as whole windows until it is complete.
                Ok(()) => {
                    viewer.needs_window = is_in_the_making;
                    viewer.progress_at = is_in_the_making.then_some(now);
                }
                Err(TrySendError::Full(_)) => {
                    viewer.needs_window = true;
                    waiting = true;
                }
                Err(TrySendError::Closed(_)) => gone.push(id),
            }
        }
        for id in gone {
            self.leave(id);
        }
        waiting
    }

    /// Says whether somebody could not be told yet.
    fn flush_followed(&mut self, registry: &Registry, now: Time, around: Around<'_>) -> bool {
        let mut waiting = false;
        let mut gone = Vec::new();
        for (&id, viewer) in &mut self.viewers.viewers {
            let Some(followed) = &mut viewer.follow else { continue };
            let slot = registry.find(followed.source, &followed.key).filter(|_| !followed.is_hidden);
            let state = slot.map(|slot| (slot, self.keys.get(slot as usize).map_or(0, |keys| keys.version)));
            if followed.told == Some(state) {
                continue;
            }
            let record = slot.and_then(|slot| registry.record(slot));
            let (events, events_cut) = record.map(|record| registry.timeline(record)).unwrap_or_default();
            let frame = ServerFrame::Detail {
                now: now.0,
                source: registry.source_name(followed.source).to_owned(),
                id: LockId::of_key(&followed.key),
                lock: record
                    .filter(|record| !record.is_ended())
                    .map(|record| Box::new(registry.lock(record, now, around(record.source), true))),
                events,
                events_cut,
            };
            match viewer.frames.try_send(encode(&frame)) {
                Ok(()) => followed.told = Some(state),
                // Told at a later flush: `told` still differs.
                Err(TrySendError::Full(_)) => waiting = true,
                Err(TrySendError::Closed(_)) => gone.push(id),
            }
        }
        for id in gone {
            self.leave(id);
        }
        waiting
    }

    fn detach(&mut self, viewer: u64) {
        let Some(place) = self.viewers.viewers.get_mut(&viewer).and_then(|viewer| viewer.place.take()) else { return };
        if let Some(window) = self.viewers.windows.get_mut(&place) {
            window.viewers.retain(|&other| other != viewer);
            if window.viewers.is_empty() {
                self.viewers.windows.remove(&place);
            }
        }
        if let Some(answer) = self.answers.get_mut(&place.answer) {
            answer.watched = answer.watched.saturating_sub(1);
        }
    }
}

/// How many rows are before this one; `None` if it changed since it was told.
fn place_of_same(answer: &Answer, registry: &Registry, keys: &[Keys], shown: &Shown) -> Option<u64> {
    let version = keys.get(shown.slot as usize).map_or(0, |keys| keys.version);
    (shown.version == version).then(|| answer.place_of(registry, keys, shown.slot)).flatten()
}

/// Where a window begins now if what was in sight is to stay where it was; `None` if nothing of it is where it can be told.
/// `place_of` says how many rows are before one that did not change.
fn kept_still(before: &[Shown], place_of: impl Fn(&Shown) -> Option<u64>) -> Option<u64> {
    // Viewers ask for as much again on either side of what is in sight.
    let (above, in_sight) = before.split_at(before.len() / 3);
    let rest = above.iter().enumerate().rev();
    let first = in_sight.iter().enumerate().map(|(at, shown)| (above.len() + at, shown));
    first.chain(rest).find_map(|(at, shown)| Some(place_of(shown)?.saturating_sub(at as u64)))
}

type Difference = (Option<Vec<u64>>, Vec<Row>, Vec<Ended>);

/// What turns one list of rows into the other; `None`: nothing.
fn changes(
    registry: &Registry,
    before: &[Shown],
    after: &[Shown],
    row: impl Fn(&Shown) -> Option<Row>,
) -> Option<Difference> {
    if before == after {
        return None;
    }
    let known: HashMap<u64, u32> = before.iter().map(|shown| (shown.row, shown.version)).collect();
    let rows: Vec<Row> =
        after.iter().filter(|shown| known.get(&shown.row) != Some(&shown.version)).filter_map(row).collect();
    let same_order = before.iter().map(|shown| shown.row).eq(after.iter().map(|shown| shown.row));
    let order = (!same_order).then(|| after.iter().map(|shown| shown.row).collect());
    let stays: std::collections::HashSet<u64> = after.iter().map(|shown| shown.row).collect();
    let ended = before
        .iter()
        .filter(|shown| !stays.contains(&shown.row))
        .filter_map(|shown| {
            let record = registry.record(shown.slot)?;
            (record.row(shown.slot) == shown.row).then(|| Registry::ended(shown.slot, record)).flatten()
        })
        .collect();
    Some((order, rows, ended))
}

/// What a window or delta begins with; everything behind it is the same for all who asked the same.
const UNADDRESSED: [&str; 3] =
    [r#"{"kind":"window","ask":0,"#, r#"{"kind":"delta","ask":0,"#, r#"{"kind":"facets","ask":0,"#];

/// The same frame under the number of the viewer's own question.
fn addressed(frame: &Bytes, ask: u32) -> Bytes {
    for head in UNADDRESSED {
        if let Some(rest) = frame.strip_prefix(head.as_bytes()) {
            let head = head.replace(":0,", &format!(":{ask},"));
            return [head.as_bytes(), rest].concat().into();
        }
    }
    frame.clone()
}

/// A frame as JSON.
pub(crate) fn encode(frame: &ServerFrame) -> Bytes {
    // Frames hold no maps with odd keys and no numbers that JSON lacks, so this cannot fail; an empty message would
    // still be better than none at all.
    serde_json::to_vec(frame).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Person, Policy, Via};

    #[test]
    fn a_notice_waits_for_whoever_reads_slowly_and_is_for_nobody_else() {
        let mut views = Views::default();
        let registry = Registry::new(vec!["orders".to_owned()], 1);
        let around = |_| Surroundings::default();
        let (slow, mut slow_reads) = mpsc::channel(1);
        let (quick, mut quick_reads) = mpsc::channel(4);
        views.connect(1, Reach::ALL, slow);
        views.connect(2, Policy::default().scope(&nobody()).seen().clone(), quick);
        let refused = |detail: &str| ServerFrame::Refused { detail: detail.to_owned() };
        views.tell(1, &refused("something before"));
        views.announce(&Reach::ALL, &refused("the notice"));
        assert!(views.flush(&registry, Time(0), &around), "there is no room yet");
        assert_eq!(slow_reads.try_recv().unwrap(), encode(&refused("something before")));
        assert!(!views.flush(&registry, Time(0), &around));
        assert_eq!(slow_reads.try_recv().unwrap(), encode(&refused("the notice")));
        assert!(quick_reads.try_recv().is_err());
    }

    fn nobody() -> Person {
        Person {
            name: "nobody".into(),
            via: Via::Password,
            roles: Vec::new(),
            membership: crate::access::Membership::Named,
            only: None,
            session: None,
        }
    }

    #[test]
    fn shared_frames_carry_each_viewers_own_number() {
        let frame = ServerFrame::Delta {
            ask: 0,
            now: 1,
            total: 0,
            all: 0,
            facets: Facets::default(),
            offset: None,
            order: None,
            rows: Vec::new(),
            ended: Vec::new(),
        };
        let decoded: ServerFrame = serde_json::from_slice(&addressed(&encode(&frame), 77)).unwrap();
        assert!(matches!(decoded, ServerFrame::Delta { ask: 77, now: 1, .. }));
    }
}
