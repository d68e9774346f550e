//! Random policies, compared with the plainest reading of what was granted.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Grant, Person, Policy, Right, Rights, Role, Via};
use crate::glob;

const SOURCES: &[&str] = &["s", "t", "st", ""];
const SOURCE_PATTERNS: &[&str] = &["*", "s", "s*", "?", "u", "**"];
const KEY_PATTERNS: &[&str] = &["*", "lock:*", "lock:1*", "lock:[0-5]", "lock:?", "lock:3", "other", r"lock\:7"];

/// What a role was written as.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    rights: Vec<Right>,
    sources: Vec<&'static str>,
    keys: Vec<&'static str>,
}

impl Written {
    fn matches(&self, source: &str, key: &[u8]) -> bool {
        let any = |patterns: &[&str], name: &[u8]| {
            patterns.is_empty() || patterns.iter().any(|pattern| glob::matches(pattern.as_bytes(), name))
        };
        any(&self.sources, source.as_bytes()) && any(&self.keys, key)
    }

    /// As the documentation says: narrowed by the token, and with every right about locks comes the one to see them.
    fn grants(&self, right: Right, only: Option<&[Right]>) -> bool {
        let has = |right: &Right| self.rights.contains(right) && only.is_none_or(|only| only.contains(right));
        has(&right) || (right == Right::View && Right::ALL.iter().any(|other| *other != Right::Admin && has(other)))
    }
}

fn rights() -> impl Strategy<Value = Vec<Right>> {
    subsequence(Right::ALL.to_vec(), 0..=3)
}

fn written() -> impl Strategy<Value = Written> {
    (rights(), vec(select(SOURCE_PATTERNS), 0..3), vec(select(KEY_PATTERNS), 0..3))
        .prop_map(|(rights, sources, keys)| Written { rights, sources, keys })
}

/// Somebody with all of these roles, and perhaps a token that is narrowed.
pub(crate) fn somebody() -> impl Strategy<Value = (Vec<Written>, Option<Vec<Right>>)> {
    (vec(written(), 0..4), option::of(rights()))
}

/// What follows from that by the code under test.
pub(crate) fn scope_of(roles: &[Written], only: Option<&[Right]>) -> super::Scope {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let role = |(n, written): (usize, &Written)| Role {
        name: n.to_string().into(),
        groups: vec!["g".to_owned()],
        grant: Grant::new(written.rights.iter().copied(), &texts(&written.sources), &texts(&written.keys)),
    };
    let policy = Policy::new(roles.iter().enumerate().map(role).collect());
    let roles = policy.roles_of(&["other", "g"]);
    policy.scope(&Person { via: Via::Oidc, roles, only: only.map(<[Right]>::to_vec), ..Person::loopback() })
}

proptest! {
    #[test]
    fn a_scope_is_what_was_written((roles, only) in somebody(), key in "(lock:|x)[0-9]{0,2}|other", at in 0..SOURCES.len()) {
        let scope = scope_of(&roles, only.as_deref());
        let (source, key) = (SOURCES[at], key.as_bytes());
        for right in Right::ALL {
            let granting = || roles.iter().filter(|role| role.grants(right, only.as_deref()));
            let may = granting().any(|role| role.matches(source, key));
            prop_assert_eq!(scope.may(right, source, key), may, "{}", right);
            prop_assert_eq!(scope.may_anywhere(right), granting().next().is_some());
            prop_assert!(!scope.may_all_of(right, source) || may, "{}", right);
        }
        let seen = scope.seen();
        prop_assert_eq!(seen.has(source, key), scope.may(Right::View, source, key));
        prop_assert_eq!(scope.sees(source, key), seen.has(source, key));
        prop_assert_eq!(seen.has_all_of(source), scope.may_all_of(Right::View, source));
        prop_assert!(seen.touches(source) || !seen.has(source, key));
        prop_assert!(!seen.is_all() || (seen.has_all_of(source) && seen.has(source, key)));
    }

    #[test]
    fn who_is_granted_the_same_shares_the_work((roles, only) in somebody(), turn in 0usize..4) {
        let seen = scope_of(&roles, only.as_deref()).seen().clone();
        let mut others = roles.clone();
        others.rotate_left(turn.min(roles.len()));
        others.extend(roles.clone());
        let others = scope_of(&others, only.as_deref());
        prop_assert_eq!(&seen, others.seen());
    }
}

#[test]
fn whoever_reaches_an_unguarded_server_may_do_everything() {
    let scope = Policy::default().scope(&Person::loopback());
    assert!(Right::ALL.into_iter().all(|right| scope.may_all_of(right, "any")) && scope.sees_all());
}

#[test]
fn an_unknown_role_grants_nothing() {
    let role = Role { name: "r".into(), groups: vec!["g".to_owned()], grant: Grant::new(Right::ALL, &[], &[]) };
    let policy = Policy::new(vec![role]);
    let who = |roles: &[&str]| {
        let roles: Vec<Arc<str>> = roles.iter().map(|role| Arc::from(*role)).collect();
        policy.scope(&Person { via: Via::Token, roles, ..Person::loopback() })
    };
    assert!(who(&["other", "r"]).sees_all());
    let scope = who(&["other", "R", "g", ""]);
    assert!(!Right::ALL.into_iter().any(|right| scope.may_anywhere(right)) && !scope.seen().touches("s"));
}

#[test]
fn rights_have_their_words() {
    for right in Right::ALL {
        assert_eq!(Right::of_word(right.word()), Some(right));
        let alone: Rights = [right].into_iter().collect();
        assert!(Right::ALL.into_iter().all(|other| alone.has(other) == (other == right)));
    }
    assert_eq!(Right::of_word("View"), None);
}
