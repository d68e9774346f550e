//! The page's only link to the server, and the state that its frames are folded into.
//!
//! A frame comes in through [`socket`], is folded by [`session`] into the plain types beside it, and leaves as signals
//! that components read. Nothing here draws.

pub(crate) mod answers;
pub(crate) mod api;
mod asker;
pub(crate) mod audit;
mod backoff;
pub(crate) mod board;
mod clock;
pub(crate) mod complete;
mod decode;
pub(crate) mod groups;
pub(crate) mod heat;
pub(crate) mod incidents;
pub(crate) mod json;
mod link;
pub(crate) mod look;
pub(crate) mod moment;
pub(crate) mod past;
pub(crate) mod phrase;
mod poll;
pub(crate) mod recall;
mod rewind;
pub(crate) mod route;
pub(crate) mod runway;
pub(crate) mod selection;
mod session;
pub(crate) mod slots;
mod socket;
pub(crate) mod views;
pub(crate) mod waits;
pub(crate) mod warnings;

pub(crate) use asker::Sight;
pub(crate) use link::LinkState;
pub(crate) use poll::{Polled, poll};
pub(crate) use rewind::Rewind;
#[cfg(feature = "gallery")]
pub(crate) use session::Detail;
pub(crate) use session::{Live, Notice};
