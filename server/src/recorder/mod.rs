//! What outlives a run of the server, on disk.

pub mod audit;
mod folder;
pub mod history;
pub mod notes;
