//! A short-lived, signed permission to release exactly what was previewed.
//!
//! The ticket carries what it is bound to, so the server remembers only the tickets that were spent. The key is drawn
//! at the start and kept nowhere: a restart voids every ticket.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use lockkeeper_model::{Action, Actor, Mode, Time};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// A minute: long enough to read the warnings and type a reason, short enough that what was read still means something.
pub const TICKET_LIFE_MS: i64 = 60_000;

/// The longest ticket: a hundred locks with long keys and tokens.
pub const MAX_TICKET_BYTES: usize = 64 * 1024;

/// Tickets that may be spent within one life of a ticket. Far more than hands can do; it bounds memory.
const MAX_SPENT: usize = 4_096;

const MAC_BYTES: usize = 32;

/// One hold, or one place in a queue, that a ticket is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BoundHold {
    pub(super) source: String,
    #[serde(with = "as_base64")]
    pub(super) key: Vec<u8>,
    #[serde(with = "as_base64")]
    pub(super) token: Vec<u8>,
    pub(super) generation: String,
    pub(super) count: u32,
    /// [`crate::source::ReleaseOrder::fencing`].
    pub(super) fencing: Option<Box<str>>,
    pub(super) mode: Mode,
    /// For how long an operator is to hold it, in milliseconds, where one is to.
    pub(super) hold_ms: Option<i64>,
}

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permission {
    nonce: u128,
    /// The name of whoever previewed it, and how it was known that it is theirs.
    by: (String, String),
    pub(super) expires_at: Time,
    pub(super) action: Action,
    pub(super) confirm: String,
    pub(super) holds: Vec<BoundHold>,
}

impl Permission {
    /// The sources of its holds, each as often as it has holds.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.holds.iter().map(|hold| hold.source.as_str())
    }
}

/// Why a ticket is not honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The signature is not ours: forged, cut, or given out before a restart; or it was given to somebody else. These are
    /// not told apart.
    #[error("this run of the server did not give you this ticket")]
    Unknown,
    /// It was ours, for a minute.
    #[error("the ticket expired at {0}")]
    Expired(Time),
    /// It was good for one attempt.
    #[error("the ticket was used already")]
    Used,
    /// More attempts within a minute than the server keeps in mind.
    #[error("too many tickets were used within a minute")]
    TooMany,
    /// What it is to be bound to does not fit.
    #[error("the keys and tokens are too long for one ticket")]
    TooLong,
}

/// Gives tickets out and takes each back once.
pub(super) struct Tickets {
    signer: Hmac<Sha256>,
    /// Spent and not yet expired.
    spent: Mutex<HashMap<u128, Time>>,
    /// Used for a dry run and not yet expired.
    dry_run: Mutex<HashMap<u128, Time>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    pub(super) fn new() -> Tickets {
        let key: [u8; 64] = std::array::from_fn(|_| rand::random());
        Tickets {
            signer: <Hmac<Sha256> as hmac::digest::KeyInit>::new((&key).into()),
            spent: Mutex::default(),
            dry_run: Mutex::default(),
        }
    }

    /// A ticket for these holds that only this person can use, and when it ends.
    pub(super) fn issue(
        &self,
        actor: &Actor,
        action: Action,
        confirm: &str,
        holds: Vec<BoundHold>,
        now: Time,
    ) -> Result<(String, Time), TicketError> {
        let expires_at = now.plus(TICKET_LIFE_MS);
        let permission = Permission {
            nonce: rand::random(),
            by: person(actor),
            expires_at,
            action,
            confirm: confirm.to_owned(),
            holds,
        };
        let mut bytes = serde_json::to_vec(&permission).map_err(|_| TicketError::TooLong)?;
        let mac = self.signer.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        let ticket = URL_SAFE_NO_PAD.encode(bytes);
        if ticket.len() > MAX_TICKET_BYTES { Err(TicketError::TooLong) } else { Ok((ticket, expires_at)) }
    }

    /// What the ticket permits this person, if it is ours and theirs, in time and unspent.
    pub(super) fn check(&self, ticket: &str, actor: &Actor, now: Time) -> Result<Permission, TicketError> {
        let permission = self.read(ticket)?;
        if permission.by != person(actor) {
            return Err(TicketError::Unknown);
        }
        if self.lock_spent().contains_key(&permission.nonce) {
            return Err(TicketError::Used);
        }
        if permission.expires_at <= now {
            return Err(TicketError::Expired(permission.expires_at));
        }
        Ok(permission)
    }

    /// What the ticket says, if it is ours, whether it is still good or not. Nothing of it is parsed before the signature
    /// holds.
    pub(super) fn read(&self, ticket: &str) -> Result<Permission, TicketError> {
        if ticket.len() > MAX_TICKET_BYTES {
            return Err(TicketError::Unknown);
        }
        let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| TicketError::Unknown)?;
        let (payload, mac) =
            bytes.len().checked_sub(MAC_BYTES).map(|at| bytes.split_at(at)).ok_or(TicketError::Unknown)?;
        // Compares in constant time.
        self.signer.clone().chain_update(payload).verify_slice(mac).map_err(|_| TicketError::Unknown)?;
        serde_json::from_slice(payload).map_err(|_| TicketError::Unknown)
    }

    /// Uses the ticket up. Of two attempts with one ticket exactly one gets past here.
    pub(super) fn spend(&self, permission: &Permission, now: Time) -> Result<(), TicketError> {
        let mut spent = self.lock_spent();
        if spent.contains_key(&permission.nonce) {
            return Err(TicketError::Used);
        }
        keep(&mut spent, permission, now)
    }

    /// Remembers that somebody has seen what an attempt with this ticket would come to.
    pub(super) fn note_dry_run(&self, permission: &Permission, now: Time) -> Result<(), TicketError> {
        keep(&mut lock(&self.dry_run), permission, now)
    }

    /// Whether somebody has seen what an attempt with this ticket would come to.
    pub(super) fn had_dry_run(&self, permission: &Permission) -> bool {
        lock(&self.dry_run).contains_key(&permission.nonce)
    }

    fn lock_spent(&self) -> MutexGuard<'_, HashMap<u128, Time>> {
        lock(&self.spent)
    }
}

fn lock(tickets: &Mutex<HashMap<u128, Time>>) -> MutexGuard<'_, HashMap<u128, Time>> {
    // A panic elsewhere cannot leave a map of copies half changed.
    tickets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers one more ticket for as long as it lasts.
fn keep(tickets: &mut HashMap<u128, Time>, permission: &Permission, now: Time) -> Result<(), TicketError> {
    tickets.retain(|_, expires_at| *expires_at > now);
    if tickets.len() >= MAX_SPENT && !tickets.contains_key(&permission.nonce) {
        return Err(TicketError::TooMany);
    }
    tickets.insert(permission.nonce, permission.expires_at);
    Ok(())
}

/// Not the address: it changes under whoever moves between networks.
pub(super) fn person(actor: &Actor) -> (String, String) {
    (actor.name.clone(), actor.via.clone())
}

mod as_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text.as_bytes()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bent::Bender;
    use proptest::prelude::*;

    const NOW: Time = Time(1_767_235_900_000);

    fn hold() -> BoundHold {
        BoundHold {
            source: "orders".to_owned(),
            key: vec![b'l', 0xff, 0],
            token: b"0f8e41".to_vec(),
            generation: "7.3".to_owned(),
            count: 1,
            fencing: Some("33".into()),
            mode: Mode::Exclusive,
            hold_ms: None,
        }
    }

    fn alice() -> Actor {
        Actor { name: "alice".to_owned(), via: "oidc".to_owned(), address: Some("192.0.2.7".to_owned()) }
    }

    fn ticket(tickets: &Tickets) -> String {
        tickets.issue(&alice(), Action::Release, "4711", vec![hold()], NOW).unwrap().0
    }

    #[test]
    fn a_ticket_permits_exactly_what_it_was_given_out_for() {
        let tickets = Tickets::new();
        let permission = tickets.check(&ticket(&tickets), &alice(), NOW).unwrap();
        assert_eq!((permission.holds, permission.confirm.as_str()), (vec![hold()], "4711"));
        assert_eq!(permission.expires_at, NOW.plus(60_000));
    }

    #[test]
    fn a_ticket_is_good_for_whom_it_was_given_to_from_wherever_they_come() {
        let tickets = Tickets::new();
        let ticket = ticket(&tickets);
        let bob = Actor { name: "bob".to_owned(), ..alice() };
        let token_called_alice = Actor { via: "token".to_owned(), ..alice() };
        for other in [bob, token_called_alice, Actor::anonymous(alice().address)] {
            assert_eq!(tickets.check(&ticket, &other, NOW), Err(TicketError::Unknown));
            // Not even whether it was still good is said.
            assert_eq!(tickets.check(&ticket, &other, NOW.plus(60_000)), Err(TicketError::Unknown));
        }
        assert!(tickets.check(&ticket, &Actor { address: None, ..alice() }, NOW).is_ok());
    }

    #[test]
    fn a_ticket_ends_after_a_minute() {
        let tickets = Tickets::new();
        let ticket = ticket(&tickets);
        assert!(tickets.check(&ticket, &alice(), NOW.plus(59_999)).is_ok());
        assert_eq!(tickets.check(&ticket, &alice(), NOW.plus(60_000)), Err(TicketError::Expired(NOW.plus(60_000))));
    }

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::new();
        let ticket = ticket(&tickets);
        let permission = tickets.check(&ticket, &alice(), NOW).unwrap();
        assert_eq!(tickets.spend(&permission, NOW), Ok(()));
        assert_eq!(tickets.spend(&permission, NOW), Err(TicketError::Used));
        assert_eq!(tickets.check(&ticket, &alice(), NOW), Err(TicketError::Used));
    }

    #[test]
    fn another_run_of_the_server_does_not_know_the_ticket() {
        assert_eq!(Tickets::new().check(&ticket(&Tickets::new()), &alice(), NOW), Err(TicketError::Unknown));
    }

    #[test]
    fn memory_of_spent_tickets_is_bounded_and_frees_itself() {
        let tickets = Tickets::new();
        for _ in 0..MAX_SPENT {
            let permission = tickets.check(&ticket(&tickets), &alice(), NOW).unwrap();
            tickets.spend(&permission, NOW).unwrap();
        }
        let mut permission = tickets.check(&ticket(&tickets), &alice(), NOW).unwrap();
        assert_eq!(tickets.spend(&permission, NOW), Err(TicketError::TooMany));
        permission.expires_at = NOW.plus(120_000);
        assert_eq!(tickets.spend(&permission, NOW.plus(60_000)), Ok(()));
        assert_eq!(tickets.lock_spent().len(), 1);
    }

    #[test]
    fn holds_that_do_not_fit_are_refused_at_the_preview() {
        let long = BoundHold { key: vec![0; MAX_TICKET_BYTES], ..hold() };
        assert_eq!(Tickets::new().issue(&alice(), Action::Release, "x", vec![long], NOW), Err(TicketError::TooLong));
    }

    /// As many as are tried in some seconds without optimisation.
    const BENT: usize = 100_000;

    #[test]
    fn of_a_hundred_thousand_bent_tickets_none_is_accepted() {
        let tickets = Tickets::new();
        let other = BoundHold { key: b"lock:other".to_vec(), ..hold() };
        let more = tickets.issue(&alice(), Action::ReleaseAndHold, "x", vec![hold(), other], NOW).unwrap().0;
        let real = [&*ticket(&tickets), &*ticket(&tickets), &*more];
        let mut bender = Bender::new();
        for _ in 0..BENT {
            let bent = bender.bend_text(&real);
            if !real.contains(&&*bent) {
                assert_eq!(tickets.check(&bent, &alice(), NOW), Err(TicketError::Unknown), "{bent}");
            }
        }
        for ticket in real {
            assert!(tickets.check(ticket, &alice(), NOW).is_ok(), "trying others used it up");
        }
    }

    #[test]
    fn what_a_ticket_says_is_not_read_before_its_signature_holds() {
        let tickets = Tickets::new();
        let bytes = URL_SAFE_NO_PAD.decode(ticket(&tickets)).unwrap();
        let (payload, mac) = bytes.split_at(bytes.len() - MAC_BYTES);
        let mut bender = Bender::new();
        for _ in 0..BENT / 10 {
            // Well formed all round, and only its content is another.
            let bent = bender.bend(&[payload]);
            if bent != payload {
                let forged = URL_SAFE_NO_PAD.encode([&bent, mac].concat());
                assert_eq!(tickets.read(&forged), Err(TicketError::Unknown));
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic_or_pass(text in "[A-Za-z0-9_=.%-]{0,400}") {
            prop_assert_eq!(Tickets::new().check(&text, &alice(), NOW), Err(TicketError::Unknown));
        }

        #[test]
        fn any_changed_character_is_noticed(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
            let tickets = Tickets::new();
            let good = ticket(&tickets);
            let at = at.index(good.len());
            let mut bad = good.clone();
            bad.replace_range(at..=at, &to);
            if bad != good {
                prop_assert_eq!(tickets.check(&bad, &alice(), NOW), Err(TicketError::Unknown));
            }
        }

        #[test]
        fn any_cut_is_noticed(at in any::<prop::sample::Index>()) {
            let tickets = Tickets::new();
            let good = ticket(&tickets);
            prop_assert_eq!(tickets.check(&good[..at.index(good.len())], &alice(), NOW), Err(TicketError::Unknown));
        }

        #[test]
        fn keys_and_tokens_of_any_bytes_survive(key in prop::collection::vec(any::<u8>(), 0..60), token in prop::collection::vec(any::<u8>(), 0..60)) {
            let tickets = Tickets::new();
            let bound = BoundHold { key, token, ..hold() };
            let (ticket, _) = tickets.issue(&alice(), Action::Release, "x", vec![bound.clone()], NOW).unwrap();
            prop_assert_eq!(tickets.check(&ticket, &alice(), NOW).unwrap().holds, vec![bound]);
        }
    }
}
