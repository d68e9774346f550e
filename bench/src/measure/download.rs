//! What a phone must load before anything is to be seen.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::Bench;
use crate::report::{Line, Verdict};

/// WASM and JS with gzip: what was promised while there was one page.
const MOST_GZIP: usize = 300_000;

/// WASM, JS and CSS with brotli, which every browser of today is sent: what is promised for all pages.
const MOST_BROTLI: usize = 350_000;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let mut files = Vec::new();
    collect(&bench.dist, &mut files)?;
    files.sort();
    if files.is_empty() {
        bail!("find the built app in `{}`", bench.dist.display());
    }
    let (mut plain, mut gzip, mut brotli) = (0, 0, 0);
    let mut each = Vec::new();
    for file in &files {
        let bytes = fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
        let gzipped = gzipped(&bytes)?;
        plain += bytes.len();
        brotli += brotlied(&bytes)?;
        if file.extension().is_some_and(|extension| extension != "css") {
            gzip += gzipped;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        each.push((name, gzipped));
    }
    let mut details = vec![format!("{} KB plain", plain / 1_000)];
    details.extend(each.iter().map(|(name, gzipped)| format!("{name} {} KB", gzipped / 1_000)));
    let numbers = json!({ "plain_bytes": plain, "gzip_bytes": gzip, "brotli_bytes": brotli, "files": each });
    let line = |what: &str, measured: usize, most: usize| Line {
        name: "download",
        what: what.to_owned(),
        must: format!("\u{2264} {} KB", most / 1_000),
        measured: format!("{:.1} KB", measured as f64 / 1_000.0),
        verdict: Verdict::of(measured <= most),
        details: Vec::new(),
        numbers: json!({}),
    };
    let first = line("app download, WASM + JS, gzip", gzip, MOST_GZIP);
    let second = line("app download, WASM + JS + CSS, brotli", brotli, MOST_BROTLI);
    Ok(vec![first, Line { details, numbers, ..second }])
}

/// All files of the kinds that count, in all folders.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list `{}`", dir.display()))? {
        let path = entry.with_context(|| format!("list `{}`", dir.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| ["wasm", "js", "css"].iter().any(|kind| extension == *kind))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn gzipped(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("compress with gzip")?;
    Ok(encoder.finish().context("compress with gzip")?.len())
}

fn brotlied(mut bytes: &[u8]) -> Result<usize> {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut bytes, &mut out, &parameters).context("compress with brotli")
}
