//! The lock client against real Redis servers.

mod one_master;
mod redis_server;
mod redlock;
mod reports;
