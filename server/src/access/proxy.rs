//! People whom a trusted proxy names in a header.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::names::foreign_name;
use crate::clock;

/// The longest value of a header that is taken, in bytes: a name, or some hundred groups.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// Strangers who send the header are reported at most this often: each request could be one.
const REPORT_EVERY_MS: i64 = 60_000;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A proxy that signs people in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// The header that names the person.
    pub header: HeaderName,
    /// The header that lists their groups, separated by commas.
    pub groups_header: Option<HeaderName>,
    /// The addresses from which these headers are believed.
    pub peers: Vec<IpNet>,
}

/// Hears what the proxy says, and only the proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    settings: ProxySettings,
    /// When a stranger was reported last.
    reported_at: AtomicI64,
}

/// What a proxy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing, or it was not the proxy who said it.
    Nothing,
    /// Who it is.
    Person {
        /// Their name.
        name: String,
        /// Their groups.
        groups: Vec<String>,
    },
    /// Something that cannot be a name.
    Nonsense,
}

impl Proxy {
    pub(super) fn new(settings: ProxySettings) -> Proxy {
        Proxy { settings, reported_at: AtomicI64::new(i64::MIN) }
    }

    fn is_peer(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.settings.peers.iter().any(|peers| peers.contains(&address))
    }

    /// Who the request's headers say it is, if the proxy sent it.
    pub(super) fn said(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Said {
        let mut names = headers.get_all(&self.settings.header).iter();
        let Some(name) = names.next() else { return Said::Nothing };
        if !peer.is_some_and(|peer| self.is_peer(peer.ip())) {
            self.report(peer);
            return Said::Nothing;
        }
        // Two of them: one may be the client's own, which the proxy passed on.
        if names.next().is_some() {
            return Said::Nonsense;
        }
        let Some(name) = text(name.as_bytes()).and_then(foreign_name) else { return Said::Nonsense };
        let mut groups = Vec::new();
        for value in self.settings.groups_header.iter().flat_map(|header| headers.get_all(header)) {
            let Some(value) = text(value.as_bytes()) else { return Said::Nonsense };
            groups.extend(value.split(',').map(|group| group.trim().to_owned()).filter(|group| !group.is_empty()));
        }
        Said::Person { name, groups }
    }

    /// The address of whoever is behind the proxy: the last that a trusted peer added.
    pub(super) fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        if !self.is_peer(peer) {
            return peer;
        }
        let values = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        // From the nearest: what stands before the first that is not ours was written by anybody.
        hops.iter().rev().map_while(|hop| hop.parse::<IpAddr>().ok()).find(|hop| !self.is_peer(*hop)).unwrap_or(peer)
    }

    fn report(&self, peer: Option<SocketAddr>) {
        let now = clock::now().0;
        let last = self.reported_at.load(Ordering::Relaxed);
        if now.saturating_sub(last) < REPORT_EVERY_MS && last != i64::MIN {
            return;
        }
        if self.reported_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.ip().to_string());
            tracing::warn!(
                header = %self.settings.header, peer,
                "a request that did not come from the trusted proxy says who sent it; ignored (reported once a minute)"
            );
        }
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_VALUE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Proxy {
        let header = HeaderName::from_static("x-forwarded-user");
        let groups = HeaderName::from_static("x-forwarded-groups");
        let peers = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        Proxy::new(ProxySettings { header, groups_header: Some(groups), peers })
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn from(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn only_the_proxy_is_believed() {
        let headers = headers(&[("x-forwarded-user", "ada"), ("x-forwarded-groups", "oncall, staff,")]);
        let ada = Said::Person { name: "ada".to_owned(), groups: vec!["oncall".to_owned(), "staff".to_owned()] };
        for (peer, said) in [
            (from("10.1.2.3"), ada.clone()),
            (from("::ffff:10.1.2.3"), ada.clone()),
            (from("::1"), ada),
            (from("11.1.2.3"), Said::Nothing),
            (from("127.0.0.1"), Said::Nothing),
            (None, Said::Nothing),
        ] {
            assert_eq!(proxy().said(&headers, peer), said, "{peer:?}");
        }
        assert_eq!(proxy().said(&HeaderMap::new(), from("10.1.2.3")), Said::Nothing);
    }

    #[test]
    fn what_cannot_be_a_name_is_nobody() {
        let long = "a".repeat(201);
        for value in ["", " ", "a\tb", &long] {
            let headers = headers(&[("x-forwarded-user", value)]);
            assert_eq!(proxy().said(&headers, from("10.0.0.1")), Said::Nonsense, "{value:?}");
        }
        let mut twice = headers(&[("x-forwarded-user", "ada")]);
        twice.append("x-forwarded-user", "root".parse().unwrap());
        assert_eq!(proxy().said(&twice, from("10.0.0.1")), Said::Nonsense);
        let mut raw = HeaderMap::new();
        raw.insert("x-forwarded-user", axum::http::HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(proxy().said(&raw, from("10.0.0.1")), Said::Nonsense);
    }

    #[test]
    fn the_client_is_the_first_that_no_trusted_hop_wrote() {
        let client = |value: &str, peer: &str| {
            proxy().client(&headers(&[("x-forwarded-for", value)]), peer.parse().unwrap()).to_string()
        };
        assert_eq!(client("1.1.1.1, 203.0.113.7, 10.0.0.9", "10.0.0.1"), "203.0.113.7");
        assert_eq!(client("203.0.113.7", "198.51.100.1"), "198.51.100.1");
        assert_eq!(client("nonsense", "10.0.0.1"), "10.0.0.1");
        assert_eq!(client("1.1.1.1, nonsense", "10.0.0.1"), "10.0.0.1");
    }
}
