//! What a quiet store costs.

use std::time::Duration;

use anyhow::Result;
use lockkeeper_model::wire::ServerFrame;
use lockkeeper_model::{Question, SortKey};
use serde_json::json;

use super::Bench;
use crate::fill;
use crate::process::{Load, RedisServer};
use crate::report::{Line, Verdict};
use crate::viewer::Viewer;

const MOST_PERCENT: f64 = 2.0;

/// What follows a first scan is over by then, and the next one is minutes away.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(super::FULL_SIZE);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    let before = server.until_live()?.coverage.finished_at;
    let mut viewer = Viewer::open(server.address)?;
    viewer.ask(&Question { sort: SortKey::TimeLeft, ..Question::default() }, 0, 60)?;
    let following = viewer.follow((0_u64, 0_u64), |(windows, others), _, frame| match frame {
        ServerFrame::Window { .. } | ServerFrame::Delta { .. } => *windows += 1,
        _ => *others += 1,
    });
    std::thread::sleep(SETTLE);

    let (own, store) = (Load::begin(server.pid())?, Load::begin(redis.pid())?);
    std::thread::sleep(bench.full_or(Duration::from_secs(30), Duration::from_secs(20)));
    let (own, store) = (own.percent()?, store.percent()?);
    let status = server.api()?.source()?;
    let (windows, others) = following.stop()?;
    if status.coverage.finished_at != before {
        anyhow::bail!("find a quiet stretch: everything was scanned again meanwhile");
    }
    Ok(vec![Line {
        name: "idle",
        what: format!("idle CPU with {locks} quiet locks and one viewer"),
        must: format!("\u{2264} {MOST_PERCENT} % of a core"),
        measured: format!("{own:.2} %"),
        verdict: Verdict::of(own <= MOST_PERCENT),
        details: vec![
            format!("Redis {store:.2} %, which is mostly its own"),
            format!("{} commands/s sent to it", status.own_commands_per_second),
            format!("{windows} frames of rows, {others} others"),
        ],
        numbers: json!({
            "locks": locks, "percent": own, "redis_percent": store, "frames": windows, "other_frames": others,
            "own_commands_per_second": status.own_commands_per_second,
        }),
    }])
}
