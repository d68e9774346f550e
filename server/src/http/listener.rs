//! Accepts connections: plain ones, or TLS with whatever certificate is the newest.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::watched::Watched;

/// How long a client may take to agree on TLS: some round trips over a bad link.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients that may be agreeing on TLS at once. More wait in the system's queue.
const MAX_HANDSHAKES: usize = 256;

/// Where connections come in.
#[derive(Debug)]
pub struct Incoming {
    tcp: TcpListener,
    tls: Option<Watched<Arc<ServerConfig>>>,
    /// Each at its own pace: one slow client must not keep the others waiting.
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Incoming {
    /// Accepts what comes in here; with TLS if there is a certificate.
    #[must_use]
    pub fn new(tcp: TcpListener, tls: Option<Watched<Arc<ServerConfig>>>) -> Incoming {
        Incoming { tcp, tls, handshakes: JoinSet::new() }
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
                    match &self.tls {
                        None => return (Connection::Plain(stream), peer),
                        Some(tls) => {
                            let acceptor = TlsAcceptor::from(Arc::clone(&*tls.current()));
                            self.handshakes.spawn(shake_hands(acceptor, stream, peer));
                        }
                    }
                }
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some((stream, peer))) = shaken {
                        return (Connection::Tls(Box::new(stream)), peer);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some((stream, peer)),
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

/// One connection.
#[derive(Debug)]
pub enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS. Boxed: its state is many times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Connection::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Connection::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Connection::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
