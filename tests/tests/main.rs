//! The whole of Lockkeeper as its users meet it. Each file is a promise, each test a sentence about it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, and so do its helpers")]

mod accessibility;
mod clients;
mod contract;
mod demo;
mod faults;
mod hostile;
mod journeys;
mod races;
mod readme;
mod release;
mod start;
mod stream;
mod trace;
