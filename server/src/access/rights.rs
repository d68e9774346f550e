//! What roles are granted, and what follows from it for one person.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::person::{Membership, Person, Via};
use crate::glob;

/// Something that a person may do with the locks of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Sees that they exist, and all that is known of them.
    View,
    /// Writes notes on them.
    Annotate,
    /// Looks at every command of a source for some seconds.
    Trace,
    /// Frees them.
    Release,
    /// Frees them and keeps others out for a while.
    Hold,
    /// Frees several of them at once.
    Bulk,
    /// Is the second person whom a release needs in production.
    Approve,
    /// Looks after the server: its sessions, tokens and numbers. Says nothing about locks.
    Admin,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 8] = [
        Right::View,
        Right::Annotate,
        Right::Trace,
        Right::Release,
        Right::Hold,
        Right::Bulk,
        Right::Approve,
        Right::Admin,
    ];

    /// As the configuration and messages write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Right::View => "view",
            Right::Annotate => "annotate",
            Right::Trace => "trace",
            Right::Release => "release",
            Right::Hold => "hold",
            Right::Bulk => "bulk",
            Right::Approve => "approve",
            Right::Admin => "admin",
        }
    }

    /// The right that is written like this.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Right> {
        Right::ALL.into_iter().find(|right| right.word() == word)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of rights.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// Every right.
    pub const ALL: Rights = Rights(u8::MAX);

    /// Whether the right is among them.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    /// With what they are of no use without: whoever may do something about a lock sees it.
    #[must_use]
    pub fn with_view(self) -> Rights {
        let about_locks = self.0 & !(1 << Right::Admin as u8);
        if about_locks == 0 { self } else { Rights(self.0 | 1 << Right::View as u8) }
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Rights {
        rights.into_iter().fold(Rights::default(), |set, right| Rights(set.0 | 1 << right as u8))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Right::ALL.into_iter().filter(|right| self.has(*right)).map(Right::word)).finish()
    }
}

/// Names that match one of several Redis globs; without any: all names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names(Option<Box<[Box<[u8]>]>>);

impl Names {
    /// An empty list is all names, as a pattern of stars is.
    fn of(patterns: &[String]) -> Names {
        if patterns.is_empty() || patterns.iter().any(|pattern| is_all(pattern)) {
            return Names(None);
        }
        let mut globs: Vec<Box<[u8]>> = patterns.iter().map(|pattern| pattern.as_bytes().into()).collect();
        globs.sort_unstable();
        globs.dedup();
        Names(Some(globs.into()))
    }

    /// As they were configured, but for their order; none where it is all names.
    fn in_words(&self) -> Vec<String> {
        self.0.iter().flatten().map(|pattern| String::from_utf8_lossy(pattern).into_owned()).collect()
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|globs| globs.iter().any(|pattern| glob::matches(pattern, name)))
    }

    fn are_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it plainly has every name that the other has: pattern by pattern, not by what patterns mean.
    fn has_all_of(&self, other: &Names) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.iter().all(|pattern| mine.contains(pattern)),
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("all"),
            Some(globs) => {
                f.debug_list().entries(globs.iter().map(|pattern| pattern.escape_ascii().to_string())).finish()
            }
        }
    }
}

fn is_all(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'*')
}

/// Rights on the locks that are in one of these sources and have one of these keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    rights: Rights,
    area: Area,
}

impl Grant {
    /// `sources` and `keys` are Redis globs; an empty list is all of them.
    #[must_use]
    pub fn new(rights: impl IntoIterator<Item = Right>, sources: &[String], keys: &[String]) -> Grant {
        let area = Area { sources: Names::of(sources), keys: Names::of(keys) };
        Grant { rights: rights.into_iter().collect(), area }
    }

    /// What it grants, and where.
    #[must_use]
    pub fn in_words(&self) -> GrantInWords {
        let (sources, keys) = (self.area.sources.in_words(), self.area.keys.in_words());
        GrantInWords { sources: Some(sources), keys: Some(keys), ..self.rights_in_words() }
    }

    /// What it grants, without where.
    #[must_use]
    pub fn rights_in_words(&self) -> GrantInWords {
        let rights = Right::ALL.into_iter().filter(|right| self.rights.has(*right)).map(Right::word);
        GrantInWords { rights: rights.collect(), sources: None, keys: None }
    }

    /// Every right on everything.
    fn everything() -> Grant {
        Grant { rights: Rights::ALL, area: Area { sources: Names(None), keys: Names(None) } }
    }
}

/// A grant as answers write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GrantInWords {
    /// The rights.
    pub rights: Vec<&'static str>,
    /// In which sources, as patterns; empty: in all. Null where that is not for whoever asks.
    pub sources: Option<Vec<String>>,
    /// On which locks, as patterns; empty: on all. Null where that is not for whoever asks.
    pub keys: Option<Vec<String>>,
}

/// What people are granted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: Arc<str>,
    /// Who has it: groups, as the provider, the proxy or the file of users names them.
    pub groups: Vec<String>,
    /// That.
    pub grant: Grant,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    roles: Vec<Role>,
}

impl Policy {
    /// The policy of these roles.
    #[must_use]
    pub fn new(roles: Vec<Role>) -> Policy {
        Policy { roles }
    }

    /// Whether there is no role at all, so that nobody who signs in may do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// Whether there is a role of that name.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| &*role.name == name)
    }

    /// The roles, in the order of the configuration.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The names of all roles.
    #[must_use]
    pub fn role_names(&self) -> Vec<Arc<str>> {
        self.roles.iter().map(|role| role.name.clone()).collect()
    }

    /// The roles of somebody who is in these groups.
    #[must_use]
    pub fn roles_of<S: AsRef<str>>(&self, groups: &[S]) -> Vec<Arc<str>> {
        let has = |role: &&Role| role.groups.iter().any(|wanted| groups.iter().any(|group| group.as_ref() == wanted));
        self.roles.iter().filter(has).map(|role| role.name.clone()).collect()
    }

    /// The person with the roles that they have by this policy, which may be newer than the one they came in by.
    #[must_use]
    pub fn of_today(&self, person: &Person) -> Person {
        let roles = match &person.membership {
            Membership::Named => person.roles.clone(),
            Membership::All => self.role_names(),
            Membership::Groups(groups) => self.roles_of(groups),
        };
        Person { roles, ..person.clone() }
    }

    /// What of everything this person may see and do.
    #[must_use]
    pub fn scope(&self, person: &Person) -> Scope {
        if person.via == Via::Loopback {
            return Scope::everything();
        }
        let only = person.only.as_ref().map_or(Rights::ALL, |only| only.iter().copied().collect());
        let grants = self
            .roles
            .iter()
            .filter(|role| person.roles.contains(&role.name))
            .map(|role| Grant { rights: role.grant.rights.and(only).with_view(), area: role.grant.area.clone() });
        Scope::of(grants.collect())
    }
}

/// What one person may see and do. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    grants: Arc<[Grant]>,
    seen: Reach,
}

impl Scope {
    /// Everything.
    #[must_use]
    pub fn everything() -> Scope {
        Scope::of(vec![Grant::everything()])
    }

    fn of(grants: Vec<Grant>) -> Scope {
        let seen = Reach::of(grants.iter().filter(|grant| grant.rights.has(Right::View)).map(|grant| &grant.area));
        Scope { grants: grants.into(), seen }
    }

    /// Whether they have the right on the lock with this key.
    #[must_use]
    pub fn may(&self, right: Right, source: &str, key: &[u8]) -> bool {
        self.with(right).any(|grant| grant.area.has(source, key))
    }

    /// Whether they have the right on the whole source, whatever its locks are called.
    #[must_use]
    pub fn may_all_of(&self, right: Right, source: &str) -> bool {
        self.with(right).any(|grant| grant.area.has_source(source) && grant.area.keys.are_all())
    }

    /// Whether they have the right on anything at all. For [`Right::Admin`], which is not about locks: whether they
    /// have it.
    #[must_use]
    pub fn may_anywhere(&self, right: Right) -> bool {
        self.with(right).next().is_some()
    }

    /// What they are granted, grant by grant.
    #[must_use]
    pub fn in_words(&self) -> Vec<GrantInWords> {
        self.grants.iter().map(Grant::in_words).collect()
    }

    /// Which locks they see.
    #[must_use]
    pub fn seen(&self) -> &Reach {
        &self.seen
    }

    /// Whether they see the lock with this key, if there is one.
    #[must_use]
    pub fn sees(&self, source: &str, key: &[u8]) -> bool {
        self.seen.has(source, key)
    }

    /// Whether they see every lock of every source.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.seen.is_all()
    }

    fn with(&self, right: Right) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| grant.rights.has(right))
    }
}

/// Which locks: those in any of some areas. Two that are made of the same grants are equal, in whatever order those
/// came, so that what is worked out for one person serves all who see the same. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reach {
    /// `None`: everything.
    areas: Option<Arc<[Area]>>,
}

impl Reach {
    /// All locks of all sources.
    pub const ALL: Reach = Reach { areas: None };

    fn of<'a>(areas: impl Iterator<Item = &'a Area>) -> Reach {
        let mut areas: Vec<&Area> = areas.collect();
        areas.sort_unstable();
        areas.dedup();
        if areas.iter().any(|area| area.is_everything()) {
            return Reach::ALL;
        }
        let beyond = |area: &&Area| !areas.iter().any(|other| other != area && other.has_all_of(area));
        Reach { areas: Some(areas.iter().filter(|area| beyond(area)).map(|area| (*area).clone()).collect()) }
    }

    /// Whether it is everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.areas.is_none()
    }

    /// Whether the lock with this key is in it.
    #[must_use]
    pub fn has(&self, source: &str, key: &[u8]) -> bool {
        self.areas.as_ref().is_none_or(|areas| areas.iter().any(|area| area.has(source, key)))
    }

    /// Whether locks of this source can be in it.
    #[must_use]
    pub fn touches(&self, source: &str) -> bool {
        self.areas.as_ref().is_none_or(|areas| areas.iter().any(|area| area.has_source(source)))
    }

    /// Whether every lock of this source is in it, whatever it is called.
    #[must_use]
    pub fn has_all_of(&self, source: &str) -> bool {
        let whole = |area: &Area| area.keys.are_all() && area.has_source(source);
        self.areas.as_ref().is_none_or(|areas| areas.iter().any(whole))
    }

    /// The key patterns that limit it in this source; none where it has all of the source.
    pub(super) fn key_patterns(&self, source: &str) -> Vec<String> {
        let areas = self.areas.iter().flat_map(|areas| areas.iter()).filter(|area| area.has_source(source));
        let globs = areas.flat_map(|area| area.keys.0.iter().flatten());
        let mut texts: Vec<String> = globs.map(|glob| String::from_utf8_lossy(glob).into_owned()).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.areas {
            None => f.write_str("all"),
            Some(areas) => areas.fmt(f),
        }
    }
}

/// Locks with certain keys in certain sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Area {
    sources: Names,
    keys: Names,
}

impl Area {
    fn has(&self, source: &str, key: &[u8]) -> bool {
        self.has_source(source) && self.keys.has(key)
    }

    fn has_source(&self, source: &str) -> bool {
        self.sources.has(source.as_bytes())
    }

    fn is_everything(&self) -> bool {
        self.sources.are_all() && self.keys.are_all()
    }

    fn has_all_of(&self, other: &Area) -> bool {
        self.sources.has_all_of(&other.sources) && self.keys.has_all_of(&other.keys)
    }
}
