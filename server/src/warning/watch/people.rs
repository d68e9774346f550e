//! What people say to warnings: that they look into one, and of what nobody is told for a while.

use lockkeeper_model::{Acknowledgement, LockWarning, Mute, MutedBy, Time};

use super::open::Id;
use super::{MAX_MUTES, Told, Watch};
use crate::glob;

impl Watch {
    /// Takes note that somebody looks into a warning; `None`: there is no such warning that is so.
    pub fn acknowledge(&mut self, id: &str, acknowledgement: Acknowledgement) -> Option<LockWarning> {
        let id = Id::from_str_radix(id, 16).ok()?;
        let open = self.open.get_mut(&id)?;
        open.warning.acknowledged = Some(acknowledgement);
        open.settle();
        let event = open.told_as.map(|_| "acknowledged");
        self.told.push(Told::of(open, event));
        self.version += 1;
        Some(open.warning.clone())
    }

    /// The mutes that are in force.
    #[must_use]
    pub fn mutes(&self) -> &[Mute] {
        &self.mutes
    }

    /// Has nobody told of what this mute is about. False: there are too many.
    pub fn mute(&mut self, mute: Mute, now: Time) -> bool {
        if self.mutes.len() >= MAX_MUTES {
            return false;
        }
        self.mutes.push(mute);
        self.mute_all(now);
        true
    }

    /// Takes a mute away; `None`: there is no such mute.
    pub fn unmute(&mut self, id: &str, now: Time) -> Option<Mute> {
        let at = self.mutes.iter().position(|mute| mute.id == id)?;
        let mute = self.mutes.remove(at);
        self.mute_all(now);
        Some(mute)
    }

    pub(super) fn mute_all(&mut self, now: Time) {
        let ids: Vec<Id> = self.open.keys().copied().collect();
        for id in ids {
            if self.mute_again(id, now) {
                self.announce(id);
            }
        }
        self.version += 1;
    }

    /// Finds the mute of one that is open. Says whether it is another than before.
    pub(super) fn mute_again(&mut self, id: Id, now: Time) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return false };
        let fits = |mute: &&Mute| mute.until > now && is_about(mute, &open.warning, open.key.as_deref());
        let muted = self.mutes.iter().filter(fits).max_by_key(|mute| mute.until).map(|mute| MutedBy {
            id: mute.id.clone(),
            until: mute.until,
            by: mute.by.clone(),
            reason: mute.reason.clone(),
        });
        let changed = open.warning.muted != muted;
        open.warning.muted = muted;
        open.settle();
        changed
    }
}

fn is_about(mute: &Mute, warning: &LockWarning, key: Option<&[u8]>) -> bool {
    mute.source == warning.source
        && mute.rule.is_none_or(|rule| rule == warning.rule)
        && match (&mute.lock, &mute.pattern, key) {
            (Some(_), ..) => mute.lock == warning.lock,
            (None, Some(pattern), Some(key)) => glob::matches(pattern.as_bytes(), key),
            (None, Some(pattern), None) => pattern == "*",
            (None, None, _) => false,
        }
}
