//! The rim: the public contract over HTTP, the app's WebSocket and the app itself.
//!
//! A handler extracts, asks the board or the release desk, and answers. What a stranger may do at all is decided
//! before, in `guard`; who asks and what they may see, in `caller`; how it fails is one type, [`ApiError`].

mod app;
mod approvals;
mod audit;
mod caller;
mod error;
mod events;
mod extract;
mod graph;
mod guard;
mod health;
mod history;
mod incidents;
mod listener;
mod locks;
mod locks_file;
mod metrics;
pub(crate) mod oidc;
mod openapi;
mod releases;
mod router;
mod serve;
mod session;
mod sign_in;
mod sources;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod traces;

pub use caller::Identify;
pub use error::ApiError;
pub use listener::Incoming;
pub use router::router;
pub use serve::{DRAIN, serve};
pub use state::AppState;
