//! Connections to one Redis.

use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientInterface, ClientLike};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig};
use fred::types::{Builder, ConnectHandle, RespVersion};

use super::endpoint::Endpoint;

/// How long a connection may take, and each step of greeting the server. A frozen Redis still accepts connections: it
/// is found out by its silence.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a command may take. Redis answers in microseconds; one that takes this long is as good as gone, and the
/// heartbeat has said so before.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Notices that may wait in the feed's client between two looks at them. The default of 32 loses notices in any burst; at
/// 100,000 writes a second this is about a second's worth of messages. The client allocates this many places for each of
/// nine kinds of event at once, so it is no larger than that, and other clients get few.
const NOTICES: usize = 16_384;
const NO_NOTICES: usize = 8;

/// Commands that may wait in the client. Pipelines are bounded by who sends them; this only has to be larger.
const COMMAND_BUFFER: usize = 65_536;

/// What a connection is for, as `CLIENT LIST` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Feed,
    Act,
    /// One attempt to release, with a credential of its own.
    Release,
    Changes,
    Names,
    Values,
    Topology,
    /// What is asked beside a trace; the trace itself has [`super::trace`]'s own.
    Trace,
}

/// A connection that ends when this is dropped. The client's own handle does not do that: its task would keep the socket
/// open, and the store would go on sending notices to it.
pub(super) struct Connection {
    client: Client,
    task: ConnectHandle,
}

impl Connection {
    /// A handle for one of the tasks that share this connection.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection, ready to use. It is not re-established by itself: who holds it decides what a loss means.
pub(super) async fn connect(endpoint: &Endpoint, purpose: For) -> Result<Connection, Error> {
    let config = endpoint.to_config().map_err(|bad| Error::new(ErrorKind::Tls, bad.to_string()))?;
    let client = Builder::from_config(Config { fail_fast: true, version: RespVersion::RESP3, ..config })
        .with_performance_config(|performance: &mut PerformanceConfig| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = if purpose == For::Feed { NOTICES } else { NO_NOTICES };
        })
        .with_connection_config(|connection: &mut ConnectionConfig| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = COMMAND_BUFFER;
            connection.tcp.nodelay = Some(true);
        })
        .build()?;
    let task = client.init().await?;
    let connection = Connection { client, task };
    // The name is a courtesy to whoever reads CLIENT LIST; without permission for it the connection is as good.
    let purpose = match purpose {
        For::Feed => "feed",
        For::Act => "act",
        For::Release => "release",
        For::Changes => "changes",
        For::Names => "scan",
        For::Values => "values",
        For::Topology => "topology",
        For::Trace => "trace",
    };
    let _ = connection.client.client_setname(format!("lockkeeper-{purpose}")).await;
    Ok(connection)
}
