use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::Listener as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::add_extension::AddExtension;

use super::listener::Connection;
use super::{AppState, Incoming, router};

/// How long streams may take to say goodbye, and requests under way to finish, after the server was told to stop. Together
/// with what follows less than the five seconds after which people lose patience and programs kill.
pub const DRAIN: Duration = Duration::from_millis(2_500);

/// How long the last entries of the audit may then take to the disk and to the webhook.
const LAST_ENTRIES: Duration = Duration::from_secs(1);

/// How long the head of a request may take, counted from the end of the one before: heads are a packet or two, and an idle
/// connection is cheaper to open anew than to keep.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// When no more of a request's head is read, and what of a connection is kept in memory at a time, give or take one reading.
/// A query has 8 KiB at most and proxies add a few headers; hyper's own bound is 400 KiB, which for every connection together
/// is more than watching costs.
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Serves until `state.closing` is cancelled, then ends the streams and waits for the rest, at most [`DRAIN`].
/// What goes wrong with one connection ends that one alone.
pub async fn serve(listener: impl Into<Incoming>, state: AppState) {
    let closing = state.closing.clone();
    let mut listener = listener.into();
    let service = router(state.clone());
    let open = TaskTracker::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            (connection, peer) = listener.accept() => {
                open.spawn(converse(connection, peer, service.clone(), closing.clone()));
            }
        }
    }
    // Nobody else gets in, and whoever tries is not kept waiting for an answer.
    drop(listener);
    let all = async {
        open.close();
        open.wait().await;
        state.settled().await;
    };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(drain_ms = DRAIN.as_millis() as u64, "requests were still under way at the end");
    }
    // Whoever does not read must not keep from the disk what others did.
    if tokio::time::timeout(LAST_ENTRIES, state.audit.close()).await.is_err() {
        tracing::warn!("the audit was not finished at the end; what is missing is looked into at the next start");
    }
}

/// Answers what comes over one connection, until the request under way when the server is told to stop. HTTP/1.1 alone: that
/// is what browsers are offered with TLS, and without it no browser speaks anything else.
async fn converse(connection: Connection, peer: SocketAddr, service: Router, closing: CancellationToken) {
    let service = TowerToHyperService::new(AddExtension::new(service, ConnectInfo(peer)));
    let mut conversation = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = closing.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke off");
    }
}
