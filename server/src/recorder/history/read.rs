//! The file as those see it who ask: pages of transitions, by lock, holder, pattern, kind and time.

use std::ops::RangeInclusive;
use std::rc::Rc;

use hashbrown::HashMap;
use lockkeeper_model::{Event, LockId, Time, TransitionKind, words};

use super::codes;
use super::postings::{hash, rows};
use super::schema::HistoryError;
use super::store::{NOT_RECORDED, NOT_RUNNING};
use crate::access::Reach;
use crate::glob;
use crate::recorder::db::{Connection, DbError, Row, Value};
use crate::registry::{Entry, event};

/// Rows that one question looks at: a fraction of a second. What is beyond is for the next page.
const MAX_LOOKED_AT: u64 = 200_000;

/// Rows that are fetched at once where nothing says which ones are wanted.
const FETCHED_AT_ONCE: u64 = 1_024;

/// Names that one question remembers, some ten megabytes.
const MAX_REMEMBERED: usize = 100_000;

/// Rows that are fetched at once where it is said which ones: what a filter leaves of a page.
const LOOKED_UP_AT_ONCE: usize = 64;

/// What there is in every row.
pub(super) const COLUMNS: &str = "row, at, lock, what, holder, previous, held, lease, number";

/// Which transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Other locks than these do not exist.
    pub reach: Reach,
    /// Only of this source.
    pub source: Option<String>,
    /// Only of the lock with this key.
    pub key: Option<Vec<u8>>,
    /// Only of locks whose key matches this Redis glob.
    pub pattern: Option<String>,
    /// Only of this holder: the one that they are about, or the one before.
    pub holder: Option<Vec<u8>>,
    /// Only of this kind.
    pub kind: Option<TransitionKind>,
    /// Not from before this moment.
    pub from: Option<Time>,
    /// From before this moment.
    pub to: Option<Time>,
}

impl Filter {
    /// Everything in this reach.
    #[must_use]
    pub fn of(reach: Reach) -> Filter {
        Filter { reach, source: None, key: None, pattern: None, holder: None, kind: None, from: None, to: None }
    }
}

/// A page of transitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// They.
    pub events: Vec<Event>,
    /// The event at which the next page begins, not with it; `None`: there is no more.
    pub next: Option<String>,
    /// For a page of what was after some event: the last one that is kept.
    pub upto: Option<String>,
}

/// In which direction, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The newest first, of the rows before this one.
    Before(i64),
    /// The oldest first, of the rows after this one.
    After(i64),
}

/// A run of rows, with postings or without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// `None`: the newest, which have no postings yet.
    pub(super) segment: Option<i64>,
    pub(super) first_row: i64,
    pub(super) last_row: i64,
    pub(super) first_at: i64,
    pub(super) last_at: i64,
}

impl Stretch {
    pub(super) fn rows(&self) -> RangeInclusive<i64> {
        self.first_row..=self.last_row
    }

    pub(super) fn touches(&self, from: Option<Time>, to: Option<Time>) -> bool {
        from.is_none_or(|from| self.last_at >= from.0) && to.is_none_or(|to| self.first_at < to.0)
    }
}

/// What a number stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Name {
    /// Of a lock or a source; 0 is every source.
    pub(super) source: Option<i64>,
    pub(super) bytes: Vec<u8>,
}

/// In which table the meaning of a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Locks, and sources as a whole.
    Locks,
    /// Tokens, and texts.
    Tokens,
}

impl Table {
    /// Number, source, form and bytes.
    pub(super) fn select(self) -> &'static str {
        match self {
            Table::Locks => "SELECT id, source, form, name FROM locks",
            Table::Tokens => "SELECT id, CAST(NULL AS BIGINT), CAST(NULL AS BIGINT), name FROM tokens",
        }
    }
}

/// A row as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub(super) row: i64,
    pub(super) at: i64,
    pub(super) lock: i64,
    pub(super) what: i64,
    pub(super) holder: Option<i64>,
    pub(super) previous: Option<i64>,
    pub(super) held: Option<i64>,
    pub(super) lease: Option<i64>,
    pub(super) number: Option<i64>,
}

impl Raw {
    pub(super) fn of(row: &Row<'_>) -> Result<Raw, DbError> {
        Ok(Raw {
            row: row.get(0)?,
            at: row.get(1)?,
            lock: row.get(2)?,
            what: row.get(3)?,
            holder: row.get(4)?,
            previous: row.get(5)?,
            held: row.get(6)?,
            lease: row.get(7)?,
            number: row.get(8)?,
        })
    }

    pub(super) fn kind(&self) -> TransitionKind {
        codes::meaning(self.what).0
    }
}

struct Run {
    base: i64,
    name: String,
}

/// One question's view of what is recorded: what is written meanwhile is not in it.
pub(super) struct Reader {
    connection: Connection,
    runs: Vec<Run>,
    pub(super) sources: HashMap<i64, Rc<str>>,
    names: HashMap<i64, Rc<Name>>,
}

impl Reader {
    /// Holds on to what is there now, until [`Self::end`].
    pub(super) fn begin(connection: Connection) -> Result<Reader, HistoryError> {
        connection.hold_still()?;
        let runs = connection.all("SELECT base, name FROM runs ORDER BY base", &[], |row| {
            Ok::<_, DbError>(Run { base: row.get(0)?, name: row.get(1)? })
        })?;
        let sources = connection.all("SELECT id, name FROM sources", &[], |row| {
            Ok::<_, DbError>((row.get(0)?, Rc::from(row.get::<String>(1)?)))
        })?;
        Ok(Reader { connection, runs, sources: sources.into_iter().collect(), names: HashMap::new() })
    }

    /// Lets go; the connection is good for another question, unless it is lost.
    pub(super) fn end(self) -> Option<Connection> {
        self.connection.let_go().ok().map(|()| self.connection)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The oldest moment of which there is a row.
    pub(super) fn begins_at(&self) -> Result<Option<Time>, HistoryError> {
        let sql = "SELECT at FROM transitions ORDER BY row LIMIT 1";
        Ok(self.connection.number(sql, &[])?.map(Time))
    }

    /// The first row that is kept, if any is.
    pub(super) fn first_row(&self) -> Result<Option<i64>, HistoryError> {
        Ok(self.connection.number("SELECT min(row) FROM transitions", &[])?)
    }

    /// The last row, if any is kept.
    pub(super) fn last_row(&self) -> Result<Option<i64>, HistoryError> {
        Ok(self.connection.number("SELECT max(row) FROM transitions", &[])?)
    }

    /// The row of the event of this name; `None` where no run of that name is known. One that was never written stands
    /// for the last of its run. A run that others wrote in between is there several times.
    pub(super) fn row_of(&self, id: &str) -> Option<i64> {
        let (name, seq) = id.rsplit_once('-')?;
        let seq: i64 = seq.parse().ok()?;
        let mut last = None;
        for (at, run) in self.runs.iter().enumerate().filter(|(_, run)| run.name == name) {
            let row = run.base.checked_add(seq)?;
            let end = self.runs.get(at + 1).map_or(i64::MAX, |next| next.base - 1);
            if row <= end {
                return Some(row);
            }
            last = Some(end);
        }
        last
    }

    /// The event's name.
    pub(super) fn id_of(&self, row: i64) -> String {
        let at = self.runs.partition_point(|run| run.base <= row);
        match at.checked_sub(1).and_then(|at| self.runs.get(at)) {
            Some(run) => format!("{}-{}", run.name, row - run.base),
            None => format!("?-{row}"),
        }
    }

    /// Every stretch, oldest first.
    pub(super) fn stretches(&self) -> Result<Vec<Stretch>, HistoryError> {
        let sql = "SELECT id, first_row, last_row, first_at, last_at FROM segments ORDER BY id";
        let mut stretches = self.connection.all(sql, &[], |row| {
            Ok::<_, DbError>(Stretch {
                segment: row.get(0)?,
                first_row: row.get(1)?,
                last_row: row.get(2)?,
                first_at: row.get(3)?,
                last_at: row.get(4)?,
            })
        })?;
        let first_row = stretches.last().map_or(i64::MIN, |last| last.last_row + 1);
        stretches.push(Stretch { segment: None, first_row, last_row: i64::MAX, first_at: i64::MIN, last_at: i64::MAX });
        Ok(stretches)
    }

    /// The lock or source of that number; nothing where that was cut off.
    pub(super) fn lock(&mut self, id: i64) -> Result<Rc<Name>, HistoryError> {
        self.name(id, Table::Locks)
    }

    /// The token or text of that number; nothing where that was cut off.
    pub(super) fn token(&mut self, id: i64) -> Result<Rc<Name>, HistoryError> {
        self.name(id, Table::Tokens)
    }

    fn name(&mut self, id: i64, table: Table) -> Result<Rc<Name>, HistoryError> {
        if let Some(name) = self.names.get(&id) {
            return Ok(Rc::clone(name));
        }
        let mut name = Name::default();
        self.connection.each_of(table.select(), "id", &[id], |_, row| {
            name = Name { source: row.get(1)?, bytes: row.get(3)? };
            Ok::<(), DbError>(())
        })?;
        let name = Rc::new(name);
        if self.names.len() >= MAX_REMEMBERED {
            self.names.clear();
        }
        self.names.insert(id, Rc::clone(&name));
        Ok(name)
    }

    /// Looks at what these numbers stand for, once each, in their order. What was cut off is left out.
    pub(super) fn each_name(
        &self,
        table: Table,
        mut ids: Vec<i64>,
        look: impl FnMut(i64, &Row<'_>) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        ids.sort_unstable();
        ids.dedup();
        self.connection.each_of(table.select(), "id", &ids, look)
    }

    /// These rows, as far as they are there; both in growing order.
    pub(super) fn raws(&self, rows: &[i64]) -> Result<Vec<Raw>, HistoryError> {
        let mut found = Vec::with_capacity(rows.len());
        self.connection.each_of(&format!("SELECT {COLUMNS} FROM transitions"), "row", rows, |_, row| {
            found.push(Raw::of(row)?);
            Ok::<(), DbError>(())
        })?;
        Ok(found)
    }

    /// A page. With `fold`, renewals in a row are one line, as a timeline has them.
    pub(super) fn page(
        &mut self,
        filter: &Filter,
        direction: Direction,
        limit: usize,
        fold: bool,
    ) -> Result<Page, HistoryError> {
        let mut stretches = self.stretches()?;
        if matches!(direction, Direction::Before(_)) {
            stretches.reverse();
        }
        let mut page = Page::default();
        let mut looked_at = 0;
        let mut last_row = None;
        'all: for stretch in stretches.iter().filter(|stretch| stretch.touches(filter.from, filter.to)) {
            let mut wanted = match (stretch.segment, filter.key.is_some() || filter.holder.is_some()) {
                (Some(segment), true) => Wanted::These(self.posted(segment, stretch, filter, direction)?),
                _ => Wanted::All(direction.within(stretch)),
            };
            loop {
                let fetched = self.fetch(&mut wanted, direction, filter)?;
                if fetched.is_empty() {
                    break;
                }
                for raw in fetched {
                    if page.events.len() >= limit && !(fold && self.continues(&page, &raw)?) {
                        page.next = last_row.map(|row| self.id_of(row));
                        break 'all;
                    }
                    looked_at += 1;
                    if let Some(event) = self.told(&raw, filter)? {
                        match page.events.last_mut() {
                            Some(last) if fold && is_same_beat(last, &event) => {
                                last.first_at = Some(event.at);
                                last.count = last.count.saturating_add(1);
                            }
                            _ => page.events.push(event),
                        }
                    }
                    last_row = Some(raw.row);
                    if looked_at >= MAX_LOOKED_AT {
                        page.next = last_row.map(|row| self.id_of(row));
                        break 'all;
                    }
                }
            }
        }
        Ok(page)
    }

    fn continues(&mut self, page: &Page, raw: &Raw) -> Result<bool, HistoryError> {
        if raw.kind() != TransitionKind::Renewed {
            return Ok(false);
        }
        let event = self.event(raw)?;
        Ok(page.events.last().is_some_and(|last| is_same_beat(last, &event)))
    }

    /// Rows of a segment that are about the wanted lock or holder, and the gaps of its source.
    pub(super) fn posted(
        &mut self,
        segment: i64,
        stretch: &Stretch,
        filter: &Filter,
        direction: Direction,
    ) -> Result<Vec<i64>, HistoryError> {
        let mut found = Vec::new();
        // The rarer first: where there is a holder, it decides.
        let wanted = match (&filter.holder, &filter.key) {
            (Some(holder), _) => (Table::Tokens, holder.as_slice()),
            (None, Some(key)) => (Table::Locks, key.as_slice()),
            (None, None) => (Table::Locks, &[][..]),
        };
        for (table, text) in [wanted, (Table::Locks, &[])] {
            let sql = "SELECT name, rows FROM postings WHERE segment = $1 AND hash = $2 ORDER BY name";
            let posted: Vec<(i64, Vec<u8>)> =
                self.connection.all(sql, &[segment.into(), i64::from(hash(text)).into()], |row| {
                    Ok::<_, DbError>((row.get(0)?, row.get(1)?))
                })?;
            for (name, bytes) in posted {
                if self.is_called(name, table, text)? {
                    found.extend(rows(stretch.first_row, &bytes));
                }
            }
        }
        found.retain(|&row| direction.has(row));
        found.sort_unstable();
        found.dedup();
        if matches!(direction, Direction::After(_)) {
            found.reverse();
        }
        Ok(found)
    }

    /// Whether that is the name of this lock or token. Names of the other kind may share its hash.
    fn is_called(&self, id: i64, table: Table, text: &[u8]) -> Result<bool, HistoryError> {
        let mut is_it = false;
        self.connection.each_of(table.select(), "id", &[id], |_, row| {
            is_it = row.bytes(3) == text;
            Ok::<(), DbError>(())
        })?;
        Ok(is_it)
    }

    /// The next rows, in the order that is wanted; none: there are no more.
    fn fetch(&self, wanted: &mut Wanted, direction: Direction, filter: &Filter) -> Result<Vec<Raw>, HistoryError> {
        match wanted {
            Wanted::These(rows) => {
                let mut fetched = Vec::new();
                while fetched.is_empty() && !rows.is_empty() {
                    let mut next = rows.split_off(rows.len().saturating_sub(LOOKED_UP_AT_ONCE));
                    next.sort_unstable();
                    fetched = self.raws(&next)?;
                }
                if matches!(direction, Direction::Before(_)) {
                    fetched.reverse();
                }
                Ok(fetched)
            }
            Wanted::All(range) => {
                let order = if matches!(direction, Direction::Before(_)) { "DESC" } else { "ASC" };
                let sql = format!(
                    "SELECT {COLUMNS} FROM transitions WHERE row BETWEEN $1 AND $2 AND at >= $3 AND at < $4
                     ORDER BY row {order} LIMIT {FETCHED_AT_ONCE}"
                );
                let (from, to) = (filter.from.map_or(i64::MIN, |at| at.0), filter.to.map_or(i64::MAX, |at| at.0));
                let bounds = [*range.start(), *range.end(), from, to].map(Value::Number);
                let fetched: Vec<Raw> = self.connection.all(&sql, &bounds, Raw::of)?;
                if let Some(last) = fetched.last() {
                    *range = match direction {
                        Direction::Before(_) => *range.start()..=last.row - 1,
                        Direction::After(_) => last.row + 1..=*range.end(),
                    };
                }
                Ok(fetched)
            }
        }
    }

    /// The event, if it passes the filter.
    pub(super) fn told(&mut self, raw: &Raw, filter: &Filter) -> Result<Option<Event>, HistoryError> {
        let in_time = filter.from.is_none_or(|from| raw.at >= from.0) && filter.to.is_none_or(|to| raw.at < to.0);
        if !in_time || filter.kind.is_some_and(|kind| kind != raw.kind()) {
            return Ok(None);
        }
        let lock = self.lock(raw.lock)?;
        let source = self.source(&lock);
        let is_everywhere = lock.source == Some(0);
        if !is_everywhere && filter.source.as_deref().is_some_and(|wanted| wanted != &*source) {
            return Ok(None);
        }
        if raw.kind() == TransitionKind::Gap {
            // A gap concerns every lock of its source, whatever else was asked.
            let is_seen = is_everywhere || filter.reach.touches(&source);
            return if is_seen { self.event(raw).map(Some) } else { Ok(None) };
        }
        let is_wanted = filter.reach.has(&source, &lock.bytes)
            && filter.key.as_ref().is_none_or(|key| *key == lock.bytes)
            && filter.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern.as_bytes(), &lock.bytes));
        if !is_wanted {
            return Ok(None);
        }
        if let Some(holder) = &filter.holder {
            let mut is_theirs = false;
            for name in [raw.holder, raw.previous].into_iter().flatten() {
                is_theirs |= self.token(name)?.bytes == *holder;
            }
            if !is_theirs {
                return Ok(None);
            }
        }
        self.event(raw).map(Some)
    }

    /// The name of a source; empty where it was never written down.
    pub(super) fn source(&self, name: &Name) -> Rc<str> {
        name.source.and_then(|id| self.sources.get(&id)).cloned().unwrap_or_else(|| Rc::from(""))
    }

    /// A row in the words of the contract.
    pub(super) fn event(&mut self, raw: &Raw) -> Result<Event, HistoryError> {
        let lock = self.lock(raw.lock)?;
        let source = self.source(&lock);
        let (kind, cause) = codes::meaning(raw.what);
        let name = self.id_of(raw.row);
        if kind == TransitionKind::Gap {
            return self.gap(raw, name, if lock.source == Some(0) { "*" } else { &source });
        }
        let token = |reader: &mut Reader, id: Option<i64>| -> Result<Option<Box<[u8]>>, HistoryError> {
            id.map(|id| Ok(reader.token(id)?.bytes.clone().into())).transpose()
        };
        let entry = Entry {
            seq: 0,
            at: Time(raw.at),
            first_at: Time(raw.at),
            count: 1,
            kind,
            token: token(self, raw.holder)?.unwrap_or_default(),
            previous: token(self, raw.previous)?,
            cause,
            held_ms: raw.held,
            audit: raw.number.filter(|_| kind == TransitionKind::Forced).and_then(|number| u64::try_from(number).ok()),
        };
        Ok(event(name, &source, Some(&LockId::of_key(&lock.bytes)), &entry, None))
    }

    fn gap(&mut self, raw: &Raw, id: String, source: &str) -> Result<Event, HistoryError> {
        let text = match raw.holder {
            Some(text) => String::from_utf8_lossy(&self.token(text)?.bytes).into_owned(),
            None => String::new(),
        };
        let count = raw.number.and_then(|number| u64::try_from(number).ok()).unwrap_or(1);
        let (cause, evidence) = match raw.what & !0xff {
            NOT_RUNNING => (
                "not_running",
                format!(
                    "Lockkeeper was not running for {}: what happened meanwhile is not known",
                    words::duration(raw.held.unwrap_or(0))
                ),
            ),
            NOT_RECORDED => {
                let because = if text.is_empty() { String::new() } else { format!(": {text}") };
                let count = words::count(count);
                ("not_recorded", format!("transitions that were not written down: {count}{because}"))
            }
            _ => ("gap", text),
        };
        Ok(Event {
            id,
            at: Time(raw.at),
            transition: TransitionKind::Gap,
            source: source.to_owned(),
            lock: None,
            holder: None,
            holder_b64: None,
            previous_holder: None,
            cause: Some(cause.to_owned()),
            evidence: Some(evidence),
            held_ms: None,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            first_at: raw.held.map(|lasted| Time(raw.at - lasted)),
        })
    }
}

/// What is left to fetch of a stretch.
enum Wanted {
    /// These rows, the next one last.
    These(Vec<i64>),
    /// Every row of these.
    All(RangeInclusive<i64>),
}

impl Direction {
    fn has(self, row: i64) -> bool {
        match self {
            Direction::Before(before) => row < before,
            Direction::After(after) => row > after,
        }
    }

    fn within(self, stretch: &Stretch) -> RangeInclusive<i64> {
        match self {
            Direction::Before(before) => stretch.first_row..=stretch.last_row.min(before.saturating_sub(1)),
            Direction::After(after) => stretch.first_row.max(after.saturating_add(1))..=stretch.last_row,
        }
    }
}

fn is_same_beat(last: &Event, next: &Event) -> bool {
    let is_renewal = |event: &Event| event.transition == TransitionKind::Renewed;
    is_renewal(last) && is_renewal(next) && (&last.lock, &last.holder_b64) == (&next.lock, &next.holder_b64)
}
