//! How long it takes from the start until every lock is known, next to a client that does nothing but read.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rand::seq::SliceRandom as _;
use serde_json::json;

use super::Bench;
use crate::api::{Api, token_of};
use crate::bare::{self, Listed};
use crate::fill;
use crate::process::{Completed, RedisServer};
use crate::report::{Line, Verdict};
use crate::resp::{Connection, Reply};
use crate::stats::median;

const MOST: f64 = 1.5;

/// A pause before each reading. Redis's own measure of how busy it is, which decides how fast the server may read, looks
/// back over 1.6 s and would otherwise show the client before.
pub(super) const PAUSE: Duration = Duration::from_secs(3);

/// Locks that are compared one by one with what Redis says.
const COMPARED: usize = 300;

/// How far a deadline may be off: the reading happened at some moment between asking and hearing.
const TOLERANCE_MS: i64 = 250;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Line>> {
    let locks = bench.locks(super::FULL_SIZE);
    let redis = RedisServer::start()?;
    let filled = fill::fill(redis.port, locks, locks)?;
    eprintln!("  filled {} keys in {:.1} s", u64::from(locks) * 2, filled.as_secs_f64());

    // Unmeasured: the first client of a fresh Redis pays for cold caches.
    let warm = bare::list(redis.port)?;
    must_be_whole(std::slice::from_ref(&warm), locks)?;
    let mut names = warm.names;

    let (mut bare_ms, mut scan_ms, mut read_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut own_ms, mut complete_ms, mut took_ms) = (Vec::new(), Vec::new(), Vec::new());
    let mut furthest = 0;
    for round in 1..=bench.rounds(5, 3) {
        std::thread::sleep(PAUSE);
        let listed = bare::list(redis.port)?;
        must_be_whole(std::slice::from_ref(&listed), locks)?;
        scan_ms.push(ms(listed.scan));
        read_ms.push(ms(listed.read));
        bare_ms.push(ms(listed.scan + listed.read));
        drop(listed);

        std::thread::sleep(PAUSE);
        let mut server = bench.watch(redis.port)?;
        let Completed { complete, counted, status } = server.until_complete(locks)?;
        own_ms.push(ms(counted));
        complete_ms.push(ms(complete));
        took_ms.push(status.coverage.took_ms.unwrap_or(0) as f64);
        names.shuffle(&mut rand::rng());
        let sample = names.get(..COMPARED.min(names.len())).unwrap_or_default();
        furthest = furthest.max(compare(&mut server.api()?, redis.port, &status.name, sample)?);
        eprintln!(
            "  round {round}: bare {:.0} ms, lockkeeper {:.0} ms",
            bare_ms.last().unwrap_or(&0.0),
            own_ms.last().unwrap_or(&0.0)
        );
    }
    let (bare, own) = (median(&bare_ms), median(&own_ms));
    let ratio = own / bare;
    Ok(vec![Line {
        name: "listing",
        what: format!("listing {locks} locks among {} keys, start to complete", u64::from(locks) * 2),
        must: format!("\u{2264} {MOST} × a bare client"),
        measured: format!("{ratio:.2} ×"),
        verdict: Verdict::of(ratio <= MOST),
        details: vec![
            format!(
                "{own:.0} ms from the start of the process until all are counted (complete {:.0} ms, the scan {:.0} ms by \
                 its own account)",
                median(&complete_ms),
                median(&took_ms)
            ),
            format!("bare client {bare:.0} ms (SCAN {:.0}, GET + PTTL {:.0})", median(&scan_ms), median(&read_ms)),
            format!("medians of {}", own_ms.len()),
            format!("{COMPARED} locks compared each time, deadlines at most {furthest} ms off"),
        ],
        numbers: json!({
            "locks": locks, "keys": u64::from(locks) * 2, "ratio": ratio,
            "lockkeeper_ms": own_ms, "lockkeeper_complete_ms": complete_ms, "lockkeeper_took_ms": took_ms,
            "bare_ms": bare_ms, "bare_scan_ms": scan_ms, "bare_read_ms": read_ms,
            "deadline_off_ms": furthest,
        }),
    }])
}

/// Fails unless that is every lock.
pub(super) fn must_be_whole(listed: &[Listed], locks: u32) -> Result<()> {
    // SCAN may name a key twice while the table is being resized, so that there may be more names than keys.
    let found: usize = listed.iter().map(|listed| listed.names.len()).sum();
    let values = listed.iter().flat_map(|listed| listed.values.iter().flatten());
    let read = values.filter(|(value, ttl)| !value.is_empty() && *ttl > 0).count();
    if found < locks as usize || read < locks as usize {
        bail!("list {locks} locks with a bare client: it found {found} and read {read}");
    }
    Ok(())
}

/// Fails where a lock has another holder or deadline than in Redis; otherwise says by how much a deadline is off at most.
pub(super) fn compare(api: &mut Api, redis: u16, source: &str, names: &[Vec<u8>]) -> Result<i64> {
    let mut redis = Connection::open(redis)?;
    let mut furthest = 0;
    for name in names {
        let key = String::from_utf8_lossy(name);
        let token = match redis.ask(&[b"GET", name])? {
            Reply::Bulk(token) => String::from_utf8_lossy(token).into_owned(),
            other => bail!("compare `{key}`: Redis says {other:?}"),
        };
        let Reply::Integer(deadline) = redis.ask(&[b"PEXPIRETIME", name])? else { bail!("understand PEXPIRETIME") };
        let lock = api.lock(source, &key)?.with_context(|| format!("find `{key}`, which is held in Redis"))?;
        if token_of(&lock) != token {
            bail!("show who holds `{key}`: `{}` is shown, it is `{token}`", token_of(&lock));
        }
        let shown = lock.lease.expires_at.map(|at| at.0);
        match shown.map(|shown| (shown - deadline).abs()) {
            Some(off) if off <= TOLERANCE_MS => furthest = furthest.max(off),
            _ => bail!("show when `{key}` expires: {shown:?} is shown, it is {deadline}"),
        }
    }
    Ok(furthest)
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
