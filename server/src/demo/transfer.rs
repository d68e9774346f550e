//! Two locks taken one after the other, and by somebody else the other way round: the mistake from which deadlocks come.

use std::time::Duration;

use fred::error::Error;
use lockkeeper_client::{Error as LockError, LockClient, Options};
use tokio::time::sleep;

use super::libraries::failed;
use super::worker::{About, Life};

const LEASE: Duration = Duration::from_secs(10);

/// Before it finds out that it needs the second lock.
const UNTIL_SECOND: About = About::s(2, 4);

/// What it has to do when it has both.
const WORK: About = About::s(3, 6);

/// It does not wait for ever. Whoever gives up first lets the other go on.
const PATIENCE: About = About::s(40, 70);

const PAUSE: About = About::s(2, 5);

/// A lost store comes back, or does not; nobody is in a hurry.
const AFTER_LOSS: Duration = Duration::from_secs(25);

/// A process that takes `first` and then `second`, over and over.
pub(super) fn transfers(locks: LockClient, first: &'static str, second: &'static str) -> Life {
    Box::pin(async move {
        loop {
            if let Err(error) = once(&locks, first, second).await {
                tracing::debug!(%error, "a transfer of the demo lost its store");
                sleep(AFTER_LOSS).await;
            }
        }
    })
}

async fn once(locks: &LockClient, first: &str, second: &str) -> Result<(), Error> {
    let failed = |error: LockError| failed(&error);
    let from = locks.acquire(first, Options::lease(LEASE)).await.map_err(failed)?;
    sleep(UNTIL_SECOND.pick()).await;
    match locks.acquire(second, Options::lease(LEASE).wait_at_most(PATIENCE.pick())).await {
        Ok(to) => {
            sleep(WORK.pick()).await;
            given_back(to.release().await)?;
        }
        Err(LockError::GaveUp { .. }) => {}
        Err(error) => return Err(failed(error)),
    }
    given_back(from.release().await)?;
    sleep(PAUSE.pick()).await;
    Ok(())
}

/// A lock that was taken away meanwhile is no failure of the store.
fn given_back(released: Result<(), LockError>) -> Result<(), Error> {
    match released {
        Ok(()) | Err(LockError::NotHeld { .. }) => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}
