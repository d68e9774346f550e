//! Scrolling from end to end while everything changes.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{durations, opened};
use crate::browser::Browser;
use crate::fill;
use crate::measure::{Bench, FULL_SIZE};
use crate::process::{Load, RedisServer};
use crate::report::{Line, Verdict};
use crate::stats::Spread;
use crate::writer::Writer;

const MOST_FRAME_MS: f64 = 20.0;
const MOST_BLANK_MS: f64 = 150.0;
const CHANGES_PER_SECOND: u32 = 10_000;

/// Flings from the first lock to the last: each goes on for six tenths of a second, and then the eye rests.
const FLINGS: u32 = 40;
const FLING_MS: u32 = 600;
const REST_MS: u32 = 600;

/// From end to end so many times. A frame takes one step of the screen or two: of how many take two, a single round tells little.
const ROUNDS: usize = 3;

/// Scrolls, and answers how long each frame took, and for each rest how long a place in sight had no row. That is told by
/// what lies under points of the table.
const SCROLL: &str = r"
    new Promise(done => {
        const scroller = document.querySelector('.scroller');
        const frames = [], blanks = [];
        const end = scroller.scrollHeight - scroller.clientHeight;
        const blank = () => {
            const box = scroller.getBoundingClientRect();
            const head = document.querySelector('[role=grid] thead').getBoundingClientRect().bottom;
            for (let i = 0; i < 6; i++) {
                const y = head + 12 + (box.bottom - 24 - head) * i / 5;
                const at = document.elementFromPoint(box.left + 30, y);
                if (!at || !at.closest('tbody [role=row]')) return true;
            }
            return false;
        };
        let fling = 0, began = null, last = null, filled = null;
        const frame = now => {
            if (began === null) began = now;
            if (last !== null) frames.push(now - last);
            last = now;
            const t = now - began;
            if (t < FLING_MS) {
                const eased = 1 - Math.pow(1 - t / FLING_MS, 3);
                scroller.scrollTop = end * (fling + eased) / FLINGS;
            } else {
                if (filled === null) {
                    scroller.scrollTop = end * (fling + 1) / FLINGS;
                    if (!blank()) { filled = t - FLING_MS; blanks.push(filled); }
                }
                if (t >= FLING_MS + REST_MS) {
                    if (filled === null) blanks.push(t - FLING_MS);
                    fling += 1; began = now; filled = null;
                    if (fling === FLINGS) return done({ frames, blanks });
                }
            }
            requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
    })
";

/// Where each round begins.
const TO_THE_TOP: &str = r"
    new Promise(done => {
        document.querySelector('.scroller').scrollTop = 0;
        setTimeout(done, REST_MS);
    })
";

pub(in crate::measure) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(FULL_SIZE);
    let redis = RedisServer::start()?;
    fill::fill(redis.port, locks, locks)?;
    let mut server = bench.watch(redis.port)?;
    server.until_live()?;
    let mut browser = Browser::start()?;
    opened(&mut browser, &server, "?sort=name")?;

    let writer = Writer::start(redis.port, locks, CHANGES_PER_SECOND)?;
    let own = Load::begin(server.pid())?;
    let script = [("FLINGS", FLINGS), ("FLING_MS", FLING_MS), ("REST_MS", REST_MS)]
        .into_iter()
        .rev()
        .fold(SCROLL.to_owned(), |script, (name, value)| script.replace(name, &value.to_string()));
    let (mut frames, mut blanks) = (Vec::new(), Vec::new());
    let rounds = bench.rounds(ROUNDS, 1);
    for _ in 0..rounds {
        let answer = browser.value(&script)?;
        frames.extend(durations(&answer["frames"]));
        blanks.extend(durations(&answer["blanks"]));
        browser.value(&TO_THE_TOP.replace("REST_MS", &REST_MS.to_string()))?;
    }
    let own = own.percent()?;
    let written = writer.stop()?;
    written.must_reach(CHANGES_PER_SECOND)?;
    let late = frames.iter().filter(|frame| frame.as_secs_f64() * 1_000.0 > MOST_FRAME_MS).count();
    let late_percent = late as f64 * 100.0 / frames.len().max(1) as f64;
    let frames = Spread::of(&frames).context("see any frame at all")?;
    let blanks = Spread::of(&blanks).context("come to rest at all")?;
    Ok(vec![Line {
        name: "scroll",
        what: format!("scrolling {locks} locks end to end, {CHANGES_PER_SECOND} changes/s"),
        must: format!("frame p99 \u{2264} {MOST_FRAME_MS} ms, no blank rows for over {MOST_BLANK_MS} ms"),
        measured: format!("p99 {:.1} ms, blank {:.0} ms at most", frames.p99_ms, blanks.max_ms),
        verdict: Verdict::of(frames.p99_ms <= MOST_FRAME_MS && blanks.max_ms <= MOST_BLANK_MS),
        details: vec![
            format!("frames of {rounds} rounds: {}, {late_percent:.2} % over {MOST_FRAME_MS} ms", frames.words()),
            format!("from coming to rest until every place in sight has its row: {}", blanks.words()),
            format!("lockkeeper {own:.0} % of a core"),
        ],
        numbers: json!({
            "locks": locks,
            "rounds": rounds,
            "frames": frames,
            "late_percent": late_percent,
            "blanks": blanks,
            "lockkeeper_percent": own,
        }),
    }])
}
