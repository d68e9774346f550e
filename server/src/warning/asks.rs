//! What the board is asked about warnings.

use std::cmp::Reverse;

use bytes::Bytes;
use lockkeeper_model::{
    Acknowledgement, LockId, LockWarning, Mute, RuleInForce, Severity, Time, WarningRule, WarningState,
};
use tokio::sync::oneshot;

use super::rules::Rules;
use super::watch::Watch;
use crate::access::Reach;
use crate::board::{Ask, Board, BoardClosed};
use crate::recorder::history::HoldTimes;
use crate::registry::Registry;

/// Which warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these states; empty: all.
    pub states: Vec<WarningState>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this lock.
    pub lock: Option<LockId>,
    /// Only of this rule.
    pub rule: Option<WarningRule>,
    /// Only of at least this severity.
    pub severity: Option<Severity>,
}

/// A part of the warnings.
#[derive(Clone, Debug)]
pub struct Listed {
    /// When this was true.
    pub as_of: Time,
    /// How many pass the filter.
    pub total: u64,
    /// Those of the page.
    pub warnings: Vec<LockWarning>,
    /// Locks with something for which there was no room.
    pub not_listed: u64,
    /// What is looked for.
    pub rules: Vec<RuleInForce>,
}

/// How many warnings of one kind are so now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The source.
    pub source: String,
    /// The rule.
    pub rule: WarningRule,
    /// The severity.
    pub severity: Severity,
    /// Those that nobody has acknowledged or muted.
    pub open: u64,
    /// All of them.
    pub all: u64,
}

/// A question about warnings, or something to do with them.
#[derive(Debug)]
pub enum WarningAsk {
    /// A page of those that there are for somebody.
    List { filter: Filter, reach: Reach, offset: usize, limit: usize, answer: oneshot::Sender<Listed> },
    /// One of them, with its lock's key.
    One { id: String, reach: Reach, answer: oneshot::Sender<Option<(LockWarning, Option<Bytes>)>> },
    /// Somebody looks into one.
    Acknowledge { id: String, what: Acknowledgement, answer: oneshot::Sender<Option<LockWarning>> },
    /// All mutes.
    Mutes { answer: oneshot::Sender<Vec<Mute>> },
    /// One more mute; answered with false where there are too many.
    Mute { mute: Mute, answer: oneshot::Sender<bool> },
    /// One mute less.
    Unmute { id: String, answer: oneshot::Sender<Option<Mute>> },
    /// How many there are.
    Counts { answer: oneshot::Sender<Vec<Count>> },
    /// Other rules are in force.
    Follow { rules: Rules },
    /// What was learned in earlier runs.
    Learn { learned: Vec<HoldTimes> },
}

impl Watch {
    /// Does what is asked. Whoever asked may have left meanwhile.
    pub fn answer(&mut self, registry: &Registry, ask: WarningAsk, now: Time) {
        match ask {
            WarningAsk::List { filter, reach, offset, limit, answer } => {
                drop(answer.send(self.list(&filter, &reach, offset, limit, now)));
            }
            WarningAsk::One { id, reach, answer } => {
                let mut seen = self.seen(&reach);
                let one = seen.find(|(warning, _)| warning.id == id);
                drop(answer.send(one.map(|(warning, key)| (warning.clone(), key.cloned()))));
            }
            WarningAsk::Acknowledge { id, what, answer } => drop(answer.send(self.acknowledge(&id, what))),
            WarningAsk::Mutes { answer } => drop(answer.send(self.mutes().to_vec())),
            WarningAsk::Mute { mute, answer } => drop(answer.send(self.mute(mute, now))),
            WarningAsk::Unmute { id, answer } => drop(answer.send(self.unmute(&id, now))),
            WarningAsk::Counts { answer } => drop(answer.send(self.counts())),
            WarningAsk::Follow { rules } => self.follow(registry, rules, now),
            WarningAsk::Learn { learned } => self.learn(registry, learned, now),
        }
    }

    fn list(&self, filter: &Filter, reach: &Reach, offset: usize, limit: usize, now: Time) -> Listed {
        let mut found: Vec<&LockWarning> =
            self.seen(reach).map(|(warning, _)| warning).filter(|warning| filter.has(warning)).collect();
        found.sort_by_cached_key(|warning| {
            let latest = warning.resolved_at.unwrap_or(warning.opened_at);
            let is_over = warning.state == WarningState::Resolved;
            let severity = if is_over { Severity::Info } else { warning.severity };
            (is_over, Reverse(severity), Reverse(latest), warning.id.clone())
        });
        Listed {
            as_of: now,
            total: found.len() as u64,
            warnings: found.into_iter().skip(offset).take(limit).cloned().collect(),
            // How many of these are hidden is nobody's business.
            not_listed: if reach.is_all() { self.not_listed() } else { 0 },
            rules: self.rules().in_force().into_iter().filter(|rule| is_told(rule, reach)).collect(),
        }
    }

    fn counts(&self) -> Vec<Count> {
        let mut counts = self.none();
        for (warning, _) in self.seen(&Reach::ALL).filter(|(warning, _)| warning.state != WarningState::Resolved) {
            let (rule, severity) = (warning.rule, warning.severity);
            let is_same =
                |count: &&mut Count| count.source == warning.source && count.rule == rule && count.severity == severity;
            let is_open = u64::from(warning.state == WarningState::Open);
            match counts.iter_mut().find(is_same) {
                Some(count) => (count.open, count.all) = (count.open + is_open, count.all + 1),
                None => {
                    counts.push(Count { source: warning.source.clone(), rule, severity, open: is_open, all: 1 });
                }
            }
        }
        counts.sort_by(|a, b| (&a.source, a.rule, a.severity).cmp(&(&b.source, b.rule, b.severity)));
        counts
    }
}

/// Whether a rule is told to whoever has this reach: its patterns may name locks and sources that they do not see.
fn is_told(rule: &RuleInForce, reach: &Reach) -> bool {
    let of_source = rule.source.as_ref().is_none_or(|source| reach.has_all_of(source));
    reach.is_all() || rule.pattern.is_none() && of_source
}

impl Watch {
    /// Of each rule that is looked for in a source, that there is nothing.
    fn none(&self) -> Vec<Count> {
        let of = |source: &str| {
            let rules = WarningRule::ALL.into_iter();
            let settings = rules.filter_map(|rule| Some((rule, self.rules().of(rule, source, None)?.severity)));
            settings
                .map(|(rule, severity)| Count { source: source.to_owned(), rule, severity, open: 0, all: 0 })
                .collect::<Vec<_>>()
        };
        self.source_names().flat_map(of).collect()
    }
}

impl Filter {
    fn has(&self, warning: &LockWarning) -> bool {
        (self.states.is_empty() || self.states.contains(&warning.state))
            && self.source.as_ref().is_none_or(|source| *source == warning.source)
            && self.lock.as_ref().is_none_or(|lock| warning.lock.as_ref() == Some(lock))
            && self.rule.is_none_or(|rule| rule == warning.rule)
            && self.severity.is_none_or(|least| warning.severity >= least)
    }
}

impl Board {
    /// Asks about warnings.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn warnings<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> WarningAsk) -> Result<T, BoardClosed> {
        self.ask(|answer| Ask::Warnings(Box::new(ask(answer)))).await
    }

    /// Has warnings follow something; nothing is answered.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn tell_warnings(&self, ask: WarningAsk) -> Result<(), BoardClosed> {
        self.tell(Ask::Warnings(Box::new(ask))).await
    }
}
