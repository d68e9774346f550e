//! How much of what was written to a primary the one that took over from it has.
//!
//! A primary counts the bytes that it sends to its replicas: its replication offset, which goes with a replication id. A
//! replica that is promoted goes on under a new id, and says how far it had got under the former one. While a primary is
//! watched its offset is sampled: what had been done before a sample that the successor had reached has been copied.
//! The id changes whenever the count begins anew, so under equal ids equal offsets are the same byte.
//!
//! Source: Redis 6.2 to 7.4 `replication.c`: `feedReplicationBuffer`, `shiftReplicationId`, `changeReplicationId`; and
//! `INFO replication`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fred::clients::Client;
use fred::error::Error;
use lockkeeper_model::Time;

use super::Shared;
use super::connect::{self, For};
use super::endpoint::Endpoint;
use super::session::{field, info};
use super::topology::{Topology, in_time};
use super::trouble::{Trouble, is_of_connection, refused_command};
use crate::clock;
use crate::source::Copied;

/// Between two samples at least, in milliseconds: they are taken with the vital signs, twice a second, and no more often
/// where those are.
const EVERY_MS: i64 = 400;

/// Samples that are kept: some kilobytes, and eight minutes at least. A replica that has copied nothing for longer is not
/// promoted by default: by sentinels after ten times `down-after-milliseconds`, which is 30 s, in a cluster after ten
/// times `cluster-node-timeout`, which is 15 s.
const MAX_SAMPLES: usize = 1_200;

/// The replication offset of one primary over time.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    /// What the offsets go with.
    replication_id: String,
    /// Each offset with a moment at which it had not been asked for yet, in order.
    offsets: VecDeque<(u64, Time)>,
    /// Why there are none.
    why_not: Option<String>,
}

/// What a primary says of how it became one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Succession {
    /// The replication id of the one before.
    of: String,
    /// The last offset that it has of it.
    copied: u64,
}

/// Samples a primary's offset if it is time to, and another server could take over from it.
pub(super) async fn sample(shared: &Shared, client: &Client) -> Result<(), Error> {
    let asked_at = clock::now();
    let can_move = !matches!(shared.config.topology, Topology::Standalone(_));
    if !can_move || !shared.offsets.is_due(asked_at) {
        return Ok(());
    }
    shared.pacer.count(1);
    match info(client, "replication").await {
        Ok(said) => shared.offsets.note(&said, asked_at),
        Err(error) if is_of_connection(&error) => return Err(error),
        Err(error) => shared.offsets.refused(match refused_command(&error) {
            Some(command) => format!("the credential may not run `{command}`"),
            None => Trouble::of(&error).problem,
        }),
    }
    Ok(())
}

/// Asks a primary how it became one. The error says why that is not known.
pub(super) async fn ask(endpoint: &Endpoint) -> Result<Succession, String> {
    let asking = async {
        let connection = connect::connect(endpoint, For::Topology).await?;
        info(&connection.client(), "replication").await
    };
    match in_time(asking).await {
        Ok(said) => Succession::of(&said).ok_or_else(|| "it does not say whose replica it was".to_owned()),
        Err(error) => Err(match refused_command(&error) {
            Some(command) => format!("the credential may not run `{command}` on it"),
            None => Trouble::of(&error).problem,
        }),
    }
}

/// How much of what was written to the primary with these offsets its successor has, which is one of those that said this.
pub(super) fn copied(offsets: &Offsets, said: &[Result<Succession, String>]) -> Copied {
    let known = said.iter().flatten().find_map(|succession| offsets.copied_by(succession));
    known.unwrap_or_else(|| {
        let because = offsets.why_not().or_else(|| said.iter().find_map(|said| said.clone().err()));
        Copied::Unknown {
            because: because.unwrap_or_else(|| "it does not go on from where the former one was last seen".to_owned()),
        }
    })
}

impl Offsets {
    fn is_due(&self, now: Time) -> bool {
        let samples = self.samples();
        samples.why_not.is_none() && samples.offsets.back().is_none_or(|&(_, last)| now.since(last) >= EVERY_MS)
    }

    /// A new connection may ask what the one before could not.
    pub(super) fn ask_again(&self) {
        self.samples().why_not = None;
    }

    /// Takes down the answer to a question that was not asked before this moment.
    fn note(&self, said: &str, asked_at: Time) {
        let mut samples = self.samples();
        let offset = field(said, "master_repl_offset").and_then(|offset| offset.parse::<u64>().ok());
        let (Some(id), Some(offset)) = (field(said, "master_replid"), offset) else {
            samples.why_not = Some("the former one did not say how far it was".to_owned());
            return;
        };
        let last = samples.offsets.back().map(|&(last, _)| last);
        if samples.replication_id != id || last.is_some_and(|last| offset < last) {
            samples.offsets.clear();
            id.clone_into(&mut samples.replication_id);
        } else if last == Some(offset) {
            // Nothing was written in between: the later question says more.
            samples.offsets.pop_back();
        } else if samples.offsets.len() == MAX_SAMPLES {
            samples.offsets.pop_front();
        }
        samples.offsets.push_back((offset, asked_at));
    }

    fn refused(&self, because: String) {
        self.samples().why_not = Some(because);
    }

    /// `None`: it was another one's replica, or nothing is known of this one.
    fn copied_by(&self, succession: &Succession) -> Option<Copied> {
        let samples = self.samples();
        if samples.replication_id != succession.of {
            return None;
        }
        let reached = samples.offsets.partition_point(|&(offset, _)| offset <= succession.copied);
        match reached.checked_sub(1).and_then(|last| samples.offsets.get(last)) {
            Some(&(_, at)) => Some(Copied::Until(at)),
            None => samples.offsets.front().map(|&(_, at)| Copied::NotUntil(at)),
        }
    }

    fn why_not(&self) -> Option<String> {
        let samples = self.samples();
        let none = || samples.offsets.is_empty().then(|| "the former one was not watched long enough".to_owned());
        samples.why_not.clone().or_else(none)
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        // A panic leaves nothing worse behind than fewer samples.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Succession {
    fn of(said: &str) -> Option<Succession> {
        let first_missing: u64 = field(said, "second_repl_offset")?.parse().ok()?;
        let of = field(said, "master_replid2")?.to_owned();
        Some(Succession { of, copied: first_missing.checked_sub(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(samples: &[(&str, u64, i64)]) -> Offsets {
        let offsets = Offsets::default();
        for (id, offset, at) in samples {
            let said = format!("# Replication\r\nmaster_replid:{id}\r\nmaster_repl_offset:{offset}\r\n");
            offsets.note(&said, Time(*at));
        }
        offsets
    }

    fn promoted(of: &str, first_missing: i64) -> Result<Succession, String> {
        let said = format!("role:master\r\nmaster_replid2:{of}\r\nsecond_repl_offset:{first_missing}\r\n");
        Succession::of(&said).ok_or_else(|| "it does not say whose replica it was".to_owned())
    }

    fn because(copied: Copied) -> String {
        match copied {
            Copied::Unknown { because } => because,
            known => format!("{known:?}"),
        }
    }

    #[test]
    fn what_was_done_before_the_last_sample_that_the_successor_had_reached_was_copied() {
        let offsets = sampled(&[("a", 100, 1_000), ("a", 200, 1_500), ("a", 200, 2_000), ("a", 300, 2_500)]);
        for (first_missing, expected) in [
            (101, Copied::Until(Time(1_000))),
            (200, Copied::Until(Time(1_000))),
            // Everything up to 200, and nothing was written between the two samples of that.
            (201, Copied::Until(Time(2_000))),
            (300, Copied::Until(Time(2_000))),
            (9_000, Copied::Until(Time(2_500))),
            (100, Copied::NotUntil(Time(1_000))),
        ] {
            assert_eq!(copied(&offsets, &[promoted("a", first_missing)]), expected, "{first_missing}");
        }
    }

    #[test]
    fn the_successor_among_several_is_the_one_that_was_its_replica() {
        let offsets = sampled(&[("a", 100, 1_000)]);
        let said = [Err("it was not reached".to_owned()), promoted("b", 900), promoted("a", 101)];
        assert_eq!(copied(&offsets, &said), Copied::Until(Time(1_000)));
        assert_eq!(because(copied(&offsets, &said[..2])), "it was not reached");
        assert!(because(copied(&offsets, &said[1..2])).contains("does not go on"));
    }

    #[test]
    fn what_cannot_be_told_is_said_to_be_unknown_and_why() {
        let none = "0000000000000000000000000000000000000000";
        assert!(because(copied(&sampled(&[("a", 5, 1)]), &[promoted(none, -1)])).contains("whose replica"));
        assert!(because(copied(&Offsets::default(), &[promoted("a", 5)])).contains("not watched long enough"));
        let refused = sampled(&[("a", 5, 1)]);
        refused.note("# Replication\r\nrole:master\r\n", Time(2));
        assert!(because(copied(&refused, &[promoted("b", 6)])).contains("did not say"));
        assert!(!refused.is_due(Time(10_000)), "it would be refused again");
        refused.ask_again();
        assert!(refused.is_due(Time(10_000)));
    }

    #[test]
    fn a_count_that_begins_anew_forgets_the_former_one_and_samples_are_bounded() {
        let offsets = sampled(&[("a", 100, 1_000), ("b", 7, 1_500)]);
        assert!(matches!(copied(&offsets, &[promoted("a", 101)]), Copied::Unknown { .. }));
        assert_eq!(copied(&offsets, &[promoted("b", 8)]), Copied::Until(Time(1_500)));
        assert!(!offsets.is_due(Time(1_600)) && offsets.is_due(Time(1_900)));

        let many: Vec<_> = (0..2 * MAX_SAMPLES as u64).map(|n| ("a", n, n as i64)).collect();
        let offsets = sampled(&many);
        assert_eq!(offsets.samples().offsets.len(), MAX_SAMPLES);
        assert_eq!(copied(&offsets, &[promoted("a", 10)]), Copied::NotUntil(Time(MAX_SAMPLES as i64)));
    }
}
