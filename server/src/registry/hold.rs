//! The rules for one hold: when it began, when its lease ends, and what a later look at the same token says of both.

use bytes::Bytes;
use lockkeeper_model::{Basis, Time, TransitionKind};

use super::history::Cause;
use super::record::{Hold, NEVER, UNKNOWN_MS, width};
use crate::source::{self, DialectTraits, HoldExtra, Sight};

/// Two readings of one deadline may differ by this much without a renewal, in milliseconds: rounding on both sides and
/// the moment between a reading's two commands.
const CLOCK_JITTER_MS: i64 = 15;

/// …and by this share of the time between them: clocks of two machines that are being slewed run apart by up to one
/// part in a thousand.
const CLOCK_DRIFT_DIVISOR: i64 = 1_000;

/// Renewals this much closer together than the known rhythm are a second renewal of the same beat (a retry, or two
/// threads) and do not change the rhythm.
const SAME_BEAT: f64 = 0.2;

/// Weight of the newest interval in the learned rhythm: it follows a change of rhythm within a few beats and is not
/// thrown by a single late one.
const NEW_BEAT_WEIGHT: f64 = 0.3;

/// When a hold began, as far as known.
#[derive(Clone, Copy)]
pub(super) struct Since {
    pub(super) basis: Basis,
    pub(super) min: i64,
    pub(super) max: i64,
}

/// By how much two readings of one deadline may differ, in milliseconds.
fn differ_ms(sight: &Sight, looked_before: Time) -> i64 {
    CLOCK_JITTER_MS + sight.read_at.since(looked_before) / CLOCK_DRIFT_DIVISOR
}

/// How much earlier than it is told a lease may end, in milliseconds.
fn early_ms(extra: &Option<Box<HoldExtra>>) -> i64 {
    extra.as_ref().map_or(0, |extra| i64::from(extra.ends_early_ms))
}

/// The bounds of the lease's end: the store counted its TTL at some moment between asking and reading.
fn lease_bounds(hold: &source::Hold, sight: &Sight) -> (i64, i64) {
    let early = early_ms(&hold.extra);
    match hold.ttl_ms {
        // PTTL rounds; one millisecond on the late side keeps the upper bound an upper bound.
        Some(ttl) => {
            (sight.asked_at.0.saturating_add(ttl - early), sight.read_at.0.saturating_add(ttl).saturating_add(1))
        }
        None => (NEVER, NEVER),
    }
}

/// A hold that was not known, with the generation by which it is told from every other.
pub(super) fn new_hold(
    hold: &source::Hold,
    sight: &Sight,
    mut since: Since,
    generation: u64,
    traits: &'static DialectTraits,
) -> Hold {
    let (min, max) = lease_bounds(hold, sight);
    let told = hold.extra.as_ref().and_then(|extra| extra.taken_at).or_else(|| (traits.taken_at)(&hold.token));
    // What was watched is better known than what is written down by its holder's clock.
    if since.basis == Basis::FirstSeen
        && let Some(at) = told.filter(|at| at.0 <= since.max)
    {
        since = Since { basis: Basis::Reported, min: at.0, max: at.0 };
    }
    Hold {
        token: hold.token.clone(),
        count: hold.count,
        basis: since.basis,
        since: since.max,
        since_before_ms: if since.min == i64::MIN { UNKNOWN_MS } else { width(since.max - since.min) },
        expires: max,
        expires_before_ms: width(max - min),
        lease_ms: hold.ttl_ms.map_or(0, width),
        renewals: 0,
        renewed_at: 0,
        period_ms: 0,
        generation,
        extra: hold.extra.clone(),
    }
}

/// The same token at a later look that cannot be compared with the one before.
pub(super) fn adopt(kept: &mut Hold, seen: &source::Hold, sight: &Sight) {
    let (min, max) = lease_bounds(seen, sight);
    kept.count = seen.count;
    kept.extra.clone_from(&seen.extra);
    kept.expires = max;
    kept.expires_before_ms = if max == NEVER { 0 } else { width(max - min) };
}

/// What a later look at the same token says of the lease, if it is another one.
fn lease_change(
    known: &Hold,
    seen: &source::Hold,
    sight: &Sight,
    looked_before: Time,
) -> Option<(TransitionKind, Cause)> {
    let (min, max) = lease_bounds(seen, sight);
    let drift = differ_ms(sight, looked_before);
    let (known_min, known_max) = (known.expires_min(), known.expires);
    if min == NEVER && known_max == NEVER {
        None
    } else if min == NEVER {
        Some((TransitionKind::LeaseChanged, Cause::ExpiryRemoved))
    } else if known_max == NEVER {
        Some((TransitionKind::LeaseChanged, Cause::ExpirySet))
    } else if min > known_max.saturating_add(drift) {
        Some((TransitionKind::Renewed, Cause::Seen))
    } else if max < known_min.saturating_sub(drift) {
        Some((TransitionKind::LeaseChanged, Cause::ExpiryCut))
    } else {
        None
    }
}

/// A notice may arrive so much later than a reading that has seen what it is about, in milliseconds: they come on different
/// connections, and the machine may be busy.
const LATE_MS: i64 = 1_000;

/// Ends of a lease that are further apart than this, in milliseconds, are of two acquires: both readings round.
const SAME_END_MS: i64 = 2;

/// Whether the store's word that the key is new is of the acquire by which this hold was first seen: it comes shortly after, and
/// the lease ends at the same moment. In doubt it is of another one, which a ticket for this hold does not free.
pub(super) fn is_late_news(known: &Hold, seen: &source::Hold, sight: &Sight, looked_before: Time) -> bool {
    let noticed_at = sight.noticed_at.unwrap_or(sight.read_at);
    let (min, max) = lease_bounds(seen, sight);
    // An end that is told early is known by that much less.
    let early = early_ms(&known.extra).max(early_ms(&seen.extra));
    let drift = sight.read_at.since(looked_before) / CLOCK_DRIFT_DIVISOR;
    let apart = SAME_END_MS.saturating_add(early).saturating_add(drift);
    // Who enters once more, or comes to others, puts the end off.
    let shares_lease = seen.extra.as_ref().is_some_and(|extra| extra.shares_lease);
    let put_off = if shares_lease || seen.count > known.count { CLOCK_JITTER_MS } else { 0 };
    seen.ttl_ms.is_some()
        && known.expires != NEVER
        && known.renewals == 0
        && noticed_at.since(Time(known.since)) <= LATE_MS
        && min <= known.expires.saturating_add(apart + put_off)
        && known.expires_min() <= max.saturating_add(apart)
}

/// The same token at a later look: what happened, if anything.
pub(super) fn update(
    kept: &mut Hold,
    seen: &source::Hold,
    sight: &Sight,
    at: Time,
    looked_before: Time,
) -> Option<(TransitionKind, Cause)> {
    let re_entered = kept.count != seen.count;
    kept.count = seen.count;
    let wider = early_ms(&seen.extra).saturating_sub(early_ms(&kept.extra)).max(0);
    if kept.extra != seen.extra {
        kept.extra.clone_from(&seen.extra);
    }
    let (min, max) = lease_bounds(seen, sight);
    let (known_min, known_max) = (kept.expires_min(), kept.expires);
    let lease = lease_change(kept, seen, sight, looked_before);
    let is_same = lease.is_none();
    let shares_lease = seen.extra.as_ref().is_some_and(|extra| extra.shares_lease);
    let same_end = seen.extra.as_ref().is_some_and(|extra| extra.same_end);
    let lease = lease.filter(|_| !same_end).filter(|(kind, _)| !(shares_lease && *kind == TransitionKind::Renewed));
    // Nothing new: two readings of one deadline that meet narrow it down, so that a reading that was slow hides no acquire
    // that came meanwhile. A key that moves to another node, or one more that is known to be of the lock, ends a little later.
    let meet = min <= known_max && known_min <= max;
    let later = known_max.saturating_add(differ_ms(sight, looked_before) + wider);
    let max = if is_same { max.min(later) } else { max };
    let min = if lease.is_none() && meet { min.max(known_min) } else { min };
    kept.expires = max;
    kept.expires_before_ms = width(max.saturating_sub(min));
    if lease.is_some() {
        kept.lease_ms = seen.ttl_ms.map_or(0, width);
    }
    if re_entered {
        return Some((TransitionKind::ReEntered, Cause::Seen));
    }
    if let Some((TransitionKind::Renewed, _)) = lease {
        learn_rhythm(kept, at);
    }
    lease
}

/// What tells one acquire with a token from another, where that is stored.
pub(super) fn stamp(extra: &Option<Box<HoldExtra>>) -> Option<&Bytes> {
    extra.as_ref()?.stamp.as_ref()
}

/// Learns from a renewal how far apart they are.
pub(super) fn learn_rhythm(hold: &mut Hold, at: Time) {
    if hold.renewals > 0 {
        let interval = at.since(Time(hold.renewed_at)) as f64;
        let period = f64::from(hold.period_ms);
        if hold.period_ms == 0 {
            hold.period_ms = interval as u32;
        } else if interval > period * SAME_BEAT {
            hold.period_ms = (period + (interval - period) * NEW_BEAT_WEIGHT) as u32;
        }
    }
    hold.renewals = hold.renewals.saturating_add(1);
    hold.renewed_at = at.0;
}
