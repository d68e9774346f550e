//! Which conditions are looked for, where, and for how long each has to last before anybody is told.

use lockkeeper_model::{RuleInForce, Severity, WarningRule, words};

use super::usual::MIN_HOLDS;
use crate::glob;

/// Tables `[[warning]]` at most: each is compared with the name of every lock that changes.
pub const MAX_OVERRIDES: usize = 64;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// How one rule is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How much it matters.
    pub severity: Severity,
    /// How long the condition has to last before it is told, in milliseconds.
    pub for_ms: i64,
    /// How long it has to be away before it is over, in milliseconds, so that what comes and goes is told once.
    pub clear_ms: i64,
    /// What only some rules have.
    pub limit: Limit,
}

/// What only some rules have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing.
    None,
    /// Whether holders that renew count as well: a leader keeps its lock for weeks, and lives.
    Renewed(bool),
    /// How many times as long as nearly all holds.
    Times(u32),
    /// More locks than this.
    Locks(u32),
}

impl Setting {
    /// How a rule is applied where nobody says otherwise: so that a healthy system has no warning.
    #[must_use]
    pub fn default_of(rule: WarningRule) -> Setting {
        use Severity::{Critical, Info, Warning};
        let (severity, for_ms, clear_ms, limit) = match rule {
            // Jobs of a day and their leases are shorter; who holds for longer without renewing has been forgotten.
            WarningRule::HeldLong => (Warning, 24 * HOUR_MS, 5 * SECOND_MS, Limit::Renewed(false)),
            // Below a minute nobody would have looked yet.
            WarningRule::HeldUnusually => (Warning, MINUTE_MS, 5 * SECOND_MS, Limit::Times(3)),
            // Longer than a queue of patient workers takes, shorter than customers are.
            WarningRule::WaitingLong => (Critical, 5 * MINUTE_MS, 30 * SECOND_MS, Limit::None),
            // Short work under a lock without expiry is common, and over before anybody could act.
            WarningRule::NoExpiry => (Warning, 10 * MINUTE_MS, 5 * SECOND_MS, Limit::None),
            // A beat counts as missed after half a period more; this is for a process that is being restarted.
            WarningRule::RenewalStopped => (Critical, 10 * SECOND_MS, 10 * SECOND_MS, Limit::None),
            // Seen on each hold anew: between two holds it is not over.
            WarningRule::LeaseBelowUsual => (Warning, 0, 10 * MINUTE_MS, Limit::None),
            WarningRule::Lapsed => (Warning, 0, 10 * MINUTE_MS, Limit::None),
            // Far beyond what one unit of work needs: somebody takes and does not let go.
            WarningRule::ManyLocks => (Warning, MINUTE_MS, MINUTE_MS, Limit::Locks(1_000)),
            // A hand-over takes milliseconds.
            WarningRule::QueueWithoutHolder => (Critical, 30 * SECOND_MS, 10 * SECOND_MS, Limit::None),
            // It is seen in samples, the next of which may be some time away.
            WarningRule::PollStorm => (Warning, 0, 2 * MINUTE_MS, Limit::None),
            WarningRule::Evictable => (Warning, MINUTE_MS, MINUTE_MS, Limit::None),
            // It happens and is over; it is told for as long as somebody may wonder.
            WarningRule::ReleasedByForce => (Info, 0, 15 * MINUTE_MS, Limit::None),
        };
        Setting { severity, for_ms, clear_ms, limit }
    }

    /// When it warns, in one sentence.
    #[must_use]
    pub fn says(&self, rule: WarningRule) -> String {
        let time = words::duration(self.for_ms);
        let lasts = if self.for_ms == 0 { String::new() } else { format!(" for {time}") };
        match (rule, self.limit) {
            (WarningRule::HeldLong, Limit::Renewed(false)) => {
                format!("one holder that does not renew has had it for {time}")
            }
            (WarningRule::HeldLong, _) => format!("one holder has had it for {time}"),
            (WarningRule::HeldUnusually, Limit::Times(times)) => format!(
                "one holder has had it for {times} times as long as 99 % of its holds lasted, and for at least {time}; \
                 needs {MIN_HOLDS} holds to compare with"
            ),
            (WarningRule::HeldUnusually, _) => format!("one holder has had it unusually long, at least {time}"),
            (WarningRule::WaitingLong, _) => format!("somebody has been waiting{lasts} and has not got it"),
            (WarningRule::NoExpiry, _) => format!("it has been held without an expiry{lasts}"),
            (WarningRule::RenewalStopped, _) => format!("regular renewals have been overdue{lasts}, and it is held"),
            (WarningRule::LeaseBelowUsual, _) => format!(
                "its lease is shorter than 99 % of its holds lasted, and it is not renewed; needs {MIN_HOLDS} holds to \
                 compare with"
            ),
            (WarningRule::Lapsed, _) => {
                "its lease ran out before it was let go and another took it at once, more than once in a row".to_owned()
            }
            (WarningRule::ManyLocks, Limit::Locks(locks)) => {
                format!("one holder has had more than {} locks{lasts}", words::count(locks.into()))
            }
            (WarningRule::ManyLocks, _) => "one holder has too many locks".to_owned(),
            (WarningRule::QueueWithoutHolder, _) => format!("somebody has been queueing{lasts} while nobody holds it"),
            (WarningRule::PollStorm, _) => {
                "a trace showed those who wait for it trying hundreds of times a second".to_owned()
            }
            (WarningRule::Evictable, _) => {
                format!("the store has been set up{lasts} to drop keys that locks are among when its memory is full")
            }
            (WarningRule::ReleasedByForce, _) => "it was released from Lockkeeper".to_owned(),
        }
    }
}

/// How a rule is applied to some locks, in place of the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Which rule.
    pub rule: WarningRule,
    /// A Redis glob for the names of sources; `None`: all.
    pub source: Option<String>,
    /// A Redis glob for the keys of locks; `None`: all.
    pub pattern: Option<String>,
    /// How; `None`: not at all.
    pub setting: Option<Setting>,
}

impl Override {
    fn has(&self, source: &str, key: Option<&[u8]>) -> bool {
        self.source.as_ref().is_none_or(|glob| glob::matches(glob.as_bytes(), source.as_bytes()))
            && match (&self.pattern, key) {
                (None, _) => true,
                (Some(glob), Some(key)) => glob::matches(glob.as_bytes(), key),
                (Some(_), None) => false,
            }
    }
}

/// All rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For each rule what applies first, in the order of the configuration.
    overrides: Vec<Vec<Override>>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::new(Vec::new())
    }
}

impl Rules {
    /// The defaults with these before them: the first that fits a lock counts.
    #[must_use]
    pub fn new(overrides: Vec<Override>) -> Rules {
        let mut by_rule = vec![Vec::new(); WarningRule::ALL.len()];
        for one in overrides {
            by_rule[one.rule as usize].push(one);
        }
        Rules { overrides: by_rule }
    }

    /// How a rule is applied to a lock, or, without a key, to the source as a whole; `None`: not at all.
    #[must_use]
    pub fn of(&self, rule: WarningRule, source: &str, key: Option<&[u8]>) -> Option<Setting> {
        let first = self.overrides.get(rule as usize).and_then(|all| all.iter().find(|one| one.has(source, key)));
        first.map_or_else(|| Some(Setting::default_of(rule)), |one| one.setting)
    }

    /// Every rule as it is in force, the more particular first.
    #[must_use]
    pub fn in_force(&self) -> Vec<RuleInForce> {
        let mut all = Vec::new();
        for rule in WarningRule::ALL {
            let says = |setting: Option<Setting>| match setting {
                Some(setting) => setting.says(rule),
                None => "switched off".to_owned(),
            };
            let here = self.overrides.get(rule as usize).into_iter().flatten();
            all.extend(here.clone().map(|one| RuleInForce {
                rule,
                source: one.source.clone(),
                pattern: one.pattern.clone(),
                severity: one.setting.map(|setting| setting.severity),
                says: says(one.setting),
            }));
            if !here.clone().any(|one| one.source.is_none() && one.pattern.is_none()) {
                let setting = Setting::default_of(rule);
                let severity = Some(setting.severity);
                all.push(RuleInForce { rule, source: None, pattern: None, severity, says: says(Some(setting)) });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source: Option<&str>, pattern: Option<&str>, for_ms: Option<i64>) -> Override {
        let setting = for_ms.map(|for_ms| Setting { for_ms, ..Setting::default_of(WarningRule::HeldLong) });
        let text = |text: Option<&str>| text.map(str::to_owned);
        Override { rule: WarningRule::HeldLong, source: text(source), pattern: text(pattern), setting }
    }

    #[test]
    fn the_first_that_fits_counts_and_without_one_the_default() {
        let rules = Rules::new(vec![
            rule(Some("ord*"), Some("lock:slow:*"), None),
            rule(Some("ord*"), None, Some(1)),
            rule(None, Some("lock:x"), Some(2)),
        ]);
        let of = |source: &str, key: &str| {
            rules.of(WarningRule::HeldLong, source, Some(key.as_bytes())).map(|setting| setting.for_ms)
        };
        assert_eq!(of("orders", "lock:slow:1"), None, "switched off");
        assert_eq!(of("orders", "lock:x"), Some(1));
        assert_eq!(of("b", "lock:x"), Some(2));
        assert_eq!(of("b", "lock:y"), Some(24 * HOUR_MS));
        assert_eq!(rules.of(WarningRule::HeldLong, "b", None).map(|setting| setting.for_ms), Some(24 * HOUR_MS));
        let said = rules.in_force();
        assert_eq!(said.iter().filter(|one| one.rule == WarningRule::HeldLong).count(), 4);
        assert_eq!(said.len(), WarningRule::ALL.len() + 3);
    }
}
