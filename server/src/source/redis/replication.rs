//! How far a replica had copied its primary, told afterwards: what was written later may be lost in a failover.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lockkeeper_model::Time;

/// Moments that are remembered, about a minute of them: a failover is over by then, or the store was down for so long
/// that every lease has ended.
const MAX_MOMENTS: usize = 120;

/// Where the primary's stream of writes was at which moment.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    moments: Mutex<VecDeque<(Time, u64)>>,
}

impl Offsets {
    /// The primary's stream had got this far at that moment, at the latest.
    pub(crate) fn note(&self, at: Time, offset: u64) {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.back().is_some_and(|(_, last)| offset < *last) {
            // Another stream.
            moments.clear();
        }
        if moments.len() == MAX_MOMENTS {
            moments.pop_front();
        }
        moments.push_back((at, offset));
    }

    /// Everything that was written before this moment is in the first `copied` bytes of the stream; `None` where the
    /// moments that are remembered do not reach back so far. The stream is another one from here on.
    pub(crate) fn copied_until(&self, copied: u64) -> Option<Time> {
        let moments = std::mem::take(&mut *self.moments.lock().unwrap_or_else(PoisonError::into_inner));
        moments.into_iter().rev().find(|(_, offset)| *offset <= copied).map(|(at, _)| at)
    }
}

/// The primary's place in its stream, in an answer of `INFO replication`; `None` for a replica.
pub(crate) fn offset(info: &str) -> Option<u64> {
    (field(info, "role")? == "master").then(|| field(info, "master_repl_offset")?.parse().ok()).flatten()
}

/// How far a new primary had copied the one before it, in its answer of `INFO replication`.
pub(crate) fn copied(info: &str) -> Option<u64> {
    // The first place of the new stream, or -1 if there was no stream before.
    field(info, "second_repl_offset")?.parse::<u64>().ok()?.checked_sub(1)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moment_that_was_copied_whole_is_found() {
        let offsets = Offsets::default();
        for (at, offset) in [(1_000, 100), (1_500, 180), (2_000, 180), (2_500, 240)] {
            offsets.note(Time(at), offset);
        }
        assert_eq!(offsets.copied_until(200), Some(Time(2_000)));
        assert_eq!(offsets.copied_until(500), None, "the stream before is forgotten");
        offsets.note(Time(3_000), 900);
        assert_eq!(offsets.copied_until(800), None);
    }

    #[test]
    fn the_places_are_read_from_what_redis_says() {
        let primary = "# Replication\r\nrole:master\r\nmaster_repl_offset:5120\r\nsecond_repl_offset:4801\r\n";
        assert_eq!((offset(primary), copied(primary)), (Some(5_120), Some(4_800)));
        let fresh = "role:master\r\nmaster_repl_offset:0\r\nsecond_repl_offset:-1\r\n";
        assert_eq!(copied(fresh), None);
        assert_eq!(offset("role:slave\r\nmaster_repl_offset:5120\r\n"), None);
    }
}
