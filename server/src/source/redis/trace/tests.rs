//! Conversations with a store as lines, and what is concluded from them.

use std::collections::HashMap;

use lockkeeper_model::Deed;
use proptest::prelude::*;

use super::command::Lease;
use super::fold::{Fold, MAX_LOCKS};
use super::outcome::{Outcome, Reading, conclude};

const MARK: &[u8] = b"mark:";

type AllKeys = fn(&[u8]) -> bool;

/// What was said, one command at each millisecond.
struct Talk {
    fold: Fold<AllKeys>,
    at_us: i64,
    readings: HashMap<u32, Reading>,
}

impl Talk {
    fn new() -> Talk {
        let fold: Fold<AllKeys> = Fold::new(0, None, MARK.to_vec(), |_| true);
        Talk { fold, at_us: 1_700_000_000_000_000, readings: HashMap::new() }
    }

    fn says(mut self, by: &str, command: &str) -> Talk {
        let words: String = command.split(' ').map(|word| format!(" \"{word}\"")).collect();
        let (seconds, micros) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        self.fold.line(format!("{seconds}.{micros:06} [0 {by}]{words}").as_bytes());
        self.at_us += 1_000;
        self
    }

    fn script(mut self, by: &str, args: &str, commands: &[&str]) -> Talk {
        self = self.says(by, &format!("EVALSHA abc 1 k {args}"));
        for command in commands {
            self = self.says("lua", command);
        }
        self
    }

    fn later(mut self, ms: i64) -> Talk {
        self.at_us += ms * 1_000;
        self
    }

    /// We read the key here.
    fn read(mut self, key: &str, value: Option<(&str, Lease)>) -> Talk {
        let number = self.readings.len() as u32;
        let reading = match value {
            None => Reading::Free,
            Some((token, left)) => Reading::Held { token: self.fold.tokens.id(token.as_bytes()).unwrap(), left },
        };
        self.readings.insert(number, reading);
        self.says("ours:1", &format!("EVAL x 1 {key} 1024 mark:{number}"))
    }

    fn of(mut self, key: &str) -> Concluded {
        self.fold.end();
        let lock = self.fold.locks.iter().find(|lock| lock.key == key.as_bytes()).unwrap();
        Concluded { outcome: conclude(&lock.steps, &self.readings), fold: self.fold }
    }
}

struct Concluded {
    outcome: Outcome,
    fold: Fold<AllKeys>,
}

impl Concluded {
    /// Taken, refused, unclear.
    fn tried(&mut self, who: &str) -> (u64, u64, u64) {
        let who = self.fold.addresses.id(who).unwrap();
        self.outcome.wanting.get(&who).map_or((0, 0, 0), |one| (one.taken, one.refused, one.unclear))
    }

    fn deeds(&self) -> Vec<(Deed, String, String, u64)> {
        let mut deeds: Vec<_> = self
            .outcome
            .deeds
            .iter()
            .map(|((deed, who, token), done)| {
                let token =
                    token.and_then(|token| self.fold.tokens.get(token)).map(|token| token.escape_ascii().to_string());
                (*deed, self.fold.addresses.get(*who).unwrap().clone(), token.unwrap_or_default(), done.count)
            })
            .collect();
        deeds.sort();
        deeds
    }
}

fn deed(deed: Deed, who: &str, token: &str, count: u64) -> (Deed, String, String, u64) {
    (deed, who.to_owned(), token.to_owned(), count)
}

#[test]
fn attempts_on_a_lock_that_is_held_throughout_are_refused() {
    let mut seen = Talk::new()
        .says("a:1", "SET k ta NX PX 30000")
        .read("k", Some(("held", Lease::Never)))
        .says("a:1", "SET k ta NX PX 30000")
        .says("b:1", "SETNX k tb")
        .of("k");
    assert_eq!((seen.tried("a:1"), seen.tried("b:1")), ((0, 2, 0), (0, 1, 0)));
    assert_eq!(seen.deeds(), []);
}

#[test]
fn without_any_reading_nothing_is_said_to_be_known() {
    let mut seen = Talk::new().says("a:1", "SET k ta NX").says("b:1", "SET k tb NX").of("k");
    assert_eq!((seen.tried("a:1"), seen.tried("b:1")), ((0, 0, 1), (0, 0, 1)));
}

#[test]
fn a_release_frees_for_the_next_who_tries() {
    let mut seen = Talk::new()
        .says("b:1", "SET k tb NX PX 30000")
        .read("k", Some(("ta", Lease::For(9_000))))
        .script("a:1", "ta", &["get k", "del k"])
        .says("c:1", "SET k tc NX PX 30000")
        .says("b:1", "SET k tb NX PX 30000")
        .script("c:1", "tc 30000", &["get k", "pexpire k 30000"])
        .of("k");
    assert_eq!((seen.tried("b:1"), seen.tried("c:1")), ((0, 2, 0), (1, 0, 0)));
    assert_eq!(
        seen.deeds(),
        [deed(Deed::Took, "c:1", "tc", 1), deed(Deed::Renewed, "c:1", "tc", 1), deed(Deed::Released, "a:1", "ta", 1),]
    );
}

#[test]
fn the_token_that_is_there_afterwards_tells_who_took_it() {
    let mut seen = Talk::new()
        .says("a:1", "SET k ta NX")
        .says("b:1", "SET k tb NX")
        .says("c:1", "SET k tc NX")
        .read("k", Some(("tb", Lease::Never)))
        .of("k");
    assert_eq!(seen.tried("b:1"), (1, 0, 0));
    assert_eq!(seen.tried("a:1"), (0, 0, 1), "it may have had it before");
    assert_eq!(seen.tried("c:1"), (0, 1, 0));
}

#[test]
fn a_token_that_two_clients_share_names_neither() {
    let mut seen = Talk::new()
        .says("a:1", "SET k same NX")
        .says("b:1", "SET k same NX")
        .read("k", Some(("same", Lease::Never)))
        .of("k");
    assert_eq!((seen.tried("a:1"), seen.tried("b:1")), ((0, 0, 1), (0, 0, 1)));
    assert_eq!(seen.deeds(), []);
}

#[test]
fn the_end_of_a_lease_frees_and_nobody_is_sure_close_to_it() {
    let talk =
        || Talk::new().says("a:1", "GETSET k x").says("a:1", "SET k ta NX").read("k", Some(("h", Lease::For(100))));
    let mut after = talk().later(200).says("b:1", "SET k tb NX").of("k");
    assert_eq!(after.tried("b:1"), (1, 0, 0));
    let mut close = talk().later(98).says("b:1", "SET k tb NX").of("k");
    assert_eq!(close.tried("b:1"), (0, 0, 1));
    let mut before = talk().later(50).says("b:1", "SET k tb NX").of("k");
    assert_eq!(before.tried("b:1"), (0, 1, 0));
}

#[test]
fn a_reading_that_nothing_explains_takes_conclusions_back() {
    let mut seen = Talk::new()
        .says("a:1", "SET k ta NX")
        .read("k", Some(("held", Lease::Never)))
        .says("a:1", "SET k ta NX")
        .read("k", Some(("ta", Lease::Never)))
        .of("k");
    assert_eq!(seen.tried("a:1"), (0, 1, 1));
}

#[test]
fn what_a_script_goes_on_to_do_tells_what_it_found() {
    const F: &str = "6f1a:42";
    let renews = [format!("hexists k {F}"), "pexpire k 30000".to_owned()];
    let takes = [format!("hincrby k {F} 1"), "pexpire k 30000".to_owned()];
    let mut seen = Talk::new()
        .script("r:1", "30000 6f1a:42", &["exists k", &takes[0], &takes[1]])
        .script("r:1", "30000 6f1a:42", &[&renews[0], &renews[1]])
        .script("w:1", "30000 other:1", &["exists k", "hexists k other:1", "pttl k"])
        .script("w:1", "30000 other:1", &["hexists k other:1"])
        .script("r:1", "0 6f1a:42", &[&renews[0], &format!("hincrby k {F} -1"), "del k", "publish c 0"])
        .of("k");
    assert_eq!((seen.tried("w:1"), seen.tried("r:1")), ((0, 1, 0), (1, 0, 0)));
    assert_eq!(
        seen.deeds(),
        [deed(Deed::Took, "r:1", F, 1), deed(Deed::Renewed, "r:1", F, 1), deed(Deed::Released, "r:1", F, 1)]
    );
    // Node redlock: all keys absent, then SET.
    let seen = Talk::new().script("n:1", "tok 9000", &["exists k", "set k tok PX 9000"]).of("k");
    assert_eq!(seen.deeds(), [deed(Deed::Took, "n:1", "tok", 1)]);
}

#[test]
fn what_a_script_compared_with_settles_the_attempts_before() {
    let mut seen = Talk::new()
        .says("a:1", "SET k ta NX")
        .says("b:1", "SET k tb NX")
        .script("a:1", "ta 30000", &["get k", "pexpire k 30000"])
        .of("k");
    assert_eq!((seen.tried("a:1"), seen.tried("b:1")), ((1, 0, 0), (0, 1, 0)));
    assert_eq!(seen.deeds(), [deed(Deed::Took, "a:1", "ta", 1), deed(Deed::Renewed, "a:1", "ta", 1)]);
}

#[test]
fn what_is_learned_of_a_holder_later_names_its_renewals_before() {
    let mut seen = Talk::new()
        .says("b:1", "SET k tb NX")
        .script("a:1", "ta 30000", &["get k", "pexpire k 30000"])
        .says("b:1", "SET k tb NX")
        .read("k", Some(("ta", Lease::For(29_000))))
        .script("a:1", "ta 30000", &["get k", "pexpire k 30000"])
        .of("k");
    assert_eq!(seen.tried("b:1"), (0, 2, 0));
    assert_eq!(seen.deeds(), [deed(Deed::Renewed, "a:1", "ta", 2)]);
    let seen = Talk::new()
        .script("a:1", "ta 30000", &["get k", "pexpire k 30000"])
        .says("a:1", "DEL k")
        .says("b:1", "SET k tb NX")
        .of("k");
    assert_eq!(seen.deeds()[1], deed(Deed::Renewed, "a:1", "", 1));
}

#[test]
fn who_blocks_and_who_listens_is_seen_without_an_attempt() {
    let mut seen = Talk::new().says("p:1", "BLPOP lock-signal:stock 0").of("lock:stock");
    let who = seen.fold.addresses.id("p:1").unwrap();
    assert!(seen.outcome.wanting[&who].blocks);
    let mut seen = Talk::new().says("r:1", "SUBSCRIBE redisson_lock__channel:{stock}").of("stock");
    let who = seen.fold.addresses.id("r:1").unwrap();
    assert!(seen.outcome.wanting[&who].listens);
}

#[test]
fn the_rhythm_is_the_median_pause() {
    let mut seen = Talk::new();
    for pause in [100, 100, 5_000, 100] {
        seen = seen.says("a:1", "SET k t NX").later(pause - 1);
    }
    let mut seen = seen.says("a:1", "SET k t NX").of("k");
    let who = seen.fold.addresses.id("a:1").unwrap();
    assert_eq!(seen.outcome.wanting[&who].rhythm_us(), Some(100_000));
}

#[test]
fn other_databases_and_other_keys_are_nobodys_business() {
    let mut fold: Fold<AllKeys> = Fold::new(2, Some(b"k".to_vec()), MARK.to_vec(), |_| true);
    for line in [
        r#"1.000000 [0 a:1] "SET" "k" "t" "NX""#,
        r#"1.000000 [2 a:1] "SET" "other" "t" "NX""#,
        r#"1.000000 [2 a:1] "SET" "k" "t" "NX""#,
        "nonsense",
    ] {
        fold.line(line.as_bytes());
    }
    assert_eq!((fold.commands, fold.unreadable, fold.locks.len()), (4, 1, 1));
    assert_eq!(fold.locks[0].steps.len(), 1);
}

#[test]
fn more_locks_than_fit_are_counted() {
    let mut fold: Fold<AllKeys> = Fold::new(0, None, MARK.to_vec(), |_| true);
    for n in 0..MAX_LOCKS + 7 {
        fold.line(format!(r#"1.000000 [0 a:1] "SET" "k{n}" "t" "NX""#).as_bytes());
    }
    assert_eq!((fold.locks.len(), fold.uncounted()), (MAX_LOCKS, 7));
}

fn command() -> impl Strategy<Value = String> {
    let token = prop_oneof![Just("ta"), Just("tb"), Just("tc")];
    let who = prop_oneof![Just("a:1"), Just("b:1"), Just("lua")];
    let what = prop_oneof![
        token.clone().prop_map(|t| format!("\"SET\" \"k\" \"{t}\" \"NX\" \"PX\" \"2\"")),
        token.clone().prop_map(|t| format!("\"SET\" \"k\" \"{t}\"")),
        token.prop_map(|t| format!("\"EVALSHA\" \"x\" \"1\" \"k\" \"{t}\"")),
        Just("\"GET\" \"k\"".to_owned()),
        Just("\"DEL\" \"k\"".to_owned()),
        Just("\"PEXPIRE\" \"k\" \"3\"".to_owned()),
        Just("\"EXISTS\" \"k\"".to_owned()),
        Just("\"FLUSHALL\"".to_owned()),
        (0u32..4).prop_map(|n| format!("\"EVAL\" \"x\" \"1\" \"k\" \"9\" \"mark:{n}\"")),
    ];
    (who, what).prop_map(|(who, what)| format!("[0 {who}] {what}"))
}

proptest! {
    /// Every attempt is counted once, as one of the three.
    #[test]
    fn attempts_are_taken_refused_or_unclear_and_none_is_lost(commands in proptest::collection::vec(command(), 0..60)) {
        let mut fold: Fold<AllKeys> = Fold::new(0, Some(b"k".to_vec()), MARK.to_vec(), |_| true);
        for (n, command) in commands.iter().enumerate() {
            fold.line(format!("1.{:06} {command}", n * 1_000).as_bytes());
        }
        fold.end();
        let held = Reading::Held { token: fold.tokens.id(b"ta".as_slice()).unwrap(), left: Lease::For(3) };
        let readings = HashMap::from([(0, Reading::Free), (1, held), (2, Reading::Other)]);
        let outcome = conclude(&fold.locks[0].steps, &readings);
        for wanting in outcome.wanting.values() {
            prop_assert_eq!(wanting.attempts(), wanting.tried_us.len() as u64);
        }
    }
}
