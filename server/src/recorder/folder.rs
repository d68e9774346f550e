//! The folder that outlives a run, and what keeps others out of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// Makes it where it is missing. Names, reasons and addresses are nobody else's business on the machine.
pub(crate) fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes the file where it is missing. SQLite gives its other files the permissions of the first.
pub(crate) fn make_private(file: &Path) -> std::io::Result<()> {
    private(file).map(drop)
}

/// A file that nobody else can lock as long as this lives.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Drop for Locked {
    /// A process that is being started by another thread has a copy of every open file for a moment, and closing one does not unlock
    /// what has copies.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!("a file is unlocked when it is closed: {error}");
        }
    }
}

/// Locks the file of that name; `busy` says what it means that another has.
pub(crate) fn lock(dir: &Path, name: &str, busy: &str) -> Result<Locked, String> {
    let file = private(&dir.join(name)).map_err(|error| format!("`{name}` in it: {error}"))?;
    match file.try_lock() {
        Ok(()) => Ok(Locked(file)),
        Err(TryLockError::WouldBlock) => Err(busy.to_owned()),
        Err(TryLockError::Error(error)) => Err(format!("`{name}` in it cannot be locked: {error}")),
    }
}

fn private(file: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(file)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_was_locked_is_free_for_the_next_one_even_while_a_copy_of_the_file_is_open() {
        let dir = TempDir::new().unwrap();
        let locked = lock(dir.path(), "a.lock", "busy").unwrap();
        assert_eq!(lock(dir.path(), "a.lock", "busy").unwrap_err(), "busy");
        let copy = locked.0.try_clone().unwrap();
        drop(locked);
        assert!(lock(dir.path(), "a.lock", "busy").is_ok());
        drop(copy);
    }
}
