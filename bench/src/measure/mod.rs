//! One module for each promise.

mod cluster;
mod download;
mod fuzz;
mod history;
mod idle;
mod latency;
mod listing;
mod memory;
mod mixed;
mod page;
mod races;
mod recognition;
mod redlock;
mod saturated;
mod search;
mod unrelated;
mod window;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::fill::PATTERN;
use crate::process::Lockkeeper;
use crate::report::Line;

/// The number of locks that the promises are about.
pub(crate) const FULL_SIZE: u32 = 1_000_000;

/// What is measured, and how large.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The binary.
    pub(crate) lockkeeper: PathBuf,
    /// The built app.
    pub(crate) dist: PathBuf,
    /// Where numbers and logs go.
    pub(crate) out: PathBuf,
    /// No more locks than this, anywhere.
    pub(crate) locks: u32,
    /// How often each side of a comparison is measured, if not as often as is usual for it.
    pub(crate) rounds: Option<usize>,
}

impl Bench {
    pub(crate) fn is_full_size(&self) -> bool {
        self.locks >= FULL_SIZE
    }

    /// So many locks, or as many as are allowed.
    fn locks(&self, promised: u32) -> u32 {
        promised.min(self.locks)
    }

    /// The first at full size, the second while trying things out.
    fn full_or<T>(&self, full: T, small: T) -> T {
        if self.is_full_size() { full } else { small }
    }

    fn rounds(&self, full: usize, small: usize) -> usize {
        self.rounds.unwrap_or(self.full_or(full, small))
    }

    /// Starts a server that watches the locks.
    fn watch(&self, redis: u16) -> Result<Lockkeeper> {
        self.watch_for(redis, &[PATTERN])
    }

    /// The same with these patterns; without any, the catalogue decides what is a lock.
    fn watch_for(&self, redis: u16, patterns: &[&str]) -> Result<Lockkeeper> {
        self.watch_url(&format!("redis://127.0.0.1:{redis}"), patterns)
    }

    fn watch_url(&self, url: &str, patterns: &[&str]) -> Result<Lockkeeper> {
        let patterns = patterns.iter().flat_map(|&pattern| ["--pattern", pattern]);
        self.start(&["--redis", url].into_iter().chain(patterns).collect::<Vec<_>>())
    }

    /// Starts a server that watches the locks on these masters as one source.
    fn watch_masters(&self, masters: &[u16]) -> Result<Lockkeeper> {
        let urls: Vec<String> = masters.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
        let config =
            format!("[[source]]\nname = \"redlock\"\nkind = \"redlock\"\nurls = {urls:?}\npatterns = [{PATTERN:?}]\n");
        let file = self.out.join("redlock.toml");
        std::fs::write(&file, config).with_context(|| format!("write `{}`", file.display()))?;
        self.start(&["--config", &file.to_string_lossy()])
    }

    fn start(&self, source: &[&str]) -> Result<Lockkeeper> {
        Lockkeeper::start(&self.lockkeeper, source, &self.out.join("lockkeeper.log"))
    }
}

/// One benchmark.
#[derive(Debug)]
pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) must: &'static str,
    pub(crate) measure: fn(&Bench) -> Result<Vec<Line>>,
}

/// All of them, in the order in which they are measured.
pub(crate) const BENCHMARKS: [Benchmark; 21] = [
    Benchmark {
        name: "listing",
        about: "listing 1,000,000 locks among 2,000,000 keys, start to complete",
        must: "\u{2264} 1.5 × a bare client",
        measure: listing::measure,
    },
    Benchmark {
        name: "memory",
        about: "server memory with 1,000,000 locks",
        must: "\u{2264} 600 MB",
        measure: memory::measure,
    },
    Benchmark {
        name: "latency",
        about: "Redis write to a viewer's frame, 100,000 locks, 10,000 changes/s",
        must: "p99 \u{2264} 50 ms",
        measure: latency::measure,
    },
    Benchmark {
        name: "unrelated",
        about: "throughput of an unrelated load, 10,000 lock changes/s, watched / not",
        must: "\u{2265} 0.95",
        measure: unrelated::measure,
    },
    Benchmark {
        name: "saturated",
        about: "throughput of SET on lock keys at full speed, watched / not",
        must: "\u{2265} 0.90, exact again \u{2264} 1 s",
        measure: saturated::measure,
    },
    Benchmark {
        name: "window",
        about: "any window of 60 among 1,000,000 locks, 1,000 changes/s",
        must: "p99 \u{2264} 50 ms",
        measure: window::measure,
    },
    Benchmark {
        name: "search",
        about: "first rows after a key was pressed in the search box, 1,000,000 locks",
        must: "p99 \u{2264} 100 ms",
        measure: search::measure,
    },
    Benchmark {
        name: "idle",
        about: "idle CPU with 1,000,000 quiet locks and one viewer",
        must: "\u{2264} 2 % of a core",
        measure: idle::measure,
    },
    Benchmark {
        name: "download",
        about: "first page of the app, WASM + JS + CSS, brotli; what is fetched later is told beside it",
        must: "\u{2264} 350 KB",
        measure: download::measure,
    },
    Benchmark {
        name: "mixed",
        about: "listing 1,000,000 locks of ten kinds among 2,000,000 keys, without a pattern",
        must: "\u{2264} 1.8 × a bare client",
        measure: mixed::measure,
    },
    Benchmark {
        name: "cluster",
        about: "listing 300,000 locks among 600,000 keys on three primaries, start to complete",
        must: "\u{2264} 1.3 × a bare client on all of them at once",
        measure: cluster::measure,
    },
    Benchmark {
        name: "redlock",
        about: "a change on a quorum of five masters to a viewer's frame, 100,000 locks, 1,000 changes/s",
        must: "p99 \u{2264} 1 s",
        measure: redlock::measure,
    },
    Benchmark {
        name: "history",
        about: "everything that happens to 100,000 held locks written down, and looked back at",
        must: "\u{2265} 20,000 /s, \u{2264} 120 bytes each",
        measure: history::measure,
    },
    Benchmark {
        name: "first-row",
        about: "navigation to the first readable row, 100,000 locks, processor 4 × slower, in Chromium",
        must: "\u{2264} 1,500 ms",
        measure: page::first_row::measure,
    },
    Benchmark {
        name: "scroll",
        about: "scrolling 1,000,000 locks end to end in Chromium, 10,000 changes/s",
        must: "frame p99 \u{2264} 20 ms, no blank rows for over 150 ms",
        measure: page::scroll::measure,
    },
    Benchmark {
        name: "pixel",
        about: "Redis write to the drawn row in Chromium, 100,000 locks, 1,000 changes/s",
        must: "p99 \u{2264} 120 ms",
        measure: page::pixel::measure,
    },
    Benchmark {
        name: "typing",
        about: "a keystroke in the search box to its result in Chromium, 1,000,000 locks",
        must: "p50 \u{2264} 100 ms",
        measure: page::typing::measure,
    },
    Benchmark {
        name: "page-memory",
        about: "memory of the page in Chromium after an hour, 100,000 locks, 1,000 changes/s",
        must: "\u{2264} 80 MB, within 5 %",
        measure: page::memory::measure,
    },
    Benchmark {
        name: "recognition",
        about: "roots of every family recognised, one core",
        must: "\u{2265} 2,000,000 /s",
        measure: recognition::measure,
    },
    Benchmark {
        name: "fuzz",
        about: "ten million arbitrary keys, types and values",
        must: "no panic, no unbounded memory",
        measure: fuzz::measure,
    },
    Benchmark {
        name: "races",
        about: "100,000 releases of every dialect against whatever its clients do at the same moment",
        must: "not one frees anything else",
        measure: races::measure,
    },
];
