//! Keeping a lock, and telling its holder when it is lost.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::masters::Masters;
use crate::quorum::{Claim, Renewal};

/// A lease is renewed when a third of it has passed: two renewals may fail.
const RENEW_PART: u32 = 3;

/// After a renewal without an answer, this part of the lease passes before the next.
const AGAIN_PART: u32 = 12;

/// How a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The store says that it is not ours any more: it was freed, or it lapsed, and somebody else may have it.
    #[error("the lock was taken away")]
    TakenAway,
    /// The lease ran out and it could not be, or was not to be, renewed.
    #[error("the lease ran out")]
    Lapsed,
}

/// Keeps the lock until it is lost, and says so.
pub(crate) async fn keep(
    masters: Arc<Masters>,
    claim: Claim,
    mut until: Instant,
    renewed: bool,
    lost: watch::Sender<Option<Loss>>,
) {
    let mut next = if renewed { Instant::now() + claim.lease / RENEW_PART } else { until };
    let loss = loop {
        sleep_until(next.min(until)).await;
        if Instant::now() >= until {
            break Loss::Lapsed;
        }
        next = match timeout_at(until, claim.renew(&masters)).await {
            Ok(Renewal::Until(later)) => {
                until = later;
                Instant::now() + claim.lease / RENEW_PART
            }
            Ok(Renewal::NotOurs) => break Loss::TakenAway,
            Ok(Renewal::Unreachable) => Instant::now() + claim.lease / AGAIN_PART,
            Err(_) => break Loss::Lapsed,
        };
    };
    lost.send_replace(Some(loss));
}
