//! Lockkeeper's server: watches stores, keeps the board of locks, answers viewers and releases with guards.
//!
//! ```text
//! source ──observations──▶ registry ──changes──▶ view ──deltas──▶ http
//!        ◀───release────── release ◀───ticket─── http
//! ```
//!
//! `board` is the one task that turns this crank: it owns the registry and the views, and nothing else writes to them.
//! `recorder` keeps what outlives a run.

pub mod access;
#[cfg(test)]
mod bent;
pub mod board;
pub mod clock;
pub mod config;
pub mod demo;
#[cfg(test)]
mod fake;
mod glob;
pub mod http;
pub mod manage;
pub mod outbox;
pub mod recorder;
pub mod registry;
pub mod release;
pub mod reload;
pub mod source;
pub mod telemetry;
pub mod terminal;
pub mod tls;
pub mod view;
pub mod warning;
pub mod watched;
pub mod webhook;
