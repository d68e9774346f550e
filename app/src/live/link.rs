use crate::lang::{t, without_tenths};

/// The condition of the connection to the server, as the page shows it. Times are on the browser's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum LinkState {
    /// The page has just been opened.
    #[default]
    Connecting,
    /// Frames come in.
    Live,
    /// No frames come in: everything on the page is old.
    Lost {
        /// The last sign of life.
        since: f64,
        /// When the next attempt begins; `None` while one is under way.
        retry_at: Option<f64>,
    },
    /// What is on the page is of the past, and meant to be.
    Past,
    /// The server speaks another version than this page: only a reload helps.
    Incompatible,
}

impl LinkState {
    /// Whether what is shown is what is.
    pub(crate) fn is_live(self) -> bool {
        self == LinkState::Live
    }

    /// Whether what is shown was so once, and somebody could take it for what is.
    pub(crate) fn is_old(self) -> bool {
        !matches!(self, LinkState::Live | LinkState::Past)
    }

    /// The part of the banner that counts: how long ago, and when the next attempt is.
    pub(crate) fn count(self, clock: i64) -> String {
        match self {
            LinkState::Lost { since, retry_at } => {
                let clock = clock as f64;
                let lost = without_tenths((clock - since).max(1_000.0) as i64 / 1_000 * 1_000);
                match retry_at {
                    Some(at) => {
                        let left = ((at - clock) / 1_000.0).ceil().max(1.0) as i64;
                        t!(lost_ago_retrying_in_s, lost, left)
                    }
                    None => t!(lost_ago_trying_now, lost),
                }
            }
            LinkState::Connecting | LinkState::Live | LinkState::Past | LinkState::Incompatible => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_counts_in_whole_seconds() {
        let lost = LinkState::Lost { since: 1_000.0, retry_at: Some(12_400.0) };
        assert_eq!(lost.count(9_300), "Lost 8 s ago; retrying in 4 s.");
        let trying = LinkState::Lost { since: 1_000.0, retry_at: None };
        assert_eq!(trying.count(100_000), "Lost 1 m 39 s ago; trying now.");
    }
}
