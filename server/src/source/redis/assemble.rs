//! From keys to locks: one lock may be several keys, and one key may carry several locks.
//!
//! A key that changed leads to the *root* of its lock. The root is read, then what its family wants to see beside it, and
//! the families say what locks that is. What a root carried before is remembered here, so that a lock that left it is
//! reported as gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use hashbrown::{HashMap, HashSet};
use lockkeeper_model::{Flag, LockState, Time};
use smallvec::SmallVec;

use super::company::Company;
use super::dialect::{self, Found, FoundLock, Heard, Listeners, Raw, Stored, Value};
use super::listening::{CHANNELS_AT_ONCE, Ears};
use super::pace::Purpose;
use super::read::Keys;
use super::scope::Scope;
use super::trouble::refused_command;
use crate::clock;
use crate::source::{Form, Hint, HoldExtra, Seen, Sight};

/// Stands between a key and a field of it in the id of a lock that is one field of a hash.
const PART: u8 = b'#';

/// Roots that are remembered to carry several locks, or to be looked at even when nothing is left under them. More
/// than any store of locks has; beyond it the next scan heals what was missed.
const MAX_REMEMBERED: usize = 100_000;

/// The most keys of one lock whose names do not tell that they belong together.
const MAX_SPAN: usize = 64;

/// Keys of one acquire end at one moment, because one script sets them all. Read one by one, they seem to end this far
/// apart at most, in milliseconds. Equal tokens alone do not make a lock: programs use the name of a machine as well.
const ONE_DEADLINE_MS: i64 = 100;

/// A key to read, and why.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Bytes,
    pub(crate) noticed_at: Option<Time>,
    /// The last end that the store announced since the last reading.
    pub(crate) ended: Hint,
    /// The store announced that the key is new.
    pub(crate) new: bool,
}

impl Wanted {
    /// A key to read for no particular reason.
    pub(crate) fn of(key: Bytes) -> Wanted {
        Wanted { key, noticed_at: None, ended: Hint::None, new: false }
    }
}

/// What is remembered of roots from one reading to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    inner: Mutex<Remembered>,
    /// There are roots to remember, and there are locks of several keys: in a store of plain locks there never are, and
    /// then nobody asks.
    has_roots: AtomicBool,
    has_spans: AtomicBool,
    /// Who listens for those who wait.
    pub(crate) ears: Ears,
}

#[derive(Debug, Default)]
struct Remembered {
    /// The ids of the locks under a root that carries several.
    parts: HashMap<Bytes, Vec<Bytes>>,
    /// Those ids, back to their roots.
    roots: HashMap<Bytes, Bytes>,
    /// Roots whose lock can be there without them.
    lingering: HashSet<Bytes>,
    /// Locks of several keys that have one token, by each of their keys.
    spans: HashMap<Bytes, Arc<Span>>,
    /// Keys to be read with a key when it is read next, because they may be one lock.
    suspected: HashMap<Bytes, SmallVec<[Bytes; 1]>>,
}

/// Keys that are one lock because one acquire wrote one token into all of them.
#[derive(Debug)]
struct Span {
    /// The first of them is the lock's id.
    keys: Vec<Bytes>,
    /// What makes them one: under another token, each is a lock by itself again.
    token: Box<[u8]>,
}

impl Memory {
    /// The key to read for a lock's id or for a key that belongs to a lock.
    pub(crate) fn root_of(&self, id: &[u8]) -> Bytes {
        if self.has_roots()
            && let Some(root) = self.lock().roots.get(id)
        {
            return root.clone();
        }
        dialect::root_of(id).map_or_else(|| Bytes::copy_from_slice(id), Bytes::from)
    }

    /// The key by which a lock is known whose part a key is.
    pub(crate) fn lock_of(&self, key: &[u8]) -> Bytes {
        let root = self.root_of(key);
        self.span_of(&root).and_then(|span| span.keys.first().cloned()).unwrap_or(root)
    }

    /// How many more locks are known than there are keys that carry them.
    pub(crate) fn sharing(&self) -> u64 {
        let inner = self.lock();
        inner.roots.len().saturating_sub(inner.parts.len()) as u64
    }

    fn has_roots(&self) -> bool {
        self.has_roots.load(Ordering::Relaxed)
    }

    fn has_spans(&self) -> bool {
        self.has_spans.load(Ordering::Relaxed)
    }

    fn lingers(&self, root: &[u8]) -> bool {
        self.has_roots() && self.lock().lingering.contains(root)
    }

    fn span_of(&self, key: &[u8]) -> Option<Arc<Span>> {
        if self.has_spans() { self.lock().spans.get(key).cloned() } else { None }
    }

    /// Takes note of the locks under a root; answers the ids of those that are not there any more.
    fn note(&self, root: &Bytes, ids: &[Bytes], lingers: bool) -> Vec<Bytes> {
        let only_itself = matches!(ids, [] | [_]) && ids.iter().all(|id| id == root);
        if only_itself && !lingers && !self.has_roots() {
            return Vec::new();
        }
        self.has_roots.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        if lingers && inner.lingering.len() < MAX_REMEMBERED {
            // A part of a page or a batch would keep all of it.
            inner.lingering.insert(Bytes::copy_from_slice(root));
        } else {
            inner.lingering.remove(root);
        }
        if only_itself && !inner.parts.contains_key(root) {
            return Vec::new();
        }
        let before = inner.parts.remove(root).unwrap_or_default();
        let left: Vec<Bytes> = before.into_iter().filter(|id| !ids.contains(id)).collect();
        for id in &left {
            inner.roots.remove(id);
        }
        if !only_itself && inner.roots.len() < MAX_REMEMBERED {
            for id in ids {
                inner.roots.insert(id.clone(), root.clone());
            }
            inner.parts.insert(root.clone(), ids.to_vec());
        }
        left
    }

    /// These keys may be one lock: the next reading of any of them reads all, which decides it.
    pub(crate) fn together(&self, keys: &[Bytes]) {
        self.has_spans.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        if keys.len() > MAX_SPAN || inner.suspected.len() + keys.len() > MAX_REMEMBERED {
            return;
        }
        for key in keys {
            let others = keys.iter().filter(|other| *other != key).cloned().collect();
            inner.suspected.insert(key.clone(), others);
        }
    }

    /// The keys to read with a key: those of its lock, and those that may be of it.
    fn read_with(&self, key: &[u8]) -> SmallVec<[Bytes; 1]> {
        if !self.has_spans() {
            return SmallVec::new();
        }
        let mut inner = self.lock();
        let mut keys = if inner.suspected.is_empty() { None } else { inner.suspected.remove(key) }.unwrap_or_default();
        let spans: SmallVec<[Arc<Span>; 2]> =
            keys.iter().map(|key| &key[..]).chain([key]).filter_map(|key| inner.spans.get(key).cloned()).collect();
        keys.extend(spans.iter().flat_map(|span| span.keys.iter().cloned()));
        keys
    }

    /// Takes note that these keys are one lock, with those that were one with any of them under this token.
    fn span(&self, keys: &[Bytes], token: &[u8]) {
        self.has_spans.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        let mut all: Vec<Bytes> = keys.to_vec();
        for known in keys.iter().filter_map(|key| inner.spans.get(key)).filter(|known| *known.token == *token) {
            all.extend(known.keys.iter().cloned());
        }
        all.sort_unstable();
        all.dedup();
        let known = inner.spans.get(&all[0]).is_some_and(|known| known.keys == all && *known.token == *token);
        if known || all.len() > MAX_SPAN || inner.spans.len() + all.len() > MAX_REMEMBERED {
            return;
        }
        let span = Arc::new(Span { keys: all, token: token.into() });
        for key in &span.keys {
            inner.spans.insert(key.clone(), Arc::clone(&span));
        }
    }

    /// These keys are not one lock any more.
    fn apart(&self, span: &Arc<Span>) {
        let mut inner = self.lock();
        for key in &span.keys {
            // It may be one of another lock by now.
            if inner.spans.get(key).is_some_and(|known| Arc::ptr_eq(known, span)) {
                inner.spans.remove(key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // The sections under this lock only move memory; what a panic left behind is healed by the next scan.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads locks of one store.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) keys: Keys,
    pub(crate) scope: Arc<Scope>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) company: Arc<Company>,
}

/// A root that was read, with what led to it and what it is.
struct Read {
    wanted: Wanted,
    found: Found,
    /// Another of the lock's keys led here, or the lock can be there without it.
    lingers: bool,
    /// The root itself is not there, whatever stands beside it.
    rootless: bool,
    /// It was a part of a lock of several keys, and has the same holder as then.
    was_part: bool,
    /// When the last of what it is was read. A remaining life is counted from here: from before what stands beside the
    /// root was read, it would end too early, and no release would find it as it was shown.
    read_at: Time,
}

impl Reader {
    /// What locks are stored under each key, or gone from under it. Keys that may not be read, and those whose lock no
    /// pattern names, are missing. An error means that the connection is lost and nothing is known.
    pub(crate) async fn read(
        &self,
        client: &Client,
        wanted: Vec<Wanted>,
        purpose: Purpose,
    ) -> Result<Vec<Sight>, Error> {
        self.read_while(client, wanted, purpose, || true).await
    }

    /// The same, and nothing of it is remembered or told once this does not hold any more.
    pub(crate) async fn read_while(
        &self,
        client: &Client,
        wanted: Vec<Wanted>,
        purpose: Purpose,
        holds: impl Fn() -> bool,
    ) -> Result<Vec<Sight>, Error> {
        let parts: Vec<(Bytes, Bytes)> = wanted.iter().filter_map(|one| self.part(&one.key)).collect();
        let mut roots = self.roots(wanted);
        let names: Vec<Bytes> = roots.iter().map(|read| read.wanted.key.clone()).collect();
        let asked_at = clock::now();
        let mut raws = self.keys.read(client, &names, purpose).await?;
        let read_at = clock::now();
        self.search_large(client, &mut raws, purpose).await?;
        let beside = self.beside(client, &raws, &roots, purpose).await?;
        let all_read_at = if beside.is_empty() { read_at } else { clock::now() };
        let heard = self.listen(client, &raws, &beside).await?;
        if !holds() {
            return Ok(Vec::new());
        }

        let mut unread = Vec::new();
        let mut raws = raws.into_iter().peekable();
        for (i, read) in roots.iter_mut().enumerate() {
            let Some(raw) = raws.next_if(|raw| raw.key == read.wanted.key) else {
                unread.push(i);
                continue;
            };
            read.rootless = raw.value == Value::Missing;
            read.read_at = if beside.contains_key(&raw.key) { all_read_at } else { read_at };
            read.found = self.recognise(&raw, &beside, &heard, read.read_at);
        }
        for i in unread.into_iter().rev() {
            roots.remove(i);
        }
        let mut sights = Vec::with_capacity(roots.len());
        for read in self.spans(roots, &mut sights, asked_at) {
            self.tell(read, &mut sights, asked_at);
        }
        for (id, root) in parts {
            if sights.iter().all(|sight| sight.key != id)
                && let Some(read) = sights.iter().find(|sight| sight.key == root)
            {
                let gone = Sight { key: id, seen: Seen::Gone, hint: Hint::None, ..read.clone() };
                sights.push(gone);
            }
        }
        Ok(sights)
    }

    /// The id of a lock that is a part of what its root carries, with the root: that it left is an answer, too.
    fn part(&self, id: &Bytes) -> Option<(Bytes, Bytes)> {
        memchr::memchr(PART, id)?;
        let root = self.memory.root_of(id);
        let is_part = id.get(root.len()) == Some(&PART) && id.starts_with(&root);
        is_part.then(|| (id.clone(), root))
    }

    /// The roots to read for these keys, each once, with the other keys of locks that span several.
    fn roots(&self, wanted: Vec<Wanted>) -> Vec<Read> {
        // Nearly always each key is a lock by itself, and no key comes twice.
        let remembers = self.memory.has_roots() || self.memory.has_spans();
        if !remembers && wanted.iter().all(|one| dialect::root_of(&one.key).is_none()) {
            let alone = |wanted| Read {
                wanted,
                found: dialect::none(),
                lingers: false,
                rootless: false,
                was_part: false,
                read_at: Time(0),
            };
            return wanted.into_iter().map(alone).collect();
        }
        let mut roots: Vec<Read> = Vec::with_capacity(wanted.len());
        let mut places: HashMap<Bytes, usize> = HashMap::with_capacity(wanted.len());
        let mut add = |wanted: Wanted, led: bool| {
            if let Some(&place) = places.get(&wanted.key) {
                let known: &mut Read = &mut roots[place];
                known.lingers |= led;
                known.wanted.noticed_at = known.wanted.noticed_at.or(wanted.noticed_at);
                known.wanted.new |= wanted.new;
                if wanted.ended != Hint::None {
                    known.wanted.ended = wanted.ended;
                }
                return;
            }
            places.insert(wanted.key.clone(), roots.len());
            let lingers = led || self.memory.lingers(&wanted.key);
            roots.push(Read {
                wanted,
                found: dialect::none(),
                lingers,
                rootless: false,
                was_part: false,
                read_at: Time(0),
            });
        };
        for one in wanted {
            let root = self.memory.root_of(&one.key);
            if root != one.key && !self.scope.has(&root) {
                continue;
            }
            let others = self.memory.read_with(&root);
            let led = root != one.key;
            // What the store said of another of its keys is not said of the lock.
            add(if led { Wanted { noticed_at: one.noticed_at, ..Wanted::of(root) } } else { one }, led);
            for key in others {
                add(Wanted::of(key), false);
            }
        }
        roots
    }

    /// Looks through hashes that are too large to be read for fields that are locks.
    async fn search_large(&self, client: &Client, raws: &mut [Raw], purpose: Purpose) -> Result<(), Error> {
        for raw in raws {
            if let Value::TooLarge { hash: true, .. } = raw.value
                && let Some(pattern) = dialect::fields(&raw.key)
                && let Some(fields) = self.keys.fields(client, &raw.key, pattern, purpose).await?
            {
                raw.value = Value::Hash(fields);
            }
        }
        Ok(())
    }

    /// What stands beside the roots that were read.
    async fn beside(
        &self,
        client: &Client,
        raws: &[Raw],
        roots: &[Read],
        purpose: Purpose,
    ) -> Result<HashMap<Bytes, Vec<Raw>>, Error> {
        let lingering: HashSet<&Bytes> =
            roots.iter().filter(|read| read.lingers).map(|read| &read.wanted.key).collect();
        let mut owners: Vec<(Bytes, usize)> = Vec::new();
        let mut names: Vec<Bytes> = Vec::new();
        for raw in raws {
            // A key that is gone is nearly always a lock that was let go of, with nothing beside it.
            if raw.value == Value::Missing && !lingering.contains(&raw.key) {
                continue;
            }
            let mut keys = dialect::beside(raw);
            if lingering.contains(&raw.key) {
                keys.extend(dialect::beside_led(raw));
            }
            keys.retain(|key| self.keys.can_belong_together(&raw.key, key));
            if !keys.is_empty() {
                owners.push((raw.key.clone(), keys.len()));
                names.extend(keys.into_iter().map(Bytes::from));
            }
        }
        let mut found = self.keys.read(client, &names, purpose).await?.into_iter().peekable();
        if purpose == Purpose::Scan && !owners.is_empty() {
            // Where more would be read if another of its keys led here, that is still to be done.
            let is_whole = |raw: &&Raw| raw.value != Value::Missing && dialect::beside_led(raw).is_empty();
            let owned: HashSet<&Bytes> = owners.iter().map(|(root, _)| root).collect();
            let whole = raws.iter().filter(|raw| owned.contains(&raw.key)).filter(is_whole);
            self.company.met(whole.map(|raw| &raw.key));
        }
        let mut names = names.into_iter();
        Ok(owners
            .into_iter()
            .map(|(root, n)| {
                let beside = names.by_ref().take(n).filter_map(|name| found.next_if(|raw| raw.key == name)).collect();
                (root, beside)
            })
            .collect())
    }

    /// Counts who listens for those who wait in the queues that were read, and remembers since when nobody does. What may
    /// not be counted is missing.
    async fn listen(
        &self,
        client: &Client,
        raws: &[Raw],
        beside: &HashMap<Bytes, Vec<Raw>>,
    ) -> Result<HashMap<Bytes, (Vec<Listeners>, Option<i64>)>, Error> {
        if beside.is_empty() {
            return Ok(HashMap::new());
        }
        let mut asked: Vec<(&Raw, Vec<Bytes>)> = Vec::new();
        for raw in raws {
            if let Some(beside) = beside.get(&raw.key) {
                asked.push((raw, dialect::listeners(raw, beside).into_iter().map(Bytes::from).collect()));
            }
        }
        let channels: Vec<Bytes> = asked.iter().flat_map(|(_, channels)| channels.iter().cloned()).collect();
        let counts = if channels.is_empty() {
            std::collections::HashMap::new()
        } else {
            self.keys.pacer.count(channels.len().div_ceil(CHANNELS_AT_ONCE) as u64);
            match self.memory.ears.count(client, &channels).await {
                Ok(counts) => counts,
                Err(error) => match refused_command(&error) {
                    Some(command) => {
                        let costs = "whether those who wait in the queues of fair locks are still there is not known";
                        self.keys.status.missing(&command, costs);
                        std::collections::HashMap::new()
                    }
                    None => return Err(error),
                },
            }
        };
        let at = clock::now();
        Ok(asked
            .into_iter()
            .map(|(raw, channels)| {
                let is_missing = raw.value == Value::Missing;
                (raw.key.clone(), self.memory.ears.note(&raw.key, is_missing, &channels, &counts, at))
            })
            .collect())
    }

    fn recognise(
        &self,
        raw: &Raw,
        beside: &HashMap<Bytes, Vec<Raw>>,
        heard: &HashMap<Bytes, (Vec<Listeners>, Option<i64>)>,
        read_at: Time,
    ) -> Found {
        let configured = self.scope.is_configured();
        let beside = beside.get(&raw.key).map_or(&[][..], Vec::as_slice);
        let (listeners, missing_ms) = heard.get(&raw.key).map_or((&[][..], None), |(all, ms)| (all.as_slice(), *ms));
        let is_listened_for = self.memory.ears.proves(&raw.key);
        let stored = Stored { root: raw, beside, configured, now_ms: read_at.0 };
        let found = dialect::recognise_heard(&stored, &Heard { listeners, missing_ms, is_listened_for });
        if found.is_empty() && !dialect::is_vacant(&stored) {
            let because = match &raw.value {
                Value::Missing => {
                    self.scope.unlearn(&raw.key);
                    return found;
                }
                Value::TooLarge { because, .. } | Value::Not(because) => because.clone(),
                Value::String(_) => "a string in a form that no known library stores".to_owned(),
                Value::Hash(_) => "a hash in a form that no known library stores".to_owned(),
                Value::List { .. } => "a list in a form that no known library stores".to_owned(),
                Value::Set(_) => "a set in a form that no known library stores".to_owned(),
                Value::ZSet(_) => "a sorted set in a form that no known library stores".to_owned(),
            };
            self.note_not_a_lock(&raw.key, because);
        } else {
            self.scope.unlearn(&raw.key);
        }
        found
    }

    /// Finds keys with one token and one deadline. Keys of one acquire change together, so that they are nearly always
    /// read together.
    fn find_spans(&self, roots: &[Read]) {
        let mut first: HashMap<&[u8], usize> = HashMap::new();
        let mut several: HashMap<&[u8], Vec<(i64, Bytes)>> = HashMap::new();
        let held = |read: &Read| match &read.found[..] {
            [only] if only.form.recognition.traits.may_span_keys => only.form.holds.first()?.ttl_ms,
            _ => None,
        };
        for (i, read) in roots.iter().enumerate() {
            let Some(ttl) = held(read) else { continue };
            let token = &*read.found[0].form.holds[0].token;
            match first.get(token) {
                None => {
                    first.insert(token, i);
                }
                Some(&one) => several
                    .entry(token)
                    .or_insert_with(|| {
                        let one = &roots[one];
                        vec![(held(one).unwrap_or(i64::MAX), one.wanted.key.clone())]
                    })
                    .push((ttl, read.wanted.key.clone())),
            }
        }
        for (token, mut keys) in several {
            keys.sort_unstable();
            for keys in keys.chunk_by(|(a, _), (b, _)| b - a <= ONE_DEADLINE_MS).filter(|keys| keys.len() > 1) {
                let keys: Vec<Bytes> = keys.iter().map(|(_, key)| key.clone()).collect();
                self.memory.span(&keys, token);
            }
        }
    }

    /// Puts together locks that have one token in several keys; answers the rest.
    fn spans(&self, roots: Vec<Read>, sights: &mut Vec<Sight>, asked_at: Time) -> Vec<Read> {
        let hold = |read: &Read| match &read.found[..] {
            [only] if only.form.recognition.traits.may_span_keys => {
                only.form.holds.first().map(|hold| (hold.token.clone(), hold.ttl_ms))
            }
            _ => None,
        };
        self.find_spans(&roots);
        if !self.memory.has_spans() {
            return roots;
        }
        let mut rest = Vec::with_capacity(roots.len());
        let mut spans: HashMap<*const Span, (Arc<Span>, Vec<Read>)> = HashMap::new();
        for read in roots {
            match self.memory.span_of(&read.wanted.key) {
                Some(span) => spans.entry(Arc::as_ptr(&span)).or_insert_with(|| (span, Vec::new())).1.push(read),
                None => rest.push(read),
            }
        }
        for (span, mut reads) in spans.into_values() {
            let (id, keys) = (&span.keys[0], &span.keys);
            let is_there = |read: &&Read| !read.found.is_empty();
            let is_its = |read: &Read| hold(read).is_some_and(|(token, _)| token == span.token);
            let lives = || reads.iter().filter(is_there).filter_map(|read| Some(hold(read)?.1));
            let (first_end, last_end) = (lives().flatten().min(), lives().flatten().max());
            let held = reads.iter().any(|read| is_there(&read));
            let is_one_lease = last_end.is_none() || lives().all(|life| life.is_some());
            if !held || !is_one_lease || !reads.iter().filter(is_there).all(is_its) || reads.len() < keys.len() {
                // Over, or each is another's now, or some end and some do not, or not all of them could be read.
                self.memory.apart(&span);
                for read in &mut reads {
                    read.was_part = read.wanted.key != *id && hold(read).is_some_and(|(token, _)| token == span.token);
                }
                rest.extend(reads);
                continue;
            }
            let there: Vec<Bytes> =
                reads.iter().filter(|read| !read.found.is_empty()).map(|read| read.wanted.key.clone()).collect();
            let whole = there.len() == keys.len();
            let said = reads.iter().find_map(|read| read.wanted.noticed_at);
            let read_at = reads.iter().map(|read| read.read_at).max().unwrap_or(asked_at);
            let Some(place) = reads.iter().position(|read| !read.found.is_empty()) else { continue };
            let first = reads.swap_remove(place);
            let new = first.wanted.new;
            let Some(found) = first.found.into_iter().next() else { continue };
            let mut form = found.form;
            if let Some(hold) = form.holds.first_mut() {
                // Keys that one script sets may end some milliseconds apart. A release compares each with the last end.
                hold.ttl_ms = last_end;
                let apart = last_end.zip(first_end).map_or(0, |(last, first)| last - first);
                if apart > ONE_DEADLINE_MS * keys.len().saturating_sub(1) as i64 {
                    // One was pushed out without the others: none is freed with it.
                    hold.ttl_ms = first_end;
                } else if apart > 0 {
                    let extra = hold.extra.get_or_insert_with(Box::<HoldExtra>::default);
                    extra.ends_early_ms = u32::try_from(apart).unwrap_or(u32::MAX);
                }
            }
            let extra = form.extra_mut();
            extra.keys = there;
            if !whole {
                extra.flags.push(Flag::HalfLock);
                extra.notes.push(format!(
                    "it was {} keys with one token; {} of them are left",
                    keys.len(),
                    extra.keys.len()
                ));
            }
            let sight = |key: &Bytes, seen: Seen| Sight {
                key: key.clone(),
                seen,
                asked_at,
                read_at,
                noticed_at: said,
                hint: if new { Hint::New } else { Hint::None },
            };
            sights.push(sight(id, Seen::Held(form)));
            sights.extend(keys.iter().filter(|key| *key != id).map(|key| sight(key, Seen::PartOfAnother)));
        }
        rest
    }

    /// Reports the locks under one root, and those that left it.
    fn tell(&self, read: Read, sights: &mut Vec<Sight>, asked_at: Time) {
        let Read { wanted, mut found, rootless, was_part, read_at, .. } = read;
        let begun = |new: bool| match new {
            true => Hint::New,
            false if was_part => Hint::WasPart,
            false => Hint::None,
        };
        let is_plain = |lock: &FoundLock| lock.part.is_none() && lock.form.extra.is_none();
        if !self.memory.has_roots() && !rootless && found.len() == 1 && is_plain(&found[0]) {
            if let Some(lock) = found.pop() {
                sights.push(Sight {
                    key: wanted.key,
                    seen: Seen::Held(lock.form),
                    asked_at,
                    read_at,
                    noticed_at: wanted.noticed_at,
                    hint: begun(wanted.new),
                });
            }
            return;
        }
        let root = wanted.key.clone();
        let id = |part: &Option<Bytes>| match part {
            Some(part) => Bytes::from([&root[..], &[PART], part].concat()),
            None => root.clone(),
        };
        let ids: Vec<Bytes> = found.iter().map(|lock| id(&lock.part)).collect();
        let lingers = found.iter().any(|lock| {
            rootless
                || lock.form.state == LockState::WaitingOnly
                || lock.form.extra.as_ref().is_some_and(|extra| extra.queue.is_some() || extra.keys.len() > 1)
        });
        let gone = self.memory.note(&root, &ids, lingers);
        let sight = |key: Bytes, seen: Seen, hint: Hint| Sight {
            key,
            seen,
            asked_at,
            read_at,
            noticed_at: wanted.noticed_at,
            hint,
        };
        if !ids.contains(&root) {
            sights.push(sight(root.clone(), Seen::Gone, wanted.ended));
        }
        sights.extend(gone.into_iter().filter(|id| *id != root).map(|id| sight(id, Seen::Gone, Hint::None)));
        for (lock, id) in found.into_iter().zip(ids) {
            let mut form: Form = lock.form;
            let held_by = form.extra.as_ref().and_then(|extra| extra.keys.first());
            // A root that is new says that the lock was taken only where the root is what holds it.
            let new = wanted.new && lock.part.is_none() && held_by.is_none_or(|key| *key == root);
            if let Some(part) = &lock.part {
                let extra = form.extra_mut();
                if extra.keys.is_empty() {
                    extra.keys.push(root.clone());
                }
                if extra.name.is_none() {
                    extra.name = Some(lockkeeper_model::LockId::of_key(part).as_str().into());
                }
            }
            sights.push(sight(id, Seen::Held(form), begun(new)));
        }
    }

    /// Where an operator said that it is one, that is news; elsewhere it is what most keys are.
    fn note_not_a_lock(&self, key: &[u8], because: String) {
        if self.scope.is_configured() {
            self.keys.status.not_a_lock(key, because);
        } else {
            self.scope.learn_no_lock(key, clock::now());
        }
    }
}
