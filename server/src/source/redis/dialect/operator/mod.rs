//! Formats that an operator taught in `lockkeeper.toml`.
//!
//! A rule says which keys are its locks, of which type, and where in them the holder stands. It is taken at its word, and
//! before every built-in family; what does not fit it is shown as such and never guessed.

mod decode;
mod signal;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode, Told, words};

pub use self::decode::Decode;
pub use self::signal::{MAX_SIGNAL_BYTES, Signal, Target};
use super::members::{entries, left_until, named, note_dead};
use super::shape::names_nobody;
use super::{ALL, Dialect, Found, Kind, Raw, Script, Stored, Value, latest_end, most_ttl, none, whole};
use crate::glob;
use crate::source::{DialectTraits, Extra, Form, Hold, HoldExtra, Recognition, ReleaseOrder};

/// The largest value of a field that is taken for a re-entry count: a larger number is rather a time.
const MAX_COUNT: u32 = u16::MAX as u32;

/// Milliseconds of the epoch from 2001 to 2286: a score outside is no time in the unit that the rule names.
const PLAUSIBLE_MS: std::ops::Range<f64> = 1e12..1e13;

/// A way of storing locks, as an operator described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Shown as the dialect.
    pub name: String,
    /// Which keys are its locks, as a Redis glob.
    pub pattern: String,
    /// The type of its keys, and where in them the holder stands.
    pub holder: Holder,
    /// How its tokens read. Default: they say nothing.
    pub decode: Option<Decode>,
    /// When a hold ends.
    pub lease: Lease,
    /// How many may hold it together.
    pub mode: Mode,
    /// What wakes those who wait. Default: nothing does.
    pub signal: Option<Signal>,
}

/// The type of a key, and where in it the holder stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A string that is the token.
    Value,
    /// A string that is a JSON object with the token in this field.
    JsonField(String),
    /// A hash in which each field is a holder's token.
    Fields,
    /// A hash with the token in this field.
    Field(String),
    /// A sorted set whose members are tokens.
    ZSetMember,
    /// A set whose members are tokens.
    SetMember,
}

impl Holder {
    fn kind(&self) -> Kind {
        match self {
            Holder::Value | Holder::JsonField(_) => Kind::String,
            Holder::Fields | Holder::Field(_) => Kind::Hash,
            Holder::ZSetMember => Kind::ZSet,
            Holder::SetMember => Kind::Set,
        }
    }

    fn stored_as(&self) -> &'static str {
        match self.kind() {
            Kind::Hash => "hash",
            Kind::ZSet => "zset",
            Kind::Set => "set",
            _ => "string",
        }
    }

    /// Whether several holders have places of their own.
    #[must_use]
    pub fn may_be_several(&self) -> bool {
        matches!(self, Holder::Fields | Holder::ZSetMember | Holder::SetMember)
    }
}

/// When a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// With its key.
    Ttl,
    /// At its score, in units of so many milliseconds of the epoch.
    Score {
        /// 1, or 1,000 for seconds.
        unit_ms: u16,
    },
}

/// Rules that may be taught in one run: each that was ever taught stays in memory, because locks refer to it.
const MAX_EVER_TAUGHT: usize = 1_024;

/// The rules in force, in the order of the file.
static TAUGHT: ArcSwapOption<Vec<&'static Operator>> = ArcSwapOption::const_empty();

/// Every rule that was in force, so that one that comes again is the same.
static EVER_TAUGHT: Mutex<Vec<&'static Operator>> = Mutex::new(Vec::new());

/// Too many different rules in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_EVER_TAUGHT} different `[[format]]` rules were in force since the start; restart to go on")]
pub struct TooManyFormats;

/// Teaches the operator's formats to every source, in place of those that were taught before. What was read by these must
/// be read anew, so that no source may be watching meanwhile.
///
/// # Errors
/// When too many different ones were taught. Then those that were taught before stay in force.
pub fn teach(formats: Vec<Format>) -> Result<(), TooManyFormats> {
    // A rule is only ever added whole.
    let mut ever = EVER_TAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut now = Vec::with_capacity(formats.len());
    for format in formats {
        now.push(match ever.iter().find(|known| known.format == format) {
            Some(known) => *known,
            None if ever.len() < MAX_EVER_TAUGHT => {
                let new: &'static Operator = Box::leak(Box::new(Operator::new(format)));
                ever.push(new);
                new
            }
            None => return Err(TooManyFormats),
        });
    }
    TAUGHT.store(Some(Arc::new(now)));
    Ok(())
}

/// The formats in force, in their order.
#[must_use]
pub fn formats() -> Vec<Format> {
    TAUGHT.load().iter().flat_map(|rules| rules.iter()).map(|rule| rule.format.clone()).collect()
}

impl Format {
    /// Whether its pattern names a key.
    #[must_use]
    pub fn is_about(&self, key: &[u8]) -> bool {
        glob::matches(self.pattern.as_bytes(), key)
    }
}

/// Whether a name is that of a built-in family.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    ALL.iter().any(|dialect| dialect.names().contains(&name))
}

fn taught(fits: impl Fn(&Operator) -> bool) -> Option<&'static Operator> {
    TAUGHT.load().as_ref()?.iter().copied().find(|format| fits(format))
}

/// The format of what is stored under a root: the first in the file that fits.
pub(super) fn of(root: &Raw) -> Option<&'static Operator> {
    taught(|format| format.has(root))
}

/// Whether a format's pattern names a key.
pub(super) fn names(key: &[u8]) -> bool {
    taught(|format| format.matches(key)).is_some()
}

/// The format of that name, as it was when a lock was recognised by it: another rule that took over the name does not
/// free what it did not read.
pub(super) fn by_name(name: &str) -> Option<&'static dyn Dialect> {
    taught(|format| std::ptr::eq(format.names[0], name)).map(|format| format as &dyn Dialect)
}

/// A format as a family. What is shown of it lives as long as the process: there is one for each rule of the file.
pub(super) struct Operator {
    format: Format,
    names: &'static [&'static str],
    kinds: &'static [Kind],
    seen: &'static Recognition,
    foreign: &'static Recognition,
}

impl Operator {
    fn new(format: Format) -> Operator {
        let name = leak(format.name.clone());
        let traits: &'static DialectTraits = Box::leak(Box::new(DialectTraits {
            stored_as: format.holder.stored_as(),
            told: Told::Never,
            told_because: "Nothing tells it, as far as is known of a format from the configuration: it goes on as if it \
                           had the lock until it looks by itself.",
            release: leak(release_sentence(&format)),
            token_is_one_use: false,
            waiters_because: "how clients wait for a lock of a format from the configuration is not known",
            ..DialectTraits::PLAIN
        }));
        let rule = format!("the rule `{name}` of the configuration, for each {} under `", format.holder.stored_as());
        let recognition = |certainty, beyond: &str| -> &'static Recognition {
            let because = leak(format!("{rule}{}`{beyond}", words::shown(&format.pattern)));
            Box::leak(Box::new(Recognition { dialect: name, certainty, because, traits }))
        };
        Operator {
            names: Box::leak(Box::new([name])),
            kinds: Box::leak(Box::new([format.holder.kind()])),
            seen: recognition(Certainty::Configured, ""),
            foreign: recognition(Certainty::Ambiguous, "; what is stored does not fit that rule as a whole"),
            format,
        }
    }

    fn matches(&self, key: &[u8]) -> bool {
        self.format.is_about(key)
    }

    fn has(&self, root: &Raw) -> bool {
        root.value.kind() == Some(self.format.holder.kind()) && self.matches(&root.key)
    }

    /// A holder, with what else must be the same for it to be the same hold.
    fn hold(&self, token: &[u8], ttl_ms: Option<i64>, stamp: Option<Bytes>) -> Hold {
        let extra = HoldExtra {
            stamp,
            shares_lease: self.format.holder.may_be_several() && self.format.lease == Lease::Ttl,
            identity: self.format.decode.as_ref().map(|decode| decode.identity(token)),
            ..HoldExtra::default()
        };
        let extra = (extra != HoldExtra::default()).then(|| Box::new(extra));
        Hold { extra, ..Hold::new(token, ttl_ms) }
    }

    /// Reads everything in its place. What does not fit is `foreign` or said in `wrong`.
    fn read<'a>(&self, stored: &Stored<'a>) -> Reading<'a> {
        let (mut reading, ttl_ms) = (Reading::default(), stored.ttl_ms());
        match (&self.format.holder, &stored.root.value) {
            (Holder::Value, Value::String(value)) => reading.holds.push(self.hold(value, ttl_ms, None)),
            (Holder::JsonField(field), Value::String(value)) => match json_token(value, field) {
                Some(token) => reading.holds.push(self.hold(&token, ttl_ms, Some(value.clone()))),
                None => {
                    reading.wrong = Some(format!(
                        "its value is not a JSON object with a text or a number in `{}`",
                        words::shown(field)
                    ));
                }
            },
            (Holder::Fields, Value::Hash(fields)) => {
                for (field, value) in fields {
                    let count = count(value);
                    let stamp = count.is_none().then(|| value.clone());
                    reading.holds.push(Hold { count: count.unwrap_or(1), ..self.hold(field, ttl_ms, stamp) });
                }
            }
            (Holder::Field(field), Value::Hash(fields)) => {
                match fields.iter().find(|(name, _)| **name == *field.as_bytes()) {
                    Some((_, token)) => reading.holds.push(self.hold(token, ttl_ms, None)),
                    None => reading.wrong = Some(format!("it has no field `{}`", words::shown(field))),
                }
            }
            (Holder::SetMember, Value::Set(members)) => {
                reading.holds.extend(members.iter().map(|member| self.hold(member, ttl_ms, None)));
            }
            (Holder::ZSetMember, Value::ZSet(members)) => {
                for (member, score) in members {
                    let Lease::Score { unit_ms } = self.format.lease else {
                        reading.holds.push(self.hold(member, ttl_ms, Some(score.to_string().into())));
                        continue;
                    };
                    let end_ms = score * f64::from(unit_ms);
                    match left_until(end_ms, stored.now_ms) {
                        _ if !PLAUSIBLE_MS.contains(&end_ms) => reading.foreign.push(member),
                        None => reading.dead.push(member),
                        left => reading.holds.push(self.hold(member, left, None)),
                    }
                }
            }
            _ => {}
        }
        if self.format.mode == Mode::Exclusive && reading.holds.len() > 1 {
            reading.wrong = Some(format!("one may hold it at a time, and {} are listed", reading.holds.len()));
        }
        reading
    }
}

/// What was found in a lock's places.
#[derive(Default)]
struct Reading<'a> {
    holds: smallvec::SmallVec<[Hold; 1]>,
    dead: Vec<&'a [u8]>,
    /// Members whose score is no time.
    foreign: Vec<&'a [u8]>,
    /// How the whole does not fit the rule.
    wrong: Option<String>,
}

impl Dialect for Operator {
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn kinds(&self) -> &'static [Kind] {
        self.kinds
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        if !self.has(stored.root) {
            return none();
        }
        let Reading { holds, dead, foreign, wrong } = self.read(stored);
        if holds.is_empty() && foreign.is_empty() && wrong.is_none() {
            return none();
        }
        let mut extra = Extra::default();
        if self.format.holder != Holder::Value {
            extra.entries = entries(stored.root, stored.key());
        }
        note_dead(&mut extra, &dead);
        let is_odd = !foreign.is_empty() || wrong.is_some();
        if is_odd {
            extra.flags.push(Flag::Unrecognised);
        }
        if !foreign.is_empty() {
            extra.notes.push(format!("scores that are no time in the rule's unit: {}", named(&foreign)));
        }
        extra.notes.extend(wrong.map(|wrong| format!("not as its rule says: {wrong}")));
        // Members of a set are told apart whatever they are called; one value that could be anybody's is not.
        let is_anybody = !self.format.holder.may_be_several() && holds.iter().any(|hold| names_nobody(&hold.token));
        whole(Form {
            recognition: if is_odd { self.foreign } else { self.seen },
            mode: self.format.mode,
            state: if is_odd || is_anybody { LockState::UnknownHolder } else { LockState::Held },
            holds,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        })
    }

    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        self.has(stored.root)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let (token, most) = (order.token.to_vec(), most_ttl(order, now_ms));
        let stamp = order.stamp.as_ref().map(|stamp| stamp.to_vec());
        let (code, compared) = match &self.format.holder {
            Holder::Value | Holder::JsonField(_) => (STRING, vec![most, stamp.unwrap_or(token)]),
            Holder::Fields => {
                let value = stamp.unwrap_or_else(|| order.count.to_string().into_bytes());
                (HASH_OF_HOLDERS, vec![most, value, token])
            }
            Holder::Field(field) => (HASH, vec![most, token, field.clone().into_bytes()]),
            Holder::SetMember => (SET, vec![most, token]),
            Holder::ZSetMember => match self.format.lease {
                Lease::Ttl => (ZSET, vec![most, stamp.unwrap_or_default(), token]),
                Lease::Score { unit_ms } => {
                    (ZSET_OF_ENDS, vec![latest_end(order), unit_ms.to_string().into_bytes(), token])
                }
            },
        };
        let (mut keys, pattern) = (vec![order.key.to_vec()], &self.format.pattern);
        let signal = match &self.format.signal {
            None => [Vec::new(), Vec::new(), Vec::new(), Vec::new()],
            Some(Signal::Publish { channel, payload }) => {
                [b"publish".to_vec(), channel.of(pattern, &order.key), payload.clone().into_bytes(), Vec::new()]
            }
            Some(Signal::Push { key, value, expire_ms }) => {
                keys.push(key.of(pattern, &order.key));
                [b"push".to_vec(), Vec::new(), value.clone().into_bytes(), expire_ms.to_string().into_bytes()]
            }
        };
        Script { code, keys, arguments: signal.into_iter().chain(compared).collect() }
    }
}

/// Keeps a text for as long as the process runs.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// What a release of such a lock does, in words.
fn release_sentence(format: &Format) -> String {
    let does = match (&format.holder, format.lease) {
        (Holder::Value | Holder::JsonField(_), _) => {
            "The key is deleted only if its whole value is still exactly what was shown and its expiry was not pushed out \
             since."
                .to_owned()
        }
        (Holder::Fields, _) => "The holder's field is deleted only if its value is still exactly what was shown and the \
                                key's expiry was not pushed out since. Other fields stay."
            .to_owned(),
        (Holder::Field(field), _) => format!(
            "The field `{}` is deleted only if it is still exactly this token and the key's expiry was not pushed out \
             since. Other fields stay.",
            words::shown(field)
        ),
        (Holder::ZSetMember, Lease::Score { .. }) => {
            "This member is removed only if it ends no later than was shown. Other holders keep theirs.".to_owned()
        }
        (Holder::ZSetMember, Lease::Ttl) => "This member is removed only if its score is still exactly what was shown and \
                                             the key's expiry was not pushed out since. Other holders keep theirs."
            .to_owned(),
        (Holder::SetMember, _) => "This member is removed only if the key's expiry was not pushed out since. Other holders \
                                   keep theirs."
            .to_owned(),
    };
    let signals = match &format.signal {
        None => "",
        Some(Signal::Publish { .. }) => " In the same step the message of its rule is published to those who wait.",
        Some(Signal::Push { .. }) => {
            " In the same step the element of its rule is pushed to the list of those who wait."
        }
    };
    does + signals
}

/// The text or number in a field of a JSON object.
fn json_token(value: &[u8], field: &str) -> Option<Vec<u8>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(value).ok()?;
    match object.get(field)? {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        serde_json::Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// A value that is a re-entry count, written as nothing but its digits.
fn count(value: &[u8]) -> Option<u32> {
    let count = std::str::from_utf8(value).ok()?.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count))?;
    (count.to_string().as_bytes() == value).then_some(count)
}

/// A script that compares and frees one hold, with what all of them begin with. The signal is given before the hold is
/// freed, so that nothing is freed where it cannot be given; nobody sees what is between.
macro_rules! script {
    ($compares_and_frees:literal) => {
        concat!(
            r"
local function signal()
  if ARGV[1] == 'publish' then return redis.call('PUBLISH', ARGV[2], ARGV[3]) end
  if ARGV[1] == 'push' then
    redis.call('LPUSH', KEYS[2], ARGV[3])
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
  end
  return -1
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[5])
local touched = (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most))
",
            $compares_and_frees
        )
    };
}

/// Compares the whole value, its length first so that one that grew large is not copied.
const STRING: &str = script!(
    r"
if kind ~= 'string' or redis.call('STRLEN', KEYS[1]) ~= #ARGV[6] or redis.call('GET', KEYS[1]) ~= ARGV[6] then
  return {'changed'}
end
if touched then return {'touched', ttl} end
local woken = signal()
redis.call('DEL', KEYS[1])
return {'released', woken}
"
);

/// Compares the token in a field.
const HASH: &str = script!(
    r"
if kind ~= 'hash' or redis.call('HSTRLEN', KEYS[1], ARGV[7]) ~= #ARGV[6]
    or redis.call('HGET', KEYS[1], ARGV[7]) ~= ARGV[6] then
  return {'changed'}
end
if touched then return {'touched', ttl} end
local woken = signal()
redis.call('HDEL', KEYS[1], ARGV[7])
return {'released', woken}
"
);

/// Compares a holder's field and its value.
const HASH_OF_HOLDERS: &str = script!(
    r"
if kind ~= 'hash' or redis.call('HEXISTS', KEYS[1], ARGV[7]) == 0 then return {'changed'} end
if touched or redis.call('HSTRLEN', KEYS[1], ARGV[7]) ~= #ARGV[6] or redis.call('HGET', KEYS[1], ARGV[7]) ~= ARGV[6] then
  return {'touched', ttl}
end
local woken = signal()
redis.call('HDEL', KEYS[1], ARGV[7])
return {'released', woken}
"
);

/// Compares a member and the key's expiry.
const SET: &str = script!(
    r"
if kind ~= 'set' or redis.call('SISMEMBER', KEYS[1], ARGV[6]) == 0 then return {'changed'} end
if touched then return {'touched', ttl} end
local woken = signal()
redis.call('SREM', KEYS[1], ARGV[6])
return {'released', woken}
"
);

/// Compares a member, its score and the key's expiry.
const ZSET: &str = script!(
    r"
if kind ~= 'zset' then return {'changed'} end
local score = redis.call('ZSCORE', KEYS[1], ARGV[7])
if not score then return {'changed'} end
if touched or tonumber(score) ~= tonumber(ARGV[6]) then return {'touched', ttl} end
local woken = signal()
redis.call('ZREM', KEYS[1], ARGV[7])
return {'released', woken}
"
);

/// Compares a member and when it ends, whatever the key's expiry.
const ZSET_OF_ENDS: &str = script!(
    r"
if kind ~= 'zset' then return {'changed'} end
local score = redis.call('ZSCORE', KEYS[1], ARGV[7])
if not score then return {'changed'} end
if tonumber(score) * tonumber(ARGV[6]) > most then return {'touched', ttl} end
local woken = signal()
redis.call('ZREM', KEYS[1], ARGV[7])
return {'released', woken}
"
);

#[cfg(test)]
mod tests;
