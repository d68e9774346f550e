use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use super::{AppState, router};

/// How long requests under way may take to finish after the server was told to stop.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `state.closing` is cancelled, then ends the streams and waits for the rest, at most [`DRAIN`].
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, state: AppState) -> io::Result<()> {
    let closing = state.closing.clone();
    // Deltas are small and wanted at once.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "could not switch off delayed sending");
        }
    });
    let server = axum::serve(listener, router(state.clone()).into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(closing.clone().cancelled_owned());
    let all = async {
        server.into_future().await?;
        state.settled().await;
        Ok(())
    };
    let too_long = async {
        closing.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = all => served,
        () = too_long => {
            tracing::warn!(drain_ms = DRAIN.as_millis() as u64, "requests were still under way at the end");
            Ok(())
        }
    }
}
