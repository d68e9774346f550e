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

/// Decides what to ask and when: one question on its way at most, and then the latest, however fast somebody scrolls.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    ask: u32,
    wanted: Option<Want>,
    sent: Option<Want>,
    answered: Option<Question>,
    waiting_since: Option<f64>,
}

impl Asker {
    /// Replaces what is wanted.
    pub(crate) fn want(&mut self, want: Want) {
        self.wanted = Some(want);
    }

    /// Whether nothing was ever wanted: the page shows no rows.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.wanted.is_none()
    }

    /// What to send at `at`, if anything.
    pub(crate) fn next(&mut self, at: f64) -> Option<ClientFrame> {
        let waiting = self.waiting_since.is_some_and(|since| at - since < PATIENCE_MS);
        if waiting || self.wanted == self.sent {
            return None;
        }
        let want = self.wanted.clone()?;
        self.ask += 1;
        self.waiting_since = Some(at);
        self.sent = Some(want.clone());
        Some(ClientFrame::Ask { ask: self.ask, question: want.question, offset: want.offset, limit: want.limit })
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

/// The part of the answers to ask for when rows `first .. first + visible` are on the screen: the screen and as much
/// again on either side. `current` is kept while it still has something in reserve, so that scrolling by a row
/// asks nothing.
pub(crate) fn part_for(first: u64, visible: u32, current: Option<(u64, u32)>) -> (u64, u32) {
    let visible = visible.clamp(1, MAX_LIMIT / 3);
    if let Some((offset, limit)) = current {
        let reserve = u64::from(visible / 2);
        let above = first >= offset && (offset == 0 || first - offset >= reserve);
        let below = first + u64::from(visible) + reserve <= offset + u64::from(limit);
        if above && below && limit <= visible * 4 {
            return (offset, limit);
        }
    }
    (first.saturating_sub(u64::from(visible)), visible * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(q: &str, offset: u64) -> Want {
        Want { question: Question { q: q.to_owned(), ..Question::default() }, offset, limit: 30 }
    }

    fn offset(frame: Option<ClientFrame>) -> Option<u64> {
        match frame? {
            ClientFrame::Ask { offset, .. } => Some(offset),
            ClientFrame::Follow { .. } => None,
        }
    }

    #[test]
    fn fast_scrolling_asks_once_and_then_only_for_the_latest() {
        let mut asker = Asker::default();
        asker.want(want("", 0));
        assert_eq!(offset(asker.next(0.0)), Some(0));
        for step in 1..50 {
            asker.want(want("", step * 10));
            assert_eq!(asker.next(step as f64), None);
        }
        assert_eq!(asker.answered(1), Answers::NewQuestion);
        assert_eq!(offset(asker.next(60.0)), Some(490));
        assert_eq!(asker.answered(1), Answers::Outdated);
        assert_eq!(asker.answered(2), Answers::SameQuestion);
        assert_eq!(asker.next(70.0), None);
    }

    #[test]
    fn a_new_question_is_told_from_a_new_part_and_a_lost_answer_does_not_stop_the_page() {
        let mut asker = Asker::default();
        asker.want(want("a", 0));
        asker.next(0.0);
        asker.want(want("b", 0));
        assert_eq!(asker.next(1_999.0), None);
        assert!(asker.next(2_000.0).is_some());
        assert!(asker.is_behind());
        assert_eq!(asker.answered(2), Answers::NewQuestion);
        assert!(!asker.is_behind());
        asker.forgotten();
        assert!(asker.next(2_100.0).is_some());
        assert_eq!(asker.answered(3), Answers::SameQuestion);
    }

    #[test]
    fn the_part_moves_only_when_the_reserve_is_used_up() {
        let first = part_for(0, 20, None);
        assert_eq!(first, (0, 60));
        assert_eq!(part_for(25, 20, Some(first)), first);
        assert_eq!(part_for(31, 20, Some(first)), (11, 60));
        assert_eq!(part_for(500_000, 20, Some(first)), (499_980, 60));
        assert_eq!(part_for(0, 100_000, None).1, 999);
    }
}
