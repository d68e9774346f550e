//! Freeing exactly one hold: one script, one attempt.

use bytes::Bytes;
use fred::clients::Client;
use fred::error::ErrorKind;
use fred::interfaces::LuaInterface;
use fred::types::{Key, Value as Reply};

use super::dialect;
use super::trouble::{Trouble, refused_command};
use crate::clock;
use crate::source::{ReleaseOrder, ReleaseReply};

/// Runs the order's script. It is sent once: whatever happens, it is not repeated.
pub(super) async fn run(client: &Client, order: &ReleaseOrder) -> ReleaseReply {
    let Some(dialect) = dialect::by_name(order.dialect) else {
        return ReleaseReply::Failed { because: format!("no way is known to release a lock of `{}`", order.dialect) };
    };
    let script = dialect.release(order, clock::now().0);
    let keys: Vec<Key> = script.keys.into_iter().map(|key| Key::from(Bytes::from(key))).collect();
    let arguments: Vec<Reply> = script.arguments.into_iter().map(|argument| Reply::Bytes(argument.into())).collect();
    match client.eval::<Reply, _, _, _>(script.code, keys, arguments).await {
        Ok(reply) => understand(reply),
        Err(error) => match error.kind() {
            ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout => ReleaseReply::Unknown {
                because: format!("it was sent, and no answer came: {}", Trouble::of(&error).problem),
            },
            _ => ReleaseReply::Failed {
                because: match refused_command(&error) {
                    Some(command) => format!("the credential may not run `{command}`"),
                    None => Trouble::of(&error).problem,
                },
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
        Some("gone") => ReleaseReply::Gone,
        Some("changed") => ReleaseReply::ChangedHands,
        Some("touched") => ReleaseReply::Refused {
            because:
                "the token is the same, but its lease or its count changed since it was last read: it was renewed, \
                      re-entered, or released and taken again"
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
