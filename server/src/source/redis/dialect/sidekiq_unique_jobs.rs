//! sidekiq-unique-jobs: `<digest>:LOCKED`, a hash with a field for each job that has the lock. Version 8 writes the time as
//! the value and hands over by lists beside it; version 9 writes JSON, and nobody waits.
//!
//! Source: mhenrixon/sidekiq-unique-jobs 8.0.11, 8.1.0 and 9.0.0.alpha2, `lib/sidekiq_unique_jobs/lua/`; read, not run.

use bytes::Bytes;
use lockkeeper_model::{Certainty, LockState, Mode, Time, words};
use serde_json::Value as Json;
use smallvec::SmallVec;

use super::members::{entries, note_foreign};
use super::shape::is_lower_hex;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, most_ttl, none, whole};
use crate::source::{DialectTraits, Extra, Form, Hold, HoldExtra, Queue, Queued, Recognition, ReleaseOrder};

pub(super) struct SidekiqUniqueJobs;

const NAME: &str = "sidekiq-unique-jobs";

/// What digests begin with unless the application chose something else.
const PREFIX: &[u8] = b"uniquejobs:";

const LOCKED: &[u8] = b":LOCKED";
const QUEUED: &[u8] = b":QUEUED";
const PRIMED: &[u8] = b":PRIMED";
const INFO: &[u8] = b":INFO";

/// Keys of the library that belong to no digest: indexes, and what its reaper keeps.
const COMMON: [&[u8]; 6] = [
    b"uniquejobs:digests",
    b"uniquejobs:expiring_digests",
    b"uniquejobs:changelog",
    b"uniquejobs:reaper",
    b"uniquejobs:live",
    b"uniquejobs:dead",
];

const DIGESTS: &[u8] = b"uniquejobs:digests";
const EXPIRING: &[u8] = b"uniquejobs:expiring_digests";

/// A digest of version 8 is one of these, plain or for the time while the job runs.
const DIGEST_CHARS: usize = 32;
const WHILE_RUNNING: &[u8] = b":RUN";

/// Twelve random bytes in hex.
const JOB_ID_CHARS: usize = 24;

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    strip_prefix: "uniquejobs:",
    told_because: "The store does not tell it: the job runs to its end, and another of the same digest may run beside it.",
    told: lockkeeper_model::Told::Never,
    release: "This job's field is deleted only if its value is still exactly what was shown; with the last one the lock \
              leaves the index of digests. Under version 8 the job's own keys are deleted and one element is put on the \
              queue for five seconds, which wakes one waiter, as the library does.",
    // A job that is tried again has the same id.
    no_hold: Some("it names the job that has it, which its reaper and its pages look up"),
    token_is_one_use: false,
    waiters_because: "version 9 has none: a job that finds the lock taken is dropped or scheduled again",
    never_renews: Some("sidekiq-unique-jobs does not renew: a lock of a killed worker stays until its reaper finds it"),
    ..DialectTraits::PLAIN
};

static VERSION_8: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a hash `…:LOCKED` of job ids with the times at which they took the lock, as sidekiq-unique-jobs 8 writes it",
    traits: &TRAITS,
};

static VERSION_9: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a hash `…:LOCKED` of job ids with what each job is in JSON, as sidekiq-unique-jobs 9 writes it",
    traits: &TRAITS,
};

static WAITING: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "a list `…:PRIMED` of jobs of sidekiq-unique-jobs 8 that are about to take a lock that nobody has",
    traits: &TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a hash `…:LOCKED` with job ids as of sidekiq-unique-jobs, and with fields or values that no known version \
              writes",
    traits: &TRAITS,
};

impl Dialect for SidekiqUniqueJobs {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Missing, Kind::Hash]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        let rest = key.strip_prefix(PREFIX)?;
        let digest = [QUEUED, PRIMED, INFO].iter().find_map(|ending| key.strip_suffix(*ending));
        let plain = rest.strip_suffix(WHILE_RUNNING).unwrap_or(rest);
        let digest = digest.or_else(|| is_lower_hex(plain, DIGEST_CHARS).then_some(key))?;
        Some([digest, LOCKED].concat())
    }

    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        key.starts_with(PREFIX) && COMMON.contains(&key)
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        let Some(digest) = root.key.strip_suffix(LOCKED) else { return Vec::new() };
        let beside = [digest.to_vec(), of(digest, PRIMED), of(digest, QUEUED), of(digest, INFO)];
        let ours = match &root.value {
            Value::Hash(fields) => fields.iter().any(|(field, _)| is_job(field)),
            _ => root.key.starts_with(PREFIX),
        };
        if ours { beside.into() } else { Vec::new() }
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(digest) = stored.key().strip_suffix(LOCKED) else { return none() };
        let fields = stored.hash().unwrap_or_default();
        let mut extra = Extra { queue: queue(stored, digest), ..Extra::default() };
        let companions = [digest.to_vec(), of(digest, QUEUED), of(digest, PRIMED), of(digest, INFO)];
        extra.companions.extend(companions.iter().filter_map(|key| stored.beside(key)).map(|raw| raw.key.clone()));
        let (mut holds, mut foreign, mut limit) = (SmallVec::new(), Vec::<&[u8]>::new(), None);
        let (mut is_json, mut state) = (false, LockState::Held);
        for (field, value) in fields {
            if !is_job(field) {
                foreign.push(field);
                state = LockState::UnknownHolder;
                continue;
            }
            let told = seconds(value).map(Told::at).or_else(|| Told::parse(value));
            is_json |= told.is_some() && seconds(value).is_none();
            if told.is_none() {
                foreign.push(value);
            }
            let told = told.unwrap_or_default();
            limit = limit.max(told.limit);
            let extra = HoldExtra {
                taken_at: told.taken_at,
                metadata: told.metadata,
                stamp: Some(value.clone()),
                shares_lease: fields.len() > 1,
                ..HoldExtra::default()
            };
            holds.push(Hold { extra: Some(Box::new(extra)), ..Hold::new(field, stored.ttl_ms()) });
        }
        if holds.is_empty() {
            if !fields.is_empty() || extra.queue.is_none() {
                return none();
            }
            let (mode, state) = (Mode::Exclusive, LockState::WaitingOnly);
            return whole(Form { recognition: &WAITING, mode, state, holds, extra: Some(Box::new(extra)) });
        }
        if let Some(info) = stored.beside(&of(digest, INFO))
            && let Value::String(info) = &info.value
            && let Some(told) = Told::parse(info)
        {
            limit = limit.max(told.limit);
            // It is written once for the digest: with several jobs it does not say which of them it is about.
            if let [Hold { extra: Some(extra), .. }] = &mut holds[..] {
                extra.metadata = extra.metadata.take().or(told.metadata);
            }
        }
        extra.entries = entries(stored.root, stored.key());
        extra.permits = limit.filter(|&limit| limit > 1);
        extra.name = std::str::from_utf8(digest.strip_prefix(PREFIX).unwrap_or(digest)).ok().map(Into::into);
        let several = extra.permits.is_some() || holds.len() > 1;
        let mode = if several { Mode::Semaphore } else { Mode::Exclusive };
        let recognition = match (foreign.is_empty(), is_json) {
            (false, _) => &FOREIGN,
            (true, true) => &VERSION_9,
            (true, false) => &VERSION_8,
        };
        if !foreign.is_empty() {
            note_foreign(&mut extra, &foreign);
        }
        whole(Form { recognition, mode, state, holds, extra: Some(Box::new(extra)) })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let digest = order.key.strip_suffix(LOCKED).unwrap_or(&order.key);
        let stamp = order.stamp.as_ref().map(|stamp| stamp.to_vec()).unwrap_or_default();
        let hands_over = if seconds(&stamp).is_some() { "1" } else { "0" };
        Script {
            code: RELEASE,
            keys: vec![
                order.key.to_vec(),
                digest.to_vec(),
                of(digest, QUEUED),
                of(digest, PRIMED),
                of(digest, INFO),
                DIGESTS.to_vec(),
                EXPIRING.to_vec(),
            ],
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms), stamp, digest.to_vec(), hands_over.into()],
        }
    }
}

/// What is written of a job beside its id.
#[derive(Default)]
struct Told {
    taken_at: Option<Time>,
    limit: Option<u32>,
    metadata: Option<Box<str>>,
}

impl Told {
    fn at(seconds: f64) -> Told {
        Told { taken_at: Some(Time((seconds * 1_000.0) as i64)), ..Told::default() }
    }

    /// A JSON object, of which nothing is required.
    fn parse(value: &[u8]) -> Option<Told> {
        let Ok(Json::Object(fields)) = serde_json::from_slice(value) else { return None };
        let text = |name: &str| fields.get(name).and_then(Json::as_str).map(words::shown);
        let said: Vec<String> = ["worker", "queue", "type"]
            .iter()
            .filter_map(|name| text(name).map(|value| format!("{name} {value}")))
            .collect();
        let number = |name: &str| fields.get(name).and_then(Json::as_f64);
        let time = ["time", "timestamp", "at"].iter().find_map(|name| number(name));
        Some(Told {
            taken_at: time.filter(is_recent).map(|s| Time((s * 1_000.0) as i64)),
            limit: fields.get("limit").and_then(Json::as_u64).and_then(|limit| u32::try_from(limit).ok()),
            metadata: (!said.is_empty()).then(|| said.join(", ").into()),
        })
    }
}

/// Jobs that were moved out of the queue to take the lock next.
fn queue(stored: &Stored<'_>, digest: &[u8]) -> Option<Queue> {
    let Value::List { items, total } = &stored.beside(&of(digest, PRIMED))?.value else { return None };
    let waiter = |item: &Bytes| Queued { token: item.as_ref().into(), expires_at_ms: None, abandoned: None };
    Some(Queue { ordered: false, count: *total, waiters: items.iter().map(waiter).collect() })
}

fn of(digest: &[u8], ending: &[u8]) -> Vec<u8> {
    [digest, ending].concat()
}

fn is_job(field: &[u8]) -> bool {
    is_lower_hex(field, JOB_ID_CHARS)
}

/// A time in seconds of the epoch.
fn seconds(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(is_recent)
}

/// Seconds since 1970, of this century.
fn is_recent(at: &f64) -> bool {
    (1e9..1e10).contains(at)
}

/// The library's own unlock for a job that has the lock, with its value compared.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then return {'changed'} end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('HDEL', KEYS[1], ARGV[1])
local hands_over, last = ARGV[5] == '1', redis.call('EXISTS', KEYS[1]) == 0
if hands_over then redis.call('DEL', KEYS[2], KEYS[5]) end
if last then
  redis.call('ZREM', KEYS[6], ARGV[4])
  redis.call('ZREM', KEYS[7], ARGV[4])
end
if hands_over then
  redis.call('LPUSH', KEYS[3], '1')
  redis.call('PEXPIRE', KEYS[3], 5000)
end
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use lockkeeper_model::Flag;

    const DIGEST: &str = "uniquejobs:72d6d7a1885885bb55a565fd1070581a";
    const A: &str = "8c4982e289f6fc539a6566a8";
    const B: &str = "3da8041cab418a758129b5a4";

    fn seen(fields: &[(&str, &str)], beside: &[Raw]) -> Option<Form> {
        let key = format!("{DIGEST}:LOCKED");
        let root = if fields.is_empty() { Raw::missing(&key) } else { Raw::hash(&key, fields, None) };
        let stored = Stored { root: &root, beside, configured: false, now_ms: 0 };
        SidekiqUniqueJobs.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    #[test]
    fn version_8_keeps_times_and_a_hand_over() {
        let beside = [
            Raw::string(DIGEST, A.as_bytes(), None),
            Raw::list(&format!("{DIGEST}:PRIMED"), &[B], None),
            Raw::string(&format!("{DIGEST}:INFO"), br#"{"worker": "Import", "queue": "low", "limit": 2}"#, None),
        ];
        let form = seen(&[(A, "1795231733.8418128")], &beside).unwrap();
        assert_eq!((form.recognition.because, form.mode), (VERSION_8.because, Mode::Semaphore));
        let hold = form.holds[0].extra.as_ref().unwrap();
        assert_eq!(
            (hold.taken_at, hold.metadata.as_deref()),
            (Some(Time(1_795_231_733_841)), Some("worker Import, queue low"))
        );
        let extra = form.extra.unwrap();
        assert_eq!((extra.permits, extra.companions.len(), extra.queue.unwrap().count), (Some(2), 3, 1));
    }

    #[test]
    fn version_9_keeps_what_the_job_is() {
        let form =
            seen(&[(A, r#"{"worker": "Import", "type": "until_executed", "time": 1795231733.8}"#)], &[]).unwrap();
        assert_eq!((form.recognition.because, form.mode), (VERSION_9.because, Mode::Exclusive));
        let hold = form.holds[0].extra.as_ref().unwrap();
        assert_eq!(hold.metadata.as_deref(), Some("worker Import, type until_executed"));
        assert_eq!(hold.taken_at, Some(Time(1_795_231_733_800)));
        assert_eq!(seen(&[(A, "1795231733.1"), (B, "1795231733.2")], &[]).unwrap().mode, Mode::Semaphore);
    }

    #[test]
    fn what_no_version_writes_is_said() {
        let form = seen(&[(A, "{")], &[]).unwrap();
        assert_eq!((form.recognition.certainty, form.state), (Certainty::Ambiguous, LockState::Held));
        assert_eq!(form.extra.unwrap().flags.as_slice(), [Flag::Unrecognised]);
        let form = seen(&[(A, "1795231733.1"), ("lease", "9")], &[]).unwrap();
        assert_eq!((form.state, form.holds.len()), (LockState::UnknownHolder, 1));
        assert_eq!(form.extra.unwrap().entries.len(), 2);
        assert!(seen(&[("front", "1"), ("back", "0")], &[]).is_none());
    }

    #[test]
    fn a_primed_job_waits_for_a_lock_that_nobody_has() {
        let primed = Raw::list(&format!("{DIGEST}:PRIMED"), &[B], None);
        assert_eq!(seen(&[], &[primed]).unwrap().state, LockState::WaitingOnly);
        assert!(seen(&[], &[Raw::list(&format!("{DIGEST}:QUEUED"), &["1"], Some(9))]).is_none());
    }

    #[test]
    fn every_key_of_a_digest_leads_to_its_lock_and_the_index_to_none() {
        let locked = |key: &str| SidekiqUniqueJobs.root_of(key.as_bytes());
        for key in [DIGEST.to_owned(), format!("{DIGEST}:QUEUED"), format!("{DIGEST}:PRIMED"), format!("{DIGEST}:INFO")]
        {
            assert_eq!(locked(&key).as_deref(), Some(format!("{DIGEST}:LOCKED").as_bytes()));
        }
        assert_eq!(locked(&format!("{DIGEST}:RUN")), Some(format!("{DIGEST}:RUN:LOCKED").into_bytes()));
        assert_eq!((locked(&format!("{DIGEST}:LOCKED")), locked("uniquejobs:digests")), (None, None));
        assert!(SidekiqUniqueJobs.is_never_a_lock(b"uniquejobs:expiring_digests"));
    }
}
