use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the system gives to whoever asks for any, and above what is known by its number.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// How far apart processes begin that were started one after the other.
const APART: u32 = 97;

/// A port of this machine that nobody listens on now and that this process has not given out before. Another process may
/// take it before its user does, so whoever starts something there tries again.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(APART);
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free port")
}
