//! What outlives a run of the server, on disk.

pub mod audit;
pub(crate) mod folder;
pub mod history;
pub mod notes;
