//! What tokens look like, apart from whose they are.

use lockkeeper_model::{Identity, Time};

/// Without an operator's word, a value longer than this is no token. The longest that a known library writes by itself
/// is a host name, a process id and 32 digits.
pub(super) const MAX_GUESSED_TOKEN: usize = 128;

/// A UUID's time is believed if it is at most this far in the future: clocks of hosts differ by seconds, not minutes.
const CLOCK_SKEW_MS: i64 = 120_000;

/// …and at most this old: a lock that was asked for a year ago is rather a random number.
const OLDEST_ACQUIRE_MS: i64 = 366 * 86_400_000;

/// A value that cannot tell one holder from another.
pub(super) fn names_nobody(value: &[u8]) -> bool {
    matches!(
        value,
        b"" | b"1" | b"0" | b"true" | b"TRUE" | b"True" | b"locked" | b"LOCKED" | b"lock" | b"ok" | b"OK" | b"yes"
    )
}

/// A name by which people call locks. `lock` does not count inside `block`, `clock`, `flock` and `unlock`, nor do
/// `lease` in `release` and `leader` in `leaderboard`: those words name other things.
pub(super) fn has_lock_like_name(key: &[u8]) -> bool {
    let is = |at: usize, word: &[u8]| key.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word));
    // What stands before, if that and the word are another word, which begins there.
    let ends = |at: usize, before: &[u8]| {
        at >= before.len()
            && is(at - before.len(), before)
            && !key[..at - before.len()].last().is_some_and(u8::is_ascii_alphabetic)
    };
    (0..key.len()).any(|at| match key[at] | 0x20 {
        b'l' if is(at, b"lock") => ![&b"b"[..], b"c", b"f", b"un"].iter().any(|before| ends(at, before)),
        b'l' if is(at, b"lease") => !ends(at, b"re") && !ends(at, b"p"),
        b'l' => is(at, b"leader") && !is(at, b"leaderboard"),
        b'm' => is(at, b"mutex"),
        b's' => is(at, b"semaphore") || is(at, b"singleton"),
        _ => false,
    })
}

/// 36 characters: hex digits and dashes in their places.
pub(super) fn is_dashed_uuid(token: &[u8]) -> bool {
    token.len() == 36
        && token.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A random UUID with dashes.
pub(super) fn is_uuid4(token: &[u8]) -> bool {
    is_dashed_uuid(token) && token[14] == b'4'
}

/// As [`Iterator::all`], but without stopping early: tokens are short, and this way many bytes are looked at in one step.
fn every(token: &[u8], is: impl Fn(&u8) -> bool) -> bool {
    token.iter().fold(true, |all, byte| all & is(byte))
}

/// All characters are lower-case hex digits, and there are so many.
pub(super) fn is_lower_hex(token: &[u8], len: usize) -> bool {
    token.len() == len && every(token, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Base64 of 32 bytes: 43 characters and one `=`.
pub(super) fn is_base64_of_32_bytes(token: &[u8]) -> bool {
    token.len() == 44
        && token[43] == b'='
        && every(&token[..43], |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// `<host>_<pid>_<32 hex digits>`, as DistributedLock for .NET names a holder: host and process id.
pub(super) fn host_and_pid(token: &[u8]) -> Option<(&str, u32)> {
    let (rest, id) = token.split_at_checked(token.len().checked_sub(33)?)?;
    if token.len() > MAX_GUESSED_TOKEN || id[0] != b'_' || !is_lower_hex(&id[1..], 32) {
        return None;
    }
    let (host, pid) = std::str::from_utf8(rest).ok()?.rsplit_once('_')?;
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    Some((host, pid.parse().ok().filter(|_| is_number && !host.is_empty())?))
}

/// A UUID of version 1 as 32 hex digits, whose time is not in the future and not too old to be that of a lock.
pub(super) fn is_timed_uuid1(token: &[u8], now_ms: i64) -> bool {
    uuid1_time(token).is_some_and(|time| (now_ms - OLDEST_ACQUIRE_MS..=now_ms + CLOCK_SKEW_MS).contains(&time.0))
}

/// The time inside 32 hex digits that are a UUID of version 1 (RFC 9562 §5.1: 60 bits of 100 ns since 1582-10-15).
pub(super) fn uuid1_time(token: &[u8]) -> Option<Time> {
    if !is_lower_hex(token, 32)
        || token[12] != b'1'
        || !matches!(token[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b')
    {
        return None;
    }
    let text = std::str::from_utf8(token).ok()?;
    let part = |range: std::ops::Range<usize>| u64::from_str_radix(&text[range], 16).unwrap_or(0);
    let ticks = (part(13..16) << 48) | (part(8..12) << 32) | part(0..8);
    Some(Time(i64::try_from(ticks / 10_000).unwrap_or(i64::MAX) - 12_219_292_800_000))
}

/// What such a UUID says of its maker: the node, a network card's address or a random number that is marked as such, and
/// the time.
pub(super) fn uuid1_identity(token: &[u8]) -> Identity {
    let Some(time) = uuid1_time(token) else { return Identity::NOBODY };
    let node: Vec<&str> = std::str::from_utf8(&token[20..32])
        .map(|node| (0..6).map(|i| &node[2 * i..2 * i + 2]).collect())
        .unwrap_or_default();
    let random = node.first().and_then(|first| u8::from_str_radix(first, 16).ok()).is_some_and(|first| first & 1 == 1);
    let node = node.join(":");
    Identity {
        node: Some(if random { format!("{node} (random)") } else { node }),
        token_time: Some(time),
        ..Identity::NOBODY
    }
}

/// The last character of sixteen bytes in base64: it carries two bits, so its other four are zero.
fn ends_sixteen_bytes(last: u8) -> bool {
    matches!(last, b'A' | b'Q' | b'g' | b'w')
}

/// Upper and lower case are mixed, as in random letters and hardly ever in a name.
fn mixes_cases(token: &[u8]) -> bool {
    token.iter().any(u8::is_ascii_uppercase) && token.iter().any(u8::is_ascii_lowercase)
}

/// Base64 of 16 random bytes with its padding.
pub(super) fn is_padded_base64_of_16(token: &[u8]) -> bool {
    token.len() == 24
        && token.ends_with(b"==")
        && ends_sixteen_bytes(token[21])
        && token[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Begins with base64url of 16 random bytes, which takes 22 characters without padding.
pub(super) fn begins_with_base64url_of_16(token: &[u8]) -> bool {
    token.len() >= 22
        && ends_sixteen_bytes(token[21])
        && token[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && mixes_cases(&token[..22])
}

/// 22 random letters and digits.
pub(super) fn is_alphanumeric_22(token: &[u8]) -> bool {
    token.len() == 22 && token.iter().all(u8::is_ascii_alphanumeric) && mixes_cases(token)
}

/// The token forms of known libraries: hex and dashed UUIDs, base64 of 16, 18 or 32 bytes, 16 to 22 letters and digits, 20
/// or 24 raw bytes, host_pid_hex.
pub(super) fn is_token_shaped(token: &[u8]) -> bool {
    let is_hex = || every(token, u8::is_ascii_hexdigit);
    let is_alphanumeric = || every(token, u8::is_ascii_alphanumeric);
    let is_base64 = || {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
        every(token, allowed)
    };
    let is_raw = || std::str::from_utf8(token).is_err();
    match token.len() {
        44 if is_base64_of_32_bytes(token) => true,
        32 | 40 | 64 => is_hex(),
        36 => is_dashed_uuid(token),
        16 => is_alphanumeric(),
        20 => is_alphanumeric() || is_raw(),
        22 => is_base64(),
        24 => is_base64() || is_raw(),
        44 => is_base64() && token.ends_with(b"="),
        len if len > 36 && len <= MAX_GUESSED_TOKEN => {
            let (head, tail) = token.split_at(len - 32);
            is_dashed_uuid(&token[..36]) || (head.ends_with(b"_") && every(tail, u8::is_ascii_hexdigit))
        }
        _ => false,
    }
}

/// A value that somebody may have chosen to name a holder: short, one word, no structure.
pub(super) fn could_be_chosen(value: &[u8]) -> bool {
    value.len() <= MAX_GUESSED_TOKEN
        && value.iter().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'[' | b']' | b'"' | b'<' | b'>' | b',')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_locks_are_told_from_words_that_contain_their_letters() {
        for name in
            ["order-locks:17", "LOCK", "joblock", "dblock:1", "deadlock", "x:Mutex", "lease:a", "leader", "key_lock"]
        {
            assert!(has_lock_like_name(name.as_bytes()), "{name}");
        }
        for name in [
            "block:height",
            "blocked:10.0.0.9",
            "Clock",
            "my:flock",
            "unlock:1",
            "release:current",
            "leaderboard",
            "loc",
            "",
        ] {
            assert!(!has_lock_like_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn base64_of_16_bytes_ends_as_only_it_can() {
        assert!(is_padded_base64_of_16(b"r9C+Nk7jLkUnxp3gr5JUQQ=="));
        assert!(!is_padded_base64_of_16(b"r9C+Nk7jLkUnxp3gr5JUQR=="));
        assert!(begins_with_base64url_of_16(b"-7SaOoBYZMXgPLzBR0DBQQworker-7"));
        assert!(!begins_with_base64url_of_16(b"production-worker-hostg-17"));
    }

    #[test]
    fn a_uuid_of_version_1_says_when_and_on_which_card_it_was_made() {
        let identity = uuid1_identity(b"cd1cdc00e6bc11f08de90242ac120003");
        assert_eq!(identity.token_time.unwrap().to_string(), "2026-01-01T02:51:41.794Z");
        assert_eq!(identity.node.as_deref(), Some("02:42:ac:12:00:03"));
        assert_eq!(uuid1_time(b"0f8e41d2a2c941ef8b0a0242ac120003"), None);
    }
}
