//! The rim: the public contract over HTTP, the app's WebSocket and the app itself.
//!
//! A handler extracts, asks the board or the release desk, and answers. What a stranger may do at all is decided
//! before, in `guard`; who asks and what they may see, in `caller`; how it fails is one type, [`ApiError`].

mod account;
mod app;
mod approvals;
mod audit;
mod caller;
mod connections;
mod contention;
mod error;
mod events;
mod extract;
mod graph;
mod groups;
mod guard;
mod health;
mod history;
mod holders;
mod incidents;
mod listener;
mod locks;
mod locks_file;
mod metrics;
mod notes;
pub(crate) mod oidc;
mod openapi;
mod password;
mod releases;
mod router;
mod serve;
mod session;
mod sessions;
mod settings;
mod sign_in;
mod signing;
mod sources;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod traces;
mod warnings;

pub use caller::Identify;
pub use error::ApiError;
pub use listener::Incoming;
pub use router::router;
pub use serve::{DRAIN, serve};
pub use settings::Configured;
pub use state::AppState;
