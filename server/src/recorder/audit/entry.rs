//! What an entry says, and how it is bound to the one before.

use lockkeeper_model::{Action, Actor, AuditEntry, AuditKind, Outcome, words};
use sha2::{Digest as _, Sha256};

use crate::clock;

/// What stands in the first entry for the hash of the one before.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest name of a source, a lock or a person that is written whole, in bytes. Redis allows keys of half a gigabyte,
/// which nobody could read; a longer one is cut and says so.
pub(super) const MAX_NAME_BYTES: usize = 2_048;

/// The longest reason and the longest sentence, in bytes: four for each character that a reason may have.
const MAX_TEXT_BYTES: usize = 2_048;

/// Hexadecimal digits that name a ticket: more than enough to tell those of one audit apart.
const TICKET_DIGITS: usize = 16;

/// What somebody asked for, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    actor: Actor,
    action: Option<String>,
    source: Option<String>,
    lock: Option<String>,
    generation: Option<String>,
    token: Option<String>,
    token_sha256: Option<String>,
    ticket: Option<String>,
    reason: Option<String>,
}

impl Deed {
    /// Something that this person asked for.
    #[must_use]
    pub fn by(actor: &Actor) -> Deed {
        let actor = Actor {
            name: bounded(&actor.name, MAX_NAME_BYTES),
            via: bounded(&actor.via, MAX_NAME_BYTES),
            address: actor.address.as_deref().map(|address| bounded(address, MAX_NAME_BYTES)),
        };
        Deed {
            actor,
            action: None,
            source: None,
            lock: None,
            generation: None,
            token: None,
            token_sha256: None,
            ticket: None,
            reason: None,
        }
    }

    /// What is to be done.
    #[must_use]
    pub fn action(mut self, action: Action) -> Deed {
        self.action = Some(action.word().to_owned());
        self
    }

    /// With which lock, as it was when it was looked at.
    #[must_use]
    pub fn lock(mut self, source: &str, id: &str, generation: &str) -> Deed {
        self.source = Some(bounded(source, MAX_NAME_BYTES));
        self.lock = Some(lock_name(id));
        self.generation = Some(bounded(generation, MAX_NAME_BYTES));
        self
    }

    /// Whose hold is to end. A token is a secret: with it, any client can let go of the lock in the holder's name. So what
    /// is kept are its ends, for the eye, and its hash, by which it is recognised when it is met again.
    #[must_use]
    pub fn token(mut self, token: &[u8]) -> Deed {
        let (text, b64) = lockkeeper_model::encode_token(token);
        self.token = Some(words::short_token(&text.unwrap_or(b64)));
        self.token_sha256 = Some(token_sha256(token));
        self
    }

    /// With which ticket.
    #[must_use]
    pub fn ticket(mut self, ticket: &str) -> Deed {
        self.ticket = (!ticket.is_empty()).then(|| hex(&Sha256::digest(ticket))[..TICKET_DIGITS].to_owned());
        self
    }

    /// Why.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Deed {
        self.reason = (!reason.trim().is_empty()).then(|| bounded(reason.trim(), MAX_TEXT_BYTES));
        self
    }

    /// The deed that an earlier entry tells of.
    pub(super) fn of(entry: AuditEntry) -> Deed {
        Deed {
            actor: entry.actor,
            action: entry.action,
            source: entry.source,
            lock: entry.lock,
            generation: entry.generation,
            token: entry.token,
            token_sha256: entry.token_sha256,
            ticket: entry.ticket,
            reason: entry.reason,
        }
    }

    /// An entry about it, of now and still without a place in the chain.
    pub(super) fn entry(&self, kind: AuditKind, attempt: Option<u64>, detail: &str) -> AuditEntry {
        let deed = self.clone();
        AuditEntry {
            seq: 0,
            at: clock::now(),
            kind,
            attempt,
            actor: deed.actor,
            action: deed.action,
            source: deed.source,
            lock: deed.lock,
            generation: deed.generation,
            token: deed.token,
            token_sha256: deed.token_sha256,
            ticket: deed.ticket,
            reason: deed.reason,
            outcome: None,
            seen: None,
            detail: bounded(detail, MAX_TEXT_BYTES),
            previous: String::new(),
            hash: String::new(),
        }
    }
}

/// An entry with its place in the chain, and the bytes that its hash is of.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) entry: AuditEntry,
    pub(super) body: String,
}

/// Gives an entry its place after the one that has this hash.
pub(super) fn seal(mut entry: AuditEntry, seq: u64, previous: &str) -> Result<Sealed, serde_json::Error> {
    entry.seq = seq;
    previous.clone_into(&mut entry.previous);
    // An empty hash is left out, so this is everything else.
    entry.hash.clear();
    let body = serde_json::to_string(&entry)?;
    entry.hash = hash(body.as_bytes());
    Ok(Sealed { entry, body })
}

/// The hash of an entry's stored bytes.
pub(super) fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// By which a token is recognised.
#[must_use]
pub fn token_sha256(token: &[u8]) -> String {
    hex(&Sha256::digest(token))
}

/// A lock's id as the audit has it.
pub(super) fn lock_name(id: &str) -> String {
    bounded(id, MAX_NAME_BYTES)
}

/// Whether the audit has only the beginning of this name.
#[must_use]
pub fn is_cut(name: &str) -> bool {
    // What was cut says by how much, which makes it longer than anything that was not.
    name.len() > MAX_NAME_BYTES
}

/// The audit's word for what came of an attempt.
#[must_use]
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Released => "released",
        Outcome::WouldRelease => "would_release",
        Outcome::Held => "held",
        Outcome::Extended => "extended",
        Outcome::PutBack => "put_back",
        Outcome::Raised => "raised",
        Outcome::ChangedHands => "changed_hands",
        Outcome::Gone => "gone",
        Outcome::Partial => "partial",
        Outcome::Signalled => "signalled",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
    }
}

/// What fits of a stranger's text, and how much does not.
fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}… (+{} bytes)", &text[..end], text.len() - end)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_and_not_given_away() {
        let token = b"0f8e41c29a7d4be3b6d0a54f1c2e9d77";
        let deed = Deed::by(&Actor::anonymous(None)).token(token);
        let body = serde_json::to_string(&deed.entry(AuditKind::Intention, None, "x")).unwrap();
        assert!(body.contains(r#""token":"0f8e41…9d77""#), "{body}");
        assert!(body.contains(&token_sha256(token)) && !body.contains("0f8e41c29a7d"), "{body}");
    }

    #[test]
    fn what_strangers_send_is_bounded() {
        let long = "é".repeat(100_000);
        let actor = Actor { name: long.clone(), via: long.clone(), address: Some(long.clone()) };
        let deed = Deed::by(&actor).lock(&long, &long, &long).reason(&long).ticket(&long).token(long.as_bytes());
        let body = serde_json::to_string(&deed.entry(AuditKind::Refusal, None, &long)).unwrap();
        assert!(body.len() < 10 * MAX_NAME_BYTES, "{}", body.len());
        assert!(body.contains("é… (+197952 bytes)"), "{body}");
    }

    #[test]
    fn the_hash_is_of_everything_but_itself() {
        let entry = Deed::by(&Actor::server()).entry(AuditKind::Refusal, None, "x");
        let sealed = seal(entry, 1, GENESIS).unwrap();
        let whole = serde_json::to_string(&sealed.entry).unwrap();
        let (body, rest) = whole.rsplit_once(",\"hash\":").unwrap();
        assert_eq!(format!("{body}}}"), sealed.body);
        assert_eq!(rest, format!("\"{}\"}}", hash(sealed.body.as_bytes())));
    }
}
