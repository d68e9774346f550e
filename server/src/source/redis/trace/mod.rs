//! A trace: `MONITOR` for some seconds, folded into who tries for each lock and whose connection holds it.
//!
//! Neither leaves anything behind in the store, so there is no other way to see it. It is not free: the store formats
//! and sends every command that anybody runs. So a person starts each one, it is refused on a store that is busy or slow
//! already, its cost is measured while it runs, and it ends at once when it can be felt.
//!
//! - [`line`]: one line taken apart. [`command`]: what it means for a lock.
//! - [`fold`]: what was done to each lock, in order. [`outcome`]: what became of the attempts.
//! - [`clients`]: who is at an address.
//! - [`monitor`]: the connection. [`run`]: a trace from its beginning to its end. [`report`]: what it says.

mod clients;
mod command;
mod fold;
mod line;
mod monitor;
mod outcome;
mod report;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lockkeeper_model::TraceReport;
use tokio::sync::{Semaphore, oneshot, watch};

use super::Shared;
use crate::source::{Report, TraceOrder, TraceRefusal};

/// What is kept of traces of one source.
#[derive(Debug)]
pub(super) struct Tracer {
    /// The busiest store that may be traced, in commands a second; `None`: switched off.
    limit: Option<u64>,
    /// One at a time: two would cost the store twice as much.
    slot: Arc<Semaphore>,
    last: watch::Sender<Option<Arc<TraceReport>>>,
}

impl Tracer {
    /// A tracer, and where the last report is found.
    pub(super) fn new(limit: Option<u64>) -> (Tracer, watch::Receiver<Option<Arc<TraceReport>>>) {
        let (last, seen) = watch::channel(None);
        (Tracer { limit, slot: Arc::new(Semaphore::new(1)), last }, seen)
    }
}

/// Begins a trace beside everything else, or says why not.
pub(super) fn begin(
    shared: &Shared,
    order: TraceOrder,
    mut done: oneshot::Sender<Result<Arc<TraceReport>, TraceRefusal>>,
) {
    let refusal = match shared.tracer.limit {
        None => TraceRefusal::Off,
        // The order waited so long that nobody waits for it any more.
        Some(_) if done.is_closed() => return,
        Some(limit) => match Arc::clone(&shared.tracer.slot).try_acquire_owned() {
            Ok(slot) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let result = run::run(&shared, limit, &order, &mut done).await.map(Arc::new);
                    match &result {
                        Ok(report) => {
                            tracing::info!(
                                source.name = %shared.config.name,
                                "traced source `{}`: {} commands, {} bytes; {}",
                                shared.config.name, report.commands, report.bytes, report.ended_because
                            );
                            shared.tracer.last.send_replace(Some(Arc::clone(report)));
                            // So that the board says the same as the answer. An error means that the server ends.
                            let _ = shared.report_and_wait(Report::Traced(Arc::clone(report))).await;
                        }
                        Err(refusal) => tracing::info!(
                            source.name = %shared.config.name,
                            "did not trace source `{}`: {refusal}", shared.config.name
                        ),
                    }
                    drop(slot);
                    // Whoever asked may have given up.
                    let _ = done.send(result);
                });
                return;
            }
            Err(_) => TraceRefusal::Running,
        },
    };
    let _ = done.send(Err(refusal));
}
