//! What locking libraries really store, from the recordings that the recognisers are tested against.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockkeeper::source::redis::catalogue::{Content, Sample, StoredKey};
use serde_json::Value as Json;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/source/redis/dialect/recorded");

/// One recorded moment of a store.
#[derive(Clone, Debug)]
pub(crate) struct Situation {
    pub(crate) keys: Vec<StoredKey>,
    /// The server's clock at that moment.
    pub(crate) now_ms: i64,
}

/// The root of every recorded lock, with what stands beside it, ready to be recognised again and again.
#[derive(Debug)]
pub(crate) struct Roots(Vec<(Sample, i64)>);

impl Roots {
    pub(crate) fn load() -> Result<Roots> {
        let roots = load()?
            .into_iter()
            .flat_map(|one| Sample::of_store(&one.keys).into_iter().map(move |sample| (sample, one.now_ms)));
        Ok(Roots(roots.collect()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Recognises each once; answers how many locks they are.
    pub(crate) fn recognise(&self) -> usize {
        self.0.iter().map(|(sample, now)| black_box(sample).recognise(false, *now)).sum()
    }
}

/// Every recorded situation.
pub(crate) fn load() -> Result<Vec<Situation>> {
    let mut files: Vec<_> = fs::read_dir(Path::new(FOLDER))
        .with_context(|| format!("read the folder `{FOLDER}`"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut situations = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let json: Json = serde_json::from_str(line).with_context(|| format!("read `{}`", file.display()))?;
            let keys = list(&json["keys"]).iter().map(key).collect::<Result<Vec<_>>>()?;
            situations.push(Situation { keys, now_ms: json["now_ms"].as_i64().unwrap_or(0) });
        }
    }
    if situations.is_empty() {
        bail!("find recorded situations in `{FOLDER}`");
    }
    Ok(situations)
}

fn key(json: &Json) -> Result<StoredKey> {
    let pair = |pair: &Json| Ok((bytes(&pair[0])?, bytes(&pair[1])?));
    let content = match json["type"].as_str().unwrap_or_default() {
        "string" => Content::String(bytes(&json["string_b64"])?),
        "hash" => Content::Hash(list(&json["hash"]).iter().map(pair).collect::<Result<_>>()?),
        "list" => Content::List(list(&json["list"]).iter().map(bytes).collect::<Result<_>>()?),
        "set" => Content::Set(list(&json["set"]).iter().map(bytes).collect::<Result<_>>()?),
        "zset" => Content::ZSet(
            list(&json["zset"])
                .iter()
                .map(|pair| Ok((bytes(&pair[0])?, pair[1].as_f64().unwrap_or(0.0))))
                .collect::<Result<_>>()?,
        ),
        _ => Content::Missing,
    };
    Ok(StoredKey { name: bytes(&json["key_b64"])?, content, ttl_ms: json["pttl"].as_i64() })
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn bytes(json: &Json) -> Result<Vec<u8>> {
    STANDARD.decode(json.as_str().unwrap_or_default()).context("decode base64 in a recording")
}
