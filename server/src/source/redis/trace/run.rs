//! A trace from its beginning to its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Key, Value as Reply};
use lockkeeper_model::{MissingPermission, Time, TraceEnd, TraceReport, words};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::clients::Clients;
use super::command::Lease;
use super::fold::{Fold, MAX_LOCKS};
use super::monitor::Monitor;
use super::outcome::Reading;
use super::report::{Sample, report};
use crate::clock;
use crate::source::redis::connect::{self, For};
use crate::source::redis::trouble::{Trouble, refused_command};
use crate::source::redis::{Shared, scope::Scope};
use crate::source::{TraceOrder, TraceRefusal, Traced};

/// How often a `PING` on another connection measures what others feel of the trace.
const PING_EVERY: Duration = Duration::from_millis(100);

/// The longest round trip that a trace may cause or find: a program whose lock is asked for at every request can bear a
/// quarter of a second for some seconds, and a Redis that takes longer is in trouble already.
const MAX_DELAY: Duration = Duration::from_millis(250);

/// How far what is read may be behind what the store does. What waits meanwhile takes the store's memory.
const MAX_BEHIND_US: i64 = 500_000;

/// What a trace may read, in bytes: ten seconds of twenty thousand commands a second at 160 bytes each.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// How long the last readings may take, and the trace go on to see where among the commands they were done.
const LAST_READINGS: Duration = Duration::from_millis(500);

/// The longest token that is compared, in bytes. A longer value is no token.
const MAX_TOKEN_BYTES: usize = 1_024;

/// Clients that are listed at most: the list is a third of a kilobyte for each, and is made while the store does nothing
/// else.
const MAX_CLIENTS: u64 = 5_000;

/// Reads a string, its remaining life and its type in one step. The last argument is not used: it shows among the traced
/// commands when this was done.
const READ: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' then return {kind} end
return {kind, redis.call('GETRANGE', KEYS[1], '0', ARGV[1]), redis.call('PTTL', KEYS[1])}
";

/// Runs a trace. It ends early when `done` is dropped by whoever waits.
pub(super) async fn run(
    shared: &Shared,
    limit: u64,
    order: &TraceOrder,
    done: &mut oneshot::Sender<Traced>,
) -> Result<TraceReport, TraceRefusal> {
    let aside = connect::connect(&shared.endpoint, For::Trace).await.map_err(|error| failed(&error))?;
    let aside = Aside { client: aside.client(), _connection: aside, shared };
    let connected = aside.check(limit).await?;

    let mut missing = Vec::new();
    let mut clients = Clients::default();
    let already_blocked = aside.learn_clients(connected, &mut clients, &mut missing).await?;

    let mut monitor = Monitor::begin(&shared.endpoint).await?;
    let from = clock::now();
    let deadline = Instant::now() + Duration::from_secs(u64::from(order.seconds));
    let mark = format!("lockkeeper-trace:{:016x}:", rand::random::<u64>());
    let scope: &Scope = &shared.scope;
    let mut fold = Fold::new(
        u32::from(shared.config.database),
        order.key.as_ref().map(|key| key.to_vec()),
        mark.clone().into_bytes(),
        |key: &[u8]| scope.has(key) && !scope.puts_off(key, clock::now()),
    );
    let largest_us = AtomicU64::new(0);
    let readings = Readings::default();
    // Each lock is read once when it is met, and once at the end.
    let (wanted, mut to_read) = mpsc::channel::<(u32, Vec<u8>)>(2 * MAX_LOCKS);
    let mut next = 0;
    let mut behind = Behind::default();
    let mut pace = Pace::new(limit);

    let ended = {
        let pinging = aside.ping_until_slow(&largest_us);
        let reading = async {
            while let Some((number, key)) = to_read.recv().await {
                aside.read(number, key, &mark, &readings).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::pin!(pinging, reading);
        let mut the_end = None;
        let mut last_deadline = deadline;
        loop {
            for (_, key) in fold.met() {
                // There is room for two readings of each lock.
                let _ = wanted.try_send((next, key));
                next += 1;
            }
            if the_end.is_some() && fold.last_reading.is_some_and(|number| number + 1 == next) {
                break the_end;
            }
            tokio::select! {
                more = monitor.more(|line| fold.line(line)) => {
                    let now = clock::now();
                    let seen = match more {
                        Err(over) => Some((TraceEnd::Lost, over.0)),
                        Ok(()) if behind.is_far(&fold.last_at_us, now) => Some((
                            TraceEnd::FellBehind,
                            "what the store sent could not be read as fast as it came".to_owned(),
                        )),
                        Ok(()) if monitor.bytes > MAX_BYTES => {
                            Some((TraceEnd::TooMuch, format!("it had read {}", words::bytes(MAX_BYTES))))
                        }
                        Ok(()) => pace.too_fast(fold.commands).map(|rate| (
                            TraceEnd::TooBusy,
                            format!(
                                "the store did {} commands a second, more than the {} up to which it is traced",
                                words::count(rate), words::count(limit)
                            ),
                        )),
                    };
                    if let Some(end) = seen {
                        break the_end.or(Some(end));
                    }
                }
                delay = &mut pinging => {
                    let end = match delay {
                        Slow::Late => (
                            TraceEnd::SlowStore,
                            format!("an answer to others took {} ms or longer", MAX_DELAY.as_millis()),
                        ),
                        Slow::Lost(because) => (TraceEnd::Lost, because),
                    };
                    break the_end.or(Some(end));
                }
                () = &mut reading => {}
                () = done.closed(), if the_end.is_none() => {
                    break Some((TraceEnd::Abandoned, "nobody waited for it any more".to_owned()));
                }
                () = sleep_until(last_deadline) => {
                    if the_end.is_some() {
                        break the_end;
                    }
                    the_end = Some((TraceEnd::Complete, format!("its {} s were over", order.seconds)));
                    last_deadline = Instant::now() + LAST_READINGS;
                    if fold.locks.is_empty() {
                        break the_end;
                    }
                    for lock in &fold.locks {
                        let _ = wanted.try_send((next, lock.key.clone()));
                        next += 1;
                    }
                }
            }
        }
    };
    let bytes = monitor.bytes;
    // Before anything else is asked: this is what costs.
    drop(monitor);
    let to = clock::now();
    fold.end();
    let (end, because) = ended.unwrap_or((TraceEnd::Complete, String::new()));
    if end != TraceEnd::Lost && already_blocked.is_some() {
        // One that is refused now was answered before; that nobody could be asked again costs names only.
        let _ = aside.learn_clients(connected, &mut clients, &mut missing).await;
    }
    let (readings, denied) = readings.into_parts();
    if let Some(command) = denied {
        missing.push(missing_permission(&command, "whether attempts were refused is known only where scripts show it"));
    }
    Ok(report(
        fold,
        readings,
        &clients,
        Sample {
            source: shared.config.name.clone(),
            only: order.key.as_deref(),
            from,
            to,
            ended: end,
            ended_because: because,
            bytes,
            largest_delay_us: i64::try_from(largest_us.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            already_blocked,
            missing,
            shift_us: behind.shift_us.unwrap_or(0),
        },
    ))
}

fn failed(error: &Error) -> TraceRefusal {
    TraceRefusal::Failed { because: Trouble::of(error).problem }
}

fn refused(error: &Error) -> TraceRefusal {
    refused_command(error).map_or_else(|| failed(error), |command| TraceRefusal::NotPermitted { command })
}

fn missing_permission(command: &str, costs: &str) -> MissingPermission {
    MissingPermission {
        permission: command.to_owned(),
        costs: costs.to_owned(),
        fix: format!("ACL SETUSER <user> +{}", command.to_ascii_lowercase().replace(' ', "|")),
    }
}

/// The connection on which the store is asked beside the trace.
struct Aside<'a> {
    client: Client,
    shared: &'a Shared,
    _connection: connect::Connection,
}

/// Why the pings ended.
enum Slow {
    Late,
    Lost(String),
}

impl Aside<'_> {
    async fn custom(&self, command: &'static str, arguments: Vec<&str>) -> Result<String, Error> {
        self.shared.pacer.count(1);
        self.client.custom(CustomCommand::new_static(command, ClusterHash::Random, false), arguments).await
    }

    /// Refuses a store that is busy or slow; says how many clients it has.
    async fn check(&self, limit: u64) -> Result<u64, TraceRefusal> {
        let number = |info: &str, name: &str| -> Option<u64> {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().parse().ok()
        };
        let stats = self.custom("INFO", vec!["stats"]).await.map_err(|error| refused(&error))?;
        let commands_per_second = number(&stats, "instantaneous_ops_per_sec").ok_or_else(|| TraceRefusal::Failed {
            because: "the store does not say how busy it is, and without that it is not traced".to_owned(),
        })?;
        if commands_per_second > limit {
            return Err(TraceRefusal::TooBusy { commands_per_second, limit });
        }
        let began = Instant::now();
        let clients = self.custom("INFO", vec!["clients"]).await.map_err(|error| refused(&error))?;
        let delay = began.elapsed();
        if delay > MAX_DELAY {
            let ms = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            return Err(TraceRefusal::TooSlow { delay_ms: ms(delay), limit_ms: ms(MAX_DELAY) });
        }
        Ok(number(&clients, "connected_clients").unwrap_or(u64::MAX))
    }

    /// Learns who is at which address, and says how many clients are blocked on some list; `None`: not known.
    async fn learn_clients(
        &self,
        connected: u64,
        clients: &mut Clients,
        missing: &mut Vec<MissingPermission>,
    ) -> Result<Option<u32>, TraceRefusal> {
        if connected > MAX_CLIENTS {
            missing.push(MissingPermission {
                permission: "CLIENT LIST".to_owned(),
                costs: format!(
                    "addresses are shown without names: the store has {} clients, and they are listed up to {}",
                    words::count(connected),
                    words::count(MAX_CLIENTS)
                ),
                fix: "none: listing more would hold the store up".to_owned(),
            });
            return Ok(None);
        }
        match self.custom("CLIENT", vec!["LIST"]).await {
            Ok(list) => Ok(Some(clients.learn(&list))),
            Err(error) => match refused_command(&error) {
                Some(command) => {
                    missing.push(missing_permission(&command, "addresses are shown without the clients' names"));
                    Ok(None)
                }
                None => Err(failed(&error)),
            },
        }
    }

    /// Measures what others feel, until that is too much.
    async fn ping_until_slow(&self, largest_us: &AtomicU64) -> Slow {
        let mut tick = interval(PING_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.shared.pacer.count(1);
            let began = Instant::now();
            let answered = timeout(MAX_DELAY, self.client.ping::<Reply>(None)).await;
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            largest_us.fetch_max(took, Ordering::Relaxed);
            match answered {
                Err(_) => return Slow::Late,
                Ok(Err(error)) if refused_command(&error).is_none() => return Slow::Lost(Trouble::of(&error).problem),
                // Being refused takes as long as being answered.
                Ok(_) => {}
            }
        }
    }

    /// Reads one key. What cannot be read is not known, which the outcome then says.
    async fn read(&self, number: u32, key: Vec<u8>, mark: &str, readings: &Readings) {
        self.shared.pacer.count(1);
        let keys = vec![Key::from(Bytes::from(key))];
        let arguments = vec![MAX_TOKEN_BYTES.to_string(), format!("{mark}{number}")];
        match self.client.eval::<Reply, _, _, _>(READ, keys, arguments).await {
            Ok(Reply::Array(parts)) => readings.put(number, parts),
            Ok(_) => {}
            Err(error) => readings.deny(refused_command(&error)),
        }
    }
}

/// What our own readings showed, by number.
#[derive(Debug, Default)]
struct Readings(Mutex<(HashMap<u32, Read>, Option<String>)>);

/// What one of them showed.
#[derive(Clone, Debug)]
pub(super) enum Read {
    /// Nothing or something that is no string.
    Not(Reading),
    /// A string, and what was left of its life.
    Text(Bytes, Lease),
}

impl Readings {
    fn put(&self, number: u32, parts: Vec<Reply>) {
        let mut parts = parts.into_iter();
        let kind = parts.next().and_then(Reply::into_bytes).unwrap_or_default();
        let value = parts.next().and_then(Reply::into_bytes);
        let left = parts.next().and_then(|left| left.as_i64());
        let read = match (&*kind, value, left) {
            (b"none", ..) => Read::Not(Reading::Free),
            (_, Some(value), Some(left)) => Read::Text(value, if left < 0 { Lease::Never } else { Lease::For(left) }),
            _ => Read::Not(Reading::Other),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.insert(number, read);
    }

    fn deny(&self, command: Option<String>) {
        if command.is_some() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = command;
        }
    }

    fn into_parts(self) -> (HashMap<u32, Read>, Option<String>) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far what is read is behind what the store does. The two clocks need not agree: the smallest difference that was
/// seen is theirs.
#[derive(Debug, Default)]
struct Behind {
    shift_us: Option<i64>,
}

impl Behind {
    fn is_far(&mut self, at_us: &Option<i64>, now: Time) -> bool {
        let Some(at_us) = at_us else { return false };
        let difference = now.0.saturating_mul(1_000).saturating_sub(*at_us);
        let least = self.shift_us.map_or(difference, |least| least.min(difference));
        self.shift_us = Some(least);
        difference - least > MAX_BEHIND_US
    }
}

/// Whether more commands come than a trace is allowed on.
#[derive(Debug)]
struct Pace {
    limit: u64,
    since: Instant,
    before: u64,
}

impl Pace {
    fn new(limit: u64) -> Pace {
        Pace { limit, since: Instant::now(), before: 0 }
    }

    /// The rate of the last second, if it was too high.
    fn too_fast(&mut self, commands: u64) -> Option<u64> {
        let rate = commands - self.before;
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.before) = (Instant::now(), commands);
        }
        (rate > self.limit).then_some(rate)
    }
}
