//! Connections to the independent masters, and one question put to all of them.

use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error as RedisError, ErrorKind};
use fred::interfaces::{ClientLike as _, LuaInterface as _, StreamsInterface as _};
use fred::types::config::{Config, ConnectionConfig, Options as CommandOptions, PerformanceConfig, ReconnectPolicy};
use fred::types::{Builder, ConnectHandle, Key, Value};
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use crate::error::{Error, shown};
use crate::options::Reports;

/// More masters make a lock slower and no safer.
const MAX_MASTERS: usize = 32;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a command may take where no lease asks for less. Redis answers in microseconds.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two attempts to reach a master that was lost, in milliseconds: from, to, growing by.
const RECONNECT_MS: (u32, u32, u32) = (50, 2_000, 2);

/// Commands that may wait in one connection. Each waiting task has one under way.
const COMMAND_BUFFER: usize = 16_384;

/// What a master answered.
pub(crate) enum Answer {
    Number(u64),
    /// It could not be asked, did not answer in time, or is not ready. Another time it may.
    Silent(String),
    /// It refuses, and will do so again.
    Denied(String),
}

/// The masters. Connections end with the value, and are made again by themselves until then.
pub(crate) struct Masters {
    nodes: Vec<Client>,
    tasks: Vec<ConnectHandle>,
}

impl Drop for Masters {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Masters {
    /// Connects to all of them. A minority may come later.
    pub(crate) async fn connect(urls: &[String]) -> Result<Masters, Error> {
        if urls.is_empty() || urls.len() > MAX_MASTERS {
            return Err(Error::Invalid {
                what: "the number of Redis masters",
                value: urls.len().to_string(),
                hint: "give one URL, or 3 to 32 of independent masters for a Redlock",
            });
        }
        let mut configs: Vec<Config> = Vec::with_capacity(urls.len());
        for url in urls {
            let config = config(url)?;
            if configs.iter().any(|other| other.server == config.server) {
                return Err(Error::Invalid {
                    what: "the list of Redis masters",
                    value: format!("twice `{}`", without_password(url)),
                    hint: "each must be another server: one that votes twice makes no majority",
                });
            }
            configs.push(config);
        }
        let mut masters = Masters { nodes: Vec::new(), tasks: Vec::new() };
        for config in configs {
            let client = client(config)?;
            masters.tasks.push(client.connect());
            masters.nodes.push(client);
        }
        let mut last = "no answer in time".to_owned();
        for outcome in
            join_all(masters.nodes.iter().map(|node| timeout(CONNECT_TIMEOUT, node.wait_for_connect()))).await
        {
            if let Ok(Err(error)) = outcome {
                last = shown(error.details().as_bytes());
            }
        }
        let answered = masters.nodes.iter().filter(|node| node.is_connected()).count();
        if answered < masters.needed() {
            return Err(masters.unreachable(answered, last));
        }
        Ok(masters)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many are a majority.
    pub(crate) fn needed(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    pub(crate) fn unreachable(&self, answered: usize, last: String) -> Error {
        Error::Unreachable { answered, masters: self.len(), needed: self.needed(), last }
    }

    /// Runs one script on all of them at once and yields the answers as they come, each within `patience`.
    pub(crate) fn ask(
        &self,
        script: &'static str,
        keys: &[&[u8]],
        arguments: &[String],
        patience: Duration,
    ) -> FuturesUnordered<impl Future<Output = Answer> + Send + use<>> {
        let command = CommandOptions {
            timeout: Some(patience),
            max_attempts: Some(1),
            // A command that waits for a connection could run when nobody counts on it any more.
            fail_fast: true,
            ..CommandOptions::default()
        };
        let ask_one = |node: &Client| {
            let node = node.clone();
            let command = command.clone();
            let keys: Vec<Key> = keys.iter().map(|&key| Key::from(key)).collect();
            let arguments: Vec<Value> = arguments.iter().map(|argument| Value::from(argument.as_str())).collect();
            async move {
                if !node.is_connected() {
                    return Answer::Silent("not connected".to_owned());
                }
                let reply = node.with_options(&command).eval::<u64, _, _, _>(script, keys, arguments).await;
                reply.map_or_else(|error| Answer::of(&error), Answer::Number)
            }
        };
        self.nodes.iter().map(ask_one).collect()
    }

    /// Adds an entry to a capped stream on the first master that can be asked. True if it was taken.
    pub(crate) async fn add(&self, reports: &Reports, fields: Vec<(&'static str, Vec<u8>)>) -> bool {
        let Some(node) = self.nodes.iter().find(|node| node.is_connected()) else { return false };
        let command = CommandOptions {
            timeout: Some(COMMAND_TIMEOUT),
            max_attempts: Some(1),
            fail_fast: true,
            ..CommandOptions::default()
        };
        let cap = ("MAXLEN", "~", reports.max_entries.to_string(), None);
        let fields: Vec<(Key, Value)> =
            fields.into_iter().map(|(name, value)| (Key::from(name), Value::Bytes(value.into()))).collect();
        node.with_options(&command).xadd::<Value, _, _, _, _>(&reports.stream, false, cap, "*", fields).await.is_ok()
    }
}

impl Answer {
    fn of(error: &RedisError) -> Answer {
        const PASSING: [&str; 6] = ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM"];
        let details = error.details();
        let because = shown(details.as_bytes());
        let of_connection = matches!(
            error.kind(),
            ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout | ErrorKind::Backpressure | ErrorKind::Cluster
        );
        if of_connection || PASSING.iter().any(|word| details.starts_with(word)) {
            Answer::Silent(because)
        } else {
            Answer::Denied(because)
        }
    }
}

fn config(url: &str) -> Result<Config, Error> {
    let mut config = Config::from_url(url).map_err(|_| Error::Invalid {
        what: "the URL of a Redis master",
        value: format!("`{}`", without_password(url)),
        hint: "write it as redis://host:port",
    })?;
    // A master that is away when the program starts is tried again, like one that goes later.
    config.fail_fast = false;
    Ok(config)
}

fn client(config: Config) -> Result<Client, Error> {
    let (first_ms, longest_ms, growth) = RECONNECT_MS;
    Builder::from_config(config)
        .with_performance_config(|performance: &mut PerformanceConfig| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
        })
        .with_connection_config(|connection: &mut ConnectionConfig| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = COMMAND_BUFFER;
            connection.tcp.nodelay = Some(true);
        })
        // Zero attempts are endless ones.
        .set_policy(ReconnectPolicy::new_exponential(0, first_ms, longest_ms, growth))
        .build()
        .map_err(|error| Error::Invalid {
            what: "the connection to a Redis master",
            value: shown(error.details().as_bytes()),
            hint: "check the URL",
        })
}

/// A URL for showing: what stands before the last `@` may be a password.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = shown(rest.split('?').next().unwrap_or_default().as_bytes());
    if scheme.is_empty() { rest } else { format!("{}://{rest}", shown(scheme.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urls_are_checked_before_anything_is_dialled_and_never_told_with_a_password() {
        let refused = async |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(|&url| url.to_owned()).collect();
            Masters::connect(&urls).await.err().expect("a refusal").to_string()
        };
        assert!(refused(&[]).await.contains("the number of Redis masters is 0"));
        let odd = refused(&["redis://me:secret@[:1"]).await;
        assert_eq!(odd, "the URL of a Redis master is `redis://[:1`; write it as redis://host:port");
        let twice = refused(&["redis://:secret@127.0.0.1:1", "redis://127.0.0.1:1"]).await;
        assert!(twice.contains("twice `redis://127.0.0.1:1`") && !twice.contains("secret"), "{twice}");
    }
}
