//! Whether a lock is still what a ticket is bound to, and what is to be sent then.

use lockkeeper_model::{Action, Holder, Lock, Mode, Outcome, words};

use super::former::Former;
use super::ticket::BoundHold;
use super::{actions, named};
use crate::board::Held;
use crate::source::{Act, ReleaseOrder};

/// The lock is not what the ticket is bound to any more.
pub(super) struct Different {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) holder_now: Option<Holder>,
}

/// The order that does what the ticket permits, if all is still as it was previewed. What it is to do beyond that, and for
/// how long, is for the caller to add. `former` is the hold that was released from here, where one is to be put back.
pub(super) fn compare(
    action: Action,
    hold: &BoundHold,
    held: Option<&Held>,
    former: Option<&Former>,
) -> Result<ReleaseOrder, Box<Different>> {
    match action {
        Action::EvictWaiter => compare_waiter(hold, held),
        Action::PutBack => compare_former(hold, held, former),
        Action::Release | Action::ReleaseAndHold | Action::ExtendHold | Action::RaiseFence => {
            compare_holder(action, hold, held)
        }
    }
}

/// What an action compares of a hold. A fencing counter that is to be raised is compared even where the token alone says
/// which acquire it is.
pub(super) fn compared(action: Action, order: &ReleaseOrder, holder: &Holder) -> ReleaseOrder {
    match (action, &holder.fencing_token) {
        (Action::RaiseFence, Some(fence)) => {
            ReleaseOrder { fencing: Some(fence.value.as_str().into()), ..order.clone() }
        }
        _ => order.clone(),
    }
}

fn different<T>(outcome: Outcome, detail: impl Into<String>, holder_now: Option<Holder>) -> Result<T, Box<Different>> {
    Err(Box::new(Different { outcome, detail: detail.into(), holder_now }))
}

/// The order that gives the lock back to the holder whom the ticket is bound to, if nobody has it and it is not too late.
fn compare_former(
    hold: &BoundHold,
    held: Option<&Held>,
    former: Option<&Former>,
) -> Result<ReleaseOrder, Box<Different>> {
    if let Some(lock) = held.map(|held| &held.lock).filter(|lock| !lock.holders.is_empty()) {
        let (detail, now) = whose_now(Some(lock));
        return different(Outcome::ChangedHands, detail, now);
    }
    match former {
        Some(former) if former.is(hold) => Ok(ReleaseOrder { act: Act::PutBack, ..former.order.clone() }),
        _ => different(Outcome::Refused, "it was released too long ago to be put back, or its lease is over", None),
    }
}

/// Says of a hold that is not there any more who has the lock now. Where several may hold it, the others are not news.
pub(super) fn whose_now(lock: Option<&Lock>) -> (String, Option<Holder>) {
    match lock {
        Some(lock) if lock.mode != Mode::Exclusive => ("this holder has let go; others have it".to_owned(), None),
        Some(Lock { holders, .. }) if !holders.is_empty() => {
            (format!("{} has it now", named(&holders[0])), Some(holders[0].clone()))
        }
        _ => ("another holder has it now".to_owned(), None),
    }
}

/// Why a waiter is left in its queue.
pub(super) const MOVED: &str = "the queue moved: the waiter is not at its head any more, or not as it was seen";

/// The order that takes the waiter out of its queue that the ticket is bound to, if it is still the head of the queue of
/// a free lock, in the same place, and nothing new is known of it.
fn compare_waiter(hold: &BoundHold, held: Option<&Held>) -> Result<ReleaseOrder, Box<Different>> {
    let Some(held) = held else {
        return different(Outcome::Gone, "nobody is in its queue any more", None);
    };
    match (&held.eviction, held.lock.holders.first()) {
        (Some((head, order)), _) if *order.token == *hold.token && head.generation == hold.generation => {
            Ok(order.clone())
        }
        (_, Some(now)) => different(Outcome::ChangedHands, format!("{} has it now", named(now)), Some(now.clone())),
        (_, None) => different(Outcome::ChangedHands, MOVED, None),
    }
}

/// The order that frees the hold that the ticket is bound to, if it is still the same hold. Equal tokens are not
/// enough: some libraries use one again.
fn compare_holder(action: Action, hold: &BoundHold, held: Option<&Held>) -> Result<ReleaseOrder, Box<Different>> {
    let Some(held) = held else {
        return different(Outcome::Gone, "it was free already", None);
    };
    let holders = &held.lock.holders;
    let Some((index, order)) = held.orders.iter().enumerate().find(|(_, order)| *order.token == *hold.token) else {
        let (detail, now) = whose_now(Some(&held.lock));
        return different(Outcome::ChangedHands, detail, now);
    };
    let holder = holders.get(index);
    let order = holder.map_or_else(|| order.clone(), |holder| compared(action, order, holder));
    if let Some(because) = holder.and_then(|holder| actions::not_offered(action, held, holder)) {
        return different(Outcome::Refused, because, holder.cloned());
    }
    if holder.is_none_or(|holder| holder.generation != hold.generation) {
        let detail = "the same token has it, but it let go and took it again since the preview".to_owned();
        return different(Outcome::ChangedHands, detail, holder.cloned());
    }
    if order.count != hold.count {
        let detail = format!("the hold count changed from {} to {} since the preview", hold.count, order.count);
        return different(Outcome::Refused, detail, holder.cloned());
    }
    if order.fencing != hold.fencing {
        let number = |fencing: &Option<Box<str>>| fencing.as_deref().map_or("none".to_owned(), words::shown);
        let (before, now) = (number(&hold.fencing), number(&order.fencing));
        let detail = format!(
            "the fencing counter changed from {before} to {now} since the preview: the same client took it again"
        );
        return different(Outcome::Refused, detail, holder.cloned());
    }
    if order.mode != hold.mode {
        let detail = "how this holder holds the lock, alone or with others, changed since the preview".to_owned();
        return different(Outcome::Refused, detail, holder.cloned());
    }
    Ok(order)
}
