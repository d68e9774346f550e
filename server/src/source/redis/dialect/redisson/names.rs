//! How Redisson names keys and channels after a lock (`RedissonObject.prefixName`, `suffixName`): the lock's name in
//! braces, so that a cluster keeps them together, unless it has a brace itself.

use super::thread_of;

pub(super) const UNLOCK_CHANNEL: &str = "redisson_lock__channel";
pub(super) const READ_WRITE_CHANNEL: &str = "redisson_rwlock";
pub(super) const SEMAPHORE_CHANNEL: &str = "redisson_sc";
pub(super) const QUEUE: &str = "redisson_lock_queue";
pub(super) const DEADLINES: &str = "redisson_lock_timeout";
pub(super) const FENCE: &str = "redisson_lock_token";
pub(super) const LATCH: &str = "redisson_unlock_latch";

/// What stands between a reader and the number of its slot.
const SLOT: &[u8] = b":rwlock_timeout:";

/// The end of the table of permits.
const PERMITS: &[u8] = b":timeout";

/// `<prefix>:{<name>}`.
pub(super) fn prefixed(prefix: &str, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + name.len() + 3);
    key.extend_from_slice(prefix.as_bytes());
    key.push(b':');
    brace(name, &mut key);
    key
}

/// The name of the lock after whose name a key or channel is formed with this prefix.
pub(super) fn of_prefixed<'a>(prefix: &str, key: &'a [u8]) -> Option<&'a [u8]> {
    of_braced(key.strip_prefix(prefix.as_bytes())?.strip_prefix(b":")?)
}

/// `{<name>}<suffix>`.
fn suffixed(name: &[u8], suffix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + suffix.len() + 2);
    brace(name, &mut key);
    key.extend_from_slice(suffix);
    key
}

fn brace(name: &[u8], into: &mut Vec<u8>) {
    if name.contains(&b'{') {
        into.extend_from_slice(name);
    } else {
        into.push(b'{');
        into.extend_from_slice(name);
        into.push(b'}');
    }
}

/// The other way round. A name without a brace is never written bare.
fn of_braced(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    match inner.filter(|inner| !inner.contains(&b'{')) {
        Some(inner) => (!inner.is_empty()).then_some(inner),
        None => text.contains(&b'{').then_some(text),
    }
}

/// The table of permits of a semaphore.
pub(super) fn permits(name: &[u8]) -> Vec<u8> {
    suffixed(name, PERMITS)
}

/// The semaphore of a table of permits.
pub(super) fn of_permits(key: &[u8]) -> Option<&[u8]> {
    of_braced(key.strip_suffix(PERMITS)?)
}

/// What the names of all slots of a reader begin with; the slot's number follows.
pub(super) fn slots(name: &[u8], reader: &[u8]) -> Vec<u8> {
    let mut key = suffixed(name, b":");
    key.extend_from_slice(reader);
    key.extend_from_slice(SLOT);
    key
}

/// One slot of a reader.
pub(super) fn slot(name: &[u8], reader: &[u8], number: u32) -> Vec<u8> {
    let mut key = slots(name, reader);
    key.extend_from_slice(number.to_string().as_bytes());
    key
}

/// The lock of a reader's slot.
pub(super) fn of_slot(key: &[u8]) -> Option<&[u8]> {
    if !key.last()?.is_ascii_digit() {
        return None;
    }
    let number = key.iter().rposition(|&byte| byte == b':')?;
    if !key[number + 1..].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let reader = key[..=number].strip_suffix(SLOT)?;
    let thread = reader.iter().rposition(|&byte| byte == b':')?;
    let uuid = reader[..thread].iter().rposition(|&byte| byte == b':')?;
    thread_of(&reader[uuid + 1..])?;
    of_braced(&reader[..uuid])
}

/// The channel of one who waits in a fair queue.
pub(super) fn waiter_channel(name: &[u8], waiter: &[u8]) -> Vec<u8> {
    let mut channel = prefixed(UNLOCK_CHANNEL, name);
    channel.push(b':');
    channel.extend_from_slice(waiter);
    channel
}

/// The lock of an unlock channel; `None` for that of one who waits in a fair queue.
pub(super) fn of_unlock_channel(channel: &[u8]) -> Option<&[u8]> {
    let name = of_prefixed(UNLOCK_CHANNEL, channel)?;
    let waiter = || {
        let thread = name.iter().rposition(|&byte| byte == b':')?;
        let uuid = name[..thread].iter().rposition(|&byte| byte == b':')?;
        thread_of(&name[uuid + 1..])
    };
    if waiter().is_some() { None } else { Some(name) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::A;
    use super::*;

    const NAMES: [&[u8]; 5] = [b"orders", b"a{b}c", b"x:y", b"with}brace", b"{a}:{b}"];

    #[test]
    fn keys_channels_and_locks_name_each_other() {
        for name in NAMES {
            let said = name.escape_ascii();
            for prefix in [UNLOCK_CHANNEL, READ_WRITE_CHANNEL, SEMAPHORE_CHANNEL, QUEUE, DEADLINES, FENCE] {
                assert_eq!(of_prefixed(prefix, &prefixed(prefix, name)), Some(name), "{prefix} {said}");
            }
            assert_eq!(of_permits(&permits(name)), Some(name), "{said}");
            assert_eq!(of_slot(&slot(name, A.as_bytes(), 12)), Some(name), "{said}");
            assert_eq!(of_unlock_channel(&prefixed(UNLOCK_CHANNEL, name)), Some(name), "{said}");
            assert_eq!(of_unlock_channel(&waiter_channel(name, A.as_bytes())), None, "{said}");
        }
    }

    #[test]
    fn the_names_are_those_that_the_library_writes() {
        assert_eq!(prefixed(QUEUE, b"orders"), b"redisson_lock_queue:{orders}");
        assert_eq!(prefixed(QUEUE, b"a{b}c"), b"redisson_lock_queue:a{b}c");
        assert_eq!(permits(b"orders"), b"{orders}:timeout");
        assert_eq!(permits(b"a{b}c"), b"a{b}c:timeout");
        assert_eq!(slot(b"orders", b"u:1", 2), b"{orders}:u:1:rwlock_timeout:2");
    }

    #[test]
    fn other_keys_are_no_ones() {
        for key in ["redisson_lock_queue:", "redisson_lock_queue:{}", "redisson_lock_queue:bare", "session:timeout"] {
            let key = key.as_bytes();
            assert_eq!((of_prefixed(QUEUE, key), of_permits(key), of_slot(key)), (None, None, None));
        }
        assert_eq!(of_slot(b"{a}:b:rwlock_timeout:1"), None);
    }
}
