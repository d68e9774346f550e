//! The judgement: who owns a lock, given what is known of it on each master. Pure.
//!
//! The recipe (redis.io, "Distributed Locks with Redis"): a token owns the lock while it stands on a majority of the
//! masters. A master that was not read has no vote, for nor against: where it could tip the balance, the answer is that
//! nobody can say.

use std::sync::Arc;

use lockkeeper_model::{OnNode, QuorumNode, Standing, Time, encode_token, words};
use smallvec::SmallVec;

/// The clock drift that the recipe allows for: this share of the lease…
const DRIFT_DIVISOR: i64 = 100;

/// …and this much, in milliseconds, for the precision of an expiry in Redis.
const DRIFT_MS: i64 = 2;

/// No expiry, as a moment.
pub(super) const NEVER: i64 = i64::MAX;

/// Tokens that are named in a sentence; the table has them all.
const NAMED_TOKENS: usize = 3;

/// Masters that make a majority of so many.
#[must_use]
pub fn majority(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// What is known of a lock on one master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// A token stands there.
    Stands(Reading),
    /// It was read, and nothing is there.
    Absent,
    /// It does not answer.
    Unreachable,
    /// It was not read, or not since changes were missed there.
    Unread,
}

/// A token that was read on one master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which of the lock's tokens.
    pub token: u8,
    /// The reading was not done before this moment…
    pub asked_at: i64,
    /// …nor after this one.
    pub read_at: i64,
    /// What was left of its life, in milliseconds; `None` without expiry.
    pub ttl_ms: Option<i64>,
    /// How much earlier the first of its keys may end, in milliseconds.
    pub early_ms: i64,
    /// How long its lease is, as far as was seen: the most that was ever left since it was last pushed out.
    pub lease_ms: i64,
}

impl Reading {
    /// It stands there until this moment at least, however far clocks drift.
    #[must_use]
    pub fn guaranteed_until(&self) -> i64 {
        self.ttl_ms.map_or(NEVER, |ttl| {
            let drift = self.lease_ms.max(ttl) / DRIFT_DIVISOR + DRIFT_MS;
            self.asked_at.saturating_add(ttl - self.early_ms).saturating_sub(drift)
        })
    }

    /// It does not stand there after this moment, unless it is pushed out.
    #[must_use]
    pub fn gone_after(&self) -> i64 {
        // PTTL rounds; one millisecond on the late side keeps this an upper bound.
        self.ttl_ms.map_or(NEVER, |ttl| self.read_at.saturating_add(ttl).saturating_add(1))
    }
}

/// Who owns a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether a majority agrees.
    pub standing: Standing,
    /// The tokens that were read, each with its votes, the most first.
    pub tokens: SmallVec<[(u8, u8); 2]>,
    /// A majority is guaranteed to keep the owner's token until this moment; [`NEVER`] without expiry. Of another
    /// standing: the moment at which the last token that was read is gone.
    pub until: i64,
    /// How much earlier the same could have been read, in milliseconds: the masters that are counted differ by so much,
    /// and a reading takes time.
    pub spread_ms: i64,
    /// After this moment the majority is gone unless it is pushed out; equal to `until` of another standing.
    pub gone_after: i64,
}

/// Judges. Tokens with equally many votes keep the order of their numbers.
#[must_use]
pub fn judge(votes: &[Vote]) -> Judgement {
    let needed = majority(votes.len());
    let mut tokens: SmallVec<[(u8, u8); 2]> = SmallVec::new();
    let mut unknown = 0;
    for vote in votes {
        match vote {
            Vote::Stands(reading) => match tokens.iter_mut().find(|(token, _)| *token == reading.token) {
                Some((_, count)) => *count += 1,
                None => tokens.push((reading.token, 1)),
            },
            Vote::Unreachable | Vote::Unread => unknown += 1,
            Vote::Absent => {}
        }
    }
    tokens.sort_by_key(|&(token, count)| (std::cmp::Reverse(count), token));
    let most = tokens.first().map_or(0, |&(_, count)| usize::from(count));
    let standing = match most {
        most if most >= needed => Standing::Owned,
        most if most + unknown >= needed => Standing::Undecided,
        _ => Standing::Nobody,
    };
    let read = votes.iter().filter_map(|vote| match vote {
        Vote::Stands(reading) => Some(reading),
        _ => None,
    });
    if standing != Standing::Owned {
        let last = read.map(Reading::gone_after).max().unwrap_or(0);
        return Judgement { standing, tokens, until: last, spread_ms: 0, gone_after: last };
    }
    let mut counted: SmallVec<[&Reading; 9]> =
        read.filter(|reading| Some(reading.token) == tokens.first().map(|t| t.0)).collect();
    counted.sort_by_key(|reading| std::cmp::Reverse(reading.guaranteed_until()));
    // The last that is needed: when it goes, fewer than a majority are left.
    let (first, last) = (counted[0], counted[needed - 1]);
    let until = last.guaranteed_until();
    let differ = if until == NEVER { 0 } else { first.guaranteed_until().saturating_sub(until) };
    let spread_ms = if first.ttl_ms.is_none() { 0 } else { differ }.saturating_add(last.read_at - last.asked_at);
    counted.sort_by_key(|reading| std::cmp::Reverse(reading.gone_after()));
    let gone_after = counted[needed - 1].gone_after();
    Judgement { standing, tokens, until, spread_ms, gone_after }
}

/// A judgement as it is carried to the board, compact: there is one for every lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The masters' names, shared by all locks.
    names: Arc<[Box<str>]>,
    standing: Standing,
    votes: u8,
    /// [`NEVER`] where nobody owns it or it has no expiry.
    until: i64,
    nodes: Box<[Node]>,
    /// The tokens by their numbers, where there is more than one.
    tokens: Box<[Box<[u8]>]>,
    /// The number of the first holder's token.
    first: u8,
}

/// What one master has, compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) vote: Seen,
    /// The last reading; 0: there was none.
    pub(super) read_at: i64,
    /// It took so many milliseconds.
    pub(super) took_ms: u32,
    pub(super) restarted_within_lease: bool,
}

/// A [`Vote`] without what is kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Stands { token: u8, gone_after: i64 },
    Absent,
    Unreachable,
    Unread,
}

impl Quorum {
    /// `tokens` by their numbers.
    pub(super) fn new<'a>(
        names: Arc<[Box<str>]>,
        judgement: &Judgement,
        nodes: Box<[Node]>,
        tokens: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Quorum {
        let (first, votes) = judgement.tokens.first().copied().unwrap_or_default();
        Quorum {
            names,
            standing: judgement.standing,
            votes,
            until: if judgement.standing == Standing::Owned { judgement.until } else { NEVER },
            nodes,
            tokens: if tokens.len() > 1 { tokens.map(Box::from).collect() } else { Box::default() },
            first,
        }
    }

    /// Whether a majority agrees.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// In the words of the contract. `holder`: the token of the lock's first holder.
    #[must_use]
    pub fn shown(&self, holder: &[u8], now: Time) -> lockkeeper_model::Quorum {
        let until = (self.until != NEVER).then_some(Time(self.until));
        let nodes = self.names.iter().zip(&self.nodes).map(|(name, node)| {
            let (state, token, gone_after) = match node.vote {
                Seen::Stands { token, gone_after } => {
                    let state = if token == self.first { OnNode::Holds } else { OnNode::Other };
                    (state, Some(self.token(token, holder)), gone_after)
                }
                Seen::Absent => (OnNode::Absent, None, NEVER),
                Seen::Unreachable => (OnNode::Unreachable, None, NEVER),
                Seen::Unread => (OnNode::Unread, None, NEVER),
            };
            let named = token.map(encode_token);
            let expires_at = (gone_after != NEVER).then_some(Time(gone_after));
            QuorumNode {
                node: name.to_string(),
                state,
                token: named.as_ref().and_then(|(text, _)| text.clone()),
                token_b64: named.map(|(_, b64)| b64),
                expires_at,
                ttl_ms: expires_at.map(|at| at.since(now).max(0)),
                round_trip_ms: (node.read_at != 0).then_some(i64::from(node.took_ms)),
                read_at: (node.read_at != 0).then_some(Time(node.read_at)),
                restarted_within_lease: node.restarted_within_lease,
            }
        });
        lockkeeper_model::Quorum {
            standing: self.standing,
            needed: u32::try_from(majority(self.nodes.len())).unwrap_or(u32::MAX),
            votes: u32::from(self.votes),
            valid_for_ms: until.map(|at| at.since(now).max(0)),
            valid_until: until,
            says: self.says(holder, now),
            nodes: nodes.collect(),
        }
    }

    fn token<'a>(&'a self, token: u8, holder: &'a [u8]) -> &'a [u8] {
        self.tokens.get(usize::from(token)).map_or(holder, |token| token)
    }

    fn says(&self, holder: &[u8], now: Time) -> String {
        let (all, needed) = (self.nodes.len(), majority(self.nodes.len()));
        let mut tokens: SmallVec<[(u8, usize); 3]> = SmallVec::new();
        for node in &self.nodes {
            if let Seen::Stands { token, .. } = node.vote {
                match tokens.iter_mut().find(|(known, _)| *known == token) {
                    Some((_, count)) => *count += 1,
                    None => tokens.push((token, 1)),
                }
            }
        }
        tokens.sort_by_key(|&(token, count)| (token != self.first, std::cmp::Reverse(count), token));
        let count = |seen: Seen| self.nodes.iter().filter(|node| node.vote == seen).count();
        let (absent, unreachable, unread) = (count(Seen::Absent), count(Seen::Unreachable), count(Seen::Unread));
        let named = |&(token, count): &(u8, usize)| {
            let (text, b64) = encode_token(self.token(token, holder));
            format!("`{}` on {count}", words::short_token(&text.unwrap_or(b64)))
        };
        let mut rest: Vec<String> = Vec::new();
        let mut say = match self.standing {
            Standing::Owned => {
                rest.extend(
                    tokens.iter().skip(1).take(NAMED_TOKENS).map(|token| format!("{} as a leftover", named(token))),
                );
                let valid = match self.until {
                    NEVER => ", without an expiry".to_owned(),
                    until if until > now.0 => {
                        format!(", guaranteed for another {}", words::duration(until - now.0))
                    }
                    _ => ", and its guaranteed time is over".to_owned(),
                };
                format!("owned: its token stands on {} of {all} masters, {needed} are needed{valid}", self.votes)
            }
            Standing::Nobody => {
                let votes: Vec<String> = tokens.iter().map(|(_, count)| count.to_string()).collect();
                rest.extend(tokens.iter().take(NAMED_TOKENS).map(named));
                format!(
                    "held by nobody: {} of {all} masters, {needed} are needed; what stands is left over and in the way \
                     until it lapses",
                    votes.join("/"),
                )
            }
            Standing::Undecided => {
                rest.extend(tokens.iter().take(NAMED_TOKENS).map(named));
                format!(
                    "nobody can say who has it: {needed} of {all} masters are needed, and it depends on {} that {} not \
                     read",
                    unreachable + unread,
                    if unreachable + unread == 1 { "was" } else { "were" },
                )
            }
        };
        let counts = [
            (absent, "have nothing", "has nothing"),
            (unreachable, "cannot be reached", "cannot be reached"),
            (unread, "are not read yet", "is not read yet"),
        ];
        rest.extend(
            counts
                .iter()
                .filter(|(n, ..)| *n > 0)
                .map(|(n, many, one)| format!("{n} {}", if *n == 1 { one } else { many })),
        );
        if !rest.is_empty() {
            say.push_str(" (");
            say.push_str(&rest.join(", "));
            say.push(')');
        }
        let forgetful: Vec<&str> = self
            .names
            .iter()
            .zip(&self.nodes)
            .filter(|(_, node)| {
                node.restarted_within_lease && !matches!(node.vote, Seen::Stands { token, .. } if token == self.first)
            })
            .map(|(name, _)| &**name)
            .collect();
        if !forgetful.is_empty() {
            say.push_str(&format!(
                "; {} restarted within the lease and may have forgotten a lock that its client still believes to hold",
                forgetful.join(", ")
            ));
        }
        say
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vote() -> impl Strategy<Value = Vote> {
        let reading = (0u8..3, 0i64..100_000, 0i64..50, proptest::option::of(0i64..60_000), 0i64..100, 0i64..60_000);
        prop_oneof![
            4 => reading.prop_map(|(token, asked_at, took, ttl_ms, early_ms, lease_ms)| Vote::Stands(Reading {
                token, asked_at, read_at: asked_at + took, ttl_ms, early_ms, lease_ms
            })),
            1 => Just(Vote::Absent),
            1 => Just(Vote::Unreachable),
            1 => Just(Vote::Unread),
        ]
    }

    fn count(votes: &[Vote], token: u8) -> usize {
        votes.iter().filter(|vote| matches!(vote, Vote::Stands(reading) if reading.token == token)).count()
    }

    fn reading(token: u8, ttl_ms: i64) -> Vote {
        Vote::Stands(Reading {
            token,
            asked_at: 1_000,
            read_at: 1_004,
            ttl_ms: Some(ttl_ms),
            early_ms: 0,
            lease_ms: 10_000,
        })
    }

    proptest! {
        #[test]
        fn an_owner_has_a_majority_and_is_the_only_one(votes in proptest::collection::vec(vote(), 3..=9)) {
            let judgement = judge(&votes);
            let needed = majority(votes.len());
            let with_majority: Vec<u8> = (0..3).filter(|&token| count(&votes, token) >= needed).collect();
            prop_assert!(with_majority.len() <= 1);
            prop_assert_eq!(judgement.standing == Standing::Owned, with_majority.len() == 1);
            if let [owner] = with_majority[..] {
                prop_assert_eq!(judgement.tokens[0], (owner, count(&votes, owner) as u8));
            }
        }

        #[test]
        fn the_guarantee_is_kept_by_a_majority(votes in proptest::collection::vec(vote(), 3..=9)) {
            let judgement = judge(&votes);
            if judgement.standing == Standing::Owned {
                let owner = judgement.tokens[0].0;
                let keep = votes.iter().filter(|vote| matches!(vote,
                    Vote::Stands(reading) if reading.token == owner
                        && reading.ttl_ms.is_none_or(|ttl| judgement.until < reading.asked_at + ttl - reading.early_ms)));
                prop_assert!(keep.count() >= majority(votes.len()));
                prop_assert!(judgement.until <= judgement.gone_after);
                prop_assert!(judgement.spread_ms >= 0);
            }
        }

        #[test]
        fn who_does_not_answer_never_agrees(votes in proptest::collection::vec(vote(), 3..=9), silent in 0usize..9) {
            let before = judge(&votes);
            let mut votes = votes;
            let silent = silent % votes.len();
            let lost = votes[silent];
            votes[silent] = Vote::Unreachable;
            let after = judge(&votes);
            // Silence makes nobody an owner, and takes a decision back only to say that it is not known.
            prop_assert!(after.standing != Standing::Owned || before.standing == Standing::Owned);
            if before.standing == Standing::Owned {
                prop_assert!(after.standing != Standing::Nobody);
            }
            let total = |judgement: &Judgement| judgement.tokens.iter().map(|(_, n)| usize::from(*n)).sum::<usize>();
            prop_assert_eq!(total(&after), total(&before) - usize::from(matches!(lost, Vote::Stands(_))));
        }

        #[test]
        fn nobody_is_said_only_where_no_answer_could_change_it(votes in proptest::collection::vec(vote(), 3..=9), token in 0u8..4) {
            if judge(&votes).standing == Standing::Nobody {
                let answered: Vec<Vote> = votes
                    .iter()
                    .map(|vote| match vote {
                        Vote::Unreachable | Vote::Unread => reading(token, 5_000),
                        known => *known,
                    })
                    .collect();
                prop_assert!(judge(&answered).standing == Standing::Nobody);
            }
        }
    }

    #[test]
    fn the_last_needed_master_decides_how_long_it_is_guaranteed() {
        let votes = [9_000, 5_000, 8_000, 7_000].map(|ttl| reading(0, ttl));
        let judgement = judge(&[votes[0], votes[1], votes[2], votes[3], Vote::Absent]);
        // 1 % of the lease of 10 s, and 2 ms, off what is left on the third.
        assert_eq!((judgement.standing, judgement.until), (Standing::Owned, 1_000 + 7_000 - 100 - 2));
        assert_eq!(judgement.gone_after, 1_004 + 7_000 + 1);
        assert_eq!(judgement.spread_ms, 2_000 + 4);
    }

    #[test]
    fn two_two_one_is_held_by_nobody_and_three_silent_leave_it_open() {
        let votes = [0, 0, 1, 1, 2].map(|token| reading(token, 9_000));
        let judgement = judge(&votes);
        assert_eq!((judgement.standing, &judgement.tokens[..]), (Standing::Nobody, &[(0, 2), (1, 2), (2, 1)][..]));
        let silent = [votes[0], votes[1], Vote::Unreachable, Vote::Unreachable, Vote::Unreachable];
        assert_eq!(judge(&silent).standing, Standing::Undecided);
    }

    #[test]
    fn the_sentence_says_what_the_table_has() {
        let names: Arc<[Box<str>]> = (1..=5).map(|n| format!("r{n}").into()).collect();
        let node = |vote, restarted| Node { vote, read_at: 1_004, took_ms: 4, restarted_within_lease: restarted };
        let stands = |token| Seen::Stands { token, gone_after: 9_000 };
        let quorum = |votes: &[Vote], nodes: Vec<Node>, tokens: &[&'static [u8]]| {
            Quorum::new(names.clone(), &judge(votes), nodes.into(), tokens.iter().copied()).shown(b"aa", Time(2_000))
        };
        let votes = [reading(0, 7_102), reading(0, 7_102), reading(0, 7_102), Vote::Absent, Vote::Unreachable];
        let nodes = vec![
            node(stands(0), false),
            node(stands(0), false),
            node(stands(0), false),
            node(Seen::Absent, true),
            node(Seen::Unreachable, false),
        ];
        let owned = quorum(&votes, nodes, &[b"aa"]);
        assert_eq!(
            owned.says,
            "owned: its token stands on 3 of 5 masters, 3 are needed, guaranteed for another 6.0 s (1 has nothing, 1 \
             cannot be reached); r4 restarted within the lease and may have forgotten a lock that its client still \
             believes to hold"
        );
        assert_eq!((owned.votes, owned.needed, owned.valid_for_ms), (3, 3, Some(6_000)));
        assert_eq!(owned.nodes[0].token.as_deref(), Some("aa"));
        let votes = [0, 0, 1, 1, 2].map(|token| reading(token, 9_000));
        let nodes = [0, 0, 1, 1, 2].map(|token| node(stands(token), false)).to_vec();
        let nobody = quorum(&votes, nodes, &[b"aa", b"bb", b"cc"]);
        assert_eq!(
            nobody.says,
            "held by nobody: 2/2/1 of 5 masters, 3 are needed; what stands is left over and in the way until it lapses \
             (`aa` on 2, `bb` on 2, `cc` on 1)"
        );
        assert_eq!(nobody.nodes[4].state, OnNode::Other);
        assert_eq!((nobody.valid_for_ms, nobody.nodes[4].token.as_deref()), (None, Some("cc")));
    }
}
