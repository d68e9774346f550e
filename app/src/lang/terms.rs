//! What the model's terms are called. A word that came over the wire and is not known here is shown as it came.

use lockkeeper_model::words::shown;
use lockkeeper_model::{Action, Certainty, Evidence, FeedKind, Flag, GroupBy, Severity, SourceState, Verdict};

use super::{duration, t};

/// Whether a holder lives.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Alive => t!(verdict_alive),
        Verdict::Quiet => t!(verdict_quiet),
        Verdict::Gone => t!(verdict_gone),
        Verdict::Unknown => t!(unknown),
    }
}

/// The same, of its word on the wire.
pub(crate) fn verdict_named(word: &str) -> &'static str {
    let known = [Verdict::Alive, Verdict::Quiet, Verdict::Gone].into_iter().find(|known| known.word() == word);
    verdict(known.unwrap_or(Verdict::Unknown))
}

/// One thing that a verdict rests on, without a full stop.
pub(crate) fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::ConnectionClosed { name, ago_ms } => {
            t!(evidence_connection_closed, shown(name), duration(*ago_ms))
        }
        Evidence::ConnectionOpen { name, addr, ago_ms } => {
            let addr = addr.as_ref().map(|addr| format!(" ({})", shown(addr))).unwrap_or_default();
            t!(evidence_connection_open, shown(name), addr, duration(*ago_ms))
        }
        Evidence::LeaseOver { ago_ms } => t!(evidence_lease_over, duration(*ago_ms)),
        Evidence::NotRenewed { watched_ms: Some(watched) } => t!(evidence_not_renewed, duration(*watched)),
        Evidence::NotRenewed { watched_ms: None } => t!(evidence_never_renewed).to_owned(),
        Evidence::InRhythm { ago_ms, period_ms } => t!(evidence_in_rhythm, duration(*ago_ms), duration(*period_ms)),
        Evidence::Missed { beats, period_ms, ago_ms } => {
            t!(evidence_missed, beats, duration(*period_ms), duration(*ago_ms))
        }
        Evidence::RenewedOnce { ago_ms } => t!(evidence_renewed_once, duration(*ago_ms)),
    }
}

/// Whether what is shown of a source is what is.
pub(crate) fn source_state(state: SourceState) -> &'static str {
    match state {
        SourceState::Live => t!(live),
        SourceState::Scanning => t!(source_scanning),
        SourceState::Degraded => t!(degraded),
        SourceState::Down => t!(down),
    }
}

/// What locks are put together by.
pub(crate) fn group_named(by: GroupBy) -> &'static str {
    match by {
        GroupBy::Holder => t!(by_holder),
        GroupBy::Prefix => t!(by_prefix),
        GroupBy::Dialect => t!(by_dialect),
    }
}

/// How changes are learned.
pub(crate) fn feed(feed: FeedKind) -> &'static str {
    match feed {
        FeedKind::Tracking => t!(feed_tracking),
        FeedKind::Notifications => t!(feed_notifications),
        FeedKind::Polling => t!(feed_polling),
    }
}

/// How sure it is what a lock's form means.
pub(crate) fn certainty(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => t!(certainty_certain),
        Certainty::Likely => t!(certainty_likely),
        Certainty::Ambiguous => t!(certainty_ambiguous),
        Certainty::Configured => t!(certainty_configured),
    }
}

/// How a number of waiters is known.
pub(crate) fn basis_named(word: &str) -> String {
    match word {
        "exact" => t!(exact).to_owned(),
        "inferred" => t!(inferred).to_owned(),
        "sampled" => t!(sampled).to_owned(),
        "reported" => t!(reported).to_owned(),
        "unknown" => t!(unknown).to_owned(),
        other => shown(other),
    }
}

/// What is done to a lock from here.
pub(crate) fn action(action: Action) -> &'static str {
    match action {
        Action::Release => t!(action_release),
        Action::EvictWaiter => t!(action_evict_waiter),
        Action::ReleaseAndHold => t!(action_release_and_hold),
        Action::ExtendHold => t!(action_extend_hold),
        Action::PutBack => t!(action_put_back),
        Action::RaiseFence => t!(action_raise_fence),
    }
}

/// The same, of its word in the audit.
pub(crate) fn action_named(word: &str) -> String {
    let known = Action::ALL.into_iter().find(|known| known.word() == word);
    known.map_or_else(|| shown(&word.replace('_', " ")), |known| action(known).to_owned())
}

/// What came of it, of its word in the audit.
pub(crate) fn outcome_named(word: &str) -> String {
    match word {
        "released" => t!(released).to_owned(),
        "held" => t!(released_and_held).to_owned(),
        "extended" => t!(extended).to_owned(),
        "put_back" => t!(put_back).to_owned(),
        "raised" => t!(raised).to_owned(),
        "changed_hands" => t!(changed_hands).to_owned(),
        "gone" => t!(outcome_gone).to_owned(),
        "partial" => t!(released_in_part).to_owned(),
        "signalled" => t!(not_finished).to_owned(),
        "refused" => t!(refused).to_owned(),
        "failed" => t!(not_tried).to_owned(),
        "unknown" => t!(without_an_answer).to_owned(),
        other => shown(&other.replace('_', " ")),
    }
}

/// How bad a warning is.
pub(crate) fn severity_named(word: &str) -> String {
    match Severity::of_word(word) {
        Some(Severity::Info) => t!(severity_info).to_owned(),
        Some(Severity::Warning) => t!(severity_warning).to_owned(),
        Some(Severity::Critical) => t!(severity_critical).to_owned(),
        None => shown(word),
    }
}

/// How a warning stands.
pub(crate) fn warning_state_named(word: &str) -> String {
    match word {
        "open" => t!(warning_open).to_owned(),
        "acknowledged" => t!(warning_acknowledged).to_owned(),
        "muted" => t!(warning_muted).to_owned(),
        "resolved" => t!(warning_resolved).to_owned(),
        other => shown(other),
    }
}

/// What is dangerous about a lock.
pub(crate) fn flag(flag: Flag) -> &'static str {
    match flag {
        Flag::NoExpiry => t!(flag_no_expiry),
        Flag::ExpiryLost => t!(flag_expiry_lost),
        Flag::NoOwner => t!(flag_no_owner),
        Flag::SharedToken => t!(flag_shared_token),
        Flag::DeadlineAsValue => t!(flag_deadline_as_value),
        Flag::UnsafeUnlock => t!(flag_unsafe_unlock),
        Flag::ComesBack => t!(flag_comes_back),
        Flag::RenewalStopped => t!(flag_renewal_stopped),
        Flag::LongLease => t!(flag_long_lease),
        Flag::LeaseTooShort => t!(flag_lease_too_short),
        Flag::HeldWhileWaiting => t!(flag_held_while_waiting),
        Flag::QueueWithoutHolder => t!(flag_queue_without_holder),
        Flag::DeadMember => t!(flag_dead_member),
        Flag::WriterWaiting => t!(flag_writer_waiting),
        Flag::KeptAfterWork => t!(flag_kept_after_work),
        Flag::HalfLock => t!(flag_half_lock),
        Flag::PollStorm => t!(flag_poll_storm),
        Flag::Evictable => t!(flag_evictable),
        Flag::Replicated => t!(flag_replicated),
        Flag::FailedOver => t!(flag_failed_over),
        Flag::Unrecognised => t!(flag_unrecognised),
        Flag::LeaseOver => t!(flag_lease_over),
        Flag::CameBack => t!(flag_came_back),
        Flag::ReleaseLost => t!(flag_release_lost),
        Flag::Stale => t!(flag_stale),
    }
}
