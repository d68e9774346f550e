//! The barest Redis client: RESP2 over one TCP connection, commands appended to a buffer, replies taken apart in place.
//!
//! It is the yardstick for listing and the hand that writes, so it does nothing that is not needed for that.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Redis answers the slowest command that is sent here in milliseconds.
const SILENCE: Duration = Duration::from_secs(30);

/// Taken from the socket at once, at least.
const CHUNK: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read; `start..end` is still to be taken apart.
    input: Vec<u8>,
    start: usize,
    end: usize,
}

/// A reply, or the head of an array whose items follow as replies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Nil,
    Array(usize),
}

impl Reply<'_> {
    /// Whether the command did what it was for: `OK`, or a number above zero.
    pub(crate) fn is_effect(&self) -> bool {
        matches!(self, Reply::Simple(_)) || matches!(self, Reply::Integer(1..))
    }
}

/// Appends a command.
pub(crate) fn push(out: &mut Vec<u8>, words: &[&[u8]]) {
    push_head(out, b'*', words.len());
    for word in words {
        push_head(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_head(out: &mut Vec<u8>, kind: u8, number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // A digit, so it fits.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to Redis")?;
        stream.set_nodelay(true).context("switch off delayed sending")?;
        stream.set_read_timeout(Some(SILENCE)).context("set a timeout")?;
        stream.set_write_timeout(Some(SILENCE)).context("set a timeout")?;
        Ok(Connection { stream, input: vec![0; CHUNK], start: 0, end: 0 })
    }

    /// Sends commands.
    pub(crate) fn send(&mut self, commands: &[u8]) -> Result<()> {
        self.stream.write_all(commands).context("send commands to Redis")
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Result<Reply<'_>> {
        let line = self.line()?;
        let head = self.start + 1..self.start + line - 2;
        let kind = self.input[self.start];
        if kind == b'$' {
            let len = number(&self.input[head])?;
            let Ok(len) = usize::try_from(len) else {
                self.start += line;
                return Ok(Reply::Nil);
            };
            self.need(line + len + 2)?;
            let from = self.start + line;
            self.start = from + len + 2;
            return Ok(Reply::Bulk(&self.input[from..from + len]));
        }
        self.start += line;
        let text = &self.input[head];
        Ok(match kind {
            b'+' => Reply::Simple(text),
            b'-' => Reply::Error(text),
            b':' => Reply::Integer(number(text)?),
            b'*' => Reply::Array(usize::try_from(number(text)?).unwrap_or(0)),
            other => bail!("understand Redis: a reply begins with byte {other}"),
        })
    }

    /// The next reply, which must not be an error.
    pub(crate) fn fine(&mut self) -> Result<Reply<'_>> {
        match self.reply()? {
            Reply::Error(error) => bail!("have Redis do it: {}", String::from_utf8_lossy(error)),
            reply => Ok(reply),
        }
    }

    /// Sends one command and takes its reply.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Result<Reply<'_>> {
        let mut command = Vec::new();
        push(&mut command, words);
        self.send(&command)?;
        self.fine()
    }

    /// The length of the next line, its end included, once it is here.
    fn line(&mut self) -> Result<usize> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.input[self.start + looked..self.end].iter().position(|&byte| byte == b'\n') {
                return Ok(looked + at + 1);
            }
            looked = self.end - self.start;
            self.read_more()?;
        }
    }

    fn need(&mut self, bytes: usize) -> Result<()> {
        while self.end - self.start < bytes {
            self.read_more()?;
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<()> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.input.len() - self.end < CHUNK {
            self.input.resize(self.end + 2 * CHUNK, 0);
        }
        loop {
            match self.stream.read(&mut self.input[self.end..]) {
                Ok(0) => bail!("hear from Redis: it closed the connection"),
                Ok(n) => {
                    self.end += n;
                    return Ok(());
                }
                // A machine that was halted for a moment interrupts reads that have a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("hear from Redis"),
            }
        }
    }
}

fn number(text: &[u8]) -> Result<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            bail!("understand Redis: `{}` is not a number", String::from_utf8_lossy(text));
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        push(&mut out, &[b"GET", b"lock:stock:4711"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$15\r\nlock:stock:4711\r\n");
    }

    #[test]
    fn replies_that_arrive_in_pieces_are_put_together() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut connection = Connection::open(port).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let long = vec![b'x'; 3 * CHUNK];
        let writer = std::thread::spawn(move || {
            for piece in [
                &b"+O"[..],
                b"K\r",
                b"\n:-2\r\n$-1\r\n*2\r\n$5\r\nab",
                b"\r\nc\r\n",
                b"$196608\r\n",
                &long,
                b"\r\n-no\r\n",
            ] {
                other.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        assert_eq!(connection.reply().unwrap(), Reply::Simple(b"OK"));
        assert_eq!(connection.reply().unwrap(), Reply::Integer(-2));
        assert_eq!(connection.reply().unwrap(), Reply::Nil);
        assert_eq!(connection.reply().unwrap(), Reply::Array(2));
        assert_eq!(connection.reply().unwrap(), Reply::Bulk(b"ab\r\nc"));
        assert!(matches!(connection.reply().unwrap(), Reply::Bulk(long) if long.len() == 3 * CHUNK));
        assert!(connection.fine().is_err());
        writer.join().unwrap();
    }
}
