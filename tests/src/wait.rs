use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Far beyond what anything takes that works, on a machine that four builds share.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks. Short: the looks are cheap and the sum of them is what a test run takes.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until there is something to see, and returns it.
///
/// # Panics
/// When [`DEADLINE`] passes, with what was waited for.
pub async fn until_some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Looks until what is seen passes the test, and returns it.
///
/// # Panics
/// When [`DEADLINE`] passes, with what was waited for and what was seen last.
pub async fn until<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> T, passes: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = look().await;
        if passes(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}; last seen: {seen:#?}");
        sleep(LOOK_EVERY).await;
    }
}
