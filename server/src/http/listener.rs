//! Accepts connections, a bounded number of them: plain ones, or TLS with whatever certificate is the newest.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::{Connections, Full, Seat};
use crate::watched::Watched;

/// How long a client may take to agree on TLS: some round trips over a bad link.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients that may be agreeing on TLS at once. More wait in the system's queue.
const MAX_HANDSHAKES: usize = 256;

/// How long somebody who is refused may take to hear of it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Clients that are being told of a refusal at once. More are cut off without a word.
const MAX_REFUSALS: usize = 32;

/// Where connections come in.
#[derive(Debug)]
pub struct Incoming {
    tcp: TcpListener,
    tls: Option<Watched<Arc<ServerConfig>>>,
    connections: Connections,
    /// Each at its own pace: one slow client must not keep the others waiting.
    handshakes: JoinSet<Option<(Connection, SocketAddr)>>,
    refusals: JoinSet<()>,
}

impl Incoming {
    /// Accepts what comes in here; with TLS if there is a certificate.
    #[must_use]
    pub fn new(tcp: TcpListener, tls: Option<Watched<Arc<ServerConfig>>>) -> Incoming {
        Incoming { tcp, tls, connections: Connections::default(), handshakes: JoinSet::new(), refusals: JoinSet::new() }
    }
}

impl From<TcpListener> for Incoming {
    fn from(tcp: TcpListener) -> Incoming {
        Incoming::new(tcp, None)
    }
}

impl Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let has_room = self.handshakes.len() < MAX_HANDSHAKES;
            tokio::select! {
                (stream, peer) = Listener::accept(&mut self.tcp), if has_room => {
                    // Deltas are small and wanted at once.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "could not switch off delayed sending");
                    }
                    let seat = match self.connections.admit(peer.ip()) {
                        Ok(seat) => seat,
                        Err(full) => {
                            self.refuse(stream, full);
                            continue;
                        }
                    };
                    match &self.tls {
                        None => return (Connection { io: Io::Plain(stream), _seat: seat }, peer),
                        Some(tls) => {
                            let acceptor = TlsAcceptor::from(Arc::clone(&*tls.current()));
                            self.handshakes.spawn(shake_hands(acceptor, stream, peer, seat));
                        }
                    }
                }
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = shaken {
                        return accepted;
                    }
                }
                Some(_) = self.refusals.join_next() => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Incoming {
    /// Says why, where that can be read: nobody who expects TLS could, and agreeing on it is what costs most.
    fn refuse(&mut self, mut stream: TcpStream, full: Full) {
        if self.tls.is_none() && self.refusals.len() < MAX_REFUSALS {
            self.refusals.spawn(async move {
                // Whoever does not hear of it sees the connection end.
                let _ = timeout(REFUSAL_TIMEOUT, stream.write_all(&full.answer())).await;
            });
        }
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
) -> Option<(Connection, SocketAddr)> {
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some((Connection { io: Io::Tls(Box::new(stream)), _seat: seat }, peer)),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "could not agree on TLS");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "agreeing on TLS took too long");
            None
        }
    }
}

/// One connection, which counts for as long as it lasts.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    _seat: Seat,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    /// Boxed: its state is many times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn who_is_one_too_many_is_told_so_and_comes_in_when_there_is_room() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let mut incoming = Incoming::from(tcp);
        let seats: Vec<Seat> = std::iter::from_fn(|| incoming.connections.admit(address.ip()).ok()).collect();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        tokio::select! {
            _ = incoming.accept() => panic!("there is no room"),
            read = stream.read_to_string(&mut answer) => { read.unwrap(); }
        }
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("from your address already"), "{answer}");
        drop(seats);
        let _next = TcpStream::connect(address).await.unwrap();
        incoming.accept().await;
    }
}
