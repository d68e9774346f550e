//! What people wrote about locks: beside the audit and the history where there is a folder or a PostgreSQL, and in memory
//! otherwise.
//!
//! A note is about one hold: it carries the generation that its writer was looking at, and the run of the server that
//! gave it, because a generation says nothing within another run. The audit has every note as well, for as long as it is
//! kept; here the newest are.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lockkeeper_model::Time;
use tokio::sync::Mutex;

use super::db::{Connection, DbError, Target, Value, end_aside, in_postgres};
use super::folder::{create_private, make_private};

/// The file within the data folder.
pub const FILE: &str = "notes.db";

/// The longest note, in characters: as long as a reason, so that the audit has it whole.
pub const MAX_CHARS: usize = 500;

/// Notes on one lock that are kept, the newest: more than a page that is read.
const MAX_OF_LOCK: i64 = 100;

/// Notes that are kept in all, the newest: some fifty megabytes at their longest.
const MAX_IN_ALL: i64 = 50_000;

/// The version of what is stored.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    source TEXT NOT NULL,
    key BLOB NOT NULL,
    generation TEXT NOT NULL,
    run TEXT NOT NULL,
    author TEXT NOT NULL,
    via TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX notes_by_lock ON notes (source, key, id);
";

/// In PostgreSQL. A person waits meanwhile.
const SETTINGS: &str = "SET lock_timeout = '2s'; SET statement_timeout = '5s'";

/// Why notes cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotesError(String);

impl From<DbError> for NotesError {
    fn from(error: DbError) -> NotesError {
        NotesError(error.to_string())
    }
}

impl From<rusqlite::Error> for NotesError {
    fn from(error: rusqlite::Error) -> NotesError {
        NotesError::from(DbError::from(error))
    }
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When it was written.
    pub at: Time,
    /// By whom.
    pub author: String,
    /// How it was known who that is.
    pub via: String,
    /// What they wrote.
    pub text: String,
    /// The generation of the lock that they were looking at.
    pub generation: String,
    /// Whether that generation is of this run of the server, so that it can be compared with one of now.
    pub of_this_run: bool,
}

/// Where notes are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notes {
    place: Arc<Mutex<Place>>,
    run: Arc<str>,
    lasting: bool,
}

#[derive(Debug)]
enum Place {
    Here(Connection),
    /// Made again when it is lost.
    Shared {
        target: Target,
        connection: Option<Connection>,
    },
}

impl Place {
    fn connection(&mut self) -> Result<&Connection, NotesError> {
        match self {
            Place::Here(connection) => Ok(connection),
            Place::Shared { target, connection } => {
                if connection.as_ref().is_none_or(Connection::is_lost) {
                    *connection = None;
                    *connection = Some(connect(target).map_err(|error| unusable(target, &error))?);
                }
                connection.as_ref().ok_or_else(|| NotesError("there is no connection".to_owned()))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Shared { connection, .. } = self {
            end_aside(connection.take().into_iter().collect());
        }
    }
}

fn connect(target: &Target) -> Result<Connection, DbError> {
    let connection = target.connect(SETTINGS)?;
    if let Some(postgres) = connection.postgres() {
        postgres.prepare_tables("notes", VERSION, &in_postgres(SCHEMA))?;
    }
    Ok(connection)
}

fn unusable(target: &Target, error: &DbError) -> NotesError {
    NotesError(format!("`{target}` cannot be used for notes: {error}"))
}

impl Notes {
    /// The notes in this folder; both are made where they are missing.
    ///
    /// # Errors
    /// Names the folder and what is wrong with it.
    pub fn open(dir: &Path) -> Result<Notes, NotesError> {
        let unusable = |because: String| NotesError(format!("`{}` cannot be used for notes: {because}", dir.display()));
        create_private(dir).map_err(|error| unusable(error.to_string()))?;
        let path = dir.join(FILE);
        make_private(&path).map_err(|error| unusable(error.to_string()))?;
        let file = rusqlite::Connection::open(&path).map_err(|error| unusable(error.to_string()))?;
        Notes::of(file, true).map_err(|error| unusable(error.0))
    }

    /// The notes in PostgreSQL, which several servers share. It is asked when there is something to write or to read.
    #[must_use]
    pub fn share(target: &Target) -> Notes {
        Notes::at(Place::Shared { target: target.clone(), connection: None }, true)
    }

    /// Some that end with the process.
    ///
    /// # Errors
    /// When the system has no room for them.
    pub fn in_memory() -> Result<Notes, NotesError> {
        Notes::of(rusqlite::Connection::open_in_memory()?, false)
    }

    fn of(file: rusqlite::Connection, lasting: bool) -> Result<Notes, NotesError> {
        match file.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            0 => {
                file.execute_batch(SCHEMA)?;
                file.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            other => {
                return Err(NotesError(format!("its notes are of version {other}, which this Lockkeeper cannot read")));
            }
        }
        Ok(Notes::at(Place::Here(Connection::Sqlite(file)), lasting))
    }

    fn at(place: Place, lasting: bool) -> Notes {
        let run = uuid::Uuid::new_v4().simple().to_string().into();
        Notes { place: Arc::new(Mutex::new(place)), run, lasting }
    }

    /// Whether they outlive the process.
    #[must_use]
    pub fn are_lasting(&self) -> bool {
        self.lasting
    }

    /// Keeps a note on the lock with this key. When it returns, the note is on the disk, where there is one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn add(&self, source: String, key: Bytes, note: Note) -> Result<(), NotesError> {
        let run = self.run.clone();
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            let Note { generation, author, via, text, .. } = &note;
            let (source, key) = (Value::Text(&source), Value::Bytes(&key));
            let texts = [generation, &*run, author, via, text].map(Value::Text);
            let values: Vec<Value<'_>> = [note.at.0.into(), source, key].into_iter().chain(texts).collect();
            let insert = "INSERT INTO notes (at, source, key, generation, run, author, via, text)
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            transaction.execute(insert, &values)?;
            let delete = "DELETE FROM notes WHERE source = $1 AND key = $2 AND id <= coalesce((SELECT id FROM notes
                          WHERE source = $1 AND key = $2 ORDER BY id DESC LIMIT 1 OFFSET $3), 0)";
            transaction.execute(delete, &[source, key, MAX_OF_LOCK.into()])?;
            let delete = "DELETE FROM notes WHERE id <= (SELECT max(id) FROM notes) - $1";
            transaction.execute(delete, &[MAX_IN_ALL.into()])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// The notes on the lock with this key, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn of_lock(&self, source: String, key: Bytes) -> Result<Vec<Note>, NotesError> {
        let run = self.run.clone();
        self.with(move |connection| {
            let sql = "SELECT at, author, via, text, generation, run FROM notes WHERE source = $1 AND key = $2
                       ORDER BY id DESC LIMIT $3";
            connection.all(sql, &[source.as_str().into(), key[..].into(), MAX_OF_LOCK.into()], |row| {
                Ok(Note {
                    at: Time(row.get(0)?),
                    author: row.get(1)?,
                    via: row.get(2)?,
                    text: row.get(3)?,
                    generation: row.get(4)?,
                    of_this_run: row.get::<String>(5)? == *run,
                })
            })
        })
        .await
    }

    /// One at a time, on a thread that may wait for a disk.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, NotesError> + Send + 'static,
    ) -> Result<T, NotesError> {
        let mut place = self.place.clone().lock_owned().await;
        let done = tokio::task::spawn_blocking(move || work(place.connection()?)).await;
        done.unwrap_or_else(|_| Err(NotesError("the thread that keeps notes failed".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str, generation: &str) -> Note {
        Note {
            at: Time(7),
            author: "ada".to_owned(),
            via: "password".to_owned(),
            text: text.to_owned(),
            generation: generation.to_owned(),
            of_this_run: true,
        }
    }

    #[tokio::test]
    async fn notes_outlive_the_run_that_they_were_written_in_and_say_so() {
        let dir = tempfile::TempDir::new().unwrap();
        let key = Bytes::from_static(b"lock:\xff");
        let notes = Notes::open(dir.path()).unwrap();
        notes.add("s".to_owned(), key.clone(), note("first", "g1")).await.unwrap();
        notes.add("s".to_owned(), key.clone(), note("second", "g2")).await.unwrap();
        notes.add("other".to_owned(), key.clone(), note("elsewhere", "g1")).await.unwrap();
        let found = notes.of_lock("s".to_owned(), key.clone()).await.unwrap();
        assert_eq!(found, [note("second", "g2"), note("first", "g1")]);
        drop(notes);
        let again = Notes::open(dir.path()).unwrap();
        assert!(again.are_lasting());
        let found = again.of_lock("s".to_owned(), key).await.unwrap();
        let told: Vec<_> = found.iter().map(|note| (note.text.as_str(), note.of_this_run)).collect();
        assert_eq!(told, [("second", false), ("first", false)]);
    }

    #[tokio::test]
    async fn servers_that_share_a_postgresql_share_notes() {
        let server = crate::recorder::db::testing::PostgresServer::start();
        let (one, other) = (Notes::share(&server.target()), Notes::share(&server.target()));
        let key = Bytes::from_static(b"lock:\xff");
        one.add("s".to_owned(), key.clone(), note("first", "g1")).await.unwrap();
        other.add("s".to_owned(), key.clone(), note("second", "g2")).await.unwrap();
        let found = one.of_lock("s".to_owned(), key.clone()).await.unwrap();
        let told: Vec<_> = found.iter().map(|note| (note.text.as_str(), note.of_this_run)).collect();
        assert_eq!(told, [("second", false), ("first", true)]);
        server.stop();
        let error = one.of_lock("s".to_owned(), key.clone()).await.unwrap_err().to_string();
        assert!(error.contains("PostgreSQL"), "{error}");
        server.start_again();
        assert_eq!(one.of_lock("s".to_owned(), key).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn of_one_lock_the_newest_are_kept() {
        let notes = Notes::in_memory().unwrap();
        let key = Bytes::from_static(b"k");
        for n in 0..MAX_OF_LOCK + 3 {
            notes.add("s".to_owned(), key.clone(), note(&n.to_string(), "g")).await.unwrap();
        }
        notes.add("s".to_owned(), Bytes::from_static(b"l"), note("x", "g")).await.unwrap();
        let count = |connection: &Connection| {
            Ok(connection.number("SELECT count(*) FROM notes WHERE key = $1", &[b"k"[..].into()])?)
        };
        assert_eq!(notes.with(count).await.unwrap(), Some(MAX_OF_LOCK));
        assert_eq!(notes.of_lock("s".to_owned(), key).await.unwrap()[0].text, (MAX_OF_LOCK + 2).to_string());
    }

    #[test]
    fn notes_of_a_later_version_are_left_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        drop(Notes::open(dir.path()).unwrap());
        let file = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
        file.pragma_update(None, "user_version", 9).unwrap();
        assert!(Notes::open(dir.path()).unwrap_err().to_string().contains("of version 9"));
    }
}
