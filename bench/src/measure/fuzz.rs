//! Anything at all as key, type and value: it must be recognised or not, and nothing else may happen.

use std::time::Instant;

use anyhow::Result;
use lockkeeper::source::redis::catalogue::{Content, Sample, StoredKey};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng as _};
use serde_json::json;

use super::Bench;
use crate::corpus;
use crate::process::Memory;
use crate::report::{Line, Verdict};

const INPUTS: u64 = 10_000_000;

/// What the process may grow by while nothing is kept, in megabytes: what the allocator holds back.
const MOST_GROWTH_MB: f64 = 64.0;

/// The longest thing that is made up, in bytes.
const LONGEST: usize = 200;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let inputs = bench.full_or(INPUTS, INPUTS / 100);
    let mut situations = corpus::load()?;
    situations.retain(|one| !one.keys.is_empty());
    // The same inputs every time, so that a failure can be looked into.
    let mut rng = StdRng::seed_from_u64(7);
    let mut tried = 0_u64;
    let mut recognised = 0_u64;
    let (began, before) = (Instant::now(), resident_mb()?);
    let mut most = before;
    while tried < inputs {
        let Some(one) = situations.choose(&mut rng) else { break };
        let mut keys = one.keys.clone();
        for _ in 0..rng.random_range(1..4) {
            change(&mut keys, &mut rng);
        }
        let now = if rng.random_ratio(1, 10) { rng.random() } else { one.now_ms };
        for sample in Sample::of_store(&keys) {
            let configured = rng.random();
            // A panic ends the run.
            recognised += sample.recognise(configured, now) as u64;
            tried += 1;
        }
        if tried.is_multiple_of(65_536) {
            most = most.max(resident_mb()?);
        }
    }
    most = most.max(resident_mb()?);
    let growth = most - before;
    Ok(vec![Line {
        name: "fuzz",
        what: format!("{inputs} arbitrary keys, types and values"),
        must: "no panic, no unbounded memory".to_owned(),
        measured: format!("no panic, {growth:.0} MB more"),
        verdict: Verdict::of(growth <= MOST_GROWTH_MB),
        details: vec![format!(
            "recorded forms with names, values, types, scores and lifetimes changed at random; {recognised} were still \
             taken for locks; {:.0} s",
            began.elapsed().as_secs_f64()
        )],
        numbers: json!({ "inputs": tried, "recognised": recognised, "growth_mb": growth }),
    }])
}

fn resident_mb() -> Result<f64> {
    Ok(Memory::of(std::process::id())?.resident as f64 / 1_000_000.0)
}

/// Changes one thing about one key, or makes one up.
fn change(keys: &mut Vec<StoredKey>, rng: &mut StdRng) {
    let at = rng.random_range(0..keys.len());
    match rng.random_range(0..10) {
        0 => keys[at].name = anything(rng),
        1 => keys[at].content = content(rng),
        2 => {
            keys[at].ttl_ms =
                [None, Some(0), Some(-1), Some(i64::MAX), Some(rng.random())].choose(rng).copied().flatten()
        }
        3 => keys.push(StoredKey {
            name: anything(rng),
            content: content(rng),
            ttl_ms: rng.random_bool(0.5).then(|| rng.random()),
        }),
        4 if keys.len() > 1 => {
            keys.swap_remove(at);
        }
        5 => bend(&mut keys[at].name, rng),
        _ => match &mut keys[at].content {
            Content::Missing => keys[at].content = content(rng),
            Content::String(value) => bend(value, rng),
            Content::List(items) | Content::Set(items) => match items.choose_mut_or_push(rng) {
                Some(item) => bend(item, rng),
                None => items.push(anything(rng)),
            },
            Content::Hash(fields) => match rng.random_range(0..fields.len() + 1) {
                i if i < fields.len() && rng.random() => bend(&mut fields[i].0, rng),
                i if i < fields.len() => bend(&mut fields[i].1, rng),
                _ => fields.push((anything(rng), anything(rng))),
            },
            Content::ZSet(members) => match rng.random_range(0..members.len() + 1) {
                i if i < members.len() && rng.random() => bend(&mut members[i].0, rng),
                i if i < members.len() => members[i].1 = score(rng),
                _ => members.push((anything(rng), score(rng))),
            },
        },
    }
}

trait ChooseOrPush {
    fn choose_mut_or_push(&mut self, rng: &mut StdRng) -> Option<&mut Vec<u8>>;
}

impl ChooseOrPush for Vec<Vec<u8>> {
    /// One of them, now and then none.
    fn choose_mut_or_push(&mut self, rng: &mut StdRng) -> Option<&mut Vec<u8>> {
        let at = rng.random_range(0..self.len() + 1);
        self.get_mut(at)
    }
}

fn score(rng: &mut StdRng) -> f64 {
    [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -1.0,
        f64::MAX,
        922_337_203_685_477.0,
        rng.random(),
        rng.random::<i64>() as f64,
    ]
    .choose(rng)
    .copied()
    .unwrap_or(0.0)
}

fn content(rng: &mut StdRng) -> Content {
    let some = |rng: &mut StdRng| rng.random_range(0..5);
    match rng.random_range(0..6) {
        0 => Content::Missing,
        1 => Content::String(anything(rng)),
        2 => Content::Hash((0..some(rng)).map(|_| (anything(rng), anything(rng))).collect()),
        3 => Content::List((0..some(rng)).map(|_| anything(rng)).collect()),
        4 => Content::Set((0..some(rng)).map(|_| anything(rng)).collect()),
        _ => Content::ZSet((0..some(rng)).map(|_| (anything(rng), score(rng))).collect()),
    }
}

/// Bytes of any kind and length.
fn anything(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..LONGEST)];
    rng.fill(&mut bytes[..]);
    bytes
}

/// Cuts, doubles, or changes a byte.
fn bend(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    const EDGES: &[u8] = b":{}#_-@.=\0\xff0a";
    let at = rng.random_range(0..bytes.len() + 1);
    match rng.random_range(0..4) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 if bytes.len() < LONGEST => bytes.extend_from_within(at..),
        _ => bytes.insert(at, EDGES.choose(rng).copied().unwrap_or(b':')),
    }
}
