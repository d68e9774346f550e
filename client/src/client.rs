//! Getting a lock: asking, waiting, asking again.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::error::{Error, shown};
use crate::guard::{Guard, Hold};
use crate::masters::{COMMAND_TIMEOUT, Masters};
use crate::options::{Options, Patience, Settings};
use crate::quorum::{Claim, Failure};
use crate::reporter::{Attempt, Reporter};

/// The longest key. Redis would take more; nobody could read it.
const MAX_KEY_BYTES: usize = 1024;

/// The last try begins at the deadline and may take this long, so that a busy Redis is not taken for one that is away.
const LAST_TRY: Duration = Duration::from_millis(500);

/// Takes locks from one Redis, or from a majority of several. Cheap to clone; connections end with the last clone and
/// the last guard.
#[derive(Clone)]
pub struct LockClient {
    masters: Arc<Masters>,
    reporter: Reporter,
    runtime: Handle,
}

impl LockClient {
    /// Connects to one master, or to several independent ones for a Redlock. Masters that are away later, or a minority
    /// that is away now, are tried again in the background.
    ///
    /// # Errors
    /// When a URL or a setting cannot be used, or no majority can be reached.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn new(
        urls: impl IntoIterator<Item = impl Into<String>>,
        settings: Settings,
    ) -> Result<LockClient, Error> {
        settings.check()?;
        let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
        let masters = Arc::new(Masters::connect(&urls).await?);
        let runtime = Handle::current();
        let reporter = Reporter::start(&runtime, Arc::clone(&masters), settings.reports, settings.name.as_deref());
        Ok(LockClient { masters, reporter, runtime })
    }

    /// Takes the lock under this key, waiting as the options say. While Redis is away it goes on trying until then.
    ///
    /// A caller that stops waiting for the future gives up: whatever was granted meanwhile is released in the background.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is held and the caller does not want to wait, [`Error::GaveUp`] when it was held until
    /// the deadline, [`Error::Unreachable`] when too few masters answered at the last try, [`Error::Denied`] at once when
    /// Redis refuses the commands, [`Error::Invalid`] when nothing was sent.
    pub async fn acquire(&self, key: impl AsRef<[u8]>, options: Options) -> Result<Guard, Error> {
        let key = key.as_ref();
        options.check()?;
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Error::Invalid {
                what: "the key of the lock",
                value: format!("`{}`, {} bytes", shown(key), key.len()),
                hint: "give it 1 to 1024 bytes",
            });
        }
        let mut attempt = Attempt::begin(&self.reporter, key);
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let left = match options.patience {
                Patience::None | Patience::Endless => COMMAND_TIMEOUT,
                Patience::For(time) => time.saturating_sub(attempt.began().elapsed()).max(LAST_TRY),
            };
            let hold = Hold::new(Claim::new(key, options.lease), Arc::clone(&self.masters), self.runtime.clone());
            let failure = match hold.claim().take(&self.masters, left).await {
                Ok(granted) => {
                    let held = attempt.acquired(&hold.claim().token);
                    return Ok(Guard::new(hold, &granted, options.renewed, held));
                }
                Err(failure) => failure,
            };
            if let Failure::Held { granted_somewhere: false } = failure {
                hold.forget();
            } else {
                drop(hold);
            }
            let error = match failure {
                Failure::Denied(error) => return Err(error),
                Failure::Unreachable(error) => error,
                Failure::Held { .. } if options.patience == Patience::None => {
                    attempt.refused();
                    return Err(Error::Refused { key: shown(key) });
                }
                Failure::Held { .. } => Error::GaveUp { key: shown(key), waited: attempt.began().elapsed(), tries },
            };
            let left = match options.patience {
                Patience::None => return Err(error),
                Patience::For(time) => time.saturating_sub(attempt.began().elapsed()),
                Patience::Endless => options.longest_pause,
            };
            if left.is_zero() {
                return Err(error);
            }
            attempt.waits();
            sleep(options.pause_after(tries).min(left)).await;
        }
    }

    /// How many reports did not reach the stream since the start. Locks are not affected.
    #[must_use]
    pub fn unsent_reports(&self) -> u64 {
        self.reporter.unsent()
    }
}
