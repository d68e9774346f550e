//! Holds that were released from here a moment ago, so that a release that was a mistake can be taken back.
//!
//! A release compares everything of a hold that it takes away, so what was compared is what is put back, byte for byte. It
//! is kept in memory alone and for a minute: later nobody can say what the former holder went on to do.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lockkeeper_model::{Holder, Lock, Mode, Time};

use super::ticket::BoundHold;
use crate::board::Held;
use crate::source::{DialectTraits, ReleaseOrder, SourceId};

/// For how long a released hold can be put back, in milliseconds: who freed the wrong lock notices within a minute, and
/// what its holder did in the meantime without the lock is still little.
pub(super) const PUT_BACK_MS: i64 = 60_000;

/// Released holds that are kept in mind: far more than hands release in a minute; it bounds memory. Of more the oldest
/// cannot be put back.
const MAX_FORMERS: usize = 1_024;

/// A hold as it was when it was released.
#[derive(Clone, Debug)]
pub(super) struct Former {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    /// What a person calls the lock.
    pub(super) name: String,
    pub(super) holder: Holder,
    /// The order that released it: all that was compared.
    pub(super) order: ReleaseOrder,
    pub(super) traits: &'static DialectTraits,
    pub(super) released_at: Time,
    /// Until when it can be put back; before that its lease may be over.
    pub(super) until: Time,
}

impl Former {
    /// The hold that an order is about.
    pub(super) fn of(source: SourceId, held: &Held, order: &ReleaseOrder, now: Time) -> Option<Former> {
        let Held { lock, traits, orders, .. } = held;
        let place = orders.iter().position(|one| one.token == order.token)?;
        let (holder, order) = (lock.holders.get(place)?, orders[place].clone());
        let latest = now.plus(PUT_BACK_MS);
        let until = order.expires_not_after.map_or(latest, |end| end.min(latest));
        Some(Former {
            source,
            source_name: lock.source.clone(),
            name: lock.name.clone(),
            holder: holder.clone(),
            order,
            traits,
            released_at: now,
            until,
        })
    }

    /// Why it is not put back; `None` where it can be.
    pub(super) fn no_put_back(&self, lock: &Lock) -> Option<&'static str> {
        match () {
            () if lock.quorum.is_some() => Some("it lies on several masters, where it could come back on some only"),
            () if lock.mode != Mode::Exclusive => Some("several may hold it, and it may be full by now"),
            () if self.order.stamp.is_some() => Some("what was stored beside its token is not kept here"),
            () if self.holder.identity.operator.is_some() => Some("an operator held it: hold it again instead"),
            () => self.traits.no_put_back,
        }
    }

    /// Whether a ticket is bound to exactly this hold.
    pub(super) fn is(&self, hold: &BoundHold) -> bool {
        self.source_name == hold.source
            && *self.order.key == *hold.key
            && *self.order.token == *hold.token
            && self.holder.generation == hold.generation
            && self.order.count == hold.count
    }
}

/// The last released holds.
#[derive(Debug, Default)]
pub(super) struct Formers(Mutex<VecDeque<Former>>);

impl Formers {
    /// Keeps one in mind.
    pub(super) fn remember(&self, former: Former, now: Time) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.until.0 > now.0);
        if kept.len() >= MAX_FORMERS {
            kept.pop_front();
        }
        kept.push_back(former);
    }

    /// The one with this generation, if it was released from this lock and it is not too late.
    pub(super) fn find(&self, source: SourceId, key: &[u8], generation: &str, now: Time) -> Option<Former> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &&Former| {
            one.source == source && *one.order.key == *key && one.holder.generation == generation && one.until.0 > now.0
        };
        kept.iter().rev().find(is_it).cloned()
    }

    /// It has the lock again, or somebody else has: there is nothing to put back any more.
    pub(super) fn forget(&self, source: SourceId, key: &[u8], generation: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.source != source || *one.order.key != *key || one.holder.generation != generation);
    }
}
