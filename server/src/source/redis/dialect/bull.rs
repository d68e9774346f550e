//! Bull and BullMQ: a string `<prefix>:<queue>:<job>:lock` protects a job while it runs.
//!
//! It is shown and never released: whoever finds a job running without its lock puts it back in line, and it runs twice.
//! The job's hash beside it is the proof, because a name like this can be anybody's.
//!
//! Sources: OptimalBits/bull 4.16.5 and taskforcesh/bullmq 6.7.0, formats seen running.

use bytes::Bytes;
use lockkeeper_model::{Certainty, Identity, words};

use super::shape::is_uuid4;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, none, whole};
use crate::source::{DialectTraits, Form, HoldExtra, Recognition, ReleaseOrder};

pub(super) struct Bull;

const BULL: &str = "bull";
const BULLMQ: &str = "bullmq";

const SUFFIX: &[u8] = b":lock";
const UUID_CHARS: usize = 36;

/// The field of a job in which BullMQ writes the worker's name, where it has one.
const PROCESSED_BY: &[u8] = b"pb";

const TRAITS: DialectTraits = DialectTraits {
    told_because: "The queue finds the job without its lock within half a minute and lets it run again, beside the first.",
    no_release: Some(
        "it protects a job that runs: without it the queue takes the job for stalled and runs it a second time. Stop \
         the worker or the job instead",
    ),
    waiters_because: "nobody waits for it: the jobs in the queue wait for a worker",
    ..DialectTraits::PLAIN
};

static BULL_TRAITS: DialectTraits = DialectTraits {
    // The queue object's UUID, in the locks of all its jobs.
    token_is_one_use: false,
    identity: |token| Identity { instance: text(token), ..Identity::NOBODY },
    ..TRAITS
};

static BULLMQ_TRAITS: DialectTraits = DialectTraits {
    identity: |token| Identity { instance: token.get(..UUID_CHARS).and_then(text), ..Identity::NOBODY },
    ..TRAITS
};

static BULL_JOB: Recognition = Recognition {
    dialect: BULL,
    certainty: Certainty::Certain,
    because: "a random UUID under the name of a job with `:lock`, and the job's hash stands beside it",
    traits: &BULL_TRAITS,
};

static BULLMQ_JOB: Recognition = Recognition {
    dialect: BULLMQ,
    certainty: Certainty::Certain,
    because: "a worker's UUID and a number under the name of a job with `:lock`, and the job's hash stands beside it",
    traits: &BULLMQ_TRAITS,
};

static BULL_NAME: Recognition = Recognition {
    dialect: BULL,
    certainty: Certainty::Ambiguous,
    because: "a random UUID under `bull:<queue>:<job>:lock`, as Bull writes it; no hash of such a job stands beside it",
    traits: &BULL_TRAITS,
};

static BULLMQ_NAME: Recognition = Recognition {
    dialect: BULLMQ,
    certainty: Certainty::Likely,
    because: "a worker's UUID and a number under `<prefix>:<queue>:<job>:lock`, as BullMQ writes it; no hash of such a \
              job stands beside it",
    traits: &BULLMQ_TRAITS,
};

impl Dialect for Bull {
    fn names(&self) -> &'static [&'static str] {
        &[BULL, BULLMQ]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        key.ends_with(b":stalled-check")
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        match (&root.value, job(&root.key)) {
            (Value::String(token), Some(job)) if counter(token).is_some() => vec![job.to_vec()],
            _ => Vec::new(),
        }
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let (Some(token), Some(job)) = (stored.string(), job(stored.key())) else { return none() };
        let Some(counter) = counter(token) else { return none() };
        let hash = stored
            .beside(job)
            .map(|raw| &raw.value)
            .filter(|value| matches!(value, Value::Hash(_) | Value::TooLarge { hash: true, .. }));
        let recognition = match (counter.is_empty(), hash.is_some()) {
            (true, true) => &BULL_JOB,
            (false, true) => &BULLMQ_JOB,
            (false, false) => &BULLMQ_NAME,
            (true, false) if stored.key().starts_with(b"bull:") => &BULL_NAME,
            (true, false) => return none(),
        };
        let mut form = Form::exclusive(recognition, token, stored.ttl_ms());
        if let (Some(Value::Hash(fields)), [hold]) = (hash, &mut form.holds[..])
            && let Some((_, worker)) = fields.iter().find(|(field, _)| *field == PROCESSED_BY)
            && let Some(worker) = text(worker)
        {
            let identity = Identity { client_name: Some(worker), ..(recognition.traits.identity)(token) };
            hold.extra = Some(Box::new(HoldExtra { identity: Some(identity), ..HoldExtra::default() }));
        }
        if hash.is_some() {
            form.extra_mut().companions.push(Bytes::copy_from_slice(job));
        }
        whole(form)
    }

    fn release(&self, _order: &ReleaseOrder, _now_ms: i64) -> Script {
        Script { code: "return {'never'}", keys: Vec::new(), arguments: Vec::new() }
    }
}

/// The job's own key: `<prefix>:<queue>:<job>` of `<prefix>:<queue>:<job>:lock`.
fn job(key: &[u8]) -> Option<&[u8]> {
    let job = key.strip_suffix(SUFFIX)?;
    (job.iter().filter(|&&byte| byte == b':').count() >= 2).then_some(job)
}

/// What follows the UUID of a token: nothing for Bull, `:<number>` for BullMQ.
fn counter(token: &[u8]) -> Option<&[u8]> {
    let (uuid, rest) = token.split_at_checked(UUID_CHARS)?;
    let numbered = rest.strip_prefix(b":").is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
    (is_uuid4(uuid) && (rest.is_empty() || numbered)).then_some(rest)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(words::shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID4: &str = "0f8e41d2-a2c9-41ef-8b0a-0242ac120003";

    fn seen(key: &str, value: &str, job: Option<Raw>) -> Option<Form> {
        let root = Raw::string(key, value.as_bytes(), Some(9));
        let beside: Vec<Raw> = job.into_iter().collect();
        let stored = Stored { root: &root, beside: &beside, configured: false, now_ms: 0 };
        Bull.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    #[test]
    fn a_jobs_hash_proves_its_lock_and_names_the_worker() {
        let job = |fields: &[(&str, &str)]| Some(Raw::hash("bull:mail:1", fields, None));
        let form = seen("bull:mail:1:lock", UUID4, job(&[("name", "x")])).unwrap();
        assert_eq!(form.recognition, &BULL_JOB);
        assert!(form.recognition.traits.no_release.is_some());
        let form = seen("bull:mail:1:lock", &format!("{UUID4}:3"), job(&[("pb", "mailer")])).unwrap();
        assert_eq!(form.recognition, &BULLMQ_JOB);
        let identity = form.holds[0].extra.as_ref().unwrap().identity.as_ref().unwrap();
        assert_eq!((identity.client_name.as_deref(), identity.instance.as_deref()), (Some("mailer"), Some(UUID4)));
        let large = Raw {
            key: Bytes::from_static(b"bull:mail:1"),
            value: Value::TooLarge { because: String::new(), hash: true },
            ttl_ms: None,
        };
        assert_eq!(seen("bull:mail:1:lock", UUID4, Some(large)).unwrap().recognition, &BULL_JOB);
    }

    #[test]
    fn without_the_job_only_the_name_can_speak() {
        assert_eq!(seen("bull:mail:1:lock", UUID4, None).unwrap().recognition, &BULL_NAME);
        assert_eq!(seen("q:mail:1:lock", &format!("{UUID4}:3"), None).unwrap().recognition, &BULLMQ_NAME);
        assert!(seen("a:b:c:lock", UUID4, None).is_none());
        assert!(seen("b:c:lock", UUID4, Some(Raw::hash("b:c", &[("a", "b")], None))).is_none());
        assert!(seen("bull:mail:1:lock", "worker-7", None).is_none());
        assert!(seen("bull:mail:1:lock", &format!("{UUID4}:x"), None).is_none());
        assert!(Bull.is_never_a_lock(b"bull:mail:stalled-check"));
    }
}
