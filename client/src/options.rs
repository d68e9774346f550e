//! What a caller may choose, and what makes no sense.

use std::time::Duration;

use crate::error::{Error, shown};
use crate::report;

/// Shorter leases end before a busy network has carried the answer.
const MIN_LEASE: Duration = Duration::from_millis(100);

/// A longer lease keeps others out for longer than a day after its holder died. Renew instead.
const MAX_LEASE: Duration = Duration::from_secs(86_400);

/// Long enough for a slow garbage collection, short enough that the end of a dead holder is worth waiting for.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// The first pause between two tries: some ten round trips.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause: what a released lock lies idle at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How one lock is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) lease: Duration,
    pub(crate) patience: Patience,
    pub(crate) renewed: bool,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    For(Duration),
    Endless,
}

impl Default for Options {
    /// A lease of 30 s, renewed every 10 s; waits for as long as it takes.
    fn default() -> Options {
        Options {
            lease: DEFAULT_LEASE,
            patience: Patience::Endless,
            renewed: true,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
        }
    }
}

impl Options {
    /// The defaults with this lease: how long the lock outlives a holder that dies. 100 ms to one day.
    #[must_use]
    pub fn lease(lease: Duration) -> Options {
        Options { lease, ..Options::default() }
    }

    /// Gives up after this long. The last try begins then; it takes up to half a second if Redis is slow to answer.
    #[must_use]
    pub fn wait_at_most(self, time: Duration) -> Options {
        Options { patience: Patience::For(time), ..self }
    }

    /// Asks once and does not wait.
    #[must_use]
    pub fn without_waiting(self) -> Options {
        Options { patience: Patience::None, ..self }
    }

    /// Lets the lease run out instead of renewing it.
    #[must_use]
    pub fn without_renewal(self) -> Options {
        Options { renewed: false, ..self }
    }

    /// The pauses between tries: each up to twice the one before, from `first` to `longest`, and of that a random half
    /// to whole. Default 50 ms to 1 s; `longest` is 5 s at most.
    #[must_use]
    pub fn pauses(self, first: Duration, longest: Duration) -> Options {
        Options { first_pause: first, longest_pause: longest, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(MIN_LEASE..=MAX_LEASE).contains(&self.lease) {
            return Err(Error::Invalid {
                what: "the lease",
                value: format!("{:?}", self.lease),
                hint: "choose 100 ms to one day",
            });
        }
        if self.first_pause.is_zero()
            || self.longest_pause < self.first_pause
            || self.longest_pause > report::WAITING_EVERY
        {
            return Err(Error::Invalid {
                what: "the pause between tries",
                value: format!("{:?} to {:?}", self.first_pause, self.longest_pause),
                hint: "begin above zero, and end no lower and at 5 s at most: who is silent for longer is taken to be gone",
            });
        }
        Ok(())
    }

    /// The pause after the so-many-th try. Jitter keeps waiters that began together from asking together.
    pub(crate) fn pause_after(&self, tries: u32) -> Duration {
        let doubled = 1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Who uses the locks, and whether they say so.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) reports: Option<Reports>,
}

impl Settings {
    /// What the program calls itself in its reports; cut to 128 bytes.
    #[must_use]
    pub fn named(self, name: &str) -> Settings {
        Settings { name: Some(name.to_owned()), ..self }
    }

    /// Says to whoever reads the stream that it waits, was refused, gave up, got the lock and gave it back.
    #[must_use]
    pub fn reporting(self, reports: Reports) -> Settings {
        Settings { reports: Some(reports), ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.reports {
            Some(Reports { stream, .. }) if stream.is_empty() || stream.len() > report::MAX_LOCK_BYTES => {
                Err(Error::Invalid {
                    what: "the name of the stream for reports",
                    value: format!("`{}`", shown(stream.as_bytes())),
                    hint: "give it 1 to 1024 bytes",
                })
            }
            Some(Reports { max_entries: 0, .. }) => Err(Error::Invalid {
                what: "the number of entries in the stream for reports",
                value: "0".to_owned(),
                hint: "keep at least one",
            }),
            _ => Ok(()),
        }
    }
}

/// Where reports go.
#[derive(Clone, Debug)]
pub struct Reports {
    /// The stream's key.
    pub stream: String,
    /// How many entries the stream is trimmed to; Redis may keep up to a node (100 by default) more.
    pub max_entries: u64,
}

impl Default for Reports {
    fn default() -> Reports {
        Reports { stream: report::DEFAULT_STREAM.to_owned(), max_entries: report::DEFAULT_MAX_ENTRIES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_no_further() {
        let options = Options::default().pauses(Duration::from_millis(50), Duration::from_secs(1));
        for (tries, whole_ms) in [(1, 50), (2, 100), (3, 200), (5, 800), (6, 1000), (40, 1000), (u32::MAX, 1000)] {
            let pause = options.pause_after(tries);
            let whole = Duration::from_millis(whole_ms);
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} after {tries} tries");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let message = |options: Options| options.check().unwrap_err().to_string();
        assert_eq!(message(Options::lease(Duration::ZERO)), "the lease is 0ns; choose 100 ms to one day");
        let backwards = Options::default().pauses(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(
            message(backwards),
            "the pause between tries is 2s to 1s; begin above zero, and end no lower and at 5 s at most: who is silent for \
             longer is taken to be gone"
        );
        let nowhere = Settings::default().reporting(Reports { stream: String::new(), ..Reports::default() });
        assert!(nowhere.check().is_err());
    }
}
