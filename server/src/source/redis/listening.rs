//! Who listens on which channel: for Redisson, that somebody who waits is still there.
//!
//! A moment without a listener proves nothing: one who waits has joined the queue before it listens, and a client whose
//! connection broke is back within moments. So it is remembered for how long there has been none.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use lockkeeper_model::Time;

use super::dialect::Listeners;
use super::trouble::is_of_connection;

/// Roots whose waiters are remembered: more than any store has queues. One beyond it is judged without its past.
const MAX_ROOTS: usize = 10_000;

/// Channels in one question.
pub(super) const CHANNELS_AT_ONCE: usize = 500;

/// What is remembered of those who listen, from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    inner: Mutex<Heard>,
    /// The server does not know sharded channels, or the credential may not ask for them.
    no_shards: AtomicBool,
    /// There are proofs to ask for, which nearly no store has.
    has_proofs: AtomicBool,
}

#[derive(Debug, Default)]
struct Heard {
    /// By the root of a lock.
    queues: HashMap<Bytes, Front>,
    /// Roots that are shown to be locks by somebody who listens.
    proven: HashSet<Bytes>,
}

/// The front of a queue.
#[derive(Debug, Default)]
struct Front {
    /// Its channels, and since when nobody has been on them.
    channels: Vec<(Bytes, Option<Time>)>,
    /// Since when the root has been missing while the same one was first.
    missing_since: Option<Time>,
}

impl Ears {
    /// Takes note of who listens on the channels of one root, in their order; `counts` names those that could be
    /// counted. Answers what is known of them now, and for how long the root has been missing.
    pub(super) fn note(
        &self,
        root: &Bytes,
        is_missing: bool,
        channels: &[Bytes],
        counts: &HashMap<Bytes, u32>,
        at: Time,
    ) -> (Vec<Listeners>, Option<i64>) {
        let mut inner = self.lock();
        let before = inner.queues.remove(root).unwrap_or_default();
        if channels.is_empty() {
            return (Vec::new(), None);
        }
        let same_head = before.channels.first().map(|(channel, _)| channel) == channels.first();
        let missing_since = is_missing.then(|| before.missing_since.filter(|_| same_head).unwrap_or(at));
        let silent = |channel: &Bytes| {
            before.channels.iter().find(|(known, _)| known == channel).and_then(|(_, since)| *since).unwrap_or(at)
        };
        let channels: Vec<(Bytes, Option<Time>)> = channels
            .iter()
            .map(|channel| (channel.clone(), (counts.get(channel) == Some(&0)).then(|| silent(channel))))
            .collect();
        let listeners = channels
            .iter()
            .filter_map(|(channel, since)| {
                Some(Listeners {
                    channel: channel.clone(),
                    count: *counts.get(channel)?,
                    silent_ms: since.map_or(0, |since| at.since(since)),
                })
            })
            .collect();
        if inner.queues.len() < MAX_ROOTS {
            inner.queues.insert(root.clone(), Front { channels, missing_since });
        }
        (listeners, missing_since.map(|since| at.since(since)))
    }

    /// Whether somebody listens who shows that a root is a lock.
    pub(super) fn proves(&self, root: &[u8]) -> bool {
        self.has_proofs.load(Ordering::Relaxed) && self.lock().proven.contains(root)
    }

    /// Takes note of all roots that somebody who listens shows to be locks; answers those for which that is news.
    pub(super) fn proven(&self, roots: HashSet<Bytes>) -> Vec<Bytes> {
        let mut inner = self.lock();
        let news = inner.proven.symmetric_difference(&roots).cloned().collect();
        self.has_proofs.store(!roots.is_empty(), Ordering::Relaxed);
        inner.proven = roots;
        news
    }

    /// How many listen on each of these channels, sharded ones included.
    ///
    /// # Errors
    /// When the connection is lost, or the credential may not ask.
    pub(super) async fn count(&self, client: &Client, channels: &[Bytes]) -> Result<HashMap<Bytes, u32>, Error> {
        let mut counts = HashMap::with_capacity(channels.len());
        for some in channels.chunks(CHANNELS_AT_ONCE) {
            for (channel, n) in number(client, "NUMSUB", some).await? {
                *counts.entry(channel).or_default() += n;
            }
            for (channel, n) in self.of_shards(number(client, "SHARDNUMSUB", some)).await? {
                *counts.entry(channel).or_default() += n;
            }
        }
        Ok(counts)
    }

    /// Every channel under a prefix on which somebody listens, sharded ones included.
    ///
    /// # Errors
    /// When the connection is lost, or the credential may not ask.
    pub(super) async fn channels(&self, client: &Client, prefix: &str) -> Result<Vec<Bytes>, Error> {
        let mut channels = names(client, "CHANNELS", prefix).await?;
        channels.extend(self.of_shards(names(client, "SHARDCHANNELS", prefix)).await?);
        Ok(channels)
    }

    /// A new connection may be one to another server.
    pub(super) fn forget_shards(&self) {
        self.no_shards.store(false, Ordering::Relaxed);
    }

    /// Servers before version 7 know no sharded channels, so that nobody listens on any.
    async fn of_shards<T: Default>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if self.no_shards.load(Ordering::Relaxed) {
            return Ok(T::default());
        }
        match asked.await {
            Err(error) if !is_of_connection(&error) => {
                self.no_shards.store(true, Ordering::Relaxed);
                Ok(T::default())
            }
            answer => answer,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // The sections under this lock only move memory; what a panic left behind is healed by the next look.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pubsub(client: &Client, arguments: Vec<Reply>) -> Result<Reply, Error> {
    client.custom(CustomCommand::new_static("PUBSUB", ClusterHash::Random, false), arguments).await
}

async fn names(client: &Client, subcommand: &str, prefix: &str) -> Result<Vec<Bytes>, Error> {
    Ok(match pubsub(client, vec![subcommand.into(), format!("{prefix}*").into()]).await? {
        Reply::Array(names) => names.into_iter().filter_map(Reply::into_bytes).collect(),
        one => one.into_bytes().into_iter().collect(),
    })
}

async fn number(client: &Client, subcommand: &str, channels: &[Bytes]) -> Result<Vec<(Bytes, u32)>, Error> {
    let mut arguments: Vec<Reply> = vec![subcommand.into()];
    arguments.extend(channels.iter().map(|channel| Reply::Bytes(channel.clone())));
    let count = |n: &Reply| n.as_i64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    Ok(match pubsub(client, arguments).await? {
        Reply::Array(mut parts) => {
            parts.chunks_exact_mut(2).filter_map(|pair| Some((pair[0].take().into_bytes()?, count(&pair[1])))).collect()
        }
        Reply::Map(map) => map.inner().into_iter().map(|(channel, n)| (channel.into_bytes(), count(&n))).collect(),
        _ => return Err(Error::new(ErrorKind::Protocol, "PUBSUB was answered in a way that is not understood")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&'static str]) -> Vec<Bytes> {
        names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect()
    }

    #[test]
    fn silence_and_absence_are_counted_from_the_first_look_that_found_them() {
        let ears = Ears::default();
        let root = Bytes::from_static(b"orders");
        let queue = channels(&["a", "b"]);
        let counts = |a, b| HashMap::from([(queue[0].clone(), a), (queue[1].clone(), b)]);
        let look = |is_missing, a, b, at| {
            let (listeners, missing) = ears.note(&root, is_missing, &queue, &counts(a, b), Time(at));
            (listeners.iter().map(|one| (one.count, one.silent_ms)).collect::<Vec<_>>(), missing)
        };
        assert_eq!(look(false, 0, 1, 1_000), (vec![(0, 0), (1, 0)], None));
        assert_eq!(look(true, 0, 0, 1_500), (vec![(0, 500), (0, 0)], Some(0)));
        assert_eq!(look(true, 0, 1, 2_500), (vec![(0, 1_500), (1, 0)], Some(1_000)));
        assert_eq!(look(true, 1, 0, 3_000), (vec![(1, 0), (0, 0)], Some(1_500)));
        assert_eq!(look(false, 0, 0, 3_500), (vec![(0, 0), (0, 500)], None), "somebody had it: nothing was stuck");
        // Another is at the head: the lock was taken and let go of meanwhile, for all anybody knows.
        assert_eq!(look(true, 0, 0, 4_000).1, Some(0));
        let (_, missing) = ears.note(&root, true, &queue[1..], &counts(0, 0), Time(5_000));
        assert_eq!(missing, Some(0));
    }

    #[test]
    fn what_could_not_be_counted_is_not_said() {
        let ears = Ears::default();
        let (listeners, missing) =
            ears.note(&Bytes::from_static(b"orders"), true, &channels(&["a"]), &HashMap::new(), Time(1));
        assert_eq!((listeners, missing), (Vec::new(), Some(0)));
        assert_eq!(ears.note(&Bytes::from_static(b"orders"), true, &[], &HashMap::new(), Time(2)), (Vec::new(), None));
    }

    #[test]
    fn a_proof_is_news_when_it_comes_and_when_it_goes() {
        let ears = Ears::default();
        let root = Bytes::from_static(b"exports");
        let listened = || HashSet::from([root.clone()]);
        assert_eq!(ears.proven(listened()), [root.clone()]);
        assert!(ears.proves(&root) && ears.proven(listened()).is_empty());
        assert_eq!(ears.proven(HashSet::new()), [root.clone()]);
        assert!(!ears.proves(&root));
    }
}
