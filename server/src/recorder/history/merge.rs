//! Puts what was written into the one file, beside the thread that writes: while this one waits for the disk, what happens
//! goes on into the log.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::schema::{self, HistoryError};

/// Lines that are written between two merges: some four megabytes of the log. More would have the disk take so much at
/// once that the writer feels it, fewer would write the same page more often.
const LINES: usize = 16_384;

/// The thread that merges. It ends with the value, once a merge that is under way is done.
#[derive(Debug)]
pub(super) struct Merger {
    /// Lines since it was last told to.
    lines: usize,
    told: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Merger {
    /// For the file there, which is there already.
    pub(super) fn start(path: &Path) -> Result<Merger, HistoryError> {
        let connection = schema::open_to_merge(path)?;
        // One merge may wait while another is under way: it is of all that is there by then.
        let (told, tellings) = sync_channel(1);
        let work = move || {
            while tellings.recv().is_ok() {
                merge(&connection);
            }
        };
        let thread = std::thread::Builder::new().name("history-merge".to_owned()).spawn(work);
        let thread =
            thread.map_err(|error| HistoryError(format!("the thread that merges it could not be started: {error}")))?;
        Ok(Merger { lines: 0, told: Some(told), thread: Some(thread) })
    }

    /// Takes note that so many lines are in the log, and has it merged where they are enough. Never waits.
    pub(super) fn wrote(&mut self, lines: usize) {
        self.lines += lines;
        if self.lines >= LINES {
            self.lines = 0;
            // Where there is no room one is waiting already.
            let _ = self.told.as_ref().map(|told| told.try_send(()));
        }
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.told = None;
        // One that panicked has nothing more to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// As much as can be without waiting for anybody: what is still read, and what is written meanwhile, is for the next one.
fn merge(connection: &Connection) {
    let merged: rusqlite::Result<()> = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
    if let Err(error) = merged {
        // Whoever writes merges, too, once the log is large.
        tracing::debug!("the history's log could not be merged: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_log_comes_into_the_file_and_no_sooner_than_it_is_worth_it() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join(schema::FILE);
        let in_file = || {
            // Without its log.
            let alone = dir.path().join("alone.db");
            std::fs::copy(&path, &alone).unwrap();
            let alone = Connection::open(&alone).unwrap();
            alone.query_row("SELECT count(*) FROM sources", (), |row| row.get::<_, i64>(0)).unwrap_or(0)
        };
        let connection = schema::open_to_write(&path, u64::MAX).unwrap();
        let mut merger = Merger::start(&path).unwrap();
        connection.execute("INSERT INTO sources (name) VALUES ('orders')", &[]).unwrap();
        merger.wrote(LINES - 1);
        drop(merger);
        assert_eq!(in_file(), 0);
        let mut merger = Merger::start(&path).unwrap();
        merger.wrote(LINES - 1);
        merger.wrote(1);
        drop(merger);
        assert_eq!(in_file(), 1);
    }
}
