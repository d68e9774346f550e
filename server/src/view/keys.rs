//! What locks are ordered and counted by, as it was when the views last took note of each.

use std::cmp::Ordering;

use lockkeeper_model::{FLAG_FILTERS, LockState, Order, SortKey};

use crate::registry::{Record, Registry, Slot};

/// The keys of one lock. Copies, because a view must find a lock under its old key after the registry has moved on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(super) waiters: u32,
    /// Seconds that all who waited in the last minutes have waited together.
    pub(super) blocked_s: u32,
    waiting_since_s: u32,
    pub(super) since: i64,
    expires: i64,
    last_change: i64,
    /// Grows with every change that a viewer could see.
    pub(crate) version: u32,
    pub(crate) held: bool,
    pub(crate) waiting: bool,
    pub(crate) no_expiry: bool,
    /// Its place among the dialects that were seen.
    pub(crate) dialect: u8,
    /// The place of its state among [`LockState::ALL`].
    pub(super) state: u8,
    /// It has missed a beat of its renewals.
    pub(super) quiet: bool,
    /// One bit for each of [`FLAG_FILTERS`].
    pub(super) flags: u32,
}

const _: () = assert!(FLAG_FILTERS.len() <= 32, "a bit for each");

impl Keys {
    pub(crate) fn of(registry: &Registry, record: &Record, version: u32, dialect: u8) -> Keys {
        let flags = FLAG_FILTERS.iter().enumerate().map(|(at, flag)| u32::from(registry.has_flag(record, *flag)) << at);
        Keys {
            version,
            held: !record.is_ended(),
            waiting: record.waiting() > 0 && !record.is_ended(),
            no_expiry: record.no_expiry(),
            dialect,
            state: LockState::ALL.iter().position(|state| *state == record.state).map_or(0, |place| place as u8),
            quiet: record.is_quiet() && !record.is_ended(),
            flags: flags.fold(0, |all, one| all | one),
            ..Keys::to_order(record)
        }
    }

    /// As much as an order needs.
    pub(super) fn to_order(record: &Record) -> Keys {
        Keys {
            waiters: record.waiting(),
            blocked_s: record
                .contention()
                .map_or(0, |contention| u32::try_from(contention.blocked_ms() / 1_000).unwrap_or(u32::MAX)),
            waiting_since_s: record.waits_since().map_or(u32::MAX, seconds),
            since: record.since(),
            expires: record.expires(),
            last_change: record.last_change,
            ..Keys::default()
        }
    }

    /// A number that orders by this key; ties are broken by name.
    pub(crate) fn rank(&self, sort: SortKey, order: Order) -> u64 {
        let rank = match sort {
            SortKey::Blocked => u64::from(self.blocked_s) << 32 | u64::from(self.waiters),
            SortKey::Waiters => u64::from(self.waiters) << 32 | u64::from(u32::MAX - self.waiting_since_s),
            SortKey::HeldSince => ascending(self.since),
            SortKey::TimeLeft => ascending(self.expires),
            SortKey::LastChange => ascending(self.last_change),
            SortKey::Name => return 0,
        };
        match order {
            Order::Asc => rank,
            Order::Desc => !rank,
        }
    }
}

fn seconds(ms: i64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(if ms < 0 { 0 } else { u32::MAX })
}

/// Signed order as unsigned order.
fn ascending(value: i64) -> u64 {
    value as u64 ^ (1 << 63)
}

/// The order of two slots: by rank, then by the key's bytes, then by source.
pub(crate) fn compare(registry: &Registry, keys: &[Keys], sort: SortKey, order: Order, a: Slot, b: Slot) -> Ordering {
    let rank = |slot: Slot| keys.get(slot as usize).map_or(0, |keys| keys.rank(sort, order));
    rank(a).cmp(&rank(b)).then_with(|| by_name(registry, sort, order, a, b))
}

fn by_name(registry: &Registry, sort: SortKey, order: Order, a: Slot, b: Slot) -> Ordering {
    let name = |slot: Slot| registry.record(slot).map(|record| (&*record.key, record.source));
    let ordering = name(a).cmp(&name(b)).then(a.cmp(&b));
    if sort == SortKey::Name && order == Order::Desc { ordering.reverse() } else { ordering }
}

/// A slot with its rank and with eight bytes of its name behind what all names share, which together nearly always decide
/// without touching the names again.
type Placed = (u64, u64, Slot);

/// Sorts many slots at once.
pub(crate) fn sort_all(registry: &Registry, keys: &[Keys], sort: SortKey, order: Order, slots: Vec<Slot>) -> Vec<Slot> {
    let rank = |slot: Slot| keys.get(slot as usize).map_or(0, |keys| keys.rank(sort, order));
    let ranked = slots.into_iter().map(|slot| (rank(slot), slot)).collect();
    let mut placed = place(registry, sort, order, ranked);
    placed.sort_unstable_by(|a, b| in_order(registry, sort, order, a, b));
    placed.into_iter().map(|(_, _, slot)| slot).collect()
}

/// The slots of these from `offset` on, at most so many, as all would be sorted by their ranks. What is behind them is put
/// into no order.
pub(crate) fn window_of(
    registry: &Registry,
    sort: SortKey,
    order: Order,
    ranked: Vec<(u64, Slot)>,
    offset: usize,
    limit: usize,
) -> Vec<Slot> {
    let mut placed = place(registry, sort, order, ranked);
    let end = offset.saturating_add(limit);
    if end < placed.len() {
        placed.select_nth_unstable_by(end, |a, b| in_order(registry, sort, order, a, b));
        placed.truncate(end);
    }
    placed.sort_unstable_by(|a, b| in_order(registry, sort, order, a, b));
    placed.into_iter().skip(offset).map(|(_, _, slot)| slot).collect()
}

fn place(registry: &Registry, sort: SortKey, order: Order, ranked: Vec<(u64, Slot)>) -> Vec<Placed> {
    let key = |slot: Slot| registry.record(slot).map_or(&[][..], |record| &record.key);
    let Some(&(_, first)) = ranked.first() else { return Vec::new() };
    let shared = ranked.iter().fold(key(first).len(), |shared, &(_, slot)| {
        key(first)[..shared].iter().zip(key(slot)).take_while(|(a, b)| a == b).count()
    });
    let reverse_names = sort == SortKey::Name && order == Order::Desc;
    let placed = ranked.into_iter().map(|(rank, slot)| {
        let mut head = [0; 8];
        let rest = &key(slot)[shared..];
        let n = rest.len().min(8);
        head[..n].copy_from_slice(&rest[..n]);
        let head = u64::from_be_bytes(head);
        (rank, if reverse_names { !head } else { head }, slot)
    });
    placed.collect()
}

fn in_order(registry: &Registry, sort: SortKey, order: Order, a: &Placed, b: &Placed) -> Ordering {
    (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| by_name(registry, sort, order, a.2, b.2))
}
