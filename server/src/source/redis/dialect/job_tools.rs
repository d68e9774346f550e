//! Locks that job systems keep for themselves, each under a name of its own: rq's scheduler, arq's running jobs,
//! celery-singleton's queued tasks.
//!
//! Sources: rq/rq 2.12, python-arq/arq 0.28, celery-singleton 0.3.1; formats seen running.

use lockkeeper_model::{Certainty, Identity, LockState, words};

use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct JobTools;

const RQ_SCHEDULER: &str = "rq-scheduler";
const ARQ: &str = "arq";
const CELERY_SINGLETON: &str = "celery-singleton";

/// The longest value that any of them writes by itself is a UUID; pickles of one character are shorter.
const MAX_VALUE: usize = 64;

static SCHEDULER: Recognition = Recognition {
    dialect: RQ_SCHEDULER,
    certainty: Certainty::Certain,
    because: "a key under `rq:scheduler-lock:`, with the name or the process of rq's scheduler",
    traits: &DialectTraits {
        strip_prefix: "rq:scheduler-lock:",
        told_because: "The store does not tell it. At its next beat, once a minute at most, the scheduler takes the lock \
                       again if nobody else has.",
        unsafe_unlock: Some(
            "releases of rq before 2 renew and delete the key without comparing, whoever has it by then",
        ),
        comes_back: Some("the scheduler takes the lock again at its next beat, unless another has it by then"),
        // A scheduler's name, or its process, in the locks of all its queues and at every acquire.
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        token_is_one_use: false,
        waiters_because: "other schedulers try once per beat, which leaves no trace in Redis",
        identity: scheduler,
        ..DialectTraits::PLAIN
    },
};

static RUNNING_JOB: Recognition = Recognition {
    dialect: ARQ,
    certainty: Certainty::Certain,
    because: "a key under `arq:in-progress:`: arq keeps a job that runs from being started twice",
    traits: &DialectTraits {
        strip_prefix: "arq:in-progress:",
        told_because: "Nothing tells it: the job runs to its end and deletes the key then. Another worker may start the job \
                       beside it meanwhile.",
        unsafe_unlock: Some("arq deletes the key at the job's end without comparing, whoever has it by then"),
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        never_renews: Some("arq does not renew"),
        token_is_one_use: false,
        waiters_because: "nobody waits for it: the jobs in the queue wait for a worker",
        ..DialectTraits::PLAIN
    },
};

static SINGLETON: Recognition = Recognition {
    dialect: CELERY_SINGLETON,
    certainty: Certainty::Certain,
    because: "a task's id under `SINGLETONLOCK_`: celery-singleton keeps a task from being queued twice",
    traits: &DialectTraits {
        strip_prefix: "SINGLETONLOCK_",
        told_because: "Nothing tells it: the task runs to its end and deletes the key then.",
        unsafe_unlock: Some(
            "celery-singleton deletes the key at the task's end without comparing, whoever has it by then",
        ),
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        never_renews: Some("celery-singleton does not renew"),
        waiters_because: "nobody waits for it: a task that is queued already is not queued again",
        ..DialectTraits::PLAIN
    },
};

impl Dialect for JobTools {
    fn names(&self) -> &'static [&'static str] {
        &[RQ_SCHEDULER, ARQ, CELERY_SINGLETON]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(value) = stored.string().filter(|value| value.len() <= MAX_VALUE) else { return none() };
        let key = stored.key();
        let (recognition, state) = match key.first() {
            Some(b'r') if is_under(key, b"rq:scheduler-lock:") => (&SCHEDULER, LockState::Held),
            Some(b'a') if is_under(key, b"arq:in-progress:") => (&RUNNING_JOB, LockState::UnknownHolder),
            Some(b'S') if is_under(key, b"SINGLETONLOCK_") => (&SINGLETON, LockState::Held),
            _ => return none(),
        };
        whole(Form { state, ..Form::exclusive(recognition, value, stored.ttl_ms()) })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

fn is_under(key: &[u8], prefix: &[u8]) -> bool {
    key.len() > prefix.len() && key.starts_with(prefix)
}

/// A scheduler's name, or in older releases its process.
fn scheduler(token: &[u8]) -> Identity {
    let text = std::str::from_utf8(token).unwrap_or_default();
    match text.parse() {
        Ok(pid) => Identity { pid: Some(pid), ..Identity::NOBODY },
        Err(_) if text.is_empty() => Identity::NOBODY,
        Err(_) => Identity { instance: Some(words::shown(text)), ..Identity::NOBODY },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    fn seen(key: &str, value: &[u8]) -> Option<(&'static str, LockState)> {
        let root = Raw::string(key, value, None);
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms: 0 };
        JobTools.recognise(&stored).first().map(|found| (found.form.recognition.dialect, found.form.state))
    }

    #[test]
    fn each_is_known_by_its_name() {
        use LockState::{Held, UnknownHolder};
        assert_eq!(seen("rq:scheduler-lock:mail", b"a625b5353286457a811311c2182f8843"), Some((RQ_SCHEDULER, Held)));
        assert_eq!(seen("arq:in-progress:import-42", b"1"), Some((ARQ, UnknownHolder)));
        assert_eq!(seen("arq:retry:import-42", b"1"), None);
        assert_eq!(seen("SINGLETONLOCK_0ed6", b"cf7fe3fe-8741-46d4-b1d8-b49759f45fe2"), Some((CELERY_SINGLETON, Held)));
        assert_eq!(seen("arq:in-progress:", b"1"), None);
    }

    #[test]
    fn an_old_schedulers_value_is_its_process() {
        assert_eq!(scheduler(b"4242").pid, Some(4_242));
        assert_eq!(scheduler(b"a625b535").instance.as_deref(), Some("a625b535"));
    }
}
