//! A question's filters, made ready to be asked of a million locks.

use lockkeeper_model::{Flag, LockState};
use memchr::memmem::Finder;

use super::Asked;
use crate::access::Reach;
use crate::registry::{Record, Registry};

/// Tests one lock after the other.
#[derive(Debug)]
pub(crate) struct Filter {
    words: Vec<Finder<'static>>,
    source: Option<String>,
    dialect: Option<String>,
    waiting: bool,
    state: Option<&'static str>,
    flag: Option<Flag>,
    reach: Reach,
    everything: bool,
}

impl Filter {
    pub(crate) fn new(asked: &Asked) -> Filter {
        let Asked { question, reach } = asked;
        let state = question.state.as_deref();
        Filter {
            words: question
                .q
                .split_whitespace()
                .map(|word| Finder::new(word.to_ascii_lowercase().as_bytes()).into_owned())
                .collect(),
            source: question.source.clone(),
            dialect: question.dialect.clone(),
            waiting: state == Some("waiting"),
            state: LockState::ALL.into_iter().map(LockState::word).find(|word| Some(*word) == state),
            flag: question.flag.as_deref().and_then(|word| Flag::ALL.into_iter().find(|flag| flag.word() == word)),
            everything: question.is_unfiltered() && reach.is_all(),
            reach: reach.clone(),
        }
    }

    /// Whether a held lock is an answer. `scratch` is memory to reuse.
    pub(crate) fn matches(&self, registry: &Registry, record: &Record, scratch: &mut Vec<u8>) -> bool {
        if self.everything {
            return true;
        }
        self.state.is_none_or(|wanted| record.state.word() == wanted)
            && (!self.waiting || record.waiting() > 0)
            && self.flag.is_none_or(|flag| registry.has_flag(record, flag))
            && self.dialect.as_deref().is_none_or(|name| record.recognition.dialect == name)
            && self.source.as_deref().is_none_or(|name| registry.source_name(record.source) == name)
            && self.reach.has(registry.source_name(record.source), &record.key)
            && self.words.iter().all(|word| {
                contains(word, &record.key, scratch)
                    || record.holds.iter().any(|hold| contains(word, &hold.token, scratch))
            })
    }
}

fn contains(word: &Finder<'_>, text: &[u8], scratch: &mut Vec<u8>) -> bool {
    scratch.clear();
    scratch.extend(text.iter().map(u8::to_ascii_lowercase));
    word.find(scratch).is_some()
}
