//! What became of the attempts, concluded from the order of the commands and from readings of the key in between.
//!
//! The store answers in private. But what it answers follows from what is there, and what is there follows from the
//! commands before: an attempt on a key that is known to be held is refused, the first one on a key that is known to be
//! free succeeds. Where what is there is not known, attempts wait for the next thing that is; what nothing settles is
//! unclear, and said to be.

use std::collections::HashMap;

use lockkeeper_model::Deed;

use super::command::Lease;
use super::fold::{Step, Token, What, Who};

/// The store's clock is read a little after a command was run. This close to the end of a lease, in microseconds, nobody
/// can tell whether it was over.
const SLACK_US: i64 = 10_000;

/// What our own reading of a key showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing.
    Free,
    /// A string, with what was left of its life.
    Held { token: Token, left: Lease },
    /// Something else.
    Other,
}

/// What became of the attempts on one lock.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) wanting: HashMap<Who, Wanting>,
    pub(super) deeds: HashMap<(Deed, Who, Option<Token>), Done>,
}

/// What one client did to get it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanting {
    pub(super) taken: u64,
    pub(super) refused: u64,
    pub(super) unclear: u64,
    pub(super) looks: u64,
    pub(super) blocks: bool,
    pub(super) listens: bool,
    /// Its last attempt of which that is known took it.
    pub(super) has_it: bool,
    /// When it tried, in order, in microseconds on the store's clock.
    pub(super) tried_us: Vec<i64>,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
}

impl Wanting {
    pub(super) fn attempts(&self) -> u64 {
        self.taken + self.refused + self.unclear
    }

    fn was_refused(&mut self) {
        self.refused += 1;
        self.has_it = false;
    }

    fn has_taken(&mut self) {
        self.taken += 1;
        self.has_it = true;
    }

    /// It wants the lock and is not known to have it.
    pub(super) fn waits(&self) -> bool {
        !self.has_it && (self.refused > 0 || self.blocks || self.listens)
    }

    /// The median time between two attempts, in microseconds.
    pub(super) fn rhythm_us(&self) -> Option<i64> {
        let mut pauses: Vec<i64> = self.tried_us.windows(2).map(|pair| pair[1] - pair[0]).collect();
        pauses.sort_unstable();
        pauses.get(pauses.len() / 2).copied()
    }
}

/// How often something was done, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) count: u64,
    pub(super) last_us: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Free,
    Held { token: Option<Token>, end: End },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Never,
    At(i64),
    Unknown,
}

impl End {
    fn of(lease: Lease, at_us: i64) -> End {
        match lease {
            Lease::For(ms) => End::At(at_us.saturating_add(ms.saturating_mul(1_000))),
            Lease::Never => End::Never,
            Lease::Unknown => End::Unknown,
        }
    }
}

impl State {
    fn at(self, now_us: i64) -> State {
        match self {
            State::Held { end: End::At(end), .. } if now_us > end.saturating_add(SLACK_US) => State::Free,
            State::Held { end: End::At(end), .. } if now_us >= end.saturating_sub(SLACK_US) => State::Unknown,
            state => state,
        }
    }

    fn token(self) -> Option<Token> {
        match self {
            State::Held { token, .. } => token,
            _ => None,
        }
    }
}

/// Plays the steps through.
pub(super) fn conclude(steps: &[Step], readings: &HashMap<u32, Reading>) -> Outcome {
    let mut play = Play {
        outcome: Outcome::default(),
        state: State::Unknown,
        open: Vec::new(),
        renewals: Vec::new(),
        inferred: Vec::new(),
    };
    for step in steps {
        play.step(step, readings);
    }
    play.settle_unclear();
    play.outcome
}

struct Play {
    outcome: Outcome,
    state: State,
    /// Attempts since what is there is not known.
    open: Vec<(Who, Token, i64)>,
    /// Renewals of the hold that is there, while its token is not known.
    renewals: Vec<(Who, Box<[Token]>, i64)>,
    /// Refusals that were concluded since the key was last read.
    inferred: Vec<Who>,
}

impl Play {
    fn step(&mut self, step: &Step, readings: &HashMap<u32, Reading>) {
        let (at_us, who) = (step.at_us, step.who);
        self.state = self.state.at(at_us);
        match &step.what {
            What::Try { token, lease } => {
                self.wanting(who, at_us).tried_us.push(at_us);
                match self.state {
                    State::Free => {
                        self.wanting(who, at_us).has_taken();
                        self.did(Deed::Took, who, Some(*token), at_us);
                        self.state = State::Held { token: Some(*token), end: End::of(*lease, at_us) };
                    }
                    State::Held { end: End::Never | End::At(_), .. } => {
                        self.wanting(who, at_us).was_refused();
                        self.inferred.push(who);
                    }
                    State::Held { end: End::Unknown, .. } | State::Unknown => {
                        self.state = State::Unknown;
                        self.open.push((who, *token, at_us));
                    }
                }
            }
            What::Refused => {
                let wanting = self.wanting(who, at_us);
                wanting.was_refused();
                wanting.tried_us.push(at_us);
            }
            What::Write { token, lease, if_there } => {
                let is_same = self.state.token() == Some(*token);
                match (if_there, self.state) {
                    (true, State::Free) => return,
                    (true, State::Unknown) => {
                        self.settle_unclear();
                        return;
                    }
                    _ => {}
                }
                self.settle_unclear();
                self.did(if is_same { Deed::Renewed } else { Deed::TookOrRenewed }, who, Some(*token), at_us);
                self.state = State::Held { token: Some(*token), end: End::of(*lease, at_us) };
            }
            What::Delete => {
                if let State::Held { token, .. } = self.state {
                    self.did(Deed::Released, who, token, at_us);
                }
                self.settle_unclear();
                self.state = State::Free;
            }
            What::Extend(lease) => {
                if let State::Held { token, .. } = self.state {
                    self.did(Deed::Renewed, who, token, at_us);
                    self.state = State::Held { token, end: End::of(*lease, at_us) };
                }
            }
            What::Done { deed, token, args, lease } => self.done(step, *deed, *token, args, *lease),
            What::Look => self.wanting(who, at_us).looks += 1,
            What::Block => self.wanting(who, at_us).blocks = true,
            What::Listen => self.wanting(who, at_us).listens = true,
            What::Reading(number) => {
                if let Some(reading) = readings.get(number) {
                    self.read(*reading, at_us);
                }
            }
            What::Blur => {
                self.settle_unclear();
                self.state = State::Unknown;
            }
        }
    }

    /// A script looked at what is there and went on.
    fn done(&mut self, step: &Step, deed: Deed, token: Option<Token>, args: &[Token], lease: Lease) {
        let (at_us, who) = (step.at_us, step.who);
        let end = End::of(lease, at_us);
        match deed {
            Deed::Renewed | Deed::Released => {
                // What it compared with was there: one of its arguments.
                let mut compared = self.open.iter().map(|(_, token, _)| *token).filter(|token| args.contains(token));
                if let Some(one) = compared.next()
                    && compared.all(|other| other == one)
                {
                    self.learn_held(one);
                    self.state = State::Held { token: Some(one), end: End::Unknown };
                }
                let token = token.or(self.state.token().filter(|token| args.contains(token)));
                if deed == Deed::Released {
                    self.settle_unclear();
                    self.did(deed, who, token, at_us);
                    self.state = State::Free;
                    return;
                }
                // Who holds it stays the same, so that what is learned of it later holds for now as well.
                match token {
                    Some(_) => self.did(deed, who, token, at_us),
                    None => self.renewals.push((who, args.into(), at_us)),
                }
                self.state = State::Held { token, end };
            }
            Deed::Took | Deed::TookOrRenewed => {
                self.settle_unclear();
                let is_same = token.is_some() && self.state.token() == token;
                let deed = if deed == Deed::TookOrRenewed && is_same { Deed::Renewed } else { deed };
                if deed == Deed::Took {
                    let wanting = self.wanting(who, at_us);
                    wanting.has_taken();
                    wanting.tried_us.push(at_us);
                }
                self.did(deed, who, token, at_us);
                self.state = State::Held { token, end };
            }
        }
    }

    fn read(&mut self, reading: Reading, at_us: i64) {
        let expected = match (reading, self.state) {
            (Reading::Held { token, .. }, State::Held { token: Some(known), .. }) => token == known,
            (Reading::Free, State::Held { .. }) | (Reading::Held { .. }, State::Free) => false,
            _ => true,
        };
        if !expected {
            // Something happened that no command told of, an eviction for example: what was concluded may be wrong.
            for who in std::mem::take(&mut self.inferred) {
                if let Some(wanting) = self.outcome.wanting.get_mut(&who) {
                    wanting.refused -= 1;
                    wanting.unclear += 1;
                }
            }
        }
        self.inferred.clear();
        match reading {
            Reading::Free => {
                self.settle_unclear();
                self.state = State::Free;
            }
            Reading::Held { token, left } => {
                self.learn_held(token);
                self.state = State::Held { token: Some(token), end: End::of(left, at_us) };
            }
            Reading::Other => {
                self.settle_unclear();
                self.state = State::Unknown;
            }
        }
    }

    /// It is held with this token now, and everything since what is there is not known was an attempt. Then either
    /// nobody has taken it, or this token's owner has.
    fn learn_held(&mut self, token: Token) {
        let open = std::mem::take(&mut self.open);
        for (who, args, at_us) in std::mem::take(&mut self.renewals) {
            self.did(Deed::Renewed, who, args.contains(&token).then_some(token), at_us);
        }
        let own: Vec<usize> = (0..open.len()).filter(|&at| open[at].1 == token).collect();
        let last = own.last().copied();
        let is_one_client = own.iter().all(|&at| last.is_some_and(|last| open[at].0 == open[last].0));
        for (at, &(who, _, at_us)) in open.iter().enumerate() {
            let wanting = self.wanting(who, at_us);
            match last {
                None => wanting.was_refused(),
                Some(last) if at > last => wanting.was_refused(),
                // One of its attempts took it; which one is not known, so the others stay unclear.
                Some(last) if at == last && is_one_client => {
                    wanting.has_taken();
                    self.did(Deed::Took, who, Some(token), at_us);
                }
                Some(_) => wanting.unclear += 1,
            }
        }
    }

    /// Nothing that is learned from here on says anything of before.
    fn settle_unclear(&mut self) {
        for (who, _, at_us) in std::mem::take(&mut self.renewals) {
            self.did(Deed::Renewed, who, None, at_us);
        }
        for (who, _, at_us) in std::mem::take(&mut self.open) {
            self.wanting(who, at_us).unclear += 1;
        }
    }

    fn did(&mut self, deed: Deed, who: Who, token: Option<Token>, at_us: i64) {
        let done = self.outcome.deeds.entry((deed, who, token)).or_default();
        done.count += 1;
        done.last_us = at_us;
    }

    fn wanting(&mut self, who: Who, at_us: i64) -> &mut Wanting {
        let wanting = self.outcome.wanting.entry(who).or_insert_with(|| Wanting {
            first_us: at_us,
            last_us: at_us,
            ..Wanting::default()
        });
        wanting.last_us = wanting.last_us.max(at_us);
        wanting
    }
}
