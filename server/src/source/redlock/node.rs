//! What is known of one master as a whole.

use lockkeeper_model::Time;

/// One master, as far as votes depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// It answers.
    pub(super) reachable: bool,
    /// It was seen whole since changes were last missed: what was not met there is not there.
    pub(super) complete: bool,
    /// What was read before this moment does not count: changes were missed since.
    pub(super) gap_at: i64,
    /// When its scan under way began.
    pub(super) scan_began: Option<Time>,
    /// When the last scan began that saw it whole.
    pub(super) whole_since: Option<Time>,
    /// Every change on it before this moment was reported.
    pub(super) confirmed_at: Option<Time>,
    /// When its process was started.
    pub(super) started_at: Option<Time>,
    /// It has not answered since this moment, although its connection seems to stand.
    pub(super) silent_since: Option<Time>,
    /// Its first scan, or one after something was missed, is under way.
    pub(super) scanning: bool,
}

impl Node {
    /// Nothing is known yet.
    pub(super) const UNKNOWN: Node = Node {
        reachable: false,
        complete: false,
        gap_at: 0,
        scan_began: None,
        whole_since: None,
        confirmed_at: None,
        started_at: None,
        silent_since: None,
        scanning: false,
    };

    /// It says something that was so at this moment.
    pub(super) fn heard(&mut self, at: Time) {
        if self.silent_since.is_some_and(|since| at > since) {
            self.silent_since = None;
        }
    }

    /// Changes on it may have been missed.
    pub(super) fn missed(&mut self, at: Time) {
        self.complete = false;
        self.confirmed_at = None;
        // A reading in the same millisecond may have been before it.
        self.gap_at = self.gap_at.max(at.0 + 1);
    }

    /// A scan that began at this moment has seen everything. Says whether it makes up for what was missed.
    pub(super) fn scanned(&mut self, began_at: Time) -> bool {
        self.scan_began = None;
        let whole = began_at.0 >= self.gap_at;
        if whole {
            self.whole_since = Some(began_at);
        }
        let news = whole && !self.complete;
        self.complete |= whole;
        news
    }
}
