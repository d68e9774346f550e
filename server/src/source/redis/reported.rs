//! Reading what lock clients say of themselves, from the stream that the operator named: `docs/reporting.md`.
//!
//! The entries' ids are times of the store's clock. They are turned into times of this server's clock here, so that
//! nobody else has to know that there are two.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use lockkeeper_client::report::{self, Report as Parsed};
use lockkeeper_model::{Time, words};
use tokio::time::Instant;

use super::trouble::{NO_KEY, is_of_connection, refused_command};
use super::{BoardGone, Shared};
use crate::clock;
use crate::source::{Report, Said};

/// How often the stream is read: a waiter is on the screen before a person has looked up, at four commands a second.
const EVERY: Duration = Duration::from_millis(250);

/// Entries in one reading: about a hundred kilobytes.
const AT_ONCE: usize = 500;

/// Readings one after the other, while there is more: 16,000 reports a second.
const READINGS_AT_ONCE: usize = 8;

/// How often the store is asked for its time: clocks drift by milliseconds in a minute.
const TIME_EVERY: Duration = Duration::from_secs(60);

/// How often it is tried again to read what could not be read: somebody is about to grant it.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// The longest value that any field of a report may have; what is longer is cut behind it, so that it is seen to be.
const MAX_VALUE_BYTES: usize = report::MAX_LOCK_BYTES;

/// Reads entries and cuts fields and values that no report has, before they cross the network.
const READ: &str = r"
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local most_fields, most_bytes = 2 * tonumber(ARGV[3]), tonumber(ARGV[4])
for _, entry in ipairs(entries) do
  local fields, cut = entry[2], {}
  for i = 1, math.min(#fields, most_fields + 2) do cut[i] = string.sub(fields[i], 1, most_bytes + 1) end
  entry[2] = cut
end
return entries
";

/// How a reading went wrong.
enum Failure {
    Connection(Error),
    /// It is on another node of the cluster, which reads it.
    Elsewhere,
    /// It cannot be read now, for this reason.
    Refused(String),
    BoardGone,
}

impl From<BoardGone> for Failure {
    fn from(_: BoardGone) -> Failure {
        Failure::BoardGone
    }
}

/// Reads again and again. Ends only when the connection is lost or the server ends.
pub(super) async fn run(shared: &Shared, client: &Client, stream: &str) -> Result<Error, BoardGone> {
    loop {
        match follow(shared, client, stream).await {
            Failure::Connection(error) => return Ok(error),
            Failure::BoardGone => return Err(BoardGone),
            Failure::Elsewhere => tokio::time::sleep(TRY_AGAIN).await,
            Failure::Refused(because) => {
                note_problem(shared, Some(because));
                shared.report(Report::SaidUnknown).await?;
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Follows the stream until something fails.
async fn follow(shared: &Shared, client: &Client, stream: &str) -> Failure {
    let mut reading = match Reading::begin(shared, client, stream).await {
        Ok(reading) => reading,
        Err(failure) => return failure,
    };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(failure) = reading.catch_up().await {
            return failure;
        }
        note_problem(shared, None);
    }
}

struct Reading<'a> {
    shared: &'a Shared,
    client: &'a Client,
    stream: &'a str,
    clock: StoreClock,
    /// The last entry that was read.
    last: EntryId,
    may_script: bool,
}

impl<'a> Reading<'a> {
    /// Begins with what a waiter that is not gone yet must have said.
    async fn begin(shared: &'a Shared, client: &'a Client, stream: &'a str) -> Result<Reading<'a>, Failure> {
        let clock = StoreClock::ask(shared, client).await?;
        let last = EntryId::before(clock.store_now() - gone_after_ms());
        Ok(Reading { shared, client, stream, clock, last, may_script: true })
    }

    /// Reads what is new and reports it.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        if self.clock.asked.elapsed() >= TIME_EVERY {
            self.clock = StoreClock::ask(self.shared, self.client).await?;
        }
        for _ in 0..READINGS_AT_ONCE {
            let at = clock::now();
            let entries = self.entries().await?;
            let is_all = entries.len() < AT_ONCE;
            let mut said = Vec::with_capacity(entries.len());
            for entry in entries {
                if let Some((id, fields)) = understand(entry) {
                    self.last = id;
                    said.extend(self.report(id, &fields));
                }
            }
            // With nothing, too: time passes for those who have fallen silent.
            self.shared.report(Report::Said { said, at }).await?;
            if is_all {
                return Ok(());
            }
        }
        let oldest = EntryId::before(self.clock.store_now() - gone_after_ms());
        if self.last < oldest {
            // What is older says nothing of now.
            self.last = oldest;
            self.shared.status.update(|status| {
                if let Some(reports) = &mut status.reports {
                    reports.passed_over += 1;
                }
            });
        }
        Ok(())
    }

    async fn entries(&mut self) -> Result<Vec<Reply>, Failure> {
        self.shared.pacer.count(1);
        let after = format!("({}-{}", self.last.ms, self.last.seq);
        if self.may_script {
            let arguments =
                vec![after.clone(), AT_ONCE.to_string(), report::MAX_FIELDS.to_string(), MAX_VALUE_BYTES.to_string()];
            match self.client.eval::<Reply, _, _, _>(READ, self.stream, arguments).await {
                Ok(reply) => return Ok(list(reply)),
                Err(error) if is_of_connection(&error) => return Err(Failure::Connection(error)),
                // Scripts are refused, or their command is: the command by itself tells which.
                Err(_) => self.may_script = false,
            }
        }
        let command = CustomCommand::new_static("XRANGE", ClusterHash::FirstKey, false);
        let arguments = vec![self.stream.to_owned(), after, "+".to_owned(), "COUNT".to_owned(), AT_ONCE.to_string()];
        self.client.custom::<Reply, _>(command, arguments).await.map(list).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: Error) -> Failure {
        if is_of_connection(&error) {
            return Failure::Connection(error);
        }
        if error.details().starts_with("MOVED") {
            return Failure::Elsewhere;
        }
        let stream = words::shown(self.stream);
        Failure::Refused(match refused_command(&error) {
            Some(command) if command == NO_KEY => {
                format!("the credential may not read `{stream}`; grant it: ACL SETUSER <user> ~{stream}")
            }
            Some(command) => {
                self.shared.status.missing(&command, "what clients report of themselves cannot be read");
                format!("the credential may not run `{command}`")
            }
            None if *error.kind() == ErrorKind::InvalidArgument => format!("`{stream}` is not a stream"),
            None => words::shown(error.details()),
        })
    }

    /// What an entry says; an entry that is no report is counted.
    fn report(&self, id: EntryId, fields: &[(Bytes, Bytes)]) -> Option<Said> {
        let parsed = Parsed::parse(fields.iter().map(|(name, value)| (&name[..], &value[..])));
        self.shared.status.update(|status| {
            let Some(reports) = &mut status.reports else { return };
            match &parsed {
                Ok(_) => reports.read += 1,
                Err(fault) => {
                    reports.not_understood += 1;
                    reports.last_fault = Some(fault.to_string());
                }
            }
        });
        Some(Said { at: self.clock.here(id.ms), report: parsed.ok()? })
    }
}

fn note_problem(shared: &Shared, problem: Option<String>) {
    shared.status.update(|status| {
        if let Some(reports) = &mut status.reports {
            reports.problem = problem;
        }
    });
}

fn gone_after_ms() -> i64 {
    i64::try_from(report::WAITER_GONE_AFTER.as_millis()).unwrap_or(i64::MAX)
}

/// How far the store's clock is ahead of this server's.
struct StoreClock {
    ahead_ms: i64,
    asked: Instant,
}

impl StoreClock {
    async fn ask(shared: &Shared, client: &Client) -> Result<StoreClock, Failure> {
        shared.pacer.count(1);
        let asked_at = clock::now();
        let command = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let ahead_ms = match client.custom::<Vec<i64>, _>(command, Vec::<String>::new()).await {
            Ok(parts) => match parts[..] {
                [seconds, micros] => {
                    let here = asked_at.0 + clock::now().since(asked_at) / 2;
                    seconds.saturating_mul(1_000).saturating_add(micros / 1_000).saturating_sub(here)
                }
                _ => 0,
            },
            Err(error) if is_of_connection(&error) => return Err(Failure::Connection(error)),
            Err(error) => {
                if let Some(command) = refused_command(&error) {
                    let costs = "how long clients say that they have waited is off by what the clocks differ";
                    shared.status.missing(&command, costs);
                }
                0
            }
        };
        Ok(StoreClock { ahead_ms, asked: Instant::now() })
    }

    fn store_now(&self) -> i64 {
        clock::now().0.saturating_add(self.ahead_ms)
    }

    fn here(&self, store_ms: i64) -> Time {
        Time(store_ms.saturating_sub(self.ahead_ms))
    }
}

/// `<milliseconds>-<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EntryId {
    ms: i64,
    seq: u64,
}

impl EntryId {
    /// Comes before every entry of that moment and after all earlier ones.
    fn before(ms: i64) -> EntryId {
        EntryId { ms: ms.max(1) - 1, seq: u64::MAX }
    }

    fn parse(text: &[u8]) -> Option<EntryId> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(EntryId { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }
}

fn list(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(entries) => entries,
        _ => Vec::new(),
    }
}

type Fields = Vec<(Bytes, Bytes)>;

/// An entry's id and fields; `None` where it is none.
fn understand(entry: Reply) -> Option<(EntryId, Fields)> {
    let mut parts = list(entry).into_iter();
    let id = EntryId::parse(&parts.next()?.into_bytes()?)?;
    let mut texts = list(parts.next()?).into_iter().map(|text| text.into_bytes().unwrap_or_default());
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        fields.push((name, value));
    }
    Some((id, fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_the_stream_and_begin_before_their_moment() {
        let id = |text: &str| EntryId::parse(text.as_bytes()).unwrap();
        assert!(id("1700000000000-9") < id("1700000000000-10") && id("1700000000000-10") < id("1700000000001-0"));
        assert!(EntryId::before(1_700_000_000_000) < id("1700000000000-0"));
        assert!(EntryId::before(1_700_000_000_000) > id("1699999999999-3"));
        assert_eq!(EntryId::before(0).ms, 0);
        assert_eq!(EntryId::parse(b"0-"), None);
    }

    #[test]
    fn an_entry_is_its_id_and_pairs() {
        let text = |text: &str| Reply::String(text.into());
        let entry = Reply::Array(vec![text("5-1"), Reply::Array(vec![text("v"), text("1"), text("odd")])]);
        let (id, fields) = understand(entry).unwrap();
        assert_eq!((id, fields), (EntryId { ms: 5, seq: 1 }, vec![("v".into(), "1".into())]));
        assert_eq!(understand(Reply::Null), None);
    }
}
