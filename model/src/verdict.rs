use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Renewals, Time, words};

/// Whether a holder lives, as far as the evidence goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did something that only a living holder does, within its own rhythm.
    Alive,
    /// It used to renew and is overdue.
    Quiet,
    /// It is proven to be away.
    Gone,
    /// Nothing tells.
    Unknown,
}

impl Verdict {
    /// The word on the screen and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Alive => "alive",
            Verdict::Quiet => "quiet",
            Verdict::Gone => "gone",
            Verdict::Unknown => "unknown",
        }
    }
}

/// A beat counts as missed when this share of a period has passed beyond the moment it was due. Libraries renew from
/// timers that drift under load; half a period keeps a busy but living holder from being called quiet.
const GRACE_OF_PERIOD: f64 = 0.5;

/// Without a rhythm, one renewal speaks for its holder as long as this share of the lease that it bought.
const ONE_RENEWAL_SPEAKS_FOR: f64 = 0.5;

/// What is known of the connection of a holder, where its token or identity names one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Connection {
    /// The name that the connection gave itself, by which it was matched.
    pub name: String,
    /// Its network address, while it is open.
    pub addr: Option<String>,
    /// When it last sent a command, while it is open.
    pub spoke_at: Option<Time>,
    /// Since when no connection of that name has been open.
    pub closed_at: Option<Time>,
}

/// An open connection speaks for its holder if it sent a command within this time, in milliseconds: most clients ping
/// or work at least once a minute.
const SPEAKS_FOR_MS: i64 = 60_000;

/// What is known of one hold, for [`judge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// The renewals so far; `missed` is ignored, it is what this module finds out.
    pub renewals: Renewals,
    /// The lease's length when it was last granted.
    pub lease_ms: Option<i64>,
    /// The lease's end.
    pub expires_at: Option<Time>,
    /// Since when the hold has been watched.
    pub watched_since: Option<Time>,
    /// Its holder's connection, where one is known.
    pub connection: Option<Connection>,
}

/// How many beats are overdue at `now`; `None` without a rhythm.
#[must_use]
pub fn missed_beats(renewals: &Renewals, now: Time) -> Option<u32> {
    let (last, period) = (renewals.last_at?, renewals.period_ms?);
    if period <= 0 {
        return None;
    }
    let overdue = now.since(last) as f64 / period as f64 - GRACE_OF_PERIOD;
    Some(if overdue < 1.0 { 0 } else { overdue.min(f64::from(u32::MAX)) as u32 })
}

/// One thing that a verdict rests on. Displayed it is English without a full stop; whoever shows it in another language
/// makes it from these parts. Durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The connection by which the holder is known closed and has not come back.
    ConnectionClosed {
        /// The name that it gave itself.
        name: String,
        /// How long ago that was.
        ago_ms: i64,
    },
    /// That connection is open.
    ConnectionOpen {
        /// The name that it gave itself.
        name: String,
        /// Its network address.
        addr: Option<String>,
        /// How long ago it sent a command.
        ago_ms: i64,
    },
    /// The lease is over, and the store has not confirmed it.
    LeaseOver {
        /// For how long.
        ago_ms: i64,
    },
    /// No renewal was seen.
    NotRenewed {
        /// For how long it was looked; `None` where that is not known.
        watched_ms: Option<i64>,
    },
    /// It renews as it always did.
    InRhythm {
        /// How long ago it last did.
        ago_ms: i64,
        /// How often it does.
        period_ms: i64,
    },
    /// It used to renew and is overdue.
    Missed {
        /// By so many beats.
        beats: u32,
        /// How often it did.
        period_ms: i64,
        /// How long ago it last did.
        ago_ms: i64,
    },
    /// It renewed once, which is no rhythm.
    RenewedOnce {
        /// How long ago.
        ago_ms: i64,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = words::duration;
        match self {
            Evidence::ConnectionClosed { name, ago_ms } => {
                let name = words::shown(name);
                write!(f, "its connection `{name}` closed {} ago and has not come back", said(*ago_ms))
            }
            Evidence::ConnectionOpen { name, addr, ago_ms } => {
                let name = words::shown(name);
                let addr = addr.as_deref().map(|addr| format!(" ({})", words::shown(addr))).unwrap_or_default();
                write!(f, "its connection `{name}`{addr} is open and spoke {} ago", said(*ago_ms))
            }
            Evidence::LeaseOver { ago_ms } => {
                write!(f, "its lease ended {} ago; the store has not confirmed it yet", said(*ago_ms))
            }
            Evidence::NotRenewed { watched_ms: Some(watched) } => {
                write!(f, "no renewal in the {} that it was watched", said(*watched))
            }
            Evidence::NotRenewed { watched_ms: None } => f.write_str("no renewal was seen"),
            Evidence::InRhythm { ago_ms, period_ms } => {
                write!(f, "renewed {} ago, every {}", said(*ago_ms), said(*period_ms))
            }
            Evidence::Missed { beats, period_ms, ago_ms } => {
                let word = if *beats == 1 { "beat" } else { "beats" };
                write!(f, "{beats} {word} missed: renewed every {}, last {} ago", said(*period_ms), said(*ago_ms))
            }
            Evidence::RenewedOnce { ago_ms } => write!(f, "renewed once, {} ago; no rhythm known yet", said(*ago_ms)),
        }
    }
}

/// The verdict on a holder at `now`, with what it rests on. Never a bare word.
#[must_use]
pub fn judge(signs: &Signs, now: Time) -> (Verdict, Vec<Evidence>) {
    let (verdict, lease) = judge_lease(signs, now);
    let mut evidence = vec![lease];
    let Some(connection) = &signs.connection else { return (verdict, evidence) };
    let name = connection.name.clone();
    let verdict = match (connection.closed_at, connection.spoke_at) {
        (Some(closed_at), _) => {
            evidence.push(Evidence::ConnectionClosed { name, ago_ms: now.since(closed_at) });
            // Renewals can come from another connection of the same process.
            if verdict == Verdict::Alive { verdict } else { Verdict::Gone }
        }
        (None, Some(spoke_at)) => {
            let ago_ms = now.since(spoke_at);
            evidence.push(Evidence::ConnectionOpen { name, addr: connection.addr.clone(), ago_ms });
            let speaks = ago_ms <= SPEAKS_FOR_MS;
            if verdict == Verdict::Unknown && speaks { Verdict::Alive } else { verdict }
        }
        (None, None) => verdict,
    };
    (verdict, evidence)
}

fn judge_lease(signs: &Signs, now: Time) -> (Verdict, Evidence) {
    if let Some(end) = signs.expires_at
        && end < now
    {
        return (Verdict::Unknown, Evidence::LeaseOver { ago_ms: now.since(end) });
    }
    let renewals = &signs.renewals;
    let Some(last) = renewals.last_at else {
        let watched_ms = signs.watched_since.map(|since| now.since(since));
        return (Verdict::Unknown, Evidence::NotRenewed { watched_ms });
    };
    let ago_ms = now.since(last);
    match (renewals.period_ms, missed_beats(renewals, now)) {
        (Some(period_ms), Some(0)) => (Verdict::Alive, Evidence::InRhythm { ago_ms, period_ms }),
        (Some(period_ms), Some(beats)) => (Verdict::Quiet, Evidence::Missed { beats, period_ms, ago_ms }),
        _ => {
            let speaks_for = signs.lease_ms.map_or(0.0, |lease| lease as f64 * ONE_RENEWAL_SPEAKS_FOR);
            let verdict = if (ago_ms as f64) <= speaks_for { Verdict::Alive } else { Verdict::Unknown };
            (verdict, Evidence::RenewedOnce { ago_ms })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(count: u32, last_at: Option<i64>, period_ms: Option<i64>) -> Signs {
        Signs {
            renewals: Renewals { count, last_at: last_at.map(Time), period_ms, missed: None },
            lease_ms: Some(30_000),
            expires_at: Some(Time(1_000_000)),
            watched_since: Some(Time(0)),
            connection: None,
        }
    }

    #[test]
    fn a_connection_that_closed_is_gone_unless_renewals_go_on() {
        let closed =
            Connection { name: "worker-7".to_owned(), addr: None, spoke_at: None, closed_at: Some(Time(3_000)) };
        let silent = Signs { connection: Some(closed.clone()), ..signs(0, None, None) };
        let (verdict, evidence) = judge(&silent, Time(5_000));
        assert_eq!(verdict, Verdict::Gone);
        assert_eq!(evidence[1].to_string(), "its connection `worker-7` closed 2.0 s ago and has not come back");
        let beating = Signs { connection: Some(closed), ..signs(3, Some(4_000), Some(10_000)) };
        assert_eq!(judge(&beating, Time(5_000)).0, Verdict::Alive);
        let open = Connection {
            name: "worker-7".to_owned(),
            addr: Some("10.0.0.4:51234".to_owned()),
            spoke_at: Some(Time(4_000)),
            closed_at: None,
        };
        let open = Signs { connection: Some(open), ..signs(0, None, None) };
        assert_eq!(judge(&open, Time(5_000)).0, Verdict::Alive);
        assert_eq!(judge(&open, Time(65_000)).0, Verdict::Unknown);
    }

    #[test]
    fn a_holder_in_its_rhythm_is_alive_and_turns_quiet_by_time_alone() {
        let beating = signs(12, Some(100_000), Some(10_000));
        let (verdict, evidence) = judge(&beating, Time(101_200));
        assert_eq!((verdict, evidence[0].to_string().as_str()), (Verdict::Alive, "renewed 1.2 s ago, every 10.0 s"));
        assert_eq!(judge(&beating, Time(114_900)).0, Verdict::Alive);
        let (verdict, evidence) = judge(&beating, Time(115_100));
        assert_eq!(verdict, Verdict::Quiet);
        assert_eq!(evidence[0].to_string(), "1 beat missed: renewed every 10.0 s, last 15.1 s ago");
    }

    #[test]
    fn silence_is_unknown_and_never_gone() {
        assert_eq!(judge(&signs(0, None, None), Time(5_000)).0, Verdict::Unknown);
        assert_eq!(judge(&signs(1, Some(0), None), Time(15_000)).0, Verdict::Alive);
        assert_eq!(judge(&signs(1, Some(0), None), Time(15_001)).0, Verdict::Unknown);
    }

    #[test]
    fn a_lease_that_is_over_says_so_whatever_came_before() {
        let (verdict, evidence) = judge(&signs(12, Some(999_000), Some(10_000)), Time(1_000_400));
        assert_eq!(verdict, Verdict::Unknown);
        assert!(evidence[0].to_string().contains("ended 0.4 s ago"), "{evidence:?}");
    }
}
