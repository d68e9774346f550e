use std::ops::Range;

use lockkeeper_model::wire::ClientFrame;
use lockkeeper_model::{MAX_LIMIT, Question};

/// An answer that has not come after this long is not waited for any more, so that one lost answer cannot stop a page.
const PATIENCE_MS: f64 = 2_000.0;

/// A part of the answers to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// Which locks, in which order.
    pub(crate) question: Question,
    /// Rows before the window.
    pub(crate) offset: u64,
    /// Rows in the window.
    pub(crate) limit: u32,
}

/// What an answer is to the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// A question that was not answered before: nothing on the screen belongs to it.
    NewQuestion,
    /// The question that is on the screen, maybe another part of it.
    SameQuestion,
    /// Something that was asked before.
    Outdated,
}

/// What somebody looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Which locks, in which order.
    pub(crate) question: Question,
    /// The first row in sight.
    pub(crate) first: u64,
    /// How many there are.
    pub(crate) rows: u32,
}

impl Want {
    /// The part of the answers to ask for: what is in sight and as much again on either side. `current` is kept while it still
    /// has something in reserve, so that scrolling by a row asks nothing.
    pub(crate) fn in_sight(sight: Sight, current: Option<&Want>) -> Want {
        let rows = sight.rows.clamp(1, MAX_LIMIT / 3);
        let (first, end) = (sight.first, sight.first + u64::from(rows));
        if let Some(current) = current.filter(|current| current.question == sight.question) {
            let reserve = u64::from(rows / 2);
            let above = first >= current.offset && (current.offset == 0 || first - current.offset >= reserve);
            let below = end + reserve <= current.offset + u64::from(current.limit);
            if above && below && current.limit <= rows * 4 {
                return current.clone();
            }
        }
        let offset = first.saturating_sub(u64::from(rows));
        Want { question: sight.question, offset, limit: rows * 3 }
    }
}

/// Decides what to ask and when: one question on its way at most, and then the latest, however fast somebody scrolls.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    ask: u32,
    wanted: Option<Want>,
    sent: Option<Want>,
    answered: Option<Question>,
    /// The first row is in sight. Whatever comes, that is the top of the list.
    at_top: bool,
    waiting_since: Option<f64>,
}

impl Asker {
    /// Replaces what is wanted by what [`Want::in_sight`] makes of it.
    pub(crate) fn look(&mut self, sight: Sight) {
        self.at_top = sight.first == 0;
        self.wanted = Some(Want::in_sight(sight, self.wanted.as_ref()));
    }

    /// The part that is on the screen, which is at `places` by now, lies so many rows further down. Says whether whoever looks at
    /// it goes with it: not while they wait for rows elsewhere, which go with their answer, and not from the top of the list.
    pub(crate) fn carry(&mut self, by: i64, places: &Range<u64>) -> bool {
        let overlaps = |sent: &Want| sent.offset < places.end && places.start < sent.offset + u64::from(sent.limit);
        if self.at_top {
            // What they have goes down with its rows, and they stay: the top is to be asked for again.
            if let Some(sent) = self.sent.as_mut().filter(|_| self.waiting_since.is_none()) {
                sent.offset = sent.offset.saturating_add_signed(by);
            }
            return false;
        }
        if self.waiting_since.is_some() && !self.sent.as_ref().is_some_and(overlaps) {
            return false;
        }
        for want in [&mut self.wanted, &mut self.sent].into_iter().flatten() {
            want.offset = want.offset.saturating_add_signed(by);
        }
        true
    }

    /// Whether nothing was ever wanted: the page shows no rows.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.wanted.is_none()
    }

    /// What to send at `at`, if anything. `seen` is the number of the last answer and how many rows are before its window, by which
    /// the places of its question are counted, but for its top.
    pub(crate) fn next(&mut self, at: f64, seen: Option<(u32, u64)>) -> Option<ClientFrame> {
        let waiting = self.waiting_since.is_some_and(|since| at - since < PATIENCE_MS);
        if waiting || self.wanted == self.sent {
            return None;
        }
        let want = self.wanted.clone()?;
        self.ask += 1;
        self.waiting_since = Some(at);
        self.sent = Some(want.clone());
        let Want { question, offset, limit } = want;
        let seen = seen.filter(|_| !self.at_top && self.answered.as_ref() == Some(&question));
        Some(ClientFrame::Ask { ask: self.ask, question, offset, limit, seen })
    }

    /// By how many rows the window that answers the last question, and begins at `offset`, is elsewhere than it was asked for: so
    /// much came or went above it before the question arrived.
    pub(crate) fn slid(&self, offset: u64) -> i64 {
        self.sent.as_ref().map_or(0, |sent| offset.cast_signed() - sent.offset.cast_signed())
    }

    /// Takes note of a window for `ask`.
    pub(crate) fn answered(&mut self, ask: u32) -> Answers {
        if ask != self.ask {
            return Answers::Outdated;
        }
        self.waiting_since = None;
        let question = self.sent.as_ref().map(|sent| &sent.question);
        if self.answered.as_ref() == question {
            return Answers::SameQuestion;
        }
        self.answered = question.cloned();
        Answers::NewQuestion
    }

    /// A question was refused: do not wait for its answer.
    pub(crate) fn refused(&mut self) {
        self.waiting_since = None;
    }

    /// A new connection knows none of the questions.
    pub(crate) fn forgotten(&mut self) {
        self.sent = None;
        self.waiting_since = None;
    }

    /// Whether what is on the screen answers another question than the one that was asked last.
    pub(crate) fn is_behind(&self) -> bool {
        self.answered.as_ref() != self.wanted.as_ref().map(|want| &want.question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(q: &str, first: u64) -> Sight {
        Sight { question: Question { q: q.to_owned(), ..Question::default() }, first, rows: 20 }
    }

    const SEEN: Option<(u32, u64)> = Some((1, 0));

    fn offset(frame: Option<ClientFrame>) -> Option<u64> {
        match frame? {
            ClientFrame::Ask { offset, .. } => Some(offset),
            ClientFrame::Follow { .. } => None,
        }
    }

    #[test]
    fn fast_scrolling_asks_once_and_then_only_for_the_latest() {
        let mut asker = Asker::default();
        asker.look(sight("", 0));
        assert_eq!(offset(asker.next(0.0, SEEN)), Some(0));
        for step in 1..50 {
            asker.look(sight("", step * 100));
            assert_eq!(asker.next(step as f64, SEEN), None);
        }
        assert_eq!(asker.answered(1), Answers::NewQuestion);
        assert_eq!(offset(asker.next(60.0, SEEN)), Some(4_880));
        assert_eq!(asker.answered(1), Answers::Outdated);
        assert_eq!(asker.answered(2), Answers::SameQuestion);
        assert_eq!(asker.next(70.0, SEEN), None);
    }

    #[test]
    fn a_new_question_is_told_from_a_new_part_and_a_lost_answer_does_not_stop_the_page() {
        let mut asker = Asker::default();
        asker.look(sight("a", 0));
        asker.next(0.0, SEEN);
        asker.look(sight("b", 0));
        assert_eq!(asker.next(1_999.0, SEEN), None);
        assert!(asker.next(2_000.0, SEEN).is_some());
        assert!(asker.is_behind());
        assert_eq!(asker.answered(2), Answers::NewQuestion);
        assert!(!asker.is_behind());
        asker.forgotten();
        assert!(asker.next(2_100.0, SEEN).is_some());
        assert_eq!(asker.answered(3), Answers::SameQuestion);
    }

    #[test]
    fn the_part_moves_only_when_the_reserve_is_used_up() {
        let part = |first, rows, current: Option<&Want>| Want::in_sight(Sight { rows, ..sight("", first) }, current);
        let top = part(0, 20, None);
        assert_eq!((top.offset, top.limit), (0, 60));
        assert_eq!(part(25, 20, Some(&top)), top);
        let at = |want: Want| (want.offset, want.limit);
        assert_eq!(at(part(31, 20, Some(&top))), (11, 60));
        assert_eq!(at(part(500_000, 20, Some(&top))), (499_980, 60));
        assert_eq!(part(0, 100_000, None).limit, 999);
        let other = Want::in_sight(sight("other", 25), Some(&top));
        assert_eq!((other.question.q.as_str(), other.offset), ("other", 5));
    }

    #[test]
    fn what_came_above_before_the_question_arrived_is_told_by_its_answer() {
        let mut asker = Asker::default();
        asker.look(sight("", 100));
        let seen = |frame: Option<ClientFrame>| match frame {
            Some(ClientFrame::Ask { seen, .. }) => seen,
            other => panic!("{other:?}"),
        };
        assert_eq!(seen(asker.next(0.0, None)), None, "nothing was answered");
        asker.answered(1);
        asker.look(sight("", 200));
        assert_eq!(seen(asker.next(10.0, Some((1, 80)))), Some((1, 80)));
        asker.answered(2);
        assert_eq!((asker.slid(180), asker.slid(150)), (0, -30));
        asker.look(sight("other", 100));
        assert_eq!(seen(asker.next(20.0, Some((2, 180)))), None, "another question has other places");
    }

    #[test]
    fn whoever_goes_to_the_top_gets_there_whatever_comes() {
        let mut asker = Asker::default();
        asker.look(sight("", 100));
        asker.next(0.0, None);
        asker.answered(1);
        asker.look(sight("", 200));
        asker.next(10.0, Some((1, 80)));
        asker.look(sight("", 0));
        asker.answered(2);
        assert_eq!(asker.slid(185), 5);
        assert!(!asker.carry(5, &(185..245)), "the answer is of rows that nobody looks at any more");
        let Some(ClientFrame::Ask { offset: 0, seen: None, .. }) = asker.next(20.0, Some((2, 185))) else { panic!() };
    }

    #[test]
    fn whoever_is_at_the_top_asks_for_it_again_when_what_they_have_goes_down() {
        let mut asker = Asker::default();
        asker.look(sight("", 30));
        asker.next(0.0, None);
        asker.answered(1);
        // All that was above them went, and they are at the top now with rows that are kept for them alone.
        assert!(asker.carry(-10, &(10..70)));
        asker.look(sight("", 0));
        assert_eq!(asker.next(10.0, Some((1, 0))), None);
        assert!(!asker.carry(3, &(3..63)));
        let Some(ClientFrame::Ask { offset: 0, seen: None, .. }) = asker.next(20.0, Some((1, 3))) else { panic!() };
        assert!(!asker.carry(4, &(7..67)), "of rows that they had before");
        asker.answered(2);
        assert_eq!((asker.slid(0), asker.next(30.0, Some((2, 0)))), (0, None));
    }

    #[test]
    fn what_is_on_the_screen_is_not_asked_for_again_because_others_came_above_it() {
        let mut asker = Asker::default();
        asker.look(sight("", 100));
        asker.next(0.0, SEEN);
        assert!(!asker.carry(5, &(900..960)), "they wait for others than those");
        assert!(asker.carry(5, &(130..190)), "they still see some of those");
        asker.answered(1);
        assert_eq!(asker.slid(85), 0, "that was told before the answer");
        assert!(asker.carry(7, &(92..152)));
        asker.look(sight("", 112));
        assert_eq!(asker.next(10.0, SEEN), None);
        assert_eq!(asker.wanted.as_ref().map(|want| want.offset), Some(92));
    }
}
