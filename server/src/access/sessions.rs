//! Who is signed in. Kept in memory: a restart signs everybody out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::users::User;
use super::{Person, Secret, SessionId, Via};

/// Random bytes of what the browser holds. OWASP ASVS 4.0, 3.2.2 asks for at least 8.
const KEY_BYTES: usize = 32;

/// Sessions of one person at once: every browser of theirs. One more ends the oldest.
pub(super) const MAX_SESSIONS_EACH: usize = 16;

/// Sessions of everybody at once, some megabytes. One more ends the one that was idle longest.
pub(super) const MAX_SESSIONS: usize = 10_000;

/// When sessions end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// After this long without a request or a message from the browser.
    pub idle: Duration,
    /// After this long in any case.
    pub absolute: Duration,
}

/// Everybody who is signed in.
#[derive(Debug)]
pub struct Sessions {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By the hash of what the browser holds, so that neither memory nor timing gives one away.
    by_key: HashMap<[u8; 32], Entry>,
}

#[derive(Debug)]
struct Entry {
    id: SessionId,
    person: Arc<Person>,
    /// The local user as they were when they signed in; `None` for those who are none.
    user: Option<User>,
    from: IpAddr,
    began: Instant,
    used: Instant,
    ended: CancellationToken,
}

impl Entry {
    fn ends_at(&self, limits: Limits) -> Instant {
        (self.used + limits.idle).min(self.began + limits.absolute)
    }
}

/// Finds a session again without what the browser holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle([u8; 32]);

impl Default for Limits {
    /// OWASP ASVS 4.0, 3.3.2, level 2: half an hour idle, twelve hours in any case.
    fn default() -> Limits {
        Limits { idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(12 * 60 * 60) }
    }
}

/// A session as its owner is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Names it.
    pub id: SessionId,
    /// Whose it is.
    pub person: Arc<Person>,
    /// The address from which they signed in.
    pub from: IpAddr,
    /// How long ago that was.
    pub age: Duration,
    /// How long ago it was used last.
    pub unused: Duration,
    /// When it ends unless it is used again.
    pub ends_at: Instant,
}

/// A session as it was found for one request.
#[derive(Clone, Debug)]
pub struct Found {
    /// Finds it again.
    pub handle: Handle,
    /// Whose it is.
    pub person: Arc<Person>,
    /// When it ends unless it is used again.
    pub ends_at: Instant,
    /// Cancelled when it is ended before that.
    pub ended: CancellationToken,
}

impl Sessions {
    /// Nobody yet.
    #[must_use]
    pub fn new(limits: Limits) -> Sessions {
        Sessions { limits, table: Mutex::default() }
    }

    /// Signs somebody in who came from this address, as this local user if they are one. Returns what the browser is to
    /// hold, and the person with the session in it.
    pub fn begin(&self, person: Person, user: Option<User>, from: IpAddr) -> (Secret, Arc<Person>) {
        let now = Instant::now();
        let key = URL_SAFE_NO_PAD.encode(rand::random::<[u8; KEY_BYTES]>());
        let mut table = self.table();
        table.sweep(self.limits, now);
        let theirs = |entry: &Entry| is_same(&entry.person, &person);
        if table.by_key.values().filter(|entry| theirs(entry)).count() >= MAX_SESSIONS_EACH {
            table.end_first_by(|entry| theirs(entry).then_some(entry.began));
        }
        if table.by_key.len() >= MAX_SESSIONS {
            table.end_first_by(|entry| Some(entry.used));
        }
        let id = SessionId(rand::random());
        let person = Arc::new(Person { session: Some(id), ..person });
        let ended = CancellationToken::new();
        let entry = Entry { id, person: person.clone(), user, from, began: now, used: now, ended };
        table.by_key.insert(hash(&key), entry);
        (Secret::new(key), person)
    }

    /// The session whose key a browser showed, which counts as using it.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<Found> {
        let now = Instant::now();
        let mut table = self.table();
        let hash = hash(key);
        let entry = table.by_key.get_mut(&hash)?;
        if entry.ends_at(self.limits) <= now {
            table.end(&hash);
            return None;
        }
        entry.used = now;
        let (person, ended) = (entry.person.clone(), entry.ended.clone());
        Some(Found { handle: Handle(hash), person, ends_at: entry.ends_at(self.limits), ended })
    }

    /// Whoever has a stream open did something.
    pub fn touch(&self, session: Handle) {
        let now = Instant::now();
        if let Some(entry) = self.table().by_key.get_mut(&session.0)
            && entry.ends_at(self.limits) > now
        {
            entry.used = now;
        }
    }

    /// When a session ends as things are; `None`: it has ended.
    #[must_use]
    pub fn ends_at(&self, session: Handle) -> Option<Instant> {
        let end = self.table().by_key.get(&session.0)?.ends_at(self.limits);
        Some(end).filter(|end| *end > Instant::now())
    }

    /// How long ago a session began, whether it was used since or not; `None`: it has ended.
    #[must_use]
    pub fn age(&self, session: Handle) -> Option<Duration> {
        Some(self.table().by_key.get(&session.0)?.began.elapsed())
    }

    /// The sessions of those for whom this holds, the newest first.
    #[must_use]
    pub fn list(&self, is_meant: impl Fn(&Person) -> bool) -> Vec<Listed> {
        let now = Instant::now();
        let mut table = self.table();
        table.sweep(self.limits, now);
        let mut listed: Vec<Listed> = table
            .by_key
            .values()
            .filter(|entry| is_meant(&entry.person))
            .map(|entry| Listed {
                id: entry.id,
                person: entry.person.clone(),
                from: entry.from,
                age: now.saturating_duration_since(entry.began),
                unused: now.saturating_duration_since(entry.used),
                ends_at: entry.ends_at(self.limits),
            })
            .collect();
        listed.sort_by_key(|session| (session.age, session.id));
        listed
    }

    /// Ends the session of this key. Returns whose it was.
    pub fn end(&self, key: &str) -> Option<Arc<Person>> {
        self.table().end(&hash(key))
    }

    /// Ends the session of this name, if this holds of whoever it is of. Returns whose it was.
    pub fn end_one(&self, id: SessionId, is_meant: impl Fn(&Person) -> bool) -> Option<Arc<Person>> {
        let mut table = self.table();
        let is_it = |entry: &Entry| entry.id == id && is_meant(&entry.person);
        let key = table.by_key.iter().find(|(_, entry)| is_it(entry)).map(|(key, _)| *key)?;
        table.end(&key)
    }

    /// Ends every session of somebody. Returns how many those were.
    pub fn end_all_of(&self, person: &Person) -> usize {
        self.end_where(|entry| is_same(&entry.person, person))
    }

    /// Ends every session of a local user who is not exactly what this says of that name any more.
    pub fn end_unless(&self, now: impl Fn(&str) -> Option<User>) {
        self.end_where(|entry| entry.user.as_ref().is_some_and(|user| now(&user.name).as_ref() != Some(user)));
    }

    fn end_where(&self, is_to_end: impl Fn(&Entry) -> bool) -> usize {
        let mut table = self.table();
        let keys: Vec<_> = table.by_key.iter().filter(|(_, entry)| is_to_end(entry)).map(|(key, _)| *key).collect();
        for key in &keys {
            table.end(key);
        }
        keys.len()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // Whoever panicked left whole entries behind.
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Table {
    fn end(&mut self, key: &[u8; 32]) -> Option<Arc<Person>> {
        let entry = self.by_key.remove(key)?;
        entry.ended.cancel();
        Some(entry.person)
    }

    fn sweep(&mut self, limits: Limits, now: Instant) {
        self.by_key.retain(|_, entry| {
            let goes_on = entry.ends_at(limits) > now;
            if !goes_on {
                entry.ended.cancel();
            }
            goes_on
        });
    }

    /// Ends the one for which this is least, of those for which it is something.
    fn end_first_by(&mut self, rank: impl Fn(&Entry) -> Option<Instant>) {
        let first = self.by_key.iter().filter_map(|(key, entry)| Some((rank(entry)?, *key))).min();
        if let Some((_, key)) = first {
            self.end(&key);
        }
    }
}

/// Two ways of signing in may each know somebody of the same name.
pub(super) fn is_same(one: &Person, other: &Person) -> bool {
    one.name == other.name && one.via == other.via && one.via != Via::Loopback
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    const LIMITS: Limits = Limits { idle: Duration::from_secs(60), absolute: Duration::from_secs(150) };

    fn person(name: &str, via: Via) -> Person {
        Person { name: name.into(), via, ..Person::loopback() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_it_is_idle_and_in_any_case_later() {
        let sessions = Sessions::new(LIMITS);
        let (key, _) = sessions.begin(person("ada", Via::Password), None, HERE);
        let (idle, _) = sessions.begin(person("bob", Via::Password), None, HERE);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(40)).await;
            assert!(sessions.find(key.expose()).is_some());
        }
        assert!(sessions.find(idle.expose()).is_none());
        let found = sessions.find(key.expose()).unwrap();
        assert_eq!(sessions.age(found.handle), Some(Duration::from_secs(120)), "using it does not make it younger");
        assert_eq!(found.ends_at, Instant::now() + Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(sessions.find(key.expose()).is_none());
        assert!(found.ended.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn signing_out_ends_one_session_and_signing_out_everywhere_all_of_that_person() {
        let sessions = Sessions::new(LIMITS);
        let keys: Vec<Secret> = (0..3).map(|_| sessions.begin(person("ada", Via::Password), None, HERE).0).collect();
        let (other, _) = sessions.begin(person("ada", Via::Oidc), None, HERE);
        let found = sessions.find(keys[1].expose()).unwrap();
        sessions.end(keys[0].expose());
        assert!(sessions.find(keys[0].expose()).is_none() && sessions.find(keys[1].expose()).is_some());
        assert_eq!(sessions.end_all_of(&found.person), 2);
        assert!(found.ended.is_cancelled() && sessions.find(keys[2].expose()).is_none());
        assert!(sessions.find(other.expose()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_keeps_its_session_only_by_what_the_person_does() {
        let sessions = Sessions::new(LIMITS);
        let (key, _) = sessions.begin(person("ada", Via::Password), None, HERE);
        let session = sessions.find(key.expose()).unwrap().handle;
        tokio::time::advance(Duration::from_secs(59)).await;
        sessions.touch(session);
        assert_eq!(sessions.ends_at(session), Some(Instant::now() + LIMITS.idle));
        tokio::time::advance(LIMITS.idle).await;
        sessions.touch(session);
        assert_eq!(sessions.ends_at(session), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_person_has_a_bounded_number_of_sessions() {
        let sessions = Sessions::new(LIMITS);
        let (first, _) = sessions.begin(person("ada", Via::Password), None, HERE);
        for _ in 0..MAX_SESSIONS_EACH {
            tokio::time::advance(Duration::from_millis(1)).await;
            sessions.begin(person("ada", Via::Password), None, HERE);
        }
        assert!(sessions.find(first.expose()).is_none());
        assert_eq!(sessions.table().by_key.len(), MAX_SESSIONS_EACH);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_browser_holds_is_not_kept_and_is_never_the_same() {
        let sessions = Sessions::new(LIMITS);
        let (one, ada) = sessions.begin(person("ada", Via::Password), None, HERE);
        let (two, _) = sessions.begin(person("ada", Via::Password), None, HERE);
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 43);
        assert!(!format!("{sessions:?} {ada:?}").contains(one.expose()));
        for wrong in ["", "x", &one.expose()[1..]] {
            assert!(sessions.find(wrong).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_listed_to_whom_they_are_meant_for_and_ended_one_by_one() {
        let sessions = Sessions::new(LIMITS);
        let (first, ada) = sessions.begin(person("ada", Via::Password), None, HERE);
        sessions.begin(person("bob", Via::Password), None, HERE);
        tokio::time::advance(Duration::from_secs(10)).await;
        let (second, _) = sessions.begin(person("ada", Via::Password), None, IpAddr::from([10, 0, 0, 9]));
        let hers = sessions.list(|of| is_same(of, &ada));
        let told: Vec<_> =
            hers.iter().map(|one| (one.from.to_string(), one.age.as_secs(), one.unused.as_secs())).collect();
        assert_eq!(told, [("10.0.0.9".to_owned(), 0, 0), ("127.0.0.1".to_owned(), 10, 10)]);
        assert_eq!(hers[1].ends_at, Instant::now() + LIMITS.idle - Duration::from_secs(10));
        let id = hers[1].id;
        assert!(sessions.end_one(id, |of| &*of.name == "bob").is_none(), "it is not bob's");
        assert_eq!(&*sessions.end_one(id, |of| is_same(of, &ada)).unwrap().name, "ada");
        assert!(sessions.find(first.expose()).is_none() && sessions.find(second.expose()).is_some());
        assert!(sessions.end_one(id, |_| true).is_none());
    }
}
