//! One lock over a majority of masters: taking it, keeping it, giving it back.
//!
//! The rules of Redlock (redis.io, "Distributed Locks with Redis"): each master is asked in parallel, the lock counts from
//! the moment before the question, and the drift of clocks is taken off its lease. One master is its own majority.
//!
//! Beyond Redlock, the fencing token increases. Each master counts on its own, so the counters may differ. The token
//! is the highest of a majority, and a majority has written it down before it is handed out. The next holder's majority
//! shares a master with this one, so that holder counts up from this token or a later one.

use std::time::Duration;

use futures_util::stream::StreamExt as _;
use tokio::time::Instant;

use crate::error::{Error, shown};
use crate::masters::{Answer, COMMAND_TIMEOUT, Masters};
use crate::random;

/// Takes the lock if it is free, and answers the fencing counter; 0 if it is held. Counts first: a counter that cannot be
/// counted up is an error that leaves no lock behind. Lua's numbers are exact below 2^53; from there on, two holders could
/// get the same one.
const CLAIM: &str = "\
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fence = redis.call('INCR', KEYS[2])
if fence < 1 or fence >= 9007199254740992 then return redis.error_reply('ERR the fencing counter is out of range') end
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return fence";

/// Lifts the fencing counter to a token that another master gave, while the lock is still ours.
const LIFT: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
return 1";

/// Pushes the lease out if the token is still ours. Never brings a lock back that is gone.
const RENEW: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// Compares and deletes.
const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Bytes of randomness in a token. 20 are 40 digits, which is not the length of a UUID in hex, so that no tool takes it
/// for one.
const TOKEN_BYTES: usize = 20;

/// Of a lease, the part that one master may take for an answer: the others are still asked in time. Between a slow network's
/// round trip and [`COMMAND_TIMEOUT`].
const PATIENCE_PART: u32 = 4;
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// What clocks may drift apart during a lease: a hundredth of it and 2 ms for the granularity of Redis's clock (Redlock).
const DRIFT_PART: u32 = 100;
const DRIFT_LEAST: Duration = Duration::from_millis(2);

/// The key of a lock's fencing counter, in the same slot of a cluster as the lock: `{<key>}:fence`, or `<key>:fence`
/// for a key that has a hash tag. A key with a `}` and no hash tag has no such companion; a cluster refuses it.
#[must_use]
pub fn fence_key(key: &[u8]) -> Vec<u8> {
    let tag = key.iter().position(|&byte| byte == b'{').map(|open| &key[open + 1..]);
    let has_tag = tag.and_then(|tag| tag.iter().position(|&byte| byte == b'}')).is_some_and(|len| len > 0);
    let parts: [&[u8]; 3] = if has_tag { [b"", key, b":fence"] } else { [b"{", key, b"}:fence"] };
    parts.concat()
}

/// One try to hold one lock, with a token that no other try ever has.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) key: Vec<u8>,
    fence: Vec<u8>,
    pub(crate) token: String,
    pub(crate) lease: Duration,
}

/// What a majority granted.
pub(crate) struct Granted {
    pub(crate) fencing_token: u64,
    /// The lock is certainly ours until then, if it is not freed.
    pub(crate) until: Instant,
}

/// Why a try did not succeed.
pub(crate) enum Failure {
    /// A majority answered, and too many of them said that it is held.
    Held {
        /// Whether a minority granted it, or may have.
        granted_somewhere: bool,
    },
    /// Another time it may.
    Unreachable(Error),
    /// It never will.
    Denied(Error),
}

/// What became of a renewal.
pub(crate) enum Renewal {
    Until(Instant),
    NotOurs,
    Unreachable,
}

/// Answers of masters, counted.
#[derive(Default)]
struct Tally {
    yes: Vec<u64>,
    no: usize,
    silent: usize,
    denied: usize,
    last: String,
}

impl Tally {
    fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Number(0) => self.no += 1,
            Answer::Number(number) => self.yes.push(number),
            Answer::Silent(because) => {
                self.silent += 1;
                self.last = because;
            }
            Answer::Denied(because) => {
                self.denied += 1;
                self.last = because;
            }
        }
    }

    fn answered(&self) -> usize {
        self.yes.len() + self.no + self.denied
    }
}

impl Claim {
    pub(crate) fn new(key: &[u8], lease: Duration) -> Claim {
        Claim { key: key.to_vec(), fence: fence_key(key), token: random::hex::<TOKEN_BYTES>(), lease }
    }

    /// The lock's name, safe to show.
    pub(crate) fn shown(&self) -> String {
        shown(&self.key)
    }

    /// Tries to take the lock. After a failure some masters may have granted it: [`Claim::release`] it then.
    ///
    /// # Errors
    /// Why there is no majority.
    pub(crate) async fn take(&self, masters: &Masters, patience: Duration) -> Result<Granted, Failure> {
        let asked = Instant::now();
        let patience = patience.min(self.patience());
        let tally = self.ask(masters, CLAIM, &self.lease_ms(), patience, Until::Decided).await;
        if tally.yes.len() < masters.needed() {
            let too_many_denied = tally.denied > masters.len() - masters.needed();
            let answered = tally.answered();
            return Err(if too_many_denied {
                Failure::Denied(Error::Denied { because: tally.last })
            } else if tally.no > 0 && masters.len() - tally.silent - tally.denied >= masters.needed() {
                Failure::Held { granted_somewhere: tally.no + tally.denied < masters.len() }
            } else {
                Failure::Unreachable(masters.unreachable(answered, tally.last))
            });
        }
        let fencing_token = tally.yes.iter().copied().max().unwrap_or_default();
        let level = tally.yes.iter().filter(|&&counter| counter == fencing_token).count();
        if level < masters.needed() {
            let lifted = self.ask(masters, LIFT, &fencing_token.to_string(), patience, Until::Decided).await;
            if lifted.yes.len() < masters.needed() {
                return Err(Failure::Unreachable(masters.unreachable(lifted.answered(), lifted.last)));
            }
        }
        let until = self.valid_until(asked);
        if Instant::now() >= until {
            let late = "their answers took longer than the lease".to_owned();
            return Err(Failure::Unreachable(masters.unreachable(0, late)));
        }
        Ok(Granted { fencing_token, until })
    }

    /// Pushes the lease out.
    pub(crate) async fn renew(&self, masters: &Masters) -> Renewal {
        let asked = Instant::now();
        let tally = self.ask(masters, RENEW, &self.lease_ms(), self.patience(), Until::Decided).await;
        if tally.yes.len() >= masters.needed() {
            Renewal::Until(self.valid_until(asked))
        } else if tally.no > masters.len() - masters.needed() {
            Renewal::NotOurs
        } else {
            Renewal::Unreachable
        }
    }

    /// Gives the lock back on every master that answers, also where only some had granted it.
    ///
    /// # Errors
    /// When it was not ours any more, or too few masters answered to know.
    pub(crate) async fn release(&self, masters: &Masters) -> Result<(), Error> {
        let tally = self.ask(masters, RELEASE, "", COMMAND_TIMEOUT, Until::AllAnswered).await;
        let answered = tally.answered();
        if tally.yes.len() >= masters.needed() {
            Ok(())
        } else if tally.no > masters.len() - masters.needed() {
            Err(Error::NotHeld { key: self.shown() })
        } else if tally.denied > masters.len() - masters.needed() {
            Err(Error::Denied { because: tally.last })
        } else {
            Err(masters.unreachable(answered, tally.last))
        }
    }

    async fn ask(
        &self,
        masters: &Masters,
        script: &'static str,
        argument: &str,
        patience: Duration,
        until: Until,
    ) -> Tally {
        let arguments = [self.token.clone(), argument.to_owned()];
        let mut answers = masters.ask(script, &[&self.key, &self.fence], &arguments, patience);
        let mut tally = Tally::default();
        while let Some(answer) = answers.next().await {
            tally.count(answer);
            let open = answers.len();
            let decided = tally.yes.len() >= masters.needed() || tally.yes.len() + open < masters.needed();
            if until == Until::Decided && decided {
                break;
            }
        }
        tally
    }

    fn valid_until(&self, asked: Instant) -> Instant {
        let drift = self.lease / DRIFT_PART + DRIFT_LEAST;
        asked + self.lease.saturating_sub(drift)
    }

    fn patience(&self) -> Duration {
        (self.lease / PATIENCE_PART).clamp(LEAST_PATIENCE, COMMAND_TIMEOUT)
    }

    fn lease_ms(&self) -> String {
        self.lease.as_millis().to_string()
    }
}

/// How many answers are waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until no other answer could change the outcome: a frozen master must not cost the lease.
    Decided,
    AllAnswered,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fencing_counter_lives_in_the_slot_of_its_lock() {
        let named = |key: &str| String::from_utf8(fence_key(key.as_bytes())).unwrap();
        assert_eq!(named("lock:a"), "{lock:a}:fence");
        assert_eq!(named("lock:{orders}:7"), "lock:{orders}:7:fence");
        assert_eq!(named("lock:a{"), "{lock:a{}:fence");
        assert_eq!(named("lock:{}a"), "{lock:{}a}:fence");
    }

    #[test]
    fn drift_is_taken_off_the_lease() {
        let asked = Instant::now();
        let claim = Claim::new(b"lock:a", Duration::from_secs(10));
        assert_eq!(claim.valid_until(asked) - asked, Duration::from_millis(9_898));
    }

    #[test]
    fn no_two_tries_share_a_token() {
        let token = || Claim::new(b"lock:a", Duration::from_secs(1)).token;
        let first = token();
        assert!(first.len() == 40 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
        assert_ne!(first, token());
    }
}
