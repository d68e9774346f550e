//! What can be done with a lock from a terminal, and what each of it is called there.

use clap::ValueEnum;
use lockkeeper_model::words::{duration, shown};
use lockkeeper_model::{Action, HOLD_MS, Lock, PreviewedLock};

use super::exit::{Exit, Trouble};

/// What to do with a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Deed {
    /// End exactly that hold.
    #[default]
    Release,
    /// End exactly that hold, and keep others out for a while.
    Hold,
    /// Keep others out for longer, or less long, where an operator does.
    Extend,
    /// Let others in again, where an operator keeps them out.
    Open,
    /// Give it back to whom it was released from a moment ago.
    PutBack,
    /// Count its fencing counter up, so that what it protects can refuse the holder.
    RaiseFence,
    /// Take the head of the queue out of it, where nobody holds the lock.
    Evict,
}

impl Deed {
    /// What the server is asked for.
    pub(super) fn action(self) -> Action {
        match self {
            Deed::Release | Deed::Open => Action::Release,
            Deed::Hold => Action::ReleaseAndHold,
            Deed::Extend => Action::ExtendHold,
            Deed::PutBack => Action::PutBack,
            Deed::RaiseFence => Action::RaiseFence,
            Deed::Evict => Action::EvictWaiter,
        }
    }

    /// What somebody else asked for.
    pub(super) fn of(action: Action) -> Deed {
        match action {
            Action::Release => Deed::Release,
            Action::EvictWaiter => Deed::Evict,
            Action::ReleaseAndHold => Deed::Hold,
            Action::ExtendHold => Deed::Extend,
            Action::PutBack => Deed::PutBack,
            Action::RaiseFence => Deed::RaiseFence,
        }
    }

    /// The question above the plan of one lock.
    pub(super) fn question(self, lock: &PreviewedLock) -> String {
        let place = format!("{} ({}/{})", shown(&lock.name), shown(&lock.source), shown(lock.id.as_str()));
        match self {
            Deed::Release => format!("Release {place}?"),
            Deed::Hold => format!("Release {place} and keep others out?"),
            Deed::Extend => format!("Keep others out of {place} from now on for another time?"),
            Deed::Open => format!("Let others in to {place} again?"),
            Deed::PutBack => format!("Give {place} back to whom it was released from?"),
            Deed::RaiseFence => format!("Raise the fence of {place}?"),
            Deed::Evict => format!("Take the head of the queue of {place} out of it?"),
        }
    }

    /// Who loses something by it, as the plan calls them.
    pub(super) fn whom(self) -> &'static str {
        match self {
            Deed::Evict => "First in line",
            Deed::PutBack => "Goes back to",
            Deed::Release | Deed::Hold | Deed::Extend | Deed::Open | Deed::RaiseFence => "Held by",
        }
    }

    /// What can be seen of the lock before the server is asked.
    pub(super) fn check(self, lock: &Lock) -> Result<(), Trouble> {
        let name = format!("{}/{}", shown(&lock.source), shown(lock.id.as_str()));
        let is_kept = lock.holders.iter().any(|holder| holder.identity.operator.is_some());
        match self {
            Deed::Open | Deed::Extend if !is_kept => {
                let text = format!("no operator keeps others out of `{name}`");
                Err(Trouble::new(Exit::NothingReleased, text).hint("`lockkeeper why` says who has it"))
            }
            _ => Ok(()),
        }
    }
}

/// A time to keep others out, in milliseconds.
pub(super) fn hold_ms(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a duration such as `90s`, `5m` or `1h`".to_owned()),
    };
    let number: i64 = digits.parse().map_err(|_| "expected a whole number before the unit".to_owned())?;
    match number.checked_mul(unit_ms) {
        Some(ms) if HOLD_MS.contains(&ms) => Ok(ms),
        _ => Err(format!("expected {} to {}", duration(*HOLD_MS.start()), duration(*HOLD_MS.end()))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::lock;
    use super::*;

    #[test]
    fn every_action_can_be_asked_for() {
        let asked: Vec<Action> = Deed::value_variants().iter().map(|deed| deed.action()).collect();
        assert!(Action::ALL.iter().all(|action| asked.contains(action)), "{asked:?}");
    }

    #[test]
    fn a_time_to_keep_others_out_has_a_unit_and_bounds() {
        assert_eq!((hold_ms("5m"), hold_ms("90s"), hold_ms("1h")), (Ok(300_000), Ok(90_000), Ok(3_600_000)));
        for text in ["", "5", "m", "0s", "61m", "2h", "99999999999999999h", "1d"] {
            assert!(hold_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_an_operator_keeps_closed_is_opened_or_extended() {
        let mut kept = lock();
        for deed in [Deed::Open, Deed::Extend] {
            assert_eq!(deed.check(&kept).unwrap_err().exit(), Exit::NothingReleased);
        }
        assert!(Deed::Release.check(&kept).is_ok());
        kept.holders[0].identity.operator = Some("ada".to_owned());
        assert!(Deed::Open.check(&kept).is_ok() && Deed::Extend.check(&kept).is_ok());
    }
}
