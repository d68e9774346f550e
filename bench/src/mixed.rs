//! A store with locks of many libraries in it, and a client that reads exactly that.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rand::Rng;

use crate::bare;
use crate::fill::{Pipeline, lease, token};
use crate::resp::{self, Connection, Reply};

/// Commands in one pipeline, and pipelines under way.
const AT_ONCE: usize = 500;
const UNDER_WAY: usize = 4;

/// Keys of so many locks: some are several.
pub(crate) fn keys_of(locks: u32) -> u32 {
    locks / 10 * 15
}

/// Writes so many locks of ten kinds in equal parts, and other keys up to twice as many keys as locks.
pub(crate) fn fill(port: u16, locks: u32) -> Result<()> {
    let mut rng = rand::rng();
    let mut pipeline = Pipeline::open(port)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let others = (2 * locks).saturating_sub(keys_of(locks));
    for n in 0..locks {
        let life = lease(&mut rng);
        let life = life.as_bytes();
        match n % 10 {
            0 | 1 => string(&mut pipeline, &format!("lock:py:{n}"), uuid1(now, &mut rng).as_bytes(), life)?,
            2 => {
                let token = STANDARD_NO_PAD.encode(rng.random::<[u8; 18]>());
                string(&mut pipeline, &format!("lock:signal:{n}"), token.as_bytes(), life)?;
            }
            3 => hash(&mut pipeline, &format!("orders:{n}"), &[(&thread(&mut rng), "1")], life)?,
            4 => {
                let (name, waiter) = (format!("stock:{n}"), thread(&mut rng));
                hash(&mut pipeline, &name, &[(&thread(&mut rng), "2")], life)?;
                let deadline = now.as_millis() as u64 + 300_000_000;
                pipeline.push(&[b"RPUSH", format!("redisson_lock_queue:{{{name}}}").as_bytes(), waiter.as_bytes()])?;
                let timeouts = format!("redisson_lock_timeout:{{{name}}}");
                pipeline.push(&[b"ZADD", timeouts.as_bytes(), deadline.to_string().as_bytes(), waiter.as_bytes()])?;
            }
            5 => {
                let (name, reader) = (format!("catalog:{n}"), thread(&mut rng));
                hash(&mut pipeline, &name, &[("mode", "read"), (&reader, "1")], life)?;
                string(&mut pipeline, &format!("{{{name}}}:{reader}:rwlock_timeout:1"), b"1", life)?;
            }
            6 => {
                let name = format!("semaphore:{n}");
                let refreshed = now.as_millis().to_string();
                let (one, two) = (uuid4(&mut rng), uuid4(&mut rng));
                let score = refreshed.as_bytes();
                pipeline.push(&[b"ZADD", name.as_bytes(), score, one.as_bytes(), score, two.as_bytes()])?;
                pipeline.push(&[b"PEXPIRE", name.as_bytes(), life])?;
            }
            7 => {
                let name = format!("invoice-lock:{n}");
                let end = (now.as_millis() as u64 + 7_200_000).to_string();
                let token = STANDARD.encode(rng.random::<[u8; 32]>());
                pipeline.push(&[
                    b"ZADD",
                    name.as_bytes(),
                    end.as_bytes(),
                    token.as_bytes(),
                    end.as_bytes(),
                    b"__write__",
                ])?;
                pipeline.push(&[b"PEXPIRE", name.as_bytes(), life])?;
            }
            8 => string(&mut pipeline, &format!("redlock:{n}"), uuid4(&mut rng).as_bytes(), life)?,
            _ => {
                let token: [u8; 24] = rng.random();
                for i in 0..3 {
                    string(&mut pipeline, &format!("rueidislock:{i}:{n}"), &token, life)?;
                }
            }
        }
        if n < others {
            string(&mut pipeline, &format!("session:{n}"), token(&mut rng).as_bytes(), life)?;
        }
    }
    pipeline.finish()
}

fn string(pipeline: &mut Pipeline, key: &str, value: &[u8], life: &[u8]) -> Result<()> {
    pipeline.push(&[b"SET", key.as_bytes(), value, b"PX", life])
}

fn hash(pipeline: &mut Pipeline, key: &str, fields: &[(&str, &str)], life: &[u8]) -> Result<()> {
    let mut words: Vec<&[u8]> = vec![b"HSET", key.as_bytes()];
    words.extend(fields.iter().flat_map(|(field, value)| [field.as_bytes(), value.as_bytes()]));
    pipeline.push(&words)?;
    pipeline.push(&[b"PEXPIRE", key.as_bytes(), life])
}

fn uuid4(rng: &mut impl Rng) -> String {
    let hex = token(rng);
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// A client and one of its threads, as Redisson names them.
fn thread(rng: &mut impl Rng) -> String {
    format!("{}:{}", uuid4(rng), rng.random_range(1..200))
}

/// As redis-py makes its tokens.
fn uuid1(now: Duration, rng: &mut impl Rng) -> String {
    let ticks = (now.as_nanos() / 100) as u64 + 0x01b2_1dd2_1381_4000 - u64::from(rng.random::<u32>() >> 4);
    let (low, mid, high) = (ticks & 0xffff_ffff, ticks >> 32 & 0xffff, ticks >> 48 & 0x0fff);
    format!("{low:08x}{mid:04x}1{high:03x}8{:03x}{:012x}", rng.random::<u16>() & 0xfff, rng.random::<u64>() >> 16)
}

/// Finds all keys and reads each with its TTL by the commands for its type, which its name tells. Answers how many.
pub(crate) fn list(port: u16) -> Result<(u32, Duration)> {
    let began = Instant::now();
    let mut connection = Connection::open(port)?;
    let names = bare::scan(&mut connection, None)?;
    let (mut commands, mut under_way) = (Vec::new(), VecDeque::new());
    for batch in names.chunks(AT_ONCE) {
        commands.clear();
        for name in batch {
            match kind(name) {
                Kind::String => resp::push(&mut commands, &[b"GET", name]),
                Kind::Hash => resp::push(&mut commands, &[b"HGETALL", name]),
                Kind::List => resp::push(&mut commands, &[b"LRANGE", name, b"0", b"255"]),
                Kind::ZSet => resp::push(&mut commands, &[b"ZRANGE", name, b"0", b"255", b"WITHSCORES"]),
            }
            resp::push(&mut commands, &[b"PTTL", name]);
        }
        connection.send(&commands)?;
        under_way.push_back(batch.len());
        if under_way.len() == UNDER_WAY {
            take(&mut connection, under_way.pop_front().unwrap_or(0))?;
        }
    }
    for batch in under_way {
        take(&mut connection, batch)?;
    }
    Ok((u32::try_from(names.len()).unwrap_or(u32::MAX), began.elapsed()))
}

enum Kind {
    String,
    Hash,
    List,
    ZSet,
}

fn kind(name: &[u8]) -> Kind {
    let is = |prefix: &[u8]| name.starts_with(prefix);
    match () {
        () if is(b"orders:") || is(b"stock:") || is(b"catalog:") => Kind::Hash,
        () if is(b"semaphore:") || is(b"invoice-lock:") || is(b"redisson_lock_timeout:") => Kind::ZSet,
        () if is(b"redisson_lock_queue:") => Kind::List,
        () => Kind::String,
    }
}

fn take(connection: &mut Connection, batch: usize) -> Result<()> {
    for _ in 0..batch {
        if let Reply::Array(items) = connection.fine()? {
            for _ in 0..items {
                connection.fine()?;
            }
        }
        let Reply::Integer(_) = connection.fine()? else { bail!("understand PTTL") };
    }
    Ok(())
}
