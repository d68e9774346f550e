use std::net::{Ipv4Addr, SocketAddr};

use super::DEFAULT_LISTEN;
use super::error::{ConfigError, Given, Place};

/// The address to listen on. Others than this machine's own are refused where nothing says who may come.
pub(super) fn resolve(given: Option<Given<String>>, is_guarded: bool) -> Result<SocketAddr, ConfigError> {
    let given = given.unwrap_or_else(|| Given::new(DEFAULT_LISTEN.to_owned(), Place::Default("--listen")));
    let text = given.value.trim();
    let address = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    let Some(address) = address else {
        return Err(ConfigError::Value {
            place: given.place,
            value: given.value,
            expected: format!("an address and a port such as `{DEFAULT_LISTEN}` or `[::1]:7420`"),
        });
    };
    if !is_guarded && !address.ip().is_loopback() {
        return Err(ConfigError::Exposed { place: given.place, address: address.to_string() });
    }
    Ok(address)
}
