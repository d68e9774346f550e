//! Being told before customers notice: conditions that last too long, who looks into them, and whom to tell.
//!
//! ```text
//! board ──changes, moments──▶ [`watch`] ──▶ [`desk`] ──▶ [`store`] (what survives a restart)
//!                               ▲                  └──▶ [`hooks`] ──▶ webhooks
//! http, terminal ──asks─────────┘
//! ```
//!
//! Every rule is one condition and a time for which it has to last ([`rules`]). [`judge`] finds out of one lock since when
//! each condition is so; [`watch`] keeps what is so, by change and by deadline, and never walks all locks; [`usual`] knows
//! how long holds of a lock last, [`parties`] how many locks somebody has. None of these does IO or reads a clock.
//!
//! What is not here: whether a lock is in trouble is the registry's judgement, which its flags and these rules share.

mod asks;
mod desk;
mod hooks;
mod judge;
mod message;
mod parties;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod usual;
mod watch;

pub use asks::{Count, Filter, Listed, WarningAsk};
pub use desk::{NotKept, WAITING, Warnings, WarningsError, learn};
pub use hooks::{Form, Hook, MAX_DELIVERIES, Pick};
pub use rules::{Limit, MAX_OVERRIDES, Override, Rules, Setting};
pub use store::{FILE, Kept, Remembered, Store};
pub use usual::MIN_HOLDS;
pub use watch::{Condition, Told, Watch};
