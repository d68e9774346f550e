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

use tokio::sync::{Semaphore, oneshot};

use super::Shared;
use crate::source::{Report, TraceOrder, TraceRefusal, Traced};

/// Traces of one node: one at a time, as two would cost it twice as much.
#[derive(Debug)]
pub(super) struct Tracer(Arc<Semaphore>);

impl Tracer {
    pub(super) fn new() -> Tracer {
        Tracer(Arc::new(Semaphore::new(1)))
    }
}

/// Begins a trace beside everything else, or says why not.
pub(super) fn begin(shared: &Shared, order: TraceOrder, mut done: oneshot::Sender<Traced>) {
    let refusal = match shared.config.trace_limit {
        None => TraceRefusal::Off,
        // The order waited so long that nobody waits for it any more.
        Some(_) if done.is_closed() => return,
        Some(limit) => match Arc::clone(&shared.tracer.0).try_acquire_owned() {
            Ok(slot) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let result = run::run(&shared, limit, &order, &mut done).await.map(Arc::new);
                    match &result {
                        Ok(report) => {
                            tracing::info!(
                                source.name = %shared.config.name,
                                "traced source `{}` at {}: {} commands, {} bytes; {}",
                                shared.config.name, shared.endpoint.address, report.commands, report.bytes, report.ended_because
                            );
                            // So that the board says the same as the answer. An error means that the server ends.
                            let _ = shared.report_and_wait(Report::Traced(Arc::clone(report))).await;
                        }
                        Err(refusal) => tracing::info!(
                            source.name = %shared.config.name,
                            "did not trace source `{}` at {}: {refusal}",
                            shared.config.name, shared.endpoint.address
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
