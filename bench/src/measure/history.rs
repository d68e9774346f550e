//! What it takes to write everything down: the product's own board and recorder, told of changes as a source tells them.
//! There is no store, so that as much can happen as the recorder takes.

mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use lockkeeper::access::Reach;
use lockkeeper::recorder::history::{Filter, Numbers, Unavailable};
use lockkeeper::view::Asked;
use lockkeeper_model::{Question, Time};
use serde_json::json;

use super::Bench;
use super::listing::ms;
use crate::report::{Line, Verdict, megabytes};
use crate::stats::{Spread, median};
use world::World;

const LEAST_PER_SECOND: u32 = 20_000;
const MOST_DELAY_MS: f64 = 250.0;
const MOST_BYTES: f64 = 120.0;
const MOST_STATS_MS: f64 = 200.0;
const MOST_REWIND_MS: f64 = 500.0;

/// Locks of which two in three are held at any moment: the past is rebuilt with 100,000.
const LOCKS: u32 = 150_000;

/// Transitions that are added up.
const TRANSITIONS: u64 = 1_000_000;

/// As much is written as is promised for so long, and then as much as can be for as long again.
const SUSTAINED: Duration = Duration::from_secs(12);

/// The moments that are looked back at are the ends of so many parts of either.
const PARTS: u32 = 6;

/// Each question is asked so often.
const QUESTIONS: usize = 9;

/// Locks on a page of the past, as the app asks for them.
const PAGE: u32 = 60;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let dir = bench.out.join("history");
    // What an interrupted run left.
    let _ = std::fs::remove_dir_all(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    let lines = runtime.block_on(run(bench, &dir));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let _ = std::fs::remove_dir_all(&dir);
    lines
}

async fn run(bench: &Bench, dir: &Path) -> Result<Vec<Line>> {
    let locks = bench.locks(LOCKS);
    let part = bench.full_or(SUSTAINED, SUSTAINED / 10) / PARTS;
    let mut world = World::new(dir, locks).await?;
    world.flat_out_until(|world| world.held() == u64::from(locks) * 2 / 3).await?;

    // What was done as fast as could be still waits for the disk.
    world.history.flush().await;
    let (began, before) = (Instant::now(), world.done());
    let (mut delays, mut steady) = (Vec::new(), Vec::new());
    for _ in 0..PARTS {
        delays.extend(world.paced(LEAST_PER_SECOND, part).await?);
        steady.push(world.moment().await);
    }
    let paced_rate = (world.done() - before) as f64 / began.elapsed().as_secs_f64();
    let delay = Spread::of(&delays).context("see anything written")?;

    let wanted = bench.full_or(TRANSITIONS, TRANSITIONS / 50);
    let (began, before) = (Instant::now(), world.done());
    let (mut million, mut busy) = (None, Vec::new());
    while began.elapsed() < part * PARTS || million.is_none() {
        let part_began = Instant::now();
        let has_million = million.is_some();
        let is_over = |world: &World| part_began.elapsed() >= part || (!has_million && world.done() >= wanted);
        world.flat_out_until(is_over).await?;
        let moment = world.moment().await;
        million = million.or((moment.done >= wanted).then_some(moment));
        busy.push(moment);
    }
    let million = million.context("do as much as is added up")?;
    world.history.flush().await;
    let (flat_out, took) = (world.done() - before, began.elapsed());
    must_be_all(&world.history.numbers(), world.done())?;
    let (files, words) = files(dir)?;

    Ok(vec![
        sustained(flat_out, took, locks),
        delayed(&delay, paced_rate),
        weight(files, &words, world.done()),
        stats(bench, &world, &steady, million).await?,
        rewind(&world, &steady, &busy).await?,
    ])
}

/// Nothing may have been left out, or the numbers are about something else.
fn must_be_all(numbers: &Numbers, done: u64) -> Result<()> {
    let Numbers { written, not_written, missed, .. } = *numbers;
    ensure!(
        (written, not_written, missed) == (done, 0, 0),
        "write all of {done} transitions: {written} were written, {not_written} could not be and {missed} were missed"
    );
    Ok(())
}

fn sustained(count: u64, took: Duration, locks: u32) -> Line {
    let rate = count as f64 / took.as_secs_f64();
    Line {
        name: "history",
        what: "transitions written down, sustained".to_owned(),
        must: format!("\u{2265} {LEAST_PER_SECOND} /s"),
        measured: format!("{rate:.0} /s"),
        verdict: Verdict::of(rate >= f64::from(LEAST_PER_SECOND)),
        details: vec![format!(
            "{count} in {:.1} s, with the board that concludes them and its checkpoints; {locks} locks are taken, \
             renewed and let go; none is missing",
            took.as_secs_f64()
        )],
        numbers: json!({ "transitions": count, "took_ms": ms(took), "per_second": rate }),
    }
}

fn delayed(delay: &Spread, rate: f64) -> Line {
    Line {
        name: "history",
        what: format!("a change told to the board until it is in the file, {LEAST_PER_SECOND} transitions/s"),
        must: format!("p99 \u{2264} {MOST_DELAY_MS} ms"),
        measured: format!("p99 {:.0} ms", delay.p99_ms),
        verdict: Verdict::of(delay.p99_ms <= MOST_DELAY_MS && rate >= 0.95 * f64::from(LEAST_PER_SECOND)),
        details: vec![delay.words(), format!("{rate:.0} transitions/s")],
        numbers: json!({ "delay": delay, "per_second": rate }),
    }
}

fn weight(bytes: u64, words: &str, transitions: u64) -> Line {
    let each = bytes as f64 / transitions as f64;
    Line {
        name: "history",
        what: "a transition on the disk, all included".to_owned(),
        must: format!("\u{2264} {MOST_BYTES} bytes"),
        measured: format!("{each:.1} bytes"),
        verdict: Verdict::of(each <= MOST_BYTES),
        details: vec![format!("{transitions} transitions, tokens of 36 characters; {words}")],
        numbers: json!({ "bytes": bytes, "transitions": transitions, "bytes_each": each }),
    }
}

/// Everything up to a moment, the same of a pattern, and what was since another moment.
async fn stats(bench: &Bench, world: &World, moments: &[Moment], upto: Moment) -> Result<Line> {
    let Some(first) = moments.first() else { bail!("have any moment") };
    let all = Filter { to: Some(upto.at), ..Filter::of(Reach::ALL) };
    let questions = [
        ("everything", all.clone(), Some(upto.done)),
        ("a pattern", Filter { pattern: Some("lock:*1*".to_owned()), ..all.clone() }, None),
        ("between two moments", Filter { from: Some(first.at), ..all }, Some(upto.done - first.done)),
    ];
    let mut took = Vec::new();
    for (name, filter, done) in questions {
        let mut times = Vec::new();
        for _ in 0..bench.rounds(QUESTIONS, 3) {
            let began = Instant::now();
            let stats = world.history.stats(filter.clone()).await.map_err(|error| anyhow!("add up {name}: {error}"))?;
            times.push(ms(began.elapsed()));
            let stats = stats.with_context(|| format!("add up {name}: it is too much at once"))?;
            let counted = stats.taken + stats.renewed + stats.released;
            ensure!(done.is_none_or(|done| done == counted), "add up {name}: {counted} were counted, not {done:?}");
        }
        took.push((name, median(&times)));
    }
    let slowest = took.iter().map(|(_, took)| *took).fold(0.0, f64::max);
    let words: Vec<String> = took.iter().map(|(name, took)| format!("{name} {took:.0} ms")).collect();
    Ok(Line {
        name: "history",
        what: format!("statistics over {} transitions", upto.done),
        must: format!("\u{2264} {MOST_STATS_MS} ms"),
        measured: format!("{slowest:.0} ms"),
        verdict: Verdict::of(slowest <= MOST_STATS_MS),
        details: vec![words.join(", ")],
        numbers: json!({ "transitions": upto.done, "median_ms": took }),
    })
}

/// Moments of a source that is as busy as is promised, and in words those of one that was as busy as could be.
async fn rewind(world: &World, steady: &[Moment], busy: &[Moment]) -> Result<Line> {
    let (steady_untold, spread) = look_back(world, steady).await?;
    let (busy_untold, busy) = look_back(world, busy).await?;
    let held = steady.iter().map(|moment| moment.held).max().unwrap_or(0);
    let spread = spread.context("look back at any moment")?;
    let untold = |count: usize| format!("{count} more cannot be told, since a board was just being written down");
    let mut details = vec![spread.words(), untold(steady_untold)];
    if let Some(busy) = &busy {
        details.push(format!("at full speed {}, {}", busy.words(), untold(busy_untold)));
    }
    Ok(Line {
        name: "history",
        what: format!("the first page of the board of a moment with {held} locks, {LEAST_PER_SECOND} transitions/s"),
        must: format!("\u{2264} {MOST_REWIND_MS} ms"),
        measured: format!("{:.0} ms at most", spread.max_ms),
        verdict: Verdict::of(spread.max_ms <= MOST_REWIND_MS),
        details,
        numbers: json!({
            "held": held, "took": spread, "untold": steady_untold, "busy": busy, "busy_untold": busy_untold,
        }),
    })
}

/// How long the first page of each moment's board takes, which must have had as many locks as were held then; and of how
/// many moments the recorder says that it cannot tell.
async fn look_back(world: &World, moments: &[Moment]) -> Result<(usize, Option<Spread>)> {
    let mut took = Vec::new();
    let mut untold = 0;
    for moment in moments {
        let began = Instant::now();
        let asked = Asked { question: Question::default(), reach: Reach::ALL };
        let held = match world.history.then(moment.at, move |then| then.page(&asked, 0, PAGE).0).await {
            Ok(held) => held,
            Err(Unavailable::NotRecorded(_)) => {
                untold += 1;
                continue;
            }
            Err(unavailable) => bail!("rebuild {}: {unavailable}", moment.at),
        };
        took.push(began.elapsed());
        ensure!(held == moment.held, "rebuild {}: {held} locks were held, where {} were", moment.at, moment.held);
    }
    Ok((untold, Spread::of(&took)))
}

/// A moment of which it is known how many locks were held, and how much had happened.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Time,
    held: u64,
    done: u64,
}

/// What is in the folder, in bytes and in words.
fn files(dir: &Path) -> Result<(u64, String)> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("read `{}`", dir.display()))? {
        let entry = entry.with_context(|| format!("read `{}`", dir.display()))?;
        let length = entry.metadata().with_context(|| format!("look at `{}`", entry.path().display()))?.len();
        sizes.push((entry.file_name().to_string_lossy().into_owned(), length));
    }
    sizes.sort();
    let words: Vec<String> = sizes
        .iter()
        .filter(|(_, length)| *length > 0)
        .map(|(name, length)| format!("{name} {}", megabytes(*length)))
        .collect();
    Ok((sizes.iter().map(|(_, length)| length).sum(), words.join(", ")))
}
