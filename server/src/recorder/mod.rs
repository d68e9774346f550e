//! What outlives a run of the server, on disk.

pub mod audit;
