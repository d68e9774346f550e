//! Who asks, and what they may see and do.
//!
//! - [`person`]: somebody who asks, however that was found out.
//! - [`rights`]: what roles are granted, and what follows from it for one person. No IO, no clock.
//! - [`narrow`]: what is said of a source to somebody who sees a part of its locks.
//!
//! Whoever answers a request asks the [`Scope`] of its [`Person`], and nothing else. A lock outside it does not exist
//! for that person.

pub mod narrow;
pub mod person;
pub mod rights;
#[cfg(test)]
pub(crate) mod tests;

pub use person::{Person, SessionId, Via};
pub use rights::{Grant, Policy, Reach, Right, Rights, Role, Scope};
