//! How many connections there may be, altogether and from one place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockkeeper_model::Problem;
use tokio::time::Instant;

use crate::access::network;

/// Connections at once. A process may have 1,024 files open where nobody says otherwise, and the stores, the audit and the
/// history need some of them; viewers and event streams together are bounded to fewer.
const MAX_CONNECTIONS: usize = 768;

/// Connections at once from one address, or one IPv6 network. A proxy brings everybody from one address, so this must be
/// enough for all viewers and event streams; it leaves room for whoever comes from elsewhere.
const MAX_FROM_ONE: usize = 512;

/// When whoever was refused may come again, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// Refusals are told to the log once in this time, with their number: they must not fill it.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Counts connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: usize,
    /// As large as the number of connections at most.
    from: HashMap<IpAddr, usize>,
    refused: u64,
    told_at: Option<Instant>,
}

/// A connection's place among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Connections,
    from: IpAddr,
}

/// Why there is no room for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// For nobody.
    #[error("there are {MAX_CONNECTIONS} connections already, which is the most")]
    Altogether,
    /// For this address.
    #[error("there are {MAX_FROM_ONE} connections from your address already, which is the most")]
    FromOne,
}

impl Connections {
    /// A place for one more connection from there.
    pub(super) fn admit(&self, from: IpAddr) -> Result<Seat, Full> {
        let from = network(from);
        let mut table = self.table();
        let full = if table.all >= MAX_CONNECTIONS {
            Some(Full::Altogether)
        } else {
            table.from.get(&from).filter(|&&count| count >= MAX_FROM_ONE).map(|_| Full::FromOne)
        };
        if let Some(full) = full {
            table.refuse(from, full);
            return Err(full);
        }
        table.all += 1;
        *table.from.entry(from).or_default() += 1;
        Ok(Seat { connections: self.clone(), from })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked left whole numbers behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn refuse(&mut self, from: IpAddr, full: Full) {
        self.refused += 1;
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            tracing::warn!(address = %from, refused = self.refused, "connections refused: {full}");
            (self.told_at, self.refused) = (Some(Instant::now()), 0);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        table.all -= 1;
        if let Some(count) = table.from.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                table.from.remove(&self.from);
            }
        }
    }
}

impl Full {
    /// The whole answer to whoever speaks HTTP there, whatever they ask.
    pub(super) fn answer(self) -> Vec<u8> {
        let problem = Problem {
            kind: "/problems/busy".to_owned(),
            title: "Too many connections".to_owned(),
            status: 503,
            detail: self.to_string(),
            hint: Some(format!("come again in {RETRY_AFTER_S} s")),
        };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
             Retry-After: {RETRY_AFTER_S}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_leaves_room_for_others_and_all_together_are_bounded() {
        let connections = Connections::default();
        let here = IpAddr::from([10, 0, 0, 1]);
        let mut seats: Vec<Seat> = (0..MAX_FROM_ONE).map(|_| connections.admit(here).unwrap()).collect();
        assert_eq!(connections.admit(here).unwrap_err(), Full::FromOne);
        for n in 0..MAX_CONNECTIONS - MAX_FROM_ONE {
            seats.push(connections.admit(IpAddr::from([10, 0, 1 + (n >> 8) as u8, n as u8])).unwrap());
        }
        assert_eq!(connections.admit(IpAddr::from([10, 9, 9, 9])).unwrap_err(), Full::Altogether);
        seats.remove(0);
        assert!(connections.admit(here).is_ok());
        seats.clear();
        assert!(connections.table().from.is_empty() && connections.table().all == 0);
    }

    #[tokio::test]
    async fn neighbours_in_one_network_count_as_one() {
        let connections = Connections::default();
        let neighbour = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let seats: Vec<Seat> = (0..MAX_FROM_ONE).map(|n| connections.admit(neighbour(n as u16)).unwrap()).collect();
        assert_eq!(connections.admit(neighbour(9_999)).unwrap_err(), Full::FromOne);
        drop(seats);
    }

    #[test]
    fn who_is_refused_is_told_so_in_http() {
        let answer = String::from_utf8(Full::Altogether.answer()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503 ") && head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        let problem: Problem = serde_json::from_str(body).unwrap();
        assert_eq!((problem.status, problem.detail), (503, Full::Altogether.to_string()));
    }
}
