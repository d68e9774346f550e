//! The table, and the same as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lockkeeper_model::Time;
use serde::Serialize;
use serde_json::Value;

/// One promise and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) must: String,
    pub(crate) measured: String,
    pub(crate) verdict: Verdict,
    /// What the number was made of, in words.
    pub(crate) details: Vec<String>,
    /// The same as numbers.
    pub(crate) numbers: Value,
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Ok,
    Missed,
    /// It could not be measured.
    Unknown,
}

impl Verdict {
    pub(crate) fn of(kept: bool) -> Verdict {
        if kept { Verdict::Ok } else { Verdict::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Missed => "MISSED",
            Verdict::Unknown => "NOT MEASURED",
        }
    }

    pub(crate) fn is_failure(self) -> bool {
        self != Verdict::Ok
    }
}

/// Under what conditions the numbers are true.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Conditions {
    at: String,
    cores: usize,
    processor: String,
    memory_mb: u64,
    kernel: String,
    redis: String,
    /// Of the last minute, before the first measurement: another's work makes every number worse.
    load_average: f64,
    pub(crate) locks: u32,
    /// Whether that is the number that the promises are about.
    pub(crate) full_size: bool,
}

impl Conditions {
    pub(crate) fn now(locks: u32, full_size: bool) -> Conditions {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let first = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let kib = field("/proc/meminfo", "MemTotal");
        Conditions {
            at: Time(i64::try_from(at).unwrap_or(i64::MAX)).to_string(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: field("/proc/cpuinfo", "model name"),
            memory_mb: kib.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024 / 1_000_000,
            kernel: first("/proc/sys/kernel/osrelease").trim().to_owned(),
            redis: redis_version().unwrap_or_default(),
            load_average: first("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            locks,
            full_size,
        }
    }

    pub(crate) fn words(&self) -> String {
        let Conditions { cores, processor, memory_mb, kernel, redis, load_average, locks, .. } = self;
        let size = if self.full_size { "" } else { " (not the size that the promises are about)" };
        format!(
            "{cores} cores of {processor}, {memory_mb} MB, Linux {kernel}, Redis {redis}, load {load_average:.2} before; \
             up to {locks} locks{size}"
        )
    }
}

fn redis_version() -> Option<String> {
    let output = Command::new("redis-server").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split(' ').find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

/// The table as text.
pub(crate) fn table(lines: &[Line]) -> String {
    let head = ["what", "must", "measured", "", "details"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head)
        .chain(lines.iter().map(|line| {
            let word = line.verdict.word().to_owned();
            [line.what.clone(), line.must.clone(), line.measured.clone(), word, line.details.join("; ")]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&row[4]);
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Writes everything as JSON, and says where.
pub(crate) fn write(dir: &Path, conditions: &Conditions, lines: &[Line]) -> Result<PathBuf> {
    #[derive(Serialize)]
    struct Whole<'a> {
        conditions: &'a Conditions,
        lines: &'a [Line],
    }
    let stamp: String = conditions.at.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let file = dir.join(format!("{stamp}.json"));
    let text = serde_json::to_string_pretty(&Whole { conditions, lines }).context("write the numbers as JSON")?;
    fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
    Ok(file)
}

/// Words for a number of bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}
