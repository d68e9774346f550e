//! How long after a change on a quorum of several masters a viewer is told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::wire::{Row, ServerFrame};
use lockkeeper_model::{LockState, Question, SortKey};
use serde_json::json;

use super::Bench;
use super::listing::{PAUSE, ms, must_be_whole};
use crate::bare;
use crate::fill::{self, probe_key};
use crate::process::{Load, Lockkeeper, RedisServer};
use crate::report::{Line, Verdict};
use crate::resp::{self, Connection};
use crate::stats::{Spread, median};
use crate::viewer::Viewer;
use crate::writer::{Set, Writer};

const MOST_MS: f64 = 1_000.0;
const MASTERS: usize = 5;
const LOCKS: u32 = 100_000;
const CHANGES_PER_SECOND: u32 = 1_000;

/// Locks that are changed one after the other, all of them in the viewer's window: taken, renewed and given back in turn.
/// So many that a frame has left long before the same lock is changed again.
const PROBES: usize = 60;
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// Their lease when taken and when renewed: so far apart that a renewal is seen by the expiry alone.
const TAKEN_MS: &str = "1200000";
const RENEWED_MS: &str = "2400000";
const RENEWED_BY_MS: i64 = 600_000;

/// The load runs for so long before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// A frame that is not here after this never comes.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// What happens to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Taken,
    Renewed,
    Released,
}

const STEPS: [Step; 3] = [Step::Taken, Step::Renewed, Step::Released];

/// One change: whose, when it left, and when a majority of all masters had done it.
struct Probe {
    step: Step,
    token: String,
    sent: Instant,
    done: Instant,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let masters = (0..MASTERS).map(|_| RedisServer::start()).collect::<Result<Vec<_>>>()?;
    let ports: Vec<u16> = masters.iter().map(|master| master.port).collect();
    fill::fill_over(&ports, |_| 0..MASTERS, locks, 0)?;

    let (mut bare_ms, mut first_ms) = (Vec::new(), Vec::new());
    let mut watching = None;
    for _ in 0..bench.rounds(3, 1) {
        // One that watches would make the other slow.
        drop(watching.take());
        std::thread::sleep(PAUSE);
        let (listed, took) = bare::list_all(&ports)?;
        listed.chunks(1).try_for_each(|one| must_be_whole(one, locks))?;
        bare_ms.push(ms(took));
        drop(listed);
        std::thread::sleep(PAUSE);
        let mut server = bench.watch_masters(&ports)?;
        first_ms.push(ms(server.until_complete(locks)?.counted));
        eprintln!(
            "  first view {:.0} ms, bare {:.0} ms",
            first_ms.last().unwrap_or(&0.0),
            bare_ms.last().unwrap_or(&0.0)
        );
        watching = Some(server);
    }
    let mut server = watching.context("have a server that watches")?;
    server.until_live()?;
    let (bare, first) = (median(&bare_ms), median(&first_ms));

    let Told { probes, seen, written, own, stores } = changes(bench, &server, &masters, locks)?;
    let status = server.api()?.source()?;
    let at = |probe: &Probe| seen.get(&(probe.step, probe.token.clone())).copied();
    let since = |from: fn(&Probe) -> Instant, steps: &[Step]| {
        let those = probes.iter().filter(|probe| steps.contains(&probe.step));
        let waits: Vec<Duration> =
            those.filter_map(|probe| Some(at(probe)?.saturating_duration_since(from(probe)))).collect();
        Spread::of(&waits).context("be told of any change at all")
    };
    let spread = since(|probe| probe.done, &STEPS)?;
    let since_sent = since(|probe| probe.sent, &STEPS)?;
    let each = STEPS.map(|step| since(|probe| probe.done, &[step]));
    let [taken, renewed, released] = each;
    let (taken, renewed, released) = (taken?, renewed?, released?);
    let unseen = probes.iter().filter(|probe| at(probe).is_none()).count();
    Ok(vec![Line {
        name: "redlock",
        what: format!(
            "a change on a quorum of {MASTERS} masters to a viewer's frame, {locks} locks, {CHANGES_PER_SECOND} changes/s"
        ),
        must: "p99 \u{2264} 1 s".to_owned(),
        measured: format!("p99 {:.0} ms", spread.p99_ms),
        verdict: Verdict::of(spread.p99_ms <= MOST_MS && unseen == 0),
        details: vec![
            format!("from the majority's reply to having the frame: {}", spread.words()),
            format!(
                "p99 of taking {:.0}, renewing {:.0}, releasing {:.0} ms; from sending it {:.0} ms",
                taken.p99_ms, renewed.p99_ms, released.p99_ms, since_sent.p99_ms
            ),
            format!("{unseen} never told"),
            format!("{written:.0} changes/s written, each to all masters or to a majority"),
            format!("lockkeeper {own:.0} % of a core, each master {stores:.0} %"),
            format!("{} gaps", status.gaps),
            format!(
                "first view {first:.0} ms from the start of the process until all are counted, a bare client on all \
                 masters at once {bare:.0} ms: {:.2} ×, medians of {}",
                first / bare,
                first_ms.len()
            ),
        ],
        numbers: json!({
            "locks": locks, "changes_per_second": written, "since_majority": spread, "since_sent": since_sent,
            "taken": taken, "renewed": renewed, "released": released, "unseen": unseen,
            "lockkeeper_percent": own, "master_percent": stores, "gaps": status.gaps,
            "first_view_ms": first_ms, "bare_ms": bare_ms,
        }),
    }])
}

/// What was changed and when it was seen.
struct Told {
    probes: Vec<Probe>,
    seen: HashMap<(Step, String), Instant>,
    written: f64,
    own: f64,
    stores: f64,
}

/// Changes locks at a steady rate, and beside it the probes one by one, while a viewer looks at those.
fn changes(bench: &Bench, server: &Lockkeeper, masters: &[RedisServer], locks: u32) -> Result<Told> {
    let ports: Vec<u16> = masters.iter().map(|master| master.port).collect();
    let mut viewer = Viewer::open(server.address)?;
    let question = Question { q: "lock:probe:".to_owned(), sort: SortKey::Name, ..Question::default() };
    let window = viewer.ask(&question, 0, PROBES as u32)?;
    if window.total != 0 {
        bail!("begin without probes: there are {}", window.total);
    }
    let following = viewer.follow(Seen::default(), Seen::note);
    let writer = Writer::start_on(&ports, locks, CHANGES_PER_SECOND)?;
    std::thread::sleep(WARM_UP);
    let own = Load::begin(server.pid())?;
    let loads = masters.iter().map(|master| Load::begin(master.pid())).collect::<Result<Vec<_>>>()?;
    let probes = probe(&ports, bench.full_or(1_500, 540))?;
    let own = own.percent()?;
    let stores = loads.iter().map(Load::percent).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(LAST_WAIT);
    let written = writer.stop()?;
    written.must_reach(CHANGES_PER_SECOND)?;
    let Seen { at, .. } = following.stop()?;
    Ok(Told { probes, seen: at, written: written.per_second(), own, stores: median(&stores) })
}

/// Takes, renews and gives back the probes in turn, at an even pace.
fn probe(ports: &[u16], count: usize) -> Result<Vec<Probe>> {
    let mut connections = ports.iter().map(|&port| Connection::open(port)).collect::<Result<Vec<_>>>()?;
    let mut on = [Set::all(MASTERS); PROBES];
    let began = Instant::now();
    let mut probes = Vec::with_capacity(count);
    for n in 0..count {
        let due = began + PROBE_EVERY * u32::try_from(n).context("count probes")?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (lock, round) = (n % PROBES, n / PROBES);
        let step = STEPS[round % STEPS.len()];
        let (key, token) = (probe_key(lock), format!("probe-{lock:03}-{:06}", round / STEPS.len()));
        if step == Step::Taken {
            on[lock] = Set::all(MASTERS).pick(&mut rand::rng());
        }
        let (sent, done) = match step {
            Step::Taken => {
                let words: [&[u8]; 6] = [b"SET", key.as_bytes(), token.as_bytes(), b"NX", b"PX", TAKEN_MS.as_bytes()];
                write(&mut connections, on[lock], &words)?
            }
            Step::Renewed => write(&mut connections, on[lock], &[b"PEXPIRE", key.as_bytes(), RENEWED_MS.as_bytes()])?,
            Step::Released => write(&mut connections, on[lock], &[b"DEL", key.as_bytes()])?,
        };
        probes.push(Probe { step, token, sent, done });
    }
    Ok(probes)
}

/// Writes to some masters side by side, as clients of the recipe do. Answers when it left, and when a majority of all
/// had done it.
fn write(connections: &mut [Connection], on: Set, words: &[&[u8]]) -> Result<(Instant, Instant)> {
    let mut command = Vec::new();
    resp::push(&mut command, words);
    let sent = Instant::now();
    let mut those: Vec<&mut Connection> =
        connections.iter_mut().enumerate().filter(|(master, _)| on.has(*master)).map(|(_, one)| one).collect();
    those.iter_mut().try_for_each(|connection| connection.send(&command))?;
    let mut done = None;
    for (connection, n) in those.iter_mut().zip(1..) {
        if !connection.fine()?.is_effect() {
            bail!("change a probe: a master has it otherwise");
        }
        if n == MASTERS / 2 + 1 {
            done = Some(Instant::now());
        }
    }
    Ok((sent, done.context("reach a majority")?))
}

/// What the viewer was told of each probe, and when first.
#[derive(Default)]
struct Seen {
    at: HashMap<(Step, String), Instant>,
    /// The rows that it shows: whose token, and until when.
    rows: HashMap<u64, (String, i64)>,
}

impl Seen {
    fn note(&mut self, at: Instant, frame: ServerFrame) {
        match frame {
            ServerFrame::Window { rows, .. } => {
                self.rows.retain(|row, (token, _)| {
                    let stays = rows.iter().any(|shown| shown.row == *row);
                    if !stays {
                        self.at.entry((Step::Released, token.clone())).or_insert(at);
                    }
                    stays
                });
                rows.iter().for_each(|row| self.show(at, row));
            }
            ServerFrame::Delta { rows, ended, .. } => {
                ended.iter().for_each(|ended| self.end(at, ended.row));
                rows.iter().for_each(|row| self.show(at, row));
            }
            _ => {}
        }
    }

    fn show(&mut self, at: Instant, row: &Row) {
        let Some(token) = row.token.as_ref().filter(|_| row.state == LockState::Held) else {
            return self.end(at, row.row);
        };
        let until = row.expires_at.unwrap_or(0);
        let before = self.rows.insert(row.row, (token.clone(), until));
        match before {
            Some((same, before)) if same == *token => {
                if until > before + RENEWED_BY_MS {
                    self.at.entry((Step::Renewed, same)).or_insert(at);
                }
            }
            before => {
                if let Some((former, _)) = before {
                    self.at.entry((Step::Released, former)).or_insert(at);
                }
                self.at.entry((Step::Taken, token.clone())).or_insert(at);
            }
        }
    }

    fn end(&mut self, at: Instant, row: u64) {
        if let Some((token, _)) = self.rows.remove(&row) {
            self.at.entry((Step::Released, token)).or_insert(at);
        }
    }
}
