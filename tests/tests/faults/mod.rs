//! Whatever breaks is said where the data is, with the name of the server that it is about, and mends itself once the
//! cause is gone. One file for each way in which servers are put together, and one for TLS between them and us.
//!
//! What does not depend on that is elsewhere: a port in use and a bad configuration in `start`, oddities in `hostile`.

mod cluster;
mod redlock;
mod sentinel;
mod standalone;
mod tls;

use std::time::Duration;

use lockkeeper_model::{SourceState, SourceStatus};
use lockkeeper_tests::{Api, Server};

/// Longer than any test takes.
const LEASE: Duration = Duration::from_secs(600);

/// What makes a Redis answer a greeting as those before version 6 do, which know none.
const OLD: [&str; 3] = ["--rename-command", "HELLO", ""];

async fn server_for(url: &str) -> (Server, Api) {
    let server = Server::serve().redis(url).start().await;
    let api = server.api();
    (server, api)
}

/// Waits until the source is in a state for a reason that contains these words.
async fn is_because(api: &Api, state: SourceState, words: &str) -> SourceStatus {
    let says = |source: &SourceStatus| source.problem.as_ref().is_some_and(|problem| problem.contains(words));
    api.until_source(&format!("{state:?} because `{words}`"), |source| source.state == state && says(source)).await
}

/// Waits until the source is down for a reason that contains these words, and not ready.
async fn down_because(api: &Api, words: &str) -> SourceStatus {
    let source = is_because(api, SourceState::Down, words).await;
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:#?}");
    assert_eq!(source.confirmed_at, None, "{source:#?}");
    source
}

/// Waits until some of the source is not seen for a reason that contains these words.
async fn degraded_because(api: &Api, words: &str) -> SourceStatus {
    is_because(api, SourceState::Degraded, words).await
}
