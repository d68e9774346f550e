//! What outlives a run of the server: on disk, or in PostgreSQL, which several servers share.

pub mod audit;
pub mod db;
pub(crate) mod folder;
pub mod history;
pub mod notes;
