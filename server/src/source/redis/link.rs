//! The loop around connections.

use std::time::Duration;

use lockkeeper_model::SourceState;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::session::{self, End};
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::{Command, ReleaseReply, Report, TraceRefusal};

/// The first wait before dialling again, and the longest. Short, because an incident is when a store comes and goes;
/// bounded, because a store that has to be restarted is not helped by being asked ten times a second.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Waits grow by this factor.
const GROWTH: u32 = 2;

/// Watches one node until `stop`.
pub(super) async fn run(shared: Shared, mut orders: mpsc::Receiver<Command>, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    let mut was_watching = false;
    loop {
        let end = tokio::select! {
            () = stop.cancelled() => break,
            end = session::run(&shared, &mut orders) => end,
        };
        let (trouble, proven) = match end {
            End::BoardGone => return,
            End::Lost { trouble, proven } => (trouble, proven),
        };
        if proven {
            backoff = Backoff::default();
        }
        let because = trouble.problem.clone();
        if was_watching || proven {
            tracing::warn!(source.name = %shared.config.name, "lost source `{}`: {because}", shared.config.name);
            let at = clock::now();
            shared.status.gap(at, &because, 0);
            if let Err(BoardGone) = shared.report(Report::Gap { at, because }).await {
                return;
            }
        } else {
            tracing::debug!(source.name = %shared.config.name, "no connection to source `{}`: {because}", shared.config.name);
        }
        if let Err(BoardGone) = shared.whole.lost(shared.node).await {
            return;
        }
        was_watching = false;
        shared.status.enter(SourceState::Down, Some(trouble));
        let wait = backoff.next(rand::rng().random_range(0.0..1.0));
        if !refuse_orders(&mut orders, wait, &stop).await {
            break;
        }
    }
    orders.close();
    while let Ok(order) = orders.try_recv() {
        refuse(order);
    }
}

/// Until the next attempt, orders are answered with what is so: there is no connection.
async fn refuse_orders(orders: &mut mpsc::Receiver<Command>, wait: Duration, stop: &CancellationToken) -> bool {
    let again = Instant::now() + wait;
    loop {
        let order = tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep_until(again) => return true,
            order = orders.recv() => order,
        };
        match order {
            None => return false,
            Some(order) => refuse(order),
        }
    }
}

/// Answers an order that finds no connection.
pub(super) fn refuse(order: Command) {
    match order {
        // What is in doubt is found out by the scan after the connection; who waits is told by `done` being dropped.
        Command::Look { .. } | Command::Together { .. } | Command::Follow(_) => {}
        Command::Release { done, .. } => {
            let because = "there is no connection to the store".to_owned();
            let _ = done.send(ReleaseReply::Failed { because });
        }
        Command::Trace { done, .. } => {
            let because = "there is no connection to the store".to_owned();
            let _ = done.send(Err(TraceRefusal::Failed { because }));
        }
    }
}

/// Waits that grow, are bounded, and differ between servers that lost the same store at the same moment.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    upper: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { upper: FIRST_WAIT }
    }
}

impl Backoff {
    /// The next wait: between half and all of the upper bound, by `jitter` from 0 to 1.
    fn next(&mut self, jitter: f64) -> Duration {
        let wait = self.upper.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        self.upper = (self.upper * GROWTH).min(LONGEST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_are_bounded_never_zero_and_do_not_shrink_in_their_bound(jitters in proptest::collection::vec(0.0f64..=1.0, 1..40)) {
            let mut backoff = Backoff::default();
            let mut bound = Duration::ZERO;
            for jitter in jitters {
                let before = backoff.upper;
                let wait = backoff.next(jitter);
                prop_assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_WAIT);
                prop_assert!(wait <= before && before >= bound);
                bound = before;
            }
        }
    }
}
