//! What another server has written of what this one has seen as well. Two servers see the same transition some milliseconds
//! apart, and look at it a little differently; what is the same is told by lock, kind and holder, and by when it was: by the
//! end of the lease where there is one, which the store says, else by the moment.

use hashbrown::HashMap;
use lockkeeper_model::TransitionKind;

use super::codes;
use super::follow::is_first_look;
use super::schema::HistoryError;
use super::store::Line;
use crate::recorder::db::{Connection, DbError};

/// What two servers say of one transition is at most this far apart, in milliseconds.
const APART: i64 = 2_000;

/// Rows that are read at once, and at most.
const ROWS_AT_ONCE: i64 = 8_192;
const MAX_ROWS: usize = 524_288;

/// A source's name and a key.
type LockName = (String, Vec<u8>);

/// A transition of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: TransitionKind,
    token: Box<[u8]>,
    at: i64,
    expires: Option<i64>,
}

impl Seen {
    fn is_like(&self, other: &Seen) -> bool {
        self.kind == other.kind && self.token == other.token
    }

    fn distance(&self, other: &Seen) -> i64 {
        match (self.expires, other.expires) {
            (Some(one), Some(other)) => one.abs_diff(other).cast_signed(),
            _ => self.at.abs_diff(other.at).cast_signed(),
        }
    }
}

/// What was written last, by lock, in order.
#[derive(Debug, Default)]
pub(super) struct Written {
    by_lock: HashMap<LockName, Vec<Seen>>,
    last_at: i64,
    own: Own,
}

impl Written {
    /// What was written since that moment, and more, by others than this run.
    pub(super) fn read(connection: &Connection, since: i64, run: &str) -> Result<Written, HistoryError> {
        let sql = format!(
            "SELECT t.row, t.at, t.what, t.lease, s.name, l.name, h.name FROM transitions t
             JOIN locks l ON l.id = t.lock JOIN sources s ON s.id = l.source LEFT JOIN tokens h ON h.id = t.holder
             WHERE t.row < $1 ORDER BY t.row DESC LIMIT {ROWS_AT_ONCE}"
        );
        let last_at = connection.number("SELECT max(alive) FROM runs", &[])?.unwrap_or(i64::MIN);
        let mut written = Written { by_lock: HashMap::new(), last_at, own: Own::read(connection, run)? };
        let (mut before, mut count) = (i64::MAX, 0);
        loop {
            let (mut read, mut oldest) = (0, i64::MAX);
            connection.each(&sql, &[before.into()], |row| {
                let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
                (before, read, oldest) = (number, read + 1, oldest.min(at));
                let (kind, _) = codes::meaning(row.get(2)?);
                if kind != TransitionKind::Gap && !written.own.has(number) {
                    let lease: Option<i64> = row.get(3)?;
                    let expires = lease.map(|lease| at.saturating_add(lease));
                    let seen = Seen { kind, token: row.bytes(6).into(), at, expires };
                    written.by_lock.entry((row.get(4)?, row.bytes(5).to_vec())).or_default().push(seen);
                }
                Ok::<(), DbError>(())
            })?;
            count += read;
            if read == 0 || oldest < since || count >= MAX_ROWS {
                break;
            }
        }
        written.by_lock.values_mut().for_each(|seen| seen.reverse());
        Ok(written)
    }

    /// What of these lines is to be written, and what is written and not among them. With `was_watched` somebody else wrote
    /// all the while, so that what was already so at the first look is known.
    pub(super) fn leave_out(
        mut self,
        mut lines: Vec<Line>,
        sources: &[String],
        was_watched: bool,
    ) -> (Vec<Line>, Expected) {
        lines.retain(|line| self.own.upto.is_none_or(|upto| line.seq() > upto));
        let mut by_lock: HashMap<LockName, Vec<(usize, Seen)>> = HashMap::new();
        let mut is_known = vec![false; lines.len()];
        for (place, line) in lines.iter().enumerate() {
            match seen(line, sources) {
                _ if was_watched && is_first_look(line) => is_known[place] = true,
                Some((lock, seen)) => by_lock.entry(lock).or_default().push((place, seen)),
                // A gap of this server is none of the history while another wrote.
                None => is_known[place] = was_watched && line.at().0 <= self.last_at,
            }
        }
        for (lock, ours) in by_lock {
            let Some(theirs) = self.by_lock.get_mut(&lock) else { continue };
            let (known, matched) = overlap(&ours, theirs);
            ours[..known].iter().for_each(|(place, _)| is_known[*place] = true);
            theirs.drain(..matched);
        }
        // What is long past was seen here before, and forgotten as written.
        let recent = self.last_at.saturating_sub(APART);
        self.by_lock.retain(|_, theirs| {
            theirs.retain(|seen| seen.at >= recent);
            !theirs.is_empty()
        });
        let lines = lines.into_iter().zip(is_known).filter_map(|(line, is_known)| (!is_known).then_some(line));
        (lines.collect(), Expected { by_lock: self.by_lock, sources: sources.to_vec(), until: self.last_at + APART })
    }
}

/// What this run has written itself. It is known by its numbers: that the next like it is near says nothing.
#[derive(Debug, Default)]
struct Own {
    /// First row, and the first that is another run's.
    rows: Vec<(i64, i64)>,
    /// The number of the last event.
    upto: Option<u64>,
}

impl Own {
    fn read(connection: &Connection, run: &str) -> Result<Own, HistoryError> {
        let runs: Vec<(i64, String)> = connection.all("SELECT base, name FROM runs ORDER BY base", &[], |row| {
            Ok::<_, DbError>((row.get(0)?, row.get(1)?))
        })?;
        let mut own = Own::default();
        for (at, (base, _)) in runs.iter().enumerate().filter(|(_, (_, name))| name == run) {
            let next = runs.get(at + 1).map_or(i64::MAX, |(next, _)| *next);
            own.rows.push((*base, next));
            let last = "SELECT max(row) FROM transitions WHERE row >= $1 AND row < $2";
            if let Some(last) = connection.number(last, &[(*base).into(), next.into()])? {
                own.upto = own.upto.max(u64::try_from(last - base).ok());
            }
        }
        Ok(own)
    }

    fn has(&self, row: i64) -> bool {
        self.rows.iter().any(|(first, next)| (*first..*next).contains(&row))
    }
}

/// How many of ours are written, and how many of theirs are met by them: all up to the last one that both have.
fn overlap(ours: &[(usize, Seen)], theirs: &[Seen]) -> (usize, usize) {
    let (mut known, mut matched) = (0, 0);
    for (place, (_, seen)) in ours.iter().enumerate() {
        let limit = limit(seen, ours.iter().map(|(_, seen)| seen), theirs);
        let candidates = theirs.iter().enumerate().skip(matched).filter(|(_, other)| seen.is_like(other));
        let nearest = candidates.min_by_key(|(_, other)| seen.distance(other));
        if let Some((at, other)) = nearest
            && seen.distance(other) <= limit
        {
            (known, matched) = (place + 1, at + 1);
        }
    }
    // What is well before the last that was written was left out by whoever wrote.
    let last = theirs.last().map_or(i64::MIN, |last| last.at.saturating_sub(APART));
    let before = ours.iter().take_while(|(_, seen)| seen.at < last).count();
    (known.max(before), matched)
}

/// How far apart the same may be: less than what is like it is from the next such.
fn limit<'a>(seen: &Seen, ours: impl Iterator<Item = &'a Seen>, theirs: &[Seen]) -> i64 {
    let mut limit = APART;
    let mut narrow = |like: Vec<&Seen>| {
        for pair in like.windows(2) {
            limit = limit.min(pair[0].distance(pair[1]) / 2);
        }
    };
    narrow(ours.filter(|other| seen.is_like(other)).collect());
    narrow(theirs.iter().filter(|other| seen.is_like(other)).collect());
    limit
}

/// What was written by another and not seen here yet.
#[derive(Debug, Default)]
pub(super) struct Expected {
    by_lock: HashMap<LockName, Vec<Seen>>,
    sources: Vec<String>,
    until: i64,
}

impl Expected {
    /// Whether what happened now is written already.
    pub(super) fn has(&mut self, line: &Line) -> bool {
        if self.by_lock.is_empty() {
            return false;
        }
        if line.at().0 > self.until.saturating_add(APART) {
            self.by_lock.clear();
            return false;
        }
        let Some((lock, seen)) = seen(line, &self.sources) else { return false };
        let Some(theirs) = self.by_lock.get_mut(&lock) else { return false };
        let found = theirs.iter().position(|other| seen.is_like(other) && seen.distance(other) <= APART);
        if let Some(at) = found {
            theirs.drain(..=at);
        }
        found.is_some()
    }
}

/// Which lock a line is about, and what happened to it; nothing for a gap.
fn seen(line: &Line, sources: &[String]) -> Option<(LockName, Seen)> {
    let Line::Event(logged) = line else { return None };
    let (key, after) = (logged.key.as_ref()?, logged.after.as_ref()?);
    let source = sources.get(usize::from(logged.source.0))?.clone();
    let expires = (after.count > 0 && after.expires != i64::MAX).then_some(after.expires);
    let entry = &logged.entry;
    let seen = Seen { kind: entry.kind, token: entry.token.clone(), at: entry.at.0, expires };
    Some(((source, key.to_vec()), seen))
}

#[cfg(test)]
mod tests {
    use super::TransitionKind::{Acquired, Released, Renewed};
    use super::*;

    fn seen(kind: TransitionKind, token: &str, at: i64) -> Seen {
        let expires = (!kind.ends()).then_some(at + 30_000);
        Seen { kind, token: token.as_bytes().into(), at, expires }
    }

    fn known(ours: &[Seen], theirs: &[Seen]) -> (usize, usize) {
        let ours: Vec<(usize, Seen)> = ours.iter().cloned().enumerate().collect();
        overlap(&ours, theirs)
    }

    /// The same as another server sees it.
    fn later(seen: &Seen, by: i64) -> Seen {
        Seen { at: seen.at + by, expires: seen.expires.map(|at| at + by / 10), ..seen.clone() }
    }

    #[test]
    fn what_both_saw_is_written_once_however_alike_it_is() {
        let mut story = Vec::new();
        for round in 0..20 {
            // The same token again and again, renewed five times a second.
            let from = round * 1_000;
            story.push(seen(Acquired, "w", from));
            story.extend((1..4).map(|n| seen(Renewed, "w", from + n * 200)));
            story.push(seen(Released, "w", from + 900));
        }
        for jitter in [-90, -20, 0, 20, 90] {
            for first in [0, 7, 50] {
                for written in first..=story.len() {
                    let ours: Vec<Seen> = story[first..].iter().map(|seen| later(seen, jitter)).collect();
                    let (here, there) = known(&ours, &story[..written]);
                    assert_eq!(here, written - first, "jitter {jitter}, from {first}, written {written}");
                    assert!(written == first || there == written);
                }
            }
        }
    }

    #[test]
    fn only_what_comes_after_the_last_that_was_written_counts() {
        // The other one looked once where this one looked twice.
        let theirs = [seen(Acquired, "a", 0), seen(Acquired, "c", 100)];
        let ours = [
            seen(Acquired, "a", 5),
            seen(Released, "a", 40),
            seen(Acquired, "b", 45),
            seen(Released, "b", 80),
            seen(Acquired, "c", 90),
            seen(Released, "c", 200),
        ];
        assert_eq!(known(&ours, &theirs), (5, 2));
        assert_eq!(known(&ours[..2], &theirs), (1, 1), "the other one is ahead");
    }
}
