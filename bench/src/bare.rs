//! The yardstick for listing: what a client costs that does nothing but read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::fill::PATTERN;
use crate::resp::{self, Connection, Reply};

/// Names in one pipeline, and pipelines under way.
const AT_ONCE: usize = 500;
const UNDER_WAY: usize = 4;

/// All locks, as they lie in the store, and how long finding and reading them took.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) names: Vec<Vec<u8>>,
    /// What each name stands for; `None`: gone between finding and reading.
    pub(crate) values: Vec<Option<Held>>,
    pub(crate) scan: Duration,
    pub(crate) read: Duration,
}

/// A value and its remaining milliseconds.
pub(crate) type Held = (Vec<u8>, i64);

/// Connects, walks all names, and then reads each value and TTL.
pub(crate) fn list(port: u16) -> Result<Listed> {
    let began = Instant::now();
    let mut connection = Connection::open(port)?;
    let names = scan(&mut connection, Some(PATTERN))?;
    let scan = began.elapsed();
    let values = read(&mut connection, &names)?;
    Ok(Listed { names, values, scan, read: began.elapsed() - scan })
}

/// The same on several stores at once, each by a client of its own; and how long the whole took.
pub(crate) fn list_all(ports: &[u16]) -> Result<(Vec<Listed>, Duration)> {
    let began = Instant::now();
    let listed = std::thread::scope(|scope| {
        let clients: Vec<_> = ports.iter().map(|&port| scope.spawn(move || list(port))).collect();
        let joined =
            clients.into_iter().map(|client| client.join().unwrap_or_else(|_| bail!("list: a client panicked")));
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok((listed, began.elapsed()))
}

/// All names that match a pattern, or all there are.
pub(crate) fn scan(connection: &mut Connection, pattern: Option<&str>) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut cursor = b"0".to_vec();
    let mut command = Vec::new();
    loop {
        command.clear();
        match pattern {
            Some(pattern) => {
                resp::push(&mut command, &[b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", b"1000"]);
            }
            None => resp::push(&mut command, &[b"SCAN", &cursor, b"COUNT", b"1000"]),
        }
        connection.send(&command)?;
        let Reply::Array(2) = connection.fine()? else { bail!("understand SCAN") };
        let Reply::Bulk(next) = connection.fine()? else { bail!("understand SCAN") };
        cursor.clear();
        cursor.extend_from_slice(next);
        let Reply::Array(found) = connection.fine()? else { bail!("understand SCAN") };
        for _ in 0..found {
            let Reply::Bulk(name) = connection.fine()? else { bail!("understand SCAN") };
            names.push(name.to_vec());
        }
        if cursor == b"0" {
            return Ok(names);
        }
    }
}

fn read(connection: &mut Connection, names: &[Vec<u8>]) -> Result<Vec<Option<Held>>> {
    let mut values = Vec::with_capacity(names.len());
    let mut under_way = VecDeque::new();
    let mut commands = Vec::new();
    for batch in names.chunks(AT_ONCE) {
        commands.clear();
        for name in batch {
            resp::push(&mut commands, &[b"GET", name]);
            resp::push(&mut commands, &[b"PTTL", name]);
        }
        connection.send(&commands)?;
        under_way.push_back(batch.len());
        if under_way.len() == UNDER_WAY {
            take(connection, under_way.pop_front().unwrap_or(0), &mut values)?;
        }
    }
    for batch in under_way {
        take(connection, batch, &mut values)?;
    }
    Ok(values)
}

fn take(connection: &mut Connection, batch: usize, values: &mut Vec<Option<Held>>) -> Result<()> {
    for _ in 0..batch {
        let value = match connection.fine()? {
            Reply::Bulk(value) => Some(value.to_vec()),
            _ => None,
        };
        let Reply::Integer(ttl) = connection.fine()? else { bail!("understand PTTL") };
        values.push(value.map(|value| (value, ttl)));
    }
    Ok(())
}
