//! The connection that `MONITOR` runs on.
//!
//! It is spoken to directly: the client library leaves the escapes of the lines as they are, gives up at the first one
//! that is not a quote, does not say how many bytes came, and goes on reading until the next line after it was told to
//! stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::line::Lines;
use crate::source::TraceRefusal;
use crate::source::redis::endpoint::Endpoint;
use crate::tls::TlsFiles;
use lockkeeper_model::words;

/// How long the connection may take, and each step of greeting the store.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer to a greeting, in bytes: an error message.
const MAX_GREETING_BYTES: usize = 1_024;

/// What is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// A connection to a store, in the clear or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which every command arrives that the store runs. Dropping it ends that at once.
pub(super) struct Monitor {
    stream: Box<dyn Stream>,
    lines: Lines,
    buffer: Vec<u8>,
    /// What was read, in bytes, as it is in the clear.
    pub(super) bytes: u64,
}

/// The store sent something that is no line, or ended the connection.
#[derive(Debug)]
pub(super) struct Over(pub(super) String);

impl Monitor {
    /// Connects, greets the store and begins.
    pub(super) async fn begin(endpoint: &Endpoint) -> Result<Monitor, TraceRefusal> {
        let address = &endpoint.address;
        let failed =
            |error: io::Error| TraceRefusal::Failed { because: format!("the trace could not connect: {error}") };
        let connecting = timeout(STEP_TIMEOUT, TcpStream::connect((address.host.as_str(), address.port)));
        let stream = connecting.await.unwrap_or(Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn Stream> = match &endpoint.tls {
            None => Box::new(stream),
            Some(files) => {
                let sealing = timeout(STEP_TIMEOUT, seal(stream, files, &address.host));
                Box::new(sealing.await.unwrap_or(Err(io::ErrorKind::TimedOut.into())).map_err(failed)?)
            }
        };
        let mut monitor = Monitor { stream, lines: Lines::default(), buffer: vec![0; READ_BYTES], bytes: 0 };
        if let Some(password) = &endpoint.credentials.password {
            let words: Vec<&str> = endpoint.credentials.user.iter().chain([password]).map(String::as_str).collect();
            monitor.greet("AUTH", &words).await?;
        }
        // The name is a courtesy to whoever reads CLIENT LIST.
        match monitor.greet("CLIENT", &["SETNAME", "lockkeeper-monitor"]).await {
            Ok(()) | Err(TraceRefusal::NotPermitted { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
        monitor.greet("MONITOR", &[]).await?;
        Ok(monitor)
    }

    /// Waits for more, and hands on each line that it ends.
    pub(super) async fn more(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Over> {
        let read = self
            .stream
            .read(&mut self.buffer)
            .await
            .map_err(|error| Over(format!("the connection failed: {error}")))?;
        if read == 0 {
            return Err(Over("the store ended the connection".to_owned()));
        }
        self.bytes += read as u64;
        let mut over = None;
        self.lines.feed(&self.buffer[..read], |line| match line.strip_prefix(b"+") {
            Some(line) => each(line),
            None => over = Some(Over(format!("the store answered: {}", words::shown(&String::from_utf8_lossy(line))))),
        });
        over.map_or(Ok(()), Err)
    }

    /// Sends one command that is answered in one line.
    async fn greet(&mut self, command: &str, arguments: &[&str]) -> Result<(), TraceRefusal> {
        let mut request = format!("*{}\r\n", arguments.len() + 1);
        for word in std::iter::once(&command).chain(arguments) {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let answer = timeout(STEP_TIMEOUT, async {
            self.stream.write_all(request.as_bytes()).await?;
            self.line().await
        });
        let answer = answer.await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        let answer = answer.map_err(|error| TraceRefusal::Failed {
            because: format!("the store did not answer `{command}`: {error}"),
        })?;
        if answer.starts_with("-NOPERM") {
            return Err(TraceRefusal::NotPermitted { command: command.to_owned() });
        }
        match answer.strip_prefix('-') {
            None => Ok(()),
            Some(said) => {
                Err(TraceRefusal::Failed { because: format!("the store refused `{command}`: {}", words::shown(said)) })
            }
        }
    }

    /// One byte at a time, so that nothing of what follows is taken.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            match self.stream.read_u8().await? {
                b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
                _ if line.len() == MAX_GREETING_BYTES => return Err(io::ErrorKind::InvalidData.into()),
                byte => line.push(byte),
            }
        }
    }
}

/// Speaks TLS from here on, with the settings of the source.
async fn seal(stream: TcpStream, files: &TlsFiles, host: &str) -> io::Result<impl Stream + use<>> {
    let bad = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let config = files.load().map_err(|error| bad(error.to_string()))?;
    let name = ServerName::try_from(files.server_name.as_deref().unwrap_or(host).to_owned())
        .map_err(|_| bad("the host is no name that a certificate could bear".to_owned()))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
