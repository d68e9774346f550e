//! The server's clock: wall time anchored once to the monotonic clock, so that a step of the machine's clock never
//! makes a lease longer or shorter while the server runs.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lockkeeper_model::Time;

static ANCHOR: OnceLock<(Instant, i64)> = OnceLock::new();

/// Now, in milliseconds.
#[must_use]
pub fn now() -> Time {
    let (instant, wall_ms) = ANCHOR.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        (Instant::now(), i64::try_from(wall).unwrap_or(i64::MAX))
    });
    Time(wall_ms.saturating_add(i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX)))
}

/// Waits for something that does not live by the clock that a test lets stand, such as a thread: that clock goes on by
/// itself when every task waits, and would run into each timeout meanwhile.
#[cfg(test)]
pub(crate) async fn standing<F: Future>(real: F) -> F::Output {
    // Tokio lets its clock stand as long as something blocks.
    let (done, wait) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || wait.recv());
    let output = real.await;
    drop(done);
    output
}
