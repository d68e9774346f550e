//! A lock that is held.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::error::Error;
use crate::masters::Masters;
use crate::quorum::{Claim, Granted};
use crate::renewal::{Loss, keep};
use crate::reporter::Held;

/// A lock that is held, until it is released or lost.
///
/// Dropping it releases the lock too, as well as that goes: in the background, without telling how it went, and not at
/// all where the runtime ends first; then the lease runs out. [`Guard::release`] is better wherever it can be awaited.
#[must_use = "a guard that is dropped releases its lock"]
pub struct Guard {
    hold: Hold,
    fencing_token: u64,
    lost: watch::Receiver<Option<Loss>>,
    keeper: AbortHandle,
}

impl Guard {
    pub(crate) fn new(mut hold: Hold, granted: &Granted, renewed: bool, held: Held) -> Guard {
        hold.held = Some(held);
        let (sender, lost) = watch::channel(None);
        let keeping = keep(Arc::clone(&hold.masters), hold.claim.clone(), granted.until, renewed, sender);
        let keeper = hold.runtime.spawn(keeping).abort_handle();
        Guard { hold, fencing_token: granted.fencing_token, lost, keeper }
    }

    /// A number that is higher than that of every earlier holder of this lock. Send it along with each write, and let what
    /// is written to refuse a number lower than one it has seen: only that stops a holder that slept through its loss.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.fencing_token
    }

    /// The token that is stored under the key while the lock is held.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.hold.claim.token
    }

    /// Resolves as soon as this side knows that the lock is lost: with the first renewal after it was taken away, or
    /// when the lease has run out without one. Does not borrow the guard.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            match lost.wait_for(Option::is_some).await.map(|loss| *loss) {
                Ok(Some(loss)) => loss,
                // The guard was released or dropped: its lock is not lost, but given back.
                _ => std::future::pending().await,
            }
        }
    }

    /// Whether [`Self::lost`] has resolved.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Gives the lock back if it is still this holder's, on every master.
    ///
    /// # Errors
    /// [`Error::NotHeld`] when it was not: nothing is deleted then. [`Error::Unreachable`] when too few masters
    /// answered: then the lease runs out.
    pub async fn release(mut self) -> Result<(), Error> {
        self.keeper.abort();
        self.hold.release().await
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token: whoever has it can free the lock.
        f.debug_struct("Guard")
            .field("key", &self.hold.claim.shown())
            .field("fencing_token", &self.fencing_token)
            .field("lost", &*self.lost.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A claim that may have been granted somewhere. Released when dropped.
pub(crate) struct Hold {
    claim: Claim,
    masters: Arc<Masters>,
    runtime: Handle,
    held: Option<Held>,
    over: bool,
}

impl Hold {
    pub(crate) fn new(claim: Claim, masters: Arc<Masters>, runtime: Handle) -> Hold {
        Hold { claim, masters, runtime, held: None, over: false }
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Nobody granted it, so there is nothing to release.
    pub(crate) fn forget(mut self) {
        self.over = true;
    }

    async fn release(&mut self) -> Result<(), Error> {
        let outcome = self.claim.release(&self.masters).await;
        // Not before: a caller that stops waiting half way leaves it to `drop`.
        self.over = true;
        if let Some(held) = self.held.take().filter(|_| outcome.is_ok()) {
            held.released();
        }
        outcome
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (claim, masters, held) = (self.claim.clone(), Arc::clone(&self.masters), self.held.take());
        self.runtime.spawn(async move {
            if claim.release(&masters).await.is_ok()
                && let Some(held) = held
            {
                held.released();
            }
        });
    }
}
