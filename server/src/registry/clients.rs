//! Connections of clients to a store, by the names that they gave themselves, and which holder may be which.

use std::collections::HashMap;

use lockkeeper_model::{Connection, Identity, Time};

use crate::source::ClientSeen;

/// Names of connections that have closed are remembered up to this number: a holder that dies is looked for within
/// minutes, and ten thousand names are what a large deployment restarts in that time.
const MAX_CLOSED: usize = 10_000;

/// Named connections, open and closed.
#[derive(Debug, Default)]
pub(super) struct Clients {
    open: HashMap<Box<str>, ClientSeen>,
    closed: HashMap<Box<str>, Time>,
    at: Option<Time>,
}

impl Clients {
    /// Takes note of all that are open at a moment. Says whether any came or went.
    pub(super) fn saw(&mut self, clients: Vec<ClientSeen>, at: Time) -> bool {
        let mut open: HashMap<Box<str>, ClientSeen> = HashMap::with_capacity(clients.len());
        for client in clients {
            match open.get_mut(&client.name) {
                // Of several with one name, the one that spoke last speaks for them.
                Some(known) if known.idle_ms <= client.idle_ms => {}
                _ => {
                    open.insert(client.name.clone(), client);
                }
            }
        }
        let mut changed = false;
        for name in open.keys() {
            changed |= !self.open.contains_key(name);
            self.closed.remove(name);
        }
        for name in self.open.keys().filter(|name| !open.contains_key(*name)) {
            changed = true;
            if self.closed.len() >= MAX_CLOSED {
                self.closed.clear();
            }
            self.closed.insert(name.clone(), at);
        }
        self.open = open;
        self.at = Some(at);
        changed
    }

    /// The connection of a holder, where its token or its identity is the name of one that is or was open. One that
    /// closed before the hold began says nothing about it.
    pub(super) fn of(
        &self,
        token: &[u8],
        identity: &Identity,
        held_since: i64,
    ) -> Option<(Connection, Option<&ClientSeen>)> {
        let at = self.at?;
        let token = std::str::from_utf8(token).ok();
        let host = identity.host.as_deref();
        let with_pid = |between: char| Some(format!("{}{between}{}", host?, identity.pid?));
        let spelled = [with_pid(':'), with_pid('_'), with_pid('-')];
        let names = token.into_iter().chain(spelled.iter().flatten().map(String::as_str)).chain(host);
        for name in names.filter(|name| !name.is_empty()) {
            if let Some(client) = self.open.get(name) {
                let connection = Connection {
                    name: name.to_owned(),
                    addr: Some(client.addr.to_string()),
                    spoke_at: Some(at.plus(-client.idle_ms)),
                    closed_at: None,
                };
                return Some((connection, Some(client)));
            }
            if let Some(&closed_at) = self.closed.get(name).filter(|at| at.0 >= held_since) {
                let connection =
                    Connection { name: name.to_owned(), addr: None, spoke_at: None, closed_at: Some(closed_at) };
                return Some((connection, None));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, idle_ms: i64) -> ClientSeen {
        ClientSeen { name: name.into(), addr: "10.0.0.4:51234".into(), user: "default".into(), idle_ms }
    }

    #[test]
    fn a_holder_is_matched_by_its_token_or_host_and_process_and_nothing_else() {
        let mut clients = Clients::default();
        assert!(clients.saw(vec![client("worker-7", 400), client("web-1:42", 0)], Time(10_000)));
        assert!(!clients.saw(vec![client("worker-7", 900), client("web-1:42", 0)], Time(15_000)));
        let (connection, _) = clients.of(b"worker-7", &Identity::NOBODY, 0).unwrap();
        assert_eq!(connection.spoke_at, Some(Time(14_100)));
        let web = Identity { host: Some("web-1".to_owned()), pid: Some(42), ..Identity::NOBODY };
        assert_eq!(clients.of(b"x", &web, 0).unwrap().0.name, "web-1:42");
        assert!(clients.of(b"worker-8", &Identity::NOBODY, 0).is_none());
    }

    #[test]
    fn a_connection_that_closed_speaks_only_of_holds_that_it_saw() {
        let mut clients = Clients::default();
        clients.saw(vec![client("worker-7", 0)], Time(10_000));
        assert!(clients.saw(Vec::new(), Time(15_000)));
        assert_eq!(clients.of(b"worker-7", &Identity::NOBODY, 9_000).unwrap().0.closed_at, Some(Time(15_000)));
        assert!(clients.of(b"worker-7", &Identity::NOBODY, 16_000).is_none());
        clients.saw(vec![client("worker-7", 0)], Time(20_000));
        assert_eq!(clients.of(b"worker-7", &Identity::NOBODY, 9_000).unwrap().0.closed_at, None);
    }
}
