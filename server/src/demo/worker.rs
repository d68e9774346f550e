//! What a process does with its lock, over and over.

use std::future::pending;
use std::time::Duration;

use fred::error::Error;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::libraries::LockClient;

/// A worker that lost its lock, or its store, first has to find out what it broke.
const AFTER_LOSS: Duration = Duration::from_secs(25);

/// A span of time that is never twice the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    from: Duration,
    to: Duration,
}

impl About {
    pub(super) const fn ms(from: u64, to: u64) -> About {
        About { from: Duration::from_millis(from), to: Duration::from_millis(to) }
    }

    pub(super) const fn s(from: u64, to: u64) -> About {
        About::ms(from * 1000, to * 1000)
    }

    pub(super) fn pick(self) -> Duration {
        self.pick_with(&mut rand::rng())
    }

    /// The same from these numbers.
    pub(crate) fn pick_with(self, numbers: &mut impl rand::Rng) -> Duration {
        numbers.random_range(self.from..=self.to)
    }
}

/// How a hold ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The work is done, and the lock is let go.
    LetsGo(About),
    /// The process dies with the lock in its hands, and is started again this long after.
    Dies(About, About),
    /// Never: it hangs, and the thread that renews does not know.
    Hangs,
}

/// A process's day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    /// Before it wants the lock for the first time.
    pub(crate) begins_after: Duration,
    /// Between one hold and the next.
    pub(crate) pause: About,
    /// How a hold ends.
    pub(crate) end: End,
}

/// One process and its lock.
pub(super) type Life = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A process with this lock and this habit.
pub(super) fn live(mut lock: impl LockClient, habit: Habit) -> Life {
    Box::pin(async move {
        sleep(habit.begins_after).await;
        loop {
            if let Err(error) = once(&mut lock, habit).await {
                tracing::debug!(%error, "a worker of the demo lost its store");
                sleep(AFTER_LOSS).await;
            }
        }
    })
}

/// Runs every life until `stop`.
pub(super) fn spawn_all(cast: Vec<Life>, stop: &CancellationToken) -> TaskTracker {
    let workers = TaskTracker::new();
    for life in cast {
        let stop = stop.clone();
        workers.spawn(async move { stop.run_until_cancelled(life).await });
    }
    workers
}

/// One hold from wanting it to the pause after it.
async fn once(lock: &mut impl LockClient, habit: Habit) -> Result<(), Error> {
    lock.acquire().await?;
    let kept = match habit.end {
        End::LetsGo(hold) | End::Dies(hold, _) => keep_for(lock, hold.pick()).await?,
        End::Hangs => keep(lock).await.map(|()| false)?,
    };
    match habit.end {
        _ if !kept => sleep(AFTER_LOSS).await,
        End::Dies(_, away) => sleep(away.pick()).await,
        End::LetsGo(_) | End::Hangs => {
            // False: it was taken from us after the last renewal. The work is done; there is nothing to undo here.
            lock.release().await?;
            sleep(habit.pause.pick()).await;
        }
    }
    Ok(())
}

/// Works for this long, and renews meanwhile. False: the lock was lost.
async fn keep_for(lock: &mut impl LockClient, hold: Duration) -> Result<bool, Error> {
    tokio::select! {
        () = sleep(hold) => Ok(true),
        lost = keep(lock) => lost.map(|()| false),
    }
}

/// Renews until the lock is lost.
async fn keep(lock: &mut impl LockClient) -> Result<(), Error> {
    let Some(period) = lock.renews_every() else { return pending().await };
    let mut beats = interval_at(Instant::now() + period, period);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if !lock.renew().await? {
            return Ok(());
        }
    }
}
