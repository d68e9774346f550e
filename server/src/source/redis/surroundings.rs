//! What of the store itself bears on the locks in it: whether it drops keys, whether it is copied with a delay, and
//! whose connections are open.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand};

use super::trouble::{is_of_connection, refused_command};
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::{ClientSeen, Report};

/// How often it is looked at: a holder whose connection closed is noticed within this time.
const EVERY: Duration = Duration::from_secs(5);

/// Connections up to which they are listed: the list of so many is some hundred kilobytes, which a store writes in a
/// millisecond. Beyond it, connections are not matched to holders.
const MAX_CLIENTS: u64 = 2_000;

/// Looks again and again. Ends only when the connection is lost or the server ends.
pub(super) async fn run(shared: &Shared, client: &Client) -> Result<Error, BoardGone> {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut may_list = true;
    loop {
        tick.tick().await;
        let all = match ask(shared, client, "INFO", &["all"]).await {
            Ok(info) => info,
            Err(error) if is_of_connection(&error) => return Ok(error),
            // Without INFO nothing is known of any of this; that it is missing has been said.
            Err(_) => return std::future::pending().await,
        };
        let field = |name: &str| all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
        let limited = number("maxmemory").is_some_and(|bytes| bytes > 0);
        let policy = field("maxmemory_policy").filter(|policy| limited && *policy != "noeviction");
        let replicas = number("connected_slaves").and_then(|n| u32::try_from(n).ok());
        shared.status.update(|status| {
            status.eviction = policy.map(str::to_owned);
            status.replicas = replicas;
        });
        if !may_list || number("connected_clients").is_none_or(|clients| clients > MAX_CLIENTS) {
            continue;
        }
        match ask(shared, client, "CLIENT", &["LIST", "TYPE", "normal"]).await {
            Ok(list) => {
                let clients = list.lines().filter_map(understand).collect();
                shared.report(Report::Clients { clients, at: clock::now() }).await?;
            }
            Err(error) if is_of_connection(&error) => return Ok(error),
            Err(error) => {
                if let Some(command) = refused_command(&error) {
                    shared.status.missing(&command, "whether a holder's connection is open is not known");
                }
                may_list = false;
            }
        }
    }
}

async fn ask(shared: &Shared, client: &Client, command: &'static str, words: &[&str]) -> Result<String, Error> {
    shared.pacer.count(1);
    let command = CustomCommand::new_static(command, ClusterHash::Random, false);
    client.custom(command, words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
}

/// A line of `CLIENT LIST` of a connection that has a name and is not ours.
fn understand(line: &str) -> Option<ClientSeen> {
    let field = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let name = field("name").filter(|name| !name.is_empty() && !name.starts_with("lockkeeper-"))?;
    Some(ClientSeen {
        name: name.into(),
        addr: field("addr").unwrap_or_default().into(),
        user: field("user").unwrap_or_default().into(),
        idle_ms: field("idle").and_then(|idle| idle.parse::<i64>().ok()).unwrap_or(0).saturating_mul(1_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood_and_those_without_a_name_are_left_out() {
        let line =
            "id=7 addr=10.0.0.4:51234 laddr=10.0.0.1:6379 fd=9 name=worker-7 age=12 idle=3 flags=N db=0 user=app";
        let client = understand(line).unwrap();
        assert_eq!(
            (&*client.name, &*client.addr, &*client.user, client.idle_ms),
            ("worker-7", "10.0.0.4:51234", "app", 3_000)
        );
        assert_eq!(understand("id=8 addr=10.0.0.4:51235 name= idle=0 user=default"), None);
        assert_eq!(understand("id=9 addr=127.0.0.1:1 name=lockkeeper-feed idle=0"), None);
    }
}
