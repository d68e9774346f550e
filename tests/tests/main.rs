//! The whole of Lockkeeper as its users meet it. Each file is a promise, each test a sentence about it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, and so do its helpers")]

mod access;
mod access_local;
mod accessibility;
mod account;
mod actions;
mod approvals;
mod audit;
mod clients;
mod cluster;
mod contract;
mod demo;
mod dialects_redisson;
mod dialects_sets;
mod faults;
mod formats;
mod generated_client;
mod history;
mod hostile;
mod journeys;
mod journeys_language;
mod journeys_locks;
mod journeys_pages;
mod journeys_past;
mod journeys_release;
mod journeys_warnings;
mod operating;
mod pictures;
mod races;
mod races_dialects;
mod races_failover;
mod readme;
mod redlock;
mod release;
mod reports;
mod sentinel;
mod several_servers;
mod start;
mod stream;
mod terminal;
mod terminal_actions;
mod tls;
mod trace;
mod two_credentials;
mod warnings;
