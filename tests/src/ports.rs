use std::net::{Ipv4Addr, TcpListener};

/// A port of this machine that nobody listens on now. Another process may take it before its user does, so whoever
/// starts something there tries again.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}
