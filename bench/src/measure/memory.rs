//! What a million locks weigh.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::Bench;
use crate::fill;
use crate::process::{Memory, RedisServer};
use crate::report::{Line, Verdict, megabytes};

const MOST: u64 = 600_000_000;

/// What the scan no longer needs has been given back by then, if ever.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(super::FULL_SIZE);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    std::thread::sleep(SETTLE);
    let memory = Memory::of(server.pid())?;
    let each = memory.resident as f64 / f64::from(locks);
    Ok(vec![Line {
        name: "memory",
        what: format!("server memory with {locks} locks"),
        must: format!("\u{2264} {}", megabytes(MOST)),
        measured: megabytes(memory.resident),
        verdict: Verdict::of(memory.resident <= MOST),
        details: vec![format!("at most {} until then", megabytes(memory.peak)), format!("{each:.0} bytes a lock")],
        numbers: json!({ "locks": locks, "resident_bytes": memory.resident, "peak_bytes": memory.peak }),
    }])
}
