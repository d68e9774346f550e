use fred::clients::Client;
use fred::types::Value;
use lockkeeper_model::{Flag, LockId};

use crate::{Api, store, until};

/// Names that nobody promised to keep tidy: not UTF-8, with markup, with control characters, with what means something
/// in a URL, and like the id of a key that is not UTF-8.
const ODD_KEYS: [&[u8]; 7] = [
    b"lock:\xff\xfe\x00\x01",
    b"lock:<img src=x onerror=alert(1)>",
    b"lock:\x1b[31mred\x07\r\n",
    "lock:\u{202e}gnirts".as_bytes(),
    b"lock:a/b?c=d&e#f%20g",
    b"lock:{tag}:..:../../etc",
    b"b64:lock",
];

/// A lock whose lease never ends: its TTL is -1.
const FOREVER: &[u8] = b"lock:forever";

/// What is no lock, by the command that makes it.
const NO_LOCKS: [(&str, &[&str]); 5] = [
    ("RPUSH", &["lock:list", "a"]),
    ("SADD", &["lock:set", "a"]),
    ("ZADD", &["lock:zset", "1", "a"]),
    ("XADD", &["lock:stream", "1-1", "a", "b"]),
    ("HSET", &["lock:hash", "a", "b"]),
];

/// Long enough for every test.
const LEASE_MS: &[u8] = b"600000";

/// Keys of every kind that a store should not have, and has: to be watched with the pattern `*`.
#[derive(Clone, Copy, Debug)]
pub struct Oddities;

impl Oddities {
    /// Writes them. `of` says to which servers a key belongs.
    pub async fn write(of: impl AsyncFn(&[u8]) -> Vec<Client>) {
        for (n, key) in ODD_KEYS.into_iter().chain([FOREVER]).enumerate() {
            // As redis-py writes it. One token in several keys would be one lock.
            let token = format!("{n}e0d7c3ef2d411ef8a7f0242ac120002");
            for client in of(key).await {
                let lease: &[&[u8]] = if key == FOREVER { &[] } else { &[b"PX", LEASE_MS] };
                let arguments = [key, token.as_bytes()].into_iter().chain(lease.iter().copied());
                let _: Value = store(&client, "SET", arguments).await;
            }
        }
        for (command, arguments) in NO_LOCKS {
            for client in of(arguments[0].as_bytes()).await {
                let _: Value = store(&client, command, arguments.iter().copied()).await;
            }
        }
    }

    /// Waits until the locks among them are shown unharmed, and what is none of them is named as such.
    ///
    /// # Panics
    /// When one comes back as another.
    pub async fn are_shown(api: &Api) {
        for key in ODD_KEYS {
            let lock = api.until_lock(&format!("{:?}", String::from_utf8_lossy(key)), key, |_| true).await;
            assert_eq!((&lock.id, lock.id.key().unwrap().as_slice()), (&LockId::of_key(key), key));
        }
        api.until_lock("one that never ends", FOREVER, |lock| lock.flags.contains(&Flag::NoExpiry)).await;
        assert_eq!(api.locks("").await.total, ODD_KEYS.len() as u64 + 1);
        api.until_live().await;
        let named = until(
            "what is no lock",
            async || api.source().await,
            |source| source.not_locks.sample.len() >= NO_LOCKS.len(),
        )
        .await;
        for (_, arguments) in NO_LOCKS {
            let is_named = named.not_locks.sample.iter().any(|(id, _)| id.as_str() == arguments[0]);
            assert!(is_named, "{} in {named:#?}", arguments[0]);
        }
    }
}
