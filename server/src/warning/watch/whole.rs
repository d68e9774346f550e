//! What is so of a source as a whole, and of those who hold many of its locks.

use lockkeeper_model::{Time, WarningRule, words};

use super::open::{Id, Open, id_of};
use super::{Condition, Watch};
use crate::registry::{Registry, Slot};
use crate::source::SourceId;
use crate::warning::judge;
use crate::warning::rules::{Limit, Setting};

/// Of those who have more locks than a limit, this share of it has to be given back before it is over.
const GIVEN_BACK: u32 = 10;

impl Watch {
    /// Takes note of how the sources are watched. To be called every moment: what is counted of holders is judged here.
    pub fn conditions(&mut self, registry: &Registry, conditions: &[Condition], now: Time) {
        for (at, &condition) in conditions.iter().enumerate() {
            let Some(source) = self.sources.get_mut(at) else { continue };
            let id = SourceId(u16::try_from(at).unwrap_or(u16::MAX));
            let became_current = condition.current && !source.condition.current;
            let became_old = !condition.current && source.condition.current;
            source.condition = condition;
            source.was_current |= condition.current;
            if became_current {
                for slot in std::mem::take(&mut source.parked) {
                    self.wake(slot, now.0);
                }
                self.let_go_of_carried(id, now);
                // Nobody was told of these while it was not known whether they are still so.
                for slot in self.slots_with_untold(at) {
                    self.wake(slot, now.0);
                }
            }
            if became_current || became_old {
                self.mark(at, became_old);
            }
            self.evictable(id, condition, now);
        }
        self.many_locks(registry, now);
    }

    fn slots_with_untold(&self, at: usize) -> Vec<Slot> {
        let name = &self.sources[at].name;
        let is_untold = |open: &Open| open.warning.source == *name && open.is_untold();
        let has_untold = |ids: &[Id]| ids.iter().any(|id| self.open.get(id).is_some_and(is_untold));
        self.of_slot.iter().filter(|(_, ids)| has_untold(ids)).map(|(slot, _)| *slot).collect()
    }

    pub(super) fn open_of(&self, source: SourceId, rule: WarningRule) -> impl Iterator<Item = Id> {
        let name = self.sources.get(usize::from(source.0)).map_or("", |source| &source.name);
        self.open
            .iter()
            .filter(move |(_, open)| open.warning.rule == rule && open.warning.source == name)
            .map(|(id, _)| *id)
    }

    /// Whether what is said of a source is old.
    fn mark(&mut self, at: usize, stale: bool) {
        let name = &self.sources[at].name;
        for open in self.open.values_mut().filter(|open| open.warning.source == *name) {
            open.warning.stale = stale;
        }
        self.version += 1;
    }

    fn evictable(&mut self, source: SourceId, condition: Condition, now: Time) {
        let rule = WarningRule::Evictable;
        let Some(known) = self.sources.get_mut(usize::from(source.0)).filter(|_| condition.current) else { return };
        let name = known.name.clone();
        let id = id_of(rule, &name, b"", b"");
        let setting = self.rules.of(rule, &name, None).filter(|_| condition.evicts);
        let Some(setting) = setting else {
            known.evicts_since = None;
            self.away(id, now.0, judge::ended(rule, None, false));
            return;
        };
        let since = *known.evicts_since.get_or_insert(now.0);
        if self.open.contains_key(&id) {
            self.back(id);
        } else if now.0 - since >= setting.for_ms {
            let says =
                format!("`{}` drops keys when its memory is full, and its locks are among them.", words::shown(&name));
            self.open(id, rule, &setting, source, None, words::shown(&name), since, says, now);
        }
    }

    fn many_locks(&mut self, registry: &Registry, now: Time) {
        let rule = WarningRule::ManyLocks;
        let mut found: Vec<(Id, bool, Option<TooMany>)> = Vec::new();
        let (rules, sources, open) = (&self.rules, &self.sources, &self.open);
        self.parties.over(|party, over, locks| {
            let Some(source) = sources.get(usize::from(over.source.0)) else { return false };
            if !source.condition.current {
                // Nobody knows how many it has.
                return true;
            }
            let id = id_of(rule, &source.name, b"", &party.to_be_bytes());
            let setting = rules.of(rule, &source.name, None);
            let limit = setting.and_then(|setting| match setting.limit {
                Limit::Locks(limit) => Some((setting, limit)),
                _ => None,
            });
            let Some((setting, limit)) = limit.filter(|(_, limit)| locks > limit - limit / GIVEN_BACK) else {
                found.push((id, false, None));
                return false;
            };
            if open.contains_key(&id) {
                found.push((id, true, None));
            } else if now.0 - over.since >= setting.for_ms && locks > limit {
                let who = registry.record(over.one).and_then(Registry::first_holder).unwrap_or_default();
                let says = format!(
                    "`{who}` has had more than {} locks since {}, and had {} at {now}.",
                    words::count(limit.into()),
                    Time(over.since),
                    words::count(locks.into())
                );
                let (source, since) = (over.source, over.since);
                found.push((id, true, Some(TooMany { setting, source, who, since, says })));
            }
            true
        });
        for (id, is_over, new) in found {
            match new {
                Some(TooMany { setting, source, who, since, says }) => {
                    self.open(id, rule, &setting, source, None, who, since, says, now);
                }
                None if is_over => self.back(id),
                None => self.away(id, now.0, judge::ended(rule, None, false)),
            }
        }
    }
}

/// Somebody with more locks than a limit, of whom nobody was told yet.
struct TooMany {
    setting: Setting,
    source: SourceId,
    who: String,
    since: i64,
    says: String,
}
