//! What a command means for a lock.
//!
//! Source of the rules: the commands that the lock libraries send, as their sources and watching them run show.

use super::line::Line;
use crate::source::redis::dialect::root_of_channel;

/// What a command does to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Writes a token if nothing is there: an attempt.
    Try { token: Vec<u8>, lease: Lease },
    /// Writes a token over whatever is there; `if_there`: only if something is.
    Write { token: Vec<u8>, lease: Lease, if_there: bool },
    /// Looks at the value.
    Get,
    /// Looks whether it exists.
    Exists,
    /// Looks for one field or member.
    Member { field: Vec<u8> },
    /// Counts the members of a semaphore.
    Count,
    /// Pushes the expiry out.
    Extend(Lease),
    /// Counts a holder's field of a hash up or down, or sets it.
    Field { field: Vec<u8>, up: bool },
    /// Adds a member to a semaphore.
    Add,
    /// Removes a holder's field or member.
    Remove,
    /// Deletes the key.
    Delete,
    /// Blocks on the lock's signal list.
    Block,
    /// Listens on the lock's channel.
    Listen,
    /// Looks at something that says nothing of who holds it.
    Nothing,
    /// Changes it in a way that no lock library does: what is there afterwards is not known.
    Blur,
}

/// When a key that was written ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// After so many milliseconds.
    For(i64),
    /// Never.
    Never,
    /// It is not known: an absolute time, or one that was kept.
    Unknown,
}

/// A command, understood as far as it may concern a lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Of these keys.
    Of(Vec<(Vec<u8>, Act)>),
    /// It runs a script with these arguments; what it does follows.
    Script { args: Vec<Vec<u8>> },
    /// Every key may be another now.
    BlurAll,
}

/// The list on which clients of python-redis-lock wait for `lock:<name>`.
const SIGNAL_PREFIX: &[u8] = b"lock-signal:";
const SIGNALLED_PREFIX: &[u8] = b"lock:";

/// Understands a line; `None` for what concerns no lock.
pub(super) fn understand(line: &Line<'_>) -> Option<Said> {
    let name = line.words.first()?.as_deref()?.to_ascii_uppercase();
    let words = &line.words[1..];
    let word = |at: usize| words.get(at).and_then(Option::as_deref);
    let one = |act: Act| Some(Said::Of(vec![(word(0)?.to_vec(), act)]));
    let each = |words: &[Option<Vec<u8>>], act: &Act| {
        Some(Said::Of(words.iter().flatten().map(|key| (key.clone(), act.clone())).collect()))
    };
    match name.as_slice() {
        b"SET" => one(set(words)),
        b"SETNX" => one(Act::Try { token: word(1)?.to_vec(), lease: Lease::Never }),
        b"GETSET" => one(write(word(1), Lease::Never)),
        b"SETEX" => one(write(word(2), span(word(1), 1_000))),
        b"PSETEX" => one(write(word(2), span(word(1), 1))),
        b"GET" => one(Act::Get),
        b"EXISTS" => each(words, &Act::Exists),
        b"HEXISTS" | b"ZSCORE" | b"SISMEMBER" => one(Act::Member { field: word(1)?.to_vec() }),
        b"ZCARD" | b"SCARD" => one(Act::Count),
        b"PEXPIRE" => one(Act::Extend(span(word(1), 1))),
        b"EXPIRE" => one(Act::Extend(span(word(1), 1_000))),
        b"PEXPIREAT" | b"EXPIREAT" | b"GETEX" => one(Act::Extend(Lease::Unknown)),
        b"PERSIST" => one(Act::Extend(Lease::Never)),
        b"HINCRBY" => one(Act::Field { field: word(1)?.to_vec(), up: !word(2)?.starts_with(b"-") }),
        b"HSET" | b"HSETNX" | b"HMSET" => one(Act::Field { field: word(1)?.to_vec(), up: true }),
        b"ZADD" | b"SADD" => one(Act::Add),
        b"HDEL" | b"ZREM" | b"SREM" => one(Act::Remove),
        b"DEL" | b"UNLINK" => each(words, &Act::Delete),
        b"GETDEL" => one(Act::Delete),
        b"BLPOP" | b"BRPOP" | b"BLMOVE" | b"BRPOPLPUSH" => blocks(words),
        b"SUBSCRIBE" | b"SSUBSCRIBE" => listens(words),
        b"EVAL" | b"EVALSHA" | b"FCALL" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL_RO" => script(words),
        b"FLUSHALL" | b"FLUSHDB" | b"SWAPDB" => Some(Said::BlurAll),
        b"TYPE" | b"TTL" | b"PTTL" | b"STRLEN" | b"GETRANGE" | b"HLEN" | b"HGET" | b"HGETALL" | b"HVALS" | b"HKEYS"
        | b"EXPIRETIME" | b"PEXPIRETIME" | b"ZRANGE" | b"ZRANGEBYSCORE" | b"ZRANK" | b"ZREMRANGEBYSCORE"
        | b"SMEMBERS" | b"DUMP" => one(Act::Nothing),
        b"APPEND" | b"SETRANGE" | b"INCR" | b"DECR" | b"INCRBY" | b"DECRBY" | b"INCRBYFLOAT" | b"RESTORE" | b"MOVE"
        | b"HINCRBYFLOAT" | b"LPUSH" | b"RPUSH" | b"LPOP" | b"RPOP" | b"DELEX" => one(Act::Blur),
        b"RENAME" | b"RENAMENX" | b"COPY" | b"MSET" | b"MSETNX" => each(words, &Act::Blur),
        _ => None,
    }
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT | PXAT | KEEPTTL]`
fn set(words: &[Option<Vec<u8>>]) -> Act {
    let Some(Some(token)) = words.get(1) else { return Act::Blur };
    let (mut lease, mut if_absent, mut if_there) = (Lease::Never, false, false);
    let mut options = words[2..].iter();
    while let Some(option) = options.next() {
        match option.as_deref().map(<[u8]>::to_ascii_uppercase).as_deref() {
            Some(b"NX") => if_absent = true,
            Some(b"XX") => if_there = true,
            Some(b"GET") => {}
            Some(b"EX") => lease = span(options.next().and_then(Option::as_deref), 1_000),
            Some(b"PX") => lease = span(options.next().and_then(Option::as_deref), 1),
            Some(b"KEEPTTL") => lease = Lease::Unknown,
            Some(b"EXAT" | b"PXAT") => {
                lease = Lease::Unknown;
                options.next();
            }
            // `IFEQ` and its kin depend on what was there.
            _ => return Act::Blur,
        }
    }
    match (if_absent, if_there) {
        (true, _) => Act::Try { token: token.clone(), lease },
        (false, if_there) => Act::Write { token: token.clone(), lease, if_there },
    }
}

fn write(token: Option<&[u8]>, lease: Lease) -> Act {
    token.map_or(Act::Blur, |token| Act::Write { token: token.to_vec(), lease, if_there: false })
}

/// A number of seconds or milliseconds; `unit` is its length in milliseconds.
fn span(word: Option<&[u8]>, unit: i64) -> Lease {
    number(word).and_then(|n| n.checked_mul(unit)).map_or(Lease::Unknown, Lease::For)
}

fn number(word: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

/// The lists on which it blocks, if they signal a lock.
fn blocks(words: &[Option<Vec<u8>>]) -> Option<Said> {
    let lock = |list: &Vec<u8>| Some([SIGNALLED_PREFIX, list.strip_prefix(SIGNAL_PREFIX)?].concat());
    let locks: Vec<_> = words.iter().flatten().filter_map(lock).map(|key| (key, Act::Block)).collect();
    (!locks.is_empty()).then_some(Said::Of(locks))
}

/// The channels on which it listens, if they signal a lock.
fn listens(words: &[Option<Vec<u8>>]) -> Option<Said> {
    let locks: Vec<_> =
        words.iter().flatten().filter_map(|channel| root_of_channel(channel)).map(|key| (key, Act::Listen)).collect();
    (!locks.is_empty()).then_some(Said::Of(locks))
}

/// `EVAL script numkeys key… argument…`
fn script(words: &[Option<Vec<u8>>]) -> Option<Said> {
    let keys = usize::try_from(number(words.get(1)?.as_deref())?).ok()?;
    let args = words.get(keys.checked_add(2)?..).unwrap_or_default();
    Some(Said::Script { args: args.iter().flatten().cloned().collect() })
}

#[cfg(test)]
mod tests {
    use super::super::line::parse;
    use super::*;

    fn said(command: &str) -> Option<Said> {
        let line: String = command.split(' ').map(|word| format!(" \"{word}\"")).collect();
        understand(&parse(format!("1.000000 [0 a:1]{line}").as_bytes()).unwrap())
    }

    fn of(key: &str, act: Act) -> Option<Said> {
        Some(Said::Of(vec![(key.as_bytes().to_vec(), act)]))
    }

    fn attempt(lease: Lease) -> Act {
        Act::Try { token: b"t".to_vec(), lease }
    }

    #[test]
    fn every_spelling_of_an_attempt_is_one() {
        assert_eq!(said("SET k t NX PX 30000"), of("k", attempt(Lease::For(30_000))));
        assert_eq!(said("set k t ex 30 nx"), of("k", attempt(Lease::For(30_000))));
        assert_eq!(said("SETNX k t"), of("k", attempt(Lease::Never)));
        assert_eq!(said("SET k t NX PXAT 1795230189136"), of("k", attempt(Lease::Unknown)));
        let write = |if_there| Act::Write { token: b"t".to_vec(), lease: Lease::Never, if_there };
        assert_eq!(said("SET k t XX"), of("k", write(true)));
        assert_eq!(said("GETSET k t"), of("k", write(false)));
        assert_eq!(said("SET k t IFEQ u"), of("k", Act::Blur));
    }

    #[test]
    fn who_waits_is_known_by_the_list_or_the_channel_of_the_lock() {
        assert_eq!(said("BLPOP lock-signal:stock 0"), of("lock:stock", Act::Block));
        assert_eq!(said("BLPOP jobs 0"), None);
        assert_eq!(said("SUBSCRIBE redisson_lock__channel:{stock}"), of("stock", Act::Listen));
        assert_eq!(said("ssubscribe redisson_lock__channel:a{b}"), of("a{b}", Act::Listen));
        assert_eq!(said("SUBSCRIBE news"), None);
    }

    #[test]
    fn a_script_has_arguments_after_its_keys() {
        assert_eq!(
            said("EVALSHA abc 2 k s tok 1000"),
            Some(Said::Script { args: vec![b"tok".into(), b"1000".into()] })
        );
        for bad in ["EVAL x", "EVAL x -1", "EVAL x 99999999999999999999 k", "EVAL x nine"] {
            assert_eq!(said(bad), None, "{bad}");
        }
        assert_eq!(said("EVAL x 9 k"), Some(Said::Script { args: Vec::new() }));
    }
}
