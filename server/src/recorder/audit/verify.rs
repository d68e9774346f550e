//! Checks the chain: every entry gives its hash, carries its number, and names the one before.
//!
//! A chain alone does not prove that it ends where it ended: the newest entries can be cut off, and whoever can write the
//! file can write all hashes anew. Against both helps a hash that was noted elsewhere.

use lockkeeper_model::{AuditChain, words};
use serde::Deserialize;

use super::entry::{GENESIS, hash};
use super::store::{AuditError, Store, Stored};

/// Findings that are spelled out. A file that was rewritten has one for each entry.
pub const MAX_FINDINGS: usize = 20;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where the file ends.
    pub chain: AuditChain,
    /// What is wrong, in the order of the file; the first [`MAX_FINDINGS`].
    pub findings: Vec<String>,
    /// Findings beyond those.
    pub more: u64,
    /// The number of the entry that has the noted hash.
    pub noted_at: Option<u64>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks the whole file, and that it still has the entry with the noted hash.
///
/// # Errors
/// When it cannot be read.
pub fn verify(store: &Store, noted: Option<&str>) -> Result<Verdict, AuditError> {
    let mut check = Check::new(noted);
    for trigger in store.missing_triggers()? {
        check.find(format!("the trigger `{trigger}`, which refuses changes, was removed"));
    }
    store.each(|row| check.row(&row))?;
    Ok(check.end())
}

/// What of an entry binds it.
#[derive(Deserialize)]
struct Bond {
    seq: u64,
    previous: String,
}

/// The check, row by row.
pub(super) struct Check {
    noted: Option<String>,
    verdict: Verdict,
    last: i64,
}

impl Check {
    pub(super) fn new(noted: Option<&str>) -> Check {
        let chain = AuditChain { length: 0, head: GENESIS.to_owned() };
        let noted_at = (noted == Some(GENESIS)).then_some(0);
        Check {
            noted: noted.map(str::to_owned),
            verdict: Verdict { chain, findings: Vec::new(), more: 0, noted_at },
            last: 0,
        }
    }

    pub(super) fn row(&mut self, row: &Stored) {
        // Whoever wrote the file anew may have chosen any numbers.
        let (seq, due) = (row.seq, self.last.saturating_add(1));
        let stored = String::from_utf8_lossy(&row.hash).into_owned();
        match seq.saturating_sub(due) {
            0 => {}
            1 => self.find(format!("entry {due} is missing")),
            gap if gap > 1 => self.find(format!("entries {due} to {} are missing", seq - 1)),
            _ => self.find(format!("entry {seq} stands where entry {due} should be")),
        }
        if hash(&row.body) != stored {
            self.find(format!("entry {seq} was changed: its content does not give its hash"));
        }
        match serde_json::from_slice::<Bond>(&row.body) {
            Err(error) => self.find(format!("entry {seq} cannot be read: {}", words::shown(&error.to_string()))),
            Ok(bond) => {
                if i64::try_from(bond.seq) != Ok(seq) {
                    self.find(format!("entry {seq} was moved: it says that it is entry {}", bond.seq));
                }
                if bond.previous != self.verdict.chain.head {
                    let what = if self.last == 0 { "the beginning".to_owned() } else { format!("entry {}", self.last) };
                    self.find(format!(
                        "entry {seq} does not follow {what}: one of them was changed, or there was something between"
                    ));
                }
            }
        }
        if self.noted.as_ref() == Some(&stored) {
            self.verdict.noted_at = Some(u64::try_from(seq).unwrap_or(0));
        }
        self.verdict.chain = AuditChain { length: u64::try_from(seq).unwrap_or(0), head: stored };
        self.last = seq;
    }

    pub(super) fn end(mut self) -> Verdict {
        if self.noted.is_some() && self.verdict.noted_at.is_none() {
            self.find(
                "no entry has the hash given by `--head`: entries were cut off at the end, or all were rewritten"
                    .to_owned(),
            );
        }
        self.verdict
    }

    fn find(&mut self, finding: String) {
        if self.verdict.findings.len() < MAX_FINDINGS {
            self.verdict.findings.push(finding);
        } else {
            self.verdict.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Actor, AuditKind};
    use proptest::prelude::*;

    use crate::bent::Bender;

    use super::super::entry::{Deed, seal};
    use super::*;

    fn rows(details: &[String]) -> Vec<Stored> {
        let mut previous = GENESIS.to_owned();
        let mut rows = Vec::new();
        for (place, detail) in details.iter().enumerate() {
            let draft = Deed::by(&Actor::anonymous(None)).entry(AuditKind::Refusal, None, detail);
            let sealed = seal(draft, place as u64 + 1, &previous).unwrap();
            previous.clone_from(&sealed.entry.hash);
            rows.push(Stored {
                seq: place as i64 + 1,
                body: sealed.body.into_bytes(),
                hash: sealed.entry.hash.into_bytes(),
            });
        }
        rows
    }

    fn check(rows: &[Stored], noted: Option<&str>) -> Verdict {
        let mut check = Check::new(noted);
        rows.iter().for_each(|row| check.row(row));
        check.end()
    }

    fn head(rows: &[Stored]) -> String {
        String::from_utf8(rows.last().unwrap().hash.clone()).unwrap()
    }

    /// Hashes and links written anew from here on, as somebody does who knows how it works.
    fn forge(rows: &mut [Stored], from: usize) {
        let mut previous = if from == 0 { GENESIS.to_owned() } else { head(&rows[..from]) };
        for row in &mut rows[from..] {
            let mut entry: lockkeeper_model::AuditEntry = serde_json::from_slice(&row.body).unwrap();
            entry.hash.clear();
            let sealed = seal(entry, u64::try_from(row.seq).unwrap(), &previous).unwrap();
            previous.clone_from(&sealed.entry.hash);
            (row.body, row.hash) = (sealed.body.into_bytes(), sealed.entry.hash.into_bytes());
        }
    }

    /// What somebody may do to a file.
    #[derive(Clone, Debug)]
    enum Mutation {
        ChangeByte { bit: u8 },
        ChangeByteAndItsHash { bit: u8 },
        ChangeHash,
        Delete,
        DeleteAndCloseTheGap,
        Swap,
        InsertACopy,
        RewriteFromHere,
        CutOff,
    }

    fn mutation() -> impl Strategy<Value = Mutation> {
        prop_oneof![
            (0..8_u8).prop_map(|bit| Mutation::ChangeByte { bit }),
            (0..8_u8).prop_map(|bit| Mutation::ChangeByteAndItsHash { bit }),
            Just(Mutation::ChangeHash),
            Just(Mutation::Delete),
            Just(Mutation::DeleteAndCloseTheGap),
            Just(Mutation::Swap),
            Just(Mutation::InsertACopy),
            Just(Mutation::RewriteFromHere),
            Just(Mutation::CutOff),
        ]
    }

    fn mutate(rows: &mut Vec<Stored>, mutation: &Mutation, at: usize, place: prop::sample::Index) {
        match mutation {
            Mutation::ChangeByte { bit } => {
                let byte = place.index(rows[at].body.len());
                rows[at].body[byte] ^= 1 << bit;
            }
            Mutation::ChangeByteAndItsHash { bit } => {
                let byte = place.index(rows[at].body.len());
                rows[at].body[byte] ^= 1 << bit;
                rows[at].hash = hash(&rows[at].body).into_bytes();
            }
            Mutation::ChangeHash => {
                let byte = place.index(rows[at].hash.len());
                rows[at].hash[byte] ^= 1;
            }
            Mutation::Delete => {
                rows.remove(at);
            }
            Mutation::DeleteAndCloseTheGap => {
                rows.remove(at);
                rows[at..].iter_mut().for_each(|row| row.seq -= 1);
            }
            Mutation::Swap => {
                let other = (at + 1) % rows.len();
                let (one, two) = (rows[at].clone(), rows[other].clone());
                (rows[at].body, rows[at].hash) = (two.body, two.hash);
                (rows[other].body, rows[other].hash) = (one.body, one.hash);
            }
            Mutation::InsertACopy => {
                let copy = rows[at].clone();
                rows[at..].iter_mut().for_each(|row| row.seq += 1);
                rows.insert(at, copy);
            }
            Mutation::RewriteFromHere => {
                let mut entry: lockkeeper_model::AuditEntry = serde_json::from_slice(&rows[at].body).unwrap();
                entry.detail.push_str(", they say");
                rows[at].body = serde_json::to_vec(&entry).unwrap();
                forge(rows, at);
            }
            Mutation::CutOff => rows.truncate(at),
        }
    }

    proptest! {
        #[test]
        fn a_chain_that_nobody_touched_is_intact(details in prop::collection::vec(".{0,30}", 1..12), noted in any::<prop::sample::Index>()) {
            let rows = rows(&details);
            let noted = noted.index(rows.len());
            let verdict = check(&rows, Some(&head(&rows[..=noted])));
            prop_assert!(verdict.is_intact(), "{:?}", verdict);
            prop_assert_eq!(verdict.noted_at, Some(noted as u64 + 1));
            prop_assert_eq!(verdict.chain, AuditChain { length: rows.len() as u64, head: head(&rows) });
        }

        #[test]
        fn whatever_is_done_to_it_is_found(
            details in prop::collection::vec("[a-z]{1,9}", 2..12),
            mutation in mutation(),
            at in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
        ) {
            let before = rows(&details);
            let mut after = before.clone();
            mutate(&mut after, &mutation, at.index(before.len()), place);
            prop_assert_ne!(&after, &before);
            let verdict = check(&after, Some(&head(&before)));
            prop_assert!(!verdict.is_intact(), "{:?}", after);
        }

        #[test]
        fn in_the_middle_it_is_found_without_a_noted_hash_too(
            details in prop::collection::vec("[a-z]{1,9}", 3..12),
            mutation in mutation(),
            at in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
        ) {
            // Only these cannot be seen from within: they leave a chain that is as good as any.
            prop_assume!(!matches!(mutation, Mutation::RewriteFromHere | Mutation::CutOff));
            let before = rows(&details);
            let mut after = before.clone();
            mutate(&mut after, &mutation, at.index(before.len() - 1), place);
            prop_assert!(!check(&after, None).is_intact(), "{:?}", after);
        }
    }

    #[test]
    fn whatever_stands_in_the_file_is_a_finding_and_never_a_panic() {
        const BENT: usize = 20_000;
        let good = rows(&["one".to_owned(), "two".to_owned(), "three".to_owned()]);
        let bodies: Vec<&[u8]> = good.iter().map(|row| &*row.body).collect();
        let hashes: Vec<&[u8]> = good.iter().map(|row| &*row.hash).collect();
        let mut bender = Bender::new();
        for n in 0..BENT {
            let mut bent = good.clone();
            let row = &mut bent[n % good.len()];
            (row.body, row.hash) = (bender.bend(&bodies), bender.bend(&hashes));
            row.seq = [i64::MIN, -1, 0, row.seq, i64::MAX][n % 5];
            bent.sort_by_key(|row| row.seq);
            let findings = check(&bent, None).findings;
            assert!(bent == good || !findings.is_empty(), "{bent:?}");
            assert!(findings.iter().all(|finding| !finding.chars().any(char::is_control)), "{findings:?}");
        }
    }

    #[test]
    fn each_finding_says_where_and_what() {
        let good = rows(&["one".to_owned(), "two".to_owned(), "three".to_owned(), "four".to_owned()]);
        let findings = |change: &dyn Fn(&mut Vec<Stored>)| {
            let mut rows = good.clone();
            change(&mut rows);
            check(&rows, None).findings
        };
        assert_eq!(
            findings(&|rows| {
                rows.remove(1);
            }),
            [
                "entry 2 is missing",
                "entry 3 does not follow entry 1: one of them was changed, or there was something between"
            ]
        );
        assert_eq!(
            findings(&|rows| {
                rows.drain(..2);
            })[0],
            "entries 1 to 2 are missing"
        );
        assert_eq!(
            findings(&|rows| rows[1].body = String::from_utf8(rows[1].body.clone()).unwrap().replace("two", "2").into()),
            ["entry 2 was changed: its content does not give its hash"]
        );
        assert_eq!(
            check(&good[..3], Some(&head(&good))).findings,
            ["no entry has the hash given by `--head`: entries were cut off at the end, or all were rewritten"]
        );
        let lie = findings(&|rows| rows.iter_mut().for_each(|row| row.seq += 1));
        assert!(lie.contains(&"entry 2 was moved: it says that it is entry 1".to_owned()), "{lie:?}");
    }
}
