//! What a phone must load before anything is to be seen.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::Bench;
use crate::report::{Line, Verdict};

/// WASM, JS and CSS with brotli, which every browser of today is sent: what is promised for the first page, with which a lock is
/// found, looked into and released.
const MOST_BROTLI: usize = 350_000;

/// The same of everything: what is fetched later, and what those ask for who read another language.
const MOST_IN_ALL: usize = 500_000;

const PAGE: &str = "index.html";

/// What a browser is sent compressed.
const KINDS: [&str; 4] = ["wasm", "js", "css", "txt"];

/// How much of each kind there is, in bytes.
#[derive(Default)]
struct Sum {
    plain: usize,
    brotli: usize,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let mut files = Vec::new();
    collect(&bench.dist, &mut files)?;
    files.sort();
    let page = fs::read_to_string(bench.dist.join(PAGE))
        .with_context(|| format!("find the built app in `{}`", bench.dist.display()))?;
    let (mut first, mut later, mut words) = (Sum::default(), Sum::default(), Sum::default());
    let mut each = Vec::new();
    for file in &files {
        let bytes = fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
        let brotli = brotlied(&bytes)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = file.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        let sum = match kind {
            "txt" => &mut words,
            // What the page names is fetched with it.
            _ if page.contains(&name) => &mut first,
            _ => &mut later,
        };
        sum.plain += bytes.len();
        sum.brotli += brotli;
        each.push((name, brotli));
    }
    if first.plain == 0 {
        bail!("find the built app in `{}`: its page names no file that is there", bench.dist.display());
    }
    let all = first.brotli + later.brotli + words.brotli;
    let details = |sum: &Sum| vec![format!("{} KB plain", sum.plain / 1_000)];
    let mut of_all = vec![format!(
        "the first page {}, fetched later {}, another language {}",
        kilobytes(first.brotli),
        kilobytes(later.brotli),
        kilobytes(words.brotli)
    )];
    of_all.extend(each.iter().map(|(name, brotli)| format!("{name} {}", kilobytes(*brotli))));
    let line = |what: &str, measured: usize, most: usize, details: Vec<String>| Line {
        name: "download",
        what: what.to_owned(),
        must: format!("\u{2264} {} KB", most / 1_000),
        measured: kilobytes(measured),
        verdict: Verdict::of(measured <= most),
        details,
        numbers: json!({}),
    };
    let numbers = json!({
        "first": { "plain_bytes": first.plain, "brotli_bytes": first.brotli },
        "later": { "plain_bytes": later.plain, "brotli_bytes": later.brotli },
        "words": { "plain_bytes": words.plain, "brotli_bytes": words.brotli },
        "files": each,
    });
    Ok(vec![
        line("first page of the app, WASM + JS + CSS, brotli", first.brotli, MOST_BROTLI, details(&first)),
        Line { numbers, ..line("all of the app and another language, brotli", all, MOST_IN_ALL, of_all) },
    ])
}

fn kilobytes(bytes: usize) -> String {
    format!("{:.1} KB", bytes as f64 / 1_000.0)
}

/// All files of the kinds that count, in all folders.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list `{}`", dir.display()))? {
        let path = entry.with_context(|| format!("list `{}`", dir.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| KINDS.iter().any(|kind| extension == *kind)) {
            files.push(path);
        }
    }
    Ok(())
}

fn brotlied(mut bytes: &[u8]) -> Result<usize> {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut bytes, &mut out, &parameters).context("compress with brotli")
}
