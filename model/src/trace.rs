//! A trace: what was said to a store during a few seconds, and what of it concerned locks.
//!
//! It is the only way to see who tries for a lock in vain, and whose connection holds one: neither leaves anything
//! behind in the store.

use serde::{Deserialize, Serialize};

use crate::{LockId, MissingPermission, Time, words};

/// The shortest and the longest trace, in seconds: long enough to see the rhythm of a poll of some seconds, short enough
/// that what it costs the store is over before anybody has to find out what it is.
pub const TRACE_SECONDS: std::ops::RangeInclusive<u32> = 1..=10;

/// Asks for a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceRequest {
    /// The source's name.
    pub source: String,
    /// How long, in seconds: from 1 to 10.
    pub seconds: u32,
    /// Only this lock; absent or null: every lock that is spoken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockId>,
}

/// What a trace saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceReport {
    /// The source's name.
    pub source: String,
    /// The lock that was asked about; null: all.
    pub lock: Option<LockId>,
    /// The sample begins here.
    pub from: Time,
    /// It ends here. Nothing is said of any other time.
    pub to: Time,
    /// Why it ended.
    pub ended: TraceEnd,
    /// The same in a sentence.
    pub ended_because: String,
    /// Commands that were seen, of everybody and on every database.
    pub commands: u64,
    /// What the store had to send for that, in bytes.
    pub bytes: u64,
    /// Commands that could not be taken apart. Nothing that is said of a lock rests on them.
    pub unreadable: u64,
    /// What the sample cost, in a sentence.
    pub cost: String,
    /// The longest answer to a `PING` on another connection while the sample was taken, in milliseconds, rounded up: what
    /// everybody else may have felt of it.
    pub largest_delay_ms: i64,
    /// Locks that were spoken of, those with the most attempts first.
    pub locks: Vec<TracedLock>,
    /// Further locks that were not counted, at least: there were too many.
    pub locks_not_counted: u64,
    /// Clients that were blocked on some list before the sample began. The store does not say on which list.
    /// Null: not known.
    pub already_blocked: Option<u32>,
    /// What the credential may not do, and what that costs.
    pub missing: Vec<MissingPermission>,
    /// Each node, where several were asked; left out for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<TracedNode>,
}

/// One of several nodes, in a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TracedNode {
    /// Its address, without credentials.
    pub node: String,
    /// Why its sample ended; null: there was none.
    pub ended: Option<TraceEnd>,
    /// The same in a sentence, or why there was none.
    pub because: String,
    /// Commands that were seen on it.
    pub commands: u64,
    /// What it had to send for that, in bytes.
    pub bytes: u64,
    /// Its longest answer to a `PING` meanwhile, in milliseconds; null where there was no sample.
    pub largest_delay_ms: Option<i64>,
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TraceEnd {
    /// Its time was over.
    Complete,
    /// The store began to answer others slowly.
    SlowStore,
    /// What the store sent could not be read as fast as it came.
    FellBehind,
    /// The store became busier than a trace is allowed on.
    TooBusy,
    /// As many bytes were read as a trace may read.
    TooMuch,
    /// Nobody waits for it any more.
    Abandoned,
    /// The connection was lost.
    Lost,
    /// Some of several nodes could not be sampled.
    Partial,
}

/// What a trace saw of one lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TracedLock {
    /// The lock.
    pub id: LockId,
    /// The node on which this was seen, where several were asked; the one that saw the most, where each has the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How often somebody tried to take it.
    pub attempts: u64,
    /// Attempts that are known to have taken it.
    pub taken: u64,
    /// Attempts that are known to have been refused.
    pub refused: u64,
    /// Attempts of which neither is known: the trace shows what is asked of a store and never what it answers.
    pub unclear: u64,
    /// Attempts a second.
    pub attempts_per_second: f64,
    /// Known refusals a second.
    pub refusals_per_second: f64,
    /// How often it was tried for and what came of that, in a sentence.
    pub says: String,
    /// Addresses that wanted it and were not known to have it when they were last seen.
    pub waiting: u32,
    /// Addresses that tried, blocked or listened for it, those with the most attempts first.
    pub trying: Vec<TracedClient>,
    /// Further addresses that were not counted.
    pub clients_not_counted: u64,
    /// Whose connections took, renewed or released it.
    pub deeds: Vec<TracedDeed>,
    /// Further attempts that were not counted, for this lock.
    pub attempts_not_counted: u64,
}

/// One client address that wanted a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TracedClient {
    /// Its address as the store sees it, with the port.
    pub address: String,
    /// What the store knows of the client at this address; null: nothing, or it may not be asked.
    pub client: Option<ClientFacts>,
    /// It was refused, blocked or listened, and was not known to have the lock when it was last seen.
    pub waiting: bool,
    /// How it waits, as far as was seen.
    pub waits_by: Vec<WaitsBy>,
    /// How often it tried to take the lock.
    pub attempts: u64,
    /// Attempts that are known to have taken it.
    pub taken: u64,
    /// Attempts that are known to have been refused.
    pub refused: u64,
    /// Attempts of which neither is known.
    pub unclear: u64,
    /// How often it only looked at the lock.
    pub looks: u64,
    /// The median time between two attempts, in milliseconds, rounded up; null with fewer than two.
    pub rhythm_ms: Option<i64>,
    /// When it was first seen to want the lock.
    pub first_at: Time,
    /// When it was last seen to.
    pub last_at: Time,
    /// All of this in a sentence.
    pub says: String,
}

/// How a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WaitsBy {
    /// It tries again and again.
    Polling,
    /// It blocks on the lock's signal list.
    Blocking,
    /// It listens on the lock's channel.
    Listening,
}

/// Something that was done to a lock, with the connection that did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TracedDeed {
    /// What.
    pub deed: Deed,
    /// The client's address as the store sees it, with the port.
    pub address: String,
    /// What the store knows of the client at this address; null: nothing, or it may not be asked.
    pub client: Option<ClientFacts>,
    /// The token with which it was done, as text; null where it is none or was not seen.
    pub token: Option<String>,
    /// The same in standard base64; null where it was not seen.
    pub token_b64: Option<String>,
    /// How often.
    pub count: u64,
    /// When it was last done.
    pub last_at: Time,
    /// All of this in a sentence.
    pub says: String,
}

/// What was done to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Deed {
    /// It was taken.
    Took,
    /// Its holder took it once more, or renewed it.
    Renewed,
    /// It was taken or renewed: the library uses one command for both.
    TookOrRenewed,
    /// It was let go of, or deleted.
    Released,
}

impl Deed {
    /// The word that a person reads.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Deed::Took => "took it",
            Deed::Renewed => "renewed it",
            Deed::TookOrRenewed => "took or renewed it",
            Deed::Released => "released it",
        }
    }
}

/// What a store knows of a connection. Everything was chosen by the client or its user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientFacts {
    /// The name that the client gave itself.
    pub name: Option<String>,
    /// The user as whom it is authenticated.
    pub user: Option<String>,
    /// The client library that it says it uses.
    pub library: Option<String>,
    /// The version of that library.
    pub library_version: Option<String>,
    /// How long it has been connected, in seconds.
    pub age_s: Option<u64>,
    /// Its last command when it was asked about.
    pub command: Option<String>,
}

impl ClientFacts {
    /// Who that is, in a few words; empty where nothing says it.
    #[must_use]
    pub fn says(&self) -> String {
        let library = self.library.as_ref().map(|library| match &self.library_version {
            Some(version) => format!("{library} {version}"),
            None => library.clone(),
        });
        let age = self.age_s.and_then(|age| i64::try_from(age).ok()).map(|age| age.saturating_mul(1_000));
        let parts = [
            self.name.clone(),
            self.user.as_ref().map(|user| format!("user {user}")),
            library,
            age.map(|age| format!("connected for {}", words::duration(age))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_leave_the_lock_out_and_a_report_names_its_words_as_the_others_do() {
        let request: TraceRequest = serde_json::from_str(r#"{"source":"orders","seconds":3}"#).unwrap();
        assert_eq!((request.seconds, request.lock), (3, None));
        assert_eq!(serde_json::to_string(&TraceEnd::SlowStore).unwrap(), r#""slow_store""#);
        assert_eq!(serde_json::to_string(&Deed::TookOrRenewed).unwrap(), r#""took_or_renewed""#);
    }
}
