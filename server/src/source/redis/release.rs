//! Freeing exactly one hold, or what else an order says: one script, one attempt.

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::{Key, Value as Reply};
use lockkeeper_model::{LockId, words};

use super::connect::{self, Connection, For};
use super::elsewhere::{MAX_HOPS, Redirect, asking};
use super::endpoint::{Address, Endpoint};
use super::session::{cluster_info, field};
use super::topology::slot_of;
use super::trouble::{Trouble, refused_command, was_dropped};
use super::{Shared, dialect};
use crate::clock;
use crate::source::{ReleaseOrder, ReleaseReply};

/// Frees the hold on the node whose key it is. The script is sent again only to where a node of a cluster says that it
/// belongs: such an answer means that nothing was done. Whatever else happens, it is not repeated.
pub(super) async fn run_on_owner(shared: &Shared, client: &Client, order: &ReleaseOrder) -> ReleaseReply {
    if shared.elsewhere.is_some() {
        // What a cluster that is down says to a script cannot be told from silence, because the client then ends the
        // connection.
        shared.pacer.count(1);
        let state = cluster_info(client).await.ok();
        if state.is_some_and(|info| field(&info, "cluster_state").is_some_and(|state| state != "ok")) {
            let because = format!("{}; nothing was done", Trouble::cluster_down().problem);
            return ReleaseReply::Failed { because };
        }
    }
    // What can write is made for this attempt, and not left open.
    let own = match separate(shared).await {
        Ok(own) => own,
        Err(error) => return ReleaseReply::Failed { because: unusable(&error) },
    };
    let client = own.as_ref().map_or_else(|| client.clone(), Connection::client);
    shared.pacer.count(1);
    let mut attempt = attempt(&client, order, &shared.endpoint.address, false).await;
    for _ in 0..MAX_HOPS {
        let (address, is_asking) = match attempt {
            Attempt::Made(reply) => return reply,
            Attempt::Elsewhere(Redirect::Moved(address)) => (address, false),
            Attempt::Elsewhere(Redirect::Ask(address)) => (address, true),
        };
        if let Some(elsewhere) = &shared.elsewhere {
            elsewhere.look_at_topology();
        }
        let connection = match connect::connect(&releasing(shared, address.clone()), For::Act).await {
            Ok(connection) => connection,
            Err(error) => {
                let because = format!("its key moved to {address}: {}", Trouble::of(&error).problem);
                return ReleaseReply::Failed { because };
            }
        };
        shared.pacer.count(1);
        attempt = self::attempt(&connection.client(), order, &address, is_asking).await;
    }
    match attempt {
        Attempt::Made(reply) => reply,
        Attempt::Elsewhere(_) => {
            let because = "its key is moving from node to node; nothing was done".to_owned();
            ReleaseReply::Failed { because }
        }
    }
}

/// The server at this address, as whoever releases there.
fn releasing(shared: &Shared, address: Address) -> Endpoint {
    shared.config.releasing(address.clone()).unwrap_or_else(|| shared.endpoint.at(address))
}

/// A connection to this node with the credential that is for releasing alone, if there is one.
async fn separate(shared: &Shared) -> Result<Option<Connection>, Error> {
    match shared.config.releasing(shared.endpoint.address.clone()) {
        Some(endpoint) => connect::connect(&endpoint, For::Release).await.map(Some),
        None => Ok(None),
    }
}

fn unusable(error: &Error) -> String {
    format!("the credential of `release_url` cannot be used: {}", Trouble::of(error).problem)
}

/// Finds out, before anybody is in a hurry, whether the credential for releasing is let in and may run scripts at all.
pub(super) async fn check_credential(shared: Shared) {
    let checked = async {
        let Some(connection) = separate(&shared).await? else { return Ok(()) };
        shared.pacer.count(1);
        connection.client().eval::<Reply, _, _, _>("return 1", Vec::<Key>::new(), Vec::<Reply>::new()).await.map(drop)
    };
    let costs = checked.await.err().map(|error: Error| format!("nothing can be released: {}", unusable(&error)));
    if let Some(costs) = &costs {
        tracing::warn!(source.name = %shared.config.name, "source `{}`: {costs}", shared.config.name);
    }
    shared.status.release_credential(costs);
}

/// What came of sending a script.
enum Attempt {
    Made(ReleaseReply),
    /// Nothing was done: the key is there.
    Elsewhere(Redirect),
}

/// Sends the order's script once, to the node at `asked`.
async fn attempt(client: &Client, order: &ReleaseOrder, asked: &Address, is_asking: bool) -> Attempt {
    if is_asking {
        // This connection is used for nothing else, so that the script is the next command.
        let ready: Result<Reply, Error> = client.custom(asking(), Vec::<Reply>::new()).await;
        if let Err(error) = ready {
            return Attempt::Made(ReleaseReply::Failed { because: Trouble::of(&error).problem });
        }
    }
    match run(client, order).await {
        Err(error) => match Redirect::of(&error, asked) {
            Some(redirect) => Attempt::Elsewhere(redirect),
            None => Attempt::Made(failed(&error)),
        },
        Ok(reply) => Attempt::Made(reply),
    }
}

/// Runs the order's script on this node. It is sent once. An error is the node's answer, or the loss of it.
async fn run(client: &Client, order: &ReleaseOrder) -> Result<ReleaseReply, Error> {
    let script = match dialect::script(order, clock::now().0) {
        Ok(script) => script,
        Err(because) => return Ok(ReleaseReply::Failed { because }),
    };
    let names: Vec<Bytes> = script.keys.into_iter().map(Bytes::from).collect();
    let keys: Vec<Key> = names.iter().cloned().map(Key::from).collect();
    let arguments: Vec<Reply> = script.arguments.into_iter().map(|argument| Reply::Bytes(argument.into())).collect();
    match client.eval::<Reply, _, _, _>(script.code, keys, arguments).await {
        Err(error) if error.details().starts_with("CROSSSLOT") => {
            Ok(ReleaseReply::Refused { because: in_two_slots(&names) })
        }
        reply => reply.map(understand),
    }
}

/// Why a cluster runs no script that names these keys.
fn in_two_slots(keys: &[Bytes]) -> String {
    let place = |key: &Bytes| format!("`{}` in slot {}", words::shown(LockId::of_key(key).as_str()), slot_of(key));
    let one = keys.first();
    let other = one.and_then(|one| keys.iter().find(|key| slot_of(key) != slot_of(one)));
    let (Some(one), Some(other)) = (one, other) else {
        return "the store says that the keys of the lock are in different slots of its cluster".to_owned();
    };
    format!(
        "of the lock's keys {} and {} of the cluster are not in one slot, so no script can compare and free in one step; \
         a hash tag in the lock's name, in braces, keeps them together",
        place(one),
        place(other)
    )
}

/// As [`run`], without another node to go to.
#[cfg(test)]
pub(super) async fn run_here(client: &Client, order: &ReleaseOrder) -> ReleaseReply {
    run(client, order).await.unwrap_or_else(|error| failed(&error))
}

/// What it means that a script was answered with an error, or not at all.
fn failed(error: &Error) -> ReleaseReply {
    let no_answer = || ReleaseReply::Unknown {
        because: format!("it was sent, and no answer came: {}", Trouble::of(error).problem),
    };
    match error.kind() {
        ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout => no_answer(),
        _ if was_dropped(error) => no_answer(),
        _ => ReleaseReply::Failed {
            because: match refused_command(error) {
                Some(command) => format!("the credential may not run `{command}`"),
                None if error.details().starts_with("TRYAGAIN") => {
                    "its slot is moving to another node of the cluster, and not all that the script names is there yet; \
                     nothing was done; try again in a moment"
                        .to_owned()
                }
                None => Trouble::of(error).problem,
            },
        },
    }
}

fn understand(reply: Reply) -> ReleaseReply {
    let Reply::Array(parts) = reply else { return odd() };
    let mut parts = parts.into_iter();
    let word = parts.next().and_then(|word| word.into_string());
    let number = parts.next().and_then(|number| number.as_i64());
    match word.as_deref() {
        Some("released") => ReleaseReply::Released { woken: number.filter(|&woken| woken >= 0) },
        Some("done") => ReleaseReply::Done { number },
        Some("gone") => ReleaseReply::Gone,
        Some("changed") => ReleaseReply::ChangedHands,
        Some("touched") => ReleaseReply::Refused {
            because:
                "the token is the same, but its lease, its count or its fencing counter changed since it was last read: it \
                      was renewed, re-entered, or released and taken again"
                    .to_owned(),
        },
        Some("never") => {
            ReleaseReply::Refused { because: "locks of its library are never released from here".to_owned() }
        }
        _ => odd(),
    }
}

fn odd() -> ReleaseReply {
    ReleaseReply::Unknown { because: "the script answered in a way that is not understood".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_two_slots_are_both_named_and_shown_safely() {
        let keys = |names: &[&'static str]| names.iter().map(|name| Bytes::from(*name)).collect::<Vec<_>>();
        let said = in_two_slots(&keys(&["lock:{a}", "lock-signal:{a}", "lock-signal:a\u{202e}"]));
        assert!(said.contains("`lock:{a}` in slot 15495 and `lock-signal:a"), "{said}");
        assert!(!said.contains('\u{202e}'), "{said}");
        for odd in [&[][..], &["a"], &["{a}1", "{a}2"]] {
            assert!(in_two_slots(&keys(odd)).contains("the store says"), "{odd:?}");
        }
    }
}
