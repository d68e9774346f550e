//! The server's public contract over one kept connection: as light as a client can be, so that asking costs the two
//! cores next to nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::{Lock, SourceStatus};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const SILENCE: Duration = Duration::from_secs(40);

/// One kept connection.
#[derive(Debug)]
pub(crate) struct Api {
    stream: TcpStream,
    host: SocketAddr,
    input: Vec<u8>,
}

/// `GET /api/v1/locks`.
#[derive(Debug, Deserialize)]
pub(crate) struct Locks {
    pub(crate) total: u64,
    pub(crate) locks: Vec<Lock>,
}

#[derive(Deserialize)]
struct Sources {
    sources: Vec<SourceStatus>,
}

impl Api {
    pub(crate) fn open(host: SocketAddr) -> Result<Api> {
        let stream = TcpStream::connect(host).context("connect to lockkeeper")?;
        stream.set_nodelay(true).context("switch off delayed sending")?;
        stream.set_read_timeout(Some(SILENCE)).context("set a timeout")?;
        Ok(Api { stream, host, input: Vec::new() })
    }

    /// The status and the body, once the last byte is here.
    pub(crate) fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).context("ask lockkeeper")?;
        self.input.clear();
        let head = loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more()?;
        };
        let text = std::str::from_utf8(&self.input[..head]).context("understand lockkeeper's answer")?;
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("find a status")?;
        let length: usize = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .context("find the length of lockkeeper's answer")?;
        while self.input.len() < head + length {
            self.read_more()?;
        }
        Ok((status, self.input.split_off(head)))
    }

    fn read_more(&mut self) -> Result<()> {
        let mut chunk = [0; 32 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("hear from lockkeeper: it closed the connection"),
                Ok(n) => {
                    self.input.extend_from_slice(&chunk[..n]);
                    return Ok(());
                }
                // A machine that was halted for a moment interrupts reads that have a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("hear from lockkeeper"),
            }
        }
    }

    fn json<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let (status, body) = self.get(path)?;
        if status != 200 {
            bail!("get `{path}`: {status} {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("understand the answer to `{path}`"))
    }

    /// The only source.
    pub(crate) fn source(&mut self) -> Result<SourceStatus> {
        let mut sources: Sources = self.json("/api/v1/sources")?;
        match (sources.sources.pop(), sources.sources.is_empty()) {
            (Some(source), true) => Ok(source),
            _ => bail!("find exactly one source"),
        }
    }

    /// One lock; `None` if it is not held.
    pub(crate) fn lock(&mut self, source: &str, key: &str) -> Result<Option<Lock>> {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let path = format!("/api/v1/locks/{}/{}", encoded(source), encoded(key));
        match self.get(&path)? {
            (200, body) => Ok(Some(serde_json::from_slice(&body).context("understand a lock")?)),
            (404, _) => Ok(None),
            (status, body) => bail!("get `{path}`: {status} {}", String::from_utf8_lossy(&body)),
        }
    }
}

/// The first holder's token; empty where it has none.
pub(crate) fn token_of(lock: &Lock) -> &str {
    lock.holders.first().and_then(|holder| holder.token.as_deref()).unwrap_or_default()
}
