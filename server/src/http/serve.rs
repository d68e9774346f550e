use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::ListenerExt as _;

use super::{AppState, Incoming, router};

/// How long streams may take to say goodbye, and requests under way to finish, after the server was told to stop. Together
/// with what follows less than the five seconds after which people lose patience and programs kill.
pub const DRAIN: Duration = Duration::from_millis(2_500);

/// How long the last entries of the audit may then take to the disk and to the webhook.
const LAST_ENTRIES: Duration = Duration::from_secs(1);

/// Serves until `state.closing` is cancelled, then ends the streams and waits for the rest, at most [`DRAIN`].
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: impl Into<Incoming>, state: AppState) -> io::Result<()> {
    let closing = state.closing.clone();
    // Wrapped, because axum tells handlers the peer's address for its own listeners only.
    let listener = listener.into().tap_io(|_| {});
    let service = router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(closing.clone().cancelled_owned());
    let all = async {
        server.into_future().await?;
        state.settled().await;
        Ok(())
    };
    let too_long = async {
        closing.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let served = tokio::select! {
        served = all => served,
        () = too_long => {
            tracing::warn!(drain_ms = DRAIN.as_millis() as u64, "requests were still under way at the end");
            Ok(())
        }
    };
    // Whoever does not read must not keep from the disk what others did.
    if tokio::time::timeout(LAST_ENTRIES, state.audit.close()).await.is_err() {
        tracing::warn!("the audit was not finished at the end; what is missing is looked into at the next start");
    }
    served
}
