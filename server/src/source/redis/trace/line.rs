//! One line of `MONITOR`: `1700000000.123456 [0 127.0.0.1:51234] "SET" "key" "token" "NX"`.
//!
//! Source of the format: redis/redis `replication.c`, `replicationFeedMonitors`, and `sds.c`, `sdscatrepr`; lines seen
//! from Redis 7.0. Everything in a line was chosen by a stranger.

use std::str;

/// The longest line that is read, in bytes; of a longer one the beginning is. Long enough for the scripts of the lock
/// libraries, which are a few kilobytes.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// Arguments of one command that are looked at. No lock library sends more; our own readings do.
const MAX_ARGUMENTS: usize = 64;

/// The longest argument that is kept, in bytes: the longest key that is looked at. What is longer is neither a lock's key
/// nor a token.
const MAX_ARGUMENT_BYTES: usize = 4 * 1024;

/// A command as the store ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When, on the store's clock, in microseconds since 1970.
    pub(super) at_us: i64,
    /// On which database.
    pub(super) database: u32,
    /// At whose request.
    pub(super) by: By<'a>,
    /// The command and its arguments, from the first; `None` for one that is too long to be a key or a token.
    pub(super) words: Vec<Option<Vec<u8>>>,
    /// Whether `words` is all of them.
    pub(super) is_whole: bool,
}

/// At whose request a command was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By<'a> {
    /// The script that was run last.
    Script,
    /// The client at this address: `host:port`, `[host]:port` or `unix:path`.
    Client(&'a str),
}

/// Takes a line apart, without the line break and the type byte of the protocol.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let is_cut = line.len() > MAX_LINE_BYTES;
    let line = &line[..line.len().min(MAX_LINE_BYTES)];
    let (time, rest) = split_at_byte(line, b' ')?;
    let at_us = microseconds(time)?;
    let rest = rest.strip_prefix(b"[")?;
    let (database, rest) = split_at_byte(rest, b' ')?;
    let database = str::from_utf8(database).ok()?.parse().ok()?;
    // Neither a host nor the path of a socket has a quote after a bracket and a space.
    let end = memchr::memmem::find(rest, b"] \"")?;
    let by = match str::from_utf8(&rest[..end]).ok()? {
        "lua" => By::Script,
        address => By::Client(address),
    };
    let mut rest = &rest[end + 2..];
    let mut words = Vec::with_capacity(8);
    while let Some(quoted) = rest.strip_prefix(b"\"") {
        if words.len() == MAX_ARGUMENTS {
            return Some(Line { at_us, database, by, words, is_whole: false });
        }
        match word(quoted) {
            Ok((word, after)) => {
                words.push(word);
                rest = after.strip_prefix(b" ").unwrap_or(after);
            }
            Err(Unfinished) if is_cut && !words.is_empty() => {
                return Some(Line { at_us, database, by, words, is_whole: false });
            }
            Err(Unfinished) => return None,
        }
    }
    (rest.is_empty() && !words.is_empty()).then_some(Line { at_us, database, by, words, is_whole: !is_cut })
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((&text[..at], &text[at + 1..]))
}

/// `1700000000.123456`
fn microseconds(time: &[u8]) -> Option<i64> {
    let (seconds, fraction) = str::from_utf8(time).ok()?.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() != 6 || !digits(seconds) || !digits(fraction) {
        return None;
    }
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)
}

/// The closing quote is missing, or an escape is not one.
struct Unfinished;

/// Reads up to the closing quote, and returns what follows it.
fn word(quoted: &[u8]) -> Result<(Option<Vec<u8>>, &[u8]), Unfinished> {
    let mut word = Vec::new();
    let mut rest = quoted;
    let mut is_long = false;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest).ok_or(Unfinished)?;
        is_long |= word.len() + at > MAX_ARGUMENT_BYTES;
        if !is_long {
            word.extend_from_slice(&rest[..at]);
        }
        let is_end = rest[at] == b'"';
        rest = &rest[at + 1..];
        if is_end {
            return Ok(((!is_long).then_some(word), rest));
        }
        let (escape, after) = rest.split_first().ok_or(Unfinished)?;
        rest = after;
        let byte = match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'"' | b'\\' => *escape,
            b'x' => {
                let hex = rest.get(..2).and_then(|hex| str::from_utf8(hex).ok()).ok_or(Unfinished)?;
                rest = &rest[2..];
                u8::from_str_radix(hex, 16).map_err(|_| Unfinished)?
            }
            _ => return Err(Unfinished),
        };
        if !is_long {
            word.push(byte);
        }
    }
}

/// Cuts what arrives into lines, whatever the pieces it arrives in. Holds no more than one line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Hands on every line that this piece ends, without its line break. Of a line that is too long the beginning is
    /// handed on, and one byte more, which tells that it was cut.
    pub(super) fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some((end, after)) = split_at_byte(piece, b'\n') {
            if self.begun.is_empty() {
                each(end.strip_suffix(b"\r").unwrap_or(end));
            } else {
                self.keep(end);
                each(self.begun.strip_suffix(b"\r").unwrap_or(&self.begun));
                self.begun.clear();
            }
            piece = after;
        }
        self.keep(piece);
    }

    fn keep(&mut self, piece: &[u8]) {
        // The type byte of the protocol comes before the line.
        let room = (MAX_LINE_BYTES + 2).saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        let line = parse(line.as_bytes()).unwrap();
        line.words.into_iter().map(|word| String::from_utf8_lossy(&word.unwrap()).into_owned()).collect()
    }

    #[test]
    fn lines_of_a_real_server_are_understood() {
        let line = parse(br#"1795230189.136597 [0 127.0.0.1:55386] "SET" "k" "tok" "NX" "PX" "30000""#).unwrap();
        assert_eq!((line.at_us, line.database, line.by), (1_795_230_189_136_597, 0, By::Client("127.0.0.1:55386")));
        assert!(line.is_whole);
        let script = r#"1795230189.147408 [0 127.0.0.1:55396] "eval" "if redis.call('get',KEYS[1])==ARGV[1] then return 1 end" "1" "k" "tok" "30000""#;
        assert_eq!(words(script)[2..], ["1", "k", "tok", "30000"]);
        assert_eq!(parse(br#"1795230189.147477 [3 lua] "get" "k""#).unwrap().by, By::Script);
        assert_eq!(parse(br#"1795230189.147477 [3 lua] "get" "k""#).unwrap().database, 3);
        let socket = parse(br#"1795230189.152248 [0 unix:/tmp/a b/r.sock] "SETNX" "k" "x""#).unwrap();
        assert_eq!(socket.by, By::Client("unix:/tmp/a b/r.sock"));
        assert_eq!(parse(br#"1795230189.1 [0 [::1]:5] "PING""#), None);
        assert_eq!(parse(br#"1795230189.100000 [0 [::1]:5] "PING""#).unwrap().by, By::Client("[::1]:5"));
        let escaped = parse(br#"1795230189.161508 [0 127.0.0.1:55410] "SET" "b" "\x00\xff\"\\a\n\r\tb\a\b" "NX""#);
        assert_eq!(escaped.unwrap().words[2].as_deref(), Some(&b"\x00\xff\"\\a\n\r\tb\x07\x08"[..]));
        assert_eq!(words(r#"1795230190.680353 [3 127.0.0.1:55482] "set" "q" """#), ["set", "q", ""]);
    }

    #[test]
    fn what_is_no_line_is_refused_and_what_is_too_long_is_cut() {
        for bad in [
            "",
            "OK",
            "x [0 a:1] \"GET\"",
            "1.000000 [0 a:1]",
            "1.000000 [0 a:1] GET",
            "1.000000 [0 a:1] \"GET",
            "1.000000 [0 a:1] \"GET\" x",
            "1.000000 [0 a:1] \"\\q\"",
            "1.000000 [0 a:1] \"\\x0\"",
            "99999999999999999999.000000 [0 a:1] \"GET\"",
            "1.000000 [-1 a:1] \"GET\"",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        let long = format!("1.000000 [0 a:1] \"SET\" \"k\" \"{}\" \"NX\"", "x".repeat(MAX_ARGUMENT_BYTES + 1));
        let line = parse(long.as_bytes()).unwrap();
        assert_eq!((line.words[2].as_ref(), line.words.len(), line.is_whole), (None, 4, true));
        let longer = format!("1.000000 [0 a:1] \"SET\" \"k\" \"{}\" \"NX\"", "x".repeat(MAX_LINE_BYTES));
        let line = parse(longer.as_bytes()).unwrap();
        assert_eq!((line.words.len(), line.is_whole), (2, false));
        let many = format!("1.000000 [0 a:1]{}", " \"x\"".repeat(MAX_ARGUMENTS + 1));
        assert!(!parse(many.as_bytes()).unwrap().is_whole);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&line);
            let _ = parse(&[b"1.000000 [0 a:1] \"".as_slice(), &line].concat());
        }

        #[test]
        fn every_argument_comes_back_as_it_was_sent(args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6)) {
            let mut line = b"1700000000.000001 [0 127.0.0.1:1]".to_vec();
            for arg in &args {
                line.extend_from_slice(b" \"");
                for &byte in arg {
                    match byte {
                        b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                        b'\n' => line.extend_from_slice(b"\\n"),
                        0x20..0x7f => line.push(byte),
                        _ => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
                    }
                }
                line.push(b'"');
            }
            let seen: Vec<Vec<u8>> = parse(&line).unwrap().words.into_iter().flatten().collect();
            prop_assert_eq!(seen, args);
        }

        #[test]
        fn lines_are_the_same_whatever_the_pieces(
            lines in proptest::collection::vec("[a-z]{0,20}", 0..20), size in 1usize..30
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let (mut seen, mut splitter) = (Vec::new(), Lines::default());
            for piece in text.as_bytes().chunks(size) {
                splitter.feed(piece, |line| seen.push(String::from_utf8_lossy(line).into_owned()));
            }
            prop_assert_eq!(seen, lines);
        }
    }

    #[test]
    fn a_line_without_end_is_held_up_to_a_bound() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.feed(&[b'x'; 10_000], |_| panic!("no line has ended"));
        }
        assert!(lines.begun.len() <= MAX_LINE_BYTES + 2);
        let mut seen = Vec::new();
        lines.feed(b"x\r\n+next\r\n", |line| seen.push(line.len()));
        assert_eq!(seen, [MAX_LINE_BYTES + 2, 5]);
    }
}
