//! How long after a write a viewer is told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::wire::ServerFrame;
use lockkeeper_model::{Question, SortKey};
use serde_json::json;

use super::Bench;
use crate::fill::{self, lease, probe_key};
use crate::process::{Load, RedisServer};
use crate::report::{Line, Verdict};
use crate::resp::{self, Connection};
use crate::stats::Spread;
use crate::viewer::Viewer;
use crate::writer::Writer;

const MOST_MS: f64 = 50.0;
const LOCKS: u32 = 100_000;
const CHANGES_PER_SECOND: u32 = 10_000;

/// Locks that are written one after the other, all of them in the viewer's window. So many that a frame has left long
/// before the same lock is written again.
const PROBES: usize = 60;
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// The load runs for so long before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// A frame that is not here after this never comes.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// One write: its token, when it left, and when Redis had done it.
struct Probe {
    token: String,
    sent: Instant,
    done: Instant,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut connection = Connection::open(redis.port)?;
    for n in 0..PROBES {
        write_probe(&mut connection, n, "before")?;
    }
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;

    let question = Question { q: "lock:probe:".to_owned(), sort: SortKey::Name, ..Question::default() };
    let mut viewer = Viewer::open(server.address)?;
    let window = viewer.ask(&question, 0, 60)?;
    if window.total != PROBES as u64 || window.rows.len() != PROBES {
        bail!("see {PROBES} probes: {} of {} are in the window", window.rows.len(), window.total);
    }
    let seen = (HashMap::<String, Instant>::new(), 0_u64);
    let following = viewer.follow(seen, |(seen, frames), at, frame| {
        if let ServerFrame::Window { rows, .. } | ServerFrame::Delta { rows, .. } = frame {
            *frames += 1;
            for token in rows.into_iter().filter_map(|row| row.token) {
                seen.entry(token).or_insert(at);
            }
        }
    });

    let writer = Writer::start(redis.port, locks, CHANGES_PER_SECOND)?;
    std::thread::sleep(WARM_UP);
    let (own, store) = (Load::begin(server.pid())?, Load::begin(redis.pid())?);
    let probes = probe(&mut connection, bench.full_or(1_500, 500))?;
    let (own, store) = (own.percent()?, store.percent()?);
    std::thread::sleep(LAST_WAIT);
    let written = writer.stop()?;
    written.must_reach(CHANGES_PER_SECOND)?;
    let (seen, frames) = following.stop()?;
    let status = server.api()?.source()?;

    let since_sent: Vec<Duration> =
        probes.iter().filter_map(|probe| Some(*seen.get(&probe.token)? - probe.sent)).collect();
    let since_done: Vec<Duration> =
        probes.iter().filter_map(|probe| Some(seen.get(&probe.token)?.saturating_duration_since(probe.done))).collect();
    let spread = Spread::of(&since_sent).context("be told of any change at all")?;
    let after_reply = Spread::of(&since_done).context("be told of any change at all")?;
    let unseen = probes.len() - since_sent.len();
    Ok(vec![Line {
        name: "latency",
        what: format!("Redis write to a viewer's frame, {locks} locks, {CHANGES_PER_SECOND} changes/s"),
        must: format!("p99 \u{2264} {MOST_MS} ms"),
        measured: format!("p99 {:.1} ms", spread.p99_ms),
        verdict: Verdict::of(spread.p99_ms <= MOST_MS && unseen == 0),
        details: vec![
            format!("from sending the write to having the frame: {}", spread.words()),
            format!("from Redis's reply: p50 {:.1}, p99 {:.1} ms", after_reply.p50_ms, after_reply.p99_ms),
            format!("{unseen} never told"),
            format!("{:.0} changes/s written", written.per_second()),
            format!("{frames} frames"),
            format!("lockkeeper {own:.0} % of a core, Redis {store:.0} %"),
            format!("{} gaps", status.gaps),
        ],
        numbers: json!({
            "locks": locks, "changes_per_second": written.per_second(), "since_sent": spread, "since_reply": after_reply,
            "unseen": unseen, "frames": frames, "lockkeeper_percent": own, "redis_percent": store,
            "gaps": status.gaps, "missed_events": status.missed_events,
        }),
    }])
}

/// Hands the probe locks over one by one, at an even pace.
fn probe(connection: &mut Connection, count: usize) -> Result<Vec<Probe>> {
    let began = Instant::now();
    let mut probes = Vec::with_capacity(count);
    for n in 0..count {
        let due = began + PROBE_EVERY * u32::try_from(n).context("count probes")?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let token = format!("probe-{n:06}");
        let sent = Instant::now();
        write_probe(connection, n % PROBES, &token)?;
        probes.push(Probe { token, sent, done: Instant::now() });
    }
    Ok(probes)
}

fn write_probe(connection: &mut Connection, n: usize, token: &str) -> Result<()> {
    let mut command = Vec::new();
    let (key, lease) = (probe_key(n), lease(&mut rand::rng()));
    resp::push(&mut command, &[b"SET", key.as_bytes(), token.as_bytes(), b"PX", lease.as_bytes()]);
    connection.send(&command)?;
    connection.fine().map(drop)
}
