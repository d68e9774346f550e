//! `CLIENT LIST`: who is at an address.

use std::collections::HashMap;

use lockkeeper_model::{ClientFacts, words};

/// Blocking commands on lists.
const BLOCKING: [&str; 5] = ["blpop", "brpop", "blmove", "brpoplpush", "blmpop"];

/// Who was at each address, at one moment or at several.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// `None`: two connections, one after the other, had the same address.
    by_address: HashMap<String, Option<(u64, ClientFacts)>>,
}

impl Clients {
    /// Takes in a list, and says how many of its clients are blocked on some list.
    pub(super) fn learn(&mut self, list: &str) -> u32 {
        let mut blocked = 0;
        for line in list.lines() {
            let Some((address, id, facts, is_blocked)) = client(line) else { continue };
            blocked += u32::from(is_blocked);
            self.by_address
                .entry(address)
                .and_modify(|known| match known {
                    Some((known_id, known)) if *known_id == id => *known = facts.clone(),
                    // Whose commands were seen at this address is not known any more.
                    known => *known = None,
                })
                .or_insert(Some((id, facts)));
        }
        blocked
    }

    /// Who is at this address.
    pub(super) fn at(&self, address: &str) -> Option<&ClientFacts> {
        self.by_address.get(address)?.as_ref().map(|(_, facts)| facts)
    }
}

/// `id=3 addr=127.0.0.1:55384 laddr=… name=worker age=3 … flags=b … cmd=blpop user=default lib-name=redis-py lib-ver=5.0`
fn client(line: &str) -> Option<(String, u64, ClientFacts, bool)> {
    let (mut address, mut id, mut flags) = (None, None, "");
    let mut facts = ClientFacts::default();
    // Redis lets no name or library contain a space; the path of a socket may, and is known by its neighbours.
    for field in line.split(' ') {
        let Some((name, value)) = field.split_once('=') else { continue };
        let text = || (!value.is_empty()).then(|| words::shown(value));
        match name {
            "id" => id = value.parse().ok(),
            "addr" => address = Some(value.to_owned()),
            "name" => facts.name = text(),
            "user" => facts.user = text(),
            "lib-name" => facts.library = text(),
            "lib-ver" => facts.library_version = text(),
            "age" => facts.age_s = value.parse().ok(),
            "cmd" => facts.command = text(),
            "flags" => flags = value,
            _ => {}
        }
    }
    let is_blocked = flags.contains('b') && facts.command.as_deref().is_some_and(|command| BLOCKING.contains(&command));
    Some((address.filter(|address| !address.is_empty())?, id?, facts, is_blocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "id=16 addr=127.0.0.1:55494 laddr=127.0.0.1:17391 fd=11 name=worker-3 age=7 idle=0 flags=b db=0 sub=0 \
                        psub=0 multi=-1 cmd=blpop user=app redir=-1 resp=2 lib-name=redis-py lib-ver=5.0.1";

    #[test]
    fn a_client_is_known_by_its_address() {
        let mut clients = Clients::default();
        assert_eq!(clients.learn(&format!("{LINE}\nid=17 addr= cmd=get\nnonsense\n")), 1);
        let facts = clients.at("127.0.0.1:55494").unwrap();
        assert_eq!((facts.name.as_deref(), facts.user.as_deref()), (Some("worker-3"), Some("app")));
        assert_eq!((facts.library.as_deref(), facts.library_version.as_deref()), (Some("redis-py"), Some("5.0.1")));
        assert_eq!((facts.age_s, facts.command.as_deref()), (Some(7), Some("blpop")));
        assert_eq!(clients.at("127.0.0.1:1"), None);
    }

    #[test]
    fn an_address_that_two_connections_had_names_neither() {
        let mut clients = Clients::default();
        clients.learn(LINE);
        clients.learn(LINE);
        assert!(clients.at("127.0.0.1:55494").is_some());
        clients.learn(&LINE.replace("id=16", "id=99"));
        clients.learn(LINE);
        assert_eq!(clients.at("127.0.0.1:55494"), None);
    }
}
