//! What happened, in the words of the contract: a lock's timeline and the events of the log.

use lockkeeper_model::words::RELEASE_LOST;
use lockkeeper_model::{Basis, Event, LockId, Time, TransitionKind, encode_token, words};

use super::Registry;
use super::history::{Cause, Entry, LoggedEvent, Ring};
use super::record::{Hold, Record};

/// The cause of a transition by which a hold is there again because the store lost its release.
pub(crate) const RELEASE_LOST_CAUSE: &str = "release_lost";

impl Registry {
    /// A lock's transitions, newest first, with the gaps of its source, and whether older ones were let go of.
    #[must_use]
    pub fn timeline(&self, record: &Record) -> (Vec<Event>, bool) {
        let known = self.known(record.source);
        let id = LockId::of_key(&record.key);
        let ring = record.history();
        let mut events: Vec<Event> = ring
            .into_iter()
            .flat_map(|ring| ring.newest_first())
            .map(|entry| self.as_event(&known.name, Some(&id), entry, None))
            .collect();
        let cut = ring.is_some_and(|ring| ring.cut);
        // Nothing has happened to it since: then its beginning is not among what happened.
        let begins_anew = ring.is_none_or(Ring::begins_anew);
        let met = record.holds.iter().filter(|hold| begins_anew && hold.basis == Basis::FirstSeen);
        let met: Vec<&Hold> = met.collect();
        for hold in met {
            let mut first = self.as_event(&known.name, Some(&id), &Entry::first_seen(hold), None);
            first.id = format!("first-{}", self.generation(hold.generation));
            events.push(first);
        }
        let oldest = events.iter().map(|event| event.first_at.unwrap_or(event.at)).min();
        for (i, (at, because)) in known.gaps.iter().enumerate() {
            if oldest.is_some_and(|oldest| *at >= oldest) {
                events.push(gap_event(&known.name, *at, because, format!("gap-{i}-{}", at.0)));
            }
        }
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        (events, cut)
    }

    /// An event of the log.
    #[must_use]
    pub fn event(&self, logged: &LoggedEvent) -> Event {
        let source = self.source_name(logged.source);
        let id = logged.key.as_deref().map(LockId::of_key);
        self.as_event(source, id.as_ref(), &logged.entry, logged.because.as_deref())
    }

    fn as_event(&self, source: &str, id: Option<&LockId>, entry: &Entry, because: Option<&str>) -> Event {
        event(self.event_id(entry.seq), source, id, entry, because)
    }

    /// Names this run of the server: generations and event ids of another run mean nothing here.
    #[must_use]
    pub fn run(&self) -> String {
        format!("{:08x}", self.salt as u32)
    }

    /// An event's public name.
    #[must_use]
    pub fn event_id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.run())
    }

    /// The place of an event of this run among all, from its public name.
    #[must_use]
    pub fn event_seq(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.run())?.strip_prefix('-')?.parse().ok()
    }
}

fn gap_event(source: &str, at: Time, because: &str, id: String) -> Event {
    Event {
        id,
        at,
        transition: TransitionKind::Gap,
        source: source.to_owned(),
        lock: None,
        holder: None,
        holder_b64: None,
        previous_holder: None,
        cause: Some("gap".to_owned()),
        evidence: Some(because.to_owned()),
        held_ms: None,
        count: 1,
        first_at: None,
    }
}

/// A transition in the words of the contract, under this name.
pub(crate) fn event(name: String, source: &str, id: Option<&LockId>, entry: &Entry, because: Option<&str>) -> Event {
    if entry.kind == TransitionKind::Gap {
        return gap_event(source, entry.at, because.unwrap_or("changes may have been missed"), name);
    }
    let (holder, holder_b64) = encode_token(&entry.token);
    let (cause, evidence) = explain(entry);
    Event {
        id: name,
        at: entry.at,
        transition: entry.kind,
        source: source.to_owned(),
        lock: id.cloned(),
        holder,
        holder_b64: Some(holder_b64),
        previous_holder: entry.previous.as_ref().and_then(|token| encode_token(token).0),
        cause: Some(cause.to_owned()),
        evidence,
        held_ms: entry.held_ms,
        count: entry.count,
        first_at: (entry.count > 1).then_some(entry.first_at),
    }
}

/// Where the audit has the attempt.
fn audited(entry: &Entry) -> String {
    entry.audit.map(|seq| format!("; entry {seq} of the audit")).unwrap_or_default()
}

/// A cause as a stable word, and what the conclusion rests on.
fn explain(entry: &Entry) -> (&'static str, Option<String>) {
    let after = entry.held_ms.map(|ms| format!(" after {}", words::duration(ms))).unwrap_or_default();
    match entry.cause {
        Cause::Seen => ("seen", None),
        Cause::Deadline => ("deadline", Some(format!("its deadline had passed{after}"))),
        Cause::Announced => match entry.kind {
            TransitionKind::Expired => ("deadline", Some("Redis announced that its time ran out".to_owned())),
            TransitionKind::Evicted => ("memory", Some("Redis announced that it dropped the key".to_owned())),
            _ => ("deleted", Some(format!("Redis announced a delete{after}; by its holder or by force"))),
        },
        Cause::BeforeDeadline => {
            ("deleted", Some(format!("gone before its deadline{after}: let go by its holder or deleted")))
        }
        Cause::NoDeadline => {
            ("deleted", Some(format!("gone without a deadline{after}: let go by its holder or deleted")))
        }
        Cause::BetweenLooks => ("between_looks", Some("another holder was there at the next look".to_owned())),
        Cause::Release => ("release", Some(format!("released from Lockkeeper{after}{}", audited(entry)))),
        Cause::ReleaseLost => (RELEASE_LOST_CAUSE, Some(format!("{RELEASE_LOST}{}", audited(entry)))),
        Cause::CameBack => {
            ("came_back", Some("the token that was released is back: its owner took the lock again".to_owned()))
        }
        Cause::PutBack => {
            ("put_back", Some(format!("given back from Lockkeeper to the holder from whom it was released{after}")))
        }
        Cause::FoundByScan => ("scan", Some("found by a scan, not as it happened".to_owned())),
        Cause::Unwatched => ("unwatched", Some("it happened while changes were not watched".to_owned())),
        Cause::MaybeNotCopied => (
            "maybe_not_copied",
            Some("another server took over and may not have copied it; its holder works on".to_owned()),
        ),
        Cause::TakenAnew => ("taken_anew", Some("Redis shows that it was taken anew under the same token".to_owned())),
        Cause::ExpiryRemoved => ("expiry_removed", Some("it had an expiry and has none now".to_owned())),
        Cause::ExpirySet => ("expiry_set", Some("it had no expiry and has one now".to_owned())),
        Cause::RenewedOrTakenAnew => (
            "renewed_or_taken_anew",
            Some("its deadline was pushed out; its value names nobody, so it may be another holder's now".to_owned()),
        ),
        Cause::ExpiryCut => ("expiry_cut", Some("its deadline was moved closer".to_owned())),
        Cause::NoLongerWatched => (
            "no_longer_watched",
            Some("by the rules that count now it is no lock of its own; what becomes of it is not known".to_owned()),
        ),
        Cause::QuorumLost => {
            ("quorum_lost", Some(format!("fewer than a majority of its masters have its token any more{after}")))
        }
    }
}
