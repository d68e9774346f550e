//! The lock client against real Redis servers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails, and so do its helpers")]

mod one_master;
mod redis_server;
mod redlock;
mod reports;
