//! What still waits for the receiver of a webhook when the server ends: kept in the data folder, and sent by the next run.
//!
//! Nothing is written while a server runs. What the file holds is taken over at the start and stays there until all of it
//! was dealt with, so that a run that ends at once loses nothing; whoever receives a letter twice knows it by its id.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockkeeper_model::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock;

/// Letters that are kept, the newest: as many as wait for four receivers.
const MAX_KEPT: usize = 4_096;

/// What is read of the file: so many letters of eight kilobytes, which is more than any has.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Something to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter<T> {
    /// Names it, with every attempt the same.
    pub id: String,
    /// When it was to be told.
    pub at: Time,
    /// What.
    pub content: T,
}

/// What waits. Cheap to clone.
pub struct Outbox<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// `None`: nothing outlives the run.
    file: Option<PathBuf>,
    waiting: Mutex<Waiting<T>>,
}

struct Waiting<T> {
    /// In the order in which they came.
    letters: Vec<Letter<T>>,
    /// The file may hold something that is known here.
    is_written: bool,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Outbox<T> {
        Outbox(Arc::clone(&self.0))
    }
}

/// Without what is in it, which may be about locks that whoever reads this may not see.
impl<T> fmt::Debug for Outbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("file", &self.0.file).finish_non_exhaustive()
    }
}

impl<T: Clone + Serialize + DeserializeOwned> Outbox<T> {
    /// One that ends with the process.
    #[must_use]
    pub fn in_memory() -> Outbox<T> {
        Outbox::of(None, Vec::new(), false)
    }

    /// The one of this name in the folder, and what an earlier run left there that is not older than that. A file that
    /// cannot be read is said in the log and left alone until something else is to be kept.
    #[must_use]
    pub fn open(dir: &Path, name: &str, max_age: Duration) -> (Outbox<T>, Vec<Letter<T>>) {
        let file = dir.join(name);
        let read = read::<T>(&file).inspect_err(|error| {
            tracing::warn!("what waited for a webhook when the server ended is lost: `{name}`: {error}");
        });
        let is_written = read.is_ok();
        let mut letters = read.unwrap_or_default();
        let oldest = clock::now().plus(-i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX));
        letters.retain(|letter| letter.at >= oldest);
        let outbox = Outbox::of(Some(file), letters.clone(), is_written);
        outbox.clear_if_empty();
        (outbox, letters)
    }

    fn of(file: Option<PathBuf>, letters: Vec<Letter<T>>, is_written: bool) -> Outbox<T> {
        let waiting = Waiting { letters, is_written };
        Outbox(Arc::new(Inner { file, waiting: Mutex::new(waiting) }))
    }

    /// It waits.
    pub fn put(&self, letter: Letter<T>) {
        let mut waiting = self.waiting();
        if waiting.letters.len() >= MAX_KEPT {
            waiting.letters.remove(0);
        }
        waiting.letters.push(letter);
    }

    /// It was delivered, or given up.
    pub fn done(&self, id: &str) {
        self.waiting().letters.retain(|letter| letter.id != id);
        self.clear_if_empty();
    }

    /// Writes down what still waits, for the next run. Says how many letters that are.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self) -> std::io::Result<usize> {
        self.clear_if_empty();
        let mut waiting = self.waiting();
        let (Some(file), count @ 1..) = (&self.0.file, waiting.letters.len()) else { return Ok(0) };
        let text = serde_json::to_vec(&waiting.letters)?;
        // Under another name first: what is there already is whole, or is not there.
        let unfinished = file.with_extension("new");
        let mut written = private(&unfinished)?;
        written.write_all(&text)?;
        written.sync_all()?;
        std::fs::rename(&unfinished, file)?;
        waiting.is_written = true;
        Ok(count)
    }

    /// Nothing waits any more: neither here nor in the file.
    fn clear_if_empty(&self) {
        let mut waiting = self.waiting();
        if let Some(file) = &self.0.file
            && waiting.letters.is_empty()
            && std::mem::take(&mut waiting.is_written)
        {
            // It may not be there; and what stays is delivered once more.
            let _ = std::fs::remove_file(file);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        // What is in it is whole after every step.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> std::io::Result<Vec<Letter<T>>> {
    let mut text = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(serde_json::from_slice(&text)?)
}

/// Readable by whoever runs the server alone: it names locks and people.
fn private(file: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(file)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn letter(id: &str, at: Time) -> Letter<String> {
        Letter { id: id.to_owned(), at, content: format!("about {id}") }
    }

    fn ids(letters: &[Letter<String>]) -> Vec<&str> {
        letters.iter().map(|letter| letter.id.as_str()).collect()
    }

    #[test]
    fn what_waits_is_there_after_a_restart_until_all_of_it_was_dealt_with() {
        let dir = TempDir::new().unwrap();
        let open = || Outbox::<String>::open(dir.path(), "waiting.json", HOUR);
        let (outbox, left) = open();
        assert!(left.is_empty());
        for id in ["a", "b", "c"] {
            outbox.put(letter(id, clock::now()));
        }
        outbox.done("b");
        assert_eq!(outbox.keep().unwrap(), 2);

        // A run that ends at once: nothing is lost.
        let (_, left) = open();
        assert_eq!(ids(&left), ["a", "c"]);
        let (outbox, left) = open();
        assert_eq!((ids(&left), left[0].content.as_str()), (vec!["a", "c"], "about a"));
        outbox.done("a");
        assert!(dir.path().join("waiting.json").exists());
        outbox.done("c");
        assert!(!dir.path().join("waiting.json").exists());
        assert_eq!(outbox.keep().unwrap(), 0);
        assert!(open().1.is_empty());
    }

    #[test]
    fn what_is_too_old_or_too_much_is_not_kept_and_what_is_no_letter_is_no_obstacle() {
        let dir = TempDir::new().unwrap();
        let open = || Outbox::<String>::open(dir.path(), "waiting.json", HOUR);
        let (outbox, _) = open();
        outbox.put(letter("old", clock::now().plus(-3_600_001)));
        for n in 0..MAX_KEPT {
            outbox.put(letter(&n.to_string(), clock::now()));
        }
        assert_eq!(outbox.keep().unwrap(), MAX_KEPT);
        let (outbox, left) = open();
        assert_eq!((left.len(), left[0].id.as_str()), (MAX_KEPT, "0"));
        outbox.put(letter("old", clock::now().plus(-3_600_001)));
        outbox.keep().unwrap();
        assert_eq!(open().1.len(), MAX_KEPT - 1);

        std::fs::write(dir.path().join("waiting.json"), "[{\"id\":").unwrap();
        let (outbox, left) = open();
        assert!(left.is_empty() && dir.path().join("waiting.json").exists());
        outbox.put(letter("a", clock::now()));
        assert_eq!(outbox.keep().unwrap(), 1);
        assert_eq!(ids(&open().1), ["a"]);
    }
}
